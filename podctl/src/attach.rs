//! The streams of a container at this terminal, over its monitor's raw socket (proto/src/frame.rs): `run`, `start -a`,
//! `attach`.

use std::{
    future::Future,
    io,
    os::fd::OwnedFd,
    pin::Pin,
    time::{Duration, Instant},
};

use prost::Message;
use proto::{
    Id,
    frame::{Attach, Frame, Kind},
    raw::{self, Raw},
    serve::deadline,
    signals::Signals,
    wire::{ExitStatus, MonitorKill},
};
use tokio::io::unix::AsyncFd;

use crate::{
    args::signal,
    dial::Engine,
    error::{Failure, warn},
    output,
    relay::{self, ENDING, Input, PROXIED, Printer, Stream},
    sys,
    terminal::{self, DetachKeys, RawMode},
};

/// How a session looks like.
#[derive(Clone, Debug)]
pub struct Session {
    /// The container has a terminal.
    pub tty: bool,
    /// What it reads.
    pub stdin: Stdin,
    /// stdout is shown.
    pub stdout: bool,
    /// stderr is shown.
    pub stderr: bool,
    /// This terminal started the container and loses nothing.
    pub lossless: bool,
    /// Signals go to the container.
    pub sig_proxy: bool,
    /// Keys that detach.
    pub keys: DetachKeys,
}

/// The stdin of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stdin {
    /// It has none.
    Nothing,
    /// It has ended before it began: what is ours is not read.
    Ended,
    /// Ours is sent.
    Ours,
}

impl Stdin {
    /// Ours, where it is `wanted`.
    pub fn ours(wanted: bool) -> Stdin {
        if wanted { Stdin::Ours } else { Stdin::Nothing }
    }
}

/// How a session ended.
#[derive(Debug)]
pub enum End {
    /// The container ended.
    Exited(ExitStatus),
    /// The user detached.
    Detached,
    /// The monitor has gone; the records tell what became of the container.
    Lost,
    /// The monitor closed the session, with words.
    Closed(String),
    /// podctl is to end by this signal.
    Signal(i32),
    /// Nobody reads our output.
    Unread(io::Error),
}

/// What starts the container, once its streams are attached.
pub type Start<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// How long a monitor that was killed may take to have a successor.
const SUCCESSOR: Duration = Duration::from_secs(4);
/// Packets that are taken before anything else is looked at.
const BURST: usize = 16;
/// How long the answer to Start may take after the container has ended.
const ANSWER: Duration = Duration::from_secs(30);

/// Attaches to the container, then lets `start` run, and relays until an end.
///
/// # Errors
/// When the monitor cannot be reached or refuses, and the failure of `start`.
pub async fn run(
    engine: &Engine,
    pod: &Id,
    container: &Id,
    session: Session,
    start: Option<Start<'_>>,
) -> Result<End, Failure> {
    let (raw, pipe) = open(engine, pod, container, &session).await?;
    let signals = Signals::catch(if session.sig_proxy { PROXIED } else { ENDING })
        .map_err(|error| Failure::io("catch signals", &error))?;
    let resizes = Signals::catch(if session.tty { &[libc::SIGWINCH] } else { &[] })
        .map_err(|error| Failure::io("catch SIGWINCH", &error))?;
    let raw_mode = (session.tty && session.stdin == Stdin::Ours).then(RawMode::enter).flatten();
    let mut relay = Relay {
        raw,
        pipe,
        unpiped: Vec::new(),
        target: (engine.clone(), pod.clone(), container.clone()),
        input: match session.stdin {
            Stdin::Ended => Input::empty(),
            stdin => Input::stdin(stdin == Stdin::Ours),
        },
        session,
        printer: Printer::default(),
        shown: [0; 2],
        told: [true; 2],
        sent: 0,
        unsent: None,
        unprinted: None,
    };
    relay.resize();
    let end = relay.all(signals, resizes, start).await;
    drop(raw_mode);
    end
}

