//! Disks that fail, and whose power is cut: a file system on a loop device over a disk that forgets what nobody has
//! flushed, and fails when it is told to.

use harness::{
    Engine, Machine,
    engine::HOME,
    fuse::Fuse,
    image::{Image, Layer},
    images::ALPINE,
    programs::is_stand_in,
    until,
};

/// Where the disk is.
const DISK: &str = "/run/engine/disks";

/// Puts the engine's state on a new disk.
fn on_disk(engine: &Engine) -> Fuse<'_> {
    let disk = Fuse::mount(engine, DISK);
    let make =
        format!("mkfs.ext4 -q -F -J size=4 {DISK}/disk && mkdir -p ../state && mount -o loop {DISK}/disk ../state");
    engine.sh(&format!("truncate -s 32M {DISK}/disk && {make}")).code(0);
    engine.load(&[ALPINE]);
    disk
}

#[test]
fn with_a_disk_that_fails_what_runs_can_be_seen_and_stopped() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::new();
    let mut disk = on_disk(&engine);
    engine.sh("podctl run -d --pod new:p --log-driver none --name up alpine sleep 10000").ok();
    engine.sh("podctl run --pod p --name down alpine echo said").ok();
    engine.sh("podctl exec up true && podctl ps -a && podctl inspect up down && podctl logs down").code(0);
    disk.fail();
    for refused in ["podctl create alpine true", "podctl volume create v", "podctl pod create --name q"] {
        let run = engine.sh(refused);
        run.code(125);
        assert_eq!(run.stderr().lines().count(), 1, "{run}");
        assert!(
            ["Input/output error", "Read-only file system"].iter().any(|words| run.stderr().contains(words)),
            "{run}"
        );
    }
    engine.sh("podctl ps -a && podctl pod ps && podctl inspect up down p && podctl images").code(0);
    engine.sh("podctl logs down").prints("said");
    engine.sh("podctl exec up echo inside").prints("inside");
    engine.sh("podctl stop -t 0 up").code(0);
    assert!(engine.pids("sleep 10000").is_empty());
    assert!(engine.sh("podctl ps -a --format '{{.Status}}' --filter name=up").stdout().starts_with("Exited"));
    // The disk is well again, and its file system has been checked.
    disk.go();
    engine.sh("podctl pod stop -t 0 p").code(0);
    until("no user of the disk", || engine.pids("podshim").is_empty().then_some(()));
    engine.sh(&format!("umount ../state; fsck.ext4 -p {DISK}/disk; mount -o loop {DISK}/disk ../state")).code(0);
    engine.sh("podctl ps -a && podctl pod rm -f -t 0 p && podctl run --rm alpine true && podctl rmi -a").code(0);
    engine.sh("umount ../state").code(0);
}

#[test]
fn on_a_disk_that_fails_lines_that_a_log_has_lost_are_counted_and_all_of_it_can_be_removed() {
    if is_stand_in() {
        return;
    }
    // How it fails, and what is said of it: a disk that answers nothing, and a file system that an error makes read-only.
    for (option, words) in [("errors=continue", "Input/output error"), ("errors=remount-ro", "Read-only file system")] {
        let engine = Engine::new();
        let mut disk = on_disk(&engine);
        let mut failing = Fuse::mount(&engine, &format!("{HOME}/failing"));
        engine.sh(&format!("mount -o remount,{option} ../state")).ok();
        let ticks = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.02; done";
        let run = format!("podctl run -d --pod p --log-driver k8s-file alpine sh -c '{ticks}'");
        engine.sh(&run.replace("--pod p", "--pod new:p --name ticks")).ok();
        // What the disk's cache takes is lost without a word; here nothing is between the log and the disk.
        engine.sh(&run.replace("alpine", &format!("--name bare --log-opt path={HOME}/failing/log alpine"))).ok();
        engine.sh("podctl run --pod p --name down alpine echo said && podctl run -d --name alone alpine top").ok();
        for name in ["ticks", "bare"] {
            let line = format!("podctl logs --tail 1 {name}");
            until("a line", || engine.sh(&line).stdout().contains("line").then_some(()));
        }
        failing.fail();
        if option == "errors=continue" {
            disk.fail();
        } else {
            // What ext4 does after an error, without one.
            engine.sh("mount -o remount,abort ../state").code(0);
        }
        let refused = engine.sh("podctl create alpine true");
        refused.code(125);
        let lost = |name: &str| engine.field(name, ".LogDropped").parse::<u64>().ok().filter(|lost| *lost > 0);
        until("lost lines", || lost("bare"));
        if option != "errors=continue" {
            refused.mentions(words);
            until("lost lines", || lost("ticks"));
        }
        engine.sh("podctl logs bare").code(125).mentions(&format!("{HOME}/failing/log: Input/output error"));
        failing.go();
        // It says itself what is missing.
        let told = || engine.sh("podctl logs bare").stderr();
        until("what was lost", || told().lines().any(|line| line.starts_with("[podmon] dropped ")).then_some(()));
        assert!(told().contains("bytes: I/O error"), "{}", told());
        engine.sh("podctl logs down").prints("said");
        engine.sh("podctl logs --tail 1 ticks").code(0);
        // A program that is on the disk alone dies of it.
        let inside = engine.sh("podctl exec ticks echo inside");
        assert!(inside.stdout() == "inside\n" || inside.code > 128, "{inside}");
        engine.sh("podctl inspect ticks bare down alone p && podctl ps -a && podctl pod ps && podctl images").code(0);
        engine.sh("podctl stop -t 0 ticks bare").code(0);
        for name in ["ticks", "bare"] {
            // Where it cannot be written down it is not known later, and nothing else is said instead.
            let code = engine.sh(&format!("podctl wait {name}")).ok();
            assert!(["137", "-1"].contains(&code.as_str()), "{name} has ended with {code}");
        }
        // Whatever cannot be taken from the disk: nothing of it runs.
        let removed = engine.sh("podctl rm -f -t 0 alone");
        removed.code(125).mentions("Read-only file system");
        assert_eq!(removed.stderr().trim_end().lines().count(), 1, "{removed}");
        engine.sh("podctl pod rm -f -t 0 p").code(125).mentions("Read-only file system");
        until("their ends", || (engine.pids("sleep 0.02").is_empty() && engine.pids("top").is_empty()).then_some(()));
        engine.sh("podctl ps -a && podctl pod ps").code(0);
        disk.go();
        engine.kill_all(&["podshim", "podmon"]);
        engine.sh(&format!("umount ../state; fsck.ext4 -p {DISK}/disk; mount -o loop {DISK}/disk ../state")).code(0);
        engine.sh("podctl ps -a && podctl rm -f -t 0 alone && podctl pod rm -f -t 0 p").code(0);
        engine.sh("podctl run --rm alpine true && podctl rmi -a && umount ../state").code(0);
    }
}

