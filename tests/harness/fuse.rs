//! A file system that hangs, fails and forgets when it is told to; see `bin/fuse.rs`.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdout, Stdio},
};

use crate::{engine::Engine, programs};

/// The file system, mounted in the enclosure of an engine. Dropping it ends whatever waits for it with an error, and takes
/// the mount away.
#[derive(Debug)]
pub struct Fuse<'a> {
    engine: &'a Engine,
    point: String,
    server: Child,
    said: BufReader<ChildStdout>,
}

impl Fuse<'_> {
    /// Mounts one, empty, at `point`, a directory that is made: a path inside.
    ///
    /// # Panics
    /// When the machine has no FUSE.
    pub fn mount<'a>(engine: &'a Engine, point: &str) -> Fuse<'a> {
        std::fs::create_dir_all(engine.enclosure.path(point)).expect("a mountpoint");
        let mut command = engine.command(&programs::beside("fuse").to_string_lossy());
        command.arg(point).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut server = command.spawn().expect("fuse");
        let said = BufReader::new(server.stdout.take().expect("stdout"));
        let mut fuse = Fuse { engine, point: point.to_owned(), server, said };
        fuse.hear("ready");
        fuse
    }

    /// Who asks sleeps from now on, and cannot be killed.
    pub fn hang(&mut self) {
        self.tell("hang");
    }

    /// Who reads sleeps from now on, and cannot be killed; all else is answered.
    pub fn mute(&mut self) {
        self.tell("mute");
    }

    /// Who asks gets EIO from now on.
    pub fn fail(&mut self) {
        self.tell("fail");
    }

    /// All is well again, and who slept wakes up.
    pub fn go(&mut self) {
        self.tell("go");
    }

    /// Copies what of the file `name` has come to the disk for good to `to`, a path inside.
    pub fn durable(&mut self, name: &str, to: &str) {
        self.tell(&format!("durable {name} {to}"));
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.server.stdin.as_mut().expect("stdin"), "{line}").expect("a server that listens");
        self.hear("done");
    }

    fn hear(&mut self, word: &str) {
        let mut line = String::new();
        self.said.read_line(&mut line).expect("the words of the server");
        assert_eq!(line.trim_end(), word, "fuse");
    }
}

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        drop(self.server.stdin.take());
        let _ended_already = self.server.wait();
        let mut umount = self.engine.command("umount");
        let _gone_already = umount.args(["-l", &self.point]).stderr(Stdio::null()).status();
    }
}
