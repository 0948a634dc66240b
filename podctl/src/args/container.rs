//! What `create` and `run` ask for.

use std::{collections::BTreeMap, fs};

use proto::{
    name,
    wire::{Argv, ContainerConfig, PodConfig, Resources, Security},
};

use super::{Args, Flag, array, env, health, int, list, mount, network, port, resources, switch, text, uint, value};
use crate::{
    error::{Failure, plain},
    terminal::DetachKeys,
};

/// Flags of `create` and `run` beside those of [`network`] and [`resources`].
pub const FLAGS: &[Flag] = &[
    list("annotation", "Add annotations to container (key=value)"),
    text("arch", "ARCH", "Use ARCH instead of the architecture of the machine for choosing images"),
    text("authfile", "string", "Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override"),
    list("cap-add", "Add capabilities to the container"),
    list("cap-drop", "Drop capabilities from the container"),
    list("cgroup-conf", "Configure cgroup v2 (key=value)"),
    text("cgroupns", "string", "cgroup namespace to use"),
    text("cgroups", "string", "control container cgroup configuration (\"enabled\"|\"no-conmon\")").default("\"enabled\""),
    list("chrootdirs", "Chroot directories inside the container: /etc/hosts, /etc/resolv.conf and /etc/hostname are there, too"),
    text("cidfile", "string", "Write the container ID to the file"),
    text("conmon-pidfile", "string", "Path to the file that will receive the PID of the container's monitor"),
    list("device", "Add a host device to the container"),
    list("device-cgroup-rule", "Add a rule to the cgroup allowed devices list (TYPE MAJOR:MINOR ACCESS)"),
    switch("disable-content-trust", "This is a Docker specific option and is a NOOP").default("true"),
    text("entrypoint", "string", "Overwrite the default ENTRYPOINT of the image"),
    array("env", "Set environment variables in container").short('e'),
    list("env-file", "Read in a file of environment variables"),
    switch("env-host", "Use all current host environment variables in container"),
    list("env-merge", "Preprocess environment variables from image before injecting them into the container"),
    list("expose", "Expose a port or a range of ports"),
    array("gpus", "GPU devices to add to the container (\"all\" or names of CDI devices): refused, no CDI specification is read"),
    text("group-entry", "string", "Entry to write to /etc/group"),
    list("group-add", "Add additional groups to the primary container process"),
    text("hostname", "string", "Set container hostname").short('h'),
    array("hostuser", "Host user account to add to /etc/passwd within container"),
    switch("http-proxy", "Set proxy environment variables in the container based on the host proxy vars").default("true"),
    text("image-volume", "string", "How to handle the image's volumes (\"anonymous\"|\"bind\"|\"tmpfs\"|\"ignore\")").default("\"anonymous\""),
    switch("init", "Run an init binary inside the container that forwards signals and reaps processes"),
    text("init-path", "string", "Path to the container-init binary"),
    switch("interactive", "Keep STDIN open even if not attached").short('i'),
    text("ipc", "string", "IPC namespace to use"),
    array("label", "Set metadata on container").short('l'),
    list("label-file", "Read in a line delimited file of labels"),
    text("log-driver", "string", "Logging driver for the container").default("\"k8s-file\""),
    array("log-opt", "Logging driver options"),
    array("mount", "Attach a filesystem mount to the container"),
    text("name", "string", "Assign a name to the container"),
    switch("no-hostname", "Do not create /etc/hostname within the container, instead use the version from the image"),
    int("oom-score-adj", "Tune the host's OOM preferences (-1000 to 1000)"),
    text("os", "OS", "Use OS instead of the running OS for choosing images"),
    switch("passwd", "Add entries to /etc/passwd and /etc/group for a user that the image does not know").default("true"),
    text("passwd-entry", "string", "Entry to write to /etc/passwd"),
    text("personality", "string", "Configure execution domain using personality (LINUX or LINUX32)"),
    text("pid", "string", "PID namespace to use"),
    text("pidfile", "path", "Write the container process ID to the file"),
    text("platform", "string", "Specify the platform for selecting the image.  (Conflicts with --arch and --os)"),
    text("pod", "string", "Run container in an existing pod, or in a new one (new:NAME)"),
    text("pod-id-file", "string", "Read the pod ID from the file"),
    switch("privileged", "Give extended privileges to container"),
    switch("publish-all", "Publish all exposed ports to random ports on the host interface").short('P'),
    text("pull", "string", "Pull image policy (\"always\"|\"missing\"|\"never\"|\"newer\")").default("\"missing\""),
    switch("quiet", "Suppress output information when pulling images").short('q'),
    switch("read-only", "Make containers root filesystem read-only"),
    switch("read-only-tmpfs", "When running containers in read-only mode mount a read-write tmpfs on /run, /tmp and /var/tmp").default("true"),
    switch("replace", "If a container with the same name exists, replace it"),
    list("requires", "Containers that must be up before this one starts: NAME[:started|:healthy|:completed]; of its pod where it has one"),
    text("restart", "string", "Restart policy to apply when a container exits (\"always\"|\"no\"|\"on-failure\"|\"unless-stopped\")"),
    switch("rm", "Remove container (and pod if created) after exit"),
    switch("rootfs", "The first argument is not an image but the rootfs to the exploded container"),
    text("sdnotify", "string", "control sd-notify behavior (\"container\"|\"conmon\"|\"healthy\"|\"ignore\")").default("\"container\""),
    text("seccomp-policy", "string", "Policy for selecting a seccomp profile (\"default\"|\"image\")").default("\"default\""),
    array("secret", "Add secret to container"),
    array("security-opt", "Security Options"),
    text("shm-size", "<number>[<unit>]", "Size of /dev/shm (format: <number>[<unit>], where unit = b (bytes), k (kibibytes), m (mebibytes), or g (gibibytes))").default("\"65536k\""),
    resources::SHM_SIZE_SYSTEMD,
    text("stop-signal", "string", "Signal to stop a container. Default is SIGTERM"),
    uint("stop-timeout", "Timeout (in seconds) that containers stopped by user command have to exit. If exceeded, the container will be forcibly stopped via SIGKILL.").default("10"),
    list("sysctl", "Sysctl options"),
    text("systemd", "string", "Run container in systemd mode (\"true\"|\"false\"|\"always\")").default("\"true\""),
    uint("timeout", "Maximum length of time a container is allowed to run. The container will be killed automatically after the time expires."),
    switch("tls-verify", "Require HTTPS and verify certificates when contacting registries for pulling images").default("true"),
    array("tmpfs", "Mount a temporary filesystem (tmpfs) into a container"),
    switch("tty", "Allocate a pseudo-TTY for container").short('t'),
    text("tz", "string", "Set timezone in container"),
    list("ulimit", "Ulimit options"),
    text("umask", "string", "Set umask in container").default("\"0022\""),
    array("unsetenv", "Unset environment default variables in container"),
    switch("unsetenv-all", "Unset all default environment variables in container"),
    text("user", "string", "Username or UID (format: <name|uid>[:<group|gid>])").short('u'),
    text("userns", "string", "User namespace to use (\"host\")"),
    text("uts", "string", "UTS namespace to use"),
    text("variant", "VARIANT", "Use VARIANT instead of the running architecture variant for choosing images"),
    array("volume", "Bind mount a volume into the container").short('v'),
    array("volumes-from", "Mount volumes from the specified container(s)"),
    text("workdir", "string", "Working directory inside the container").short('w'),
];

