//! The files of a pod that its members see as theirs: /etc/hosts, /etc/resolv.conf, /etc/hostname.
//!
//! They are bind-mounted into members, so they are written in place: a rename would leave the members with the old ones.

use std::{
    collections::BTreeSet,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use nix::fcntl::OFlag;
use proto::{record::NetworkStatus, wire::NetworkConfig};

use crate::sys::beneath;

const LOCALHOST: &str = "127.0.0.1\tlocalhost localhost.localdomain localhost4 localhost4.localdomain4\n\
                         ::1\tlocalhost localhost.localdomain localhost6 localhost6.localdomain6\n";

/// Longest file that others lines are put behind.
const LONGEST_BASE: u64 = 1 << 20;

/// Lines of others in /etc/hosts.
#[derive(Debug, Default)]
pub(super) struct Base {
    /// What it begins with.
    first: String,
    /// What stands behind ours, but for names that we have.
    last: String,
}

/// What others have in /etc/hosts: `--hosts-file`, a file of the host or (`image`) that of the root file system `rootfs` (a
/// pod as a whole has none); where nothing is asked for, the host's own (containers.conf(5), base_hosts_file).
///
/// # Errors
/// When the file that was asked for is not there, or no text of a reasonable length.
pub(super) fn base(config: &NetworkConfig, rootfs: Option<&Path>) -> io::Result<Base> {
    let read = |file: fs::File| -> io::Result<String> {
        if file.metadata()?.len() > LONGEST_BASE || !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("no file of up to {LONGEST_BASE} bytes")));
        }
        let mut text = String::new();
        file.take(LONGEST_BASE).read_to_string(&mut text)?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        Ok(text)
    };
    let first = match config.hosts_file.as_str() {
        // One that cannot be read is none: nobody has asked for it.
        "" => {
            let last = fs::File::open("/etc/hosts").and_then(read).unwrap_or_default();
            return Ok(Base { last, ..Base::default() });
        }
        "none" => Ok(String::new()),
        "image" => {
            let Some(rootfs) = rootfs else { return Ok(Base::default()) };
            let found = beneath::directory(rootfs)
                .and_then(|root| beneath::in_root(root, Path::new("etc/hosts"), OFlag::O_RDONLY | OFlag::O_NONBLOCK));
            match found {
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                found => read(fs::File::from(found?)),
            }
        }
        path => fs::File::open(path)
            .and_then(read)
            .map_err(|error| io::Error::new(error.kind(), format!("--hosts-file {path}: {error}"))),
    };
    Ok(Base { first: first?, ..Base::default() })
}

/// Text of /etc/hosts, with what `base` has. `own` are the names of the pod itself: at its address, or at 127.0.0.1 where it has none.
pub(super) fn hosts(base: &Base, config: &NetworkConfig, networks: &[NetworkStatus], own: &[&str]) -> String {
    let mut text = base.first.clone();
    let first = networks.first();
    let gateway = first.map(|network| network.gateway.as_str()).filter(|gateway| !gateway.is_empty());
    for entry in &config.add_hosts {
        let ip = if entry.ip == "host-gateway" { gateway.unwrap_or("127.0.0.1") } else { &entry.ip };
        line(&mut text, ip, &entry.names.iter().map(String::as_str).collect::<Vec<_>>());
    }
    text.push_str(LOCALHOST);
    if let Some(gateway) = gateway {
        line(&mut text, gateway, &["host.containers.internal", "host.docker.internal"]);
    }
    line(&mut text, first.map_or("127.0.0.1", |network| &network.ip), own);
    let known: BTreeSet<String> = names_in(&text).map(str::to_owned).collect();
    for entry in base.last.lines() {
        let ip = entry.split_whitespace().next().unwrap_or_default();
        let names: Vec<&str> = names_in(entry).filter(|name| !known.contains(*name)).collect();
        line(&mut text, ip, &names);
    }
    text
}

/// The names in lines of hosts(5).
fn names_in(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.flat_map(|line| line.split_whitespace().skip(1))
}

/// The line by which members of a pod find each other: they share 127.0.0.1.
pub(super) fn member(name: &str) -> String {
    let mut text = String::new();
    line(&mut text, "127.0.0.1", &[name]);
    text
}

