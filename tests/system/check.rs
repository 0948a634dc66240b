//! `system check`: each kind of damage is made by hand, told, repaired, and then there is nothing to do.

use harness::{Engine, images::ALPINE, programs::is_stand_in, until};

/// What a healthy engine with something running says.
const NOTHING: &str = "nothing to do";

/// A pod that is up with a port, a network and a volume, and an image.
fn engine() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create n && podctl pod create --name web --network n -p 8080:80 -v data:/data").ok();
    engine.sh("podctl run -d --pod web --name up alpine nc -ll -p 80 -e echo page").ok();
    engine.sh("podctl create --name idle alpine true").ok();
    engine
}

/// Everything that was there can be used, and nobody has anything to do.
fn healthy(engine: &Engine) {
    engine.sh("podctl system check").prints(NOTHING).code(0);
    until("the page", || (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "page\n").then_some(()));
    engine.sh("podctl exec up true").code(0);
    engine.sh("podctl run --rm alpine true").code(0);
    engine.sh("podctl start -a idle").code(0);
}

/// Breaks something, hears of it, has it repaired. `told` is part of the line that says what and where.
#[track_caller]
fn mended(engine: &Engine, breaking: &str, told: &str) {
    // Of a pod whose shim has just been asked something nothing is broken: it has the pod in hand.
    until("no shim but the running pod's", || (engine.pids("podshim pod").len() <= 1).then_some(()));
    engine.sh(breaking).code(0);
    let check = engine.sh("podctl system check");
    let lines = check.code(125).stdout();
    let line = lines.lines().find(|line| line.contains(told)).unwrap_or_else(|| panic!("{told:?} is not in\n{lines}"));
    assert!(line.contains(": "), "no way out in {line:?}");
    let force = if line.contains("--force") { "--force" } else { "" };
    let repair = engine.sh(&format!("podctl system check --repair {force}"));
    assert!(repair.stdout().contains("repaired"), "{}", repair.stdout());
    repair.code(0);
    engine.sh("podctl system check").prints(NOTHING).code(0);
}

#[test]
fn a_host_in_use_has_nothing_to_do() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    healthy(&engine);
    assert_eq!(engine.sh("podctl system check --json --quick").ok(), "[]");
    // Others come and go meanwhile: what they are in the middle of is not broken.
    let busy =
        engine.start("for i in 1 2 3 4 5 6 7 8; do podctl run --rm --network n alpine true; podctl rmi -f x; done");
    for _ in 0..4 {
        engine.sh("podctl system check --quick").prints(NOTHING).code(0);
    }
    busy.finish();
    engine.sh("podctl pod rm -f -t 0 web && podctl system check").code(0);
}

#[test]
fn names_that_a_person_has_broken_are_freed_and_claimed_again() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let id = "f".repeat(64);
    mended(&engine, &format!("ln -s ../pods/{id} ../state/names/ghost"), "name ghost stands for nothing");
    mended(&engine, "echo > ../state/names/file", "name file is no name");
    mended(&engine, "rm ../state/names/idle", "name idle of container");
    mended(&engine, "rm ../state/names/web ../state/names/up", "name web of pod");
    mended(&engine, "rm -r ../state/names", "of container");
    engine.sh("podctl run --rm --name ghost alpine true").code(0);
    healthy(&engine);
}

