//! Names, host names, labels, environment: text that ends up in files of lines, in paths or in the kernel.

use std::collections::BTreeMap;

use proto::{Refusal, name, refusal::Result};

/// Labels and annotations that the engine keeps for itself. Our own data lives in typed fields, never in labels; the
/// prefix is kept free so that an image or a user can never seem to speak for the engine.
const RESERVED: &str = "io.podctl.";

/// Longest host name the kernel takes (sethostname(2): `HOST_NAME_MAX`).
pub(super) const MAX_HOSTNAME: usize = 64;

/// Longest name DNS knows.
const MAX_DOMAIN: usize = 253;

/// Most characters of somebody's text that a refusal repeats.
const SHOWN: usize = 120;

/// `text` in quotes with everything that is not printable escaped, cut when it is long: fit for a line of words.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// `text` as it is when all of it is printable and it is not long, else escaped and cut: fit for a line of words.
pub fn shown(text: &str) -> String {
    if text.chars().any(char::is_control) || text.len() > SHOWN {
        quoted(text).trim_matches('"').to_owned()
    } else {
        text.to_owned()
    }
}

/// Refuses control characters (and with them line breaks and NUL) in `text`, the value of `flag`.
pub(super) fn no_controls(flag: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) {
        return Err(Refusal::invalid(format!(
            "{flag} {}: control characters and line breaks are not allowed",
            quoted(text)
        )));
    }
    Ok(())
}

/// Refuses NUL, which no argument, variable or path of Linux can hold.
pub(super) fn no_nul(flag: &str, text: &str) -> Result<()> {
    if text.contains('\0') {
        return Err(Refusal::invalid(format!("{flag} {}: NUL characters are not allowed", quoted(text))));
    }
    Ok(())
}

/// The rule of names, in podman's words: `running pod create option: names must match …`.
pub(super) fn object_name(what: &str, text: &str) -> Result<()> {
    if text.is_empty() || name::is_valid(text) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("running {what} create option: {}", name::rule(text))).about(text))
}

/// Whether `text` is a host name: labels of letters, digits, hyphens and underscores, parted by dots (RFC 1123, and the
/// underscore that many names have in spite of it).
fn is_hostname(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}

/// `--hostname`.
pub(super) fn hostname(text: &str) -> Result<()> {
    if text.is_empty() || is_hostname(text, MAX_HOSTNAME) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "--hostname {}: a host name has up to {MAX_HOSTNAME} letters, digits, hyphens and dots",
        quoted(text)
    )))
}

/// A name that others look up: aliases, entries of /etc/hosts.
pub(super) fn is_domain(text: &str) -> bool {
    is_hostname(text.strip_suffix('.').unwrap_or(text), MAX_DOMAIN)
}

/// `--label`, `--annotation`: keys that can be shown on a line and are not the engine's.
pub(super) fn labels(flag: &str, labels: &BTreeMap<String, String>) -> Result<()> {
    for (key, value) in labels {
        if key.is_empty() {
            return Err(Refusal::invalid(format!(
                "unable to process labels: invalid label format: \"={}\"",
                shown(value)
            )));
        }
        no_controls(flag, key)?;
        no_nul(flag, value)?;
        if key.starts_with(RESERVED) {
            return Err(Refusal::invalid(format!(
                "{flag} {key}: names that begin with {RESERVED} are the engine's own: choose another"
            )));
        }
    }
    Ok(())
}

/// `--label` of anything: keys fit for a line that are not the engine's.
///
/// # Errors
/// A [`Refusal`] that names the label.
pub fn check_labels(map: &BTreeMap<String, String>) -> Result<()> {
    labels("--label", map)
}

/// Whether an image may not set the label `key`.
pub(super) fn is_reserved_label(key: &str) -> bool {
    key.is_empty() || key.starts_with(RESERVED) || key.chars().any(char::is_control)
}

