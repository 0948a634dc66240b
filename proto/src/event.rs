//! What happened: the append-only file behind `events`.
//!
//! A record is one line of JSON, written by one write(2) into a file opened for appending, so writers need no lock and
//! nobody waits for the disk. It begins with a line feed of its own: what a writer that was killed in the middle has left
//! is ended by the next one, and readers skip lines that are no records. The file is rotated under a lock once it has
//! grown; a writer that is just then between open and write adds to the older file, which is read too.
//!
//! Where the machine has a journal it gets every record, too, with the fields that podman gives it; nothing is read from it.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{Roots, alive::Lock, journal, layout::JOURNALD, record::ContainerRecord, time};

/// File name of the records, in the directory of events.
pub const LOG: &str = "log";
/// File name of the records before the last rotation.
pub const OLDER: &str = "log.1";
/// Bytes from which on the file is rotated.
const MAX: u64 = 16 << 20;
/// Longest record. One whose attributes make it longer is written without them.
const MAX_RECORD: usize = 64 << 10;

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When.
    pub time: i64,
    /// To what kind of thing: container, pod, image, volume, network.
    pub kind: String,
    /// What: create, start, died …
    pub action: String,
    /// Id of the thing; empty where it has only a name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// Its name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The image of a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// The pod of a container.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pod: String,
    /// Exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// What a health check found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health: String,
    /// The check that found it, as JSON, where its log goes to the events.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub health_log: String,
    /// Labels, and what else is to be known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

impl Event {
    /// `action` on the thing called `name`, with its `id` where it has one.
    pub fn new(kind: &str, action: &str, id: &str, name: &str) -> Event {
        let owned = str::to_owned;
        Event { kind: owned(kind), action: owned(action), id: owned(id), name: owned(name), ..Event::default() }
    }

    /// `action` on a container; `pod` is empty where it has none to be seen.
    pub fn of_container(action: &str, record: &ContainerRecord, pod: &str) -> Event {
        Event {
            image: record.image.as_ref().map_or_else(String::new, |image| image.name.clone()),
            pod: pod.to_owned(),
            attributes: record.config.labels.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
            ..Event::new("container", action, record.id.as_str(), &record.name)
        }
    }
}

/// Appends `event` to the records in `dir`, which is made; its time is now.
///
/// # Errors
/// Those of the file system. What happened has happened: callers go on.
pub fn append(dir: &Path, event: &Event) -> io::Result<()> {
    let mut event = Event { time: time::now(), ..event.clone() };
    let mut text = serde_json::to_string(&event)?;
    if text.len() > MAX_RECORD {
        event.attributes.clear();
        text = serde_json::to_string(&event)?;
    }
    let open = || OpenOptions::new().append(true).create(true).mode(0o600).open(dir.join(LOG));
    let mut file = match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            open()?
        }
        other => other?,
    };
    file.write_all(format!("\n{text}\n").as_bytes())?;
    // There may be none, and one that is full gets less.
    let _ = journal::send(Path::new(JOURNALD), &entry(&event));
    if file.metadata()?.len() > MAX { rotate(dir, &file) } else { Ok(()) }
}

/// The entry in the journal. Its fields have podman's names (libpod's events), by which they are looked for.
fn entry(event: &Event) -> Vec<u8> {
    let labels =
        if event.attributes.is_empty() { String::new() } else { serde_json::json!(event.attributes).to_string() };
    let code = event.code.map(|code| code.to_string()).unwrap_or_default();
    let message = format!("{} {} {} (image={}, name={})", event.kind, event.action, event.id, event.image, event.name);
    let mut entry = Vec::new();
    for (name, value) in [
        ("MESSAGE", message.as_str()),
        ("PRIORITY", "6"),
        ("SYSLOG_IDENTIFIER", "podctl"),
        ("PODMAN_EVENT", &event.action),
        ("PODMAN_TYPE", &event.kind),
        ("PODMAN_TIME", &time::rfc3339(event.time)),
        ("PODMAN_ID", &event.id),
        ("PODMAN_NAME", &event.name),
        ("PODMAN_IMAGE", &event.image),
        ("PODMAN_POD_ID", &event.pod),
        ("PODMAN_EXIT_CODE", &code),
        ("PODMAN_HEALTH_STATUS", &event.health),
        ("PODMAN_LABELS", &labels),
    ] {
        if !value.is_empty() {
            journal::field(&mut entry, name, value.as_bytes());
        }
    }
    entry
}

