//! Filters of `ps`.

use proto::{
    Refusal,
    layout::Target,
    refusal::Result,
    state::ContainerState,
    time,
    wire::{Mount, mount},
};

use super::{Ids, Label, Patterns, by_key, invalid_key, labels, until};
use crate::view::{Shown, View};

/// Filters that must all hold.
#[derive(Debug)]
pub struct Containers(Vec<Test>);

#[derive(Debug)]
enum Test {
    Id(Ids),
    Name(Patterns),
    Labels(Vec<Label>),
    NoLabels(Vec<Label>),
    Exited(Vec<i32>),
    Status(Vec<&'static str>),
    Ancestor { ids: Vec<String>, names: Patterns },
    CreatedBefore(i64),
    CreatedAfter(i64),
    Volume(Vec<(String, Option<String>)>),
    Health(Vec<String>),
    Pod(Vec<proto::Id>),
    Network { names: Vec<String>, containers: Vec<proto::Id> },
    RestartPolicy(Vec<String>),
    Command(Patterns),
    StartsOnBoot(bool),
}

impl Containers {
    /// Parses `KEY=VALUE` filters.
    ///
    /// # Errors
    /// podman's words for a key or value that cannot be.
    pub fn parse(view: &View<'_>, filters: &[String]) -> Result<Containers> {
        let keys = by_key(filters, |filter| format!("invalid filter {filter:?}"))?;
        keys.into_iter().map(|(key, values)| test(view, key, &values)).collect::<Result<_>>().map(Containers)
    }

    /// Whether one of them is about the status.
    pub fn asks_for_status(&self) -> bool {
        self.0.iter().any(|test| matches!(test, Test::Status(_)))
    }

    /// Whether all hold for `container`.
    pub fn match_all(&self, container: Shown<'_>) -> bool {
        self.0.iter().all(|test| test.holds(container))
    }
}

fn test(view: &View<'_>, key: &str, values: &[&str]) -> Result<Test> {
    let owned = || values.iter().map(|value| (*value).to_owned()).collect::<Vec<String>>();
    Ok(match key {
        "id" => Test::Id(Ids::new(key, values)?),
        "name" => Test::Name(Patterns::new(key, values.iter().map(|value| value.replace('/', "")))?),
        "label" => Test::Labels(labels(values)),
        "label!" => Test::NoLabels(labels(values)),
        "exited" => Test::Exited(values.iter().map(|value| exit_code(value)).collect::<Result<_>>()?),
        "status" => Test::Status(values.iter().map(|value| status(value)).collect::<Result<_>>()?),
        "ancestor" => Test::Ancestor { ids: owned(), names: Patterns::new(key, values)? },
        // Of several the earliest counts, for both.
        "before" => Test::CreatedBefore(earliest(view, values)?),
        "since" => Test::CreatedAfter(earliest(view, values)?),
        "volume" => Test::Volume(
            values
                .iter()
                .map(|value| match value.split_once(':') {
                    Some((source, destination)) if !destination.is_empty() => {
                        (source.to_owned(), Some(destination.to_owned()))
                    }
                    Some((source, _)) => (source.to_owned(), None),
                    None => ((*value).to_owned(), None),
                })
                .collect(),
        ),
        "health" => Test::Health(owned()),
        "until" => Test::CreatedBefore(until::parse(values, time::now())?),
        "pod" => {
            let mut pods = Vec::new();
            for value in values {
                if let Some(Target::Pod(pod)) = view.roots().resolve(value)? {
                    pods.push(pod);
                }
            }
            Test::Pod(pods)
        }
        "network" => network(view, values)?,
        "restart-policy" => {
            restart_policies(values)?;
            Test::RestartPolicy(owned())
        }
        "command" => Test::Command(Patterns::new(key, values)?),
        "should-start-on-boot" => {
            let mut wanted = false;
            for value in values {
                wanted = boolean(value)?;
            }
            Test::StartsOnBoot(wanted)
        }
        _ => return Err(invalid_key(key)),
    })
}

fn exit_code(value: &str) -> Result<i32> {
    value.parse().map_err(|_| {
        Refusal::invalid(format!(
            "exited code out of range {value:?}: strconv.ParseInt: parsing {value:?}: invalid syntax"
        ))
    })
}

/// The word of a status as `State` has it; `stopped` is what podman calls an exited one between two steps.
fn status(value: &str) -> Result<&'static str> {
    const STATES: [ContainerState; 8] = [
        ContainerState::Created,
        ContainerState::Initialized,
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Stopping,
        ContainerState::Exited,
        ContainerState::Removing,
        ContainerState::Unknown,
    ];
    let value = if value == "stopped" { "exited" } else { value };
    STATES
        .iter()
        .map(|state| state.as_str())
        .find(|state| *state == value)
        .ok_or_else(|| Refusal::invalid(format!("unknown container state: {value}: invalid argument")))
}

fn earliest(view: &View<'_>, values: &[&str]) -> Result<i64> {
    let mut time = i64::MAX;
    for value in values {
        time = time.min(created(view, value)?);
    }
    Ok(time)
}

