//! Bundles as the OCI runtimes of this machine run them: what the process finds inside is what was asked for.
//!
//! Needs root, busybox-static and a runtime; what is missing is said on stderr and not tested here.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use podshim::{
    bundle::{self, BoundMount, Bundle, Input, Namespace, Namespaces},
    cgroup,
};
use proto::{
    Id,
    record::{ContainerRecord, PodRecord, SCHEMA},
    wire::{ContainerConfig, Device, Mount, PodConfig, Resources, Security, Ulimit, mount::Kind},
};

const RUNTIMES: [&str; 2] = ["crun", "runc"];
const APPLETS: [&str; 16] = [
    "sh", "id", "cat", "env", "mount", "ls", "true", "sleep", "grep", "tty", "hostname", "date", "pwd", "stat",
    "touch", "test",
];

/// A root file system, a bundle directory, cgroups: gone when dropped.
struct Bench {
    dir: tempfile::TempDir,
    pod: PodRecord,
    record: ContainerRecord,
    namespaces: Namespaces,
    mounts: Vec<BoundMount>,
    shm: Option<PathBuf>,
    group: String,
}

fn runtimes() -> Vec<&'static str> {
    if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
        eprintln!("not root or no busybox: not tested");
        return Vec::new();
    }
    let found = |name: &&str| Command::new(name).arg("--version").stdout(Stdio::null()).status().is_ok();
    let all: Vec<_> = RUNTIMES.into_iter().filter(found).collect();
    if all.len() < RUNTIMES.len() {
        eprintln!("only {all:?} here");
    }
    all
}

impl Bench {
    fn new(script: &str) -> Bench {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::Builder::new().prefix("podctl-bundle-").tempdir().expect("tempdir");
        let rootfs = dir.path().join("rootfs");
        for path in ["bin", "etc", "proc", "dev", "sys", "tmp", "run", "var/tmp", "root", "data"] {
            fs::create_dir_all(rootfs.join(path)).expect("rootfs");
        }
        // By another process: what this one forks meanwhile would have it open for writing, and it could not be run.
        let copied = Command::new("cp").arg("/bin/busybox").arg(rootfs.join("bin/busybox")).status();
        assert!(copied.is_ok_and(|status| status.success()), "busybox");
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet)).expect("applet");
        }
        let passwd = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:w:/var/www:/bin/sh\n";
        fs::write(rootfs.join("etc/passwd"), passwd).expect("passwd");
        fs::write(rootfs.join("etc/group"), "root:x:0:\nadm:x:4:www\nwww:x:33:\n").expect("group");
        let (pod, id) = (Id::random().expect("id"), Id::random().expect("id"));
        let group = format!("/podctl-bundle-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Bench {
            pod: PodRecord {
                schema: SCHEMA,
                id: pod.clone(),
                name: "pod".into(),
                created: 0,
                infra: None,
                config: PodConfig::default(),
            },
            record: ContainerRecord {
                schema: SCHEMA,
                id,
                pod,
                name: "box".into(),
                created: 0,
                config: ContainerConfig::default(),
                image: None,
                mounts: Vec::new(),
                args: ["sh", "-c", script].map(str::to_owned).into(),
                env: Vec::new(),
                user: String::new(),
                workdir: String::new(),
                stop_signal: "SIGTERM".into(),
                anonymous_volumes: Vec::new(),
            },
            namespaces: Namespaces { cgroup: Namespace::Host, ..Default::default() },
            mounts: Vec::new(),
            shm: None,
            group,
            dir,
        }
    }

    fn rootfs(&self) -> PathBuf {
        self.dir.path().join("rootfs")
    }

    fn mount(&mut self, kind: Kind, source: &Path, destination: &str, options: &[&str]) {
        let options = options.iter().map(|text| (*text).to_owned()).collect();
        let mount = Mount { kind: kind.into(), destination: destination.into(), options, ..Default::default() };
        self.mounts.push(BoundMount { mount, source: source.into() });
    }

    fn write(&self, name: &str) -> proto::refusal::Result<Bundle> {
        let bundle = self.dir.path().join(name);
        let hosts = self.dir.path().join("hosts");
        fs::write(&hosts, "127.0.0.1 localhost\n").expect("hosts");
        bundle::write(&Input {
            record: &self.record,
            pod: &self.pod,
            image: None,
            rootfs: &self.rootfs(),
            bundle: &bundle,
            namespaces: &self.namespaces,
            mounts: &self.mounts,
            hosts: Some(&hosts),
            resolv_conf: None,
            hostname_file: None,
            shm: self.shm.as_deref(),
            hostname: "boxhost",
            cgroup: &format!("{}/{}", self.group, self.record.id.as_str()),
            notify: None,
        })
    }

    /// What the container says, run by `runtime`.
    fn run(&self, runtime: &str) -> String {
        let name = format!("bundle-{runtime}");
        self.write(&name).expect("a bundle");
        let output = Command::new("timeout")
            .args(["20", runtime, "--root"])
            .arg(self.dir.path().join(format!("state-{runtime}")))
            .args(["run", "--bundle"])
            .arg(self.dir.path().join(name))
            .arg(format!("t{}", &self.record.id.as_str()[..16]))
            .stdin(Stdio::null())
            .output()
            .expect("the runtime");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{runtime}: {text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{runtime} warns of nothing");
        text
    }

    /// The same on every runtime; `KEY=value` lines.
    fn facts(&self) -> Vec<BTreeMap<String, String>> {
        let parse = |text: String| {
            let pairs = text.lines().filter_map(|line| line.split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.trim().to_owned())).collect()
        };
        runtimes().into_iter().map(|runtime| parse(self.run(runtime))).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if let Err(refusal) = cgroup::remove(&self.group) {
            eprintln!("{refusal}");
        }
    }
}

