//! Extended attributes (xattr(7)) of open files.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd},
};

/// Largest list and value the kernel has (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const MAX: usize = 64 << 10;

/// Names of the attributes of an open file; none where the file system has none.
///
/// # Errors
/// Those of flistxattr(2).
pub fn list(file: impl AsFd) -> io::Result<Vec<CString>> {
    let mut buffer = vec![0u8; MAX];
    // SAFETY: the buffer is ours and as long as we say; the descriptor is borrowed for the call.
    let length = unsafe { libc::flistxattr(file.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::EOPNOTSUPP) { Ok(Vec::new()) } else { Err(error) };
    };
    buffer.truncate(length);
    Ok(buffer
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| Some(CStr::from_bytes_with_nul(name).ok()?.to_owned()))
        .collect())
}

/// The value of an attribute; `None` when it has gone.
///
/// # Errors
/// Those of fgetxattr(2).
pub fn get(file: impl AsFd, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0u8; MAX];
    // SAFETY: `name` ends with NUL; the buffer is ours and as long as we say; the descriptor is borrowed for the call.
    let length =
        unsafe { libc::fgetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), buffer.as_mut_ptr().cast(), buffer.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if error.raw_os_error() == Some(libc::ENODATA) { Ok(None) } else { Err(error) };
    };
    buffer.truncate(length);
    Ok(Some(buffer))
}

/// Sets an attribute.
///
/// # Errors
/// Those of fsetxattr(2).
pub fn set(file: impl AsFd, name: &CStr, value: &[u8]) -> io::Result<()> {
    // SAFETY: `name` ends with NUL; the kernel only reads `value`, whose length we give; the descriptor is borrowed.
    let result =
        unsafe { libc::fsetxattr(file.as_fd().as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_listed_and_read() {
        let file = tempfile::tempfile().expect("a file");
        match set(&file, c"user.podctl.test", b"a\0b") {
            // tmpfs of older kernels has no user attributes.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => return,
            result => result.expect("set"),
        }
        assert!(list(&file).expect("list").iter().any(|name| name.as_c_str() == c"user.podctl.test"));
        assert_eq!(get(&file, c"user.podctl.test").expect("get").as_deref(), Some(&b"a\0b"[..]));
        assert_eq!(get(&file, c"user.podctl.none").expect("get"), None);
    }
}
