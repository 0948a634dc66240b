//! From a name to a connection: the only place that knows sockets, and that starts shims.
//!
//! - `podshim host` is started for this command alone, over a socketpair; it ends with the connection.
//! - `podshim pod ID` lives as long as anything of the pod is up. When nobody listens on its socket one is started; the
//!   lock of the pod picks the winner where several are.
//! - `podmon ID` is never started from here: that is the shim's.

use std::{
    cell::OnceCell,
    ffi::CString,
    future::Future,
    io::{self, Read, Seek},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use nix::{
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn},
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::{SigSet, Signal, kill},
        wait::waitpid,
    },
    unistd::Pid,
};
use proto::{
    Id, Refusal, Roots,
    failpoint::{self, Point},
    layout::{Target, sockets},
    patience,
    raw::Raw,
    record::{self, MonitorState},
    serve::{client, deadline},
    socket,
    spawn::environment,
    wire::{
        ContainersClient, HelloReply, HelloRequest, ImagesClient, MonitorClient, NetworksClient, PodsClient,
        SecretsClient, SystemClient, VolumesClient,
    },
};
use ttrpc::r#async::Client;

use crate::{awake::Awake, error::Failure, output, relay, sys};

/// How long a shim or monitor may take to answer.
const DIAL: Duration = Duration::from_secs(5);
/// How long a shim may take to be ready: it may have to adopt what it finds.
const READY: Duration = Duration::from_secs(20);
/// How long a host shim may take to end once its connection is closed.
const END: i32 = 2000;

/// Deadline of a question.
pub const ASK: Duration = Duration::from_secs(60);
/// Deadline of an act that may copy files or wait for a runtime.
pub const ACT: Duration = Duration::from_secs(600);

/// Where the engine is, and what was started for this command.
#[derive(Clone, Debug)]
pub struct Engine {
    /// Its directories.
    pub roots: Roots,
    /// `--runtime`, "" = its default.
    pub runtime: String,
    children: Arc<Mutex<Vec<Pid>>>,
}

/// What a name stands for where a container is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found {
    /// A container.
    Container {
        /// Its pod.
        pod: Id,
        /// It.
        id: Id,
    },
    /// The infra of this pod, which has no process of its own.
    Infra(Id),
}

impl Found {
    /// The pod.
    pub fn pod(&self) -> &Id {
        match self {
            Found::Container { pod, .. } | Found::Infra(pod) => pod,
        }
    }
}

