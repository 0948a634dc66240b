//! Other limits for processes that run: all of a container's have them, or none.

use std::collections::BTreeMap;

use nix::errno::Errno;
use proto::{Kind, Refusal, refusal::Result};

use crate::{bundle::Ulimit, sys::limit};

/// Rounds of looking for processes that were forked meanwhile by one that had its limits still to get.
const ROUNDS: usize = 16;

/// What processes had before, by pid and number of the limit.
#[derive(Debug, Default)]
pub(super) struct Ulimits(BTreeMap<(u32, i32), limit::Limit>);

impl Ulimits {
    /// Gives all of `processes` the limits `wanted`.
    ///
    /// # Errors
    /// When the kernel refuses, which wants CAP_SYS_RESOURCE to raise what a process may have at most; all have then what
    /// they had.
    pub(super) fn set(wanted: &[Ulimit], processes: impl Fn() -> Vec<u32>) -> Result<Ulimits> {
        let mut done = Ulimits::default();
        for _ in 0..ROUNDS {
            let known = done.0.len();
            for (pid, ulimit) in processes().into_iter().flat_map(|pid| wanted.iter().map(move |one| (pid, one))) {
                let key = (pid, ulimit.resource);
                if done.0.contains_key(&key) {
                    continue;
                }
                match limit::exchange(pid, ulimit.resource, ulimit.limit) {
                    Ok(before) => drop(done.0.insert(key, before)),
                    // It has ended.
                    Err(Errno::ESRCH) => {}
                    Err(error) => {
                        done.back();
                        return Err(refusal(ulimit, pid, error));
                    }
                }
            }
            if done.0.len() == known {
                break;
            }
        }
        Ok(done)
    }

    /// Gives them back what they had.
    pub(super) fn back(&self) {
        for ((pid, resource), before) in &self.0 {
            // It may have ended.
            let _ = limit::exchange(*pid, *resource, *before);
        }
    }
}

fn refusal(ulimit: &Ulimit, pid: u32, error: Errno) -> Refusal {
    match error {
        Errno::EPERM => Refusal::new(
            Kind::NotSupported,
            format!(
                "--ulimit {ulimit}: process {pid} of the container may have less, which podctl may not raise: stop it first"
            ),
        ),
        error => Refusal::internal(format!("--ulimit {ulimit}: process {pid}"), error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_it_and_what_has_ended_is_passed_over() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().expect("sleep");
        let pid = child.id();
        let files = || {
            let text = std::fs::read_to_string(format!("/proc/{pid}/limits")).expect("limits");
            let line = text.lines().find(|line| line.starts_with("Max open files")).expect("a line");
            line.split_ascii_whitespace().nth(3).map(str::to_owned)
        };
        let before = files();
        let number = nix::libc::RLIMIT_NOFILE as i32;
        let ulimit = |soft, hard| Ulimit { name: "nofile", resource: number, limit: limit::Limit { soft, hard } };
        let hard = before.clone().and_then(|text| text.parse().ok()).unwrap_or(1024);
        let done = Ulimits::set(&[ulimit(77, hard)], || vec![pid]).expect("lowered");
        assert_eq!(files().as_deref(), Some("77"));
        done.back();
        assert_eq!(files(), before);
        assert!(Ulimits::set(&[ulimit(1, 1)], || vec![0x7fff_fff0]).is_ok());
        child.kill().and_then(|()| child.wait()).expect("its end");
    }
}
