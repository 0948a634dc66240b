//! What a pod and a container are, and what they may not be: stub.
use oci_spec::image::ImageConfiguration;
use proto::{
    record::{ContainerRecord, ImageUse, PodRecord},
    refusal::Result,
    wire::{ContainerConfig, PodConfig},
};

/// Refuses a pod that cannot be, and fills in defaults (share, exit policy, network mode, hostname stays "" = pod name).
/// Pure: touches nothing.
pub fn check_pod(_config: PodConfig) -> Result<PodConfig> {
    unimplemented!()
}

/// Refuses a container that cannot be in `pod` (reference §2.22, §3.1 conflicts, hostile names, env, labels, mounts,
/// users, workdirs, signals …). Pure. Called before the image is looked up.
pub fn check_container(_config: ContainerConfig, _pod: &PodConfig) -> Result<ContainerConfig> {
    unimplemented!()
}

/// Merges options, image and pod into a record whose `args`, `env`, `user`, `workdir`, `stop_signal`, `mounts` are final
/// (anonymous volumes have a random 64-hex name listed in `anonymous_volumes`; member wins over pod per destination).
/// Refuses hostile image content. Pure but for random names.
pub fn merge(
    _id: proto::Id,
    _name: String,
    _config: ContainerConfig,
    _pod: &PodRecord,
    _image: Option<(&ImageConfiguration, ImageUse)>,
) -> Result<ContainerRecord> {
    unimplemented!()
}
