//! stub
/// stub
pub fn random() -> proto::refusal::Result<String> {
    Ok(format!("n{}", std::process::id()))
}
