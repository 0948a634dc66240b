//! What the processes of a cgroup use of the machine.

use std::{fs, path::Path};

use super::hierarchy::{Hierarchies, Hierarchy, Version};

/// What a cgroup and those below it have used, and use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Processor time used, nanoseconds.
    pub cpu_nanoseconds: u64,
    /// Of it in the kernel.
    pub cpu_system_nanoseconds: u64,
    /// Of each processor, nanoseconds; empty on cgroup v2, which does not count them apart.
    pub cpu_each_nanoseconds: Vec<u64>,
    /// Memory in use, bytes.
    pub memory: u64,
    /// The tightest limit of it, its own or of a cgroup above, bytes; 0 = none.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes read from block devices.
    pub block_read: u64,
    /// Bytes written to block devices.
    pub block_written: u64,
}

/// The figures of the cgroup `path`. What the machine does not count, and a cgroup that has gone, is 0.
pub(super) fn read(hierarchies: &Hierarchies, path: &str) -> Figures {
    let text = |controller: &str, v1: &str, v2: &str| {
        let hierarchy = hierarchies.with(controller)?;
        let file = if hierarchy.version == Version::V1 { v1 } else { v2 };
        Some((hierarchy.version, fs::read_to_string(hierarchy.dir(path).join(file)).ok()?))
    };
    let number = |controller: &str, v1: &str, v2: &str| text(controller, v1, v2)?.1.trim().parse::<u64>().ok();
    // cgroup v2 counts processor time whether it has the controller or not.
    let stat =
        hierarchies.v2().and_then(|v2| fs::read_to_string(v2.dir(path).join("cpu.stat")).ok()).unwrap_or_default();
    let cpuacct = |file: &str| {
        let v1 = hierarchies.with("cpuacct").filter(|hierarchy| hierarchy.version == Version::V1)?;
        fs::read_to_string(v1.dir(path).join(file)).ok()
    };
    let nanoseconds = |v1: &str, key: &str| {
        let v1 = cpuacct(v1).and_then(|text| text.trim().parse::<u64>().ok());
        v1.or_else(|| keyed(&stat, key)?.checked_mul(1000)).unwrap_or(0)
    };
    let blocks = text("blkio", "blkio.throttle.io_service_bytes_recursive", "io.stat");
    let (block_read, block_written) = blocks.map_or((0, 0), |(version, text)| blocks_of(version, &text));
    let each = cpuacct("cpuacct.usage_percpu").unwrap_or_default();
    Figures {
        cpu_nanoseconds: nanoseconds("cpuacct.usage", "usage_usec"),
        cpu_system_nanoseconds: nanoseconds("cpuacct.usage_sys", "system_usec"),
        cpu_each_nanoseconds: each.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect(),
        memory: number("memory", "memory.usage_in_bytes", "memory.current").unwrap_or(0),
        memory_limit: hierarchies.with("memory").map_or(0, |hierarchy| tightest(hierarchy, path)),
        pids: number("pids", "pids.current", "pids.current").unwrap_or(0),
        block_read,
        block_written,
    }
}

/// The lowest memory limit from `path` up; 0 where there is none.
fn tightest(hierarchy: &Hierarchy, path: &str) -> u64 {
    let file = if hierarchy.version == Version::V1 { "memory.limit_in_bytes" } else { "memory.max" };
    let limits = Path::new(path).ancestors().filter_map(|above| {
        let text = fs::read_to_string(hierarchy.dir(above.to_str()?).join(file)).ok()?;
        // "max" on v2; a v1 limit that is none is the largest number of pages.
        text.trim().parse::<u64>().ok().filter(|bytes| *bytes < i64::MAX as u64 / 2)
    });
    limits.min().unwrap_or(0)
}

