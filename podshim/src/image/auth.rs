//! What a registry wants to know of us: challenges, credentials and tokens.

use proto::{Kind, Refusal, refusal::Result};
use serde::Deserialize;
use std::fmt;

/// A user name and a password. Debug shows neither.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// User.
    pub user: String,
    /// Password or token.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Parses `--creds`: `USER[:PASSWORD]`; empty = none.
    ///
    /// # Errors
    /// Names the flag, and never shows the value.
    pub fn parse(text: &str) -> Result<Option<Credentials>> {
        if text.is_empty() {
            return Ok(None);
        }
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        if user.is_empty() || text.chars().any(char::is_control) {
            return Err(Refusal::new(Kind::Invalid, "--creds: write USER:PASSWORD"));
        }
        Ok(Some(Credentials { user: user.to_owned(), password: password.to_owned() }))
    }
}

/// What a `WWW-Authenticate` header asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token of this realm for this service.
    Bearer {
        /// URL of the token server.
        realm: String,
        /// Its name for the registry.
        service: Option<String>,
    },
    /// User and password.
    Basic,
}

impl Challenge {
    /// The first challenge of `header` that can be met; `None` when there is none.
    pub fn parse(header: &str) -> Option<Challenge> {
        let (scheme, rest) = header.trim_start().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Challenge::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let (mut realm, mut service) = (None, None);
        for (key, value) in Parameters(rest) {
            match key.to_ascii_lowercase().as_str() {
                "realm" => realm = Some(value),
                "service" => service = Some(value),
                _ => {}
            }
        }
        Some(Challenge::Bearer { realm: realm?, service })
    }
}

/// `key="value", key=value, …`
struct Parameters<'a>(&'a str);

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a str, String);

    fn next(&mut self) -> Option<(&'a str, String)> {
        let text = self.0.trim_start_matches([' ', ',', '\t']);
        let (key, rest) = text.split_once('=')?;
        let mut value = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            loop {
                match chars.next()? {
                    (_, '\\') => value.push(chars.next()?.1),
                    (end, '"') => {
                        self.0 = &quoted[end + 1..];
                        break;
                    }
                    (_, c) => value.push(c),
                }
            }
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            value.push_str(rest[..end].trim());
            self.0 = &rest[end..];
        }
        Some((key.trim(), value))
    }
}

/// What a token server answers.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenAnswer(…)")
    }
}

impl TokenAnswer {
    /// The token; `None` when there is none that can be a header.
    pub fn token(self) -> Option<String> {
        let usable = |token: &String| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        self.token.filter(usable).or(self.access_token.filter(usable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>| {
            Some(Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) })
        };
        assert_eq!(
            Challenge::parse(r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="x,y""#),
            bearer("https://auth.docker.io/token", Some("registry.docker.io"))
        );
        assert_eq!(Challenge::parse(r#"bearer service=a, realm="b\"c""#), bearer("b\"c", Some("a")));
        assert_eq!(Challenge::parse(r#"Basic realm="x""#), Some(Challenge::Basic));
        for none in ["", "Bearer", "Bearer service=x", "Negotiate", "Bearer realm=\"open", "=,="] {
            assert_eq!(Challenge::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn credentials_do_not_show() {
        let credentials = Credentials::parse("me:sec:ret").expect("parse").expect("some");
        assert_eq!((credentials.user.as_str(), credentials.password.as_str()), ("me", "sec:ret"));
        assert!(!format!("{credentials:?}").contains("sec"));
        assert_eq!(Credentials::parse("").expect("parse"), None);
        for bad in [":x", "a\n:x"] {
            assert!(!Credentials::parse(bad).expect_err("bad").message.contains('x'), "{bad:?}");
        }
    }
}
