//! Device nodes: `--device`, and all of the host's for a privileged container.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};

use nix::sys::stat::{major, minor};
use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};
use proto::{Refusal, refusal::Result, wire};

/// Most devices of one container, and deepest directory below /dev that is looked at.
const MOST: usize = 2048;
const DEEPEST: usize = 8;

/// Made by every runtime itself, or no device of the host's.
const NOT_FROM_HOST: [&str; 14] = [
    "null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm", "fd", "mqueue", ".udev",
    ".lxc",
];

/// Nodes and who may use them.
#[derive(Debug, Default)]
pub(super) struct Devices {
    /// To be made in /dev.
    pub nodes: Vec<LinuxDevice>,
    /// For the devices controller.
    pub rules: Vec<LinuxDeviceCgroup>,
}

/// The devices asked for (a later one for the same path wins), or all where `privileged`, and who may use others.
///
/// # Errors
/// A path that is no device, naming the flag.
pub(super) fn devices(asked: &[wire::Device], rules: &[String], privileged: bool) -> Result<Devices> {
    let mut found: Vec<(LinuxDevice, String)> = Vec::new();
    if privileged {
        let mut paths = Vec::new();
        walk(Path::new("/dev"), DEEPEST, &mut paths);
        for path in paths {
            // One that vanishes just now is not there.
            if let Some(node) = node(&path, &path) {
                found.push((node, "rwm".to_owned()));
            }
        }
    }
    for device in asked {
        add(device, &mut found)?;
    }
    if found.len() > MOST {
        return Err(Refusal::invalid(format!("--device: more than {MOST} devices")));
    }
    let mut all = Devices { rules: vec![rule(privileged, None, "rwm")?], ..Default::default() };
    for (node, permissions) in found {
        if !privileged {
            all.rules.push(rule(true, Some(&node), &permissions)?);
        }
        all.nodes.push(node);
    }
    for text in rules {
        all.rules.push(device_rule(text)?);
    }
    Ok(all)
}

/// A rule of `--device-cgroup-rule`: `TYPE MAJOR:MINOR ACCESS`, as the kernel's devices controller has it.
///
/// # Errors
/// podman's words.
pub fn device_rule(text: &str) -> Result<LinuxDeviceCgroup> {
    let refuse = |words: String| Refusal::invalid(format!("--device-cgroup-rule: {words}"));
    let parts: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = parts.as_slice() else {
        let text = text.escape_debug();
        return Err(refuse(format!(
            "invalid device cgroup rule requires type, major:Minor, and access rules: \"{text}\""
        )));
    };
    let typ = match *kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        other => {
            return Err(refuse(format!("invalid device type in device-access-add: {}", other.escape_debug())));
        }
    };
    // None = any.
    let number = |text: &str| match text {
        "*" => Some(None),
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u32>().ok().map(Some),
        _ => None,
    };
    let both = numbers.split_once(':').and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
    let Some((major, minor)) = both else {
        return Err(refuse(format!("give MAJOR:MINOR, each a number or *: \"{}\"", numbers.escape_debug())));
    };
    if access.is_empty() || access.chars().any(|c| !"rwm".contains(c)) {
        return Err(refuse(format!("invalid device access in device-access-add: \"{}\"", access.escape_debug())));
    }
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(true).typ(typ).access(*access);
    if let Some(major) = major {
        rule = rule.major(i64::from(major));
    }
    if let Some(minor) = minor {
        rule = rule.minor(i64::from(minor));
    }
    rule.build().map_err(|error| Refusal::internal("--device-cgroup-rule", error))
}

fn add(device: &wire::Device, found: &mut Vec<(LinuxDevice, String)>) -> Result<()> {
    let host = Path::new(&device.host_path);
    let inside = Path::new(if device.container_path.is_empty() { &device.host_path } else { &device.container_path });
    let refuse = |why: String| Refusal::invalid(format!("--device {}: {why}", device.host_path.escape_debug()));
    let clean = |path: &Path| {
        path.is_absolute() && path.components().all(|part| !matches!(part, std::path::Component::ParentDir))
    };
    if !clean(host) || !clean(inside) || inside.as_os_str().as_encoded_bytes().iter().any(u8::is_ascii_control) {
        return Err(refuse("give absolute paths".to_owned()));
    }
    let permissions = if device.permissions.is_empty() { "rwm" } else { &device.permissions };
    if permissions.chars().any(|c| !"rwm".contains(c)) {
        return Err(refuse(format!("invalid device mode: {}", permissions.escape_debug())));
    }
    let meta = fs::metadata(host).map_err(|error| refuse(format!("stat {}: {error}", host.display())))?;
    let mut paths = vec![host.to_owned()];
    if meta.is_dir() {
        paths.clear();
        walk(host, DEEPEST, &mut paths);
    }
    let before = found.len();
    for path in paths {
        let inside = match path.strip_prefix(host) {
            Ok(rest) if !rest.as_os_str().is_empty() => inside.join(rest),
            _ => inside.to_owned(),
        };
        if let Some(node) = node(&path, &inside) {
            found.retain(|(had, _)| had.path() != node.path());
            found.push((node, permissions.to_owned()));
        }
    }
    if found.len() == before && !found.iter().any(|(had, _)| had.path() == inside) {
        return Err(refuse("not a device node".to_owned()));
    }
    Ok(())
}

