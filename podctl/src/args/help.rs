//! `--help`: the layout of podman's.

use std::fmt::Write;

use super::{Command, Flag, GLOBAL, Takes};

/// Help for `command`, whose full name is `path`.
pub fn text(command: &Command, path: &str) -> String {
    let mut text = format!("{}\n", command.about);
    if !command.description.is_empty() {
        let description = command.description.replace('\n', "\n  ");
        let _ = write!(text, "\nDescription:\n  {description}\n");
    }
    let _ = write!(text, "\nUsage:\n  {path} {}\n", command.usage);
    let children: Vec<&Command> = command.children().iter().copied().filter(|child| !child.hidden).collect();
    if !children.is_empty() {
        text.push_str("\nAvailable Commands:\n");
        let width = children.iter().map(|child| child.name.len()).max().unwrap_or(0).max(11);
        for child in children {
            let _ = writeln!(text, "  {:width$} {}", child.name, child.about);
        }
    }
    if !command.examples.is_empty() {
        text.push_str("\nExamples:\n");
        for example in command.examples {
            let _ = writeln!(text, "  podctl {example}");
        }
    }
    let mut flags: Vec<&Flag> = command.flags.iter().flat_map(|group| group.iter()).collect();
    if path == crate::PROGRAM {
        flags.extend(GLOBAL);
    }
    if !flags.is_empty() {
        text.push_str("\nOptions:\n");
        text.push_str(&options(flags));
    }
    text
}

/// One line per flag, by name, descriptions aligned.
fn options(mut flags: Vec<&Flag>) -> String {
    flags.sort_by_key(|flag| flag.long);
    let heads: Vec<String> = flags.iter().map(|flag| head(flag)).collect();
    let width = heads.iter().map(String::len).max().unwrap_or(0);
    let mut text = String::new();
    for (flag, head) in flags.iter().zip(&heads) {
        let _ = write!(text, "{head:width$}   {}", flag.help);
        if !flag.default.is_empty() {
            let _ = write!(text, " (default {})", flag.default);
        }
        text.push('\n');
    }
    text
}

fn head(flag: &Flag) -> String {
    let short = flag.short.map_or_else(|| "    ".to_owned(), |short| format!("-{short}, "));
    let value = if flag.takes == Takes::Switch { String::new() } else { format!(" {}", flag.value) };
    format!("  {short}--{}{value}", flag.long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::ROOT;

    fn every(command: &'static Command, path: &str, visit: &mut impl FnMut(&'static Command, &str)) {
        visit(command, path);
        for child in command.children() {
            every(child, &format!("{path} {}", child.name), visit);
        }
    }

    #[test]
    fn every_command_explains_itself_and_has_examples() {
        every(&ROOT, "podctl", &mut |command, path| {
            let text = text(command, path);
            assert!(!command.about.is_empty(), "{path}");
            assert!(text.contains(&format!("Usage:\n  {path} ")), "{path}");
            if command.children().is_empty() && !command.hidden {
                assert!(!command.examples.is_empty(), "{path} has no examples");
                let name = path.trim_start_matches("podctl ");
                for example in command.examples {
                    assert!(
                        example.starts_with(name) || example.split(' ').next() == path.split(' ').next_back(),
                        "{path}: {example:?} is no example of it"
                    );
                }
            }
        });
    }

    #[test]
    fn every_example_can_be_read() {
        every(&ROOT, "podctl", &mut |command, path| {
            for example in command.examples {
                let words = shell_words(example);
                let parsed = super::super::scan::parse(&ROOT, words);
                assert!(parsed.is_ok(), "{path}: {example}: {parsed:?}");
            }
        });
    }

    fn shell_words(line: &str) -> Vec<String> {
        let line = line.split(" > ").next().unwrap_or(line).split(" < ").next().unwrap_or(line);
        let mut words = vec![String::new()];
        let mut quote = None;
        for character in line.chars() {
            match (character, quote) {
                (c, Some(q)) if c == q => quote = None,
                ('\'' | '"', None) => quote = Some(character),
                (' ', None) => words.push(String::new()),
                _ => words.last_mut().expect("one").push(character),
            }
        }
        words
    }

    #[test]
    fn no_name_is_given_twice() {
        every(&ROOT, "podctl", &mut |command, path| {
            let mut names: Vec<String> = Vec::new();
            for flag in command.flags.iter().flat_map(|group| group.iter()) {
                names.push(flag.long.to_owned());
                names.extend(flag.aliases.iter().map(|&alias| alias.to_owned()));
                names.extend(flag.short.map(|short| format!("-{short}")));
                assert!(!GLOBAL.iter().any(|global| global.long == flag.long), "{path} --{}", flag.long);
            }
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{path}: a flag twice");
        });
    }

    #[test]
    fn the_layout() {
        let command = ROOT.child("pod").and_then(|pod| pod.child("exists")).expect("pod exists");
        assert_eq!(
            text(command, "podctl pod exists"),
            "Check if a pod exists in local storage\n\nDescription:\n  If the named pod exists in local storage, podctl pod exists exits with 0, otherwise the exit code will be 1.\n\nUsage:\n  podctl pod exists POD\n\nExamples:\n  podctl pod exists podID\n  podctl pod exists mypod\n"
        );
    }
}
