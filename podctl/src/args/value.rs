//! Values of flags: sizes, key=value maps, ulimits, devices, capabilities, security options.

use std::{collections::BTreeMap, fs, path::Path};

use nix::sys::resource::{Resource, getrlimit};
use proto::{
    ulimit::{self, signed},
    wire::{Device, LogConfig, RestartPolicy, Security, Ulimit},
};

use super::signal;
use crate::error::{Failure, plain};

/// A size: a number with at most one unit of b, k, m, g, t, p (powers of 1024), as go-units reads it.
///
/// # Errors
/// `invalid size: 'x'`
pub fn size(text: &str) -> Result<i64, String> {
    let refused = || format!("invalid size: '{text}'");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().map_err(|_| refused())?;
    let unit = text[digits..].trim_start_matches(' ').to_ascii_lowercase();
    let mut letters = unit.strip_suffix('b').unwrap_or(&unit);
    letters = letters.strip_suffix('i').unwrap_or(letters);
    let power = match letters {
        "" if !unit.contains('i') => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(refused()),
    };
    let bytes = number * 1024f64.powi(power);
    if bytes.is_finite() && bytes < 9.2e18 { Ok(bytes as i64) } else { Err(refused()) }
}

/// Labels: `--label K[=V]` after the lines of `--label-file`.
///
/// # Errors
/// `unable to process labels: invalid label format: "=x"`, or what is wrong with a file.
pub fn labels(files: &[String], given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    let mut add = |text: &str| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(Failure::invalid(format!("unable to process labels: invalid label format: \"{text}\"")));
        }
        labels.insert(key.to_owned(), value.to_owned());
        Ok(())
    };
    for file in files {
        let text = super::file::text(file)
            .map_err(|error| Failure::invalid(format!("unable to process labels: open {file}: {}", plain(&error))))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            add(line)?;
        }
    }
    for label in given {
        add(label)?;
    }
    Ok(labels)
}

/// `--annotation K=V`
///
/// # Errors
/// `annotations must be formatted KEY=VALUE`
pub fn annotations(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        text.split_once('=').filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    given
        .iter()
        .map(|text| pair(text).ok_or_else(|| Failure::invalid("annotations must be formatted KEY=VALUE")))
        .collect()
}

/// `--sysctl K=V`
///
/// # Errors
/// `x is invalid, sysctl values must be in the form of KEY=VALUE`
pub fn sysctls(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        text.split_once('=').filter(|(key, _)| !key.is_empty()).map(|(key, value)| (key.to_owned(), value.to_owned()))
    };
    given
        .iter()
        .map(|text| {
            pair(text).ok_or_else(|| {
                Failure::invalid(format!("{text} is invalid, sysctl values must be in the form of KEY=VALUE"))
            })
        })
        .collect()
}

/// `--ulimit NAME=SOFT[:HARD]`, -1 is no limit; `--ulimit host`: all of ours.
///
/// # Errors
/// podman's words, naming the option.
pub fn ulimits(given: &[String]) -> Result<Vec<Ulimit>, Failure> {
    if given.iter().any(|text| text == "host") {
        if given.len() > 1 {
            return Err(Failure::invalid("--ulimit host stands for all limits of the caller: leave the others out"));
        }
        return ulimit::KNOWN.iter().map(|(name, resource)| own_limit(name, *resource)).collect();
    }
    given
        .iter()
        .map(|text| {
            ulimit(text).map_err(|why| {
                Failure::invalid(format!(
                    "ulimit option \"{text}\" requires name=SOFT:HARD, failed to be parsed: {why}"
                ))
            })
        })
        .collect()
}

fn own_limit(name: &str, resource: Resource) -> Result<Ulimit, Failure> {
    let failed = |no: nix::Error| Failure::io(format!("--ulimit host: {name}"), &no.into());
    let (soft, hard) = getrlimit(resource).map_err(failed)?;
    Ok(Ulimit { name: name.to_owned(), soft: signed(soft), hard: signed(hard) })
}