const ATTACH: Flag = list("attach", "Attach to STDIN, STDOUT or STDERR").short('a');

/// Flags of `run` alone.
pub const RUN_FLAGS: &[Flag] = &[
    ATTACH,
    switch("detach", "Run container in background and print container ID").short('d'),
    text("detach-keys", "[a-Z]", "Override the key sequence for detaching a container. Format is a single character [a-Z] or a comma separated sequence of `ctrl-<value>`, where `<value>` is one of: `a-z`, `@`, `^`, `[`, `\\`, `]`, `^` or `_`").default("\"ctrl-p,ctrl-q\""),
    uint("preserve-fds", "Pass a number of additional file descriptors into the container"),
    switch("rmi", "Remove container image unless used by other containers"),
    switch("sig-proxy", "Proxy received signals to the process").default("true"),
];

/// Flags of `create` alone.
pub const CREATE_FLAGS: &[Flag] =
    &[ATTACH, text("init-ctr", "string", "Make this a pod init container (\"always\"|\"once\")")];

/// Where a container goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A hidden pod of its own.
    Alone,
    /// The pod of that name or id.
    Pod(String),
    /// A pod that is made with it (`--pod new:NAME`).
    NewPod(String),
}

/// Where the container goes: `--pod`, `--pod-id-file`.
///
/// # Errors
/// podman's words.
pub fn place(args: &Args) -> Result<Place, Failure> {
    if args.given("pod") && args.given("pod-id-file") {
        return Err(Failure::invalid("cannot specify both --pod and --pod-id-file"));
    }
    if let Some(file) = args.text("pod-id-file") {
        return Ok(Place::Pod(read_id("pod ID file", file)?));
    }
    match args.text_or_empty("pod") {
        "" => Ok(Place::Alone),
        text => match text.strip_prefix("new:") {
            Some("") => Err(Failure::invalid("new pod name must be at least one character")),
            Some(new) if !name::is_valid(new) => {
                Err(Failure::invalid(format!("running pod create option: {}", name::rule(new))))
            }
            Some(new) => Ok(Place::NewPod(new.to_owned())),
            None => Ok(Place::Pod(text.to_owned())),
        },
    }
}

