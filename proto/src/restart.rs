//! Restart policies: which end of a run is followed by another.

use crate::wire::{ExitStatus, RestartPolicy};

/// Whether `policy` starts a container again that has ended with `exit` after `restarts` restarts (podman-run(1),
/// --restart). That a user has not ended it is the caller's to know.
pub fn follows(policy: &RestartPolicy, exit: &ExitStatus, restarts: u32) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        // An end that nobody knows was no success.
        "on-failure" => (!exit.known || exit.code != 0) && (policy.max_retries == 0 || restarts < policy.max_retries),
        _ => false,
    }
}

/// Whether `policy` ever starts anything again.
pub fn is_set(policy: &RestartPolicy) -> bool {
    !matches!(policy.name.as_str(), "" | "no")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_policies() {
        let exit = |known, code| ExitStatus { known, code, ..ExitStatus::default() };
        let (done, failed, unknown) = (exit(true, 0), exit(true, 1), exit(false, -1));
        for (name, max_retries, exit, restarts, expected) in [
            ("", 0, &failed, 0, false),
            ("no", 0, &failed, 0, false),
            ("always", 0, &done, 99, true),
            ("unless-stopped", 0, &done, 99, true),
            ("on-failure", 0, &done, 0, false),
            ("on-failure", 0, &failed, 99, true),
            ("on-failure", 0, &unknown, 0, true),
            ("on-failure", 2, &failed, 1, true),
            ("on-failure", 2, &failed, 2, false),
        ] {
            let policy = RestartPolicy { name: name.into(), max_retries };
            assert_eq!(follows(&policy, exit, restarts), expected, "{name}:{max_retries} after {exit:?}");
        }
    }
}
