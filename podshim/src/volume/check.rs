//! Volumes that are half made or half removed, and records that cannot be read.

use std::{fs, io};

use proto::{
    alive::Lock,
    record::{self, Durability, SCHEMA, VolumeRecord},
};

use super::{Volumes, store::WAY_OUT};
use crate::finding::{Finding, Mend, shown};

/// What is wrong with the store.
pub fn scan(volumes: &Volumes) -> Vec<Finding> {
    let mut found = Vec::new();
    let entries = fs::read_dir(volumes.store()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    // Whoever makes or removes one now holds the lock, or has only just let go of it.
    let at_work = Lock::is_held(&volumes.store().join(".lock"));
    for name in names {
        if Volumes::is_remains(&name) {
            if !at_work {
                found.push(remains(volumes, name));
            }
        } else if proto::name::is_valid(&name) {
            found.extend(volume(volumes, &name));
        }
    }
    found
}

fn remains(volumes: &Volumes, name: String) -> Finding {
    let (path, volumes) = (volumes.store().join(&name), volumes.clone());
    let problem = "is what making or removing a volume has left";
    Finding::repair("volume", shown(&path), problem, "removes it", move || volumes.remove_remains())
}

fn volume(volumes: &Volumes, name: &str) -> Option<Finding> {
    let path = volumes.record(name);
    let problem = match record::read::<VolumeRecord>(&path) {
        Ok(record) if record.schema > SCHEMA => {
            let way = "install that version again".to_owned();
            return Some(Finding::new("volume", name, "was written by a newer podctl", Mend::User(way)));
        }
        Ok(_) => {
            let gone = volumes.check_data(name).is_err();
            let way = format!("{WAY_OUT} {name}");
            return gone.then(|| Finding::new("volume", name, "has no directory of data any more", Mend::User(way)));
        }
        // Not even its data is there: it goes with the directory.
        Err(_) if !volumes.data(name).is_dir() => {
            let (volumes, own) = (volumes.clone(), name.to_owned());
            let problem = "is a volume's directory without data";
            return Some(Finding::repair("volume", name, problem, "removes it", move || volumes.forget(&own)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => "has lost its record",
        Err(_) => "has a record that cannot be read",
    };
    let (volumes, own) = (volumes.clone(), name.to_owned());
    Some(Finding::repair("volume", name, problem, "writes a new one and keeps the data", move || {
        let record = volumes.get(&own)?;
        record::write(&path, &record, Durability::Durable)
            .map_err(|error| proto::Refusal::internal(format!("volume {own}"), error))
    }))
}
