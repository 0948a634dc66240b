//! What a pod or container wants of the network: `--network`, addresses, ports, DNS, hosts.

use std::net::{IpAddr, Ipv4Addr};

use proto::wire::{HostEntry, NetworkAttachment, NetworkConfig};

use super::{Args, Flag, array, list, mount, port, switch, text};
use crate::error::Failure;

/// How the wire names the default network.
const DEFAULT: &str = "";

/// Flags that pods and containers share.
pub const FLAGS: &[Flag] = &[
    list("add-host", "Add a custom host-to-IP mapping (host:ip)"),
    list("dns", "Set custom DNS servers"),
    list("dns-option", "Set custom DNS options").alias(&["dns-opt"]),
    list("dns-search", "Set custom DNS search domains"),
    text(
        "hosts-file",
        "string",
        "Base file to create the /etc/hosts file inside the container, or one of the special values (\"image\"|\"none\")",
    ),
    text("ip", "string", "Specify a static IPv4 address for the container"),
    text("mac-address", "string", "Container MAC address (e.g. 92:d0:c6:0a:29:33)"),
    array("network", "Connect a container to a network").alias(&["net"]),
    list("network-alias", "Add network-scoped alias for the container"),
    switch("no-hosts", "Do not create /etc/hosts within the container, instead use the version from the image"),
    list("publish", "Publish a container's port, or a range of ports, to the host").short('p'),
];

/// The flags as a message. Mode "" where `--network` was not given.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args) -> Result<NetworkConfig, Failure> {
    let mut config = NetworkConfig::default();
    modes(&args.all("network"), &mut config)?;
    addresses(args, &mut config)?;
    dns(args, &mut config)?;
    config.no_hosts = args.is("no-hosts");
    let hosts = args.all("add-host");
    if config.no_hosts && !hosts.is_empty() {
        return Err(Failure::invalid("--no-hosts and --add-host cannot be set together"));
    }
    config.hosts_file = match args.text_or_empty("hosts-file") {
        word @ ("" | "image" | "none") => word.to_owned(),
        _ if config.no_hosts => return Err(Failure::invalid("--no-hosts and --hosts-file cannot be set together")),
        path => mount::bind_source(path)?,
    };
    for text in &hosts {
        config.add_hosts.push(host(text)?);
    }
    config.ports = port::published(&args.all("publish"))?;
    Ok(config)
}

fn modes(given: &[String], config: &mut NetworkConfig) -> Result<(), Failure> {
    // `n1,n2` are two; what follows a colon are options.
    let split = |text: &String| match text.contains(':') {
        true => vec![text.clone()],
        false => text.split(',').map(str::to_owned).collect(),
    };
    let given: Vec<String> = given.iter().flat_map(split).collect();
    let Some((first, more)) = given.split_first() else { return Ok(()) };
    let (word, options) = first.split_once(':').unwrap_or((first, ""));
    let plain = |mode: &str| {
        if options.is_empty() { Ok(mode.to_owned()) } else { Err(unknown_option(mode, options)) }
    };
    config.mode = match word {
        "" | "default" => String::new(),
        "none" => plain("none")?,
        "host" => plain("host")?,
        "private" => plain("private")?,
        "pod" => plain("pod")?,
        "container" | "ns" => referring(word, options)?,
        "pasta" | "slirp4netns" => {
            return Err(Failure::invalid(format!(
                "--network {word} is not supported: as root use bridge, a network's name, host or none"
            )));
        }
        "bridge" => {
            if !options.is_empty() {
                config.networks.push(attachment(DEFAULT, options)?);
            }
            "bridge".to_owned()
        }
        name => {
            let attachment = attachment(name, options)
                .map_err(|failure| failure.within(&format!("invalid option for network {name}")))?;
            config.networks.push(attachment);
            "bridge".to_owned()
        }
    };
    if more.is_empty() {
        return Ok(());
    }
    if config.mode != "bridge" {
        return Err(Failure::invalid(format!(
            "cannot set multiple networks without bridge network mode, selected mode {}: invalid argument",
            config.mode
        )));
    }
    if config.networks.is_empty() {
        config.networks.push(NetworkAttachment { name: DEFAULT.to_owned(), ..Default::default() });
    }
    for text in more {
        let (name, options) = text.split_once(':').unwrap_or((text, ""));
        if matches!(name, "none" | "host" | "private" | "pod" | "container" | "ns" | "bridge" | "default" | "") {
            return Err(Failure::invalid(format!(
                "can only set extra network names, selected mode {name} conflicts with bridge: invalid argument"
            )));
        }
        let attachment = attachment(name, options)
            .map_err(|failure| failure.within(&format!("invalid option for network {name}")))?;
        if config.networks.iter().any(|other| other.name == attachment.name) {
            return Err(Failure::invalid(format!("--network {name} is given twice: name each network once")));
        }
        config.networks.push(attachment);
    }
    Ok(())
}

