//! What `pod create` asks for.

use std::collections::BTreeSet;

use proto::{
    name,
    wire::{PodConfig, Security},
};

use super::{Args, Flag, array, list, mount, network, resources, switch, text, value};
use crate::error::Failure;

/// Flags of `pod create` beside those of [`network`] and [`resources`].
pub const FLAGS: &[Flag] = &[
    list("device", "Add a host device to the container"),
    text("exit-policy", "string", "Behaviour when the last container exits").default("\"continue\""),
    text("hostname", "string", "Set container hostname").short('h'),
    switch("infra", "Create an infra container associated with the pod to share namespaces with").default("true"),
    text("infra-command", "string", "Overwrite the default ENTRYPOINT of the image"),
    text("infra-conmon-pidfile", "string", "Path to the file that will receive the PID of the process that is the infra"),
    text("infra-image", "string", "Image to show for the infra container; it is never pulled, the infra needs none"),
    text("infra-name", "string", "Assign a name to the infra container"),
    array("label", "Set metadata on pod").short('l'),
    list("label-file", "Read in a line delimited file of labels"),
    text("name", "string", "Assign a name to the pod").short('n'),
    switch("no-hostname", "Do not create /etc/hostname within the containers, instead use the version from the image"),
    text("pid", "string", "PID namespace to use for the members that share it (\"private\"|\"host\"|\"ns:PATH\")"),
    text("pod-id-file", "string", "Write the pod ID to the file"),
    switch("replace", "If a pod with the same name exists, replace it"),
    text("restart", "string", "Restart policy to apply when a container exits (\"always\"|\"no\"|\"never\"|\"on-failure\"|\"unless-stopped\")"),
    array("security-opt", "Security Options"),
    text("share", "string", "A comma delimited list of kernel namespaces the pod will share").default("\"ipc,net,uts\""),
    switch("share-parent", "Set the pod's cgroup as the cgroup parent for all containers joining the pod").default("true"),
    text("shm-size", "<number>[<unit>]", "Size of /dev/shm (format: <number>[<unit>], where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))").default("\"65536k\""),
    resources::SHM_SIZE_SYSTEMD,
    array("gpus", "GPU devices to add to the pod's containers: refused, no CDI specification is read"),
    list("sysctl", "Sysctl options"),
    text("userns", "string", "User namespace to use (\"host\")"),
    text("uts", "string", "UTS namespace to use for the members that share it (\"private\"|\"host\"|\"ns:PATH\")"),
    array("volume", "Bind mount a volume into the container").short('v'),
    array("volumes-from", "Mount volumes from the specified container(s)"),
];

/// Namespaces a pod shares when it is not told.
const SHARED: [&str; 3] = ["ipc", "net", "uts"];

/// The flags as a message.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args) -> Result<PodConfig, Failure> {
    let (share, infra) = shared(args)?;
    let network = network::config(args)?;
    if !infra {
        without_infra(args, &share)?;
    } else if !network.ports.is_empty() && !matches!(network.mode.as_str(), "" | "bridge" | "private") {
        return Err(Failure::invalid("PortMappings can only be used with Bridge, slirp4netns, or pasta networking"));
    }
    if network.mode.starts_with("container:") {
        return Err(Failure::invalid("pods presently do not support network mode container"));
    }
    if network.mode == "none" && !network.dns_servers.is_empty() {
        return Err(Failure::invalid("conflicting options: dns and the network mode: none"));
    }
    super::container::no_gpus(args)?;
    let mut security = Security::default();
    value::security_options(&args.all("security-opt"), &mut security)?;
    let config = PodConfig {
        name: pod_name(args)?,
        hostname: args.text_or_empty("hostname").to_owned(),
        labels: value::labels(&args.all("label-file"), &args.all("label"))?,
        no_infra: !infra,
        infra_name: args.text_or_empty("infra-name").to_owned(),
        infra_command: args.text_or_empty("infra-command").to_owned(),
        infra_conmon_pidfile: args.text("infra-conmon-pidfile").map(value::absolute).transpose()?.unwrap_or_default(),
        no_hostname: args.is("no-hostname"),
        infra_image: args.text_or_empty("infra-image").to_owned(),
        exit_policy: exit_policy(args.text_or_empty("exit-policy"))?,
        restart: args.text("restart").map(value::restart).transpose()?,
        network: Some(network),
        mounts: mount::all(&args.all("volume"), &[], &[])?,
        resources: Some(resources::config(args)?),
        cgroup_parent: args.text_or_empty("cgroup-parent").to_owned(),
        no_share_parent: args.switch("share-parent") == Some(false),
        security: Some(security),
        sysctls: value::sysctls(&args.all("sysctl"))?,
        devices: value::devices(&args.all("device"))?,
        shm_size: resources::shm_size(args, "shm-size")?,
        shm_size_systemd: resources::shm_size(args, "shm-size-systemd")?,
        create_command: std::env::args().collect(),
        volumes_from: mount::volumes_from(&args.all("volumes-from"))?,
        pid_mode: network::namespace(args.text_or_empty("pid"), &[])?,
        uts_mode: network::namespace(args.text_or_empty("uts"), &[])?,
        userns: network::user_namespace(args.text_or_empty("userns"))?,
        share,
        ..Default::default()
    };
    if !config.infra_name.is_empty() && !name::is_valid(&config.infra_name) {
        return Err(Failure::invalid(format!(
            "--infra-name {}: {}",
            config.infra_name,
            name::rule(&config.infra_name)
        )));
    }
    if config.share.iter().any(|shared| shared == "cgroup") && !config.no_share_parent && args.given("share-parent") {
        return Err(Failure::invalid(
            "cannot define the pod as the cgroup parent at the same time as joining the infra container's cgroupNS: invalid argument",
        ));
    }
    Ok(config)
}