fn ulimit(text: &str) -> Result<Ulimit, String> {
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    let number =
        |text: &str| text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"));
    let (soft, hard) = match limits.split_once(':') {
        Some((_, hard)) if hard.contains(':') => {
            return Err(format!("too many limit value arguments - {limits}, can only have up to two, `soft[:hard]`"));
        }
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    Ok(Ulimit { name: name.to_owned(), soft: soft.max(-1), hard: hard.max(-1) })
}

/// `--device HOST[:CONTAINER][:rwm]`
///
/// # Errors
/// `invalid device mode: zzz`, `stat /x: no such file or directory`
pub fn devices(given: &[String]) -> Result<Vec<Device>, Failure> {
    given.iter().map(|text| device(text).map_err(Failure::invalid)).collect()
}

fn device(text: &str) -> Result<Device, String> {
    let is_mode = |text: &str| !text.is_empty() && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, mode] if is_mode(mode) => (*host, *host, *mode),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] if is_mode(mode) => (*host, *container, *mode),
        [_, _, mode] => return Err(format!("invalid device mode: {mode}")),
        _ => return Err(format!("invalid device specification: {text}")),
    };
    if !container.starts_with('/') && host != container {
        return Err(format!("invalid device mode: {container}"));
    }
    fs::metadata(host).map_err(|error| format!("stat {host}: {}", plain(&error)))?;
    Ok(Device { host_path: host.to_owned(), container_path: container.to_owned(), permissions: mode.to_owned() })
}

const CAPABILITIES: &[&str] = &[
    "ALL",
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_KILL",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_RAW",
    "CAP_PERFMON",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYSLOG",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_WAKE_ALARM",
];

/// Capabilities with their prefix, in capitals; `ALL` stays.
///
/// # Errors
/// `"CAP_BOGUS": unknown capability`
pub fn capabilities(given: &[String]) -> Result<Vec<String>, Failure> {
    given
        .iter()
        .map(|text| {
            let upper = text.to_ascii_uppercase();
            let name = if upper == "ALL" || upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
            if CAPABILITIES.contains(&name.as_str()) {
                Ok(name)
            } else {
                Err(Failure::invalid(format!("\"{name}\": unknown capability")))
            }
        })
        .collect()
}

/// `--security-opt`, added to `security`.
///
/// # Errors
/// podman's words, naming the option.
pub fn security_options(given: &[String], security: &mut Security) -> Result<(), Failure> {
    for option in given {
        if option == "no-new-privileges" {
            security.no_new_privileges = true;
            continue;
        }
        let Some((key, value)) = option.split_once('=').or_else(|| option.split_once(':')) else {
            return Err(Failure::invalid(format!("invalid --security-opt 1: \"{option}\"")));
        };
        let wrong = || Failure::invalid(format!("invalid --security-opt 2: \"{option}\""));
        match key {
            "no-new-privileges" => security.no_new_privileges = value.parse().map_err(|_| wrong())?,
            "seccomp" => security.seccomp = seccomp(value)?,
            "apparmor" => value.clone_into(&mut security.apparmor),
            "label" => security.label_opts.push(value.to_owned()),
            // Checked by the engine, which mounts /proc with them.
            "proc-opts" => {}
            "mask" => security.mask.extend(value.split(':').map(str::to_owned)),
            "unmask" => security.unmask.extend(value.split([':', ',']).map(str::to_owned)),
            "systempaths" if value == "unconfined" => security.unmask.push("ALL".to_owned()),
            _ => return Err(wrong()),
        }
    }
    security.security_opt = given.to_vec();
    Ok(())
}

/// A seccomp profile as text: the file is the caller's, so it is read here.
fn seccomp(value: &str) -> Result<String, Failure> {
    match value {
        "" | "unconfined" => Ok(value.to_owned()),
        path => {
            let text = super::file::text(path).map_err(|error| {
                Failure::invalid(format!("opening seccomp profile failed: open {path}: {}", plain(&error)))
            })?;
            serde_json::from_str::<serde::de::IgnoredAny>(&text)
                .map_err(|error| Failure::invalid(format!("loading seccomp profile ({path}) failed: {error}")))?;
            Ok(text)
        }
    }
}

