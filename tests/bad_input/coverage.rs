//! The refusals that stand in the code, and which of them no row of the table has heard.

use harness::programs::workspace;
use regex::Regex;

use super::exceptions::ELSEWHERE;

/// Whose words are compared: everybody's who can say no to a command line.
const SOURCES: [&str; 4] = ["podctl/src", "podshim/src", "podmon/src", "proto/src"];

/// What an input can cause. Engine failures, hung parts and objects that go meanwhile are what `crash` is about.
const KINDS: &str = "Invalid|NameInUse|InUse|WrongState|NotSupported|ImageMissing|NoSuch[A-Za-z]*|CommandNot[A-Za-z]*";

/// A string literal, perhaps the first argument of `format!`.
const LITERAL: &str = r#"&?(?:format!\(\s*)?"((?:[^"\\]|\\.)*)""#;

/// Those whose words nobody complained in: `FILE: words`.
pub fn without_a_row(complaints: &[String]) -> Vec<String> {
    let mut missing = Vec::new();
    for (file, text) in code() {
        for words in refusals(&text) {
            // Where help is stands on a second line.
            let first = words.lines().next().unwrap_or_default();
            let pattern = Regex::new(&as_pattern(first)).expect("a pattern made of escaped words");
            if !complaints.iter().any(|complaint| pattern.is_match(complaint)) && !elsewhere(&file, &words) {
                missing.push(format!("{file}: {words}"));
            }
        }
    }
    missing
}

/// Exceptions whose words stand nowhere any more.
pub fn idle_exceptions() -> Vec<String> {
    let said = |(file, text): (String, String)| -> Vec<(String, String)> {
        refusals(&text).into_iter().map(|words| (file.clone(), words)).collect()
    };
    let all: Vec<(String, String)> = code().flat_map(said).collect();
    let parts = ELSEWHERE.iter().flat_map(|(_, parts)| *parts);
    let idle =
        parts.filter(|(path, part)| !all.iter().any(|(file, words)| file.ends_with(path) && words.contains(part)));
    idle.map(|(path, part)| format!("{path}: {part}")).collect()
}

/// The sources without their unit tests, by their paths below the top.
fn code() -> impl Iterator<Item = (String, String)> {
    let own = |(path, text): (std::path::PathBuf, String)| {
        let file = path.strip_prefix(workspace()).unwrap_or(&path).display().to_string();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        let is_test = ["tests.rs", "refusals.rs", "fixture.rs"].iter().any(|name| file.ends_with(&format!("/{name}")));
        // The refusal itself stands in proto under that name, too.
        (!is_test || file.starts_with("proto")).then_some((file, code))
    };
    SOURCES.iter().flat_map(|program| super::super::architecture::sources(program)).filter_map(own)
}

/// What the code of a file can refuse with: literals given to a refusal, to a closure `refuse`, or to a variable
/// `words` that becomes one, from whichever branch.
fn refusals(code: &str) -> Vec<String> {
    let direct = format!(r"(?:Refusal|Failure)::(?:invalid|new\(\s*(?:proto::)?Kind::(?:{KINDS})\s*,)\(?\s*{LITERAL}");
    let closure = format!(r"\brefuse\(\s*(?:Kind::[A-Za-z]+\s*,\s*)?{LITERAL}");
    let branches = r#"let (?:words|message) =\s*(?:if|match)\b((?:"(?:[^"\\]|\\.)*"|[^";])*);"#.to_owned();
    let branch = format!(r"(?:\{{|=>)\s*{LITERAL}");
    let variable = format!(r"let (?:words|message) =\s*{LITERAL}");
    let uses = format!(r"(?:Refusal|Failure)::(?:invalid\(|new\(\s*Kind::(?:{KINDS})\s*,\s*)(?:words|message)\b");
    let uses = Regex::new(&uses).expect("regex");
    let regex = |pattern: &str| Regex::new(pattern).expect("regex");
    let mut found: Vec<String> = Vec::new();
    for pattern in [direct, closure] {
        found.extend(regex(&pattern).captures_iter(code).map(|found| spoken(&found[1])));
    }
    let is_said = |found: &regex::Captures<'_>| {
        let end = found.get(0).map_or(0, |whole| whole.end());
        uses.is_match(&code[end..].chars().take(300).collect::<String>())
    };
    for one in regex(&branches).captures_iter(code).filter(is_said) {
        found.extend(regex(&branch).captures_iter(&one[1]).map(|found| spoken(&found[1])));
    }
    found.extend(regex(&variable).captures_iter(code).filter(is_said).map(|found| spoken(&found[1])));
    found
}

fn elsewhere(file: &str, words: &str) -> bool {
    let mut parts = ELSEWHERE.iter().flat_map(|(_, parts)| *parts);
    parts.any(|(path, part)| file.ends_with(path) && words.contains(part))
}

/// A string literal as it is spoken: escapes resolved, broken lines joined.
fn spoken(literal: &str) -> String {
    let joined = Regex::new(r"\\\n\s*").expect("regex").replace_all(literal, "");
    joined.replace("\\\"", "\"").replace("\\\\", "\\").replace("\\n", "\n")
}

/// The regular expression of what a format string can say.
fn as_pattern(words: &str) -> String {
    let marked = words.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let argument = Regex::new(r"\{[^{}]*\}").expect("regex");
    let parts: Vec<String> = argument.split(&marked).map(regex::escape).collect();
    parts.join(".*").replace('\u{1}', r"\{").replace('\u{2}', r"\}")
}
