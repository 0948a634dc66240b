//! The edge: ttrpc service Monitor. A handler puts its request to the monitor's loop and hands on the answer.
//!
//! ttrpc drops a handler when its client goes away. A request that has been put is not taken back by that: what was asked
//! for happens, and only the answer is lost.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{
        __ttrpc_services_monitor::Monitor, Empty, ExecId, ExecRequest, ExecResizeRequest, ExecStarted, ExitStatus,
        HealthResult, HelloReply, HelloRequest, MonitorCreate, MonitorKill, MonitorStatus, MonitorStop, NewSupervisor,
        UpgradeMonitor, WindowSize, WitnessedExit,
    },
};
use tokio::sync::{mpsc, oneshot};
use ttrpc::r#async::TtrpcContext;

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T>>;

/// What is asked of the monitor.
#[derive(Debug)]
pub enum Request {
    /// Runtime create.
    Create(Reply<MonitorStatus>),
    /// Runtime start.
    Start(Reply<MonitorStatus>),
    /// End it.
    Stop(MonitorStop, Reply<ExitStatus>),
    /// A signal.
    Kill(MonitorKill, Reply<Empty>),
    /// Freeze.
    Pause(Reply<Empty>),
    /// Thaw.
    Unpause(Reply<Empty>),
    /// How it ended.
    Wait(Reply<ExitStatus>),
    /// Give up.
    Shutdown(Reply<Empty>),
    /// Where it is.
    Status(Reply<MonitorStatus>),
    /// Size of the terminal.
    Resize(WindowSize, Reply<Empty>),
    /// Run a command.
    Exec(ExecRequest, Reply<ExecStarted>),
    /// How a command ended.
    ExecWait(ExecId, Reply<ExitStatus>),
    /// Size of a command's terminal.
    ExecResize(ExecResizeRequest, Reply<Empty>),
    /// Check its health.
    HealthRun(Reply<HealthResult>),
    /// Take the restart policy and the health check of the start record, which has changed.
    Reload(Reply<Empty>),
    /// That it is ready.
    WaitReady(Reply<Empty>),
    /// Open the log anew.
    ReopenLog(Reply<Empty>),
    /// Rotate the log.
    RotateLog(Reply<Empty>),
    /// There is a new supervisor: send it the descriptors.
    StoreFds(NewSupervisor, Reply<Empty>),
    /// The supervisor has reaped the container.
    ReportExit(WitnessedExit, Reply<Empty>),
    /// Become this program.
    Upgrade(String, Reply<Empty>),
}

/// The service.
#[derive(Clone, Debug)]
pub struct Service {
    requests: mpsc::UnboundedSender<Request>,
    busy: Arc<AtomicUsize>,
}

impl Service {
    /// A service that puts requests to `requests`.
    pub fn new(requests: mpsc::UnboundedSender<Request>) -> Service {
        Service { requests, busy: Arc::default() }
    }

    /// How many requests have not been answered.
    pub fn busy(&self) -> usize {
        self.busy.load(Ordering::Relaxed)
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> ttrpc::Result<T> {
        struct Busy<'a>(&'a AtomicUsize);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.busy.fetch_add(1, Ordering::Relaxed);
        let _busy = Busy(&self.busy);
        let (reply, answer) = oneshot::channel();
        let gone = || Refusal::new(Kind::Gone, "the monitor has ended");
        self.requests.send(request(reply)).map_err(|_| gone())?;
        Ok(answer.await.map_err(|_| gone())??)
    }
}

#[async_trait]
impl Monitor for Service {
    async fn hello(&self, _ctx: &TtrpcContext, _: HelloRequest) -> ttrpc::Result<HelloReply> {
        let (protocol, version) = proto::greeting();
        Ok(HelloReply { protocol, version, pid: std::process::id() })
    }
    async fn create(&self, _ctx: &TtrpcContext, _: MonitorCreate) -> ttrpc::Result<MonitorStatus> {
        self.ask(Request::Create).await
    }
    async fn start(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<MonitorStatus> {
        self.ask(Request::Start).await
    }
    async fn stop(&self, _ctx: &TtrpcContext, stop: MonitorStop) -> ttrpc::Result<ExitStatus> {
        self.ask(|reply| Request::Stop(stop, reply)).await
    }
    async fn kill(&self, _ctx: &TtrpcContext, kill: MonitorKill) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::Kill(kill, reply)).await
    }
    async fn pause(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::Pause).await
    }
    async fn unpause(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::Unpause).await
    }
    async fn wait(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<ExitStatus> {
        self.ask(Request::Wait).await
    }
    async fn status(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<MonitorStatus> {
        self.ask(Request::Status).await
    }
    async fn resize(&self, _ctx: &TtrpcContext, size: WindowSize) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::Resize(size, reply)).await
    }
    async fn exec(&self, _ctx: &TtrpcContext, exec: ExecRequest) -> ttrpc::Result<ExecStarted> {
        self.ask(|reply| Request::Exec(exec, reply)).await
    }
    async fn exec_wait(&self, _ctx: &TtrpcContext, id: ExecId) -> ttrpc::Result<ExitStatus> {
        self.ask(|reply| Request::ExecWait(id, reply)).await
    }
    async fn exec_resize(&self, _ctx: &TtrpcContext, resize: ExecResizeRequest) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::ExecResize(resize, reply)).await
    }
    async fn health_run(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<HealthResult> {
        self.ask(Request::HealthRun).await
    }
    async fn reload(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::Reload).await
    }
    async fn wait_ready(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::WaitReady).await
    }
    async fn reopen_log(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::ReopenLog).await
    }
    async fn rotate_log(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::RotateLog).await
    }
    async fn store_fds(&self, _ctx: &TtrpcContext, supervisor: NewSupervisor) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::StoreFds(supervisor, reply)).await
    }
    async fn report_exit(&self, _ctx: &TtrpcContext, exit: WitnessedExit) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::ReportExit(exit, reply)).await
    }
    async fn upgrade(&self, _ctx: &TtrpcContext, upgrade: UpgradeMonitor) -> ttrpc::Result<Empty> {
        self.ask(|reply| Request::Upgrade(upgrade.program, reply)).await
    }
    async fn shutdown(&self, _ctx: &TtrpcContext, _: Empty) -> ttrpc::Result<Empty> {
        self.ask(Request::Shutdown).await
    }
}