const CAPS_DEFAULT: &str = "00000000800405fb";

#[test]
fn a_plain_container_is_confined_as_podman_confines() {
    let bench = Bench::new(
        "echo id=$(id -u):$(id -g):$(id -G); \
         while read k v; do case $k in Cap*|Seccomp:|NoNewPrivs:) echo ${k%:}=$v;; esac; done < /proc/self/status; \
         echo home=$HOME host=$HOSTNAME; echo hostname=$(hostname); echo box=$container; echo umask=$(umask); \
         echo nofile=$(ulimit -n); echo pwd=$(pwd); echo kcore=$(cat /proc/kcore 2>/dev/null | head -c1 | wc -c); \
         echo interrupts=$(cat /proc/interrupts); echo sysrq=$(echo h 2>/dev/null >/proc/sysrq-trigger || echo ro); \
         echo sys=$(touch /sys/x 2>/dev/null || echo ro); echo hosts=$(cat /etc/hosts); \
         echo ping=$(cat /proc/sys/net/ipv4/ping_group_range); test -f /run/.containerenv && echo env=yes; \
         echo disk=$(ls /dev | grep -c vda); echo score=$(cat /proc/self/oom_score_adj)",
    );
    let hard = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).expect("limit").1;
    for facts in bench.facts() {
        let is =
            |key: &str, value: &str| assert_eq!(facts.get(key).map(String::as_str), Some(value), "{key}: {facts:?}");
        is("id", "0:0:0");
        for (key, value) in [
            ("CapInh", "0000000000000000"),
            ("CapPrm", CAPS_DEFAULT),
            ("CapEff", CAPS_DEFAULT),
            ("CapBnd", CAPS_DEFAULT),
            ("CapAmb", "0000000000000000"),
            ("Seccomp", "2"),
            ("NoNewPrivs", "0"),
        ] {
            is(key, value);
        }
        is("home", "/root host=boxhost");
        is("hostname", "boxhost");
        is("box", "podman");
        is("umask", "0022");
        is("nofile", &hard.min(1_048_576).to_string());
        is("pwd", "/");
        is("kcore", "0");
        is("interrupts", "");
        is("sysrq", "ro");
        is("sys", "ro");
        is("hosts", "127.0.0.1 localhost");
        is("ping", "0 0");
        is("env", "yes");
        is("disk", "0");
        is("score", "0");
    }
}