/// The id in the first line of a file.
///
/// # Errors
/// `reading pod ID file: open /x: no such file or directory`
pub fn read_id(what: &str, file: &str) -> Result<String, Failure> {
    let text = super::file::text(file)
        .map_err(|error| Failure::invalid(format!("reading {what}: open {file}: {}", plain(&error))))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The flags and operands as a message.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args) -> Result<ContainerConfig, Failure> {
    let (image, command) =
        args.operands.split_first().ok_or_else(|| Failure::invalid("requires at least 1 arg(s), only received 0"))?;
    let rootfs = args.is("rootfs");
    if rootfs && image.contains(':') {
        return Err(Failure::invalid(format!(
            "--rootfs {image}: this version takes a directory without :O and :idmap"
        )));
    }
    if image.is_empty() {
        return Err(Failure::invalid(
            "image name or ID must be specified: repository name must have at least one component",
        ));
    }
    let mut config = ContainerConfig {
        name: container_name(args)?,
        image: if rootfs { String::new() } else { image.clone() },
        rootfs: if rootfs { root(image)? } else { String::new() },
        command: (!command.is_empty()).then(|| Argv { args: command.to_vec() }),
        entrypoint: args.text("entrypoint").map(|text| Argv { args: value::entrypoint(text) }),
        create_command: std::env::args().collect(),
        platform: platform(args)?,
        pull: pull_policy(args.text("pull").unwrap_or("missing"))?,
        ..Default::default()
    };
    process(args, &mut config)?;
    namespaces(args, &mut config)?;
    limits(args, &mut config)?;
    life(args, &mut config)?;
    config.mounts = mount::all(&args.all("volume"), &args.all("mount"), &args.all("tmpfs"))?;
    config.volumes_from = mount::volumes_from(&args.all("volumes-from"))?;
    config.secrets = args.all("secret");
    config.image_volume_mode = image_volumes(args.text_or_empty("image-volume"))?;
    config.image_volume_ignore = config.image_volume_mode == "ignore";
    Ok(config)
}

/// `--rootfs`: a directory that is there.
fn root(path: &str) -> Result<String, Failure> {
    let path = mount::bind_source(path)?;
    if fs::metadata(&path).is_ok_and(|meta| !meta.is_dir()) {
        return Err(Failure::invalid(format!("--rootfs {path}: not a directory")));
    }
    Ok(path)
}

fn container_name(args: &Args) -> Result<String, Failure> {
    let given = args.text_or_empty("name");
    if !given.is_empty() && !name::is_valid(given) {
        return Err(Failure::invalid(format!("running container create option: {}", name::rule(given))));
    }
    if args.is("replace") && given.is_empty() {
        return Err(Failure::invalid("cannot replace container without --name being set"));
    }
    Ok(given.to_owned())
}

