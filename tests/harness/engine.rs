//! One engine under test, in an enclosure of its own.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use proto::failpoint;

use crate::{
    cli::{self, Run, Running},
    enclosure::Enclosure,
    images,
    oracle::{self, Traces},
    programs,
    registry::Registry,
    terminal::Terminal,
};

/// Which controllers the cgroup2 tree of a hybrid machine has.
const HYBRID_CONTROLLERS: &str = "/sys/fs/cgroup/unified/cgroup.controllers";

/// Where failpoints are armed, in [`HOME`].
const FAILPOINTS: &str = "failpoints";

/// Where everything of the engine is, inside: on the enclosure's tmpfs.
pub const HOME: &str = "/run/engine";

/// What the machine is like that the engine runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine {
    /// Mounts propagate from `/`, as on every machine run by systemd.
    pub shared_root: bool,
    /// docker.io and quay.io are mirrored by a registry at 127.0.0.1:5000 which has the test images.
    pub registry: bool,
    /// A hybrid machine has left a controller to its cgroup2 tree, which crun by itself takes for a reason to give up.
    pub stray_controller: bool,
    /// The OCI runtime, where it is not the default one.
    pub runtime: Option<&'static str>,
    /// The engine's directories are on a disk (below `/var/tmp`) and not in memory, but for the run directory.
    pub on_disk: bool,
    /// Programs look for failpoints, see [`Engine::arm`].
    pub failpoints: bool,
    /// Which engine.
    pub engine: programs::Engine,
}

/// The engine. Dropping it proves that nothing of it is left, unless the test has failed already.
#[derive(Debug)]
pub struct Engine {
    /// Its machine.
    pub enclosure: Enclosure,
    /// What its control groups are called.
    pub label: String,
    machine: Machine,
    transcript: Mutex<String>,
    before: Traces,
    registry: Option<Registry>,
    disk: Option<PathBuf>,
    abandoned: AtomicBool,
}

/// Lets a hybrid machine say that its cgroup2 tree has `controllers`. Other machines have nothing to say.
fn show_controllers(enclosure: &Enclosure, file: &str, controllers: &str) {
    std::fs::write(enclosure.path(file), controllers).expect("controllers");
    let line = format!("test ! -e {HYBRID_CONTROLLERS} || mount --bind {file} {HYBRID_CONTROLLERS}");
    assert!(enclosure.command("/", "sh").args(["-c", &line]).status().is_ok_and(|status| status.success()), "{line}");
}

static NUMBER: AtomicU32 = AtomicU32::new(0);

impl Engine {
    /// An engine without images on a machine without a registry.
    pub fn new() -> Engine {
        Engine::on(Machine::default())
    }

    /// An engine that has loaded `images` (see [`images`]).
    pub fn with(wanted: &[&str]) -> Engine {
        let engine = Engine::new();
        engine.load(wanted);
        engine
    }

