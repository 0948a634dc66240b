//! Secrets whose records cannot be read, or that hold nothing any more.

use std::{fs, io};

use proto::{
    Refusal,
    record::{self, SCHEMA},
};

use super::{SecretRecord, Secrets};
use crate::finding::{Finding, Mend};

/// What is wrong with the store. What was cut off is removed by whoever lists secrets, and nobody is told.
pub fn scan(secrets: &Secrets) -> Vec<Finding> {
    let entries = fs::read_dir(secrets.directory()).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names.iter().filter_map(|name| secret(secrets, name)).collect()
}

fn secret(secrets: &Secrets, id: &str) -> Option<Finding> {
    let path = secrets.directory().join(id);
    if id.starts_with('.') || !path.is_dir() {
        return None;
    }
    let (object, problem) = match record::read::<SecretRecord>(&path.join("secret.json")) {
        Ok(record) if record.schema > SCHEMA => {
            let way = "install that version again".to_owned();
            return Some(Finding::new("secret", record.name, "was written by a newer podctl", Mend::User(way)));
        }
        Ok(record) if !path.join("data").is_file() => (record.name, "has lost what it held"),
        Ok(_) => return None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(_) => (id.to_owned(), "has a record that cannot be read"),
    };
    Some(Finding::force("secret", object, problem, "removes it", move || match fs::remove_dir_all(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Refusal::internal(path.display(), error)),
        _ => Ok(()),
    }))
}