/// What the process sees: environment, user, directory, terminal.
fn process(args: &Args, config: &mut ContainerConfig) -> Result<(), Failure> {
    if args.switch("http-proxy").unwrap_or(true) {
        config.env.extend(env::proxies());
    }
    if args.is("env-host") {
        config.env.extend(env::host());
    }
    config.env.extend(env::variables(&args.all("env-file"), &args.all("env"))?);
    config.env_merge = args.all("env-merge");
    config.unset_env = args.all("unsetenv");
    config.unset_env_all = args.is("unsetenv-all");
    args.text_or_empty("user").clone_into(&mut config.user);
    config.groups = args.all("group-add");
    args.text_or_empty("workdir").clone_into(&mut config.workdir);
    args.text_or_empty("hostname").clone_into(&mut config.hostname);
    config.no_hostname = args.is("no-hostname");
    config.passwd = args.switch("passwd");
    args.text_or_empty("passwd-entry").clone_into(&mut config.passwd_entry);
    args.text_or_empty("group-entry").clone_into(&mut config.group_entry);
    config.labels = value::labels(&args.all("label-file"), &args.all("label"))?;
    config.annotations = value::annotations(&args.all("annotation"))?;
    config.tty = args.is("tty");
    config.interactive = args.is("interactive");
    config.init = args.is("init");
    config.init_path = args.text("init-path").map(value::absolute).transpose()?.unwrap_or_default();
    args.text_or_empty("tz").clone_into(&mut config.timezone);
    config.umask = value::umask(args.text_or_empty("umask"))?;
    config.systemd = match args.text_or_empty("systemd") {
        word @ ("" | "true" | "false" | "always") => word.to_owned(),
        _ => {
            return Err(Failure::invalid(
                "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
            ));
        }
    };
    if args.knows("detach-keys") {
        if let Some(keys) = args.text("detach-keys") {
            DetachKeys::parse(keys)?;
            keys.clone_into(&mut config.detach_keys);
        }
        config.preserve_fds = u32::try_from(args.uint("preserve-fds").unwrap_or(0)).unwrap_or(u32::MAX);
        config.rmi = args.is("rmi");
        // An image that is still used cannot go.
        config.auto_remove |= config.rmi;
    }
    Ok(())
}

fn namespaces(args: &Args, config: &mut ContainerConfig) -> Result<(), Failure> {
    config.pid_mode = network::namespace(args.text_or_empty("pid"), &[])?;
    config.ipc_mode = network::namespace(args.text_or_empty("ipc"), &["shareable", "none"])?;
    config.uts_mode = network::namespace(args.text_or_empty("uts"), &[])?;
    config.cgroupns_mode = network::namespace(args.text_or_empty("cgroupns"), &[])?;
    let userns = args.text_or_empty("userns");
    let joins = args.given("pod-id-file") || args.text("pod").is_some_and(|pod| !pod.starts_with("new:"));
    if joins && !matches!(userns, "" | "host") {
        return Err(Failure::invalid(
            "cannot set user namespace mode when joining pod with infra container: invalid argument",
        ));
    }
    config.userns = network::user_namespace(userns)?;
    if config.uts_mode == "host" && !config.hostname.is_empty() {
        return Err(Failure::invalid(
            "invalid config provided: cannot set hostname when running in the host UTS namespace: invalid configuration",
        ));
    }
    let mut network = network::config(args)?;
    network.publish_all = args.is("publish-all");
    network.exposed = port::exposed(&args.all("expose"))?;
    config.network = Some(network);
    Ok(())
}

fn limits(args: &Args, config: &mut ContainerConfig) -> Result<(), Failure> {
    let mut security = Security {
        privileged: args.is("privileged"),
        cap_add: value::capabilities(&args.all("cap-add"))?,
        cap_drop: value::capabilities(&args.all("cap-drop"))?,
        ..Default::default()
    };
    value::security_options(&args.all("security-opt"), &mut security)?;
    config.security = Some(security);
    config.resources = Some(resources::config(args)?);
    config.ulimits = value::ulimits(&args.all("ulimit"))?;
    config.sysctls = value::sysctls(&args.all("sysctl"))?;
    config.devices = value::devices(&args.all("device"))?;
    config.device_rules = args.all("device-cgroup-rule");
    config.cgroups = cgroups(args.text_or_empty("cgroups"))?;
    config.cgroup_conf = cgroup_conf(&args.all("cgroup-conf"))?;
    no_gpus(args)?;
    config.personality = match args.text_or_empty("personality") {
        word @ ("" | "LINUX" | "LINUX32") => word.to_owned(),
        word => {
            return Err(Failure::invalid(format!("invalid personality \"{word}\": choose from LINUX, LINUX32")));
        }
    };
    config.seccomp_policy = match args.text_or_empty("seccomp-policy") {
        word @ ("" | "default" | "image") => word.to_owned(),
        word => {
            return Err(Failure::invalid(format!(
                "invalid seccomp policy \"{word}\": valid policies are [\"default\" \"image\"]"
            )));
        }
    };
    config.host_users = host_users(args)?;
    config.chroot_dirs = args.all("chrootdirs");
    config.shm_size = resources::shm_size(args, "shm-size")?;
    config.shm_size_systemd = resources::shm_size(args, "shm-size-systemd")?;
    config.read_only = args.is("read-only");
    config.read_only_tmpfs = args.switch("read-only-tmpfs");
    let adjustment = args.int("oom-score-adj").unwrap_or(0);
    config.oom_score_adj =
        i32::try_from(adjustment).ok().filter(|adjustment| (-1000..=1000).contains(adjustment)).ok_or_else(|| {
            Failure::invalid(format!("invalid value {adjustment} for --oom-score-adj: must be between -1000 and 1000"))
        })?;
    args.text_or_empty("cgroup-parent").clone_into(&mut config.cgroup_parent);
    Ok(())
}

