//! A secret as `secret inspect` and `secret ls --format json` show it, and which of them are wanted.

use proto::{Refusal, refusal::Result, time};
use serde_json::{Value, json};

use super::SecretRecord;

/// The document, with podman's keys; with what it holds where `data` is given.
pub fn document(record: &SecretRecord, data: Option<&[u8]>) -> Value {
    let mut document = json!({
        "ID": record.id,
        "CreatedAt": time::rfc3339(record.created),
        "UpdatedAt": time::rfc3339(record.updated),
        "Spec": {
            "Name": record.name,
            "Driver": { "Name": "file", "Options": record.options },
            "Labels": record.labels,
        },
    });
    if let Some(data) = data {
        document["SecretData"] = String::from_utf8_lossy(data).into();
    }
    document
}

/// Refuses filters that cannot be.
///
/// # Errors
/// podman's words.
pub fn check(filters: &[String]) -> Result<()> {
    for filter in filters {
        match filter.split_once('=') {
            Some(("name" | "id", _)) => {}
            Some((key, _)) => return Err(Refusal::invalid(format!("invalid filter {key:?}"))),
            None => {
                let words = format!("filter input must be in the form of filter=value: {filter} is invalid");
                return Err(Refusal::invalid(words));
            }
        }
    }
    Ok(())
}

/// Whether `record` passes `filters` (`name=`, `id=`: part of it; any of those given), which have been checked.
pub fn passes(filters: &[String], record: &SecretRecord) -> bool {
    let fits = |filter: &String| match filter.split_once('=') {
        Some(("name", part)) => record.name.contains(part),
        Some(("id", part)) => record.id.starts_with(part),
        _ => false,
    };
    filters.is_empty() || filters.iter().any(fits)
}
