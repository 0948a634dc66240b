//! A head start for the kernel where a process is about to be moved into a cgroup.
//!
//! Whoever moves one, as every OCI runtime does on create and exec, waits for a grace period of RCU first: about 10 ms
//! at 250 Hz, half of what a user waits for `exec`. For as long after that the next one does not wait again
//! (`cgroup_threadgroup_rwsem`, a percpu_rw_semaphore: linux/rcu_sync.h). So the wait begins when podctl does, beside
//! everything that comes before the runtime.

use std::{fs, path::Path, thread, time::Duration};

use nix::sys::signal::{SigSet, SigmaskHow};

/// Between two moves of ours: well within a grace period.
const AGAIN: Duration = Duration::from_millis(4);
/// So many moves: by then the runtime is past its own.
const MOVES: usize = 12;

/// Begins the wait, and keeps it from having to begin again, on a thread that nobody waits for. Where it cannot, the
/// runtime waits as it would have.
pub fn cgroups() {
    let Some(own) = fs::read_to_string("/proc/self/cgroup").ok().and_then(|text| own_procs(&text)) else { return };
    // Signals are for the thread that has asked for them.
    let Ok(before) = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK) else { return };
    // To move ourselves where we are changes nothing, and may be refused: who is not root.
    let _no_matter = thread::Builder::new().spawn(move || {
        for _ in 0..MOVES {
            if fs::write(&own, std::process::id().to_string()).is_err() {
                break;
            }
            thread::sleep(AGAIN);
        }
    });
    let _it_was_valid = before.thread_set_mask();
}

/// The `cgroup.procs` of our own cgroup in one of the hierarchies; any will do (cgroups(7), /proc/PID/cgroup).
fn own_procs(cgroups: &str) -> Option<std::path::PathBuf> {
    cgroups.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let hierarchies = Path::new("/sys/fs/cgroup");
        let top = [hierarchies.join(controllers.trim_start_matches("name=")), hierarchies.join("unified")];
        let top = if controllers.is_empty() { &top[..] } else { &top[..1] };
        let procs = |top: &std::path::PathBuf| top.join(path.trim_start_matches('/')).join("cgroup.procs");
        top.iter().map(procs).find(|file| file.is_file())
    })
}
