//! A supervisor for one monitor: binds its sockets, writes its start record and an OCI bundle, keeps its descriptors,
//! reaps what it leaves, and starts a successor. Needs root, crun and busybox; leaves nothing.

use std::{
    collections::HashMap,
    fs,
    io::Read,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::{fs::MetadataExt, net::UnixListener, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use prost::Message;
use proto::{
    Id, Refusal,
    frame::{Attach, Frame, Kind},
    log_line::{Format, rotated},
    raw::{MAX_PACKET, Raw, receive_packet},
    record::{self, Durability, ExitRecord, MonitorState, SCHEMA, StartRecord},
    serve, socket,
    wire::{
        Empty, ExecId, ExecRequest, ExecStarted, ExitStatus, LogConfig, MonitorClient, MonitorCreate, MonitorStatus,
        RestartPolicy,
    },
};
use serde_json::{Value, json};

/// How long anything may take here: generous, the machine is busy.
pub const LONG: Duration = Duration::from_secs(60);

/// What a test wants to be different.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The command.
    pub args: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// With an open stdin.
    pub stdin: bool,
    /// Runtime on PATH.
    pub runtime: &'static str,
    /// A runtime of the test's own: a shell script.
    pub runtime_script: Option<&'static str>,
    /// Log driver.
    pub driver: &'static str,
    /// Changes to config.json.
    pub config: fn(&mut Value),
    /// SIGKILL after so many seconds.
    pub timeout_seconds: u32,
    /// Log path.
    pub log: Option<PathBuf>,
    /// Longest file of the log, and how many are kept.
    pub rotation: Option<(i64, u32)>,
    /// Restart policy and its retries.
    pub restart: (&'static str, u32),
}

impl Wish {
    /// `sh -c SCRIPT`
    pub fn sh(script: &str) -> Wish {
        Wish {
            args: ["sh", "-c", script].map(str::to_owned).to_vec(),
            tty: false,
            stdin: false,
            runtime: "crun",
            runtime_script: None,
            driver: "",
            config: |_| (),
            timeout_seconds: 0,
            log: None,
            rotation: None,
            restart: ("", 0),
        }
    }
}

/// See the module.
pub struct Bench {
    /// Everything is in here.
    _dir: tempfile::TempDir,
    /// The monitor's run directory.
    pub run: PathBuf,
    /// What the monitor is told.
    pub start: StartRecord,
    listeners: Vec<(String, OwnedFd)>,
    store: Arc<Mutex<HashMap<String, OwnedFd>>>,
    monitor: Option<Child>,
    podmon: PathBuf,
}

/// Where the runtime is.
pub fn program(name: &str) -> PathBuf {
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/bin", "/sbin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("{name} is needed (Debian package)"))
}

impl Bench {
    /// A bundle and a monitor that serves.
    pub fn new(wish: &Wish) -> Bench {
        assert!(nix::unistd::geteuid().is_root(), "these tests need root");
        nix::sys::prctl::set_child_subreaper(true).expect("subreaper");
        let dir = tempfile::Builder::new().prefix("podmon-test-").tempdir().expect("tempdir");
        let id = Id::random().expect("id");
        // As long as it is in earnest: longer than sun_path.
        let run = dir.path().join("r".repeat(60)).join(id.as_str());
        let state = dir.path().join("state");
        let bundle = run.join("bundle");
        fs::create_dir_all(&bundle).expect("bundle");
        fs::create_dir_all(&state).expect("state");
        let cgroup = format!("/podctl-test-podmon-{}/ctr", id.short());
        write_bundle(&bundle, &dir.path().join("rootfs"), wish, &cgroup);
        let mut runtime = program(wish.runtime);
        if let Some(script) = wish.runtime_script {
            runtime = dir.path().join("fake-runtime");
            let text = dir.path().join("text");
            fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("script");
            fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
            copy(&text, &runtime);
        }
        let start = StartRecord {
            schema: SCHEMA,
            id,
            pod: Id::random().expect("id"),
            name: "test".into(),
            bundle,
            runtime,
            runtime_root: dir.path().join("runtime"),
            exit_record: state.join("exit.json"),
            state_record: run.join("state.json"),
            log: LogConfig {
                driver: wish.driver.into(),
                path: wish.log.as_ref().map_or_else(String::new, |path| path.display().to_string()),
                max_size: wish.rotation.map_or(0, |(size, _)| size),
                options: wish
                    .rotation
                    .map(|(_, files)| ("max-file".to_owned(), files.to_string()))
                    .into_iter()
                    .collect(),
                ..LogConfig::default()
            },
            tty: wish.tty,
            stdin: wish.stdin,
            stop_signal: "SIGTERM".into(),
            stop_timeout_ms: 10_000,
            timeout_seconds: wish.timeout_seconds,
            restart: RestartPolicy { name: wish.restart.0.into(), max_retries: wish.restart.1 },
            detach_keys: String::new(),
            cgroup,
            uid: 0,
            gid: 0,
            events: std::path::PathBuf::new(),
            event: proto::event::Event::default(),
            witnessed_exit: None,
            pidfile: String::new(),
            conmon_pidfile: String::new(),
            health: None,
            readiness: None,
            witnessed_pid: 0,
            limits: Vec::new(),
            unmounted: false,
            log_directory: None,
            heir: None,
        };
        record::write(&run.join("start.json"), &start, Durability::Volatile).expect("start.json");
        let listener: UnixListener = socket::listen_stream(&run, "mon.sock").expect("mon.sock");
        let raw = socket::listen_seqpacket(&run, "mon.raw").expect("mon.raw");
        let store = keep_descriptors(&run);
        let podmon = PathBuf::from(env!("CARGO_BIN_EXE_podmon"));
        let listeners = vec![("mon.sock".to_owned(), listener.into()), ("mon.raw".to_owned(), raw)];
        let mut bench = Bench { _dir: dir, run, start, listeners, store, monitor: None, podmon };
        bench.spawn();
        bench
    }

    /// Uses another program as monitor from now on (none is running).
    pub fn spawn(&mut self) {
        let store = self.store.lock().expect("store");
        let mut fds: Vec<(String, RawFd)> =
            self.listeners.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())).collect();
        fds.extend(store.iter().map(|(name, fd)| (name.clone(), fd.as_raw_fd())));
        let names: Vec<&str> = fds.iter().map(|(name, _)| name.as_str()).collect();
        let mut command = Command::new(&self.podmon);
        command
            .arg(self.start.id.as_str())
            .arg("--start-record")
            .arg(self.run.join("start.json"))
            .current_dir(&self.run)
            .env("LISTEN_FDS", fds.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("NOTIFY_SOCKET", self.run.join("notify.sock"))
            .envs([proto::memory::NO_CACHES])
            .env("CANARY", "in the supervisor's environment")
            .env_remove("LISTEN_PID")
            .stdin(Stdio::null());
        pass(&mut command, fds.iter().map(|(_, fd)| *fd).collect());
        self.monitor = Some(command.spawn().expect("podmon"));
    }

    /// The monitor's pid.
    pub fn pid(&self) -> u32 {
        self.monitor.as_ref().expect("a monitor").id()
    }

    /// kill -9 of the monitor.
    pub fn kill(&mut self) {
        let mut monitor = self.monitor.take().expect("a monitor");
        monitor.kill().expect("kill");
        monitor.wait().expect("wait");
    }

    /// Starts a successor, which is told how the container ended if it has.
    pub fn respawn(&mut self) {
        let state: MonitorState = record::read(&self.start.state_record).expect("state.json");
        self.start.witnessed_pid = state.init.as_ref().map_or(0, |init| init.pid);
        self.start.witnessed_exit = state.init.and_then(|init| reap(init.pid, Duration::ZERO));
        record::write(&self.run.join("start.json"), &self.start, Durability::Volatile).expect("start.json");
        self.spawn();
    }

    /// Waits until the monitor has ended; its exit code.
    pub fn wait_monitor(&mut self) -> Option<i32> {
        let deadline = Instant::now() + LONG;
        let monitor = self.monitor.as_mut().expect("a monitor");
        while Instant::now() < deadline {
            if let Some(status) = monitor.try_wait().expect("wait") {
                self.monitor = None;
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        panic!("the monitor has not ended");
    }

    /// Names of the descriptors the monitor has stored.
    pub fn stored(&self) -> Vec<String> {
        let mut names: Vec<String> = self.store.lock().expect("store").keys().cloned().collect();
        names.sort();
        names
    }

    /// Loses what was stored.
    pub fn forget(&self) {
        self.store.lock().expect("store").clear();
    }

    /// A client of the monitor.
    pub fn client(&self) -> MonitorClient {
        let stream = socket::connect_stream(&self.run, "mon.sock").expect("connect");
        MonitorClient::new(serve::client(stream).expect("client"))
    }

    /// A connection of the raw socket.
    pub fn raw(&self) -> Raw {
        Raw::new(socket::connect_seqpacket(&self.run, "mon.raw").expect("connect")).expect("raw")
    }

    /// An attach session.
    pub async fn attach(&self, request: &Attach) -> Raw {
        let raw = self.raw();
        let packet = [b"T".to_vec(), serde_json::to_vec(request).expect("json")].concat();
        raw.send(&packet, &[]).await.expect("send");
        raw.acknowledgement().await.expect("attached");
        raw
    }

    /// exit.json
    pub fn exit_record(&self) -> ExitRecord {
        record::read(&self.start.exit_record).expect("exit.json")
    }

    /// state.json
    pub fn state(&self) -> MonitorState {
        record::read(&self.start.state_record).expect("state.json")
    }

    /// Path of the log.
    pub fn log_path(&self) -> PathBuf {
        if self.start.log.path.is_empty() {
            self.start.exit_record.with_file_name("ctr.log")
        } else {
            PathBuf::from(&self.start.log.path)
        }
    }

    /// Bytes of one stream, as the log has them across its files. Every line must be a whole record.
    pub fn logged(&self, stream: &str) -> Vec<u8> {
        let log = self.whole_log();
        let format = Format::of(self.start.log.driver.as_str()).expect("a file");
        let (mut bytes, mut scratch) = (Vec::new(), Vec::new());
        for line in log.split_inclusive(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\n").expect("a whole line");
            let record = format.decode(line, &mut scratch);
            let record = record.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(line)));
            if record.stream.as_str() == stream {
                bytes.extend_from_slice(record.text);
                if record.full {
                    bytes.push(b'\n');
                }
            }
        }
        bytes
    }

    /// All files of the log, the oldest first.
    fn whole_log(&self) -> Vec<u8> {
        let mut inodes = Vec::new();
        let mut files = Vec::new();
        let mut missing = 0;
        for number in 0.. {
            let path = rotated(&self.log_path(), number);
            match fs::metadata(&path) {
                // Killed in the middle of a rotation it may have two names.
                Ok(metadata) if inodes.contains(&metadata.ino()) => {}
                Ok(metadata) => {
                    inodes.push(metadata.ino());
                    files.push(fs::read(&path).expect("log"));
                }
                // And one number may be free.
                Err(_) if missing == 1 => break,
                Err(_) => missing += 1,
            }
        }
        assert!(!files.is_empty(), "no log");
        files.reverse();
        files.concat()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Some(mut monitor) = self.monitor.take() {
            // One that is about to end is left to do so: the runtime it has started would outlive it and make directories.
            let over = record::read::<ExitRecord>(&self.start.exit_record).is_ok_and(|exit| exit.status.known);
            let deadline = Instant::now() + Duration::from_secs(2);
            while over && Instant::now() < deadline && matches!(monitor.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(2));
            }
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
        let init = record::read::<MonitorState>(&self.start.state_record).ok().and_then(|state| state.init);
        let _ = Command::new(&self.start.runtime)
            .arg("--root")
            .arg(&self.start.runtime_root)
            .args(["delete", "--force", self.start.id.as_str()])
            .stderr(Stdio::null())
            .status();
        if let Some(init) = init {
            reap(init.pid, Duration::from_secs(5));
        }
        let top = self.start.cgroup.trim_start_matches('/').split('/').next().expect("a name").to_owned();
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut left = Vec::new();
            for hierarchy in fs::read_dir("/sys/fs/cgroup").expect("cgroups").flatten() {
                let path = hierarchy.path().join(&top);
                if path.is_dir() {
                    let _ = fs::remove_dir(path.join("ctr"));
                    if fs::remove_dir(&path).is_err() {
                        left.push(path);
                    }
                }
            }
            if left.is_empty() {
                break;
            }
            if Instant::now() > deadline && !std::thread::panicking() {
                panic!("left: {left:?}");
            } else if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Reaps a container that came to us; its raw status.
pub fn reap(pid: u32, patience: Duration) -> Option<i32> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = unsafe_parts::reap(pid) {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The supervisor's fd store.
fn keep_descriptors(run: &Path) -> Arc<Mutex<HashMap<String, OwnedFd>>> {
    let store: Arc<Mutex<HashMap<String, OwnedFd>>> = Arc::default();
    let socket = socket::bind_datagram(run, "notify.sock").expect("notify.sock");
    socket.set_nonblocking(false).expect("blocking");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
    let weak = Arc::downgrade(&store);
    std::thread::spawn(move || {
        while let Some(store) = weak.upgrade() {
            let mut buffer = [0; 1024];
            let Ok((length, fds)) = receive_packet(socket.as_fd(), &mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
            if let (Some(name), Some(fd)) = (name, fds.into_iter().next()) {
                store.lock().expect("store").insert(name.to_owned(), fd);
            }
        }
    });
    store
}

/// Copies a program. Another process does: what this one forks meanwhile, for other tests, would have the file open for
/// writing, and until it has executed something else nobody could run the copy (`ETXTBSY`, execve(2)).
pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-p").args([from, to]).status();
    assert!(copied.is_ok_and(|status| status.success()), "{}", to.display());
}

fn write_bundle(bundle: &Path, rootfs: &Path, wish: &Wish, cgroup: &str) {
    for dir in ["bin", "etc", "proc", "sys", "dev", "tmp", "home/alice"] {
        fs::create_dir_all(rootfs.join(dir)).expect("rootfs");
    }
    copy(&program("busybox"), &rootfs.join("bin/busybox"));
    for applet in [
        "sh", "cat", "echo", "sleep", "true", "id", "seq", "stty", "head", "touch", "dd", "kill", "tr", "env", "wc",
        "ps", "tty",
    ] {
        std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).expect("applet");
    }
    fs::write(rootfs.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n")
        .expect("passwd");
    fs::write(rootfs.join("etc/group"), "root:x:0:\nstaff:x:50:alice\nalice:x:1001:\n").expect("group");
    fs::write(rootfs.join("bin/noexec"), "x").expect("noexec");
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SETGID", "CAP_DAC_OVERRIDE"]);
    let mut config = json!({
        "ociVersion": "1.0.0",
        "process": {
            "terminal": wish.tty, "user": {"uid": 0, "gid": 0}, "args": wish.args, "cwd": "/",
            "env": ["PATH=/bin", "HOME=/root", "INSIDE=1"],
            "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        },
        "root": {"path": rootfs, "readonly": false},
        "hostname": "test",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            "namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}],
        },
    });
    (wish.config)(&mut config);
    fs::write(bundle.join("config.json"), serde_json::to_vec(&config).expect("json")).expect("config.json");
}

/// A context with a deadline.
pub fn soon() -> ttrpc::context::Context {
    serve::deadline(LONG)
}

/// Create and start.
pub async fn up(bench: &Bench) -> (MonitorClient, MonitorStatus) {
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let status = client.start(soon(), &Empty {}).await.expect("start");
    (client, status)
}

/// Create, start, wait.
pub async fn run(bench: &Bench) -> ExitStatus {
    let (client, _) = up(bench).await;
    client.wait(soon(), &Empty {}).await.expect("wait")
}

/// What an exec has done.
#[derive(Debug)]
pub struct Ran {
    /// Its exit.
    pub exit: ExitStatus,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

/// Runs a command in the container.
pub async fn exec(bench: &Bench, request: ExecRequest) -> Result<Ran, Refusal> {
    let raw = bench.raw();
    let token = proto::raw::token().expect("token");
    let null: OwnedFd = fs::File::open("/dev/null").expect("null").into();
    let (out, out_writer) = nix::unistd::pipe().expect("pipe");
    let (err, err_writer) = nix::unistd::pipe().expect("pipe");
    raw.deposit(&token, &[null.as_fd(), out_writer.as_fd(), err_writer.as_fd()]).await.expect("deposit");
    drop((out_writer, err_writer));
    let client = bench.client();
    let started: ExecStarted = client.exec(soon(), &ExecRequest { token, ..request }).await?;
    let exit = client.exec_wait(soon(), &ExecId { id: started.id }).await?;
    let text = |fd: OwnedFd| {
        let mut text = String::new();
        fs::File::from(fd).read_to_string(&mut text).expect("read");
        text
    };
    Ok(Ran { exit, stdout: text(out), stderr: text(err) })
}

/// An exec of these arguments.
pub fn command(args: &[&str]) -> ExecRequest {
    ExecRequest { args: args.iter().map(|arg| (*arg).to_owned()).collect(), ..ExecRequest::default() }
}

/// What an attach session has got.
#[derive(Debug, Default)]
pub struct Seen {
    /// Bytes of stdout.
    pub stdout: Vec<u8>,
    /// Bytes of stderr.
    pub stderr: Vec<u8>,
    /// Bytes that were skipped.
    pub skipped: u64,
    /// How it ended.
    pub exit: Option<ExitStatus>,
}

impl Seen {
    /// Reads frames until the exit, pausing between them.
    pub async fn all(raw: &Raw, pause: Duration) -> Seen {
        let mut seen = Seen::default();
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            let received = tokio::time::timeout(LONG, raw.receive(&mut buffer)).await.expect("frames");
            let (length, _) = received.expect("a frame");
            assert!(length > 0, "the session ended without an exit: {} bytes", seen.stdout.len());
            let frame = Frame::decode(&buffer[..length]).expect("a frame");
            let stream = match frame.kind {
                Kind::Stdout => &mut seen.stdout,
                Kind::Stderr => &mut seen.stderr,
                Kind::Skipped => {
                    seen.skipped += u64::from_le_bytes(frame.payload.try_into().expect("8 bytes"));
                    continue;
                }
                Kind::Exit => {
                    seen.exit = Some(ExitStatus::decode(frame.payload).expect("exit"));
                    return seen;
                }
                other => panic!("{other:?}"),
            };
            if seen.skipped == 0 {
                assert_eq!(frame.offset, stream.len() as u64, "a gap or a repetition");
            }
            stream.extend_from_slice(frame.payload);
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Sends stdin.
pub async fn send(raw: &Raw, kind: Kind, payload: &[u8]) {
    raw.send(&Frame { kind, offset: 0, payload }.encode(), &[]).await.expect("send");
}

/// Waits until something is true.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !is() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A line of `/proc/PID/smaps_rollup` in kB.
pub fn memory(pid: u32, what: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix(what)).expect("the line");
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("kB")
}

use unsafe_parts::pass;

/// Every unsafe block of these tests.
#[allow(unsafe_code)]
mod unsafe_parts {
    use super::*;

    /// Passes `fds` as 3, 4, … (sd_listen_fds(3)).
    pub fn pass(command: &mut Command, fds: Vec<RawFd>) {
        let install = move || {
            // Above all targets first, so that none is overwritten before it is used.
            let mut above = Vec::new();
            for fd in &fds {
                // SAFETY: called between fork and exec; fcntl is async-signal-safe.
                above.push(unsafe { libc::fcntl(*fd, libc::F_DUPFD, 100) });
            }
            for (number, fd) in above.iter().enumerate() {
                // SAFETY: as above.
                unsafe { libc::dup2(*fd, 3 + number as RawFd) };
                // SAFETY: as above.
                unsafe { libc::close(*fd) };
            }
            Ok(())
        };
        // SAFETY: the closure calls nothing but fcntl, dup2 and close, and allocates in a child of a process whose other
        // threads hold the allocator's lock only briefly (glibc resets it after fork).
        unsafe { command.pre_exec(install) };
    }

    /// waitpid(2) of one pid.
    pub fn reap(pid: u32) -> Option<i32> {
        let mut status = 0;
        let id = i32::try_from(pid).ok()?;
        // SAFETY: `status` is ours and lives for the call.
        let result = unsafe { libc::waitpid(id, &mut status, libc::WNOHANG | libc::__WALL) };
        (result == id).then_some(status)
    }
}
