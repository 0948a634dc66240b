//! Resource limits of a process (getrlimit(2)) under the names that `--ulimit` has for them.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// All of them.
pub const KNOWN: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

/// The limit called `name`, which may be in capitals and begin with `RLIMIT_`, as in containers.conf(5).
pub fn find(name: &str) -> Option<(&'static str, Resource)> {
    let bare = name.to_ascii_lowercase();
    let bare = bare.strip_prefix("rlimit_").unwrap_or(&bare);
    KNOWN.into_iter().find(|(known, _)| *known == bare)
}

/// A limit as users have it: -1 is none (RLIM_INFINITY, all bits).
pub fn signed(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(-1)
}

/// As many descriptors as this process, and all that it will start, may have (`ulimit -S -n`): podshim and podmon serve more
/// than the caller who happened to start them. A container has a limit of its own.
pub fn lift_files() {
    // What cannot be raised stays as it is.
    let _ = getrlimit(Resource::RLIMIT_NOFILE).map(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_as_they_are_spelled_anywhere() {
        for name in ["nofile", "NOFILE", "RLIMIT_NOFILE", "rlimit_nofile"] {
            assert_eq!(find(name), Some(("nofile", Resource::RLIMIT_NOFILE)), "{name}");
        }
        for name in ["", "host", "rlimit_", "rlimit_rlimit_nofile", "nofile "] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