fn created(view: &View<'_>, name: &str) -> Result<i64> {
    let missing = || Refusal::no_such_container(name);
    let target = view.roots().resolve(name)?.ok_or_else(missing)?;
    let pod = crate::index::pod(view.roots(), target.pod()).ok_or_else(missing)?;
    match &target {
        Target::Container { container, .. } => {
            let member = pod.containers.iter().find(|member| member.id() == container).ok_or_else(missing)?;
            Ok(Shown::Member(&pod, member).created())
        }
        Target::Infra(_) => Shown::infra_of(&pod).map(Shown::created).ok_or_else(missing),
        Target::Pod(_) => Err(missing()),
    }
}

fn network(view: &View<'_>, values: &[&str]) -> Result<Test> {
    let (mut names, mut containers) = (Vec::new(), Vec::new());
    for value in values {
        match value.strip_prefix("container:") {
            Some(name) => match view.roots().resolve(name)? {
                Some(Target::Container { container, .. }) => containers.push(container),
                // The infra stands for its pod's network, which all members say they are in.
                Some(Target::Infra(pod)) => {
                    containers.extend(crate::index::pod(view.roots(), &pod).and_then(|pod| pod.record.ok()?.infra));
                }
                _ => {}
            },
            None => names.extend(view.stores.network(value).map(|network| network.name)),
        }
    }
    Ok(Test::Network { names, containers })
}

fn restart_policies(values: &[&str]) -> Result<()> {
    const POLICIES: [&str; 6] = ["none", "", "no", "on-failure", "always", "unless-stopped"];
    let invalid: Vec<&str> = values.iter().copied().filter(|value| !POLICIES.contains(value)).collect();
    match invalid.as_slice() {
        [] => Ok(()),
        [one] => Err(Refusal::invalid(format!("{one} invalid restart policy"))),
        several => Err(Refusal::invalid(format!("{} invalid restart policies", several.join(", ")))),
    }
}

/// Go's strconv.ParseBool.
fn boolean(value: &str) -> Result<bool> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(Refusal::invalid(format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))),
    }
}

impl Test {
    fn holds(&self, container: Shown<'_>) -> bool {
        match self {
            Test::Id(ids) => ids.matches(container.id().as_str()),
            Test::Name(patterns) => patterns.matches(&container.name()),
            Test::Labels(wanted) => wanted.iter().all(|label| label.is_in(container.labels())),
            Test::NoLabels(unwanted) => !unwanted.iter().any(|label| label.is_in(container.labels())),
            Test::Exited(codes) => {
                container.state() == ContainerState::Exited && codes.contains(&container.exit_code())
            }
            Test::Status(states) => states.contains(&container.state().as_str()),
            Test::Ancestor { ids, names } => ancestor(container, ids, names),
            Test::CreatedBefore(time) => container.created() < *time,
            Test::CreatedAfter(time) => container.created() > *time,
            Test::Volume(wanted) => {
                mounts(container).iter().any(|mount| wanted.iter().any(|volume| is_at(mount, volume)))
            }
            // Of a container without a health check it is "".
            Test::Health(states) => {
                let health = container.health().map_or("", |health| health.status.as_str());
                states.iter().any(|state| state == health)
            }
            Test::Pod(pods) => container.pod_id().is_some_and(|pod| pods.contains(pod)),
            Test::Network { names, containers } => in_network(container, names, containers),
            Test::RestartPolicy(names) => {
                let policy = container.restart_policy().name;
                names.iter().any(|name| match name.as_str() {
                    "none" | "" => policy == "no",
                    name => name == policy,
                })
            }
            Test::Command(patterns) => {
                container.record().and_then(|record| record.args.first()).is_some_and(|arg| patterns.matches(arg))
            }
            Test::StartsOnBoot(wanted) => starts_on_boot(container) == *wanted,
        }
    }
}

fn ancestor(container: Shown<'_>, ids: &[String], names: &Patterns) -> bool {
    let Some(image) = container.record().and_then(|record| record.image.as_ref()) else { return false };
    // A name without its tag stands for the tag `latest`.
    let latest = image.name.strip_suffix(":latest");
    ids.iter().any(|id| image.id.contains(id.as_str()))
        || names.matches(&image.name)
        || latest.is_some_and(|name| names.matches(name))
}

fn mounts(container: Shown<'_>) -> &[Mount] {
    match container {
        Shown::Infra(_, record, _) => &record.config.mounts,
        Shown::Member(..) => container.record().map_or(&[], |record| &record.mounts),
    }
}

/// Whether `mount` is the wanted `NAME`, `DESTINATION` or `SOURCE:DESTINATION`.
fn is_at(mount: &Mount, (source, destination): &(String, Option<String>)) -> bool {
    match destination {
        Some(destination) => mount.source == *source && mount.destination == *destination,
        None => mount.destination == *source || (mount.kind() == mount::Kind::Volume && mount.source == *source),
    }
}

