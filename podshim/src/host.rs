//! The roles of this program: how each starts, what it serves, when it ends.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{SigSet, Signal},
        stat::{Mode, umask},
    },
    unistd::chdir,
};
use proto::{
    Id, Roots,
    alive::Lock,
    deletions::Deletions,
    failpoint::{self, Point},
    layout::sockets,
    serve::{Connections, listener, runtime},
    socket,
    wire::{
        create_containers, create_images, create_networks, create_pods, create_secrets, create_system, create_volumes,
    },
};

use crate::{
    config::Engine,
    index, namespace,
    pod::{
        self, Pod,
        intent::{self, Newborn},
    },
    serve, sys,
};

/// What a role was started with.
#[derive(Debug, Default)]
pub struct Arguments {
    /// `--root`
    pub root: Option<PathBuf>,
    /// `--runroot`
    pub runroot: Option<PathBuf>,
    /// `--runtime`
    pub runtime: Option<String>,
    /// `--ready-fd`: one byte goes there when somebody serves the pod.
    pub ready_fd: Option<i32>,
    /// `--lock-fd`: the pod's lock, held by the program that this process was before.
    pub lock_fd: Option<i32>,
}

impl Arguments {
    /// The flags after the role's own operands.
    ///
    /// # Errors
    /// Naming what is not understood.
    pub fn parse(mut flags: impl Iterator<Item = String>) -> anyhow::Result<Arguments> {
        let mut parsed = Arguments::default();
        while let Some(flag) = flags.next() {
            let mut value = || flags.next().ok_or_else(|| anyhow::anyhow!("{flag} needs a value"));
            match flag.as_str() {
                "--root" => parsed.root = Some(value()?.into()),
                "--runroot" => parsed.runroot = Some(value()?.into()),
                "--runtime" => parsed.runtime = Some(value()?),
                "--lock-fd" => parsed.lock_fd = Some(value()?.parse()?),
                "--ready-fd" => parsed.ready_fd = Some(value()?.parse()?),
                _ => anyhow::bail!("unknown flag: {flag}"),
            }
        }
        Ok(parsed)
    }

    fn engine(&self) -> Engine {
        let default = Roots::default();
        let roots = Roots {
            state: self.root.clone().unwrap_or(default.state),
            run: self.runroot.clone().unwrap_or(default.run),
        };
        Engine::new(roots, self.runtime.clone())
    }
}

/// Whatever the caller left behind (signals ignored or blocked, a strange umask, a deleted directory) is not ours.
fn sanitise() {
    for number in Signal::iterator() {
        if !matches!(number, Signal::SIGKILL | Signal::SIGSTOP | Signal::SIGPIPE | Signal::SIGXFSZ) {
            sys::signal::default(number);
        }
    }
    sys::signal::ignore(Signal::SIGPIPE);
    // A write beyond the caller's `ulimit -f` is an error, and no reason to die.
    sys::signal::ignore(Signal::SIGXFSZ);
    sys::limit::lift_file_size();
    proto::ulimit::lift_files();
    // Neither can fail with these arguments.
    let _ = SigSet::empty().thread_set_mask();
    umask(Mode::from_bits_truncate(0o022));
    let _ = chdir("/");
}

/// `podshim host`: fd 3 is the client's ttrpc connection, fd 4 its raw one. Ends with the connection.
///
/// # Errors
/// When the descriptors are not there.
pub fn host(arguments: &Arguments) -> anyhow::Result<()> {
    let client = sys::fd::inherited(3)?;
    let raw = sys::fd::inherited(4)?;
    sys::fd::close_from(5);
    sanitise();
    let engine = arguments.engine();
    runtime()?.block_on(async {
        intent::sweep(&engine.roots, None).await;
        let deposits = serve::raw::Shared::default();
        serve::raw::serve(raw, &deposits);
        let connections = Connections::default();
        let mut server = ttrpc::r#async::Server::new()
            .register_service(create_pods(Arc::new(serve::pods::HostPodService(engine.clone()))))
            .register_service(create_containers(Arc::new(serve::containers::HostContainerService {
                engine: engine.clone(),
                deposits: deposits.clone(),
            })))
            .register_service(create_images(Arc::new(serve::images::Images::new(&engine.roots, deposits.clone()))))
            .register_service(create_volumes(Arc::new(serve::volumes::Service::new(&engine.roots))))
            .register_service(create_networks(Arc::new(serve::networks::Service::new(&engine.roots))))
            .register_service(create_secrets(Arc::new(serve::secrets::Service::new(&engine.roots))))
            .register_service(create_system(Arc::new(serve::system::System::new(engine, deposits))))
            .add_listener(listener(None, Some(UnixStream::from(client)), &connections)?);
        server.start().await?;
        while connections.open() > 0 {
            connections.changed_from(connections.open()).await;
        }
        Ok(())
    })
}

