//! Which namespace a sysctl is in.

/// The sysctls of an IPC namespace beside `fs.mqueue.*`.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// The namespace a sysctl is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Network.
    Net,
    /// IPC.
    Ipc,
}

/// The namespace that the sysctl `key` is in; `None` when it is none of a container's.
///
/// No part may be empty: `..` and what becomes `..` when a tool swaps dots and slashes would leave /proc/sys
/// (CVE-2022-0811).
pub fn scope(key: &str) -> Option<Scope> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_./-".contains(&byte);
    if !key.bytes().all(plain) || key.split(['.', '/']).any(str::is_empty) {
        return None;
    }
    // The runtime takes `/` and `.` for the same.
    let dotted = key.replace('/', ".");
    if dotted.starts_with("net.") {
        Some(Scope::Net)
    } else if dotted.starts_with("fs.mqueue.") || IPC.contains(&dotted.as_str()) {
        Some(Scope::Ipc)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctls_of_a_container_and_no_others() {
        for (key, expected) in [
            ("net.ipv4.ip_forward", Some(Scope::Net)),
            ("net/ipv4/conf/eth0.100/forwarding", Some(Scope::Net)),
            ("kernel.shm_rmid_forced", Some(Scope::Ipc)),
            ("fs.mqueue.msg_max", Some(Scope::Ipc)),
            ("kernel.core_pattern", None),
            ("net/../kernel/core_pattern", None),
            ("net.//.kernel", None),
            ("kernel.shm_rmid_forced+kernel.core_pattern", None),
            ("net.", None),
            (".net.x", None),
            ("vm.swappiness", None),
            ("net.ipv4.x\n", None),
            ("", None),
        ] {
            assert_eq!(scope(key), expected, "{key:?}");
        }
    }
}
