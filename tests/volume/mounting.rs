//! Volumes that mount something: for as long as somebody uses them, one file system for all.

use harness::{Engine, images::ALPINE, wait};

#[test]
fn a_tmpfs_is_one_for_all_its_users_and_new_for_the_next() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,nodev,uid=7,mode=0750 t").prints("t");
    engine
        .sh("podctl volume inspect -f '{{.Options.o}} {{.UID}} {{.MountCount}}' t")
        .prints("size=1m,nodev,uid=7,mode=0750 7 0");
    engine.sh("podctl run -d --name a -v t:/t alpine top && podctl exec a sh -c 'echo shared > /t/file'").code(0);
    engine.sh("podctl exec a sh -c 'head -c 2m /dev/zero > /t/x'").code(1);
    engine.sh("podctl exec a stat -c %u:%a /t").prints("7:750");
    engine.sh("podctl exec a df -k /t | tail -n 1 | awk '{print $1, $2}'").prints("tmpfs 1024");
    // In the same pod and in another one it is the same.
    engine
        .sh("podctl exec a rm -f /t/x; podctl pod create --name p -v t:/t && podctl run -d --name b --pod p alpine top")
        .ok();
    engine
        .sh("podctl exec b cat /t/file && podctl run --rm --pod p -v t:/again alpine cat /again/file")
        .prints("shared\nshared");
    engine.sh("podctl volume inspect -f '{{.MountCount}}' t").prints("2");
    engine.sh("podctl volume rm t").code(2).mentions("being used");
    // Nothing of it is seen by the host, and its directory stays empty.
    engine.sh("grep -c /volumes/ /proc/mounts; ls ../state/volumes/t/_data").prints("0");
    // Who was first may go.
    engine.sh("podctl rm -f -t 0 a && podctl exec b sh -c 'cat /t/file; echo more >> /t/file'").prints("a\nshared");
    engine.sh("podctl run --rm -v t:/t alpine cat /t/file").prints("shared\nmore");
    engine.sh("podctl restart -t 0 b && podctl exec b ls /t").prints("b");
    engine.sh("podctl pod rm -f -t 0 p > /dev/null && podctl volume rm t").prints("t");
}

#[test]
fn a_file_system_on_a_device_is_mounted_while_it_is_used() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("truncate -s 8m disk && mkfs.ext4 -q disk").ok();
    engine
        .sh("podctl volume create -o type=ext4 -o device=$PWD/disk -o o=loop,noatime d && podctl volume create plain")
        .ok();
    let loops = || engine.sh("losetup -n -O BACK-FILE | grep -c $PWD/disk").stdout().trim().to_owned();
    engine
        .sh("podctl run --rm -v d:/d alpine sh -c 'echo kept > /d/file; grep -c \" /d ext4 .*noatime\" /proc/mounts'")
        .prints("1");
    wait::until("the device is free", || (loops() == "0").then_some(()));
    engine.sh("podctl run -d --name c -v d:/d:ro alpine top").ok();
    assert_eq!(loops(), "1");
    engine.sh("podctl exec c cat /d/file; podctl exec c touch /d/x").code(1).prints("kept");
    // Whoever takes over finds what is mounted.
    engine.sh("kill -9 $(podctl inspect -f '{{.State.ConmonPid}}' c)").ok();
    engine.sh("podctl run --rm -v d:/d alpine cat /d/file && podctl stop -t 0 c").prints("kept\nc");
    wait::until("the device is free", || (loops() == "0").then_some(()));
    // At rest, too.
    engine.sh("podctl cp c:/d/file - | tar -xO").prints("kept");
    engine.sh("podctl rm c && podctl volume rm d plain").code(0);
    wait::until("the device is free", || (loops() == "0").then_some(()));
    engine.sh("rm disk").ok();
}

