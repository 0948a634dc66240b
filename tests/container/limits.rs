//! Limits in control groups, whichever version the machine has.

use std::path::PathBuf;

use harness::{Engine, images::ALPINE, oracle, until};

/// The content of `file` of whichever version has it, in the group of the container or pod `id`.
pub fn limit(id: &str, files: [&str; 2]) -> String {
    fn find(directory: PathBuf, id: &str, file: &str) -> Option<String> {
        let own = directory.to_string_lossy();
        // The group of `id` itself: the deepest component bears it.
        let is_own = own.rsplit('/').next().is_some_and(|name| name.contains(id));
        if let (true, Ok(text)) = (is_own, std::fs::read_to_string(directory.join(file))) {
            return Some(text.trim().to_owned());
        }
        let entries = std::fs::read_dir(&directory).ok()?;
        entries.flatten().filter(|entry| entry.path().is_dir()).find_map(|entry| find(entry.path(), id, file))
    }
    let found = oracle::hierarchies().into_iter().flat_map(|mount| files.map(|file| find(mount.clone(), id, file)));
    found.flatten().next().unwrap_or_else(|| panic!("no {files:?} for {id}"))
}

#[test]
fn a_containers_limits_are_set_and_seen() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --memory 64m --cpus 0.5 --pids-limit 50 --cpu-shares 512 alpine top").ok();
    assert_eq!(limit(&id, ["memory.limit_in_bytes", "memory.max"]), "67108864");
    assert!(["50000", "50000 100000"].contains(&limit(&id, ["cpu.cfs_quota_us", "cpu.max"]).as_str()));
    assert_eq!(limit(&id, ["pids.max", "pids.max"]), "50");
    assert_eq!(engine.field(&id, ".HostConfig.Memory"), "67108864");
    assert_eq!(engine.field(&id, ".HostConfig.PidsLimit"), "50");
}

#[test]
fn a_pods_limits_hold_for_the_sum_of_its_members() {
    let engine = Engine::with(&[ALPINE]);
    let pod = engine.sh("podctl pod create --name p --memory 128m --cpus 1").ok();
    engine.sh("podctl run -d --pod p alpine top").ok();
    assert_eq!(limit(&pod, ["memory.limit_in_bytes", "memory.max"]), "134217728");
    engine.sh("podctl pod stop -t 0 p && podctl pod start p").code(0);
    assert_eq!(limit(&pod, ["memory.limit_in_bytes", "memory.max"]), "134217728");
}

#[test]
fn who_takes_more_memory_than_allowed_is_killed() {
    let engine = Engine::with(&[ALPINE]);
    let greedy = "head -c 200000000 /dev/zero | tail -c 150000000 > /dev/null; exit $?";
    engine
        .podctl(&["run", "--name", "greedy", "--memory", "32m", "--memory-swap", "32m", "alpine", "sh", "-c", greedy])
        .code(137);
    assert_eq!(engine.field("greedy", ".State.OOMKilled"), "false", "its shell has ended by itself, and with a code");
}

#[test]
fn a_death_for_want_of_memory_is_told_from_that_of_a_child() {
    let engine = Engine::with(&[ALPINE]);
    let run = |name: &str, script: &str| {
        let limits = ["--memory", "32m", "--memory-swap", "32m"];
        let line = [&["run", "-d", "--name", name][..], &limits, &["alpine", "sh", "-c", script]].concat();
        engine.podctl(&line).ok();
    };
    let eat = "dd if=/dev/zero of=/dev/null bs=64M count=1";
    run("first", &format!("exec {eat}"));
    run("child", &format!("{eat}; exit 5"));
    run("killed", &format!("{eat}; touch /eaten; exec sleep 1000"));
    engine.sh("podctl wait first").prints("137");
    engine.sh("podctl wait child").prints("5");
    until("the child to have died", || (engine.sh("podctl exec killed test -e /eaten").code == 0).then_some(()));
    engine.sh("podctl kill killed && podctl wait killed").code(0);
    let killed = |name: &str| engine.field(name, ".State.OOMKilled}} {{.State.ExitCode");
    assert_eq!(
        (killed("first"), killed("child"), killed("killed")),
        ("true 137".into(), "false 5".into(), "false 137".into())
    );
    let told = "podctl events --stream=false --filter event=oom --format '{{.Name}}'";
    until("the event", || (engine.sh(told).ok() == "first").then_some(()));
}

