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

/// Whether `record` passes `filters` (`name=`, `id=`: part of it; any of those given).
///
/// # Errors
/// podman's words for a filter that cannot be.
pub fn passes(filters: &[String], record: &SecretRecord) -> Result<bool> {
    let mut fits = filters.is_empty();
    for filter in filters {
        match filter.split_once('=') {
            Some(("name", part)) => fits |= record.name.contains(part),
            Some(("id", part)) => fits |= record.id.starts_with(part),
            Some((key, _)) => return Err(Refusal::invalid(format!("invalid filter {key:?}"))),
            None => {
                let words = format!("filter input must be in the form of filter=value: {filter} is invalid");
                return Err(Refusal::invalid(words));
            }
        }
    }
    Ok(fits)
}
