//! The environment of a container: `--env-file`, `-e K=V`, `-e K` (the caller's value), `-e K*`.

use crate::error::{Failure, plain};

/// Variables a container inherits by `--http-proxy`, which is the default.
const PROXIES: &[&str] =
    &["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY"];

/// The variables, `K=V`, later ones win: those of `files`, then those of `given`.
///
/// # Errors
/// `invalid environment variable: "=x"`, or what is wrong with a file.
pub fn variables(files: &[String], given: &[String]) -> Result<Vec<String>, Failure> {
    let mut variables = Vec::new();
    for file in files {
        let text = super::file::text(file).map_err(|error| {
            Failure::invalid(format!("parsing env file \"{file}\": open {file}: {}", plain(&error)))
        })?;
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            add(line, &mut variables).map_err(|failure| failure.within(&format!("parsing env file \"{file}\"")))?;
        }
    }
    // podman takes an empty one for none.
    for text in given.iter().filter(|text| !text.is_empty()) {
        add(text, &mut variables)?;
    }
    Ok(variables)
}

fn add(text: &str, variables: &mut Vec<String>) -> Result<(), Failure> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    if key.is_empty() || key.contains('\0') {
        return Err(Failure::invalid(format!("invalid environment variable: \"{text}\"")));
    }
    match (value, key.strip_suffix('*')) {
        (Some(value), _) => variables.push(format!("{key}={value}")),
        (None, Some(prefix)) => variables.extend(inherited(|name| name.starts_with(prefix))),
        (None, None) => variables.extend(inherited(|name| name == key)),
    }
    Ok(())
}

/// The caller's variables whose name is wanted; what is not UTF-8 cannot be sent and is left out.
fn inherited(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| wanted(name))
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

/// The caller's proxy settings.
pub fn proxies() -> Vec<String> {
    inherited(|name| PROXIES.contains(&name))
}

/// All of the caller's variables: `--env-host`.
pub fn host() -> Vec<String> {
    inherited(|_| true)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn variables_are_given_or_inherited() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("env");
        fs::write(&file, "# c\nA=1\n\nB=x y # z\nPAT*\n").expect("write");
        let given: Vec<String> = ["A=2", "C=", "NO_SUCH_VARIABLE_HERE", "PATH"].map(str::to_owned).into();
        let path = format!("PATH={}", std::env::var("PATH").expect("PATH"));
        let found = variables(&[file.display().to_string()], &given).expect("variables");
        assert_eq!(found[..2], ["A=1".to_owned(), "B=x y # z".to_owned()]);
        assert_eq!(found.iter().filter(|text| **text == path).count(), 2);
        assert!(found.contains(&"C=".to_owned()) && !found.iter().any(|text| text.starts_with("NO_SUCH")));
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        assert_eq!(
            variables(&[], &["=x".to_owned()]).expect_err("refused").to_string(),
            "invalid environment variable: \"=x\""
        );
        assert_eq!(
            variables(&["/nonexist".to_owned()], &[]).expect_err("refused").to_string(),
            "parsing env file \"/nonexist\": open /nonexist: no such file or directory"
        );
    }
}
