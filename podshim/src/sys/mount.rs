//! Mount calls that nix has no wrapper for (move_mount(2)), and the table of mounts.
#![allow(unsafe_code)]

use std::{
    ffi::{CString, OsString},
    fs, io,
    os::{
        fd::{AsRawFd, BorrowedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};

const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;

/// Attaches the detached mount `tree` (from open_tree(2) with OPEN_TREE_CLONE, perhaps of another mount namespace) at
/// `target` in the mount namespace of this process.
///
/// # Errors
/// Those of move_mount(2).
pub fn attach_tree(tree: BorrowedFd<'_>, target: &Path) -> io::Result<()> {
    let target = CString::new(target.as_os_str().as_bytes())?;
    // SAFETY: both paths are NUL-terminated strings that live through the call; the descriptor is borrowed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Takes away what is mounted last at `point`, when nobody uses it any more; follows no link.
///
/// # Errors
/// Those of umount2(2).
pub fn detach(point: &Path) -> io::Result<()> {
    Ok(umount2(point, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW)?)
}

/// Where something is mounted in our mount namespace, in the order of mounting (proc_pid_mountinfo(5)); a place where
/// several are stacked is named once for each.
pub fn points() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter_map(|line| line.split(' ').nth(4)).map(unescape).collect()
}

/// Undoes mountinfo's octal escapes (`\040` for a blank).
pub fn unescape(text: &str) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.filter(|_| byte == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(plain) => {
                out.push(plain);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_the_kernel_are_undone() {
        assert_eq!(unescape("/a\\040b\\"), PathBuf::from("/a b\\"));
        assert!(points().contains(&PathBuf::from("/proc")));
    }
}
