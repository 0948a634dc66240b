//! What others on the machine do to control groups, programs and mounts of a running engine: it ends what it has to end all
//! the same, and nothing is left.

use std::{fs, path::PathBuf, time::Duration};

use harness::{
    Engine, Machine,
    engine::HOME,
    images::ALPINE,
    oracle,
    programs::{self, is_stand_in},
    until,
};

use super::report;

/// What somebody does to the control groups of a container.
type Way = fn(&Engine, &str);

/// The control groups of the container `id`, in every hierarchy.
fn groups(engine: &Engine, id: &str) -> Vec<PathBuf> {
    oracle::cgroups(&engine.label).into_iter().filter(|group| group.to_string_lossy().ends_with(id)).collect()
}

/// Freezes all of a container, as an operator does with the freezer's file.
fn freeze(engine: &Engine, id: &str) {
    let frozen = groups(engine, id).into_iter().any(|group| {
        [("freezer.state", "FROZEN"), ("cgroup.freeze", "1")]
            .iter()
            .any(|(file, word)| group.join(file).exists() && fs::write(group.join(file), word).is_ok())
    });
    assert!(frozen, "no freezer among {:?}", groups(engine, id));
}

/// Moves all of a container to a group `elsewhere` beside the engine's, in every hierarchy.
fn move_away(engine: &Engine, id: &str) {
    for group in groups(engine, id) {
        let label = group.ancestors().find(|above| above.ends_with(&engine.label)).expect("a group of the engine");
        let elsewhere = label.join("elsewhere");
        fs::create_dir_all(&elsewhere).expect("a group");
        for file in ["cpuset.cpus", "cpuset.mems"] {
            // One without processors and memory takes no process.
            if let Ok(above) = fs::read(label.join(file)) {
                fs::write(elsewhere.join(file), above).expect("a set");
            }
        }
        for pid in fs::read_to_string(group.join("cgroup.procs")).expect("its processes").lines() {
            fs::write(elsewhere.join("cgroup.procs"), pid).expect("a move");
        }
    }
}

/// The same, and the group that is empty now goes.
fn take_away(engine: &Engine, id: &str) {
    move_away(engine, id);
    for group in groups(engine, id) {
        fs::remove_dir(&group).expect("an empty group");
    }
}

#[test]
fn a_container_whose_control_group_somebody_freezes_empties_or_removes_can_be_stopped_and_removed() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let ways: [(&str, Way); 3] = [("frozen", freeze), ("moved", move_away), ("removed", take_away)];
    let ends = ["podctl rm -f -t 0 up", "podctl stop -t 0 up", "podctl stop -t 1 up", "podctl pod rm -f -t 0 p"];
    for (how, act) in ways {
        for end in ends.iter().take(if report::all() { ends.len() } else { 2 }) {
            let id =
                engine.sh("podctl run -d --pod new:p --name up alpine sh -c 'sleep 10001 & exec sleep 10000'").ok();
            until("both", || (engine.pids("sleep 1000").len() >= 2).then_some(()));
            act(&engine, &id);
            engine.sh("podctl ps -a && podctl pod ps && podctl inspect up p && podctl logs up").code(0);
            let ended = engine.sh(end);
            ended.code(0);
            // Whoever waited for what is frozen would wait for ten seconds.
            assert!(ended.took < Duration::from_secs(8), "{how}: {ended}");
            until("the end of all of it", || engine.pids("sleep 1000").is_empty().then_some(()));
            if end.contains("stop") {
                engine.sh("podctl wait up").prints("137");
                engine.sh("podctl start up && podctl exec up true").code(0);
            }
            engine.sh("podctl rm -f -t 0 up; podctl pod rm -f -t 0 p").code(0);
            for hierarchy in oracle::hierarchies() {
                // It was made here.
                let _was_not_needed = fs::remove_dir(hierarchy.join(&engine.label).join("elsewhere"));
            }
            let left = groups(&engine, &id);
            assert!(left.is_empty(), "{how}, {end}: {left:?}");
        }
    }
}

/// An engine whose programs are its own, and what installs some of them.
fn with_own_programs() -> (Engine, impl Fn(&Engine, &str)) {
    let engine = Engine::with(&[ALPINE]);
    let (from, words) = (programs::beside("podctl"), engine.words());
    let from = from.parent().expect("a directory").display().to_string();
    let install = move |engine: &Engine, names: &str| {
        engine.sh(&format!("mkdir -p ../own && for p in {names}; do cp {from}/$p ../own/; done")).code(0);
    };
    install(&engine, "podctl podshim podmon");
    let own = format!("#!/bin/sh\nexec {HOME}/own/podctl {} \"$@\"\n", words[1..].join(" "));
    programs::script(&engine.path("bin/podctl"), &own);
    (engine, install)
}

const TICKS: &str = "until [ -e /end ]; do echo tick; sleep 0.05; done; exit 5";

