//! `--user` and an image's USER: `user[:group]`, each a name or a number.

use proto::{Refusal, refusal::Result};

use super::text::quoted;

/// Largest id: a larger one is -1 or wraps in one tool or another on the way (CVE-2024-40635).
const MAX: u32 = i32::MAX as u32;

/// Refuses what is neither a user nor a user and a group. `what` is the flag or the image's field.
///
/// Digits are always a number and never looked up as a name (CVE-2026-30892: a uid that overflowed became a name, and the
/// name became root).
pub(super) fn check(what: &str, text: &str) -> Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    // `:group` is a group of root's.
    let whose = if group.is_some() && user.is_empty() { Ok(()) } else { one(user) };
    whose.and_then(|()| group.map_or(Ok(()), one)).map_err(|why| {
        Refusal::invalid(format!("{what} {}: {why}: give it as user[:group], names or numbers", quoted(text)))
    })
}

/// `--group-add`.
pub(super) fn group(text: &str) -> Result<()> {
    if text == "keep-groups" {
        return Err(Refusal::new(
            proto::Kind::NotSupported,
            "--group-add keep-groups is for rootless containers, which this version does not run: name the groups",
        ));
    }
    one(text).map_err(|why| Refusal::invalid(format!("--group-add {}: {why}: give a name or a number", quoted(text))))
}

/// What is wrong with one name or number.
fn one(text: &str) -> std::result::Result<(), &'static str> {
    if text.is_empty() {
        return Err("a part of it is empty");
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        if text.len() > 1 && text.starts_with('0') {
            return Err("a number begins with 0");
        }
        return match text.parse::<u32>() {
            Ok(id) if id <= MAX => Ok(()),
            _ => Err("a number is larger than 2147483647"),
        };
    }
    if text.starts_with(['-', '+']) {
        return Err("a name begins with - or +");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/' | ',')) {
        return Err("a name has a character no name has");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn users_and_groups() {
        for good in ["", "0", "root", "1000:1000", "www-data:www-data", "2147483647", "a.b_c", "0x0", ":1", ":staff"] {
            assert!(check("--user", good).is_ok(), "{good}");
        }
        for bad in [
            "4294967296",
            "2147483648",
            "-1",
            "1:",
            ":",
            "01",
            "+0",
            " 0",
            "root\n",
            "99999999999999999999",
            "a:b:c",
            "a b",
            "../x",
        ] {
            assert!(check("--user", bad).is_err(), "{bad:?}");
        }
    }
}
