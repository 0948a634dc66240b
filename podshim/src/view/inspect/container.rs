//! The document of a container or infra (libpod/define/container_inspect.go, InspectContainerData).

use std::path::Path;

use oci_spec::runtime::{Capabilities, Spec};
use proto::{
    record::{self, ContainerRecord, HealthState, ImageUse, Phase, StartRecord},
    state::ContainerState,
};
use serde_json::Value;

use super::{capabilities, config, host_config, mounts, settings};
use crate::{
    image::Image,
    view::{
        Shown, View, containers,
        json::{add, object, strings, strings_or_null, time},
    },
};

/// What the parts of the document are made from.
pub(super) struct Subject<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) shown: Shown<'a>,
    /// Of a member whose record can be read.
    pub(super) record: Option<&'a ContainerRecord>,
    /// What the runtime was told, while the bundle is there.
    pub(super) spec: Option<Spec>,
    pub(super) image: Option<Image>,
}

impl Subject<'_> {
    /// The bounding set: as the runtime was told, else as it would be.
    pub(super) fn bounding(&self) -> Vec<String> {
        let told =
            self.spec.as_ref().and_then(|spec| spec.process().as_ref()?.capabilities().as_ref()?.bounding().clone());
        match (told, self.record) {
            (Some(set), _) => words(&set),
            (None, Some(record)) => capabilities::bounding(record.config.security.as_ref()),
            // An infra runs nothing for its users.
            (None, None) => Vec::new(),
        }
    }
}

/// The document of `shown`, with its sizes where `size` asks for them.
pub(super) fn document(view: &View<'_>, shown: Shown<'_>, size: bool) -> Value {
    let record = shown.record();
    let image = record.and_then(|record| record.image.as_ref());
    let bundle = view.roots().bundle(shown.pod().id(), shown.id()).join("config.json");
    let subject = Subject {
        view,
        shown,
        record,
        spec: record::read::<Spec>(&bundle).ok(),
        image: image.and_then(|image| view.stores.image(&image.id)),
    };
    subject.document(&bundle, size)
}