#[test]
fn a_container_goes_on_without_a_monitor_while_its_program_is_gone_and_has_one_when_it_is_installed_again() {
    if is_stand_in() {
        return;
    }
    let (engine, install) = with_own_programs();
    engine.podctl(&["run", "-d", "--pod", "new:p", "--name", "up", "alpine", "sh", "-c", TICKS]).ok();
    let first = engine.field("up", ".State.Pid");
    engine.sh("rm ../own/podmon").code(0);
    engine.kill_all(&["podmon "]);
    engine.sh("podctl ps -a && podctl pod ps && podctl inspect up").code(0);
    engine.sh("podctl run --rm --pod p alpine true").code(125).mentions("podmon is not installed");
    assert!(!engine.pids("until [ -e /end").is_empty(), "it was ended because its monitor cannot be replaced");
    install(&engine, "podmon");
    until("a monitor", || engine.pids("podmon ").first().copied());
    let lines = || engine.sh("podctl logs up").lines().len();
    let said = lines();
    until("more lines", || (lines() > said).then_some(()));
    assert_eq!(engine.field("up", ".State.Pid"), first);
    engine.sh("podctl exec up touch /end");
    engine.sh("podctl wait up").prints("5");
    engine.sh("podctl pod rm -f -t 0 p && rm -r ../own").code(0);
}

#[test]
fn what_runs_while_all_programs_are_gone_is_seen_and_is_taken_over_when_they_are_installed_again() {
    if is_stand_in() {
        return;
    }
    let (engine, install) = with_own_programs();
    engine.podctl(&["run", "-d", "--pod", "new:p", "--name", "up", "alpine", "sh", "-c", TICKS]).ok();
    let first = engine.field("up", ".State.Pid");
    engine.sh("rm ../own/podshim ../own/podmon").code(0);
    engine.kill_all(&["podshim pod", "podmon "]);
    // podctl itself finds what is there, as far as it can without the others.
    let refused = engine.sh("podctl stop -t 0 up");
    refused.code(125).mentions("podshim");
    assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{refused}");
    assert!(!engine.pids("until [ -e /end").is_empty(), "nobody has ended it");
    install(&engine, "podshim podmon");
    assert_eq!(engine.sh("podctl ps -a --format '{{.Names}} {{.State}}' --filter name=up").ok(), "up running");
    engine.sh("podctl exec up true").code(0);
    assert_eq!(engine.field("up", ".State.Pid"), first);
    let lines = || engine.sh("podctl logs up").lines().len();
    let said = lines();
    until("more lines", || (lines() > said).then_some(()));
    engine.sh("podctl exec up touch /end");
    engine.sh("podctl wait up").prints("5");
    engine.sh("podctl pod rm -f -t 0 p && rm -r ../own").code(0);
}

#[test]
fn a_mount_that_another_mount_namespace_keeps_is_in_nobodys_way() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::on(Machine { shared_root: true, ..Machine::default() });
    engine.load(&[ALPINE]);
    engine.sh("podctl volume create vol && podctl run -d --pod new:p --name up -v vol:/v alpine top").ok();
    engine.sh("podctl run --pod p --name down alpine true").ok();
    // As a service with a private /tmp does: it has a copy of all that is mounted when it starts.
    for propagation in ["slave", "private"] {
        engine
            .sh(&format!("unshare -m --propagation {propagation} sleep 31536000 < /dev/null > /dev/null 2>&1 &"))
            .code(0);
    }
    until("two namespaces", || (engine.pids("sleep 31536000").len() == 2).then_some(()));
    engine.sh("podctl stop -t 0 up && podctl start up && podctl exec up touch /v/file").code(0);
    engine.sh("podctl cp up:/etc/hostname ../tmp/copied && rm ../tmp/copied").code(0);
    engine.sh("podctl rm -f -t 0 up down && podctl pod rm -f -t 0 p && podctl volume rm vol").code(0);
    engine.sh("podctl run --rm --name up alpine true && podctl rmi -a").code(0);
    engine.sh("podctl system check").prints("nothing to do");
    let left = engine
        .sh("find ../state/pods ../state/volumes ../state/images/layers ../runroot/pods -mindepth 1 -not -name '.*'");
    left.prints_nothing();
    engine.kill_all(&["sleep 31536000"]);
}

