//! Files in and out of containers: `cp`.

use harness::{Engine, images::ALPINE, wait};

#[test]
fn files_and_directories_go_in_and_out_by_podmans_table() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c -w /etc alpine top").ok();
    engine.sh("podctl exec c mkdir -p /opt /mnt").code(0);
    engine.sh("mkdir -p host/dir/sub && echo one > host/one && echo deep > host/dir/sub/deep").code(0);
    for (line, path, content) in [
        ("cp host/one c:/", "/one", "one"),
        ("cp host/one c:/renamed", "/renamed", "one"),
        ("cp host/one c:.", "/etc/one", "one"),
        ("cp host/one c:relative", "/etc/relative", "one"),
        ("cp host/dir c:/tmp", "/tmp/dir/sub/deep", "deep"),
        ("cp host/dir/. c:/opt", "/opt/sub/deep", "deep"),
        ("cp host/dir c:/newdir", "/newdir/sub/deep", "deep"),
        ("cp host/dir/. c:/newdot", "/newdot/sub/deep", "deep"),
        ("cp host/one c:/tmp/dir/sub/deep", "/tmp/dir/sub/deep", "one"),
    ] {
        engine.sh(&format!("podctl {line}")).prints_nothing().code(0);
        engine.sh(&format!("podctl exec c cat {path}")).prints(content);
    }
    for (line, path, content) in [
        ("cp c:/one out", "out", "one"),
        ("mkdir back && podctl cp c:one back", "back/one", "one"),
        ("cp c:/opt back", "back/opt/sub/deep", "deep"),
        ("cp c:/opt/. back", "back/sub/deep", "deep"),
        ("cp c:/opt/. fresh", "fresh/sub/deep", "deep"),
        ("cp c:/opt fresh2", "fresh2/sub/deep", "deep"),
    ] {
        let line = if line.starts_with("cp") { format!("podctl {line}") } else { line.to_owned() };
        engine.sh(&line).code(0);
        engine.sh(&format!("cat {path}")).prints(content);
    }
    engine.sh("podctl cp c:/etc/hosts - | tar -tf -").prints("hosts");
    engine.sh("podctl cp c:/opt - | tar -tf - | sort").prints("opt/\nopt/sub/\nopt/sub/deep");
    engine.sh("tar -C host -cf - dir | podctl cp - c:/mnt && podctl exec c cat /mnt/dir/sub/deep").prints("deep");
    engine.sh("tar -C host -czf - one | podctl cp - c:/mnt && podctl exec c cat /mnt/one").prints("one");
    // A file that is a mount keeps its place.
    engine.sh("cp host/one hosts && podctl cp hosts c:/etc/hosts && podctl exec c cat /etc/hosts").prints("one");
    // From one container to another.
    engine.sh("podctl run -d --name d alpine top").ok();
    engine
        .sh("podctl cp c:/opt d:/ && podctl cp c:/one d:/opt/two && podctl exec d cat /opt/sub/deep /opt/two")
        .prints("deep\none");
    engine.sh("podctl cp --overwrite host/one c:/opt && podctl exec c cat /opt/one").prints("one");
    engine.sh("mkdir host/x && podctl cp host/x c:/one").code(125);
    engine
        .sh("podctl exec c mkdir /tmp/one && podctl cp host/one c:/tmp/one && podctl exec c cat /tmp/one/one")
        .prints("one");
    engine
        .sh("podctl exec c mkdir -p /mnt/one2/one && podctl cp host/one c:/mnt/one2")
        .code(125)
        .mentions("file exists");
    engine.sh("podctl cp --overwrite host/one c:/mnt/one2 && podctl exec c cat /mnt/one2/one").prints("one");
}

