//! Starting a program: posix_spawn(3) with descriptors at agreed numbers.
#![allow(unsafe_code)]

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
};

use nix::fcntl::{FcntlArg, fcntl};

use crate::raw::own;

/// Whom the terminal and its signals belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Apart {
    /// A process group of its own.
    Group,
    /// A session of its own (setsid(2)).
    Session,
}

/// A program to be started.
#[derive(Debug)]
pub struct Program<'a> {
    /// Its absolute path.
    pub path: &'a CStr,
    /// Its arguments, the name first.
    pub args: &'a [CString],
    /// Its whole environment.
    pub env: &'a [CString],
    /// Its working directory.
    pub directory: &'a CStr,
    /// Its descriptors 0, 1, 2 and on. All of ours are at 3 or above, or are meant as they are.
    pub fds: &'a [BorrowedFd<'a>],
    /// How far it is from us.
    pub apart: Apart,
}

/// Becomes `program`: same pid, same children, and of our descriptors those of `fds`. Ignored signals stay ignored, none
/// is blocked. Comes back only when it cannot; our descriptors 0 and on are then not what they were, and the caller has
/// to end.
///
/// `apart` and `directory` change nothing.
pub fn replace(program: &Program<'_>) -> io::Error {
    let prepare = || -> io::Result<()> {
        let moved = out_of_the_way(program.fds)?;
        for (target, fd) in moved.iter().enumerate() {
            let target = RawFd::try_from(target).map_err(io::Error::other)?;
            // SAFETY: both are numbers; what `target` was is lost, which the caller has agreed to.
            if unsafe { libc::dup2(fd.as_raw_fd(), target) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        Ok(())
    };
    if let Err(error) = prepare() {
        return error;
    }
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (args, env) = (pointers(program.args), pointers(program.env));
    // SAFETY: path, arguments and environment are NUL-terminated strings in arrays ended by null, all alive.
    unsafe { libc::execve(program.path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Our own environment but for the variables `without`, for a program that we start or become.
pub fn environment(without: &[&str]) -> Vec<CString> {
    std::env::vars_os()
        .filter(|(name, _)| !without.iter().any(|other| name == other))
        // What comes from an environment has no NUL in it.
        .filter_map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).ok())
        .collect()
}

/// Has a child of ours look at `path` (stat(2)), and at the first byte of a regular file: where the file system hangs, it is
/// the child that does, and not even SIGKILL may end it. Its exit code says nothing; it is ours to be reaped.
///
/// # Errors
/// Those of fork(2).
pub fn look(path: &CStr) -> io::Result<u32> {
    // SAFETY: zeros are a valid stat, which is only written to.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    let mut byte = 0u8;
    // SAFETY: the child makes nothing but system calls, on memory that was made before, whatever locks other threads of
    // ours had.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: all three are alive and belong to this process alone; it owns nothing that it would miss, and whoever
            // reads from what it closes is not to wait for it; _exit does not come back.
            unsafe {
                // A group of its own: podshim leaves those of ours to who has started them, and this one may never be asked
                // for.
                libc::setpgid(0, 0);
                if libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0) != 0 {
                    for number in 0..1024 {
                        libc::close(number);
                    }
                }
                if libc::stat(path.as_ptr(), &raw mut stat) == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFREG {
                    let file = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK);
                    libc::read(file, (&raw mut byte).cast(), 1);
                }
                libc::_exit(0)
            }
        }
        pid => u32::try_from(pid).map_err(io::Error::other),
    }
}

/// Copies of `fds` above the numbers they are going to have: one that is also the target of another would be overwritten.
fn out_of_the_way(fds: &[BorrowedFd<'_>]) -> io::Result<Vec<OwnedFd>> {
    let above = RawFd::try_from(fds.len()).unwrap_or(RawFd::MAX).max(3);
    Ok(fds.iter().map(|fd| fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(above)).map(own)).collect::<nix::Result<_>>()?)
}

/// Starts `program` with every signal at its default and none blocked. All descriptors of ours are close-on-exec, so it
/// gets those of `fds` only.
///
/// posix_spawn(3) shares our memory until the exec: it costs the same however big this process is.
///
/// # Errors
/// Those of execve(2), of opening the directory, or of clone(2).
pub fn spawn(program: &Program<'_>) -> io::Result<u32> {
    let moved = out_of_the_way(program.fds)?;
    let pointers = |list: &[CString]| -> Vec<*mut libc::c_char> {
        list.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (args, env) = (pointers(program.args), pointers(program.env));
    let check = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) };
    let mut pid: libc::pid_t = 0;
    // SAFETY: `actions` and `attributes` are initialised before they are used and destroyed after, on every path; the
    // strings, the two vectors (ended by null) and `moved` live until posix_spawn has returned, and it keeps no pointer.
    unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        let mut attributes: libc::posix_spawnattr_t = std::mem::zeroed();
        check(libc::posix_spawn_file_actions_init(&mut actions))?;
        if let Err(error) = check(libc::posix_spawnattr_init(&mut attributes)) {
            libc::posix_spawn_file_actions_destroy(&mut actions);
            return Err(error);
        }
        let result = (|| {
            check(libc::posix_spawn_file_actions_addchdir_np(&mut actions, program.directory.as_ptr()))?;
            for (target, fd) in moved.iter().enumerate() {
                let target = RawFd::try_from(target).map_err(io::Error::other)?;
                check(libc::posix_spawn_file_actions_adddup2(&mut actions, fd.as_raw_fd(), target))?;
            }
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            check(libc::posix_spawnattr_setsigmask(&mut attributes, &set))?;
            // Not sigfillset: it leaves out the C library's own two, which posix_spawn then ignores instead.
            std::ptr::write_bytes(&mut set, 0xff, 1);
            check(libc::posix_spawnattr_setsigdefault(&mut attributes, &set))?;
            check(libc::posix_spawnattr_setpgroup(&mut attributes, 0))?;
            let apart = match program.apart {
                Apart::Group => libc::POSIX_SPAWN_SETPGROUP,
                Apart::Session => libc::c_int::from(libc::POSIX_SPAWN_SETSID),
            };
            let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF | apart;
            let flags = libc::c_short::try_from(flags).map_err(io::Error::other)?;
            check(libc::posix_spawnattr_setflags(&mut attributes, flags))?;
            check(libc::posix_spawn(
                &mut pid,
                program.path.as_ptr(),
                &actions,
                &attributes,
                args.as_ptr(),
                env.as_ptr(),
            ))
        })();
        libc::posix_spawnattr_destroy(&mut attributes);
        libc::posix_spawn_file_actions_destroy(&mut actions);
        result?;
    }
    u32::try_from(pid).map_err(io::Error::other)
}