#[test]
fn a_user_has_its_groups_and_only_capabilities_asked_for() {
    let mut bench = Bench::new(
        "echo id=$(id -u):$(id -g):$(id -G); echo home=$HOME; \
         while read k v; do case $k in Cap*|NoNewPrivs:) echo ${k%:}=$v;; esac; done < /proc/self/status; \
         echo umask=$(umask); echo core=$(ulimit -c); echo files=$(ulimit -n); echo pwd=$(pwd); echo zone=$(date +%Z)",
    );
    bench.record.user = "www".into();
    bench.record.workdir = "/srv/made".into();
    bench.record.config.groups = vec!["77".into()];
    bench.record.config.umask = "0077".into();
    bench.record.config.timezone = "Asia/Tokyo".into();
    bench.record.config.ulimits =
        vec![Ulimit { name: "core".into(), soft: 0, hard: 0 }, Ulimit { name: "nofile".into(), soft: 100, hard: 200 }];
    bench.record.config.security =
        Some(Security { cap_add: vec!["net_bind_service".into()], no_new_privileges: true, ..Default::default() });
    for facts in bench.facts() {
        let is =
            |key: &str, value: &str| assert_eq!(facts.get(key).map(String::as_str), Some(value), "{key}: {facts:?}");
        is("id", "33:33:33 4 77");
        is("home", "/var/www");
        for key in ["CapEff", "CapPrm", "CapAmb", "CapInh"] {
            is(key, "0000000000000400");
        }
        is("CapBnd", CAPS_DEFAULT);
        is("NoNewPrivs", "1");
        is("umask", "0077");
        is("core", "0");
        is("files", "100");
        is("pwd", "/srv/made");
    }
    let owner = fs::metadata(bench.rootfs().join("srv/made"));
    if let Ok(meta) = owner {
        assert_eq!(std::os::unix::fs::MetadataExt::uid(&meta), 33);
    }
}

#[test]
fn mounts_are_what_was_asked_for() {
    let mut bench = Bench::new(
        "while read -r a b c d where opts rest; do echo \"$where=$opts $rest\"; done < /proc/self/mountinfo; \
         echo read=$(cat /data/f); echo write=$(touch /ro/x 2>/dev/null || echo refused); touch /vol/made; \
         echo root=$(touch /x 2>/dev/null || echo ro); touch /tmp/x /run/x /var/tmp/x /dev/shm/x; \
         echo under=$(cat /tmp/in/f)",
    );
    let source = bench.dir.path().join("source");
    fs::create_dir(&source).expect("source");
    fs::write(source.join("f"), "hello").expect("file");
    bench.mount(Kind::Bind, &source, "/tmp/in", &["ro"]);
    bench.mount(Kind::Bind, &source, "/data", &["noexec", "z"]);
    bench.mount(Kind::Bind, &source, "/ro", &["ro"]);
    bench.mount(Kind::Volume, &source, "/vol", &["U"]);
    bench.mount(Kind::Tmpfs, Path::new(""), "/t", &["size=1m", "mode=1770"]);
    bench.record.config.read_only = true;
    bench.record.config.shm_size = 1 << 20;
    for facts in bench.facts() {
        let has = |key: &str, parts: &[&str]| {
            let value = facts.get(key).unwrap_or_else(|| panic!("{key}: {facts:?}"));
            assert!(parts.iter().all(|part| value.contains(part)), "{key}: {value}: {facts:?}");
        };
        has("/data", &["rw", "noexec"]);
        has("/ro", &["ro"]);
        has("/vol", &["rw", "nosuid", "nodev"]);
        has("/t", &["size=1024k", "nosuid", "nodev"]);
        has("/dev/shm", &["nosuid", "nodev", "noexec", "size=1024k"]);
        has("/tmp", &["nosuid", "nodev"]);
        let controllers = facts.iter().filter(|(path, _)| path.starts_with("/sys/fs/cgroup/"));
        let mut controllers = controllers;
        assert!(controllers.all(|(_, options)| options.starts_with("ro,")), "{facts:?}");
        has("read", &["hello"]);
        has("under", &["hello"]);
        has("write", &["refused"]);
        has("root", &["ro"]);
    }
    assert!(runtimes().is_empty() || source.join("made").exists());
}

