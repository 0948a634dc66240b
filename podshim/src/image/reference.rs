//! Names of images: the grammar of the distribution project.
//!
//! ```text
//! reference := [domain "/"] path [":" tag] ["@" digest]
//! domain    := host [":" port]          a first part with a dot, a colon or upper case, or "localhost"
//! path      := component ("/" component)*
//! component := [a-z0-9]+ (("." | "_" | "__" | "-"+) [a-z0-9]+)*
//! tag       := [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
//! ```

use std::{fmt, str::FromStr};

use proto::{Kind, Refusal};

use super::digest::Digest;

/// Longest domain and path together.
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;
/// Where short names are when nothing else is said.
pub const DOCKER: &str = "docker.io";

/// A name as users type it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `quay.io`, `127.0.0.1:5000`, `localhost`; absent for a short name.
    pub domain: Option<String>,
    /// `library/alpine`
    pub path: String,
    /// After the colon.
    pub tag: Option<String>,
    /// After the at sign.
    pub digest: Option<Digest>,
}

/// A name in full: domain, path, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Full {
    /// `docker.io`
    pub domain: String,
    /// `library/alpine`
    pub path: String,
    /// Which of its images.
    pub which: Which,
}

/// Which image of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Which {
    /// The one that has this tag now.
    Tag(String),
    /// The one whose manifest has this digest.
    Digest(Digest),
}

/// The text is no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format{0}")]
pub struct Malformed(&'static str);

impl Malformed {
    /// As a refusal about `text`.
    pub fn refusal(self, text: &str) -> Refusal {
        Refusal::new(Kind::Invalid, format!("{}: {self}", super::printable(text))).about(text)
    }
}

impl Reference {
    /// Parses `text`.
    ///
    /// # Errors
    /// When it breaks the grammar.
    pub fn parse(text: &str) -> Result<Reference, Malformed> {
        let text = text.strip_prefix("docker://").unwrap_or(text);
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (
                rest,
                Some(digest.parse().map_err(|_| Malformed(": after the @ there must be sha256: and 64 hex digits"))?),
            ),
            None => (text, None),
        };
        let (domain, rest) = match rest.split_once('/') {
            Some((first, path)) if is_domain_like(first) => (Some(first), path),
            _ => (None, rest),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        if domain.is_some_and(|domain| !is_domain(domain)) {
            return Err(Malformed(""));
        }
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(Malformed(": repository name must be lowercase"));
        }
        if !path.split('/').all(is_component) || tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(Malformed(""));
        }
        if domain.map_or(0, |domain| domain.len() + 1) + path.len() > MAX_NAME {
            return Err(Malformed(": repository name must not be more than 255 characters"));
        }
        if domain.is_none() && path.len() == 64 && Digest::from_hex(path).is_some() {
            return Err(Malformed(": 64 hex digits are an id, not a name"));
        }
        Ok(Reference { domain: domain.map(str::to_owned), path: path.to_owned(), tag: tag.map(str::to_owned), digest })
    }

    /// Without a domain.
    pub fn is_short(&self) -> bool {
        self.domain.is_none()
    }

    /// Which image of its repository: the digest counts where there is one, the tag `latest` where there is nothing.
    pub fn which(&self) -> Which {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Which::Digest(digest.clone()),
            (None, Some(tag)) => Which::Tag(tag.clone()),
            (None, None) => Which::Tag("latest".to_owned()),
        }
    }

    /// In full as Docker understands it: a short name is at docker.io, one of a single part in `library/` there.
    pub fn docker(&self) -> Full {
        let domain = self.domain.as_deref().unwrap_or(DOCKER);
        self.at(domain)
    }

    /// In full at `registry`, which may have a path (`quay.io/libpod`).
    pub fn at(&self, registry: &str) -> Full {
        let (domain, prefix) = match registry.split_once('/') {
            Some((domain, prefix)) => (domain, Some(prefix)),
            None => (registry, None),
        };
        let domain = if domain == "index.docker.io" { DOCKER } else { domain };
        let path = match prefix {
            Some(prefix) => format!("{prefix}/{}", self.path),
            None if domain == DOCKER && !self.path.contains('/') => format!("library/{}", self.path),
            None => self.path.clone(),
        };
        Full { domain: domain.to_owned(), path, which: self.which() }
    }
}

