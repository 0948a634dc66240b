//! What a pod wants of the network: mode, addresses, names.

use std::{collections::BTreeSet, net::IpAddr};

use proto::{
    Kind, Refusal, name,
    refusal::Result,
    wire::{HostEntry, NetworkAttachment, NetworkConfig},
};

use super::{
    modes, ports,
    text::{is_domain, no_controls, quoted, shown},
};

/// Longest name of a network interface (IFNAMSIZ without its end).
const MAX_INTERFACE: usize = 15;

/// Refuses a network that cannot be, fills in the mode. `hidden`: it is that of a container of its own.
pub(super) fn check(mut config: NetworkConfig, hidden: bool) -> Result<NetworkConfig> {
    mode(&mut config, hidden)?;
    let bridge = config.mode == "bridge";
    for attachment in &config.networks {
        attach(attachment)?;
    }
    if !bridge {
        needs_bridge(&config)?;
    }
    unique(&config.networks)?;
    for alias in &config.aliases {
        check_alias(alias)?;
    }
    if hidden && !bridge {
        // As podman does, with a warning: a command line made for a bridge runs with --network host, too.
        config.ports.clear();
    }
    if !config.ports.is_empty() && !bridge {
        return Err(Refusal::invalid("PortMappings can only be used with Bridge networking"));
    }
    if config.mode.starts_with("container:") {
        of_another(&config)?;
    }
    config.ports = ports::check(config.ports)?;
    config.exposed = config.exposed.into_iter().map(ports::one).collect::<Result<_>>()?;
    dns(&config)?;
    hosts(&config)?;
    Ok(config)
}

/// Refuses networks that cannot be, of a pod that has been checked and has one more now.
///
/// # Errors
/// A [`Refusal`] in its final words.
pub fn check_attached(config: &NetworkConfig, hidden: bool) -> Result<()> {
    check(config.clone(), hidden).map(drop)
}

/// The mode, in its canonical form.
fn mode(config: &mut NetworkConfig, hidden: bool) -> Result<()> {
    match config.mode.as_str() {
        "" | "bridge" | "private" | "default" => "bridge".clone_into(&mut config.mode),
        "none" | "host" => {}
        "pod" if hidden => {
            return Err(Refusal::invalid(
                "cannot use pod namespace as container is not joining a pod or pod has no infra container: invalid argument",
            ));
        }
        "pod" => return Err(Refusal::invalid("pods presently do not support network mode pod")),
        mode if mode.starts_with("container:") && !hidden => {
            return Err(Refusal::invalid("pods presently do not support network mode container"));
        }
        mode if ["slirp4netns", "pasta"].iter().any(|helper| mode.split(':').next() == Some(helper)) => {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!(
                    "--network {}: networks of rootless pods are not supported by this version: use bridge",
                    shown(mode)
                ),
            ));
        }
        mode => modes::named("--network", mode)?,
    }
    Ok(())
}

/// What only a bridge has.
fn needs_bridge(config: &NetworkConfig) -> Result<()> {
    let refuse = |flag: &str| {
        Err(Refusal::invalid(format!("{flag} can only be set when the network mode is bridge: invalid argument")))
    };
    if config.networks.iter().any(|network| !network.ip.is_empty()) {
        return refuse("--ip");
    }
    if config.networks.iter().any(|network| !network.mac.is_empty()) {
        return refuse("--mac-address");
    }
    if !config.aliases.is_empty() || config.networks.iter().any(|network| !network.aliases.is_empty()) {
        return refuse("--network-alias");
    }
    if !config.networks.is_empty() {
        return Err(Refusal::invalid(format!(
            "can only set extra network names, selected mode {} conflicts with bridge: invalid argument",
            shown(&config.mode)
        )));
    }
    Ok(())
}

/// Who lives in the network of another container has its names and servers.
fn of_another(config: &NetworkConfig) -> Result<()> {
    let dns = [&config.dns_servers, &config.dns_options, &config.dns_search];
    if dns.iter().any(|list| !list.is_empty()) {
        return Err(Refusal::invalid("conflicting options: dns and the network mode: container"));
    }
    if !config.add_hosts.is_empty() || !config.hosts_file.is_empty() {
        return Err(Refusal::invalid("conflicting options: extra host entries and the network mode: container"));
    }
    Ok(())
}

/// One network a pod is attached to. An empty name is the default network's.
fn attach(network: &NetworkAttachment) -> Result<()> {
    if !network.name.is_empty() && !name::is_valid(&network.name) {
        return Err(Refusal::invalid(format!(
            "network name {} invalid: {}",
            quoted(&network.name),
            name::rule(&network.name)
        )));
    }
    if !network.ip.is_empty() {
        match network.ip.parse() {
            Ok(IpAddr::V4(_)) => {}
            Ok(IpAddr::V6(_)) => {
                return Err(Refusal::new(
                    Kind::NotSupported,
                    format!("--ip {}: IPv6 is not supported by this version: give an IPv4 address", network.ip),
                ));
            }
            Err(_) => return Err(Refusal::invalid(format!("{} is not an ip address", quoted(&network.ip)))),
        }
    }
    if !network.mac.is_empty() {
        mac(&network.mac)?;
    }
    for alias in &network.aliases {
        check_alias(alias)?;
    }
    let interface = &network.interface_name;
    let usable = interface.len() <= MAX_INTERFACE
        && !matches!(interface.as_str(), "." | ".." | "lo")
        && interface.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%'));
    if !usable {
        return Err(Refusal::invalid(format!(
            "--network {}:interface_name={}: an interface has up to {MAX_INTERFACE} printable characters without / : %",
            shown(&network.name),
            shown(interface)
        )));
    }
    Ok(())
}

