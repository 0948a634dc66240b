//! The real kernel: each test is a host of its own (a fresh network namespace) with pods that are namespaces. Needs root.

use std::{
    fs,
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, OwnedFd},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use nix::sched::{CloneFlags, unshare};
use proto::{
    Id, Roots,
    alive::{self, Lock, Process},
    record::{self, Durability, NetworkStatus, PodRecord, PodState, SCHEMA},
    wire::{CreateNetwork, NetworkAttachment, NetworkConfig, PodConfig, PortMapping},
};

use super::{
    Networks, Request, Up, down, firewall, hold_ports, lease, link, netlink::Socket, nft, resolv_conf, serve_dns,
    settle, up, worker,
};

/// For everything that happens in the end.
const DEADLINE: Duration = Duration::from_secs(20);

/// Runs `test` on a thread in a network namespace of its own, with `lo` up; not at all without root.
fn on_a_host(test: impl AsyncFnOnce(&Host) + Send) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    thread::scope(|scope| {
        let run = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
            link::loopback_up(&mut Socket::route().expect("netlink")).expect("lo");
            let dir = tempfile::tempdir().expect("tempdir");
            let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
            let host = Host { networks: Networks::open(&roots), roots, _dir: dir };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(test(&host));
            runtime.block_on(settle());
        };
        scope.spawn(run).join().expect("the test");
    });
}

struct Host {
    networks: Networks,
    roots: Roots,
    _dir: tempfile::TempDir,
}

/// A pod: a lock, a namespace and what `up` gave.
struct Pod {
    id: Id,
    _lock: Lock,
    netns: OwnedFd,
    up: Option<Up>,
}

fn new_netns() -> OwnedFd {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).expect("unshare");
        OwnedFd::from(fs::File::open("/proc/thread-self/ns/net").expect("netns"))
    };
    thread::spawn(make).join().expect("netns")
}

impl Host {
    fn new_pod(&self) -> Pod {
        let id = Id::random().expect("id");
        let lock = lease::lock(&self.roots.pod_lock(&id)).expect("lock");
        Pod { id, _lock: lock, netns: new_netns(), up: None }
    }

    async fn try_up(&self, pod: &mut Pod, name: &str, config: &NetworkConfig) -> proto::refusal::Result<()> {
        let names = [name.to_owned(), pod.id.short().to_owned()];
        let request = Request { pod: &pod.id, names: &names, config, netns: pod.netns.as_fd() };
        let result = up(&self.networks, request).await?;
        // What the pod's shim writes next.
        let state = PodState {
            schema: SCHEMA,
            started: true,
            boot_id: alive::boot_id().into(),
            started_at: 1,
            shim: Process::this(),
            infra_init: None,
            networks: result.networks.clone(),
            ports: result.ports.clone(),
            start_order: Vec::new(),
            cgroup: String::new(),
            paused: false,
        };
        record::write(&self.roots.pod_state(&pod.id), &state, Durability::Volatile).expect("state");
        pod.up = Some(result);
        Ok(())
    }

    async fn pod(&self, name: &str, config: &NetworkConfig) -> Pod {
        let mut pod = self.new_pod();
        self.try_up(&mut pod, name, config).await.expect("up");
        pod
    }

    async fn down(&self, pod: Pod) {
        down(&self.networks, &pod.id).await.expect("down");
        down(&self.networks, &pod.id).await.expect("down again");
        let _ = fs::remove_file(self.roots.pod_state(&pod.id));
    }

    /// Everything of ours has gone from the kernel and from `$RUN`, at last.
    fn nothing_is_left(&self) {
        let table = firewall::table_name(&self.roots.run);
        until("nothing is left", || {
            let links: Vec<String> = device_names();
            let table = nft::table_comment(&mut Socket::netfilter().expect("netlink"), &table).expect("table");
            let leases = lease::networks(&self.roots)
                .iter()
                .flat_map(|name| fs::read_dir(self.roots.run_network(name).join("leases")).into_iter().flatten())
                .count();
            if links == ["lo"] && table.is_none() && leases == 0 && !lease::anybody(&self.roots) {
                Ok(())
            } else {
                Err(format!("links {links:?}, table {table:?}, {leases} leases"))
            }
        });
    }
}

