//! Fields that podman's documents leave out while they are empty: in JSON they are missing, in a template they are there.

use std::{collections::BTreeMap, sync::Arc};

use gotmpl::Value;
use serde_json::{Map, Value as Json};

/// What a field is that was left out (Go's zero values).
#[derive(Clone, Copy, Debug)]
enum Zero {
    Number,
    Text,
    No,
    Nothing,
    List,
    Map,
}

use Zero::{List, Map as Empty, No, Nothing, Number, Text};

impl Zero {
    fn value(self) -> Value {
        match self {
            Number => Value::Int(0),
            Text => Value::String(Arc::from("")),
            No => Value::Bool(false),
            Nothing => Value::Nil,
            List => Value::List(Vec::new().into()),
            Empty => Value::Map(Arc::default()),
        }
    }
}

/// A key that every object of a kind has and no other kind, and the fields that it may lack: `omitempty` in
/// libpod/define/{pod_inspect,container_inspect,volume_inspect}.go and common's libnetwork/types.
const KINDS: &[(&str, &[(&str, Zero)])] = &[
    // A pod.
    (
        "NumContainers",
        &[
            ("BlkioDeviceReadBps", List),
            ("BlkioWeight", Number),
            ("BlkioWeightDevice", List),
            ("CPUPeriod", Number),
            ("CPUQuota", Number),
            ("CPUSetCPUs", Text),
            ("CPUSetMems", Text),
            ("CPUShares", Number),
            ("CgroupParent", Text),
            ("CgroupPath", Text),
            ("Containers", List),
            ("CreateCommand", List),
            ("Devices", List),
            ("ExitPolicy", Text),
            ("InfraConfig", Nothing),
            ("InfraContainerID", Text),
            ("Labels", Empty),
            ("MemoryLimit", Number),
            ("MemorySwap", Number),
            ("Mounts", List),
            ("Namespace", Text),
            ("RestartPolicy", Text),
            ("SecurityOpts", List),
            ("SharedNamespaces", List),
            ("VolumesFrom", List),
        ],
    ),
    // Its infra.
    (
        "HostNetwork",
        &[
            ("CPUPeriod", Number),
            ("CPUQuota", Number),
            ("CPUSetCPUs", Text),
            ("PidNS", Text),
            ("UserNS", Text),
            ("UtsNS", Text),
        ],
    ),
    // A container.
    ("ResolvConfPath", &[("OCIConfigPath", Text), ("OCIRuntime", Text), ("SizeRootFs", Number), ("SizeRw", Nothing)]),
    ("OOMKilled", &[("CgroupPath", Text), ("ConmonPid", Number), ("Health", Nothing), ("StoppedByUser", No)]),
    (
        "OnBuild",
        &[
            ("CreateCommand", List),
            ("ExposedPorts", Empty),
            ("HealthLogDestination", Text),
            ("Healthcheck", Nothing),
            ("Secrets", List),
            ("StartupHealthCheck", Nothing),
            ("SystemdMode", No),
            ("Timezone", Text),
        ],
    ),
    ("ConsoleSize", &[("Init", No)]),
    ("EndpointID", &[("Aliases", List), ("NetworkID", Text)]),
    // A volume.
    (
        "Mountpoint",
        &[
            ("Anonymous", No),
            ("GID", Number),
            ("NeedsChown", No),
            ("NeedsCopyUp", No),
            ("Timeout", Number),
            ("UID", Number),
        ],
    ),
    // A network.
    ("ipam_options", &[("Labels", Empty), ("NetworkDNSServers", List), ("Options", Empty), ("Routes", List)]),
];

/// What an image's config may lack (image-spec, config.md).
const IMAGE_CONFIG: &[(&str, Zero)] = &[
    ("Cmd", List),
    ("Entrypoint", List),
    ("Env", List),
    ("ExposedPorts", Empty),
    ("Labels", Empty),
    ("StopSignal", Text),
    ("User", Text),
    ("Volumes", Empty),
    ("WorkingDir", Text),
];

/// Adds to the config of an image the fields that it lacks.
pub(super) fn complete_image_config(map: &mut BTreeMap<Arc<str>, Value>) {
    for (name, zero) in IMAGE_CONFIG {
        map.entry(Arc::from(*name)).or_insert_with(|| zero.value());
    }
}

/// Adds to `map`, which was made of `object`, the fields that the object lacks.
pub(super) fn complete(object: &Map<String, Json>, map: &mut BTreeMap<Arc<str>, Value>) {
    let kinds = KINDS.iter().filter(|(key, _)| object.contains_key(*key));
    for (name, zero) in kinds.flat_map(|(_, fields)| *fields) {
        if !map.contains_key(*name) {
            map.insert(Arc::from(*name), zero.value());
        }
    }
}
