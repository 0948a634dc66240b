//! `--filter` of `volume ls` and `volume prune`.

use proto::{Refusal, record::VolumeRecord, refusal::Result, time};
use regex::Regex;

/// One key with all its values. Several keys must all match; several values of a key are alternatives, but labels.
#[derive(Clone, Debug)]
pub enum Filter {
    /// `driver`, `scope`: everything here is local.
    Local(Vec<String>),
    /// `name`: expressions.
    Name(Vec<Regex>),
    /// `label`: all of them, `key` or `key=value`.
    Label(Vec<String>),
    /// `label!`: none of them.
    NoLabel(Vec<String>),
    /// `opt`: `key` or `key=value`.
    Option(Vec<String>),
    /// `dangling`: used by nobody.
    Dangling(bool),
    /// `anonymous`.
    Anonymous(bool),
    /// `until`: created before, ns.
    Until(i64),
    /// `since`, `after`: created after, ns.
    Since(i64),
}

/// The filters of `arguments` (`key=value`). `created` gives the time another volume was created.
///
/// # Errors
/// In podman's words.
pub fn parse(arguments: &[String], created: impl Fn(&str) -> Result<i64>) -> Result<Vec<Filter>> {
    let mut filters: Vec<(String, Filter)> = Vec::new();
    for argument in arguments {
        let (key, value) = argument.split_once('=').ok_or_else(|| {
            Refusal::invalid(format!("filter input must be in the form of filter=value: {argument} is invalid"))
        })?;
        // `label!=x` is written with the mark before the equals sign.
        let filter = one(key, value, &created)?;
        match filters.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => join(known, filter),
            None => filters.push((key.to_owned(), filter)),
        }
    }
    Ok(filters.into_iter().map(|(_, filter)| filter).collect())
}

fn one(key: &str, value: &str, created: &impl Fn(&str) -> Result<i64>) -> Result<Filter> {
    let boolean = |value: &str| match value.to_ascii_lowercase().as_str() {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Refusal::invalid(format!(
            "{value:?} is not a valid value for the {key:?} filter - must be true or false"
        ))),
    };
    let values = || vec![value.to_owned()];
    Ok(match key {
        "driver" | "scope" => Filter::Local(values()),
        "name" => Filter::Name(vec![
            Regex::new(value)
                .map_err(|_| Refusal::invalid(format!("--filter name={value}: not a regular expression")))?,
        ]),
        "label" => Filter::Label(values()),
        "label!" => Filter::NoLabel(values()),
        "opt" => Filter::Option(values()),
        "dangling" => Filter::Dangling(boolean(value)?),
        "anonymous" => Filter::Anonymous(boolean(value)?),
        "until" => Filter::Until(point(value)?),
        "since" | "after" => Filter::Since(created(value)?),
        _ => return Err(Refusal::invalid(format!("{key:?} is an invalid volume filter"))),
    })
}

/// A second value of the same key.
fn join(known: &mut Filter, another: Filter) {
    match (known, another) {
        (
            Filter::Local(values) | Filter::Label(values) | Filter::NoLabel(values) | Filter::Option(values),
            Filter::Local(more) | Filter::Label(more) | Filter::NoLabel(more) | Filter::Option(more),
        ) => values.extend(more),
        (Filter::Name(values), Filter::Name(more)) => values.extend(more),
        // Of the others the last one counts.
        (known, another) => *known = another,
    }
}

/// A time: RFC 3339, seconds since the epoch, or a duration before now (`10m`, `1h30m`).
fn point(text: &str) -> Result<i64> {
    if let Some(time) = time::parse_rfc3339(text) {
        return Ok(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(seconds.saturating_mul(1_000_000_000));
    }
    let span: Option<jiff::SignedDuration> = text.parse().ok();
    span.and_then(|span| i64::try_from(span.as_nanos()).ok()).map(|span| time::now().saturating_sub(span)).ok_or_else(
        || Refusal::invalid(format!("--filter until={text}: give a time (RFC 3339, Unix) or a duration (10m)")),
    )
}

impl Filter {
    /// Whether the volume passes.
    pub fn matches(&self, record: &VolumeRecord, used: bool) -> bool {
        match self {
            Filter::Local(values) => values.iter().any(|value| value == "local"),
            Filter::Name(values) => values.iter().any(|value| value.is_match(&record.name)),
            Filter::Label(values) => values.iter().all(|value| has(&record.labels, value)),
            Filter::NoLabel(values) => !values.iter().any(|value| has(&record.labels, value)),
            Filter::Option(values) => values.iter().any(|value| has(&record.options, value)),
            Filter::Dangling(wanted) => *wanted != used,
            Filter::Anonymous(wanted) => *wanted == record.anonymous,
            Filter::Until(time) => record.created < *time,
            Filter::Since(time) => record.created > *time,
        }
    }
}

/// `key` or `key=value` is in `map`.
fn has(map: &std::collections::BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => map.get(key).is_some_and(|known| known == value),
        None => map.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> VolumeRecord {
        VolumeRecord {
            schema: 1,
            name: "vol1".into(),
            created: 1_000_000_000_000,
            labels: [("a".to_owned(), "b".to_owned())].into(),
            options: Default::default(),
            anonymous: false,
            copied_up: false,
            owner: None,
        }
    }

    fn passes(filters: &[&str]) -> bool {
        let filters: Vec<String> = filters.iter().map(|filter| (*filter).to_owned()).collect();
        let filters = parse(&filters, |_| Ok(5)).expect("filters");
        filters.iter().all(|filter| filter.matches(&record(), true))
    }

    #[test]
    fn filters() {
        for (filter, expected) in [
            (&["name=vol"][..], true),
            (&["name=^x", "name=1$"], true),
            (&["name=x"], false),
            (&["label=a"], true),
            (&["label=a=b", "label=c"], false),
            (&["label!=c"], true),
            (&["label!=a"], false),
            (&["dangling=true"], false),
            (&["dangling=0"], true),
            (&["driver=local", "scope=local"], true),
            (&["driver=x"], false),
            (&["until=2000"], true),
            (&["until=1h"], true),
            (&["until=1970-01-01T00:00:01Z"], false),
            (&["since=other"], true),
            (&["anonymous=true"], false),
            (&["opt=o"], false),
        ] {
            assert_eq!(passes(filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn wrong_filters_in_podmans_words() {
        for (filter, words) in [
            ("bogus=1", "\"bogus\" is an invalid volume filter"),
            ("dangling=maybe", "\"maybe\" is not a valid value for the \"dangling\" filter - must be true or false"),
            ("name", "filter input must be in the form of filter=value: name is invalid"),
            ("name=(", "--filter name=(: not a regular expression"),
            ("until=x", "--filter until=x: give a time (RFC 3339, Unix) or a duration (10m)"),
        ] {
            let refusal = parse(&[filter.to_owned()], |_| Ok(0)).expect_err(filter);
            assert_eq!(refusal.message, words);
        }
    }
}
