//! Rows of `ps`.

use std::{collections::BTreeSet, fs};

use proto::{
    Id, human,
    record::ExitRecord,
    refusal::Result,
    state::ContainerState,
    time,
    wire::{ListContainers, PortMapping},
};
use serde_json::Value;

use crate::index;

use super::{
    Shown, View, disk, filter,
    json::{map_or_null, object, seconds, strings, strings_or_null},
};

/// The rows of `ps` as podman's `--format json` has them, oldest first: containers and infras that `request` asks for.
///
/// `Created`, `StartedAt` and `ExitedAt` are seconds since the epoch, `Status` is in words.
///
/// # Errors
/// A filter that cannot be, in podman's words; records that cannot be listed.
pub fn list(view: &View<'_>, request: &ListContainers) -> Result<Value> {
    let pods = view.pods()?;
    let filters = filter::Containers::parse(view, &request.filters)?;
    let needing = needing(view, &request.needing)?;
    // A wanted status overrides the rule that only running ones are shown.
    let all = request.all || request.last > 0 || filters.asks_for_status();
    let mut shown: Vec<Shown<'_>> = pods
        .iter()
        .flat_map(Shown::of)
        .filter(|container| all || container.state() == ContainerState::Running)
        .filter(|container| filters.match_all(*container))
        .filter(|container| request.needing.is_empty() || needing.contains(container.id()))
        .collect();
    shown.sort_by_cached_key(|container| (container.created(), !container.is_infra(), container.id().clone()));
    if request.last > 0 {
        let last = usize::try_from(request.last).unwrap_or(usize::MAX);
        shown.drain(..shown.len().saturating_sub(last));
    }
    let now = time::now();
    Ok(shown.into_iter().map(|container| row(view, request, container, now)).collect())
}

/// Everything that needs one of `wanted`, or what needs it; not these themselves.
fn needing(view: &View<'_>, wanted: &[String]) -> Result<BTreeSet<Id>> {
    let mut found = BTreeSet::new();
    let mut names = wanted.to_vec();
    while let Some(name) = names.pop() {
        // What has gone meanwhile is needed by nobody.
        let Some(target) = view.roots().resolve(&name)? else { continue };
        let new = index::dependents(view.roots(), &target);
        names.extend(new.into_iter().filter(|id| found.insert(id.clone())).map(String::from));
    }
    found.retain(|id| !wanted.iter().any(|name| name == id.as_str()));
    Ok(found)
}

fn row(view: &View<'_>, request: &ListContainers, container: Shown<'_>, now: i64) -> Value {
    let record = container.record();
    let config = record.map(|record| &record.config);
    let image = record.and_then(|record| record.image.as_ref());
    let state = container.state();
    let finished = container.finished(view.roots());
    object([
        ("AutoRemove", config.is_some_and(|config| config.auto_remove).into()),
        ("Command", strings_or_null(record.map_or(&[][..], |record| &record.args))),
        ("CreatedAt", format!("{} ago", span(now, container.created())).into()),
        ("CIDFile", config.map_or("", |config| &config.cidfile).into()),
        ("Exited", (state == ContainerState::Exited).into()),
        ("ExitedAt", seconds(finished).into()),
        ("ExitCode", container.exit_code().into()),
        ("ExposedPorts", exposed(container)),
        ("Id", container.id().as_str().into()),
        ("Image", image.map_or("", |image| &image.name).into()),
        ("ImageID", image.map_or("", |image| &image.id).into()),
        ("IsInfra", container.is_infra().into()),
        ("Labels", map_or_null(container.labels())),
        // Not podman's: records the log has lost to a full disk.
        ("LogDropped", container.log_dropped().into()),
        ("Mounts", strings(destinations(container))),
        ("Names", strings([container.name()])),
        ("Namespaces", if request.namespaces { namespaces(container) } else { object([]) }),
        ("Networks", strings(container.networks())),
        ("Pid", container.process().map_or(0, |process| process.pid).into()),
        ("Pod", container.pod_id().map_or("", |pod| pod.as_str()).into()),
        ("PodName", pod_name(container).into()),
        ("Ports", ports(&container.ports())),
        ("Restarts", container.restarts().into()),
        ("Size", if request.size { size(view, container) } else { Value::Null }),
        ("StartedAt", seconds(container.started()).into()),
        ("State", state.as_str().into()),
        ("Status", status(container, finished, now).into()),
        ("Created", seconds(container.created()).into()),
    ])
}

