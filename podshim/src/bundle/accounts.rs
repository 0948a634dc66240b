//! Entries for a user whom the image does not know (podman-run(1), "--passwd"): programs ask for the name of who they are.

use std::fs;

use proto::{Refusal, refusal::Result};

use super::{
    Input,
    user::{Files, User},
};

/// The files of a container whose image does not know its user; `None` where one stays as it is.
#[derive(Debug, Default)]
pub(super) struct Completed {
    /// `/etc/passwd`
    pub passwd: Option<String>,
    /// `/etc/group`
    pub group: Option<String>,
}

/// The files with entries for `user`. One stays as it is where the user is known, or wants it so, or has a file of their
/// own there. `has` says whether the root file system has such a file; `guests` are entries of users of the host.
pub(super) fn completed(
    input: &Input<'_>,
    files: &Files,
    user: &User,
    guests: &[String],
    has: impl Fn(&str) -> bool,
) -> Completed {
    let config = &input.record.config;
    // A copy of what is no text would not be the same.
    let is_text = |text: &str| !text.contains('\u{fffd}');
    let wanted = config.passwd.unwrap_or(true);
    let fits = |path: &str| wanted && has(path) && input.mounts.iter().all(|bound| bound.mount.destination != path);
    let mut passwd = (fits("/etc/passwd") && is_text(&files.passwd) && !files.knows_user(user.uid))
        .then(|| added(&files.passwd, &passwd_entry(&config.passwd_entry, user)));
    if !guests.is_empty() && fits("/etc/passwd") && is_text(&files.passwd) {
        let known = passwd.unwrap_or_else(|| files.passwd.clone());
        passwd = Some(guests.iter().fold(known, |text, entry| added(&text, entry)));
    }
    let group = (fits("/etc/group") && is_text(&files.group) && !files.knows_group(user.gid))
        .then(|| added(&files.group, &group_entry(&config.group_entry, user)));
    Completed { passwd, group }
}

/// The entries of the users of the host that `--hostuser` names, whom the image does not know.
///
/// # Errors
/// For a name or uid that the host does not know.
pub(super) fn guests(input: &Input<'_>, files: &Files) -> Result<Vec<String>> {
    let asked = &input.record.config.host_users;
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let host = fs::read("/etc/passwd").map_err(|error| Refusal::internal("/etc/passwd of the host", error))?;
    let host = Files::new(&host, &[])?;
    let mut entries = Vec::new();
    for user in asked {
        let (name, uid, gid, comment) = host.account(user).ok_or_else(|| {
            Refusal::invalid(format!("--hostuser {}: the host has no such user", user.escape_debug()))
        })?;
        if !files.knows_user(uid) {
            // The home is where it starts, as podman has it.
            let home = &input.record.workdir;
            entries.push(format!("{name}:*:{uid}:{gid}:{comment}:{home}:/bin/sh"));
        }
    }
    Ok(entries)
}

/// A file with one more line.
fn added(text: &str, entry: &str) -> String {
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{text}{end}{entry}\n")
}

fn passwd_entry(asked: &str, user: &User) -> String {
    let (uid, gid, home) = (user.uid, user.gid, &user.home);
    if asked.is_empty() {
        return format!("{uid}:*:{uid}:{gid}:container user:{home}:/bin/sh");
    }
    let uid = uid.to_string();
    // The longer names first: one begins with another.
    let values = [("$USERNAME", uid.as_str()), ("$UID", &uid), ("$GID", &gid.to_string()), ("$HOME", home)];
    values.iter().fold(asked.replace("$NAME", "container user"), |text, (name, value)| text.replace(name, value))
}

fn group_entry(asked: &str, user: &User) -> String {
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    if asked.is_empty() {
        return format!("{gid}:x:{gid}:{uid}");
    }
    let values = [("$GROUPNAME", &gid), ("$GID", &gid), ("$USERLIST", &uid)];
    values.iter().fold(asked.to_owned(), |text, (name, value)| text.replace(name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_podmans_or_as_asked() {
        let user = User { uid: 1234, gid: 56, groups: vec![56], home: "/".into() };
        assert_eq!(passwd_entry("", &user), "1234:*:1234:56:container user:/:/bin/sh");
        assert_eq!(
            passwd_entry("me:x:$UID:$GID:$NAME of $USERNAME:$HOME:/x", &user),
            "me:x:1234:56:container user of 1234:/:/x"
        );
        assert_eq!(
            (group_entry("", &user), group_entry("g:x:$GID:$USERLIST", &user)),
            ("56:x:56:1234".into(), "g:x:56:1234".into())
        );
        assert_eq!(
            (added("a", "b"), added("", "b"), added("a\n", "b")),
            ("a\nb\n".into(), "b\n".into(), "a\nb\n".into())
        );
    }
}