impl Subject<'_> {
    fn document(&self, bundle: &Path, size: bool) -> Value {
        let (shown, roots) = (self.shown, self.view.roots());
        let none = ImageUse::default();
        let image = self.record.and_then(|record| record.image.as_ref()).unwrap_or(&none);
        let run = roots.run_pod(shown.pod().id());
        let file = |name: &str| existing(&run.join(name));
        let infra_args = ["podshim".to_owned(), "pod".to_owned(), shown.pod().id().to_string()];
        let args = self.record.map_or(if shown.is_infra() { &infra_args[..] } else { &[] }, |record| &record.args);
        let mut document = object([
            ("Id", shown.id().as_str().into()),
            ("Created", time(shown.created())),
            ("Path", args.first().map_or("", String::as_str).into()),
            // A command without arguments is its own, as with podman.
            ("Args", strings(if args.len() > 1 { &args[1..] } else { args })),
            ("State", self.state()),
            ("Image", image.id.as_str().into()),
            ("ImageDigest", image.digest.as_str().into()),
            ("ImageName", image.name.as_str().into()),
            ("Rootfs", self.record.map_or("", |record| &record.config.rootfs).into()),
            ("Pod", shown.pod_id().map_or("", |pod| pod.as_str()).into()),
            ("ResolvConfPath", file("resolv.conf")),
            ("HostnamePath", file("hostname")),
            ("HostsPath", file("hosts")),
            ("StaticDir", self.static_dir()),
        ]);
        add(&mut document, "OCIConfigPath", existing(bundle));
        add(&mut document, "OCIRuntime", self.runtime());
        self.identity(&mut document);
        if size {
            let sizes = containers::size(self.view, shown);
            extend(&mut document, [("SizeRw", sizes["rwSize"].clone()), ("SizeRootFs", sizes["rootFsSize"].clone())]);
        }
        self.surroundings(&mut document);
        if let Shown::Member(..) = shown {
            // Not podman's: records the log has lost to a full disk.
            extend(&mut document, [("LogDropped", shown.log_dropped().into())]);
        }
        document
    }

    fn identity(&self, document: &mut Value) {
        let bounding = self.bounding();
        let effective = if self.runs_as_root() { bounding.clone() } else { self.effective() };
        let execs = match self.shown {
            Shown::Member(_, member) => member.monitor.as_ref().map_or(&[][..], |monitor| &monitor.execs),
            Shown::Infra(..) => &[],
        };
        extend(
            document,
            [
                ("ConmonPidFile", self.pidfile(|config| &config.conmon_pidfile)),
                ("PidFile", self.pidfile(|config| &config.pidfile)),
                ("Name", self.shown.name().into()),
                ("RestartCount", self.shown.restarts().into()),
                ("Driver", "overlay".into()),
                ("MountLabel", "".into()),
                ("ProcessLabel", "".into()),
                ("AppArmorProfile", "".into()),
                ("EffectiveCaps", strings_or_null(effective)),
                ("BoundingCaps", strings_or_null(bounding)),
                ("ExecIDs", strings(execs)),
                ("GraphDriver", self.graph_driver()),
            ],
        );
    }

    fn surroundings(&self, document: &mut Value) {
        let mounts = match self.shown {
            Shown::Member(..) => self.record.map_or(&[][..], |record| &record.mounts),
            Shown::Infra(_, record, _) => &record.config.mounts,
        };
        extend(
            document,
            [
                ("Mounts", mounts::list(self.view, mounts)),
                ("Dependencies", strings(self.dependencies())),
                ("NetworkSettings", settings::document(self.view, self.shown)),
                ("Namespace", "".into()),
                ("IsInfra", self.shown.is_infra().into()),
                ("IsService", false.into()),
                ("KubeExitCodePropagation", "invalid".into()),
                ("lockNumber", 0.into()),
                ("Config", config::document(self)),
                ("HostConfig", host_config::document(self, mounts)),
                ("UseImageHosts", false.into()),
                ("UseImageHostname", self.record.is_some_and(|record| record.config.no_hostname).into()),
            ],
        );
    }

    fn state(&self) -> Value {
        let (state, roots) = (self.shown.state(), self.view.roots());
        let (monitor, exit) = match self.shown {
            Shown::Member(_, member) => (member.monitor.as_ref(), member.exit.as_ref()),
            Shown::Infra(..) => (None, None),
        };
        let ended = exit.filter(|_| state == ContainerState::Exited);
        let mut document = object([
            ("OciVersion", self.spec.as_ref().map_or(oci_spec::runtime::VERSION, |spec| spec.version()).into()),
            ("Status", state.as_str().into()),
            ("Running", (state == ContainerState::Running).into()),
            ("Paused", (state == ContainerState::Paused).into()),
            ("Restarting", monitor.is_some_and(|monitor| monitor.phase == Phase::Backoff && state.is_alive()).into()),
            ("OOMKilled", ended.is_some_and(|exit| exit.status.oom_killed).into()),
            ("Dead", (state == ContainerState::Unknown).into()),
            ("Pid", self.shown.process().map_or(0, |process| process.pid).into()),
        ]);
        let supervisor = match self.shown {
            Shown::Member(..) => monitor.map(|monitor| &monitor.monitor).filter(|monitor| monitor.is_alive()),
            Shown::Infra(..) => self.shown.process(),
        };
        add(&mut document, "ConmonPid", supervisor.map_or(0, |process| process.pid));
        let error = exit.map_or("", |exit| &exit.error);
        extend(
            &mut document,
            [
                ("ExitCode", self.shown.exit_code().into()),
                ("Error", error.into()),
                ("StartedAt", time(self.shown.started())),
                ("FinishedAt", time(self.shown.finished(roots))),
            ],
        );
        if let Some(health) = self.shown.health() {
            add(&mut document, "Health", health_of(health));
        }
        add(&mut document, "CgroupPath", if state.is_alive() { self.cgroup() } else { String::new() });
        extend(&mut document, [("CheckpointedAt", time(0)), ("RestoredAt", time(0))]);
        add(&mut document, "StoppedByUser", self.shown.stopped_by_user());
        document
    }

    fn cgroup(&self) -> String {
        match self.shown {
            Shown::Infra(pod, ..) => pod.up().map_or_else(String::new, |state| state.cgroup.clone()),
            Shown::Member(pod, member) => {
                let start = self.view.roots().start_record(pod.id(), member.id());
                record::read::<StartRecord>(&start).map_or_else(|_| String::new(), |start| start.cgroup)
            }
        }
    }

    /// Without a user of its own it is root, who has all that the bounding set allows.
    fn runs_as_root(&self) -> bool {
        self.record.is_some_and(|record| matches!(record.user.split(':').next(), Some("" | "0" | "root")))
    }

    fn effective(&self) -> Vec<String> {
        let told =
            self.spec.as_ref().and_then(|spec| spec.process().as_ref()?.capabilities().as_ref()?.effective().clone());
        told.map_or_else(Vec::new, |set| words(&set))
    }

    fn static_dir(&self) -> Value {
        let (roots, pod) = (self.view.roots(), self.shown.pod().id());
        let dir = if self.shown.is_infra() { roots.pod(pod) } else { roots.container(pod, self.shown.id()) };
        dir.to_string_lossy().into()
    }

    fn runtime(&self) -> &str {
        let own = self.record.map_or("", |record| &record.config.runtime);
        if own.is_empty() { self.view.engine.runtime() } else { own }
    }

    fn graph_driver(&self) -> Value {
        let (roots, pod) = (self.view.roots(), self.shown.pod().id());
        let data = match self.record {
            None => Value::Null,
            Some(record) => {
                let dir = roots.container(pod, &record.id);
                let mut data = object([]);
                let layers = self.image.iter().flat_map(|image| image.layers.iter().rev());
                let lower: Vec<String> = layers.map(|layer| layer.display().to_string()).collect();
                add(&mut data, "LowerDir", lower.join(":"));
                // Where it is mounted is a path of the engine's mount namespace, seen through any process in it.
                if self.shown.state().is_alive() {
                    add(&mut data, "MergedDir", roots.rootfs(pod, &record.id).display().to_string());
                }
                add(&mut data, "UpperDir", dir.join("upper").display().to_string());
                add(&mut data, "WorkDir", dir.join("work").display().to_string());
                data
            }
        };
        object([("Name", "overlay".into()), ("Data", data)])
    }

    /// A file that was asked for; of an infra, that of its shim.
    fn pidfile(&self, of: impl Fn(&proto::wire::ContainerConfig) -> &String) -> Value {
        match (self.record, self.shown) {
            (Some(record), _) => of(&record.config).as_str().into(),
            (None, Shown::Infra(_, pod, _)) => pod.config.infra_conmon_pidfile.as_str().into(),
            _ => "".into(),
        }
    }

    /// Containers that must be there for this one: its pod's infra, and those it names.
    fn dependencies(&self) -> Vec<String> {
        let Some(record) = self.record else { return Vec::new() };
        let infra = self.shown.pod().record.as_ref().ok().and_then(|pod| pod.infra.as_ref());
        let config = &record.config;
        let modes = [&config.pid_mode, &config.ipc_mode, &config.uts_mode, &config.cgroupns_mode];
        let of_pod = self.shown.pod().record.as_ref().ok().and_then(|pod| pod.config.network.as_ref());
        let networks = [config.network.as_ref(), of_pod].into_iter().flatten().map(|network| &network.mode);
        let joined = modes.into_iter().chain(networks).filter_map(|mode| mode.strip_prefix("container:"));
        let mut ids: Vec<String> = infra
            .map(ToString::to_string)
            .into_iter()
            .chain(config.requires.iter().map(|entry| entry.split(':').next().unwrap_or(entry).to_owned()))
            .chain(config.volumes_from.iter().map(|source| source.split(':').next().unwrap_or_default().to_owned()))
            .chain(joined.map(str::to_owned))
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }
}

