//! Which file a process runs: the one that is installed now, or an earlier one.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

/// Whether the process `pid` runs the file at `program`, and not one that was there before.
pub fn is_current(pid: u32, program: &Path) -> bool {
    let file = |metadata: Metadata| (metadata.dev(), metadata.ino());
    // Following the link of /proc leads to the very file, also when it has no name any more.
    let runs = fs::metadata(format!("/proc/{pid}/exe")).ok().map(file);
    runs.is_some() && runs == fs::metadata(program).ok().map(file)
}

/// The inode of the file that the process `pid` runs; 0 when it has gone.
pub fn inode(pid: u32) -> u64 {
    fs::metadata(format!("/proc/{pid}/exe")).map_or(0, |file| file.ino())
}
