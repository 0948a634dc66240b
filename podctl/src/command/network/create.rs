//! `podctl network create`

use std::{collections::BTreeMap, net::IpAddr};

use proto::{name, serve::deadline, wire::CreateNetwork};

use crate::{
    args::{Action, Args, Command, Flag, Operands, array, list, switch, text, value},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output,
};

const FLAGS: &[Flag] = &[
    switch("disable-dns", "Disable DNS plugin"),
    list("dns", "DNS servers this network will use"),
    text("driver", "string", "Driver to manage the network").short('d').default("\"bridge\""),
    text("gateway", "ip", "IPv4 gateway for the subnet"),
    switch("ignore", "Don't fail if network already exists"),
    text("interface-name", "string", "Interface name which is used by the driver"),
    switch("internal", "Restrict external access from this network"),
    text("ip-range", "CIDR", "Allocate container IP from range"),
    array("label", "Set metadata on a network"),
    array("opt", "Set driver specific options").short('o'),
    text("subnet", "CIDR", "Subnet in CIDR format"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "create",
    about: "Create networks for containers and pods",
    description: "Create bridge networks for containers and pods",
    usage: "[options] [NAME]",
    examples: &["network create podctl1", "network create --subnet 192.5.0.0/16 --gateway 192.5.0.1 net1"],
    flags: &[FLAGS],
    operands: Operands::AtMost(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = request(args)?;
    engine.block_on(async {
        let created = engine.host()?.networks().create(deadline(ASK), &request).await?;
        output::line(&created.name)
    })
}

fn request(args: &Args) -> Result<CreateNetwork, Failure> {
    let name = args.operands.first().cloned().unwrap_or_default();
    if !name.is_empty() && !name::is_valid(&name) {
        return Err(Failure::invalid(format!("network name {name} invalid: {}", name::rule(&name))));
    }
    let driver = args.text("driver").unwrap_or("bridge");
    if driver != "bridge" {
        return Err(Failure::invalid(format!("unsupported driver {driver}: invalid argument")));
    }
    let (subnet, gateway, range) =
        (args.text_or_empty("subnet"), args.text_or_empty("gateway"), args.text_or_empty("ip-range"));
    if subnet.is_empty() && !(gateway.is_empty() && range.is_empty()) {
        return Err(Failure::invalid("cannot set gateway or range without subnet"));
    }
    for cidr in [subnet, range].into_iter().filter(|cidr| !cidr.is_empty()) {
        if !is_cidr(cidr) {
            return Err(Failure::invalid(format!("invalid CIDR address: {cidr}")));
        }
    }
    let servers = args.all("dns");
    for ip in servers.iter().map(String::as_str).chain(Some(gateway).filter(|ip| !ip.is_empty())) {
        ip.parse::<IpAddr>().map_err(|_| Failure::invalid(format!("\"{ip}\" is not an ip address")))?;
    }
    Ok(CreateNetwork {
        name,
        driver: driver.to_owned(),
        subnet: subnet.to_owned(),
        gateway: gateway.to_owned(),
        ip_range: range.to_owned(),
        internal: args.is("internal"),
        disable_dns: args.is("disable-dns"),
        labels: value::labels(&[], &args.all("label"))?,
        options: options(&args.all("opt"))?,
        interface_name: args.text_or_empty("interface-name").to_owned(),
        ignore: args.is("ignore"),
        dns: servers,
    })
}

fn is_cidr(text: &str) -> bool {
    text.split_once('/').is_some_and(|(ip, length)| {
        let bits = match ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= bits)
    })
}

fn options(given: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    given
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Failure::invalid(format!(
                "unable to process options: invalid option format: \"{text}\": use KEY=VALUE"
            ))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn parse(line: &str) -> Result<CreateNetwork, Failure> {
        match scan::parse(
            &crate::command::ROOT,
            format!("network create {line}").split_whitespace().map(str::to_owned).collect(),
        )? {
            Parsed::Run { args, .. } => request(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn every_flag_reaches_the_message() {
        let plain = parse("n").expect("plain");
        for line in [
            "--disable-dns n",
            "--dns 1.1.1.1 n",
            "--subnet 10.1.0.0/16 n",
            "--subnet 10.1.0.0/16 --gateway 10.1.0.1 n",
            "--ignore n",
            "--interface-name x n",
            "--internal n",
            "--label a=b n",
            "-o mtu=9 n",
            "other",
            "",
        ] {
            assert_ne!(parse(line).expect(line), plain, "{line} is forgotten");
        }
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            ("--subnet x", "invalid CIDR address: x"),
            ("--subnet 10.0.0.0/33", "invalid CIDR address: 10.0.0.0/33"),
            ("-d bogus x", "unsupported driver bogus: invalid argument"),
            ("--ip-range 1.1.1.1/24", "cannot set gateway or range without subnet"),
            ("--gateway 1.1.1.1", "cannot set gateway or range without subnet"),
            ("--subnet 10.1.0.0/16 --gateway x", "\"x\" is not an ip address"),
            ("a/b", "network name a/b invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
            ("-o x n", "unable to process options: invalid option format: \"x\": use KEY=VALUE"),
            ("--label =x n", "unable to process labels: invalid label format: \"=x\""),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), words, "{line}");
        }
    }
}
