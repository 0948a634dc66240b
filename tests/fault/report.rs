//! What ran and what was found: a table that `make crash` prints last, and seeds that replay.

use std::{io::Write, process::Command, time::Duration};

/// Whether everything is tried (`make crash`), and not a share.
pub fn all() -> bool {
    std::env::var_os("PODCTL_CRASH_ALL").is_some()
}

/// The number that chooses: `PODCTL_SEED`, or one that follows from what is committed, so that the same sources have the
/// same cases everywhere and other sources others; `make crash` and `make chaos` take the clock. A test prints it.
pub fn seed() -> u64 {
    let given = std::env::var("PODCTL_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| {
        let tree = Command::new("git").args(["rev-parse", "--short=12", "HEAD:"]).output();
        let tree = tree.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        // Sources without their history have no number of their own.
        tree.ok().and_then(|tree| u64::from_str_radix(&tree, 16).ok()).unwrap_or(1)
    })
}

/// Numbers that look random and follow from a seed (xorshift).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// Those of `seed`.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// The next, below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// `count` of `all`, in their order.
    pub fn some<T: Clone>(&mut self, all: &[T], count: usize) -> Vec<T> {
        let mut left: Vec<usize> = (0..all.len()).collect();
        while left.len() > count {
            let goes = self.below(left.len() as u64);
            left.remove(usize::try_from(goes).unwrap_or(0));
        }
        left.into_iter().map(|one| all[one].clone()).collect()
    }
}

/// Adds a row to the table.
pub fn row(what: &str, cases: usize, took: Duration, found: usize) {
    let row = format!("{what:<44} {cases:>6} {:>7.2} s {found:>6}\n", took.as_secs_f64());
    print!("{row}");
    if let Some(path) = std::env::var_os("PODCTL_CRASH_TABLE") {
        let table = std::fs::File::options().append(true).create(true).open(path);
        table.and_then(|mut table| table.write_all(row.as_bytes())).expect("the table of what was found");
    }
}

/// Adds a row to the table, and fails with what was found.
///
/// # Panics
/// When something was found.
pub fn done(what: &str, cases: usize, took: Duration, found: &[String]) {
    row(what, cases, took, found.len());
    assert!(found.is_empty(), "{} of {cases} cases of {what} failed:\n\n{}", found.len(), found.join("\n\n"));
}