/// `--hostuser`: names and uids that this machine knows.
fn host_users(args: &Args) -> Result<Vec<String>, Failure> {
    let users = args.all("hostuser");
    let accounts = if users.is_empty() { String::new() } else { fs::read_to_string("/etc/passwd").unwrap_or_default() };
    let is_known = |user: &String| {
        let mut fields = accounts.lines().map(|line| line.split(':'));
        fields.any(|mut fields| fields.next() == Some(user) || fields.nth(1) == Some(user))
    };
    match users.iter().find(|user| !is_known(user)) {
        Some(user) => Err(Failure::invalid(format!("--hostuser {user}: the host has no such user"))),
        None => Ok(users),
    }
}

/// `--gpus`: what podman says where no CDI specification is found.
///
/// # Errors
/// Whenever one is asked for.
pub fn no_gpus(args: &Args) -> Result<(), Failure> {
    match args.all("gpus").first() {
        Some(gpu) => Err(Failure::invalid(format!(
            "setting up CDI devices: unresolvable CDI devices nvidia.com/gpu={gpu}: no CDI specification is read: give the device nodes with --device"
        ))),
        None => Ok(()),
    }
}

/// `--cgroup-conf`
fn cgroup_conf(entries: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |entry: &String| {
        let pair = entry.split_once('=').filter(|(key, _)| !key.is_empty());
        let (key, value) = pair.ok_or_else(|| Failure::invalid(format!("--cgroup-conf {entry}: give KEY=VALUE")))?;
        Ok((key.to_owned(), value.to_owned()))
    };
    entries.iter().map(pair).collect()
}

/// `--cgroups`: a monitor has no control group of its own here, whatever is asked for.
fn cgroups(mode: &str) -> Result<String, Failure> {
    match mode {
        "" | "enabled" | "no-conmon" => Ok(mode.to_owned()),
        "disabled" | "split" => Err(Failure::invalid(format!(
            "--cgroups {mode} is not supported: limits, pauses and the end of all processes of a container need a control group of its own: use enabled, and --cgroup-parent for its place"
        ))),
        _ => Err(Failure::invalid(format!(
            "invalid cgroups mode \"{mode}\": choose from enabled, disabled, no-conmon, split"
        ))),
    }
}

