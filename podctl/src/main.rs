//! podctl: the command line of the pod engine. Thin: it reads arguments, asks podshim or podmon, and prints.
//!
//! | module | does |
//! |---|---|
//! | [`args`] | the command line as data: flags, values, messages made of them; no I/O beyond files the user names |
//! | [`command`] | one file per verb: arguments in, a request, print |
//! | [`dial`] | name → socket; connects, or starts the shim; the only place that knows sockets |
//! | [`fan_out`] | many targets: resolve all, act beside each other, print in order |
//! | [`attach`], [`relay`], [`terminal`] | a container's or a session's streams at this terminal |
//! | [`hasten`] | what the kernel is slow at begins early |
//! | [`source`] | bind sources as the caller sees them |
//! | [`output`] | tables, JSON, templates, words for times and sizes |
//! | [`complete`] | completions and man pages from the tree of commands |
//! | [`error`] | refusal → words and exit code |
//! | [`sys`] | every unsafe block |
//!
//! It opens nothing under the engine's directories but `names/` and sockets, and holds no lock.

mod args;
mod attach;
mod awake;
mod command;
mod complete;
mod dial;
mod error;
mod fan_out;
mod hasten;
mod output;
mod relay;
mod source;
mod sys;
mod terminal;

use args::scan::{self, Parsed};
use dial::Engine;
use error::{Failure, Outcome};

/// The program's name in all texts.
pub const PROGRAM: &str = "podctl";

fn main() {
    sys::seal_inherited_descriptors();
    proto::failpoint::arm();
    let code = match run() {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            failure.code
        }
    };
    std::process::exit(code);
}

fn run() -> Outcome {
    let words = std::env::args_os()
        .skip(1)
        .map(|word| word.into_string())
        .collect::<Result<Vec<String>, _>>()
        .map_err(|word| Failure::invalid(format!("argument {word:?} is not UTF-8: podctl takes text only")))?;
    match scan::parse(&command::ROOT, words)? {
        Parsed::Version => output::print(&format!("{PROGRAM} version {}\n", proto::VERSION)),
        Parsed::Help(command, path) => output::print(&args::help::text(command, &path)),
        Parsed::Missing(command, path) => {
            output::print(&args::help::text(command, &path))?;
            Err(Failure::invalid(format!("missing command '{path} COMMAND'")))
        }
        Parsed::Run { args, globals } => {
            // What opens files must wait where descriptors are to be passed by their numbers.
            if args.command.starts && args.uint("preserve-fds").unwrap_or(0) == 0 {
                hasten::cgroups();
            }
            let engine = Engine::from_flags(&globals)?;
            match args.command.action {
                args::Action::Run(act) => act(&engine, &args),
                args::Action::Group(_) => Ok(0),
            }
        }
    }
}