impl Engine {
    /// The engine that the global flags name.
    ///
    /// # Errors
    /// When one of them is wrong.
    pub fn from_flags(globals: &[(&'static str, String)]) -> Result<Engine, Failure> {
        let mut engine = Engine { roots: Roots::default(), runtime: String::new(), children: Arc::default() };
        for (name, value) in globals {
            let absolute = || crate::args::value::absolute(value).map(PathBuf::from);
            match *name {
                "root" => engine.roots.state = absolute()?,
                "runroot" => engine.roots.run = absolute()?,
                "runtime" if value.contains('/') => engine.runtime = crate::args::value::absolute(value)?,
                "runtime" => engine.runtime.clone_from(value),
                "cgroup-manager" if value == "cgroupfs" => {}
                "cgroup-manager" => {
                    return Err(Failure::invalid(format!(
                        "--cgroup-manager {value} is not supported: podctl manages cgroups itself, use cgroupfs"
                    )));
                }
                "events-backend" if !matches!(value.as_str(), "file" | "journald") => {
                    return Err(Failure::invalid(format!(
                        "--events-backend {value} is not supported: events are in a file, and in the journal where there is one"
                    )));
                }
                "remote" if value == "true" => {
                    return Err(Failure::invalid(
                        "--remote is not supported: podctl manages the pods of its own machine",
                    ));
                }
                "storage-driver" if value != "overlay" => {
                    return Err(Failure::invalid(format!(
                        "--storage-driver {value} is not supported: layers are mounted as an overlay, use overlay"
                    )));
                }
                "noout" if value == "true" => {
                    let null = std::fs::File::options().write(true).open("/dev/null");
                    let silent = null.and_then(|null| Ok(nix::unistd::dup2_stdout(null)?));
                    silent.map_err(|error| Failure::io("--noout: /dev/null", &error))?;
                }
                "log-level" if !LEVELS.contains(&value.as_str()) => {
                    return Err(Failure::invalid(format!(
                        "Log Level \"{value}\" is not supported, choose from: {}",
                        LEVELS.join(", ")
                    )));
                }
                "log-level" => crate::error::set_level(value),
                _ => {}
            }
        }
        Ok(engine)
    }

    /// Runs `future`, then sees to it that what was started for it has ended.
    pub fn block_on<T>(&self, future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let runtime = proto::serve::runtime().map_err(|error| Failure::io("start the event loop", &error))?;
        let result = runtime.block_on(future);
        // This closes the connections; host shims end with them.
        runtime.shutdown_background();
        self.reap();
        result
    }

    fn reap(&self) {
        let children = self.children.lock().map(|mut children| std::mem::take(&mut *children)).unwrap_or_default();
        for pid in children {
            if !sys::wait_for_end(pid, END) {
                // It is ours, and not reaped yet: the number is still its own.
                let _ = kill(pid, Signal::SIGKILL);
            }
            let _ = waitpid(pid, None);
        }
    }

    /// The pod called `name`.
    ///
    /// # Errors
    /// podman's words.
    pub fn pod_id(&self, name: &str) -> Result<Id, Failure> {
        match self.roots.resolve(name)? {
            Some(Target::Pod(pod)) => Ok(pod),
            Some(_) => {
                Err(Refusal::new(proto::Kind::NoSuchPod, format!("\"{name}\" is a container, not a pod: no such pod"))
                    .into())
            }
            None => Err(Refusal::no_such_pod(name).into()),
        }
    }

    /// The container called `name`.
    ///
    /// # Errors
    /// podman's words.
    pub fn container(&self, name: &str) -> Result<Found, Failure> {
        match self.roots.resolve(name)? {
            Some(Target::Container { pod, container }) => Ok(Found::Container { pod, id: container }),
            Some(Target::Infra(pod)) => Ok(Found::Infra(pod)),
            Some(Target::Pod(_)) => Err(Refusal::new(
                proto::Kind::NoSuchContainer,
                format!("\"{name}\" is a pod, not a container: no such container"),
            )
            .into()),
            None => Err(Refusal::no_such_container(name).into()),
        }
    }

    /// A host shim of this command's own.
    ///
    /// # Errors
    /// When podshim cannot be started.
    pub fn host(&self) -> Result<Host, Failure> {
        let words = |error: io::Error| Failure::io("start podshim host", &error);
        let (ours, theirs) = UnixStream::pair().map_err(words)?;
        let (raw, raw_theirs) = Raw::pair().map_err(words)?;
        let pid = self.spawn("host", None, &[(&theirs, 3), (&raw_theirs, 4)], false).map_err(words)?;
        if let Ok(mut children) = self.children.lock() {
            children.push(pid);
        }
        failpoint::pass(Point::ClientHost);
        let client = client(ours).map_err(words)?;
        let awake = Awake::keep("podshim", move || u32::try_from(pid.as_raw()).ok());
        Ok(Host { client, raw_fd: Mutex::new(Some(raw)), raw: OnceCell::new(), _awake: awake })
    }

    /// The shim of a pod, which is started if nobody listens.
    ///
    /// # Errors
    /// When it cannot be started, with what it said.
    pub async fn pod(&self, pod: &Id) -> Result<Shim, Failure> {
        let dir = self.roots.run_pod(pod);
        let end = Instant::now() + DIAL;
        let (mut who, mut last) = (None, String::from("nobody answered"));
        while Instant::now() < end {
            match socket::connect_stream(&dir, sockets::SHIM) {
                Ok(stream) => {
                    who = socket::peer(stream.as_fd()).and_then(|peer| u32::try_from(peer.pid()).ok());
                    let awake = Awake::keep("podshim", move || who);
                    let client = client(stream).map_err(|error| Failure::io("connect to podshim", &error))?;
                    match PodsClient::new(client.clone()).hello(deadline(DIAL), &hello()).await {
                        Ok(reply) => {
                            understood(&reply, &format!("the shim of pod {pod}"))?;
                            return Ok(Shim { client, dir, _awake: Arc::new(awake) });
                        }
                        Err(ttrpc::Error::RpcStatus(status)) if status.code() != ttrpc::Code::DEADLINE_EXCEEDED => {
                            return Err(ttrpc::Error::RpcStatus(status).into());
                        }
                        // It went as we came: the next one serves us.
                        Err(error) => last = error.to_string(),
                    }
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(error) if nobody_listens(&error) => self.start_shim(pod).await?,
                Err(error) => return Err(Failure::io(format!("connect to the shim of pod {pod}"), &error)),
            }
        }
        let who = who.map(|pid| format!(" ({})", patience::who(&[pid]))).unwrap_or_default();
        Err(Failure::invalid(format!("the shim of pod {pod}{who} does not answer: {last}")))
    }

    async fn start_shim(&self, pod: &Id) -> Result<(), Failure> {
        let words = |error: io::Error| Failure::io(format!("start the shim of pod {pod}"), &error);
        let (ready, theirs) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|no| words(no.into()))?;
        // A file, not a pipe: the shim outlives us, and what it says later must not hurt it.
        let said = memfd_create(c"podshim-stderr", MFdFlags::MFD_CLOEXEC).map_err(|no| words(no.into()))?;
        let pid = self.spawn("pod", Some(pod), &[(&theirs, 3), (&said, 2)], true).map_err(words)?;
        failpoint::check(Point::ClientShim).map_err(words)?;
        let who = u32::try_from(pid.as_raw()).ok();
        let _awake = Awake::keep("podshim", move || who);
        drop(theirs);
        let ready = relay::watch_own(ready).map_err(words)?;
        let limit = patience::at_most(READY);
        match tokio::time::timeout(limit, relay::read_own(&ready)).await {
            Ok(bytes) if !bytes.is_empty() => Ok(()),
            Ok(_) => {
                let _ = waitpid(pid, None);
                Err(Failure::invalid(
                    last_words(said).unwrap_or_else(|| format!("the shim of pod {pod} did not start")),
                ))
            }
            Err(_) => {
                let (who, seconds) = (patience::who(who.as_slice()), limit.as_secs_f64());
                Err(Failure::invalid(format!("the shim of pod {pod} ({who}) is not ready after {seconds} s")))
            }
        }
    }

    /// Starts `podshim ROLE …` with `fds` under their numbers, its other standard streams at /dev/null.
    fn spawn(&self, role: &str, pod: Option<&Id>, fds: &[(&dyn AsFd, i32)], detached: bool) -> io::Result<Pid> {
        let program = sibling("podshim")?;
        let roots = [self.roots.state.as_os_str(), self.roots.run.as_os_str()];
        let mut args: Vec<&[u8]> = vec![b"podshim", role.as_bytes()];
        args.extend(pod.map(|pod| pod.as_str().as_bytes()));
        args.extend([&b"--root"[..], roots[0].as_bytes(), b"--runroot", roots[1].as_bytes()]);
        if !self.runtime.is_empty() {
            args.extend([&b"--runtime"[..], self.runtime.as_bytes()]);
        }
        if detached {
            args.extend([&b"--ready-fd"[..], b"3"]);
        }
        let args = args.into_iter().map(CString::new).collect::<Result<Vec<_>, _>>()?;
        let (tunables, lean) = proto::memory::NO_CACHES;
        let mut environment = environment(detached.then_some(tunables).as_slice());
        if detached {
            environment.push(CString::new(format!("{tunables}={lean}"))?);
        }
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_open(0, "/dev/null", nix::fcntl::OFlag::O_RDONLY, nix::sys::stat::Mode::empty())?;
        actions.add_open(1, "/dev/null", nix::fcntl::OFlag::O_WRONLY, nix::sys::stat::Mode::empty())?;
        // Held until the child has its own.
        let mut held: Vec<OwnedFd> = Vec::new();
        for (fd, number) in fds {
            let fd = sys::out_of_the_way(&fd.as_fd())?;
            actions.add_dup2(fd.as_raw_fd(), *number)?;
            held.push(fd);
        }
        let mut attributes = PosixSpawnAttr::init()?;
        let mut flags = PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK;
        // Ctrl-C at our terminal is for us: a shim stays, and a host cleans up when it finds that we have gone.
        flags |= PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into());
        attributes.set_flags(flags)?;
        attributes.set_sigmask(&SigSet::empty())?;
        // Rust ignores SIGPIPE, and an ignored signal is inherited.
        let mut default = SigSet::empty();
        default.add(Signal::SIGPIPE);
        attributes.set_sigdefault(&default)?;
        Ok(posix_spawn(program.as_path(), &actions, &attributes, &args, &environment)?)
    }

    /// The monitor of a container; `None` where there is none, because the container does not run.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn monitor(&self, pod: &Id, container: &Id) -> Result<Option<Monitor>, Failure> {
        let dir = self.roots.run_container(pod, container);
        let end = Instant::now() + DIAL;
        let state = self.roots.container_state(pod, container);
        let who = move || record::read::<MonitorState>(&state).ok().map(|state| state.monitor.pid);
        let awake = Awake::keep("podmon", who.clone());
        loop {
            let stream = match socket::connect_stream(&dir, sockets::MONITOR) {
                Ok(stream) => stream,
                Err(error) if nobody_listens(&error) => return Ok(None),
                Err(error) => return Err(Failure::io(format!("connect to the monitor of {container}"), &error)),
            };
            let client = client(stream).map_err(|error| Failure::io("connect to podmon", &error))?;
            match MonitorClient::new(client.clone()).hello(deadline(DIAL), &hello()).await {
                Ok(reply) => {
                    understood(&reply, &format!("the monitor of container {container}"))?;
                    return Ok(Some(Monitor { client, _awake: awake }));
                }
                Err(ttrpc::Error::RpcStatus(status)) => return Err(ttrpc::Error::RpcStatus(status).into()),
                Err(error) if Instant::now() >= end => {
                    let who = patience::who(who().as_slice());
                    return Err(Failure::invalid(format!(
                        "the monitor of container {container} ({who}) does not answer: {error}"
                    )));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// The version of the monitor of a container; `None` where it does not say.
    pub async fn monitor_version(&self, pod: &Id, container: &Id) -> Option<String> {
        let stream = socket::connect_stream(&self.roots.run_container(pod, container), sockets::MONITOR).ok()?;
        let reply = MonitorClient::new(client(stream).ok()?).hello(deadline(DIAL), &hello()).await.ok()?;
        Some(reply.version)
    }

    /// The version of the shim of a pod, which is not started for that; `None` where it does not say.
    pub async fn shim_version(&self, pod: &Id) -> Option<String> {
        let stream = socket::connect_stream(&self.roots.run_pod(pod), sockets::SHIM).ok()?;
        let reply = PodsClient::new(client(stream).ok()?).hello(deadline(DIAL), &hello()).await.ok()?;
        Some(reply.version)
    }

    /// A connection to the monitor's raw socket.
    ///
    /// # Errors
    /// `NotFound` or `ConnectionRefused` where there is no monitor.
    pub fn monitor_raw(&self, pod: &Id, container: &Id) -> io::Result<Raw> {
        Raw::new(socket::connect_seqpacket(&self.roots.run_container(pod, container), sockets::MONITOR_RAW)?)
    }
}

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "warning", "error", "fatal", "panic"];

fn hello() -> HelloRequest {
    HelloRequest { protocol: proto::PROTOCOL, version: proto::VERSION.to_owned() }
}

/// Whether we know the language of whoever has greeted us. One that is older than ours we do: see
/// [`proto::PROTOCOL`].
fn understood(reply: &HelloReply, who: &str) -> Result<(), Failure> {
    if reply.protocol <= proto::PROTOCOL {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{who} is of podctl {}, which is newer than this one: use that podctl",
        output::escape::line(&reply.version)
    )))
}

fn nobody_listens(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

/// The last line a shim wrote to stderr, without what we put before it again.
fn last_words(said: OwnedFd) -> Option<String> {
    let mut file = std::fs::File::from(said);
    file.rewind().ok()?;
    let mut text = Vec::new();
    file.take(64 * 1024).read_to_end(&mut text).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    let line = line.strip_prefix("podshim: ").unwrap_or(line);
    Some(line.strip_prefix("Error: ").unwrap_or(line).to_owned())
}

/// The program `name` of this installation: beside our own, in libexec, on PATH.
///
/// # Errors
/// `NotFound`, naming where it was looked for.
pub fn sibling(name: &str) -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let beside = own.parent().unwrap_or(Path::new("/"));
    let places = [beside.join(name), beside.join("../libexec/podctl").join(name)];
    let path = std::env::var_os("PATH").unwrap_or_default();
    places
        .into_iter()
        .chain(std::env::split_paths(&path).filter(|dir| dir.is_absolute()).map(|dir| dir.join(name)))
        .find(|file| file.is_file())
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "{name} is neither in {} nor in ../libexec/podctl nor on PATH: install it there",
                    beside.display()
                ),
            )
        })
}

