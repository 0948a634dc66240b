//! Bind sources as the caller sees them: podctl clones the mount trees in its own view and hands them over, so mounts made
//! after the pod's shim was started, private /tmp directories and the like are what they are for the caller.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use nix::errno::Errno;
use proto::{
    patience, raw,
    wire::{Mount, mount::Kind},
};

use crate::{
    dial::Shim,
    error::{Failure, plain},
    sys,
};

/// The mount trees of the bind mounts among `mounts`, in their order; `None` where there are none, or where this process
/// may not clone trees: then the shim opens the paths itself.
///
/// # Errors
/// When a source has gone.
pub fn open(mounts: &[Mount]) -> Result<Option<Vec<OwnedFd>>, Failure> {
    let mut trees = Vec::new();
    for mount in mounts.iter().filter(|mount| mount.kind() == Kind::Bind) {
        if let Some(why) = patience::hangs(Path::new(&mount.source)) {
            return Err(Failure::invalid(format!("statfs {}: {why}", mount.source)));
        }
        match sys::clone_tree(Path::new(&mount.source), true) {
            Ok(tree) => trees.push(tree),
            Err(error) if is_refused(&error) => return Ok(None),
            Err(error) => return Err(Failure::invalid(format!("statfs {}: {}", mount.source, plain(&error)))),
        }
    }
    Ok((!trees.is_empty()).then_some(trees))
}

/// The directory of the log at `path`; `None` where there is no such path, or where this process may not clone trees.
///
/// # Errors
/// When it is not there.
pub fn log_directory(path: &str) -> Result<Option<OwnedFd>, Failure> {
    let Some(directory) = Path::new(path).parent() else { return Ok(None) };
    if let Some(why) = patience::hangs(directory) {
        return Err(Failure::invalid(format!("--log-opt path={path}: {why}")));
    }
    match sys::clone_tree(directory, false) {
        Ok(tree) => Ok(Some(tree)),
        Err(error) if is_refused(&error) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.kind() == io::ErrorKind::NotADirectory => {
            Err(Failure::invalid(format!("--log-opt path={path}: its directory does not exist: make it first")))
        }
        Err(error) => Err(Failure::io(format!("--log-opt path={path}"), &error)),
    }
}

/// Our standard input, output and error, for a container that gets them as they are.
///
/// # Errors
/// Those of dup(2).
pub fn streams() -> Result<[OwnedFd; 3], Failure> {
    let copy = |fd: std::os::fd::BorrowedFd<'_>| {
        fd.try_clone_to_owned().map_err(|error| Failure::io("hand over the standard streams", &error))
    };
    Ok([copy(io::stdin().as_fd())?, copy(io::stdout().as_fd())?, copy(io::stderr().as_fd())?])
}

/// Most descriptors that `--preserve-fds` passes.
const MOST_PRESERVED: u32 = 256;

/// Copies of the first `count` descriptors after our standard streams, which we have inherited. To be asked before
/// anything of our own is opened.
///
/// # Errors
/// `file descriptor 3 is not available: bad file number`
pub fn preserved(count: u32) -> Result<Vec<OwnedFd>, Failure> {
    if count > MOST_PRESERVED {
        return Err(Failure::invalid(format!("--preserve-fds {count}: at most {MOST_PRESERVED} are passed")));
    }
    (0..count)
        .map(|offset| {
            let number = 3 + i32::try_from(offset).unwrap_or(i32::MAX - 3);
            sys::duplicate_inherited(number)
                .map_err(|error| Failure::io(format!("file descriptor {number} is not available"), &error))
        })
        .collect()
}

fn is_refused(error: &io::Error) -> bool {
    [Errno::EPERM, Errno::EACCES, Errno::ENOSYS, Errno::EINVAL]
        .iter()
        .any(|&no| error.raw_os_error() == Some(no as i32))
}

/// A deposit that the next request takes; it lives as long as this.
#[derive(Debug)]
pub struct Deposit {
    /// What the request names it by.
    pub token: String,
    _connection: raw::Raw,
}

/// Deposits `trees` at the pod's shim.
///
/// # Errors
/// When the shim has gone.
pub async fn deposit(shim: &Shim, trees: &[OwnedFd]) -> Result<Deposit, Failure> {
    let words = |error: io::Error| Failure::io("hand the sources of bind mounts to podshim", &error);
    let token = raw::token().map_err(words)?;
    let connection = shim.raw().map_err(words)?;
    let fds: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
    connection.deposit(&token, &fds).await.map_err(words)?;
    Ok(Deposit { token, _connection: connection })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_binds_are_opened() {
        let volume = Mount { kind: Kind::Volume.into(), source: "v".to_owned(), ..Default::default() };
        assert!(open(&[volume]).expect("nothing").is_none());
    }
}
