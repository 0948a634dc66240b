//! `system upgrade`: the pod's monitors, then its shim, become the newly installed programs, in place.

use std::{
    ffi::CString,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    sync::PoisonError,
};

use proto::{
    Kind, Refusal,
    alive::Lock,
    refusal::Result,
    spawn::{Apart, Program, environment, replace},
    wire::{PodUpgraded, Upgraded},
};

use super::Pod;
use crate::programs;

impl Pod {
    /// The pod's lock, which the program we become goes on holding.
    pub fn keep_lock(&self, lock: &Lock) {
        // Without a second descriptor there is no upgrade in place, and that is said when it is asked for.
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock.file().ok();
    }

    /// Upgrades every monitor that is another program than the one that is installed.
    ///
    /// # Errors
    /// When podmon is not installed.
    pub async fn upgrade_monitors(&self) -> Result<PodUpgraded> {
        let program = self.engine.program("podmon").map_err(|error| Refusal::internal("the program podmon", error))?;
        let mut done = PodUpgraded::default();
        for (container, process) in self.monitors.processes() {
            if programs::is_current(process.pid, &program) {
                continue;
            }
            let turn = self.turn(&container);
            let _turn = turn.lock().await;
            let result = self.monitors.upgrade(&container, &process, &program).await;
            done.monitors.push(Upgraded {
                container: container.to_string(),
                pid: process.pid,
                error: result.err().map(|refusal| refusal.message).unwrap_or_default(),
            });
        }
        Ok(done)
    }

    /// Becomes the podshim that is installed. Comes back only when it cannot.
    ///
    /// # Errors
    /// While somebody is at work, or where it is not installed.
    pub async fn upgrade_shim(&self) -> Result<()> {
        // Nothing is begun any more, and nothing that would be cut off is under way.
        let _gate = self.gate.write().await;
        let _core = self.core.lock().await;
        if !self.is_at_rest() {
            return Err(Refusal::new(Kind::WrongState, format!("pod {} is being worked on: ask again", self.id)));
        }
        let broken = |error: std::io::Error| Refusal::internal("becoming podshim", error);
        let program = self.engine.program("podshim").map_err(broken)?;
        nix::unistd::access(&program, nix::unistd::AccessFlags::X_OK).map_err(|errno| broken(errno.into()))?;
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lock = lock.ok_or_else(|| Refusal::internal("becoming podshim", "its lock cannot be passed on"))?;
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| broken(error.into()));
        let roots = &self.engine.roots;
        let words: [&[u8]; 11] = [
            program.as_os_str().as_bytes(),
            b"pod",
            self.id.as_str().as_bytes(),
            b"--root",
            roots.state.as_os_str().as_bytes(),
            b"--runroot",
            roots.run.as_os_str().as_bytes(),
            b"--runtime",
            self.engine.runtime().as_bytes(),
            b"--lock-fd",
            b"3",
        ];
        let args = words.into_iter().map(text).collect::<Result<Vec<_>>>()?;
        let env = environment(&[]);
        let path = text(program.as_os_str().as_bytes())?;
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), lock.as_fd()];
        let program =
            Program { path: &path, args: &args, env: &env, directory: c"/", fds: &fds, apart: Apart::Session };
        let _error = replace(&program);
        // Our descriptors are mixed up: a monitor brings the pod another shim.
        std::process::abort();
    }
}
