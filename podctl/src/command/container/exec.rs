//! `podctl exec`
//!
//! Without a terminal the process gets pipes of ours, handed to its monitor, and podctl copies; with one, the monitor
//! hands us the master, and podctl relays and resizes. No byte passes through the monitor.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{fcntl::OFlag, sys::stat::Mode};
use proto::{
    Id, Kind, Refusal,
    raw::{self, Raw},
    serve::deadline,
    signals::Signals,
    wire::{ExecId, ExecRequest, ExitStatus, WindowSize},
};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Flag, array, env, list, switch, text, uint},
    command::{
        container::{records, run::no_infra, state_of},
        select,
    },
    dial::{ACT, Engine, Found, Monitor},
    error::{Failure, Outcome, warn},
    output,
    relay::{self, ENDING, Input, Printer, Stream},
    source, sys,
    terminal::{self, DETACH_KEYS, DetachKeys, RawMode},
};

const FLAGS: &[Flag] = &[
    switch("detach", "Run the exec session in detached mode (backgrounded)").short('d'),
    text("detach-keys", "string", "Select the key sequence for detaching a container").default("\"ctrl-p,ctrl-q\""),
    array("env", "Set environment variables").short('e'),
    list("env-file", "Read in a file of environment variables"),
    switch("interactive", "Keep STDIN open even if not attached").short('i'),
    switch("no-session", "Keep no record of the session, as always: it is its monitor's alone"),
    uint("preserve-fds", "Pass N additional file descriptors to the container"),
    switch("privileged", "Give the process extended Linux capabilities inside the container.  The default is false"),
    switch("tty", "Allocate a pseudo-TTY. The default is false").short('t'),
    text(
        "user",
        "string",
        "Sets the username or UID used and optionally the groupname or GID for the specified command",
    )
    .short('u'),
    text("workdir", "string", "Working directory inside the container").short('w'),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "exec",
    about: "Run a process in a running container",
    description: "Execute the specified command inside a running container.",
    usage: "[options] CONTAINER COMMAND [ARG...]",
    examples: &["exec -it ctrID ls", "exec -it -w /tmp myCtr pwd", "exec --user root ctrID ls"],
    flags: &[FLAGS, select::LATEST, select::CIDFILE],
    interspersed: false,
    action: Action::Run(run),
    starts: true,
    ..Command::EMPTY
};

/// Exit code when the container does not run (podman's).
const NOT_RUNNING: i32 = 255;

fn run(engine: &Engine, args: &Args) -> Outcome {
    let named = !args.is("latest") && !args.given("cidfile");
    if named && args.operands.is_empty() {
        return Err(Failure::invalid("exec requires the name or ID of a container or the --latest or --cidfile flag"));
    }
    let (name, command) = if named { args.operands.split_at(1) } else { (&[][..], args.operands.as_slice()) };
    let keys = DetachKeys::parse(args.text("detach-keys").unwrap_or(DETACH_KEYS))?;
    let request = request(args, command)?;
    // Before anything of our own is opened, which could have these numbers.
    let preserved = source::preserved(request.preserve_fds)?;
    let streams = Streams { interactive: args.is("interactive"), keys, preserved };
    if request.tty && streams.interactive && !request.detach && !terminal::stdin_is_terminal() {
        warn("The input device is not a TTY. The --tty and --interactive flags might not work properly");
    }
    engine.block_on(async {
        let (typed, found) = match name.first() {
            Some(name) => (name.clone(), engine.container(name)?),
            None => {
                let flags =
                    ["latest", "cidfile"].into_iter().filter_map(|flag| Some((flag, args.text(flag)?.to_owned())));
                let only = Args::new(args.command, args.path.clone(), flags.collect(), Vec::new());
                let container = select::containers(engine, &only, false, &[], "").await?.into_iter().next();
                let container = container.ok_or_else(|| Failure::invalid("no container to exec in"))?;
                (container.typed, container.found)
            }
        };
        let Found::Container { pod, id } = found else { return Err(no_infra(&typed, "exec in")) };
        if request.args.is_empty() {
            return Err(Failure::invalid(
                "must provide a non-empty command to start an exec session: invalid argument",
            ));
        }
        let monitor = monitor(engine, &pod, &id).await?;
        match session(engine, &pod, &id, &monitor, request, streams).await {
            Err(failure) if failure.kind == Kind::WrongState => Err(Failure { code: NOT_RUNNING, ..failure }),
            // Its monitor goes with it: that is no news of the engine.
            Err(failure) if failure.kind == Kind::Gone && !runs(engine, &id).await => Err(not_running()),
            outcome => outcome,
        }
    })
}

fn not_running() -> Failure {
    let words = "can only create exec sessions on running containers: container state improper";
    Failure { code: NOT_RUNNING, ..Refusal::new(Kind::WrongState, words).into() }
}

