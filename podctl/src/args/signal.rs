//! Signals by name or number.

use nix::sys::signal::Signal;

/// Real-time signals as glibc numbers them: 32 and 33 are its own.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The full name of a signal given as `TERM`, `sigterm`, `15`, `RTMIN+3`; `None` when it is none.
pub fn name(text: &str) -> Option<String> {
    if let Ok(number) = text.parse::<i32>() {
        return match number {
            RTMIN => Some("SIGRTMIN".to_owned()),
            RTMAX => Some("SIGRTMAX".to_owned()),
            n if (RTMIN..RTMAX).contains(&n) => Some(format!("SIGRTMIN+{}", n - RTMIN)),
            n => Signal::try_from(n).ok().map(|signal| signal.as_str().to_owned()),
        };
    }
    let upper = text.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(offset) = short.strip_prefix("RTMIN").or_else(|| short.strip_prefix("RTMAX")) {
        let from = if short.starts_with("RTMIN") { RTMIN } else { RTMAX };
        let offset: i32 = if offset.is_empty() { 0 } else { offset.parse().ok()? };
        return (RTMIN..=RTMAX).contains(&(from + offset)).then(|| format!("SIG{short}"));
    }
    format!("SIG{short}").parse::<Signal>().ok().map(|signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, full) in [
            ("TERM", "SIGTERM"),
            ("sigkill", "SIGKILL"),
            ("9", "SIGKILL"),
            ("RTMIN+3", "SIGRTMIN+3"),
            ("37", "SIGRTMIN+3"),
            ("64", "SIGRTMAX"),
            ("SIGRTMAX-1", "SIGRTMAX-1"),
        ] {
            assert_eq!(name(text).as_deref(), Some(full), "{text}");
        }
        for text in ["", "bad", "0", "-1", "65", "33", "RTMIN+99", "RTMIN+x", "SIG"] {
            assert_eq!(name(text), None, "{text:?}");
        }
    }
}