#[test]
fn long_roots_and_roots_on_file_systems_without_programs_and_devices_are_as_good_as_others() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::new();
    let words = engine.words();
    // A socket's path has 107 bytes: these roots alone have more.
    let long = format!("{HOME}/tmp/{}", ["long"; 32].join("/"));
    assert!((170..200).contains(&long.len()), "{}", long.len());
    for (root, options) in [(long.as_str(), "rw"), ("/run/engine/tmp/strict", "noexec,nodev,nosuid")] {
        let mount = format!("mkdir -p {root} && mount -t tmpfs -o {options} test {root}");
        engine.sh(&mount).code(0);
        let podctl = format!("{} --root {root}/state --runroot {root}/runroot", words[0]);
        let run = |line: &str| engine.sh(&line.replace("podctl", &podctl));
        run(&format!("podctl load -q -i {}", harness::images::archive(ALPINE).display())).ok();
        run("podctl volume create vol && podctl network create net && echo word | podctl secret create key -").ok();
        run("podctl pod create --name p --network net -p 8080:80 --share pid,net,ipc").ok();
        run("podctl run -d --pod p --name web -v vol:/v --secret key --health-cmd true alpine nc -ll -p 80 -e echo page")
            .ok();
        until("the page", || {
            (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(())
        });
        run("podctl exec web cat /run/secrets/key").prints("word");
        run("podctl exec web sh -c 'echo x > /dev/null && cp /bin/busybox /busybox && /busybox echo ran'")
            .prints("ran");
        run("podctl ps -a && podctl pod ps && podctl logs web && podctl cp web:/etc/hostname - | wc -c").code(0);
        run("podctl healthcheck run web && podctl stop -t 0 web && podctl start web").code(0);
        engine.kill_all(&["podshim pod", "podmon "]);
        run("podctl exec web true && podctl pod rm -f -t 0 p").code(0);
        run("podctl volume rm vol && podctl network rm net && podctl secret rm key && podctl rmi -a").code(0);
        run("podctl system check").prints("nothing to do");
        until("no shim", || engine.pids("podshim").is_empty().then_some(()));
        engine.sh(&format!("umount {root} && rm -r ../tmp/*")).code(0);
    }
}

#[test]
fn a_volume_whose_data_somebody_removes_or_replaces_by_a_file_is_told_and_can_be_removed() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    for (how, breaking) in [
        ("removed", "rm -r ../state/volumes/vol/_data"),
        ("a file", "rm -r ../state/volumes/vol/_data && echo x > ../state/volumes/vol/_data"),
        ("a link", "rm -r ../state/volumes/vol/_data && ln -s /etc ../state/volumes/vol/_data"),
    ] {
        engine.sh("podctl volume create vol && podctl run --rm -v vol:/v alpine touch /v/file").ok();
        engine.sh("podctl run -d --name user -v vol:/v alpine top").ok();
        engine.sh("podctl create --name idle -v vol:/v alpine true").ok();
        engine.sh(breaking).code(0);
        engine.sh("podctl ps -a && podctl volume ls && podctl inspect user && podctl exec user true").code(0);
        engine.sh("podctl volume inspect vol").code(0);
        for line in ["podctl run --rm -v vol:/v alpine ls /v", "podctl start idle", "podctl restart -t 0 user"] {
            let refused = engine.sh(line);
            refused.code(125).mentions("volumes/vol/_data");
            assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{how}: {refused}");
        }
        engine.sh("podctl run --rm alpine true").code(0);
        engine.sh("podctl system check").code(125).mentions("1 found");
        engine.sh("podctl stop -t 0 user && podctl rm -f -t 0 user idle").code(0);
        engine.sh("podctl volume rm vol").code(0);
        engine.sh("podctl volume create vol && podctl run --rm -v vol:/v alpine touch /v/file").ok();
        engine.sh("podctl volume rm vol && test -e /etc/passwd").code(0);
    }
}

#[test]
fn lists_whose_reader_goes_away_or_whose_output_is_full_or_closed_end_in_words_or_silently() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("for i in 1 2 3 4 5 6; do podctl create --name c$i alpine true; done").ok();
    // An inspection of all is more than a pipe takes.
    for list in ["ps -a", "pod ps", "images", "volume ls", "inspect c1 c2 c3 c4 c5 c6", "--help"] {
        let run = engine.sh(&format!("podctl {list} | true; exit ${{PIPESTATUS[0]}}"));
        // It may have written all of it before the reader left.
        assert!(matches!(run.code, 0 | 141) && run.err.is_empty(), "{run}");
        let run = engine.sh(&format!("podctl {list} > /dev/full"));
        run.code(125).complains("Error: write to stdout: no space left on device");
        engine.sh(&format!("podctl {list} >&-")).code(0);
    }
    engine.sh("podctl rm -a").code(0);
}

#[test]
fn what_somebody_puts_in_the_place_of_a_volumes_data_is_refused_and_never_shown() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    for put in ["echo x > DATA", "ln -s /etc DATA", "mkfifo DATA"] {
        engine.sh("podctl volume create vol && podctl run --rm -v vol:/v alpine touch /v/file").ok();
        let put = put.replace("DATA", "../state/volumes/vol/_data");
        engine.sh(&format!("rm -r ../state/volumes/vol/_data && {put}")).code(0);
        // The container would see the machine's own files, or one where its image has a directory.
        let refused = engine.sh("podctl run --rm -v vol:/v alpine ls /v");
        refused.code(125).mentions("vol");
        assert_eq!(refused.stderr().trim_end().lines().count(), 1, "{put}: {refused}");
        let told = engine.sh("podctl system check").code(125).stdout();
        assert!(told.contains("volume vol"), "{put}: {told}");
        engine.sh("podctl volume rm vol && test -e /etc/passwd").code(0);
    }
}