/// Bytes read and written, all devices together.
fn blocks_of(version: Version, text: &str) -> (u64, u64) {
    let sum = |of: &dyn Fn(&str) -> Option<u64>| text.lines().filter_map(of).fold(0u64, u64::saturating_add);
    match version {
        // "8:0 Read 4096"
        Version::V1 => {
            let of = |direction: &'static str| {
                move |line: &str| {
                    let mut words = line.split_ascii_whitespace().skip(1);
                    (words.next()? == direction).then(|| words.next()?.parse().ok())?
                }
            };
            (sum(&of("Read")), sum(&of("Write")))
        }
        // "8:0 rbytes=4096 wbytes=0 …"
        Version::V2 => {
            let of = |key: &'static str| {
                move |line: &str| line.split_ascii_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok())
            };
            (sum(&of("rbytes=")), sum(&of("wbytes=")))
        }
    }
}

/// The number after `key` in lines of "key number".
fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).expect("dir");
        for (name, text) in files {
            fs::write(dir.join(name), text).expect("write");
        }
    }

    fn hierarchy(version: Version, mount: &Path, controllers: &[&str]) -> Hierarchy {
        let controllers = controllers.iter().map(|&name| name.to_owned()).collect();
        Hierarchy { version, mount: mount.to_owned(), controllers }
    }

    #[test]
    fn a_hybrid_machine_counts_in_several_places() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mount = |name: &str| dir.path().join(name);
        let each = ("cpuacct.usage_percpu", "2000000 3000000 \n");
        write(&mount("cpu/pod/c"), &[("cpuacct.usage", "5000000\n"), ("cpuacct.usage_sys", "1000000\n"), each]);
        let none = "9223372036854771712\n";
        write(&mount("memory/pod/c"), &[("memory.usage_in_bytes", "4096\n"), ("memory.limit_in_bytes", none)]);
        write(&mount("memory/pod"), &[("memory.limit_in_bytes", "8388608\n")]);
        write(&mount("pids/pod/c"), &[("pids.current", "3\n")]);
        let blocks = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:16 Read 1\nTotal 61\n";
        write(&mount("blkio/pod/c"), &[("blkio.throttle.io_service_bytes_recursive", blocks)]);
        write(&mount("unified/pod/c"), &[("cpu.stat", "usage_usec 1\n")]);
        let v1 = |name: &str, controllers: &[&str]| hierarchy(Version::V1, &mount(name), controllers);
        let all = vec![
            v1("cpu", &["cpu", "cpuacct"]),
            v1("memory", &["memory"]),
            v1("pids", &["pids"]),
            v1("blkio", &["blkio"]),
            hierarchy(Version::V2, &mount("unified"), &[]),
        ];
        let expected = Figures {
            cpu_nanoseconds: 5_000_000,
            cpu_system_nanoseconds: 1_000_000,
            cpu_each_nanoseconds: vec![2_000_000, 3_000_000],
            memory: 4096,
            memory_limit: 8_388_608,
            pids: 3,
            block_read: 11,
            block_written: 20,
        };
        assert_eq!(read(&Hierarchies { all: all.clone() }, "/pod/c"), expected);
        assert_eq!(read(&Hierarchies { all }, "/pod/gone"), Figures { memory_limit: 8_388_608, ..Figures::default() });
    }

    #[test]
    fn a_v2_machine_counts_in_one() {
        let dir = tempfile::tempdir().expect("tempdir");
        let files = [
            ("cpu.stat", "usage_usec 7\nuser_usec 5\nsystem_usec 2\n"),
            ("memory.current", "9\n"),
            ("memory.max", "max\n"),
            ("pids.current", "1\n"),
            ("io.stat", "8:0 rbytes=5 wbytes=6 rios=1 wios=1 dbytes=0 dios=0\n7:0 rbytes=1 wbytes=0\n"),
        ];
        write(&dir.path().join("pod/c"), &files);
        let all = vec![hierarchy(Version::V2, dir.path(), &["cpu", "memory", "pids", "io"])];
        let expected = Figures {
            cpu_nanoseconds: 7000,
            cpu_system_nanoseconds: 2000,
            memory: 9,
            pids: 1,
            block_read: 6,
            block_written: 6,
            ..Figures::default()
        };
        assert_eq!(read(&Hierarchies { all }, "/pod/c"), expected);
    }
}
