//! Ids of pods and containers: 64 lower-case hexadecimal digits, random.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The id of a pod or container.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

/// Number of digits of a full id.
pub const LENGTH: usize = 64;
/// Number of digits shown in tables.
pub const SHORT: usize = 12;

impl Id {
    /// A new random id.
    ///
    /// # Errors
    /// When the kernel gives no random bytes.
    pub fn random() -> std::io::Result<Id> {
        let mut bytes = [0u8; LENGTH / 2];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Id(hex(&bytes)))
    }

    /// The whole id.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 12 digits that tables show.
    pub fn short(&self) -> &str {
        &self.0[..SHORT]
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// Whether `text` may be the beginning of an id.
pub fn is_prefix(text: &str) -> bool {
    !text.is_empty() && text.len() <= LENGTH && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// Text that is no id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an id of {LENGTH} hexadecimal digits")]
pub struct NotAnId(String);

impl FromStr for Id {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Id, NotAnId> {
        if text.len() == LENGTH && is_prefix(text) { Ok(Id(text.to_owned())) } else { Err(NotAnId(text.to_owned())) }
    }
}

impl TryFrom<String> for Id {
    type Error = NotAnId;
    fn try_from(text: String) -> Result<Id, NotAnId> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> String {
        id.0
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_ids_parse_and_differ() {
        let (a, b) = (Id::random().expect("random"), Id::random().expect("random"));
        assert_ne!(a, b);
        assert_eq!(a.as_str().parse::<Id>().expect("an id"), a);
        assert_eq!(a.short().len(), SHORT);
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in ["", "abc", &"A".repeat(64), &"g".repeat(64), &"a".repeat(65), "../../etc"] {
            assert!(text.parse::<Id>().is_err(), "{text:?}");
        }
    }
}
