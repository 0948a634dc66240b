//! Mounts below our directories that the host sees: ours are in the pods' own mount namespaces.

use std::path::{Path, PathBuf};

use proto::{Refusal, refusal::Result};

use super::Scene;
use crate::{
    finding::{Finding, shown},
    sys::mount::{detach, points},
};

pub(super) fn scan(scene: &Scene<'_>) -> Vec<Finding> {
    let roots = &scene.engine.roots;
    // A disk for one of these directories is a person's choice; what is mounted further down is nobody's.
    let ours = [roots.pods(), roots.run_pods(), roots.images().join("layers"), roots.run.join("networks")];
    let mut points = points();
    points.retain(|point| ours.iter().any(|dir| point.starts_with(dir) && point != dir));
    // What is mounted last goes first.
    points.reverse();
    points.into_iter().map(finding).collect()
}

/// Refuses where anything is mounted below `path`: what is removed there would be removed from what is mounted.
pub(super) fn none_below(path: &Path) -> Result<()> {
    match points().into_iter().find(|point| point.starts_with(path)) {
        Some(point) => Err(Refusal::internal(path.display(), format_args!("{} is mounted", point.display()))),
        None => Ok(()),
    }
}

fn finding(point: PathBuf) -> Finding {
    let problem = "is a mount that the host sees and no pod needs";
    Finding::repair("mount", shown(&point), problem, "unmounts it", move || {
        detach(&point).map_err(|error| Refusal::internal(format_args!("unmounting {}", point.display()), error))
    })
}
