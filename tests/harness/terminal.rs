//! A pseudo-terminal with somebody typing at it.

use std::{
    fs::File,
    io::{Read, Write},
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use nix::pty::{Winsize, openpty};

use crate::wait;

/// A command on a terminal of 24 rows and 80 columns.
#[derive(Debug)]
pub struct Terminal {
    line: String,
    child: Child,
    keyboard: File,
    // Kept open so that what the command wrote last can be read after its end.
    slave: OwnedFd,
    screen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts `command` as the leader of a session whose terminal this is.
    ///
    /// # Panics
    /// When there are no terminals left, or no setsid(1).
    pub fn start(line: &str, command: Command) -> Terminal {
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        let pty = openpty(Some(&size), None).expect("a terminal");
        let end = |fd: &OwnedFd| fd.try_clone().expect("a descriptor");
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        leader.stdin(end(&pty.slave)).stdout(end(&pty.slave)).stderr(end(&pty.slave));
        let child = leader.spawn().expect("setsid (Debian package util-linux)");
        let screen = Arc::new(Mutex::new(Vec::new()));
        let mut output = File::from(end(&pty.master));
        let shown = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut bytes) {
                shown.lock().expect("screen").extend_from_slice(&bytes[..count]);
            }
        });
        Terminal { line: line.to_owned(), child, keyboard: File::from(pty.master), slave: pty.slave, screen }
    }

    /// Everything shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.screen.lock().expect("screen")).into_owned()
    }

    /// Waits until `text` has been shown.
    #[track_caller]
    pub fn expect(&self, text: &str) -> &Terminal {
        if wait::within(wait::PATIENCE, || self.shown().contains(text).then_some(())).is_none() {
            panic!("{text:?} was to be shown by {}; it showed:\n{}", self.line, self.shown());
        }
        self
    }

    /// Types.
    pub fn send(&self, keys: impl AsRef<[u8]>) -> &Terminal {
        (&self.keyboard).write_all(keys.as_ref()).expect("typing");
        self
    }

    /// Changes its size, as a window that is dragged does.
    pub fn resize(&self, rows: u16, columns: u16) -> &Terminal {
        let status = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(Stdio::from(self.slave.try_clone().expect("a descriptor")))
            .status()
            .expect("stty (Debian package coreutils)");
        assert!(status.success(), "stty refused");
        self
    }

    /// The terminal's settings, as `stty -a` shows them.
    pub fn settings(&self) -> String {
        let output = Command::new("stty")
            .arg("-a")
            .stdin(Stdio::from(self.slave.try_clone().expect("a descriptor")))
            .output()
            .expect("stty (Debian package coreutils)");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits for the end; exit code and everything shown.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let ended = wait::within(crate::cli::DEADLINE, || self.child.try_wait().expect("wait for a child"));
        let Some(status) = ended else { panic!("{} still runs; it showed:\n{}", self.line, self.shown()) };
        // What was written before the end is in the terminal; a mark behind it shows that all of it has been read.
        const MARK: &str = "\u{1}end of session\u{1}";
        File::from(self.slave.try_clone().expect("a descriptor")).write_all(MARK.as_bytes()).expect("mark");
        self.expect(MARK);
        let shown = self.shown();
        let before = shown.split(MARK).next().unwrap_or_default().to_owned();
        (status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()), before)
    }

    /// The process: nsenter(1), the parent of the shell.
    pub fn id(&self) -> u32 {
        self.child.id()
    }
}
