//! `--log-driver` and `--log-opt`.

use proto::{Kind, Refusal, refusal::Result, wire::LogConfig};

use super::text::{no_controls, quoted, shown};

/// Options of the drivers of this version.
const OPTIONS: [&str; 4] = ["max-file", "max-size", "path", "tag"];

/// Refuses drivers and options that are not there; the driver in its canonical form.
pub(super) fn check(log: Option<LogConfig>) -> Result<LogConfig> {
    let mut log = log.unwrap_or_default();
    match log.driver.as_str() {
        // podman's json-file is another name of its k8s-file.
        "" | "k8s-file" | "json-file" => "k8s-file".clone_into(&mut log.driver),
        "none" => {}
        "journald" | "passthrough" | "passthrough-tty" => {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("--log-driver {}: not supported by this version: use k8s-file or none", log.driver),
            ));
        }
        other => return Err(Refusal::invalid(format!("invalid log driver {}: invalid argument", quoted(other)))),
    }
    for (key, value) in &log.options {
        if !OPTIONS.contains(&key.as_str()) {
            return Err(Refusal::invalid(format!(
                "--log-opt {}: unknown option: the options are {}",
                shown(key),
                OPTIONS.join(", ")
            )));
        }
        no_controls("--log-opt", value)?;
        if key == "max-file" && !value.parse::<u32>().is_ok_and(|files| files > 0) {
            return Err(Refusal::invalid(format!("--log-opt max-file={}: give a number above 0", shown(value))));
        }
    }
    no_controls("--log-opt path", &log.path)?;
    if !log.path.is_empty() && !log.path.starts_with('/') {
        return Err(Refusal::invalid(format!("--log-opt path={}: give an absolute path", shown(&log.path))));
    }
    if log.max_size < 0 {
        return Err(Refusal::invalid(format!("--log-opt max-size={}: give a size above 0", log.max_size)));
    }
    if log.max_size > 0 || log.options.contains_key("max-size") || log.options.contains_key("max-file") {
        return Err(Refusal::new(
            Kind::NotSupported,
            "--log-opt max-size, max-file: rotation of logs is not supported by this version: leave it out",
        ));
    }
    Ok(log)
}