/// Whether the container is there and runs, as far as the engine can tell.
async fn runs(engine: &Engine, id: &Id) -> bool {
    records(engine, id).await.ok().flatten().is_some_and(|record| state_of(&record).0 == "running")
}

fn request(args: &Args, command: &[String]) -> Result<ExecRequest, Failure> {
    let size = args.is("tty").then(terminal::size).flatten();
    Ok(ExecRequest {
        args: command.to_vec(),
        env: env::variables(&args.all("env-file"), &args.all("env"))?,
        user: args.text_or_empty("user").to_owned(),
        workdir: args.text_or_empty("workdir").to_owned(),
        tty: args.is("tty"),
        privileged: args.is("privileged"),
        detach: args.is("detach"),
        preserve_fds: u32::try_from(args.uint("preserve-fds").unwrap_or(0)).unwrap_or(u32::MAX),
        window: size.map(|(rows, columns)| WindowSize { rows: rows.into(), columns: columns.into() }),
        ..Default::default()
    })
}

/// Runs `command` in a container, without stdin, and shows what it writes.
///
/// # Errors
/// As `exec`.
pub async fn plain(engine: &Engine, pod: &Id, id: &Id, command: Vec<String>) -> Outcome {
    let keys = DetachKeys::parse(DETACH_KEYS)?;
    let monitor = monitor(engine, pod, id).await?;
    let request = ExecRequest { args: command, ..Default::default() };
    session(engine, pod, id, &monitor, request, Streams { interactive: false, keys, preserved: Vec::new() }).await
}

/// The monitor of a container that must run.
async fn monitor(engine: &Engine, pod: &Id, id: &Id) -> Result<Monitor, Failure> {
    running_monitor(engine, pod, id).await?.ok_or_else(not_running)
}

