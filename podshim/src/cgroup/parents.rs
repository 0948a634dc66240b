//! Parents of pods' groups that were asked for (`--cgroup-parent`) and were not there: they go with the last group in them.
//!
//! Those that we make are noted before they are made, as the same path below `$RUN/cgroups`: not every hierarchy keeps a mark.
//! A parent that a person has made stays.

use std::{
    fs::{self, DirBuilder, File},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use super::{hierarchy::Hierarchies, path::DEFAULT_PARENT};

/// The mark of one that we have made, beside the notes of those below it.
const MADE: &str = ".made";

/// The groups above `path` and below the engine's own, `prefix`, the lowest first. The default parent is nobody's wish.
fn above(prefix: &str, path: &str) -> Vec<String> {
    let prefix = Path::new("/").join(prefix.trim_matches('/'));
    let ours = |parent: &&Path| parent.starts_with(&prefix) && *parent != prefix && parent.parent().is_some();
    Path::new(path)
        .ancestors()
        .skip(1)
        .take_while(ours)
        .filter(|parent| !parent.ends_with(DEFAULT_PARENT))
        .filter_map(|parent| Some(parent.to_str()?.to_owned()))
        .collect()
}

fn prefix() -> String {
    std::env::var("PODCTL_CGROUP_PREFIX").unwrap_or_default()
}

fn note_of(run: &Path, group: &str) -> PathBuf {
    run.join("cgroups").join(group.trim_start_matches('/'))
}

/// Notes the parents of `path` that are in no hierarchy yet: they are about to be made.
pub(super) fn note(hierarchies: &Hierarchies, path: &str, run: &Path) {
    let missing = |group: &String| hierarchies.all.iter().all(|hierarchy| !hierarchy.dir(group).exists());
    for group in above(&prefix(), path).iter().filter(|group| missing(group)) {
        let note = note_of(run, group);
        // Without a note it stays when it is empty.
        let _ =
            DirBuilder::new().recursive(true).mode(0o700).create(&note).and_then(|()| File::create(note.join(MADE)));
    }
}

/// Removes the noted parents of `path` that nothing is in any more.
pub(super) fn remove(hierarchies: &Hierarchies, path: &str, run: &Path) {
    for group in above(&prefix(), path) {
        let note = note_of(run, &group);
        if !note.join(MADE).exists() {
            return;
        }
        for hierarchy in &hierarchies.all {
            // It fails while another pod is in it, which is the point: nobody counts.
            let _ = fs::remove_dir(hierarchy.dir(&group));
        }
        if hierarchies.all.iter().any(|hierarchy| hierarchy.dir(&group).exists()) {
            return;
        }
        let _ = fs::remove_file(note.join(MADE));
        // Up to the first that others are noted in.
        let mut empty = note.as_path();
        while empty != run && fs::remove_dir(empty).is_ok() {
            let Some(parent) = empty.parent() else { return };
            empty = parent;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_those_that_were_asked_for() {
        assert_eq!(above("", "/podctl_parent/P"), [""; 0]);
        assert_eq!(above("", "/a/b/P"), ["/a/b", "/a"]);
        assert_eq!(above("test/1", "/test/1/a/P"), ["/test/1/a"]);
        assert_eq!(above("/test/1", "/test/1/podctl_parent/P"), [""; 0]);
    }
}
