//! A registry for tests, as honest or hostile as each repository's name says.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::{digest::Digest, tape::tests::Raw};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// What it answers and was asked.
#[derive(Debug)]
pub(super) struct FakeRegistry {
    /// `127.0.0.1:PORT`
    pub(super) host: String,
    /// Another host of the same content, where redirects lead.
    pub(super) elsewhere: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// One request.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) host: String,
    pub(super) path: String,
    pub(super) authorization: Option<String>,
    pub(super) range: Option<u64>,
}

struct Content {
    blobs: HashMap<String, Vec<u8>>,
    manifest: Vec<u8>,
    layer: String,
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("write");
    encoder.finish().expect("finish")
}

fn content() -> Content {
    // What gzip cannot make small, so that it comes in many pieces.
    let mut seed = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 56) as u8
    })
    .take(300_000)
    .collect();
    let tar = Raw::default().add(b'0', b"bin/true", &noise).end();
    let layer = gzip(&tar);
    let config = json!({ "architecture": "amd64", "os": "linux", "config": { "Cmd": ["true"] },
        "rootfs": { "type": "layers", "diff_ids": [Digest::of(&tar)] } });
    let config = config.to_string().into_bytes();
    let manifest = manifest(&config, &layer).to_string().into_bytes();
    let blobs = [config, layer.clone()].map(|blob| (Digest::of(&blob).to_string(), blob)).into();
    Content { blobs, manifest, layer: Digest::of(&layer).to_string() }
}

fn manifest(config: &[u8], layer: &[u8]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": OCI,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest::of(config), "size": config.len() },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest::of(layer), "size": layer.len() }] })
}

impl FakeRegistry {
    pub(super) fn start() -> FakeRegistry {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let content = Arc::new(content());
        let listeners = [0, 1].map(|_| TcpListener::bind("127.0.0.1:0").expect("bind"));
        let hosts = listeners.each_ref().map(|listener| listener.local_addr().expect("address").to_string());
        for (number, listener) in listeners.into_iter().enumerate() {
            let (host, other) = (hosts[number].clone(), hosts[1 - number].clone());
            let (asked, content) = (asked.clone(), content.clone());
            thread::spawn(move || {
                for stream in listener.incoming().flatten() {
                    let connection = Connection {
                        host: host.clone(),
                        other: other.clone(),
                        asked: asked.clone(),
                        content: content.clone(),
                    };
                    // A client that goes away in the middle is part of the tests.
                    thread::spawn(move || connection.serve(stream).ok());
                }
            });
        }
        let [host, elsewhere] = hosts;
        FakeRegistry { host, elsewhere, asked }
    }

    pub(super) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.asked.lock().expect("lock"))
    }
}

struct Connection {
    host: String,
    other: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    content: Arc<Content>,
}

