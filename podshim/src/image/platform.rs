//! What an image runs on, and which image of an index runs here.

use std::fmt;

use proto::{Kind, Refusal, refusal::Result};
use serde::{Deserialize, Serialize};

/// An operating system and a processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Platform {
    /// `linux`
    pub os: String,
    /// Go's word: `amd64`, `arm64`.
    pub architecture: String,
    /// `v8`; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "nullable")]
    pub variant: String,
}

fn nullable<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<String, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.unwrap_or_default())
}

impl Platform {
    /// This machine.
    pub fn here() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", ""),
            "x86" => ("386", ""),
            "aarch64" => ("arm64", "v8"),
            "arm" => ("arm", "v7"),
            "powerpc64" => ("ppc64le", ""),
            "loongarch64" => ("loong64", ""),
            other => (other, ""),
        };
        Platform { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Parses `--platform`: `os[/arch[/variant]]`, or an architecture alone; what is not said is as this machine's.
    ///
    /// # Errors
    /// Names the flag.
    pub fn parse(text: &str) -> Result<Platform> {
        if text.is_empty() || text == "linux" {
            return Ok(Platform::here());
        }
        let word =
            |word: &&str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            parts if !parts.iter().all(word) => ("", "", ""),
            [architecture] => ("linux", *architecture, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => ("", "", ""),
        };
        if os != "linux" {
            return Err(Refusal::new(
                Kind::Invalid,
                format!("--platform {}: use linux/ARCH[/VARIANT], for example linux/arm64", super::printable(text)),
            ));
        }
        let (architecture, variant) = match (architecture, variant) {
            ("x86_64", variant) => ("amd64", variant),
            ("aarch64", variant) => ("arm64", variant),
            ("arm64", "") => ("arm64", "v8"),
            other => other,
        };
        Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.to_owned() })
    }

    /// How well `offer` fits this wish: 0 = exactly; `None` = not at all.
    fn distance(&self, offer: &Platform) -> Option<u32> {
        if self.os != offer.os || self.architecture != offer.architecture {
            return None;
        }
        if self.variant == offer.variant {
            return Some(0);
        }
        match (version(&self.variant), version(&offer.variant)) {
            // Nothing wished: what says nothing fits best (above), then the plainest.
            (None, Some(offered)) => Some(1 + offered),
            (Some(_), None) => Some(1),
            // 32-bit ARM runs what was built for older ones.
            (Some(wished), Some(offered)) if self.architecture == "arm" && offered < wished => {
                Some(1 + wished - offered)
            }
            // Without a level, amd64 and arm64 are v1 and v8.
            _ => None,
        }
    }

    /// The best of `offers` for this wish.
    pub fn choose<'a, T>(&self, offers: impl IntoIterator<Item = (&'a T, &'a Platform)>) -> Option<&'a T> {
        offers
            .into_iter()
            .filter_map(|(item, offer)| Some((item, self.distance(offer)?)))
            .min_by_key(|(_, distance)| *distance)
            .map(|(item, _)| item)
    }

    /// Whether an image whose config says `architecture` is of this platform.
    pub fn is_of(&self, architecture: &str) -> bool {
        self.architecture == architecture
    }
}

fn version(variant: &str) -> Option<u32> {
    variant.strip_prefix('v')?.parse().ok()
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(wish: &str, offers: &[&str]) -> Option<String> {
        let wish = Platform::parse(wish).expect("wish");
        let offers: Vec<(String, Platform)> = offers
            .iter()
            .map(|text| {
                let mut parts = text.split('/').map(str::to_owned);
                let mut part = || parts.next().unwrap_or_default();
                ((*text).to_owned(), Platform { os: part(), architecture: part(), variant: part() })
            })
            .collect();
        wish.choose(offers.iter().map(|(text, platform)| (text, platform))).cloned()
    }

    #[test]
    fn the_best_offer_is_chosen() {
        let list =
            ["linux/amd64", "linux/arm/v5", "linux/arm/v7", "linux/arm64/v8", "unknown/unknown", "windows/amd64"];
        for (wish, expected) in [
            ("linux/amd64", Some("linux/amd64")),
            ("amd64", Some("linux/amd64")),
            ("linux/arm64", Some("linux/arm64/v8")),
            ("linux/arm/v7", Some("linux/arm/v7")),
            ("linux/arm/v6", Some("linux/arm/v5")),
            ("linux/arm", Some("linux/arm/v5")),
            ("linux/s390x", None),
        ] {
            assert_eq!(choice(wish, &list).as_deref(), expected, "{wish}");
        }
        assert_eq!(choice("linux/arm64", &["linux/arm64"]).as_deref(), Some("linux/arm64"));
        assert_eq!(Platform::parse("linux").expect("an OS alone"), Platform::here());
        assert_eq!(choice("amd64", &["linux/amd64/v3", "linux/amd64/v1"]).as_deref(), Some("linux/amd64/v1"));
    }

    #[test]
    fn what_is_no_platform() {
        for bad in ["/", "linux/", "windows/amd64", "linux/a/b/c", "linux/a b", "linux/\u{1b}"] {
            assert!(Platform::parse(bad).is_err(), "{bad:?}");
        }
    }
}
