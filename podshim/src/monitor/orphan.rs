//! The OCI runtime, when the monitor that called it was killed: it goes on, and would make what nobody waits for.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use proto::{
    Id,
    alive::{self, Process},
};

use crate::programs;

/// How long killed processes may take to end.
const KILLED: Duration = Duration::from_secs(2);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(1);

/// Kills every call of a runtime with its state in `root` that is about `container`, and waits until there is none.
pub(super) fn end(root: &Path, container: &Id) {
    let limit = Instant::now() + KILLED;
    loop {
        let calls = calls(root, container);
        if calls.is_empty() || Instant::now() >= limit {
            return;
        }
        for call in calls {
            if let Ok(pidfd) = call.pidfd() {
                // It has ended by itself: fine.
                let _ = alive::pidfd_signal(&pidfd, libc::SIGKILL);
            }
        }
        thread::sleep(LOOK);
    }
}

fn calls(root: &Path, container: &Id) -> Vec<Process> {
    let calls = programs::all().filter(|(_, line)| is_call(line, root, container)).map(|(process, _)| process);
    calls.filter(Process::is_alive).collect()
}

/// `crun --root ROOT … ID`
fn is_call(line: &[u8], root: &Path, container: &Id) -> bool {
    let words = programs::words(line);
    let about = |word: &&[u8]| *word == container.as_str().as_bytes();
    let stores = |pair: &[&[u8]]| pair[0] == b"--root" && OsStr::from_bytes(pair[1]) == root.as_os_str();
    words.iter().any(about) && words.windows(2).any(stores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_known_by_its_root_and_its_container() {
        let (id, other) = (Id::random().expect("id"), Id::random().expect("id"));
        let line = format!("crun\0--root\0/run/x/runtime\0create\0--bundle\0/b\0{id}\0");
        let root = Path::new("/run/x/runtime");
        assert!(is_call(line.as_bytes(), root, &id));
        assert!(!is_call(line.as_bytes(), root, &other));
        assert!(!is_call(line.as_bytes(), Path::new("/run/y/runtime"), &id));
        assert!(!is_call(format!("podmon\0{id}\0").as_bytes(), root, &id));
        assert!(!is_call(b"", root, &id));
    }

    #[test]
    fn a_call_that_nobody_waits_for_is_killed() {
        let id = Id::random().expect("id");
        let mut call = std::process::Command::new("sh")
            .args(["-c", "read x", "--root", "/nowhere/runtime", id.as_str()])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("sh");
        end(Path::new("/nowhere/runtime"), &id);
        assert!(!call.wait().expect("ended").success());
    }
}