/// `--restart no|never|on-failure[:N]|always|unless-stopped`
///
/// # Errors
/// podman's words.
pub fn restart(text: &str) -> Result<RestartPolicy, Failure> {
    let (name, retries) = match text.split_once(':') {
        Some((name, retries)) => (name, Some(retries)),
        None => (text, None),
    };
    let name = if name == "never" { "no" } else { name };
    if !matches!(name, "" | "no" | "on-failure" | "always" | "unless-stopped") {
        return Err(Failure::invalid(format!("\"{name}\" is not a valid restart policy: invalid argument")));
    }
    let max_retries = match retries {
        None => 0,
        Some(_) if name != "on-failure" => {
            return Err(Failure::invalid(
                "restart policy retries can only be specified with on-failure restart policy",
            ));
        }
        Some(retries) => retries.parse().map_err(|_| {
            Failure::invalid(format!(
                "parsing restart policy retry count: strconv.Atoi: parsing \"{retries}\": invalid syntax"
            ))
        })?,
    };
    Ok(RestartPolicy { name: name.to_owned(), max_retries })
}

/// `--log-driver` and `--log-opt`.
///
/// # Errors
/// podman's words.
pub fn log(driver: &str, options: &[String]) -> Result<LogConfig, Failure> {
    if !matches!(driver, "" | "k8s-file" | "json-file" | "journald" | "none" | "passthrough" | "passthrough-tty") {
        return Err(Failure::invalid("running container create option: invalid log driver: invalid argument"));
    }
    let mut log = LogConfig { driver: driver.to_owned(), ..Default::default() };
    for option in options {
        let wrong = || Failure::invalid(format!("invalid log option \"{option}\""));
        let (key, value) = option.split_once('=').ok_or_else(wrong)?;
        match key {
            "path" => log.path = absolute(value)?,
            "max-size" => {
                log.max_size = size(value).map_err(Failure::invalid)?;
                if log.max_size == 0 {
                    return Err(Failure::invalid("--log-opt max-size=0: give a size above 0, or leave it out"));
                }
            }
            "label" => log.labels.push(value.to_owned()),
            "tag" | "max-file" => {
                log.options.insert(key.to_owned(), value.to_owned());
            }
            _ => return Err(wrong()),
        }
    }
    Ok(log)
}

/// `path` from the root, where the caller stands.
///
/// # Errors
/// When the caller's directory has gone.
pub fn absolute(path: &str) -> Result<String, Failure> {
    let path = std::path::absolute(Path::new(path)).map_err(|error| Failure::io(format!("path \"{path}\""), &error))?;
    path.into_os_string().into_string().map_err(|path| Failure::invalid(format!("path {path:?} is not UTF-8")))
}

/// `--stop-signal`, `kill --signal`: its name.
///
/// # Errors
/// `invalid signal: bad`
pub fn signal_name(text: &str) -> Result<String, Failure> {
    signal::name(text).ok_or_else(|| Failure::invalid(format!("invalid signal: {text}")))
}

/// `--umask 0022`
///
/// # Errors
/// podman's words.
pub fn umask(text: &str) -> Result<String, Failure> {
    if text.is_empty() || (text.len() <= 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'))) {
        Ok(text.to_owned())
    } else {
        Err(Failure::invalid(format!("running container create option: invalid umask string {text}: invalid argument")))
    }
}

