//! Cgroups on the kernel of this machine: made, limited, frozen, killed, removed to the last directory.
//!
//! Needs root and a writable cgroup file system; what is missing is said on stderr and not tested here.

use std::{
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use podshim::cgroup::{self, Hierarchies};
use proto::wire::Resources;

/// Below a parent of the test's own, so that nothing is shared with an engine or another test.
fn path(name: &str) -> Option<String> {
    if !nix::unistd::geteuid().is_root() || Hierarchies::of_this_machine().all.is_empty() {
        eprintln!("not root or no cgroups: not tested");
        return None;
    }
    Some(format!("/podctl-cgroup-{}-{name}/podctl_parent/pod", std::process::id()))
}

struct Gone(String);

impl Drop for Gone {
    fn drop(&mut self) {
        let top = self.0.split('/').take(2).collect::<Vec<_>>().join("/");
        let _ = cgroup::kill(&top);
        if let Err(refusal) = cgroup::remove(&top) {
            eprintln!("{refusal}");
        }
    }
}

fn dirs(path: &str) -> Vec<std::path::PathBuf> {
    Hierarchies::of_this_machine().all.iter().map(|hierarchy| hierarchy.dir(path)).collect()
}

/// A shell that puts itself into the cgroup everywhere and then runs `script`.
fn start(path: &str, script: &str) -> Child {
    let joins: String = dirs(path).iter().map(|dir| format!("echo $$ > {}/cgroup.procs; ", dir.display())).collect();
    let mut command = Command::new("sh");
    command.args(["-c", &format!("{joins}{script}")]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0).spawn().expect("a shell")
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_pod_is_everywhere_and_leaves_nothing() {
    let Some(path) = path("plain") else { return };
    let gone = Gone(path.clone());
    cgroup::create_pod(&path, None).expect("made");
    cgroup::create_pod(&path, None).expect("made twice");
    for dir in dirs(&path) {
        assert!(dir.is_dir(), "{}", dir.display());
        fs::create_dir_all(dir.join("member/inner")).expect("what a runtime leaves");
    }
    cgroup::remove(&path).expect("removed");
    cgroup::remove(&path).expect("removed twice");
    let parent = path.trim_end_matches("/pod");
    assert!(dirs(parent).iter().all(|dir| !dir.exists()), "the shared parent goes with the last pod");
    drop(gone);
}

#[test]
fn the_parent_stays_while_another_pod_is_in_it() {
    let Some(path) = path("two") else { return };
    let _gone = Gone(path.clone());
    let other = format!("{path}2");
    cgroup::create_pod(&path, None).expect("made");
    cgroup::create_pod(&other, None).expect("made");
    cgroup::remove(&path).expect("removed");
    assert!(dirs(&other).iter().all(|dir| dir.is_dir()));
}

#[test]
fn pods_come_and_go_beside_each_other() {
    let Some(path) = path("race") else { return };
    let _gone = Gone(path.clone());
    thread::scope(|scope| {
        for worker in 0..4 {
            let path = format!("{path}{worker}");
            scope.spawn(move || {
                for _ in 0..50 {
                    cgroup::create_pod(&path, None).expect("made");
                    cgroup::remove(&path).expect("removed");
                }
            });
        }
    });
    assert!(dirs(path.trim_end_matches("/pod")).iter().all(|dir| !dir.exists()));
}

#[test]
fn limits_are_set_and_a_refused_one_leaves_nothing() {
    let Some(path) = path("limits") else { return };
    let _gone = Gone(path.clone());
    let all = Hierarchies::of_this_machine();
    let read = |controller: &str, v1: &str, v2: &str| {
        let hierarchy = all.with(controller).expect("controller");
        let text = |file: &str| fs::read_to_string(hierarchy.dir(&path).join(file));
        text(v1).or_else(|_| text(v2)).expect("limit").trim().to_owned()
    };
    if !["memory", "cpu", "cpuset", "pids"].iter().all(|name| all.controls(name)) {
        eprintln!("a controller is missing: not tested");
        return;
    }
    let limits = Resources {
        memory: 64 << 20,
        cpus: 0.5,
        cpuset_cpus: "0".into(),
        pids_limit: 100,
        cpu_shares: 512,
        ..Default::default()
    };
    cgroup::check(&limits).expect("possible");
    cgroup::create_pod(&path, Some(&limits)).expect("made");
    assert_eq!(read("memory", "memory.limit_in_bytes", "memory.max"), (64 << 20).to_string());
    assert!(read("cpu", "cpu.cfs_quota_us", "cpu.max").starts_with("50000"));
    assert_eq!(read("cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    assert_eq!(read("pids", "pids.max", "pids.max"), "100");
    cgroup::remove(&path).expect("removed");

    let wrong = Resources { cpu_quota: 1, ..Default::default() };
    let refusal = cgroup::create_pod(&path, Some(&wrong)).expect_err("below the kernel's least quota");
    assert!(refusal.message.starts_with("--cpu-quota 1: the kernel refuses"), "{refusal}");
    assert!(dirs(&path).iter().all(|dir| !dir.exists()));
    let many = Resources { cpuset_cpus: "0-9999".into(), ..Default::default() };
    assert!(cgroup::check(&many).expect_err("cpus").message.starts_with("--cpuset-cpus 0-9999: requested CPUs"));
}

#[test]
fn frozen_processes_stand_and_can_be_killed() {
    let Some(path) = path("freeze") else { return };
    let _gone = Gone(path.clone());
    cgroup::create_pod(&path, None).expect("made");
    let mut child = start(&path, "while :; do sleep 0.01; done");
    until("the shell is in", || !cgroup::pids(&path).is_empty());
    cgroup::freeze(&path).expect("frozen");
    let pids = cgroup::pids(&path);
    thread::sleep(Duration::from_millis(50));
    assert_eq!(cgroup::pids(&path), pids, "nothing starts or ends");
    cgroup::thaw(&path).expect("thawed");
    until("it goes on", || cgroup::pids(&path) != pids);
    cgroup::freeze(&path).expect("frozen");
    cgroup::kill(&path).expect("killed");
    assert_eq!(child.wait().expect("reaped").signal(), Some(9));
    cgroup::remove(&path).expect("removed");
}

#[test]
fn a_fork_storm_is_killed() {
    let Some(path) = path("storm") else { return };
    let _gone = Gone(path.clone());
    let limits = Resources { pids_limit: 200, ..Default::default() };
    if cgroup::check(&limits).is_err() {
        eprintln!("no pids controller: not tested");
        return;
    }
    cgroup::create_pod(&path, Some(&limits)).expect("made");
    let mut child = start(&path, "for i in $(seq 40); do while :; do sleep 0.01 & sleep 0.01; done & done; wait");
    until("it storms", || cgroup::pids(&path).len() > 60);
    let began = Instant::now();
    cgroup::kill(&path).expect("killed");
    child.wait().expect("reaped");
    cgroup::remove(&path).expect("removed");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn a_busy_cgroup_is_named_after_a_second() {
    let Some(path) = path("busy") else { return };
    let _gone = Gone(path.clone());
    cgroup::create_pod(&path, None).expect("made");
    let mut child = start(&path, "exec sleep 100");
    until("it is in", || !cgroup::pids(&path).is_empty());
    let refusal = cgroup::remove(&path).expect_err("busy");
    assert!(refusal.message.contains(&format!("process {} ", child.id())), "{refusal}");
    cgroup::kill(&path).expect("killed");
    child.wait().expect("reaped");
}
