//! The root file system and what is put over it.

use harness::{Engine, images::ALPINE};

#[test]
fn the_root_is_writable_and_every_containers_own() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --name first alpine sh -c 'echo mine > /file; rm /etc/os-release'").ok();
    engine.sh("podctl run --rm alpine ls /file").code(1);
    engine.sh("podctl run --rm alpine cat /etc/os-release").code(0);
    engine.sh("podctl run --name again alpine sh -c 'date >> /times; wc -l < /times'").prints("1");
    engine.sh("podctl start -a again").prints("2");
}

#[test]
fn hosts_hostname_and_resolv_conf_are_those_of_the_pod() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name web --hostname front").ok();
    engine.sh("podctl run -d --pod web --name one alpine top").ok();
    engine.sh("podctl run -d --pod web --name two alpine top").ok();
    engine.sh("podctl exec one hostname").prints("front");
    assert_eq!(engine.sh("podctl exec one cat /etc/hostname").ok(), "front");
    let hosts = engine.sh("podctl exec one cat /etc/hosts").ok();
    let address_of = |name: &str| {
        let line = hosts.lines().find(|line| line.split_whitespace().skip(1).any(|found| found == name));
        line.unwrap_or_else(|| panic!("no {name} in\n{hosts}")).split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!(address_of("localhost"), "127.0.0.1");
    assert_eq!(address_of("front"), "10.88.0.2");
    for member in ["one", "two"] {
        assert!(["127.0.0.1", "10.88.0.2"].contains(&address_of(member).as_str()), "{hosts}");
    }
    engine.sh("podctl exec two cat /etc/hosts").prints(&hosts);
    assert!(engine.sh("podctl exec one cat /etc/resolv.conf").ok().contains("nameserver"));
    engine.sh("podctl run --rm --hostname other alpine hostname").prints("other");
    let own = engine.sh("podctl run --rm --name named alpine hostname").ok();
    assert_eq!(own.len(), 12, "the hostname is the beginning of the id");
}

#[test]
fn tmpfs_and_shm_have_the_sizes_asked_for() {
    let engine = Engine::with(&[ALPINE]);
    let size = "awk '$2 == \"/cache\" || $2 == \"/dev/shm\" { print $2, $3, $4 }' /proc/mounts";
    let mounts = engine
        .podctl(&["run", "--rm", "--tmpfs", "/cache:size=1m", "--shm-size", "2m", "alpine", "sh", "-c", size])
        .ok();
    let line = |path: &str| mounts.lines().find(|line| line.starts_with(path)).unwrap_or_default().to_owned();
    assert!(line("/cache tmpfs").contains("size=1024k"), "{mounts}");
    assert!(line("/dev/shm tmpfs").contains("size=2048k"), "{mounts}");
}

#[test]
fn members_share_shm_and_not_their_files() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p").ok();
    engine.sh("podctl run --pod p --name one alpine sh -c 'echo shared > /dev/shm/x; echo own > /x'").ok();
    engine.sh("podctl run --pod p --name two alpine cat /dev/shm/x").prints("shared");
    engine.sh("podctl run --pod p --name three alpine cat /x").code(1);
    engine.sh("podctl run --rm alpine ls /dev/shm").prints_nothing();
}

#[test]
fn a_read_only_root_is_read_only() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm --read-only alpine touch /x").code(1).mentions("Read-only file system");
    engine.sh("podctl run --rm --read-only alpine sh -c 'touch /tmp/x /run/x && echo fine'").prints("fine");
}

#[test]
fn devices_are_the_harmless_ones() {
    let engine = Engine::with(&[ALPINE]);
    let devices = engine.sh("podctl run --rm alpine find /dev -type c").ok();
    let mut devices: Vec<&str> = devices.lines().filter(|path| !path.starts_with("/dev/pts/")).collect();
    devices.sort_unstable();
    assert_eq!(devices, ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"]);
    engine.sh("podctl run --rm alpine sh -c 'echo x > /dev/null; head -c 2 /dev/zero | wc -c'").prints("2");
    engine.sh("podctl run --rm alpine sh -c 'mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda'").code(1);
}

#[test]
fn a_directory_is_run_instead_of_an_image() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir $TMPDIR/root && podctl run --rm -v $TMPDIR/root:/to alpine cp -a /bin /etc /to").code(0);
    engine.sh("mkdir $TMPDIR/root/proc $TMPDIR/root/sys $TMPDIR/root/dev").code(0);
    engine
        .sh("podctl run --name c --rootfs $TMPDIR/root sh -c 'echo in > /here; cat /etc/hostname | wc -c'")
        .prints("13");
    engine.sh("cat $TMPDIR/root/here && podctl start -a c").prints("in\n13");
    assert!(engine.field("c", ".Rootfs").ends_with("/root"));
    engine.sh("podctl rm c && rm -r $TMPDIR/root").code(0);
}