/// Names of this thread's network devices: /proc/thread-self/net/dev.
fn device_names() -> Vec<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").expect("devices");
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        match look() {
            Ok(value) => return value,
            Err(error) if Instant::now() > end => panic!("{what}: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

impl Pod {
    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        worker::inside(self.netns.as_fd(), || Ok(work())).expect("inside")
    }

    fn status(&self) -> &[NetworkStatus] {
        &self.up.as_ref().expect("up").networks
    }

    fn ip(&self) -> Ipv4Addr {
        self.status()[0].ip.parse().expect("address")
    }

    fn host_port(&self) -> u16 {
        self.up.as_ref().expect("up").ports[0].host_port.try_into().expect("port")
    }

    /// A TCP server in the pod that tells every client `text` and the client's address.
    fn tell(&self, port: u16, text: &'static str) {
        let listener = self.inside(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("listen"));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
                let _ = write!(stream, "{text} {peer}");
            }
        });
    }

    /// A UDP server in the pod that answers every datagram with `text`.
    fn echo(&self, port: u16, text: &'static str) {
        let socket = self.inside(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).expect("bind"));
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(text.as_bytes(), peer);
            }
        });
    }
}

/// What a server at `address` tells.
fn told(address: impl Into<IpAddr>, port: u16) -> io::Result<String> {
    told_within(address, port, Duration::from_secs(5))
}

fn told_within(address: impl Into<IpAddr>, port: u16, patience: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address.into(), port), patience)?;
    stream.set_read_timeout(Some(patience))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

fn asked_by_udp(address: Ipv4Addr, port: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    ask_on(&socket, address, port, question)
}

fn ask_on(socket: &UdpSocket, address: Ipv4Addr, port: u16, question: &[u8]) -> io::Result<Vec<u8>> {
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    socket.send_to(question, (address, port))?;
    let mut buffer = [0; 4096];
    let (length, _) = socket.recv_from(&mut buffer)?;
    Ok(buffer[..length].to_vec())
}

/// A blocked packet is one that nobody answers; a refused one was not blocked.
const BLOCKED: Duration = Duration::from_millis(300);

fn is_blocked(address: Ipv4Addr, port: u16) -> bool {
    told_within(address, port, BLOCKED).is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::NetworkUnreachable)
    })
}

fn mapping(host_ip: &str, host_port: u32, container_port: u32, protocol: &str) -> PortMapping {
    PortMapping { host_ip: host_ip.into(), host_port, container_port, protocol: protocol.into(), range: 1 }
}

fn publish(ports: Vec<PortMapping>) -> NetworkConfig {
    NetworkConfig { mode: "bridge".into(), ports, ..Default::default() }
}

fn on(networks: &[&str]) -> NetworkConfig {
    let attach = |name: &&str| NetworkAttachment { name: (*name).into(), ..Default::default() };
    NetworkConfig { mode: "bridge".into(), networks: networks.iter().map(attach).collect(), ..Default::default() }
}

/// Gives the host an address that is not the loopback's.
fn host_address() -> Ipv4Addr {
    let socket = &mut Socket::route().expect("netlink");
    link::add_bridge(socket, "lan0", [2, 0, 0, 0, 0, 9], None).expect("lan0");
    let index = link::find(socket, "lan0").expect("find").expect("lan0").index;
    link::address_and_up(socket, index, "192.0.2.9/24".parse().expect("net")).expect("address");
    Ipv4Addr::new(192, 0, 2, 9)
}

#[test]
fn a_published_port_is_reached_from_everywhere_and_leaves_nothing() {
    published_ports_work("1");
}

#[test]
fn a_published_port_is_reached_without_br_netfilter() {
    published_ports_work("0");
}

