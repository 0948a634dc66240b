//! Who the process is: `USER` and `--user` by the image's own `/etc/passwd` and `/etc/group`.
//!
//! A number is a number: it is read as 0…2^31-1 and never looked up as a name, so that no entry of a hostile file can
//! turn it into another user, and no overflow into root.

use proto::{Refusal, refusal::Result};

/// Largest passwd or group file that is read, in bytes.
pub(super) const LARGEST_FILE: u64 = 1 << 20;
/// Most lines of one that are read.
const MOST_LINES: usize = 4096;

/// A resolved user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups; the primary one is the first (a process without it there could drop it: CVE-2022-2989).
    pub groups: Vec<u32>,
    /// Its home, `/` where none is known.
    pub home: String,
}

/// The text of the two files; empty where there is none.
#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    /// passwd(5)
    pub passwd: String,
    /// group(5)
    pub group: String,
}

impl Files {
    /// From bytes; what is not UTF-8 matches nothing.
    pub(super) fn new(passwd: &[u8], group: &[u8]) -> Result<Files> {
        let text = |name: &str, bytes: &[u8]| {
            if bytes.iter().filter(|byte| **byte == b'\n').count() > MOST_LINES {
                return Err(Refusal::invalid(format!("{name} of the image has more than {MOST_LINES} lines")));
            }
            Ok(String::from_utf8_lossy(bytes).into_owned())
        };
        Ok(Files { passwd: text("/etc/passwd", passwd)?, group: text("/etc/group", group)? })
    }
}

impl Files {
    /// Whether an account has this uid.
    pub(super) fn knows_user(&self, uid: u32) -> bool {
        accounts(&self.passwd).any(|account| account.uid == uid)
    }

    /// Name, uid, gid and comment of the account with this name or uid.
    pub(super) fn account(&self, user: &str) -> Option<(&str, u32, u32, &str)> {
        let uid = number(user);
        let found = accounts(&self.passwd).find(|account| account.name == user || Some(account.uid) == uid)?;
        let line = self.passwd.lines().find(|line| line.split(':').next() == Some(found.name))?;
        Some((found.name, found.uid, found.gid, line.split(':').nth(4).unwrap_or_default()))
    }

    /// Whether a group has this gid.
    pub(super) fn knows_group(&self, gid: u32) -> bool {
        groups(&self.group).any(|group| group.gid == gid)
    }
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Lines that are no accounts are skipped, as getpwent(3) does.
fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Account { name, uid: number(uid)?, gid: number(gid)?, home: fields.nth(1).unwrap_or_default() })
    })
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

fn groups(group: &str) -> impl Iterator<Item = Group<'_>> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Group { name, gid: number(gid)?, members: fields.next().unwrap_or_default() })
    })
}

fn number(text: &str) -> Option<u32> {
    Some(text).filter(|text| is_number(text)).and_then(|text| text.parse().ok()).filter(|id| *id <= i32::MAX as u32)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Resolves `spec` (`""`, `user`, `user:group`, `:group`, each a name or a number) and `--group-add`.
///
/// # Errors
/// podman's words for what is unknown or out of range.
pub(super) fn resolve(spec: &str, more_groups: &[String], files: &Files) -> Result<User> {
    let (user, group) = match spec.split_once(':') {
        None => (if spec.is_empty() { "0" } else { spec }, None),
        Some((user, group)) if !group.is_empty() => (if user.is_empty() { "0" } else { user }, Some(group)),
        Some(_) => {
            return Err(Refusal::invalid(format!(
                "user \"{}\": want user, uid, user:group or uid:gid",
                spec.escape_debug()
            )));
        }
    };
    let (uid, account) = find_user(user, files)?;
    let gid = match group {
        Some(group) => find_group(group, files)?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };
    let mut all = vec![gid];
    // Whoever names a group has chosen; the user's others are not added behind their back (as podman does).
    if let (Some(account), None) = (&account, group) {
        let has = |group: &Group<'_>| group.members.split(',').any(|member| member == account.name);
        all.extend(groups(&files.group).filter(has).map(|group| group.gid));
    }
    for name in more_groups {
        all.push(find_group(name, files)?);
    }
    let mut seen = std::collections::HashSet::new();
    all.retain(|gid| seen.insert(*gid));
    let home = account.map_or("", |account| account.home);
    let home = if home.is_empty() || home.chars().any(char::is_control) { "/" } else { home };
    Ok(User { uid, gid, groups: all, home: home.to_owned() })
}

fn find_user<'a>(user: &str, files: &'a Files) -> Result<(u32, Option<Account<'a>>)> {
    if is_number(user) {
        let uid = in_range(user)?;
        return Ok((uid, accounts(&files.passwd).find(|account| account.uid == uid)));
    }
    let account = accounts(&files.passwd).find(|account| account.name == user).ok_or_else(|| {
        Refusal::invalid(format!("unable to find user {}: no matching entries in passwd file", user.escape_debug()))
    })?;
    Ok((account.uid, Some(account)))
}

