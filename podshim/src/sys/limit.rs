//! Limits of processes: prlimit(2).
#![allow(unsafe_code)]

use nix::{
    errno::Errno,
    libc::RLIM_INFINITY,
    sys::resource::{Resource, getrlimit, setrlimit},
};

/// A limit, and how far its process may raise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: u64,
    /// How far it can be raised.
    pub hard: u64,
}

/// Takes the limit of the size of files (`ulimit -f`) from this process and all that it will start, as far as it may:
/// without CAP_SYS_RESOURCE the hard limit stays.
pub fn lift_file_size() {
    if setrlimit(Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY).is_err() {
        // Raising it to the hard one is what everybody may; a write that is too long all the same says so.
        let _ = getrlimit(Resource::RLIMIT_FSIZE).map(|(_, hard)| setrlimit(Resource::RLIMIT_FSIZE, hard, hard));
    }
}

/// Gives the process `pid` another limit of `resource` (`RLIMIT_…`); the one it had.
///
/// # Errors
/// Those of prlimit(2).
pub fn exchange(pid: u32, resource: i32, limit: Limit) -> Result<Limit, Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    let resource = libc::__rlimit_resource_t::try_from(resource).map_err(|_| Errno::EINVAL)?;
    let new = libc::rlimit64 { rlim_cur: limit.soft, rlim_max: limit.hard };
    let mut old = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both point to a whole rlimit64 of ours, which the kernel reads and writes before it returns.
    let result = unsafe { libc::prlimit64(pid, resource, &new, &mut old) };
    Errno::result(result).map(|_| Limit { soft: old.rlim_cur, hard: old.rlim_max })
}
