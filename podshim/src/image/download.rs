//! One blob, from a registry into a file: verified as it comes, resumed where the connection broke.

use std::{
    fs::File,
    io::{Seek, SeekFrom, Write},
    time::Duration,
};

use proto::{patience, wire::PullProgress};
use reqwest::{StatusCode, header::CONTENT_RANGE};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    digest::Digest,
    manifest::Descriptor,
    registry::{Failure, FailureKind, Registry, SILENCE, transport},
};

/// Connections that may break one after the other without a byte in between.
const TRIES: u32 = 3;
/// Slower than that, on the whole, and it has failed.
const SLOWEST: u64 = 16 << 10;
/// Progress of a blob is told that often.
const EVERY: Duration = Duration::from_millis(100);

/// Whoever watches a pull.
#[derive(Clone, Debug)]
pub struct Progress(pub mpsc::Sender<PullProgress>);

impl Progress {
    /// A line for people.
    ///
    /// # Errors
    /// `Cancelled` when nobody watches any more: then nobody wants the image.
    pub async fn line(&self, line: impl Into<String>) -> Result<(), Failure> {
        self.send(PullProgress { line: line.into(), ..Default::default() }).await
    }

    /// A blob is here.
    ///
    /// # Errors
    /// See [`Progress::line`].
    pub async fn done(&self, blob: &Digest, size: u64, skipped: bool) -> Result<(), Failure> {
        let (blob, blob_done) = (blob.to_string(), true);
        self.send(PullProgress {
            blob,
            current: size,
            total: size,
            blob_done,
            blob_skipped: skipped,
            ..Default::default()
        })
        .await
    }

    async fn send(&self, message: PullProgress) -> Result<(), Failure> {
        self.0
            .send(message)
            .await
            .map_err(|_| Failure { kind: FailureKind::Cancelled, words: "the client has gone".to_owned() })
    }

    /// How far a blob is; dropped when whoever watches is slow.
    fn tell(&self, blob: &Digest, current: u64, total: u64) {
        let _ = self.0.try_send(PullProgress { blob: blob.to_string(), current, total, ..Default::default() });
    }
}

/// What of a blob is in the file.
struct Part<'a> {
    file: &'a mut File,
    hasher: Sha256,
    have: u64,
}

/// Fetches `blob` into `file`, which is empty. When it returns, the file holds exactly that blob.
///
/// # Errors
/// When it cannot be had, or what came is not it; the file is rubbish then.
pub async fn download(
    registry: &Registry,
    blob: &Descriptor,
    file: &mut File,
    progress: &Progress,
) -> Result<(), Failure> {
    let mut part = Part { file, hasher: Sha256::new(), have: 0 };
    let deadline = Instant::now() + SILENCE + Duration::from_secs(blob.size / SLOWEST);
    let (mut tries, mut before) = (0, 0);
    loop {
        match timeout_at(deadline, part.fetch(registry, blob, progress)).await {
            Ok(Ok(())) => break,
            Ok(Err(failure)) => {
                tries = if part.have > before { 1 } else { tries + 1 };
                before = part.have;
                if failure.kind != FailureKind::Passing || tries >= TRIES {
                    return Err(failure.after(format_args!("{} of {} bytes", part.have, blob.size)));
                }
            }
            Err(_) => return Err(Failure::last(format!("too slow: {} of {} bytes", part.have, blob.size))),
        }
        sleep(patience::at_most(Duration::from_secs(1 << tries))).await;
    }
    let digest = Digest::finished(part.hasher);
    if digest == blob.digest { Ok(()) } else { Err(Failure::last(format!("what came has the digest {digest}"))) }
}

impl Part<'_> {
    /// Goes on from where it is; `Ok` when all bytes are there.
    async fn fetch(&mut self, registry: &Registry, blob: &Descriptor, progress: &Progress) -> Result<(), Failure> {
        if self.have == blob.size && self.have > 0 {
            return Ok(());
        }
        let mut response = registry.blob(&blob.digest, self.have).await?;
        if self.have > 0 {
            let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
            let continues = range.is_some_and(|range| range.starts_with(&format!("bytes {}-", self.have)));
            if response.status() != StatusCode::PARTIAL_CONTENT || !continues {
                // It begins anew, so do we.
                self.file.set_len(0)?;
                self.file.seek(SeekFrom::Start(0))?;
                self.hasher = Sha256::new();
                self.have = 0;
            }
        }
        if response.content_length().is_some_and(|length| length != blob.size - self.have) {
            let length = response.content_length().unwrap_or(0);
            return Err(Failure::last(format!("the registry has {length} bytes and the image says {}", blob.size)));
        }
        let mut told: Option<Instant> = None;
        loop {
            // Also when nothing comes: whoever watches sees where it stands, and may leave.
            let chunk = match timeout(EVERY, response.chunk()).await {
                Ok(chunk) => chunk.map_err(|error| transport(&error))?,
                Err(_) => Some(Default::default()),
            };
            let Some(chunk) = chunk else { break };
            if self.have + chunk.len() as u64 > blob.size {
                return Err(Failure::last("more bytes come than the image says"));
            }
            self.file.write_all(&chunk)?;
            self.hasher.update(&chunk);
            self.have += chunk.len() as u64;
            if told.is_none_or(|told| told.elapsed() >= EVERY) {
                told = Some(Instant::now());
                if progress.0.is_closed() {
                    return Err(Failure { kind: FailureKind::Cancelled, words: "the client has gone".to_owned() });
                }
                progress.tell(&blob.digest, self.have, blob.size);
            }
        }
        if self.have == blob.size { Ok(()) } else { Err(Failure::passing("the connection was closed early")) }
    }
}