/// The monitor of a container, `None` where it does not run. One that was killed has a successor in a moment; a shim is
/// started for that where there is none.
///
/// # Errors
/// When the engine does not answer.
pub async fn running_monitor(engine: &Engine, pod: &Id, id: &Id) -> Result<Option<Monitor>, Failure> {
    if let Some(monitor) = engine.monitor(pod, id).await? {
        return Ok(Some(monitor));
    }
    let lives = |state: &str| matches!(state, "running" | "paused" | "initialized");
    let runs = records(engine, id).await?.is_some_and(|record| lives(state_of(&record).0));
    if runs {
        let _shim = engine.pod(pod).await?;
        for _ in 0..50 {
            if let Some(monitor) = engine.monitor(pod, id).await? {
                return Ok(Some(monitor));
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }
    Ok(None)
}

#[derive(Debug)]
struct Streams {
    interactive: bool,
    keys: DetachKeys,
    /// What `--preserve-fds` passes.
    preserved: Vec<OwnedFd>,
}

async fn session(
    engine: &Engine,
    pod: &Id,
    id: &Id,
    monitor: &Monitor,
    mut request: ExecRequest,
    mut streams: Streams,
) -> Outcome {
    let client = monitor.client();
    let words = |error: io::Error| Failure::io("exec in the container", &error);
    let extra = std::mem::take(&mut streams.preserved);
    let raw = engine.monitor_raw(pod, id).map_err(words)?;
    if (request.detach || request.tty) && !extra.is_empty() {
        request.token = raw::token().map_err(words)?;
        let fds: Vec<BorrowedFd<'_>> = extra.iter().map(AsFd::as_fd).collect();
        raw.deposit(&request.token, &fds).await.map_err(words)?;
    }
    if request.detach {
        let started = client.exec(deadline(ACT), &request).await?;
        return output::line(&started.id);
    }
    if request.tty {
        let started = client.exec(deadline(ACT), &request).await?;
        let master = master(&raw, &started.id).await.map_err(words)?;
        let exit = async move { client.exec_wait(Context::default(), &ExecId { id: started.id }).await };
        return terminal_session(master, exit, streams).await;
    }
    let (theirs, ours) = pipes(streams.interactive).map_err(words)?;
    request.token = raw::token().map_err(words)?;
    let fds: Vec<BorrowedFd<'_>> = theirs.iter().chain(&extra).map(AsFd::as_fd).collect();
    raw.deposit(&request.token, &fds).await.map_err(words)?;
    // Only the process holds them now: their end is its end.
    drop((theirs, extra));
    let started = client.exec(deadline(ACT), &request).await?;
    let exit = async move { client.exec_wait(Context::default(), &ExecId { id: started.id }).await };
    piped_session(ours, exit, streams).await
}

/// Our ends of the pipes: stdin where it is sent, stdout, stderr.
struct Ours {
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// The process's ends, in order, and ours. Its user may reopen /dev/stdout, so they are open to all: only who has the
/// descriptor can.
fn pipes(interactive: bool) -> io::Result<([OwnedFd; 3], Ours)> {
    let pipe = || {
        let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        nix::sys::stat::fchmod(&writer, Mode::from_bits_truncate(0o666))?;
        io::Result::Ok((reader, writer))
    };
    let (stdin, to_stdin) = if interactive {
        let (reader, writer) = pipe()?;
        (reader, Some(writer))
    } else {
        (std::fs::File::open("/dev/null")?.into(), None)
    };
    let (stdout, out) = pipe()?;
    let (stderr, err) = pipe()?;
    Ok(([stdin, out, err], Ours { stdin: to_stdin, stdout, stderr }))
}

async fn master(raw: &Raw, exec: &str) -> io::Result<OwnedFd> {
    let mut packet = vec![raw::PTY];
    packet.extend_from_slice(exec.as_bytes());
    raw.send(&packet, &[]).await?;
    let fds = raw.acknowledgement().await?;
    fds.into_iter().next().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

type Exit = ttrpc::Result<ExitStatus>;

/// How a session ends.
enum End {
    Exited(Exit),
    Detached,
    Signal(i32),
    Unread(io::Error),
}

impl End {
    fn code(self) -> Outcome {
        match self {
            // What the monitor says is an answer; that it has gone is none.
            End::Exited(Err(error)) if !matches!(error, ttrpc::Error::RpcStatus(_)) => Err(Failure::invalid(
                "the monitor has gone: the command goes on without us, and its exit code and output are lost",
            )),
            End::Exited(status) => match status? {
                status if status.known => Ok(status.code),
                _ => Err(Failure::invalid("the exit code of the process is unknown: its monitor was killed")),
            },
            End::Detached => Ok(0),
            End::Signal(number) => sys::die_of_signal(number),
            End::Unread(error) => Err(output::unread(&error)),
        }
    }
}

/// Output on its way to the user: at most one chunk waits, then its source is not read.
#[derive(Default)]
struct Shown {
    printer: Printer,
    waiting: Option<(Stream, Vec<u8>)>,
}

impl Shown {
    fn take(&mut self, stream: Stream, bytes: Vec<u8>) -> Option<End> {
        match self.printer.write(stream, &bytes) {
            Ok(rest) => {
                self.waiting = rest.map(|bytes| (stream, bytes));
                None
            }
            Err(error) => Some(End::Unread(error)),
        }
    }

    fn again(&mut self) -> Option<End> {
        let (stream, bytes) = self.waiting.take()?;
        self.take(stream, bytes)
    }

    /// Writes what is left in `sources` without waiting for more: a grandchild may hold them open for ever.
    async fn drain(&mut self, sources: &[(Stream, Option<&OwnedFd>)]) -> Option<End> {
        for (stream, source) in sources {
            let Some(source) = source else { continue };
            while let Ok(bytes) = relay::read_now(source) {
                if bytes.is_empty() {
                    break;
                }
                while self.waiting.is_some() {
                    self.printer.room().await;
                    if let Some(end) = self.again() {
                        return Some(end);
                    }
                }
                if let Some(end) = self.take(*stream, bytes) {
                    return Some(end);
                }
            }
        }
        while self.waiting.is_some() {
            self.printer.room().await;
            if let Some(end) = self.again() {
                return Some(end);
            }
        }
        self.printer.finish().await.err().map(End::Unread)
    }
}

async fn piped_session(ours: Ours, exit: impl Future<Output = Exit>, streams: Streams) -> Outcome {
    let words = |error: io::Error| Failure::io("relay the streams of the process", &error);
    let mut sink = ours.stdin.map(relay::watch_own).transpose().map_err(words)?;
    let stdout = relay::watch_own(ours.stdout).map_err(words)?;
    let stderr = relay::watch_own(ours.stderr).map_err(words)?;
    let (mut out_open, mut err_open) = (true, true);
    let mut input = Input::stdin(streams.interactive);
    let mut unsent: Vec<u8> = Vec::new();
    let mut shown = Shown::default();
    tokio::pin!(exit);
    let end = loop {
        let free = shown.waiting.is_none();
        let end = tokio::select! {
            status = &mut exit => Some(End::Exited(status)),
            bytes = relay::read_own(&stdout), if out_open && free => {
                out_open = !bytes.is_empty();
                shown.take(Stream::Out, bytes)
            }
            bytes = relay::read_own(&stderr), if err_open && free => {
                err_open = !bytes.is_empty();
                shown.take(Stream::Err, bytes)
            }
            () = shown.printer.room(), if !free => shown.again(),
            typed = input.read(), if unsent.is_empty() && sink.is_some() => {
                if typed.is_empty() {
                    // Half a close: the process sees the end of its stdin.
                    sink = None;
                }
                unsent = typed;
                None
            }
            written = relay::fill(sink.as_ref(), &unsent), if !unsent.is_empty() => {
                match written {
                    Ok(length) => { unsent.drain(..length); }
                    Err(_) => { sink = None; unsent.clear(); }
                }
                None
            }
        };
        if let Some(end) = end {
            break end;
        }
    };
    if matches!(end, End::Exited(_)) {
        let left =
            [(Stream::Out, out_open.then(|| stdout.get_ref())), (Stream::Err, err_open.then(|| stderr.get_ref()))];
        if let Some(end) = shown.drain(&left).await {
            return end.code();
        }
    }
    end.code()
}

async fn terminal_session(master: OwnedFd, exit: impl Future<Output = Exit>, mut streams: Streams) -> Outcome {
    let words = |error: io::Error| Failure::io("relay the terminal of the process", &error);
    let master = relay::watch_own(master).map_err(words)?;
    let mut signals = Signals::catch(ENDING).map_err(words)?;
    let mut resizes = Signals::catch(&[libc::SIGWINCH]).map_err(words)?;
    let raw_mode = streams.interactive.then(RawMode::enter).flatten();
    let resize = || {
        if let Some((rows, columns)) = terminal::size() {
            sys::set_window_size(master.as_fd(), rows, columns);
        }
    };
    resize();
    let mut open = true;
    let mut input = Input::stdin(streams.interactive);
    let mut unsent: Vec<u8> = Vec::new();
    let mut shown = Shown::default();
    tokio::pin!(exit);
    let end = loop {
        let free = shown.waiting.is_none();
        let end = tokio::select! {
            status = &mut exit => Some(End::Exited(status)),
            bytes = relay::read_own(&master), if open && free => {
                open = !bytes.is_empty();
                shown.take(Stream::Out, bytes)
            }
            () = shown.printer.room(), if !free => shown.again(),
            typed = input.read(), if unsent.is_empty() => {
                if typed.is_empty() {
                    // A terminal has no half close: the end of stdin is a key (VEOF).
                    unsent.push(4);
                    None
                } else {
                    let (bytes, detached) = streams.keys.filter(&typed);
                    unsent = bytes;
                    detached.then_some(End::Detached)
                }
            }
            written = relay::fill(Some(&master), &unsent), if !unsent.is_empty() => {
                match written {
                    Ok(length) => { unsent.drain(..length); }
                    Err(_) => unsent.clear(),
                }
                None
            }
            number = signals.next() => Some(End::Signal(number)),
            _ = resizes.next() => { resize(); None }
        };
        if let Some(end) = end {
            break end;
        }
    };
    let mut unread = None;
    if matches!(end, End::Exited(_)) {
        let left = [(Stream::Out, open.then(|| master.get_ref()))];
        unread = tokio::select! {
            biased;
            unread = shown.drain(&left) => unread,
            number = signals.next() => Some(End::Signal(number)),
        };
    }
    drop(raw_mode);
    unread.unwrap_or(end).code()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::args::scan::{self, Parsed};

    #[test]
    fn every_flag_reaches_the_message() {
        let parse = |line: &str| match scan::parse(&crate::command::ROOT, line.split(' ').map(str::to_owned).collect())
        {
            Ok(Parsed::Run { args, .. }) => request(&args, &args.operands[1..]).expect(line),
            other => panic!("{line}: {other:?}"),
        };
        let plain = parse("exec c ls -l");
        assert_eq!(plain.args, ["ls", "-l"]);
        for flag in
            ["-d", "-e A=B", "--env-file /dev/null -e A=B", "--preserve-fds 2", "--privileged", "-t", "-u x", "-w /x"]
        {
            assert_ne!(parse(&format!("exec {flag} c ls -l")), plain, "{flag} is forgotten");
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_grandchild_that_keeps_the_pipes_open_does_not_hang_the_session() {
        let (theirs, ours) = pipes(false).expect("pipes");
        let done = Cell::new(false);
        let exit = async {
            tokio::task::yield_now().await;
            done.set(true);
            Ok(ExitStatus { known: true, code: 7, ..Default::default() })
        };
        let keys = DetachKeys::parse("").expect("keys");
        let streams = Streams { interactive: false, keys, preserved: Vec::new() };
        let session = piped_session(ours, exit, streams);
        let code = tokio::time::timeout(std::time::Duration::from_secs(5), session).await.expect("ends").expect("code");
        assert_eq!((code, done.get()), (7, true));
        drop(theirs);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_exit_that_nobody_saw_is_no_success() {
        let exit = async { Ok(proto::exit::unknown(0)) };
        let (_theirs, ours) = pipes(false).expect("pipes");
        let keys = DetachKeys::parse("").expect("keys");
        let streams = Streams { interactive: false, keys, preserved: Vec::new() };
        let failure = piped_session(ours, exit, streams).await.expect_err("unknown");
        assert_eq!((failure.code, failure.messages.len()), (125, 1));
    }
}