/// One line; a name that could break out of it is left out (names are checked at the door, this is the second lock).
fn line(text: &mut String, ip: &str, names: &[&str]) {
    let fits = |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    let names: Vec<&str> = names.iter().copied().filter(|name| fits(name)).collect();
    if fits(&ip) && !names.is_empty() {
        text.push_str(&format!("{ip}\t{}\n", names.join(" ")));
    }
}

/// Writes `text` to `path` in place, mode 0644: members of any uid read it.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())
}

/// Gives the lines of the pod's address, and of its gateway, the new ones.
pub(super) fn readdress(path: &Path, old: Option<&NetworkStatus>, new: Option<&NetworkStatus>) -> io::Result<()> {
    let (old, new) = (old.cloned().unwrap_or_default(), new.cloned().unwrap_or_default());
    let swap = |line: &str| {
        for (was, is) in [(&old.ip, &new.ip), (&old.gateway, &new.gateway)] {
            let is = if is.is_empty() { "127.0.0.1" } else { is };
            if let Some(rest) = line.strip_prefix(was.as_str()).filter(|rest| !was.is_empty() && rest.starts_with('\t'))
            {
                return format!("{is}{rest}\n");
            }
        }
        format!("{line}\n")
    };
    if old.ip == new.ip || !path.exists() {
        return Ok(());
    }
    let text: String = fs::read_to_string(path)?.lines().map(swap).collect();
    write(path, &text)
}

/// Takes the lines `text` out of `path`, where they are.
pub(super) fn take_out(path: &Path, text: &str) -> io::Result<()> {
    let before = fs::read_to_string(path)?;
    let after = before.replacen(text, "", 1);
    if after == before { Ok(()) } else { write(path, &after) }
}

/// Appends `text` to `path` unless it is there already.
pub(super) fn append_once(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path)?.contains(text) {
        return Ok(());
    }
    OpenOptions::new().append(true).open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use proto::wire::HostEntry;

    use super::*;

    #[test]
    fn hosts_of_a_pod_with_an_address() {
        let config = NetworkConfig {
            add_hosts: vec![HostEntry { names: vec!["db".into(), "db2".into()], ip: "host-gateway".into() }],
            ..Default::default()
        };
        let status = NetworkStatus { ip: "10.88.0.5".into(), gateway: "10.88.0.1".into(), ..Default::default() };
        let text = hosts(&Base::default(), &config, &[status], &["web", "bad\n1.2.3.4 x", ""]);
        assert_eq!(
            text,
            format!(
                "10.88.0.1\tdb db2\n{LOCALHOST}10.88.0.1\thost.containers.internal host.docker.internal\n10.88.0.5\tweb\n"
            )
        );
    }

    #[test]
    fn a_member_is_added_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("hosts");
        write(&path, &hosts(&Base::default(), &NetworkConfig::default(), &[], &["web"])).expect("write");
        append_once(&path, &member("db")).expect("append");
        append_once(&path, &member("db")).expect("append");
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text.matches("127.0.0.1\tdb\n").count(), 1);
        assert!(text.contains("127.0.0.1\tweb\n"));
        take_out(&path, &member("db")).expect("take out");
        take_out(&path, &member("db")).expect("take out");
        assert_eq!(fs::read_to_string(&path).expect("read"), text.replace("127.0.0.1\tdb\n", ""));
    }

    #[test]
    fn the_hosts_own_names_are_behind_ours_and_do_not_replace_them() {
        let last =
            "127.0.0.1 localhost vm # this\n# 1.1.1.1 nobody\n\n10.1.1.1\tweb  db\n10.1.1.2 web\n::1 ip6-loopback\n";
        let base = Base { first: String::new(), last: last.to_owned() };
        let text = hosts(&base, &NetworkConfig::default(), &[], &["web"]);
        let ours = hosts(&Base::default(), &NetworkConfig::default(), &[], &["web"]);
        assert_eq!(text, format!("{ours}127.0.0.1\tvm\n10.1.1.1\tdb\n::1\tip6-loopback\n"));
    }
}
