//! Parts that hang: every wait ends, the error says what hung and its pid, others go on meanwhile, and all goes on when
//! the part does.

use std::time::Duration;

use harness::{
    Engine, Machine,
    cli::Run,
    engine::HOME,
    fuse::Fuse,
    handmade::Handmade,
    image::{Form, Image, Layer, digest},
    images::ALPINE,
    programs::{self, is_stand_in},
    until, wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use super::report;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// What every part may take here.
const PATIENCE: &str = "export PODCTL_PATIENCE=2;";

/// An engine that has a running container `other`, which nothing here concerns.
fn engine(machine: Machine) -> Engine {
    let engine = Engine::on(machine);
    engine.load(&[ALPINE]);
    engine.sh(&format!("{PATIENCE} podctl run -d --pod new:p --name other alpine top")).ok();
    engine
}

/// Others go on, in the same pod and elsewhere, while something hangs.
fn others_go_on(engine: &Engine) {
    for line in [
        "podctl ps -a && podctl pod ps && podctl inspect other p",
        "podctl exec other true",
        "podctl stop -t 0 other && podctl start other",
        "podctl run --rm alpine true",
    ] {
        let run = engine.sh(&format!("{PATIENCE} {line}"));
        run.code(0);
        assert!(run.took < Duration::from_secs(20), "{run}");
    }
}

/// A member `reads` of `pod` with a process that sleeps in a file system that hangs.
fn asleep<'a>(engine: &'a Engine, pod: &str) -> Fuse<'a> {
    let mut fuse = Fuse::mount(engine, &format!("{HOME}/hung"));
    engine.sh("echo said > ../hung/file").code(0);
    let reads = "-v $PWD/../hung:/v alpine sh -c 'while :; do cat /v/file; done'";
    engine.sh(&format!("{PATIENCE} podctl run -d --pod {pod} --name reads {reads}")).ok();
    until("a word", || engine.sh("podctl logs --tail 1 reads").stdout().contains("said").then_some(()));
    fuse.hang();
    until_somebody_sleeps(engine);
    fuse
}

/// Somebody waits for the file system.
fn until_somebody_sleeps(engine: &Engine) {
    let sleeping = || engine.sh("grep -l request_wait /proc/[0-9]*/wchan").stdout().lines().count() > 0;
    until("a sleeper", || sleeping().then_some(()));
}

/// One line that names `what` and how long it hung.
fn names(run: &Run, what: &str) {
    run.code(125).mentions(what);
    assert_eq!(run.stderr().trim_end().lines().count(), 1, "{run}");
}

#[test]
fn a_runtime_that_hangs_is_killed_and_named_and_others_go_on() {
    if is_stand_in() {
        return;
    }
    const RUNTIME: &str = "/run/engine/bin/slow-runtime";
    let engine = Engine::on(Machine { runtime: Some(RUNTIME), ..Machine::default() });
    // It hangs in the call that its container's environment names, until there is a file that says that it does not.
    let script = format!(
        "#!/bin/sh\nfor word do case $word in create|start|exec|delete|state) break;; esac; done\n\
         if grep -q \"HANG=$word\" config.json && [ ! -e {HOME}/tmp/well ]; then read _ < {HOME}/tmp/never; fi\nexec crun \"$@\"\n"
    );
    programs::script(&engine.enclosure.path(RUNTIME), &script);
    engine.sh(&format!("mkfifo {HOME}/tmp/never")).code(0);
    engine.load(&[ALPINE]);
    engine.sh(&format!("{PATIENCE} podctl run -d --pod new:p --name other alpine top")).ok();
    for victim in ["exec", "delete", "state"] {
        engine.sh(&format!("{PATIENCE} podctl run -d --pod p --name {victim} -e HANG={victim} alpine top")).ok();
    }
    let begin = |line: &str| engine.start(&format!("{PATIENCE} podctl {line}"));
    let create = begin("run -d --pod p --name create -e HANG=create alpine top");
    let start = begin("run -d --pod p --name start -e HANG=start alpine top");
    let exec = begin("exec exec true");
    let delete = begin("rm -f -t 0 delete");
    let monitor = engine.pids(&format!("podmon {}", engine.field("state", ".Id")));
    assert_eq!(monitor.len(), 1);
    kill(Pid::from_raw(monitor[0]), Signal::SIGKILL).expect("a monitor");
    others_go_on(&engine);
    for (running, verb) in [(create, "create"), (start, "start"), (exec, "exec")] {
        let run = running.finish();
        names(&run, &format!("OCI runtime slow-runtime {verb} hung for 2 s (pid "));
    }
    // What it would have done is done without it.
    delete.finish().code(0);
    engine.sh("podctl exec state true").code(0);
    engine.sh("podctl stop -t 0 state").code(0);
    engine.sh("touch ../tmp/well").code(0);
    engine.sh("podctl start create start state && podctl exec exec true && podctl exec create true").code(0);
    engine.sh("rm ../tmp/well").code(0);
    engine.sh(&format!("{PATIENCE} podctl pod rm -f -t 0 p")).code(0);
    engine.sh("rm ../tmp/never").code(0);
    until("nothing that hangs", || engine.pids("slow-runtime --root").is_empty().then_some(()));
}

