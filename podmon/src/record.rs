//! The files this monitor writes: `state.json` as things change, `exit.json` when it is over.

use std::{
    cell::RefCell,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use proto::{
    Refusal,
    alive::Process,
    event::{self, Event},
    failpoint::{self, Point},
    record::{self, Durability, ExitRecord, MonitorState, SCHEMA, StartRecord},
    refusal::Result,
    wire::ExitStatus,
};

/// `state.json`.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    state: RefCell<MonitorState>,
}

impl StateFile {
    /// Goes on with what an earlier monitor has left, or begins.
    pub fn new(path: PathBuf, earlier: Option<MonitorState>) -> StateFile {
        let state = earlier.unwrap_or_default();
        // Sessions of an earlier monitor are nobody's any more.
        let state = MonitorState { schema: SCHEMA, monitor: Process::this(), execs: vec![], ..state };
        StateFile { path, state: RefCell::new(state) }
    }

    /// What it says.
    pub fn get(&self) -> MonitorState {
        self.state.borrow().clone()
    }

    /// Changes it, and writes it if it changed. A full `$RUN` costs others their view of us and nothing else.
    pub fn update(&self, change: impl FnOnce(&mut MonitorState)) {
        let mut state = self.get();
        change(&mut state);
        if state != *self.state.borrow() {
            *self.state.borrow_mut() = state;
            self.write();
        }
    }

    /// Writes it.
    pub fn write(&self) {
        let _ = record::write(&self.path, &*self.state.borrow(), Durability::Volatile);
    }
}

/// `exit.json`: a placeholder while the container runs, then how it ended.
#[derive(Debug)]
pub struct ExitFile {
    path: PathBuf,
    /// What was there before the placeholder: it comes back when the start fails.
    before: RefCell<Option<Vec<u8>>>,
}

impl ExitFile {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> ExitFile {
        ExitFile { path, before: RefCell::default() }
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// Writes that a run began and nobody knows how it ended: true after a reboot, replaced otherwise.
    pub fn put_placeholder(&self, started_at: i64, init: Option<Process>) {
        *self.before.borrow_mut() = fs::read(&self.path).ok();
        let status = ExitStatus { known: false, code: -1, ..ExitStatus::default() };
        let run = Run { started_at, ..Run::default() };
        let placeholder = ExitRecord { init, ..exit_record(status, run) };
        // Without it a reboot hides that there was a run; no reason not to run.
        let _ = record::write(&self.path, &placeholder, Durability::Volatile);
    }

    /// Nothing was started after all.
    pub fn take_placeholder_back(&self) {
        // What cannot be written back is rewritten by the next run.
        let _ = match self.before.borrow_mut().take() {
            Some(before) => record::write_bytes(&self.path, &before, Durability::Volatile),
            None => fs::remove_file(&self.path),
        };
    }
}

/// Where what happens to the container is told to `events`.
#[derive(Clone, Debug)]
pub struct Events {
    directory: PathBuf,
    common: Event,
}

impl Events {
    /// As the start record says.
    pub fn new(start: &StartRecord) -> Events {
        Events { directory: start.events.clone(), common: start.event.clone() }
    }

    /// Tells that `action` has happened, with the exit code where it was an end. That it cannot be told hinders nothing.
    pub fn tell(&self, action: &str, code: Option<i32>) {
        self.append(&Event { action: action.to_owned(), code, ..self.common.clone() });
    }

    /// Tells what a health check has shown, and as JSON in `log` the check itself where that is wanted.
    pub fn checked(&self, health: &str, log: String) {
        let (action, health) = ("health_status".to_owned(), health.to_owned());
        self.append(&Event { action, health, health_log: log, ..self.common.clone() });
    }

    fn append(&self, event: &Event) {
        if !self.directory.as_os_str().is_empty() {
            let _ = event::append(&self.directory, event);
        }
    }
}

/// What exit.json says of a run beside how it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// When it began.
    pub started_at: i64,
    /// Restarts by policy before it.
    pub restarts: u32,
    /// A user has ended it.
    pub stopped_by_user: bool,
}

/// Writes exit.json so that it survives a power loss. Blocks for as long as the disk takes.
///
/// A disk that is too full for a new file still has the block of the placeholder: it is written over.
///
/// # Errors
/// Those of the file system.
pub fn write_exit(path: &Path, record: &ExitRecord) -> io::Result<()> {
    failpoint::check(Point::MonWrite)?;
    record::write(path, record, Durability::Durable).or_else(|_| {
        let mut text = serde_json::to_vec(record)?;
        let mut file = fs::OpenOptions::new().write(true).open(path)?;
        // White space after it is no part of it.
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(0).max(text.len() + 1);
        text.resize(length, b'\n');
        file.write_all(&text)?;
        file.sync_data()
    })
}

/// Keeps what checks of its health have found, for after the run directory. Where that cannot be, it is only less to see.
pub fn keep_health(run: &Path, exit: &Path) {
    if let Ok(bytes) = fs::read(run) {
        let _ = record::write_bytes(&exit.with_file_name("health.json"), &bytes, Durability::Volatile);
    }
}

/// What is said of `run`.
pub fn exit_record(status: ExitStatus, run: Run) -> ExitRecord {
    let Run { started_at, restarts: restart_count, stopped_by_user } = run;
    ExitRecord {
        schema: SCHEMA,
        status,
        started_at,
        restart_count,
        error: String::new(),
        stopped_by_user,
        log_dropped: 0,
        init: None,
    }
}

/// `--pidfile` and `--conmon-pidfile`: who the container's process and its monitor are, for whoever watches them by that.
///
/// # Errors
/// When a file cannot be written, naming the flag.
pub fn write_pidfiles(start: &StartRecord, pid: u32) -> Result<()> {
    for (flag, path, pid) in
        [("--pidfile", &start.pidfile, pid), ("--conmon-pidfile", &start.conmon_pidfile, std::process::id())]
    {
        if !path.is_empty() {
            fs::write(path, pid.to_string()).map_err(|error| Refusal::internal(format!("{flag} {path}"), error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_start_brings_back_what_was_there() {
        let dir = tempfile::tempdir().expect("tempdir");
        let file = ExitFile::new(dir.path().join("exit.json"));
        file.put_placeholder(5, None);
        let read = || record::read::<ExitRecord>(&file.path);
        assert!(read().is_ok_and(|record| !record.status.known && record.started_at == 5));
        file.take_placeholder_back();
        assert!(!file.path.exists());

        let status = ExitStatus { known: true, code: 7, ..ExitStatus::default() };
        write_exit(&file.path, &exit_record(status, Run { started_at: 1, ..Run::default() })).expect("write");
        file.put_placeholder(5, None);
        file.take_placeholder_back();
        assert_eq!(read().expect("record").status.code, 7);
    }
}
