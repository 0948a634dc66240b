//! The terminal podctl runs in: raw mode and its way back, its size, the keys that detach.

use std::{
    io::IsTerminal,
    os::fd::{AsFd, BorrowedFd},
    sync::Mutex,
};

use nix::sys::termios::{self, SetArg, Termios};

use crate::{error::Failure, sys};

/// The settings to go back to, where a panic finds them.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// Raw mode of the terminal on stdin. Ends when this is dropped, and on a panic.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes the terminal on stdin raw; `None` where stdin is no terminal.
    pub fn enter() -> Option<RawMode> {
        let stdin = std::io::stdin();
        let mut settings = termios::tcgetattr(stdin.as_fd()).ok()?;
        let before = settings.clone();
        termios::cfmakeraw(&mut settings);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSANOW, &settings).ok()?;
        if let Ok(mut place) = BEFORE.lock() {
            *place = Some(before);
        }
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            hook(panic);
        }));
        Some(RawMode(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    let before = BEFORE.lock().ok().and_then(|mut place| place.take());
    if let Some(before) = before {
        // The terminal may have gone: then there is nothing to restore.
        let _ = termios::tcsetattr(std::io::stdin().as_fd(), SetArg::TCSANOW, &before);
    }
}

/// Whether stdin is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Rows and columns of the terminal podctl runs in: of stdin, else of stdout.
pub fn size() -> Option<(u16, u16)> {
    let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
    let of = |fd: BorrowedFd<'_>| sys::window_size(fd).filter(|size| *size != (0, 0));
    of(stdin.as_fd()).or_else(|| of(stdout.as_fd()))
}

/// The sequence of keys that detaches, and how much of it has been typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys {
    keys: Vec<u8>,
    typed: usize,
}

/// What detaches when nobody says otherwise.
pub const DETACH_KEYS: &str = "ctrl-p,ctrl-q";

impl DetachKeys {
    /// Keys as users write them: `a`, `ctrl-p,ctrl-q`; "" = nothing detaches.
    ///
    /// # Errors
    /// podman's words.
    pub fn parse(text: &str) -> Result<DetachKeys, Failure> {
        let key = |word: &str| {
            key(word).ok_or_else(|| Failure::invalid(format!("invalid detach keys: Unknown character: '{word}'")))
        };
        let keys = if text.is_empty() { Vec::new() } else { text.split(',').map(key).collect::<Result<_, _>>()? };
        Ok(DetachKeys { keys, typed: 0 })
    }

    /// Takes what was typed: what of it is for the container, and whether the keys were among it. The beginning of the
    /// sequence is held back until it is clear that it is none.
    pub fn filter(&mut self, typed: &[u8]) -> (Vec<u8>, bool) {
        let mut passed = Vec::with_capacity(typed.len());
        for &byte in typed {
            if self.keys.get(self.typed) == Some(&byte) {
                self.typed += 1;
                if self.typed == self.keys.len() {
                    self.typed = 0;
                    return (passed, true);
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.typed]);
            self.typed = 0;
            if self.keys.first() == Some(&byte) && self.keys.len() > 1 {
                self.typed = 1;
            } else {
                passed.push(byte);
            }
        }
        (passed, false)
    }
}

fn key(word: &str) -> Option<u8> {
    let code = |c: u8| match c {
        b'@' => Some(0),
        b'a'..=b'z' => Some(c - b'a' + 1),
        b'[' => Some(27),
        b'\\' => Some(28),
        b']' => Some(29),
        b'^' => Some(30),
        b'_' => Some(31),
        _ => None,
    };
    match word.as_bytes() {
        [byte] => Some(*byte),
        b"DEL" => Some(127),
        [b'c', b't', b'r', b'l', b'-', byte] => code(byte.to_ascii_lowercase()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_written() {
        for (text, keys) in [
            ("ctrl-p,ctrl-q", &[16u8, 17][..]),
            ("a", b"a"),
            ("ctrl-@,ctrl-[,ctrl-_,DEL", &[0, 27, 31, 127]),
            ("", &[]),
        ] {
            assert_eq!(DetachKeys::parse(text).expect(text).keys, keys, "{text}");
        }
        for (text, word) in [("ctrl-", "ctrl-"), ("abc", "abc"), ("a,,b", ""), ("ctrl-!", "ctrl-!")] {
            assert_eq!(
                DetachKeys::parse(text).expect_err(text).to_string(),
                format!("invalid detach keys: Unknown character: '{word}'")
            );
        }
    }

    #[test]
    fn the_sequence_is_found_over_several_reads_and_nothing_else_is_lost() {
        let mut keys = DetachKeys::parse(DETACH_KEYS).expect("keys");
        assert_eq!(keys.filter(b"ab\x10"), (b"ab".to_vec(), false));
        assert_eq!(keys.filter(b"c"), (b"\x10c".to_vec(), false));
        assert_eq!(keys.filter(b"\x10\x10\x11x"), (b"\x10".to_vec(), true));
        let mut none = DetachKeys::parse("").expect("keys");
        assert_eq!(none.filter(b"\x10\x11"), (b"\x10\x11".to_vec(), false));
        let mut one = DetachKeys::parse("q").expect("keys");
        assert_eq!(one.filter(b"abq"), (b"ab".to_vec(), true));
    }
}