fn pod_name(args: &Args) -> Result<String, Failure> {
    let operand = args.operands.first().map(String::as_str);
    if args.given("name") && operand.is_some() {
        return Err(Failure::invalid("cannot specify --name and NAME at the same time"));
    }
    let given = args.text("name").or(operand).unwrap_or_default();
    if !given.is_empty() && !name::is_valid(given) {
        return Err(Failure::invalid(format!("running pod create option: {}", name::rule(given))));
    }
    if args.is("replace") && given.is_empty() {
        return Err(Failure::invalid("cannot replace pod without --name being set"));
    }
    Ok(given.to_owned())
}

/// The shared namespaces, sorted, and whether there is an infra.
fn shared(args: &Args) -> Result<(Vec<String>, bool), Failure> {
    let wanted_infra = args.switch("infra");
    let mut share: BTreeSet<String> = BTreeSet::new();
    let Some(text) = args.text("share") else {
        let infra = wanted_infra.unwrap_or(true);
        return Ok((if infra { SHARED.map(str::to_owned).into() } else { Vec::new() }, infra));
    };
    let text = match text.strip_prefix('+') {
        Some(more) => {
            share.extend(SHARED.map(str::to_owned));
            more
        }
        None => text,
    };
    for word in text.split(',').map(str::trim) {
        match word {
            "cgroup" | "ipc" | "net" | "pid" | "uts" => {
                share.insert(word.to_owned());
            }
            "" | "none" => {}
            bogus => {
                return Err(Failure::invalid(format!(
                    "invalid kernel namespace to share: {bogus}. Options are: cgroup, ipc, net, pid, uts or none"
                )));
            }
        }
    }
    let infra = wanted_infra.unwrap_or(!share.is_empty());
    if share.is_empty() && infra {
        // An empty list on the wire would be the default.
        share.insert("none".to_owned());
    }
    Ok((share.into_iter().collect(), infra))
}

/// What cannot be asked of a pod without an infra.
fn without_infra(args: &Args, share: &[String]) -> Result<(), Failure> {
    if !share.is_empty() {
        return Err(Failure::invalid(format!(
            "cannot set share({}) namespaces without an infra container",
            args.text_or_empty("share")
        )));
    }
    for (flag, words) in [
        ("no-hosts", "cannot specify --no-hosts without an infra container"),
        ("infra-conmon-pidfile", "NoInfra and InfraConmonPidFile are mutually exclusive pod options: invalid pod spec"),
        ("infra-name", "cannot specify --infra-name without an infra container"),
        ("publish", "you must have an infra container to publish port bindings to the host"),
        ("network", "NoInfra and network modes cannot be used together"),
        ("ip", "cannot set --ip without infra container: invalid argument"),
        ("mac-address", "cannot set --mac-address without infra container: invalid argument"),
        ("network-alias", "cannot set --network-alias without infra container: invalid argument"),
        ("dns", "NoInfra and DNSServer are mutually exclusive pod options: invalid pod spec"),
        ("dns-option", "NoInfra and DNSOption are mutually exclusive pod options: invalid pod spec"),
        ("dns-search", "NoInfra and DNSSearch are mutually exclusive pod options: invalid pod spec"),
        ("add-host", "NoInfra and HostAdd are mutually exclusive pod options: invalid pod spec"),
        ("hosts-file", "NoInfra and HostsFile are mutually exclusive pod options: invalid pod spec"),
    ] {
        if args.given(flag) {
            return Err(Failure::invalid(words));
        }
    }
    Ok(())
}

