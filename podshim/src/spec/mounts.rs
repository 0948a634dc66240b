//! Mounts of pods and containers: destinations, options, volumes.

use std::collections::BTreeSet;

use proto::{
    Id, Kind, Refusal, id, name,
    refusal::Result,
    wire::{Mount, mount},
};

use super::text::{clean, no_controls, quoted, shown};

/// Most mounts of one container: more than this no runtime takes in one configuration (CVE-2021-43784).
pub(super) const MAX: usize = 1024;

/// Options of binds and volumes of which one excludes the others, and podman's words for each set.
const EXCLUSIVE: [(&[&str], &str); 9] = [
    (&["rw", "ro"], "'rw' or 'ro' option"),
    (&["z", "Z", "O"], "'z', 'Z', or 'O' option"),
    (
        &["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"],
        "'[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
    ),
    (&["bind", "rbind"], "'[r]bind' option"),
    (&["exec", "noexec"], "'noexec' or 'exec' option"),
    (&["dev", "nodev"], "'nodev' or 'dev' option"),
    (&["suid", "nosuid"], "'nosuid' or 'suid' option"),
    (&["copy", "nocopy"], "'copy' or 'nocopy' option"),
    (&["U"], "'U' option"),
];

/// Options podman has and this version has not.
const NOT_YET: [(&str, &str); 3] = [
    ("idmap", "the mapping of ids"),
    ("upperdir", "an overlay on the source"),
    ("workdir", "an overlay on the source"),
];

/// Flags of a tmpfs (tmpfs(5), mount(8)), in pairs that exclude each other.
const TMPFS_FLAGS: [[&str; 2]; 6] = [
    ["rw", "ro"],
    ["exec", "noexec"],
    ["dev", "nodev"],
    ["suid", "nosuid"],
    ["tmpcopyup", "notmpcopyup"],
    ["relatime", "noatime"],
];

/// Whether `name` is a name this module gives to anonymous volumes: 64 hexadecimal digits.
pub fn is_anonymous(name: &str) -> bool {
    name.len() == id::LENGTH && id::is_prefix(name)
}

/// A name for an anonymous volume.
pub(super) fn anonymous() -> Result<String> {
    Id::random().map(String::from).map_err(|error| Refusal::internal("no random name for a volume", error))
}

/// Refuses mounts that cannot be; cleans destinations. Destinations are unique afterwards.
pub(super) fn check(mut mounts: Vec<Mount>) -> Result<Vec<Mount>> {
    if mounts.len() > MAX {
        return Err(Refusal::invalid(format!("--volume: more than {MAX} mounts: mount a directory above them")));
    }
    let mut seen = BTreeSet::new();
    for mount in &mut mounts {
        mount.destination = destination(&mount.destination)?;
        match mount.kind() {
            mount::Kind::Bind => {
                source_path(mount)?;
                if let Some(option) = mount.options.iter().find(|option| is_subpath(option)) {
                    return Err(Refusal::invalid(format!("invalid option type {}", quoted(option))));
                }
                options(&mount.options)?;
            }
            mount::Kind::Volume => {
                volume_name(&mount.source)?;
                options(&mount.options)?;
            }
            mount::Kind::Image => image(mount)?,
            mount::Kind::Tmpfs => mount.options.iter().try_for_each(|option| tmpfs_option(option))?,
            mount::Kind::Devpts => return Err(kind_not_yet(mount)),
        }
        if mount.kind() == mount::Kind::Tmpfs {
            tmpfs_pairs(&mount.options)?;
        }
        if !seen.insert(mount.destination.clone()) {
            return Err(Refusal::invalid(format!("{}: duplicate mount destination", shown(&mount.destination))));
        }
    }
    Ok(mounts)
}

/// Parents before what is mounted inside them; otherwise in the order given.
pub(super) fn sort(mounts: &mut [Mount]) {
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
}