impl Connection {
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut reader = BufReader::new(stream.try_clone()?);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let Some(path) = line.split(' ').nth(1).filter(|_| line.starts_with("GET ")) else { return Ok(()) };
            let mut asked = Asked { host: self.host.clone(), path: path.to_owned(), authorization: None, range: None };
            loop {
                let mut header = String::new();
                reader.read_line(&mut header)?;
                match header.trim().split_once(": ") {
                    None => break,
                    Some((key, value)) if key.eq_ignore_ascii_case("authorization") => {
                        asked.authorization = Some(value.to_owned())
                    }
                    Some((key, value)) if key.eq_ignore_ascii_case("range") => {
                        asked.range = value.trim_start_matches("bytes=").trim_end_matches('-').parse().ok();
                    }
                    Some(_) => {}
                }
            }
            let before = self.asked.lock().expect("lock").iter().filter(|other| other.path == asked.path).count();
            self.asked.lock().expect("lock").push(asked.clone());
            if !self.answer(&stream, &asked, before)? {
                return Ok(());
            }
        }
    }

    /// Answers one request, the same as `before` others; whether the connection stays.
    fn answer(&self, stream: &TcpStream, asked: &Asked, before: usize) -> std::io::Result<bool> {
        let send = |status: &str, headers: &str, body: &[u8]| -> std::io::Result<bool> {
            let mut stream = stream;
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{headers}\r\n", body.len())?;
            stream.write_all(body)?;
            Ok(true)
        };
        let parts: Vec<&str> = asked.path.split('/').collect();
        if asked.path.starts_with("/token") {
            return send("200 OK", "", br#"{"token":"TOKEN"}"#);
        }
        let [_, "v2", repository, kind, reference] = parts.as_slice() else { return send("200 OK", "", b"{}") };
        let authorized = asked.authorization.as_deref() == Some("Bearer TOKEN");
        match *repository {
            "bearer" if !authorized && asked.host == self.host => {
                let challenge =
                    format!("WWW-Authenticate: Bearer realm=\"http://{}/token\",service=\"test\"\r\n", self.host);
                return send("401 Unauthorized", &challenge, b"{}");
            }
            "denied" => {
                let words = br#"{"errors":[{"code":"DENIED","message":"no \u001b[2Jaccess\nfor you"}]}"#;
                return send("403 Forbidden", "", words);
            }
            "loop" => return send("307 Temporary Redirect", &format!("Location: {}\r\n", asked.path), b""),
            "file" => return send("307 Temporary Redirect", "Location: file:///etc/passwd\r\n", b""),
            "busy" if before < 1 => return send("429 Too Many Requests", "Retry-After: 0\r\n", b""),
            "hang" if *kind == "blobs" && *reference == self.content.layer => {
                thread::sleep(Duration::from_secs(20));
                return Ok(false);
            }
            _ => {}
        }
        if *kind == "manifests" {
            return self.manifest(repository, reference, &send);
        }
        let Some(blob) = self.content.blobs.get(*reference) else {
            return send("404 Not Found", "", br#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#);
        };
        if *reference != self.content.layer {
            return send("200 OK", "", blob);
        }
        match *repository {
            "bearer" if asked.host == self.host => {
                let location = format!("Location: http://{}/v2/plain/blobs/{reference}\r\n", self.other);
                send("307 Temporary Redirect", &location, b"")
            }
            "wrong" => send("200 OK", "", &[&blob[1..], b"x"].concat()),
            "short" => send("200 OK", "", &blob[1..]),
            "long" => {
                let mut stream = stream;
                write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
                loop {
                    stream.write_all(&[7; 4096])?;
                }
            }
            "drop" if before < 2 => {
                let from = usize::try_from(asked.range.unwrap_or(0)).unwrap_or(0);
                let mut stream = stream;
                let status = if from > 0 { "206 Partial Content" } else { "200 OK" };
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", blob.len() - from)?;
                write!(stream, "Content-Range: bytes {from}-{}/{}\r\n\r\n", blob.len() - 1, blob.len())?;
                stream.write_all(&blob[from..from + 100_000])?;
                Ok(false)
            }
            _ => match asked.range.and_then(|from| usize::try_from(from).ok()) {
                Some(from) => {
                    let range = format!("Content-Range: bytes {from}-{}/{}\r\n", blob.len() - 1, blob.len());
                    send("206 Partial Content", &range, &blob[from..])
                }
                None => send("200 OK", "", blob),
            },
        }
    }

    fn manifest(
        &self,
        repository: &str,
        reference: &str,
        send: &dyn Fn(&str, &str, &[u8]) -> std::io::Result<bool>,
    ) -> std::io::Result<bool> {
        let kind = format!("Content-Type: {OCI}\r\n");
        let good = String::from_utf8_lossy(&self.content.manifest).into_owned();
        let digest = Digest::of(&self.content.manifest).to_string();
        if reference != "latest" && reference != digest {
            return send(
                "404 Not Found",
                "",
                br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#,
            );
        }
        let text = match repository {
            "index" if reference == "latest" => {
                let entry = |architecture: &str, digest: &str| {
                    json!({ "mediaType": OCI, "digest": digest, "size": good.len(),
                        "platform": { "os": "linux", "architecture": architecture } })
                };
                let here = super::platform::Platform::here().architecture;
                let list = json!({ "schemaVersion": 2, "manifests":
                    [entry("s390x", Digest::of(b"other").as_str()), entry(&here, &digest)] });
                return send(
                    "200 OK",
                    "Content-Type: application/vnd.oci.image.index.v1+json\r\n",
                    list.to_string().as_bytes(),
                );
            }
            "html" => return send("200 OK", "Content-Type: text/html\r\n", b"<html>"),
            "huge" => format!("{good}{}", " ".repeat(5 << 20)),
            "both" => good.replacen('{', "{\"manifests\":[],", 1),
            "count" => good.replacen("\"layers\":[", "\"layers\":[],\"ignored\":[", 1),
            "path" => good.replacen("sha256:", "sha256:../../../", 1),
            "diff" => {
                // The layer is as it says, and not what the config says of it: another config's.
                let config = json!({ "architecture": "amd64", "os": "linux", "config": {},
                    "rootfs": { "type": "layers", "diff_ids": [Digest::of(b"other")] } });
                let config = config.to_string();
                manifest(config.as_bytes(), &self.content.blobs[&self.content.layer]).to_string()
            }
            _ => good,
        };
        send("200 OK", &kind, text.as_bytes())
    }
}
