//! Options of a volume (podman-volume-create(1), `--opt` of the driver `local`): whose it is, what it mounts.

use std::collections::BTreeMap;

use proto::{Refusal, refusal::Result};

use super::{
    mounts,
    text::{no_controls, quoted, shown},
};

/// What `volume create` may be given as `--opt KEY=VALUE`.
const KEYS: [&str; 9] = ["type", "device", "o", "uid", "gid", "UID", "GID", "copy", "nocopy"];
/// Options that podman knows only inside `o`, where they mean something.
const INSIDE: [&str; 3] = ["size", "inodes", "noquota"];
/// Options of mount(8) that no file system is asked about.
const COMMON: [&str; 13] = [
    "async",
    "atime",
    "defaults",
    "diratime",
    "dirsync",
    "lazytime",
    "nodiratime",
    "nolazytime",
    "norelatime",
    "nostrictatime",
    "nosymfollow",
    "strictatime",
    "sync",
];
/// Options of tmpfs(5) beyond those of `--tmpfs`.
const OF_TMPFS: [&str; 5] = ["huge=", "mpol=", "inode32", "inode64", "noswap"];

/// The options as they are recorded, and uid and gid of the owner, perhaps.
pub type Checked = (BTreeMap<String, String>, Option<(u32, u32)>);

/// Refuses options that cannot be. `owner` is what `--uid` and `--gid` say.
///
/// # Errors
/// In podman's words where it has some.
pub fn volume(mut options: BTreeMap<String, String>, owner: (Option<u32>, Option<u32>)) -> Result<Checked> {
    let (mut uid, mut gid) = owner;
    for (key, value) in &options {
        if INSIDE.contains(&key.as_str()) {
            return Err(Refusal::invalid(format!(
                "--opt {key}: it is one of the options of the mount: give --opt o={key}=…"
            )));
        }
        if !KEYS.contains(&key.as_str()) {
            return Err(Refusal::invalid(format!(
                "invalid mount option {} for driver 'local': invalid argument",
                shown(key)
            )));
        }
        no_controls(&format!("--opt {key}"), value)?;
    }
    if options.contains_key("copy") && options.contains_key("nocopy") {
        return Err(Refusal::invalid("--opt copy and --opt nocopy: can only specify one of them"));
    }
    let text = |key: &str| options.get(key).map_or("", String::as_str);
    let (kind, device) = (text("type").to_owned(), text("device").to_owned());
    let parts: Vec<String> = text("o").split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect();
    for (key, value) in &options {
        match key.as_str() {
            "uid" | "UID" => uid = Some(id("uid", value)?),
            "gid" | "GID" => gid = Some(id("gid", value)?),
            _ => {}
        }
    }
    let mounts = !kind.is_empty() || !device.is_empty();
    for part in &parts {
        let (name, value) = part.split_once('=').map_or((part.as_str(), None), |(name, value)| (name, Some(value)));
        match (name.to_ascii_lowercase().as_str(), value) {
            ("uid", value) => uid = Some(id("uid", wanted("uid", value)?)?),
            ("gid", value) => gid = Some(id("gid", wanted("gid", value)?)?),
            ("size" | "inodes", _) if parts.iter().any(|part| part == "noquota") => {
                return Err(Refusal::invalid("volume options size and inodes cannot be used without quota"));
            }
            ("size" | "inodes", _) if kind != "tmpfs" => {
                return Err(Refusal::invalid(
                    "volume options size and inodes not supported. Filesystem does not support Project Quota: use type=tmpfs",
                ));
            }
            ("timeout", _) => {
                return Err(Refusal::invalid(
                    "running volume create option: Volume driver timeout can only be used with non-local volume drivers: \
                     invalid argument",
                ));
            }
            ("noquota", None) => {}
            _ if !mounts => {
                return Err(Refusal::invalid(format!(
                    "--opt o={}: there is nothing to mount with it: add --opt type=… or --opt device=…",
                    shown(part)
                )));
            }
            _ if kind == "tmpfs" => of_tmpfs(part)?,
            _ => {}
        }
    }
    if mounts {
        what_is_mounted(&kind, &device, &parts, owner)?;
    }
    for (key, id) in [("UID", uid.filter(|_| owner.0.is_none())), ("GID", gid.filter(|_| owner.1.is_none()))] {
        // podman shows them so.
        if let (Some(id), false) = (id, options.keys().any(|known| known.eq_ignore_ascii_case(key))) {
            options.insert(key.to_owned(), id.to_string());
        }
    }
    Ok((options, (uid.is_some() || gid.is_some()).then(|| (uid.unwrap_or(0), gid.unwrap_or(0)))))
}

fn wanted<'a>(name: &str, value: Option<&'a str>) -> Result<&'a str> {
    value.ok_or_else(|| {
        let upper = name.to_ascii_uppercase();
        Refusal::invalid(format!("{name} option must provide a {upper}: invalid argument"))
    })
}

