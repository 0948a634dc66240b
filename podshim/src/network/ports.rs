//! Host ports: bound before anything else is made and held as long as the pod is up, so that nobody else gets them.
//!
//! The sockets carry no traffic, the rules do. They only make the kernel refuse the port to others (and to us, which is
//! how a port in use is found).

use std::{
    fs, io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, bind, getsockname, listen, setsockopt,
        socket, sockopt::ReuseAddr,
    },
};
use proto::{Kind, Refusal, refusal::Result, wire::PortMapping};

use super::firewall::protocol_number;

/// Ports a pod may publish.
const MAX: u32 = 16_384;
/// Tries for a run of free ports where the kernel chooses.
const TRIES: usize = 64;
/// Time for finding out who holds a port.
const SEARCH: Duration = Duration::from_millis(200);

/// A mapping as one types it.
pub(super) fn flag(port: &PortMapping) -> String {
    let run = |first: u32| match port.range.max(1) {
        1 => first.to_string(),
        range => format!("{first}-{}", first + range - 1),
    };
    let mut text = String::from("-p ");
    if !port.host_ip.is_empty() {
        text += &format!("{}:", port.host_ip);
    }
    match (port.host_port, port.host_ip.is_empty()) {
        (0, true) => {}
        (0, false) => text.push(':'),
        (first, _) => text += &format!("{}:", run(first)),
    }
    text += &run(port.container_port);
    if !matches!(port.protocol.as_str(), "" | "tcp") {
        text += &format!("/{}", port.protocol);
    }
    text
}

/// Checks what can be said without binding.
pub(super) fn check(ports: &[PortMapping]) -> Result<()> {
    let mut total = 0;
    for (index, port) in ports.iter().enumerate() {
        let refuse = |words: &str| Err(Refusal::invalid(format!("{}: {words}", flag(port))));
        let range = port.range.max(1);
        let fits = |first: u32| first.checked_add(range).is_some_and(|end| end <= 65_536);
        if protocol_number(&port.protocol).is_none() {
            return refuse("protocol must be tcp, udp or sctp");
        }
        if port.container_port == 0 || !fits(port.container_port) || !fits(port.host_port) {
            return refuse("ports must be between 1 and 65535");
        }
        if !port.host_ip.is_empty() && port.host_ip.parse::<Ipv4Addr>().is_err() {
            return refuse("the host address must be an IPv4 address");
        }
        total += range;
        if total > MAX {
            return refuse(&format!("more than {MAX} ports are published"));
        }
        if let Some(other) = ports[..index].iter().find(|other| overlap(other, port)) {
            let first = other.host_port.max(port.host_port);
            return Err(Refusal::invalid(format!(
                "conflicting port mappings for host port {first} (protocol {}): {} and {}",
                protocol_name(port),
                flag(other),
                flag(port)
            )));
        }
    }
    Ok(())
}

fn protocol_name(port: &PortMapping) -> &str {
    if port.protocol.is_empty() { "tcp" } else { &port.protocol }
}

fn overlap(a: &PortMapping, b: &PortMapping) -> bool {
    let any = |ip: &str| matches!(ip, "" | "0.0.0.0");
    let run = |port: &PortMapping| port.host_port..port.host_port + port.range.max(1);
    let (one, other) = (run(a), run(b));
    protocol_name(a) == protocol_name(b)
        && (a.host_ip == b.host_ip || any(&a.host_ip) || any(&b.host_ip))
        && a.host_port != 0
        && b.host_port != 0
        && one.start < other.end
        && other.start < one.end
}

/// Binds all ports and gives them with the host ports the kernel chose.
pub(super) fn bind_all(ports: &[PortMapping]) -> Result<(Vec<OwnedFd>, Vec<PortMapping>)> {
    let (mut holds, mut bound) = (Vec::new(), Vec::new());
    // Those that were asked for come first: a chosen port must not be one of them.
    let (chosen, fixed): (Vec<_>, Vec<_>) = ports.iter().enumerate().partition(|(_, port)| port.host_port == 0);
    for (index, port) in fixed.into_iter().chain(chosen) {
        let mut port = port.clone();
        port.range = port.range.max(1);
        port.protocol = protocol_name(&port).to_owned();
        let (fds, first) = if port.host_port == 0 { bind_chosen(&port)? } else { bind_fixed(&port)? };
        port.host_port = first;
        holds.extend(fds);
        bound.push((index, port));
    }
    bound.sort_by_key(|(index, _)| *index);
    Ok((holds, bound.into_iter().map(|(_, port)| port).collect()))
}

