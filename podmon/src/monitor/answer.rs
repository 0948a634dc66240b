//! Requests: which are events, which are answered here, and the words of a no.

use std::time::Duration;

use proto::{
    Kind, Refusal,
    alive::Process,
    wire::{Empty, ExecRequest, ExecStarted, ExitStatus, MonitorStatus, MonitorStop, NewSupervisor, WindowSize},
};
use tokio::time::{Instant, sleep};

use super::{Asked, Monitor};
use crate::{
    exec,
    service::{Reply, Request},
    signal,
    state::{Event, State, Why},
    stdio::ledger::Ledger,
};

impl Request {
    /// Answers with `refusal`.
    pub(super) fn refuse(self, refusal: Refusal) {
        // Who has gone does not hear it.
        match self {
            Request::Create(reply) | Request::Start(reply) | Request::Status(reply) => send(reply, Err(refusal)),
            Request::Stop(_, reply) | Request::Wait(reply) | Request::ExecWait(_, reply) => send(reply, Err(refusal)),
            Request::Kill(_, reply)
            | Request::Pause(reply)
            | Request::Unpause(reply)
            | Request::Shutdown(reply)
            | Request::Resize(_, reply)
            | Request::ExecResize(_, reply)
            | Request::ReopenLog(reply)
            | Request::RotateLog(reply)
            | Request::StoreFds(_, reply)
            | Request::Upgrade(_, reply)
            | Request::Reload(reply)
            | Request::WaitReady(reply)
            | Request::ReportExit(_, reply) => send(reply, Err(refusal)),
            Request::Exec(_, reply) => send(reply, Err(refusal)),
            Request::HealthRun(reply) => send(reply, Err(refusal)),
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Request::Create(reply) | Request::Start(reply) | Request::Status(reply) => reply.is_closed(),
            Request::Stop(_, reply) | Request::Wait(reply) | Request::ExecWait(_, reply) => reply.is_closed(),
            Request::Kill(_, reply)
            | Request::Pause(reply)
            | Request::Unpause(reply)
            | Request::Shutdown(reply)
            | Request::Resize(_, reply)
            | Request::ExecResize(_, reply)
            | Request::ReopenLog(reply)
            | Request::RotateLog(reply)
            | Request::StoreFds(_, reply)
            | Request::Upgrade(_, reply)
            | Request::Reload(reply)
            | Request::WaitReady(reply)
            | Request::ReportExit(_, reply) => reply.is_closed(),
            Request::Exec(_, reply) => reply.is_closed(),
            Request::HealthRun(reply) => reply.is_closed(),
        }
    }
}

fn send<T>(reply: Reply<T>, answer: proto::refusal::Result<T>) {
    // Who has gone does not hear it.
    let _ = reply.send(answer);
}

/// How long a first process may take to end with all of its namespace, where that has cut off the runtime.
const ENDING: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(5);

/// Where nothing runs that a process could be added to; libpod's words.
const NO_EXEC: &str = "can only create exec sessions on running containers";