/// A host shim. It ends when this is dropped.
pub struct Host {
    client: Client,
    raw_fd: Mutex<Option<OwnedFd>>,
    raw: OnceCell<Raw>,
    _awake: Awake,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Shim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shim").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Host {
    /// Its raw socket.
    ///
    /// # Errors
    /// Those of epoll_ctl(2).
    pub fn raw(&self) -> io::Result<&Raw> {
        if let Some(fd) = self.raw_fd.lock().ok().and_then(|mut fd| fd.take()) {
            // The cell is empty: the descriptor was still there.
            let _ = self.raw.set(Raw::new(fd)?);
        }
        self.raw.get().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
    /// Pods: create, list, inspect.
    pub fn pods(&self) -> PodsClient {
        PodsClient::new(self.client.clone())
    }
    /// Containers: list, inspect, logs, top.
    pub fn containers(&self) -> ContainersClient {
        ContainersClient::new(self.client.clone())
    }
    /// Images.
    pub fn images(&self) -> ImagesClient {
        ImagesClient::new(self.client.clone())
    }
    /// Volumes.
    pub fn volumes(&self) -> VolumesClient {
        VolumesClient::new(self.client.clone())
    }
    /// Networks.
    pub fn networks(&self) -> NetworksClient {
        NetworksClient::new(self.client.clone())
    }
    /// Secrets.
    pub fn secrets(&self) -> SecretsClient {
        SecretsClient::new(self.client.clone())
    }
    /// The engine.
    pub fn system(&self) -> SystemClient {
        SystemClient::new(self.client.clone())
    }
}

/// A pod's shim. It stays while this is held.
#[derive(Clone)]
pub struct Shim {
    client: Client,
    dir: PathBuf,
    _awake: Arc<Awake>,
}

impl Shim {
    /// Acts on the pod.
    pub fn pods(&self) -> PodsClient {
        PodsClient::new(self.client.clone())
    }
    /// Acts on its members.
    pub fn containers(&self) -> ContainersClient {
        ContainersClient::new(self.client.clone())
    }
    /// A connection to its raw socket.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn raw(&self) -> io::Result<Raw> {
        Raw::new(socket::connect_seqpacket(&self.dir, sockets::SHIM_RAW)?)
    }
}

