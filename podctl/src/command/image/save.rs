//! `podctl save`

use std::{
    fs::{self, File, OpenOptions},
    io::{self, IsTerminal},
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use proto::{
    raw,
    serve::deadline,
    signals::Signals,
    wire::{ImageName, SaveImages},
};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Operands, switch, text},
    dial::{ASK, Engine, Host},
    error::{Failure, Outcome, plain},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "save",
    about: "Save image(s) to an archive",
    description: "Saves one or more images to a tar archive, which podctl, podman, docker and skopeo load.\n\nThe archive goes to stdout, or into the file that --output names; the formats oci-dir and docker-dir go into a new directory instead.",
    usage: "[options] IMAGE [IMAGE...]",
    examples: &[
        "save --quiet -o myimage.tar imageID",
        "save --format oci-archive -o busybox.tar busybox",
        "save -m -o both.tar alpine debian",
        "save --format oci-dir -o alpine-dir alpine",
        "save alpine | gzip > alpine.tar.gz",
    ],
    flags: &[&[
        switch("compress", "Compress the layers with gzip when saving to a directory of the format docker-dir"),
        text("format", "string", "Save image to docker-archive, oci-archive, oci-dir or docker-dir")
            .default("\"docker-archive\""),
        switch("multi-image-archive", "Interpret additional arguments as images, not as one too many").short('m'),
        text("output", "string", "Write to a specified file (default: stdout)").short('o'),
        switch("quiet", "Suppress the output").short('q'),
        switch(
            "uncompressed",
            "Accept uncompressed layers when saving in an OCI format, as always: layers stay as they came",
        ),
    ]],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let format = args.text("format").unwrap_or("docker-archive");
    let is_directory = matches!(format, "oci-dir" | "docker-dir");
    if !is_directory && !matches!(format, "docker-archive" | "oci-archive") {
        return Err(Failure::invalid(format!(
            "--format {format}: use docker-archive, oci-archive, oci-dir or docker-dir"
        )));
    }
    if args.is("compress") && format != "docker-dir" {
        return Err(Failure::invalid("--compress can only be set when --format is 'docker-dir'"));
    }
    if args.operands.len() > 1 && !args.is("multi-image-archive") {
        return Err(Failure::invalid("more than one image: use --multi-image-archive to save them into one archive"));
    }
    if format == "docker-dir" && args.operands.len() > 1 {
        return Err(Failure::invalid("--format docker-dir holds one image: name one, or use oci-dir"));
    }
    if is_directory && !args.given("output") {
        return Err(Failure::invalid(format!("--format {format} needs a directory: name one with --output")));
    }
    if !args.given("output") && io::stdout().is_terminal() {
        return Err(Failure::invalid("refusing to save to terminal: use the --output flag or redirect"));
    }
    engine.block_on(async {
        let host = engine.host()?;
        for name in &args.operands {
            // Before there is a file.
            host.images().resolve(deadline(ASK), &ImageName { name: name.clone() }).await?;
        }
        let output = match args.text("output") {
            Some(path) if is_directory => Output::directory(path)?,
            path => Output::open(path)?,
        };
        let request = SaveImages {
            names: args.operands.clone(),
            format: format.to_owned(),
            multi: args.is("multi-image-archive"),
            compress: args.is("compress"),
            ..Default::default()
        };
        let mut signals =
            Signals::catch(&[libc::SIGINT, libc::SIGTERM]).map_err(|error| Failure::io("wait for signals", &error))?;
        let code = tokio::select! {
            saved = save(&host, request, &output) => saved.map(|()| 0)?,
            signal = signals.next() => 128 + signal,
        };
        if code == 0 {
            output.keep();
        }
        Ok(code)
    })
}

async fn save(host: &Host, mut request: SaveImages, output: &Output) -> Result<(), Failure> {
    let words = |error: io::Error| Failure::io("hand the file to podshim", &error);
    request.token = raw::token().map_err(words)?;
    host.raw().map_err(words)?.deposit(&request.token, &[output.fd.as_fd()]).await.map_err(words)?;
    // However long it takes: whoever waits sees the file grow.
    host.images().save(Context::default(), &request).await?;
    Ok(())
}

/// Where it goes. What was made for it is removed again where it is not kept.
struct Output {
    fd: OwnedFd,
    made: Option<Made>,
}

/// What there was not before.
enum Made {
    File(PathBuf),
    Directory(PathBuf),
    /// Everything in a directory.
    Contents(PathBuf),
}

impl Output {
    fn open(path: Option<&str>) -> Result<Output, Failure> {
        let Some(path) = path else {
            let stdout = io::stdout();
            let fd = stdout.as_fd().try_clone_to_owned().map_err(|error| Failure::io("write to stdout", &error))?;
            return Ok(Output { fd, made: None });
        };
        let refused = |error| Failure::invalid(format!("--output {path}: {}", plain(&error)));
        let file: File = OpenOptions::new().write(true).create(true).truncate(true).open(path).map_err(refused)?;
        let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
        Ok(Output { fd: file.into(), made: is_file.then(|| Made::File(path.into())) })
    }

    /// A directory that is made here, or is there and empty.
    fn directory(path: &str) -> Result<Output, Failure> {
        let refused = |error| Failure::invalid(format!("--output {path}: {}", plain(&error)));
        let made = match fs::create_dir(path) {
            Ok(()) => Made::Directory(path.into()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::read_dir(path).map_err(refused)?.next().is_some() {
                    return Err(Failure::invalid(format!(
                        "--output {path}: the directory is not empty: name a new or an empty one"
                    )));
                }
                Made::Contents(path.into())
            }
            Err(error) => return Err(refused(error)),
        };
        Ok(Output { fd: File::open(path).map_err(refused)?.into(), made: Some(made) })
    }

    fn keep(mut self) {
        self.made = None;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        // Half of it is worse than none.
        match &self.made {
            Some(Made::File(path)) => drop(fs::remove_file(path)),
            Some(Made::Directory(path)) => drop(fs::remove_dir_all(path)),
            Some(Made::Contents(path)) => {
                for entry in fs::read_dir(path).into_iter().flatten().flatten() {
                    let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
                }
            }
            None => {}
        }
    }
}
