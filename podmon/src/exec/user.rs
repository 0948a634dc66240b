//! Whom a command runs as, by the container's own /etc/passwd and /etc/group.
//!
//! Those files belong to the container and are hostile: they are opened without leaving its root (openat2(2) with
//! RESOLVE_IN_ROOT), must be regular, and are read up to a bound.

use std::{
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use proto::{Refusal, alive::Process, refusal::Result, wire::ExecRequest};
use serde_json::Value;

/// Bytes read of each file.
const MAX: u64 = 1 << 20;
/// Largest id: those above are for the kernel (-1) or overflow somewhere.
const MAX_ID: u32 = i32::MAX as u32;

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Uid.
    pub uid: u32,
    /// Primary gid.
    pub gid: u32,
    /// Supplementary gids; the primary one is among them.
    pub groups: Vec<u32>,
}

impl Identity {
    /// That of `process.user` in a config.json.
    pub fn of_spec(user: &Value) -> Identity {
        let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let groups = user["additionalGids"].as_array().into_iter().flatten().filter_map(id).collect();
        Identity { uid: id(&user["uid"]).unwrap_or(0), gid: id(&user["gid"]).unwrap_or(0), groups }
    }
}

/// Whom `request` wants to be, and the home directory ("" = whatever the container says).
///
/// # Errors
/// With podman's words for a user or group that does not exist.
pub fn resolve(request: &ExecRequest, container: &Identity, init: &Process) -> Result<(Identity, String)> {
    let needs_files = !request.user.is_empty() || request.groups.iter().any(|group| number(group).is_none());
    let (passwd, group) = if needs_files { read_files(init)? } else { (String::new(), String::new()) };
    let (mut identity, home) = if request.user.is_empty() {
        (container.clone(), String::new())
    } else {
        look_up(&request.user, &passwd, &group)?
    };
    for name in &request.groups {
        identity.groups.push(group_id(name, &group)?);
    }
    // A process whose primary group is not among the others loses what that group denies (CVE-2022-2989).
    identity.groups.insert(0, identity.gid);
    let mut seen = std::collections::BTreeSet::new();
    identity.groups.retain(|gid| seen.insert(*gid));
    Ok((identity, home))
}

/// `USER[:GROUP]` in these files.
fn look_up(text: &str, passwd: &str, group: &str) -> Result<(Identity, String)> {
    let (user, primary) = match text.split_once(':') {
        Some((user, primary)) => (user, Some(primary)),
        None => (text, None),
    };
    // `:group` is a group of root's.
    let user = if user.is_empty() && primary.is_some() { "0" } else { user };
    let all_digits = !user.is_empty() && user.bytes().all(|byte| byte.is_ascii_digit());
    let uid = number(user);
    if user.is_empty() || primary == Some("") || all_digits && uid.is_none() {
        return Err(Refusal::invalid(format!("invalid user {text:?}: it must be USER[:GROUP]")));
    }
    let entry = passwd.lines().filter_map(PasswdEntry::parse).find(|entry| match uid {
        // Digits are a number, never a name: a user called "0" must not become somebody else.
        Some(uid) => entry.uid == uid,
        None => entry.name == user,
    });
    let (uid, gid, name, home) = match (&entry, uid) {
        (Some(entry), _) => (entry.uid, entry.gid, entry.name, entry.home),
        (None, Some(uid)) => (uid, 0, "", "/"),
        (None, None) => {
            return Err(Refusal::invalid(format!("unable to find user {user}: no matching entries in passwd file")));
        }
    };
    let (gid, groups) = match primary {
        Some(primary) => (group_id(primary, group)?, vec![]),
        None => (gid, memberships(name, group)),
    };
    let home = if home.starts_with('/') && !home.contains(char::is_control) { home } else { "/" };
    Ok((Identity { uid, gid, groups }, home.to_owned()))
}

/// A decimal number without sign that may be an id.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id| digits && *id <= MAX_ID)
}

fn group_id(text: &str, group: &str) -> Result<u32> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return number(text).ok_or_else(|| Refusal::invalid(format!("invalid group {text:?}")));
    }
    let found = group.lines().filter_map(GroupEntry::parse).find(|entry| entry.name == text);
    found
        .map(|entry| entry.gid)
        .ok_or_else(|| Refusal::invalid(format!("unable to find group {text}: no matching entries in group file")))
}