/// A container's monitor.
pub struct Monitor {
    client: Client,
    _awake: Awake,
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Monitor").finish_non_exhaustive()
    }
}

impl Monitor {
    /// Its service.
    pub fn client(&self) -> MonitorClient {
        MonitorClient::new(self.client.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(flags: &[(&'static str, &str)]) -> Result<Engine, Failure> {
        let flags: Vec<_> = flags.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Engine::from_flags(&flags)
    }

    #[test]
    fn flags_name_the_engine() {
        let engine =
            engine(&[("root", "/r"), ("runroot", "x"), ("runtime", "runc"), ("log-level", "debug")]).expect("engine");
        assert_eq!((engine.roots.state, engine.runtime.as_str()), (PathBuf::from("/r"), "runc"));
        assert!(engine.roots.run.is_absolute());
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (flag, value, words) in [
            (
                "cgroup-manager",
                "systemd",
                "--cgroup-manager systemd is not supported: podctl manages cgroups itself, use cgroupfs",
            ),
            (
                "log-level",
                "bogus",
                "Log Level \"bogus\" is not supported, choose from: trace, debug, info, warn, warning, error, fatal, panic",
            ),
        ] {
            assert_eq!(engine(&[(flag, value)]).expect_err(value).to_string(), words);
        }
    }

    #[test]
    fn names_are_resolved_to_what_is_meant() {
        let dir = tempfile::tempdir().expect("tempdir");
        let root = dir.path().display().to_string();
        let engine = engine(&[("root", &root), ("runroot", &root)]).expect("engine");
        std::fs::create_dir(engine.roots.names()).expect("names");
        let [pod, other, container] = [(); 3].map(|()| Id::random().expect("id"));
        for (name, target) in [
            ("pod1", Target::Pod(pod.clone())),
            ("infra1", Target::Infra(other.clone())),
            ("web", Target::Container { pod: pod.clone(), container: container.clone() }),
        ] {
            std::os::unix::fs::symlink(target.link(), engine.roots.names().join(name)).expect("link");
            assert!(engine.roots.resolve(name).expect("a name").is_none(), "claimed for what is yet to be made");
            let record = match &target {
                Target::Container { pod, container } => engine.roots.container_record(pod, container),
                Target::Pod(pod) | Target::Infra(pod) => engine.roots.pod_record(pod),
            };
            std::fs::create_dir_all(record.parent().expect("a directory")).expect("directory");
            std::fs::write(record, "").expect("record");
        }
        assert_eq!(engine.pod_id("pod1").expect("pod"), pod);
        assert_eq!(engine.container("web").expect("web"), Found::Container { pod: pod.clone(), id: container });
        assert_eq!(engine.container("infra1").expect("infra"), Found::Infra(other));
        for (failure, words) in [
            (engine.pod_id("web").err(), "\"web\" is a container, not a pod: no such pod"),
            (engine.pod_id("nope").err(), "no pod with name or ID nope found: no such pod"),
            (engine.container("pod1").err(), "\"pod1\" is a pod, not a container: no such container"),
            (engine.container("nope").err(), "no container with name or ID \"nope\" found: no such container"),
        ] {
            assert_eq!(failure.map(|failure| failure.to_string()).as_deref(), Some(words));
        }
    }

    #[test]
    fn a_program_that_is_nowhere_is_named() {
        let error = sibling("podshim-that-is-not-there").expect_err("nowhere");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
