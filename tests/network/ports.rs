//! Published ports: from this machine, from its neighbour, TCP and UDP, and what is in the way.

use harness::{
    Engine,
    enclosure::{ADDRESS, NEIGHBOUR},
    images::{ALPINE, SOCAT},
    until,
};

/// A server that answers every connection with `word`.
fn answer(engine: &Engine, options: &str, port: u16, word: &str) {
    engine.sh(&format!("podctl run -d {options} alpine nc -ll -p {port} -e echo {word}")).ok();
}

/// Waits until a connection to `address:port`, made by `from` (a command prefix), is answered with `word`.
#[track_caller]
fn answers(engine: &Engine, from: &str, address: &str, port: u16, word: &str) {
    let ask = format!("{from} busybox nc -w 2 {address} {port} < /dev/null");
    let answered =
        harness::wait::within(harness::wait::PATIENCE, || (engine.sh(&ask).stdout().trim() == word).then_some(()));
    assert!(answered.is_some(), "{ask} was to answer {word}: {}", engine.sh(&ask));
}

#[test]
fn a_tcp_port_is_reached_from_everywhere() {
    let engine = Engine::with(&[ALPINE]);
    answer(&engine, "--pod new:p -p 8080:80", 80, "hello");
    answers(&engine, "", "127.0.0.1", 8080, "hello");
    answers(&engine, "", ADDRESS, 8080, "hello");
    answers(&engine, "ip netns exec outside", ADDRESS, 8080, "hello");
    answers(&engine, "", "10.88.0.2", 80, "hello");
    // From a container of another pod, by the machine's address; and from the pod itself.
    answers(&engine, "podctl run --rm -i alpine", ADDRESS, 8080, "hello");
    answers(&engine, "podctl run --rm -i --pod p alpine", ADDRESS, 8080, "hello");
}

#[test]
fn a_udp_port_is_reached_and_its_answers_come_back() {
    let engine = Engine::with(&[ALPINE]);
    engine.load(&[SOCAT]);
    engine.sh("podctl run -d --name server -p 5353:53/udp localhost/socat socat UDP-RECVFROM:53,fork EXEC:cat").ok();
    let udp = |from: &str, address: &str| {
        let ask = format!("{from} timeout 2 bash -c 'exec 3<>/dev/udp/{address}/5353; echo ping >&3; head -n 1 <&3'");
        until(&format!("an answer from {address}"), || (engine.sh(&ask).stdout() == "ping\n").then_some(()));
    };
    for (from, address) in [("", "127.0.0.1"), ("", ADDRESS), ("ip netns exec outside", ADDRESS)] {
        udp(from, address);
    }
    // What the kernel remembers of the old peer must not lead the next packets astray.
    engine.sh("podctl stop -t 0 server && podctl start server").code(0);
    udp("ip netns exec outside", ADDRESS);
}

#[test]
fn a_port_bound_to_one_address_is_not_reached_by_another() {
    let engine = Engine::with(&[ALPINE]);
    answer(&engine, "-p 127.0.0.1:8080:80", 80, "local");
    answers(&engine, "", "127.0.0.1", 8080, "local");
    engine.sh(&format!("busybox nc -w 1 {ADDRESS} 8080 < /dev/null")).prints_nothing();
    engine.sh(&format!("ip netns exec outside busybox nc -w 1 {ADDRESS} 8080 < /dev/null")).prints_nothing();
}

#[test]
fn ranges_and_ports_chosen_by_the_engine() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c -p 8000-8001:9000-9001 -p 80 alpine sh -c 'for p in 80 9000 9001; do nc -ll -p $p -e echo $p & done; wait'").ok();
    answers(&engine, "", "127.0.0.1", 8000, "9000");
    answers(&engine, "", "127.0.0.1", 8001, "9001");
    let port = engine.field("c", r#"(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort"#);
    answers(&engine, "", "127.0.0.1", port.parse().expect("a port"), "80");
}

#[test]
fn the_source_address_of_a_neighbour_is_kept() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c -p 8080:80 alpine nc -ll -p 80 -e netstat -tn").ok();
    let ask = format!("ip netns exec outside busybox nc -w 2 {ADDRESS} 8080 < /dev/null");
    until("the neighbour's address", || engine.sh(&ask).stdout().contains(NEIGHBOUR).then_some(()));
}

#[test]
fn a_port_in_use_is_refused_and_nothing_is_left() {
    let engine = Engine::with(&[ALPINE]);
    let _listener = engine.start("busybox nc -ll -p 8080 -e echo mine");
    answers(&engine, "", "127.0.0.1", 8080, "mine");
    engine.sh("podctl run -d --name c -p 8080:80 alpine top").code(125).mentions("8080").mentions("in use");
    engine.sh("podctl run -d --pod new:p -p 8080:80 alpine top").code(125);
    engine.sh("podctl pod exists p").code(1);
    engine.sh("podctl pod create --name q -p 8080:80").ok();
    engine.sh("podctl pod start q").code(125).mentions("8080");
    engine.sh("podctl pod rm q").code(0);
    // Another pod's is in use as well, until that one stops.
    engine.sh("podctl run -d --name one -p 8081:80 alpine top").ok();
    engine.sh("podctl run -d --name two -p 8081:80 alpine top").code(125).mentions("8081");
    engine.sh("podctl rm -f two; podctl stop -t 0 one && podctl run -d --name three -p 8081:80 alpine top").code(0);
}