fn in_network(container: Shown<'_>, names: &[String], containers: &[proto::Id]) -> bool {
    let infra = container.pod().record.as_ref().ok().and_then(|pod| pod.infra.as_ref());
    if !container.is_infra() && container.in_pod_network() && infra.is_some_and(|infra| containers.contains(infra)) {
        return true;
    }
    let mode = container.record().and_then(|record| record.config.network.as_ref()).map_or("", |network| &network.mode);
    if let Some(other) = mode.strip_prefix("container:") {
        return containers.iter().any(|id| id.as_str() == other);
    }
    container.networks().iter().any(|network| names.contains(network))
}

fn starts_on_boot(container: Shown<'_>) -> bool {
    match container.restart_policy().name.as_str() {
        "always" => true,
        "unless-stopped" => !container.stopped_by_user(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Fixture, Web};
    use super::*;

    fn names(fixture: &Fixture, filters: &[&str]) -> Vec<String> {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let view = fixture.view();
        let filters = Containers::parse(&view, &filters).expect("filters");
        let pods = view.pods().expect("pods");
        let mut names: Vec<String> =
            pods.iter().flat_map(Shown::of).filter(|shown| filters.match_all(*shown)).map(Shown::name).collect();
        names.sort();
        names
    }

    fn fixture() -> (Fixture, Web) {
        let fixture = Fixture::new();
        let web = fixture.web();
        fixture.plain("solo");
        (fixture, web)
    }

    #[test]
    fn the_table_of_filters() {
        let (fixture, web) = fixture();
        let infra = format!("{}-infra", web.pod.short());
        let (pod, back) = (format!("pod={}", web.pod.short()), format!("id={}", web.back.short()));
        let members = format!("network=container:{infra}");
        let cases: &[(&[&str], &[&str])] = &[
            (&[], &[&infra, "back", "front", "solo"]),
            (&[&back], &["back"]),
            (&["name=^fr"], &["front"]),
            (&["name=^fr", "name=^so"], &["front", "solo"]),
            (&["name=/front"], &["front"]),
            (&["label=role"], &["back", "front", "solo"]),
            (&["label=role=front"], &["front"]),
            (&["label=role=front", "label=app"], &[]),
            (&["label=app", "label=tier=1"], &[&infra]),
            (&["label!=role"], &[&infra]),
            (&["exited=7"], &["back"]),
            (&["exited=0"], &[]),
            (&["status=exited"], &["back"]),
            (&["status=stopped", "status=created"], &["back", "solo"]),
            (&["status=running", "name=front"], &["front"]),
            (&["ancestor=nginx"], &["back", "front", "solo"]),
            (&["ancestor=docker.io/library/nginx:latest"], &["back", "front", "solo"]),
            (&["ancestor=cccc"], &["back", "front", "solo"]),
            (&["ancestor=alpine"], &[]),
            (&["before=back"], &[&infra, "front"]),
            (&["since=back"], &["solo"]),
            (&["volume=vol1"], &[&infra, "back", "front"]),
            (&["volume=vol1:/data"], &[&infra, "back", "front"]),
            (&["volume=/data"], &[&infra, "back", "front"]),
            (&["volume=vol1:/other"], &[]),
            (&["health=healthy"], &[]),
            (&["until=1h"], &[&infra, "back", "front", "solo"]),
            (&["until=1"], &[&infra, "back", "front", "solo"]),
            (&[&pod], &[&infra, "back", "front"]),
            (&["pod=web"], &[&infra, "back", "front"]),
            (&["pod=nope"], &[]),
            (&["network=net1"], &[&infra]),
            (&[&members], &["back", "front"]),
            (&["network=nope"], &[]),
            (&["restart-policy=no"], &[&infra, "back", "front", "solo"]),
            (&["restart-policy=always"], &[]),
            (&["command=^ngi"], &["back", "front", "solo"]),
            (&["should-start-on-boot=true"], &[]),
        ];
        for (filters, expected) in cases {
            let mut expected: Vec<&str> = expected.to_vec();
            expected.sort_unstable();
            assert_eq!(names(&fixture, filters), expected, "{filters:?}");
        }
    }

    #[test]
    fn words_for_filters_that_cannot_be() {
        let (fixture, _) = fixture();
        let view = fixture.view();
        for (filter, words) in [
            ("bogus=1", "bogus is an invalid filter"),
            ("name", "invalid filter \"name\""),
            ("status=bad", "unknown container state: bad: invalid argument"),
            ("exited=x", "exited code out of range \"x\": strconv.ParseInt: parsing \"x\": invalid syntax"),
            ("before=nope", "no container with name or ID \"nope\" found: no such container"),
            ("since=web", "no container with name or ID \"web\" found: no such container"),
            ("name=(", "--filter name=(: not a regular expression"),
            ("until=xx", "failed to parse value as time or duration: \"xx\""),
            ("restart-policy=x", "x invalid restart policy"),
            ("should-start-on-boot=x", "strconv.ParseBool: parsing \"x\": invalid syntax"),
        ] {
            assert_eq!(Containers::parse(&view, &[filter.to_owned()]).expect_err(filter).message, words);
        }
    }
}
