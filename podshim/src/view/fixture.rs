//! Records of a small engine in a temporary directory, for the tests of the views.

use std::{collections::BTreeMap, fs};

use proto::{
    Id, Roots,
    alive::{self, Process},
    layout::Target,
    record::{
        self, ContainerRecord, Durability, ExitRecord, ImageUse, MonitorState, NetworkRecord, NetworkStatus, Phase,
        PodRecord, PodState, SCHEMA, VolumeRecord,
    },
    wire::{ContainerConfig, Mount, NetworkAttachment, NetworkConfig, PodConfig, PortMapping, mount},
};

use super::{Stores, View};
use crate::{config::Engine, image::Image};

/// The engine; it goes away with this.
pub(super) struct Fixture {
    pub(super) engine: Engine,
    networks: Networks,
    _dir: tempfile::TempDir,
}

/// What [`Fixture::web`] made.
pub(super) struct Web {
    pub(super) pod: Id,
    pub(super) infra: Id,
    pub(super) front: Id,
    pub(super) back: Id,
}

struct Networks;

impl Stores for Networks {
    fn image(&self, _: &str) -> Option<Image> {
        None
    }
    fn images(&self) -> usize {
        0
    }
    fn volume(&self, name: &str) -> Option<VolumeRecord> {
        (name == "vol1").then(|| VolumeRecord {
            schema: SCHEMA,
            name: name.to_owned(),
            created: 1_000_000_000,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
            anonymous: false,
            copied_up: true,
            owner: None,
        })
    }
    fn network(&self, name: &str) -> Option<NetworkRecord> {
        (name == "net1").then(|| NetworkRecord {
            schema: SCHEMA,
            name: name.to_owned(),
            id: "9".repeat(64).parse().expect("id"),
            driver: "bridge".into(),
            interface: "podctl1".into(),
            created: 1_000_000_000,
            subnet: "10.89.0.0/24".into(),
            gateway: "10.89.0.1".into(),
            ip_range: String::new(),
            internal: false,
            dns: true,
            dns_servers: Vec::new(),
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        })
    }
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        fs::create_dir_all(roots.names()).expect("names");
        Fixture { engine: Engine::new(roots, Some("crun".into())), networks: Networks, _dir: dir }
    }

    pub(super) fn view(&self) -> View<'_> {
        View { engine: &self.engine, stores: &self.networks }
    }

    fn roots(&self) -> &Roots {
        &self.engine.roots
    }

    fn name(&self, name: &str, target: &Target) {
        std::os::unix::fs::symlink(target.link(), self.roots().names().join(name)).expect("symlink");
    }

    /// Writes a pod and its names.
    pub(super) fn pod(&self, record: &PodRecord) {
        fs::create_dir_all(self.roots().containers(&record.id)).expect("dir");
        fs::create_dir_all(self.roots().run_pod(&record.id)).expect("dir");
        record::write(&self.roots().pod_record(&record.id), record, Durability::Volatile).expect("write");
        self.name(record.id.as_str(), &Target::Pod(record.id.clone()));
        if let Some(infra) = &record.infra {
            self.name(&record.name, &Target::Pod(record.id.clone()));
            self.name(infra.as_str(), &Target::Infra(record.id.clone()));
            self.name(&record.infra_name(), &Target::Infra(record.id.clone()));
        }
    }

    /// Writes a container and its names.
    pub(super) fn container(&self, record: &ContainerRecord) {
        fs::create_dir_all(self.roots().container(&record.pod, &record.id)).expect("dir");
        fs::create_dir_all(self.roots().run_container(&record.pod, &record.id)).expect("dir");
        record::write(&self.roots().container_record(&record.pod, &record.id), record, Durability::Volatile)
            .expect("write");
        let target = Target::Container { pod: record.pod.clone(), container: record.id.clone() };
        self.name(record.id.as_str(), &target);
        self.name(&record.name, &target);
    }

    /// `container` runs: its process is `init`.
    pub(super) fn runs(&self, pod: &Id, container: &Id, init: Option<Process>, phase: Phase) {
        let state = MonitorState {
            schema: SCHEMA,
            monitor: Process::this(),
            phase,
            init,
            started_at: 5_000_000_000,
            restart_count: 2,
            ..MonitorState::default()
        };
        record::write(&self.roots().container_state(pod, container), &state, Durability::Volatile).expect("write");
    }

    /// `container` has ended with `code`.
    pub(super) fn exited(&self, pod: &Id, container: &Id, code: i32) {
        let exit = ExitRecord {
            schema: SCHEMA,
            status: proto::exit::from_wait_status(code << 8, 6_000_000_000),
            started_at: 5_000_000_000,
            restart_count: 0,
            error: String::new(),
            log_dropped: 0,
            stopped_by_user: false,
            init: None,
        };
        record::write(&self.roots().exit_record(pod, container), &exit, Durability::Volatile).expect("write");
    }

    /// A pod without members that was never started.
    pub(super) fn empty_pod(&self, name: &str, created: i64) -> Id {
        let id = Id::random().expect("id");
        let config = PodConfig { name: name.into(), share: vec!["net".into()], ..Default::default() };
        let infra = Some(Id::random().expect("id"));
        self.pod(&PodRecord { schema: SCHEMA, id: id.clone(), name: name.into(), created, infra, config });
        id
    }

    /// A container without a pod, created and never started.
    pub(super) fn plain(&self, name: &str) -> (Id, Id) {
        let (pod, id) = (Id::random().expect("id"), Id::random().expect("id"));
        let config = PodConfig { hidden: true, ..Default::default() };
        let record =
            PodRecord { schema: SCHEMA, id: pod.clone(), name: pod.to_string(), created: 7_000, infra: None, config };
        self.pod(&record);
        self.container(&ContainerRecord { created: 8_000, ..member(&pod, &id, name) });
        (pod, id)
    }

    /// The pod `web`, up, with `front` running and `back` exited with 7; port 8080, network net1, volume vol1 at /data.
    pub(super) fn web(&self) -> Web {
        let web = Web {
            pod: Id::random().expect("id"),
            infra: Id::random().expect("id"),
            front: Id::random().expect("id"),
            back: Id::random().expect("id"),
        };
        let port =
            PortMapping { host_port: 8080, container_port: 80, protocol: "tcp".into(), range: 1, ..Default::default() };
        let volume = Mount {
            kind: mount::Kind::Volume.into(),
            source: "vol1".into(),
            destination: "/data".into(),
            ..Default::default()
        };
        let config = PodConfig {
            name: "web".into(),
            labels: BTreeMap::from([("app".into(), "shop".into()), ("tier".into(), "1".into())]),
            share: vec!["ipc".into(), "net".into(), "uts".into()],
            exit_policy: "continue".into(),
            network: Some(NetworkConfig {
                mode: "bridge".into(),
                networks: vec![NetworkAttachment { name: "net1".into(), ..Default::default() }],
                ports: vec![port.clone()],
                ..Default::default()
            }),
            mounts: vec![volume.clone()],
            ..Default::default()
        };
        self.pod(&PodRecord {
            schema: SCHEMA,
            id: web.pod.clone(),
            name: "web".into(),
            created: 1_000,
            infra: Some(web.infra.clone()),
            config,
        });
        let state = PodState {
            schema: SCHEMA,
            started: true,
            boot_id: alive::boot_id().to_owned(),
            started_at: 5_000_000_000,
            shim: Process::this(),
            infra_init: None,
            networks: vec![NetworkStatus {
                network: "net1".into(),
                interface: "eth0".into(),
                ip: "10.89.0.2".into(),
                prefix: 24,
                gateway: "10.89.0.1".into(),
                mac: "aa:bb:cc:dd:ee:ff".into(),
                aliases: vec!["web".into()],
                dns: true,
                ..Default::default()
            }],
            ports: vec![port],
            start_order: vec![web.front.clone()],
            cgroup: format!("/podctl/{}", web.pod),
            paused: false,
        };
        record::write(&self.roots().pod_state(&web.pod), &state, Durability::Volatile).expect("write");
        let front = member(&web.pod, &web.front, "front");
        let mounts = vec![volume];
        self.container(&ContainerRecord { created: 2_000, mounts: mounts.clone(), ..front });
        self.container(&ContainerRecord { created: 3_000, mounts, ..member(&web.pod, &web.back, "back") });
        self.runs(&web.pod, &web.front, Some(Process::this()), Phase::Running);
        self.exited(&web.pod, &web.back, 7);
        web
    }
}

/// A container's record with what every test needs.
pub(super) fn member(pod: &Id, id: &Id, name: &str) -> ContainerRecord {
    ContainerRecord {
        schema: SCHEMA,
        id: id.clone(),
        pod: pod.clone(),
        name: name.into(),
        created: 2_000,
        config: ContainerConfig {
            labels: BTreeMap::from([("role".into(), name.into())]),
            image: "nginx".into(),
            ..Default::default()
        },
        image: Some(ImageUse {
            id: "c".repeat(64),
            name: "docker.io/library/nginx:latest".into(),
            digest: format!("sha256:{}", "d".repeat(64)),
        }),
        mounts: Vec::new(),
        args: vec!["nginx".into(), "-g".into(), "daemon off;".into()],
        env: vec!["PATH=/bin".into()],
        user: String::new(),
        workdir: "/".into(),
        stop_signal: "SIGQUIT".into(),
        anonymous_volumes: Vec::new(),
    }
}