/// A session with the monitor, and the container's stdin where that is a pipe that is ours to fill.
async fn open(engine: &Engine, pod: &Id, container: &Id, session: &Session) -> Result<(Raw, Option<Pipe>), Failure> {
    let words = |error: io::Error| Failure::invalid(format!("attach to container {container}: {error}"));
    let raw = engine.monitor_raw(pod, container).map_err(words)?;
    let stdin = session.stdin != Stdin::Nothing;
    let output = session.stdout || session.stderr;
    let wish = Attach { stdin, output, lossless: session.lossless, direct: stdin };
    let mut packet = vec![raw::ATTACH];
    packet.extend(serde_json::to_vec(&wish).map_err(|error| words(io::Error::other(error)))?);
    raw.send(&packet, &[]).await.map_err(words)?;
    let fds = match tokio::time::timeout(SUCCESSOR, raw.acknowledgement()).await {
        Ok(answer) => answer.map_err(words)?,
        Err(_) => return Err(words(io::ErrorKind::TimedOut.into())),
    };
    let pipe = fds.into_iter().next().map(relay::watch_own).transpose().map_err(words)?;
    Ok((raw, pipe))
}

type Pipe = AsyncFd<OwnedFd>;

struct Relay {
    raw: Raw,
    /// The container's stdin, where the monitor has given it to us: what is in it outlives the monitor.
    pipe: Option<Pipe>,
    /// What the pipe has no room for yet.
    unpiped: Vec<u8>,
    target: (Engine, Id, Id),
    input: Input,
    session: Session,
    printer: Printer,
    /// Bytes of stdout and stderr that were taken.
    shown: [u64; 2],
    /// Whether it is known why the next bytes of each do not follow those before: it is the first of all, or some were
    /// skipped.
    told: [bool; 2],
    /// Bytes of stdin that were sent.
    sent: u64,
    /// A packet of stdin that the monitor has no room for yet.
    unsent: Option<Vec<u8>>,
    /// Output that the printer has no room for yet.
    unprinted: Option<(Stream, Vec<u8>)>,
}

