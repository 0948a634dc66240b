//! Where the programs under test are.

use std::path::PathBuf;

/// What is under test: the path of podctl, or of whatever `PODCTL_UNDER_TEST` names (`podman` speaks the same grammar,
/// which is how the tests themselves are tried out).
pub fn under_test() -> PathBuf {
    let Some(name) = std::env::var_os("PODCTL_UNDER_TEST") else { return beside("podctl") };
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(&name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("PODCTL_UNDER_TEST={}: no such program", name.display()))
}

/// Whether podman sits in podctl's chair. Texts in which the two differ on purpose are then not compared.
pub fn is_stand_in() -> bool {
    under_test().file_name().is_some_and(|name| name == "podman")
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