impl Monitor {
    /// Somebody asks.
    pub(super) fn ask(&mut self, request: Request) {
        match request {
            Request::Create(_) => self.ask_for(Event::Create, request),
            Request::Start(_) => self.ask_for(Event::Start, request),
            Request::Wait(_) => self.ask_for(Event::Wait, request),
            Request::Shutdown(_) => self.ask_for(Event::Shutdown, request),
            Request::Pause(_) => self.ask_for(Event::Pause, request),
            Request::Unpause(_) => self.ask_for(Event::Unpause, request),
            Request::Stop(ref stop, _) => match self.parse_stop(stop) {
                Ok(asked) => {
                    self.asked = asked;
                    if !stop.keep_policy {
                        self.end_by_user();
                    }
                    self.ask_for(Event::Stop, request);
                }
                Err(refusal) => request.refuse(refusal),
            },
            Request::Kill(ref kill, _) => {
                let name = if kill.signal.is_empty() { "KILL" } else { &kill.signal };
                match signal::number(name) {
                    Ok(signal) => {
                        // Others are for the command to act on, which is meant to go on (HUP, USR1).
                        let ends = [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGQUIT].contains(&signal);
                        if ends || signal::number(&self.start.stop_signal) == Ok(signal) {
                            self.end_by_user();
                        }
                        self.asked = Asked { signal, all: kill.all, grace: None };
                        let event = if signal == libc::SIGKILL { Event::KillForGood } else { Event::Kill };
                        self.ask_for(event, request);
                    }
                    Err(refusal) => request.refuse(refusal),
                }
            }
            Request::Status(reply) => {
                self.persist();
                send(reply, Ok(self.status()));
            }
            Request::Resize(size, reply) => send(reply, self.resize(&size)),
            Request::Exec(request, reply) => self.exec(request, reply),
            Request::ExecWait(id, reply) => self.exec_wait(id.id, reply),
            Request::ExecResize(resize, reply) => {
                let size = resize.window.unwrap_or_default();
                send(reply, self.execs.resize(&resize.id, &size).map(|()| Empty {}));
            }
            Request::HealthRun(reply) => self.ask_for_check(reply),
            Request::Reload(_) if self.is_passing() => self.later.push(request),
            Request::Reload(reply) => send(reply, self.reload().map(|()| Empty {})),
            Request::WaitReady(reply) => self.wait_ready(reply),
            Request::ReopenLog(reply) => send(reply, self.of_log(Ledger::reopen)),
            Request::RotateLog(reply) => send(reply, self.of_log(Ledger::rotate)),
            Request::StoreFds(supervisor, reply) => {
                if supervisor.pid != 0 {
                    let NewSupervisor { pid, start_time, boot_id } = supervisor;
                    self.heir.watch(&Process { pid, start_time, boot_id });
                }
                self.store_fds();
                send(reply, Ok(Empty {}));
            }
            Request::Upgrade(program, reply) => self.upgrade(&program, reply),
            Request::ReportExit(exit, reply) => {
                if self.init.as_ref().is_some_and(|init| init.process.pid == exit.pid) {
                    self.reported.set(Some(exit.wait_status));
                }
                send(reply, Ok(Empty {}));
            }
        }
    }

    /// Answers that what was asked for is done.
    pub(super) fn succeed(&self, request: Request) {
        match request {
            Request::Create(reply) | Request::Start(reply) | Request::Status(reply) => send(reply, Ok(self.status())),
            Request::Stop(_, reply) | Request::Wait(reply) => {
                let exit: Option<ExitStatus> = self.exit;
                send(reply, exit.ok_or_else(|| self.why(Why::Over)));
            }
            Request::Kill(_, reply) | Request::Pause(reply) | Request::Unpause(reply) | Request::Shutdown(reply) => {
                send(reply, Ok(Empty {}));
            }
            // Answered where they are asked.
            Request::Resize(..)
            | Request::Exec(..)
            | Request::ExecWait(..)
            | Request::ExecResize(..)
            | Request::HealthRun(..)
            | Request::Reload(..)
            | Request::WaitReady(..)
            | Request::ReopenLog(..)
            | Request::RotateLog(..)
            | Request::StoreFds(..)
            | Request::Upgrade(..)
            | Request::ReportExit(..) => request.refuse(Refusal::new(Kind::Internal, "not an event")),
        }
    }

    pub(super) fn parse_stop(&self, stop: &MonitorStop) -> proto::refusal::Result<Asked> {
        let name = if stop.signal.is_empty() { &self.start.stop_signal } else { &stop.signal };
        let signal = if name.is_empty() { libc::SIGTERM } else { signal::number(name)? };
        let grace = match stop.timeout_ms {
            ..0 => None,
            grace => Some(Duration::from_millis(grace.unsigned_abs())),
        };
        // Without grace there is nothing to be said before it is killed.
        let signal = if grace == Some(Duration::ZERO) { libc::SIGKILL } else { signal };
        Ok(Asked { signal, all: false, grace })
    }