#[test]
fn a_privileged_container_has_all_we_have() {
    let mut bench = Bench::new(
        "while read k v; do case $k in Cap*|Seccomp:) echo ${k%:}=$v;; esac; done < /proc/self/status; \
         echo kmsg=$(ls /dev/kmsg); echo engine=$(cat /run/.containerenv | head -1); \
         while read -r a b c d where opts rest; do case $where in /sys) echo sysmount=$opts;; esac; done < /proc/self/mountinfo",
    );
    bench.record.config.security = Some(Security { privileged: true, ..Default::default() });
    let ours = fs::read_to_string("/proc/self/status").expect("status");
    let ours = ours.lines().find_map(|line| line.strip_prefix("CapPrm:")).expect("CapPrm").trim().to_owned();
    for facts in bench.facts() {
        assert_eq!(facts.get("CapEff"), Some(&ours));
        assert_eq!((facts["Seccomp"].as_str(), facts["kmsg"].as_str()), ("0", "/dev/kmsg"));
        assert!(facts["engine"].starts_with("engine=\"podctl-"), "{facts:?}");
        assert!(facts["sysmount"].starts_with("rw"), "{facts:?}");
    }
}

#[test]
fn devices_and_seccomp_as_asked() {
    let mut bench = Bench::new(
        "echo dev=$(stat -c %t:%T /dev/here); echo read=$(head -c1 /dev/here 2>/dev/null | wc -c); \
         while read k v; do case $k in Seccomp:) echo ${k%:}=$v;; esac; done < /proc/self/status; \
         echo sem=$(cat /proc/sys/kernel/shmmni); echo mkdir=$(mkdir /tmp/q 2>&1)",
    );
    bench.record.config.devices =
        vec![Device { host_path: "/dev/zero".into(), container_path: "/dev/here".into(), permissions: "r".into() }];
    bench.record.config.sysctls.insert("kernel.shmmni".into(), "123".into());
    bench.record.config.security = Some(Security {
        seccomp: r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errno":"ENOSPC"}]}"#.into(),
        ..Default::default()
    });
    std::os::unix::fs::symlink("busybox", bench.rootfs().join("bin/mkdir")).expect("applet");
    std::os::unix::fs::symlink("busybox", bench.rootfs().join("bin/head")).expect("applet");
    std::os::unix::fs::symlink("busybox", bench.rootfs().join("bin/wc")).expect("applet");
    for facts in bench.facts() {
        assert_eq!((facts["dev"].as_str(), facts["read"].as_str(), facts["Seccomp"].as_str()), ("1:5", "1", "2"));
        assert_eq!(facts["sem"], "123");
        assert!(facts["mkdir"].contains("No space left"), "{facts:?}");
    }
}

#[test]
fn limits_reach_the_cgroup() {
    if !cgroup::has("memory") || !cgroup::has("cpu") {
        eprintln!("no memory or cpu controller: not tested");
        return;
    }
    let mut bench = Bench::new(
        "echo memory=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null); \
         echo quota=$(cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null || cat /sys/fs/cgroup/cpu.max); \
         echo pids=$(cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null)",
    );
    bench.namespaces.cgroup = Namespace::Private;
    bench.record.config.resources = Some(Resources { memory: 20 << 20, cpus: 0.5, ..Default::default() });
    cgroup::create_pod(
        &bench.group,
        Some(&Resources { memory: 64 << 20, cpuset_cpus: "0".into(), ..Default::default() }),
    )
    .expect("the pod's cgroup");
    for facts in bench.facts() {
        assert_eq!(facts["memory"], "20971520");
        assert!(facts["quota"].starts_with("50000"), "{facts:?}");
        assert_eq!(facts["pids"], "2048");
    }
}

