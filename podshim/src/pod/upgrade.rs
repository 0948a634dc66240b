//! `system upgrade`: the pod's monitors, then its shim, become the newly installed programs, in place.

use std::{
    ffi::CString,
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::Path,
    sync::PoisonError,
    time::Duration,
};

use proto::{
    Kind, Refusal,
    alive::{Lock, Process},
    failpoint::{self, Point},
    refusal::Result,
    spawn::{Apart, Program, environment, replace},
    wire::{PodUpgraded, Upgraded},
};

use tokio::time::{Instant, sleep};

use super::Pod;
use crate::{namespace::infra, programs};

/// How long PID 1 of a shared namespace may take to become another program.
const PROMPT: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

impl Pod {
    /// The pod's lock, which the program we become goes on holding.
    pub fn keep_lock(&self, lock: &Lock) {
        // Without a second descriptor there is no upgrade in place, and that is said when it is asked for.
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = lock.file().ok();
    }

    /// Upgrades every monitor, and PID 1 of a shared namespace, that is another program than the one that is installed.
    ///
    /// # Errors
    /// When a program is not installed.
    pub async fn upgrade_monitors(&self) -> Result<PodUpgraded> {
        let infra = self.core.lock().await.state().and_then(|state| state.infra_init.clone());
        let infra = match infra.filter(Process::is_alive) {
            Some(infra) => self.upgrade_infra(&infra).await?,
            None => None,
        };
        let program = self.engine.program("podmon").map_err(|error| Refusal::internal("the program podmon", error))?;
        let mut done = PodUpgraded { monitors: infra.into_iter().collect() };
        for (container, process) in self.monitors.processes() {
            if programs::is_current(process.pid, &program) {
                continue;
            }
            failpoint::refuse(Point::UpgradeMonitor)?;
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

    async fn upgrade_infra(&self, process: &Process) -> Result<Option<Upgraded>> {
        let program =
            self.engine.program("podshim").map_err(|error| Refusal::internal("the program podshim", error))?;
        if programs::is_current(process.pid, &program) {
            return Ok(None);
        }
        let asked = infra::upgrade(process);
        let end = Instant::now() + PROMPT;
        while asked.is_ok() && !programs::is_current(process.pid, &program) && Instant::now() < end {
            sleep(LOOK).await;
        }
        let error = match asked {
            Err(error) => error.to_string(),
            Ok(()) if programs::is_current(process.pid, &program) => String::new(),
            Ok(()) => "it stays what it was until the pod is started again".to_owned(),
        };
        Ok(Some(Upgraded { container: String::new(), pid: process.pid, error }))
    }

    /// Becomes the podshim that is installed. Comes back only when it cannot.
    ///
    /// # Errors
    /// While somebody is at work, or where it is not installed.
    pub async fn upgrade_shim(&self) -> Result<()> {
        let program =
            self.engine.program("podshim").map_err(|error| Refusal::internal("the program podshim", error))?;
        self.become_program(&program, &program).await
    }

    /// Becomes the program that it is once more.
    ///
    /// # Errors
    /// As [`upgrade_shim`](Self::upgrade_shim).
    pub(super) async fn begin_anew(&self) -> Result<()> {
        let name = std::env::args_os().next().unwrap_or_else(|| "podshim".into());
        self.become_program(Path::new("/proc/self/exe"), Path::new(&name)).await
    }

    async fn become_program(&self, program: &Path, name: &Path) -> Result<()> {
        // Nothing is begun any more, and nothing that would be cut off is under way.
        let _gate = self.gate.write().await;
        let _core = self.core.lock().await;
        if !self.is_at_rest() {
            return Err(Refusal::new(Kind::WrongState, format!("pod {} is being worked on: ask again", self.id)));
        }
        let broken = |error: std::io::Error| Refusal::internal("becoming podshim", error);
        nix::unistd::access(program, nix::unistd::AccessFlags::X_OK).map_err(|errno| broken(errno.into()))?;
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        let lock = lock.ok_or_else(|| Refusal::internal("becoming podshim", "its lock cannot be passed on"))?;
        let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| broken(error.into()));
        let roots = &self.engine.roots;
        let words: [&[u8]; 11] = [
            name.as_os_str().as_bytes(),
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
        failpoint::pass(Point::UpgradeShim);
        let _error = replace(&program);
        // Our descriptors are mixed up: a monitor brings the pod another shim.
        std::process::abort();
    }
}
