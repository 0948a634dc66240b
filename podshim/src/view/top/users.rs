//! Names of users and groups, of the host or as a container has them.
//!
//! A container's files are hostile: they are opened inside its root without following a link at the end, without waiting
//! for the writer of a FIFO, must be regular, and only their beginning is read. No name service is asked.

use std::{cell::OnceCell, collections::BTreeMap, fs::File, io::Read, os::fd::OwnedFd, path::Path};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
};

/// Largest file that is read.
const SIZE: u64 = 1 << 20;
/// Most entries that are kept.
const ENTRIES: usize = 4096;

/// Names by number; read when one is asked for, as most tables show users and no groups.
#[derive(Debug)]
pub(super) struct Users {
    /// Opened at once: a pid may be somebody else's later.
    root: Option<OwnedFd>,
    users: OnceCell<BTreeMap<u32, String>>,
    groups: OnceCell<BTreeMap<u32, String>>,
}

impl Users {
    /// Those of the host.
    pub(super) fn of_host() -> Users {
        Users::below(Path::new("/"))
    }

    /// Those that the process `pid` sees.
    pub(super) fn of_process(pid: u32) -> Users {
        Users::below(Path::new(&format!("/proc/{pid}/root")))
    }

    fn below(root: &Path) -> Users {
        let root = open(root, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).ok();
        Users { root, users: OnceCell::new(), groups: OnceCell::new() }
    }

    /// The user's name, else the number.
    pub(super) fn user(&self, uid: u32) -> String {
        let users = self.users.get_or_init(|| self.names("etc/passwd"));
        users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }

    /// The group's name, else the number.
    pub(super) fn group(&self, gid: u32) -> String {
        let groups = self.groups.get_or_init(|| self.names("etc/group"));
        groups.get(&gid).cloned().unwrap_or_else(|| gid.to_string())
    }

    /// The names in a file of the format of passwd(5) or group(5).
    fn names(&self, file: &str) -> BTreeMap<u32, String> {
        self.read(file).map_or_else(BTreeMap::new, |text| parse(&text))
    }

    fn read(&self, file: &str) -> Option<String> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let file = File::from(openat2(self.root.as_ref()?, file, how).ok()?);
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > SIZE {
            return None;
        }
        let mut text = Vec::with_capacity(usize::try_from(metadata.len()).ok()? + 1);
        file.take(SIZE).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    }
}

/// `NAME:…:NUMBER:…`; of several names of a number the first counts.
fn parse(text: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in text.lines().take(ENTRIES) {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next().unwrap_or_default(), fields.next(), fields.next());
        if let (false, Some(Ok(number))) = (name.is_empty(), number.map(str::parse)) {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn names_of_a_root() {
        let dir = tempfile::tempdir().expect("tempdir");
        fs::create_dir(dir.path().join("etc")).expect("etc");
        fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\nbad\n:x:5:\ntoor:x:0:0:\nx:y:z:\n")
            .expect("passwd");
        let users = Users::below(dir.path());
        assert_eq!((users.user(0), users.user(5), users.group(0)), ("root".into(), "5".into(), "0".into()));
    }

    #[test]
    fn hostile_files_give_numbers() {
        let dir = tempfile::tempdir().expect("tempdir");
        let etc = dir.path().join("etc");
        let passwd = etc.join("passwd");
        fs::create_dir(&etc).expect("etc");
        symlink("/etc/passwd", &passwd).expect("symlink");
        assert_eq!(Users::below(dir.path()).user(0), "0", "a link at the end");
        fs::remove_file(&passwd).expect("remove");
        nix::unistd::mkfifo(&passwd, Mode::S_IRWXU).expect("fifo");
        assert_eq!(Users::below(dir.path()).user(0), "0", "a FIFO nobody writes to");
        fs::remove_file(&passwd).expect("remove");
        File::create(&passwd).and_then(|file| file.set_len(2 << 30)).expect("sparse");
        assert_eq!(Users::below(dir.path()).user(0), "0", "too large");
        fs::remove_file(&passwd).expect("remove");
        fs::remove_dir(&etc).expect("remove");
        // Links on the way stay inside the root.
        symlink("/etc", &etc).expect("symlink");
        assert_eq!(Users::below(dir.path()).user(0), "0", "a loop");
    }
}
