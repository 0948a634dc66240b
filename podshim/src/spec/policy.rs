//! Restart policies, exit policies, and what a pod's members share.

use proto::{Kind, Refusal, refusal::Result, wire::RestartPolicy};

use super::text::quoted;

/// Names of namespaces a pod can share, sorted: the order of records and of `inspect`.
const SHARABLE: [&str; 5] = ["cgroup", "ipc", "net", "pid", "uts"];

/// What a pod shares unless it is told otherwise.
const DEFAULT_SHARE: [&str; 3] = ["ipc", "net", "uts"];

/// `--restart` of a pod or container (`what`), with podman's alias `never` as `no`. An empty name stays: it inherits.
pub(super) fn restart(what: &str, policy: Option<RestartPolicy>) -> Result<Option<RestartPolicy>> {
    let Some(mut policy) = policy.filter(|policy| !policy.name.is_empty() || policy.max_retries != 0) else {
        return Ok(None);
    };
    match policy.name.as_str() {
        "no" | "on-failure" | "always" | "unless-stopped" => {}
        "never" => "no".clone_into(&mut policy.name),
        other => {
            return Err(Refusal::invalid(format!(
                "running {what} create option: {} is not a valid restart policy: invalid argument",
                quoted(other)
            )));
        }
    }
    if policy.max_retries != 0 && policy.name != "on-failure" {
        return Err(Refusal::invalid("restart policy retries can only be specified with on-failure restart policy"));
    }
    Ok(Some(policy))
}

/// `--exit-policy`.
pub(super) fn exit(policy: &str) -> Result<String> {
    match policy {
        "" | "continue" => Ok("continue".to_owned()),
        "stop" => Ok("stop".to_owned()),
        other => {
            Err(Refusal::invalid(format!("running pod create option: invalid pod exit policy: {}", quoted(other))))
        }
    }
}

/// `--share` as typed → the namespaces shared, sorted. `+x` adds to the default; `none` shares nothing.
pub(super) fn share(asked: &[String]) -> Result<Vec<String>> {
    let asked: Vec<&str> = asked.iter().flat_map(|entry| entry.split(',')).collect();
    let adds = asked.iter().any(|entry| entry.starts_with('+'));
    let mut shared: Vec<&str> = if asked.is_empty() || adds { DEFAULT_SHARE.to_vec() } else { Vec::new() };
    for entry in &asked {
        let bare = entry.strip_prefix('+').unwrap_or(entry);
        match SHARABLE.iter().find(|known| **known == bare) {
            Some(known) => shared.push(known),
            None if matches!(bare, "" | "none") => {
                if asked.len() > 1 && bare == "none" {
                    return Err(Refusal::invalid("--share none cannot be combined with namespaces to share"));
                }
            }
            None if bare == "user" => {
                return Err(Refusal::new(
                    Kind::NotSupported,
                    "--share user: a user namespace belongs to the whole pod and is not supported by this version",
                ));
            }
            None => {
                return Err(Refusal::invalid(format!(
                    "invalid kernel namespace to share: {}. Options are: cgroup, ipc, net, pid, uts or none",
                    super::text::shown(bare)
                )));
            }
        }
    }
    shared.sort_unstable();
    shared.dedup();
    Ok(shared.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn what_is_shared() {
        let shared = |asked: &[&str]| {
            share(&asked.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>()).expect("valid").join(" ")
        };
        for (asked, expected) in [
            (&[][..], "ipc net uts"),
            (&["none"], ""),
            (&[""], ""),
            (&["+pid"], "ipc net pid uts"),
            (&["uts", "net"], "net uts"),
            (&["net,ipc"], "ipc net"),
            (&["+pid", "ipc"], "ipc net pid uts"),
            (&["cgroup"], "cgroup"),
        ] {
            assert_eq!(shared(asked), expected, "{asked:?}");
        }
    }
}
