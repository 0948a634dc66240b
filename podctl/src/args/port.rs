//! `-p [[IP:]HOSTPORT:]PORT[/PROTOCOL]`, with ranges, and `--expose PORT[/PROTOCOL]`.

use std::net::IpAddr;

use proto::wire::PortMapping;

use crate::error::Failure;

/// The published ports.
///
/// # Errors
/// podman's words.
pub fn published(given: &[String]) -> Result<Vec<PortMapping>, Failure> {
    let mut ports = Vec::new();
    for text in given {
        let (remainder, protocols) = protocols(text).map_err(Failure::invalid)?;
        for protocol in protocols {
            ports.push(mapping(remainder, protocol).map_err(Failure::invalid)?);
        }
    }
    Ok(ports)
}

/// The exposed ports.
///
/// # Errors
/// podman's words.
pub fn exposed(given: &[String]) -> Result<Vec<PortMapping>, Failure> {
    let mut ports = Vec::new();
    for text in given {
        let (remainder, protocols) = protocols(text).map_err(Failure::invalid)?;
        let (container_port, range) = self::range(remainder)
            .map_err(|why| Failure::invalid(format!("invalid range format for --expose: {text}: {why}")))?;
        ports.extend(protocols.into_iter().map(|protocol| PortMapping {
            container_port,
            range,
            protocol: protocol.to_owned(),
            ..Default::default()
        }));
    }
    Ok(ports)
}

/// What is before the protocols, and the protocols (`80/tcp,udp`).
fn protocols(text: &str) -> Result<(&str, Vec<&str>), String> {
    let Some((remainder, protocols)) = text.split_once('/') else { return Ok((text, vec!["tcp"])) };
    if protocols.contains('/') {
        return Err("invalid port format - protocol can only be specified once".to_owned());
    }
    if protocols.is_empty() {
        return Err("must provide a non-empty protocol to publish".to_owned());
    }
    let protocols: Vec<&str> = protocols.split(',').collect();
    match protocols.iter().find(|protocol| !matches!(**protocol, "tcp" | "udp" | "sctp")) {
        Some(protocol) if !remainder.is_empty() => Err(format!("unrecognized protocol \"{protocol}\" in port mapping")),
        _ => Ok((remainder, protocols)),
    }
}

fn mapping(text: &str, protocol: &str) -> Result<PortMapping, String> {
    let (ip, host, container) = split(text)?;
    if container.is_empty() {
        return Err("must provide a non-empty container port to publish".to_owned());
    }
    let (container_port, range) = self::range(container).map_err(|why| format!("parsing container port: {why}"))?;
    let host_ip = match ip {
        None | Some("0.0.0.0") => String::new(),
        Some("") => return Err("must provide a non-empty container host IP to publish".to_owned()),
        Some(ip) => ip.parse::<IpAddr>().map_err(|_| format!("cannot parse \"{ip}\" as an IP address"))?.to_string(),
    };
    let host_port = match host.filter(|host| !host.is_empty()) {
        None => 0,
        Some(host) => {
            let (port, length) = self::range(host).map_err(|why| format!("parsing host port: {why}"))?;
            if length != range {
                return Err(format!("host and container port ranges have different lengths: {length} vs {range}"));
            }
            port
        }
    };
    Ok(PortMapping { host_ip, host_port, container_port, protocol: protocol.to_owned(), range })
}

type Parts<'a> = (Option<&'a str>, Option<&'a str>, &'a str);

/// IP, host port, container port.
fn split(text: &str) -> Result<Parts<'_>, String> {
    const FORMAT: &str = "invalid port format - format is [[hostIP:]hostPort:]containerPort";
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest
            .split_once("]:")
            .ok_or("invalid port format - IPv6 addresses must be enclosed by [] and followed by :")?;
        let (host, container) = rest
            .split_once(':')
            .filter(|(_, container)| !container.contains(':'))
            .ok_or("invalid port format - when v6 address specified, must be [ipv6]:hostPort:ctrPort")?;
        return Ok((Some(ip), Some(host), container));
    }
    let parts: Vec<&str> = text.split(':').collect();
    match parts.as_slice() {
        [container] => Ok((None, None, container)),
        [host, container] => Ok((None, Some(host), container)),
        [ip, host, container] => Ok((Some(ip), Some(host), container)),
        _ => Err(FORMAT.to_owned()),
    }
}

