//! Becoming another program: the newly installed podmon, in place.
//!
//! It is what happens when a monitor is killed and its supervisor starts a successor with the stored descriptors, but the
//! process stays, and with it its pid and its children: the container's first process goes on being ours to reap.

use std::{
    collections::HashMap,
    ffi::{CString, OsStr},
    fs::File,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use proto::{
    Kind, Refusal,
    alive::{self, Process},
    failpoint::{self, Point},
    layout::sockets,
    refusal::Result,
    spawn::{Apart, Program, environment, replace},
    wire::Empty,
};

use super::Monitor;
use crate::{
    readiness::{self, Readiness},
    service::Reply,
    state::State,
};

/// Variables that say what is passed; the others stay.
const PASSED: [&str; 3] = ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"];

/// Our sockets once more, for whoever we become.
#[derive(Debug)]
pub struct Sockets {
    listener: OwnedFd,
    raw: OwnedFd,
}

impl Sockets {
    /// Keeps them.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn of(listener: impl AsFd, raw: impl AsFd) -> std::io::Result<Sockets> {
        let own = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned();
        Ok(Sockets { listener: own(listener.as_fd())?, raw: own(raw.as_fd())? })
    }
}

impl Monitor {
    /// Becomes `program`. Whoever asked is answered only by a no; otherwise the connection ends.
    pub(super) fn upgrade(&mut self, program: &str, reply: Reply<Empty>) {
        let refusal = match self.state.get() {
            State::Created | State::Running | State::Paused => {
                match self.turn_into(Path::new(program), OsStr::new(program)) {
                    Err(refusal) => refusal,
                    Ok(never) => match never {},
                }
            }
            _ => {
                let words = format!("container {} is between two states: ask again", self.start.id);
                Refusal::new(Kind::WrongState, words)
            }
        };
        // Who has gone does not hear it.
        let _ = reply.send(Err(refusal));
    }

    /// Becomes `program`, called `name`. Comes back only when nothing was given up yet.
    pub(super) fn turn_into(&mut self, program: &Path, name: &OsStr) -> Result<std::convert::Infallible> {
        let broken = |error: std::io::Error| Refusal::internal(format_args!("becoming {}", program.display()), error);
        // Asked before anything is given up: afterwards there is no way back.
        nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).map_err(|errno| broken(errno.into()))?;
        let mut passed: Vec<(String, OwnedFd)> = Vec::new();
        let mut failed = None;
        let mut keep = |name: &str, fd: std::os::fd::BorrowedFd<'_>| match fd.try_clone_to_owned() {
            Ok(fd) => passed.push((name.to_owned(), fd)),
            Err(error) => failed = Some(error),
        };
        keep(sockets::MONITOR, self.sockets.listener.as_fd());
        keep(sockets::MONITOR_RAW, self.sockets.raw.as_fd());
        self.stdio.keep(&mut keep);
        if let Some(pidfd) = self.init.as_ref().and_then(|init| init.pidfd.as_ref()) {
            keep("pidfd", pidfd.as_fd());
        }
        if let Some(socket) = self.readiness.as_ref().and_then(Readiness::kept) {
            keep(readiness::SOCKET, socket);
        }
        if let Some(error) = failed {
            return Err(broken(error));
        }
        self.persist();
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| broken(error.into()));
        let path = text(program.as_os_str().as_bytes())?;
        let mut args = vec![text(name.as_bytes())?];
        for arg in std::env::args_os().skip(1) {
            args.push(text(arg.as_bytes())?);
        }
        let names: Vec<&str> = passed.iter().map(|(name, _)| name.as_str()).collect();
        let listen = HashMap::from([("LISTEN_FDS", passed.len().to_string()), ("LISTEN_FDNAMES", names.join(":"))]);
        let mut env = environment(&PASSED);
        for (name, value) in listen {
            env.push(text(format!("{name}={value}").as_bytes())?);
        }
        let null = File::options().read(true).write(true).open("/dev/null").map_err(broken)?;
        let fds: Vec<_> = [null.as_fd(); 3].into_iter().chain(passed.iter().map(|(_, fd)| fd.as_fd())).collect();
        let program =
            Program { path: &path, args: &args, env: &env, directory: c"/", fds: &fds, apart: Apart::Session };
        failpoint::pass(Point::MonUpgrade);
        let _error = replace(&program);
        // Our descriptors are mixed up. The supervisor has what a successor needs, and starts one.
        std::process::abort();
    }
}

/// The first process of an earlier program of this very process, which goes on being our child.
pub(super) fn own_child(init: Option<&Process>) -> Option<u32> {
    init.filter(|init| init.exists() && alive::parent(init.pid) == Some(std::process::id())).map(|init| init.pid)
}