#[test]
fn a_registry_that_accepts_and_says_nothing_or_stops_in_the_middle_is_named() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let silent = engine.start("busybox nc -ll -p 5001 -e sleep 10000");
    // In state LISTEN at 5001.
    until("who listens", || (engine.sh("cat /proc/net/tcp* | grep -q ':1389 .* 0A '").code == 0).then_some(()));
    // Incompressible enough.
    let content: Vec<u8> =
        (0..200_000u64).map(|n| (n.wrapping_mul(n).wrapping_mul(0x9E37_79B9) >> 13).to_le_bytes()[0]).collect();
    let published = Image::new().layer(Layer::new().file("x", 0o644, content)).published(Form::Oci);
    let (config, layers) = published.blobs().split_last().expect("a config");
    let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "config": descriptor("config.v1+json", &config.bytes),
        "layers": [descriptor("layer.v1.tar+gzip", &layers[0].bytes)],
    });
    let blobs = vec![(config.bytes.clone(), None), (layers[0].bytes.clone(), Some(50_000))];
    let stalling = Handmade::of(&engine.enclosure, 5000, (OCI, manifest.to_string().into_bytes()), blobs);
    let pull = |name: &str| engine.start(&format!("export PODCTL_PATIENCE=1; podctl pull -q {name}"));
    let (from_silent, from_stalling) = (pull("127.0.0.1:5001/x"), pull("127.0.0.1:5000/x"));
    others_go_on(&engine);
    from_silent.finish().code(125).mentions("127.0.0.1:5001").mentions("no answer for 1 s");
    from_stalling.finish().code(125).mentions("50000 of ").mentions("no answer for 1 s");
    stalling.go_on();
    drop(silent);
}

#[test]
fn a_container_that_sleeps_in_a_hung_file_system_is_named_until_it_wakes_up() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = asleep(&engine, "p");
    let begin = |line: &str| engine.start(&format!("{PATIENCE} podctl {line}"));
    let mount = format!("-v {HOME}/hung:/v");
    let (stop, run) = (begin("stop -t 0 reads"), begin(&format!("run --pod p --rm {mount} alpine true")));
    others_go_on(&engine);
    names(
        &run.finish(),
        &format!("statfs {HOME}/hung: the fuse.test file system at {HOME}/hung has not answered for 2 s"),
    );
    // Its first process is the shell, which waits for cat and can be killed; its namespace ends when cat does.
    names(&stop.finish(), "in uninterruptible sleep");
    assert_eq!(engine.sh("podctl ps -a --filter name=reads --format '{{.State}}'").ok(), "stopping");
    fuse.go();
    until("the end", || {
        engine.sh("podctl ps -a --filter name=reads --format '{{.Status}}'").ok().starts_with("Exited").then_some(())
    });
    engine.sh("podctl logs --tail 1 reads").prints("said");
    engine.sh("podctl start reads && podctl rm -f -t 0 reads").code(0);
}

