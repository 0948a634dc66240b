//! `podctl pull`, and the pull that `run` and `create` do when an image is missing.

use std::{
    collections::HashMap,
    io::{IsTerminal, Write},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use proto::wire::{PullImage, PullProgress};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Flag, Operands, container, switch, text, value},
    dial::{Engine, Host},
    error::{Failure, Outcome, plain},
    output::{self, escape},
};

const FLAGS: &[Flag] = &[
    switch("all-tags", "All tagged images in the repository will be pulled").short('a'),
    text("arch", "ARCH", "Use ARCH instead of the architecture of the machine for choosing images"),
    text(
        "authfile",
        "string",
        "Path of the authentication file. Use REGISTRY_AUTH_FILE environment variable to override",
    ),
    text(
        "cert-dir",
        "Pathname",
        "Path of a directory with certificates for the registry (default /etc/containers/certs.d/HOST)",
    ),
    text("creds", "Credentials", "Credentials (USERNAME:PASSWORD) to use for authenticating to a registry"),
    switch("disable-content-trust", "This is a Docker specific option and is a NOOP").default("true"),
    text("os", "OS", "Use OS instead of the running OS for choosing images"),
    text("platform", "string", "Specify the platform for selecting the image.  (Conflicts with arch and os)"),
    text("policy", "string", "Pull image policy (\"always\"|\"missing\"|\"never\"|\"newer\")").default("\"always\""),
    switch("quiet", "Suppress output information when pulling images").short('q'),
    switch("tls-verify", "Require HTTPS and verify certificates when contacting registries").default("true"),
    text("variant", "string", "Use VARIANT instead of the running architecture variant for choosing images"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "pull",
    about: "Pull an image from a registry",
    description: "Pulls an image from a registry and stores it locally.\n\nAn image can be pulled by tag or digest. If a tag is not specified, the image with the 'latest' tag is pulled.",
    usage: "[options] IMAGE [IMAGE...]",
    examples: &[
        "pull alpine:latest",
        "pull --platform linux/arm64 docker.io/library/alpine",
        "pull -q quay.io/libpod/banner",
        "pull --cert-dir ./certs registry.example:5000/app",
    ],
    flags: &[FLAGS],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let template = PullImage {
        platform: container::platform(args)?,
        policy: container::pull_policy(args.text("policy").unwrap_or("always"))?,
        all_tags: args.is("all-tags"),
        tls_verify: args.switch("tls-verify"),
        authfile: args.text_or_empty("authfile").to_owned(),
        creds: args.text_or_empty("creds").to_owned(),
        cert_dir: args.text("cert-dir").map(certificates).transpose()?.unwrap_or_default(),
        ..Default::default()
    };
    engine.block_on(async {
        let host = engine.host()?;
        let mut failed: Option<Failure> = None;
        for image in &args.operands {
            let request = PullImage { image: image.clone(), ..template.clone() };
            match pull(&host, &request, args.is("quiet")).await {
                Ok(id) => {
                    output::line(&id)?;
                }
                Err(failure) => match &mut failed {
                    None => failed = Some(failure),
                    Some(first) => first.join(failure),
                },
            }
        }
        failed.map_or(Ok(0), Err)
    })
}

/// `--cert-dir`: a directory that is there.
fn certificates(path: &str) -> Result<String, Failure> {
    let path = value::absolute(path)?;
    match std::fs::metadata(&path) {
        Ok(found) if found.is_dir() => Ok(path),
        Ok(_) => Err(Failure::invalid(format!("--cert-dir {path}: not a directory"))),
        Err(error) => Err(Failure::invalid(format!("--cert-dir {path}: {}", plain(&error)))),
    }
}

/// Pulls the image of a container that is to be made; its id is not shown.
///
/// # Errors
/// The engine's refusal.
pub async fn quietly(engine: &Engine, request: PullImage, quiet: bool) -> Result<(), Failure> {
    let host = engine.host()?;
    pull(&host, &request, quiet).await.map(|_| ())
}

/// Pulls, shows the progress on stderr, returns the id.
async fn pull(host: &Host, request: &PullImage, quiet: bool) -> Result<String, Failure> {
    // The engine has deadlines for every read of a registry; only it knows how long the whole takes.
    let mut stream = host.images().pull(Context::default(), request).await?;
    let mut progress = Progress::new(quiet);
    loop {
        match stream.recv().await {
            Ok(Some(message)) if message.done => {
                progress.end();
                return Ok(message.id);
            }
            Ok(Some(message)) => progress.show(&message),
            Ok(None) => {
                progress.end();
                return Err(Failure::invalid(format!(
                    "the pull of {} ended without an answer: ask again",
                    request.image
                )));
            }
            Err(error) => {
                progress.end();
                return Err(error.into());
            }
        }
    }
}

/// Progress for people: bars on a terminal, lines elsewhere.
struct Progress {
    quiet: bool,
    bars: Option<MultiProgress>,
    blobs: HashMap<String, Option<ProgressBar>>,
}

impl Progress {
    fn new(quiet: bool) -> Progress {
        let bars = (!quiet && std::io::stderr().is_terminal()).then(MultiProgress::new);
        Progress { quiet, bars, blobs: HashMap::new() }
    }

    fn show(&mut self, message: &PullProgress) {
        if self.quiet {
            return;
        }
        if !message.line.is_empty() {
            self.line(&escape::line(&message.line));
        }
        if message.blob.is_empty() {
            return;
        }
        let digest = message.blob.split_once(':').map_or(message.blob.as_str(), |(_, digest)| digest);
        match &self.bars {
            None => {
                if self.blobs.insert(message.blob.clone(), None).is_none() {
                    self.line(&format!("Copying blob {}", escape::line(digest)));
                }
            }
            Some(bars) => {
                let name = escape::line(digest.get(..12).unwrap_or(digest)).into_owned();
                let bar = self.blobs.entry(message.blob.clone()).or_insert_with(|| {
                    // Of nothing all would be there.
                    Some(bars.add(bar(name, message.total.max(1))))
                });
                if let Some(bar) = bar {
                    bar.set_length(message.total);
                    bar.set_position(message.current);
                    if message.blob_skipped {
                        bar.finish_with_message("skipped: already exists");
                    } else if message.blob_done {
                        bar.finish_with_message("done");
                    }
                }
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A terminal that has gone needs no progress.
            Some(bars) => drop(bars.println(text)),
            None => drop(writeln!(std::io::stderr().lock(), "{text}")),
        }
    }

    fn end(&mut self) {
        for bar in self.blobs.values().flatten().filter(|bar| !bar.is_finished()) {
            bar.abandon();
        }
        if self.bars.is_some() && !self.blobs.is_empty() {
            // What comes next, the id, has a line of its own.
            let _ = writeln!(std::io::stderr().lock());
        }
    }
}

fn bar(name: String, total: u64) -> ProgressBar {
    let bar = ProgressBar::new(total);
    // The template is ours: it is right, or the plain style is good enough.
    if let Ok(style) = ProgressStyle::with_template("Copying blob {prefix} [{bar:38}] {bytes} / {total_bytes} {msg}") {
        bar.set_style(style.progress_chars("=>-"));
    }
    bar.set_prefix(name);
    bar
}
