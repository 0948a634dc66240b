//! Times and sizes in words, as podman shows them.

pub use proto::human::{binary_size, duration, fine_size, go_duration, size};

/// How long ago a time in seconds since 1970 is: `8 seconds ago`.
pub fn ago(then: i64) -> String {
    let now = proto::time::now() / 1_000_000_000;
    format!("{} ago", duration(now.saturating_sub(then)))
}

/// [`size`] with a space before the unit, as `images` shows it.
pub fn spaced_size(bytes: u64) -> String {
    let text = size(bytes);
    let digits = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    format!("{} {}", &text[..digits], &text[digits..])
}

/// A time as Go prints it: `2026-11-23 18:14:28 +0000 UTC`, with as many digits of a fraction as it has.
pub fn go_time(nanoseconds: i64) -> String {
    let text = proto::time::rfc3339(nanoseconds);
    let text = text.trim_end_matches('Z');
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    let time = match time.split_once('.') {
        Some((whole, fraction)) => match fraction.trim_end_matches('0') {
            "" => whole.to_owned(),
            digits => format!("{whole}.{digits}"),
        },
        None => time.to_owned(),
    };
    format!("{date} {time} +0000 UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_may_stand_apart_from_its_unit() {
        assert_eq!(spaced_size(702_590), "703 kB");
    }

    #[test]
    fn times_as_go_prints_them() {
        assert_eq!(go_time(1_795_457_668_321_458_194), "2026-11-23 18:14:28.321458194 +0000 UTC");
        assert_eq!(go_time(1_795_457_668_000_000_000), "2026-11-23 18:14:28 +0000 UTC");
        assert_eq!(go_time(0), "0001-01-01 00:00:00 +0000 UTC");
    }
}
