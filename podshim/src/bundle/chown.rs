//! `-v …:U`: gives a mount's source to the container's user.

use std::{io, os::fd::AsFd, path::Path};

use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{AtFlags, OFlag},
    sys::stat::Mode,
    unistd::{Gid, Uid, fchown, fchownat},
};

/// Deepest directory that is followed: each level holds a descriptor.
const DEEPEST: usize = 256;

/// chown of everything at `source`, without following symlinks: another container may be writing there.
///
/// # Errors
/// Those of the file system.
pub(super) fn chown_all(source: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
    match Dir::open(source, flags, Mode::empty()) {
        Ok(dir) => chown_dir(dir, uid, gid, DEEPEST),
        Err(Errno::ENOTDIR | Errno::ELOOP) => {
            Ok(std::os::unix::fs::lchown(source, Some(uid.as_raw()), Some(gid.as_raw()))?)
        }
        Err(error) => Err(error.into()),
    }
}

fn chown_dir(mut dir: Dir, uid: Uid, gid: Gid, depth: usize) -> io::Result<()> {
    let depth = depth.checked_sub(1).ok_or_else(|| io::Error::other("directories are nested too deeply"))?;
    fchown(dir.as_fd(), Some(uid), Some(gid))?;
    let entries: Vec<_> = dir.iter().collect::<std::result::Result<_, _>>()?;
    for entry in entries {
        let name = entry.file_name();
        if [&b"."[..], b".."].contains(&name.to_bytes()) {
            continue;
        }
        if matches!(entry.file_type(), Some(Type::Directory) | None) {
            let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_RDONLY;
            match Dir::openat(dir.as_fd(), name, flags, Mode::empty()) {
                Ok(below) => {
                    chown_dir(below, uid, gid, depth)?;
                    continue;
                }
                // It has changed into something else meanwhile, or is gone.
                Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match fchownat(dir.as_fd(), name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn links_are_given_away_but_not_followed() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir_all(dir.path().join("vol/a/b")).expect("dirs");
        std::fs::write(dir.path().join("outside"), "").expect("file");
        symlink("../../outside", dir.path().join("vol/a/link")).expect("link");
        chown_all(&dir.path().join("vol"), 33, 34).expect("chown");
        let owner = |path: &str| {
            let meta = std::fs::symlink_metadata(dir.path().join(path)).expect(path);
            (meta.uid(), meta.gid())
        };
        assert_eq!([owner("vol"), owner("vol/a/b"), owner("vol/a/link")], [(33, 34); 3]);
        assert_eq!(owner("outside"), (0, 0));
    }
}
