//! Every refusal of this module, one row each: what is asked for, and the final words.

use proto::{
    Kind, Refusal,
    wire::{
        Argv, ContainerConfig, Device, HealthConfig, HostEntry, LogConfig, Mount, NetworkAttachment, NetworkConfig,
        PodConfig, PortMapping, Resources, RestartPolicy, Security, Ulimit, mount,
    },
};

use super::{check_container, check_pod};

type Row<T> = (fn(&mut T), &'static str);

/// Strings.
fn s(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn restart(name: &str, max_retries: u32) -> Option<RestartPolicy> {
    Some(RestartPolicy { name: name.into(), max_retries })
}

fn port(host_ip: &str, host_port: u32, container_port: u32, range: u32) -> PortMapping {
    PortMapping { host_ip: host_ip.into(), host_port, container_port, range, ..Default::default() }
}

fn mount(kind: mount::Kind, source: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        kind: kind.into(),
        source: source.into(),
        destination: destination.into(),
        options: s(options),
        ..Default::default()
    }
}

fn volume(destination: &str, options: &[&str]) -> Vec<Mount> {
    vec![mount(mount::Kind::Volume, "v", destination, options)]
}

fn net(pod: &mut PodConfig) -> &mut NetworkConfig {
    pod.network.get_or_insert_default()
}

fn net_of(config: &mut ContainerConfig) -> &mut NetworkConfig {
    config.network.get_or_insert_default()
}

fn limits(config: &mut ContainerConfig) -> &mut Resources {
    config.resources.get_or_insert_default()
}

fn health(config: &mut ContainerConfig) -> &mut HealthConfig {
    config.health.get_or_insert_default()
}

fn security(config: &mut ContainerConfig) -> &mut Security {
    config.security.get_or_insert_default()
}

/// Pods, by `pod create`.
const PODS: &[Row<PodConfig>] = &[
    (
        |p| p.name = "a/b".into(),
        "running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (|p| p.name = "x".repeat(256), "running pod create option: names have at most 255 characters: invalid argument"),
    (
        |p| p.hostname = "a b".into(),
        "running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (|p| p.hostname = "a..b".into(), "--hostname \"a..b\": a host name has up to 64 letters, digits, hyphens and dots"),
    (
        |p| p.infra_name = "a/b".into(),
        "running container create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (|p| drop(p.labels.insert(String::new(), "x".into())), "unable to process labels: invalid label format: \"=x\""),
    (
        |p| drop(p.labels.insert("a\nb".into(), String::new())),
        "--label \"a\\nb\": control characters and line breaks are not allowed",
    ),
    (
        |p| drop(p.labels.insert("io.podctl.pod".into(), String::new())),
        "--label io.podctl.pod: names that begin with io.podctl. are the engine's own: choose another",
    ),
    (|p| drop(p.labels.insert("a".into(), "\0".into())), "--label \"\\0\": NUL characters are not allowed"),
    (
        |p| p.infra_command = "sleep".into(),
        "--infra-command: a pod's infra is a process of the engine, which runs no command: leave it out",
    ),
    (
        |p| p.infra_command = "a\nb".into(),
        "--infra-command \"a\\nb\": control characters and line breaks are not allowed",
    ),
    // --infra=false
    (|p| (p.no_infra, p.share) = (true, s(&["net"])), "cannot set share(net) namespaces without an infra container"),
    (
        |p| (p.no_infra, p.infra_name) = (true, "x".into()),
        "NoInfra and InfraName are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).ports = vec![port("", 80, 80, 1)];
        },
        "you must have an infra container to publish port bindings to the host",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).mode = "host".into();
        },
        "NoInfra and network modes cannot be used together",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).networks = vec![NetworkAttachment { ip: "10.88.0.7".into(), ..Default::default() }];
        },
        "cannot set --ip without infra container: invalid argument",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).networks = vec![NetworkAttachment { mac: "02:00:00:00:00:01".into(), ..Default::default() }];
        },
        "cannot set --mac-address without infra container: invalid argument",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).networks = vec![NetworkAttachment { name: "mired".into(), ..Default::default() }];
        },
        "cannot set networks options without infra container",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).dns_servers = s(&["1.1.1.1"]);
        },
        "NoInfra and DNSServer are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).dns_options = s(&["ndots:1"]);
        },
        "NoInfra and DNSOption are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).dns_search = s(&["x"]);
        },
        "NoInfra and DNSSearch are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).add_hosts = vec![HostEntry { names: s(&["a"]), ip: "1.1.1.1".into() }];
        },
        "NoInfra and HostAdd are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).hosts_file = "none".into();
        },
        "NoInfra and HostsFile are mutually exclusive pod options: invalid pod spec",
    ),
    (
        |p| {
            p.no_infra = true;
            net(p).no_hosts = true;
        },
        "cannot specify --no-hosts without an infra container",
    ),
    // Sharing and policies
    (
        |p| p.share = s(&["bogus"]),
        "invalid kernel namespace to share: bogus. Options are: cgroup, ipc, net, pid, uts or none",
    ),
    (|p| p.share = s(&["none", "net"]), "--share none cannot be combined with namespaces to share"),
    (
        |p| p.share = s(&["user"]),
        "--share user: a user namespace belongs to the whole pod and is not supported by this version",
    ),
    (
        |p| p.share = s(&["+cgroup"]),
        "cannot define the pod as the cgroup parent at the same time as joining the infra container's cgroupNS: invalid argument",
    ),
    (|p| p.exit_policy = "bad".into(), "running pod create option: invalid pod exit policy: \"bad\""),
    (
        |p| p.restart = restart("bad", 0),
        "running pod create option: \"bad\" is not a valid restart policy: invalid argument",
    ),
    (
        |p| p.restart = restart("always", 3),
        "restart policy retries can only be specified with on-failure restart policy",
    ),
    // Network
    (|p| net(p).mode = "container:x".into(), "pods presently do not support network mode container"),
    (|p| net(p).mode = "pod".into(), "pods presently do not support network mode pod"),
    (|p| net(p).mode = "bogus".into(), "unrecognized namespace mode bogus passed"),
    (|p| net(p).mode = "ns:rel".into(), "--network ns:rel: the path of a namespace is absolute"),
    (
        |p| net(p).mode = "pasta:-t".into(),
        "--network pasta:-t: networks of rootless pods are not supported by this version: use bridge",
    ),
    (
        |p| {
            net(p).mode = "host".into();
            net(p).networks = vec![NetworkAttachment { ip: "1.2.3.4".into(), ..Default::default() }];
        },
        "--ip can only be set when the network mode is bridge: invalid argument",
    ),
    (
        |p| {
            net(p).mode = "host".into();
            net(p).networks = vec![NetworkAttachment { mac: "02:00:00:00:00:01".into(), ..Default::default() }];
        },
        "--mac-address can only be set when the network mode is bridge: invalid argument",
    ),
    (
        |p| {
            net(p).mode = "host".into();
            net(p).aliases = s(&["x"]);
        },
        "--network-alias can only be set when the network mode is bridge: invalid argument",
    ),
    (
        |p| {
            net(p).mode = "none".into();
            net(p).networks = vec![NetworkAttachment { name: "a".into(), ..Default::default() }];
        },
        "can only set extra network names, selected mode none conflicts with bridge: invalid argument",
    ),
    (
        |p| net(p).networks = vec![NetworkAttachment { name: "../x".into(), ..Default::default() }],
        "network name \"../x\" invalid: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (
        |p| net(p).networks = vec![NetworkAttachment { ip: "bad".into(), ..Default::default() }],
        "\"bad\" is not an ip address",
    ),
    (
        |p| net(p).networks = vec![NetworkAttachment { ip: "fd00::2".into(), ..Default::default() }],
        "--ip fd00::2: IPv6 is not supported by this version: give an IPv4 address",
    ),
    (
        |p| net(p).networks = vec![NetworkAttachment { mac: "bad".into(), ..Default::default() }],
        "address bad: invalid MAC address",
    ),
    (
        |p| net(p).networks = vec![NetworkAttachment { mac: "01:00:00:00:00:01".into(), ..Default::default() }],
        "--mac-address 01:00:00:00:00:01: the address of a group cannot be an interface's: choose one with an even first byte",
    ),
    (
        |p| {
            net(p).networks =
                vec![NetworkAttachment { name: "n".into(), interface_name: "a/b".into(), ..Default::default() }]
        },
        "--network n:interface_name=a/b: an interface has up to 15 printable characters without / : %",
    ),
    (
        |p| {
            let one = NetworkAttachment { name: "n".into(), ..Default::default() };
            net(p).networks = vec![one.clone(), one];
        },
        "--network n: given twice",
    ),
    (
        |p| {
            let one = NetworkAttachment { name: "n".into(), interface_name: "e".into(), ..Default::default() };
            net(p).networks = vec![one.clone(), NetworkAttachment { name: "m".into(), ..one }];
        },
        "--network m:interface_name=e: another network has that interface",
    ),
    (|p| net(p).aliases = s(&["a b"]), "--network-alias \"a b\": not a host name"),
    (
        |p| {
            net(p).mode = "none".into();
            net(p).dns_servers = s(&["1.1.1.1"]);
        },
        "conflicting options: dns and the network mode: none",
    ),
    (
        |p| net(p).dns_servers = s(&["none", "1.1.1.1"]),
        "none is not allowed to be specified with other DNS ip addresses",
    ),
    (|p| net(p).dns_servers = s(&["bad"]), "bad is not an ip address"),
    (|p| net(p).dns_search = s(&["a b"]), "a b is not a valid domain"),
    (
        |p| net(p).dns_options = s(&["a\nnameserver 6.6.6.6"]),
        "--dns-option \"a\\nnameserver 6.6.6.6\": one option of resolv.conf(5), without spaces",
    ),
    (
        |p| {
            net(p).no_hosts = true;
            net(p).add_hosts = vec![HostEntry { names: s(&["a"]), ip: "1.1.1.1".into() }];
        },
        "--no-hosts and --add-host cannot be set together",
    ),
    (
        |p| (net(p).no_hosts, net(p).hosts_file) = (true, "none".into()),
        "--no-hosts and --hosts-file cannot be set together",
    ),
    (|p| net(p).hosts_file = "x".into(), "--hosts-file x: give an absolute path, none or image"),
    (
        |p| net(p).add_hosts = vec![HostEntry { names: s(&[""]), ip: "1.1.1.1".into() }],
        "hostname in add-host \":1.1.1.1\" is empty",
    ),
    (
        |p| net(p).add_hosts = vec![HostEntry { names: s(&["h\n1.2.3.4 x"]), ip: "1.1.1.1".into() }],
        "bad format for add-host: \"h\\n1.2.3.4 x:1.1.1.1\"",
    ),
    (
        |p| net(p).add_hosts = vec![HostEntry { names: s(&["a"]), ip: "b".into() }],
        "invalid IP address in add-host: \"b\"",
    ),
    // Ports
    (
        |p| {
            net(p).mode = "host".into();
            net(p).ports = vec![port("", 80, 80, 1)];
        },
        "PortMappings can only be used with Bridge networking",
    ),
    (
        |p| net(p).ports = vec![port("", 70000, 80, 1)],
        "parsing host port: port numbers must be between 1 and 65535 (inclusive), got 70000",
    ),
    (
        |p| net(p).ports = vec![port("", 80, 0, 1)],
        "parsing container port: port numbers must be between 1 and 65535 (inclusive), got 0",
    ),
    (
        |p| net(p).ports = vec![port("", 65535, 80, 3)],
        "parsing host port: port numbers must be between 1 and 65535 (inclusive), got 65537",
    ),
    (
        |p| net(p).ports = vec![PortMapping { protocol: "foo".into(), ..port("", 80, 80, 1) }],
        "unrecognized protocol \"foo\" in port mapping",
    ),
    (|p| net(p).ports = vec![port("1.2.3", 80, 80, 1)], "cannot parse \"1.2.3\" as an IP address"),
    (
        |p| net(p).ports = vec![port("::1", 80, 80, 1)],
        "--publish [::1]: IPv6 is not supported by this version: publish on an IPv4 address",
    ),
    (
        |p| net(p).ports = vec![port("", 8080, 80, 1), port("", 8080, 81, 1)],
        "conflicting port mappings for host port 8080 (protocol tcp)",
    ),
    (
        |p| net(p).ports = vec![port("", 8000, 80, 10), port("", 8005, 90, 1)],
        "conflicting port mappings for host port 8005 (protocol tcp)",
    ),
    (
        |p| net(p).ports = vec![port("", 8080, 80, 1), port("127.0.0.1", 8080, 80, 1)],
        "conflicting port mappings for host port 8080 (protocol tcp)",
    ),
    (
        |p| net(p).ports = (0..5000).map(|_| port("", 0, 80, 1)).collect(),
        "--publish: more than 4096 port mappings: publish ranges instead",
    ),
    // The rest
    (|p| p.mounts = [volume("/a", &[]), volume("/a/", &[])].concat(), "/a: duplicate mount destination"),
    (
        |p| p.mounts = vec![mount(mount::Kind::Volume, "b@d", "/a", &[])],
        "creating named volume \"b@d\": running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (|p| p.infra_conmon_pidfile = "x".into(), "--infra-conmon-pidfile x: give the absolute path of a file"),
    (
        |p| {
            p.hidden = true;
            (net(p).mode, net(p).dns_servers) = ("container:x".into(), s(&["1.1.1.1"]));
        },
        "conflicting options: dns and the network mode: container",
    ),
    (
        |p| {
            p.hidden = true;
            (net(p).mode, net(p).hosts_file) = ("container:x".into(), "none".into());
        },
        "conflicting options: extra host entries and the network mode: container",
    ),
    (
        |p| p.volumes_from = s(&["db:x"]),
        "invalid option \"x\" specified - volumes from another container can only use z,ro,rw options",
    ),
    (
        |p| p.resources = Some(Resources { memory_swap: 1 << 30, ..Default::default() }),
        "you should always set a memory limit when using a memoryswap limit, see usage",
    ),
    (|p| p.cgroup_parent = "../x".into(), "--cgroup-parent \"../x\": give a path without . and .."),
    (
        |p| p.cgroup_parent = "machine.slice".into(),
        "--cgroup-parent machine.slice: systemd slices are not supported by this version: give a cgroup path",
    ),
    (|p| p.shm_size = -1, "unable to translate --shm-size: invalid size: '-1'"),
    (
        |p| p.userns = "keep-id".into(),
        "--userns keep-id: user namespaces are not supported by this version: leave --userns away",
    ),
    (|p| p.userns = "bad".into(), "unrecognized namespace mode bad passed"),
    (|p| drop(p.sysctls.insert("bad".into(), "1".into())), "sysctl 'bad' is not allowed"),
    (
        |p| {
            net(p).mode = "host".into();
            p.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        },
        "sysctl net.ipv4.ip_forward=1 can't be set since Network Namespace set to host: invalid argument",
    ),
    (
        |p| p.devices = vec![Device { host_path: "vendor.com/class=x".into(), ..Default::default() }],
        "--device \"vendor.com/class=x\": this version takes absolute paths of devices only",
    ),
];