/// How it ends, is watched and is logged.
fn life(args: &Args, config: &mut ContainerConfig) -> Result<(), Failure> {
    config.restart = args.text("restart").map(value::restart).transpose()?;
    config.auto_remove |= args.is("rm");
    let restarts =
        config.restart.as_ref().is_some_and(|policy| !matches!(policy.name.as_str(), "" | "no" | "on-failure"));
    if config.auto_remove && restarts {
        return Err(Failure::invalid(
            "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
        ));
    }
    if let Some(signal) = args.text("stop-signal") {
        config.stop_signal = value::signal_name(signal)?;
    }
    config.stop_timeout_seconds = args.uint("stop-timeout").map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
    config.timeout_seconds = u32::try_from(args.uint("timeout").unwrap_or(0)).unwrap_or(u32::MAX);
    config.log = Some(value::log(args.text_or_empty("log-driver"), &args.all("log-opt"))?);
    if let Some(file) = args.text("cidfile") {
        config.cidfile = value::absolute(file)?;
    }
    config.pidfile = args.text("pidfile").map(value::absolute).transpose()?.unwrap_or_default();
    config.conmon_pidfile = args.text("conmon-pidfile").map(value::absolute).transpose()?.unwrap_or_default();
    config.requires = args.all("requires");
    config.no_healthcheck = args.is("no-healthcheck");
    config.health = health::config(args)?;
    config.sdnotify = match args.text_or_empty("sdnotify") {
        word @ ("" | "container" | "conmon" | "healthy" | "ignore") => word.to_owned(),
        bogus => {
            return Err(Failure::invalid(format!(
                "invalid config provided: invalid argument: invalid sdnotify value \"{bogus}\": must be container, conmon, healthy or ignore"
            )));
        }
    };
    if args.knows("init-ctr") {
        config.init_ctr = match args.text_or_empty("init-ctr") {
            "" => String::new(),
            _ if !args.given("pod") && !args.given("pod-id-file") => {
                return Err(Failure::invalid("must specify pod value with init-ctr"));
            }
            word @ ("always" | "once") => word.to_owned(),
            _ => return Err(Failure::invalid("init-ctr value must be 'always' or 'once'")),
        };
    }
    Ok(())
}

fn image_volumes(text: &str) -> Result<String, Failure> {
    match text {
        "" | "anonymous" | "tmpfs" | "ignore" => Ok(text.to_owned()),
        "bind" => Ok("anonymous".to_owned()),
        bogus => Err(Failure::invalid(format!(
            "invalid image volume mode \"{bogus}\" required value: anonymous, bind, tmpfs, ignore"
        ))),
    }
}

/// `os/arch[/variant]`; empty = this machine's.
///
/// # Errors
/// podman's words.
pub fn platform(args: &Args) -> Result<String, Failure> {
    if let Some(platform) = args.text("platform") {
        if args.given("arch") || args.given("os") {
            return Err(Failure::invalid("--platform option can not be specified with --arch or --os"));
        }
        let parts: Vec<&str> = platform.split('/').collect();
        let is_word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        if platform.is_empty() || ((1..=3).contains(&parts.len()) && parts.iter().all(is_word)) {
            return Ok(platform.to_owned());
        }
        return Err(Failure::invalid(format!(
            "parsing platform \"{platform}\": cannot parse platform specifier: invalid argument"
        )));
    }
    let (os, arch, variant) = (args.text_or_empty("os"), args.text_or_empty("arch"), args.text_or_empty("variant"));
    if os.is_empty() && arch.is_empty() && variant.is_empty() {
        return Ok(String::new());
    }
    let machine = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mut platform =
        format!("{}/{}", if os.is_empty() { "linux" } else { os }, if arch.is_empty() { machine } else { arch });
    if !variant.is_empty() {
        platform.push('/');
        platform.push_str(variant);
    }
    Ok(platform)
}

/// `--pull`
///
/// # Errors
/// `unsupported pull policy "bogus"`
pub fn pull_policy(text: &str) -> Result<String, Failure> {
    match text {
        "always" | "missing" | "never" | "newer" => Ok(text.to_owned()),
        "" | "true" | "ifnotpresent" | "IfNotPresent" => Ok("missing".to_owned()),
        bogus => Err(Failure::invalid(format!("unsupported pull policy \"{bogus}\""))),
    }
}

