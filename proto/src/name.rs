//! Names of pods, containers, volumes and networks.
//!
//! The rule is podman's: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`. A name is also a file name under `$STATE/names`, so nothing else
//! may pass.

/// Longest name: a file name in every file system.
pub const MAX: usize = 255;

/// The words podman uses for a name that breaks the rule.
pub const RULE: &str = "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument";

/// The words for a name that is longer than [`MAX`].
pub const TOO_LONG: &str = "names have at most 255 characters: invalid argument";

/// What a name that is not valid breaks, in words.
pub fn rule(text: &str) -> &'static str {
    if text.len() > MAX { TOO_LONG } else { RULE }
}

/// Whether `text` may name a pod, container, volume or network.
pub fn is_valid(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.len() <= MAX
}

#[cfg(test)]
mod tests {
    use super::{MAX, RULE, TOO_LONG, is_valid, rule};

    #[test]
    fn the_rule() {
        for good in ["a", "pod1", "0", "my_pod.x-y", "A"] {
            assert!(is_valid(good), "{good:?}");
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "a\n", "é", &"x".repeat(256)] {
            assert!(!is_valid(bad), "{bad:?}");
        }
        assert!(is_valid(&"x".repeat(MAX)) && TOO_LONG.contains(&MAX.to_string()));
        assert_eq!((rule(&"x".repeat(256)), rule("a/b")), (TOO_LONG, RULE));
    }
}
