//! The text of a pod's /etc/resolv.conf, and what the host's says (resolv.conf(5)).

use std::{
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr},
};

use proto::{Refusal, record::NetworkStatus, refusal::Result, wire::NetworkConfig};

use super::{DOMAIN, Networks, store::Layout};

/// Where the host's servers stand; the second where the first names only systemd-resolved's stub.
const HOST_FILES: [&str; 2] = ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"];
/// Bytes of it that are read.
const MAX: u64 = 64 << 10;
/// podman's choice where the host has no server that a pod can reach.
const FALLBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4))];

/// A resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Resolv {
    /// Servers, as written (an IPv6 address may have a scope).
    servers: Vec<String>,
    /// Domains names are looked for in.
    search: Vec<String>,
    /// Options.
    options: Vec<String>,
}

impl Resolv {
    /// Reads one; what it does not know it leaves out.
    fn parse(text: &str) -> Resolv {
        let mut resolv = Resolv::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => resolv.servers.extend(words.next()),
                // The last one counts.
                Some("search" | "domain") => resolv.search = words.collect(),
                Some("options") => resolv.options.extend(words),
                _ => {}
            }
        }
        resolv
    }

    fn read(path: &str) -> Resolv {
        let mut text = String::new();
        // A host without the file has no servers.
        let _ = File::open(path).and_then(|file| file.take(MAX).read_to_string(&mut text));
        Resolv::parse(&text)
    }

    /// The host's.
    fn host() -> Resolv {
        Resolv::read(HOST_FILES[0])
    }

    /// The host's, with servers a pod can reach only.
    fn reachable() -> Resolv {
        let mut resolv = Resolv::host();
        let reachable = |resolv: &Resolv| -> Vec<String> {
            resolv.servers.iter().filter(|server| !is_loopback(server)).cloned().collect()
        };
        let mut servers = reachable(&resolv);
        if servers.is_empty() {
            servers = reachable(&Resolv::read(HOST_FILES[1]));
        }
        if servers.is_empty() {
            servers = FALLBACK.map(|server| server.to_string()).to_vec();
        }
        resolv.servers = servers;
        resolv
    }

    fn text(&self) -> String {
        let mut text = String::new();
        if !self.search.is_empty() {
            text += &format!("search {}\n", self.search.join(" "));
        }
        for server in &self.servers {
            text += &format!("nameserver {server}\n");
        }
        if !self.options.is_empty() {
            text += &format!("options {}\n", self.options.join(" "));
        }
        text
    }
}

fn is_loopback(server: &str) -> bool {
    server.split('%').next().and_then(|address| address.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_loopback())
}

/// The servers of the host, which its own side may ask whatever their address.
pub(super) fn host_servers() -> Vec<IpAddr> {
    Resolv::host().servers.iter().filter_map(|server| server.parse().ok()).collect()
}