#[test]
fn records_and_directories_that_are_broken_are_told_and_removed() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let id = "e".repeat(64);
    mended(&engine, &format!("mkdir -p ../state/pods/{id}/containers"), "a pod's directory without a record");
    mended(&engine, &format!("mkdir ../state/pods/.rm-{id}"), "are what a removal has left");
    mended(&engine, &format!("mkdir ../runroot/pods/{id}"), "is the run directory of a pod that is gone");
    mended(&engine, &format!("mkdir ../runroot/pods/.rm-{id}"), "are what a pod has left that is down");
    mended(&engine, &format!("mkdir -p ../runroot/runtime/{id}"), "remembers of a container that is gone");
    for (record, content, told) in [
        ("container.json", "", "has a record that cannot be read"),
        ("container.json", "{\"schema\":1,\"id\":", "has a record that cannot be read"),
    ] {
        let id = engine.sh("podctl create --name broken alpine true").ok();
        let breaking = format!("printf '%s' '{content}' > ../state/pods/*/containers/{id}/{record}");
        mended(&engine, &breaking, told);
        assert_eq!(engine.sh("podctl ps -aq --no-trunc").stdout().matches(&id).count(), 0);
    }
    engine.sh("podctl pod create --name lost && podctl create --pod lost --name broken alpine true").ok();
    let lost = engine.field("lost", ".Id");
    mended(&engine, &format!("echo x > ../state/pods/{lost}/pod.json"), "has a record that cannot be read");
    // A member whose removal was cut off goes with all that it has left elsewhere.
    let create = "podctl create --pod lost --name broken --cidfile $TMPDIR/cid -v /anonymous alpine true";
    engine.sh("podctl pod create --name lost && podctl create --pod lost alpine true").ok();
    let member = engine.sh(create).ok();
    let lost = engine.field("lost", ".Id");
    engine.sh(&format!("cd ../state/pods/{lost}/containers && mv {member} .rm-{member}")).ok();
    mended(&engine, &format!("rm ../state/pods/{lost}/pod.json"), "has lost its record");
    engine.sh("podctl volume ls -q | grep -v ^data; ls -A $TMPDIR").code(0).prints_nothing();
    let ran = engine.sh("podctl run -d --name ran alpine true").ok();
    engine.sh("podctl wait ran").code(0);
    until("its end", || engine.pids(&format!("podmon {ran}")).is_empty().then_some(()));
    mended(&engine, &format!("> ../state/pods/*/containers/{ran}/exit.json"), "has an exit code that cannot be read");
    engine.sh("podctl rm ran && podctl run --rm --name broken alpine true").code(0);
    mended(&engine, "for pod in ../state/pods/*; do echo > $pod/.pod.json.7.tmp; done", "when its writer was killed");
    // One of a later version is told of and kept.
    engine.sh("echo one | podctl secret create key - && echo two | podctl secret create other -").ok();
    let key = engine.sh("podctl secret inspect --format '{{.ID}}' key").ok();
    mended(&engine, &format!("echo x > ../state/secrets/{key}/secret.json"), "has a record that cannot be read");
    mended(&engine, "rm ../state/secrets/*/data", "secret other has lost what it held");
    assert_eq!(engine.sh("podctl secret ls -q").ok(), "");
    let later = engine.sh("podctl create --name later alpine true").ok();
    engine.sh(&format!("sed -i s/.schema.:1/\\\"schema\\\":9/ ../state/pods/*/containers/{later}/container.json")).ok();
    let check = engine.sh("podctl system check --repair --force").code(125).stdout();
    assert!(check.contains("container later was written by a newer podctl"), "{check}");
    engine.sh("podctl rm -f later").code(0);
    healthy(&engine);
}

#[test]
fn what_networks_keep_of_pods_that_are_gone_is_removed() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    let id = "d".repeat(64);
    mended(&engine, &format!("ln -s {id} ../runroot/networks/n/leases/10.89.0.77"), "lease 10.89.0.77 of n is held");
    mended(&engine, &format!("ln -s vethgone ../runroot/networks/n/pods/{id}"), "its rules and devices are left");
    mended(&engine, "mkdir -p ../runroot/networks/gone/leases", "is the run directory of a network that is gone");
    mended(&engine, "echo x > ../state/networks/bad.json", "network bad has a record that cannot be read");
    let element = format!("tcp . 9999 comment \\\"{id}\\\" : 10.89.0.9 . 80");
    let add = format!(
        "table=$(nft list tables | grep -o 'podctl_[0-9a-f]*' | head -1); \
         nft \"add element ip $table ports {{ {element} }}\""
    );
    mended(&engine, &add, "its rules and devices are left");
    healthy(&engine);
    engine.sh("podctl pod rm -f -t 0 web").code(0);
    until("no bridge", || (!engine.sh("ip -brief link").stdout().contains("podctl")).then_some(()));
    let bridge = "ip link add podctl0 type bridge && ip link set podctl0 address $(printf '%s' 02:00:0a:58:00:01)";
    engine.sh(bridge).code(0);
    // A bridge of another address is somebody else's.
    engine.sh("podctl system check && ip link del podctl0").code(0);
    let lost = "ip link add podctl9 type bridge && ip link set podctl9 address 0a:58:0a:59:09:01";
    mended(&engine, lost, "is the bridge of a network that is gone");
}