fn published_ports_work(bridges_are_filtered: &'static str) {
    on_a_host(async |host| {
        // Where the module is not loaded they are not.
        let _ = fs::write("/proc/sys/net/bridge/bridge-nf-call-iptables", bridges_are_filtered);
        let lan = host_address();
        let web = host.pod("web", &publish(vec![mapping("", 0, 80, "tcp"), mapping("", 0, 53, "udp")])).await;
        let other = host.pod("other", &NetworkConfig::default()).await;
        web.tell(80, "web");
        web.echo(53, "echo");
        let port = web.host_port();
        assert!(web.ip() == Ipv4Addr::new(10, 88, 0, 2) && other.ip() == Ipv4Addr::new(10, 88, 0, 3));
        // From the host: the source is kept but for 127.0.0.1, which is somebody else in the pod.
        assert_eq!(told(Ipv4Addr::LOCALHOST, port).expect("localhost"), "web 10.88.0.1");
        assert_eq!(told(lan, port).expect("address"), "web 192.0.2.9");
        assert_eq!(told(web.ip(), 80).expect("direct"), "web 10.88.0.1");
        // From a neighbour, directly and by the host's address; and from the pod itself.
        assert_eq!(other.inside(|| told(web.ip(), 80)).expect("neighbour"), "web 10.88.0.3");
        assert_eq!(other.inside(|| told(lan, port)).expect("hairpin"), "web 10.88.0.1");
        assert_eq!(web.inside(|| told(lan, port)).expect("own hairpin"), "web 10.88.0.1");
        assert_eq!(web.inside(|| told(Ipv4Addr::LOCALHOST, 80)).expect("own localhost"), "web 127.0.0.1");
        // UDP.
        let udp = web.up.as_ref().expect("up").ports[1].host_port as u16;
        assert_eq!(asked_by_udp(Ipv4Addr::LOCALHOST, udp, b"?").expect("udp"), b"echo");
        assert_eq!(other.inside(|| asked_by_udp(lan, udp, b"?")).expect("udp hairpin"), b"echo");
        // What listens on the host's 127.0.0.1 is not reached by pods (CVE-2020-8558).
        let private = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen").local_addr().expect("port").port();
        assert!(told(Ipv4Addr::LOCALHOST, private).is_err());
        host.down(web).await;
        host.down(other).await;
        link::remove(&mut Socket::route().expect("netlink"), "lan0").expect("lan0");
        host.nothing_is_left();
    });
}

#[test]
fn loopback_of_the_host_is_closed_to_pods() {
    on_a_host(async |host| {
        let pod = host.pod("pod", &publish(vec![mapping("127.0.0.1", 0, 80, "tcp")])).await;
        pod.tell(80, "pod");
        let port = pod.host_port();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let private = listener.local_addr().expect("address").port();
        let attacker = host.pod("attacker", &NetworkConfig::default()).await;
        // The attacker routes the host's loopback addresses to the gateway.
        let cut = |args: &[&str]| assert!(Command::new("ip").args(args).status().expect("ip").success(), "{args:?}");
        attacker.inside(|| {
            cut(&["addr", "del", "127.0.0.1/8", "dev", "lo"]);
            cut(&["route", "add", "127.0.0.0/8", "via", "10.88.0.1", "dev", "eth0"]);
            fs::write("/proc/sys/net/ipv4/conf/eth0/route_localnet", "1").expect("sysctl");
        });
        assert_eq!(told(Ipv4Addr::LOCALHOST, port).expect("the host itself"), "pod 10.88.0.1");
        let blocked = |port| {
            attacker.inside(|| {
                let socket = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), BLOCKED);
                socket.is_err()
            })
        };
        assert!(blocked(private), "a service of the host's loopback is open to pods");
        assert!(blocked(port), "a port published on 127.0.0.1 is open to pods");
        // And by an address of the host that it was not published on.
        assert!(attacker.inside(|| told_within(Ipv4Addr::new(10, 88, 0, 1), port, BLOCKED)).is_err());
        host.down(pod).await;
        host.down(attacker).await;
        host.nothing_is_left();
    });
}