/// The words of the STATUS column.
pub(super) fn status(container: Shown<'_>, finished: i64, now: i64) -> String {
    if let Some(ExitRecord { status, .. }) = container.restarting() {
        let ago = span(now, status.finished_at);
        return format!("Restarting ({}) {ago} ago", status.code);
    }
    match container.state() {
        ContainerState::Running => {
            let health = container.health().map_or_else(String::new, |health| format!(" ({})", health.status.as_str()));
            format!("Up {}{health}", span(now, container.started()))
        }
        ContainerState::Exited => {
            // Of an exit nobody recorded the time is not known either.
            let since = if finished == 0 { container.started() } else { finished };
            format!("Exited ({}) {} ago", container.exit_code(), span(now, since))
        }
        state => {
            let word = state.as_str();
            word[..1].to_ascii_uppercase() + &word[1..]
        }
    }
}

/// How long ago `then` was, in words; both in nanoseconds.
fn span(now: i64, then: i64) -> String {
    human::duration(now.saturating_sub(then) / 1_000_000_000)
}

fn pod_name(container: Shown<'_>) -> String {
    container.pod_id().and(container.pod().record.as_ref().ok()).map_or_else(String::new, |record| record.name.clone())
}

fn destinations(container: Shown<'_>) -> Vec<String> {
    let mounts = match container {
        Shown::Member(..) => container.record().map(|record| &record.mounts),
        Shown::Infra(_, record, _) => Some(&record.config.mounts),
    };
    mounts.into_iter().flatten().map(|mount| mount.destination.clone()).collect()
}

/// `[{host_ip container_port host_port range protocol}]`, or null where nothing is published.
fn ports(ports: &[PortMapping]) -> Value {
    if ports.is_empty() {
        return Value::Null;
    }
    ports
        .iter()
        .map(|port| {
            object([
                ("host_ip", port.host_ip.as_str().into()),
                ("container_port", port.container_port.into()),
                ("host_port", port.host_port.into()),
                ("range", port.range.max(1).into()),
                ("protocol", port.protocol.as_str().into()),
            ])
        })
        .collect()
}

/// Ports that are exposed without being published: `{"80":["tcp"]}`, or null.
fn exposed(container: Shown<'_>) -> Value {
    let config = match container {
        Shown::Member(..) => container.record().and_then(|record| record.config.network.as_ref()),
        Shown::Infra(_, record, _) => record.config.network.as_ref(),
    };
    let mut by_port = std::collections::BTreeMap::<u32, Vec<&str>>::new();
    for port in config.into_iter().flat_map(|config| &config.exposed) {
        for number in (0..port.range.max(1)).map(|step| port.container_port.saturating_add(step)) {
            by_port.entry(number).or_default().push(&port.protocol);
        }
    }
    if by_port.is_empty() {
        return Value::Null;
    }
    Value::Object(by_port.into_iter().map(|(port, protocols)| (port.to_string(), strings(protocols))).collect())
}

/// The numbers of its namespaces, as in `/proc/PID/ns`.
fn namespaces(container: Shown<'_>) -> Value {
    let mut numbers = object([]);
    let Some(process) = container.process() else { return numbers };
    for (key, name) in [
        ("Mnt", "mnt"),
        ("Cgroup", "cgroup"),
        ("Ipc", "ipc"),
        ("Net", "net"),
        ("Pidns", "pid"),
        ("Uts", "uts"),
        ("User", "user"),
    ] {
        let link = fs::read_link(format!("/proc/{}/ns/{name}", process.pid)).unwrap_or_default();
        let number = link.to_string_lossy();
        super::json::add(&mut numbers, key, number.split(['[', ']']).nth(1).unwrap_or_default());
    }
    numbers
}

/// `{rootFsSize rwSize}` in bytes: the image with what was written over it, and what was written.
pub(super) fn size(view: &View<'_>, container: Shown<'_>) -> Value {
    let Shown::Member(pod, member) = container else { return Value::Null };
    let written = disk::size(&view.roots().container(pod.id(), member.id()).join("upper"));
    let image = container.record().and_then(|record| record.image.as_ref());
    let image = image.and_then(|image| view.stores.image(&image.id)).map_or(0, |image| image.size);
    object([("rootFsSize", image.saturating_add(written).into()), ("rwSize", written.into())])
}

#[cfg(test)]
mod tests {
    use proto::wire::ListContainers;

    use super::super::fixture::Fixture;

    fn all() -> ListContainers {
        ListContainers { all: true, ..Default::default() }
    }

    #[test]
    fn the_keys_of_a_row_are_podmans_in_podmans_order_and_what_its_log_has_lost() {
        let fixture = Fixture::new();
        fixture.web();
        let rows = super::list(&fixture.view(), &all()).expect("rows");
        let keys: Vec<&str> = rows[0].as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(
            keys.join(" "),
            "AutoRemove Command CreatedAt CIDFile Exited ExitedAt ExitCode ExposedPorts Id Image ImageID \
             IsInfra Labels LogDropped Mounts Names Namespaces Networks Pid Pod PodName Ports Restarts Size StartedAt \
             State Status Created"
        );
    }

