//! Times and sizes in words, as docker's go-units says them.

/// How long: `8 seconds`, `About a minute`, `2 weeks`.
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds as f64 / 3600.0 + 0.5) as i64);
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".to_owned(),
        120..3600 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago a time in seconds since 1970 is: `8 seconds ago`.
pub fn ago(then: i64) -> String {
    let now = proto::time::now() / 1_000_000_000;
    format!("{} ago", duration(now.saturating_sub(then)))
}

/// A size with three digits and a decimal unit: `703kB`, `7.05MB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let decimals = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let mut digits = format!("{value:.decimals$}");
    if digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{digits}{}", UNITS[unit])
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
    fn durations_in_words() {
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (5399, "About an hour"),
            (5400, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (13 * 86400, "13 days"),
            (14 * 86400, "2 weeks"),
            (59 * 86400, "8 weeks"),
            (60 * 86400, "2 months"),
            (729 * 86400, "24 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
    }

    #[test]
    fn sizes_have_three_digits() {
        for (bytes, text) in [
            (0, "0B"),
            (999, "999B"),
            (1000, "1kB"),
            (702_590, "703kB"),
            (7_050_000, "7.05MB"),
            (141_600_000, "142MB"),
            (12_340_000_000, "12.3GB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(spaced_size(702_590), "703 kB");
    }

    #[test]
    fn times_as_go_prints_them() {
        assert_eq!(go_time(1_795_457_668_321_458_194), "2026-11-23 18:14:28.321458194 +0000 UTC");
        assert_eq!(go_time(1_795_457_668_000_000_000), "2026-11-23 18:14:28 +0000 UTC");
        assert_eq!(go_time(0), "0001-01-01 00:00:00 +0000 UTC");
    }
}
