//! The time in `until=` (containers/common pkg/timetype): a Go duration before now, a date or time, or seconds since
//! the epoch.

use jiff::{Timestamp, civil, tz::TimeZone};
use proto::{Refusal, refusal::Result};

/// Nanoseconds since the epoch that `values` mean at `now`.
///
/// # Errors
/// podman's words for what is no time, and for several.
pub(super) fn parse(values: &[&str], now: i64) -> Result<i64> {
    let [value] = values else { return Err(Refusal::invalid("specify exactly one timestamp for until")) };
    duration(value)
        .filter(|_| *value != "0")
        .map(|duration| now.saturating_sub(duration))
        .or_else(|| moment(value))
        .or_else(|| unix(value))
        .ok_or_else(|| Refusal::invalid(format!("failed to parse value as time or duration: {value:?}")))
}

/// A Go duration (`1h30m`, `-1.5s`, `300ms`) in nanoseconds.
fn duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let unit_end =
            rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.').map_or(rest.len(), |end| digits + end);
        let unit = match &rest[digits..unit_end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * unit;
        rest = &rest[unit_end..];
    }
    // A float has room for more than 64 bits; the conversion saturates.
    #[allow(clippy::cast_possible_truncation)]
    (!text.is_empty()).then_some((sign * total) as i64)
}

/// A date or time, with an offset or in the local zone.
fn moment(text: &str) -> Option<i64> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return nanoseconds(time);
    }
    // A date with an offset: midnight there.
    let (date, rest) = text.split_at_checked(10)?;
    let date = date.parse::<civil::Date>().ok()?;
    if rest.starts_with(['Z', 'z', '+', '-']) {
        return nanoseconds(format!("{date}T00:00:00{rest}").parse().ok()?);
    }
    let time = match rest {
        "" => date.at(0, 0, 0, 0),
        _ => text.parse::<civil::DateTime>().ok()?,
    };
    // An offset that was not understood above is not ignored.
    let zone = rest.contains(['Z', 'z', '+', '-', '[']);
    nanoseconds(time.to_zoned(TimeZone::system()).ok().filter(|_| !zone)?.timestamp())
}

fn nanoseconds(time: Timestamp) -> Option<i64> {
    i64::try_from(time.as_nanosecond()).ok()
}

/// `seconds[.fraction]`
fn unix(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = seconds.parse().ok()?;
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i64 = format!("{:0<9}", fraction.get(..9).unwrap_or(fraction)).parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[test]
    fn durations_times_and_seconds() {
        for (text, time) in [
            ("1h", NOW - 3_600_000_000_000),
            ("1h30m1.5s", NOW - 5_401_500_000_000),
            ("-10s", NOW + 10_000_000_000),
            ("2023-11-14T22:13:20Z", NOW),
            ("2023-11-14T22:13:20.5Z", NOW + 500_000_000),
            ("2023-11-15T00:13:20+02:00", NOW),
            ("1700000000", NOW),
            ("1700000000.25", NOW + 250_000_000),
            ("0", 0),
        ] {
            assert_eq!(parse(&[text], NOW).expect(text), time, "{text}");
        }
        assert!(parse(&["2023-11-14"], NOW).is_ok());
        assert!(parse(&["2023-11-14T22:13:20"], NOW).is_ok());
        assert!(parse(&["2023-11-14T22:13"], NOW).is_ok());
        assert!(parse(&["2023-11-14Z"], NOW).is_ok());
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["xx", "", "1x", "2023-13-01", "1.5.5", "é", "12:00"] {
            let refusal = parse(&[text], NOW).expect_err(text);
            assert_eq!(refusal.message, format!("failed to parse value as time or duration: {text:?}"));
        }
        assert_eq!(parse(&["1h", "2h"], NOW).expect_err("two").message, "specify exactly one timestamp for until");
    }
}
