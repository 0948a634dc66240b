//! The OCI runtime's command line: the only module that runs it.
//!
//! Every call has a deadline; past it the whole process group is killed and the refusal names what hung. The runtime gets
//! an environment of its own (never NOTIFY_SOCKET or LISTEN_*), and of our descriptors only those it is meant to have.

pub mod words;

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use nix::sys::signal::{Signal, killpg};
use proto::{
    Kind, Refusal, patience,
    record::StartRecord,
    refusal::Result,
    spawn::{Apart, Program, spawn},
};
use tokio::{io::unix::AsyncFd, sync::Notify, time::sleep};

use crate::{reap::Reaper, stdio::Ends, sys};

/// What a call may take.
const CREATE: Duration = Duration::from_secs(60);
const START: Duration = Duration::from_secs(30);
const DELETE: Duration = Duration::from_secs(10);
const STATE: Duration = Duration::from_secs(10);
const EXEC: Duration = Duration::from_secs(60);
/// How long a killed runtime may take to end.
const KILLED: Duration = Duration::from_secs(5);
/// A deletion that failed (a cgroup that is still busy) is tried again.
const DELETE_TRIES: u32 = 3;
const DELETE_PAUSE: Duration = Duration::from_millis(100);

/// Variables of ours that the runtime gets: where programs are, and where a rootless user's files are.
const ENVIRONMENT: [&str; 5] = ["PATH", "HOME", "XDG_RUNTIME_DIR", "TMPDIR", "DBUS_SESSION_BUS_ADDRESS"];

/// See the module.
#[derive(Debug)]
pub struct Runtime {
    path: CString,
    /// As users know it: `crun`.
    name: String,
    root: PathBuf,
    id: String,
    bundle: PathBuf,
    environment: Vec<CString>,
    reaper: Rc<Reaper>,
    /// The call that is under way is not wanted any more.
    cancel: Notify,
}

/// How a call ended.
#[derive(Debug)]
struct Outcome {
    status: i32,
    /// What it said, at most [`words::MAX`] bytes of it.
    said: Vec<u8>,
}

impl Runtime {
    /// The runtime that the start record names.
    ///
    /// # Errors
    /// For a path with a NUL byte.
    pub fn new(start: &StartRecord, reaper: Rc<Reaper>) -> io::Result<Runtime> {
        let name = start.runtime.file_name().unwrap_or(start.runtime.as_os_str()).to_string_lossy().into_owned();
        let environment = ENVIRONMENT
            .iter()
            .filter_map(|name| {
                let mut entry = OsString::from(name);
                entry.push("=");
                entry.push(std::env::var_os(name)?);
                CString::new(entry.into_encoded_bytes()).ok()
            })
            .collect();
        Ok(Runtime {
            path: c_string(start.runtime.as_os_str())?,
            name,
            root: start.runtime_root.clone(),
            id: start.id.as_str().to_owned(),
            bundle: start.bundle.clone(),
            environment,
            reaper,
            cancel: Notify::new(),
        })
    }

    /// Its name, as users know it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The OCI bundle; calls are made in this directory.
    pub fn bundle(&self) -> &Path {
        &self.bundle
    }

    /// Ends the create that is under way.
    pub fn cancel(&self) {
        self.cancel.notify_waiters();
    }

    /// `create`. `console` is the name of a socket in the bundle.
    ///
    /// # Errors
    /// In the runtime's words, with what they mean.
    pub async fn create(&self, ends: Ends, pid_file: &Path, console: Option<&str>) -> Result<()> {
        let Ends { stdin, stdout, stderr, preserved, errors, words } = ends;
        let mut args = vec![self.name.clone().into(), "--root".into(), self.root.clone().into()];
        if let Some(words) = &words {
            // It only adds to it, and what an earlier one has said is of no use.
            let _ = std::fs::remove_file(words);
            args.extend(["--log".into(), words.into()]);
        }
        args.push("create".into());
        args.extend(["--bundle".into(), self.bundle.clone().into(), "--pid-file".into(), pid_file.into()]);
        if let Some(console) = console {
            args.extend(["--console-socket".into(), console.into()]);
        }
        args.extend(preserve(preserved.len()));
        args.push(self.id.clone().into());
        let fds: Vec<BorrowedFd<'_>> =
            [&stdin, &stdout, &stderr].into_iter().chain(&preserved).map(AsFd::as_fd).collect();
        let mut outcome = self.run("create", &args, &fds, errors.as_deref(), CREATE).await?;
        if let Some(words) = &words {
            outcome.said = words::read(words);
        }
        if outcome.status == 0 { Ok(()) } else { Err(self.refusal("create", outcome.status, &outcome.said)) }
    }

