//! Starting a child as a session of its own with descriptors at agreed numbers.

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    process::Command,
};

use proto::spawn::{Apart, Program, spawn};

/// Starts what `command` describes (program, arguments, directory) in a session of its own, stdio at /dev/null, with
/// `fds` at 3 and following (sd_listen_fds(3)). Its environment is what `command` sets, and nothing of ours. Its exit is
/// seen by whoever reaps for this process.
///
/// # Errors
/// Those of clone(2) and execve(2); `InvalidInput` for a NUL byte.
pub fn session(command: &Command, fds: &[BorrowedFd<'_>]) -> io::Result<u32> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let path = text(command.get_program())?;
    let args =
        [command.get_program()].into_iter().chain(command.get_args()).map(text).collect::<io::Result<Vec<_>>>()?;
    let env = command
        .get_envs()
        .filter_map(|(name, value)| Some([name.as_bytes(), b"=", value?.as_bytes()].concat()))
        .map(|entry| CString::new(entry).map_err(io::Error::from))
        .collect::<io::Result<Vec<_>>>()?;
    let directory = text(command.get_current_dir().map_or(OsStr::new("/"), |directory| directory.as_os_str()))?;
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let fds: Vec<_> = [null.as_fd(); 3].into_iter().chain(fds.iter().copied()).collect();
    spawn(&Program { path: &path, args: &args, env: &env, directory: &directory, fds: &fds, apart: Apart::Session })
}
