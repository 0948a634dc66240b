//! Bytes a directory holds.

use std::path::{Path, PathBuf};

use nix::{
    dir::Dir,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::{SFlag, fstatat},
};

/// Bytes of the files below `root`, links not followed. What vanishes meanwhile does not count.
///
/// The tree belongs to a container that may swap its directories for links while we look: every directory is opened
/// below `root` without following any. The walk is a list, so depth costs memory and no stack.
pub fn size(root: &Path) -> u64 {
    let Ok(root) = Dir::open(root, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, nix::sys::stat::Mode::empty()) else {
        return 0;
    };
    let mut total = 0;
    let mut directories = vec![PathBuf::from(".")];
    while let Some(path) = directories.pop() {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        let Ok(mut directory) = openat2(&root, &path, how).and_then(Dir::from_fd) else { continue };
        let names: Vec<_> = directory
            .iter()
            .flatten()
            .map(|entry| entry.file_name().to_owned())
            .filter(|name| !matches!(name.to_bytes(), b"." | b".."))
            .collect();
        for name in names {
            let Ok(stat) = fstatat(&directory, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => {
                    use std::os::unix::ffi::OsStrExt;
                    directories.push(path.join(std::ffi::OsStr::from_bytes(name.to_bytes())));
                }
                SFlag::S_IFREG => total += u64::try_from(stat.st_size).unwrap_or(0),
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    #[test]
    fn files_count_and_links_do_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        std::fs::create_dir(dir.path().join("a")).expect("dir");
        std::fs::write(dir.path().join("a/x"), [0; 10]).expect("file");
        std::fs::write(dir.path().join("y"), [0; 5]).expect("file");
        std::os::unix::fs::symlink("/usr", dir.path().join("a/usr")).expect("link");
        assert_eq!(super::size(dir.path()), 15);
        assert_eq!(super::size(&dir.path().join("missing")), 0);
    }
}
