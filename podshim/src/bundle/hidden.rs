//! Paths of /proc and /sys that containers do not see or cannot write.

use std::path::Path;

use proto::{Refusal, refusal::Result};

/// Hidden: the lists of docker and podman together. `interrupts` and `thermal_throttle` tell about neighbours
/// (moby GHSA-6fw5-f8r9-fgfm), `powercap` about their keys (PLATYPUS).
const MASKED: [&str; 14] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/dev/block",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Read-only.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Most `mask` and `unmask` options.
const MOST: usize = 256;

/// The paths of one container.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Hidden {
    /// Hidden.
    pub masked: Vec<String>,
    /// Read-only.
    pub read_only: Vec<String>,
}

/// The paths by `mask` and `unmask` (colons separate, `*` matches within one name); a privileged container has none but
/// those it asked for.
///
/// # Errors
/// A path that is not absolute, naming the option.
pub(super) fn paths(privileged: bool, mask: &[String], unmask: &[String]) -> Result<Hidden> {
    let (mask, unmask) = (split("mask", mask)?, split("unmask", unmask)?);
    let all = privileged || unmask.iter().any(|pattern| pattern.eq_ignore_ascii_case("all"));
    let stays = |path: &&str| !all && !unmask.iter().any(|pattern| matches(pattern, path));
    let mut masked: Vec<String> = MASKED.iter().copied().filter(stays).map(str::to_owned).collect();
    if !all {
        masked.extend(thermal_throttle().into_iter().filter(|path| stays(&path.as_str())));
    }
    for path in mask {
        if !masked.contains(&path) {
            masked.push(path);
        }
    }
    let read_only = READ_ONLY.iter().copied().filter(stays).map(str::to_owned).collect();
    Ok(Hidden { masked, read_only })
}

fn split(option: &str, list: &[String]) -> Result<Vec<String>> {
    let parts: Vec<&str> = list.iter().flat_map(|list| list.split(':')).filter(|part| !part.is_empty()).collect();
    if parts.len() > MOST {
        return Err(Refusal::invalid(format!("--security-opt {option}: more than {MOST} paths")));
    }
    for part in &parts {
        let absolute = part.starts_with('/') && !part.split('/').any(|name| name == "..");
        if !(absolute || option == "unmask" && part.eq_ignore_ascii_case("all")) || part.chars().any(char::is_control) {
            return Err(Refusal::invalid(format!(
                "--security-opt {option}={}: give absolute paths, separated by colons",
                part.escape_debug()
            )));
        }
    }
    Ok(parts.into_iter().map(|part| Path::new(part).components().as_path().to_string_lossy().into_owned()).collect())
}

/// One directory per CPU, where the machine has them.
fn thermal_throttle() -> Vec<String> {
    const CPUS: &str = "/sys/devices/system/cpu";
    if !Path::new(CPUS).join("cpu0/thermal_throttle").exists() {
        return Vec::new();
    }
    let names = std::fs::read_dir(CPUS).into_iter().flatten().flatten().map(|entry| entry.file_name());
    let mut found: Vec<String> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.strip_prefix("cpu").is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit())))
        .map(|name| format!("{CPUS}/{name}/thermal_throttle"))
        .collect();
    found.sort();
    found
}

/// Whether `path` is what `pattern` says, name by name.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut patterns, mut names) = (pattern.split('/'), path.split('/'));
    loop {
        match (patterns.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if matches_name(pattern.as_bytes(), name.as_bytes()) => {}
            _ => return false,
        }
    }
}

/// `*` and `?` in time that grows with the product of the lengths, whatever the pattern.
fn matches_name(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || *byte == name[n] => (p, n) = (p + 1, n + 1),
            _ => {
                let Some((at, from)) = star else { return false };
                (p, n, star) = (at + 1, from + 1, Some((at, from + 1)));
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owned(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn options_add_and_take_away() {
        let plain = paths(false, &[], &[]).expect("paths");
        assert!(plain.masked.len() >= MASKED.len() && plain.read_only.len() == READ_ONLY.len());
        let some = paths(false, &owned(&["/a:/proc/kcore"]), &owned(&["/proc/acpi:/proc/sys", "/proc/timer_*"]))
            .expect("paths");
        assert!(some.masked.contains(&"/a".to_owned()));
        assert_eq!(some.masked.iter().filter(|path| *path == "/proc/kcore").count(), 1);
        for gone in ["/proc/acpi", "/proc/timer_list", "/proc/timer_stats"] {
            assert!(!some.masked.iter().any(|path| path == gone), "{gone}");
        }
        assert!(!some.read_only.contains(&"/proc/sys".to_owned()));
    }

    #[test]
    fn all_and_privileged_hide_nothing() {
        for (privileged, unmask) in [(true, &[][..]), (false, &["all"][..])] {
            assert_eq!(paths(privileged, &[], &owned(unmask)).expect("paths"), Hidden::default());
        }
        assert_eq!(paths(true, &owned(&["/x/"]), &[]).expect("paths").masked, ["/x"]);
    }

    #[test]
    fn relative_paths_are_refused() {
        for bad in ["proc", "/a/../b", "all", "/a\nb"] {
            assert!(paths(false, &owned(&[bad]), &[]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_star_stays_within_a_name() {
        assert!(matches("/proc/*", "/proc/acpi") && !matches("/proc/*", "/proc/a/b") && !matches("/*", "/proc/a"));
        assert!(matches_name(b"a*b*c", b"aXbYbc") && !matches_name(b"a*b", b"ac") && matches_name(b"?*", b"x"));
        assert!(!matches_name(&b"a*".repeat(200), &[b'a'; 150]));
    }
}