fn memberships(name: &str, group: &str) -> Vec<u32> {
    /// Groups of one user (NGROUPS_MAX is 65536; nobody has that many).
    const MOST: usize = 4096;
    let entries = group.lines().filter_map(GroupEntry::parse);
    entries
        .filter(|entry| !name.is_empty() && entry.members.split(',').any(|member| member == name))
        .map(|entry| entry.gid)
        .take(MOST)
        .collect()
}

/// passwd(5)
struct PasswdEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> PasswdEntry<'a> {
    fn parse(line: &'a str) -> Option<PasswdEntry<'a>> {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (number(fields.next()?)?, number(fields.next()?)?);
        let (_comment, home) = (fields.next(), fields.next().unwrap_or(""));
        Some(PasswdEntry { name, uid, gid, home })
    }
}

/// group(5)
struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> GroupEntry<'a> {
    fn parse(line: &'a str) -> Option<GroupEntry<'a>> {
        let mut fields = line.split(':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, number(fields.next()?)?);
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or("") })
    }
}

/// passwd and group of the container; a missing file is an empty one.
fn read_files(init: &Process) -> Result<(String, String)> {
    let root = container_root(init).map_err(|error| Refusal::internal("exec: the container's root", error))?;
    let read = |name: &str| match read_inside(root.as_fd(), name) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(Refusal::invalid(format!("/{name} of the container: {error}"))),
    };
    Ok((read("etc/passwd")?, read("etc/group")?))
}

fn container_root(init: &Process) -> io::Result<OwnedFd> {
    let flags = libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let root = File::options().read(true).custom_flags(flags).open(format!("/proc/{}/root", init.pid))?;
    // Checked after opening: from here on the descriptor stands for that process' root.
    if init.exists() { Ok(root.into()) } else { Err(io::ErrorKind::NotFound.into()) }
}

fn read_inside(root: BorrowedFd<'_>, name: &str) -> io::Result<String> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file: File = openat2(root, name, how)?.into();
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX {
        return Err(io::Error::other("it is larger than 1 MiB"));
    }
    let mut text = Vec::new();
    file.take(MAX).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:\n0:x:7:7::/:\nbad\nevil:x:9:9::a\tb:\n";
    const GROUP: &str = "root:x:0:\nstaff:x:50:alice,bob\nwheel:x:10:bob,alice\nalice:x:1001:\n";

    fn found(text: &str) -> Option<(u32, u32, Vec<u32>, String)> {
        let (identity, home) = look_up(text, PASSWD, GROUP).ok()?;
        Some((identity.uid, identity.gid, identity.groups, home))
    }

    #[test]
    fn names_numbers_and_groups() {
        assert_eq!(found("alice"), Some((1000, 1001, vec![50, 10], "/home/alice".into())));
        assert_eq!(found("1000"), Some((1000, 1001, vec![50, 10], "/home/alice".into())));
        assert_eq!(found("alice:wheel"), Some((1000, 10, vec![], "/home/alice".into())));
        assert_eq!(found("4242:77"), Some((4242, 77, vec![], "/".into())));
        // A number is never looked up as a name.
        assert_eq!(found("0"), Some((0, 0, vec![], "/root".into())));
        assert_eq!(found("evil").map(|found| found.3), Some("/".into()));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in ["4294967296", "2147483648", "-1", "+0", " 0", "root\n", "nobody", "1:", "1:nogroup", "0x0"] {
            assert_eq!(found(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_regular_file_of_the_container_is_read() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = File::open(dir.path()).expect("root");
        let read = |name: &str| read_inside(root.as_fd(), name);
        std::fs::create_dir(dir.path().join("etc")).expect("etc");
        std::fs::write(dir.path().join("etc/real"), "inside").expect("write");
        // An absolute link is followed inside the root.
        std::os::unix::fs::symlink("/etc/real", dir.path().join("etc/passwd")).expect("link");
        assert_eq!(read("etc/passwd").expect("inside"), "inside");
        std::os::unix::fs::symlink("../../../../etc/hostname", dir.path().join("etc/up")).expect("link");
        assert!(read("etc/up").is_err());
        nix::unistd::mkfifo(&dir.path().join("etc/fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        assert!(read("etc/fifo").is_err());
        let big = File::create(dir.path().join("etc/big")).expect("create");
        big.set_len(MAX + 1).expect("length");
        assert!(read("etc/big").is_err());
    }
}