fn bind_fixed(port: &PortMapping) -> Result<(Vec<OwnedFd>, u32)> {
    let mut fds = Vec::new();
    for number in port.host_port..port.host_port + port.range {
        let number = u16::try_from(number).unwrap_or_default();
        fds.extend(hold(port, number).map_err(|error| refusal(port, number, error))?.map(|(fd, _)| fd));
    }
    Ok((fds, port.host_port))
}

/// A run of ports: the kernel chooses the first, the others must be free.
fn bind_chosen(port: &PortMapping) -> Result<(Vec<OwnedFd>, u32)> {
    // The ports of a protocol whose sockets this kernel has not are chosen by TCP's.
    let probe = PortMapping { protocol: "tcp".to_owned(), ..port.clone() };
    for _ in 0..TRIES {
        let first = match hold(port, 0).map_err(|error| refusal(port, 0, error))? {
            Some(first) => Some(first),
            None => hold(&probe, 0).map_err(|error| refusal(port, 0, error))?,
        };
        let Some((fd, number)) = first else { break };
        let mut fds = vec![fd];
        let rest = (1..port.range).map(|offset| u16::try_from(u32::from(number) + offset));
        for next in rest {
            match next.map(|next| hold(port, next)) {
                Ok(Ok(held)) => fds.extend(held.map(|(fd, _)| fd)),
                Ok(Err(Errno::EADDRINUSE)) | Err(_) => {
                    fds.clear();
                    break;
                }
                Ok(Err(error)) => return Err(refusal(port, 0, error)),
            }
        }
        if !fds.is_empty() {
            return Ok((fds, u32::from(number)));
        }
    }
    Err(Refusal::new(Kind::InUse, format!("{}: found no {} free host ports in a row", flag(port), port.range)))
}

/// One socket bound to one port, and the port. `None` where this kernel has no such sockets.
fn hold(port: &PortMapping, number: u16) -> nix::Result<Option<(OwnedFd, u16)>> {
    let (kind, protocol) = match port.protocol.as_str() {
        "udp" => (SockType::Datagram, SockProtocol::Udp),
        "sctp" => (SockType::Stream, SockProtocol::Sctp),
        _ => (SockType::Stream, SockProtocol::Tcp),
    };
    let fd = match socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, protocol) {
        Ok(fd) => fd,
        Err(Errno::EPROTONOSUPPORT | Errno::ESOCKTNOSUPPORT) if protocol == SockProtocol::Sctp => return Ok(None),
        Err(error) => return Err(error),
    };
    let listens = kind == SockType::Stream;
    if listens {
        // Connections of an earlier owner that are in TIME_WAIT do not count. For UDP it would share the port.
        setsockopt(&fd, ReuseAddr, &true)?;
    }
    let ip = port.host_ip.parse().unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
    bind(fd.as_raw_fd(), &SockaddrIn::new(ip[0], ip[1], ip[2], ip[3], number))?;
    if listens {
        listen(&fd, Backlog::new(1)?)?;
    }
    let number = getsockname::<SockaddrIn>(fd.as_raw_fd())?.port();
    Ok(Some((fd, number)))
}

fn refusal(port: &PortMapping, number: u16, error: Errno) -> Refusal {
    let flag = flag(port);
    let protocol = protocol_name(port);
    match error {
        Errno::EADDRINUSE => {
            let by = holder(number, protocol).map_or_else(String::new, |holder| format!(" by {holder}"));
            let words = format!("{flag}: host port {number}/{protocol} is already in use{by}: address already in use");
            Refusal::new(Kind::InUse, words)
        }
        Errno::EADDRNOTAVAIL => Refusal::invalid(format!(
            "{flag}: {} is no address of this host: cannot assign requested address",
            port.host_ip
        )),
        Errno::EACCES => {
            Refusal::invalid(format!("{flag}: host port {number}/{protocol} needs privilege: permission denied"))
        }
        Errno::EMFILE | Errno::ENFILE => {
            Refusal::invalid(format!("{flag}: too many ports for the limit of open files (ulimit -n)"))
        }
        error => Refusal::internal(format_args!("{flag}: host port {number}/{protocol}"), error.desc()),
    }
}

/// Who holds a port, as `pid N (name)`, where it can be found out in time.
fn holder(port: u16, protocol: &str) -> Option<String> {
    let end = Instant::now() + SEARCH;
    let tables = [format!("/proc/thread-self/net/{protocol}"), format!("/proc/thread-self/net/{protocol}6")];
    let tables: Vec<String> = tables.iter().filter_map(|table| fs::read_to_string(table).ok()).collect();
    let inodes = tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| inode_of(line, port));
    let inodes: Vec<String> = inodes.map(|inode| format!("socket:[{inode}]")).collect();
    if inodes.is_empty() {
        return None;
    }
    fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .take_while(|_| Instant::now() < end)
        .find(|pid| holds_any(*pid, &inodes).unwrap_or(false))
        .map(describe)
}

