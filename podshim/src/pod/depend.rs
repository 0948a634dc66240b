//! Members that need others: what is started first, what is waited for, what goes before what.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    time::{Duration, Instant},
};

use proto::{Id, Kind, Refusal, record::Health, refusal::Result, state::ContainerState, wire::ContainerConfig};

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

impl Pod {
    /// Refuses a new member that needs what is no member of this pod, or what would never come true.
    ///
    /// # Errors
    /// In podman's words, where it has any.
    pub(super) fn check_dependencies(&self, config: &ContainerConfig) -> Result<()> {
        for entry in &config.requires {
            // What is no id here was resolved by nobody.
            let name = entry.split(':').next().unwrap_or(entry);
            let id: Id = name.parse().map_err(|_| Refusal::no_such_container(name))?;
            let Ok((record, _)) = self.container(&id) else { return Err(spec::not_a_member(&self.id, &id)) };
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

    /// Starts what `id` needs and waits until it is as it must be. Holds no lock while it waits. A circle, which only
    /// tampered records can have, ends at `path`.
    ///
    /// # Errors
    /// Naming the dependency that cannot be had.
    pub(super) fn fulfil<'a>(
        &'a self,
        id: &'a Id,
        path: &'a [&'a Id],
    ) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>> {
        Box::pin(async move {
            let (record, _) = self.container(id)?;
            let path: Vec<&Id> = path.iter().copied().chain([id]).collect();
            for Dependency { id: needed, condition } in spec::dependencies(&record.config) {
                // A namespace may be joined that is another pod's; whoever joins it finds out whether it is there.
                let Ok((other, found)) = self.container(&needed) else { continue };
                if path.contains(&&needed) {
                    return Err(Refusal::invalid(format!(
                        "container {} and container {} require each other: remove one of them",
                        record.name, other.name
                    )));
                }
                let before = |refusal: Refusal| {
                    let words = format!("starting {}, which container {} requires: {refusal}", other.name, record.name);
                    Refusal::new(refusal.kind, words).about(&other.name)
                };
                let completed = |found: &index::Container| {
                    found.state == ContainerState::Exited
                        && found.exit.as_ref().is_some_and(|exit| exit.status.known && exit.status.code == 0)
                };
                if found.state == ContainerState::Running && condition == Condition::Started
                    || condition == Condition::Completed && completed(&found)
                {
                    continue;
                }
                if found.state != ContainerState::Running {
                    self.fulfil(&needed, &path).await?;
                    let _gate = self.gate.read().await;
                    self.start_inside(&needed, Brought::default()).await.map_err(before)?;
                }
                if condition == Condition::Healthy {
                    self.healthy(&needed, &record.name).await?;
                }
                if condition == Condition::Completed {
                    let code = self.end_of(&needed).await;
                    if code != Some(0) {
                        return Err(Refusal::new(
                            Kind::WrongState,
                            format!(
                                "container {} requires container {} to be completed, which {}: container state improper",
                                record.name,
                                other.name,
                                code.map_or("has ended nobody knows how".to_owned(), |code| format!(
                                    "exited with code {code}"
                                ))
                            ),
                        ));
                    }
                }
            }
            Ok(())
        })
    }

    /// Waits until a member is healthy, for who is called `name`.
    async fn healthy(&self, id: &Id, name: &str) -> Result<()> {
        let deadline = Instant::now() + HEALTHY;
        loop {
            let (record, found) = self.container(id)?;
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
                "container {name} requires container {} to be healthy, which {how}: container state improper",
                record.name
            );
            return Err(Refusal::new(Kind::WrongState, words).about(&record.name));
        }
    }

    /// Waits for the last end of a member; its exit code, where anybody knows it.
    pub(super) async fn end_of(&self, id: &Id) -> Option<i32> {
        if let Some(monitor) = self.monitors.get(id) {
            monitor.ended().await;
        }
        let (_, found) = self.container(id).ok()?;
        found.exit.filter(|exit| exit.status.known).map(|exit| exit.status.code)
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