fn id(name: &str, value: &str) -> Result<u32> {
    // The largest number means "nobody in particular" to chown(2).
    value
        .parse::<u32>()
        .ok()
        .filter(|id| *id != u32::MAX)
        .ok_or_else(|| Refusal::invalid(format!("cannot convert {name} {} to integer: give a number", shown(value))))
}

/// An option of a tmpfs.
fn of_tmpfs(part: &str) -> Result<()> {
    if COMMON.contains(&part)
        || OF_TMPFS.iter().any(|known| part == *known || known.ends_with('=') && part.starts_with(known))
    {
        return Ok(());
    }
    let translated = part.strip_prefix("inodes=").map(|number| format!("nr_inodes={number}"));
    mounts::tmpfs_option(translated.as_deref().unwrap_or(part)).map_err(|refusal| {
        let message = refusal.message.replacen("--tmpfs option ", "--opt o: ", 1);
        Refusal { message, ..refusal }
    })
}

fn what_is_mounted(kind: &str, device: &str, parts: &[String], owner: (Option<u32>, Option<u32>)) -> Result<()> {
    let is_kind = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if kind.starts_with('-') || !kind.bytes().all(is_kind) {
        return Err(Refusal::invalid(format!("--opt type={}: it is no name of a file system", quoted(kind))));
    }
    let binds = kind == "bind" || parts.iter().any(|part| part == "bind" || part == "rbind");
    if binds && !device.starts_with('/') {
        return Err(Refusal::invalid(format!(
            "invalid volume option device for driver 'local': {}: give the absolute path of the directory to be bound",
            quoted(device)
        )));
    }
    if (owner.0.is_some() || owner.1.is_some()) && kind != "tmpfs" {
        return Err(Refusal::invalid(
            "--uid and --gid: what the volume mounts has owners of its own: give --opt o=uid=… where the file system knows it",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn what_is_refused() {
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("x", "")], "invalid mount option x for driver 'local': invalid argument"),
            (&[("size", "1m")], "--opt size: it is one of the options of the mount: give --opt o=size=…"),
            (&[("device", "a\nb")], "--opt device \"a\\nb\": control characters and line breaks are not allowed"),
            (&[("copy", ""), ("nocopy", "")], "--opt copy and --opt nocopy: can only specify one of them"),
            (&[("o", "uid")], "uid option must provide a UID: invalid argument"),
            (&[("o", "gid=x")], "cannot convert gid x to integer: give a number"),
            (&[("uid", "4294967295")], "cannot convert uid 4294967295 to integer: give a number"),
            (&[("o", "size=1m,noquota")], "volume options size and inodes cannot be used without quota"),
            (
                &[("o", "inodes=9"), ("type", "ext4"), ("device", "/dev/x")],
                "volume options size and inodes not supported. Filesystem does not support Project Quota: use type=tmpfs",
            ),
            (
                &[("o", "timeout=3")],
                "running volume create option: Volume driver timeout can only be used with non-local volume drivers: \
                 invalid argument",
            ),
            (
                &[("o", "uid=1,nodev")],
                "--opt o=nodev: there is nothing to mount with it: add --opt type=… or --opt device=…",
            ),
            (&[("type", "tmpfs"), ("o", "bogus=1")], "unknown mount option \"bogus=1\": invalid mount option"),
            (
                &[("type", "tmpfs"), ("o", "size=zz")],
                "--opt o: \"size=zz\": give a number, with k, m, g or % behind it where it is meant",
            ),
            (&[("type", "../x"), ("device", "y")], "--opt type=\"../x\": it is no name of a file system"),
            (
                &[("type", "none"), ("o", "bind"), ("device", "x")],
                "invalid volume option device for driver 'local': \"x\": give the absolute path of the directory to be bound",
            ),
        ];
        for (pairs, words) in rows {
            assert_eq!(volume(options(pairs), (None, None)).expect_err(words).message, *words);
        }
        let refusal = volume(options(&[("type", "ext4"), ("device", "/x")]), (Some(1), None)).expect_err("whose");
        assert!(refusal.message.starts_with("--uid and --gid: what the volume mounts has owners"), "{refusal}");
    }

    #[test]
    fn what_is_recorded() {
        let (recorded, owner) = volume(options(&[("o", "uid=5,gid=6")]), (None, None)).expect("a directory");
        assert_eq!((owner, recorded["UID"].as_str(), recorded["GID"].as_str()), (Some((5, 6)), "5", "6"));
        let tmpfs = [("type", "tmpfs"), ("device", "tmpfs"), ("o", "size=1m,inodes=10,noexec,huge=never,mode=0700")];
        let (recorded, owner) = volume(options(&tmpfs), (None, Some(7))).expect("a tmpfs");
        assert_eq!((recorded, owner), (options(&tmpfs), Some((0, 7))));
        volume(options(&[("device", "/dev/sdb1")]), (None, None)).expect("mount finds out what it is");
        volume(options(&[("type", "nfs"), ("device", "host:/x"), ("o", "addr=1.2.3.4,rw")]), (None, None))
            .expect("nfs");
    }
}