impl Relay {
    async fn all(
        &mut self,
        mut signals: Signals,
        mut resizes: Signals,
        mut start: Option<Start<'_>>,
    ) -> Result<End, Failure> {
        let mut buffer = vec![0; raw::MAX_PACKET];
        let end = loop {
            let end = tokio::select! {
                started = async { match start.as_mut() { Some(start) => start.await, None => std::future::pending().await } } => {
                    start = None;
                    started?;
                    None
                }
                packet = self.raw.receive(&mut buffer), if self.unprinted.is_none() => match packet {
                    Ok((0, _)) | Err(_) => Some(End::Lost),
                    Ok((length, _)) => self.packets(length, &mut buffer),
                },
                () = self.printer.room(), if self.unprinted.is_some() => self.print_rest(),
                typed = self.input.read(), if self.unsent.is_none() && self.unpiped.is_empty() => self.typed(typed),
                written = relay::fill(self.pipe.as_ref(), &self.unpiped), if !self.unpiped.is_empty() => self.piped(written),
                _ = self.raw.writable(), if self.unsent.is_some() => self.send_rest(),
                number = signals.next() => self.signal(number),
                _ = resizes.next() => {
                    self.resize();
                    None
                }
            };
            match end {
                Some(End::Lost) if start.is_none() => match self.again().await {
                    true => {}
                    false => {
                        if !self.session.lossless && (self.session.stdout || self.session.stderr) {
                            warn("the session ended before the end of the output had come: see podctl logs");
                        }
                        break End::Lost;
                    }
                },
                Some(end) => break end,
                None => {}
            }
        };
        // A container may end before its start has been answered, and a start that failed ends the session too: what
        // the answer says counts.
        if let (Some(start), End::Exited(_) | End::Lost | End::Closed(_)) = (start, &end) {
            match tokio::time::timeout(ANSWER, start).await {
                Ok(started) => started?,
                Err(_) => {
                    return Err(Failure::invalid(format!(
                        "start of container {} was not answered in time",
                        self.target.2
                    )));
                }
            }
        }
        // Everything has been received: what is left is to write it, and a signal ends that.
        tokio::select! {
            biased;
            done = self.finish() => Ok(match done { Ok(()) => end, Err(error) => End::Unread(error) }),
            number = signals.next() => Ok(End::Signal(number)),
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        while self.unprinted.is_some() {
            self.printer.room().await;
            if let Some(End::Unread(error)) = self.print_rest() {
                return Err(error);
            }
        }
        self.printer.finish().await
    }

    /// The packet in `buffer`, and those that come right behind it.
    fn packets(&mut self, length: usize, buffer: &mut [u8]) -> Option<End> {
        let mut end = self.packet(&buffer[..length]);
        for _ in 0..BURST {
            if end.is_some() || self.unprinted.is_some() {
                break;
            }
            end = match self.raw.try_receive(buffer) {
                Ok((length @ 1.., _)) => self.packet(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => Some(End::Lost),
            };
        }
        end
    }

    /// One packet of the monitor.
    fn packet(&mut self, packet: &[u8]) -> Option<End> {
        let frame = Frame::decode(packet)?;
        match frame.kind {
            Kind::Stdout => self.output(Stream::Out, &frame),
            Kind::Stderr => self.output(Stream::Err, &frame),
            Kind::Skipped => {
                let count = frame.payload.try_into().map_or(0, u64::from_le_bytes);
                warn(&format!(
                    "{count} bytes of output were skipped because this terminal was too slow: see podctl logs"
                ));
                self.told = [true; 2];
                None
            }
            Kind::Exit => {
                Some(End::Exited(ExitStatus::decode(frame.payload).unwrap_or_else(|_| proto::exit::unknown(0))))
            }
            Kind::Closed => Some(End::Closed(String::from_utf8_lossy(frame.payload).into_owned())),
            Kind::StdinEnd => {
                // Another client has said so.
                self.pipe = None;
                self.unpiped.clear();
                None
            }
            Kind::Stdin | Kind::Resize => None,
        }
    }

    /// Some of what was typed is in the pipe.
    fn piped(&mut self, written: io::Result<usize>) -> Option<End> {
        match written {
            Ok(length) => {
                self.unpiped.drain(..length);
                None
            }
            // The container reads no more.
            Err(_) => {
                self.unpiped.clear();
                self.end_stdin()
            }
        }
    }

    /// stdin has ended: the monitor has the pipe, too.
    fn end_stdin(&mut self) -> Option<End> {
        self.pipe = None;
        self.unsent = Some(Frame { kind: Kind::StdinEnd, offset: self.sent, payload: &[] }.encode());
        self.send_rest()
    }

    fn output(&mut self, stream: Stream, frame: &Frame<'_>) -> Option<End> {
        let shown = &mut self.shown[usize::from(stream == Stream::Err)];
        // A monitor's successor may send again what its predecessor had sent.
        let known = usize::try_from(shown.saturating_sub(frame.offset)).unwrap_or(usize::MAX);
        let bytes = frame.payload.get(known..).unwrap_or_default();
        let told = std::mem::take(&mut self.told[usize::from(stream == Stream::Err)]);
        if let Some(count @ 1..) = frame.offset.checked_sub(*shown).filter(|_| !told) {
            warn(&format!(
                "{count} bytes of output were lost to this terminal when the monitor was killed: see podctl logs"
            ));
        }
        *shown = (*shown).max(frame.offset + frame.payload.len() as u64);
        let wanted = if stream == Stream::Out { self.session.stdout } else { self.session.stderr };
        if !wanted {
            return None;
        }
        self.print(stream, bytes)
    }

    fn print(&mut self, stream: Stream, bytes: &[u8]) -> Option<End> {
        match self.printer.write(stream, bytes) {
            Ok(rest) => {
                self.unprinted = rest.map(|bytes| (stream, bytes));
                None
            }
            Err(error) => Some(End::Unread(error)),
        }
    }

    fn print_rest(&mut self) -> Option<End> {
        let (stream, bytes) = self.unprinted.take()?;
        self.print(stream, &bytes)
    }

    /// What the user typed; empty = stdin has ended.
    fn typed(&mut self, typed: Vec<u8>) -> Option<End> {
        let (bytes, detached) = if self.session.tty { self.session.keys.filter(&typed) } else { (typed, false) };
        if detached {
            return Some(End::Detached);
        }
        let ended = matches!(self.input, Input::Ended);
        if bytes.is_empty() && !ended {
            return None;
        }
        if self.pipe.is_some() {
            self.unpiped = bytes;
            return if ended { self.end_stdin() } else { None };
        }
        // A terminal has no half close: the end of stdin is a key (VEOF).
        let bytes = if ended && self.session.tty { vec![4] } else { bytes };
        let kind = if ended && !self.session.tty { Kind::StdinEnd } else { Kind::Stdin };
        self.unsent = Some(Frame { kind, offset: self.sent, payload: &bytes }.encode());
        self.sent += bytes.len() as u64;
        self.send_rest()
    }

    fn send_rest(&mut self) -> Option<End> {
        let packet = self.unsent.take()?;
        match self.raw.try_send(&packet) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.unsent = Some(packet),
            // A monitor that has gone is seen by the next receive.
            _ => {}
        }
        None
    }

    fn resize(&self) {
        if !self.session.tty {
            return;
        }
        if let Some((rows, columns)) = terminal::size() {
            let mut payload = rows.to_le_bytes().to_vec();
            payload.extend(columns.to_le_bytes());
            // A lost resize is repeated by the next one.
            let _ = self.raw.try_send(&Frame { kind: Kind::Resize, offset: 0, payload: &payload }.encode());
        }
    }

    /// A signal for the container, or for us.
    fn signal(&self, number: i32) -> Option<End> {
        let ending = ENDING.contains(&number);
        let name = signal::name(&number.to_string()).filter(|_| self.session.sig_proxy);
        let Some(name) = name else { return ending.then_some(End::Signal(number)) };
        let (engine, pod, container) = self.target.clone();
        tokio::spawn(async move {
            // A container that has not started or has ended takes no signals.
            if let Ok(Some(monitor)) = engine.monitor(&pod, &container).await {
                let request = MonitorKill { signal: name, all: false };
                let _ = monitor.client().kill(deadline(Duration::from_secs(10)), &request).await;
            }
        });
        // The terminal has gone: there is nothing left to be attached to.
        (number == libc::SIGHUP && self.session.tty).then_some(End::Signal(number))
    }

    /// The monitor has gone without an exit: its successor, which the shim starts, goes on. Where there is none in time
    /// the records tell what became of the container.
    async fn again(&mut self) -> bool {
        let (engine, pod, container) = self.target.clone();
        let end = Instant::now() + SUCCESSOR;
        while Instant::now() < end {
            if let Ok((raw, pipe)) = open(&engine, &pod, &container, &self.session).await {
                let direct = self.pipe.take().is_some();
                (self.raw, self.pipe) = (raw, pipe);
                self.resize();
                if self.session.stdin != Stdin::Nothing
                    && !self.session.tty
                    && matches!(self.input, Input::Ended)
                    && self.unpiped.is_empty()
                {
                    // Whether its predecessor had heard of the end nobody knows.
                    self.end_stdin();
                }
                if self.sent > 0 && !direct && !self.session.tty {
                    warn("the monitor was killed while stdin was sent: some of it may have been lost with it");
                }
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl End {
    /// The exit code of podctl; asks `lost` what became of a container whose monitor has gone.
    ///
    /// # Errors
    /// When the session ended without one.
    pub async fn code(
        self,
        container: &Id,
        lost: impl Future<Output = Result<ExitStatus, Failure>>,
    ) -> Result<i32, Failure> {
        let status = match self {
            End::Exited(status) => status,
            End::Detached => return Ok(0),
            End::Lost => lost.await?,
            End::Closed(words) => return Err(Failure::invalid(words)),
            End::Signal(number) => sys::die_of_signal(number),
            End::Unread(error) => return Err(output::unread(&error)),
        };
        if status.known {
            return Ok(status.code);
        }
        Err(Failure::invalid(format!(
            "the exit code of container {container} is unknown: its monitor and its supervisor were both killed"
        )))
    }
}
