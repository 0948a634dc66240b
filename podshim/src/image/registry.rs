//! One repository of one registry, over HTTP: the distribution protocol, as far as fetching needs it.
//!
//! Redirects are followed here and not by the HTTP library, so that what we say of ourselves goes to the registry itself
//! and nowhere else: not to another host, port or scheme (CVE-2020-15157). A registry that was not called insecure is
//! never spoken to without TLS, whatever it redirects to.

use std::{error::Error as _, fmt, path::Path, sync::Once, time::Duration};

use proto::{Kind, Refusal, patience};
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LINK, LOCATION, RANGE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use serde::Deserialize;
use tokio::{sync::Mutex, time::sleep};

use super::{
    auth::{Challenge, Credentials, TokenAnswer},
    certs::Certs,
    digest::Digest,
    manifest,
    reference::{DOCKER, Full, Which},
    registries::Source,
};

/// Nothing for that long and it has failed.
pub const SILENCE: Duration = Duration::from_secs(60);
const CONNECT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 10;
/// Tries of a request that a busy registry turned away.
const TRIES: u32 = 3;
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// Largest error page, token or list of tags.
const MAX_ANSWER: u64 = 1 << 20;
const MAX_TAGS: usize = 10_000;

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to do about it.
    pub kind: FailureKind,
    /// Final words, one line.
    pub words: String,
}

/// See [`Failure::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Asking again may help.
    Passing,
    /// It will not.
    Final,
    /// Nobody wants the answer any more.
    Cancelled,
}

impl Failure {
    /// It will not get better.
    pub fn last(words: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Final, words: words.into() }
    }

    /// It may get better.
    pub fn passing(words: impl Into<String>) -> Failure {
        Failure { kind: FailureKind::Passing, words: words.into() }
    }

    /// The same after `words`.
    #[must_use]
    pub fn after(self, words: impl fmt::Display) -> Failure {
        Failure { words: format!("{words}: {}", self.words), ..self }
    }

    /// As a refusal about `subject`.
    pub fn refusal(self, subject: &str) -> Refusal {
        let kind = if self.kind == FailureKind::Cancelled { Kind::Gone } else { Kind::Internal };
        Refusal::new(kind, self.words).about(subject)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::last(super::cause(&error))
    }
}

/// A repository that answers.
#[derive(Debug)]
pub struct Registry {
    client: Client,
    base: Url,
    name: Full,
    insecure: bool,
    credentials: Option<Credentials>,
    /// The value of the Authorization header that was last accepted.
    authorization: Mutex<Option<String>>,
}

/// A manifest as it came.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Its bytes.
    pub text: Vec<u8>,
    /// What the registry calls it.
    pub content_type: String,
    /// Its digest.
    pub digest: Digest,
}

