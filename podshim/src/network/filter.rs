//! `--filter` of `network ls` and `network prune`.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proto::{Refusal, record::NetworkRecord, refusal::Result, time};
use regex::{Regex, RegexBuilder};

/// Memory a pattern may take.
const PATTERN: usize = 256 << 10;

/// A filter: key and value; several of one key are alternatives, but for labels.
#[derive(Clone, Debug)]
pub enum Filter {
    /// The name matches.
    Name(Regex),
    /// The id begins so.
    Id(String),
    /// The driver.
    Driver(String),
    /// It has the label, with this value where one is given.
    Label(String, Option<String>),
    /// It has not.
    NotLabel(String, Option<String>),
    /// Created before this time in nanoseconds.
    Until(i64),
    /// No pod uses it, or some does.
    Dangling(bool),
}

/// Reads `key=value` arguments.
///
/// # Errors
/// podman's words for a key there is not.
pub fn parse(arguments: &[String]) -> Result<Vec<Filter>> {
    arguments.iter().map(|argument| parse_one(argument)).collect()
}

fn parse_one(argument: &str) -> Result<Filter> {
    // `label!=x` is the key `label!`.
    let Some((key, value)) = argument.split_once('=') else {
        return Err(Refusal::invalid(format!(
            "\"{argument}\" is an invalid filter: filter input must be in the form of filter=value"
        )));
    };
    let label = || match value.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (value.to_owned(), None),
    };
    Ok(match key {
        "name" => Filter::Name(
            RegexBuilder::new(value)
                .size_limit(PATTERN)
                .build()
                .map_err(|_| Refusal::invalid(format!("--filter {argument}: not a regular expression")))?,
        ),
        "id" => Filter::Id(value.to_owned()),
        "driver" => Filter::Driver(value.to_owned()),
        "label" => {
            let (name, value) = label();
            Filter::Label(name, value)
        }
        "label!" => {
            let (name, value) = label();
            Filter::NotLabel(name, value)
        }
        "until" => Filter::Until(
            until(value).ok_or_else(|| Refusal::invalid(format!("--filter {argument}: not a time or duration")))?,
        ),
        "dangling" => Filter::Dangling(match value {
            "true" | "1" => true,
            "false" | "0" => false,
            _ => return Err(Refusal::invalid(format!("--filter {argument}: dangling is true or false"))),
        }),
        _ => return Err(Refusal::invalid(format!("invalid filter \"{key}\""))),
    })
}

/// A time, seconds since 1970, or a duration back from now.
fn until(text: &str) -> Option<i64> {
    if let Some(time) = time::parse_rfc3339(text) {
        return Some(time);
    }
    let past = match text.parse::<i64>() {
        Ok(seconds) => Timestamp::from_second(seconds).ok()?,
        Err(_) => Timestamp::now().checked_sub(text.parse::<SignedDuration>().ok()?).ok()?,
    };
    i64::try_from(past.as_nanosecond()).ok()
}

/// Whether a network passes: one of each key, and every label.
pub fn passes(filters: &[Filter], record: &NetworkRecord, used: bool) -> bool {
    filters.iter().all(|filter| {
        let alike = |other: &&Filter| std::mem::discriminant(*other) == std::mem::discriminant(filter);
        match filter {
            Filter::Label(..) | Filter::NotLabel(..) | Filter::Until(_) => matches(filter, record, used),
            _ => filters.iter().filter(alike).any(|other| matches(other, record, used)),
        }
    })
}

fn matches(filter: &Filter, record: &NetworkRecord, used: bool) -> bool {
    match filter {
        Filter::Name(pattern) => pattern.is_match(&record.name),
        Filter::Id(start) => record.id.as_str().starts_with(start),
        Filter::Driver(driver) => record.driver == *driver,
        Filter::Label(name, value) => has_label(&record.labels, name, value.as_deref()),
        Filter::NotLabel(name, value) => !has_label(&record.labels, name, value.as_deref()),
        Filter::Until(time) => record.created < *time,
        Filter::Dangling(dangling) => *dangling != used,
    }
}

fn has_label(labels: &BTreeMap<String, String>, name: &str, value: Option<&str>) -> bool {
    labels.get(name).is_some_and(|found| value.is_none_or(|value| value == found))
}

#[cfg(test)]
mod tests {
    use proto::Roots;

    use super::*;
    use crate::network::Networks;

    #[test]
    fn filters_choose() {
        let roots = Roots { state: "/nonexistent".into(), run: "/nonexistent".into() };
        let mut record = Networks::open(&roots).get("podman").expect("default");
        record.created = 1_000_000_000;
        record.labels = [("a".to_owned(), "b".to_owned())].into();
        let passes = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
            super::passes(&parse(&arguments).expect("filters"), &record, true)
        };
        for good in [
            &[][..],
            &["name=pod"],
            &["name=x", "name=man$"],
            &["id=2f259", "driver=bridge"],
            &["label=a", "label=a=b", "label!=c"],
            &["until=2"],
            &["until=1h30m"],
            &["until=2001-01-01T00:00:00Z"],
            &["dangling=false"],
        ] {
            assert!(passes(good), "{good:?}");
        }
        for bad in [&["name=x"][..], &["id=x"], &["label=a", "label=a=c"], &["label!=a"], &["until=1"], &["dangling=1"]]
        {
            assert!(!passes(bad), "{bad:?}");
        }
        for (bad, words) in [
            ("bogus=x", "invalid filter \"bogus\""),
            ("x", "\"x\" is an invalid filter: filter input must be in the form of filter=value"),
            ("name=(", "--filter name=(: not a regular expression"),
            ("until=soon", "--filter until=soon: not a time or duration"),
            ("dangling=2", "--filter dangling=2: dangling is true or false"),
        ] {
            assert_eq!(parse(&[bad.to_owned()]).expect_err(bad).message, words);
        }
    }
}
