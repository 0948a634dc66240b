//! The command line as data: which commands there are, which flags they take, and what was typed.
//!
//! One tree of [`Command`]s is the source of everything: [`scan`] reads a command line by it, [`help`] prints it, and
//! [`crate::complete`] turns it into clap's form for completions and man pages. Scanning is our own and not clap's for
//! two reasons: users rely on pflag's habits and words to the letter (`-dt`, `--x=false`, `-e=A=b`, stop at the first
//! operand, `unknown shorthand flag: 'x' in -xyz`), and `podctl exec` must not build a tree of 60 commands to read one.

pub mod block;
pub mod container;
pub mod duration;
pub mod env;
pub mod file;
pub mod health;
pub mod help;
pub mod mount;
pub mod network;
pub mod pod;
pub mod port;
pub mod resources;
pub mod scan;
pub mod signal;
pub mod value;

use crate::{dial::Engine, error::Outcome};

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// `--flag`, `--flag=false`.
    Switch,
    /// One value; the last one given counts.
    Text,
    /// Any number of values; each may hold several, separated by commas.
    List,
    /// Any number of values, taken as they are.
    Array,
    /// A whole number.
    Int,
    /// A whole number that is not negative.
    Uint,
    /// A decimal number.
    Float,
}

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Its long name, without dashes.
    pub long: &'static str,
    /// Its short name.
    pub short: Option<char>,
    /// What it takes.
    pub takes: Takes,
    /// The word for its value in help.
    pub value: &'static str,
    /// What it does, one line.
    pub help: &'static str,
    /// Its default as help shows it.
    pub default: &'static str,
    /// Other long names, not shown.
    pub aliases: &'static [&'static str],
}

impl Flag {
    const fn new(long: &'static str, takes: Takes, value: &'static str, help: &'static str) -> Flag {
        Flag { long, short: None, takes, value, help, default: "", aliases: &[] }
    }
    /// Adds a short name.
    pub const fn short(mut self, short: char) -> Flag {
        self.short = Some(short);
        self
    }
    /// Says the default.
    pub const fn default(mut self, default: &'static str) -> Flag {
        self.default = default;
        self
    }
    /// Adds other long names.
    pub const fn alias(mut self, aliases: &'static [&'static str]) -> Flag {
        self.aliases = aliases;
        self
    }
    /// Its name in error texts: `-t, --tty` or `--cpus`.
    pub fn full_name(&self) -> String {
        match self.short {
            Some(short) => format!("-{short}, --{}", self.long),
            None => format!("--{}", self.long),
        }
    }
}

/// `--long`
pub const fn switch(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Switch, "", help)
}
/// `--long VALUE`
pub const fn text(long: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Text, value, help)
}
/// `--long A,B --long C`
pub const fn list(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::List, "strings", help)
}
/// `--long A --long B`
pub const fn array(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Array, "stringArray", help)
}
/// `--long 7`
pub const fn int(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Int, "int", help)
}
/// `--long 7`
pub const fn uint(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Uint, "uint", help)
}
/// `--long 0.5`
pub const fn float(long: &'static str, help: &'static str) -> Flag {
    Flag::new(long, Takes::Float, "float", help)
}

/// How many operands a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// As many as given; the command itself checks.
    Any,
    /// None.
    None,
    /// Exactly so many.
    Exactly(usize),
    /// At most so many.
    AtMost(usize),
    /// At least so many.
    AtLeast(usize),
}

/// What a command does.
#[derive(Clone, Copy, Debug)]
pub enum Action {
    /// It has commands below it.
    Group(&'static [&'static Command]),
    /// It acts.
    Run(fn(&Engine, &Args) -> Outcome),
}

/// A command.
#[derive(Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Other names for it.
    pub aliases: &'static [&'static str],
    /// What it does, a few words.
    pub about: &'static str,
    /// What it does, in sentences; empty where `about` says it all.
    pub description: &'static str,
    /// What follows its name in the usage line.
    pub usage: &'static str,
    /// Command lines to learn from, without `podctl `.
    pub examples: &'static [&'static str],
    /// Its flags, in groups that several commands share.
    pub flags: &'static [&'static [Flag]],
    /// Its operands.
    pub operands: Operands,
    /// Whether flags are still flags after the first operand.
    pub interspersed: bool,
    /// Not in help.
    pub hidden: bool,
    /// Whether it starts processes in cgroups, always ([`crate::hasten`]).
    pub starts: bool,
    /// What it does.
    pub action: Action,
}

impl Command {
    /// A command with nothing but defaults, to be completed with `..Command::EMPTY`.
    pub const EMPTY: Command = Command {
        name: "",
        aliases: &[],
        about: "",
        description: "",
        usage: "",
        examples: &[],
        flags: &[],
        operands: Operands::Any,
        interspersed: true,
        hidden: false,
        starts: false,
        action: Action::Group(&[]),
    };

