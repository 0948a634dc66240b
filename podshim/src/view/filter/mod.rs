//! Which rows `--filter` leaves (podman-ps(1), podman-pod-ps(1), "--filter").
//!
//! Values of one key are alternatives, except labels, all of which must be there; different keys must all hold. A regular
//! expression that cannot be is refused, where podman matches nothing.

mod containers;
mod pods;
mod until;

use std::collections::BTreeMap;

pub use containers::Containers;
pub use pods::Pods;
use proto::{Refusal, refusal::Result};
use regex::Regex;

/// The filters by key, in the order in which the keys come first.
fn by_key(filters: &[String], without_value: impl Fn(&str) -> String) -> Result<Vec<(&str, Vec<&str>)>> {
    let mut keys: Vec<(&str, Vec<&str>)> = Vec::new();
    for filter in filters {
        // `label!=x` is the key `label!`.
        let (key, value) = filter.split_once('=').ok_or_else(|| Refusal::invalid(without_value(filter)))?;
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => keys.push((key, vec![value])),
        }
    }
    Ok(keys)
}

fn invalid_key(key: &str) -> Refusal {
    Refusal::invalid(format!("{key} is an invalid filter"))
}

/// Alternatives of regular expressions.
#[derive(Debug)]
struct Patterns(Vec<Regex>);

impl Patterns {
    fn new<S: AsRef<str>>(key: &str, values: impl IntoIterator<Item = S>) -> Result<Patterns> {
        let pattern = |value: S| {
            let value = value.as_ref();
            Regex::new(value).map_err(|_| Refusal::invalid(format!("--filter {key}={value}: not a regular expression")))
        };
        Ok(Patterns(values.into_iter().map(pattern).collect::<Result<_>>()?))
    }

    fn matches(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(text))
    }
}

/// Alternatives of ids: hexadecimal digits are the beginning of one, everything else is a regular expression.
#[derive(Debug)]
struct Ids {
    beginnings: Vec<String>,
    patterns: Patterns,
}

impl Ids {
    fn new(key: &str, values: &[&str]) -> Result<Ids> {
        let (digits, others): (Vec<&str>, Vec<&str>) =
            values.iter().partition(|value| value.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let beginnings = digits.into_iter().map(str::to_ascii_lowercase).collect();
        Ok(Ids { beginnings, patterns: Patterns::new(key, others)? })
    }

    fn matches(&self, id: &str) -> bool {
        self.beginnings.iter().any(|beginning| id.starts_with(beginning)) || self.patterns.matches(id)
    }
}

/// One wanted label: a key, in which `*` stands for anything, and perhaps a value.
#[derive(Debug)]
struct Label {
    key: String,
    pattern: Option<Regex>,
    value: String,
}

impl Label {
    fn new(filter: &str) -> Label {
        let (key, value) = filter.split_once('=').unwrap_or((filter, ""));
        let pattern = key.contains('*').then(|| regex::escape(key).replace(r"\*", ".*").replace(r"\?", "."));
        Label { key: key.to_owned(), pattern: pattern.and_then(|text| Regex::new(&text).ok()), value: value.to_owned() }
    }

    fn is_in(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().any(|(key, value)| {
            (self.value.is_empty() || self.value == *value)
                && (self.key == *key || self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(key)))
        })
    }
}

fn labels(values: &[&str]) -> Vec<Label> {
    values.iter().map(|value| Label::new(value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_match_by_key_value_and_star() {
        let labels = BTreeMap::from([("app".to_owned(), "shop".to_owned()), ("io.tier/x".to_owned(), "1".to_owned())]);
        for (filter, there) in [
            ("app", true),
            ("app=shop", true),
            ("app=", true),
            ("app=other", false),
            ("ap", false),
            ("ap*", true),
            ("io.*=1", true),
            ("io.*=2", false),
            ("i?.*", true),
            ("none", false),
        ] {
            assert_eq!(Label::new(filter).is_in(&labels), there, "{filter}");
        }
    }

    #[test]
    fn ids_match_by_beginning_or_pattern() {
        let id = "abc123";
        for (value, there) in [("abc", true), ("ABC", true), ("bc1", false), ("^abc.*3$", true), ("", true)] {
            assert_eq!(Ids::new("id", &[value]).expect("ids").matches(id), there, "{value}");
        }
        let refusal = Ids::new("id", &["x("]).expect_err("no pattern");
        assert_eq!(refusal.message, "--filter id=x(: not a regular expression");
    }
}