/// A destination, cleaned.
fn destination(path: &str) -> Result<String> {
    if !path.starts_with('/') {
        return Err(Refusal::invalid(format!("invalid container path {}, must be an absolute path", quoted(path))));
    }
    no_controls("--volume", path)?;
    let cleaned = clean(path);
    if cleaned == "/" {
        return Err(Refusal::invalid(format!(
            "invalid container path {}: the root of the container cannot be mounted over",
            quoted(path)
        )));
    }
    Ok(cleaned)
}

fn source_path(mount: &Mount) -> Result<()> {
    if !mount.source.starts_with('/') {
        return Err(Refusal::invalid(format!(
            "--volume {}: the source of a bind is an absolute path",
            quoted(&format!("{}:{}", mount.source, mount.destination))
        )));
    }
    super::text::no_nul("--volume", &mount.source)
}

/// The name of a volume; empty = anonymous.
pub(super) fn volume_name(text: &str) -> Result<()> {
    if text.is_empty() || name::is_valid(text) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "creating named volume {}: running volume create option: {}",
        quoted(text),
        name::rule(text)
    )))
}

fn kind_not_yet(mount: &Mount) -> Refusal {
    let destination = shown(&mount.destination);
    Refusal::new(
        Kind::NotSupported,
        format!("--mount type=devpts,dst={destination}: this version mounts bind, volume, image and tmpfs only"),
    )
}

/// The files of an image, to look at or (`rw`) to write to until the container ends.
fn image(mount: &Mount) -> Result<()> {
    if mount.source.is_empty() {
        return Err(Refusal::invalid("must set source and destination for image volume"));
    }
    no_controls("--mount type=image,source", &mount.source)?;
    match mount.options.iter().find(|option| !matches!(option.as_str(), "ro" | "rw") && !is_subpath(option)) {
        Some(option) => Err(Refusal::invalid(format!("invalid option type {}", quoted(option)))),
        None => options(&mount.options),
    }
}

/// `subpath=DIR`: part of a volume or image.
fn is_subpath(option: &str) -> bool {
    option.starts_with("subpath=")
}

/// `CONTAINER[:OPTIONS]` of `--volumes-from`.
pub(super) fn source(text: &str) -> Result<()> {
    let (name, options) = text.split_once(':').unwrap_or((text, ""));
    if !name::is_valid(name) {
        return Err(Refusal::no_such_container(name));
    }
    if options.split(',').any(|option| !matches!(option, "" | "z" | "Z" | "ro" | "rw")) {
        return Err(Refusal::invalid(format!(
            "invalid option {} specified - volumes from another container can only use z,ro,rw options",
            quoted(options)
        )));
    }
    Ok(())
}

/// The options of a bind or volume are known and do not contradict each other.
fn options(options: &[String]) -> Result<()> {
    for option in options.iter().filter(|option| !is_subpath(option)) {
        let key = option.split_once('=').map_or(option.as_str(), |(key, _)| key);
        if let Some((_, what)) = NOT_YET.iter().find(|(name, _)| *name == key).filter(|_| single(options, key)) {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("--volume option {}: {what} is not supported by this version: leave it away", quoted(option)),
            ));
        }
        let Some((set, words)) = EXCLUSIVE.iter().find(|(set, _)| set.contains(&option.as_str())) else {
            return Err(Refusal::invalid(format!("invalid option type {}", quoted(option))));
        };
        if options.iter().filter(|other| set.contains(&other.as_str())).count() > 1 {
            return Err(Refusal::invalid(format!(
                "invalid options {}, can only specify 1 {words}",
                quoted(&options.join(", "))
            )));
        }
    }
    subpaths(options)
}

