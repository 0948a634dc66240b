//! Secrets: small files kept for containers, which see them in memory or in their environment.
//!
//! `$STATE/secrets/ID/{secret.json, data}`, for root alone. What a secret holds is never part of a record, a log or an
//! answer, but of the one to `secret inspect --showsecret`.

pub mod check;
mod document;
mod store;

pub use document::{check, document, passes};
pub use store::{SecretRecord, Secrets};
