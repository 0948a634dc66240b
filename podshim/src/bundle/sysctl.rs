//! Sysctls: an allow list, because one wrong key is the whole host (CVE-2022-0811).

use std::collections::BTreeMap;

use proto::{Refusal, refusal::Result};

use super::{Namespace, Namespaces};
use crate::namespace::sysctl::{self, Scope};

/// podman's default: everyone may ping.
const DEFAULT: (&str, &str) = ("net.ipv4.ping_group_range", "0 0");

/// Longest value.
const LONGEST: usize = 1024;

/// All sysctls of a member: the default, the pod's, its own; later ones win.
///
/// # Errors
/// podman's words, naming the flag, for what is not in a namespace of the container's.
pub(super) fn sysctls<'a>(
    asked: impl Iterator<Item = (&'a String, &'a String)>,
    namespaces: &Namespaces,
) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    if namespaces.net != Namespace::Host {
        all.insert(DEFAULT.0.to_owned(), DEFAULT.1.to_owned());
    }
    for (key, value) in asked {
        check(key, value, namespaces)?;
        all.insert(key.clone(), value.clone());
    }
    Ok(all)
}

fn check(key: &str, value: &str, namespaces: &Namespaces) -> Result<()> {
    let shown = format!("{}={}", key.escape_debug(), value.escape_debug());
    let refuse = |why: &str| Err(Refusal::invalid(format!("--sysctl {shown}: {why}")));
    if value.len() > LONGEST || value.chars().any(|c| c.is_control() && c != '\t') {
        return refuse("the value is not printable, or too long");
    }
    let (namespace, name) = match sysctl::scope(key) {
        Some(Scope::Net) => (&namespaces.net, "Network"),
        Some(Scope::Ipc) => (&namespaces.ipc, "IPC"),
        None => return refuse(&format!("sysctl '{}' is not allowed", key.escape_debug())),
    };
    if *namespace == Namespace::Host {
        return Err(Refusal::invalid(format!(
            "--sysctl {shown}: sysctl {shown} can't be set since {name} Namespace set to host: invalid argument"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(key: &str, value: &str, namespaces: &Namespaces) -> Result<BTreeMap<String, String>> {
        sysctls([(&key.to_owned(), &value.to_owned())].into_iter(), namespaces)
    }

    #[test]
    fn what_a_namespace_holds_is_allowed() {
        let private = Namespaces::default();
        for key in ["net.ipv4.ip_forward", "net/core/somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
            assert_eq!(one(key, "1", &private).expect(key)[key], "1");
        }
        assert_eq!(one("net.ipv4.ping_group_range", "1 2", &private).expect("own")[DEFAULT.0], "1 2");
    }

    #[test]
    fn the_rest_is_refused_by_name() {
        let private = Namespaces::default();
        for (key, value) in [
            ("kernel.core_pattern", "x"),
            ("kernel.shm_rmid_forced=1+kernel.core_pattern", "|/x"),
            ("kernel.shm_rmid_forced+kernel.core_pattern", "|/x"),
            ("net/../kernel/core_pattern", "x"),
            ("net.", "1"),
            ("net..x", "1"),
            ("net.ipv4.x", " \n"),
            ("Kernel.shmmax", "1"),
            ("", ""),
            ("vm.swappiness", "1"),
        ] {
            let refusal = one(key, value, &private).expect_err(key);
            assert!(refusal.message.starts_with("--sysctl ") && !refusal.message.contains('\n'), "{refusal}");
        }
    }

    #[test]
    fn the_hosts_namespaces_are_left_alone() {
        let host = Namespaces { net: Namespace::Host, ipc: Namespace::Host, ..Default::default() };
        assert!(sysctls(std::iter::empty(), &host).expect("none").is_empty());
        let refusal = one("net.ipv4.ip_forward", "1", &host).expect_err("host");
        assert_eq!(
            refusal.message,
            "--sysctl net.ipv4.ip_forward=1: sysctl net.ipv4.ip_forward=1 can't be set since Network Namespace set to host: \
             invalid argument"
        );
        assert!(one("kernel.shmmax", "1", &host).is_err());
    }
}