impl Registry {
    /// Finds out how the registry of `source` is spoken to. `certs` is where certificates are, if not where the machine has
    /// them.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect(
        source: &Source,
        credentials: Option<Credentials>,
        certs: Option<&Path>,
    ) -> Result<Registry, Failure> {
        let client = client(source.insecure, Certs::read(certs, &source.name.domain)?)?;
        let host = if source.name.domain == DOCKER { "registry-1.docker.io" } else { &source.name.domain };
        let base = |scheme: &str| {
            Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|_| Failure::last(format!("no host: {host}")))
        };
        let mut registry = Registry {
            client,
            base: base("https")?,
            name: source.name.clone(),
            insecure: source.insecure,
            credentials,
            authorization: Mutex::new(None),
        };
        if let Err(failure) = registry.ping().await {
            if !source.insecure {
                return Err(failure);
            }
            registry.base = base("http")?;
            registry.ping().await?;
        }
        Ok(registry)
    }

    /// Asks whether anybody is there, and for whom to prove ourselves.
    async fn ping(&self) -> Result<(), Failure> {
        let url = self.base.clone();
        let response = self.follow(url.clone(), &[], 0, None).await.map_err(|failure| {
            failure.after(format_args!("pinging container registry {}: Get \"{url}\"", self.name.domain))
        })?;
        if response.status() == StatusCode::UNAUTHORIZED {
            self.authenticate(&response).await?;
        }
        Ok(())
    }

    /// The manifest or index `which`.
    ///
    /// # Errors
    /// In the registry's words where it gave any.
    pub async fn manifest(&self, which: &Which) -> Result<Fetched, Failure> {
        let context = format!("reading manifest {which} in {}", self.name.repository());
        self.fetch_manifest(which).await.map_err(|failure| failure.after(context))
    }

    async fn fetch_manifest(&self, which: &Which) -> Result<Fetched, Failure> {
        let response = self.get(&format!("manifests/{which}"), &manifest::ACCEPT, 0).await?;
        let header = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let content_type = super::printable(header.unwrap_or_default());
        let text = body(response, manifest::MAX_MANIFEST).await?;
        let digest = Digest::of(&text);
        if let Which::Digest(wanted) = which
            && *wanted != digest
        {
            return Err(Failure::last(format!("it has the digest {digest}")));
        }
        Ok(Fetched { text, content_type, digest })
    }

    /// A small blob: the config.
    ///
    /// # Errors
    /// When it is not what `digest` and `size` say.
    pub async fn small_blob(&self, digest: &Digest, size: u64) -> Result<Vec<u8>, Failure> {
        let work = async {
            let text = body(self.blob(digest, 0).await?, size).await?;
            if text.len() as u64 != size || Digest::of(&text) != *digest {
                return Err(Failure::last(format!("{} bytes with the digest {} came", text.len(), Digest::of(&text))));
            }
            Ok(text)
        };
        work.await.map_err(|failure| failure.after(format_args!("reading blob {digest}")))
    }

    /// Begins to fetch a blob, from byte `from` on where the registry can do that.
    ///
    /// # Errors
    /// In the registry's words where it gave any.
    pub async fn blob(&self, digest: &Digest, from: u64) -> Result<Response, Failure> {
        self.get(&format!("blobs/{digest}"), &[], from).await
    }

    /// All tags of the repository.
    ///
    /// # Errors
    /// In the registry's words where it gave any.
    pub async fn tags(&self) -> Result<Vec<String>, Failure> {
        #[derive(Deserialize)]
        struct Tags {
            tags: Option<Vec<String>>,
        }
        let mut all = Vec::new();
        let mut path = "tags/list".to_owned();
        loop {
            let response = self.get(&path, &[], 0).await?;
            let next = response.headers().get(LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
            let text = body(response, MAX_ANSWER).await?;
            let page: Tags = serde_json::from_slice(&text)
                .map_err(|error| Failure::last(format!("reading tags of {}: {error}", self.name.repository())))?;
            all.extend(page.tags.unwrap_or_default());
            match next {
                Some(query) if all.len() < MAX_TAGS => path = format!("tags/list?{query}"),
                _ => return Ok(all),
            }
        }
    }

    async fn get(&self, path: &str, accept: &[&str], from: u64) -> Result<Response, Failure> {
        let url = self
            .base
            .join(&format!("{}/{path}", self.name.path))
            .map_err(|error| Failure::last(format!("{path}: {error}")))?;
        let (mut tries, mut proven) = (0, false);
        loop {
            let authorization = self.authorization.lock().await.clone();
            let response = self.follow(url.clone(), accept, from, authorization).await?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if status == StatusCode::UNAUTHORIZED && !proven {
                proven = true;
                self.authenticate(&response).await?;
                continue;
            }
            tries += 1;
            let busy = status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error();
            if !busy || tries >= TRIES {
                return Err(refused(response).await);
            }
            sleep(pause(&response, tries)).await;
        }
    }

    /// Sends one request and follows where it leads.
    async fn follow(
        &self,
        mut url: Url,
        accept: &[&str],
        from: u64,
        authorization: Option<String>,
    ) -> Result<Response, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            let mut request = self.client.get(url.clone());
            if !accept.is_empty() {
                request = request.header(ACCEPT, accept.join(", "));
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            if let Some(authorization) = &authorization
                && url.origin() == self.base.origin()
            {
                request = request.header(AUTHORIZATION, authorization);
            }
            let response = request.send().await.map_err(|error| transport(&error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let target = target.and_then(|target| url.join(target).ok());
            url = target.ok_or_else(|| Failure::last("redirected to nowhere"))?;
            self.allowed(&url)?;
        }
        Err(Failure::last(format!("stopped after {MAX_REDIRECTS} redirects")))
    }

    /// TLS is given up for nobody who was not called insecure.
    fn allowed(&self, url: &Url) -> Result<(), Failure> {
        match url.scheme() {
            "https" => Ok(()),
            "http" if self.insecure => Ok(()),
            scheme => Err(Failure::last(format!(
                "redirected to {} by {scheme}, which is not secure: refused",
                super::printable(url.host_str().unwrap_or_default())
            ))),
        }
    }

    /// Meets the challenge of a response that was a 401.
    async fn authenticate(&self, response: &Response) -> Result<(), Failure> {
        let challenge = response
            .headers()
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|header| Challenge::parse(header.to_str().ok()?))
            .next();
        let value = match challenge {
            None => return Err(Failure::last("unauthorized: the registry does not say how to authenticate")),
            Some(Challenge::Basic) => {
                let Some(credentials) = &self.credentials else {
                    return Err(Failure::last("unauthorized: authentication required: give --creds USER:PASSWORD"));
                };
                let request = self.client.get(self.base.clone());
                let request = request.basic_auth(&credentials.user, Some(&credentials.password));
                let request = request.build().map_err(|error| transport(&error))?;
                let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
                header.unwrap_or_default().to_owned()
            }
            Some(Challenge::Bearer { realm, service }) => format!("Bearer {}", self.token(&realm, service).await?),
        };
        *self.authorization.lock().await = Some(value);
        Ok(())
    }

    async fn token(&self, realm: &str, service: Option<String>) -> Result<String, Failure> {
        let mut url = Url::parse(realm).map_err(|_| Failure::last("the registry names no token server"))?;
        self.allowed(&url)?;
        let host = super::printable(url.host_str().unwrap_or_default());
        url.query_pairs_mut()
            .extend_pairs(service.iter().map(|service| ("service", service)))
            .append_pair("scope", &format!("repository:{}:pull", self.name.path));
        let mut request = self.client.get(url);
        if let Some(credentials) = &self.credentials {
            request = request.basic_auth(&credentials.user, Some(&credentials.password));
        }
        let work = async {
            let response = request.send().await.map_err(|error| transport(&error))?;
            if !response.status().is_success() {
                return Err(refused(response).await);
            }
            let text = body(response, MAX_ANSWER).await?;
            let answer: TokenAnswer =
                serde_json::from_slice(&text).map_err(|_| Failure::last("its answer is no token"))?;
            answer.token().ok_or_else(|| Failure::last("its answer has no token"))
        };
        work.await.map_err(|failure| failure.after(format_args!("requesting a token of {host}")))
    }
}

