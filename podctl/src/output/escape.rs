//! Names, labels, commands and messages come from images and containers: none of their characters may steer a terminal.

use std::borrow::Cow;

/// Whether a terminal might act on it, or show what follows in another order.
pub fn is_hostile(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` as part of one line: everything hostile is escaped, ends of lines and tabs too.
pub fn line(text: &str) -> Cow<'_, str> {
    escape(text, is_hostile)
}

/// `text` of several lines: ends of lines and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |character| is_hostile(character) && !matches!(character, '\n' | '\t'))
}

fn escape(text: &str, hostile: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' if hostile('\n') => escaped.push_str("\\n"),
            '\t' if hostile('\t') => escaped.push_str("\\t"),
            '\r' => escaped.push_str("\\r"),
            c if hostile(c) && (c as u32) < 0x100 => escaped.push_str(&format!("\\x{:02x}", c as u32)),
            c if hostile(c) => escaped.push_str(&format!("\\u{:04x}", c as u32)),
            c => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_instead() {
        assert_eq!(line("web-1 é"), "web-1 é");
        assert_eq!(line("a\x1b[2Jb\n\tc\r"), "a\\x1b[2Jb\\n\\tc\\r");
        assert_eq!(line("\u{9b}x\u{7f}\u{202e}y\u{0}"), "\\x9bx\\x7f\\u202ey\\x00");
        assert_eq!(lines("a\n\tb\x07"), "a\n\tb\\x07");
    }
}
