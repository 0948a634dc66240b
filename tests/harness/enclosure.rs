//! A pretend machine: its own pids (with a reaper), mounts, network, and a tmpfs on `/run`.
//!
//! ```text
//!   enclosure                          "outside"
//!   lo 127.0.0.1                       lo
//!   eth0 198.51.100.1/24 ──────────── eth0 198.51.100.2/24      (a network namespace in the enclosure)
//! ```

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::programs;

/// The enclosure's own address.
pub const ADDRESS: &str = "198.51.100.1";
/// The address of its neighbour, who knows no route to pods.
pub const NEIGHBOUR: &str = "198.51.100.2";

/// One enclosure; dropping it ends everything in it.
#[derive(Debug)]
pub struct Enclosure {
    first: Child,
    pid: u32,
}

impl Enclosure {
    /// Makes one. With `shared_root` mounts propagate as on a machine run by systemd; else `/` is private.
    ///
    /// # Panics
    /// When it cannot: tests need root, and a kernel with namespaces, veth and tmpfs.
    pub fn new(shared_root: bool) -> Enclosure {
        assert!(nix::unistd::geteuid().is_root(), "the tests make namespaces, mounts and links: run them as root");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .arg(programs::beside("enclosed"))
            .args(shared_root.then_some("--shared"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut first = command.spawn().expect("unshare (Debian package util-linux)");
        let mut line = String::new();
        BufReader::new(first.stdout.take().expect("stdout")).read_line(&mut line).expect("first words of an enclosure");
        let pid = line.strip_prefix("ready ").and_then(|pid| pid.trim().parse().ok());
        Enclosure { first, pid: pid.unwrap_or_else(|| panic!("an enclosure could not be made: {line:?}")) }
    }

    /// A command that runs inside, in `directory` (a path inside).
    ///
    /// The process started is nsenter(1), which waits for the real one, passes on its exit status, and is its parent.
    pub fn command(&self, directory: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.pid.to_string(), "--mount", "--net", "--pid"])
            .arg(format!("--wdns={directory}"))
            .args(["--", program]);
        command
    }

    /// A path inside, as it is reached from outside.
    pub fn path(&self, inside: impl AsRef<Path>) -> PathBuf {
        let inside = inside.as_ref();
        Path::new("/proc").join(self.pid.to_string()).join("root").join(inside.strip_prefix("/").unwrap_or(inside))
    }

    /// The pid of its first process, as the outside knows it.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        drop(self.first.stdin.take());
        let _ended_already = self.first.wait();
    }
}