/// What is wrong with the entry of an environment; `None` when nothing is.
///
/// A variable without `=` must have been resolved by whoever has the user's environment: here it would silently become
/// the engine's own (CVE-2026-57231).
pub(super) fn wrong_with_env(entry: &str) -> Option<&'static str> {
    let Some((key, value)) = entry.split_once('=') else { return Some("it has no =") };
    if key.is_empty() {
        Some("its name is empty")
    } else if key.chars().any(char::is_control) {
        Some("its name has control characters")
    } else if value.contains('\0') {
        Some("it has a NUL character")
    } else if matches!(key, "HOME" | "HOSTNAME" | "USER") && value.chars().any(char::is_control) {
        // These reach /etc/passwd and /etc/hosts, files of lines (CVE-2026-15809).
        Some("it has control characters or line breaks")
    } else {
        None
    }
}

/// `--env`.
pub(super) fn env(entries: &[String]) -> Result<()> {
    for entry in entries {
        match wrong_with_env(entry) {
            None => {}
            Some("its name is empty" | "it has no =") => {
                return Err(Refusal::invalid(format!("invalid environment variable: {}", quoted(entry))));
            }
            Some(why) => {
                return Err(Refusal::invalid(format!("invalid environment variable: {}: {why}", quoted(entry))));
            }
        }
    }
    Ok(())
}

/// `path` without `.`, `..`, empty parts and a trailing slash, as Go's path.Clean has it for absolute paths.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The working directory, cleaned.
///
/// One that goes through a process' own files would be taken from the runtime's open descriptors when it changes to it
/// (CVE-2024-21626).
pub(super) fn workdir(what: &str, text: &str) -> Result<String> {
    if !text.starts_with('/') {
        return Err(Refusal::invalid(format!(
            "{what} {}: the working directory must be an absolute path",
            quoted(text)
        )));
    }
    no_controls(what, text)?;
    let path = clean(text);
    let mut parts = path.split('/').skip(1);
    let process = |part: Option<&str>| {
        part.is_some_and(|part| {
            matches!(part, "self" | "thread-self")
                || (!part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    let of_process = match parts.next() {
        Some("proc") => process(parts.next()),
        Some("dev") => parts.next() == Some("fd"),
        _ => false,
    };
    if of_process {
        return Err(Refusal::invalid(format!(
            "{what} {}: the working directory cannot be in a process' own files: choose another directory",
            shown(&path)
        )));
    }
    Ok(path)
}

/// A file on the host that the engine writes, by its absolute path; empty = none.
pub(super) fn host_file(flag: &str, path: &str) -> Result<()> {
    no_controls(flag, path)?;
    if path.is_empty() || (path.starts_with('/') && !path.ends_with('/')) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("{flag} {}: give the absolute path of a file", shown(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, cleaned) in
            [("/", "/"), ("/a/", "/a"), ("//a//b", "/a/b"), ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/../..", "/")]
        {
            assert_eq!(clean(path), cleaned, "{path}");
        }
    }

    #[test]
    fn host_names() {
        for good in ["a", "web-1", "a.b.example", "my_host", "1a"] {
            assert!(hostname(good).is_ok(), "{good}");
        }
        for bad in ["a b", "-a", "a-", "a..b", ".", "a\n", "é", "a/b", &"x".repeat(64)] {
            assert!(hostname(bad).is_err(), "{bad:?}");
        }
        assert!(is_domain("example.org."));
    }

    #[test]
    fn working_directories_of_processes_are_refused_however_they_are_written() {
        for bad in
            ["/proc/self", "/proc/self/fd/7", "//proc/./1/cwd", "/x/../proc/thread-self/root", "/dev/fd/3", "rel", ""]
        {
            assert!(workdir("--workdir", bad).is_err(), "{bad}");
        }
        for (good, cleaned) in [("/proc", "/proc"), ("/process/self", "/process/self"), ("/proc/sys/", "/proc/sys")] {
            assert_eq!(workdir("--workdir", good).expect("fine"), cleaned);
        }
    }

    #[test]
    fn what_a_refusal_repeats_stays_on_one_short_line() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert!(quoted(&"é".repeat(10_000)).chars().count() < 130);
        assert_eq!(shown("plain"), "plain");
    }
}
