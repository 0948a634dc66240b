//! A registry whose every answer is the test's own: slow, rude or wrong where docker-registry is neither.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::sched::{CloneFlags, setns};

use crate::{enclosure::Enclosure, image::digest};

/// What is said to one request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status, as on the wire: `200 OK`.
    pub status: String,
    /// Header lines without their ends.
    pub headers: Vec<String>,
    /// The body.
    pub body: Vec<u8>,
    /// So many bytes of it come; the rest comes when the registry is told to go on.
    pub held_after: Option<usize>,
}

/// The registry, at 127.0.0.1 in an enclosure. It ends with the enclosure's network, or with the test.
#[derive(Debug)]
pub struct Handmade {
    asked: Arc<Mutex<Vec<String>>>,
    go_on: Arc<AtomicBool>,
}

impl Handmade {
    /// One that answers `GET path` with `answer(path)`, and 404 where that is `None`.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub fn serve(
        enclosure: &Enclosure,
        port: u16,
        answer: impl Fn(&str) -> Option<Answer> + Send + Sync + 'static,
    ) -> Handmade {
        let network = File::open(format!("/proc/{}/ns/net", enclosure.pid())).expect("network of the enclosure");
        let listener = thread::spawn(move || -> io::Result<TcpListener> {
            // Of this thread alone.
            setns(network, CloneFlags::CLONE_NEWNET)?;
            TcpListener::bind(("127.0.0.1", port))
        });
        let listener = listener.join().expect("a thread").expect("a port");
        let registry = Handmade { asked: Arc::default(), go_on: Arc::default() };
        let (asked, go_on, answer) = (registry.asked.clone(), registry.go_on.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (asked, go_on, answer) = (asked.clone(), go_on.clone(), answer.clone());
                thread::spawn(move || {
                    // Whoever asked may leave at any time.
                    let _gone = converse(&stream, &asked, &go_on, answer.as_ref());
                });
            }
        });
        registry
    }

    /// One that has `manifest` as every tag of every repository, and `blobs`, each held back after so many bytes.
    pub fn of(
        enclosure: &Enclosure,
        port: u16,
        manifest: (&'static str, Vec<u8>),
        blobs: Vec<(Vec<u8>, Option<usize>)>,
    ) -> Handmade {
        let blobs: BTreeMap<String, (Vec<u8>, Option<usize>)> =
            blobs.into_iter().map(|blob| (digest(&blob.0), blob)).collect();
        Handmade::serve(enclosure, port, move |path| {
            if path == "/v2/" {
                return Some(Answer::ok("application/json", b"{}".to_vec()));
            }
            if path.contains("/manifests/") {
                return Some(Answer::ok(manifest.0, manifest.1.clone()));
            }
            let (bytes, held_after) = blobs.get(path.rsplit('/').next()?)?.clone();
            Some(Answer { held_after, ..Answer::ok("application/octet-stream", bytes) })
        })
    }

    /// Lets what is held back come.
    pub fn go_on(&self) {
        self.go_on.store(true, Ordering::SeqCst);
    }

    /// How many requests contained `text`.
    pub fn asked(&self, text: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|request| request.contains(text)).count()
    }
}

impl Answer {
    /// `200 OK`
    pub fn ok(media_type: &str, body: Vec<u8>) -> Answer {
        Answer {
            status: "200 OK".to_owned(),
            headers: vec![format!("Content-Type: {media_type}")],
            body,
            held_after: None,
        }
    }

    /// A refusal in the registry's words.
    pub fn no(status: &str, body: impl Into<Vec<u8>>) -> Answer {
        Answer { status: status.to_owned(), ..Answer::ok("application/json", body.into()) }
    }
}

/// One connection, request by request.
fn converse(
    stream: &TcpStream,
    asked: &Mutex<Vec<String>>,
    go_on: &AtomicBool,
    answer: &(impl Fn(&str) -> Option<Answer> + ?Sized),
) -> io::Result<()> {
    let mut lines = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if lines.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while lines.read_line(&mut header)? > 2 {
            header.clear();
        }
        asked.lock().unwrap_or_else(PoisonError::into_inner).push(request.trim_end().to_owned());
        let path = request.split(' ').nth(1).unwrap_or_default();
        let answer = answer(path).unwrap_or_else(|| Answer::no("404 Not Found", "{}"));
        let mut head = format!("HTTP/1.1 {}\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for header in &answer.headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        let mut out = stream;
        out.write_all(format!("{head}\r\n").as_bytes())?;
        let held_after = answer.held_after.unwrap_or(answer.body.len()).min(answer.body.len());
        let (now, later) = answer.body.split_at(held_after);
        out.write_all(now)?;
        while !later.is_empty() && !go_on.load(Ordering::SeqCst) {
            thread::sleep(Duration::from_millis(5));
        }
        out.write_all(later)?;
    }
}
