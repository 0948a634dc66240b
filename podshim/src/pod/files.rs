//! The files of a pod that its members see as theirs: /etc/hosts, /etc/resolv.conf, /etc/hostname.
//!
//! They are bind-mounted into members, so they are written in place: a rename would leave the members with the old ones.

use std::{
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

/// What /etc/hosts begins with: `--hosts-file`, a file of the host or (`image`) that of the root file system `rootfs` (a pod as
/// a whole has none).
///
/// # Errors
/// When it is not there, or no text of a reasonable length.
pub(super) fn base(config: &NetworkConfig, rootfs: Option<&Path>) -> io::Result<String> {
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
    match config.hosts_file.as_str() {
        "" | "none" => Ok(String::new()),
        "image" => {
            let Some(rootfs) = rootfs else { return Ok(String::new()) };
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
    }
}

/// Text of /etc/hosts, behind `base`. `own` are the names of the pod itself: at its address, or at 127.0.0.1 where it has none.
pub(super) fn hosts(base: &str, config: &NetworkConfig, networks: &[NetworkStatus], own: &[&str]) -> String {
    let mut text = base.to_owned();
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
    text
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
        let text = hosts("", &config, &[status], &["web", "bad\n1.2.3.4 x", ""]);
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
        write(&path, &hosts("", &NetworkConfig::default(), &[], &["web"])).expect("write");
        append_once(&path, &member("db")).expect("append");
        append_once(&path, &member("db")).expect("append");
        let text = fs::read_to_string(&path).expect("read");
        assert_eq!(text.matches("127.0.0.1\tdb\n").count(), 1);
        assert!(text.contains("127.0.0.1\tweb\n"));
    }
}