#[test]
fn a_pods_disk_is_slow_for_all_members_and_swappiness_is_of_v1() {
    let engine = Engine::with(&[ALPINE]);
    let disk = "/dev/$(ls /sys/block | grep -v -e loop -e ram | head -n 1)";
    let pod = engine.sh(&format!("podctl pod create --name p --device-write-bps {disk}:3mb")).ok();
    engine.sh("podctl run -d --pod p alpine top").ok();
    let rate = limit(&pod, ["blkio.throttle.write_bps_device", "io.max"]);
    assert!(rate.contains("3145728"), "{rate}");
    assert!(engine.sh("podctl pod inspect p").ok().contains("\"device_write_bps\""));
    let run = engine.sh("podctl run --rm --memory-swappiness 10 alpine cat /sys/fs/cgroup/memory/memory.swappiness");
    if run.code == 0 {
        run.prints("10");
    } else {
        run.code(125).mentions("--memory-swappiness 10: cgroup v2 has no such limit: leave the option out");
    }
}

#[test]
fn time_of_real_time_processes_and_files_of_v2_are_set_or_refused_by_the_version() {
    let engine = Engine::with(&[ALPINE]);
    let run = "podctl run -d --name rt --restart always --cpu-rt-period 500000 --cpu-rt-runtime 1000 alpine sh -c 'test -e /ran || { touch /ran; exit 1; }; exec top'";
    let v2 = std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    if v2 {
        engine.sh(run).code(125).mentions("--cpu-rt-period 500000: cgroup v2 has no such limit: leave the option out");
        let id = engine.sh("podctl run -d --name conf --cgroup-conf memory.high=67108864 alpine top").ok();
        assert_eq!(limit(&id, ["memory.high", "memory.high"]), "67108864");
        assert_eq!(engine.field("conf", "json .HostConfig.CgroupConf"), "{\"memory.high\":\"67108864\"}");
        return;
    }
    engine
        .sh("podctl run --rm --cgroup-conf memory.high=1 alpine true")
        .code(125)
        .mentions("--cgroup-conf memory.high: this machine has cgroup");
    if !std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        engine.sh(run).code(125).mentions("this kernel has no cpu.rt_");
        return;
    }
    let id = engine.sh(run).ok();
    assert_eq!(engine.field("rt", ".HostConfig.CpuRealtimeRuntime"), "1000");
    until("it has been run again", || {
        let again = engine.field("rt", ".RestartCount") == "1" && engine.field("rt", ".State.Status") == "running";
        again.then_some(())
    });
    assert_eq!(limit(&id, ["cpu.rt_runtime_us", "cpu.rt_runtime_us"]), "1000");
    assert_eq!(limit(&id, ["cpu.rt_period_us", "cpu.rt_period_us"]), "500000");
    engine.sh("podctl restart -t 0 rt && podctl exec rt true").code(0);
    assert_eq!(limit(&id, ["cpu.rt_runtime_us", "cpu.rt_runtime_us"]), "1000");
    engine
        .sh("podctl run --rm --cpu-rt-runtime 999999999 alpine true")
        .code(125)
        .mentions("--cpu-rt-runtime 999999999: the kernel refuses");
}

#[test]
fn weights_of_block_io_survive_restarts() {
    let engine = Engine::with(&[ALPINE]);
    let files = ["blkio.bfq.weight", "io.bfq.weight", "blkio.weight", "io.weight"];
    let there = |id: &str, file: &'static str| {
        let found = std::panic::catch_unwind(|| limit(id, [file, file]));
        found.ok()
    };
    let made = engine.sh("podctl run -d --name w --blkio-weight 300 --restart always alpine sh -c 'test -e /ran || { touch /ran; exit 1; }; exec top'");
    if made.code == 125 {
        made.mentions("--blkio-weight 300: ");
        return;
    }
    let id = made.ok();
    // In place, by its policy, and anew. Between two runs it has no cgroup.
    until("it has been run again", || {
        let again = engine.field("w", ".RestartCount") == "1" && engine.field("w", ".State.Status") == "running";
        again.then_some(())
    });
    let file = files.into_iter().find(|file| there(&id, file).is_some()).expect("a file of weights");
    let weight = || there(&id, file).unwrap_or_default().replace("default ", "");
    let first_line = || weight().lines().next().unwrap_or_default().to_owned();
    assert_eq!(first_line(), "300");
    engine.sh("podctl restart -t 0 w").ok();
    assert_eq!(first_line(), "300");
    let disk = "/dev/$(ls /sys/block | grep -v -e loop -e ram | head -n 1)";
    let devices = engine.sh(&format!("podctl run -d --name d --blkio-weight-device {disk}:200 alpine top"));
    if devices.code == 125 {
        // Kernels with BFQ alone have no weights of devices in v1.
        devices.mentions("--blkio-weight-device ");
        return;
    }
    let id = devices.ok();
    assert!(
        there(&id, file).unwrap_or_default().contains(" 200")
            || limit(&id, ["blkio.bfq.weight_device", "blkio.weight_device"]).contains(" 200")
    );
    assert_eq!(engine.field("d", "(index .HostConfig.BlkioWeightDevice 0).Weight"), "200");
}
