//! Wall-clock time as nanoseconds since 1970-01-01 UTC, the only form in messages and records.

use std::{path::PathBuf, sync::OnceLock};

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Now, as far as whoever sets the clock is right; later than before it is only by and large.
pub fn now() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX).saturating_add(shift())
}

/// Since the machine was started, when it slept too: what something takes is measured by this, which nobody sets.
pub fn uptime() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec());
    time.max(1)
}

/// Seconds that the clock was set forward or back, for a test: by a file whose path is in `PODCTL_CLOCK`. Every program of
/// the machine would feel a clock that is really set.
fn shift() -> i64 {
    static SHIFT: OnceLock<Option<PathBuf>> = OnceLock::new();
    let Some(file) = SHIFT.get_or_init(|| std::env::var_os("PODCTL_CLOCK").map(PathBuf::from)) else { return 0 };
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.trim().parse().unwrap_or(0_i64).saturating_mul(1_000_000_000)
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