/// First port and number of ports of `80` or `8000-8010`.
fn range(text: &str) -> Result<(u32, u32), String> {
    let Some((start, end)) = text.split_once('-') else { return Ok((port(text)?, 1)) };
    if end.contains('-') {
        return Err("invalid port format - port ranges are formatted as startPort-stopPort".to_owned());
    }
    if start.is_empty() {
        return Err("port numbers cannot be negative".to_owned());
    }
    let start = port(start)?;
    if end.is_empty() {
        return Err("must provide ending number for port range".to_owned());
    }
    let end = port(end)?;
    if end <= start {
        return Err(format!(
            "the end port of a range must be higher than the start port - {end} is not higher than {start}"
        ));
    }
    Ok((start, end - start + 1))
}

fn port(text: &str) -> Result<u32, String> {
    let number: i64 =
        text.parse().map_err(|_| format!("invalid port number: strconv.Atoi: parsing \"{text}\": invalid syntax"))?;
    u32::try_from(number)
        .ok()
        .filter(|number| (1..=65535).contains(number))
        .ok_or_else(|| format!("port numbers must be between 1 and 65535 (inclusive), got {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> PortMapping {
        published(&[text.to_owned()]).expect(text).remove(0)
    }

    #[test]
    fn ports_in_all_their_forms() {
        for (text, ip, host, container, protocol, range) in [
            ("80", "", 0, 80, "tcp", 1),
            ("8080:80", "", 8080, 80, "tcp", 1),
            ("127.0.0.1:8080:80/udp", "127.0.0.1", 8080, 80, "udp", 1),
            ("0.0.0.0:8080:80", "", 8080, 80, "tcp", 1),
            ("127.0.0.1::80", "127.0.0.1", 0, 80, "tcp", 1),
            ("8000-8002:9000-9002", "", 8000, 9000, "tcp", 3),
            ("[::1]:8080:80/sctp", "::1", 8080, 80, "sctp", 1),
            (":80", "", 0, 80, "tcp", 1),
        ] {
            let found = one(text);
            assert_eq!(
                (found.host_ip.as_str(), found.host_port, found.container_port, found.protocol.as_str(), found.range),
                (ip, host, container, protocol, range),
                "{text}"
            );
        }
        assert_eq!(published(&["53:53/tcp,udp".to_owned()]).expect("two").len(), 2);
        assert_eq!(exposed(&["90-92/udp".to_owned()]).expect("exposed")[0].range, 3);
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (text, words) in [
            ("0", "parsing container port: port numbers must be between 1 and 65535 (inclusive), got 0"),
            ("80:80:80:80", "invalid port format - format is [[hostIP:]hostPort:]containerPort"),
            ("99999:80", "parsing host port: port numbers must be between 1 and 65535 (inclusive), got 99999"),
            ("a:80", "parsing host port: invalid port number: strconv.Atoi: parsing \"a\": invalid syntax"),
            (
                "80-70:80",
                "parsing host port: the end port of a range must be higher than the start port - 70 is not higher than 80",
            ),
            ("80-81:80", "host and container port ranges have different lengths: 2 vs 1"),
            ("80/foo", "unrecognized protocol \"foo\" in port mapping"),
            ("80/", "must provide a non-empty protocol to publish"),
            ("x:80:80", "cannot parse \"x\" as an IP address"),
            (":80:80", "must provide a non-empty container host IP to publish"),
            ("/tcp", "must provide a non-empty container port to publish"),
            (":", "must provide a non-empty container port to publish"),
            ("80/tcp/udp", "invalid port format - protocol can only be specified once"),
            ("1-2-3", "parsing container port: invalid port format - port ranges are formatted as startPort-stopPort"),
            ("-3", "parsing container port: port numbers cannot be negative"),
            ("3-", "parsing container port: must provide ending number for port range"),
            ("[::1]80", "invalid port format - IPv6 addresses must be enclosed by [] and followed by :"),
            ("[::1]:80", "invalid port format - when v6 address specified, must be [ipv6]:hostPort:ctrPort"),
        ] {
            let failure = published(&[text.to_owned()]).expect_err(text);
            assert_eq!(failure.to_string(), words, "{text}");
        }
        assert_eq!(
            exposed(&["x".to_owned()]).expect_err("x").to_string(),
            "invalid range format for --expose: x: invalid port number: strconv.Atoi: parsing \"x\": invalid syntax"
        );
    }
}