/// [`append`] for those who go on whatever comes of it: an event that cannot be told hinders nothing.
pub fn note(roots: &Roots, event: &Event) {
    let _ = append(&roots.events(), event);
}

fn rotate(dir: &Path, full: &File) -> io::Result<()> {
    let _lock = Lock::take(&dir.join("lock"))?;
    // Somebody may have been faster: then the file of that name is another one.
    if fs::metadata(dir.join(LOG))?.ino() == full.metadata()?.ino() {
        fs::rename(dir.join(LOG), dir.join(OLDER))?;
    }
    Ok(())
}

/// The record on a line; `None` where there is none, or only the beginning of one.
pub fn parse(line: &[u8]) -> Option<Event> {
    if line.is_empty() { None } else { serde_json::from_slice(line).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(dir: &Path, name: &str) -> Vec<Event> {
        fs::read(dir.join(name)).unwrap_or_default().split(|byte| *byte == b'\n').filter_map(parse).collect()
    }

    #[test]
    fn records_are_appended_and_a_torn_one_hurts_nobody() {
        let dir = tempfile::tempdir().expect("tempdir");
        let dir = dir.path().join("events");
        append(&dir, &Event::new("pod", "create", "1", "a")).expect("append");
        let mut file = OpenOptions::new().append(true).open(dir.join(LOG)).expect("open");
        file.write_all(b"\n{\"time\":5,\"kind\":\"po").expect("torn");
        let mut event = Event::new("container", "died", "2", "b\n{}");
        event.code = Some(0);
        append(&dir, &event).expect("append");
        let found = read(&dir, LOG);
        assert_eq!(found.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["a", "b\n{}"]);
        assert!(found[1].time > 0 && found[1].code == Some(0));
    }

    #[test]
    fn a_file_that_has_grown_is_rotated_once() {
        let dir = tempfile::tempdir().expect("tempdir");
        File::create(dir.path().join(LOG)).and_then(|file| file.set_len(MAX)).expect("a large file");
        let full = File::open(dir.path().join(LOG)).expect("open");
        append(dir.path(), &Event::new("pod", "create", "1", "a")).expect("append");
        assert!(!dir.path().join(LOG).exists());
        append(dir.path(), &Event::new("pod", "create", "2", "b")).expect("append");
        rotate(dir.path(), &full).expect("too late");
        assert_eq!((read(dir.path(), LOG).len(), read(dir.path(), OLDER).len()), (1, 1));
    }

    #[test]
    fn an_entry_has_podmans_fields_and_no_empty_ones() {
        let mut event = Event { code: Some(3), image: "i".to_owned(), ..Event::new("container", "died", "1", "a\nb") };
        event.attributes.insert("key".to_owned(), "value".to_owned());
        let entry = String::from_utf8_lossy(&super::entry(&event)).into_owned();
        for part in ["\nPODMAN_EVENT=died\n", "\nPODMAN_EXIT_CODE=3\n", "\nPODMAN_LABELS={\"key\":\"value\"}\n"] {
            assert!(entry.contains(part), "{part:?} in {entry:?}");
        }
        assert!(entry.contains("\nPODMAN_NAME\n\u{3}\0\0\0\0\0\0\0a\nb\n"), "{entry:?}");
        assert!(!entry.contains("PODMAN_HEALTH_STATUS"));
    }

    #[test]
    fn a_record_stays_short() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut event = Event::new("pod", "create", "1", "a");
        event.attributes.insert("large".to_owned(), "x".repeat(MAX_RECORD));
        append(dir.path(), &event).expect("append");
        assert_eq!(read(dir.path(), LOG)[0].attributes.len(), 0);
    }
}
