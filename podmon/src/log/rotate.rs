//! Rotation by renaming: `ctr.log` becomes `ctr.log.1`, that was `ctr.log.2` before, and so on.
//!
//! The path is never without a file: the old one gets its next name as a second one, then a new one is renamed over the
//! path. We may be killed between any two steps. Files only move to higher numbers, the highest first, so what is left then
//! is at most one number without a file, or one file with two names; readers know both, and the next rotation goes on
//! from there.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use proto::failpoint::{self, Point};
use proto::log_line::rotated;

use super::Identity;

impl Identity {
    /// Which file it is.
    pub fn of(metadata: &Metadata) -> Identity {
        Identity { device: metadata.dev(), inode: metadata.ino() }
    }

    /// Whether `path` is this file.
    pub fn is_at(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|metadata| Identity::of(&metadata) == *self)
    }
}

/// Puts a new empty file in the place of the log at `path`, which is `log`; of the older ones so many stay that there are
/// `files` with the new one.
///
/// # Errors
/// Those of link(2), rename(2) and open(2): the log is still at its path.
pub fn turn(path: &Path, log: Identity, files: u32) -> io::Result<()> {
    let last = files.saturating_sub(1);
    let first = rotated(path, 1);
    // With two names already: we were killed before the last step.
    if last > 0 && !log.is_at(&first) {
        make_room(path, last)?;
        failpoint::check(Point::RotateRoom)?;
        // Where a file cannot have two names there is a moment without the path.
        fs::hard_link(path, &first).or_else(|_| fs::rename(path, &first))?;
        failpoint::check(Point::RotateNamed)?;
    }
    failpoint::check(Point::RotateLinked)?;
    remove_beyond(path, last);
    let fresh = beside(path);
    // One that was left by whom we succeed.
    let _ = fs::remove_file(&fresh);
    OpenOptions::new().append(true).create_new(true).mode(0o640).open(&fresh)?;
    failpoint::check(Point::RotateFresh)?;
    fs::rename(&fresh, path)
}

/// Makes number 1 free, up to `last`, by moving what is below the first number that is free, or by dropping the oldest.
fn make_room(path: &Path, last: u32) -> io::Result<()> {
    let free = (1..last).find(|number| fs::symlink_metadata(rotated(path, *number)).is_err()).unwrap_or(last);
    if free == last && last == 1 {
        return match fs::remove_file(rotated(path, 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    for number in (1..free).rev() {
        fs::rename(rotated(path, number), rotated(path, number + 1))?;
    }
    Ok(())
}

/// Removes what a greater number of files has left.
fn remove_beyond(path: &Path, last: u32) {
    // What cannot be removed costs room and nothing else.
    for number in last + 1.. {
        if fs::remove_file(rotated(path, number)).is_err() {
            break;
        }
    }
}

/// A hidden name beside `path`: no pattern for logs finds it.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// The file that became the log after `log` had been renamed; `None` where that cannot be known.
pub fn after(path: &Path, log: Identity, files: u32) -> Option<PathBuf> {
    let number = (1..=files).find(|number| log.is_at(&rotated(path, *number)))?;
    // A number without a file: we were killed while they moved.
    (0..number).rev().map(|number| rotated(path, number)).find(|path| path.exists() && !log.is_at(path))
}

/// The oldest file that there is.
pub fn oldest(path: &Path, files: u32) -> PathBuf {
    let number = (0..=files).rev().find(|number| fs::symlink_metadata(rotated(path, *number)).is_ok());
    rotated(path, number.unwrap_or(0))
}

/// The file `log` under whatever name it has now beside `path`, open for writing.
pub fn find(path: &Path, log: Identity) -> Option<File> {
    for entry in fs::read_dir(path.parent()?).ok()?.flatten() {
        if log.is_at(&entry.path()) {
            let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
            let file = OpenOptions::new().read(true).append(true).custom_flags(flags).open(entry.path()).ok()?;
            return file.metadata().is_ok_and(|metadata| Identity::of(&metadata) == log).then_some(file);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `text` to the log at `path`, as the monitor does: always to the file that has the path.
    fn put(path: &Path, text: &str) -> Identity {
        use std::io::Write;
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("open");
        file.write_all(text.as_bytes()).expect("write");
        Identity::of(&file.metadata().expect("stat"))
    }

    /// What the files say, the oldest first; one with two names once.
    fn all(path: &Path) -> String {
        let mut seen = Vec::new();
        let mut texts = Vec::new();
        for number in 0..20 {
            let path = rotated(path, number);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let identity = Identity::of(&metadata);
            if !seen.contains(&identity) {
                seen.push(identity);
                texts.push(fs::read_to_string(&path).expect("text"));
            }
        }
        texts.reverse();
        texts.concat()
    }

    #[test]
    fn so_many_files_stay_as_are_wanted() {
        for (files, kept) in [(1, "6"), (2, "56"), (3, "456"), (10, "123456")] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("ctr.log");
            for text in ["1", "2", "3", "4", "5"] {
                turn(&path, put(&path, text), files).expect("turn");
                assert_eq!(fs::metadata(&path).expect("a new one").len(), 0);
            }
            put(&path, "6");
            assert_eq!(all(&path), kept, "{files} files");
            assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), kept.len());
        }
    }

    #[test]
    fn fewer_files_are_wanted_than_there_are() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        for text in ["1", "2", "3", "4", "5"] {
            turn(&path, put(&path, text), 9).expect("turn");
        }
        turn(&path, put(&path, "6"), 2).expect("turn");
        assert_eq!(all(&path), "6");
    }

    #[test]
    fn killed_between_any_two_steps_nothing_is_lost_or_doubled() {
        // What each step leaves behind: numbers moved so far, a second name, a new file that has no name yet.
        for (moved, linked, fresh) in [(1, false, false), (2, false, false), (2, true, false), (2, true, true)] {
            let dir = tempfile::tempdir().expect("tempdir");
            let path = dir.path().join("ctr.log");
            for text in ["1", "2"] {
                turn(&path, put(&path, text), 9).expect("turn");
            }
            put(&path, "3");
            for number in (1..=2).rev().take(moved) {
                fs::rename(rotated(&path, number), rotated(&path, number + 1)).expect("rename");
            }
            if linked {
                fs::hard_link(&path, rotated(&path, 1)).expect("link");
            }
            if fresh {
                fs::write(beside(&path), "").expect("write");
            }
            assert_eq!(all(&path), "123", "{moved} moved");
            // The successor writes on, and rotates.
            let log = put(&path, "4");
            assert_eq!(after(&path, log, 9), None, "nothing came after it yet");
            turn(&path, log, 9).expect("turn");
            put(&path, "5");
            assert_eq!(all(&path), "12345", "{moved} moved");
            assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 4);
        }
    }

    #[test]
    fn what_came_next_and_what_is_oldest() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("ctr.log");
        let one = put(&path, "1");
        turn(&path, one, 3).expect("turn");
        let two = put(&path, "2");
        turn(&path, two, 3).expect("turn");
        assert_eq!(after(&path, one, 3), Some(rotated(&path, 1)));
        assert_eq!(after(&path, two, 3), Some(path.clone()));
        assert_eq!(oldest(&path, 3), rotated(&path, 2));
        fs::rename(rotated(&path, 1), dir.path().join("elsewhere")).expect("rename");
        assert_eq!(after(&path, two, 3), None);
        assert_eq!(after(&path, one, 3), Some(path.clone()));
        assert!(find(&path, two).is_some_and(|file| file.metadata().expect("stat").len() == 1));
    }
}