    #[test]
    fn the_infra_is_a_row_and_the_ports_of_the_pod_are_on_all_members() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let rows = super::list(&fixture.view(), &all()).expect("rows");
        let rows = rows.as_array().expect("array");
        assert_eq!(rows.len(), 3, "{rows:?}");
        assert_eq!(rows[0]["Names"][0], format!("{}-infra", web.pod.short()));
        assert_eq!(
            (&rows[0]["IsInfra"], &rows[0]["Image"], &rows[0]["Command"]),
            (&true.into(), &"".into(), &serde_json::Value::Null)
        );
        for row in rows {
            assert_eq!(row["Ports"][0]["host_port"], 8080, "{row}");
            assert_eq!(row["PodName"], "web");
        }
        assert_eq!(rows[1]["State"], "running");
        assert!(rows[1]["Status"].as_str().expect("status").starts_with("Up "), "{}", rows[1]["Status"]);
        assert_eq!(rows[2]["State"], "exited");
        assert!(rows[2]["Status"].as_str().expect("status").starts_with("Exited (7) "), "{}", rows[2]["Status"]);
    }

    #[test]
    fn only_running_ones_are_shown_until_all_or_a_status_is_asked_for() {
        let fixture = Fixture::new();
        fixture.web();
        fixture.plain("solo");
        let names = |request: ListContainers| -> Vec<String> {
            let rows = super::list(&fixture.view(), &request).expect("rows");
            rows.as_array()
                .expect("array")
                .iter()
                .map(|row| row["Names"][0].as_str().expect("name").to_owned())
                .collect()
        };
        let running = names(ListContainers::default());
        assert!(running.contains(&"front".to_owned()) && !running.contains(&"back".to_owned()), "{running:?}");
        assert_eq!(names(ListContainers { filters: vec!["status=exited".into()], ..Default::default() }), ["back"]);
        assert_eq!(names(ListContainers { last: 1, ..Default::default() }), ["solo"]);
    }

    #[test]
    fn a_running_container_shows_its_health() {
        use proto::record::{self, Durability, Health, HealthState};
        let fixture = Fixture::new();
        let web = fixture.web();
        let status = || {
            let rows = super::list(&fixture.view(), &ListContainers::default()).expect("rows");
            let front = rows.as_array().expect("array").iter().find(|row| row["Names"][0] == "front").cloned();
            front.expect("a row")["Status"].as_str().expect("words").to_owned()
        };
        assert!(!status().contains('('));
        let path = fixture.engine.roots.container_record(&web.pod, &web.front);
        let mut front: record::ContainerRecord = record::read(&path).expect("record");
        front.config.health = Some(proto::wire::HealthConfig::default());
        record::write(&path, &front, Durability::Volatile).expect("write");
        assert!(status().ends_with(" (starting)"), "{}", status());
        let path = fixture.engine.roots.health_record(&web.pod, &web.front);
        let write = |started_at| {
            let health = HealthState { status: Health::Unhealthy, started_at, ..Default::default() };
            record::write(&path, &health, Durability::Volatile).expect("write");
        };
        // Of an earlier run.
        write(4_000_000_000);
        assert!(status().ends_with(" (starting)"), "{}", status());
        write(5_000_000_000);
        assert!(status().ends_with(" (unhealthy)"), "{}", status());
    }

    #[test]
    fn a_container_without_a_pod_shows_none() {
        let fixture = Fixture::new();
        fixture.plain("solo");
        let rows = super::list(&fixture.view(), &all()).expect("rows");
        assert_eq!(rows.as_array().expect("array").len(), 1);
        assert_eq!((&rows[0]["Pod"], &rows[0]["PodName"]), (&"".into(), &"".into()));
        assert_eq!(rows[0]["Status"], "Created");
        assert_eq!(rows[0]["Networks"][0], "podman");
    }

    #[test]
    fn a_record_that_cannot_be_read_is_a_row_of_its_own() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let broken = fixture.engine.roots.container_record(&web.pod, &web.front);
        std::fs::write(broken, "{").expect("write");
        let rows = super::list(&fixture.view(), &all()).expect("rows");
        let states: Vec<&str> =
            rows.as_array().expect("array").iter().filter_map(|row| row["State"].as_str()).collect();
        assert!(states.contains(&"unknown") && states.contains(&"exited"), "{states:?}");
    }
}
