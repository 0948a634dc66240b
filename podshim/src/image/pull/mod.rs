//! Pulling: from a name to an image in the store.
//!
//! ```text
//! name ─▶ candidates (short names) ─▶ sources (mirrors) ─▶ manifest ─▶ config ─▶ layers ─▶ image, name
//!                                                              three downloads at once, as many unpack as there are cores
//! ```
//! A layer is downloaded whole and verified before anything reads it. Another pull that wants the same layer waits for
//! its lock and finds it there. Whatever fails, or when the client goes, nothing is left.

use std::{path::PathBuf, sync::Arc};

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{PullImage, PullProgress},
};
use tokio::sync::mpsc;

use super::{
    Image, Store,
    auth::Credentials,
    digest::Digest,
    download::Progress,
    not_known,
    platform::Platform,
    reference::{Full, Reference},
    registries::{Registries, Source},
    registry::{Failure, FailureKind, Registry},
};
use work::Work;

mod layer;
#[cfg(test)]
mod tests;
mod work;

/// What a registry gave, or why it did not.
type Fetch<T> = std::result::Result<T, Failure>;

/// When a registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Policy {
    Always,
    Missing,
    Never,
    Newer,
}

/// What was asked for, checked.
struct Wish {
    name: Reference,
    platform: Platform,
    any_platform: bool,
    policy: Policy,
    all_tags: bool,
    insecure: Option<bool>,
    credentials: Option<Credentials>,
    certs: Option<PathBuf>,
}

/// How often an image is pulled that somebody removes at once.
const TRIES: usize = 5;

impl Wish {
    fn parse(request: &PullImage) -> Result<Wish> {
        let policy = match request.policy.as_str() {
            "" | "always" => Policy::Always,
            "missing" => Policy::Missing,
            "never" => Policy::Never,
            "newer" => Policy::Newer,
            other => {
                return Err(Refusal::invalid(format!(
                    "--policy {}: use always, missing, never or newer",
                    super::printable(other)
                )));
            }
        };
        if !request.authfile.is_empty() {
            return Err(Refusal::new(
                Kind::NotSupported,
                "--authfile is not supported yet: give --creds USER:PASSWORD",
            ));
        }
        let name = Reference::parse(&request.image).map_err(|error| error.refusal(&request.image))?;
        if request.all_tags && (name.tag.is_some() || name.digest.is_some()) {
            return Err(Refusal::invalid("--all-tags: give the name without a tag or digest").about(&request.image));
        }
        Ok(Wish {
            name,
            platform: Platform::parse(&request.platform)?,
            any_platform: request.platform.is_empty(),
            policy,
            all_tags: request.all_tags,
            insecure: request.tls_verify.map(|verify| !verify),
            credentials: Credentials::parse(&request.creds)?,
            certs: Some(&request.cert_dir).filter(|dir| !dir.is_empty()).map(PathBuf::from),
        })
    }
}

impl Store {
    /// Pulls from a registry, telling the progress. Dropping the receiver ends it.
    ///
    /// # Errors
    /// `Invalid` for a name or option that cannot be, else the words of the registry that failed last. Nothing is left.
    pub async fn pull(&self, request: &PullImage, progress: mpsc::Sender<PullProgress>) -> Result<Image> {
        let wish = Wish::parse(request)?;
        let local = || match self.resolve_for(&request.image, &request.platform) {
            Err(refusal) if refusal.kind == Kind::ImageMissing => Ok(None),
            other => other.map(Some),
        };
        match wish.policy {
            Policy::Never => return local()?.ok_or_else(|| not_known(Kind::NoSuchImage, &request.image)),
            Policy::Missing => {
                if let Some(image) = local()? {
                    return Ok(image);
                }
            }
            Policy::Always | Policy::Newer => {}
        }
        let registries = Registries::read()?;
        let progress = Progress(progress);
        let mut failures = Vec::new();
        for candidate in registries.candidates(&wish.name) {
            for left in (0..TRIES).rev() {
                match self.pull_candidate(&registries, &wish, &candidate, &progress).await {
                    Ok((id, name)) => match self.image(id.hex(), &name.to_string()) {
                        // Somebody has removed it the moment it was here.
                        Err(refusal) if refusal.kind == Kind::ImageMissing && left > 0 => continue,
                        image => return image,
                    },
                    Err(failure) if failure.kind == FailureKind::Cancelled => {
                        return Err(failure.refusal(&request.image));
                    }
                    Err(failure) => failures.push(failure),
                }
                break;
            }
        }
        if wish.policy == Policy::Newer
            && let Some(image) = local()?
        {
            return Ok(image);
        }
        let words: Vec<String> = failures.into_iter().map(|failure| failure.words).collect();
        let words = match words.as_slice() {
            [one] => one.clone(),
            many => format!("{} errors occurred while pulling: {}", many.len(), many.join("; ")),
        };
        Err(Refusal::new(Kind::Internal, words).about(&request.image))
    }

