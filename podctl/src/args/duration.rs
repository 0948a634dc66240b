//! Points in time and spans: Go durations, Unix times, RFC 3339.

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

/// A point in time: Unix seconds (with a fraction), RFC 3339 or its beginning, or a Go duration before now.
///
/// # Errors
/// `parsing --since "bogus": unable to interpret time value`
pub fn point(flag: &str, text: &str) -> Result<i64, Failure> {
    parse_point(text)
        .ok_or_else(|| Failure::invalid(format!("parsing --{flag} \"{text}\": unable to interpret time value")))
}

fn parse_point(text: &str) -> Option<i64> {
    if let Some(span) = go(text).filter(|_| text.parse::<f64>().is_err()) {
        return Some(proto::time::now().saturating_sub(span));
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
        assert_eq!(parse_point("1700000000"), Some(1_700_000_000_000_000_000));
        assert_eq!(parse_point("1700000000.5"), Some(1_700_000_000_500_000_000));
        assert_eq!(parse_point("2026-11-23T17:41:00Z"), proto::time::parse_rfc3339("2026-11-23T17:41:00Z"));
        assert!(parse_point("2026-11-23").is_some() && parse_point("2026-11-23T17:41:00").is_some());
        let ago = proto::time::now() - parse_point("10m").expect("a span");
        assert!((599_000_000_000..601_000_000_000).contains(&ago), "{ago}");
        assert_eq!(
            point("since", "bogus").expect_err("refused").to_string(),
            "parsing --since \"bogus\": unable to interpret time value"
        );
    }
}
