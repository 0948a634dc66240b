//! Reading the rows of a list, which the engine gives as JSON with podman's keys.

use std::fmt::Write;

use proto::wire::Document;
use serde_json::{Map, Value};

use crate::{
    args::{Args, Flag, list, switch},
    error::Failure,
    output,
};

/// The rows of a list.
///
/// # Errors
/// When the engine's answer is no list.
pub fn rows(document: &Document) -> Result<Vec<Value>, Failure> {
    serde_json::from_slice(&document.json).map_err(|error| {
        Failure::invalid(format!("the engine's list cannot be read: {error}: is podshim of another version?"))
    })
}

/// A text of a row; empty where there is none.
pub fn text<'a>(row: &'a Value, key: &str) -> &'a str {
    row.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A number of a row; 0 where there is none.
pub fn number(row: &Value, key: &str) -> i64 {
    row.get(key).and_then(Value::as_i64).unwrap_or(0)
}

/// The texts of a list in a row.
pub fn texts(row: &Value, key: &str) -> Vec<String> {
    match row.get(key) {
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Some(Value::String(text)) if !text.is_empty() => vec![text.clone()],
        _ => Vec::new(),
    }
}

/// The first 12 digits of an id, or all where ids are not to be cut.
pub fn short(id: &str, whole: bool) -> &str {
    let id = id.strip_prefix("sha256:").unwrap_or(id);
    if whole { id } else { id.get(..proto::id::SHORT).unwrap_or(id) }
}

/// `k=v,k2=v2`, by key.
pub fn pairs(row: &Value, key: &str) -> String {
    let Some(Value::Object(map)) = row.get(key) else { return String::new() };
    let mut pairs: Vec<String> =
        map.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default())).collect();
    pairs.sort();
    pairs.join(",")
}

/// A map of a row, for look-ups by key.
pub fn map(row: &Value, key: &str) -> Value {
    row.get(key).filter(|value| value.is_object()).cloned().unwrap_or_else(|| Value::Object(Map::new()))
}

/// Seconds since 1970 of a time that is a number of seconds or an RFC 3339 text.
pub fn seconds(row: &Value, key: &str) -> i64 {
    nanoseconds(row, key) / 1_000_000_000
}

/// Nanoseconds since 1970 of such a time.
pub fn nanoseconds(row: &Value, key: &str) -> i64 {
    match row.get(key) {
        Some(Value::Number(number)) => number.as_i64().unwrap_or(0).saturating_mul(1_000_000_000),
        Some(Value::String(text)) => proto::time::parse_rfc3339(text).unwrap_or(0),
        _ => 0,
    }
}

/// A column: its field, its header.
pub type Column = (&'static str, &'static str);

/// How a list is to be shown.
#[derive(Debug)]
pub struct Listing<'a> {
    /// The command's name in errors of templates.
    pub command: &'static str,
    /// Columns that are shown when nothing else is asked for.
    pub columns: &'a [Column],
    /// Headers of all fields.
    pub headers: &'a [Column],
    /// Indent of `--format json`.
    pub indent: usize,
}

impl Listing<'_> {
    /// Prints `rows`, which came as `documents`, by `--format`, or as a table.
    ///
    /// # Errors
    /// When the template is wrong.
    pub fn print(&self, args: &Args, rows: &[Value], documents: &[Value]) -> Result<i32, Failure> {
        let heading = !(args.knows("noheading") && args.is("noheading"));
        match args.text_or_empty("format") {
            "json" => {
                let text = serde_json::to_string(documents).map_err(|error| Failure::invalid(error.to_string()))?;
                output::print(&(output::json::pretty(&text, self.indent) + "\n"))
            }
            "" | "table" => output::print(&self.table(rows, heading)),
            format => output::print(&output::template::rows(self.command, format, rows, self.headers, heading)?),
        }
    }

    /// Prints `documents`: with `--quiet` their field `id` alone, else as rows that `shown` makes of them. `raw`: JSON is
    /// the documents, not the rows.
    ///
    /// # Errors
    /// As [`Listing::print`].
    pub fn show(
        &self,
        args: &Args,
        documents: &[Value],
        id: &str,
        shown: fn(&Value) -> Value,
        raw: bool,
    ) -> Result<i32, Failure> {
        if args.is("quiet") {
            let line = |row: &Value| format!("{}\n", output::escape::line(text(row, id)));
            return output::print(&documents.iter().map(line).collect::<String>());
        }
        let rows: Vec<Value> = documents.iter().map(shown).collect();
        self.print(args, &rows, if raw { documents } else { &rows })
    }

    fn table(&self, rows: &[Value], heading: bool) -> String {
        let mut text = String::new();
        if heading {
            text.push_str(&self.columns.iter().map(|(_, header)| *header).collect::<Vec<_>>().join("\t"));
            text.push('\n');
        }
        for row in rows {
            let cells = self.columns.iter().map(|(field, _)| match row.get(*field) {
                Some(Value::String(text)) => output::escape::line(text).into_owned(),
                Some(Value::Null) | None => String::new(),
                Some(other) => output::escape::line(&other.to_string()).into_owned(),
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("\t"));
        }
        output::table::align(&text)
    }
}

/// The flags of a list that is filtered, formatted or shortened to one field; the words are those of podman.
pub const fn list_flags(filter: &'static str, format: Flag, quiet: &'static str) -> [Flag; 4] {
    [
        list("filter", filter).short('f'),
        format,
        switch("noheading", "Do not print headers").short('n'),
        switch("quiet", quiet).short('q'),
    ]
}

/// Prints documents as JSON, or each by the template `format`.
///
/// # Errors
/// When the template is wrong.
pub fn print_documents(command: &str, format: &str, documents: &[Value], indent: usize) -> Result<i32, Failure> {
    if matches!(format, "" | "json") {
        let text = serde_json::to_string(documents).map_err(|error| Failure::invalid(error.to_string()))?;
        return output::print(&(output::json::pretty(&text, indent) + "\n"));
    }
    output::print(&output::template::rows(command, format, documents, &[], false)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_are_read_leniently() {
        let row = json!({"Id": "sha256:0123456789abcdef", "Labels": {"b": "2", "a": "1"}, "Names": ["x"], "T": "1970-01-01T00:00:05Z", "N": 7});
        assert_eq!(short(text(&row, "Id"), false), "0123456789ab");
        assert_eq!((pairs(&row, "Labels").as_str(), pairs(&row, "None").as_str()), ("a=1,b=2", ""));
        assert_eq!((seconds(&row, "T"), seconds(&row, "N"), seconds(&row, "None")), (5, 7, 0));
        assert_eq!((texts(&row, "Names"), texts(&row, "Id").len()), (vec!["x".to_owned()], 1));
    }

    #[test]
    fn a_table_escapes_what_is_hostile() {
        let listing = Listing { command: "x", columns: &[("A", "A"), ("B", "B")], headers: &[], indent: 2 };
        assert_eq!(listing.table(&[json!({"A": "a\tb\x1b", "B": 3})], true), "A           B\na\\tb\\x1b    3\n");
    }
}