#[test]
fn what_pulls_have_left_and_images_that_lack_something_are_removed() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let images = "../state/images";
    mended(&engine, &format!("mkdir {images}/tmp/dead && echo x > {images}/tmp/dead/blob"), "that was killed has left");
    mended(&engine, &format!("echo > {images}/locks/{}", "a".repeat(64)), "is the lock of a pull that was killed");
    mended(&engine, &format!("mkdir -p {images}/layers/{}/diff", "a".repeat(64)), "is half unpacked");
    let old = format!("{images}/blobs/sha256/{}", "b".repeat(64));
    engine.sh(&format!("echo > {old} && podctl system check")).code(0);
    mended(&engine, &format!("touch -d '2 days ago' {old}"), "is of no image");
    let reload = || engine.load(&[ALPINE]);
    for (breaking, told) in [
        (format!("rm -r {images}/layers/*/diff"), "lacks the layer"),
        (format!("rm -r {images}/layers/*"), "lacks the layer"),
        (format!("rm {images}/blobs/sha256/*"), "lacks the blob"),
        (format!("for blob in {images}/blobs/sha256/*; do echo >> $blob; done"), "is damaged: the bytes of blob"),
        (format!("for record in {images}/records/*; do echo x > $record; done"), "has a record that cannot be read"),
        (format!("echo x > {images}/names.json"), "images have lost their names"),
        (format!("rm {images}/records/*"), "names an image that is not there"),
    ] {
        mended(&engine, &breaking, told);
        reload();
        engine.sh("podctl run --rm alpine true").code(0);
        engine.sh("podctl system check").prints(NOTHING).code(0);
    }
    // An image that a container has is only removed by force, and its container runs when it is here again.
    engine.sh("podctl create --name user alpine echo back").ok();
    engine.sh(&format!("rm -r {images}/layers/*/diff")).code(0);
    let told = engine.sh("podctl system check --repair").code(125).stdout();
    assert!(told.contains("lacks the layer") && told.contains("--force"), "{told}");
    engine.sh("podctl system check --repair --force").code(0);
    reload();
    engine.sh("podctl start -a user").prints("back");
}

#[test]
fn volumes_mounts_and_control_groups_of_nobody_are_cleared() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    mended(&engine, "mkdir ../state/volumes/.gone-1 ../state/volumes/.new-1", "making or removing a volume has left");
    engine.sh("echo kept > ../state/volumes/data/_data/file").code(0);
    mended(&engine, "rm ../state/volumes/data/volume.json", "volume data has lost its record");
    mended(&engine, "echo x > ../state/volumes/data/volume.json", "volume data has a record that cannot be read");
    mended(&engine, "mkdir ../state/volumes/empty", "volume empty is a volume's directory without data");
    engine.sh("podctl exec up cat /data/file").prints("kept");
    let id = "c".repeat(64);
    engine.sh("mkdir ../tmp/theirs && echo precious > ../tmp/theirs/file").code(0);
    let leak = format!("mkdir -p ../runroot/pods/{id}/x && mount --bind ../tmp/theirs ../runroot/pods/{id}/x");
    mended(&engine, &leak, "is a mount that the host sees");
    engine.sh("cat ../tmp/theirs/file && rm -r ../tmp/theirs").prints("precious");
    // Its record and run directory are gone, and its processes live: only force ends them.
    let up = engine.sh("podctl run -d --name orphan alpine sleep 1000").ok();
    let pod = engine.sh("basename $(dirname $(dirname $(readlink ../state/names/orphan)))").ok();
    engine.kill_all(&[&format!("podshim pod {pod}"), &format!("podmon {up}")]);
    engine.sh(&format!("rm -rf ../state/pods/{pod} ../runroot/pods/{pod}")).code(0);
    let told = engine.sh("podctl system check").code(125).stdout();
    assert!(told.contains("cgroup"), "{told}");
    engine.sh("podctl system check --repair --force").code(0);
    engine.sh("podctl system check").prints(NOTHING).code(0);
    assert!(engine.pids("sleep 1000").is_empty());
    healthy(&engine);
}

#[test]
fn pods_whose_shims_were_killed_are_taken_over_or_cleared() {
    if is_stand_in() {
        return;
    }
    let engine = engine();
    engine.kill_all(&["podshim pod", "podmon"]);
    let told = engine.sh("podctl system check").code(125).stdout();
    assert!(told.contains("pod web runs without its shim"), "{told}");
    engine.sh("podctl system check --repair").code(0);
    healthy(&engine);
    engine.kill_all(&["podshim pod", "podmon", "nc -ll"]);
    let told = engine.sh("podctl system check").code(125).stdout();
    assert!(told.contains("pod web was up when its shim was killed"), "{told}");
    engine.sh("podctl system check --repair").code(0);
    engine.sh("podctl system check").prints(NOTHING).code(0);
    engine.sh("podctl pod start web").code(0);
    healthy(&engine);
}
