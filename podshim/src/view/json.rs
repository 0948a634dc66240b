//! JSON as podman writes it: keys in a fixed order, times as Go writes them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// An object whose keys stay in the order given.
pub(super) fn object<const N: usize>(pairs: [(&str, Value); N]) -> Value {
    Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// Adds `key` where there is something to say (Go's `omitempty`).
pub(super) fn add(object: &mut Value, key: &str, value: impl Into<Value>) {
    let value = value.into();
    let empty = match &value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(true) => false,
    };
    if let (false, Some(map)) = (empty, object.as_object_mut()) {
        map.insert(key.to_owned(), value);
    }
}

/// A list of strings.
pub(super) fn strings<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Value {
    items.into_iter().map(|item| Value::from(item.as_ref())).collect()
}

/// A list of strings, or null when it is empty: a nil slice of Go.
pub(super) fn strings_or_null<S: AsRef<str>>(items: impl IntoIterator<Item = S>) -> Value {
    match strings(items) {
        Value::Array(items) if items.is_empty() => Value::Null,
        list => list,
    }
}

/// A map of strings, sorted by key.
pub(super) fn map(items: &BTreeMap<String, String>) -> Value {
    Value::Object(items.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect::<Map<_, _>>())
}

/// A map of strings, or null when it is empty: a nil map of Go.
pub(super) fn map_or_null(items: &BTreeMap<String, String>) -> Value {
    if items.is_empty() { Value::Null } else { map(items) }
}

/// A time as Go's `time.Time` is marshalled: RFC 3339 in UTC without trailing zeros of the fraction.
pub(super) fn time(nanoseconds: i64) -> Value {
    let text = proto::time::rfc3339(nanoseconds);
    let Some(body) = text.strip_suffix('Z').filter(|body| body.contains('.')) else { return text.into() };
    format!("{}Z", body.trim_end_matches('0').trim_end_matches('.')).into()
}

/// Seconds since the epoch; those of Go's zero time for 0.
pub(super) fn seconds(nanoseconds: i64) -> i64 {
    const GO_ZERO: i64 = -62_135_596_800;
    if nanoseconds == 0 { GO_ZERO } else { nanoseconds.div_euclid(1_000_000_000) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_in_order_and_empty_ones_can_be_left_out() {
        let mut document = object([("b", 1.into()), ("a", Value::Null)]);
        add(&mut document, "none", "");
        add(&mut document, "zero", 0);
        add(&mut document, "some", 5);
        assert_eq!(document.to_string(), r#"{"b":1,"a":null,"some":5}"#);
    }

    #[test]
    fn times_are_those_of_go() {
        assert_eq!(time(1_000_000_001), "1970-01-01T00:00:01.000000001Z");
        assert_eq!(time(1_500_000_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(time(2_000_000_000), "1970-01-01T00:00:02Z");
        assert_eq!(time(0), "0001-01-01T00:00:00Z");
        assert_eq!((seconds(0), seconds(1_999_999_999)), (-62_135_596_800, 1));
    }
}