/// `--exit-policy`
///
/// # Errors
/// podman's words.
fn exit_policy(text: &str) -> Result<String, Failure> {
    match text {
        "" | "continue" | "stop" => Ok(text.to_owned()),
        _ => Err(Failure::invalid(format!("running pod create option: invalid pod exit policy: \"{text}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn parse(line: &str) -> Result<PodConfig, Failure> {
        let words = format!("pod create {line}").split_whitespace().map(str::to_owned).collect();
        match scan::parse(&crate::command::ROOT, words)? {
            Parsed::Run { args, .. } => config(&args),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_is_shared() {
        for (line, share, infra) in [
            ("", "ipc,net,uts", true),
            ("--share pid,net", "net,pid", true),
            ("--share +pid", "ipc,net,pid,uts", true),
            ("--share none", "", false),
            ("--share none --infra=true", "none", true),
            ("--infra=false", "", false),
        ] {
            let config = parse(line).expect(line);
            assert_eq!((config.share.join(","), !config.no_infra), (share.to_owned(), infra), "{line}");
        }
    }

    #[test]
    fn every_flag_reaches_the_message() {
        let plain = parse("").expect("plain");
        for line in [
            "--device /dev/null",
            "--exit-policy stop",
            "--hostname x",
            "--infra=false",
            "--infra-command x",
            "--infra-image x",
            "--infra-name x",
            "--infra-conmon-pidfile x",
            "--no-hostname",
            "--label a=b",
            "--label-file /dev/null --label x",
            "--name x",
            "x",
            "--restart always",
            "--security-opt no-new-privileges",
            "--share net",
            "--share-parent=false",
            "--shm-size 1m",
            "--sysctl a=b",
            "--userns host",
            "--volume v:/x",
            "--volumes-from c",
            "--add-host a:1.1.1.1",
            "--dns 1.1.1.1",
            "--dns-option x",
            "--dns-search x",
            "--hosts-file none",
            "--ip 10.88.0.5",
            "--mac-address 92:d0:c6:0a:29:33",
            "--network host",
            "--network-alias x",
            "--no-hosts",
            "--publish 80",
            "--blkio-weight 10",
            "--cgroup-parent /x",
            "--cpu-shares 5",
            "--cpus 1",
            "--cpuset-cpus 0",
            "--cpuset-mems 0",
            "--memory 10m",
            "--memory 10m --memory-swap 20m",
        ] {
            assert_ne!(parse(line).expect(line), plain, "{line} is forgotten");
        }
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            (
                "--share bogus",
                "invalid kernel namespace to share: bogus. Options are: cgroup, ipc, net, pid, uts or none",
            ),
            ("--infra=false --share net", "cannot set share(net) namespaces without an infra container"),
            ("--infra=false -p 80:80", "you must have an infra container to publish port bindings to the host"),
            ("--infra=false --network x", "NoInfra and network modes cannot be used together"),
            (
                "--infra=false --dns 1.1.1.1",
                "NoInfra and DNSServer are mutually exclusive pod options: invalid pod spec",
            ),
            (
                "--infra=false --dns-option x",
                "NoInfra and DNSOption are mutually exclusive pod options: invalid pod spec",
            ),
            (
                "--infra=false --dns-search x",
                "NoInfra and DNSSearch are mutually exclusive pod options: invalid pod spec",
            ),
            (
                "--infra=false --add-host a:1.1.1.1",
                "NoInfra and HostAdd are mutually exclusive pod options: invalid pod spec",
            ),
            (
                "--infra=false --hosts-file none",
                "NoInfra and HostsFile are mutually exclusive pod options: invalid pod spec",
            ),
            ("--infra=false --no-hosts", "cannot specify --no-hosts without an infra container"),
            ("--infra=false --infra-name x", "cannot specify --infra-name without an infra container"),
            ("--infra=false --ip 1.1.1.1", "cannot set --ip without infra container: invalid argument"),
            ("--exit-policy bad", "running pod create option: invalid pod exit policy: \"bad\""),
            ("--network container:x", "pods presently do not support network mode container"),
            ("--network host -p 80:80", "PortMappings can only be used with Bridge, slirp4netns, or pasta networking"),
            ("--network none --dns 1.1.1.1", "conflicting options: dns and the network mode: none"),
            ("--name a b", "cannot specify --name and NAME at the same time"),
            ("--name -x", "running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
            ("--infra-name a/b", "--infra-name a/b: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
            ("--replace", "cannot replace pod without --name being set"),
            (
                "--share-parent --share cgroup",
                "cannot define the pod as the cgroup parent at the same time as joining the infra container's cgroupNS: invalid argument",
            ),
            (
                "--userns auto",
                "--userns auto is not supported: containers run in the host's user namespace, use --userns=host",
            ),
            ("--shm-size x", "unable to translate --shm-size: invalid size: 'x'"),
            ("-m x", "invalid value for memory: invalid size: 'x'"),
            ("--restart bad", "\"bad\" is not a valid restart policy: invalid argument"),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), words, "{line}");
        }
    }
}