    fn status(&self) -> MonitorStatus {
        MonitorStatus {
            status: self.state.get().word().to_owned(),
            pid: self.init.as_ref().filter(|_| self.state.get().has_process()).map_or(0, |init| init.process.pid),
            started_at: self.started_at,
            restart_count: self.state_file.get().restart_count,
            exit: self.exit,
        }
    }

    fn resize(&self, size: &WindowSize) -> proto::refusal::Result<Empty> {
        let (rows, columns) = exec::window(size)?;
        self.stdio.resize(rows, columns);
        Ok(Empty {})
    }

    fn exec(&self, request: ExecRequest, reply: Reply<ExecStarted>) {
        let fds = if request.token.is_empty() { vec![] } else { self.deposits.borrow_mut().take(&request.token) };
        let Some(init) = self.init.as_ref().filter(|_| self.state.get().may_exec()) else {
            let paused = matches!(self.state.get(), State::Pausing | State::Paused | State::Thawing);
            let is_paused = format!("container {} is paused, unpause it first", self.start.id);
            return send(reply, Err(self.improper(if paused { &is_paused } else { NO_EXEC })));
        };
        let (execs, init, state) = (self.execs.clone(), init.process.clone(), self.state.clone());
        // What the runtime says of a container that ends meanwhile is about pipes.
        let ended = self.improper(NO_EXEC);
        tokio::task::spawn_local(async move {
            let started = execs.start(request, fds, &init).await;
            let lives = || state.get() == State::Running && init.is_alive();
            if matches!(&started, Err(refusal) if refusal.kind == Kind::Internal) {
                // A first process that ends takes the others of its namespace with it, and is there until they have gone.
                let end = Instant::now() + ENDING;
                while lives() && Instant::now() < end {
                    sleep(LOOK).await;
                }
            }
            let lives = lives();
            send(reply, started.map_err(|refusal| if lives { refusal } else { ended }));
        });
    }

    fn exec_wait(&self, id: String, mut reply: Reply<ExitStatus>) {
        let execs = self.execs.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                ended = execs.wait(&id) => send(reply, ended),
                // The client has gone; the command goes on.
                () = reply.closed() => {}
            }
        });
    }

    /// Does something to the log.
    fn of_log(&self, what: fn(&mut Ledger) -> proto::refusal::Result<()>) -> proto::refusal::Result<Empty> {
        match self.stdio.output().ledger().as_mut() {
            Some(ledger) => what(ledger).map(|()| Empty {}),
            None => {
                let driver = &self.start.log.driver;
                let words = format!("container {} keeps no log file: its log driver is {driver}", self.start.id);
                Err(Refusal::invalid(words).about(self.start.id.as_str()))
            }
        }
    }

    /// The words of a no (libpod's, where users know them).
    pub(super) fn why(&self, why: Why) -> Refusal {
        let id = &self.start.id;
        match why {
            Why::NotRunning => self.improper(&format!("container {id} is not running")),
            Why::NotCreated => self.improper(&format!("container {id} has not been created by the runtime yet")),
            Why::Over => self.improper(&format!("container {id} has ended")),
            Why::AlreadyPaused => self.improper(&format!("{:?} is already paused", id.as_str())),
            Why::CannotPause => self.improper(&format!("{:?} is not running, can't pause", id.as_str())),
            Why::NotPaused => self.improper(&format!("{:?} is not paused, can't unpause", id.as_str())),
            Why::CannotKill => {
                let state = self.state.get().word();
                self.improper(&format!("can only kill running containers. {id} is in state {state}"))
            }
            Why::Alive => self.improper(&format!("container {id} is {}, stop it first", self.state.get().word())),
            Why::Failed => self.failure.clone().unwrap_or_else(|| self.why(Why::Over)),
        }
    }

    fn improper(&self, words: &str) -> Refusal {
        Refusal::new(Kind::WrongState, format!("{words}: container state improper")).about(self.start.id.as_str())
    }
}
