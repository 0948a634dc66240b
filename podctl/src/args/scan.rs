//! Reading a command line with the habits, and the words, of Go's pflag and cobra.

use super::{Action, Args, Command, Flag, GLOBAL, Operands, Takes};
use crate::error::Failure;

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// A command is to be run.
    Run {
        /// What of it concerns the command.
        args: Args,
        /// What of it concerns every command: name and value.
        globals: Vec<(&'static str, String)>,
    },
    /// Help for a command is to be shown.
    Help(&'static Command, String),
    /// A group was named without a command: help, and an error.
    Missing(&'static Command, String),
    /// `--version`
    Version,
}

/// Reads `words` (without the program's name) by the tree below `root`.
///
/// # Errors
/// With podman's words and, where it is about a flag, the line that points to help.
pub fn parse(root: &'static Command, words: Vec<String>) -> Result<Parsed, Failure> {
    let mut path = root.name.to_owned();
    let mut command = root;
    let mut globals = Vec::new();
    let mut words = words.into_iter();
    loop {
        let group = matches!(command.action, Action::Group(_));
        let mut scan = Scan { command, words, values: Vec::new(), globals: &mut globals, help: false };
        // A group stops at the first operand, which names the command below it.
        let found = scan.run(group || !command.interspersed, group);
        let (operands, help, values);
        (words, help, values, operands) = match found {
            Ok(operands) => (scan.words, scan.help, scan.values, operands),
            Err(message) => return Err(Failure::usage(message, &path)),
        };
        if help {
            return Ok(Parsed::Help(command, path));
        }
        if values.iter().any(|(name, value)| *name == "version" && value == "true") && std::ptr::eq(command, root) {
            return Ok(Parsed::Version);
        }
        if !group {
            check_operands(command, &path, operands.len())?;
            return Ok(Parsed::Run { args: Args::new(command, path, values, operands), globals });
        }
        let Some(name) = operands.into_iter().next() else { return Ok(Parsed::Missing(command, path)) };
        let Some(child) = command.child(&name) else {
            return Err(Failure::invalid(format!(
                "unrecognized command `{path} {name}`\nTry '{path} --help' for more information"
            )));
        };
        path = format!("{path} {name}");
        command = child;
    }
}

struct Scan<'a> {
    command: &'static Command,
    words: std::vec::IntoIter<String>,
    values: Vec<(&'static str, String)>,
    globals: &'a mut Vec<(&'static str, String)>,
    help: bool,
}

impl Scan<'_> {
    /// Reads flags until the end, or until the first operand; returns the operands (of a group: only the first).
    fn run(&mut self, stop: bool, group: bool) -> Result<Vec<String>, String> {
        let mut operands = Vec::new();
        while let Some(word) = self.words.next() {
            if word == "--" {
                operands.extend(self.words.by_ref());
            } else if let Some(long) = word.strip_prefix("--") {
                self.long(long, &word)?;
            } else if word.len() > 1 && word.starts_with('-') {
                self.shorts(&word[1..])?;
            } else {
                operands.push(word);
                if stop {
                    if !group {
                        operands.extend(self.words.by_ref());
                    }
                    break;
                }
            }
            if self.help {
                break;
            }
        }
        Ok(operands)
    }

    fn long(&mut self, text: &str, word: &str) -> Result<(), String> {
        if text.starts_with(['-', '=']) {
            return Err(format!("bad flag syntax: {word}"));
        }
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        let Some((flag, global)) = self.find(name) else {
            if name == "help" {
                self.help = value.as_deref() != Some("false");
                return Ok(());
            }
            return Err(format!("unknown flag: --{name}"));
        };
        let value = match value {
            Some(value) => value,
            None if flag.takes == Takes::Switch => "true".to_owned(),
            None => self.words.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?,
        };
        self.set(flag, global, value)
    }

    fn shorts(&mut self, text: &str) -> Result<(), String> {
        let mut rest = text;
        while let Some(short) = rest.chars().next() {
            let Some(flag) = self.command.short(short) else {
                if short == 'h' {
                    self.help = true;
                    return Ok(());
                }
                return Err(format!("unknown shorthand flag: '{short}' in -{rest}"));
            };
            let after = &rest[short.len_utf8()..];
            let value = if let Some(value) = after.strip_prefix('=').filter(|value| !value.is_empty()) {
                rest = "";
                value.to_owned()
            } else if flag.takes == Takes::Switch {
                rest = after;
                "true".to_owned()
            } else if !after.is_empty() {
                rest = "";
                after.to_owned()
            } else {
                let value = self.words.next().ok_or_else(|| format!("flag needs an argument: '{short}' in -{rest}"))?;
                rest = "";
                value
            };
            self.set(flag, false, value)?;
        }
        Ok(())
    }

    fn find(&self, long: &str) -> Option<(&'static Flag, bool)> {
        if let Some(flag) = self.command.flag(long) {
            return Some((flag, false));
        }
        GLOBAL.iter().find(|flag| flag.long == long).map(|flag| (flag, true))
    }

    fn set(&mut self, flag: &'static Flag, global: bool, value: String) -> Result<(), String> {
        let value = checked(flag, value)?;
        if global {
            self.globals.push((flag.long, value));
        } else {
            self.values.push((flag.long, value));
        }
        Ok(())
    }
}

