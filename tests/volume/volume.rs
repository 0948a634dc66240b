//! Named volumes and directories of the machine.

use harness::{
    Engine,
    image::{Image, Layer},
    images::{self, ALPINE},
};
use serde_json::json;

#[test]
fn a_named_volume_is_made_kept_and_removed() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm -v data:/data alpine sh -c 'echo kept > /data/file'").code(0);
    engine.sh("podctl volume ls -q").prints("data");
    engine.sh("podctl volume ls").prints("DRIVER      VOLUME NAME\nlocal       data");
    engine.sh("podctl run --rm -v data:/elsewhere alpine cat /elsewhere/file").prints("kept");
    engine.sh("podctl run -d --name user -v data:/data alpine top").ok();
    engine.sh("podctl volume rm data").code(2).mentions("data").mentions("being used");
    engine.sh("podctl rm -f -t 0 user && podctl volume rm data").code(0);
    engine.sh("podctl volume rm data").code(1).mentions("data");
}

#[test]
fn an_empty_new_volume_is_filled_from_the_image_once() {
    let engine = Engine::new();
    let page = Layer::new().owned_by(1000, 50).directory("content").file("content/page", 0o640, "from the image\n");
    let image = Image::new()
        .layer(Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine"))
        .layer(page)
        .set("Volumes", json!({"/content": {}}));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/filled:latest"]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/i.tar && rm $TMPDIR/i.tar").ok();
    engine
        .sh("podctl run --rm -v vol:/content localhost/filled stat -c '%u %g %a' /content/page")
        .prints("1000 50 640");
    engine.sh("podctl run --rm -v vol:/content localhost/filled rm /content/page").code(0);
    engine.sh("podctl run --rm -v vol:/content localhost/filled ls /content").prints_nothing();
    // A volume the image asks for has no name and goes with its container.
    engine.sh("podctl run --name anonymous localhost/filled cat /content/page").prints("from the image");
    assert_eq!(engine.sh("podctl volume ls -q").lines().len(), 2);
    engine.sh("podctl rm -v anonymous").code(0);
    engine.sh("podctl volume ls -q").prints("vol");
    engine.sh("podctl run --rm localhost/filled true && podctl volume ls -q").prints("vol");
}

#[test]
fn binds_show_the_machines_files_and_obey_ro() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir dir && echo outside > dir/file").ok();
    engine.sh("podctl run --rm -v $PWD/dir:/d alpine cat /d/file").prints("outside");
    engine.sh("podctl run --rm -v $PWD/dir:/d:z alpine sh -c 'echo inside > /d/file'").code(0);
    engine.sh("podctl run --rm -v $PWD/dir:/d:Z alpine true").code(0);
    engine.sh("cat dir/file").prints("inside");
    engine.sh("podctl run --rm -v $PWD/dir:/d:ro alpine touch /d/x").code(1).mentions("Read-only file system");
    engine.sh("podctl run --rm -v $PWD/dir/file:/etc/motd:ro alpine cat /etc/motd").prints("inside");
    engine
        .sh("podctl run --rm --mount type=bind,source=$PWD/dir,target=/d,readonly alpine cat /d/file")
        .prints("inside");
    engine.sh("podctl run --rm -v $PWD/nosuch:/d alpine true").code(125).mentions("nosuch");
    engine.sh("podctl run --rm -v dir:relative alpine true").code(125).mentions("relative");
}

#[test]
fn a_bind_is_what_the_caller_sees_even_if_mounted_later() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name early alpine top").ok();
    let caller = "unshare -m sh -c 'mkdir -p private && mount -t tmpfs x private && echo only here > private/file && podctl run --rm --pod p -v $PWD/private:/d alpine cat /d/file'";
    engine.sh(caller).prints("only here").code(0);
    engine.sh("mkdir late && mount -t tmpfs x late && echo late > late/file").code(0);
    engine.sh("podctl run --rm --pod p -v $PWD/late:/d alpine cat /d/file").prints("late");
    engine.sh("umount late").code(0);
}

#[test]
fn mounts_are_told_by_inspect() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir dir").ok();
    engine.sh("podctl run -d --name c -v vol:/vol -v $PWD/dir:/dir:ro alpine top").ok();
    let mounts: serde_json::Value = serde_json::from_str(&engine.field("c", "json .Mounts")).expect("json");
    let of = |destination: &str| {
        let found = mounts.as_array().into_iter().flatten().find(|mount| mount["Destination"] == destination);
        found.unwrap_or_else(|| panic!("no {destination} in {mounts}")).clone()
    };
    assert_eq!(
        (&of("/vol")["Type"], &of("/vol")["Name"], &of("/vol")["RW"]),
        (&json!("volume"), &json!("vol"), &json!(true))
    );
    assert_eq!((&of("/dir")["Type"], &of("/dir")["RW"]), (&json!("bind"), &json!(false)));
}

#[test]
fn a_volume_may_belong_to_somebody_and_keeps_its_owner() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl volume create --uid 1000 --gid 50 mine").prints("mine");
    engine.sh("podctl volume create -o o=uid=7,gid=8 -l a=b theirs && podctl volume create --ignore theirs").code(0);
    engine.sh("podctl volume inspect --format '{{.UID}}:{{.GID}} {{.Labels.a}}' theirs").prints("7:8 b");
    // The image has something there, of root's.
    engine
        .sh("podctl run --rm -v mine:/etc/apk -v theirs:/empty alpine stat -c %u:%g /etc/apk /empty")
        .prints("1000:50\n7:8");
    engine.sh("podctl run --rm -u 1000:50 -v mine:/d alpine touch /d/x").code(0);
    engine.sh("podctl volume create mine").code(125).mentions("volume already exists");
}
