//! Members that need others: what is started first, what is waited for, what goes before what.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use proto::{
    Id, Kind, Refusal,
    layout::Target,
    record::{ContainerRecord, Health},
    refusal::Result,
    state::ContainerState,
    wire::{ContainerConfig, PodConfig},
};

use super::{Pod, sources::Brought};
use crate::{
    index,
    spec::{self, Condition, Dependency},
};

/// How long a member may take to become healthy before those that need it are given up.
const HEALTHY: Duration = Duration::from_secs(540);
/// Its health is in a record that its monitor writes; it is looked at so often.
const LOOK: Duration = Duration::from_millis(50);

/// An init container that stays up beside the others: its policy starts it again whenever it ends.
pub(super) fn is_sidecar(config: &ContainerConfig) -> bool {
    let policy = config.restart.as_ref().map_or("", |policy| &policy.name);
    !config.init_ctr.is_empty() && matches!(policy, "always" | "unless-stopped")
}

/// Whether the start of a member waits for others to end.
pub(super) fn waits(member: &index::Container) -> bool {
    member.record.as_ref().is_ok_and(|record| {
        let waits = |one: &Dependency| one.condition != Condition::Started;
        !record.config.init_ctr.is_empty() || spec::dependencies(&record.config).iter().any(waits)
    })
}

/// The members that `member` needs, of those in `members`.
fn needs<'a>(member: &index::Container, members: &'a [index::Container]) -> Vec<&'a index::Container> {
    let needed = member.record.as_ref().map(|record| spec::dependencies(&record.config)).unwrap_or_default();
    members.iter().filter(|other| needed.iter().any(|one| one.id == *other.id())).collect()
}

/// Whether `member` needs one of `others`.
pub(super) fn needs_any(member: &index::Container, others: &[&Id]) -> bool {
    let needed = member.record.as_ref().map(|record| spec::dependencies(&record.config)).unwrap_or_default();
    needed.iter().any(|one| others.contains(&&one.id))
}

/// `members` in their order, but each after those it needs.
pub(super) fn in_order(members: &[index::Container]) -> Vec<&index::Container> {
    fn visit<'a>(
        member: &'a index::Container,
        members: &'a [index::Container],
        seen: &mut BTreeSet<Id>,
        order: &mut Vec<&'a index::Container>,
    ) {
        // A circle cannot be made; records that were tampered with only lose their order.
        if seen.insert(member.id().clone()) {
            for needed in needs(member, members) {
                visit(needed, members, seen, order);
            }
            order.push(member);
        }
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for member in members {
        visit(member, members, &mut seen, &mut order);
    }
    order
}

/// Whether a container is as it must be without anything to wait for.
fn is_met(found: &index::Container, condition: Condition) -> bool {
    match condition {
        Condition::Started => found.state == ContainerState::Running,
        Condition::Healthy => false,
        Condition::Completed => {
            found.state == ContainerState::Exited
                && found.exit.as_ref().is_some_and(|exit| exit.status.known && exit.status.code == 0)
        }
    }
}

/// What is being done when a container that `who` requires cannot be started.
fn to_start(name: &str, who: &str) -> String {
    format!("starting {name}, which {who} requires")
}

impl Pod {
    /// Refuses a new member that needs what is no member of this pod, or what would never come true. A container without
    /// a pod needs others without one.
    ///
    /// # Errors
    /// In podman's words, where it has any.
    pub(super) fn check_dependencies(&self, config: &ContainerConfig, pod: &PodConfig) -> Result<()> {
        for entry in &config.requires {
            // What is no id here was resolved by nobody.
            let name = entry.split(':').next().unwrap_or(entry);
            let id: Id = name.parse().map_err(|_| Refusal::no_such_container(name))?;
            let record = if pod.hidden {
                let (record, _) = self.anywhere(&id)?;
                if !index::pod(&self.engine.roots, &record.pod).is_some_and(|pod| pod.hidden()) {
                    return Err(Refusal::invalid(format!(
                        "--requires {}: it is in a pod, and containers not in pods cannot depend on containers in pods: \
                         create this one with --pod",
                        record.name
                    )));
                }
                record
            } else {
                self.container(&id).map_err(|_| spec::not_a_member(&self.id, &id))?.0
            };
            if entry.ends_with(":healthy") && record.config.health.is_none() {
                return Err(Refusal::invalid(format!(
                    "--requires {0}:healthy: container {0} has no health check: use started or completed",
                    record.name
                )));
            }
            let policy = record.config.restart.as_ref().map_or("", |policy| &policy.name);
            if entry.ends_with(":completed") && matches!(policy, "always" | "unless-stopped") {
                return Err(Refusal::invalid(format!(
                    "--requires {0}:completed: container {0} never completes, its restart policy is {policy}: use started",
                    record.name
                )));
            }
        }
        Ok(())
    }

