//! What a runtime says when it fails, and what that means.
//!
//! crun writes `executable file `x` not found in $PATH: No such file or directory`, runc
//! `time="…" level=error msg="runc create failed: … exec: \"x\": executable file not found in $PATH"`. podman turns both
//! into `NAME: TEXT: MEANING` (libpod/oci_util.go), and so do we. It guesses the meaning from "no such file" and
//! "permission denied" alone; here the text must also be about the command, so that a missing mount source is not 127.

use std::{
    io::Read,
    os::fd::{BorrowedFd, OwnedFd},
    path::Path,
};

use proto::{Kind, Refusal};
use tokio::io::unix::AsyncFd;

/// Bytes kept of what a runtime says; the last ones, where the cause is.
pub const MAX: usize = 4096;

/// Adds what can be read now.
pub fn hear(errors: BorrowedFd<'_>, said: &mut Vec<u8>) {
    let mut buffer = [0; MAX];
    while let Ok(length @ 1..) = nix::unistd::read(errors, &mut buffer) {
        said.extend_from_slice(&buffer[..length]);
        let excess = said.len().saturating_sub(MAX);
        said.drain(..excess);
    }
}

/// Adds what is said, for ever: a runtime that talks without end must not wait for a reader.
pub async fn listen(errors: &AsyncFd<OwnedFd>, said: &mut Vec<u8>) {
    use std::os::fd::AsFd;
    loop {
        let Ok(mut ready) = errors.readable().await else { return std::future::pending().await };
        // Before it is read: what comes later makes a new event.
        ready.clear_ready();
        hear(errors.get_ref().as_fd(), said);
    }
}

/// What a runtime has written into the file at `path`.
pub fn read(path: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    if let Ok(file) = std::fs::File::open(path) {
        // Less than all is better than nothing.
        let _ = file.take(16 * MAX as u64).read_to_end(&mut text);
    }
    let excess = text.len().saturating_sub(MAX);
    text.drain(..excess);
    text
}

/// The refusal for a call of `verb` that ended with the raw wait(2) `status` and said something.
pub fn refusal(runtime: &str, verb: &str, status: i32, said: &[u8]) -> Refusal {
    let text = cause(said);
    if text.is_empty() {
        let ended = proto::exit::from_wait_status(status, 0);
        let how = if ended.signal > 0 { format!("signal {}", ended.signal) } else { format!("code {}", ended.code) };
        return Refusal::new(
            Kind::Internal,
            format!("OCI runtime error: {runtime}: {verb} ended with {how} and said nothing"),
        );
    }
    match meaning(&text) {
        Kind::CommandNotFound => Refusal::new(
            Kind::CommandNotFound,
            format!("{runtime}: {text}: OCI runtime attempted to invoke a command that was not found"),
        ),
        Kind::CommandNotExecutable => {
            Refusal::new(Kind::CommandNotExecutable, format!("{runtime}: {text}: OCI permission denied"))
        }
        kind => Refusal::new(kind, format!("OCI runtime error: {runtime}: {text}")),
    }
}

/// Whether it is about the command.
fn meaning(text: &str) -> Kind {
    let text = text.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    let about_command = says(&["executable", "exec:", "exec ", "exec \"", "chdir", "stat "]);
    if !about_command {
        Kind::Internal
    } else if says(&["permission denied", "operation not permitted", "is a directory", "exec format error"]) {
        Kind::CommandNotExecutable
    } else if says(&["no such file or directory", "not found in", "not a directory"]) {
        Kind::CommandNotFound
    } else {
        Kind::Internal
    }
}

