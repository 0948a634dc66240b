//! `update`: what is named changes at once and for good, and nothing else.

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::limits::limit;

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const CPU: [&str; 2] = ["cpu.cfs_quota_us", "cpu.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

fn kill_9(pids: impl IntoIterator<Item = i32>) {
    for pid in pids {
        // It may have ended by itself in the meantime.
        let _gone_already = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

/// A quota of CPU time, which v2 has in one file with its period.
fn has_quota(id: &str, quota: &str) -> bool {
    let found = limit(id, CPU);
    found == quota || found == format!("{quota} 100000") || (quota == "-1" && found == "max 100000")
}

#[test]
fn limits_of_a_running_container_change_at_once_and_the_others_stay() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name c --memory 64m --cpus 0.5 --pids-limit 50 alpine top").ok();
    // Up beyond what memory and swap together may be now, and down again below it.
    for memory in ["512m", "32m"] {
        engine.sh(&format!("podctl update --memory {memory} c")).prints(&id).code(0);
        let bytes = (memory.trim_end_matches('m').parse::<u64>().expect("a number") << 20).to_string();
        assert_eq!(limit(&id, MEMORY), bytes);
        assert_eq!(engine.field("c", ".HostConfig.Memory"), bytes);
    }
    assert!(has_quota(&id, "50000"));
    assert_eq!(limit(&id, PIDS), "50");
    engine.sh("podctl container update --cpus 1.5 --pids-limit 70 c").prints(&id).code(0);
    assert!(has_quota(&id, "150000"));
    assert_eq!((limit(&id, PIDS), limit(&id, MEMORY)), ("70".into(), "33554432".into()));
    let shown = ".HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.HostConfig.Memory";
    assert_eq!(engine.field("c", shown), "1500000000 70 33554432");
    // None at all.
    engine.sh("podctl update --cpus 0 --pids-limit -1 c").code(0);
    assert!(has_quota(&id, "-1"));
    assert_eq!((limit(&id, PIDS), limit(&id, MEMORY)), ("max".into(), "33554432".into()));
    engine.sh("podctl update --cpuset-cpus 0 --cpu-shares 512 c").code(0);
    assert_eq!(limit(&id, ["cpuset.cpus", "cpuset.cpus"]), "0");
    // What the rest contradicts changes nothing.
    engine.sh("podctl update --pids-limit 9 --memory-reservation 64m c").code(125);
    assert_eq!(limit(&id, PIDS), "max");
    // The next run is made by its shim.
    engine.sh("podctl restart -t 0 c").code(0);
    assert_eq!((limit(&id, PIDS), limit(&id, MEMORY)), ("max".into(), "33554432".into()));
    assert_eq!(limit(&id, ["cpuset.cpus", "cpuset.cpus"]), "0");
}

#[test]
fn a_stopped_container_has_them_when_it_is_started() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl create --name c -e A=1 -e B=2 alpine sh -c 'echo A=$A B=$B C=$C; exec sleep 1000'").ok();
    engine.sh("podctl update --memory 48m -e A=9 -e C=3 --unsetenv B --restart on-failure:3 c").prints(&id).code(0);
    let policy = ".HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount";
    assert_eq!(engine.field("c", policy), "on-failure:3");
    engine.sh("podctl start c").code(0);
    until("its words", || (engine.sh("podctl logs c").ok() == "A=9 B= C=3").then_some(()));
    assert_eq!(limit(&id, MEMORY), "50331648");
    engine.sh("podctl update -e A=10 c").code(0);
    // Commands have it at once, as with podman.
    assert_eq!(engine.sh("podctl exec c sh -c 'echo $A'").ok(), "10");
    assert!(!engine.sh("podctl logs c").ok().contains("A=10"));
    engine.sh("podctl restart -t 0 c").code(0);
    until("its words", || (engine.sh("podctl logs c").lines().last()? == "A=10 B= C=3").then_some(()));
}

#[test]
fn a_restart_policy_holds_at_once_and_what_runs_again_has_the_new_limits() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name c alpine sh -c 'echo V=$V; exec sleep 1000'").ok();
    let pid = || engine.field("c", ".State.Pid").parse().unwrap_or(0);
    let inside = || engine.pids("sleep 1000");
    let another = |earlier: i32| until("another run", || Some(pid()).filter(|&now| now != 0 && now != earlier));
    let runs = |count: usize| until("its words", || (engine.sh("podctl logs c").lines().len() == count).then_some(()));
    runs(1);
    engine.sh("podctl update --restart always --pids-limit 33 -e V=2 c").code(0);
    let first = pid();
    kill_9(inside());
    let second = another(first);
    runs(2);
    assert_eq!(engine.sh("podctl logs c").lines(), ["V=", "V=2"]);
    assert_eq!(limit(&id, PIDS), "33");
    // A monitor and a shim that take over know of it.
    kill_9(engine.pids("podmon "));
    kill_9(engine.pids("podshim pod"));
    engine.sh("podctl update --memory 40m c").code(0);
    assert_eq!((pid(), limit(&id, MEMORY)), (second, "41943040".into()));
    kill_9(inside());
    another(second);
    assert_eq!((limit(&id, PIDS), limit(&id, MEMORY)), ("33".into(), "41943040".into()));
    runs(3);
    // And it is over.
    engine.sh("podctl update --restart no c").code(0);
    kill_9(inside());
    engine.sh("podctl wait c").prints("137");
    assert_eq!(engine.field("c", ".State.Status"), "exited");
    // While it waits for the next run, too.
    engine.sh("podctl update --restart always c").code(0);
    engine.sh("podctl run -d --name short --restart always alpine false").ok();
    until("a longer pause", || (engine.field("short", ".RestartCount").parse::<u32>().ok()? >= 4).then_some(()));
    engine.sh("podctl update --restart no short").code(0);
    engine.sh("podctl wait short").prints("1");
}