fn unknown_option(mode: &str, options: &str) -> Failure {
    Failure::invalid(format!("--network {mode}:{options}: network mode {mode} takes no options"))
}

/// `container:NAME`, `ns:PATH`
fn referring(word: &str, what: &str) -> Result<String, Failure> {
    if what.is_empty() {
        let mode = if word == "ns" { "path" } else { word };
        return Err(Failure::invalid(format!("invalid config provided: namespace mode {mode} requires a value")));
    }
    Ok(format!("{word}:{what}"))
}

fn attachment(name: &str, options: &str) -> Result<NetworkAttachment, Failure> {
    let mut attachment = NetworkAttachment { name: name.to_owned(), ..Default::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "ip" => {
                attachment.ip = ip(value).map_err(|()| Failure::invalid(format!("invalid ip address \"{value}\"")))?
            }
            "mac" => attachment.mac = mac(value)?,
            "alias" if !value.is_empty() => attachment.aliases.push(value.to_owned()),
            "alias" => return Err(Failure::invalid("network alias cannot be empty: invalid argument")),
            "interface_name" if !value.is_empty() => value.clone_into(&mut attachment.interface_name),
            _ => return Err(Failure::invalid(format!("unknown bridge network option: {key}"))),
        }
    }
    Ok(attachment)
}

fn ip(text: &str) -> Result<String, ()> {
    text.parse::<Ipv4Addr>().map(|ip| ip.to_string()).map_err(|_| ())
}

fn mac(text: &str) -> Result<String, Failure> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    if parts.len() == 6 && parts.iter().all(is_byte) {
        Ok(parts.join(":").to_ascii_lowercase())
    } else {
        Err(Failure::invalid(format!("address {text}: invalid MAC address")))
    }
}

fn addresses(args: &Args, config: &mut NetworkConfig) -> Result<(), Failure> {
    config.aliases = args.all("network-alias");
    let wanted = ["ip", "mac-address", "network-alias"].into_iter().find(|flag| args.given(flag));
    let Some(flag) = wanted else { return Ok(()) };
    if !matches!(config.mode.as_str(), "" | "bridge") {
        return Err(Failure::invalid(format!(
            "--{flag} can only be set when the network mode is bridge: invalid argument"
        )));
    }
    let address = match args.text("ip") {
        Some(text) => ip(text).map_err(|()| Failure::invalid(format!("\"{text}\" is not an ip address")))?,
        None => String::new(),
    };
    let hardware = args.text("mac-address").map_or_else(|| Ok(String::new()), mac)?;
    if address.is_empty() && hardware.is_empty() {
        return Ok(());
    }
    if config.networks.len() > 1 {
        return Err(Failure::invalid(format!("--{flag} can only be set for a single network")));
    }
    if config.networks.is_empty() {
        config.networks.push(NetworkAttachment { name: DEFAULT.to_owned(), ..Default::default() });
    }
    if !address.is_empty() {
        config.networks[0].ip = address;
    }
    if !hardware.is_empty() {
        config.networks[0].mac = hardware;
    }
    Ok(())
}

