//! Durations and sizes in words, as docker's go-units and Go itself say them.

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

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// A size with three digits and a decimal unit: `703kB`, `7.05MB`.
pub fn size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 3)
}

/// A size with four digits and a decimal unit, as `stats` shows it: `702.6kB`.
pub fn fine_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, &DECIMAL, 4)
}

/// A size with four digits and a binary unit: `686.1KiB`.
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, &BINARY, 4)
}

fn scaled(bytes: u64, base: f64, units: &[&str; 7], significant: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let whole = [10.0, 100.0, 1000.0].iter().filter(|&&bound| value >= bound).count() + 1;
    let mut digits = format!("{value:.*}", significant.saturating_sub(whole));
    if digits.contains('.') {
        digits.truncate(digits.trim_end_matches('0').trim_end_matches('.').len());
    }
    format!("{digits}{}", units[unit])
}

/// A span as Go prints it: `1h2m3.5s`, `45.123ms`, `0s`.
pub fn go_duration(nanoseconds: u64) -> String {
    let fraction = |value: u64, unit: u64, name: &str| {
        let digits = unit.ilog10() as usize;
        let rest = format!("{:0digits$}", value % unit);
        match rest.trim_end_matches('0') {
            "" => format!("{}{name}", value / unit),
            rest => format!("{}.{rest}{name}", value / unit),
        }
    };
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1000 => format!("{nanoseconds}ns"),
        1000..1_000_000 => fraction(nanoseconds, 1000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanoseconds, 1_000_000, "ms"),
        _ => {
            let minutes = nanoseconds / 60_000_000_000;
            let seconds = fraction(nanoseconds % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, minutes) => format!("{minutes}m{seconds}"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}"),
            }
        }
    }
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
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (1_023, "1.023kB", "1023B"),
            (702_590, "702.6kB", "686.1KiB"),
            (67_108_864, "67.11MB", "64MiB"),
            (8_347_000_000, "8.347GB", "7.774GiB"),
        ] {
            assert_eq!((fine_size(bytes).as_str(), binary_size(bytes).as_str()), (decimal, binary));
        }
    }

    #[test]
    fn spans_as_go_prints_them() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (5, "5ns"),
            (1_500, "1.5µs"),
            (45_123_000, "45.123ms"),
            (1_000_000_000, "1s"),
            (61_050_000_000, "1m1.05s"),
            (894_559_080_387, "14m54.559080387s"),
            (7_203_000_000_000, "2h0m3s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(nanoseconds), text);
        }
    }
}
