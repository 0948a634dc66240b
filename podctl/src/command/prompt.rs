//! Asking before something is removed.

use std::io::BufRead;

use crate::{error::Failure, output};

/// Shows `warning` and asks; only an answer that begins with y goes on.
///
/// # Errors
/// `EOF` where there is nobody to answer.
pub fn confirm(warning: &str) -> Result<bool, Failure> {
    output::print(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
    let mut answer = String::new();
    let length =
        std::io::stdin().lock().read_line(&mut answer).map_err(|error| Failure::io("read the answer", &error))?;
    if length == 0 {
        return Err(Failure::invalid("EOF"));
    }
    Ok(answer.starts_with(['y', 'Y']))
}
