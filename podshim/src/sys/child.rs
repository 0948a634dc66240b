//! Short calls of other programs: what they say, within a time.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use proto::alive;

/// Runs `command` and reads the first `most` bytes of its standard output or error, whichever of them is piped, until
/// the program ends. Blocks.
///
/// # Errors
/// `TimedOut` when it has not ended after `patience`, and `FileTooLarge` when it says more than `most` bytes: it is killed
/// then. Else those of starting it.
pub fn run(mut command: Command, patience: Duration, most: usize) -> io::Result<(ExitStatus, Vec<u8>)> {
    let mut child = command.spawn()?;
    let output = child.stdout.take().map(OwnedFd::from).or_else(|| child.stderr.take().map(OwnedFd::from));
    let said = match output {
        Some(output) => said(&child, output.into(), Instant::now() + patience, most),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    if said.is_err() {
        // It is stuck or talks without end; nobody else waits for it.
        let _ = child.kill();
    }
    let status = child.wait()?;
    Ok((status, said?))
}

fn said(child: &Child, mut output: File, deadline: Instant, most: usize) -> io::Result<Vec<u8>> {
    let pidfd = alive::pidfd_open(child.id())?;
    let mut text = Vec::new();
    let mut open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let ended = PollFd::new(pidfd.as_fd(), PollFlags::POLLIN);
        let words = PollFd::new(output.as_fd(), PollFlags::POLLIN);
        // A helper of the program may keep the pipe: it is the program that is waited for.
        let mut fds = if open { vec![ended, words] } else { vec![ended] };
        if poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let ready = |at: usize| fds.get(at).and_then(PollFd::any) == Some(true);
        let (ended, words) = (ready(0), ready(1));
        if !words {
            if ended {
                return Ok(text);
            }
            continue;
        }
        let mut block = [0; 4096];
        match output.read(&mut block)? {
            0 => open = false,
            length if text.len() + length > most => return Err(io::ErrorKind::FileTooLarge.into()),
            length => text.extend_from_slice(block.get(..length).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    fn shell(script: &str) -> io::Result<(ExitStatus, Vec<u8>)> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        run(command, Duration::from_millis(300), 100)
    }

    #[test]
    fn a_program_is_heard_until_it_ends() {
        let (status, said) = shell("echo words; exit 3").expect("a shell");
        assert_eq!((status.code(), said.as_slice()), (Some(3), &b"words\n"[..]));
        // What it has left behind holds the pipe.
        let (status, said) = shell("echo words; sleep 1 &").expect("a shell");
        assert_eq!((status.code(), said.as_slice()), (Some(0), &b"words\n"[..]));
        assert_eq!(shell("exec sleep 60").expect_err("stuck").kind(), io::ErrorKind::TimedOut);
        assert_eq!(shell("exec yes").expect_err("endless").kind(), io::ErrorKind::FileTooLarge);
    }
}