/// `--ip` and `--mac-address` of one network.
///
/// # Errors
/// podman's words.
pub fn static_addresses(args: &Args, attachment: &mut NetworkAttachment) -> Result<(), Failure> {
    if let Some(text) = args.text("ip") {
        attachment.ip = ip(text).map_err(|()| Failure::invalid(format!("\"{text}\" is not an ip address")))?;
    }
    if let Some(text) = args.text("mac-address") {
        attachment.mac = mac(text)?;
    }
    Ok(())
}

fn dns(args: &Args, config: &mut NetworkConfig) -> Result<(), Failure> {
    config.dns_servers = args.all("dns");
    if config.dns_servers.len() > 1 && config.dns_servers.iter().any(|server| server == "none") {
        return Err(Failure::invalid("none is not allowed to be specified with other DNS ip addresses"));
    }
    for server in config.dns_servers.iter().filter(|server| *server != "none") {
        server.parse::<IpAddr>().map_err(|_| Failure::invalid(format!("{server} is not an ip address")))?;
    }
    config.dns_search = args.all("dns-search");
    if let Some(bad) = config.dns_search.iter().find(|domain| !is_domain(domain)) {
        return Err(Failure::invalid(format!("{bad} is not a valid domain")));
    }
    config.dns_options = args.all("dns-option");
    if let Some(bad) =
        config.dns_options.iter().find(|option| option.contains(|c: char| c.is_whitespace() || c.is_control()))
    {
        return Err(Failure::invalid(format!("--dns-option \"{}\" is no option of resolv.conf(5)", bad.trim())));
    }
    Ok(())
}

fn is_domain(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text == "." || text.strip_suffix('.').unwrap_or(text).split('.').all(is_label)
}