#[test]
fn names_are_answered_inside_the_pod() {
    on_a_host(async |host| {
        let create = |name: &str, internal| CreateNetwork { name: name.into(), internal, ..Default::default() };
        host.networks.create(&create("net", false)).expect("create");
        host.networks.create(&create("closed", true)).expect("create");
        let web = host.pod("web", &on(&["net", "closed"])).await;
        let asker = host.new_pod();
        // The server of the world outside, on the host's side.
        let upstream = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 7), 53)).expect("bind");
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok((length, peer)) = upstream.recv_from(&mut buffer) {
                buffer[2] |= 0x80;
                let _ = upstream.send_to(&buffer[..length], peer);
            }
        });
        let mut asker = asker;
        let config = NetworkConfig { dns_servers: vec!["127.0.0.7".into()], ..on(&["net"]) };
        write_record(host, &asker, &config);
        host.try_up(&mut asker, "asker", &config).await.expect("up");
        assert_eq!(
            resolv_conf(&host.networks, &config, asker.status()).expect("text"),
            format!("search dns.podman\nnameserver {}\n", asker.status()[0].gateway)
        );
        let server = serve_dns(&host.networks, &asker.id, asker.netns.as_fd(), asker.status()).expect("dns");
        let gateway: Ipv4Addr = asker.status()[0].gateway.parse().expect("gateway");
        let netns = asker.netns.try_clone().expect("dup");
        let pod_id = web.id.short().to_owned();
        let address = web.ip();
        let check = move || {
            worker::inside(netns, || {
                for name in ["web", "WEB.dns.podman", "web.dns.podman", pod_id.as_str()] {
                    let (reply, by_tcp) = (lookup(gateway, name), lookup_by_tcp(gateway, name));
                    assert_eq!(addresses(&reply), [address.to_string()], "{name}");
                    assert_eq!(addresses(&by_tcp), [address.to_string()], "{name} by TCP");
                }
                assert_eq!(lookup(gateway, "nope.dns.podman").metadata.response_code, ResponseCode::NXDomain);
                // The world outside echoes the question as its answer.
                let outside = lookup(gateway, "example.com");
                assert!(!outside.metadata.authoritative && outside.metadata.response_code == ResponseCode::NoError);
                busybox_finds(gateway, "web", address);
                Ok(())
            })
        };
        tokio::task::spawn_blocking(check).await.expect("join").expect("inside");
        // Silent TCP clients do not stop the others; a server that is dropped stops.
        let silent: Vec<_> = asker.inside(|| {
            (0..100)
                .filter_map(|_| TcpStream::connect_timeout(&SocketAddr::from((gateway, 53)), BLOCKED).ok())
                .collect()
        });
        let netns = asker.netns.try_clone().expect("dup");
        let check = move || worker::inside(netns, || Ok(addresses(&lookup(gateway, "web")).len()));
        assert_eq!(tokio::task::spawn_blocking(check).await.expect("join").expect("inside"), 1);
        drop((silent, server));
        tokio::task::yield_now().await;
        let again = serve_dns(&host.networks, &asker.id, asker.netns.as_fd(), asker.status()).expect("a second server");
        let netns = asker.netns.try_clone().expect("dup");
        let check = move || worker::inside(netns, || Ok(addresses(&lookup(gateway, "web")).len()));
        assert_eq!(tokio::task::spawn_blocking(check).await.expect("join").expect("inside"), 1);
        drop(again);
        host.down(asker).await;
        host.down(web).await;
        host.nothing_is_left();
        host.networks.remove("closed").await.expect("remove");
        host.networks.remove("net").await.expect("remove");
    });
}

fn write_record(host: &Host, pod: &Pod, config: &NetworkConfig) {
    let record = PodRecord {
        schema: SCHEMA,
        id: pod.id.clone(),
        name: "asker".into(),
        created: 1,
        infra: None,
        config: PodConfig { network: Some(config.clone()), ..Default::default() },
    };
    fs::create_dir_all(host.roots.pod(&pod.id)).expect("dir");
    record::write(&host.roots.pod_record(&pod.id), &record, Durability::Volatile).expect("record");
}

fn question(name: &str) -> Vec<u8> {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(format!("{name}.")).expect("name"), RecordType::A));
    message.to_vec().expect("encodes")
}

fn lookup(server: Ipv4Addr, name: &str) -> Message {
    Message::from_vec(&asked_by_udp(server, 53, &question(name)).expect("an answer")).expect("a message")
}

fn lookup_by_tcp(server: Ipv4Addr, name: &str) -> Message {
    let question = question(name);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((server, 53)), DEADLINE).expect("connect");
    stream.set_read_timeout(Some(DEADLINE)).expect("timeout");
    stream.write_all(&[&(question.len() as u16).to_be_bytes()[..], &question].concat()).expect("write");
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("length");
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply).expect("reply");
    Message::from_vec(&reply).expect("a message")
}

