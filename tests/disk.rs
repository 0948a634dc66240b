//! Records that cannot be read, and disks that are full, out of inodes or read-only: what is there stays within reach.

use std::{fs, path::Path};

use harness::{Engine, engine::HOME, images::ALPINE, programs::is_stand_in, until};

/// What happens to a file.
type Damage = fn(&Path);

/// Two pods, each with a running and a stopped member, a volume and a network.
fn furnished() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    for pod in ["good", "bad"] {
        engine
            .sh(&format!(
                "podctl network create {pod}-net && podctl pod create --name {pod} --network {pod}-net -v {pod}-vol:/v \
             && podctl run -d --pod {pod} --name {pod}-up alpine sh -c 'echo {pod} up; exec sleep 10000' \
             && podctl run --pod {pod} --name {pod}-down alpine echo {pod} down"
            ))
            .code(0);
    }
    engine
}

/// What must work whatever has become of the other pod.
fn the_good_one_works(engine: &Engine, after: &str) {
    for (line, says) in [
        ("podctl ps -a --format '{{.Names}}' | grep -c ^good-", "2"),
        ("podctl pod ps --format '{{.Name}} {{.Status}}' | grep ^good", "good Degraded"),
        ("podctl inspect -f '{{.Name}}' good-up good-down", "good-up\ngood-down"),
        ("podctl logs --tail 1 good-up", "good up"),
        ("podctl exec good-up echo inside", "inside"),
        ("podctl stop -t 0 good-up", "good-up"),
        ("podctl start good-up", "good-up"),
        ("podctl volume inspect -f '{{.Name}}' good-vol", "good-vol"),
        ("podctl network inspect -f '{{.Name}}' good-net", "good-net"),
        ("podctl run --rm --pod good alpine echo new", "new"),
    ] {
        let run = engine.sh(line);
        assert_eq!((run.code, run.stdout().trim_end()), (0, says), "{after}\n{run}");
    }
}

/// The first path below `directory` whose end is `name` and which has `part` in it.
fn find(directory: &Path, part: &str, name: &str) -> Option<std::path::PathBuf> {
    fs::read_dir(directory).ok()?.flatten().map(|entry| entry.path()).find_map(|path| {
        let is_it = path.ends_with(name) && path.to_string_lossy().contains(part);
        if is_it { Some(path) } else { path.is_dir().then(|| find(&path, part, name)).flatten() }
    })
}

#[test]
fn a_record_that_cannot_be_read_hides_no_other_and_goes_with_what_it_was_of() {
    if is_stand_in() {
        return; // One database for all.
    }
    let engine = furnished();
    let damages: [(&str, Damage); 3] = [
        ("is empty", |file| fs::write(file, "").expect("write")),
        ("is cut off", |file| {
            let text = fs::read(file).expect("read");
            fs::write(file, &text[..text.len() / 2]).expect("write");
        }),
        ("is of another kind", |file| fs::write(file, "[1, 2, 3]").expect("write")),
    ];
    for root in ["state", "runroot"] {
        for name in ["pod.json", "container.json", "state.json"] {
            for (how, damage) in damages {
                let pod = engine.field("bad-up", ".Pod");
                let Some(file) = find(&engine.path(root), &pod, name) else { continue };
                let after = format!("after {root}/…/{name} {how}");
                damage(&file);
                the_good_one_works(&engine, &after);
                // Nobody has it in memory any more.
                for pid in engine.pids(&format!("podshim pod {pod}")) {
                    let _gone_already =
                        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
                }
                the_good_one_works(&engine, &format!("{after}, and its shim has died"));
                let removed = engine.sh(&format!("podctl pod rm -f -t 0 {pod}"));
                assert_eq!(removed.code, 0, "{after}\n{removed}");
                let left = engine.sh("podctl ps -aq --no-trunc --filter name=bad; podctl pod ps -q --filter name=bad");
                assert_eq!(left.stdout(), "", "{after}\n{left}");
                // Its names are free.
                engine
                    .sh("podctl pod create --name bad --network bad-net -v bad-vol:/v \
                         && podctl run -d --pod bad --name bad-up alpine sleep 10000 \
                         && podctl run --pod bad --name bad-down alpine true")
                    .code(0);
            }
        }
    }
}

