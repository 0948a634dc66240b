//! The kernel gives the pids of those who are gone to somebody else: nobody is taken for them, and nobody is killed for them.

use harness::{Engine, images::ALPINE, programs::is_stand_in};

/// Starts a stranger that has the pid `pid` of the engine's, by the hint that the kernel takes for the next one.
fn stranger(engine: &Engine, pid: &str) {
    let start = format!(
        "for i in $(seq 200); do echo $(({pid} - 1)) > /proc/sys/kernel/ns_last_pid; \
         sleep 31536000 < /dev/null > /dev/null 2>&1 & [ $! != {pid} ] || exit 0; kill $!; done; exit 1"
    );
    engine.sh(&start).code(0);
}

#[test]
fn who_has_got_the_pid_of_somebody_who_is_gone_is_not_taken_for_him() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p --share pid,net,ipc && podctl run -d --pod p --name up alpine top").ok();
    engine.sh("podctl run -d --name alone --restart always --pidfile ../tmp/pid alpine top").ok();
    let all = "cat ../runroot/pods/*/state.json ../runroot/pods/*/containers/*/state.json | grep -o '\"pid\":[0-9]*' | cut -d : -f 2 | sort -nu";
    let pids = engine.sh(all).lines();
    assert!(pids.len() >= 7, "two shims, two monitors, two containers and PID 1 of a namespace: {pids:?}");
    engine.kill_all(&["podshim", "podmon", "top"]);
    // The highest first: whoever is started next has the number after it.
    for pid in pids.iter().rev() {
        stranger(&engine, pid);
    }
    let strangers = || engine.pids("sleep 31536000").len();
    assert_eq!(strangers(), pids.len());
    for line in engine.sh("podctl ps -a --format '{{.Names}} {{.Status}}'").lines() {
        assert!(line.contains("Exited"), "{line}");
    }
    engine.sh("podctl inspect up alone p && podctl pod ps").code(0);
    // What needs a process says that there is none, and asks no stranger.
    for (line, code, words) in [
        ("podctl top up", 125, "top can only be used on running containers"),
        ("podctl kill up", 125, "can only kill running containers. "),
        ("podctl pause up", 125, "is not running, can't pause: container state improper"),
        ("podctl exec up true", 255, "can only create exec sessions on running containers: container state improper"),
    ] {
        engine.sh(line).code(code).mentions("Error: ").mentions(words);
    }
    // By whom it was killed nobody may have seen.
    let code = engine.sh("podctl wait up").ok();
    assert!(["137", "-1"].contains(&code.as_str()), "{code}");
    let told = engine.sh("podctl system check").code(125).stdout();
    assert!(told.contains("was up when its shim was killed"), "{told}");
    engine.sh("podctl stop -t 0 up alone").code(0);
    engine.sh("podctl system check --repair --force").code(0);
    assert_eq!(strangers(), pids.len(), "one of them was ended");
    engine.sh("podctl pod start p && podctl start alone && podctl exec up true && podctl exec alone true").code(0);
    engine.kill_all(&["podshim", "podmon", "top"]);
    engine.sh("podctl rm -f -t 0 alone && podctl pod rm -f -t 0 p").code(0);
    assert_eq!(strangers(), pids.len(), "one of them was ended");
    engine.kill_all(&["sleep 31536000"]);
}