/// `NAME[;NAME…]:IP`, `NAME:host-gateway`
fn host(text: &str) -> Result<HostEntry, Failure> {
    let wrong = || Failure::invalid(format!("bad format for add-host: \"{text}\""));
    let (names, ip) = text.split_once(':').ok_or_else(wrong)?;
    let names: Vec<String> = names.split(';').map(str::to_owned).collect();
    if names
        .iter()
        .any(|name| name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#'))
    {
        return Err(wrong());
    }
    if ip != "host-gateway" && ip.parse::<IpAddr>().is_err() {
        return Err(Failure::invalid(format!("invalid IP address in add-host: \"{ip}\"")));
    }
    Ok(HostEntry { names, ip: ip.to_owned() })
}

/// The mode of a namespace other than the network's: `private`, `host`, `pod`, `container:NAME`, `ns:PATH`, and `extra`.
///
/// # Errors
/// podman's words.
pub fn namespace(text: &str, extra: &[&str]) -> Result<String, Failure> {
    let (word, what) = text.split_once(':').unwrap_or((text, ""));
    match word {
        "container" | "ns" => referring(word, what),
        "" | "private" | "host" | "pod" => Ok(text.to_owned()),
        _ if extra.contains(&text) => Ok(text.to_owned()),
        _ => Err(Failure::invalid(format!("unrecognized namespace mode {text} passed"))),
    }
}

/// `--userns`: only the host's.
///
/// # Errors
/// For every other one.
pub fn user_namespace(text: &str) -> Result<String, Failure> {
    match text {
        "" | "host" => Ok(text.to_owned()),
        _ if ["auto", "keep-id", "nomap", "private", "ns", "container"]
            .contains(&text.split(':').next().unwrap_or("")) =>
        {
            Err(Failure::invalid(format!(
                "--userns {text} is not supported: containers run in the host's user namespace, use --userns=host"
            )))
        }
        _ => Err(Failure::invalid(format!("unrecognized namespace mode {text} passed"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn parse(line: &str) -> Result<NetworkConfig, Failure> {
        let words = format!("pod create {line}").split_whitespace().map(str::to_owned).collect();
        match scan::parse(&crate::command::ROOT, words)? {
            Parsed::Run { args, .. } => config(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn networks_with_options() {
        let config =
            parse("--network mired:ip=10.89.0.5,mac=92:D0:c6:0a:29:33,alias=web --network other --network-alias x")
                .expect("config");
        assert_eq!(config.mode, "bridge");
        assert_eq!((config.networks[0].name.as_str(), config.networks[0].ip.as_str()), ("mired", "10.89.0.5"));
        assert_eq!(config.networks[0].mac, "92:d0:c6:0a:29:33");
        assert_eq!(config.networks[0].aliases, ["web"]);
        assert_eq!((config.networks[1].name.as_str(), config.aliases.as_slice()), ("other", &["x".to_owned()][..]));
        assert_eq!(parse("--net host").expect("host").mode, "host");
        assert_eq!(parse("--network container:web").expect("container").mode, "container:web");
        let config = parse("--ip 10.88.0.9").expect("ip");
        assert_eq!((config.mode.as_str(), config.networks[0].ip.as_str()), ("", "10.88.0.9"));
        let config = parse("--add-host a;b:1.2.3.4 --add-host gw:host-gateway --dns 1.1.1.1,::1").expect("hosts");
        assert_eq!(config.add_hosts[0].names, ["a", "b"]);
        assert_eq!(config.dns_servers.len(), 2);
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            (
                "--network host --network none",
                "cannot set multiple networks without bridge network mode, selected mode host: invalid argument",
            ),
            (
                "--network podman --network none",
                "can only set extra network names, selected mode none conflicts with bridge: invalid argument",
            ),
            ("--network container:", "invalid config provided: namespace mode container requires a value"),
            ("--network ns:", "invalid config provided: namespace mode path requires a value"),
            ("--network host:ip=1", "--network host:ip=1: network mode host takes no options"),
            ("--network bridge:foo=1", "unknown bridge network option: foo"),
            ("--network podman:ip=x", "invalid option for network podman: invalid ip address \"x\""),
            ("--network podman:bogus=1", "invalid option for network podman: unknown bridge network option: bogus"),
            ("--network pasta", "--network pasta is not supported: as root use bridge, a network's name, host or none"),
            ("--network a --network a", "--network a is given twice: name each network once"),
            ("--ip x", "\"x\" is not an ip address"),
            ("--ip 10.88.0.300", "\"10.88.0.300\" is not an ip address"),
            ("--ip 10.88.0.9 --network host", "--ip can only be set when the network mode is bridge: invalid argument"),
            ("--ip 10.88.0.9 --network a --network b", "--ip can only be set for a single network"),
            ("--mac-address zz", "address zz: invalid MAC address"),
            ("--dns x", "x is not an ip address"),
            ("--dns none --dns 1.1.1.1", "none is not allowed to be specified with other DNS ip addresses"),
            ("--dns-search x!", "x! is not a valid domain"),
            ("--add-host x", "bad format for add-host: \"x\""),
            ("--add-host :1.1.1.1", "bad format for add-host: \":1.1.1.1\""),
            ("--add-host x:y", "invalid IP address in add-host: \"y\""),
            ("--no-hosts --add-host x:1.1.1.1", "--no-hosts and --add-host cannot be set together"),
            ("--no-hosts --hosts-file /x", "--no-hosts and --hosts-file cannot be set together"),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), words, "{line}");
        }
        assert_eq!(namespace("bogus", &[]).expect_err("x").to_string(), "unrecognized namespace mode bogus passed");
        assert_eq!(
            user_namespace("auto").expect_err("x").to_string(),
            "--userns auto is not supported: containers run in the host's user namespace, use --userns=host"
        );
        assert_eq!(user_namespace("x").expect_err("x").to_string(), "unrecognized namespace mode x passed");
    }
}