#[test]
fn a_volume_or_network_whose_record_cannot_be_read_hides_no_other() {
    if is_stand_in() {
        return;
    }
    let engine = furnished();
    engine.sh("podctl pod rm -f -t 0 bad").code(0);
    for (file, remove, make) in [
        (
            find(&engine.path("state"), "volumes/bad-vol", "volume.json"),
            "podctl volume rm bad-vol",
            "podctl volume create bad-vol",
        ),
        (
            find(&engine.path("state"), "networks", "bad-net.json"),
            "podctl network rm bad-net",
            "podctl network create bad-net",
        ),
    ] {
        let file = file.expect("a record");
        for text in ["", "{\"schema\":", "[]"] {
            fs::write(&file, text).expect("write");
            let after = format!("after {} is {text:?}", file.display());
            the_good_one_works(&engine, &after);
            engine.sh("podctl volume ls && podctl network ls").code(0);
            let removed = engine.sh(remove);
            assert_eq!(removed.code, 0, "{after}\n{removed}");
            engine.sh(make).code(0);
        }
    }
}

#[test]
fn a_secret_image_or_layer_whose_record_cannot_be_read_hides_no_other_and_a_later_version_can_be_removed() {
    if is_stand_in() {
        return;
    }
    let engine = furnished();
    let secret = "echo bad | podctl secret create bad -";
    engine.sh(&format!("echo good | podctl secret create good - && {secret}")).code(0);
    let look = "podctl ps -a && podctl pod ps && podctl images && podctl secret ls && podctl logs good-down && \
                podctl inspect good-up && podctl stop -t 0 good-up && podctl exec bad-up true";
    for text in ["", "{\"schema\":", "[]"] {
        let id = engine.podctl(&["secret", "inspect", "-f", "{{.ID}}", "bad"]).ok();
        let record = find(&engine.path("state/secrets"), &id, "secret.json").expect("a record");
        fs::write(&record, text).expect("write");
        engine.sh(look).code(0);
        engine.sh("podctl run --rm --secret good alpine cat /run/secrets/good").prints("good");
        // Its name is free; its directory is left to whoever has broken it.
        engine.sh(&format!("rm -r {HOME}/state/secrets/{id} && {secret} && podctl start good-up")).code(0);
    }
    // Images that have lost their names are seen, and found by their ids; what needs a name says the way out.
    let id = engine.sh("podctl images -q").ok();
    engine.sh("echo x > ../state/images/names.json").code(0);
    engine.sh(look).code(0);
    engine.sh(&format!("podctl run --rm {id} true && podctl start good-down")).code(0);
    engine.sh("podctl run --rm alpine true").code(125).mentions("podctl system check --repair --force");
    engine.sh("podctl system check --repair --force").code(0);
    engine.load(&[ALPINE]);
    // Of an image and its layer: containers of it are seen, stopped and removed; then it comes again.
    engine.sh("podctl create --name user alpine true").ok();
    engine.sh("find ../state/images/records ../state/images/layers -name '*.json' -exec cp /dev/null {} \\;").code(0);
    engine.sh(look).code(0);
    engine.sh("podctl logs good-down && podctl rm -f user && podctl system check --repair --force").code(0);
    engine.load(&[ALPINE]);
    engine.sh("podctl start good-up && podctl run --rm alpine true && podctl secret rm -a").code(0);
    // As a later podctl might have written them.
    for name in ["container.json", "pod.json"] {
        let pod = engine.field("bad-up", ".Pod");
        let file = find(&engine.path("state"), &pod, name).expect("a record");
        let text = fs::read_to_string(&file).expect("read");
        let later = text.replacen("\"schema\":1", "\"schema\":99,\"unheard\":{\"of\":[1]}", 1);
        assert_ne!(later, text, "{name} has a schema");
        fs::write(&file, later).expect("write");
        the_good_one_works(&engine, &format!("after {name} is of a later version"));
        engine.sh("podctl ps -a && podctl pod ps").code(0);
        engine.sh(&format!("podctl pod rm -f -t 0 {pod}")).code(0);
        engine
            .sh("podctl pod create --name bad --network bad-net -v bad-vol:/v \
                 && podctl run -d --pod bad --name bad-up alpine sleep 10000")
            .code(0);
    }
}

