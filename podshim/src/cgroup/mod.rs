//! Control groups: stub.
use proto::{Id, refusal::Result, wire::Resources};

/// The cgroup of a pod, relative to every hierarchy's mount point (begins with '/').
pub fn pod_path(_pod: &Id, _parent: &str) -> Result<String> {
    unimplemented!()
}
/// The cgroup of a member.
pub fn container_path(_pod_path: &str, _container: &Id) -> String {
    unimplemented!()
}
/// Makes the pod's cgroup in every hierarchy and sets its limits.
pub fn create_pod(_path: &str, _limits: Option<&Resources>) -> Result<()> {
    unimplemented!()
}
/// Removes it and what is left below it; busy ones are retried for a short while, missing ones are fine.
pub fn remove(_path: &str) -> Result<()> {
    unimplemented!()
}
/// Checks that explicit limits can be set on this machine; the refusal names the flag.
pub fn check(_limits: &Resources) -> Result<()> {
    unimplemented!()
}
/// SIGKILL to everything in the cgroup and below it, frozen or not.
pub fn kill(_path: &str) -> Result<()> {
    unimplemented!()
}