/// A client without redirects, with deadlines for connecting and for silence.
fn client(insecure: bool, certs: Certs) -> Result<Client, Failure> {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        // Fails when there is one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    certs
        .apply(Client::builder())
        .user_agent(concat!("podctl/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(patience::at_most(CONNECT))
        .read_timeout(patience::at_most(SILENCE))
        .tls_danger_accept_invalid_certs(insecure)
        .build()
        .map_err(|error| transport(&error))
}

/// A whole answer of at most `max` bytes.
async fn body(mut response: Response, max: u64) -> Result<Vec<u8>, Failure> {
    let work = async {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
            if bytes.len() as u64 + chunk.len() as u64 > max {
                return Err(Failure::last(format!("the answer is longer than {max} bytes")));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    };
    // The read timeout alone would let one byte a minute go on for ever.
    tokio::time::timeout(2 * patience::at_most(SILENCE), work)
        .await
        .unwrap_or_else(|_| Err(Failure::last("the answer takes too long")))
}

/// The words of a request that failed below HTTP: the innermost cause, without the URL (it may hold a token).
pub fn transport(error: &reqwest::Error) -> Failure {
    if error.is_timeout() {
        let limit = patience::at_most(if error.is_connect() { CONNECT } else { SILENCE });
        return Failure::passing(format!("no answer for {} s", limit.as_secs_f64()));
    }
    let mut words = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = error.to_string();
        cause = error.source();
    }
    let words = match words.rsplit_once(" (os error ") {
        Some((words, _)) => words.to_lowercase(),
        // What rustls says when it reads "HTTP/1.1 400".
        None if words.contains("InvalidContentType") => {
            "it speaks no TLS: set insecure = true for it in registries.conf, or give --tls-verify=false".to_owned()
        }
        None => match words.split_once("no records found for Query { name: Name(\"") {
            Some((_, query)) => {
                let name = query.split('"').next().unwrap_or_default().trim_end_matches('.');
                format!("lookup {name}: no such host")
            }
            None if words == "no connections available" => "no name server answers: see /etc/resolv.conf".to_owned(),
            None => words,
        },
    };
    Failure::passing(if words.is_empty() { "the request failed".to_owned() } else { super::printable(&words) })
}

/// The words of an answer that is a refusal.
async fn refused(response: Response) -> Failure {
    #[derive(Deserialize)]
    struct Errors {
        errors: Vec<Problem>,
    }
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    let status = response.status();
    let text = body(response, 64 << 10).await.unwrap_or_default();
    let problem = serde_json::from_slice::<Errors>(&text).ok().and_then(|errors| errors.errors.into_iter().next());
    let words = match problem {
        Some(Problem { message, .. }) if !message.is_empty() => message,
        Some(Problem { code, .. }) if !code.is_empty() => code.to_lowercase().replace('_', " "),
        _ => format!("the registry answers {}", status.as_str()),
    };
    let words: String = super::printable(&words).chars().take(300).collect();
    let words = match status {
        StatusCode::UNAUTHORIZED => format!("unauthorized: {words}"),
        StatusCode::FORBIDDEN => format!("denied: {words}"),
        _ => words,
    };
    if status.is_server_error() { Failure::passing(words) } else { Failure::last(words) }
}

/// How long to wait before the try after `tries`: as the registry says, within reason.
fn pause(response: &Response, tries: u32) -> Duration {
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    asked.map_or(Duration::from_secs(1 << tries.min(5)), Duration::from_secs).min(MAX_PAUSE)
}

/// The query of the next page, from `</v2/x/tags/list?n=100&last=y>; rel="next"`.
fn next_page(link: &str) -> Option<String> {
    let (target, rest) = link.strip_prefix('<')?.split_once('>')?;
    rest.contains("rel=\"next\"").then(|| target.split_once('?').map(|(_, query)| query.to_owned()))?
}