/// A part of a volume is named by a clean path; where it leads is found out when it is mounted.
fn subpaths(options: &[String]) -> Result<()> {
    let mut paths = options.iter().filter_map(|option| option.strip_prefix("subpath="));
    let (first, more) = (paths.next(), paths.next());
    if more.is_some() {
        return Err(Refusal::invalid("cannot pass 'subpath' option more than once: invalid mount option"));
    }
    let Some(path) = first else { return Ok(()) };
    if path.is_empty() || path.contains('\0') || path.split('/').any(|part| part == "..") {
        return Err(Refusal::invalid(format!("subpath {}: give a path inside the volume without ..", quoted(path))));
    }
    Ok(())
}

/// No other option excludes `key`: a contradiction is told first.
fn single(options: &[String], key: &str) -> bool {
    EXCLUSIVE
        .iter()
        .filter(|(set, _)| set.contains(&key))
        .all(|(set, _)| options.iter().filter(|other| set.contains(&other.as_str())).count() == 1)
}

/// One option of a tmpfs.
pub(super) fn tmpfs_option(option: &str) -> Result<()> {
    let known = match option.split_once('=') {
        None => TMPFS_FLAGS.iter().flatten().any(|flag| *flag == option),
        Some(("size" | "nr_inodes" | "nr_blocks", value)) => {
            let digits = value.strip_suffix(['k', 'K', 'm', 'M', 'g', 'G', '%']).unwrap_or(value);
            if digits.is_empty() || digits.len() > 18 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(Refusal::invalid(format!(
                    "--tmpfs option {}: give a number, with k, m, g or % behind it where it is meant",
                    quoted(option)
                )));
            }
            true
        }
        Some(("mode", value)) => {
            if value.is_empty() || value.len() > 5 || !value.bytes().all(|byte| matches!(byte, b'0'..=b'7')) {
                return Err(Refusal::invalid(format!("--tmpfs option {}: give the mode in octal", quoted(option))));
            }
            true
        }
        Some(("uid" | "gid", value)) => {
            if value.bytes().any(|byte| !byte.is_ascii_digit()) || value.parse::<i32>().is_err() {
                return Err(Refusal::invalid(format!("--tmpfs option {}: give a number", quoted(option))));
            }
            true
        }
        Some(_) => false,
    };
    if known {
        return Ok(());
    }
    Err(Refusal::invalid(format!("unknown mount option {}: invalid mount option", quoted(option))))
}

/// No flag together with its opposite.
fn tmpfs_pairs(options: &[String]) -> Result<()> {
    for [one, other] in TMPFS_FLAGS {
        if options.iter().any(|option| option == one) && options.iter().any(|option| option == other) {
            return Err(Refusal::invalid(format!(
                "invalid options {}, can only specify 1 '{one}' or '{other}' option",
                quoted(&options.join(", "))
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(destination: &str, options: &[&str]) -> Mount {
        Mount {
            kind: mount::Kind::Volume.into(),
            source: "v".into(),
            destination: destination.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn destinations_are_cleaned_and_parents_come_first() {
        let mut mounts =
            check(vec![volume("/a/b/", &[]), volume("/c", &["ro", "z"]), volume("//a", &["rw", "nocopy"])])
                .expect("fine");
        sort(&mut mounts);
        let order: Vec<&str> = mounts.iter().map(|mount| mount.destination.as_str()).collect();
        assert_eq!(order, ["/c", "/a", "/a/b"]);
    }

    #[test]
    fn every_single_option_podman_documents_is_known() {
        for (set, _) in EXCLUSIVE {
            for option in set {
                let refused = options(&[(*option).to_owned()]).err().map(|refusal| refusal.kind);
                assert!(matches!(refused, None | Some(Kind::NotSupported)), "{option}");
            }
        }
        for option in ["size=64m", "size=10%", "mode=1777", "noexec", "nr_inodes=1k", "uid=7", "tmpcopyup"] {
            tmpfs_option(option).expect(option);
        }
    }

    #[test]
    fn names_of_anonymous_volumes_are_told_from_others() {
        assert!(is_anonymous(&anonymous().expect("random")));
        assert!(!is_anonymous("vol1") && !is_anonymous(&"A".repeat(64)));
    }
}
