//! `--filter` of `images` and `image prune`: the same key or-ed (labels and-ed), keys and-ed.

use proto::{Kind, Refusal, refusal::Result, time};
use regex::Regex;

use super::{Image, Store, remove::Users, resolve::repository};

/// A parsed set of filters.
#[derive(Debug, Default)]
pub struct Filter {
    references: Vec<Regex>,
    names: Vec<Regex>,
    ids: Vec<String>,
    digests: Vec<String>,
    labels: Vec<(String, Option<String>, bool)>,
    dangling: Option<bool>,
    containers: Option<bool>,
    /// Created later than, and earlier than.
    since: Option<i64>,
    before: Option<i64>,
    /// Nothing fits: `readonly=true`, `intermediate=true`.
    nothing: bool,
}

impl Filter {
    /// Parses `KEY=VALUE`s; `names` are patterns of which one must fit.
    ///
    /// # Errors
    /// Names the filter that cannot be, in podman's words.
    pub fn parse(store: &Store, filters: &[String], names: &[String]) -> Result<Filter> {
        let mut filter = Filter::default();
        for name in names {
            filter.names.push(pattern(name)?);
        }
        for text in filters {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            match key {
                "reference" => filter.references.push(pattern(value)?),
                "id" => filter.ids.push(value.to_owned()),
                "digest" => filter.digests.push(value.to_owned()),
                "dangling" => filter.dangling = Some(truth(text, value)?),
                "containers" => filter.containers = Some(truth(text, value)?),
                "readonly" | "intermediate" => filter.nothing |= truth(text, value)?,
                "label" | "label!" => {
                    let (name, wanted) = match value.split_once('=') {
                        Some((name, wanted)) => (name, Some(wanted.to_owned())),
                        None => (value, None),
                    };
                    filter.labels.push((name.to_owned(), wanted, key == "label"));
                }
                "before" | "since" | "after" => {
                    let image = store.resolve(value).map_err(|refusal| Refusal { kind: Kind::Invalid, ..refusal })?;
                    if key == "before" {
                        filter.before = Some(image.created);
                    } else {
                        filter.since = Some(image.created);
                    }
                }
                "until" => filter.before = Some(instant(value).ok_or_else(|| bad(text))?),
                _ => {
                    return Err(Refusal::invalid(format!("unsupported image filter \"{}\"", super::printable(key))));
                }
            }
        }
        Ok(filter)
    }

    /// Whether `image`, used by containers as in `used`, is wanted.
    pub fn fits(&self, image: &Image, used: &Users) -> bool {
        let any = |patterns: &[Regex]| {
            patterns.is_empty()
                || image.names.iter().any(|name| patterns.iter().any(|pattern| fits_name(pattern, name)))
        };
        let labels = image.config.config().as_ref().and_then(|config| config.labels().as_ref());
        let label = |(key, wanted, positive): &(String, Option<String>, bool)| {
            let value = labels.and_then(|labels| labels.get(key));
            value.is_some_and(|value| wanted.as_ref().is_none_or(|wanted| wanted == value)) == *positive
        };
        !self.nothing
            && any(&self.references)
            && any(&self.names)
            && (self.ids.is_empty() || self.ids.iter().any(|id| image.id.starts_with(id.as_str())))
            && (self.digests.is_empty() || self.digests.iter().any(|digest| image.digest.starts_with(digest.as_str())))
            && self.labels.iter().all(label)
            && self.dangling.is_none_or(|dangling| dangling == image.names.is_empty())
            && self.containers.is_none_or(|wanted| wanted == used.contains_key(&image.id))
            && self.since.is_none_or(|time| image.created > time)
            && self.before.is_none_or(|time| image.created < time)
    }
}

fn bad(text: &str) -> Refusal {
    Refusal::invalid(format!("--filter {}: invalid value", super::printable(text)))
}

fn truth(text: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" | "t" | "True" | "TRUE" => Ok(true),
        "false" | "0" | "f" | "False" | "FALSE" => Ok(false),
        _ => Err(bad(text)),
    }
}

/// A time stamp, seconds since the epoch, or how long ago (`24h`).
fn instant(text: &str) -> Option<i64> {
    if let Some(time) = time::parse_rfc3339(text) {
        return Some(time);
    }
    if let Ok(seconds) = text.parse::<i64>() {
        return seconds.checked_mul(1_000_000_000);
    }
    let ago: jiff::SignedDuration = text.parse().ok()?;
    time::now().checked_sub(i64::try_from(ago.as_nanos()).ok()?)
}

/// A shell pattern of a name: `*` and `?` stop at slashes.
fn pattern(glob: &str) -> Result<Regex> {
    let mut regex = String::from("^");
    for c in glob.chars() {
        match c {
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '[' | ']' => regex.push(c),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Regex::new(&regex).map_err(|_| bad(&format!("reference={glob}")))
}

/// Whether a name, with or without its tag, whole or from any slash on, fits.
fn fits_name(pattern: &Regex, name: &str) -> bool {
    let slashes = name.match_indices('/').map(|(at, _)| at + 1);
    let repository = repository(name);
    std::iter::once(0).chain(slashes).any(|start| {
        pattern.is_match(&name[start..]) || repository.get(start..).is_some_and(|text| pattern.is_match(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        let name = "quay.io/libpod/alpine:3.19";
        for glob in [
            "alpine",
            "alpine:3.19",
            "libpod/alpine",
            "al*",
            "quay.io/*/alpine",
            "*:3.19",
            "a[lm]pine",
            "quay.io/libpod/alpine",
        ] {
            assert!(fits_name(&pattern(glob).expect(glob), name), "{glob}");
        }
        for glob in ["alp", "pine", "quay.io", "libpod", "alpine:3", "*/*/*/*/*", ".*"] {
            assert!(!fits_name(&pattern(glob).expect(glob), "localhost:5000/x/y/alpine:3.19"), "{glob}");
        }
        assert!(pattern("[").is_err());
    }

    #[test]
    fn instants() {
        assert_eq!(instant("10"), Some(10_000_000_000));
        assert_eq!(instant("1970-01-01T00:00:01Z"), Some(1_000_000_000));
        assert!(instant("24h").is_some_and(|time| time < time::now()));
        assert_eq!(instant("yesterday"), None);
    }
}
