//! What surrounds a container's process: umask, time zone, detach keys, readiness, init containers.

use proto::{
    Refusal,
    refusal::Result,
    wire::{ContainerConfig, PodConfig},
};

use super::text::{no_nul, quoted, shown};

/// `--personality`
pub(super) fn personality(name: &str) -> Result<()> {
    if matches!(name, "" | "LINUX" | "LINUX32") {
        return Ok(());
    }
    Err(Refusal::invalid(format!("invalid personality {}: choose from LINUX, LINUX32", quoted(name))))
}

/// `--seccomp-policy`
pub(super) fn seccomp_policy(config: &ContainerConfig) -> Result<()> {
    match config.seccomp_policy.as_str() {
        "" | "default" => Ok(()),
        "image" if !config.rootfs.is_empty() => {
            Err(Refusal::invalid("cannot read seccomp profile without a valid image"))
        }
        "image" => Ok(()),
        policy => Err(Refusal::invalid(format!(
            "invalid seccomp policy {}: valid policies are [\"default\" \"image\"]",
            quoted(policy)
        ))),
    }
}

/// `--umask`: up to four octal digits.
pub(super) fn umask(text: &str) -> Result<()> {
    if text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "running container create option: invalid umask string {}: invalid argument",
        shown(text)
    )))
}

/// `--tz`: the name of a file below the zoneinfo directory, or `local`.
pub(super) fn timezone(text: &str) -> Result<()> {
    let part = |part: &str| {
        part.starts_with(|first: char| first.is_ascii_alphanumeric())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'))
    };
    if text.is_empty() || (text.len() <= 64 && text.split('/').all(part)) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "--tz {}: give the name of a time zone, such as Europe/Madrid, or local",
        quoted(text)
    )))
}

/// `--detach-keys`: single characters and `ctrl-` with a letter or one of `@[\]^_`, parted by commas.
pub(super) fn detach_keys(text: &str) -> Result<()> {
    let key = |key: &str| {
        let mut characters = key.strip_prefix("ctrl-").unwrap_or(key).chars();
        match (characters.next(), characters.next()) {
            (Some(only), None) if key.starts_with("ctrl-") => {
                only.is_ascii_lowercase() || matches!(only, '@' | '[' | '\\' | ']' | '^' | '_')
            }
            (Some(only), None) => only.is_ascii_graphic(),
            _ => false,
        }
    };
    if text.is_empty() || text.split(',').all(key) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "--detach-keys {}: give characters or ctrl- with a letter or one of @[\\]^_, parted by commas",
        quoted(text)
    )))
}

/// `--sdnotify` and `--systemd`.
pub(super) fn readiness(config: &ContainerConfig) -> Result<()> {
    match config.sdnotify.as_str() {
        // Whether there is a check for "healthy" is known with the image's.
        "" | "container" | "conmon" | "healthy" | "ignore" => {}
        other => {
            return Err(Refusal::invalid(format!(
                "invalid config provided: invalid argument: invalid sdnotify value {}: must be container, conmon, healthy or ignore",
                quoted(other)
            )));
        }
    }
    match config.systemd.as_str() {
        "" | "true" | "false" | "always" => Ok(()),
        _ => Err(Refusal::invalid(
            "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
        )),
    }
}

/// `--init-ctr`.
pub(super) fn init_ctr(config: &ContainerConfig, pod: &PodConfig) -> Result<()> {
    match config.init_ctr.as_str() {
        "" => Ok(()),
        "once" | "always" if pod.hidden => Err(Refusal::invalid("must specify pod value with init-ctr")),
        "once" | "always" => Ok(()),
        _ => Err(Refusal::invalid("init-ctr value must be 'always' or 'once'")),
    }
}

/// Command and entrypoint as given: anything but NUL.
pub(super) fn arguments(config: &ContainerConfig) -> Result<()> {
    let given = config.command.iter().chain(&config.entrypoint).flat_map(|argv| &argv.args);
    given.into_iter().try_for_each(|argument| no_nul("argument", argument))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_zones_and_masks() {
        for good in ["", "ctrl-p,ctrl-q", "a,b", "ctrl-@", "ctrl-\\,d"] {
            assert!(detach_keys(good).is_ok(), "{good}");
        }
        for bad in ["ctrl-", "ctrl-xx", "ctrl-P", "ab", ",", "a,,b", "ctrl-1", "é"] {
            assert!(detach_keys(bad).is_err(), "{bad}");
        }
        for good in ["", "local", "UTC", "Europe/Madrid", "America/Argentina/Buenos_Aires", "Etc/GMT+3"] {
            assert!(timezone(good).is_ok(), "{good}");
        }
        for bad in ["../../etc/passwd", "/etc/localtime", "a//b", "a b", "a/", "."] {
            assert!(timezone(bad).is_err(), "{bad}");
        }
        assert!(umask("0022").is_ok() && umask("77").is_ok() && umask("77777").is_err() && umask("9").is_err());
    }
}