/// How long a shim waits for the client that started it.
const FIRST_CLIENT: Duration = Duration::from_secs(2);
/// How long a shim is left alone before it gives back the memory of its last act.
const QUIET: Duration = Duration::from_millis(500);
/// How long a shim of which nothing is up waits for its next client.
const IDLE: Duration = Duration::from_millis(20);

/// `podshim pod ID`: the pod's infra and engine. Ends when nothing of the pod is up and nobody is connected.
///
/// # Errors
/// When the pod's directory cannot be made, or its records cannot be read.
pub fn pod(id: &Id, arguments: &Arguments) -> anyhow::Result<()> {
    let ready = arguments.ready_fd.map(sys::fd::inherited).transpose()?;
    let held = arguments.lock_fd.map(sys::fd::inherited).transpose()?;
    sys::fd::close_from(arguments.ready_fd.max(arguments.lock_fd).map_or(3, |number| number + 1));
    sanitise();
    let engine = arguments.engine();
    let run = engine.roots.run_pod(id);
    if let Some(held) = held {
        let lock = Lock::inherited(held.into(), &engine.roots.pod_lock(id))?;
        return serve_pod(&engine, id, ready, Before::Upgraded, None, lock);
    }
    let cut_off = run.exists() || intent::is_open(&engine.roots, id);
    let newborn = Newborn::new(&engine.roots, id);
    let Some(lock) = intent::lock(&engine.roots, id)? else {
        if let Some(newborn) = newborn {
            newborn.leave_to_another(&engine.roots, id);
        }
        return tell(ready);
    };
    newborn.iter().for_each(Newborn::renew);
    let lock = match wait_for_owner(&engine, id, lock)? {
        Some(lock) => lock,
        None => return tell(ready),
    };
    let before = if cut_off { Before::CutOff } else { Before::Nobody };
    let served = serve_pod(&engine, id, ready, before, newborn, lock);
    if served.is_err() && !engine.roots.pod_record(id).exists() {
        // Nobody would come back for it.
        intent::leave(&engine.roots, id);
    }
    served
}

/// How long a shim whose run directory was deleted may take to make it again.
const OWNER: Duration = Duration::from_secs(2);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(100);

/// Where members run of whose run directory nothing is left, somebody has deleted it, and their shim may be about to make
/// it again: it is given time to. `None` when it has.
fn wait_for_owner(engine: &Engine, id: &Id, mut lock: Lock) -> anyhow::Result<Option<Lock>> {
    let roots = &engine.roots;
    let end = Instant::now() + OWNER;
    while !roots.pod_state(id).exists()
        && index::pod(roots, id).is_some_and(|pod| pod.containers.iter().any(index::Container::is_lost))
        && Instant::now() < end
    {
        intent::leave_open(roots, id);
        drop(lock);
        std::thread::sleep(LOOK);
        match intent::lock(roots, id)? {
            Some(again) => lock = again,
            None => return Ok(None),
        }
    }
    Ok(Some(lock))
}

/// Who had the pod before us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Before {
    /// Nobody, or one who has left.
    Nobody,
    /// One who was killed.
    CutOff,
    /// This process as another program: it is where it should be.
    Upgraded,
}