fn find_group(group: &str, files: &Files) -> Result<u32> {
    if is_number(group) {
        return in_range(group);
    }
    groups(&files.group).find(|entry| entry.name == group).map(|entry| entry.gid).ok_or_else(|| {
        Refusal::invalid(format!("unable to find group {}: no matching entries in group file", group.escape_debug()))
    })
}

fn in_range(text: &str) -> Result<u32> {
    number(text)
        .ok_or_else(|| Refusal::invalid(format!("user or group {text}: uids and gids must be in range 0-2147483647")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        Files {
            passwd: "root:x:0:0:root:/root:/bin/sh\nwww:x:33:34:w:/var/www:/bin/sh\n1000:x:0:0::/evil:/bin/sh\nbad\n\
                     huge:x:4294967296:0::/:/bin/sh\nnl:x:5:5::/a\u{b}b:/bin/sh\n"
                .into(),
            group: "root:x:0:root\nadm:x:4:www,root\nwww:x:34:\naudio:x:29:x,www\nbad:x:y:www\n".into(),
        }
    }

    fn ids(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let user = resolve(spec, &[], &files()).expect(spec);
        (user.uid, user.gid, user.groups, user.home)
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(ids(""), (0, 0, vec![0, 4], "/root".into()));
        assert_eq!(ids("www"), (33, 34, vec![34, 4, 29], "/var/www".into()));
        assert_eq!(ids("33"), (33, 34, vec![34, 4, 29], "/var/www".into()));
        assert_eq!(ids("www:adm"), (33, 4, vec![4], "/var/www".into()));
        assert_eq!(ids("33:99"), (33, 99, vec![99], "/var/www".into()));
        assert_eq!(ids("77"), (77, 0, vec![0], "/".into()));
        assert_eq!(ids("nl").3, "/", "a home that could break a line is none");
    }

    #[test]
    fn digits_are_never_a_name() {
        assert_eq!(ids("1000"), (1000, 0, vec![0], "/".into()));
        assert_eq!(ids("1").0, 1);
        assert_eq!(ids("2147483647").0, 2_147_483_647);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        for (spec, words) in [
            ("x", "unable to find user x: no matching entries in passwd file"),
            ("www:x", "unable to find group x: no matching entries in group file"),
            ("-1", "unable to find user -1: no matching"),
            ("0x0", "unable to find user 0x0"),
            ("+0", "unable to find user +0"),
            (" 0", "unable to find user  0"),
            ("root\n", "unable to find user root\\n"),
            ("huge", "unable to find user huge"),
            ("4294967296", "user or group 4294967296: uids and gids must be in range 0-2147483647"),
            ("99999999999999999999", "user or group 99999999999999999999: uids"),
            ("0:2147483648", "user or group 2147483648: uids"),
            ("1:", "user \"1:\": want"),
            (":", "user \":\": want"),
        ] {
            let refusal = resolve(spec, &[], &files()).expect_err(spec);
            assert!(refusal.message.starts_with(words) && !refusal.message.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn groups_are_added_once() {
        let user = resolve("www", &["audio".into(), "77".into(), "34".into()], &files()).expect("user");
        assert_eq!(user.groups, [34, 4, 29, 77]);
        assert!(resolve("www", &["nope".into()], &files()).is_err());
    }

    #[test]
    fn a_file_of_a_million_lines_is_refused() {
        assert!(Files::new(&b"a\n".repeat(MOST_LINES + 1), b"").is_err());
        assert!(Files::new(b"\xff\xfe:x:1:1::/:\n", b"").is_ok());
    }
}
