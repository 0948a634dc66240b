//! `--log-driver` and `--log-opt`.

use proto::{Refusal, refusal::Result, wire::LogConfig};

use super::text::{no_controls, quoted, shown};

/// All options there are, and the drivers that have them.
const OPTIONS: [(&str, &[&str]); 5] = [
    ("label", &["json-file", "journald"]),
    ("max-file", &["k8s-file", "json-file"]),
    ("max-size", &["k8s-file", "json-file"]),
    ("path", &["k8s-file", "json-file"]),
    ("tag", &["json-file", "journald"]),
];

/// What `{{…}}` in a tag may name, in podman's words.
pub const IN_TAG: [&str; 4] = ["{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageName}}"];

/// Files that may be kept at most: more would be renamed at every rotation than is worth it.
const MAX_FILES: u32 = 1000;

/// Refuses drivers and options that are not there; the driver in its canonical form.
pub(super) fn check(log: Option<LogConfig>, tty: bool) -> Result<LogConfig> {
    let mut log = log.unwrap_or_default();
    match log.driver.as_str() {
        "" => "k8s-file".clone_into(&mut log.driver),
        "k8s-file" | "json-file" | "journald" | "none" => {}
        "passthrough" | "passthrough-tty" if tty => {
            return Err(Refusal::invalid(format!(
                "--log-driver {}: cannot be used with --tty: the container has the terminal of whoever starts it",
                log.driver
            )));
        }
        "passthrough" | "passthrough-tty" => {}
        other => return Err(Refusal::invalid(format!("invalid log driver {}: invalid argument", quoted(other)))),
    }
    for (key, value) in &log.options {
        has(&log.driver, key)?;
        no_controls("--log-opt", value)?;
    }
    if let Some(files) = log.options.get("max-file")
        && !files.parse::<u32>().is_ok_and(|files| (1..=MAX_FILES).contains(&files))
    {
        return Err(Refusal::invalid(format!(
            "--log-opt max-file={}: give a number from 1 to {MAX_FILES}",
            shown(files)
        )));
    }
    if log.options.contains_key("max-file") && log.max_size == 0 {
        return Err(Refusal::invalid("--log-opt max-file: has no effect without max-size: give it too"));
    }
    if let Some(tag) = log.options.get("tag") {
        check_tag(tag)?;
    }
    for label in &log.labels {
        has(&log.driver, "label")?;
        check_label(label)?;
    }
    check_path(&log)?;
    if log.max_size < 0 {
        return Err(Refusal::invalid(format!("--log-opt max-size={}: give a size above 0", log.max_size)));
    }
    if log.max_size > 0 {
        has(&log.driver, "max-size")?;
    }
    Ok(log)
}

/// Whether `driver` has the option `key`.
fn has(driver: &str, key: &str) -> Result<()> {
    match OPTIONS.iter().find(|(option, _)| *option == key) {
        Some((_, drivers)) if drivers.contains(&driver) => Ok(()),
        Some((_, drivers)) => Err(Refusal::invalid(format!(
            "--log-opt {key}: log driver {driver} has no such option: it is one of {}",
            drivers.join(" and ")
        ))),
        None => Err(Refusal::invalid(format!(
            "--log-opt {}: unknown option: the options are {}",
            shown(key),
            OPTIONS.map(|(option, _)| option).join(", ")
        ))),
    }
}

fn check_path(log: &LogConfig) -> Result<()> {
    no_controls("--log-opt path", &log.path)?;
    if log.path.is_empty() {
        return Ok(());
    }
    has(&log.driver, "path")?;
    if !log.path.starts_with('/') || log.path.ends_with('/') {
        return Err(Refusal::invalid(format!("--log-opt path={}: give the absolute path of a file", shown(&log.path))));
    }
    Ok(())
}

fn check_tag(tag: &str) -> Result<()> {
    let rest = IN_TAG.iter().fold(tag.to_owned(), |tag, name| tag.replace(name, ""));
    if rest.contains("{{") {
        return Err(Refusal::invalid(format!(
            "--log-opt tag={}: a tag may contain {} and text",
            shown(tag),
            IN_TAG.join(" ")
        )));
    }
    Ok(())
}

/// As conmon has them: they may become fields of the journal.
fn check_label(label: &str) -> Result<()> {
    no_controls("--log-opt label", label)?;
    let valid = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let named = label
        .split_once('=')
        .is_some_and(|(key, _)| !key.is_empty() && !key.starts_with('_') && key.len() <= 64 && key.bytes().all(valid));
    if named {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "--log-opt label={}: give NAME=VALUE, a name of A-Z, 0-9 and _ that does not begin with _",
        shown(label)
    )))
}
