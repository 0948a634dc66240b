//! Image, pod and options become the record of a container.

use std::collections::BTreeSet;

use oci_spec::image::ImageConfiguration;
use proto::{
    Refusal,
    record::{ContainerRecord, ImageUse, PodRecord, SCHEMA},
    refusal::Result,
    wire::{ContainerConfig, Mount, PodConfig, Security, mount},
};

use super::{
    image::Defaults,
    modes::{Place, Sharing},
    mounts,
};
use crate::namespace::sysctl::{self, Scope};

/// What every container has in its environment unless something sets it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What stops systemd (systemd(1), SIGRTMIN+3: halt).
const SYSTEMD_STOP: &str = "SIGRTMIN+3";

/// The label in which an image has a seccomp profile (podman-run(1), "--seccomp-policy").
const SECCOMP_PROFILE: &str = "io.containers.seccomp.profile";

/// Tells programs that they are in a container; the value is the one that they know.
const MARK: &str = "container=podman";

/// Merges options, image and pod into a record whose `args`, `env`, `user`, `workdir`, `stop_signal`, `mounts` are final
/// (anonymous volumes have a random 64-hex name listed in `anonymous_volumes`; member wins over pod per destination).
/// `config` in the record has the image's labels and what the pod hands down (security options, devices, sysctls, size of
/// /dev/shm, restart policy). Refuses hostile image content. Pure but for random names and the time.
///
/// # Errors
/// A [`Refusal`] in its final words.
pub fn merge(
    id: proto::Id,
    name: String,
    mut config: ContainerConfig,
    pod: &PodRecord,
    image: Option<(&ImageConfiguration, ImageUse)>,
) -> Result<ContainerRecord> {
    let with_volumes = !config.image_volume_ignore && config.image_volume_mode != "ignore";
    let (defaults, image) = match image {
        Some((document, used)) => {
            let shown = if used.name.is_empty() { &config.image } else { &used.name };
            (Defaults::of(document, shown, with_volumes)?, Some(used))
        }
        None => (Defaults::default(), None),
    };
    inherit(&mut config, &pod.config);
    let args = arguments(&config, &defaults)?;
    let env = environment(&config, &defaults);
    let (mounts, anonymous_volumes) = all_mounts(&config, &pod.config, &defaults)?;
    let given = |option: &str, image: &str| if option.is_empty() { image.to_owned() } else { option.to_owned() };
    let workdir = given(&config.workdir, &given(&defaults.workdir, "/"));
    let systemd = systemd(&config, &args);
    let default = if systemd { SYSTEMD_STOP } else { "SIGTERM" };
    let stop_signal = given(&config.stop_signal, &given(&defaults.stop_signal, default));
    // From here on it says what is, and not what was asked for.
    config.systemd = if systemd { "always" } else { "false" }.to_owned();
    let user = given(&config.user, &defaults.user);
    if config.seccomp_policy == "image" {
        let profile = defaults.labels.get(SECCOMP_PROFILE).filter(|profile| !profile.is_empty());
        let profile = profile.ok_or_else(|| Refusal::invalid("no seccomp policy defined by image"))?;
        config.security.get_or_insert_default().seccomp.clone_from(profile);
    }
    for (key, value) in defaults.labels {
        config.labels.entry(key).or_insert(value);
    }
    Ok(ContainerRecord {
        schema: SCHEMA,
        id,
        pod: pod.id.clone(),
        name,
        created: proto::time::now(),
        config,
        image,
        mounts,
        args,
        env,
        user,
        workdir,
        stop_signal,
        anonymous_volumes,
    })
}

/// Whether the command is made comfortable as an init system: `--systemd always`, or (by default) its name says so.
fn systemd(config: &ContainerConfig, args: &[String]) -> bool {
    let name = args.first().map_or("", String::as_str);
    let is_init = matches!(name, "/sbin/init" | "/usr/sbin/init" | "/usr/local/sbin/init")
        || name.rsplit('/').next() == Some("systemd");
    match config.systemd.as_str() {
        "always" => true,
        "false" => false,
        _ => is_init,
    }
}

