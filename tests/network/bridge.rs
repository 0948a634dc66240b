//! Networks: addresses, names, the way out, and that it is all gone afterwards.

use harness::{Engine, enclosure::NEIGHBOUR, images::ALPINE, programs::is_stand_in, until};

#[test]
fn every_pod_has_an_address_of_the_default_network() {
    let engine = Engine::with(&[ALPINE]);
    for (name, address) in [("a", "10.88.0.2"), ("b", "10.88.0.3")] {
        engine.sh(&format!("podctl run -d --cap-add NET_RAW --pod new:{name} --name in-{name} alpine top")).ok();
        let shown = engine.sh(&format!("podctl exec in-{name} ip -4 -o addr show dev eth0")).ok();
        assert!(shown.contains(&format!("inet {address}/16")), "{shown}");
        assert_eq!(engine.field(&format!("in-{name}"), ".NetworkSettings.IPAddress"), address);
    }
    // busybox has raw sockets only; a ping with datagram sockets needs no capability.
    engine.sh("podctl exec in-a ping -c 1 -W 2 10.88.0.3").code(0);
    assert!(engine.sh("podctl exec in-a ip route").ok().starts_with("default via 10.88.0.1 dev eth0 "));
    // An address is given back when its pod is removed.
    engine.sh("podctl pod rm -f -t 0 a").code(0);
}

#[test]
fn the_way_out_is_behind_the_machines_address() {
    let engine = Engine::with(&[ALPINE]);
    let _server = engine.start("ip netns exec outside busybox nc -ll -p 7000 -e busybox netstat -tn");
    let ask = format!("podctl run --rm alpine nc -w 2 {NEIGHBOUR} 7000 < /dev/null");
    until("the neighbour to see us", || engine.sh(&ask).stdout().contains(harness::enclosure::ADDRESS).then_some(()));
}

#[test]
fn a_networks_members_know_each_other_by_name() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create mired").prints("mired");
    engine.sh("podctl run -d --name server --network mired alpine nc -ll -p 80 -e echo served").ok();
    engine.sh("podctl run -d --pod new:front --network mired --name inside alpine nc -ll -p 80 -e echo front").ok();
    let names: &[(&str, &str)] = &[("server", "served"), ("inside", "front"), ("front", "front")];
    for (name, word) in names {
        if is_stand_in() && *name != "server" {
            continue;
        }
        let ask = format!("podctl run --rm --network mired alpine nc -w 2 {name} 80 < /dev/null");
        until(&format!("{name} to answer"), || (engine.sh(&ask).stdout().trim() == *word).then_some(()));
    }
    let nobody = engine.sh("podctl run --rm --network mired alpine nslookup nobody.at.all");
    assert_ne!(nobody.code, 0, "{nobody}");
    // The default network has no names.
    assert_ne!(engine.sh("podctl run --rm alpine nc -w 1 server 80 < /dev/null").code, 0);
}

#[test]
fn a_pod_on_two_networks_is_reached_on_both() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create one && podctl network create two").code(0);
    engine.sh("podctl pod create --name p --network one --network two").ok();
    engine.sh("podctl run -d --pod p --name server alpine nc -ll -p 80 -e echo both").ok();
    for network in ["one", "two"] {
        let address = engine.field("server", &format!("(index .NetworkSettings.Networks \"{network}\").IPAddress"));
        let ask = format!("podctl run --rm --network {network} alpine nc -w 2 {address} 80 < /dev/null");
        until(&format!("an answer on {network}"), || (engine.sh(&ask).stdout() == "both\n").then_some(()));
    }
}

#[test]
fn networks_are_listed_used_and_removed() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl network create --subnet 172.30.5.0/24 --gateway 172.30.5.9 mine").prints("mine");
    engine.sh("podctl network ls --format '{{.Name}} {{.Driver}}' | sort").prints("mine bridge\npodman bridge");
    engine.sh("podctl network ls --filter name=mine --format '{{.IPAMOptions.driver}}'").prints("host-local");
    engine.sh("podctl run -d --name c --network mine alpine top").ok();
    assert!(engine.sh("podctl exec c ip route").ok().contains("default via 172.30.5.9"));
    engine.sh("podctl network rm mine").code(2).mentions("\"mine\" has associated containers with it");
    engine.sh("podctl network create mine").code(125).mentions("mine");
    engine.sh("podctl network rm nosuch").code(1).mentions("nosuch");
    engine.sh("podctl network rm podman").code(125).mentions("podman");
    engine.sh("podctl rm -f -t 0 c && podctl network rm mine").code(0);
    engine.sh("podctl run --network nosuch alpine true").code(125).mentions("nosuch");
}

#[test]
fn no_network_and_the_machines_own() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run --rm --network none alpine ip -o link").code(0);
    assert_eq!(engine.sh("podctl run --rm --network none alpine ip -o link").lines().len(), 1);
    let own = engine.sh("podctl run --rm --network host alpine ip -o -4 addr show dev eth0").ok();
    assert!(own.contains("198.51.100.1/24"), "{own}");
}

#[test]
fn rules_and_links_go_with_the_last_pod() {
    let engine = Engine::with(&[ALPINE]);
    let links = || engine.sh("ip -o link | grep -c veth").stdout().trim().to_owned();
    let before = links();
    engine.sh("podctl run -d --pod new:a -p 8080:80 alpine top").ok();
    engine.sh("podctl run -d --pod new:b -p 8081:80 alpine top").ok();
    assert!(engine.sh("nft list ruleset").ok().contains("8080"));
    engine.sh("podctl pod rm -f -t 0 a").code(0);
    let rules = engine.sh("nft list ruleset").ok();
    assert!(!rules.contains("8080") && rules.contains("8081"), "{rules}");
    engine.sh("podctl pod rm -f -t 0 b").code(0);
    assert!(!engine.sh("nft list ruleset").ok().contains("8081"));
    until("the links to be gone", || (links() == before).then_some(()));
}