/// The inode of a line of /proc/net/{tcp,udp} whose socket is bound to `port` and not connected.
fn inode_of(line: &str, port: u16) -> Option<&str> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    let number = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    (number(local)? == port && number(remote)? == 0).then(|| fields.nth(6))?
}

fn holds_any(pid: u32, sockets: &[String]) -> io::Result<bool> {
    let links = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    Ok(links.into_iter().any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str())))
}

/// A process' name is its own choice: only what is printable is shown.
fn describe(pid: u32) -> String {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim_end().chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    if name.is_empty() { format!("pid {pid}") } else { format!("pid {pid} ({name})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host_ip: &str, host: u32, container: u32, protocol: &str, range: u32) -> PortMapping {
        PortMapping {
            host_ip: host_ip.into(),
            host_port: host,
            container_port: container,
            protocol: protocol.into(),
            range,
        }
    }

    #[test]
    fn a_mapping_is_shown_as_typed() {
        for (mapping, text) in [
            (port("", 18080, 80, "tcp", 1), "-p 18080:80"),
            (port("127.0.0.1", 8000, 80, "udp", 3), "-p 127.0.0.1:8000-8002:80-82/udp"),
            (port("", 0, 80, "", 0), "-p 80"),
            (port("127.0.0.1", 0, 80, "sctp", 1), "-p 127.0.0.1::80/sctp"),
        ] {
            assert_eq!(flag(&mapping), text);
        }
    }

    #[test]
    fn impossible_mappings_are_refused() {
        for (ports, words) in [
            (vec![port("", 1, 0, "tcp", 1)], "-p 1:0: ports must be between 1 and 65535"),
            (vec![port("", 65535, 80, "tcp", 2)], "-p 65535-65536:80-81: ports must be between 1 and 65535"),
            (vec![port("", 1, 80, "icmp", 1)], "-p 1:80/icmp: protocol must be tcp, udp or sctp"),
            (vec![port("::1", 1, 80, "tcp", 1)], "-p ::1:1:80: the host address must be an IPv4 address"),
            (
                vec![port("", 8000, 80, "tcp", 3), port("127.0.0.1", 8002, 90, "", 1)],
                "conflicting port mappings for host port 8002 (protocol tcp): -p 8000-8002:80-82 and -p 127.0.0.1:8002:90",
            ),
        ] {
            assert_eq!(check(&ports).expect_err(words).message, words);
        }
        assert!(check(&[port("", 8000, 80, "tcp", 1), port("", 8000, 80, "udp", 1)]).is_ok());
        assert!(check(&[port("", 0, 80, "tcp", 1), port("", 0, 80, "tcp", 1)]).is_ok());
    }

    #[test]
    fn a_port_is_held_until_it_is_dropped_and_its_holder_is_named() {
        let (holds, ports) = bind_all(&[port("127.0.0.1", 0, 80, "tcp", 3)]).expect("free ports");
        assert_eq!(holds.len(), 3);
        let number = ports[0].host_port;
        let taken = port("", number + 2, 80, "tcp", 1);
        let refused = bind_all(std::slice::from_ref(&taken)).expect_err("taken").message;
        let start = format!("-p {0}:80: host port {0}/tcp is already in use", number + 2);
        assert!(refused.starts_with(&start) && refused.ends_with(": address already in use"), "{refused}");
        let table = fs::read_to_string("/proc/thread-self/net/tcp").expect("sockets");
        let inode = table.lines().find_map(|line| inode_of(line, number as u16)).expect("a line of ours");
        let holds_it = holds_any(std::process::id(), &[format!("socket:[{inode}]")]);
        assert!(holds_it.expect("our descriptors"));
        assert!(describe(std::process::id()).starts_with(&format!("pid {} (", std::process::id())));
        drop(holds);
        bind_all(&[taken]).expect("free again");
    }

    #[test]
    fn udp_ports_are_not_shared() {
        let (_holds, ports) = bind_all(&[port("", 0, 53, "udp", 1)]).expect("free port");
        assert!(bind_all(&ports).expect_err("taken").message.contains("/udp is already in use"));
    }

    #[test]
    fn an_address_that_is_not_ours_is_refused() {
        let refused = bind_all(&[port("192.0.2.1", 0, 80, "tcp", 1)]).expect_err("not ours").message;
        assert_eq!(refused, "-p 192.0.2.1::80: 192.0.2.1 is no address of this host: cannot assign requested address");
    }
}
