//! Tables of options: what a shell in a container sees of each, and what `inspect` says of it.

use crate::{Engine, Run};

/// Options, script in the container, its output, field of `inspect`, its value.
pub type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

/// What comes of every row that is not as it should be, each with the command line at fault. `line` makes a command line
/// of a row's number, its options and its script, as one word of a shell; `inspect` names the object of a number.
pub fn wrong(
    engine: &Engine,
    rows: &[Row],
    line: impl Fn(usize, &str, &str) -> String,
    inspect: impl Fn(usize) -> Vec<String>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut compare = |options: &str, run: &Run, wanted: &str, quiet: bool| {
        if run.stdout().trim_end_matches('\n') != wanted || (quiet && !run.err.is_empty()) {
            wrong.push(format!("{options}: want {wanted:?}\n{run}"));
        }
    };
    for (number, (options, script, prints, field, value)) in rows.iter().enumerate() {
        let script = format!("'{}'", script.replace('\'', "'\\''"));
        compare(options, &engine.sh(&line(number, options, &script)), prints, true);
        let field = format!("{{{{{field}}}}}");
        let mut words = inspect(number);
        let object = words.pop().unwrap_or_default();
        let words = words.iter().map(String::as_str).chain(["--format", &field, &object]);
        compare(options, &engine.podctl(&words.collect::<Vec<_>>()), value, false);
    }
    wrong
}