    /// An engine on a certain machine.
    pub fn on(machine: Machine) -> Engine {
        let label = format!("podctl-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let enclosure = Enclosure::new(machine.shared_root);
        if machine.stray_controller {
            show_controllers(&enclosure, "/run/controllers", "hugetlb\n");
        } else if machine.engine == programs::Engine::Podman {
            show_controllers(&enclosure, "/run/controllers", "");
        }
        let disk = machine.on_disk.then(|| Path::new("/var/tmp").join(&label));
        if let Some(disk) = &disk {
            std::fs::create_dir(disk).expect("a directory on disk");
            let mut mount = enclosure.command("/", "sh");
            // What is under /run on a real machine stays in memory.
            let line = format!(
                "mkdir {HOME} && mount --bind {} {HOME} && mkdir {HOME}/runroot && mount -t tmpfs tmpfs {HOME}/runroot",
                disk.display()
            );
            mount.args(["-c", &line]);
            assert!(mount.status().is_ok_and(|status| status.success()), "the directory on disk cannot be mounted");
        }
        let home = enclosure.path(HOME);
        for directory in ["bin", "tmp", "home", FAILPOINTS] {
            std::fs::create_dir_all(home.join(directory)).expect("directories of the engine");
        }
        std::fs::write(home.join("registries.conf"), REGISTRIES).expect("registries.conf");
        std::fs::write(home.join("containers.conf"), containers_conf(machine.engine)).expect("containers.conf");
        for name in ["podctl", "podman"] {
            let path = home.join("bin").join(name);
            programs::script(&path, &wrapper(machine));
        }
        let registry = machine.registry.then(|| Registry::start(&enclosure));
        let before = oracle::look(&enclosure, &label);
        let (transcript, abandoned) = (Mutex::default(), AtomicBool::new(false));
        Engine { enclosure, label, machine, transcript, before, registry, disk, abandoned }
    }

    /// Loads images from their archives.
    pub fn load(&self, wanted: &[&str]) {
        for name in wanted {
            self.podctl(&["load", "-q", "-i", &images::archive(name).to_string_lossy()]).ok();
        }
    }

    /// Types `line` at a shell (bash) in the engine's home directory, where `podctl` and `podman` are the engine under test.
    #[track_caller]
    pub fn sh(&self, line: &str) -> Run {
        self.note(self.start(line).finish())
    }

    /// The same with bytes on its standard input.
    #[track_caller]
    pub fn sh_with(&self, line: &str, input: impl Into<Vec<u8>>) -> Run {
        self.note(cli::start(line, self.shell(line), Some(input.into())).finish())
    }

    /// The same, without waiting for its end.
    pub fn start(&self, line: &str) -> Running {
        cli::start(line, self.shell(line), None)
    }

    /// Runs podctl with exactly these arguments.
    #[track_caller]
    pub fn podctl(&self, arguments: &[&str]) -> Run {
        let mut command = self.command("podctl");
        command.args(arguments);
        self.note(cli::start(&format!("podctl {}", arguments.join(" ")), command, None).finish())
    }

    /// The next process that comes to `point` does `action` there; see [`proto::failpoint`].
    pub fn arm(&self, point: &str, action: &str) {
        let directory = self.path(FAILPOINTS);
        // Whole at once: somebody may be at the point this moment.
        let file = directory.join(".new");
        std::fs::write(&file, action).expect("a failpoint");
        std::fs::rename(file, directory.join(point)).expect("a failpoint");
    }

    /// Whether somebody has come to `point` since it was armed. If not, nobody does any more.
    pub fn disarm(&self, point: &str) -> bool {
        std::fs::remove_file(self.path(FAILPOINTS).join(point)).is_err()
    }

    /// Whether nobody has come to `point` yet.
    pub fn is_armed(&self, point: &str) -> bool {
        self.path(FAILPOINTS).join(point).exists()
    }

    /// What was typed until now, and forgets it.
    pub fn transcript(&self) -> String {
        std::mem::take(&mut self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// What is there now and was not at the beginning.
    pub fn traces(&self) -> Traces {
        oracle::look(&self.enclosure, &self.label).beyond(&self.before)
    }

    /// Ends what is left of it without looking: something has been found.
    pub fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Types `line` on a terminal.
    pub fn terminal(&self, line: &str) -> Terminal {
        Terminal::start(line, self.shell(line))
    }

    /// What `podctl inspect` says of one field: `template` without the braces.
    #[track_caller]
    pub fn field(&self, object: &str, template: &str) -> String {
        self.podctl(&["inspect", "--format", &format!("{{{{{template}}}}}"), object]).ok()
    }

    /// What a reboot does: every process is gone, `/run` is empty, links, rules and control groups are no more. What is
    /// typed afterwards begins with `PODCTL_BOOT_ID=another`, because the boot has another id.
    pub fn reboot(&self) {
        self.kill_all(&[""]);
        let links = "ip -o link | grep -oE 'pod(man|ctl)[0-9]+' | sort -u | xargs -r -n 1 ip link del";
        self.sh(&format!("rm -rf ../runroot/*; nft flush ruleset; {links}")).code(0);
        oracle::remove_cgroups(&self.label);
    }

    /// A path in the engine's home, as it is reached from the test.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.enclosure.path(HOME).join(inside)
    }

    /// Where the registry answers what it was asked; see [`Machine::registry`].
    pub fn registry(&self) -> &Registry {
        self.registry.as_ref().expect("a machine with a registry")
    }

    /// Pids, as the test knows them, of processes inside whose command line contains `text`.
    pub fn pids(&self, text: &str) -> Vec<i32> {
        oracle::processes(&self.enclosure)
            .into_iter()
            .filter(|process| process.command.contains(text))
            .map(|process| process.pid)
            .collect()
    }

    /// The only process inside whose command line contains `text`, once there is but one.
    #[track_caller]
    pub fn only(&self, text: &str) -> i32 {
        crate::until(text, || match self.pids(text)[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// Kills all inside whose command lines contain one of `texts`, and those that they start to replace each other, until
    /// there is none.
    #[track_caller]
    pub fn kill_all(&self, texts: &[&str]) {
        crate::until("silence", || {
            let pids: Vec<i32> = texts.iter().flat_map(|text| self.pids(text)).collect();
            for pid in &pids {
                // All at once, and it may have ended by itself.
                let _gone_already = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            pids.is_empty().then_some(())
        });
    }

    /// Removes every pod, container, volume and network.
    #[track_caller]
    pub fn remove_all(&self) {
        if self.machine.engine == programs::Engine::Podman {
            self.sh("podctl pod rm -fa -t 0; podctl rm -fa -t 0; podctl volume rm -fa; podctl network prune -f; podctl rmi -fa");
            return;
        }
        let list = [("pod ps -q", "pod rm -f"), ("ps -aq", "rm -f"), ("volume ls -q", "volume rm")];
        for (list, remove) in list {
            self.sh(&format!("podctl {list} | xargs -r podctl {remove} -t 0").replace("volume rm -t 0", "volume rm"))
                .ok();
        }
        self.sh("podctl network ls -q | grep -vx podman | xargs -r podctl network rm").code(0);
    }

    /// The command line that the engine's wrapper runs, for who wants to do without the wrapper.
    pub fn words(&self) -> Vec<String> {
        self.machine.words()
    }

    /// Adds to the transcript what was [started](Engine::start) and has ended.
    pub fn note(&self, run: Run) -> Run {
        let mut transcript = self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let _memory_does_not_fail = writeln!(transcript, "{run}");
        run
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = self.command("bash");
        command.args(["-c", line]);
        command
    }

    /// A program in the engine's home directory and environment.
    pub fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/sbin:/usr/bin:/sbin:/bin".to_owned());
        let program = if program == "podctl" { format!("{HOME}/bin/podctl") } else { program.to_owned() };
        let mut command = self.enclosure.command(&format!("{HOME}/home"), &program);
        command
            .env("PATH", format!("{HOME}/bin:{path}"))
            .env("HOME", format!("{HOME}/home"))
            .env("TMPDIR", format!("{HOME}/tmp"))
            .env("PODCTL_CGROUP_PREFIX", format!("/{}", self.label))
            .env("CONTAINERS_REGISTRIES_CONF", format!("{HOME}/registries.conf"))
            .env("CONTAINERS_CONF", format!("{HOME}/containers.conf"))
            .envs(self.machine.failpoints.then(|| (failpoint::VARIABLE, format!("{HOME}/{FAILPOINTS}"))))
            .env("TERM", "xterm")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
        command
    }
}

impl Default for Engine {
    fn default() -> Engine {
        Engine::new()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.abandoned.load(Ordering::Relaxed) {
            // Its enclosure ends all of it.
        } else if std::thread::panicking() {
            let transcript = self.transcript.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            eprintln!("--- what was typed on {:?}\n{transcript}--- and what is there", self.machine);
            eprintln!("{}", oracle::look(&self.enclosure, &self.label).beyond(&self.before));
        } else if self.machine.engine == programs::Engine::Podctl {
            self.remove_all();
            oracle::nothing_left(&self.enclosure, &self.label, &self.before);
        }
        oracle::remove_cgroups(&self.label);
        if let Some(disk) = &self.disk {
            // Nothing inside is mounted in this namespace; a test that has passed has emptied it already.
            let _as_far_as_possible = std::fs::remove_dir_all(disk);
        }
    }
}

/// docker.io and quay.io as the machine's mirror has them.
const REGISTRIES: &str = r#"unqualified-search-registries = ["docker.io"]
[[registry]]
prefix = "docker.io"
location = "docker.io"
[[registry.mirror]]
location = "127.0.0.1:5000"
insecure = true
[[registry]]
prefix = "quay.io"
location = "quay.io"
[[registry.mirror]]
location = "127.0.0.1:5000"
insecure = true
[[registry]]
location = "127.0.0.1:5000"
insecure = true
[[registry]]
location = "127.0.0.1:5001"
insecure = true
"#;

/// podman needs to be told not to ask for more than a machine without CAP_SYS_RESOURCE allows; podctl needs nothing.
fn containers_conf(engine: programs::Engine) -> String {
    if engine == programs::Engine::Podctl {
        return String::new();
    }
    let hard = |resource| nix::sys::resource::getrlimit(resource).map_or(1024, |(_, hard)| hard);
    let files = hard(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let processes = hard(nix::sys::resource::Resource::RLIMIT_NPROC);
    format!(
        "[containers]\ndefault_ulimits = [\"nofile={files}:{files}\", \"nproc={processes}:{processes}\"]\n\
         [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n"
    )
}

fn wrapper(machine: Machine) -> String {
    format!("#!/bin/sh\nexec {} \"$@\"\n", machine.words().join(" "))
}

impl Machine {
    /// The program and the flags that every command line of its engine begins with.
    fn words(self) -> Vec<String> {
        let mut words = vec![self.engine.program().display().to_string()];
        words.extend(["--root", &format!("{HOME}/state"), "--runroot", &format!("{HOME}/runroot")].map(str::to_owned));
        if self.engine == programs::Engine::Podman {
            let flags = format!("--tmpdir {HOME}/tmpdir --network-config-dir {HOME}/networks --log-level error");
            words.extend(flags.split(' ').map(str::to_owned));
        }
        words.extend(self.runtime.into_iter().flat_map(|runtime| ["--runtime".to_owned(), runtime.to_owned()]));
        words
    }
}
