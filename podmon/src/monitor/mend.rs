//! Somebody has deleted our run directory, or some of what is in it: it is made again.
//!
//! Our descriptors are as they were, and with them the streams, the log and the first process. The sockets get new names
//! and the records are written again; then this process becomes its own program once more, as with an upgrade, and that
//! begins with what it finds there. What was mounted there is lost: what runs goes on, another run needs the shim.

use std::{
    fs::{self, DirBuilder},
    io,
    os::{
        fd::AsFd,
        unix::fs::{DirBuilderExt, MetadataExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use proto::{
    deletions::Deletions,
    failpoint::{self, Point},
    layout::sockets,
    record::{self, Durability, StartRecord},
    socket,
};
use tokio::time::sleep;

use super::{Message, Monitor, upgrade::Sockets};
use crate::state::State;

/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

impl Monitor {
    /// From now on we are told when something of the directory has been deleted.
    pub(super) fn watch_directory(&self, deletions: Option<Deletions>) {
        let (inbox, directory, wanted) = (self.inbox.clone(), self.directory(), self.wanted());
        let Some(mut deletions) = deletions else { return };
        tokio::task::spawn_local(async move {
            // A kernel that does not tell: the next program of ours that needs the directory finds it gone.
            let Ok(()) = deletions.watch(&directory) else { return };
            loop {
                if is_whole(&wanted) {
                    deletions.next().await;
                } else {
                    Monitor::send(&inbox, Message::Deleted);
                    sleep(AGAIN).await;
                }
            }
        });
    }

    fn directory(&self) -> PathBuf {
        self.start.state_record.parent().unwrap_or(Path::new("/")).to_owned()
    }

    /// What others find us by.
    fn wanted(&self) -> [PathBuf; 4] {
        let directory = self.directory();
        let sockets = [sockets::MONITOR, sockets::MONITOR_RAW].map(|name| directory.join(name));
        let [serves, raw] = sockets;
        [serves, raw, self.record.clone(), self.start.state_record.clone()]
    }

    /// Makes it again, unless we are between two states, or about to go.
    pub(super) fn mend(&mut self) {
        let settled = matches!(self.state.get(), State::Created | State::Running | State::Paused);
        if !settled || is_whole(&self.wanted()) || self.make_again().is_err() {
            return;
        }
        failpoint::pass(Point::MonMended);
        if let Some(own) = std::env::args_os().next() {
            // It has its words for why not, and nobody has asked.
            let _ = self.turn_into(Path::new("/proc/self/exe"), &own);
        }
    }

    fn make_again(&mut self) -> io::Result<()> {
        let directory = self.directory();
        // The runtime is called in the bundle, whatever is in it.
        for directory in [&directory, &self.start.bundle] {
            DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        }
        let config = self.start.bundle.join("config.json");
        if !config.exists() {
            // The runtime has one of its own. Where that is gone, too, nothing can be executed in there any more.
            let runtimes = self.start.runtime_root.join(self.start.id.as_str()).join("config.json");
            let _ = fs::copy(runtimes, config);
        }
        let listener = socket::listen_stream(&directory, sockets::MONITOR)?;
        let raw = socket::listen_seqpacket(&directory, sockets::MONITOR_RAW)?;
        let unmounted = self.start.unmounted || !has_mount(&directory.join("rootfs"));
        self.start = Rc::new(StartRecord { unmounted, ..(*self.start).clone() });
        record::write(&self.record, &*self.start, Durability::Volatile)?;
        if self.ended_by_user {
            self.end_by_user();
        }
        self.state_file.write();
        rescue(&directory, self.start.id.as_str())?;
        if !is_whole(&self.wanted()) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.sockets = Sockets::of(listener.as_fd(), raw.as_fd())?;
        Ok(())
    }
}

/// What is on its way to the log is in a file of the directory, which we have open: it is copied to where it was. Nothing
/// comes to it before we are another program.
fn rescue(directory: &Path, container: &str) -> io::Result<()> {
    let path = directory.join("position");
    if path.exists() {
        return Ok(());
    }
    let deleted = format!("/{container}/position (deleted)");
    for entry in fs::read_dir("/proc/self/fd")?.flatten() {
        if fs::read_link(entry.path()).is_ok_and(|link| link.to_string_lossy().ends_with(&deleted)) {
            return fs::copy(entry.path(), path).map(drop);
        }
    }
    Ok(())
}

fn is_whole(wanted: &[PathBuf]) -> bool {
    wanted.iter().all(|path| path.exists())
}

/// Whether something is mounted at `path`, which is on another device than the directory it is in.
fn has_mount(path: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).map(|metadata| metadata.dev()).ok();
    device(path).is_some() && device(path) != path.parent().and_then(device)
}
