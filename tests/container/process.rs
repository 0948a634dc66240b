//! What the command is run as: image config, options, and what it may not do.

use harness::{
    Engine,
    image::{Image, Layer},
    images::{self, ALPINE},
    programs::is_stand_in,
    until,
};
use serde_json::json;

/// An image with everything in its config, made on alpine's files.
fn configured() -> Image {
    Image::new()
        .layer(Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine"))
        .layer(Layer::new().owned_by(1000, 1000).directory("work"))
        .set("User", json!("user:staff"))
        .set("WorkingDir", json!("/work"))
        .set("Env", json!(["PATH=/bin", "FROM_IMAGE=image", "BOTH=image"]))
        .set("Entrypoint", json!(["echo", "entry"]))
        .set("Cmd", json!(["command"]))
        .set("StopSignal", json!("SIGUSR1"))
}

fn load(engine: &Engine, image: &Image, name: &str) {
    let file = engine.path("tmp/image.tar");
    image.docker_archive(&file, &[name]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/image.tar && rm $TMPDIR/image.tar").ok();
}

#[test]
fn the_image_says_what_is_run_and_options_say_it_better() {
    let engine = Engine::new();
    load(&engine, &configured(), "localhost/conf:latest");
    let run = |options: &str| engine.sh(&format!("podctl run --rm {options}")).ok();
    assert_eq!(run("localhost/conf"), "entry command");
    assert_eq!(run("localhost/conf more words"), "entry more words");
    assert_eq!(run("--entrypoint id localhost/conf"), "uid=1000(user) gid=50(staff) groups=50(staff)");
    assert_eq!(run("--entrypoint '[\"echo\",\"json\"]' localhost/conf x"), "json x");
    assert_eq!(run("--entrypoint pwd localhost/conf"), "/work");
    assert_eq!(run("--entrypoint pwd -w /tmp localhost/conf"), "/tmp");
    assert_eq!(run("--entrypoint id -u root localhost/conf -u"), "0");
    assert_eq!(run("--entrypoint id -u 1234:56 localhost/conf -u"), "1234");
    assert_eq!(run("--entrypoint id -u 1234:56 localhost/conf -g"), "56");
    let environment = run("-e BOTH=option -e ADDED=1 --entrypoint env localhost/conf");
    for expected in ["FROM_IMAGE=image", "BOTH=option", "ADDED=1", "PATH=/bin"] {
        assert!(environment.lines().any(|line| line == expected), "{expected} in\n{environment}");
    }
    assert!(environment.lines().any(|line| line.starts_with("HOSTNAME=")), "{environment}");
    assert!(environment.lines().any(|line| line == "container=podman" || line == "container=podctl"), "{environment}");
}

#[test]
fn the_images_stop_signal_stops() {
    let engine = Engine::new();
    load(&engine, &configured(), "localhost/conf:latest");
    let script = "trap \"exit 6\" USR1; echo ready; while :; do sleep 0.1; done";
    engine.sh(&format!("podctl run -d --name c --entrypoint sh localhost/conf -c '{script}'")).ok();
    harness::until("it to be ready", || (engine.sh("podctl logs c").ok() == "ready").then_some(()));
    engine.sh("podctl stop c").code(0);
    engine.sh("podctl wait c").prints("6");
}

#[test]
fn a_user_the_image_does_not_have_is_refused_and_nothing_is_left() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -u nosuchuser alpine true").code(125).mentions("nosuchuser");
    engine.sh("podctl run --pod new:fresh -u nosuchuser alpine true").code(125);
    engine.sh("podctl pod exists fresh").code(1);
}

#[test]
fn who_may_not_make_namespaces_is_told_so_in_one_line() {
    let engine = Engine::with(&[ALPINE]);
    let refused = engine.sh("setpriv --bounding-set=-sys_admin podctl run alpine true");
    let words = "Error: a pod needs a mount namespace, and that takes CAP_SYS_ADMIN: run podctl as root\n";
    assert_eq!(refused.code(125).stderr(), words);
    engine.sh("podctl ps -aq").prints_nothing();
}

#[test]
fn privileges_are_few_for_run_and_for_exec() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    for begin in ["podctl run --rm alpine", "podctl exec up"] {
        let status =
            engine.sh(&format!("{begin} grep -E 'CapEff|CapBnd|CapInh|CapAmb|Seccomp:' /proc/self/status")).ok();
        let value = |key: &str| {
            let line =
                status.lines().find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key}: {status}"));
            line.split_whitespace().nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(value("CapEff"), "00000000800405fb", "{begin}");
        assert_eq!(value("CapBnd"), "00000000800405fb", "{begin}");
        assert_eq!(value("CapInh"), "0000000000000000", "{begin}");
        assert_eq!(value("Seccomp"), "2", "{begin}");
        engine.sh(&format!("{begin} unshare -m true")).code(1).mentions("Operation not permitted");
    }
    let added =
        engine.sh("podctl run --rm --cap-add NET_ADMIN --cap-drop chown alpine grep CapEff /proc/self/status").ok();
    assert!(added.ends_with("00000000800415fa"), "{added}");
    let user = engine.sh("podctl run --rm -u user alpine grep -E 'CapEff|CapPrm' /proc/self/status").ok();
    assert!(user.lines().all(|line| line.ends_with("0000000000000000")), "{user}");
}

