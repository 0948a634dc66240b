//! `network connect` and `disconnect`: on what runs and what does not, for now and for later.

use harness::{Engine, images::ALPINE, until};

/// Two networks that answer names, and a listening pod `web` on the first.
fn networks() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    engine
        .sh("podctl network create --subnet 10.90.1.0/24 one && podctl network create --subnet 10.90.2.0/24 two")
        .ok();
    engine.sh("podctl pod create --name web --network one").ok();
    engine.sh("podctl run -d --pod web --name server alpine nc -ll -p 80 -e echo web").ok();
    engine
}

/// Who asks for `name` on `network` hears the pod.
fn answers(engine: &Engine, network: &str, name: &str) -> bool {
    let ask = format!("podctl run --rm --network {network} alpine nc -w 2 {name} 80 < /dev/null");
    engine.sh(&ask).stdout() == "web\n"
}

#[test]
fn a_running_pod_comes_onto_a_network_and_leaves_it() {
    let engine = networks();
    let inside = |script: &str| engine.podctl(&["exec", "server", "sh", "-c", script]);
    assert_ne!(inside("ip link show eth1").code, 0);
    engine
        .sh("podctl network connect --alias front --ip 10.90.2.9 --mac-address 02:00:00:00:00:09 two web")
        .prints_nothing();
    assert!(inside("ip -4 -o addr show dev eth1").ok().contains("inet 10.90.2.9/24"));
    inside("cat /sys/class/net/eth1/address").prints("02:00:00:00:00:09");
    assert!(inside("ip route").ok().starts_with("default via 10.90.1.1 dev eth0"));
    for (network, name) in [("two", "web"), ("two", "front"), ("two", "server"), ("one", "web")] {
        until(&format!("{name} on {network}"), || answers(&engine, network, name).then_some(()));
    }
    // Names of both networks are known to it.
    for network in ["one", "two"] {
        let other =
            format!("podctl run -d --name on-{network} --network {network} alpine nc -ll -p 80 -e echo {network}");
        engine.sh(&other).ok();
        let ask = format!("nc -w 2 on-{network} 80 < /dev/null");
        until(&format!("on-{network}"), || (inside(&ask).stdout() == format!("{network}\n")).then_some(()));
    }
    engine.sh("podctl network inspect two").ok().find("10.90.2.9").expect("the pod is among its containers");
    engine.sh("podctl network rm two").code(2);
    engine.sh("podctl network connect two web").code(125).mentions("is already connected to network \"two\"");
    engine.sh("podctl network disconnect two web").prints_nothing();
    assert_ne!(inside("ip link show eth1").code, 0);
    assert!(!answers(&engine, "two", "web") && answers(&engine, "one", "web"));
    engine.sh("podctl network disconnect two web").code(125).mentions("is not connected to network two");
    engine.sh("podctl network disconnect -f two web").code(0);
    // The address is free again.
    engine.sh("podctl run --rm --network two --ip 10.90.2.9 alpine true").code(0);
}

#[test]
fn networks_may_be_named_behind_each_other_and_the_hosts_names_are_known_inside() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create n1 && podctl network create n2").ok();
    let run =
        "podctl run --rm --network n1,n2 alpine sh -c 'ls /sys/class/net | grep -c eth; grep -c 10.9.8.7 /etc/hosts'";
    engine.sh("cp /etc/hosts h && echo '10.9.8.7 of-the-host' >> h && mount --bind h /etc/hosts").code(0);
    engine.sh(run).prints("2\n1");
    engine
        .sh("podctl run --rm --network none --add-host of-the-host:10.1.1.1 alpine grep of-the-host /etc/hosts")
        .prints("10.1.1.1\tof-the-host");
    // A name is taken out with its container.
    engine.sh("podctl pod create --name p && podctl run -d --name up --pod p alpine top").ok();
    engine.sh("podctl run --rm --name gone --pod p alpine grep -c gone /etc/hosts").prints("1");
    engine.sh("podctl exec up grep -c gone /etc/hosts").prints("0");
    engine.sh("umount /etc/hosts && rm h && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn what_was_connected_stays_connected_over_stop_and_start() {
    let engine = networks();
    // By a member it is the pod's; what does not run is connected at its start.
    engine.sh("podctl network connect two server && podctl pod stop -t 0 web && podctl pod start web").code(0);
    until("the pod on two", || answers(&engine, "two", "web").then_some(()));
    engine.sh("podctl pod stop -t 0 web && podctl network disconnect one web && podctl pod start web").code(0);
    until("the pod on two", || answers(&engine, "two", "server").then_some(()));
    assert!(!answers(&engine, "one", "web"));
    let devices = engine.sh("podctl exec server ls /sys/class/net").lines();
    assert_eq!(devices, ["eth1", "lo"], "a device keeps its name");
    assert!(engine.sh("podctl exec server ip route").ok().starts_with("default via 10.90.2.1 dev eth1"));
}

#[test]
fn the_way_out_and_the_ports_follow_when_the_first_network_goes() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create --subnet 10.90.2.0/24 two").ok();
    engine.sh("podctl run -d --name c -p 8080:80 alpine nc -ll -p 80 -e echo published").ok();
    engine.sh("podctl network connect two c && podctl network disconnect podman c").code(0);
    let route = engine.sh("podctl exec c ip route").ok();
    assert!(route.starts_with("default via 10.90.2.1 dev eth1") && !route.contains("10.88"), "{route}");
    let address = engine.field("c", "(index .NetworkSettings.Networks \"two\").IPAddress");
    assert!(engine.sh("podctl exec c cat /etc/hosts").ok().contains(&format!("{address}\t")));
    until("the port", || {
        (engine.sh("busybox nc -w 2 127.0.0.1 8080 < /dev/null").stdout() == "published\n").then_some(())
    });
    engine.sh("podctl network disconnect two c").code(125).mentions("whose published ports lead there");
    engine.sh("podctl run -d --name hosted --network host alpine top").ok();
    engine
        .sh("podctl network connect two hosted")
        .code(125)
        .mentions("\"host\" is not supported: invalid network mode");
}