#[test]
fn joined_namespaces_keep_what_they_are() {
    if runtimes().is_empty() {
        return;
    }
    let mut holder = Command::new("unshare")
        .args(["--uts", "--net", "--ipc", "sh", "-c"])
        .arg("hostname shared && echo 5 > /proc/sys/kernel/shmmni && echo up && exec sleep 60")
        .stdout(Stdio::piped())
        .spawn()
        .expect("unshare");
    let mut up = [0; 3];
    std::io::Read::read_exact(holder.stdout.as_mut().expect("stdout"), &mut up).expect("up");
    let path = |name: &str| Namespace::Path(format!("/proc/{}/ns/{name}", holder.id()).into());
    let mut bench = Bench::new(
        "echo name=$(hostname):$HOSTNAME; echo shm=$(cat /proc/sys/kernel/shmmni); echo pids=$(ls -d /proc/[0-9]* 2>/dev/null | wc -l); \
         echo file=$(cat /dev/shm/f); for ns in uts net ipc; do echo $ns=$(readlink /proc/self/ns/$ns); done",
    );
    for applet in ["readlink", "wc"] {
        std::os::unix::fs::symlink("busybox", bench.rootfs().join("bin").join(applet)).expect("applet");
    }
    let shm = bench.dir.path().join("shm");
    fs::create_dir(&shm).expect("shm");
    fs::write(shm.join("f"), "shared").expect("f");
    bench.shm = Some(shm);
    bench.namespaces = Namespaces {
        uts: path("uts"),
        net: path("net"),
        ipc: path("ipc"),
        pid: Namespace::Host,
        cgroup: Namespace::Private,
    };
    bench.record.config.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
    let link =
        |name: &str| fs::read_link(format!("/proc/{}/ns/{name}", holder.id())).expect("ns").display().to_string();
    let expected = ["uts", "net", "ipc"].map(|name| (name, link(name)));
    let facts = bench.facts();
    holder.kill().expect("killed");
    holder.wait().expect("reaped");
    for facts in facts {
        assert_eq!((facts["name"].as_str(), facts["shm"].as_str()), ("shared:boxhost", "5"));
        assert_eq!(facts["file"], "shared");
        assert!(facts["pids"].parse::<u32>().expect("a number") > 3);
        for (name, link) in &expected {
            assert_eq!(&facts[*name], link);
        }
    }
}

#[test]
fn the_hosts_namespaces_are_joined_by_not_being_listed() {
    let mut bench = Bench::new("echo name=$(hostname); test -d /sys/class/net/lo && echo net=yes");
    bench.namespaces = Namespaces {
        uts: Namespace::Host,
        net: Namespace::Host,
        ipc: Namespace::Host,
        pid: Namespace::Host,
        cgroup: Namespace::Host,
    };
    let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("hostname");
    for facts in bench.facts() {
        assert_eq!((facts["name"].as_str(), facts["net"].as_str()), (name.trim(), "yes"));
    }
}