    /// A container of this pod or another one.
    fn anywhere(&self, id: &Id) -> Result<(ContainerRecord, index::Container)> {
        match self.engine.roots.resolve(id.as_str())? {
            Some(Target::Container { pod, container }) => {
                let found = index::container(&self.engine.roots, &pod, &container);
                let known = found.and_then(|found| Some((found.record.clone().ok()?, found)));
                known.ok_or_else(|| Refusal::no_such_container(id.as_str()))
            }
            _ => Err(Refusal::no_such_container(id.as_str())),
        }
    }

    /// Starts what `id` needs and waits until it is as it must be. Holds no lock while it waits. A circle, which only
    /// tampered records can have, ends at `path`. What is in another pod has to be in `met`: see [`Pod::elsewhere`]; where
    /// nobody can be asked it is not looked at.
    ///
    /// # Errors
    /// Naming the dependency that cannot be had.
    pub(super) fn fulfil<'a>(
        &'a self,
        id: &'a Id,
        path: &'a [&'a Id],
        met: Option<&'a [String]>,
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            let (record, _) = self.container(id)?;
            let path: Vec<&Id> = path.iter().copied().chain([id]).collect();
            for Dependency { id: needed, condition } in spec::dependencies(&record.config) {
                let Ok((other, found)) = self.container(&needed) else { continue };
                if path.contains(&&needed) {
                    return Err(Refusal::invalid(format!(
                        "container {} and container {} require each other: remove one of them",
                        record.name, other.name
                    )));
                }
                if is_met(&found, condition) {
                    continue;
                }
                let who = format!("container {}", record.name);
                if found.state != ContainerState::Running {
                    self.fulfil(&needed, &path, None).await?;
                    let _gate = self.gate.read().await;
                    let before = |refusal: Refusal| {
                        let words = format!("{}: {refusal}", to_start(&other.name, &who));
                        Refusal::new(refusal.kind, words).about(&other.name)
                    };
                    self.start_inside(&needed, Brought::default()).await.map_err(before)?;
                }
                self.becomes(&needed, condition, &who).await?;
            }
            match met {
                Some(met) => self.elsewhere(&record.name, &record.config, met).await,
                None => Ok(()),
            }
        })
    }

    /// Sees to it that the containers of other pods that `config` requires are as they must be. Only whoever asks for the
    /// start can start them, and says with `met` that they have been.
    ///
    /// A namespace may be joined that is another pod's, too; whoever joins it finds out whether it is there.
    ///
    /// # Errors
    /// [`Kind::NeedsContainer`] where one has to be started; else naming the one that cannot be had.
    pub(super) async fn elsewhere(&self, name: &str, config: &ContainerConfig, met: &[String]) -> Result<()> {
        let who = if name.is_empty() { "the new container".to_owned() } else { format!("container {name}") };
        for Dependency { id: needed, condition } in spec::dependencies(config) {
            let is_required = config.requires.iter().any(|entry| entry.starts_with(needed.as_str()));
            if !is_required || self.container(&needed).is_ok() {
                continue;
            }
            let (other, found) = self.anywhere(&needed)?;
            if is_met(&found, condition) {
                continue;
            }
            let was_started = met.iter().any(|id| id == needed.as_str());
            if found.state != ContainerState::Running && !was_started {
                return Err(Refusal::new(Kind::NeedsContainer, to_start(&other.name, &who)).about(needed.as_str()));
            }
            self.becomes(&needed, condition, &who).await?;
        }
        Ok(())
    }

    /// Waits until a container that has been started is as it must be for `who`.
    async fn becomes(&self, id: &Id, condition: Condition, who: &str) -> Result<()> {
        match condition {
            Condition::Started => Ok(()),
            Condition::Healthy => self.healthy(id, who).await,
            Condition::Completed => {
                let name = self.anywhere(id)?.0.name;
                let how = match self.end_of(id).await {
                    Some(0) => return Ok(()),
                    Some(code) => format!("exited with code {code}"),
                    None => "has ended nobody knows how".to_owned(),
                };
                let words =
                    format!("{who} requires container {name} to be completed, which {how}: container state improper");
                Err(Refusal::new(Kind::WrongState, words).about(name))
            }
        }
    }

    /// Waits until a container is healthy, for `who`.
    async fn healthy(&self, id: &Id, who: &str) -> Result<()> {
        let deadline = Instant::now() + HEALTHY;
        loop {
            let (record, found) = self.anywhere(id)?;
            let health = found.health.map_or(Health::Starting, |health| health.status);
            let how = match health {
                Health::Healthy if found.state == ContainerState::Running => return Ok(()),
                _ if found.state != ContainerState::Running => format!("is {}", found.state),
                Health::Unhealthy => "is unhealthy".to_owned(),
                _ if Instant::now() >= deadline => format!("is not after {} s", HEALTHY.as_secs()),
                _ => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
            };
            let words = format!(
                "{who} requires container {} to be healthy, which {how}: container state improper",
                record.name
            );
            return Err(Refusal::new(Kind::WrongState, words).about(&record.name));
        }
    }

    /// Waits for the last end of a container; its exit code, where anybody knows it.
    pub(super) async fn end_of(&self, id: &Id) -> Option<i32> {
        if let Some(monitor) = self.monitors.get(id) {
            monitor.ended().await;
        }
        loop {
            let (_, found) = self.anywhere(id).ok()?;
            if !found.state.is_alive() {
                return found.exit.filter(|exit| exit.status.known).map(|exit| exit.status.code);
            }
            // Another pod's; of ours the monitor has gone.
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Runs the init containers of a pod one after the other, each to its end; one that stays up by its restart policy
    /// (a sidecar) is only started. Without `all` those that end are left out.
    ///
    /// # Errors
    /// Where one cannot be started or ends with another code than 0, in podman's words.
    pub(super) async fn run_init_containers(&self, members: &[&index::Container], all: bool) -> Result<()> {
        for record in members.iter().filter_map(|member| member.record.as_ref().ok()) {
            if record.config.init_ctr.is_empty() || !(all || is_sidecar(&record.config)) {
                continue;
            }
            self.start_with(&record.id, Brought::default()).await?;
            if is_sidecar(&record.config) {
                continue;
            }
            match self.end_of(&record.id).await {
                Some(0) => {}
                Some(code) => {
                    return Err(Refusal::new(
                        Kind::WrongState,
                        format!("init container {} exited with code {code}", record.id),
                    ));
                }
                None => {
                    return Err(Refusal::new(
                        Kind::WrongState,
                        format!("init container {} has ended nobody knows how", record.id),
                    ));
                }
            }
            if record.config.init_ctr == "once" {
                self.remove_member(&record.id, true).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::wire::RestartPolicy;

    use super::*;

    #[test]
    fn a_sidecar_is_an_init_container_that_always_comes_back() {
        let config = |init: &str, policy: &str| ContainerConfig {
            init_ctr: init.into(),
            restart: Some(RestartPolicy { name: policy.into(), max_retries: 0 }),
            ..Default::default()
        };
        for (init, policy, expected) in [
            ("always", "always", true),
            ("once", "unless-stopped", true),
            ("", "always", false),
            ("once", "on-failure", false),
        ] {
            assert_eq!(is_sidecar(&config(init, policy)), expected, "{init} {policy}");
        }
    }
}