/// The value of a flag, or pflag's words about why it is none.
fn checked(flag: &Flag, value: String) -> Result<String, String> {
    let refused = |function: &str, why: &str| {
        Err(format!(
            "invalid argument \"{value}\" for \"{}\" flag: strconv.{function}: parsing \"{value}\": {why}",
            flag.full_name()
        ))
    };
    match flag.takes {
        Takes::Switch => match value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok("true".to_owned()),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok("false".to_owned()),
            _ => refused("ParseBool", "invalid syntax"),
        },
        Takes::Int => match parse_int(&value) {
            Ok(_) => Ok(value),
            Err(why) => refused("ParseInt", why),
        },
        Takes::Uint => match parse_uint(&value) {
            Ok(_) => Ok(value),
            Err(why) => refused("ParseUint", why),
        },
        Takes::Float => match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(value),
            _ => refused("ParseFloat", "invalid syntax"),
        },
        Takes::Text | Takes::List | Takes::Array => Ok(value),
    }
}

const RANGE: &str = "value out of range";
const SYNTAX: &str = "invalid syntax";

fn why(error: &std::num::ParseIntError) -> &'static str {
    match error.kind() {
        std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => RANGE,
        _ => SYNTAX,
    }
}

/// strconv.ParseInt with base 0, as far as people use it: decimal and 0x.
pub(super) fn parse_int(text: &str) -> Result<i64, &'static str> {
    match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|error| why(&error))
}

/// strconv.ParseUint with base 0.
pub(super) fn parse_uint(text: &str) -> Result<u64, &'static str> {
    if text.starts_with('+') {
        return Err(SYNTAX);
    }
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .map_err(|error| why(&error))
}

/// The values in one value of a list flag: a line of CSV, as pflag's StringSlice has it.
pub(super) fn split_list(text: &str) -> Vec<String> {
    if text.is_empty() {
        return Vec::new();
    }
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let last = fields.len() - 1;
        let field = &mut fields[last];
        match character {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => fields.push(String::new()),
            other => field.push(other),
        }
    }
    fields
}

