//! What a container needs before it is started: `--requires`, and the containers whose namespaces it joins.

use proto::{Id, Refusal, refusal::Result, wire::ContainerConfig};

use super::text::{quoted, shown};

/// What must be true of a container for another one to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// It runs.
    Started,
    /// It runs, and its health check has succeeded.
    Healthy,
    /// It has ended with code 0.
    Completed,
}

/// A container that another one needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// It.
    pub id: Id,
    /// What must be true of it.
    pub condition: Condition,
}

/// What a checked container needs: each container once, with the strictest condition that is asked of it.
pub fn dependencies(config: &ContainerConfig) -> Vec<Dependency> {
    let modes = [&config.pid_mode, &config.ipc_mode, &config.uts_mode, &config.cgroupns_mode];
    let network = config.network.as_ref().map(|network| &network.mode);
    let joined = modes.into_iter().chain(network).filter_map(|mode| mode.strip_prefix("container:"));
    let mut found: Vec<Dependency> = Vec::new();
    for (name, condition) in config
        .requires
        .iter()
        .filter_map(|entry| parse(entry).ok())
        .chain(joined.map(|name| (name, Condition::Started)))
    {
        let Ok(id) = name.parse::<Id>() else { continue };
        match found.iter_mut().find(|known| known.id == id) {
            Some(known) => known.condition = known.condition.max(condition),
            None => found.push(Dependency { id, condition }),
        }
    }
    found
}

/// `NAME[:CONDITION]`
fn parse(entry: &str) -> Result<(&str, Condition)> {
    let (name, condition) = entry.rsplit_once(':').unwrap_or((entry, "started"));
    if !proto::name::is_valid(name) {
        return Err(Refusal::invalid(format!(
            "{0} is not a valid container, cannot be used as a dependency: no container with name or ID {0} found: no \
             such container",
            quoted(name)
        )));
    }
    match condition {
        "started" => Ok((name, Condition::Started)),
        "completed" => Ok((name, Condition::Completed)),
        "healthy" => Ok((name, Condition::Healthy)),
        other => Err(Refusal::invalid(format!(
            "--requires {name}:{}: the condition must be one of started, healthy or completed",
            shown(other)
        ))),
    }
}

/// `--requires` as it was asked for.
pub(super) fn check(config: &ContainerConfig) -> Result<()> {
    config.requires.iter().try_for_each(|entry| parse(entry).map(drop))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_must_run_and_the_strictest_condition_holds() {
        let (db, web) = (Id::random().expect("id"), Id::random().expect("id"));
        let config = ContainerConfig {
            requires: vec![db.to_string(), format!("{db}:completed"), format!("{db}:started")],
            pid_mode: format!("container:{web}"),
            ipc_mode: "private".into(),
            ..Default::default()
        };
        let expected = [(db, Condition::Completed), (web, Condition::Started)];
        let found: Vec<_> = dependencies(&config).into_iter().map(|one| (one.id, one.condition)).collect();
        assert_eq!(found, expected);
    }
}