#[test]
fn a_directory_that_is_bound_is_filled_once_and_never_removed() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir data && podctl volume create -o type=bind -o device=$PWD/data b").prints("b");
    engine
        .sh("podctl run --rm -v b:/etc alpine ls /etc/os-release && test -e data/passwd && ls -A data | grep -c podctl")
        .prints("/etc/os-release\n0");
    engine.sh("rm -r data/* && podctl run --rm -v b:/etc alpine ls /etc/os-release").code(1);
    engine.sh("podctl volume rm b && podctl volume create -o nocopy n && podctl run --rm -v n:/etc alpine ls /etc/os-release").code(1).prints("b\nn");
    engine.sh("rm -r data/*; echo mine > data/mine").ok();
    engine.sh("podctl volume create -o type=none -o o=bind,ro -o device=$PWD/data b").prints("b");
    engine
        .sh("podctl run --rm -v b:/b alpine sh -c 'cat /b/mine; touch /b/x 2> /dev/null || echo ro'")
        .prints("mine\nro");
    engine.sh("podctl volume rm b n && cat data/mine && rm -r data").prints("b\nn\nmine");
}

#[test]
fn what_cannot_be_mounted_is_told_and_leaves_nothing() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl volume create -o type=nosuchfs -o device=$PWD v && truncate -s 1m empty").ok();
    engine.sh("podctl volume create -o type=ext4 -o device=$PWD/empty -o o=loop e").ok();
    engine.sh("podctl create --name up -v v:/v alpine top").ok();
    engine.sh("podctl start up").code(125).mentions("mounting volume v: ").mentions("is not a block device");
    engine.sh("podctl run --rm -v e:/e alpine true").code(125).mentions("mounting volume e: ");
    engine.sh("podctl rm up && podctl volume rm v e && rm empty").code(0);
}

#[test]
fn the_host_may_mount_a_volume_and_shares_it_with_containers() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl volume create -o type=tmpfs t && podctl volume create plain").ok();
    engine.sh("podctl volume mount plain | grep -c /volumes/plain/_data").prints("1");
    engine.sh("podctl run -d --name c -v t:/t alpine sh -c 'echo inside > /t/inside; exec top'").ok();
    wait::until("it has written", || (engine.sh("podctl exec c cat /t/inside").code == 0).then_some(()));
    engine.sh("at=$(podctl volume mount t) && cat $at/inside && echo outside > $at/outside").prints("inside");
    engine.sh("podctl rm -f -t 0 c && podctl run --rm -v t:/t alpine cat /t/outside").prints("c\noutside");
    engine.sh("podctl volume inspect -f '{{.MountCount}}' t").prints("1");
    engine.sh("podctl volume rm t").code(2).mentions("volume t is mounted, unmount it first");
    engine.sh("podctl volume mount t > /dev/null && podctl volume unmount t > /dev/null && ls $(podctl volume inspect -f '{{.Mountpoint}}' t)").prints("inside\noutside");
    engine.sh("podctl volume umount t plain | grep -c _data && podctl volume unmount t > /dev/null; grep -c /volumes/ /proc/mounts").prints("2\n0");
    engine.sh("podctl run --rm -v t:/t alpine ls /t && podctl volume rm t plain").prints("t\nplain");
}

#[test]
fn who_uses_what_is_removed_by_force_goes_first() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create n && podctl pod create --name p -v v:/v --network n && podctl run -d --pod p alpine top").ok();
    engine
        .sh("podctl run -d --name c -v w:/w alpine top && podctl run -d --name other -v x:/x --network n alpine top")
        .ok();
    engine.sh("podctl volume rm w v").code(2).mentions("being used");
    engine.sh("podctl volume rm -f -t 0 w v nosuch").prints("w\nv").code(0);
    engine.sh("podctl ps -a --format '{{.Names}}' && podctl pod ps -q").prints("other");
    engine.sh("podctl network rm n").code(2);
    engine.sh("podctl network rm -f -t 0 n && podctl ps -aq && podctl volume ls -q").prints("n\nx");
    engine.sh("podctl volume rm -a").prints("x");
}