/// Entrypoint and command. An entrypoint of the options also takes the image's command away; an empty one takes the
/// image's entrypoint away.
fn arguments(config: &ContainerConfig, defaults: &Defaults) -> Result<Vec<String>> {
    let entrypoint = config.entrypoint.as_ref().map_or(&defaults.entrypoint, |argv| &argv.args);
    let given = config.command.as_ref().map(|argv| &argv.args).filter(|args| !args.is_empty());
    let command = match given {
        Some(args) => args.as_slice(),
        None if config.entrypoint.is_some() => &[],
        None => &defaults.cmd,
    };
    let none = matches!(entrypoint.as_slice(), [only] if only.is_empty());
    let args: Vec<String> = entrypoint.iter().filter(|_| !none).chain(command).cloned().collect();
    if args.is_empty() {
        return Err(Refusal::invalid("no command or entrypoint provided, and no CMD or ENTRYPOINT from image"));
    }
    Ok(args)
}

/// Defaults, image, options; a later value takes the place of an earlier one.
fn environment(config: &ContainerConfig, defaults: &Defaults) -> Vec<String> {
    let mut env: Vec<String> = Vec::new();
    let mut set = |entry: &str| {
        let key = entry.split_once('=').map_or(entry, |(key, _)| key);
        let same = |known: &&mut String| known.split_once('=').is_some_and(|(name, _)| name == key);
        match env.iter_mut().find(same) {
            Some(known) => entry.clone_into(known),
            None => env.push(entry.to_owned()),
        }
    };
    let unset = |entry: &&str| {
        let key = entry.split_once('=').map_or("", |(key, _)| key);
        config.unset_env_all || config.unset_env.iter().any(|name| name == key)
    };
    let terminal = config.tty.then_some("TERM=xterm");
    let own = [Some(PATH), terminal, Some(MARK)].into_iter().flatten();
    own.chain(defaults.env.iter().map(String::as_str)).filter(|entry| !unset(entry)).for_each(&mut set);
    config.env_merge.iter().for_each(|entry| set(&expanded(entry, &defaults.env)));
    config.env.iter().for_each(|entry| set(entry));
    env
}

/// `--env-merge`: `entry` with the image's value for each `$NAME` and `${NAME}`; nothing where it has none.
fn expanded(entry: &str, image: &[String]) -> String {
    let value = |name: &str| {
        let found = image.iter().filter_map(|entry| entry.split_once('=')).find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    };
    let mut out = String::with_capacity(entry.len());
    let mut rest = entry;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let (name, left) = braced.unwrap_or_else(|| {
            after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()))
        });
        // A dollar of nothing is a dollar.
        out.push_str(if name.is_empty() && braced.is_none() { "$" } else { value(name) });
        rest = left;
    }
    out + rest
}

/// The options' mounts, then the pod's, then the image's volumes, each where nothing is yet; parents first.
fn all_mounts(config: &ContainerConfig, pod: &PodConfig, defaults: &Defaults) -> Result<(Vec<Mount>, Vec<String>)> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let mut all: Vec<Mount> = Vec::new();
    let mut anonymous = Vec::new();
    for mount in config.mounts.iter().chain(&pod.mounts) {
        if taken.insert(&mount.destination) {
            all.push(mount.clone());
        }
    }
    let kind = if config.image_volume_mode == "tmpfs" { mount::Kind::Tmpfs } else { mount::Kind::Volume };
    for destination in defaults.volumes.iter().filter(|path| !taken.contains(path.as_str())) {
        all.push(Mount { kind: kind.into(), destination: destination.clone(), from_image: true, ..Default::default() });
    }
    if all.len() > mounts::MAX {
        return Err(Refusal::invalid(format!(
            "--volume: more than {} mounts with those of pod and image: mount a directory above them",
            mounts::MAX
        )));
    }
    for mount in all.iter_mut().filter(|mount| mount.kind() == mount::Kind::Volume && mount.source.is_empty()) {
        mount.source = mounts::anonymous()?;
        anonymous.push(mount.source.clone());
    }
    mounts::sort(&mut all);
    Ok((all, anonymous))
}