#[test]
fn what_was_answered_is_there_after_a_power_cut_and_what_was_not_is_in_nobodys_way() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::on(Machine { failpoints: true, ..Machine::default() });
    let mut disk = on_disk(&engine);
    engine.sh("podctl run -d --name ran alpine sh -c 'exit 7' > /dev/null; podctl wait ran").prints("7");
    engine.sh("podctl create --name kept -v vol:/v alpine echo kept && podctl pod create --name pod").ok();
    engine.sh("podctl network create net && podctl volume create v && echo x | podctl secret create s -").ok();
    engine.sh("podctl create --name old alpine true && podctl rename old new && podctl tag alpine other/name").ok();
    engine.sh("podctl create --name gone alpine true && podctl rm gone").ok();
    disk.durable("disk", &format!("{HOME}/tmp/answered"));
    let image = Image::new().layer(Layer::new().file("x", 0o644, "content"));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/x:latest"]).expect("archive");
    // In the middle of making and removing; each act is killed at its point, and the power cut.
    let acts = [
        ("create.recorded", "podctl create --name victim -v fresh:/v alpine true"),
        ("create.held", "podctl create --name victim -v fresh:/v alpine true"),
        ("pod.create.recorded", "podctl pod create --name victim"),
        ("volume.create.recorded", "podctl volume create victim"),
        ("secret.create.recorded", "echo x | podctl secret create victim -"),
        ("image.recorded", "podctl load -q -i ../tmp/i.tar"),
        ("rm.record", "podctl rm -f new"),
        ("mon.end.written", "podctl run --name victim alpine true"),
    ];
    for (point, act) in acts {
        engine.arm(point, "kill");
        engine.sh(act);
        disk.durable("disk", &format!("{HOME}/tmp/{point}"));
        engine.disarm(point);
        engine
            .sh("podctl rm -f -t 0 victim; podctl pod rm -f victim; podctl volume rm victim; podctl secret rm victim");
    }
    drop(disk);
    let boot = "export PODCTL_BOOT_ID=another;";
    let cut = |name: &str| {
        engine.reboot();
        engine.sh(&format!("umount -l ../state; mount -o loop {HOME}/tmp/{name} ../state")).code(0);
    };
    cut("answered");
    for (line, says) in [
        ("podctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' ran", "exited 7"),
        ("podctl start -a kept", "kept"),
        ("podctl pod inspect -f '{{.Name}}' pod", "pod"),
        ("podctl network inspect -f '{{.Name}}' net && podctl volume inspect -f '{{.Name}}' v", "net\nv"),
        ("podctl run --rm --secret s alpine cat /run/secrets/s", "x"),
        // What was removed may be there once more.
        ("podctl container exists new && ! podctl container exists old && podctl rm -f gone > /dev/null", ""),
        ("podctl run --rm --pull never other/name echo here", "here"),
        ("podctl system check", "nothing to do"),
    ] {
        let run = engine.sh(&format!("{boot} {line}"));
        assert_eq!((run.code, run.stdout().trim_end()), (0, says), "{run}");
    }
    for (point, act) in acts {
        cut(point);
        engine.sh(&format!("{boot} podctl ps -a && podctl pod ps && podctl images && podctl volume ls")).code(0);
        engine.sh(&format!("{boot} podctl start -a kept")).prints("kept");
        // Whatever of it came to the disk can be removed and made again.
        let remove =
            "podctl rm -f -t 0 victim; podctl pod rm -f victim; podctl volume rm victim; podctl secret rm victim";
        engine.sh(&format!("{boot} {remove}; true"));
        engine.sh(&format!("{boot} {act}")).code(0);
        engine.sh(&format!("{boot} podctl system check --repair && podctl system check")).code(0);
    }
    engine.reboot();
    engine.sh("umount -l ../state; rm ../tmp/*").ok();
}
