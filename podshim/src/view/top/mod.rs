//! The processes of a container or pod, read from `/proc` (containers/psgo): no monitor is asked and nothing of the
//! container is run.
//!
//! A container's processes are those in the cgroup of its first one and below; where it has no cgroup of its own, those of
//! its PID namespace. Pids are those the container sees.

mod descriptor;
mod members;
mod process;
mod users;

use proto::{
    Kind, Refusal, Roots,
    alive::Process as Init,
    layout::Target,
    refusal::Result,
    state::ContainerState,
    wire::{TopReply, TopRequest, TopRow},
};

use crate::index::{self, Pod};
use descriptor::Descriptor;
use process::Process;
use users::Users;

/// The table `request` asks for: a row for every process of every running container. The infra's comes first, where the
/// PID namespace is shared and it has one.
///
/// # Errors
/// A container or pod that is not there or does not run; a column that does not exist.
pub fn table(roots: &Roots, request: &TopRequest) -> Result<TopReply> {
    let descriptors = descriptor::parse(&request.descriptors)?;
    let host = Users::of_host();
    let mut rows = Vec::new();
    for group in groups(roots, request)? {
        rows.extend(group.rows(&descriptors, &host));
    }
    let titles = descriptors.iter().map(|descriptor| descriptor.title().to_owned()).collect();
    Ok(TopReply { titles, rows })
}

/// Processes that belong together, found from the first of them.
#[derive(Debug)]
struct Group {
    init: Init,
    /// Only the first process: the infra's.
    alone: bool,
}

fn groups(roots: &Roots, request: &TopRequest) -> Result<Vec<Group>> {
    if request.containers.is_empty() {
        return pod_groups(roots, &request.pod);
    }
    request.containers.iter().map(|name| container_group(roots, name)).collect()
}

fn container_group(roots: &Roots, name: &str) -> Result<Group> {
    let missing = || Refusal::no_such_container(name);
    let not_running = || Refusal::new(Kind::WrongState, "top can only be used on running containers").about(name);
    match roots.resolve(name)?.ok_or_else(missing)? {
        Target::Pod(_) => Err(missing()),
        Target::Infra(pod) => {
            let pod = index::pod(roots, &pod).ok_or_else(missing)?;
            let init = pod.up().map(|state| state.infra_init.clone().unwrap_or_else(|| state.shim.clone()));
            Ok(Group { init: init.filter(Init::is_alive).ok_or_else(not_running)?, alone: true })
        }
        Target::Container { pod, container } => {
            let container = index::container(roots, &pod, &container).ok_or_else(missing)?;
            if container.state != ContainerState::Running {
                return Err(not_running());
            }
            // Between two runs of a restart policy there is no process.
            Ok(Group { init: container.init().cloned().ok_or_else(not_running)?, alone: false })
        }
    }
}

fn pod_groups(roots: &Roots, name: &str) -> Result<Vec<Group>> {
    let missing = || Refusal::no_such_pod(name);
    let Some(Target::Pod(id)) = roots.resolve(name)? else { return Err(missing()) };
    let pod: Pod = index::pod(roots, &id).ok_or_else(missing)?;
    let infra = pod.up().and_then(|state| state.infra_init.clone()).filter(Init::is_alive);
    let members = pod.containers.iter().filter(|member| member.state == ContainerState::Running);
    let groups: Vec<Group> = infra
        .map(|init| Group { init, alone: true })
        .into_iter()
        .chain(members.filter_map(|member| Some(Group { init: member.init()?.clone(), alone: false })))
        .collect();
    if groups.is_empty() && pod.up().is_none() {
        let words = "pod top can only be used on pods with at least one running container";
        return Err(Refusal::new(Kind::WrongState, words).about(name));
    }
    Ok(groups)
}

impl Group {
    fn rows(&self, descriptors: &[Descriptor], host: &Users) -> Vec<TopRow> {
        let Some(init) = Process::read(self.init.pid) else { return Vec::new() };
        let users = Users::of_process(self.init.pid);
        let pids = if self.alone { vec![self.init.pid] } else { members::pids(&init) };
        // The first process was checked by its start time; a pid that was given to somebody else since is not shown.
        if !self.init.exists() {
            return Vec::new();
        }
        let again = |pid: u32| if pid == init.pid { Some(init.clone()) } else { Process::read(pid) };
        let mut processes: Vec<Process> = pids.into_iter().filter_map(again).collect();
        processes.sort_by_key(|process| (process.pid_in(&init), process.pid));
        let view = descriptor::Context { init: &init, users: &users, host, processes: &processes };
        processes
            .iter()
            .map(|process| TopRow { cells: descriptors.iter().map(|d| clean(&view.cell(*d, process))).collect() })
            .collect()
    }
}

/// What a container says of itself, fit for a terminal: a control character is shown as `?`, as ps(1) does.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests;