#[test]
fn the_kernels_files_are_masked_and_its_settings_read_only() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    let inside = |script: &str| engine.podctl(&["exec", "up", "sh", "-c", script]);
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/interrupts"] {
        inside(&format!("test ! -e {path} || test -z \"$(head -c 1 {path})\"")).code(0);
    }
    for path in ["/proc/acpi", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        inside(&format!("test ! -e {path} || test -z \"$(ls {path})\"")).code(0);
    }
    inside("echo x > /proc/sys/kernel/core_pattern").code(1).mentions("Read-only file system");
    inside("test ! -e /proc/sysrq-trigger || ! echo x > /proc/sysrq-trigger").code(0);
    inside("mkdir /sys/kernel/x").code(1);
    inside("! mount -t tmpfs x /etc").code(0);
}

#[test]
fn only_three_descriptors_are_handed_over() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    // ls holds one of its own, for the directory.
    engine.sh("podctl run --rm alpine ls /proc/self/fd").prints("0\n1\n2\n3");
    engine.sh("podctl exec up ls /proc/self/fd").prints("0\n1\n2\n3");
    engine.sh("podctl exec up ls /proc/1/fd").code(0);
}

#[test]
fn limits_of_processes_are_clamped_unless_they_are_asked_for() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm alpine sh -c 'ulimit -n'").code(0);
    engine.sh("podctl run --rm --ulimit nofile=1000:1000 alpine sh -c 'ulimit -Sn; ulimit -Hn'").prints("1000\n1000");
    let host = "ulimit -n 777; ulimit -c 8; podctl run --rm --ulimit host alpine sh -c 'ulimit -n; ulimit -c'";
    engine.sh(host).prints("777\n16");
    if !is_stand_in() {
        let too_much = engine.sh("podctl run --rm --ulimit nofile=999999999:999999999 alpine true");
        too_much.code(125).mentions("--ulimit").mentions("nofile");
    }
}

#[test]
fn the_command_is_pid_1_of_its_own_pids() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm alpine sh -c 'echo $$'").prints("1");
    let processes = engine.sh("podctl run --rm alpine ps -o pid,comm").lines();
    assert_eq!(processes.len(), 2, "{processes:?}");
}

#[test]
fn descriptors_that_are_preserved_reach_run_and_exec() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("echo in > $TMPDIR/in").ok();
    let script = "sh -c 'cat <&3; echo out >&4; ls /proc/self/fd/5 2> /dev/null'";
    let files = "3< $TMPDIR/in 4> $TMPDIR/out";
    let wrote = || assert_eq!(engine.sh("cat $TMPDIR/out && rm $TMPDIR/out").ok(), "out");
    engine.sh(&format!("podctl run --rm --preserve-fds 2 alpine {script} {files}")).prints("in");
    wrote();
    engine.sh(&format!("podctl run -d --name c --preserve-fds 2 alpine {script} {files}")).ok();
    engine.sh("podctl wait c && podctl logs c").prints("1\nin");
    wrote();
    // They went with the first run.
    engine.sh("podctl start -a c").code(1).mentions("3: Bad file descriptor");
    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh(&format!("podctl exec --preserve-fds 2 up {script} {files}")).prints("in");
    wrote();
    let (code, shown) = engine.terminal(&format!("podctl exec -t --preserve-fds 2 up {script} {files}")).finish();
    assert!(shown.contains("in"), "{code} {shown}");
    wrote();
    engine.sh(&format!("podctl exec -d --preserve-fds 2 up {script} {files}")).code(0);
    until("what the detached one writes", || (engine.sh("cat $TMPDIR/out").stdout() == "out\n").then_some(()));
    engine.sh("podctl exec --preserve-fds 1 up true").code(125).mentions("file descriptor 3 is not available");
    engine.sh("rm $TMPDIR/in $TMPDIR/out").ok();
}

#[test]
fn a_seccomp_profile_may_come_with_the_image() {
    let engine = Engine::with(&[ALPINE]);
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    });
    let image = configured()
        .set("User", json!(""))
        .set("Entrypoint", json!([]))
        .set("Labels", json!({"io.containers.seccomp.profile": profile.to_string()}));
    load(&engine, &image, "localhost/guarded:latest");
    engine.sh("podctl run --rm localhost/guarded mkdir /x").code(0);
    engine
        .sh("podctl run --name c --seccomp-policy image localhost/guarded mkdir /x")
        .code(1)
        .mentions("not supported");
    assert_eq!(engine.field("c", ".HostConfig.SeccompPolicy"), "image");
    engine.sh("podctl start -a c").code(1).mentions("not supported");
    engine
        .sh("podctl run --rm --seccomp-policy image alpine true")
        .code(125)
        .mentions("no seccomp policy defined by image");
}

#[test]
fn top_has_descriptors_and_leaves_options_to_the_ps_inside() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine sleep 1000").ok();
    let words = |line: &str| -> Vec<String> { engine.sh(line).ok().split_whitespace().map(str::to_owned).collect() };
    assert_eq!(words("podctl top up pid,args"), ["PID", "COMMAND", "1", "sleep", "1000"]);
    for line in ["podctl top up -o pid,args", "podctl top up '-o pid,args'"] {
        assert_eq!(words(line)[..5], ["PID", "COMMAND", "1", "sleep", "1000"], "{line}");
    }
    engine.sh("podctl top up bogus").code(125).complains("Error: 'bogus': unknown descriptor");
}
