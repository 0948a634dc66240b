//! What a path stands for inside a root.

use std::{
    collections::VecDeque,
    ffi::OsString,
    io,
    os::fd::BorrowedFd,
    path::{Component, Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::readlinkat,
    sys::stat::{SFlag, fstat},
};

use super::{ITSELF, below_root};
use crate::sys::beneath;

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// What a path stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Its path without links, from the root; of what is missing, the path it could be made at.
    pub path: PathBuf,
    /// There is something.
    pub found: bool,
    /// It is a directory.
    pub directory: bool,
    /// Nothing is there, but the directory it would be in is.
    pub parent: bool,
}

/// Follows `path` inside `root`, the last link too. A path that ends with a slash stands for a directory or nothing.
///
/// # Errors
/// `ELOOP` for links that do not end, else those of openat2(2).
pub fn locate(root: BorrowedFd<'_>, path: &Path) -> io::Result<Located> {
    let text = path.as_os_str().as_encoded_bytes();
    let directory_only = text.ends_with(b"/") || text.ends_with(b"/.");
    let mut pending = VecDeque::new();
    push(&mut pending, path);
    let mut located = Located { path: PathBuf::from("/"), found: true, directory: true, parent: false };
    let mut links = 0;
    while let Some(part) = pending.pop_front() {
        if part == ".." {
            located.path.pop();
            located.directory = true;
            continue;
        }
        if !located.directory {
            return Ok(Located { found: false, ..located });
        }
        let next = located.path.join(&part);
        let itself = match below_root(root, &next, ITSELF) {
            Ok(itself) => itself,
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) => {
                let parent = pending.is_empty() && !directory_only;
                return Ok(Located { path: next, found: false, directory: false, parent });
            }
            Err(error) => return Err(error),
        };
        match beneath::kind(&fstat(&itself)?) {
            SFlag::S_IFLNK => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                let text = PathBuf::from(readlinkat(&itself, c"")?);
                if text.is_absolute() {
                    located.path = PathBuf::from("/");
                }
                push(&mut pending, &text);
            }
            kind => {
                located.path = next;
                located.directory = kind == SFlag::S_IFDIR;
            }
        }
    }
    if directory_only && !located.directory {
        located.found = false;
    }
    Ok(located)
}

/// Puts the parts of `path` before those that are left.
fn push(pending: &mut VecDeque<OsString>, path: &Path) {
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => pending.push_front(name.to_owned()),
            Component::ParentDir => pending.push_front("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}
