//! Files of the host that the engine reads: nothing of ours.

use std::path::{Path, PathBuf};

/// Largest configuration file that is read.
const MAX: u64 = 1 << 20;

/// The containers.conf files in the order in which later ones win (containers.conf(5)).
fn containers_conf() -> Vec<PathBuf> {
    if let Some(only) = std::env::var_os("CONTAINERS_CONF") {
        return std::iter::once(only).chain(std::env::var_os("CONTAINERS_CONF_OVERRIDE")).map(PathBuf::from).collect();
    }
    let mut files =
        vec![PathBuf::from("/usr/share/containers/containers.conf"), PathBuf::from("/etc/containers/containers.conf")];
    let mut more: Vec<PathBuf> = std::fs::read_dir("/etc/containers/containers.conf.d")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    more.sort();
    files.extend(more);
    files.extend(std::env::var_os("CONTAINERS_CONF_OVERRIDE").map(PathBuf::from));
    files
}

fn read(path: &Path) -> Option<toml::Table> {
    let metadata = std::fs::metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX {
        return None;
    }
    std::fs::read_to_string(path).ok()?.parse().ok()
}

/// `[engine] runtime`: a name, or an absolute path. `[engine.runtimes]` gives names their paths.
pub fn runtime() -> Option<String> {
    let mut name = None;
    let mut paths = toml::Table::new();
    for table in containers_conf().iter().filter_map(|path| read(path)) {
        let Some(engine) = table.get("engine") else { continue };
        if let Some(runtime) = engine.get("runtime").and_then(toml::Value::as_str) {
            name = Some(runtime.to_owned());
        }
        if let Some(runtimes) = engine.get("runtimes").and_then(toml::Value::as_table) {
            paths.extend(runtimes.clone());
        }
    }
    let name = name?;
    let known = paths.get(&name).and_then(toml::Value::as_array).into_iter().flatten();
    let found = known.filter_map(toml::Value::as_str).find(|path| Path::new(path).is_file()).map(str::to_owned);
    Some(found.unwrap_or(name))
}
