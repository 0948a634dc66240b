//! Signals by name and number (signal(7)).
//!
//! Records and messages carry the canonical name; `SIGRTMIN` is 34, as glibc and musl have it and as `podman` prints it.

use proto::{Refusal, refusal::Result};

/// First and last real-time signal that programs may use.
const REALTIME: (i32, i32) = (34, 64);

/// The signals below the real-time ones that have a name.
const NAMES: [(&str, i32); 33] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGIOT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGSTKFLT", 16),
    ("SIGCHLD", 17),
    ("SIGCLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
];

/// The signal `text` names: `SIGTERM`, `term`, `15`, `SIGRTMIN+3`, `rtmax-1`.
///
/// # Errors
/// podman's `invalid signal: …`.
pub fn number(text: &str) -> Result<i32> {
    let refuse = || Refusal::invalid(format!("invalid signal: {}", super::text::shown(text)));
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().filter(|number| is_usable(*number)).ok_or_else(refuse);
    }
    let upper = text.to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(name, _)| name.strip_prefix("SIG") == Some(bare)) {
        return Ok(*number);
    }
    realtime(bare).filter(|number| is_usable(*number)).ok_or_else(refuse)
}

/// The canonical name of the signal `text` names.
///
/// # Errors
/// As [`number`].
pub fn canonical(text: &str) -> Result<String> {
    number(text).map(name)
}

/// The name of the signal `number`; the number itself where it has none.
pub fn name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return (*name).to_owned();
    }
    let (first, last) = REALTIME;
    match number {
        _ if number == first => "SIGRTMIN".to_owned(),
        _ if number == last => "SIGRTMAX".to_owned(),
        _ if number > first && number <= first + 15 => format!("SIGRTMIN+{}", number - first),
        _ if number > first && number < last => format!("SIGRTMAX-{}", last - number),
        _ => number.to_string(),
    }
}

/// Whether a program may be sent it: 32 and 33 are the C library's own.
fn is_usable(number: i32) -> bool {
    (1..=31).contains(&number) || (REALTIME.0..=REALTIME.1).contains(&number)
}

/// `RTMIN`, `RTMIN+n`, `RTMAX`, `RTMAX-n`.
fn realtime(text: &str) -> Option<i32> {
    let (base, rest, sign) = match (text.strip_prefix("RTMIN"), text.strip_prefix("RTMAX")) {
        (Some(rest), _) => (REALTIME.0, rest, '+'),
        (_, Some(rest)) => (REALTIME.1, rest, '-'),
        _ => return None,
    };
    if rest.is_empty() {
        return Some(base);
    }
    let digits =
        rest.strip_prefix(sign).filter(|digits| digits.len() <= 2 && digits.bytes().all(|b| b.is_ascii_digit()))?;
    let offset: i32 = digits.parse().ok()?;
    Some(if sign == '+' { base + offset } else { base - offset }).filter(|number| is_usable(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name_and_number() {
        for (text, expected) in [
            ("SIGTERM", "SIGTERM"),
            ("term", "SIGTERM"),
            ("15", "SIGTERM"),
            ("9", "SIGKILL"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("rtmin+3", "SIGRTMIN+3"),
            ("37", "SIGRTMIN+3"),
            ("SIGRTMAX-1", "SIGRTMAX-1"),
            ("34", "SIGRTMIN"),
            ("RTMAX", "SIGRTMAX"),
            ("SIGIOT", "SIGABRT"),
        ] {
            assert_eq!(canonical(text).expect(text), expected, "{text}");
        }
        for bad in
            ["", "bad", "0", "-1", "32", "33", "65", "99999999999", "SIG", "SIGRTMIN+31", "RTMIN+", "RTMAX+1", "15 "]
        {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn every_number_has_a_name_that_leads_back() {
        for signal in (1..=64).filter(|signal| is_usable(*signal)) {
            assert_eq!(number(&name(signal)).expect("a name"), signal);
        }
    }
}
