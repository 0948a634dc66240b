//! The records of `events`: those there are, then those that come.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
};
use proto::{
    Refusal, Roots,
    event::{self, Event, LOG, OLDER},
    refusal::Result,
    time,
    wire::EventsRequest,
};

/// Longest time without a look: where inotify has nothing to say, as on some network file systems.
const LOOK_MS: u16 = 1000;
/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// A condition of `--filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Filter {
    key: String,
    value: String,
}

fn filters(given: &[String]) -> Result<Vec<Filter>> {
    const KEYS: [&str; 8] = ["container", "event", "image", "label", "network", "pod", "type", "volume"];
    given
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            let key = key.to_ascii_lowercase();
            if !KEYS.contains(&key.as_str()) || value.is_empty() {
                let words =
                    if value.is_empty() { "is an invalid filter: use KEY=VALUE" } else { "is an invalid filter" };
                return Err(Refusal::invalid(format!("{} {words}", text.escape_debug())));
            }
            Ok(Filter { key, value: value.to_owned() })
        })
        .collect()
}

impl Filter {
    fn matches(&self, event: &Event) -> bool {
        let value = self.value.as_str();
        let named = |kind: &str| event.kind == kind && (event.name == value || event.id.starts_with(value));
        match self.key.as_str() {
            "type" => event.kind == value,
            // podman's names of two actions have changed.
            "event" => event.action == value || (value == "die" && event.action == "died"),
            "image" if event.kind == "container" => is_image(&event.image, value),
            "image" => event.kind == "image" && (is_image(&event.name, value) || event.id.starts_with(value)),
            "label" => {
                let (key, wanted) = value.split_once('=').unwrap_or((value, ""));
                let found = event.attributes.get(key);
                found.is_some_and(|found| wanted.is_empty() || found == wanted)
            }
            kind => named(kind),
        }
    }
}

/// `alpine` is `docker.io/library/alpine:latest`.
fn is_image(name: &str, wanted: &str) -> bool {
    let at_slash = |text: &str| text == wanted || text.strip_suffix(wanted).is_some_and(|rest| rest.ends_with('/'));
    at_slash(name) || name.rsplit_once(':').is_some_and(|(untagged, tag)| !tag.contains('/') && at_slash(untagged))
}

/// Of one key any condition, of every key one.
fn matches(filters: &[Filter], event: &Event) -> bool {
    filters.iter().all(|filter| filters.iter().any(|other| other.key == filter.key && other.matches(event)))
}

/// Writes the records that `request` asks for to `out`, one line of JSON each, until its end or that of the reader.
///
/// # Errors
/// A filter that cannot be; records that cannot be read.
pub fn write(roots: &Roots, request: &EventsRequest, out: OwnedFd) -> Result<()> {
    let filters = filters(&request.filters)?;
    let dir = roots.events();
    match run(&dir, request, &filters, File::from(out)) {
        // Who asked has heard enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(|error| Refusal::internal(format_args!("reading {}", dir.display()), error)),
    }
}

fn run(dir: &Path, request: &EventsRequest, filters: &[Filter], out: File) -> io::Result<()> {
    let until = if request.until == 0 { i64::MAX } else { request.until };
    let history = request.since != 0 || request.until != 0 || !request.stream;
    let from = if history { request.since } else { time::now() };
    let mut printer = Printer { out, from, until, filters };
    // Watched before it is read: what comes in between is seen.
    fs::create_dir_all(dir)?;
    let watch = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    watch.add_watch(dir, AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO)?;
    if history && let Some(mut older) = Tail::open(&dir.join(OLDER))? {
        older.print(&mut printer)?;
    }
    let mut tail = Tail::open(&dir.join(LOG))?;
    if let Some(tail) = &mut tail {
        tail.print(&mut printer)?;
    }
    while request.stream && time::now() < until {
        let left = until.saturating_sub(time::now()) / 1_000_000 + 1;
        if !wait(&watch, &printer.out, u16::try_from(left).unwrap_or(LOOK_MS).min(LOOK_MS))? {
            return Ok(());
        }
        if let Some(tail) = &mut tail {
            tail.print(&mut printer)?;
        }
        // Rotated, or the first record ever: the file of that name is another one now.
        let newest = fs::metadata(dir.join(LOG)).map(|metadata| metadata.ino()).ok();
        if newest.is_some() && newest != tail.as_ref().map(|tail| tail.inode) {
            tail = Tail::open(&dir.join(LOG))?;
            if let Some(tail) = &mut tail {
                tail.print(&mut printer)?;
            }
        }
    }
    Ok(())
}

/// Waits for news; `false` when nobody reads what we write any more.
fn wait(watch: &Inotify, out: &File, milliseconds: u16) -> io::Result<bool> {
    let mut fds = [PollFd::new(watch.as_fd(), PollFlags::POLLIN), PollFd::new(out.as_fd(), PollFlags::empty())];
    match poll(&mut fds, PollTimeout::from(milliseconds)) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(error) => return Err(error.into()),
    }
    let gone = fds[1].revents().is_some_and(|events| !events.is_empty());
    match watch.read_events() {
        Ok(_) | Err(Errno::EAGAIN) => Ok(!gone),
        Err(error) => Err(error.into()),
    }
}

struct Printer<'a> {
    out: File,
    from: i64,
    until: i64,
    filters: &'a [Filter],
}

impl Printer<'_> {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let Some(event) = event::parse(line) else { return Ok(()) };
        if event.time < self.from || event.time > self.until || !matches(self.filters, &event) {
            return Ok(());
        }
        self.out.write_all(&[line, b"\n"].concat())
    }
}

/// A file of records that grows.
struct Tail {
    file: File,
    inode: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
}

impl Tail {
    /// The file at `path`; `None` when there is none.
    fn open(path: &Path) -> io::Result<Option<Tail>> {
        match File::open(path) {
            Ok(file) => Ok(Some(Tail { inode: file.metadata()?.ino(), file, rest: Vec::new() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Prints the lines that have come since the last time.
    fn print(&mut self, printer: &mut Printer<'_>) -> io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.file.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            self.rest.extend_from_slice(&buffer[..length]);
            let Some(end) = memchr::memrchr(b'\n', &self.rest) else { continue };
            let left = self.rest.split_off(end + 1);
            for line in self.rest.split(|byte| *byte == b'\n') {
                printer.line(line)?;
            }
            self.rest = left;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_shown(given: &[&str], event: &Event) -> bool {
        let given: Vec<String> = given.iter().map(|&text| text.to_owned()).collect();
        matches(&filters(&given).expect("filters"), event)
    }

    #[test]
    fn filters_of_one_key_are_alternatives() {
        let mut event = Event::new("container", "died", "abc123", "web");
        event.image = "docker.io/library/alpine:latest".to_owned();
        event.attributes.insert("a".to_owned(), "b".to_owned());
        for shown in [
            &["container=web"][..],
            &["container=abc", "event=start", "event=die"],
            &["image=alpine", "label=a=b"],
            &["image=library/alpine:latest", "label=a", "type=container"],
            &[],
        ] {
            assert!(is_shown(shown, &event), "{shown:?}");
        }
        for hidden in
            [&["container=we"][..], &["pod=web"], &["image=pine"], &["label=a=c"], &["event=start", "type=container"]]
        {
            assert!(!is_shown(hidden, &event), "{hidden:?}");
        }
        assert_eq!(filters(&["bogus=1".to_owned()]).expect_err("bogus").message, "bogus=1 is an invalid filter");
        assert!(filters(&["type".to_owned()]).is_err());
    }
}
