//! What whoever started us has told us: the command line, the start record, the passed descriptors.

use std::{
    collections::HashMap,
    ffi::OsString,
    io,
    os::{
        fd::{OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    path::PathBuf,
};

use anyhow::{Context, Result, bail, ensure};
use proto::{
    Id,
    layout::sockets,
    record::{self, SCHEMA, StartRecord},
};

use crate::sys;

/// First passed descriptor (sd_listen_fds(3)).
const FIRST: RawFd = 3;
/// Passed descriptors taken at most.
const MAX_PASSED: RawFd = 512;

/// The variable in which a supervisor that wants to be replaced when it dies gives its pid.
pub const SUPERVISOR: &str = "PODCTL_SUPERVISOR";

/// See the module.
#[derive(Debug)]
pub struct Config {
    /// The start record.
    pub start: StartRecord,
    /// Where it is: our supervisor may change it.
    pub record: PathBuf,
    /// Our run directory, which is also the working directory.
    pub directory: PathBuf,
    /// Where ttrpc is served.
    pub listener: UnixListener,
    /// Where the raw socket is served.
    pub raw_listener: OwnedFd,
    /// What an earlier monitor has left with our supervisor.
    pub stored: HashMap<String, OwnedFd>,
    /// NOTIFY_SOCKET.
    pub notify: Option<PathBuf>,
    /// The pid of our parent, where it wants to be replaced when it dies.
    pub supervisor: Option<u32>,
}

/// Descriptors passed by LISTEN_FDS, by name.
#[derive(Debug)]
pub struct Passed {
    /// The descriptors.
    pub fds: HashMap<String, OwnedFd>,
    /// The first number after them.
    pub end: RawFd,
}

/// The descriptors that were passed to us. Asked once, before anything is opened.
pub fn passed() -> Passed {
    let count = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<RawFd>().ok()).unwrap_or(0);
    let mine = std::env::var("LISTEN_PID").map_or(true, |pid| pid == std::process::id().to_string());
    let count = if mine { count.clamp(0, MAX_PASSED) } else { 0 };
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    let mut fds = HashMap::new();
    for number in FIRST..FIRST + count {
        let name = names.next().unwrap_or_default().to_owned();
        // A number that is not open would be somebody else's soon.
        if is_open(number) {
            fds.insert(name, sys::own(number));
        }
    }
    Passed { fds, end: FIRST + count }
}

fn is_open(fd: RawFd) -> bool {
    std::fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok()
}

/// `podmon ID --start-record PATH`
///
/// # Errors
/// For another command line, a record that cannot be read or is of another container, and missing sockets.
pub fn load(args: impl Iterator<Item = OsString>, mut passed: Passed) -> Result<Config> {
    let args: Vec<OsString> = args.collect();
    let [id, flag, path] = args.as_slice() else { bail!("usage: podmon ID --start-record PATH") };
    ensure!(flag == "--start-record", "usage: podmon ID --start-record PATH");
    let id: Id = id.to_str().context("the id is not text")?.parse()?;
    let path = PathBuf::from(path);
    let start: StartRecord = record::read(&path).with_context(|| format!("start record {}", path.display()))?;
    ensure!(start.id == id, "start record {} is of container {}", path.display(), start.id);
    ensure!(start.schema <= SCHEMA, "start record {} was written by a newer podctl", path.display());
    let directory = start.state_record.parent().context("the state record has a directory")?.to_owned();
    let mut socket = |name: &str| passed.fds.remove(name).with_context(|| format!("no socket {name} in LISTEN_FDS"));
    let listener = socket(sockets::MONITOR)?;
    let raw_listener = socket(sockets::MONITOR_RAW)?;
    close_on_exec(passed.fds.values().chain([&listener, &raw_listener]))?;
    let listener = UnixListener::from(listener);
    let notify = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()).map(PathBuf::from);
    let supervisor = std::env::var(SUPERVISOR).ok().and_then(|pid| pid.parse().ok());
    Ok(Config { start, record: path, directory, listener, raw_listener, stored: passed.fds, notify, supervisor })
}

/// Passed descriptors are not for those we start.
fn close_on_exec<'a>(fds: impl IntoIterator<Item = &'a OwnedFd>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    for fd in fds {
        fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    Ok(())
}