/// The devices below `dir`, without following symlinks.
fn walk(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let top = dir == Path::new("/dev");
        if found.len() > MOST || (top && NOT_FROM_HOST.iter().any(|name| entry.file_name() == *name)) {
            continue;
        }
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => walk(&entry.path(), depth - 1, found),
            Ok(kind) if kind.is_char_device() || kind.is_block_device() => found.push(entry.path()),
            _ => {}
        }
    }
}

/// The node at `host` as it will be at `inside`; `None` when it is no device.
fn node(host: &Path, inside: &Path) -> Option<LinuxDevice> {
    let meta = fs::metadata(host).ok()?;
    let typ = match meta.file_type() {
        kind if kind.is_char_device() => LinuxDeviceType::C,
        kind if kind.is_block_device() => LinuxDeviceType::B,
        _ => return None,
    };
    let (major, minor) = (major(meta.rdev()), minor(meta.rdev()));
    LinuxDeviceBuilder::default()
        .path(inside)
        .typ(typ)
        .major(i64::try_from(major).ok()?)
        .minor(i64::try_from(minor).ok()?)
        .file_mode(meta.mode() & 0o7777)
        .uid(meta.uid())
        .gid(meta.gid())
        .build()
        .ok()
}

fn rule(allow: bool, node: Option<&LinuxDevice>, access: &str) -> Result<LinuxDeviceCgroup> {
    let mut rule = LinuxDeviceCgroupBuilder::default().allow(allow).access(access);
    if let Some(node) = node {
        rule = rule.typ(node.typ()).major(node.major()).minor(node.minor());
    }
    rule.build().map_err(|error| Refusal::internal("--device", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_without_a_node() {
        let json = serde_json::to_value(device_rule("c 189:* rwm").expect("a rule")).expect("json");
        assert_eq!((json["allow"].as_bool(), json["major"].as_i64(), json.get("minor")), (Some(true), Some(189), None));
        for (text, words) in [
            ("c 1:3", "invalid device cgroup rule requires type, major:Minor, and access rules: \"c 1:3\""),
            ("x 1:3 r", "invalid device type in device-access-add: x"),
            ("c 1 r", "give MAJOR:MINOR, each a number or *: \"1\""),
            ("c -1:3 r", "give MAJOR:MINOR, each a number or *: \"-1:3\""),
            ("c 1:3 rx", "invalid device access in device-access-add: \"rx\""),
        ] {
            let refusal = device_rule(text).expect_err(text);
            assert_eq!(refusal.message, format!("--device-cgroup-rule: {words}"));
        }
    }

    fn asked(host: &str, inside: &str, permissions: &str) -> wire::Device {
        wire::Device { host_path: host.into(), container_path: inside.into(), permissions: permissions.into() }
    }

    #[test]
    fn a_device_is_denied_unless_asked_for() {
        let all = devices(&[asked("/dev/null", "/dev/foo", "r")], &[], false).expect("devices");
        let rules: Vec<String> = all.rules.iter().map(ToString::to_string).collect();
        assert_eq!(rules, ["a *:* rwm", "c 1:3 r"]);
        assert!(!all.rules[0].allow() && all.rules[1].allow());
        assert_eq!(all.nodes[0].path(), Path::new("/dev/foo"));
    }

    #[test]
    fn the_last_one_for_a_path_wins() {
        let all = devices(&[asked("/dev/null", "/dev/x", ""), asked("/dev/zero", "/dev/x", "")], &[], false)
            .expect("devices");
        assert_eq!((all.nodes.len(), all.nodes[0].minor()), (1, 5));
    }

    #[test]
    fn what_is_no_device_is_refused_by_name() {
        for (device, words) in [
            (asked("/dev/nope", "", ""), "--device /dev/nope: stat /dev/nope: No such file"),
            (asked("/etc/passwd", "", ""), "--device /etc/passwd: not a device node"),
            (asked("dev/null", "", ""), "--device dev/null: give absolute paths"),
            (asked("/dev/null", "/../x", ""), "--device /dev/null: give absolute paths"),
            (asked("/dev/null", "/dev/a\nb", ""), "--device /dev/null: give absolute paths"),
            (asked("/dev/null", "", "rx"), "--device /dev/null: invalid device mode: rx"),
        ] {
            let refusal = devices(&[device], &[], false).expect_err(words);
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
    }

    #[test]
    fn privileged_means_all_of_the_host_but_what_runtimes_make() {
        let all = devices(&[], &[], true).expect("devices");
        assert!(all.rules.len() == 1 && all.rules[0].allow());
        assert!(!all.nodes.iter().any(|node| node.path() == Path::new("/dev/null")));
    }
}