/// Six bytes, not a group's address.
fn mac(text: &str) -> Result<()> {
    let refuse = || Refusal::invalid(format!("address {}: invalid MAC address", shown(text)));
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let bytes = parts
        .iter()
        .map(|part| if part.len() == 2 && !part.starts_with('+') { u8::from_str_radix(part, 16).ok() } else { None })
        .collect::<Option<Vec<u8>>>()
        .ok_or_else(refuse)?;
    match bytes.as_slice() {
        [first, _, _, _, _, _] if first & 1 == 1 => Err(Refusal::invalid(format!(
            "--mac-address {}: the address of a group cannot be an interface's: choose one with an even first byte",
            shown(text)
        ))),
        [_, _, _, _, _, _] if bytes.iter().any(|byte| *byte != 0) => Ok(()),
        _ => Err(refuse()),
    }
}

fn check_alias(alias: &str) -> Result<()> {
    if is_domain(alias) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("--network-alias {}: not a host name", quoted(alias))))
}

/// A network once, an interface once.
fn unique(networks: &[NetworkAttachment]) -> Result<()> {
    let (mut names, mut interfaces) = (BTreeSet::new(), BTreeSet::new());
    for network in networks {
        if !names.insert(network.name.as_str()) {
            return Err(Refusal::invalid(format!("--network {}: given twice", shown(&network.name))));
        }
        if !network.interface_name.is_empty() && !interfaces.insert(network.interface_name.as_str()) {
            return Err(Refusal::invalid(format!(
                "--network {}:interface_name={}: another network has that interface",
                shown(&network.name),
                shown(&network.interface_name)
            )));
        }
    }
    Ok(())
}

/// What goes into resolv.conf, a file of lines.
pub(super) fn dns(config: &NetworkConfig) -> Result<()> {
    let any = !config.dns_servers.is_empty() || !config.dns_options.is_empty() || !config.dns_search.is_empty();
    if config.mode == "none" && any {
        return Err(Refusal::invalid("conflicting options: dns and the network mode: none"));
    }
    let none = config.dns_servers.iter().any(|server| server == "none");
    if none && config.dns_servers.len() > 1 {
        return Err(Refusal::invalid("none is not allowed to be specified with other DNS ip addresses"));
    }
    for server in config.dns_servers.iter().filter(|server| *server != "none") {
        if server.parse::<IpAddr>().is_err() {
            return Err(Refusal::invalid(format!("{} is not an ip address", shown(server))));
        }
    }
    for search in &config.dns_search {
        // A single dot means: no search list at all.
        if search != "." && !is_domain(search) {
            return Err(Refusal::invalid(format!("{} is not a valid domain", shown(search))));
        }
    }
    for option in &config.dns_options {
        if option.is_empty() || !option.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refusal::invalid(format!(
                "--dns-option {}: one option of resolv.conf(5), without spaces",
                quoted(option)
            )));
        }
    }
    Ok(())
}

/// What goes into /etc/hosts, a file of lines.
pub(super) fn hosts(config: &NetworkConfig) -> Result<()> {
    if config.no_hosts && !config.add_hosts.is_empty() {
        return Err(Refusal::invalid("--no-hosts and --add-host cannot be set together"));
    }
    if config.no_hosts && !config.hosts_file.is_empty() {
        return Err(Refusal::invalid("--no-hosts and --hosts-file cannot be set together"));
    }
    no_controls("--hosts-file", &config.hosts_file)?;
    if !matches!(config.hosts_file.as_str(), "" | "none" | "image") && !config.hosts_file.starts_with('/') {
        return Err(Refusal::invalid(format!(
            "--hosts-file {}: give an absolute path, none or image",
            shown(&config.hosts_file)
        )));
    }
    config.add_hosts.iter().try_for_each(host)
}

fn host(entry: &HostEntry) -> Result<()> {
    let typed = || quoted(&format!("{}:{}", entry.names.join(";"), entry.ip));
    if entry.names.is_empty() || entry.names.iter().any(String::is_empty) {
        return Err(Refusal::invalid(format!("hostname in add-host {} is empty", typed())));
    }
    if !entry.names.iter().all(|name| is_domain(name)) {
        return Err(Refusal::invalid(format!("bad format for add-host: {}", typed())));
    }
    if entry.ip != "host-gateway" && entry.ip.parse::<IpAddr>().is_err() {
        return Err(Refusal::invalid(format!("invalid IP address in add-host: {}", quoted(&entry.ip))));
    }
    Ok(())
}