/// The pod that is made with a container: hidden, or called `name`. What belongs to a pod's network and host name moves
/// from the container to it.
pub fn new_pod(name: Option<&str>, config: &mut ContainerConfig) -> PodConfig {
    let network = config.network.take().unwrap_or_default();
    let exposed = network.exposed.clone();
    let mut pod = PodConfig {
        name: name.unwrap_or_default().to_owned(),
        hidden: name.is_none(),
        network: Some(network),
        create_command: config.create_command.clone(),
        ..Default::default()
    };
    config.network = Some(proto::wire::NetworkConfig { exposed, ..Default::default() });
    if name.is_some() {
        pod.share = ["ipc", "net", "uts"].map(str::to_owned).into();
        pod.hostname = std::mem::take(&mut config.hostname);
        pod.restart = config.restart.clone();
        let cpus = config.resources.as_ref().map_or(0.0, |resources| resources.cpus);
        pod.resources = Some(Resources { cpus, ..Default::default() });
        pod.userns.clone_from(&config.userns);
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn args(line: &str) -> Result<Args, Failure> {
        let words = line.split_whitespace().map(str::to_owned).collect();
        match scan::parse(&crate::command::ROOT, words)? {
            Parsed::Run { args, .. } => Ok(args),
            other => panic!("{line}: {other:?}"),
        }
    }

    fn parse(line: &str) -> Result<ContainerConfig, Failure> {
        let line =
            if line.contains("--init-ctr") { format!("create {line} image") } else { format!("run {line} image") };
        config(&args(&line)?)
    }

    #[test]
    fn every_flag_reaches_the_message() {
        let plain = parse("").expect("plain");
        for line in [
            "--annotation a=b",
            "--arch x",
            "--cap-add chown",
            "--cap-drop all",
            "--cgroupns host",
            "--cidfile /x",
            "--device /dev/null",
            "--entrypoint x",
            "-e A=B",
            "--env-host",
            "--expose 80",
            "--group-add x",
            "--health-cmd x",
            "--health-interval 5s",
            "--health-log-destination local",
            "--health-max-log-count 7",
            "--health-max-log-size 7",
            "--health-on-failure stop",
            "--health-retries 5",
            "--health-start-period 5s",
            "--health-startup-cmd x",
            "--health-startup-cmd x --health-startup-interval 5s",
            "--health-startup-cmd x --health-startup-retries 5",
            "--health-startup-cmd x --health-startup-success 5",
            "--health-startup-cmd x --health-startup-timeout 5s",
            "--health-timeout 5s",
            "-h x",
            "--image-volume ignore",
            "--init",
            "-i",
            "--ipc host",
            "--label a=b",
            "--log-driver none",
            "--log-opt max-size=1m",
            "--mount type=tmpfs,dst=/x",
            "--name x",
            "--no-healthcheck",
            "--no-hostname",
            "--oom-score-adj 5",
            "--os x",
            "--pid host",
            "--platform linux/arm64",
            "--privileged",
            "-P",
            "--pull always",
            "--read-only",
            "--read-only-tmpfs=false",
            "--requires x",
            "--restart always",
            "--rm",
            "--sdnotify ignore",
            "--secret x",
            "--security-opt label=disable",
            "--shm-size 1m",
            "--stop-signal HUP",
            "--stop-timeout 3",
            "--sysctl a=b",
            "--systemd always",
            "--timeout 3",
            "--tmpfs /x",
            "-t",
            "--tz local",
            "--ulimit nofile=5",
            "--umask 077",
            "--unsetenv X",
            "--unsetenv-all",
            "-u x",
            "--userns host",
            "--uts host",
            "--variant v8",
            "-v /x",
            "--volumes-from x",
            "-w /x",
            "--detach-keys a",
            "--preserve-fds 2",
            "--rmi",
            "--pidfile x",
            "--conmon-pidfile x",
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
            "-p 80",
            "--blkio-weight 10",
            "--cgroup-parent /x",
            "-c 5",
            "--cpus 1",
            "--cpuset-cpus 0",
            "--cpuset-mems 0",
            "-m 10m",
            "--cpu-period 5",
            "--cpu-quota 5",
            "--memory-reservation 5m",
            "--oom-kill-disable",
            "--pids-limit 5",
        ] {
            assert_ne!(parse(line).expect(line), plain, "{line} is forgotten");
        }
        assert_eq!(parse("--init-ctr once --pod x").expect("init").init_ctr, "once");
    }

    #[test]
    fn the_command_is_what_follows_the_image() {
        let config = config(&args("run -d alpine sh -c x").expect("args")).expect("config");
        assert_eq!(config.command.expect("command").args, ["sh", "-c", "x"]);
        assert_eq!(parse("").expect("none").command, None);
        assert_eq!(parse("--entrypoint=").expect("none").entrypoint, Some(Argv::default()));
    }

    #[test]
    fn places() {
        let place = |line: &str| place(&args(&format!("run {line} x")).expect("args"));
        assert_eq!(place("").expect("alone"), Place::Alone);
        assert_eq!(place("--pod web").expect("pod"), Place::Pod("web".to_owned()));
        assert_eq!(place("--pod new:web").expect("new"), Place::NewPod("web".to_owned()));
        for (line, words) in [
            ("--pod new:", "new pod name must be at least one character"),
            (
                "--pod new:a/b",
                "running pod create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
            ),
            ("--pod a --pod-id-file b", "cannot specify both --pod and --pod-id-file"),
            ("--pod-id-file /nonexist", "reading pod ID file: open /nonexist: no such file or directory"),
        ] {
            assert_eq!(place(line).expect_err(line).to_string(), words);
        }
    }

    #[test]
    fn a_new_pod_takes_network_and_host_name() {
        let mut config =
            parse("-p 8081:80 --expose 90 --hostname h --network mired --restart always --cpus 1").expect("config");
        let pod = new_pod(Some("pod4"), &mut config);
        let network = pod.network.expect("network");
        assert_eq!((network.ports.len(), network.networks[0].name.as_str()), (1, "mired"));
        assert_eq!((pod.name.as_str(), pod.hostname.as_str(), pod.hidden), ("pod4", "h", false));
        assert!(config.hostname.is_empty() && config.network.expect("left").ports.is_empty());
        let mut config = parse("-p 8081:80 --hostname h").expect("config");
        let pod = new_pod(None, &mut config);
        assert!(pod.hidden && pod.hostname.is_empty() && config.hostname == "h");
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            ("--replace", "cannot replace container without --name being set"),
            (
                "--name a/b",
                "running container create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
            ),
            (
                "--rm --restart always",
                "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\"",
            ),
            (
                "--systemd bogus",
                "invalid config provided: --systemd values must be one of \"true, false, always\": invalid configuration",
            ),
            (
                "--sdnotify bogus",
                "invalid config provided: invalid argument: invalid sdnotify value \"bogus\": must be container, conmon, healthy or ignore",
            ),
            (
                "--image-volume bogus",
                "invalid image volume mode \"bogus\" required value: anonymous, bind, tmpfs, ignore",
            ),
            (
                "--volumes-from x:y:z",
                "invalid option \"y:z\" specified - volumes from another container can only use z,ro,rw options",
            ),
            ("--health-interval bogus", "invalid healthcheck-interval: time: invalid duration \"bogus\""),
            ("--health-interval 5", "invalid healthcheck-interval: time: missing unit in duration \"5\""),
            ("--health-interval 1us", "healthcheck-interval must be at least 1ms, or disable"),
            ("--health-interval -5s", "healthcheck-interval must be at least 1ms, or disable"),
            ("--health-timeout 0s", "healthcheck-timeout must be at least 1 second"),
            ("--health-start-period -1s", "healthcheck-start-period must be 0 seconds or greater"),
            ("--health-retries 0", "healthcheck-retries must be greater than 0"),
            ("--health-cmd []", "must define a healthcheck command for all healthchecks"),
            ("--health-cmd x --no-healthcheck", "cannot specify both --no-healthcheck and --health-cmd"),
            (
                "--health-startup-cmd x --no-healthcheck",
                "cannot specify both --no-healthcheck and --health-startup-cmd",
            ),
            ("--health-startup-retries 2", "cannot set --health-startup-retries without --health-startup-cmd"),
            (
                "--health-on-failure bogus",
                "invalid on-failure action \"bogus\" for health check: supported actions are none,kill,restart,stop",
            ),
            ("--pull bogus", "unsupported pull policy \"bogus\""),
            ("--platform a/b/c/d", "parsing platform \"a/b/c/d\": cannot parse platform specifier: invalid argument"),
            ("--platform linux/arm64 --os x", "--platform option can not be specified with --arch or --os"),
            ("--init-ctr once", "must specify pod value with init-ctr"),
            ("--init-ctr bogus --pod x", "init-ctr value must be 'always' or 'once'"),
            ("--pid bogus", "unrecognized namespace mode bogus passed"),
            ("--pid container:", "invalid config provided: namespace mode container requires a value"),
            (
                "--uts host --hostname x",
                "invalid config provided: cannot set hostname when running in the host UTS namespace: invalid configuration",
            ),
            ("--oom-score-adj 5000", "invalid value 5000 for --oom-score-adj: must be between -1000 and 1000"),
            ("--stop-signal bad", "invalid signal: bad"),
            ("--detach-keys ctrl-", "invalid detach keys: Unknown character: 'ctrl-'"),
        ] {
            assert_eq!(parse(line).expect_err(line).to_string(), words, "{line}");
        }
    }
}
