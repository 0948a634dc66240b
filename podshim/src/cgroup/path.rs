//! Which cgroup a pod gets.

use proto::{Refusal, refusal::Result};

/// The parent of all pods' cgroups where `--cgroup-parent` says nothing else. Removed with the last of them.
pub const DEFAULT_PARENT: &str = "podctl_parent";

/// Longest path of a parent: the kernel's PATH_MAX leaves room for mount point, pod, container and file.
const LONGEST: usize = 2048;

/// `prefix` + `parent` + `pod`.
pub(super) fn pod(prefix: &str, parent: &str, pod: &str) -> Result<String> {
    let prefix = clean(prefix)
        .map_err(|why| Refusal::invalid(format!("PODCTL_CGROUP_PREFIX={}: {why}", prefix.escape_debug())))?;
    let inner = clean(parent).map_err(|why| {
        Refusal::invalid(format!(
            "--cgroup-parent {}: {why}: give a path like /group or group/sub",
            parent.escape_debug()
        ))
    })?;
    if inner.ends_with(".slice") {
        return Err(Refusal::invalid(format!(
            "--cgroup-parent {parent}: systemd slice received as cgroup parent when using cgroupfs: invalid argument"
        )));
    }
    let inner = if inner.is_empty() { format!("/{DEFAULT_PARENT}") } else { inner };
    Ok(format!("{prefix}{inner}/{pod}"))
}

/// `text` as "" or "/a/b"; a relative path counts from the root.
fn clean(text: &str) -> std::result::Result<String, &'static str> {
    if text.len() > LONGEST {
        return Err("the path is too long");
    }
    let mut path = String::new();
    for part in text.split('/').filter(|part| !part.is_empty()) {
        if part == "." || part == ".." {
            return Err("a cgroup path has no . or ..");
        }
        if part.len() > 255 || part.chars().any(|c| c.is_control() || c == ':') {
            return Err("a cgroup has no such name");
        }
        // A file of the kernel's in every cgroup would be in the way; its words would be an EEXIST from nowhere.
        if part.starts_with("cgroup.") {
            return Err("a cgroup has no such name");
        }
        path.push('/');
        path.push_str(part);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_has_one_path_below_its_parent() {
        for (prefix, parent, expected) in [
            ("", "", "/podctl_parent/P"),
            ("/test/1", "", "/test/1/podctl_parent/P"),
            ("test", "/a//b/", "/test/a/b/P"),
            ("", "a", "/a/P"),
            ("/", "/", "/podctl_parent/P"),
        ] {
            assert_eq!(pod(prefix, parent, "P").expect("clean"), expected);
        }
    }

    #[test]
    fn a_hostile_parent_is_refused_with_its_flag() {
        let long = "a/".repeat(3000);
        for parent in ["..", "/a/../b", "a/./b", "a\nb", "a\0", "/machine.slice", "cgroup.procs", "a:b", long.as_str()]
        {
            let refusal = pod("", parent, "P").expect_err(parent);
            assert!(refusal.message.starts_with("--cgroup-parent "), "{refusal}");
            assert!(!refusal.message.contains('\n'));
        }
        assert!(pod("..", "", "P").is_err());
    }
}