#[test]
fn a_container_need_not_run() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("echo x > x").code(0);
    engine.sh("podctl create --name c -v vol:/data -v ro:/ro:ro alpine sh -c 'cat /x /data/x; echo y > /y; echo z > /data/z'").ok();
    engine.sh("podctl cp x c:/ && podctl cp x c:/data/").code(0);
    engine.sh("podctl cp x c:/ro/").code(125).mentions("read-only file system");
    engine.sh("podctl start -a c").prints("x\nx");
    engine.sh("podctl cp c:/y . && podctl cp c:/data/z . && cat y z").prints("y\nz");
    engine.sh("podctl volume inspect vol --format '{{.Mountpoint}}' | xargs ls | sort").prints("x\nz");
    engine.sh("podctl run -d --name p alpine top && podctl pause p").code(0);
    engine.sh("podctl cp x p:/x && podctl cp p:/x out && cat out").prints("x");
    engine.sh("podctl unpause p && podctl exec p cat /x").prints("p\nx");
    // Of a running one all that it sees: tmpfs, volumes, what the engine mounts.
    engine.sh("podctl run -d --name t --tmpfs /t -v vol:/v alpine top").ok();
    engine.sh("podctl cp x t:/t/ && podctl cp t:/v/z zz && podctl exec t cat /t/x && cat zz").prints("x\nz");
}

#[test]
fn owners_are_the_containers_user_or_kept() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c -u 1234:56 alpine top").ok();
    engine.sh("echo x > x && chown 7:8 x && chmod 640 x").code(0);
    let owner = |path: &str| engine.sh(&format!("podctl exec c stat -c '%u:%g %a' {path}")).ok();
    engine.sh("podctl cp x c:/tmp/a && podctl cp -a=false x c:/tmp/b").code(0);
    assert_eq!((owner("/tmp/a"), owner("/tmp/b")), ("1234:56 640".to_owned(), "7:8 640".to_owned()));
    engine.sh("podctl exec c sh -c 'cp /bin/busybox /tmp/s; chmod 4755 /tmp/s'; podctl cp c:/tmp/s s && stat -c '%u:%g %a' s")
        .prints("0:0 755");
}

#[test]
fn links_of_a_container_lead_nowhere_out() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir canary && echo alive > canary/file && echo new > new").code(0);
    let canary = format!("{}/home/canary", harness::engine::HOME);
    engine.sh(&format!("podctl run -d --name c alpine sh -c 'ln -s {canary} /out; ln -s {canary}/file /file; ln -s /proc/1/root /magic; top'"))
        .ok();
    wait::until("the links", || (engine.sh("podctl exec c ls -d /magic").code == 0).then_some(()));
    engine.sh("podctl cp new c:/out/file").code(125).mentions("could not be found on container c");
    engine.sh("podctl cp c:/out/file x").code(125).mentions("could not be found on container c");
    engine.sh("podctl cp c:/magic/etc/hostname x").code(0);
    engine.sh("podctl cp new c:/file").code(125);
    engine.sh("cat canary/file").prints("alive");
    // A tree with links in it, onto a directory where they lead out: the links are replaced, or in the way.
    engine
        .sh("podctl exec c sh -c 'mkdir -p /t/canary; echo dead > /t/canary/file'; mkdir to; ln -s ../canary to/canary")
        .code(0);
    engine.sh("podctl cp c:/t/. to").code(125).mentions("file exists");
    engine.sh("cat canary/file").prints("alive");
}

#[test]
fn a_container_that_swaps_directories_for_links_reaches_nothing() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir canary && echo alive > canary/f && mkdir in && echo in > in/f").code(0);
    let swap = format!(
        "mkdir /a; echo in > /a/f; while :; do mv /a /b; ln -s {}/home/canary /a; rm /a; mv /b /a; sleep 0.002; done",
        harness::engine::HOME
    );
    engine.podctl(&["run", "-d", "--name", "c", "alpine", "sh", "-c", &swap]).ok();
    engine.sh("for i in $(seq 15); do podctl cp in/. c:/a; podctl cp c:/a/. got$i; done 2> /dev/null; true").code(0);
    engine.sh("cat canary/f; cat got*/f | sort -u").prints("alive\nin");
    engine.sh("podctl rm -f -t 0 c").code(0);
}

#[test]
fn a_copy_that_is_cut_off_leaves_nobody_waiting() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create --name c alpine true").ok();
    engine.sh("podctl cp c:/bin - | head -c 10 | wc -c").prints("10");
    // Killed while more of the archive may come: the container at rest is free again.
    let killed = "timeout -s KILL 2 podctl cp - c:/tmp < f & exec 3> f; tar -cf - z | head -c 2000 >&3; wait";
    engine.sh(&format!("head -c 100000 /dev/zero > z; mkfifo f; {killed}; podctl start -a c")).code(0);
}
