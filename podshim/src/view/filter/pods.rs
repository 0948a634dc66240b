//! Filters of `pod ps`.

use proto::{
    Id, Refusal,
    refusal::Result,
    state::{ContainerState, PodStatus},
    time,
};

use super::{Ids, Label, Patterns, by_key, invalid_key, labels, until};
use crate::{
    index::Pod,
    view::{Shown, View, shown::pod_networks},
};

/// Filters that must all hold.
#[derive(Debug)]
pub struct Pods(Vec<Test>);

#[derive(Debug)]
enum Test {
    ContainerIds(Ids),
    ContainerNames(Patterns),
    ContainerNumber(Vec<usize>),
    ContainerStatus(Vec<ContainerState>),
    Id(Ids),
    Name(Patterns),
    Status(Vec<PodStatus>),
    Labels(Vec<Label>),
    NoLabels(Vec<Label>),
    CreatedBefore(i64),
    Network(Vec<String>),
}

impl Pods {
    /// Parses `KEY=VALUE` filters.
    ///
    /// # Errors
    /// podman's words for a key or value that cannot be.
    pub fn parse(view: &View<'_>, filters: &[String]) -> Result<Pods> {
        let keys =
            by_key(filters, |filter| format!("filter input must be in the form of filter=value: {filter} is invalid"))?;
        keys.into_iter().map(|(key, values)| test(view, key, &values)).collect::<Result<_>>().map(Pods)
    }

    /// Whether all hold for `pod`.
    pub fn match_all(&self, pod: &Pod) -> bool {
        self.0.iter().all(|test| test.holds(pod))
    }
}

fn test(view: &View<'_>, key: &str, values: &[&str]) -> Result<Test> {
    Ok(match key {
        "ctr-ids" => Test::ContainerIds(Ids::new(key, values)?),
        "ctr-names" => Test::ContainerNames(Patterns::new(key, values)?),
        // What is no number is no number of containers either.
        "ctr-number" => Test::ContainerNumber(values.iter().filter_map(|value| value.parse().ok()).collect()),
        "ctr-status" => {
            Test::ContainerStatus(values.iter().map(|value| container_status(value)).collect::<Result<_>>()?)
        }
        "id" => Test::Id(Ids::new(key, values)?),
        "name" => Test::Name(Patterns::new(key, values)?),
        "status" => Test::Status(values.iter().map(|value| pod_status(value)).collect::<Result<_>>()?),
        "label" => Test::Labels(labels(values)),
        "label!" => Test::NoLabels(labels(values)),
        "until" => Test::CreatedBefore(until::parse(values, time::now())?),
        "network" => {
            let network = |value: &&str| view.stores.network(value).map(|network| network.name);
            Test::Network(values.iter().filter_map(network).collect())
        }
        _ => return Err(invalid_key(key)),
    })
}

fn container_status(value: &str) -> Result<ContainerState> {
    match value {
        "created" => Ok(ContainerState::Created),
        "running" => Ok(ContainerState::Running),
        "paused" => Ok(ContainerState::Paused),
        "stopped" | "exited" => Ok(ContainerState::Exited),
        "unknown" => Ok(ContainerState::Unknown),
        _ => Err(Refusal::invalid(format!("{value} is not a valid status"))),
    }
}

fn pod_status(value: &str) -> Result<PodStatus> {
    match value {
        "stopped" => Ok(PodStatus::Stopped),
        "running" => Ok(PodStatus::Running),
        "paused" => Ok(PodStatus::Paused),
        "exited" => Ok(PodStatus::Exited),
        // The documented word for what is shown as Error.
        "dead" => Ok(PodStatus::Error),
        "created" => Ok(PodStatus::Created),
        "degraded" => Ok(PodStatus::Degraded),
        _ => Err(Refusal::invalid(format!("{value} is not a valid pod status"))),
    }
}

impl Test {
    fn holds(&self, pod: &Pod) -> bool {
        let record = pod.record.as_ref().ok();
        let has = |wanted: &Label| record.is_some_and(|record| wanted.is_in(&record.config.labels));
        match self {
            Test::ContainerIds(ids) => Shown::of(pod).map(Shown::id).map(Id::as_str).any(|id| ids.matches(id)),
            Test::ContainerNames(patterns) => Shown::of(pod).any(|container| patterns.matches(&container.name())),
            Test::ContainerNumber(numbers) => numbers.contains(&Shown::of(pod).count()),
            Test::ContainerStatus(states) => Shown::of(pod).any(|container| states.contains(&container.state())),
            Test::Id(ids) => ids.matches(pod.id().as_str()),
            Test::Name(patterns) => record.is_some_and(|record| patterns.matches(&record.name)),
            Test::Status(states) => states.contains(&pod.status()),
            Test::Labels(wanted) => wanted.iter().all(has),
            Test::NoLabels(unwanted) => !unwanted.iter().any(has),
            Test::CreatedBefore(time) => record.is_some_and(|record| record.created < *time),
            Test::Network(names) => {
                record.is_some_and(|record| record.infra.is_some())
                    && pod_networks(pod).iter().any(|network| names.contains(network))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    #[test]
    fn the_table_of_filters() {
        let fixture = Fixture::new();
        let web = fixture.web();
        fixture.empty_pod("empty", 9_000);
        let id = format!("id={}", web.pod.short());
        let back = format!("ctr-ids={}", web.back.short());
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &["web", "empty"]),
            (&[&id], &["web"]),
            (&[&back], &["web"]),
            (&["ctr-names=^back$"], &["web"]),
            (&["ctr-names=infra"], &["web", "empty"]),
            (&["ctr-number=3"], &["web"]),
            (&["ctr-number=1", "ctr-number=3"], &["web", "empty"]),
            (&["ctr-number=x"], &[]),
            (&["ctr-status=exited"], &["web"]),
            (&["ctr-status=stopped", "ctr-status=created"], &["web", "empty"]),
            (&["name=^w"], &["web"]),
            (&["status=degraded"], &["web"]),
            (&["status=created", "status=degraded"], &["web", "empty"]),
            (&["status=dead"], &[]),
            (&["label=app"], &["web"]),
            (&["label=app=shop", "label=tier=1"], &["web"]),
            (&["label=app=shop", "label=tier=2"], &[]),
            (&["label!=app"], &["empty"]),
            (&["until=1h", "name=web"], &["web"]),
            (&["network=net1"], &["web"]),
            (&["network=nope"], &[]),
        ];
        let view = fixture.view();
        for (filters, expected) in cases {
            let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
            let parsed = Pods::parse(&view, &filters).expect("filters");
            let pods = view.pods().expect("pods");
            let names: Vec<&str> = pods
                .iter()
                .filter(|pod| parsed.match_all(pod))
                .filter_map(|pod| Some(pod.record.as_ref().ok()?.name.as_str()))
                .collect();
            assert_eq!(&names, expected, "{filters:?}");
        }
    }

    #[test]
    fn words_for_filters_that_cannot_be() {
        let fixture = Fixture::new();
        let view = fixture.view();
        for (filter, words) in [
            ("bogus=1", "bogus is an invalid filter"),
            ("name", "filter input must be in the form of filter=value: name is invalid"),
            ("status=bad", "bad is not a valid pod status"),
            ("ctr-status=bad", "bad is not a valid status"),
            ("name=(", "--filter name=(: not a regular expression"),
            ("until=xx", "failed to parse value as time or duration: \"xx\""),
        ] {
            assert_eq!(Pods::parse(&view, &[filter.to_owned()]).expect_err(filter).message, words);
        }
    }
}
