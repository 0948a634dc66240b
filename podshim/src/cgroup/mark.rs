//! Whose a pod's control group is, as an extended attribute of its directory (cgroup2, and v1 mounted with `xattr`). Where
//! no hierarchy keeps one it is noted in the run root: `$RUN/cgroups/ID`, a link that names it.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
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
    // A hierarchy that keeps no attributes says so, and another has the mark.
    let set = |dir: PathBuf| setxattr(dir, ATTRIBUTE, value(run), XattrFlags::empty()).is_ok();
    let marks = hierarchies.all.iter().filter(|hierarchy| set(hierarchy.dir(path))).count();
    if marks == 0
        && let Some(note) = note(path, run)
    {
        // Without it the group is found by nobody once its pod is gone.
        let _ = fs::create_dir_all(run.join("cgroups")).and_then(|()| symlink(path, note));
    }
}

/// The group at `path` has been removed.
pub(super) fn forget(path: &str, run: &Path) {
    if let Some(note) = note(path, run) {
        // Only where there is no attribute.
        let _ = fs::remove_file(note);
    }
}

fn note(path: &str, run: &Path) -> Option<PathBuf> {
    Some(run.join("cgroups").join(Path::new(path).file_name()?))
}

/// The groups that are noted.
fn noted(run: &Path) -> Vec<(Id, String)> {
    let entries = fs::read_dir(run.join("cgroups")).into_iter().flatten().flatten();
    let group = |entry: &fs::DirEntry| {
        let path = fs::read_link(entry.path()).ok()?.into_os_string().into_string().ok()?;
        Some((entry.file_name().to_str()?.parse().ok()?, path))
    };
    entries.filter_map(|entry| group(&entry)).collect()
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
        for (id, path) in noted(run) {
            if Path::new(&path).parent() == Some(Path::new(parent)) && hierarchy.dir(&path).exists() {
                found.insert(id.to_string(), (id, path));
            }
        }
    }
    found.into_values().collect()
}

fn is_marked(dir: &PathBuf, run: &Path) -> bool {
    let mut bytes = [0; LONGEST];
    getxattr(dir, ATTRIBUTE, &mut bytes).is_ok_and(|length| bytes.get(..length) == Some(value(run)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_no_hierarchy_keeps_a_mark_the_group_is_noted() {
        let dir = tempfile::tempdir().expect("tempdir");
        let line = format!("31 23 0:28 / {} rw - cgroup cgroup rw,freezer\n", dir.path().join("tree").display());
        let hierarchies = Hierarchies::parse(&line, |_| String::new());
        let (run, id) = (dir.path().join("run"), Id::random().expect("id"));
        let path =
            path::pod(&std::env::var("PODCTL_CGROUP_PREFIX").unwrap_or_default(), "", id.as_str()).expect("path");
        // What is not there keeps no attribute either.
        mark(&hierarchies, &path, &run);
        assert!(marked(&hierarchies, "", &run).is_empty(), "it is not there");
        fs::create_dir_all(hierarchies.all[0].dir(&path)).expect("group");
        assert_eq!(marked(&hierarchies, "", &run), [(id, path.clone())]);
        forget(&path, &run);
        assert!(marked(&hierarchies, "", &run).is_empty());
    }
}