fn check_operands(command: &Command, path: &str, count: usize) -> Result<(), Failure> {
    let message = match command.operands {
        Operands::Any => return Ok(()),
        Operands::None if count == 0 => return Ok(()),
        Operands::None => format!("`{path}` takes no arguments"),
        Operands::Exactly(wanted) if count == wanted => return Ok(()),
        Operands::Exactly(wanted) => format!("accepts {wanted} arg(s), received {count}"),
        Operands::AtMost(most) if count <= most => return Ok(()),
        Operands::AtMost(most) => format!("accepts at most {most} arg(s), received {count}"),
        Operands::AtLeast(least) if count >= least => return Ok(()),
        Operands::AtLeast(least) => format!("requires at least {least} arg(s), only received {count}"),
    };
    Err(Failure::invalid(message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ROOT;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    fn run(line: &str) -> Args {
        match parse(&ROOT, words(line)) {
            Ok(Parsed::Run { args, .. }) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn refused(line: &str) -> String {
        match parse(&ROOT, words(line)) {
            Err(failure) => {
                assert_eq!(failure.code, 125, "{line}");
                failure.to_string()
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn short_switches_cluster_and_values_stick() {
        let args = run("run -dt --name=x -eA=b -e=C=d -e E=f --rm=false alpine ls -l --rm");
        assert!(args.is("detach") && args.is("tty") && !args.is("rm"));
        assert_eq!(args.text("name"), Some("x"));
        assert_eq!(args.all("env"), ["A=b", "C=d", "E=f"]);
        assert_eq!(args.operands, ["alpine", "ls", "-l", "--rm"]);
        assert_eq!(run("run -it -- alpine").operands, ["alpine"]);
        assert_eq!(run("run -p 80:80 alpine -- x").operands, ["alpine", "--", "x"]);
    }

    #[test]
    fn flags_follow_operands_where_they_may() {
        let args = run("rm one -f two");
        assert!(args.is("force"));
        assert_eq!(args.operands, ["one", "two"]);
        assert_eq!(run("pod ps --filter name=a --filter=name=b").all("filter"), ["name=a", "name=b"]);
    }

    #[test]
    fn global_flags_stand_anywhere_before_operands() {
        for line in ["--root /x pod ps", "pod --root /x ps", "pod ps --root /x"] {
            let Ok(Parsed::Run { globals, .. }) = parse(&ROOT, words(line)) else { panic!("{line}") };
            assert_eq!(globals, [("root", "/x".to_owned())], "{line}");
        }
        assert_eq!(run("run alpine --root /x").operands, ["alpine", "--root", "/x"]);
    }

    #[test]
    fn lists_are_split_at_commas_and_arrays_are_not() {
        assert_eq!(run("run --cap-add a,b --cap-add c x").all("cap-add"), ["a", "b", "c"]);
        assert_eq!(run("run --label a=b,c x").all("label"), ["a=b,c"]);
        assert_eq!(split_list("\"a,b\",c"), ["a,b", "c"]);
        assert_eq!(split_list(""), Vec::<String>::new());
    }

    #[test]
    fn help_and_version_are_found() {
        assert!(matches!(parse(&ROOT, words("--version")), Ok(Parsed::Version)));
        assert!(matches!(parse(&ROOT, words("-v")), Ok(Parsed::Version)));
        for (line, path) in [
            ("--help", "podctl"),
            ("pod create --help", "podctl pod create"),
            ("ps -h", "podctl ps"),
            ("run --name x --help", "podctl run"),
        ] {
            match parse(&ROOT, words(line)) {
                Ok(Parsed::Help(_, found)) => assert_eq!(found, path),
                other => panic!("{line}: {other:?}"),
            }
        }
        // -h is --hostname where a command has that.
        assert_eq!(run("run -h web alpine").text("hostname"), Some("web"));
        assert!(matches!(parse(&ROOT, words("pod")), Ok(Parsed::Missing(_, _))));
    }

    #[test]
    fn refusals_are_pflags_and_cobras() {
        for (line, text) in [
            ("ps --bogus", "unknown flag: --bogus\nSee 'podctl ps --help'"),
            ("container ls --bogus", "unknown flag: --bogus\nSee 'podctl container ls --help'"),
            ("ps -xyz", "unknown shorthand flag: 'x' in -xyz\nSee 'podctl ps --help'"),
            ("ps -axy", "unknown shorthand flag: 'x' in -xy\nSee 'podctl ps --help'"),
            ("run --name", "flag needs an argument: --name\nSee 'podctl run --help'"),
            ("run -e", "flag needs an argument: 'e' in -e\nSee 'podctl run --help'"),
            ("run ---x", "bad flag syntax: ---x\nSee 'podctl run --help'"),
            (
                "run --cpus abc x",
                "invalid argument \"abc\" for \"--cpus\" flag: strconv.ParseFloat: parsing \"abc\": invalid syntax\nSee 'podctl run --help'",
            ),
            (
                "run -it=xx y",
                "invalid argument \"xx\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"xx\": invalid syntax\nSee 'podctl run --help'",
            ),
            (
                "pod create --infra=maybe",
                "invalid argument \"maybe\" for \"--infra\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax\nSee 'podctl pod create --help'",
            ),
            (
                "run --pids-limit x y",
                "invalid argument \"x\" for \"--pids-limit\" flag: strconv.ParseInt: parsing \"x\": invalid syntax\nSee 'podctl run --help'",
            ),
            (
                "run -c -1 y",
                "invalid argument \"-1\" for \"-c, --cpu-shares\" flag: strconv.ParseUint: parsing \"-1\": invalid syntax\nSee 'podctl run --help'",
            ),
            ("bogus", "unrecognized command `podctl bogus`\nTry 'podctl --help' for more information"),
            ("pod bogus", "unrecognized command `podctl pod bogus`\nTry 'podctl pod --help' for more information"),
            ("ps x", "`podctl ps` takes no arguments"),
            ("pod ps x", "`podctl pod ps` takes no arguments"),
            ("run", "requires at least 1 arg(s), only received 0"),
            ("rename a", "accepts 2 arg(s), received 1"),
            ("pod create a b", "accepts at most 1 arg(s), received 2"),
            ("pod exists", "accepts 1 arg(s), received 0"),
        ] {
            assert_eq!(refused(line), text, "{line}");
        }
    }
}