fn addresses(message: &Message) -> Vec<String> {
    message.answers.iter().map(|record| record.data.to_string()).collect()
}

/// A resolver that is not ours understands us, where it is installed.
fn busybox_finds(server: Ipv4Addr, name: &str, address: Ipv4Addr) {
    let asked = Command::new("busybox").args(["nslookup", &format!("{name}.dns.podman"), &server.to_string()]).output();
    if let Ok(output) = asked {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.contains(&address.to_string()), "{text}");
    }
}

#[test]
fn internal_and_isolated_networks_stay_among_themselves() {
    on_a_host(async |host| {
        let lan = host_address();
        let with = |name: &str, internal, option: Option<&str>| CreateNetwork {
            name: name.into(),
            internal,
            options: option.map(|value| ("isolate".to_owned(), value.to_owned())).into_iter().collect(),
            ..Default::default()
        };
        for network in [
            with("closed", true, None),
            with("one", false, Some("true")),
            with("two", false, Some("true")),
            with("strict", false, Some("strict")),
        ] {
            host.networks.create(&network).expect("create");
        }
        let mut ports = on(&["closed"]);
        ports.ports = vec![mapping("", 0, 80, "tcp")];
        let closed = host.pod("closed", &ports).await;
        let neighbour = host.pod("neighbour", &on(&["closed"])).await;
        let open = host.pod("open", &on(&["podman"])).await;
        let one = host.pod("one", &on(&["one"])).await;
        let two = host.pod("two", &on(&["two"])).await;
        let strict = host.pod("strict", &on(&["strict"])).await;
        for pod in [&closed, &open, &one, &two, &strict] {
            pod.tell(80, "hello");
        }
        let reaches = |from: &Pod, to: &Pod| from.inside(|| told_within(to.ip(), 80, BLOCKED)).is_ok();
        let blocked = |from: &Pod, to: &Pod| from.inside(|| is_blocked(to.ip(), 80));
        assert!(reaches(&neighbour, &closed), "neighbours on an internal network see each other");
        assert_eq!(
            told(Ipv4Addr::LOCALHOST, closed.host_port()).expect("the host"),
            format!("hello {}", gateway(host, "closed"))
        );
        assert!(blocked(&open, &closed) && blocked(&closed, &open));
        let port = closed.host_port();
        assert!(open.inside(|| is_blocked(lan, port)), "a published port of an internal network is open");
        assert!(reaches(&open, &one) && reaches(&one, &open), "networks see each other unless they are isolated");
        assert!(blocked(&one, &two) && blocked(&two, &one));
        assert!(blocked(&strict, &open) && blocked(&open, &strict) && blocked(&strict, &one));
        // The way out is masqueraded.
        let out = TcpListener::bind((lan, 0)).expect("listen");
        let port = out.local_addr().expect("address").port();
        assert!(open.inside(|| TcpStream::connect_timeout(&SocketAddr::from((lan, port)), DEADLINE)).is_ok());
        assert!(closed.inside(|| is_blocked(lan, port)));
        for pod in [closed, neighbour, open, one, two, strict] {
            host.down(pod).await;
        }
        link::remove(&mut Socket::route().expect("netlink"), "lan0").expect("lan0");
        host.nothing_is_left();
    });
}

fn gateway(host: &Host, network: &str) -> String {
    host.networks.get(network).expect("network").gateway
}

