//! The logs of containers, read from the files their monitors write (proto::log_line, json_line) and written straight into the two
//! descriptors of whoever asked.
//!
//! | module | what |
//! |---|---|
//! | [`journal`], [`tail`] | one container's log across its rotated files: scanning, searching by time, reading backwards |
//! | [`mod@print`] | records as lines for people, in large writes |
//! | [`follow`] | what comes after the end of the file |
//! | [`journald`] | the log of a container that keeps it in the journal of the machine |
//!
//! Cost does not grow with the file: `--since` and `--until` search, `--tail` reads backwards. What nobody reads blocks
//! this request only: it runs on a thread of its own.

mod follow;
mod journal;
mod journald;
mod print;
mod tail;

use std::{
    io,
    ops::ControlFlow,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use journal::{Journal, Start};
use journald::Journald;
use print::{Printer, Style};
use proto::{
    Id, Kind, Refusal, Roots,
    layout::Target,
    log_line::{Format, Record, Stream},
    patience,
    record::ContainerRecord,
    refusal::Result,
    wire::LogsRequest,
};
use tokio::sync::oneshot;

use crate::index;

/// Writes the logs `request` asks for into `stdout` and `stderr`, and returns when all is written, when what is followed
/// has ended, or when nobody reads any more.
///
/// Containers come one after the other, those of a pod in the order of their creation; followed ones as their lines come.
/// Dropping the future does not end the thread that writes: it ends with the process, or with its readers.
///
/// # Errors
/// A container or pod that is not there; a log driver that keeps no log; what the file system says.
pub async fn write(roots: &Roots, request: LogsRequest, stdout: OwnedFd, stderr: OwnedFd) -> Result<()> {
    let roots = roots.clone();
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || {
            let result = run(&roots, &request, stdout, stderr);
            // Nobody waits any more: the answer has no reader.
            let _ = sender.send(result);
        })
        .map_err(|error| Refusal::internal("logs: starting a thread", error))?;
    receiver.await.map_err(|_| Refusal::internal("logs", "the thread that writes them has died"))?
}

/// A container whose log is wanted.
#[derive(Clone, Debug)]
struct Source {
    pod: Id,
    id: Id,
    name: String,
    kept: Kept,
}

/// Where the log of a container is.
#[derive(Clone, Debug)]
enum Kept {
    /// In this file and those that were it before.
    File(PathBuf, Format),
    /// In the journal of the machine.
    Journal,
}

impl Source {
    fn of(roots: &Roots, record: &ContainerRecord) -> Result<Source> {
        let log = record.config.log.as_ref();
        let driver = log.map_or("", |log| &log.driver);
        let path = log.map_or("", |log| &log.path);
        // In podman's words.
        let kept = match (Format::of(driver), driver) {
            (Some(format), _) if path.is_empty() => Ok(Kept::File(roots.log(&record.pod, &record.id), format)),
            (Some(format), _) => Ok(Kept::File(PathBuf::from(path), format)),
            (None, "journald") => journald::check(&record.id).map(|()| Kept::Journal),
            (None, "none" | "passthrough" | "passthrough-tty") => Err(Refusal::new(
                Kind::WrongState,
                format!(
                    "this container is using the '{driver}' log driver, cannot read logs: this container is not logging output"
                ),
            )),
            (None, driver) => Err(Refusal::new(
                Kind::NotSupported,
                format!("unrecognized log driver {driver:?}, cannot read logs: internal libpod error"),
            )),
        };
        let kept = kept.map_err(|refusal| refusal.about(&record.name))?;
        Ok(Source { pod: record.pod.clone(), id: record.id.clone(), name: record.name.clone(), kept })
    }

    fn style(&self, request: &LogsRequest, number: usize) -> Style {
        let prefix = match (request.prefix, request.names) {
            (false, _) => String::new(),
            (true, true) => format!("{} ", self.name),
            (true, false) => format!("{} ", self.id.short()),
        };
        Style::new(number, prefix, request.timestamps, request.color)
    }
}

/// Containers that are named, or all members of the pod.
fn sources(roots: &Roots, request: &LogsRequest) -> Result<Vec<Source>> {
    if request.containers.is_empty() && !request.pod.is_empty() {
        let pod = request.pod.parse().ok().and_then(|id| index::pod(roots, &id));
        let pod = pod.ok_or_else(|| Refusal::no_such_pod(&request.pod))?;
        return members(roots, &pod);
    }
    request.containers.iter().map(|name| named(roots, request, name)).collect()
}

