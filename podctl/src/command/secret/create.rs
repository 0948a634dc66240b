//! `podctl secret create`

use std::io::Read;

use proto::{serve::deadline, wire::CreateSecret};

use crate::{
    args::{Action, Args, Command, Operands, array, list, switch, text, value},
    dial::{ASK, Engine},
    error::{Failure, Outcome, plain},
    output,
};

/// What is read of a file: a little more than the engine keeps, so that too much is seen to be too much.
const MOST: u64 = 512_001;

/// The command.
pub static COMMAND: Command = Command {
    name: "create",
    about: "Create a new secret",
    description: "Create a secret. The content can be a path to a file, \"-\" for standard input, or (--env) a variable of the environment.",
    usage: "[options] NAME FILE|-|VARIABLE",
    examples: &[
        "secret create mysecret /path/to/secret",
        "secret create mysecret - < ./file",
        "secret create --env mysecret MYSECRET",
    ],
    flags: &[&[
        text("driver", "string", "Specify secret driver").short('d').default("\"file\""),
        list("driver-opts", "Specify driver specific options"),
        switch("env", "Read secret data from environment variable"),
        switch("ignore", "If a secret with the same name exists, leave it as it is"),
        array("label", "Specify labels on the secret").short('l'),
        switch("replace", "If a secret with the same name exists, replace it"),
    ]],
    operands: Operands::Exactly(2),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    if args.is("ignore") && args.is("replace") {
        return Err(Failure::invalid("--ignore and --replace cannot be used together"));
    }
    let [name, source] = args.operands.as_slice() else { return Err(Failure::invalid("accepts 2 arg(s)")) };
    let options = args.all("driver-opts");
    let pair = |text: &String| {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        (key.to_owned(), value.to_owned())
    };
    let request = CreateSecret {
        name: name.clone(),
        data: if args.is("env") { variable(source)? } else { file(source)? },
        labels: value::labels(&[], &args.all("label"))?,
        driver: args.text("driver").unwrap_or("file").to_owned(),
        replace: args.is("replace"),
        ignore: args.is("ignore"),
        driver_options: options.iter().map(pair).collect(),
    };
    engine.block_on(async {
        let created = engine.host()?.secrets().create(deadline(ASK), &request).await?;
        output::line(&created.id)
    })
}

fn variable(name: &str) -> Result<Vec<u8>, Failure> {
    use std::os::unix::ffi::OsStringExt;
    std::env::var_os(name).map(OsStringExt::into_vec).ok_or_else(|| {
        Failure::invalid(format!("cannot create store secret data: environment variable {name} is not set"))
    })
}

fn file(path: &str) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    let read = if path == "-" {
        std::io::stdin().lock().take(MOST).read_to_end(&mut data)
    } else {
        crate::args::file::open(path).and_then(|file| file.take(MOST).read_to_end(&mut data))
    };
    read.map_err(|error| Failure::invalid(format!("open {path}: {}", plain(&error))))?;
    Ok(data)
}
