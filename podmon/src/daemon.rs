//! Becomes a process that nothing around it can disturb, whoever started it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::fd::RawFd,
    path::Path,
};

use nix::{
    sys::{prctl, signal::Signal, stat},
    unistd::getppid,
};

use crate::sys;

/// Before anything is opened: closes what we have inherited beside the passed descriptors (which end before `end`) and
/// takes back what our parent has done to signals.
pub fn sanitise(end: RawFd) {
    sys::close_from(end);
    sys::reset_signals();
    // A write to a client that has gone, or beyond a file size limit, is an error and no reason to die.
    sys::ignore_signal(libc::SIGPIPE);
    sys::ignore_signal(libc::SIGXFSZ);
    // Signals of a terminal or a session are not for us: the container must not lose its monitor with them.
    sys::ignore_signal(libc::SIGHUP);
    sys::ignore_signal(libc::SIGINT);
    sys::ignore_signal(libc::SIGQUIT);
    stat::umask(stat::Mode::from_bits_truncate(0o022));
    proto::ulimit::lift_files();
    sys::return_big_blocks();
}

/// From now on we end when `parent` does. `false` when it has ended already.
pub fn end_with(parent: u32) -> bool {
    // It cannot fail with this argument.
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
    is_parent(parent)
}

/// From now on we stay when `parent` ends. `false` when it has ended already.
pub fn outlive(parent: u32) -> bool {
    let _ = prctl::set_pdeathsig(None);
    is_parent(parent)
}

fn is_parent(pid: u32) -> bool {
    u32::try_from(getppid().as_raw()) == Ok(pid)
}

/// Settles in `directory`.
///
/// # Errors
/// When it cannot be entered, or we cannot become the reaper of what the runtime leaves.
pub fn settle(directory: &Path) -> io::Result<()> {
    std::env::set_current_dir(directory)?;
    // Our children's children come to us when their parent ends: the container's first process is one.
    prctl::set_child_subreaper(true)?;
    // A container in the host's PID namespace must not look into us.
    prctl::set_dumpable(false)?;
    // Best effort: without CAP_SYS_RESOURCE it may be refused, and where it is we are only as safe as others.
    if let Ok(mut score) = OpenOptions::new().write(true).open("/proc/self/oom_score_adj") {
        let _ = score.write_all(b"-999");
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null)?;
    nix::unistd::dup2_stdout(&null)?;
    nix::unistd::dup2_stderr(&null)?;
    Ok(())
}

/// A panic ends the process at once, as an abort does: a successor takes over, and finds the reason in the run directory.
pub fn abort_on_panic() {
    std::panic::set_hook(Box::new(|panic| {
        // There is nobody to tell that even this failed.
        let _ = fs::File::create("crash").and_then(|mut file| writeln!(file, "{panic}"));
        std::process::abort();
    }));
}