/// The same with the pod's lock.
fn serve_pod(
    engine: &Engine,
    id: &Id,
    ready: Option<OwnedFd>,
    before: Before,
    mut newborn: Option<Newborn>,
    lock: Lock,
) -> anyhow::Result<()> {
    let run = engine.roots.run_pod(id);
    failpoint::check(Point::ShimLocked)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    // Where the pod runs out of memory others are to be killed. Without CAP_SYS_RESOURCE this may be refused, and we are as
    // safe as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    sys::memory::one_arena();
    if before != Before::Upgraded {
        enter_mount_namespace(engine, id)?;
    }
    runtime()?.block_on(async {
        if before == Before::CutOff {
            intent::settle(&engine.roots, id);
            intent::tidy(&engine.roots, id).await;
            drop(newborn.take());
            newborn = Newborn::new(&engine.roots, id);
        }
        intent::sweep(&engine.roots, Some(id)).await;
        // Before there are threads. A pod that is not told of deletions is served all the same.
        let deletions = Deletions::new().ok();
        let pod = Pod::open(engine.clone(), id.clone(), newborn).await?;
        pod.keep_lock(&lock);
        failpoint::check(Point::ShimOpen)?;
        let stream = socket::listen_stream(&run, sockets::SHIM)?;
        serve::raw::listen(socket::listen_seqpacket(&run, sockets::SHIM_RAW)?, &pod.deposits)?;
        failpoint::check(Point::ShimBound)?;
        let connections = Connections::default();
        let mut server = ttrpc::r#async::Server::new()
            .register_service(create_pods(Arc::new(serve::pods::PodService(pod.clone()))))
            .register_service(create_containers(Arc::new(serve::containers::ContainerService(pod.clone()))))
            .add_listener(listener(Some(stream), None, &connections)?);
        server.start().await?;
        failpoint::check(Point::ShimServes)?;
        pod.watch_directory(deletions);
        tell(ready)?;
        until_idle(&pod, &connections).await;
        failpoint::pass(Point::ShimIdle);
        drop(server);
        pod.leave(lock);
        // The kernel takes its time over bridges; nobody waits for this any more.
        crate::network::settle().await;
        Ok(())
    })
}

/// Returns when nothing of the pod is up, nobody is at work and nobody can connect any more. Whoever asks then cannot
/// even be greeted, and asks again: the next shim.
async fn until_idle(pod: &Pod, connections: &Connections) {
    // The client that started us needs a moment to connect.
    let mut patience = FIRST_CLIENT;
    let mut trimmed = false;
    loop {
        let open = connections.open();
        if open == 0 && pod.is_idle().await {
            tokio::select! {
                // Whoever has come meanwhile counts for more than the time that is over.
                biased;
                () = connections.changed_from(0) => {}
                () = pod.changed() => {}
                () = tokio::time::sleep(patience) => {
                    // Nothing runs between this and the last look at the connections: none is taken any more.
                    connections.close();
                    return;
                }
            }
        } else {
            tokio::select! {
                () = connections.changed_from(open) => {}
                () = pod.changed() => {}
                // Quiet for a while: what the last act needed can go.
                () = tokio::time::sleep(QUIET), if !trimmed => {
                    proto::memory::trim();
                    trimmed = true;
                    continue;
                }
            }
        }
        trimmed = false;
        patience = IDLE;
    }
}

/// The engine's mount namespace: that of a monitor which is still there, else a new one.
fn enter_mount_namespace(engine: &Engine, id: &Id) -> io::Result<()> {
    let monitors = index::pod(&engine.roots, id).map(|pod| pod.containers).unwrap_or_default();
    for monitor in monitors.iter().filter_map(|container| container.monitor.as_ref()) {
        if monitor.monitor.is_alive() && namespace::engine::enter_of(&monitor.monitor).is_ok() {
            chdir("/")?;
            return Ok(());
        }
    }
    namespace::engine::enter_new().map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => io::Error::new(
            error.kind(),
            "a pod needs a mount namespace, and that takes CAP_SYS_ADMIN: run podctl as root",
        ),
        _ => error,
    })?;
    pod::volumes::forget_host_mounts(&engine.roots);
    // A runtime that is not there is refused by name when it is needed.
    if let Ok(runtime) = engine.runtime_path("")
        && let Err(error) = namespace::engine::guard(&runtime)
    {
        tracing::warn!("{}: no read-only mount: {error}", runtime.display());
    }
    Ok(())
}

/// Tells whoever started us that the pod is served.
fn tell(ready: Option<OwnedFd>) -> anyhow::Result<()> {
    if let Some(ready) = ready {
        // Whoever started us may have gone.
        let _ = nix::unistd::write(&ready, b"1");
    }
    Ok(())
}