#[test]
fn an_exec_is_filtered_like_the_container() {
    let mut bench = Bench::new("");
    bench.record.args = vec!["sleep".into(), "60".into()];
    for runtime in runtimes() {
        bench.write(runtime).expect("a bundle");
        let call = |args: &[&str], output: fn() -> Stdio| {
            let mut command = Command::new(runtime);
            command.arg("--root").arg(bench.dir.path().join(format!("state-{runtime}"))).args(args);
            // What the container inherits must not be a pipe that we wait for.
            let output = command.stdin(Stdio::null()).stdout(output()).stderr(Stdio::null()).output().expect("runs");
            assert!(output.status.success(), "{runtime} {args:?}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let (bundle, id) = (bench.dir.path().join(runtime), format!("e{}", &bench.record.id.as_str()[..16]));
        call(&["create", "--bundle", &bundle.display().to_string(), &id], Stdio::null);
        call(&["start", &id], Stdio::null);
        let status = call(&["exec", &id, "cat", "/proc/self/status"], Stdio::piped);
        call(&["delete", "--force", &id], Stdio::null);
        assert!(status.contains("Seccomp:\t2"), "{runtime}: {status}");
    }
}

#[test]
fn what_cannot_be_leaves_nothing() {
    type Change = fn(&mut Bench);
    let cases: [(Change, &str); 12] = [
        (|b| b.record.user = "nosuch".into(), "unable to find user nosuch: no matching entries in passwd file"),
        (|b| b.record.workdir = "/proc/self/fd/7".into(), "workdir \"/proc/self/fd/7\": "),
        (|b| b.record.args.clear(), "no command or entrypoint provided"),
        (|b| b.record.config.umask = "999".into(), "--umask: invalid umask string 999"),
        (|b| b.record.config.timezone = "No/Where".into(), "--tz No/Where: stat /usr/share/zoneinfo/No/Where: "),
        (|b| b.record.env = vec!["AWS_SECRET".into()], "environment: \"AWS_SECRET\" is not NAME=VALUE"),
        (|b| b.mount(Kind::Tmpfs, Path::new(""), "/a/../b", &[]), "mount at \"/a/../b\": "),
        (|b| b.mount(Kind::Tmpfs, Path::new(""), "/a", &["bogus"]), "mount at /a: invalid option type \"bogus\""),
        (|b| (0..1025).for_each(|n| b.mount(Kind::Tmpfs, Path::new(""), &format!("/{n}"), &[])), "1025 mounts: "),
        (
            |b| drop(b.record.config.annotations.insert("run.oci.keep_original_groups".into(), "1".into())),
            "--annotation run.oci.keep_original_groups: ",
        ),
        (|b| b.record.env = vec![format!("A={}", "x".repeat(9 << 20))], "the container's configuration is "),
        (
            |b| {
                b.record.workdir = "/nope".into();
                b.record.config.workdir = "/nope".into();
            },
            "workdir \"/nope\" does not exist on container ",
        ),
    ];
    for (change, words) in cases {
        let mut bench = Bench::new("true");
        change(&mut bench);
        let refusal = bench.write("bundle").expect_err(words);
        assert!(refusal.message.starts_with(words), "{refusal}");
        assert!(!refusal.message.contains('\n'));
        assert!(!bench.dir.path().join("bundle").exists(), "{words}");
    }
}

#[test]
fn a_hostile_root_file_system_is_not_followed() {
    let mut bench = Bench::new("true");
    let secret = bench.dir.path().join("canary");
    fs::write(&secret, "evil:x:0:0::/:/bin/sh\n").expect("canary");
    fs::remove_file(bench.rootfs().join("etc/passwd")).expect("passwd");
    std::os::unix::fs::symlink(&secret, bench.rootfs().join("etc/passwd")).expect("link");
    bench.record.user = "evil".into();
    assert!(bench.write("bundle").expect_err("outside").message.starts_with("unable to find user evil"));

    fs::remove_file(bench.rootfs().join("etc/passwd")).expect("passwd");
    nix::unistd::mkfifo(&bench.rootfs().join("etc/passwd"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    assert!(bench.write("bundle").expect_err("fifo").message.contains("it is no regular file"));

    fs::remove_file(bench.rootfs().join("etc/passwd")).expect("passwd");
    std::os::unix::fs::symlink("/../../canarydir", bench.rootfs().join("a")).expect("link");
    fs::create_dir(bench.dir.path().join("canarydir")).expect("canarydir");
    bench.record.user = String::new();
    bench.record.workdir = "/a/b".into();
    assert!(bench.write("bundle").is_err(), "the target of the link is not inside");
    assert_eq!(fs::read_dir(bench.dir.path().join("canarydir")).expect("dir").count(), 0);
}