    /// Tries all sources of one full name.
    async fn pull_candidate(
        &self,
        registries: &Registries,
        wish: &Wish,
        name: &Full,
        progress: &Progress,
    ) -> Fetch<(Digest, Full)> {
        let mut sources = registries.sources(name).map_err(|refusal| {
            Failure::last(refusal.message).after(format_args!("initializing source docker://{name}"))
        })?;
        for source in &mut sources {
            source.insecure = wish.insecure.unwrap_or(source.insecure);
        }
        let initializing = format!("initializing source docker://{name}: ");
        let mut failures = Vec::new();
        for source in &sources {
            match self.pull_source(source, wish, name, progress).await {
                Ok(pulled) => return Ok(pulled),
                Err(failure) if failure.kind == FailureKind::Cancelled => return Err(failure),
                Err(failure) => failures.push((source.name.to_string(), failure.words)),
            }
        }
        let Some((_, mut words)) = failures.pop() else {
            return Err(Failure::last(format!("{initializing}it has no location")));
        };
        if !failures.is_empty() {
            let mirrors: Vec<String> = failures
                .iter()
                .map(|(mirror, words)| format!("{mirror}: {}", words.strip_prefix(&initializing).unwrap_or(words)))
                .collect();
            words = format!("{words} (mirrors also failed: [{}])", mirrors.join("], ["));
        }
        Err(Failure::last(words))
    }

    async fn pull_source(
        &self,
        source: &Source,
        wish: &Wish,
        name: &Full,
        progress: &Progress,
    ) -> Fetch<(Digest, Full)> {
        let context =
            |failure: Failure, name: &Full| failure.after(format_args!("initializing source docker://{name}"));
        let mut names = vec![name.clone()];
        if !wish.all_tags {
            progress.line(format!("Trying to pull {name}...")).await?;
        }
        let connect = Registry::connect(source, wish.credentials.clone(), wish.certs.as_deref());
        let registry = tokio::select! {
            registry = connect => registry.map_err(|failure| context(failure, name))?,
            () = progress.0.closed() => return Err(gone()),
        };
        let registry = Arc::new(registry);
        if wish.all_tags {
            let tags = registry.tags().await.map_err(|failure| context(failure, name))?;
            names = tags
                .iter()
                .filter_map(|tag| Reference::parse(&format!("{}:{tag}", name.repository())).ok())
                .map(|name| name.docker())
                .collect();
        }
        let mut pulled = Err(Failure::last(format!("{}: it has no tags", name.repository())));
        for name in names {
            if wish.all_tags {
                progress.line(format!("Trying to pull {name}...")).await?;
            }
            let work = Work { store: self, registry: registry.clone(), wish, name: &name, source, progress };
            let id = work.pull().await?;
            pulled = Ok((id, name));
        }
        pulled
    }
}
fn gone() -> Failure {
    Failure { kind: FailureKind::Cancelled, words: "the client has gone".to_owned() }
}