/// Gives the engine a state directory on a tmpfs of its own, then `furnished` it is.
fn on_tmpfs(options: &str, log_driver: &str) -> Engine {
    let engine = Engine::new();
    engine.sh(&format!("mkdir -p ../state && mount -t tmpfs -o {options} test ../state")).ok();
    engine.load(&[ALPINE]);
    engine.sh(&format!("podctl run -d --log-driver {log_driver} --pod new:p --name up alpine sleep 10000")).ok();
    engine.sh("podctl run --pod p --name down alpine echo said").ok();
    // Directories of the engine's own are there now.
    engine.sh("podctl volume create kept").ok();
    engine
}

/// Everything that needs no room.
fn reads_and_ends(engine: &Engine) {
    engine.sh("podctl ps -a && podctl pod ps && podctl inspect up down p && podctl images").code(0);
    engine.sh("podctl logs down").prints("said");
    engine.sh("podctl exec up echo inside").prints("inside");
}

#[test]
fn with_a_full_disk_nothing_new_is_made_and_all_else_works() {
    if is_stand_in() {
        return;
    }
    for (options, fill, words) in [
        ("size=64m", "dd if=/dev/zero of=../state/fill bs=4k", "No space left on device"),
        ("nr_inodes=2k", "mkdir ../state/fill; i=0; while : > ../state/fill/$((i++)); do :; done", "No space left"),
    ] {
        let engine = on_tmpfs(options, "k8s-file");
        engine.sh(&format!("{fill} 2> /dev/null; true")).code(0);
        reads_and_ends(&engine);
        let before = engine.sh("find ../state -not -path '*/fill*' | sort").stdout();
        for line in [
            "podctl run --rm alpine true",
            "podctl create --name new alpine true",
            "podctl pod create --name new",
            "podctl run -d --pod p --name new alpine top",
            "podctl volume create new",
        ] {
            let run = engine.sh(line);
            run.code(125).mentions(words);
            assert_eq!(run.stderr().lines().count(), 1, "{run}");
            // The shim that was asked goes a moment later, with the note that it was at work.
            until("nothing of it", || {
                let left = engine.sh("find ../state -not -path '*/fill*' | sort").stdout();
                left.lines().all(|path| before.lines().any(|line| line == path)).then_some(())
            });
        }
        engine.sh("podctl stop -t 0 up").code(0);
        // It was killed, and that is known when those who saw it have gone.
        engine.sh("podctl wait up").prints("137");
        engine.kill_all(&["podshim pod", "podmon "]);
        assert_eq!(engine.field("up", ".State.ExitCode"), "137", "{options}");
        engine.sh("podctl wait up").prints("137");
        engine.sh("podctl inspect -f '{{.State.Status}} {{.State.ExitCode}}' up down").prints("exited 137\nexited 0");
        engine.sh("podctl rm -f up down && podctl pod rm -f p").code(0);
        engine.sh("rm -r ../state/fill && podctl run --rm --name new alpine echo again").prints("again");
        engine.remove_all();
        engine.sh("podctl rmi -a && umount ../state").ok();
    }
}

#[test]
fn on_a_disk_that_has_become_read_only_what_runs_can_be_seen_and_stopped() {
    if is_stand_in() {
        return;
    }
    let engine = on_tmpfs("size=64m", "none");
    // In both views of it. Nobody has a file open there, or it could only become so by an error.
    let now = |how: &str| {
        let mount = format!("mount -o remount,bind,{how} {HOME}/state");
        engine.sh(&format!("{mount} && nsenter -m -t $(pgrep -x podshim) {mount}")).ok();
    };
    now("ro");
    reads_and_ends(&engine);
    let refused = engine.sh("podctl run --rm alpine true");
    refused.code(125).mentions("Read-only file system");
    engine.sh("podctl stop -t 0 up").code(0);
    assert!(engine.sh("podctl ps -a --format '{{.Status}}' --filter name=up").stdout().starts_with("Exited"));
    now("rw");
    engine.sh("podctl start up && podctl pod rm -f -t 0 p && podctl rmi -a && umount ../state").code(0);
}
