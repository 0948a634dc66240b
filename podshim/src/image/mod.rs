//! Images: their names, where they come from, and the store they are in.
//!
//! | file | owns |
//! |---|---|
//! | [`mod@reference`], [`registries`], [`platform`] | names as people type them; registries.conf; which image of several |
//! | [`digest`], [`manifest`] | what strangers wrote, as types that cannot hold what is wrong |
//! | [`registry`], [`auth`], [`download`] | the wire: HTTP, tokens, blobs that are verified as they come |
//! | [`pull`], [`load`], [`save`] | the three ways in and out |
//! | [`archive`] | files in an archive, found without unpacking it |
//! | [`plain`], [`tape`], [`unpack`] | a layer: decompressed, read as tar, written where no link leads out |
//! | [`commit`], [`store`], [`remove_tree`] | the directory of the store, and its rubbish |
//! | [`resolve`], [`list`], [`filter`], [`document`], [`history`], [`usage`] | finding and showing |
//! | [`remove`] | naming and removing |
//!
//! Whoever adds (pull, load) holds a shared lock while nothing of it is named yet; who removes collects only when nobody
//! adds. Readers take no lock.

use std::{io, path::PathBuf};

use oci_spec::image::ImageConfiguration;
use proto::{Kind, Refusal, Roots};

pub mod archive;
pub mod auth;
mod certs;
pub mod check;
pub mod commit;
pub mod digest;
pub mod document;
pub mod download;
#[cfg(test)]
mod fake_registry;
pub mod filter;
pub mod history;
pub mod list;
pub mod load;
pub mod manifest;
pub mod plain;
pub mod platform;
pub mod pull;
pub mod reference;
pub mod registries;
pub mod registry;
pub mod remove;
pub mod remove_tree;
pub mod resolve;
pub mod save;
pub mod store;
pub mod tape;
pub mod unpack;
pub mod usage;

/// The store of images.
#[derive(Clone, Debug)]
pub struct Store {
    roots: Roots,
    root: PathBuf,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    /// Digest of the config, 64 hex digits.
    pub id: String,
    /// Full names (`docker.io/library/alpine:latest`).
    pub names: Vec<String>,
    /// The full name it was found by; empty when found by id.
    pub name: String,
    /// Digest of the manifest, `sha256:…`.
    pub digest: String,
    /// The config.
    pub config: ImageConfiguration,
    /// `Healthcheck` of the config, which is docker's and not OCI's; not checked.
    pub healthcheck: Option<serde_json::Value>,
    /// Unpacked layers, bottom first.
    pub layers: Vec<PathBuf>,
    /// Bytes of all layers, unpacked.
    pub size: u64,
    /// When it was built, ns since the epoch.
    pub created: i64,
}

impl Store {
    /// Opens it; makes nothing.
    pub fn open(roots: &Roots) -> Store {
        Store { roots: roots.clone(), root: roots.images() }
    }

    /// A refusal for a failure of the store itself.
    fn broken(&self, error: &io::Error) -> Refusal {
        Refusal::internal(format_args!("image store {}", self.root.display()), cause(error))
    }
}

/// podman's words for an image that is not in the store.
fn not_known(kind: Kind, name: &str) -> Refusal {
    Refusal::new(kind, format!("{}: image not known", printable(name))).about(name)
}

/// Where nothing is pulled a missing image is one that there is not.
fn missing_is_no_such(mut refusal: Refusal) -> Refusal {
    if refusal.kind == Kind::ImageMissing {
        refusal.kind = Kind::NoSuchImage;
    }
    refusal
}

/// The refusal by which the image `name` is asked for: whoever can pull pulls it.
pub fn missing(name: &str) -> Refusal {
    not_known(Kind::ImageMissing, name)
}

/// `text` of a stranger as one line that no terminal acts on: control and direction characters are replaced.
pub fn printable(text: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    text.chars().map(|c| if acts(c) { '\u{fffd}' } else { c }).collect()
}

/// The words of an error without its number.
fn cause(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        None => text,
    }
}
