//! Wall-clock time as nanoseconds since 1970-01-01 UTC, the only form in messages and records.

use jiff::Timestamp;

/// Now.
pub fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// RFC 3339 with nanoseconds in UTC (`2026-11-23T17:41:00.123456789Z`), or Go's zero time for 0.
pub fn rfc3339(nanoseconds: i64) -> String {
    if nanoseconds == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    match Timestamp::from_nanosecond(i128::from(nanoseconds)) {
        Ok(time) => format!("{time:.9}"),
        Err(_) => "0001-01-01T00:00:00Z".to_owned(),
    }
}

/// Nanoseconds of an RFC 3339 time; `None` when it is none.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let time = now();
        assert_eq!(parse_rfc3339(&rfc3339(time)), Some(time));
        assert_eq!(rfc3339(1_000_000_001), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(rfc3339(0), "0001-01-01T00:00:00Z");
    }
}
