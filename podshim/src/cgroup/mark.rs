//! Whose a pod's control group is, as an extended attribute of its directory (cgroup2, and v1 mounted with `xattr`).

use std::{
    collections::BTreeMap,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use proto::Id;
use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::{hierarchy::Hierarchies, path};

const ATTRIBUTE: &str = "trusted.podctl.run";
/// Longest run root that is compared; the kernel keeps less than a page for all attributes of a group.
const LONGEST: usize = 1024;

fn value(run: &Path) -> &[u8] {
    let bytes = run.as_os_str().as_bytes();
    bytes.get(..LONGEST).unwrap_or(bytes)
}

pub(super) fn mark(hierarchies: &Hierarchies, path: &str, run: &Path) {
    for hierarchy in &hierarchies.all {
        // A hierarchy that keeps no attributes says so, and another has the mark.
        let _ = setxattr(hierarchy.dir(path), ATTRIBUTE, value(run), XattrFlags::empty());
    }
}

pub(super) fn marked(hierarchies: &Hierarchies, parent: &str, run: &Path) -> Vec<(Id, String)> {
    let mut found = BTreeMap::new();
    // Any id will do: what it is in is asked for.
    let Ok(any) = path::pod(&std::env::var("PODCTL_CGROUP_PREFIX").unwrap_or_default(), parent, "x") else {
        return Vec::new();
    };
    let Some(parent) = any.strip_suffix("/x") else { return Vec::new() };
    for hierarchy in &hierarchies.all {
        for entry in fs::read_dir(hierarchy.dir(parent)).into_iter().flatten().flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<Id>().ok());
            if let Some(id) = id.filter(|_| is_marked(&entry.path(), run)) {
                found.insert(id.to_string(), (id.clone(), format!("{parent}/{id}")));
            }
        }
    }
    found.into_values().collect()
}

fn is_marked(dir: &PathBuf, run: &Path) -> bool {
    let mut bytes = [0; LONGEST];
    getxattr(dir, ATTRIBUTE, &mut bytes).is_ok_and(|length| bytes.get(..length) == Some(value(run)))
}
