//! Which processes of the engine run, and which of them are the programs that are installed now.

use proto::refusal::Result;
use serde_json::{Value, json};

use super::View;
use crate::{index, programs};

/// One row per process: `Program`, `Pid`, `Inode`, `Current`, and whose it is.
///
/// # Errors
/// When the pods cannot be listed, or a program is not installed.
pub fn document(view: &View<'_>) -> Result<Value> {
    let failed = |error: std::io::Error| proto::Refusal::internal("the programs", error);
    let (shim, monitor) =
        (view.engine.program("podshim").map_err(failed)?, view.engine.program("podmon").map_err(failed)?);
    let mut rows = Vec::new();
    for pod in index::pods(&view.engine.roots).map_err(failed)? {
        let name = pod.record.as_ref().map_or_else(|_| pod.id().short().to_owned(), |record| record.name.clone());
        let members: Vec<&str> =
            pod.containers.iter().filter_map(|one| Some(one.record.as_ref().ok()?.name.as_str())).collect();
        // A container without a pod is known by its own name.
        let owner = if pod.hidden() { members.first().map_or(name.clone(), |name| (*name).to_owned()) } else { name };
        let row = |program: &str, pid: u32, container: &str, name: &str, installed: &std::path::Path| {
            json!({
                "Program": program, "Pid": pid, "Inode": programs::inode(pid), "Pod": pod.id().as_str(),
                "Container": container, "Name": name, "Current": programs::is_current(pid, installed),
            })
        };
        if let Some(state) = pod.state.as_ref().filter(|state| state.shim.is_alive()) {
            rows.push(row("podshim", state.shim.pid, "", &owner, &shim));
        }
        let infra = pod.state.as_ref().and_then(|state| state.infra_init.as_ref()).filter(|infra| infra.is_alive());
        rows.extend(infra.map(|infra| row("podshim infra", infra.pid, "", &owner, &shim)));
        for container in &pod.containers {
            let Some(process) = container.monitor.as_ref().map(|state| &state.monitor) else { continue };
            if let Some(record) = container.record.as_ref().ok().filter(|_| process.is_alive()) {
                rows.push(row("podmon", process.pid, record.id.as_str(), &record.name, &monitor));
            }
        }
    }
    Ok(json!({ "Programs": rows }))
}