/// `--entrypoint`: a command, or a JSON array of its words; empty = none.
pub fn entrypoint(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| vec![text.to_owned()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_go_units_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("512", 512),
            ("5b", 5),
            ("1k", 1024),
            ("1K", 1024),
            ("64m", 64 << 20),
            ("1.5g", 3 << 29),
            ("1gb", 1 << 30),
            ("1GiB", 1 << 30),
            ("2 m", 2 << 20),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "x", "5x", "-1", "1kk", "1ib", "1.2.3m", "k", "1e3", "99999999999p", "1 m b"] {
            assert_eq!(size(text), Err(format!("invalid size: '{text}'")));
        }
    }

    #[test]
    fn labels_come_from_files_and_flags() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = dir.path().join("labels");
        fs::write(&file, "# comment\na=1\n\nb\n").expect("write");
        let labels = labels(&[file.display().to_string()], &["a=2=3".to_owned(), "c".to_owned()]).expect("labels");
        let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(labels, ["a=2=3", "b=", "c="]);
    }

    #[test]
    fn restart_policies() {
        let policy = restart("on-failure:3").expect("policy");
        assert_eq!((policy.name.as_str(), policy.max_retries), ("on-failure", 3));
        assert_eq!(restart("never").expect("policy").name, "no");
    }

    #[test]
    fn entrypoints_are_words_or_json() {
        assert_eq!(entrypoint("/bin/sh -c"), ["/bin/sh -c"]);
        assert_eq!(entrypoint("[\"sh\", \"-c\"]"), ["sh", "-c"]);
        assert_eq!(entrypoint("["), ["["]);
        assert!(entrypoint("").is_empty());
    }

    #[test]
    fn devices_have_two_paths_and_a_mode() {
        let device = |text: &str| devices(&[text.to_owned()]).map(|mut list| list.remove(0));
        let full = device("/dev/null:/dev/x:rw").expect("device");
        assert_eq!((full.container_path.as_str(), full.permissions.as_str()), ("/dev/x", "rw"));
        assert_eq!(device("/dev/null:r").expect("device").container_path, "/dev/null");
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        let of = |text: &str| vec![text.to_owned()];
        for (refused, words) in [
            (labels(&[], &of("=x")).err(), "unable to process labels: invalid label format: \"=x\""),
            (
                labels(&of("/nonexist"), &[]).err(),
                "unable to process labels: open /nonexist: no such file or directory",
            ),
            (annotations(&of("x")).err(), "annotations must be formatted KEY=VALUE"),
            (sysctls(&of("x")).err(), "x is invalid, sysctl values must be in the form of KEY=VALUE"),
            (
                ulimits(&["host".into(), "core=0".into()]).err(),
                "--ulimit host stands for all limits of the caller: leave the others out",
            ),
            (
                ulimits(&of("nofile")).err(),
                "ulimit option \"nofile\" requires name=SOFT:HARD, failed to be parsed: invalid ulimit argument: nofile",
            ),
            (
                ulimits(&of("nofile=a")).err(),
                "ulimit option \"nofile=a\" requires name=SOFT:HARD, failed to be parsed: strconv.ParseInt: parsing \"a\": invalid syntax",
            ),
            (devices(&of("foo")).err(), "stat foo: no such file or directory"),
            (devices(&of("/dev/null:/x:zzz")).err(), "invalid device mode: zzz"),
            (devices(&of("/dev/null:zzz")).err(), "invalid device mode: zzz"),
            (devices(&of("a:b:c:d")).err(), "invalid device specification: a:b:c:d"),
            (capabilities(&of("bogus")).err(), "\"CAP_BOGUS\": unknown capability"),
            (security_options(&of("bogus"), &mut Security::default()).err(), "invalid --security-opt 1: \"bogus\""),
            (security_options(&of("bogus=1"), &mut Security::default()).err(), "invalid --security-opt 2: \"bogus=1\""),
            (
                security_options(&of("seccomp=/nonexist"), &mut Security::default()).err(),
                "opening seccomp profile failed: open /nonexist: no such file or directory",
            ),
            (restart("bogus").err(), "\"bogus\" is not a valid restart policy: invalid argument"),
            (
                restart("on-failure:x").err(),
                "parsing restart policy retry count: strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (restart("always:3").err(), "restart policy retries can only be specified with on-failure restart policy"),
            (log("bogus", &[]).err(), "running container create option: invalid log driver: invalid argument"),
            (log("", &of("x")).err(), "invalid log option \"x\""),
            (log("", &of("max-size=x")).err(), "invalid size: 'x'"),
            (signal_name("bad").err(), "invalid signal: bad"),
            (umask("999").err(), "running container create option: invalid umask string 999: invalid argument"),
        ] {
            assert_eq!(refused.map(|failure| failure.to_string()).as_deref(), Some(words));
        }
    }
}
