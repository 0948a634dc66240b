//! Volumes that mount something, by the options they were made with (podman-volume-create(1), `--opt`).
//!
//! Nothing is mounted for the volume as such: each container that uses it has a mount of its own, in the mount namespace
//! of its pod, and all of them are of one file system. The kernel counts them. The file system is mounted by mount(8),
//! which knows helpers (`mount.nfs`), loop devices and the words of every file system.

use std::{
    io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use proto::{Refusal, record::VolumeRecord, refusal::Result};

use crate::sys::child;

/// How long mount(8) may take: a server that does not answer keeps it waiting.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest complaint of mount(8) that is read.
const COMPLAINT: usize = 16 * 1024;
/// Where mount(8) and its helpers are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Options of mount(8) that hold for one mount (mount(2), MS_BIND).
const FLAGS: [&str; 4] = ["ro", "noexec", "nosuid", "nodev"];

/// What a volume mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounting {
    volume: String,
    /// The type of the file system, or `bind`; empty = mount(8) finds it out.
    kind: String,
    device: String,
    options: Vec<String>,
}

impl Mounting {
    /// What `volume` mounts; `None` where it is a directory of its own.
    pub fn of(volume: &VolumeRecord) -> Option<Mounting> {
        let option = |name: &str| volume.options.get(name).map_or("", String::as_str);
        let (kind, device) = (option("type"), option("device"));
        if kind.is_empty() && device.is_empty() {
            return None;
        }
        let mut options: Vec<String> =
            option("o").split(',').filter(|part| !matches!(*part, "" | "noquota")).map(as_mount_knows_it).collect();
        if let Some((uid, gid)) = volume.owner.filter(|_| kind == "tmpfs") {
            for (name, id) in [("uid", uid), ("gid", gid)] {
                if !options.iter().any(|option| option.starts_with(&format!("{name}="))) {
                    options.push(format!("{name}={id}"));
                }
            }
        }
        if kind == "bind" {
            options.push("bind".to_owned());
        }
        // Some file systems have no device, but something has to stand there.
        let device = if device.is_empty() { kind } else { device };
        let name = volume.name.clone();
        Some(Mounting { volume: name, kind: kind.to_owned(), device: device.to_owned(), options })
    }

    /// Whether what it mounts is empty at first, each time.
    pub fn is_fresh(&self) -> bool {
        self.kind == "tmpfs"
    }

    /// Which of its options are the mount's own, not the file system's: a mount of the mount has to have them, too.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        FLAGS.into_iter().filter(|flag| self.options.iter().any(|option| option == flag))
    }

    /// Mounts it at `target`. Blocks until mount(8) has done it or has been given up.
    ///
    /// # Errors
    /// In the words of mount(8).
    pub fn mount(&self, target: &Path) -> Result<()> {
        let failed = |words: &str| Refusal::internal(format!("mounting volume {}", self.volume), words);
        let mut command = Command::new("mount");
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/").arg("--no-mtab");
        if !self.options.is_empty() {
            command.arg("-o").arg(self.options.join(","));
        }
        if !matches!(self.kind.as_str(), "" | "bind") {
            command.arg("-t").arg(&self.kind);
        }
        command.arg("--").arg(&self.device).arg(target);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let said = match child::run(command, PATIENCE, COMPLAINT) {
            Ok((status, _)) if status.success() => return Ok(()),
            Ok((_, said)) => String::from_utf8_lossy(&said).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(failed(&format!("mount has not answered within {} s", PATIENCE.as_secs())));
            }
            Err(error) => return Err(failed(&format!("mount (util-linux): {error}"))),
        };
        let first = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("mount failed");
        let first = first.strip_prefix("mount: ").unwrap_or(first);
        // Where we mount is nothing to the user.
        let first = first.strip_prefix(&format!("{}: ", target.display())).unwrap_or(first);
        Err(failed(first.trim_end_matches('.')))
    }
}

/// `inodes=N` of podman is `nr_inodes=N` of tmpfs(5).
fn as_mount_knows_it(part: &str) -> String {
    match part.strip_prefix("inodes=") {
        Some(number) => format!("nr_inodes={number}"),
        None => part.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounting(options: &[(&str, &str)], owner: Option<(u32, u32)>) -> Option<Mounting> {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Mounting::of(&VolumeRecord {
            schema: 1,
            name: "v".to_owned(),
            created: 0,
            labels: Default::default(),
            options,
            anonymous: false,
            copied_up: false,
            owner,
        })
    }

    #[test]
    fn options_say_what_is_mounted() {
        let of = |options, owner| {
            let found = mounting(options, owner)?;
            Some((found.kind, found.device, found.options.join(",")))
        };
        let is = |kind: &str, device: &str, options: &str| Some((kind.into(), device.into(), options.into()));
        assert_eq!(of(&[("o", "uid=5")], Some((5, 0))), None);
        assert_eq!(of(&[("type", "tmpfs"), ("o", "size=1m,inodes=9,uid=5")], Some((5, 6))), {
            is("tmpfs", "tmpfs", "size=1m,nr_inodes=9,uid=5,gid=6")
        });
        assert_eq!(of(&[("type", "bind"), ("device", "/a"), ("o", "ro")], None), is("bind", "/a", "ro,bind"));
        assert_eq!(of(&[("device", "/dev/x"), ("o", "noquota")], None), is("", "/dev/x", ""));
    }

    #[test]
    fn what_cannot_be_mounted_is_said_in_the_words_of_mount() {
        let dir = tempfile::tempdir().expect("tempdir");
        let bogus = mounting(&[("type", "bogusfs"), ("device", "x")], None).expect("something");
        let words = bogus.mount(dir.path()).expect_err("no such type").message;
        assert!(words.starts_with("mounting volume v: ") && words.contains("bogusfs"), "{words}");
        assert!(!words.contains(&*dir.path().to_string_lossy()), "{words}");
    }
}
