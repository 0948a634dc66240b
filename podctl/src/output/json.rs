//! JSON as podman prints it: `"key": value`, one per line, indented; `{}` and `[]` when empty.
//!
//! Documents come from the engine as text and are laid out without being taken apart, so the order of their keys and the
//! digits of their numbers stay. Characters that could steer a terminal become `\uXXXX`, which is the same JSON.

use super::escape;

/// Lays out the JSON text `json`, `indent` spaces per level.
pub fn pretty(json: &str, indent: usize) -> String {
    let mut out = String::with_capacity(json.len() * 2);
    let mut level = 0usize;
    let mut characters = json.chars().peekable();
    let newline = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', level * indent));
    };
    while let Some(character) = characters.next() {
        match character {
            '{' | '[' => {
                out.push(character);
                let close = if character == '{' { '}' } else { ']' };
                while characters.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if characters.next_if_eq(&close).is_some() {
                    out.push(close);
                } else {
                    level += 1;
                    newline(&mut out, level);
                }
            }
            '}' | ']' => {
                level = level.saturating_sub(1);
                newline(&mut out, level);
                out.push(character);
            }
            ',' => {
                out.push(',');
                newline(&mut out, level);
            }
            ':' => out.push_str(": "),
            '"' => string(&mut characters, &mut out),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

/// Copies a string whose opening quote has been read.
fn string(characters: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    out.push('"');
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => {
                out.push('\\');
                out.extend(characters.next());
            }
            c => push_harmless(c, out),
        }
    }
    out.push('"');
}

fn push_harmless(character: char, out: &mut String) {
    if escape::is_hostile(character) {
        out.push_str(&format!("\\u{:04x}", character as u32));
    } else {
        out.push(character);
    }
}

/// Compact JSON of `value`, harmless to a terminal.
pub fn compact(value: &serde_json::Value) -> String {
    let text = value.to_string();
    if !text.contains(escape::is_hostile) {
        return text;
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push_harmless(character, &mut out);
    }
    out
}

/// The YAML of `value` as `info` prints it: block style, keys in their order.
pub fn yaml(value: &serde_json::Value) -> String {
    let mut out = String::new();
    block(value, 0, &mut out);
    out
}

fn block(value: &serde_json::Value, level: usize, out: &mut String) {
    use serde_json::Value;
    let pad = "  ".repeat(level);
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                out.push_str(&format!("{pad}{}:", scalar(&Value::String(key.clone()))));
                nested(value, level, out);
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut inner = String::new();
                        block(item, level + 1, &mut inner);
                        out.push_str(&format!("{pad}- {}", inner.trim_start()));
                    }
                    other => out.push_str(&format!("{pad}- {}\n", scalar(other))),
                }
            }
        }
        other => out.push_str(&format!("{pad}{}\n", scalar(other))),
    }
}

fn nested(value: &serde_json::Value, level: usize, out: &mut String) {
    use serde_json::Value;
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            block(value, level + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            block(value, level, out);
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

/// A value on one line; strings are quoted where YAML would read something else.
fn scalar(value: &serde_json::Value) -> String {
    let serde_json::Value::String(text) = value else { return compact(value) };
    let plain = !text.is_empty()
        && text.chars().all(|c| c.is_alphanumeric() || "_./-+@%,()=: ".contains(c))
        && !text.contains(": ")
        && !text.ends_with([':', ' '])
        && !text.starts_with(['-', '@', '%', ' ', ':', '=', ','])
        && text.parse::<f64>().is_err()
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n" | "~"
        );
    if plain { text.clone() } else { compact(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_laid_out_and_keeps_its_order() {
        let json = r#"[{"b":1.50,"a":[],"c":{},"d":["x","y:{,}\""],"e":{"f":null}}]"#;
        assert_eq!(
            pretty(json, 2),
            "[\n  {\n    \"b\": 1.50,\n    \"a\": [],\n    \"c\": {},\n    \"d\": [\n      \"x\",\n      \"y:{,}\\\"\"\n    ],\n    \"e\": {\n      \"f\": null\n    }\n  }\n]"
        );
        assert_eq!(pretty(&pretty(json, 2), 5), pretty(json, 5));
        assert_eq!(pretty("[]", 5), "[]");
    }

    #[test]
    fn hostile_characters_become_escapes_of_json() {
        let text = pretty("[\"a\u{9b}\u{202e}\u{7f}\"]", 2);
        assert_eq!(text, "[\n  \"a\\u009b\\u202e\\u007f\"\n]");
        assert_eq!(compact(&serde_json::json!("\u{9b}\u{1b}")), "\"\\u009b\\u001b\"");
    }

    #[test]
    fn yaml_is_plain_where_it_can_be() {
        let value = serde_json::json!({"host": {"arch": "amd64", "list": ["a", "b"], "none": [], "count": 5, "v": "1.10", "t": "x: y"}});
        assert_eq!(
            yaml(&value),
            "host:\n  arch: amd64\n  list:\n  - a\n  - b\n  none: []\n  count: 5\n  v: \"1.10\"\n  t: \"x: y\"\n"
        );
    }
}
