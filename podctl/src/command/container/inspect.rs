//! `podctl inspect`, `podctl container inspect`, and what the inspect of every other kind shares with them.

use proto::{
    serve::deadline,
    wire::{Document, InspectObjects},
};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Flag, switch, text},
    command::{row, select},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
};

/// `--format`
pub const FORMAT: &[Flag] =
    &[text("format", "string", "Format the output to a Go template or json").short('f').default("\"json\"")];
const SIZE: &[Flag] = &[switch("size", "Display total file size").short('s')];

/// `podctl inspect`
pub static ANY: Command = Command {
    name: "inspect",
    about: "Display the configuration of object denoted by ID",
    description: "Displays the low-level information on an object identified by name or ID.",
    usage: "[options] {CONTAINER|POD|IMAGE|NETWORK|VOLUME} [...]",
    examples: &[
        "inspect fedora",
        "inspect --type image fedora",
        "inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' be8baecabdc2",
    ],
    flags: &[
        FORMAT,
        &[text("type", "string", "Specify inspect-object type").short('t').default("\"all\"")],
        SIZE,
        select::LATEST,
    ],
    action: Action::Run(run_any),
    ..Command::EMPTY
};

/// `podctl container inspect`
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Display the configuration of a container",
    description: "Displays the low-level information on a container identified by name or ID.",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &[
        "container inspect myCtr",
        "container inspect --latest",
        "container inspect --format '{{.Id}} {{.Config.Labels}}' myCtr",
    ],
    flags: &[FORMAT, SIZE, select::LATEST],
    action: Action::Run(run),
    ..Command::EMPTY
};

/// How many objects are asked for at once: an answer is one message of at most 4 MiB (ttrpc), and a document is some
/// kilobytes, or much more where there are many labels.
const AT_ONCE: usize = 32;

/// What `System.Inspect` answers: what was found, in the order asked, and a message for each that was not.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    /// Documents.
    pub found: Vec<Value>,
    /// Messages.
    pub errors: Vec<String>,
}

impl Found {
    /// Reads the engine's answer.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn read(document: &Document) -> Result<Found, Failure> {
        serde_json::from_slice(&document.json).map_err(|error| {
            Failure::invalid(format!("the engine's answer cannot be read: {error}: is podshim of another version?"))
        })
    }
}

fn run_any(engine: &Engine, args: &Args) -> Outcome {
    let kind = match args.text("type").unwrap_or("all") {
        "all" | "" => "",
        kind @ ("image" | "container" | "pod" | "network" | "volume") => kind,
        bogus => {
            return Err(Failure::invalid(format!(
                "invalid type \"{bogus}\": must be \"image\", \"container\", \"pod\", \"network\", \"volume\", or \"all\""
            )));
        }
    };
    if args.is("latest") && !matches!(kind, "" | "container" | "pod") {
        return Err(Failure::invalid("latest and type are not supported together for this type: name the object"));
    }
    check(args)?;
    show(engine, args, "inspect", if args.is("latest") && kind.is_empty() { "container" } else { kind })
}

fn run(engine: &Engine, args: &Args) -> Outcome {
    check(args)?;
    show(engine, args, "inspect", "container")
}

fn check(args: &Args) -> Result<(), Failure> {
    match (args.operands.is_empty(), args.is("latest")) {
        (true, false) => Err(Failure::invalid("no names or ids specified")),
        (false, true) => Err(Failure::invalid(
            "latest and names are not allowed together: --latest and arguments cannot be used together",
        )),
        _ => Ok(()),
    }
}

/// Asks for the objects of `args` and prints what was found, then what was not.
///
/// # Errors
/// With a message for each that was not found.
pub fn show(engine: &Engine, args: &Args, command: &str, kind: &str) -> Outcome {
    let latest = args.knows("latest") && args.is("latest");
    let size = args.knows("size") && args.is("size");
    // `--latest` asks once, and names nobody.
    let parts: Vec<&[String]> = if latest { vec![&[]] } else { args.operands.chunks(AT_ONCE).collect() };
    let found = engine.block_on(async {
        let mut all = Found::default();
        let host = engine.host()?;
        let system = host.system();
        for names in parts {
            let request = InspectObjects { names: names.to_vec(), r#type: kind.to_owned(), latest, size };
            let mut found = Found::read(&system.inspect(deadline(ASK), &request).await?)?;
            all.found.append(&mut found.found);
            all.errors.append(&mut found.errors);
        }
        Ok::<_, Failure>(all)
    })?;
    print(command, args.text_or_empty("format"), &found)
}

/// Prints what was found, then fails with what was not.
///
/// # Errors
/// With a message for each that was not found.
pub fn print(command: &str, format: &str, found: &Found) -> Outcome {
    let code = row::print_documents(command, format, &found.found, 5)?;
    if found.errors.is_empty() {
        return Ok(code);
    }
    Err(Failure { messages: found.errors.clone(), ..Failure::invalid("") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_answer_is_read() {
        let document = Document { json: br#"{"found":[{"Id":"x"}],"errors":["no such object: \"y\""]}"#.to_vec() };
        let found = Found::read(&document).expect("read");
        assert_eq!((found.found.len(), found.errors.as_slice()), (1, &["no such object: \"y\"".to_owned()][..]));
        assert!(Found::read(&Document { json: b"[".to_vec() }).is_err());
    }
}