#[test]
fn a_health_check_comes_changes_and_goes_while_it_runs() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c alpine top").ok();
    let status = || engine.sh("podctl ps --format '{{.Status}}'").ok();
    let becomes = |word: &str| until(word, || status().ends_with(&format!(" ({word})")).then_some(()));
    engine.sh("podctl update --health-interval 1s c").code(125);
    engine.sh("podctl update --health-cmd 'test ! -e /bad' --health-interval 1h --health-retries 1 c").code(0);
    becomes("healthy");
    // In an hour: nobody would see it today.
    engine.sh("podctl exec c touch /bad").code(0);
    engine.sh("podctl update --health-interval 100ms c").code(0);
    becomes("unhealthy");
    assert_eq!(engine.field("c", ".Config.Healthcheck.Retries"), "1");
    // Another command begins anew.
    engine.sh("podctl update --health-cmd true c").code(0);
    becomes("healthy");
    kill_9(engine.pids("podmon "));
    until("a successor", || (!engine.pids("podmon ").is_empty()).then_some(()));
    becomes("healthy");
    engine.sh("podctl update --health-on-failure kill --health-cmd false c").code(0);
    engine.sh("podctl wait c").prints("137");
    engine.sh("podctl update --no-healthcheck c").code(0);
    engine.sh("podctl start c").code(0);
    assert!(!status().contains('('), "{}", status());
    assert_eq!(engine.sh("podctl healthcheck run c").code, 125);
}

#[test]
fn limits_of_devices_and_ulimits_change_and_outlive_every_kind_of_restart() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    const DISK: &str = "/dev/$(ls /sys/block | grep -v -e loop -e ram | head -n 1)";
    let run = format!("podctl run -d --name c --restart always --device-write-bps {DISK}:3mb --ulimit nofile=100:200");
    let id = engine.sh(&format!("{run} alpine sleep 1000")).ok();
    let rates = |of: &str| limit(&id, [&format!("blkio.throttle.{of}_bps_device"), "io.max"]);
    let files = || engine.sh("podctl exec c sh -c 'ulimit -n; ulimit -Hn'").lines();
    let process = || {
        let line = engine.sh("podctl exec c grep '^Max open files' /proc/1/limits").stdout();
        line.split_whitespace().skip(3).take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    let holds = |files_are: [&str; 2]| {
        assert!(rates("write").contains("5242880"), "{}", rates("write"));
        assert!(rates("read").contains("1048576"), "{}", rates("read"));
        assert_eq!(
            (files(), process()),
            (files_are.map(str::to_owned).to_vec(), files_are.map(str::to_owned).to_vec())
        );
    };
    assert!(rates("write").contains("3145728"), "{}", rates("write"));
    let update =
        format!("podctl update --device-write-bps {DISK}:5mb --device-read-bps {DISK}:1mb --ulimit nofile=50:150");
    engine.sh(&format!("{update} c")).prints(&id).code(0);
    holds(["50", "150"]);
    assert!(engine.sh("podctl inspect c").ok().contains("5242880"));
    // In place, by the policy; by the shim; and when a monitor has been replaced before.
    let pid = || engine.field("c", ".State.Pid");
    let again = |before: String| until("another run", || (!["0", &before].contains(&&*pid())).then_some(()));
    let before = pid();
    kill_9(engine.pids("sleep 1000"));
    again(before);
    holds(["50", "150"]);
    engine.sh("podctl restart -t 0 c").code(0);
    holds(["50", "150"]);
    kill_9(engine.pids("podmon "));
    until("a successor", || (!engine.pids("podmon ").is_empty()).then_some(()));
    let before = pid();
    kill_9(engine.pids("sleep 1000"));
    again(before);
    holds(["50", "150"]);
    // None.
    engine.sh(&format!("podctl update --device-write-bps {DISK}:0 c")).code(0);
    assert!(!rates("write").contains("5242880"), "{}", rates("write"));
    assert!(rates("read").contains("1048576"));
    // What is refused changes nothing.
    engine
        .sh("podctl update --pids-limit 7 --ulimit nofile=5:100000000 c")
        .code(125)
        .mentions("--ulimit nofile=5:100000000");
    assert_ne!(limit(&id, PIDS), "7");
}