/// Text of the pod's /etc/resolv.conf; empty where `--dns none` says there is to be none of ours.
///
/// On a network that answers names it names the gateway, where the pod's own server listens; that server asks those of
/// `--dns`. Elsewhere it names those of `--dns`, else the host's.
///
/// # Errors
/// When a server, domain or option is none.
pub fn resolv_conf(networks: &Networks, config: &NetworkConfig, status: &[NetworkStatus]) -> Result<String> {
    if config.dns_servers.iter().any(|server| server == "none") {
        return Ok(String::new());
    }
    check(config)?;
    let gateways = dns_gateways(networks, status)?;
    let mut resolv = if !gateways.is_empty() {
        let servers = gateways.iter().map(ToString::to_string).collect();
        Resolv { servers, search: vec![DOMAIN.to_owned()], options: Vec::new() }
    } else if config.mode == "host" {
        Resolv::host()
    } else {
        Resolv::reachable()
    };
    if gateways.is_empty() && !config.dns_servers.is_empty() {
        // podman's: who names the servers wants nothing of the host's but its options.
        resolv.servers.clone_from(&config.dns_servers);
    }
    if !config.dns_search.is_empty() {
        // `--dns-search .` means none.
        resolv.search = config.dns_search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    if !config.dns_options.is_empty() {
        resolv.options.clone_from(&config.dns_options);
    }
    Ok(resolv.text())
}

/// The gateways of the networks in `status` that answer names: also those of internal networks, whose status has none.
pub(super) fn dns_gateways(networks: &Networks, status: &[NetworkStatus]) -> Result<Vec<Ipv4Addr>> {
    let with_dns = status.iter().filter(|status| status.dns);
    with_dns.map(|status| Ok(Layout::of(&networks.get(&status.network)?)?.gateway)).collect()
}

/// One word per entry: what has a line break in it would write lines of its own.
fn check(config: &NetworkConfig) -> Result<()> {
    for server in &config.dns_servers {
        if server.parse::<IpAddr>().is_err() {
            return Err(Refusal::invalid(format!("--dns {server}: {server:?} is not an IP address")));
        }
    }
    for (flag, words) in [("--dns-search", &config.dns_search), ("--dns-option", &config.dns_options)] {
        if let Some(bad) =
            words.iter().find(|word| word.is_empty() || !word.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(Refusal::invalid(format!("{flag} {bad:?}: must be one word of printable characters")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::{Roots, wire};

    use super::*;

    fn networks() -> (tempfile::TempDir, Networks) {
        let dir = tempfile::tempdir().expect("tempdir");
        let networks = Networks::open(&Roots { state: dir.path().join("state"), run: dir.path().join("run") });
        let request = wire::CreateNetwork {
            name: "net".into(),
            subnet: "198.18.6.0/24".into(),
            internal: true,
            ..Default::default()
        };
        networks.create(&request).expect("create");
        (dir, networks)
    }

    fn on(network: &str, dns: bool) -> NetworkStatus {
        NetworkStatus { network: network.into(), dns, ..Default::default() }
    }

    #[test]
    fn a_file_is_read_and_written() {
        let text = "# by hand\nsearch a.example b.example\nnameserver 127.0.0.53 ; stub\nnameserver fe80::1%eth0\noptions edns0\n\
                    options trust-ad\nsortlist x\n";
        let resolv = Resolv::parse(text);
        assert_eq!(resolv.servers, ["127.0.0.53", "fe80::1%eth0"]);
        assert!(is_loopback("127.0.0.53") && is_loopback("::1") && !is_loopback("fe80::1%eth0"));
        let wanted =
            "search a.example b.example\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\noptions edns0 trust-ad\n";
        assert_eq!(resolv.text(), wanted);
    }

    #[test]
    fn a_network_with_names_has_its_gateway() {
        let (_dir, networks) = networks();
        let status = [on("podman", false), on("net", true)];
        let mut config = NetworkConfig { dns_servers: vec!["9.9.9.9".into()], ..Default::default() };
        let text = resolv_conf(&networks, &config, &status).expect("text");
        assert_eq!(text, "search dns.podman\nnameserver 198.18.6.1\n");
        config.dns_search = vec![".".into()];
        config.dns_options = vec!["ndots:1".into()];
        let text = resolv_conf(&networks, &config, &status).expect("text");
        assert_eq!(text, "nameserver 198.18.6.1\noptions ndots:1\n");
        config.dns_servers = vec!["none".into()];
        assert_eq!(resolv_conf(&networks, &config, &status).expect("text"), "");
    }

    #[test]
    fn without_names_the_servers_asked_for_count() {
        let (_dir, networks) = networks();
        let config = NetworkConfig {
            dns_servers: vec!["9.9.9.9".into()],
            dns_search: vec!["x.example".into()],
            dns_options: vec!["edns0".into()],
            ..Default::default()
        };
        let text = resolv_conf(&networks, &config, &[on("podman", false)]).expect("text");
        assert_eq!(text, "search x.example\nnameserver 9.9.9.9\noptions edns0\n");
        let host = resolv_conf(&networks, &NetworkConfig::default(), &[on("podman", false)]).expect("text");
        assert!(host.contains("nameserver ") && !host.contains("nameserver 127."), "{host}");
    }

    #[test]
    fn nothing_writes_lines_of_its_own() {
        let (_dir, networks) = networks();
        for config in [
            NetworkConfig { dns_search: vec!["a b".into()], ..Default::default() },
            NetworkConfig { dns_options: vec!["x\nnameserver 6.6.6.6".into()], ..Default::default() },
            NetworkConfig { dns_servers: vec!["1.1.1.1\n".into()], ..Default::default() },
        ] {
            assert!(resolv_conf(&networks, &config, &[]).is_err(), "{config:?}");
        }
    }
}