/// The cause in what was said, as one line without control characters.
fn cause(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let lines: Vec<String> = said.lines().map(message).filter(|line| !line.is_empty()).collect();
    // The last line is the error; what comes before are warnings.
    let Some(last) = lines.last() else { return String::new() };
    last.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// The message in one line: logrus wraps it (`time="…" level=error msg="…"`), JSON logs too.
fn message(line: &str) -> String {
    let line = line.trim();
    if let Some((_, rest)) =
        line.split_once(" msg=").filter(|_| line.starts_with("time=") || line.starts_with("level="))
    {
        // A quoted Go string is a JSON string, but for rare escapes.
        let quoted = serde_json::Deserializer::from_str(rest).into_iter::<String>().next();
        return quoted.and_then(std::result::Result::ok).unwrap_or_else(|| rest.trim_matches('"').to_owned());
    }
    #[derive(serde::Deserialize)]
    struct Entry {
        msg: String,
    }
    match serde_json::from_str::<Entry>(line) {
        Ok(entry) => entry.msg,
        Err(_) => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(runtime: &str, text: &str) -> (Kind, String) {
        let refusal = refusal(runtime, "create", 1 << 8, text.as_bytes());
        (refusal.kind, refusal.message)
    }

    #[test]
    fn what_crun_and_runc_say_becomes_what_podman_says() {
        let not_found = "OCI runtime attempted to invoke a command that was not found";
        let cases = [
            (
                "crun",
                "executable file `nosuch` not found in $PATH: No such file or directory\n",
                Kind::CommandNotFound,
                format!("crun: executable file `nosuch` not found in $PATH: No such file or directory: {not_found}"),
            ),
            (
                "crun",
                "open executable: Permission denied\n",
                Kind::CommandNotExecutable,
                "crun: open executable: Permission denied: OCI permission denied".into(),
            ),
            (
                "crun",
                "open executable: Operation not permitted",
                Kind::CommandNotExecutable,
                "crun: open executable: Operation not permitted: OCI permission denied".into(),
            ),
            (
                "crun",
                "chdir `/nope`: No such file or directory",
                Kind::CommandNotFound,
                format!("crun: chdir `/nope`: No such file or directory: {not_found}"),
            ),
            (
                "runc",
                "time=\"2026-11-23T18:21:24Z\" level=warning msg=\"some thing\"\ntime=\"2026-11-23T18:21:24Z\" level=error \
                 msg=\"runc create failed: unable to start container process: exec: \\\"nosuch\\\": executable file not \
                 found in $PATH\"\n",
                Kind::CommandNotFound,
                format!(
                    "runc: runc create failed: unable to start container process: exec: \"nosuch\": executable file not \
                     found in $PATH: {not_found}"
                ),
            ),
            (
                "runc",
                "time=\"x\" level=error msg=\"runc create failed: exec: \\\"/etc\\\": permission denied\"",
                Kind::CommandNotExecutable,
                "runc: runc create failed: exec: \"/etc\": permission denied: OCI permission denied".into(),
            ),
            (
                "crun",
                "mount `/x` to `y`: No such file or directory",
                Kind::Internal,
                "OCI runtime error: crun: mount `/x` to `y`: No such file or directory".into(),
            ),
            ("crun", "{\"msg\":\"boo\",\"level\":\"error\"}", Kind::Internal, "OCI runtime error: crun: boo".into()),
            ("crun", "\n", Kind::Internal, "OCI runtime error: crun: create ended with code 1 and said nothing".into()),
            ("crun", "a\x1b[2Jb", Kind::Internal, "OCI runtime error: crun: a [2Jb".into()),
        ];
        for (runtime, text, kind, words) in cases {
            assert_eq!(said(runtime, text), (kind, words), "{text:?}");
        }
    }

    #[test]
    fn only_the_end_of_a_long_speech_is_kept() {
        use std::os::fd::AsFd;
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_NONBLOCK).expect("pipe");
        nix::unistd::write(&writer, &[b'x'; 20_000]).expect("write");
        nix::unistd::write(&writer, b"\nthe end").expect("write");
        let mut said = Vec::new();
        hear(reader.as_fd(), &mut said);
        assert_eq!(said.len(), MAX);
        assert_eq!(cause(&said), "the end");
    }
}