#[test]
fn what_fails_leaves_nothing() {
    on_a_host(async |host| {
        let blocker = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("listen");
        let taken = blocker.local_addr().expect("address").port();
        let mut pod = host.new_pod();
        let busy = publish(vec![mapping("", u32::from(taken), 80, "tcp")]);
        let refused = host.try_up(&mut pod, "pod", &busy).await.expect_err("taken").message;
        assert!(refused.starts_with(&format!("-p {taken}:80: host port {taken}/tcp is already in use")), "{refused}");
        assert_eq!(super::check(&host.networks, &busy).expect_err("taken").kind, proto::Kind::InUse);
        host.nothing_is_left();
        // A static address that somebody has.
        host.networks.create(&CreateNetwork { name: "net".into(), ..Default::default() }).expect("create");
        let mut fixed = on(&["podman", "net"]);
        fixed.networks[1].ip = host.networks.get("net").expect("net").subnet.replace(".0/24", ".77");
        fixed.networks[1].mac = "02:aa:bb:cc:dd:ee".into();
        let first = host.pod("first", &fixed).await;
        assert_eq!(
            (first.status()[1].ip.rsplit('.').next(), first.status()[1].mac.as_str()),
            (Some("77"), "02:aa:bb:cc:dd:ee")
        );
        assert_eq!(first.status()[1].interface, "eth1");
        let refused = host.try_up(&mut pod, "pod", &fixed).await.expect_err("taken").message;
        assert!(refused.ends_with(&format!("is already allocated to pod {}", first.id.short())), "{refused}");
        // A device name that is taken in the pod: found after lease, bridge and pair of the first network.
        let mut clash = on(&["podman", "net"]);
        clash.networks[1].interface_name = "tunl0".into();
        let made =
            pod.inside(|| link::add_bridge(&mut Socket::route().expect("netlink"), "tunl0", [2, 0, 0, 0, 0, 7], None));
        made.expect("tunl0");
        assert!(host.try_up(&mut pod, "pod", &clash).await.is_err());
        host.down(first).await;
        host.nothing_is_left();
        // A network in use is not removed.
        let user = host.pod("user", &on(&["net"])).await;
        assert_eq!(host.networks.remove("net").await.expect_err("in use").kind, proto::Kind::InUse);
        host.down(user).await;
        host.networks.remove("net").await.expect("remove");
        let refused = host.networks.remove("podman").await.expect_err("default").message;
        assert_eq!(refused, "default network podman cannot be removed");
        host.nothing_is_left();
    });
}

#[test]
fn pods_go_up_and_down_beside_each_other() {
    on_a_host(async |host| {
        for _ in 0..3 {
            let config =
                publish(vec![mapping("", 0, 80, "tcp"), PortMapping { range: 4, ..mapping("", 0, 9000, "udp") }]);
            let mut pods: Vec<Pod> = (0..8).map(|_| host.new_pod()).collect();
            let ups = pods.iter_mut().map(|pod| host.try_up(pod, "pod", &config));
            for result in futures::future::join_all(ups).await {
                result.expect("up");
            }
            let mut addresses: Vec<Ipv4Addr> = pods.iter().map(Pod::ip).collect();
            addresses.sort();
            addresses.dedup();
            assert_eq!(addresses.len(), 8);
            for pod in &pods {
                pod.tell(80, "pod");
                assert_eq!(told(Ipv4Addr::LOCALHOST, pod.host_port()).expect("port"), "pod 10.88.0.1");
            }
            // Half go down while others come up.
            let rest = pods.split_off(4);
            let mut fresh: Vec<Pod> = (0..4).map(|_| host.new_pod()).collect();
            let downs = futures::future::join_all(pods.into_iter().map(|pod| host.down(pod)));
            let ups = futures::future::join_all(fresh.iter_mut().map(|pod| host.try_up(pod, "pod", &config)));
            let (_, results) = futures::join!(downs, ups);
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            for pod in fresh.into_iter().chain(rest) {
                pod.tell(81, "pod");
                host.down(pod).await;
            }
        }
        host.nothing_is_left();
    });
}

#[test]
fn a_flow_of_udp_follows_its_port_to_the_next_pod() {
    on_a_host(async |host| {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let first = host.pod("first", &publish(vec![mapping("", 0, 7, "udp")])).await;
        let port = first.host_port();
        first.echo(7, "first");
        assert_eq!(ask_on(&client, Ipv4Addr::LOCALHOST, port, b"?").expect("first"), b"first");
        host.down(first).await;
        // Nobody there: the flow is remembered as one to the host itself.
        let _ = client.send_to(b"?", (Ipv4Addr::LOCALHOST, port));
        let second = host.pod("second", &publish(vec![mapping("", u32::from(port), 7, "udp")])).await;
        second.echo(7, "second");
        let client = until("the flow leads to the second pod", || {
            match ask_on(&client, Ipv4Addr::LOCALHOST, port, b"?") {
                Ok(reply) if reply == b"second" => Ok(client.try_clone().expect("dup")),
                // An ICMP error of the time between is reported once.
                other => Err(format!("{other:?}")),
            }
        });
        drop(client);
        host.down(second).await;
        host.nothing_is_left();
    });
}

