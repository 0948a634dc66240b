//! Points in time and spans: Go durations, Unix times, RFC 3339.

use super::Args;
use crate::error::Failure;

/// Nanoseconds of a Go duration (`1h30m`, `-1.5s`, `300ms`); `None` when it is none.
pub fn go(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "ns" => 1.0,
                "us" | "µs" | "μs" => 1e3,
                "ms" => 1e6,
                "s" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    (total < 9.2e18).then_some((sign * total) as i64)
}

/// What `--since` and `--until` ask for, in nanoseconds since the epoch; 0 where a flag is not given.
///
/// Unix seconds (with a fraction), RFC 3339 or its beginning, or a Go duration: before now for `--since`, after now for
/// `--until`, as podman counts it.
///
/// # Errors
/// `parsing --since "bogus": unable to interpret time value`
pub fn window(args: &Args) -> Result<(i64, i64), Failure> {
    let point = |flag: &'static str, ahead: i64| match args.text(flag) {
        None => Ok(0),
        Some(text) => point(text, ahead)
            .ok_or_else(|| Failure::invalid(format!("parsing --{flag} \"{text}\": unable to interpret time value"))),
    };
    Ok((point("since", -1)?, point("until", 1)?))
}

/// A point in time; `ahead` is 1 where a span is after now, -1 where it is before.
fn point(text: &str, ahead: i64) -> Option<i64> {
    if let Some(span) = go(text).filter(|_| text.parse::<f64>().is_err()) {
        return Some(proto::time::now().saturating_add(span.saturating_mul(ahead)));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return unix(text);
    }
    if let Some(time) = proto::time::parse_rfc3339(text) {
        return Some(time);
    }
    // A date, or a time without a zone, is local.
    let civil: jiff::civil::DateTime =
        text.parse().ok().or_else(|| text.parse::<jiff::civil::Date>().ok().map(Into::into))?;
    let time = civil.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    i64::try_from(time.timestamp().as_nanosecond()).ok()
}

/// Unix seconds, with at most nine digits of a fraction.
fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if fraction.len() > 9 || fraction.contains('.') {
        return None;
    }
    let nanoseconds: i64 = format!("{fraction:0<9}").parse().ok()?;
    seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations() {
        for (text, nanoseconds) in [
            ("1h30m", 5_400_000_000_000),
            ("300ms", 300_000_000),
            ("-1.5s", -1_500_000_000),
            ("0", 0),
            ("2us", 2000),
            ("10m", 600_000_000_000),
        ] {
            assert_eq!(go(text), Some(nanoseconds), "{text}");
        }
        for text in ["", "5", "m", "1x", "1h2", "-", "1..5s"] {
            assert_eq!(go(text), None, "{text}");
        }
    }

    #[test]
    fn points_in_time() {
        assert_eq!(point("1700000000", 1), Some(1_700_000_000_000_000_000));
        assert_eq!(point("1700000000.5", 1), Some(1_700_000_000_500_000_000));
        assert_eq!(point("2026-11-23T17:41:00Z", 1), proto::time::parse_rfc3339("2026-11-23T17:41:00Z"));
        assert!(point("2026-11-23", 1).is_some() && point("2026-11-23T17:41:00", 1).is_some());
        let ago = proto::time::now() - point("10m", -1).expect("a span");
        assert!((599_000_000_000..601_000_000_000).contains(&ago), "{ago}");
        let left = point("10m", 1).expect("a span") - proto::time::now();
        assert!((599_000_000_000..601_000_000_000).contains(&left), "{left}");
        assert_eq!(point("bogus", -1), None);
    }
}
