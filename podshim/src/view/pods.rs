//! Rows of `pod ps`.

use proto::{refusal::Result, wire::ListPods};
use serde_json::Value;

use super::{
    Shown, View, filter,
    json::{map, object, strings, time},
    shown::pod_networks,
};
use crate::{cgroup, index::Pod};

/// The rows of `pod ps` as podman's `--format json` has them, oldest first, without hidden pods.
///
/// # Errors
/// A filter that cannot be, in podman's words; records that cannot be listed.
pub fn list(view: &View<'_>, request: &ListPods) -> Result<Value> {
    let pods = view.pods()?;
    let filters = filter::Pods::parse(view, &request.filters)?;
    let mut shown: Vec<&Pod> = pods.iter().filter(|pod| !pod.hidden() && filters.match_all(pod)).collect();
    if request.latest {
        shown.drain(..shown.len().saturating_sub(1));
    }
    Ok(shown.into_iter().map(row).collect())
}

fn row(pod: &Pod) -> Value {
    let record = pod.record.as_ref().ok();
    let containers: Value = Shown::of(pod)
        .map(|container| {
            object([
                ("Id", container.id().as_str().into()),
                ("Names", container.name().into()),
                ("Status", container.state().as_str().into()),
                ("RestartCount", container.restarts().into()),
            ])
        })
        .collect();
    let infra = record.and_then(|record| record.infra.as_ref());
    object([
        ("Cgroup", cgroup_parent(pod).into()),
        ("Containers", containers),
        ("Created", time(record.map_or(0, |record| record.created))),
        ("Id", pod.id().as_str().into()),
        ("InfraId", infra.map_or("", |infra| infra.as_str()).into()),
        ("Name", record.map_or(pod.id().short(), |record| &record.name).into()),
        ("Namespace", "".into()),
        ("Networks", strings(infra.map_or_else(Vec::new, |_| pod_networks(pod)))),
        ("Status", pod.status().as_str().into()),
        ("Labels", record.map_or_else(|| object([]), |record| map(&record.config.labels))),
    ])
}

/// Its cgroup: as it is now, else the one it will have; empty where its record cannot be read.
pub(super) fn cgroup_path(pod: &Pod) -> String {
    let now = pod.state.as_ref().map(|state| state.cgroup.clone()).filter(|cgroup| !cgroup.is_empty());
    let will_be = || cgroup::pod_path(pod.id(), &pod.record.as_ref().ok()?.config.cgroup_parent).ok();
    now.or_else(will_be).unwrap_or_default()
}

/// The cgroup its own is in: as asked for, else that of [`cgroup_path`].
pub(super) fn cgroup_parent(pod: &Pod) -> String {
    let asked = pod.record.as_ref().map_or("", |record| &record.config.cgroup_parent);
    if !asked.is_empty() {
        return asked.to_owned();
    }
    cgroup_path(pod).rsplit_once('/').map_or_else(String::new, |(parent, _)| parent.to_owned())
}

#[cfg(test)]
mod tests {
    use proto::wire::ListPods;

    use super::super::fixture::Fixture;

    #[test]
    fn the_keys_of_a_row_are_podmans_in_podmans_order() {
        let fixture = Fixture::new();
        let web = fixture.web();
        fixture.plain("solo");
        let rows = super::list(&fixture.view(), &ListPods::default()).expect("rows");
        assert_eq!(rows.as_array().expect("array").len(), 1, "a hidden pod is no row");
        let row = &rows[0];
        let keys: Vec<&str> = row.as_object().expect("object").keys().map(String::as_str).collect();
        assert_eq!(keys.join(" "), "Cgroup Containers Created Id InfraId Name Namespace Networks Status Labels");
        assert_eq!((&row["Status"], &row["Name"]), (&"Degraded".into(), &"web".into()));
        assert_eq!(row["Networks"][0], "net1");
        let containers = row["Containers"].as_array().expect("array");
        assert_eq!(containers.len(), 3);
        assert_eq!(
            containers[0].to_string(),
            format!(
                r#"{{"Id":"{}","Names":"{}-infra","Status":"running","RestartCount":0}}"#,
                web.infra,
                web.pod.short()
            )
        );
    }

    #[test]
    fn the_newest_alone() {
        let fixture = Fixture::new();
        fixture.web();
        fixture.empty_pod("later", 9_000);
        let rows = super::list(&fixture.view(), &ListPods { latest: true, ..Default::default() }).expect("rows");
        assert_eq!(rows.as_array().expect("array").len(), 1);
        assert_eq!((&rows[0]["Name"], &rows[0]["Status"]), (&"later".into(), &"Created".into()));
    }
}
