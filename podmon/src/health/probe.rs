//! One check: a command run in the container, for so long, with as much of its output as is wanted.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use nix::{errno::Errno, fcntl::OFlag};
use proto::{Kind, alive::Process, record::HealthCheck, time, wire::ExecRequest};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Instant, sleep_until, timeout},
};

use super::subtree::{self, Subtree};
use crate::{
    exec::{Execs, Launched},
    stdio::console::set_nonblocking,
    sys,
};

/// Most that is kept of one output.
pub const MAX_OUTPUT: usize = 1 << 20;
/// How long a killed check may take to end.
const KILLED: Duration = Duration::from_secs(5);
/// Bytes read at once; what is not kept is thrown away.
const CHUNK: usize = 16 << 10;

/// Code of a check that took too long.
pub const TOO_LONG: i32 = -1;
/// Code of a check that failed, whatever its own was (podman's).
const FAILED: i32 = 1;
/// Code of a check that could not be run.
const BROKEN: i32 = 125;

/// Runs `args` in the container whose first process is `init`, as the container's user. Past `limit` it is killed with
/// all that it has started; of its output `wanted` bytes are kept.
pub async fn run(execs: &Execs, args: Vec<String>, limit: Duration, wanted: usize, init: &Process) -> HealthCheck {
    let (start, deadline) = (time::now(), Instant::now() + limit);
    let mut output = Vec::new();
    let mark = subtree::mark();
    let exit_code = match command(execs, args, mark, init).await {
        Ok((launched, reader)) => {
            let subtree = Subtree { root: launched.pid, init: init.pid, mark };
            watch(launched, &subtree, &reader, deadline, wanted, &mut output).await
        }
        Err(refusal) => {
            output.extend_from_slice(refusal.message.as_bytes());
            match refusal.kind {
                Kind::CommandNotFound | Kind::CommandNotExecutable => FAILED,
                Kind::TimedOut => TOO_LONG,
                _ => BROKEN,
            }
        }
    };
    HealthCheck { start, end: time::now(), exit_code, output: text(output, wanted) }
}

async fn command(
    execs: &Execs,
    args: Vec<String>,
    mark: Option<u64>,
    init: &Process,
) -> proto::refusal::Result<(Launched, AsyncFd<OwnedFd>)> {
    let (reader, stdio) = streams().map_err(|error| proto::Refusal::internal("health check", error))?;
    let request = ExecRequest { args, ..ExecRequest::default() };
    Ok((execs.launch(&request, stdio, init, mark).await?, reader))
}

fn streams() -> io::Result<(AsyncFd<OwnedFd>, Vec<OwnedFd>)> {
    let null = std::fs::File::open("/dev/null")?.into();
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    set_nonblocking(&reader)?;
    let stdio = vec![null, writer.try_clone()?, writer];
    Ok((sys::watch(reader, Interest::READABLE)?, stdio))
}

/// Its code.
async fn watch(
    launched: Launched,
    subtree: &Subtree,
    reader: &AsyncFd<OwnedFd>,
    deadline: Instant,
    wanted: usize,
    output: &mut Vec<u8>,
) -> i32 {
    let Launched { mut ended, .. } = launched;
    let status = tokio::select! {
        status = &mut ended => Some(status),
        () = listen(reader, wanted, output) => None,
        () = sleep_until(deadline) => None,
    };
    match status {
        Some(status) => {
            // What it has started may have the pipe open for ever: only what is there now is read.
            hear(reader, wanted, output);
            if matches!(status, Ok(0)) { 0 } else { FAILED }
        }
        None => {
            subtree.kill();
            // The reaper has it, whenever it ends.
            let _ = timeout(KILLED, ended).await;
            hear(reader, wanted, output);
            TOO_LONG
        }
    }
}

/// Reads for ever: a check that says more than is wanted does not wait for a reader.
async fn listen(reader: &AsyncFd<OwnedFd>, wanted: usize, output: &mut Vec<u8>) {
    loop {
        let Ok(mut ready) = reader.readable().await else { return std::future::pending().await };
        ready.clear_ready();
        if hear(reader, wanted, output) == Heard::All {
            return std::future::pending().await;
        }
        // Others of ours have their turn.
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// There may be more.
    Some,
    /// Nobody has the other end any more.
    All,
}

/// Reads what is there, and no more than a pipe holds.
fn hear(reader: &AsyncFd<OwnedFd>, wanted: usize, output: &mut Vec<u8>) -> Heard {
    let mut buffer = [0; CHUNK];
    for _ in 0..8 {
        match nix::unistd::read(reader.get_ref().as_fd(), &mut buffer) {
            Ok(0) => return Heard::All,
            Ok(length) => {
                let room = wanted.saturating_sub(output.len());
                output.extend_from_slice(&buffer[..length.min(room)]);
            }
            Err(Errno::EINTR) => {}
            Err(_) => return Heard::Some,
        }
    }
    Heard::Some
}

/// `output` as text of at most `wanted` bytes.
fn text(output: Vec<u8>, wanted: usize) -> String {
    let mut text = String::from_utf8_lossy(&output).into_owned();
    let end = (0..=wanted.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn an_output_is_cut_between_characters() {
        assert_eq!(text("aé".into(), 2), "a");
        assert_eq!(text(b"a\xff".to_vec(), 9), "a\u{fffd}");
        // A replacement is longer than what it stands for.
        assert_eq!(text(b"\xff\xff".to_vec(), 2), "");
    }
}
