//! Where the programs under test are.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Who sits in podctl's chair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// podctl.
    Podctl,
    /// podman, which speaks the same grammar: so the tests themselves are tried out, and speed is compared.
    Podman,
}

impl Engine {
    /// Its program.
    ///
    /// # Panics
    /// When it is not there.
    pub fn program(self) -> PathBuf {
        match self {
            Engine::Podctl => beside("podctl"),
            Engine::Podman => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                let found = std::env::split_paths(&path).map(|one| one.join("podman")).find(|file| file.is_file());
                found.expect("podman (Debian package podman)")
            }
        }
    }
}

impl Default for Engine {
    /// podctl, unless `PODCTL_UNDER_TEST` is `podman`.
    fn default() -> Engine {
        if std::env::var_os("PODCTL_UNDER_TEST").is_some_and(|name| name == "podman") {
            Engine::Podman
        } else {
            Engine::Podctl
        }
    }
}

/// Whether podman is under test. Texts in which the two differ on purpose are then not compared.
pub fn is_stand_in() -> bool {
    Engine::default() == Engine::Podman
}

/// A program of the profile this one was built with: `target/PROFILE/NAME`.
///
/// # Panics
/// When it has not been built: `cargo test -p tests` does not build the programs of other packages.
pub fn beside(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("path of this executable");
    let dir = own.parent().expect("directory of this executable");
    let dir = if dir.ends_with("deps") { dir.parent().expect("profile directory") } else { dir };
    let path = dir.join(name);
    assert!(path.is_file(), "{} has not been built: `make build` builds it, `make test` everything", path.display());
    path
}

/// The top of the source tree.
pub fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Puts a script at `path`. Another process writes it: what this one forks meanwhile, for other tests, would have the file
/// open for writing, and until it has executed something else nobody could run the script (`ETXTBSY`, execve(2)).
///
/// # Panics
/// When it cannot be written.
pub fn script(path: &Path, text: &str) {
    let mut command = Command::new("sh");
    command.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut shell = command.spawn().expect("sh");
    shell.stdin.take().expect("stdin").write_all(text.as_bytes()).expect("sh reads");
    assert!(shell.wait().is_ok_and(|status| status.success()), "{}", path.display());
}