#[test]
fn a_lock_that_somebody_keeps_is_waited_for_and_its_holder_named() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    engine.sh("podctl volume create v && podctl network create n && echo x | podctl secret create s -").code(0);
    engine.sh("podctl run -d --pod p --name holds -v v:/v alpine top").ok();
    for (file, act) in [
        ("state/volumes/.lock", "volume create w"),
        ("state/networks/.lock", "network create m"),
        ("state/secrets/.lock", "secret rm s"),
        ("state/images/lock", "tag alpine o/n"),
        ("runroot/networks/.lock", "run -d --name late -p 8080:80 alpine top"),
    ] {
        let holder = engine.start(&format!("exec flock -x ../{file} sleep 10000"));
        until("the lock", || (engine.sh(&format!("flock -n ../{file} true")).code == 1).then_some(()));
        let act = engine.start(&format!("export PODCTL_PATIENCE=0.5; podctl {act}"));
        engine.sh("podctl ps -a && podctl exec other true && podctl logs other && podctl inspect holds").code(0);
        let refused = act.finish();
        names(&refused, &format!("{file}: locked for 0.5 s by pid "));
        refused.mentions(", flock");
        drop(holder);
    }
    engine
        .sh("podctl volume create w && podctl network create m && podctl secret rm s && podctl tag alpine o/n")
        .code(0);
    engine.sh("podctl untag o/n o/n && podctl rm -f -t 0 late && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn a_file_of_the_callers_on_a_file_system_that_hangs_is_named_and_not_waited_for() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = Fuse::mount(&engine, &format!("{HOME}/hung"));
    engine.sh(&format!("echo A=1 > {HOME}/hung/file")).code(0);
    engine.sh(&format!("podctl run --rm --env-file {HOME}/hung/file alpine env")).code(0);
    let file = |line: &str| format!("{PATIENCE} podctl {}", line.replace("FILE", &format!("{HOME}/hung/file")));
    let hangs = format!("file system at {HOME}/hung has not answered for 2 s");
    fuse.mute();
    names(&engine.sh(&file("run --rm --env-file FILE alpine true")), &hangs);
    fuse.go();
    fuse.hang();
    for line in [
        "load -i FILE",
        "run --rm --env-file FILE alpine true",
        "exec --env-file FILE other true",
        "create --label-file FILE alpine true",
        "create --security-opt seccomp=FILE alpine true",
        "secret create key FILE",
    ] {
        let run = engine.sh(&file(line));
        names(&run, &hangs);
        assert!(run.took < Duration::from_secs(20), "{run}");
    }
    others_go_on(&engine);
    fuse.go();
    engine.sh(&format!("podctl run --rm --env-file {HOME}/hung/file alpine sh -c 'echo $A'")).prints("1");
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn a_log_on_a_file_system_that_hangs_holds_up_its_own_container_and_no_other() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = Fuse::mount(&engine, &format!("{HOME}/hung"));
    let ticks = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done";
    let path = format!("--log-opt path={HOME}/hung/log");
    engine.sh(&format!("{PATIENCE} podctl run -d --pod p --name writes {path} alpine sh -c '{ticks}'")).ok();
    until("a line", || engine.sh("podctl logs --tail 1 writes").stdout().contains("line").then_some(()));
    fuse.hang();
    until_somebody_sleeps(&engine);
    others_go_on(&engine);
    // Each has a time of its own.
    let begin = |line: &str| engine.start(&format!("{PATIENCE} podctl {line}"));
    let late = format!("run -d --pod p --name late --log-opt path={HOME}/hung/other alpine true");
    let (exec, late) = (begin("exec writes true"), begin(&late));
    names(&exec.finish(), "does not answer");
    names(&late.finish(), &format!("the fuse.test file system at {HOME}/hung has not answered for 2 s"));
    let ends = ["stop -t 0 writes", "rm -f -t 0 writes"];
    for end in ends.iter().take(if report::all() { ends.len() } else { 1 }) {
        let end = begin(end);
        engine.sh("podctl ps -a && podctl pod ps && podctl inspect writes && podctl exec other true").code(0);
        names(&end.finish(), "podmon, in uninterruptible sleep");
    }
    assert_eq!(engine.sh("podctl ps -a --filter name=writes --format '{{.State}}'").ok(), "stopping");
    assert!(engine.pids("echo line $i").is_empty(), "it is not the container that hangs");
    others_go_on(&engine);
    fuse.go();
    engine.sh("podctl wait writes").prints("137");
    assert!(engine.sh("podctl logs writes").code(0).stdout().starts_with("line 1\n"));
    engine.sh("podctl rm writes && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn a_program_of_ours_that_is_stopped_with_a_lock_of_a_store_is_named_and_all_goes_on_when_it_does() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine { failpoints: true, ..Machine::default() });
    for (point, holds, wants, lock) in [
        ("volume.create.placed", "volume create v", "volume create w", "state/volumes/.lock"),
        (
            "secret.create.recorded",
            "secret create v /etc/hostname",
            "secret create w /etc/hostname",
            "state/secrets/.lock",
        ),
        ("network.create.planned", "network create v", "network create w", "state/networks/.lock"),
    ] {
        // It stands at its point for as long as it takes to stop it there.
        engine.arm(point, "delay:2000");
        let holder = engine.start(&format!("podctl {holds}"));
        until("its lock", || (engine.sh(&format!("flock -n ../{lock} true")).code == 1).then_some(()));
        let pid = until("its shim", || engine.pids("podshim host").first().copied());
        kill(Pid::from_raw(pid), Signal::SIGSTOP).expect("it is there");
        let refused = engine.sh(&format!("export PODCTL_PATIENCE=0.5; podctl {wants}"));
        names(&refused, &format!("{lock}: locked for 0.5 s by pid "));
        refused.mentions(", podshim");
        others_go_on(&engine);
        kill(Pid::from_raw(pid), Signal::SIGCONT).expect("it is there");
        holder.finish().code(0);
        engine.sh(&format!("podctl {wants}")).code(0);
    }
    engine
        .sh("podctl volume rm v w && podctl secret rm v w && podctl network rm v w && podctl pod rm -f -t 0 p")
        .code(0);
}

#[test]
fn every_verb_over_a_process_that_sleeps_in_a_hung_file_system_ends_and_names_it() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = asleep(&engine, "new:q");
    let sleeps = "cat, in uninterruptible sleep (request_wait_answer)";
    let freezes = "in uninterruptible sleep";
    for (line, words) in [
        ("pause reads", freezes),
        ("pod pause q", freezes),
        ("rm -f -t 0 reads", sleeps),
        ("pod stop -t 0 q", sleeps),
        ("restart -t 1 reads", sleeps),
        ("stop -t 1 reads", sleeps),
    ] {
        // The others take the same ways, or ten seconds.
        if !report::all() && !line.contains("-t 0 reads") && !line.contains("pod stop") {
            continue;
        }
        let run = engine.sh(&format!("{PATIENCE} podctl {line}"));
        run.code(125).mentions(words);
        assert!(run.took < Duration::from_secs(60), "{run}");
        // It is there, and is said to be.
        assert_eq!(engine.sh("podctl ps -a --filter name=reads --format '{{.Names}}'").ok(), "reads", "{run}");
        engine.sh("podctl pod ps && podctl inspect reads q").code(0);
    }
    others_go_on(&engine);
    fuse.go();
    until("the end", || engine.pids("cat /v/file").is_empty().then_some(()));
    engine.sh("podctl pod rm -f -t 0 q && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn a_pod_that_cannot_be_removed_keeps_the_member_whose_process_sleeps() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = asleep(&engine, "new:q");
    let refused = engine.sh(&format!("{PATIENCE} podctl pod rm -f -t 0 q"));
    refused.code(125).mentions("cat, in uninterruptible sleep");
    // It is alive: whoever forgets it can never end it, nor remove what it holds.
    assert!(!engine.pids("cat /v/file").is_empty());
    assert_eq!(engine.sh("podctl ps -a --filter name=reads --format '{{.Names}} {{.State}}'").ok(), "reads stopping");
    fuse.go();
    until("the end", || engine.pids("cat /v/file").is_empty().then_some(()));
    engine.sh("podctl pod rm -f -t 0 q && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn pod_kill_over_a_process_that_sleeps_ends() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = asleep(&engine, "new:q");
    let kill = engine.sh(&format!("{PATIENCE} timeout -s KILL 60 podctl pod kill q"));
    assert!(kill.code == 0 || (kill.code == 125 && kill.stderr().contains("uninterruptible sleep")), "{kill}");
    others_go_on(&engine);
    fuse.go();
    until("the end", || engine.pids("cat /v/file").is_empty().then_some(()));
    engine.sh("podctl pod rm -f -t 0 q && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn reading_a_log_on_a_file_system_that_hangs_ends_with_its_name() {
    if is_stand_in() {
        return;
    }
    let engine = engine(Machine::default());
    let mut fuse = Fuse::mount(&engine, &format!("{HOME}/hung"));
    let path = format!("--log-opt path={HOME}/hung/log");
    engine
        .sh(&format!("{PATIENCE} podctl run -d --pod p --name said {path} alpine sh -c 'echo said; exec sleep 10000'"))
        .ok();
    until("its word", || (engine.sh("podctl logs said").stdout() == "said\n").then_some(()));
    fuse.hang();
    let mut reads = engine.start(&format!("{PATIENCE} podctl logs said"));
    let ended = wait::within(Duration::from_secs(30), || reads.child.try_wait().expect("it is ours"));
    fuse.go();
    let reads = reads.finish();
    assert!(ended.is_some(), "it did not end before the file system answered:\n{reads}");
    names(&reads, &format!("{HOME}/hung"));
    engine.sh("podctl pod rm -f -t 0 p").code(0);
}