/// What checks have found (libpod's HealthCheckResults).
fn health_of(health: &HealthState) -> Value {
    let log: Value = health
        .log
        .iter()
        .map(|check| {
            object([
                ("Start", time(check.start)),
                ("End", time(check.end)),
                ("ExitCode", check.exit_code.into()),
                ("Output", check.output.as_str().into()),
            ])
        })
        .collect();
    object([
        ("Status", health.status.as_str().into()),
        ("FailingStreak", health.failing_streak.into()),
        // Empty and not null: a template may ask for its length.
        ("Log", log),
    ])
}

/// The names of `set`, sorted.
fn words(set: &Capabilities) -> Vec<String> {
    let mut words: Vec<String> = set
        .iter()
        .filter_map(|capability| serde_json::to_value(capability).ok()?.as_str().map(str::to_owned))
        .collect();
    words.sort();
    words
}

/// Adds keys, empty or not.
pub(in crate::view) fn extend<const N: usize>(document: &mut Value, pairs: [(&str, Value); N]) {
    if let Some(map) = document.as_object_mut() {
        map.extend(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)));
    }
}

/// `path` where it exists, else an empty string.
fn existing(path: &Path) -> Value {
    if path.exists() { path.to_string_lossy().into() } else { "".into() }
}

#[cfg(test)]
mod tests {
    use proto::wire::InspectObjects;