/// What a pod hands down to its members: the member's own wish wins.
fn inherit(config: &mut ContainerConfig, pod: &PodConfig) {
    if let Some(security) = &pod.security {
        inherit_security(config.security.get_or_insert_default(), security);
    }
    for device in &pod.devices {
        if !config.devices.iter().any(|own| own.container_path == device.container_path) {
            config.devices.push(device.clone());
        }
    }
    let sharing = Sharing::of(config, pod);
    for (key, value) in &pod.sysctls {
        // A member that left the pod's namespace for the host's must not set the host's.
        let of_host = match sysctl::scope(key) {
            Some(Scope::Net) => sharing.net == Place::Host,
            Some(Scope::Ipc) => sharing.ipc == Place::Host,
            None => true,
        };
        if !of_host {
            config.sysctls.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    config.no_hostname |= pod.no_hostname;
    if config.shm_size == 0 && sharing.ipc != Place::Host {
        config.shm_size = pod.shm_size;
    }
    if config.shm_size_systemd == 0 {
        config.shm_size_systemd = pod.shm_size_systemd;
    }
    // An init container has to end, and --rm asks for one life.
    if config.restart.is_none() && config.init_ctr.is_empty() && !config.auto_remove {
        config.restart.clone_from(&pod.restart);
    }
}

fn inherit_security(own: &mut Security, pod: &Security) {
    let text = |own: &mut String, pod: &String| {
        if own.is_empty() {
            own.clone_from(pod);
        }
    };
    let list = |own: &mut Vec<String>, pod: &Vec<String>| {
        if own.is_empty() {
            own.clone_from(pod);
        }
    };
    own.no_new_privileges |= pod.no_new_privileges;
    text(&mut own.seccomp, &pod.seccomp);
    text(&mut own.apparmor, &pod.apparmor);
    list(&mut own.label_opts, &pod.label_opts);
    list(&mut own.mask, &pod.mask);
    list(&mut own.unmask, &pod.unmask);
    list(&mut own.security_opt, &pod.security_opt);
}

#[cfg(test)]
mod tests {
    use proto::{Id, wire::Argv};
    use serde_json::{Value, json};

    use super::*;
    use crate::spec::{check_container, check_pod, is_anonymous, publish_all, refusals};

    fn pod(config: PodConfig) -> PodRecord {
        let id = Id::random().expect("random");
        PodRecord { schema: SCHEMA, id, name: "web".into(), created: 1, infra: None, config }
    }

    fn image(config: Value) -> ImageConfiguration {
        let rootfs = json!({"type": "layers", "diff_ids": []});
        serde_json::from_value(json!({"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": config}))
            .expect("an image's config")
    }

    fn merged_in(pod: &PodRecord, config: ContainerConfig, image: &ImageConfiguration) -> Result<ContainerRecord> {
        let config = check_container(ContainerConfig { image: "img".into(), ..config }, &pod.config)?;
        let used = ImageUse { name: "localhost/img:latest".into(), ..Default::default() };
        merge(Id::random().expect("random"), "c".into(), config, pod, Some((image, used)))
    }

    fn merged(config: ContainerConfig, of: Value) -> Result<ContainerRecord> {
        merged_in(&pod(refusals::hidden()), config, &image(of))
    }

    fn argv(args: &[&str]) -> Option<Argv> {
        Some(Argv { args: args.iter().map(|arg| (*arg).to_owned()).collect() })
    }

    fn mount(kind: mount::Kind, source: &str, destination: &str) -> Mount {
        Mount { kind: kind.into(), source: source.into(), destination: destination.into(), ..Default::default() }
    }

    #[test]
    fn entrypoint_and_command() {
        let of = || json!({"Entrypoint": ["/e", "x"], "Cmd": ["c"]});
        for (entrypoint, command, expected) in [
            (None, None, "/e x c"),
            (None, argv(&["d"]), "/e x d"),
            (None, argv(&[]), "/e x c"),
            (argv(&["/o"]), None, "/o"),
            (argv(&["/o"]), argv(&["d"]), "/o d"),
            (argv(&[""]), argv(&["d"]), "d"),
            (argv(&[]), argv(&["d"]), "d"),
        ] {
            let config = ContainerConfig { entrypoint, command, ..Default::default() };
            assert_eq!(merged(config, of()).expect("a command").args.join(" "), expected);
        }
        let words = "no command or entrypoint provided, and no CMD or ENTRYPOINT from image";
        let nothing = ContainerConfig { entrypoint: argv(&[""]), ..Default::default() };
        assert_eq!(merged(nothing, of()).expect_err("nothing").message, words);
        assert_eq!(merged(ContainerConfig::default(), json!({})).expect_err("nothing").message, words);
        assert_eq!(merged(ContainerConfig::default(), json!(null)).expect_err("nothing").message, words);
    }

    #[test]
    fn the_environment_in_its_order() {
        let of = || json!({"Cmd": ["c"], "Env": ["A=image", "PATH=/image", "B=1"]});
        let env = |change: fn(&mut ContainerConfig)| {
            let mut config = ContainerConfig::default();
            change(&mut config);
            merged(config, of()).expect("fine").env.join(" ")
        };
        assert_eq!(env(|_| {}), "PATH=/image container=podman A=image B=1");
        assert_eq!(
            env(|c| (c.tty, c.env) = (true, vec!["A=".into(), "C=x=y".into(), "C=z".into()])),
            "PATH=/image TERM=xterm container=podman A= B=1 C=z"
        );
        assert_eq!(env(|c| c.unset_env = vec!["A".into(), "PATH".into()]), "container=podman B=1");
        assert_eq!(env(|c| c.env_merge = vec!["C=$A-${A}x$".into()]).rsplit(' ').next(), Some("C=image-imagex$"));
        assert_eq!(env(|c| (c.unset_env_all, c.env) = (true, vec!["A=mine".into()])), "A=mine");
    }

    #[test]
    fn the_rest_of_the_image_and_what_wins_over_it() {
        let of = json!({
            "Cmd": ["c"], "User": "nobody:users", "WorkingDir": "/srv/", "StopSignal": "SIGQUIT",
            "Labels": {"a": "image", "b": "image", "io.podctl.secret": "x", "": "x"},
        });
        let record = merged(ContainerConfig::default(), of.clone()).expect("fine");
        assert_eq!((record.user.as_str(), record.workdir.as_str()), ("nobody:users", "/srv"));
        assert_eq!(record.stop_signal, "SIGQUIT");
        assert_eq!(record.config.labels.len(), 2);
        let config = ContainerConfig {
            user: "0".into(),
            workdir: "/w".into(),
            stop_signal: "9".into(),
            labels: [("a".into(), "mine".into())].into(),
            ..Default::default()
        };
        let record = merged(config, of).expect("fine");
        assert_eq!((record.user.as_str(), record.workdir.as_str()), ("0", "/w"));
        assert_eq!(record.stop_signal, "SIGKILL");
        assert_eq!((record.config.labels["a"].as_str(), record.config.labels["b"].as_str()), ("mine", "image"));
        let plain = merged(ContainerConfig::default(), json!({"Cmd": ["c"]})).expect("fine");
        assert_eq!((plain.user.as_str(), plain.workdir.as_str(), plain.stop_signal.as_str()), ("", "/", "SIGTERM"));
    }

    #[test]
    fn hostile_images_are_refused_by_name() {
        for (of, words) in [
            (json!({"Env": ["AWS_SECRET_ACCESS_KEY"]}), "ENV \"AWS_SECRET_ACCESS_KEY\": it has no ="),
            (json!({"Env": ["*"]}), "ENV \"*\": it has no ="),
            (json!({"Env": ["=x"]}), "ENV \"=x\": its name is empty"),
            (json!({"Env": [""]}), "ENV \"\": it has no ="),
            (json!({"Env": ["HOME=/x\ny"]}), "ENV \"HOME=/x\\ny\": it has control characters or line breaks"),
            (
                json!({"User": "4294967296"}),
                "USER \"4294967296\": a number is larger than 2147483647: give it as user[:group], names or numbers",
            ),
            (
                json!({"Volumes": {"/../../etc": {}}}),
                "VOLUME \"/../../etc\": must be an absolute path below / without ..: run it with --image-volume=ignore",
            ),
            (
                json!({"Volumes": {"/": {}}}),
                "VOLUME \"/\": must be an absolute path below / without ..: run it with --image-volume=ignore",
            ),
            (
                json!({"Volumes": {"rel": {}}}),
                "VOLUME \"rel\": must be an absolute path below / without ..: run it with --image-volume=ignore",
            ),
            (
                json!({"Volumes": {"/proc": {}}}),
                "VOLUME /proc: an image cannot cover /proc or /sys: run it with --image-volume=ignore",
            ),
            (json!({"Volumes": {"/a\n": {}}}), "VOLUME \"/a\\n\": control characters and line breaks are not allowed"),
            (
                json!({"WorkingDir": "/proc/self/fd/8"}),
                "WORKDIR /proc/self/fd/8: the working directory cannot be in a process' own files: choose another directory",
            ),
            (json!({"WorkingDir": "x"}), "WORKDIR \"x\": the working directory must be an absolute path"),
            (json!({"StopSignal": "99"}), "invalid signal: 99"),
            (json!({"Entrypoint": ["a\0"]}), "ENTRYPOINT \"a\\0\": NUL characters are not allowed"),
            (json!({"Cmd": ["\0"]}), "CMD \"\\0\": NUL characters are not allowed"),
        ] {
            let refusal = merged(ContainerConfig::default(), of).expect_err(words);
            assert_eq!(refusal.message, format!("image localhost/img:latest: {words}"));
        }
        let ignore = ContainerConfig { image_volume_mode: "ignore".into(), ..Default::default() };
        let of = json!({"Cmd": ["c"], "Volumes": {"/../../etc": {}}});
        assert!(merged(ignore, of).expect("the way out").mounts.is_empty());
        let many: serde_json::Map<String, Value> = (0..300).map(|n| (format!("/{n}"), json!({}))).collect();
        let refusal = merged(ContainerConfig::default(), json!({"Volumes": many})).expect_err("too many");
        assert_eq!(refusal.message, "image localhost/img:latest: VOLUME: more than 256 of them");
    }

    #[test]
    fn mounts_of_member_pod_and_image() {
        let shared = check_pod(PodConfig {
            mounts: vec![
                mount(mount::Kind::Volume, "vol1", "/html"),
                mount(mount::Kind::Bind, "/srv", "/srv"),
                mount(mount::Kind::Volume, "", "/anon"),
            ],
            ..Default::default()
        });
        let pod = pod(shared.expect("a pod"));
        let of = image(json!({"Cmd": ["c"], "Volumes": {"/html/": {}, "/data": {}, "/cache": {}}}));
        let config = ContainerConfig {
            mounts: vec![
                mount(mount::Kind::Tmpfs, "", "/srv/deep/er"),
                mount(mount::Kind::Volume, "mine", "/srv"),
                mount(mount::Kind::Volume, "", "/own"),
            ],
            ..Default::default()
        };
        let record = merged_in(&pod, config.clone(), &of).expect("fine");
        let destinations: Vec<&str> = record.mounts.iter().map(|mount| mount.destination.as_str()).collect();
        assert_eq!(destinations, ["/srv", "/own", "/html", "/anon", "/cache", "/data", "/srv/deep/er"]);
        assert_eq!(record.mounts[0].source, "mine");
        // The pod's anonymous volume is one for all members and not this container's to remove.
        assert_eq!(record.mounts[3].source, pod.config.mounts[2].source);
        assert_eq!(record.anonymous_volumes.len(), 3);
        assert!(record.anonymous_volumes.iter().all(|name| is_anonymous(name)));
        assert!(record.mounts[4].from_image && record.mounts[5].from_image && !record.mounts[2].from_image);

        let tmpfs = ContainerConfig { image_volume_mode: "tmpfs".into(), ..config.clone() };
        let record = merged_in(&pod, tmpfs, &of).expect("fine");
        assert!(record.mounts.iter().filter(|mount| mount.from_image).all(|mount| mount.kind() == mount::Kind::Tmpfs));
        let ignore = ContainerConfig { image_volume_mode: "ignore".into(), ..config };
        assert!(merged_in(&pod, ignore, &of).expect("fine").mounts.iter().all(|mount| !mount.from_image));
    }

    #[test]
    fn what_the_pod_hands_down() {
        let mut config = PodConfig { shm_size: 7 << 20, ..Default::default() };
        config.security =
            Some(Security { no_new_privileges: true, seccomp: "unconfined".into(), ..Default::default() });
        config.sysctls.insert("net.ipv4.ip_forward".into(), "1".into());
        let mut config = check_pod(config).expect("a pod");
        // A policy is refused at the door for now; what is handed down does not depend on that.
        config.restart = Some(proto::wire::RestartPolicy { name: "always".into(), max_retries: 0 });
        let pod = pod(config);
        let of = image(json!({"Cmd": ["c"]}));
        let plain = merged_in(&pod, ContainerConfig::default(), &of).expect("fine").config;
        let security = plain.security.expect("security");
        assert!(security.no_new_privileges && security.seccomp == "unconfined");
        assert_eq!((plain.shm_size, plain.sysctls.len()), (7 << 20, 1));
        assert_eq!(plain.restart.expect("policy").name, "always");

        let network = Some(proto::wire::NetworkConfig { mode: "host".into(), ..Default::default() });
        let own = ContainerConfig {
            network,
            auto_remove: true,
            security: Some(Security { seccomp: "{}".into(), ..Default::default() }),
            ..Default::default()
        };
        let own = merged_in(&pod, own, &of).expect("fine").config;
        assert_eq!(own.security.expect("security").seccomp, "{}");
        // On the host's network a sysctl of the pod's would be the host's.
        assert!(own.sysctls.is_empty() && own.restart.is_none());
    }

    #[test]
    fn exposed_ports_are_published_on_request() {
        let of = image(json!({"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9000-9002": {}}}));
        let mut config = PodConfig { hidden: true, ..Default::default() };
        let network = config.network.get_or_insert_default();
        network.publish_all = true;
        network.ports = vec![proto::wire::PortMapping { host_port: 8080, container_port: 80, ..Default::default() }];
        let mut config = check_pod(config).expect("a pod");
        publish_all(&mut config, Some(&of)).expect("ports");
        let ports = &config.network.as_ref().expect("network").ports;
        let shown: Vec<_> =
            ports.iter().map(|p| (p.host_port, p.container_port, p.range, p.protocol.as_str())).collect();
        assert_eq!(shown, [(8080, 80, 1, "tcp"), (0, 53, 1, "udp"), (0, 9000, 3, "tcp")]);
        for bad in ["x", "80/foo", "0", "9-8", "70000", "80/tcp/x"] {
            let of = image(json!({"ExposedPorts": {bad: {}}}));
            assert!(publish_all(&mut config, Some(&of)).is_err(), "{bad}");
        }
    }

    /// A small generator of random numbers with a seed: a failure can be run again.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 % limit
        }

        fn text(&mut self) -> String {
            const PIECES: [&str; 24] = [
                "",
                "/",
                "..",
                "a",
                "=",
                "\0",
                "\n",
                "é",
                "/proc/self",
                "0",
                "4294967296",
                ":",
                "io.podctl.x",
                "SIGTERM",
                "-",
                "/a/../..",
                "\u{202e}",
                "80/tcp",
                "65536",
                "PATH=",
                "[\"x\"]",
                "%",
                "\u{7f}",
                "😀",
            ];
            (0..self.below(4)).map(|_| PIECES[usize::try_from(self.below(24)).expect("small")]).collect()
        }

        fn value(&mut self, depth: u32) -> Value {
            match self.below(if depth == 0 { 5 } else { 8 }) {
                0 => Value::Null,
                1 => json!(self.below(3) == 0),
                2 => json!(self.below(u64::MAX)),
                3 | 4 => json!(self.text()),
                5 => (0..self.below(4)).map(|_| json!(self.text())).collect(),
                6 => (0..self.below(4)).map(|_| self.value(depth - 1)).collect(),
                _ => Value::Object((0..self.below(4)).map(|_| (self.text(), self.value(depth - 1))).collect()),
            }
        }

        fn texts(&mut self) -> Value {
            (0..self.below(4)).map(|_| json!(self.text())).collect()
        }

        fn set(&mut self) -> Value {
            Value::Object((0..self.below(4)).map(|_| (self.text(), json!({}))).collect())
        }
    }

    #[test]
    fn no_image_makes_it_panic_or_break_the_record() {
        let mut random = Random(0x05ee_d0fa_111d_e500);
        let pod = pod(check_pod(PodConfig::default()).expect("a pod"));
        let (mut read, mut accepted) = (0, 0);
        for _ in 0..20_000 {
            let mut config = json!({
                "Env": random.texts(), "Cmd": random.texts(), "Entrypoint": random.texts(), "User": random.text(),
                "WorkingDir": random.text(), "StopSignal": random.text(), "Volumes": random.set(),
                "ExposedPorts": random.set(), "Labels": {random.text(): random.text()},
            });
            // Most of the fields away, so that what is left gets through the checks of the others now and then.
            let fields = config.as_object_mut().expect("an object");
            fields.retain(|_, _| random.below(4) == 0);
            if random.below(8) == 0 {
                fields.insert("Env".into(), random.value(3));
            }
            let document = json!({
                "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": config,
            });
            let Ok(document) = serde_json::from_value::<ImageConfiguration>(document) else { continue };
            read += 1;
            let mut hidden = refusals::hidden();
            hidden.network.get_or_insert_default().publish_all = true;
            let _ = publish_all(&mut hidden, Some(&document));
            let options = ContainerConfig { command: argv(&["c"]), ..Default::default() };
            match merged_in(&pod, options, &document) {
                Ok(record) => {
                    accepted += 1;
                    assert!(record.env.iter().all(|entry| entry.find('=').is_some_and(|at| at > 0)), "{record:?}");
                    assert!(record.workdir.starts_with('/') && record.workdir != "/proc/self", "{record:?}");
                    let climbs = |mount: &Mount| mount.destination.split('/').any(|part| part == "..");
                    assert!(!record.mounts.iter().any(climbs), "{record:?}");
                    assert!(!record.args.iter().any(|argument| argument.contains('\0')), "{record:?}");
                }
                Err(refusal) => assert!(!refusal.message.contains(['\n', '\0']), "{refusal:?}"),
            }
        }
        assert!(read > 10_000 && accepted > 1000, "{read} read, {accepted} accepted");
    }
}
