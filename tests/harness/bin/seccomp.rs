//! `seccomp CALL,… ERRNO COMMAND …`: runs a command for which, and for all it starts, some system calls fail, as on an older
//! kernel (ENOSYS) or in a container with a strict profile (EPERM).
#![allow(unsafe_code)]

use std::{os::unix::process::CommandExt, process::Command};

use nix::libc;

/// Loads the number of the call, fails with `errno` where it is one of `calls`, else allows it.
fn program(calls: &[u32], errno: u32) -> Vec<libc::sock_filter> {
    let statement = |code: u32, k| libc::sock_filter { code: u16::try_from(code).expect("a code"), jt: 0, jf: 0, k };
    let mut filter = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for call in calls {
        let code = u16::try_from(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K).expect("a code");
        filter.push(libc::sock_filter { code, jt: 0, jf: 1, k: *call });
        filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | errno));
    }
    filter.push(statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW));
    filter
}

fn number(name: &str) -> libc::c_long {
    match name {
        "clone3" => libc::SYS_clone3,
        "close_range" => libc::SYS_close_range,
        "copy_file_range" => libc::SYS_copy_file_range,
        "execveat" => libc::SYS_execveat,
        "faccessat2" => libc::SYS_faccessat2,
        "fsconfig" => libc::SYS_fsconfig,
        "fsmount" => libc::SYS_fsmount,
        "fsopen" => libc::SYS_fsopen,
        "memfd_create" => libc::SYS_memfd_create,
        "mount_setattr" => libc::SYS_mount_setattr,
        "move_mount" => libc::SYS_move_mount,
        "open_tree" => libc::SYS_open_tree,
        "openat2" => libc::SYS_openat2,
        "pidfd_getfd" => libc::SYS_pidfd_getfd,
        "pidfd_open" => libc::SYS_pidfd_open,
        "pidfd_send_signal" => libc::SYS_pidfd_send_signal,
        "renameat2" => libc::SYS_renameat2,
        "splice" => libc::SYS_splice,
        "statx" => libc::SYS_statx,
        _ => panic!("no system call known here is called {name}"),
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let calls = args.next().expect("usage: seccomp CALL,… ERRNO COMMAND …");
    let calls: Vec<u32> = calls.split(',').map(|name| u32::try_from(number(name)).expect("a number")).collect();
    let errno = match args.next().as_deref() {
        Some("ENOSYS") => libc::ENOSYS,
        Some("EPERM") => libc::EPERM,
        other => panic!("no error known here is called {other:?}"),
    };
    let mut filter = program(&calls, errno.unsigned_abs());
    let length = u16::try_from(filter.len()).expect("a short filter");
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SAFETY: the filter is alive and of that length; the kernel copies it. As root no_new_privs is not needed.
    let installed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
    let mut command = Command::new(args.next().expect("a command"));
    panic!("{}", command.args(args).exec());
}
