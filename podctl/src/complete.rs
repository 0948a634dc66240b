//! Completions and man pages, from the same tree of commands that is scanned and shown as help.

use std::{fs, io, path::Path};

use clap_complete::{Shell, generate};

use crate::{
    PROGRAM,
    args::{Action, Command, Flag, GLOBAL, Takes},
    command::ROOT,
};

/// The completion script for `shell`; `None` where it is not known.
pub fn script(shell: &str) -> Option<String> {
    let shell = match shell {
        "bash" => Shell::Bash,
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => return None,
    };
    let mut script = Vec::new();
    generate(shell, &mut tree(&ROOT, PROGRAM), PROGRAM, &mut script);
    Some(String::from_utf8_lossy(&script).into_owned())
}

/// Writes a page per command into `dir`.
///
/// # Errors
/// Those of the file system.
pub fn man_pages(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    page(&ROOT, PROGRAM, dir)
}

fn page(command: &'static Command, path: &str, dir: &Path) -> io::Result<()> {
    let name = path.replace(' ', "-");
    let mut clap = tree(command, &name).name(name.clone()).bin_name(path.to_owned());
    if !command.examples.is_empty() {
        let examples: Vec<String> = command.examples.iter().map(|example| format!("podctl {example}")).collect();
        clap = clap.after_long_help(format!("Examples:\n\n{}", examples.join("\n\n")));
    }
    let mut text = Vec::new();
    clap_mangen::Man::new(clap).title(name.to_uppercase()).render(&mut text)?;
    fs::write(dir.join(format!("{name}.1")), text)?;
    for child in command.children().iter().filter(|child| !child.hidden) {
        page(child, &format!("{path} {}", child.name), dir)?;
    }
    Ok(())
}

/// A command in clap's form.
fn tree(command: &'static Command, name: &str) -> clap::Command {
    let mut clap = clap::Command::new(name.to_owned())
        .about(command.about)
        .version(proto::VERSION)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .hide(command.hidden)
        .visible_aliases(command.aliases)
        .override_usage(format!("{name} {}", command.usage));
    if !command.description.is_empty() {
        clap = clap.long_about(command.description);
    }
    for flag in command.flags.iter().flat_map(|group| group.iter()).chain(GLOBAL) {
        clap = clap.arg(argument(flag));
    }
    clap = clap.arg(clap::Arg::new("help").long("help").help("Show help").action(clap::ArgAction::Help));
    if matches!(command.action, Action::Run(_)) && command.operands != crate::args::Operands::None {
        clap = clap.arg(clap::Arg::new("operands").num_args(0..).value_name(operand(command)).hide(true));
    }
    for child in command.children().iter().filter(|child| !child.hidden) {
        clap = clap.subcommand(tree(child, child.name));
    }
    clap
}

/// The word for a command's operands: the last in capitals of its usage.
fn operand(command: &Command) -> &'static str {
    command
        .usage
        .split([' ', '[', ']', '.', '{', '}', '|'])
        .find(|word| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase()))
        .unwrap_or("ARG")
}

fn argument(flag: &'static Flag) -> clap::Arg {
    let mut argument = clap::Arg::new(flag.long).long(flag.long).help(flag.help);
    if let Some(short) = flag.short {
        argument = argument.short(short);
    }
    if !flag.aliases.is_empty() {
        argument = argument.aliases(flag.aliases);
    }
    match flag.takes {
        Takes::Switch => argument.action(clap::ArgAction::SetTrue),
        Takes::Text | Takes::Int | Takes::Uint | Takes::Float => {
            argument.value_name(flag.value).action(clap::ArgAction::Set).value_hint(hint(flag))
        }
        Takes::List | Takes::Array => {
            argument.value_name(flag.value).action(clap::ArgAction::Append).value_hint(hint(flag))
        }
    }
}

fn hint(flag: &Flag) -> clap::ValueHint {
    match flag.long {
        "root" | "runroot" => clap::ValueHint::DirPath,
        long if long.ends_with("file") || matches!(long, "input" | "volume" | "runtime") => clap::ValueHint::AnyPath,
        _ => clap::ValueHint::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_a_valid_clap_command() {
        tree(&ROOT, PROGRAM).debug_assert();
    }

    #[test]
    fn scripts_know_commands_and_flags() {
        for shell in ["bash", "zsh", "fish"] {
            let script = script(shell).expect(shell);
            for word in ["pod", "create", "exit-policy", "network"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
            assert!(!script.contains("manpages"), "{shell} shows what is hidden");
        }
        assert!(script("tcsh").is_none());
    }

    #[test]
    fn every_command_has_a_page() {
        let dir = tempfile::tempdir().expect("tempdir");
        man_pages(dir.path()).expect("pages");
        let page = fs::read_to_string(dir.path().join("podctl-pod-create.1")).expect("page");
        assert!(page.contains("exit\\-policy") && page.contains("podctl pod create"), "{page}");
        assert!(dir.path().join("podctl.1").exists() && !dir.path().join("podctl-manpages.1").exists());
        assert!(!crate::args::help::text(&ROOT, PROGRAM).contains("manpages"));
    }
}
