//! Names of signals, as users and images write them.

use proto::{Refusal, refusal::Result};

/// Names of the signals 1 to 31 without `SIG` (signal(7), the numbers of x86 and ARM).
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];

/// First and last real-time signal a program can use: the C library keeps two for itself.
const REAL_TIME: (i32, i32) = (34, 64);

/// The number of the signal `text` names: `TERM`, `SIGTERM`, `15`, `SIGRTMIN+3`.
///
/// # Errors
/// With podman's words for what is none.
pub fn number(text: &str) -> Result<i32> {
    let bad = || Refusal::invalid(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=REAL_TIME.1).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(at) = NAMES.iter().position(|known| *known == name) {
        return i32::try_from(at + 1).map_err(|_| bad());
    }
    let real_time = |number: i32| (REAL_TIME.0..=REAL_TIME.1).contains(&number).then_some(number);
    let distance = |text: &str| text.parse::<u8>().ok().map(i32::from);
    let number = match name {
        "IOT" => Some(6),
        "CLD" => Some(17),
        "POLL" => Some(29),
        "RTMIN" => Some(REAL_TIME.0),
        "RTMAX" => Some(REAL_TIME.1),
        _ => match (name.strip_prefix("RTMIN+"), name.strip_prefix("RTMAX-")) {
            (Some(above), _) => distance(above).and_then(|distance| real_time(REAL_TIME.0 + distance)),
            (_, Some(below)) => distance(below).and_then(|distance| real_time(REAL_TIME.1 - distance)),
            (None, None) => None,
        },
    };
    number.ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn the_spellings() {
        for (text, expected) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigkill", 9),
            ("15", 15),
            ("SIGRTMIN+3", 37),
            ("RTMAX-1", 63),
            ("SIGRTMIN", 34),
            ("64", 64),
            ("IOT", 6),
        ] {
            assert_eq!(number(text).ok(), Some(expected), "{text}");
        }
        for text in ["", "SIG", "0", "65", "-1", "SIGNOPE", "RTMIN+99", "RTMAX-40", "TERM ", "9x"] {
            assert!(number(text).is_err(), "{text:?}");
        }
    }
}