/// The container `name`, which must be of the pod where one is given.
fn named(roots: &Roots, request: &LogsRequest, name: &str) -> Result<Source> {
    let pod: Option<Id> = request.pod.parse().ok();
    let missing = || match pod.as_ref().and_then(|id| index::pod(roots, id)?.record.ok()) {
        Some(pod) => Refusal::new(
            Kind::NoSuchContainer,
            format!("container {name} is not in pod {}: no such container", pod.name),
        )
        .about(name),
        None => Refusal::no_such_container(name),
    };
    let target = roots.resolve(name)?;
    let Some(Target::Container { pod: its, container }) =
        target.filter(|t| pod.as_ref().is_none_or(|pod| t.pod() == pod))
    else {
        return Err(missing());
    };
    let container = index::container(roots, &its, &container).ok_or_else(missing)?;
    let unreadable = |_| Refusal::internal(format_args!("logs of {name}"), "its record cannot be read");
    Source::of(roots, container.record.as_ref().map_err(unreadable)?)
}

/// The members of `pod` whose record can be read; one that keeps no log does not hide the others, unless it is alone.
fn members(roots: &Roots, pod: &index::Pod) -> Result<Vec<Source>> {
    let records: Vec<&ContainerRecord> =
        pod.containers.iter().filter_map(|member| member.record.as_ref().ok()).collect();
    match records.as_slice() {
        [alone] => Ok(vec![Source::of(roots, alone)?]),
        several => Ok(several.iter().filter_map(|record| Source::of(roots, record).ok()).collect()),
    }
}

fn run(roots: &Roots, request: &LogsRequest, stdout: OwnedFd, stderr: OwnedFd) -> Result<()> {
    let sources = sources(roots, request)?;
    for source in &sources {
        // A path of the user's own may be anywhere.
        if let Kept::File(path, _) = &source.kept
            && *path != roots.log(&source.pod, &source.id)
            && let Some(words) = patience::hangs(path)
        {
            return Err(Refusal::new(Kind::TimedOut, format!("logs of {}: {words}", source.name)));
        }
    }
    let mut printer = Printer::new(stdout, stderr);
    let result = if request.follow {
        follow::run(roots, request, sources, &mut printer)
    } else {
        sources.iter().enumerate().try_for_each(|(number, source)| once(request, source, number, &mut printer))
    };
    match result.and_then(|()| printer.flush()) {
        // Whoever reads has had enough: `podctl logs x | head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Refusal::internal("logs", error)),
        Ok(()) => Ok(()),
    }
}

/// Prints what there is.
fn once(request: &LogsRequest, source: &Source, number: usize, printer: &mut Printer) -> io::Result<()> {
    let mut style = source.style(request, number);
    let (path, format) = match &source.kept {
        Kept::Journal => return Journald::open(&source.id, request)?.print(&mut style, printer),
        Kept::File(path, format) => (path, *format),
    };
    let journal = Journal::open(path, format).map_err(|error| about(path, &error))?;
    let (start, end) = range(&journal, request)?;
    let (mut buffer, mut scratch) = (journal::buffer(), Vec::new());
    journal.scan(start.offset, end, &mut buffer, |offset, line| {
        print(&start, &mut style, printer, offset, format.decode(line, &mut scratch))?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// Where in `journal` to begin and where to end.
fn range(journal: &Journal, request: &LogsRequest) -> io::Result<(Start, u64)> {
    let begin = if request.since == 0 { 0 } else { journal.find(|time| time > request.since)? };
    let end = if request.until == 0 { journal.end() } else { journal.find(|time| time >= request.until)? };
    let start = match (request.has_tail, u64::try_from(request.tail)) {
        // Less than nothing is everything.
        (true, Ok(lines)) => journal.tail(begin, end.max(begin), lines)?,
        _ => Start::at(begin),
    };
    Ok((start, end))
}

/// Prints the record at `offset`. What is no record is left out.
fn print(
    start: &Start,
    style: &mut Style,
    printer: &mut Printer,
    offset: u64,
    record: Option<Record<'_>>,
) -> io::Result<()> {
    match record {
        Some(record) if start.includes(record.stream, offset) => printer.print(style, &record),
        _ => Ok(()),
    }
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Index of a stream in a pair.
fn side(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests;
