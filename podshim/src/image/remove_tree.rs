//! Removing a tree that a stranger made: of any depth, with few descriptors, following nothing.

use std::{io, os::fd::OwnedFd, path::Path};

use rustix::{
    fs::{self as fs, AtFlags, CWD, Dir, Mode, OFlags},
    io::Errno,
};

/// Descriptors that are open at once; deeper directories are moved up first.
const DEEP: u32 = 64;

/// Removes the directory `path` and all that is in it. Not there is fine.
///
/// # Errors
/// Those of the file system; what could not be removed is left.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    let top = match open(CWD, path) {
        Err(Errno::NOENT) => return Ok(()),
        other => other?,
    };
    let mut moved = 0;
    loop {
        let before = moved;
        empty(&top, &top, DEEP, &mut moved)?;
        // What was moved up from the depth is in the top now and has its turn.
        if before == moved {
            break;
        }
    }
    match fs::unlinkat(CWD, path, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn open(dir: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    fs::openat(dir, name, flags, Mode::empty())
}

/// Empties `dir`, somewhere below `top`.
fn empty(top: &OwnedFd, dir: &OwnedFd, left: u32, moved: &mut u64) -> rustix::io::Result<()> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    for name in names {
        match fs::unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => continue,
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error),
        }
        if fs::unlinkat(dir, &name, AtFlags::REMOVEDIR).is_ok() {
            continue;
        }
        if left == 0 {
            *moved += 1;
            fs::renameat_with(dir, &name, top, format!(".moved-{moved}"), fs::RenameFlags::NOREPLACE)?;
            continue;
        }
        let below = open(dir, &name)?;
        empty(top, &below, left - 1, moved)?;
        fs::unlinkat(dir, &name, AtFlags::REMOVEDIR)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_any_depth_and_no_more_than_that() {
        let dir = tempfile::tempdir().expect("tempdir");
        let kept = dir.path().join("kept");
        std::fs::create_dir(&kept).expect("dir");
        std::fs::write(kept.join("file"), "x").expect("write");
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).expect("dir");
        std::os::unix::fs::symlink(&kept, tree.join("link")).expect("link");
        let mut fd = open(CWD, &tree).expect("open");
        for _ in 0..500 {
            for name in ["a", "b"] {
                fs::mkdirat(&fd, name, Mode::from_raw_mode(0o700)).expect("mkdir");
            }
            fd = open(&fd, "a").expect("open");
        }
        drop(fd);
        remove_tree(&tree).expect("remove");
        assert!(!tree.exists() && kept.join("file").exists());
        remove_tree(&tree).expect("not there is fine");
    }
}