#[test]
fn stale_rules_of_a_dead_pod_never_shadow_a_living_one() {
    on_a_host(async |host| {
        let dead = host.pod("dead", &publish(vec![mapping("", 0, 80, "tcp")])).await;
        let port = u32::from(dead.host_port());
        let Pod { id, _lock, netns, up } = dead;
        // Killed: its sockets and its namespace have gone, rules and leases have not.
        drop((_lock, netns, up));
        let _ = fs::remove_file(host.roots.pod_state(&id));
        let pod = host.pod("pod", &publish(vec![mapping("", port, 80, "tcp")])).await;
        pod.tell(80, "living");
        assert_eq!(told(Ipv4Addr::LOCALHOST, pod.host_port()).expect("port"), "living 10.88.0.1");
        // The dead one's own start again does not mind what is left of it.
        let mut again =
            Pod { id, _lock: lease::lock(&host.roots.run.join("lock")).expect("lock"), netns: new_netns(), up: None };
        host.try_up(&mut again, "again", &NetworkConfig::default()).await.expect("up");
        host.down(again).await;
        // An adopted pod's ports are bound again; while somebody has them they cannot be.
        let ports = pod.up.as_ref().expect("up").ports.clone();
        assert!(hold_ports(&ports).is_err());
        host.down(pod).await;
        assert_eq!(hold_ports(&ports).expect("free").len(), 1);
        host.nothing_is_left();
    });
}

#[test]
fn the_next_pod_puts_flushed_rules_back() {
    on_a_host(async |host| {
        let first = host.pod("first", &publish(vec![mapping("", 0, 80, "tcp")])).await;
        first.tell(80, "first");
        let mut socket = Socket::netfilter().expect("netlink");
        firewall::remove_table(&mut socket, &firewall::table_name(&host.roots.run)).expect("flush");
        assert!(told_within(Ipv4Addr::LOCALHOST, first.host_port(), BLOCKED).is_err());
        let second = host.pod("second", &NetworkConfig::default()).await;
        assert_eq!(told(Ipv4Addr::LOCALHOST, first.host_port()).expect("port"), "first 10.88.0.1");
        host.down(first).await;
        host.down(second).await;
        host.nothing_is_left();
    });
}

/// The rules as `nft` reads them, where it is installed: what we wrote is what we meant.
#[test]
fn nft_shows_the_rules_as_they_were_meant() {
    on_a_host(async |host| {
        let ports = vec![mapping("", 18080, 80, "tcp"), mapping("127.0.0.1", 18081, 81, "udp")];
        let pod = host.pod("pod", &publish(ports)).await;
        let Ok(output) = Command::new("nft").args(["list", "ruleset"]).output() else { return host.down(pod).await };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in [
            "iifname != \"lo\" ip daddr 127.0.0.0/8 drop",
            "dnat ip to ip daddr . meta l4proto . th dport map @host_ports",
            "dnat ip to meta l4proto . th dport map @ports",
            "fib daddr type local jump ports",
            "type nat hook prerouting priority dstnat; policy accept;",
            "type nat hook output priority -100; policy accept;",
            "type nat hook postrouting priority srcnat; policy accept;",
            "type filter hook forward priority filter; policy accept;",
            "type filter hook prerouting priority raw; policy accept;",
            "ct status dnat ip saddr @subnets oifname @bridges masquerade",
            "elements = { 10.88.0.0/16 comment \"network podman\" }",
            "ct status dnat ip saddr 127.0.0.0/8 oifname @bridges masquerade",
            "iifname @outgoing masquerade",
            "iifname @isolated oifname @isolated drop",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        let id = &pod.id;
        assert!(text.contains(&format!("tcp . 18080 comment \"{id}\" : 10.88.0.2 . 80")), "{text}");
        assert!(text.contains(&format!("127.0.0.1 . udp . 18081 comment \"{id}\" : 10.88.0.2 . 81")), "{text}");
        host.down(pod).await;
        host.nothing_is_left();
    });
}