/// Members of a pod that shares its network, and containers of their own (the hidden pod's rows are marked).
const MEMBERS: &[Row<ContainerConfig>] = &[
    (
        |c| net_of(c).ports = vec![port("", 80, 80, 1)],
        "invalid config provided: published or exposed ports must be defined when the pod is created: network cannot be \
         configured when it is shared with a pod",
    ),
    (
        |c| net_of(c).publish_all = true,
        "invalid config provided: published or exposed ports must be defined when the pod is created: network cannot be \
         configured when it is shared with a pod",
    ),
    (
        |c| net_of(c).networks = vec![NetworkAttachment { ip: "1.1.1.1".into(), ..Default::default() }],
        "invalid config provided: networks must be defined when the pod is created: network cannot be configured when it is \
         shared with a pod",
    ),
    (
        |c| net_of(c).aliases = s(&["x"]),
        "invalid config provided: networks must be defined when the pod is created: network cannot be configured when it is \
         shared with a pod",
    ),
    (
        |c| net_of(c).add_hosts = vec![HostEntry { names: s(&["a"]), ip: "1.1.1.1".into() }],
        "invalid config provided: extra host entries must be specified on the pod: network cannot be configured when it is \
         shared with a pod",
    ),
    (
        |c| c.hostname = "x".into(),
        "invalid config provided: cannot set hostname when joining the pod UTS namespace: invalid configuration",
    ),
    (
        |c| c.userns = "keep-id".into(),
        "cannot set user namespace mode when joining pod with infra container: invalid argument",
    ),
    (|c| c.init_ctr = "bad".into(), "init-ctr value must be 'always' or 'once'"),
    (|c| net_of(c).mode = "bogus".into(), "unrecognized namespace mode bogus passed"),
];

