//! Settings under /proc/sys/net of this thread's network namespace.

use std::{fs, io};

use proto::{Kind, Refusal, refusal::Result};

fn path(key: &str) -> String {
    // Slashes, not dots: an interface's name may have a dot in it.
    format!("/proc/sys/net/{key}")
}

/// Sets `key` unless it is so already: where /proc/sys is read-only somebody else may have set it.
///
/// # Errors
/// Those of the file; `NotFound` where the kernel has no such setting.
pub(super) fn set(key: &str, value: &str) -> io::Result<()> {
    let path = path(key);
    if fs::read_to_string(&path)?.trim_end() == value {
        return Ok(());
    }
    fs::write(path, value)
}

/// Whether packets that only cross a bridge pass the rules, too (br_netfilter). A published port then sends a pod's
/// packet back over the port it came by, which a bridge does only where it is told to.
pub(super) fn bridges_are_filtered() -> bool {
    fs::read_to_string(path("bridge/bridge-nf-call-iptables")).is_ok_and(|text| text.trim_end() == "1")
}

/// Sets what the network cannot do without.
///
/// # Errors
/// A refusal that names the setting and what to do.
pub(super) fn require(key: &str, value: &str) -> Result<()> {
    set(key, value).map_err(|error| {
        let name = key.replace('/', ".");
        Refusal::new(
            Kind::NotSupported,
            format!("cannot set net.{name}={value}, which a bridge network needs: {error}: set it with sysctl(8) or use --network host"),
        )
    })
}

/// Keeps a device from configuring IPv6 by itself: the network has no IPv6, and whoever sends router advertisements
/// is not to give it any (CVE-2020-10749).
///
/// # Errors
/// Those of the file; that the kernel has no IPv6 is none.
pub(super) fn without_ipv6(interface: &str) -> io::Result<()> {
    for (key, value) in [("accept_ra", "0"), ("disable_ipv6", "1")] {
        match set(&format!("ipv6/conf/{interface}/{key}"), value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
    }
    Ok(())
}