impl Full {
    /// `docker.io/library/alpine`
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The same repository by digest.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Full {
        Full { which: Which::Digest(digest.clone()), ..self.clone() }
    }

    /// The tag; absent when it is by digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.which {
            Which::Tag(tag) => Some(tag),
            Which::Digest(_) => None,
        }
    }
}

impl FromStr for Full {
    type Err = Malformed;

    /// Parses a name that a record holds: it must be in full.
    fn from_str(text: &str) -> Result<Full, Malformed> {
        let reference = Reference::parse(text)?;
        if reference.domain.is_none() || (reference.tag.is_none() && reference.digest.is_none()) {
            return Err(Malformed(""));
        }
        Ok(reference.docker())
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Which::Tag(tag) => f.write_str(tag),
            Which::Digest(digest) => write!(f, "{digest}"),
        }
    }
}

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.which {
            Which::Tag(tag) => write!(f, "{}/{}:{tag}", self.domain, self.path),
            Which::Digest(digest) => write!(f, "{}/{}@{digest}", self.domain, self.path),
        }
    }
}

/// Whether the part before the first slash is meant as a domain (distribution's splitDockerDomain).
fn is_domain_like(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':', '[']) || text.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            match port.strip_prefix(':') {
                Some(port) => (None, Some(port)),
                None if port.is_empty() => (None, None),
                None => return false,
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(text), None),
        },
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    };
    host.is_none_or(|host| host.split('.').all(label))
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+'))
}

fn is_component(text: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().is_some_and(|byte| alphanumeric(*byte)) || !bytes.last().is_some_and(|byte| alphanumeric(*byte)) {
        return false;
    }
    text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(text: &str) -> bool {
    let mut bytes = text.bytes();
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG
        && bytes.next().is_some_and(word)
        && bytes.all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_in_full() {
        for (typed, full) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.19", "docker.io/library/alpine:3.19"),
            ("docker://alpine:3.19", "docker.io/library/alpine:3.19"),
            ("libpod/banner", "docker.io/libpod/banner:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("quay.io/libpod/banner", "quay.io/libpod/banner:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:1", "localhost:5000/x:1"),
            ("127.0.0.1:5000/a/b/c:T_1.x-y", "127.0.0.1:5000/a/b/c:T_1.x-y"),
            ("[::1]:5000/x", "[::1]:5000/x:latest"),
            ("Host/x", "Host/x:latest"),
            ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"),
        ] {
            assert_eq!(Reference::parse(typed).map(|name| name.docker().to_string()).as_deref(), Ok(full), "{typed:?}");
        }
        let by_digest = format!("docker.io/library/alpine@{DIGEST}");
        for typed in [format!("alpine@{DIGEST}"), format!("alpine:3@{DIGEST}")] {
            assert_eq!(Reference::parse(&typed).map(|name| name.docker().to_string()), Ok(by_digest.clone()));
        }
        assert_eq!(by_digest.parse::<Full>().map(|full| full.to_string()), Ok(by_digest));
    }

    #[test]
    fn what_is_no_name() {
        let long = "a".repeat(256);
        for bad in [
            "",
            ":",
            "@",
            "/",
            "a/",
            "/a",
            "a//b",
            "a:",
            "a:-",
            ":tag",
            "a b",
            "a\n",
            "a:b c",
            "Alpine",
            "a/B",
            "-a",
            "a-",
            "a_-b",
            "a...b",
            "a..b",
            "a___b",
            "../x",
            "a/../b",
            "x.y:port/a",
            "x:99999/a",
            "x:0/a",
            "[::g]/a",
            "[::1]x/a",
            "-x.y/a",
            "x..y/a",
            "a@sha256:abc",
            "a@md5:abc",
            "é",
            "a\u{1b}[0m",
            &long,
            &format!("a:{}", "t".repeat(129)),
            &DIGEST[7..],
            &format!("a@{DIGEST}@{DIGEST}"),
            "a:1:2",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_short_name_at_a_registry() {
        let name = Reference::parse("nginx:1").expect("name");
        assert_eq!(name.at("quay.io").to_string(), "quay.io/nginx:1");
        assert_eq!(name.at("quay.io/libpod").to_string(), "quay.io/libpod/nginx:1");
        assert_eq!(name.at("docker.io").to_string(), "docker.io/library/nginx:1");
    }
}