    /// The flag of that long name.
    pub fn flag(&self, long: &str) -> Option<&'static Flag> {
        self.flags.iter().flat_map(|group| group.iter()).find(|flag| flag.long == long || flag.aliases.contains(&long))
    }

    /// The flag of that short name.
    pub fn short(&self, short: char) -> Option<&'static Flag> {
        self.flags.iter().flat_map(|group| group.iter()).find(|flag| flag.short == Some(short))
    }

    /// The commands below it.
    pub fn children(&self) -> &'static [&'static Command] {
        match self.action {
            Action::Group(children) => children,
            Action::Run(_) => &[],
        }
    }

    /// The command below it that answers to `name`.
    pub fn child(&self, name: &str) -> Option<&'static Command> {
        self.children().iter().copied().find(|child| child.name == name || child.aliases.contains(&name))
    }
}

/// Flags that every command takes, anywhere before the operands.
pub const GLOBAL: &[Flag] = &[
    text("cgroup-manager", "string", "Cgroup manager to use (\"cgroupfs\")").default("\"cgroupfs\""),
    text(
        "log-level",
        "string",
        "Log messages above specified level (trace, debug, info, warn, warning, error, fatal, panic)",
    )
    .default("\"warn\""),
    text("events-backend", "string", "Where events are recorded (\"file\"): a journal has them, too")
        .default("\"file\""),
    switch("noout", "Do not output to stdout"),
    switch("remote", "Access a remote service (not supported)"),
    text("root", "string", "Path to the root directory in which data, including images, is stored"),
    text("runroot", "string", "Path to the 'run directory' where all state information is stored"),
    text("runtime", "string", "Path to the OCI-compatible binary used to run containers").default("\"crun\""),
    text(
        "storage-driver",
        "string",
        "Select which storage driver is used to manage storage of images and containers (\"overlay\")",
    )
    .default("\"overlay\""),
    switch("syslog", "Output logging information to syslog as well as the console (no effect)"),
];

/// What was typed.
#[derive(Clone, Debug)]
pub struct Args {
    /// The command.
    pub command: &'static Command,
    /// Its full name, with the program's: `podctl pod create`.
    pub path: String,
    /// Flags in the order given, with their values.
    values: Vec<(&'static str, String)>,
    /// What is no flag.
    pub operands: Vec<String>,
}

impl Args {
    /// What has been typed for `command`.
    pub fn new(
        command: &'static Command,
        path: String,
        values: Vec<(&'static str, String)>,
        operands: Vec<String>,
    ) -> Args {
        Args { command, path, values, operands }
    }

    fn values_of(&self, long: &'static str) -> impl DoubleEndedIterator<Item = &str> {
        debug_assert!(
            self.command.flag(long).is_some() || GLOBAL.iter().any(|flag| flag.long == long),
            "{} has no flag --{long}",
            self.path
        );
        self.values.iter().filter(move |(name, _)| *name == long).map(|(_, value)| value.as_str())
    }

    /// Whether the command has such a flag at all.
    pub fn knows(&self, long: &str) -> bool {
        self.command.flag(long).is_some()
    }

    /// Whether the flag was given, in whatever way.
    pub fn given(&self, long: &'static str) -> bool {
        self.values_of(long).next().is_some()
    }

    /// The long names of all flags that were given, each once.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for (name, _) in &self.values {
            if !names.iter().any(|known| known == name) {
                names.push((*name).to_owned());
            }
        }
        names
    }

    /// A switch that is off unless given.
    pub fn is(&self, long: &'static str) -> bool {
        self.switch(long).unwrap_or(false)
    }

    /// A switch; `None` where it was not given.
    pub fn switch(&self, long: &'static str) -> Option<bool> {
        self.values_of(long).next_back().map(|value| value == "true")
    }

    /// The value of a flag; `None` where it was not given.
    pub fn text(&self, long: &'static str) -> Option<&str> {
        self.values_of(long).next_back()
    }

    /// The value of a flag; empty where it was not given.
    pub fn text_or_empty(&self, long: &'static str) -> &str {
        self.text(long).unwrap_or_default()
    }

    /// All values of a flag, in order; those of a [`Takes::List`] are split at commas.
    pub fn all(&self, long: &'static str) -> Vec<String> {
        let split = self.command.flag(long).is_some_and(|flag| flag.takes == Takes::List);
        self.values_of(long)
            .flat_map(|value| if split { scan::split_list(value) } else { vec![value.to_owned()] })
            .collect()
    }

    /// A whole number; `None` where it was not given. The scanner has checked it.
    pub fn int(&self, long: &'static str) -> Option<i64> {
        self.text(long).and_then(|value| scan::parse_int(value).ok())
    }

    /// A whole number that is not negative.
    pub fn uint(&self, long: &'static str) -> Option<u64> {
        self.text(long).and_then(|value| scan::parse_uint(value).ok())
    }

    /// A decimal number.
    pub fn float(&self, long: &'static str) -> Option<f64> {
        self.text(long).and_then(|value| value.parse().ok())
    }
}