    /// `start`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn start(&self) -> Result<()> {
        let mut args = self.args("start");
        args.push(self.id.clone().into());
        self.call_quietly("start", &args, START).await
    }

    /// `delete --force`: kills what is left of the container and removes what the runtime has made. That there is nothing
    /// is no error.
    pub async fn delete(&self) {
        let mut args = self.args("delete");
        args.extend(["--force".into(), self.id.clone().into()]);
        for attempt in 0..DELETE_TRIES {
            if attempt > 0 {
                sleep(DELETE_PAUSE).await;
            }
            // Judged by what is left, not by what it says.
            let _ = self.call_quietly("delete", &args, DELETE).await;
            if !self.root.join(&self.id).exists() {
                return;
            }
        }
    }

    /// Whether the container's command has begun, as the runtime sees it; `None` when it does not know the container.
    pub async fn has_started(&self) -> Option<bool> {
        #[derive(serde::Deserialize)]
        struct State {
            status: String,
        }
        let mut args = self.args("state");
        args.push(self.id.clone().into());
        let outcome = self.listen("state", &args, STATE).await.ok()?;
        let state: State = serde_json::from_slice(&outcome.said).ok()?;
        Some(state.status != "created" && state.status != "creating")
    }

    /// `exec --detach` of the process that `spec` describes. The runtime's own words go to the file `log`.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn exec(&self, exec: Exec<'_>) -> Result<()> {
        let mut args = vec![self.name.clone().into(), "--root".into(), self.root.clone().into()];
        args.extend(["--log".into(), exec.log.into(), "exec".into(), "--process".into(), exec.spec.into()]);
        args.extend(["--detach".into(), "--pid-file".into(), exec.pid_file.into()]);
        if let Some(console) = exec.console {
            args.extend(["--console-socket".into(), console.into()]);
        }
        args.extend(preserve(exec.fds.len().saturating_sub(3)));
        args.push(self.id.clone().into());
        let result = self.run("exec", &args, exec.fds, None, EXEC).await;
        match result {
            Ok(outcome) if outcome.status == 0 => Ok(()),
            Ok(_) if !self.root.join(&self.id).exists() => Err(Refusal::internal("exec", DELETED)),
            Ok(outcome) => {
                let said = words::read(exec.log);
                Err(self.refusal("exec", outcome.status, &said))
            }
            Err(refusal) => Err(refusal),
        }
    }

    fn args(&self, verb: &str) -> Vec<OsString> {
        vec![self.name.clone().into(), "--root".into(), self.root.clone().into(), verb.into()]
    }

    /// A call without standard streams, whose words are heard.
    async fn call_quietly(&self, verb: &str, args: &[OsString], deadline: Duration) -> Result<()> {
        let outcome = self.listen(verb, args, deadline).await?;
        if outcome.status == 0 { Ok(()) } else { Err(self.refusal(verb, outcome.status, &outcome.said)) }
    }

    async fn listen(&self, verb: &str, args: &[OsString], deadline: Duration) -> Result<Outcome> {
        let (null, reader, writer) = quiet_fds().map_err(|error| self.broken(verb, &error))?;
        let fds = [null.as_fd(), writer.as_fd(), writer.as_fd()];
        self.run(verb, args, &fds, Some(&reader), deadline).await
    }

    /// Runs it to its end, or to the deadline.
    async fn run(
        &self,
        verb: &str,
        args: &[OsString],
        fds: &[BorrowedFd<'_>],
        errors: Option<&AsyncFd<OwnedFd>>,
        deadline: Duration,
    ) -> Result<Outcome> {
        let deadline = patience::at_most(deadline);
        let pid = self.spawn(args, fds).map_err(|error| self.broken(verb, &error))?;
        let mut ended = self.reaper.watch(pid);
        let mut said = Vec::new();
        let listening = async {
            match errors {
                Some(errors) => words::listen(errors, &mut said).await,
                None => std::future::pending().await,
            }
        };
        let cancelled =
            async { if verb == "create" { self.cancel.notified().await } else { std::future::pending().await } };
        let status = tokio::select! {
            status = &mut ended => Ok(status.unwrap_or(libc::SIGKILL)),
            () = listening => Err(String::new()),
            () = cancelled => Err(format!("{} {verb} was given up", self.name)),
            () = sleep(deadline) => {
                let who = patience::who(&[pid]);
                Err(format!("OCI runtime {} {verb} hung for {} s ({who}): killed", self.name, deadline.as_secs()))
            }
        };
        let status = match status {
            Ok(status) => status,
            Err(why) => {
                kill_group(pid);
                // The reaper has it, whenever it ends.
                let _ = tokio::time::timeout(KILLED, ended).await;
                return Err(Refusal::new(Kind::TimedOut, why));
            }
        };
        if let Some(errors) = errors {
            words::hear(errors.get_ref().as_fd(), &mut said);
        }
        Ok(Outcome { status, said })
    }

    fn spawn(&self, args: &[OsString], fds: &[BorrowedFd<'_>]) -> io::Result<u32> {
        let args: Vec<CString> = args.iter().map(|arg| c_string(arg)).collect::<io::Result<_>>()?;
        let directory = c_string(self.bundle.as_os_str())?;
        spawn(&Program {
            path: &self.path,
            args: &args,
            env: &self.environment,
            directory: &directory,
            fds,
            apart: Apart::Group,
        })
    }

    /// It could not even be run.
    fn broken(&self, verb: &str, error: &io::Error) -> Refusal {
        let path = self.path.to_string_lossy();
        Refusal::internal(format!("OCI runtime {path} {verb}, see --runtime"), error)
    }

    fn refusal(&self, verb: &str, status: i32, said: &[u8]) -> Refusal {
        words::refusal(&self.name, verb, status, said)
    }
}

/// The words for a container that runs, and of which the runtime knows nothing any more.
pub const DELETED: &str = "what the OCI runtime knew of the container was deleted: stop it and start it again";

/// What [`Runtime::exec`] needs.
#[derive(Clone, Copy, Debug)]
pub struct Exec<'a> {
    /// process.json
    pub spec: &'a Path,
    /// Where the pid goes.
    pub pid_file: &'a Path,
    /// Where the runtime's own words go: its standard error is the command's.
    pub log: &'a Path,
    /// Name of a socket in the bundle.
    pub console: Option<&'a str>,
    /// Descriptors 0, 1, 2, and what the command gets beside them.
    pub fds: &'a [BorrowedFd<'a>],
}

/// The pid in a pid file.
///
/// # Errors
/// When the runtime has written none.
pub fn read_pid(path: &Path) -> io::Result<u32> {
    let text = std::fs::read_to_string(path)?;
    text.trim().parse().map_err(|_| io::Error::other(format!("the runtime wrote no pid into {}", path.display())))
}

/// The option that passes `count` descriptors after the standard streams.
fn preserve(count: usize) -> Vec<OsString> {
    if count == 0 { Vec::new() } else { vec!["--preserve-fds".into(), count.to_string().into()] }
}

/// `/dev/null`, and both ends of a pipe for what is said.
fn quiet_fds() -> io::Result<(OwnedFd, AsyncFd<OwnedFd>, OwnedFd)> {
    let null = std::fs::File::open("/dev/null")?.into();
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    crate::stdio::console::set_nonblocking(&reader)?;
    Ok((null, sys::watch(reader, tokio::io::Interest::READABLE)?, writer))
}

/// Kills the runtime and what it has started. The caller has not seen it end, so the group is still its.
fn kill_group(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may just have ended.
        let _ = killpg(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
    }
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| io::Error::other("a NUL byte in an argument"))
}