/// Containers of a hidden pod.
const CONTAINERS: &[Row<ContainerConfig>] = &[
    (
        |c| c.name = "a/b".into(),
        "running container create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
    ),
    (|c| c.image.clear(), "an image is missing: name one after the options"),
    (|c| c.image = "a\nb".into(), "image \"a\\nb\": control characters and line breaks are not allowed"),
    (|c| c.init_ctr = "once".into(), "must specify pod value with init-ctr"),
    (
        |c| c.restart = restart("bad", 0),
        "running container create option: \"bad\" is not a valid restart policy: invalid argument",
    ),
    (
        |c| (c.auto_remove, c.restart) = (true, restart("always", 0)),
        "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
    ),
    (
        |c| c.userns = "auto".into(),
        "--userns auto: user namespaces are not supported by this version: leave --userns away",
    ),
    (|c| c.pid_mode = "bogus".into(), "unrecognized namespace mode bogus passed"),
    (|c| c.uts_mode = "container:".into(), "--uts container: the name or ID of a container is missing"),
    (
        |c| c.pid_mode = "pod".into(),
        "cannot use pod namespace as container is not joining a pod or pod has no infra container: invalid argument",
    ),
    (
        |c| (c.uts_mode, c.hostname) = ("host".into(), "x".into()),
        "invalid config provided: cannot set hostname when running in the host UTS namespace: invalid configuration",
    ),
    (
        |c| (c.uts_mode, c.hostname) = ("ns:/proc/1/ns/uts".into(), "x".into()),
        "invalid config provided: cannot set hostname when joining another UTS namespace: invalid configuration",
    ),
    (
        |c| c.hostname = "a\nb".into(),
        "--hostname \"a\\nb\": a host name has up to 64 letters, digits, hyphens and dots",
    ),
    (|c| c.command = Some(Argv { args: s(&["a\0b"]) }), "argument \"a\\0b\": NUL characters are not allowed"),
    (|c| c.env = s(&["=x"]), "invalid environment variable: \"=x\""),
    (|c| c.env = s(&["X"]), "invalid environment variable: \"X\""),
    (|c| c.env = s(&["a\nb=c"]), "invalid environment variable: \"a\\nb=c\": its name has control characters"),
    (|c| c.env = s(&["a=b\0"]), "invalid environment variable: \"a=b\\0\": it has a NUL character"),
    (
        |c| c.env = s(&["HOME=/x\nroot2::0:0::/:/bin/sh"]),
        "invalid environment variable: \"HOME=/x\\nroot2::0:0::/:/bin/sh\": it has control characters or line breaks",
    ),
    (
        |c| drop(c.annotations.insert("io.podctl.x".into(), String::new())),
        "--annotation io.podctl.x: names that begin with io.podctl. are the engine's own: choose another",
    ),
    (
        |c| c.user = "4294967296".into(),
        "--user \"4294967296\": a number is larger than 2147483647: give it as user[:group], names or numbers",
    ),
    (|c| c.user = "1:".into(), "--user \"1:\": a part of it is empty: give it as user[:group], names or numbers"),
    (|c| c.user = "01".into(), "--user \"01\": a number begins with 0: give it as user[:group], names or numbers"),
    (|c| c.user = "-1".into(), "--user \"-1\": a name begins with - or +: give it as user[:group], names or numbers"),
    (
        |c| c.user = "root\n".into(),
        "--user \"root\\n\": a name has a character no name has: give it as user[:group], names or numbers",
    ),
    (|c| c.groups = s(&[""]), "--group-add \"\": a part of it is empty: give a name or a number"),
    (
        |c| c.groups = s(&["keep-groups"]),
        "--group-add keep-groups is for rootless containers, which this version does not run: name the groups",
    ),
    (|c| c.workdir = "rel".into(), "--workdir \"rel\": the working directory must be an absolute path"),
    (
        |c| c.workdir = "/proc/self/fd/7".into(),
        "--workdir /proc/self/fd/7: the working directory cannot be in a process' own files: choose another directory",
    ),
    (|c| c.stop_signal = "bad".into(), "invalid signal: bad"),
    (|c| c.umask = "9".into(), "running container create option: invalid umask string 9: invalid argument"),
    (|c| c.timezone = "../x".into(), "--tz \"../x\": give the name of a time zone, such as Europe/Madrid, or local"),
    (
        |c| c.detach_keys = "ctrl-xx".into(),
        "--detach-keys \"ctrl-xx\": give characters or ctrl- with a letter or one of @[\\]^_, parted by commas",
    ),
    (
        |c| c.sdnotify = "bad".into(),
        "invalid config provided: invalid argument: invalid sdnotify value \"bad\": must be container, conmon, healthy or ignore",
    ),
    (|c| health(c).test = s(&["CMD"]), "must define a healthcheck command for all healthchecks"),
    (|c| health(c).test = s(&["CMD", "a\0"]), "--health-cmd \"a\\0\": NUL characters are not allowed"),
    (|c| health(c).interval_ns = Some(1), "healthcheck-interval must be at least 1ms, or disable"),
    (|c| health(c).timeout_ns = Some(0), "healthcheck-timeout must be at least 1 second"),
    (|c| health(c).start_period_ns = Some(-1), "healthcheck-start-period must be 0 seconds or greater"),
    (|c| health(c).retries = Some(0), "healthcheck-retries must be greater than 0"),
    (
        |c| health(c).on_failure = "bad".into(),
        "invalid on-failure action \"bad\" for health check: supported actions are none,kill,restart,stop",
    ),
    (|c| health(c).log_destination = "x".into(), "--health-log-destination x: give an absolute path"),
    (
        |c| c.systemd = "maybe".into(),
        "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
    ),
    (|c| c.unset_env = s(&["\0"]), "--unsetenv \"\\0\": control characters and line breaks are not allowed"),
    // Mounts
    (|c| c.mounts = volume("a", &[]), "invalid container path \"a\", must be an absolute path"),
    (
        |c| c.mounts = volume("/a/..", &[]),
        "invalid container path \"/a/..\": the root of the container cannot be mounted over",
    ),
    (|c| c.mounts = volume("/a\n", &[]), "--volume \"/a\\n\": control characters and line breaks are not allowed"),
    (|c| c.mounts = volume("/a", &["bogus"]), "invalid option type \"bogus\""),
    (|c| c.mounts = volume("/a", &["ro", "rw"]), "invalid options \"ro, rw\", can only specify 1 'rw' or 'ro' option"),
    (|c| c.mounts = volume("/a", &["z", "Z"]), "invalid options \"z, Z\", can only specify 1 'z', 'Z', or 'O' option"),
    (|c| c.mounts = volume("/a", &["O", "z"]), "invalid options \"O, z\", can only specify 1 'z', 'Z', or 'O' option"),
    (
        |c| c.mounts = volume("/a", &["shared", "slave"]),
        "invalid options \"shared, slave\", can only specify 1 '[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
    ),
    (
        |c| c.mounts = volume("/a", &["bind", "rbind"]),
        "invalid options \"bind, rbind\", can only specify 1 '[r]bind' option",
    ),
    (
        |c| c.mounts = volume("/a", &["exec", "noexec"]),
        "invalid options \"exec, noexec\", can only specify 1 'noexec' or 'exec' option",
    ),
    (
        |c| c.mounts = volume("/a", &["dev", "nodev"]),
        "invalid options \"dev, nodev\", can only specify 1 'nodev' or 'dev' option",
    ),
    (
        |c| c.mounts = volume("/a", &["suid", "nosuid"]),
        "invalid options \"suid, nosuid\", can only specify 1 'nosuid' or 'suid' option",
    ),
    (
        |c| c.mounts = volume("/a", &["copy", "nocopy"]),
        "invalid options \"copy, nocopy\", can only specify 1 'copy' or 'nocopy' option",
    ),
    (|c| c.mounts = volume("/a", &["U", "U"]), "invalid options \"U, U\", can only specify 1 'U' option"),
    (
        |c| c.mounts = vec![mount(mount::Kind::Bind, "rel", "/a", &[])],
        "--volume \"rel:/a\": the source of a bind is an absolute path",
    ),
    (|c| c.mounts = vec![mount(mount::Kind::Image, "", "/a", &[])], "must set source and destination for image volume"),
    (|c| c.mounts = vec![mount(mount::Kind::Image, "i", "/a", &["U"])], "invalid option type \"U\""),
    (
        |c| c.mounts = vec![mount(mount::Kind::Devpts, "", "/a", &[])],
        "--mount type=devpts,dst=/a: this version mounts bind, volume, image and tmpfs only",
    ),
    (|c| c.mounts = volume("/a", &["subpath=../x"]), "subpath \"../x\": give a path inside the volume without .."),
    (
        |c| c.mounts = volume("/a", &["subpath=x", "subpath=y"]),
        "cannot pass 'subpath' option more than once: invalid mount option",
    ),
    (|c| c.mounts = vec![mount(mount::Kind::Bind, "/b", "/a", &["subpath=x"])], "invalid option type \"subpath=x\""),
    (
        |c| c.mounts = vec![mount(mount::Kind::Tmpfs, "", "/a", &["bogus"])],
        "unknown mount option \"bogus\": invalid mount option",
    ),
    (
        |c| c.mounts = vec![mount(mount::Kind::Tmpfs, "", "/a", &["size=x"])],
        "--tmpfs option \"size=x\": give a number, with k, m, g or % behind it where it is meant",
    ),
    (
        |c| c.mounts = vec![mount(mount::Kind::Tmpfs, "", "/a", &["mode=9"])],
        "--tmpfs option \"mode=9\": give the mode in octal",
    ),
    (|c| c.mounts = vec![mount(mount::Kind::Tmpfs, "", "/a", &["uid=x"])], "--tmpfs option \"uid=x\": give a number"),
    (
        |c| c.mounts = vec![mount(mount::Kind::Tmpfs, "", "/a", &["ro", "rw"])],
        "invalid options \"ro, rw\", can only specify 1 'rw' or 'ro' option",
    ),
    (
        |c| c.mounts = (0..1025).flat_map(|n| volume(&format!("/{n}"), &[])).collect(),
        "--volume: more than 1024 mounts: mount a directory above them",
    ),
    (|c| c.image_volume_mode = "bad".into(), "invalid image volume mode \"bad\" required value: bind, tmpfs, ignore"),
    // Limits
    (|c| limits(c).memory = -1, "invalid value for memory: invalid size: '-1'"),
    (|c| limits(c).memory = 1024, "--memory 1024: no process can start with less than 512k: give it more"),
    (|c| limits(c).memory_swap = -2, "--memory-swap -2: give a size, or -1 for no limit"),
    (
        |c| (limits(c).memory, limits(c).memory_swap) = (1 << 30, 1 << 20),
        "minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        |c| (limits(c).memory, limits(c).memory_reservation) = (1 << 30, 1 << 31),
        "minimum memory limit cannot be less than memory reservation limit, see usage",
    ),
    (|c| (limits(c).cpus, limits(c).cpu_quota) = (2.0, 1000), "--cpu-quota and --cpus cannot be set together"),
    (|c| (limits(c).cpus, limits(c).cpu_period) = (2.0, 1000), "--cpu-period and --cpus cannot be set together"),
    (|c| limits(c).cpus = -1.0, "--cpus -1: give a number of processors above 0"),
    (|c| limits(c).cpus = f64::NAN, "--cpus NaN: give a number of processors above 0"),
    (|c| limits(c).cpus = 0.000_000_1, "CPU cfs quota cannot be less than 1ms (i.e. 1000)"),
    (|c| limits(c).cpu_quota = 10, "CPU cfs quota cannot be less than 1ms (i.e. 1000)"),
    (
        |c| limits(c).cpu_period = 10,
        "CPU cfs period cannot be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    (|c| limits(c).cpu_shares = 1, "--cpu-shares 1: give a number from 2 to 262144"),
    (|c| limits(c).cpuset_cpus = "abc".into(), "invalid value abc for cpuset cpus"),
    (|c| limits(c).cpuset_mems = "0-".into(), "invalid value 0- for cpuset mems"),
    (|c| limits(c).pids_limit = -5, "--pids-limit -5: give a number, or -1 for no limit"),
    (|c| limits(c).blkio_weight = 5, "range of blkio weight is from 10 to 1000"),
    (
        |c| c.ulimits = vec![Ulimit { name: "bad".into(), soft: 1, hard: 1 }],
        "ulimit option \"bad=1\" requires name=SOFT:HARD, failed to be parsed: invalid ulimit type: bad",
    ),
    (
        |c| c.ulimits = vec![Ulimit { name: "nofile".into(), soft: 5, hard: 2 }],
        "ulimit option \"nofile=5:2\" requires name=SOFT:HARD, failed to be parsed: ulimit soft limit must be less than or \
         equal to hard limit: 5 > 2",
    ),
    (
        |c| c.ulimits = vec![Ulimit { name: "nofile".into(), soft: -2, hard: 2 }],
        "ulimit option \"nofile=-2:2\" requires name=SOFT:HARD, failed to be parsed: a limit is a number, or -1 for none",
    ),
    (
        |c| (c.ipc_mode, c.shm_size) = ("host".into(), 1 << 20),
        "invalid config provided: cannot set shmsize when running in the host IPC Namespace",
    ),
    (|c| c.oom_score_adj = 2000, "--oom-score-adj 2000: give a number from -1000 to 1000"),
    // Security
    (|c| security(c).cap_add = s(&["bogus"]), "\"CAP_BOGUS\": unknown capability"),
    (
        |c| (security(c).cap_add, security(c).cap_drop) = (s(&["NET_ADMIN"]), s(&["cap_net_admin"])),
        "capability \"CAP_NET_ADMIN\" cannot be dropped and added",
    ),
    (
        |c| (security(c).cap_add, security(c).cap_drop) = (s(&["all"]), s(&["ALL"])),
        "adding all caps and removing all caps not allowed",
    ),
    (|c| security(c).mask = s(&["rel"]), "--security-opt mask and unmask take absolute paths, or unmask=ALL: \"rel\""),
    (|c| security(c).seccomp = "[]".into(), "--security-opt seccomp: the profile is not a JSON object"),
    (
        |c| security(c).apparmor = "a\nb".into(),
        "--security-opt apparmor \"a\\nb\": control characters and line breaks are not allowed",
    ),
    (|c| c.devices = vec![Device::default()], "--device: the path of the device is missing"),
    (
        |c| c.devices = vec![Device { host_path: "/dev/null".into(), permissions: "q".into(), ..Default::default() }],
        "invalid device mode: q",
    ),
    (
        |c| drop(c.sysctls.insert("kernel.shm_rmid_forced".into(), "1+kernel.core_pattern=|/x\n".into())),
        "--sysctl kernel.shm_rmid_forced=1+kernel.core_pattern=|/x\\n: the value is one line of printable characters, 1024 at most",
    ),
    (
        |c| {
            c.ipc_mode = "host".into();
            c.sysctls.insert("kernel.shmmax".into(), "1".into());
        },
        "sysctl kernel.shmmax=1 can't be set since IPC Namespace set to host: invalid argument",
    ),
    // Logs and the rest
    (
        |c| c.log = Some(LogConfig { driver: "x".into(), ..Default::default() }),
        "invalid log driver \"x\": invalid argument",
    ),
    (
        |c| {
            c.tty = true;
            c.log = Some(LogConfig { driver: "passthrough".into(), ..Default::default() });
        },
        "--log-driver passthrough: cannot be used with --tty: the container has the terminal of whoever starts it",
    ),
    (
        |c| c.log = Some(LogConfig { options: [("foo".into(), "x".into())].into(), ..Default::default() }),
        "--log-opt foo: unknown option: the options are label, max-file, max-size, path, tag",
    ),
    (|c| c.log = log_option("k8s-file", "max-file", "0"), "--log-opt max-file=0: give a number from 1 to 1000"),
    (
        |c| c.log = log_option("k8s-file", "max-file", "3"),
        "--log-opt max-file: has no effect without max-size: give it too",
    ),
    (
        |c| c.log = log_option("k8s-file", "tag", "x"),
        "--log-opt tag: log driver k8s-file has no such option: it is one of json-file and journald",
    ),
    (
        |c| c.log = log_option("json-file", "tag", "{{.Foo}}"),
        "--log-opt tag={{.Foo}}: a tag may contain {{.ID}} {{.FullID}} {{.Name}} {{.ImageName}} and text",
    ),
    (
        |c| {
            c.log = Some(LogConfig { driver: "json-file".into(), labels: s(&["x=y"]), ..Default::default() });
        },
        "--log-opt label=x=y: give NAME=VALUE, a name of A-Z, 0-9 and _ that does not begin with _",
    ),
    (
        |c| c.log = Some(LogConfig { path: "x".into(), ..Default::default() }),
        "--log-opt path=x: give the absolute path of a file",
    ),
    (
        |c| c.log = Some(LogConfig { driver: "none".into(), path: "/x".into(), ..Default::default() }),
        "--log-opt path: log driver none has no such option: it is one of k8s-file and json-file",
    ),
    (
        |c| c.log = Some(LogConfig { driver: "none".into(), max_size: 1024, ..Default::default() }),
        "--log-opt max-size: log driver none has no such option: it is one of k8s-file and json-file",
    ),
    (|c| c.log = Some(LogConfig { max_size: -1, ..Default::default() }), "--log-opt max-size=-1: give a size above 0"),
    (
        |c| c.volumes_from = s(&["db:x"]),
        "invalid option \"x\" specified - volumes from another container can only use z,ro,rw options",
    ),
    (
        |c| c.requires = s(&["db:done"]),
        "--requires db:done: the condition must be one of started, healthy or completed",
    ),
    (|c| c.secrets = s(&["s,type=x"]), "--secret s,type=x: type x is invalid, it is mount or env"),
    (|c| c.secrets = s(&["type=env"]), "--secret type=env: no secret is named"),
    (|c| c.secrets = s(&["s,mode=9"]), "--secret s,mode=9: mode \"9\" is not octal"),
    (
        |c| c.secrets = s(&["s,foo=9"]),
        "--secret s,foo=9: option \"foo=9\" is invalid: give type, target, uid, gid or mode",
    ),
    (
        |c| c.secrets = s(&["s,type=env,uid=0"]),
        "--secret s,type=env,uid=0: uid, gid and mode cannot be set for type=env",
    ),
    (|c| c.secrets = s(&["s,type=env,target=a=b"]), "--secret s,type=env,target=a=b: the name of a variable has no ="),
    (|c| c.secrets = s(&["s,target=../x"]), "--secret s,target=../x: the target must be the path of a file without .."),
    (|c| c.secrets = s(&["s", "s"]), "--secret s: another one has the target /run/secrets/s"),
    (|c| c.rootfs = "/x".into(), "an image is missing: name one after the options"),
    (|c| c.pidfile = "x".into(), "--pidfile x: give the absolute path of a file"),
    (|c| c.conmon_pidfile = "/x/".into(), "--conmon-pidfile /x/: give the absolute path of a file"),
    (
        |c| security(c).security_opt = s(&["proc-opts=x"]),
        "--security-opt proc-opts=x: give hidepid=0|1|2|4 or subset=pid",
    ),
    (
        |c| c.requires = s(&["a b"]),
        "\"a b\" is not a valid container, cannot be used as a dependency: no container with name or ID \"a b\" found: no \
         such container",
    ),
    (|c| c.tmpfs = s(&["/a"]), "--tmpfs: given in an outdated form: use the podctl of this version"),
];

/// A pod of its own, checked.
pub(super) fn hidden() -> PodConfig {
    check_pod(PodConfig { hidden: true, ..Default::default() }).expect("a hidden pod")
}

fn container() -> ContainerConfig {
    ContainerConfig { image: "alpine".into(), ..Default::default() }
}

/// Compares one row; collects what differs, so that one run shows all of it.
fn compare<T>(result: Result<T, Refusal>, words: &str, wrong: &mut Vec<String>) {
    match result {
        Ok(_) => wrong.push(format!("not refused: {words}")),
        Err(refusal) => {
            if refusal.message != words {
                wrong.push(format!("expected: {words}\n     got: {}", refusal.message));
            }
            if !matches!(refusal.kind, Kind::Invalid | Kind::NotSupported) || refusal.message.contains('\n') {
                wrong.push(format!("kind or lines: {refusal:?}"));
            }
        }
    }
}

#[test]
fn every_refusal_has_its_words() {
    let mut wrong = Vec::new();
    for (change, words) in PODS {
        let mut pod = PodConfig::default();
        change(&mut pod);
        compare(check_pod(pod), words, &mut wrong);
    }
    let pod = check_pod(PodConfig::default()).expect("a pod");
    for (change, words) in MEMBERS {
        let mut config = container();
        change(&mut config);
        compare(check_container(config, &pod), words, &mut wrong);
    }
    for (change, words) in CONTAINERS {
        let mut config = container();
        change(&mut config);
        compare(check_container(config, &hidden()), words, &mut wrong);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn members_of_pods_that_share_no_network_have_none_of_their_own() {
    let pod = check_pod(PodConfig { share: s(&["ipc"]), ..Default::default() }).expect("a pod");
    let mut config = container();
    net_of(&mut config).ports = vec![port("", 80, 80, 1)];
    let refusal = check_container(config, &pod).expect_err("refused");
    assert_eq!(refusal.kind, Kind::NotSupported);
    assert_eq!(
        refusal.message,
        "--publish: a member of a pod has no network of its own in this version: publish the port when the pod is created \
         with --share net"
    );
    let mut config = container();
    config.hostname = "own".into();
    assert!(check_container(config, &pod).is_ok());
}

#[test]
fn defaults_of_pods() {
    let pod = check_pod(PodConfig::default()).expect("a pod");
    assert_eq!(pod.share, ["ipc", "net", "uts"]);
    assert_eq!(pod.exit_policy, "continue");
    assert_eq!(pod.network.as_ref().map(|network| network.mode.as_str()), Some("bridge"));
    assert_eq!(pod.hostname, "");
    assert_eq!(hidden().share, ["net"]);
    let bare = check_pod(PodConfig { no_infra: true, ..Default::default() }).expect("a pod without infra");
    assert!(bare.share.is_empty() && bare.network.is_none());
    let anonymous = PodConfig { mounts: vec![mount(mount::Kind::Volume, "", "/data", &[])], ..Default::default() };
    assert!(super::is_anonymous(&check_pod(anonymous).expect("a pod").mounts[0].source));
}

fn log_option(driver: &str, key: &str, value: &str) -> Option<LogConfig> {
    let options = [(key.to_owned(), value.to_owned())].into();
    Some(LogConfig { driver: driver.into(), options, ..Default::default() })
}

#[test]
fn what_is_accepted_is_canonical() {
    let config = ContainerConfig {
        stop_signal: "usr1".into(),
        workdir: "/a/../b/".into(),
        restart: restart("never", 0),
        log: Some(LogConfig::default()),
        ..container()
    };
    let pod = check_pod(PodConfig::default()).expect("a pod");
    let config = check_container(config, &pod).expect("fine");
    assert_eq!((config.stop_signal.as_str(), config.workdir.as_str()), ("SIGUSR1", "/b"));
    assert_eq!(config.restart, restart("no", 0));
    assert_eq!(config.log.map(|log| log.driver), Some("k8s-file".into()));
}

#[test]
fn ports_of_a_container_on_the_hosts_network_are_dropped_with_a_warning() {
    let mut pod = PodConfig { hidden: true, ..Default::default() };
    net(&mut pod).mode = "host".into();
    net(&mut pod).ports = vec![port("", 80, 80, 1)];
    assert_eq!(super::warnings(&container(), &pod).len(), 1);
    let pod = check_pod(pod).expect("accepted");
    assert!(pod.network.expect("network").ports.is_empty());

    let pod = check_pod(PodConfig::default()).expect("a pod");
    let mut config = container();
    net_of(&mut config).mode = "host".into();
    assert_eq!(super::warnings(&config, &pod), ["--network host: the container is not in the network of its pod"]);
    assert!(check_container(config, &pod).is_ok());
}
