//! How a container ended that is not our child: its monitor was killed, and our supervisor became its reaper.
//!
//! In this order: what the supervisor reports; `/proc/PID/stat` of the zombie, before it is reaped; what the kernel tells
//! through the pidfd, after it is reaped (Linux ≥ 6.15). Nobody knows is an answer too, and never a zero.

use std::{cell::Cell, os::fd::OwnedFd, rc::Rc, time::Duration};

use proto::alive::{self, Process};
use tokio::{
    io::Interest,
    time::{Instant, sleep},
};

use crate::sys;
use std::os::fd::AsFd;

/// How long the supervisor may take to report.
const REPORT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// The raw wait(2) status of `process`, when it has ended. `reported` is where the supervisor's report goes.
pub async fn end_of(process: Process, pidfd: Option<OwnedFd>, reported: Rc<Cell<Option<i32>>>) -> Option<i32> {
    let pidfd = pidfd.and_then(|pidfd| sys::watch(pidfd, Interest::READABLE).ok());
    match &pidfd {
        // Readable when it has ended, as a zombie or reaped.
        Some(pidfd) => {
            let _ = pidfd.readable().await;
        }
        None => {
            while process.is_alive() {
                sleep(Duration::from_millis(200)).await;
            }
        }
    }
    let deadline = Instant::now() + REPORT;
    loop {
        let known = reported
            .get()
            .or_else(|| zombie_status(&process))
            .or_else(|| pidfd.as_ref().and_then(|pidfd| sys::pidfd_exit(pidfd.get_ref().as_fd())));
        if known.is_some() || Instant::now() >= deadline {
            return known;
        }
        sleep(PAUSE).await;
    }
}

/// Field 52 of `/proc/PID/stat`, which is there while it is a zombie.
fn zombie_status(process: &Process) -> Option<i32> {
    let fields = alive::stat_fields(process.pid)?;
    let is_it = fields.get(19)?.parse() == Ok(process.start_time);
    (is_it && fields.first().is_some_and(|state| state == "Z")).then(|| fields.get(49)?.parse().ok())?
}

#[cfg(test)]
mod tests {
    use proto::spawn::{Apart, Program, spawn};

    use super::*;

    fn child(code: i32) -> (u32, Process) {
        let path = std::ffi::CString::new("/bin/sh").expect("path");
        let args: Vec<_> = ["sh", "-c", &format!("exit {code}")]
            .iter()
            .map(|arg| std::ffi::CString::new(*arg).expect("arg"))
            .collect();
        let root = std::ffi::CString::new("/").expect("path");
        let program = Program { path: &path, args: &args, env: &[], directory: &root, fds: &[], apart: Apart::Group };
        let pid = spawn(&program).expect("spawn");
        (pid, Process::of(pid).expect("there"))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_zombie_tells_how_it_ended() {
        let (pid, process) = child(7);
        let pidfd = process.pidfd().ok();
        assert_eq!(end_of(process, pidfd, Rc::default()).await, Some(7 << 8));
        assert!(sys::reap(pid).is_some());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn after_the_reap_the_report_counts_or_the_kernel_tells() {
        let (pid, process) = child(9);
        let pidfd = process.pidfd().expect("pidfd");
        while sys::reap(pid).is_none() {
            sleep(PAUSE).await;
        }
        let reported = Rc::new(Cell::new(Some(5 << 8)));
        assert_eq!(end_of(process.clone(), pidfd.try_clone().ok(), reported).await, Some(5 << 8));
        let kernel = sys::pidfd_exit(pidfd.as_fd());
        // Before Linux 6.15 nobody knows, and that is said.
        assert_eq!(end_of(process, Some(pidfd), Rc::default()).await, kernel);
        assert!(matches!(kernel, None | Some(0x900)));
    }
}