    use super::super::super::fixture::Fixture;
    use super::*;

    fn inspect(fixture: &Fixture, name: &str) -> Value {
        let request = InspectObjects { names: vec![name.to_owned()], ..Default::default() };
        super::super::containers(&fixture.view(), &request).expect("inspection").found.remove(0)
    }

    fn keys(value: &Value) -> String {
        value.as_object().expect("object").keys().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_keys_are_podmans_in_podmans_order_and_what_the_log_has_lost() {
        let fixture = Fixture::new();
        fixture.web();
        let document = inspect(&fixture, "front");
        assert_eq!(
            keys(&document),
            "Id Created Path Args State Image ImageDigest ImageName Rootfs Pod ResolvConfPath HostnamePath \
             HostsPath StaticDir OCIRuntime ConmonPidFile PidFile Name RestartCount Driver MountLabel \
             ProcessLabel AppArmorProfile EffectiveCaps BoundingCaps ExecIDs GraphDriver Mounts \
             Dependencies NetworkSettings Namespace IsInfra IsService KubeExitCodePropagation lockNumber \
             Config HostConfig UseImageHosts UseImageHostname LogDropped"
        );
        assert_eq!(
            keys(&document["State"]),
            "OciVersion Status Running Paused Restarting OOMKilled Dead Pid ConmonPid ExitCode Error \
             StartedAt FinishedAt CheckpointedAt RestoredAt"
        );
        assert_eq!(
            keys(&document["NetworkSettings"]),
            "EndpointID Gateway IPAddress IPPrefixLen IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen \
             MacAddress Bridge SandboxID HairpinMode LinkLocalIPv6Address LinkLocalIPv6PrefixLen Ports \
             SandboxKey Networks"
        );
        assert_eq!(
            keys(&document["HostConfig"]),
            "Binds CgroupManager CgroupMode ContainerIDFile LogConfig NetworkMode PortBindings \
             RestartPolicy AutoRemove AutoRemoveImage Annotations VolumeDriver VolumesFrom CapAdd CapDrop \
             Dns DnsOptions DnsSearch ExtraHosts HostsFile GroupAdd IpcMode Cgroup Cgroups Links \
             OomScoreAdj PidMode Privileged PublishAllPorts ReadonlyRootfs SecurityOpt Tmpfs UTSMode \
             UsernsMode ShmSize Runtime ConsoleSize Isolation CpuShares Memory NanoCpus CgroupParent \
             BlkioWeight BlkioWeightDevice BlkioDeviceReadBps BlkioDeviceWriteBps BlkioDeviceReadIOps \
             BlkioDeviceWriteIOps CpuPeriod CpuQuota CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus \
             CpusetMems Devices DiskQuota KernelMemory MemoryReservation MemorySwap MemorySwappiness \
             OomKillDisable PidsLimit Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth \
             CgroupConf"
        );
        assert_eq!(
            keys(&document["Config"]),
            "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce Env Cmd \
             Image Volumes WorkingDir Entrypoint OnBuild Labels Annotations StopSignal \
             HealthcheckOnFailureAction Umask Timeout StopTimeout Passwd sdNotifyMode"
        );
    }

    #[test]
    fn a_member_and_the_infra_show_the_networks_of_the_pod() {
        let fixture = Fixture::new();
        let web = fixture.web();
        for name in ["front", web.infra.short()] {
            let settings = &inspect(&fixture, name)["NetworkSettings"];
            assert_eq!(settings["Networks"]["net1"]["IPAddress"], "10.89.0.2", "{name}");
            assert_eq!(settings["Networks"]["net1"]["NetworkID"], "9".repeat(64));
            assert_eq!(settings["Ports"]["80/tcp"][0]["HostPort"], "8080");
            assert_eq!(settings["IPAddress"], "", "only the default network stands at the top");
        }
        let host_config = &inspect(&fixture, "front")["HostConfig"];
        for mode in ["NetworkMode", "IpcMode", "UTSMode"] {
            assert_eq!(host_config[mode], format!("container:{}", web.infra), "{mode}");
        }
        assert_eq!(host_config["PortBindings"].to_string(), "{}");
        assert_eq!(host_config["PidMode"], "private");
        let infra = inspect(&fixture, &format!("{}-infra", web.pod.short()));
        assert_eq!((&infra["IsInfra"], &infra["Image"]), (&true.into(), &"".into()));
        assert_eq!(infra["HostConfig"]["NetworkMode"], "bridge");
        assert_eq!(infra["HostConfig"]["PortBindings"]["80/tcp"][0]["HostIp"], "0.0.0.0");
        assert_eq!(infra["State"]["Pid"], std::process::id());
    }

    #[test]
    fn states_of_running_and_exited_ones() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let front = inspect(&fixture, "front");
        assert_eq!(
            (&front["State"]["Status"], &front["State"]["Pid"]),
            (&"running".into(), &std::process::id().into())
        );
        assert_eq!(front["State"]["ExitCode"], 0);
        assert_eq!(front["RestartCount"], 2);
        assert_eq!(front["Dependencies"][0], web.infra.as_str());
        let back = inspect(&fixture, "back");
        assert_eq!((&back["State"]["Status"], &back["State"]["ExitCode"]), (&"exited".into(), &7.into()));
        assert_eq!(back["State"]["FinishedAt"], "1970-01-01T00:00:06Z");
        assert!(back["State"].get("ConmonPid").is_none());
        assert_eq!(back["Path"], "nginx");
        assert_eq!(back["Args"][1], "daemon off;");
        assert_eq!(back["Config"]["StopSignal"], "SIGQUIT");
    }

    #[test]
    fn an_exit_of_an_earlier_run_is_not_this_ones() {
        let fixture = Fixture::new();
        let web = fixture.web();
        fixture.exited(&web.pod, &web.back, 7);
        // A later run whose process has gone, and nobody has written how.
        let gone = proto::alive::Process { start_time: 1, ..proto::alive::Process::this() };
        let roots = &fixture.engine.roots;
        fixture.runs(&web.pod, &web.back, Some(gone), Phase::Running);
        let path = roots.container_state(&web.pod, &web.back);
        let mut state: record::MonitorState = record::read(&path).expect("state");
        state.started_at = 90_000_000_000;
        record::write(&path, &state, record::Durability::Volatile).expect("write");
        assert_eq!(inspect(&fixture, "back")["State"]["ExitCode"], -1);
    }

    #[test]
    fn a_record_that_cannot_be_read_still_has_a_document() {
        let fixture = Fixture::new();
        let web = fixture.web();
        std::fs::write(fixture.engine.roots.container_record(&web.pod, &web.back), "{").expect("write");
        let document = inspect(&fixture, "back");
        assert_eq!(document["State"]["Status"], "unknown");
        assert_eq!(document["State"]["Dead"], true);
    }
}
