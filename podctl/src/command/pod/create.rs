//! `podctl pod create`

use std::fs::OpenOptions;

use proto::{
    Kind, Refusal,
    serve::deadline,
    wire::{CreatePod, PodAct},
};

use crate::{
    args::{Action, Args, Command, Operands, block, network, pod, resources},
    command::container::create::source_ids,
    dial::{ACT, Engine},
    error::{Failure, Outcome, is_missing, warn},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "create",
    about: "Create a new empty pod",
    description: "After creating the pod, the pod ID is printed to stdout.\n\nYou can then start it at any time with the podctl pod start <pod_id> command. The pod will be created with the initial state 'created'.",
    usage: "[options] [NAME]",
    examples: &[
        "pod create",
        "pod create --label foo=bar mypod",
        "pod create --name web -p 8080:80 -v vol1:/usr/share/nginx/html",
    ],
    flags: &[pod::FLAGS, network::FLAGS, resources::FLAGS, block::FLAGS, resources::PLACE_FLAGS],
    operands: Operands::AtMost(1),
    interspersed: false,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut config = pod::config(args)?;
    config.volumes_from = source_ids(engine, &config.volumes_from)?;
    let request = CreatePod { config: Some(config), replace: args.is("replace") };
    let id_file = args.text("pod-id-file").map(IdFile::open).transpose()?;
    engine.block_on(async {
        let host = engine.host()?;
        let mut created = host.pods().create(deadline(ACT), &request).await.map_err(Failure::from);
        if created.as_ref().is_err_and(|failure| request.replace && failure.kind == Kind::NameInUse) {
            // Everything else is as it should be: only now does the old one go.
            replace(engine, args).await?;
            created = host.pods().create(deadline(ACT), &request).await.map_err(Failure::from);
        }
        let created = created?;
        for warning in &created.warnings {
            warn(warning);
        }
        if let Some(file) = id_file {
            file.write(&created.id)?;
        }
        output::line(&created.id)
    })
}

/// Removes the pod whose name the new one is to have.
async fn replace(engine: &Engine, args: &Args) -> Result<(), Failure> {
    let name = args.text("name").or(args.operands.first().map(String::as_str)).unwrap_or_default();
    let pod = engine.pod_id(name).map_err(|_| {
        let words = format!("name \"{name}\" is in use by a container: --replace replaces pods, choose another name");
        Failure::from(Refusal::new(Kind::NameInUse, words))
    })?;
    let act = PodAct { pod: pod.to_string(), force: true, volumes: true, ..Default::default() };
    match engine.pod(&pod).await?.pods().remove(deadline(ACT), &act).await.map_err(Failure::from) {
        Ok(result) if !result.errors.is_empty() => Err(Failure { messages: result.errors, ..Failure::invalid("") }),
        Err(failure) if !is_missing(failure.kind) => Err(failure),
        _ => Ok(()),
    }
}

/// A file an id goes into: opened before anything is made, written when there is an id.
#[derive(Debug)]
pub struct IdFile {
    file: std::fs::File,
    path: String,
    /// It was made for the id, which it has not got.
    is_new: bool,
}

impl IdFile {
    /// Opens or makes the file; what is in it stays until there is an id.
    ///
    /// # Errors
    /// `opening pod-id-file /x: …`
    pub fn open(path: &str) -> Result<IdFile, Failure> {
        IdFile::named("pod-id-file", path)
    }

    /// The same, with another word for it in errors.
    ///
    /// # Errors
    /// `opening cidfile /x: …`
    pub fn named(what: &str, path: &str) -> Result<IdFile, Failure> {
        let opened = |is_new: bool| OpenOptions::new().write(true).create_new(is_new).open(path);
        let (file, is_new) = match opened(true) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => (opened(false), false),
            made => (made, true),
        };
        let file = file.map_err(|error| Failure::io(format!("opening {what} {path}"), &error))?;
        Ok(IdFile { file, path: path.to_owned(), is_new })
    }

    /// Writes the id, and nothing else is left in the file.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn write(mut self, id: &str) -> Result<(), Failure> {
        use std::io::Write;
        self.is_new = false;
        self.file
            .set_len(0)
            .and_then(|()| self.file.write_all(id.as_bytes()))
            .map_err(|error| Failure::io(format!("write the ID to {}", self.path), &error))
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.is_new {
            // Whatever it was for has not been made.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_is_refused_before_anything_is_made() {
        let failure = IdFile::open("/nonexist/x").expect_err("refused");
        assert_eq!(failure.to_string(), "opening pod-id-file /nonexist/x: no such file or directory");
    }

    #[test]
    fn an_id_replaces_what_was_in_the_file() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("id");
        drop(IdFile::open(&path.display().to_string()).expect("open"));
        assert!(!path.exists(), "nothing was made");
        std::fs::write(&path, "something longer").expect("write");
        IdFile::open(&path.display().to_string()).expect("open").write("abc").expect("write");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "abc");
    }
}
