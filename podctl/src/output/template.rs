//! `--format`: Go templates over what the engine answered, with podman's additions.
//!
//! - functions `join json lower pad split title truncate upper`, and `escape_once`, which a tutorial that people follow
//!   uses (a Liquid filter in its origin): it returns what it gets;
//! - `table …`: a line of headers, spaces between actions become columns;
//! - `\t` and `\n` outside of actions; a range over rows is implied; every row ends a line;
//! - `\.` in an action is `.` (the same tutorial has it).
//!
//! Documents are JSON; where podman's Go field is named otherwise than its JSON key (`.ID` for `Id`, `.Host` for `host`)
//! both names are found.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use gotmpl::{MissingKey, Template, TemplateError, Value};
use proto::time;
use serde_json::Value as Json;

use super::{escape, human, json, omitted, table};
use crate::error::Failure;

/// What a template does not show and `json` must, by the address of the value.
#[derive(Default)]
struct Origins {
    /// The order of a map's keys: the template's are sorted.
    orders: HashMap<usize, Vec<Arc<str>>>,
    /// What a value has been in the document where that is something else: null, or the text of a time.
    verbatim: HashMap<usize, Json>,
    /// Whether texts of times are times: lists have them in words already.
    times: bool,
}

/// Prints `rows` by `format`; `command` is named in errors, `headers` name the columns of `table …`.
///
/// # Errors
/// When the template is wrong or asks for a field that is not there.
pub fn rows(
    command: &str,
    format: &str,
    rows: &[Json],
    headers: &[(&str, &str)],
    heading: bool,
) -> Result<String, Failure> {
    let (text, is_table) = normalize(format);
    let mut origins = Origins { times: headers.is_empty(), ..Origins::default() };
    let values: Vec<Value> = rows.iter().map(|row| convert(row, true, &mut origins)).collect();
    let template = compile(command, &text, origins, MissingKey::Error)?;
    let mut out = String::new();
    if is_table && heading {
        let headers: BTreeMap<Arc<str>, Value> =
            headers.iter().map(|(field, header)| (Arc::from(*field), Value::String(Arc::from(*header)))).collect();
        let names = compile(command, &text, Origins::default(), MissingKey::Invalid)?;
        // A template that does more than show fields (`{{index .Names 0}}`) has no header for them.
        if let Ok(line) = names.execute_to_string(&Value::Map(Arc::new(headers))) {
            out.push_str(&line);
        }
    }
    if ranges_over_rows(&text) {
        out.push_str(&execute(command, &template, &Value::List(values.into()))?);
    } else {
        for value in &values {
            out.push_str(&execute(command, &template, value)?);
        }
    }
    let out = escape::lines(&out).into_owned();
    Ok(if is_table { table::align(&out) } else { out })
}

/// Whether the template begins with `{{range .}}`: then it has all rows, else a range over them is implied.
fn ranges_over_rows(text: &str) -> bool {
    let action = text.trim_start().strip_prefix("{{").map(|rest| rest.trim_start_matches('-').trim_start());
    let operand = action.and_then(|rest| rest.strip_prefix("range")).map(str::trim_start);
    operand.and_then(|rest| rest.strip_prefix('.')).is_some_and(|rest| rest.trim_start().starts_with(['}', '-']))
}

/// Prints one document by `format`.
///
/// # Errors
/// See [`rows`].
pub fn document(command: &str, format: &str, document: &Json) -> Result<String, Failure> {
    rows(command, format, std::slice::from_ref(document), &[], false)
}

fn execute(command: &str, template: &Template, value: &Value) -> Result<String, Failure> {
    template.execute_to_string(value).map_err(|error| refused(command, &error))
}

/// Whether every block has its end: the template engine takes a missing or superfluous one for the end of the text.
fn check_blocks(command: &str, text: &str) -> Result<(), Failure> {
    let mut open = 0usize;
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let length = action_length(&rest[start..]);
        let action = rest[start + 2..start + length].trim_start_matches('-').trim_start();
        let word = action.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default();
        match word {
            "if" | "range" | "with" | "block" | "define" => open += 1,
            "end" if open == 0 => {
                return Err(Failure::invalid(format!("template: {command}:1: unexpected {{{{end}}}}")));
            }
            "end" => open -= 1,
            _ => {}
        }
        rest = &rest[start + length..];
    }
    if open > 0 { Err(Failure::invalid(format!("template: {command}:1: unexpected EOF"))) } else { Ok(()) }
}

fn compile(command: &str, text: &str, origins: Origins, missing: MissingKey) -> Result<Template, Failure> {
    check_blocks(command, text)?;
    Template::new(command)
        .missing_key(missing)
        .func("json", move |args| Ok(string(json::compact(&to_json(first(args, "json")?, &origins)))))
        .func("escape_once", |args| first(args, "escape_once").cloned())
        .func("lower", |args| Ok(string(first(args, "lower")?.to_string().to_lowercase())))
        .func("upper", |args| Ok(string(first(args, "upper")?.to_string().to_uppercase())))
        .func("title", |args| Ok(string(title(&first(args, "title")?.to_string()))))
        .func("label", label)
        .func("index", index)
        .func("join", join)
        .func("split", split)
        .func("pad", pad)
        .func("truncate", truncate)
        .parse(text)
        .map_err(|error| refused(command, &error))
}

/// Go's words for what is wrong with a template, as far as its engine tells.
fn refused(command: &str, error: &TemplateError) -> Failure {
    let words = match error {
        TemplateError::Parse { line, message, .. } | TemplateError::Lex { line, message, .. } => {
            format!("template: {command}:{line}: {message}")
        }
        TemplateError::MissingKey { key } => {
            format!(
                "template: {command}:1: executing \"{command}\" at <.{key}>: can't evaluate field {key}: there is no such field"
            )
        }
        TemplateError::UndefinedFunction(name) => format!("template: {command}:1: function \"{name}\" not defined"),
        TemplateError::Exec(words) => format!("template: {command}:1: executing \"{command}\": {words}"),
        other => format!("template: {command}:1: executing \"{command}\": {other}"),
    };
    Failure::invalid(words)
}

/// The template that is run, and whether its output is a table.
fn normalize(format: &str) -> (String, bool) {
    let (format, is_table) = match format.strip_prefix("table ") {
        Some(rest) => (rest.trim_start(), true),
        None => (format, false),
    };
    let mut text = String::with_capacity(format.len() + 8);
    let mut rest = format;
    while let Some(start) = rest.find("{{") {
        text.push_str(&outside(&rest[..start], is_table));
        let length = action_length(&rest[start..]);
        text.push_str(&inside(&rest[start..start + length]));
        rest = &rest[start + length..];
    }
    text.push_str(&outside(rest, is_table));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    (text, is_table)
}

fn outside(text: &str, is_table: bool) -> String {
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    if is_table { text.replace(' ', "\t") } else { text }
}

/// Length of the action at the beginning of `text`, with its braces; all of it where it does not end.
fn action_length(text: &str) -> usize {
    let mut quote: Option<u8> = None;
    let bytes = text.as_bytes();
    let mut index = 2;
    while index < bytes.len() {
        match (bytes[index], quote) {
            (b'\\', Some(b'"')) => index += 1,
            (byte, Some(open)) if byte == open => quote = None,
            (byte @ (b'"' | b'`'), None) => quote = Some(byte),
            (b'}', None) if text[index..].starts_with("}}") => return index + 2,
            _ => {}
        }
        index += 1;
    }
    text.len()
}

/// An action without `\.`, and with the method `.Label "x"` as a look-up.
fn inside(action: &str) -> String {
    let mut text = String::with_capacity(action.len());
    let mut quoted = false;
    let mut rest = action;
    while let Some(character) = rest.chars().next() {
        if character == '"' {
            quoted = !quoted;
        }
        if !quoted && rest.starts_with("\\.") {
            rest = &rest[1..];
        } else if !quoted && rest.starts_with(".Label ") && !text.ends_with(|c: char| c.is_alphanumeric() || c == ')') {
            text.push_str("label .LabelMap ");
            rest = &rest[".Label ".len()..];
        } else {
            text.push(character);
            rest = &rest[character.len_utf8()..];
        }
    }
    text
}

/// Keys whose value maps names of the user's to something: their entries are no fields.
const MAPS: &[&str] = &[
    "Labels",
    "labels",
    "LabelMap",
    "Annotations",
    "Options",
    "options",
    "ipam_options",
    "NetworkOptions",
    "Networks",
    "Ports",
    "PortBindings",
    "ExposedPorts",
    "Volumes",
    "Sysctls",
    "containers",
    "Containers",
];

/// Names of Go fields that do not follow from the JSON key.
const NAMES: &[(&str, &str)] = &[
    ("Id", "ID"),
    ("id", "ID"),
    ("InfraId", "InfraID"),
    ("ociRuntime", "OCIRuntime"),
    ("cgroupVersion", "CgroupsVersion"),
    ("os", "OS"),
    ("cpus", "CPUs"),
    ("uptime", "Uptime"),
    ("networkBackend", "NetworkBackend"),
    ("network_interface", "NetworkInterface"),
    ("dns_enabled", "DNSEnabled"),
    ("ipv6_enabled", "IPv6Enabled"),
    ("ipam_options", "IPAMOptions"),
    ("network_dns_servers", "NetworkDNSServers"),
    ("cpu_period", "CPUPeriod"),
    ("cpu_quota", "CPUQuota"),
    ("cpu_shares", "CPUShares"),
    ("cpuset_cpus", "CPUSetCPUs"),
    ("cpuset_mems", "CPUSetMems"),
    ("memory_limit", "MemoryLimit"),
    ("memory_swap", "MemorySwap"),
    ("security_opt", "SecurityOpts"),
    ("blkio_weight", "BlkioWeight"),
    ("volumes_from", "VolumesFrom"),
    ("pid_ns", "PidNS"),
    ("uts_ns", "UtsNS"),
    ("userns", "UserNS"),
];

/// Keys whose null is a nil slice of Go's; that of one of [`MAPS`] is a nil map.
const LISTS: &[&str] = &[
    "BoundingCaps",
    "Cmd",
    "Command",
    "DNSOption",
    "DNSSearch",
    "DNSServer",
    "EffectiveCaps",
    "Entrypoint",
    "Env",
    "HostAdd",
    "Links",
    "OnBuild",
];

/// Keys of times in what `inspect` shows (Go's `time.Time`, which a template shows otherwise than JSON).
const TIMES: &[&str] = &["CheckpointedAt", "Created", "CreatedAt", "FinishedAt", "RestoredAt", "StartedAt", "created"];

/// A document as the template engine wants it. With `fields`, the keys of its maps are fields and get their Go names.
fn convert(document: &Json, fields: bool, origins: &mut Origins) -> Value {
    match document {
        Json::Null => Value::Nil,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::Int(value),
            (None, Some(value)) => Value::Uint(value),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => Value::String(Arc::from(text.as_str())),
        Json::Array(items) => items.iter().map(|item| convert(item, fields, origins)).collect::<Vec<_>>().into_list(),
        Json::Object(object) => convert_object(object, fields, false, origins),
    }
}

/// An object; one that is the config of an image has nothing of its own to be known by.
fn convert_object(
    object: &serde_json::Map<String, Json>,
    fields: bool,
    is_image_config: bool,
    origins: &mut Origins,
) -> Value {
    let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
    let mut order = Vec::with_capacity(object.len());
    let is_image = object.contains_key("RootFS");
    for (key, value) in object {
        let typed = if fields { as_go_has_it(key, value, origins.times) } else { None };
        let value = match (typed, value) {
            (Some(typed), value) => {
                origins.verbatim.insert(address(&typed), value.clone());
                typed
            }
            (None, Json::Object(inner)) => {
                let fields = !MAPS.contains(&key.as_str());
                convert_object(inner, fields, is_image && key == "Config", origins)
            }
            (None, value) => convert(value, true, origins),
        };
        let name: Arc<str> = Arc::from(key.as_str());
        if fields && let Some(go) = go_name(key).filter(|go| !object.contains_key(go)) {
            map.insert(Arc::from(go), value.clone());
        }
        map.insert(name.clone(), value);
        order.push(name);
    }
    if fields {
        omitted::complete(object, &mut map);
    }
    if is_image_config {
        omitted::complete_image_config(&mut map);
    }
    let map = Arc::new(map);
    origins.orders.insert(Arc::as_ptr(&map) as usize, order);
    Value::Map(map)
}

/// The value of a field whose Go type JSON does not tell: nil maps and slices, times.
fn as_go_has_it(key: &str, value: &Json, times: bool) -> Option<Value> {
    match value {
        Json::Null if MAPS.contains(&key) => Some(Value::Map(Arc::new(BTreeMap::new()))),
        Json::Null if LISTS.contains(&key) => Some(Vec::new().into_list()),
        Json::String(text) if times && TIMES.contains(&key) => {
            let zero = || (*text == time::rfc3339(0)).then_some(0);
            Some(string(human::go_time(time::parse_rfc3339(text).or_else(zero)?)))
        }
        _ => None,
    }
}

/// Where a value is, which its clones share.
fn address(value: &Value) -> usize {
    match value {
        Value::Map(map) => Arc::as_ptr(map) as usize,
        Value::List(items) => Arc::as_ptr(items).cast::<Value>() as usize,
        Value::String(text) => Arc::as_ptr(text).cast::<u8>() as usize,
        _ => 0,
    }
}

trait IntoList {
    fn into_list(self) -> Value;
}

impl IntoList for Vec<Value> {
    fn into_list(self) -> Value {
        Value::List(self.into())
    }
}

/// The Go name of the field whose JSON key is `key`, where it is another.
fn go_name(key: &str) -> Option<String> {
    if let Some((_, name)) = NAMES.iter().find(|(json, _)| *json == key) {
        return Some((*name).to_owned());
    }
    let mut characters = key.chars();
    let initial = characters.next().filter(char::is_ascii_lowercase)?;
    Some(format!("{}{}", initial.to_ascii_uppercase(), characters.as_str()))
}

/// `label MAP NAME`: what the method `.Label "x"` returns, empty where there is no such label.
fn label(args: &[Value]) -> FuncResult {
    let found = match args {
        [Value::Map(labels), name] => labels.get(name.to_string().as_str()).cloned(),
        _ => None,
    };
    Ok(found.unwrap_or_else(|| string(String::new())))
}

/// `index COLLECTION KEY…`: what a map does not have is the zero value of what it has, as in Go.
fn index(args: &[Value]) -> FuncResult {
    let Some((collection, keys)) = args.split_first().filter(|(_, keys)| !keys.is_empty()) else {
        return Err(wrong("index", "want a collection and a key"));
    };
    keys.iter().try_fold(collection.clone(), |found, key| match &found {
        Value::Map(map) => match (map.get(key.to_string().as_str()), map.values().next()) {
            (Some(Value::Nil), _) | (None, Some(Value::List(_) | Value::Nil)) => Ok(Vec::new().into_list()),
            (Some(value), _) => Ok(value.clone()),
            (None, Some(Value::Map(_))) => Ok(Value::Map(Arc::default())),
            (None, _) => Ok(string("")),
        },
        _ => found.index(key),
    })
}

fn to_json(value: &Value, origins: &Origins) -> Json {
    if let Some(verbatim) = origins.verbatim.get(&address(value)) {
        return verbatim.clone();
    }
    match value {
        Value::Nil | Value::Function(_) => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        Value::Int(value) => Json::from(*value),
        Value::Uint(value) => Json::from(*value),
        Value::Float(value) => Json::from(*value),
        Value::String(text) => Json::String(text.to_string()),
        Value::List(items) => Json::Array(items.iter().map(|item| to_json(item, origins)).collect()),
        Value::Map(map) => match origins.orders.get(&(Arc::as_ptr(map) as usize)) {
            Some(order) => order
                .iter()
                .filter_map(|key| Some((key.to_string(), to_json(map.get(key)?, origins))))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            None => map
                .iter()
                .map(|(key, value)| (key.to_string(), to_json(value, origins)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
        },
    }
}

type FuncResult = gotmpl::Result<Value>;

fn string(text: impl Into<String>) -> Value {
    Value::String(Arc::from(text.into()))
}

fn wrong(function: &str, words: &str) -> TemplateError {
    TemplateError::Exec(format!("error calling {function}: {words}"))
}

fn first<'a>(args: &'a [Value], function: &str) -> gotmpl::Result<&'a Value> {
    args.first().ok_or_else(|| wrong(function, "wrong number of args: want 1 got 0"))
}

/// `join LIST SEPARATOR`, and the other way round for pipelines.
fn join(args: &[Value]) -> FuncResult {
    let (list, separator) = match args {
        [Value::List(list), separator] | [separator, Value::List(list)] => (list, separator.to_string()),
        [Value::Nil, _] | [_, Value::Nil] => return Ok(string("")),
        _ => return Err(wrong("join", "want a list and a separator")),
    };
    Ok(string(list.iter().map(Value::to_string).collect::<Vec<_>>().join(&separator)))
}

fn split(args: &[Value]) -> FuncResult {
    let [text, separator] = args else { return Err(wrong("split", "want a text and a separator")) };
    let (text, separator) = (text.to_string(), separator.to_string());
    Ok(text.split(separator.as_str()).map(string).collect::<Vec<_>>().into_list())
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|character| {
            let shown = if start { character.to_ascii_uppercase() } else { character };
            start = character.is_whitespace();
            shown
        })
        .collect()
}

/// `pad TEXT BEFORE AFTER`; more than a line of padding is nobody's wish.
fn pad(args: &[Value]) -> FuncResult {
    let [text, before, after] = args else { return Err(wrong("pad", "want a text and two numbers")) };
    let spaces = |value: &Value| {
        value.as_int().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= 4096).map(|n| " ".repeat(n))
    };
    match (spaces(before), spaces(after)) {
        (Some(before), Some(after)) => Ok(string(format!("{before}{text}{after}"))),
        _ => Err(wrong("pad", "the numbers of spaces must be between 0 and 4096")),
    }
}

fn truncate(args: &[Value]) -> FuncResult {
    let [text, length] = args else { return Err(wrong("truncate", "want a text and a number")) };
    let length = length.as_int().and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    Ok(string(text.to_string().chars().take(length).collect::<String>()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn inspect(format: &str, value: Json) -> String {
        document("inspect", format, &value).expect("prints")
    }

    #[test]
    fn the_templates_of_the_tutorial() {
        let value = json!({
            "Id": "x",
            "NetworkSettings": {"Networks": {"mired": {"IPAddress": "10.89.0.2"}}},
            "Mounts": [{"Type": "volume", "Name": "vol1", "Source": "/v", "Driver": "local", "RW": true, "Options": ["nosuid"]}],
        });
        assert_eq!(
            inspect("{{range \\.NetworkSettings.Networks }}{{.IPAddress}}{{end}}", value.clone()),
            "10.89.0.2\n"
        );
        assert_eq!(
            inspect("{{json .Mounts | escape_once}}", value),
            "[{\"Type\":\"volume\",\"Name\":\"vol1\",\"Source\":\"/v\",\"Driver\":\"local\",\"RW\":true,\"Options\":[\"nosuid\"]}]\n"
        );
    }

    #[test]
    fn go_names_are_found_and_not_shown() {
        let value = json!({"Id": "x", "Containers": [{"Id": "c", "Name": "n"}], "cpu_period": 5, "cpuset_cpus": "0"});
        assert_eq!(
            inspect("{{.ID}} {{.Id}} {{(index .Containers 0).ID}} {{.CPUPeriod}} {{.CPUSetCPUs}}", value.clone()),
            "x x c 5 0\n"
        );
        assert_eq!(inspect("{{json .}}", value.clone()), format!("{value}\n"));
        let info =
            json!({"host": {"ociRuntime": {"name": "crun"}, "cgroupVersion": "v1"}, "store": {"graphRoot": "/r"}});
        assert_eq!(
            inspect("{{.Host.OCIRuntime.Name}} {{.Host.CgroupsVersion}} {{.Store.GraphRoot}}", info),
            "crun v1 /r\n"
        );
        let labels = json!({"Labels": {"app": "web", "b": "c"}});
        assert_eq!(inspect("{{range $k, $v := .Labels}}{{$k}}={{$v}};{{end}}", labels), "app=web;b=c;\n");
    }

    #[test]
    fn functions() {
        let value = json!({"Name": "Web one", "L": ["a", "b"], "N": null});
        for (format, text) in [
            ("{{lower .Name}}", "web one\n"),
            ("{{.Name | upper}}", "WEB ONE\n"),
            ("{{title \"two words\"}}", "Two Words\n"),
            ("{{join .L \",\"}}", "a,b\n"),
            ("{{.L | join \"-\"}}", "a-b\n"),
            ("{{json (split \"a:b\" \":\")}}", "[\"a\",\"b\"]\n"),
            ("{{pad .Name 1 2}}|", " Web one  |\n"),
            ("{{truncate .Name 3}}", "Web\n"),
            ("{{json .N}}", "null\n"),
            ("{{len .L}}{{if eq .Name \"Web one\"}}!{{end}}", "2!\n"),
            ("{{printf \"%5d|\" (len .L)}}\\t\\n", "    2|\t\n"),
            ("{{.Label \"x\"}}{{.Label \"none\"}}", "1\n"),
        ] {
            let mut value = value.clone();
            value["LabelMap"] = json!({"x": "1"});
            assert_eq!(inspect(format, value), text, "{format}");
        }
    }

    #[test]
    fn what_is_null_is_a_nil_map_or_slice_and_times_are_gos() {
        let value = json!({
            "OOMKilled": false, "Labels": null, "Entrypoint": null, "StartedAt": "2026-11-23T18:14:28.5Z", "Options": {"a": "b"},
            "Ports": {"80/tcp": null, "81/tcp": [{"HostPort": "8081"}]}, "FinishedAt": "0001-01-01T00:00:00Z", "Other": null,
        });
        for (format, text) in [
            ("{{index .Labels \"x\"}}|{{len .Labels}}|{{.Labels}}|{{json .Labels}}", "|0|map[]|null"),
            ("{{len .Entrypoint}}|{{.Entrypoint}}|{{json .Entrypoint}}{{range .Entrypoint}}x{{end}}", "0|[]|null"),
            ("{{index .Options \"x\"}}|{{index .Options \"a\"}}|{{.Other}}", "|b|<no value>"),
            ("{{index .Ports \"80/tcp\"}}|{{index .Ports \"9/tcp\"}}", "[]|[]"),
            ("{{(index (index .Ports \"81/tcp\") 0).HostPort}}", "8081"),
            ("{{.StartedAt}}|{{json .StartedAt}}", "2026-11-23 18:14:28.5 +0000 UTC|\"2026-11-23T18:14:28.5Z\""),
            ("{{.FinishedAt}}|{{if .Health}}x{{end}}|", "0001-01-01 00:00:00 +0000 UTC||"),
        ] {
            assert_eq!(inspect(format, value.clone()), format!("{text}\n"), "{format}");
        }
        assert_eq!(inspect("{{json .}}", value.clone()), format!("{value}\n"));
        let image = json!({"RootFS": {}, "Config": {"Cmd": ["sh"]}, "Labels": null});
        assert_eq!(inspect("{{index .Config.Labels \"x\"}}{{len .Config.Env}}", image.clone()), "0\n");
        assert_eq!(inspect("{{json .}}", image.clone()), format!("{image}\n"));
        let words = document("inspect", "{{index .Ports}}", &value).expect_err("no key").to_string();
        assert!(words.ends_with("error calling index: want a collection and a key"), "{words}");
    }

    #[test]
    fn tables_have_headers_and_columns() {
        let data = [json!({"ID": "832ac1a4d6aa", "Name": "pod1"})];
        let headers = [("ID", "POD ID"), ("Name", "NAME")];
        let text = rows("pod ps", "table {{.ID}} {{.Name}}", &data, &headers, true).expect("prints");
        assert_eq!(text, "POD ID        NAME\n832ac1a4d6aa  pod1\n");
        let text = rows("pod ps", "table {{.ID}}\\t{{.Name}}", &data, &headers, false).expect("prints");
        assert_eq!(text, "832ac1a4d6aa  pod1\n");
        let text = rows("pod ps", "{{range .}}{{.Name}} {{.ID}}\n{{end}}", &data, &headers, true).expect("prints");
        assert_eq!(text, "pod1 832ac1a4d6aa\n\n");
        assert_eq!(rows("pod ps", "{{.Name}}", &[], &headers, true).expect("prints"), "");
    }

    #[test]
    fn what_is_wrong_is_said_in_gos_words() {
        for (format, words) in [
            (
                "{{.Bogus}}",
                "template: ps:1: executing \"ps\" at <.Bogus>: can't evaluate field Bogus: there is no such field",
            ),
            ("{{bogus .Id}}", "template: ps:1: function \"bogus\" not defined"),
            ("{{.Id.X}}", "template: ps:1: executing \"ps\": can't evaluate field X in type string"),
            (
                "{{pad .Id -1 99999999999}}",
                "template: ps:1: executing \"ps\": error calling pad: the numbers of spaces must be between 0 and 4096",
            ),
        ] {
            let failure = document("ps", format, &json!({"Id": "x"})).expect_err(format);
            assert_eq!((failure.code, failure.to_string().as_str()), (125, words), "{format}");
        }
        for format in ["{{.Id", "{{if}}", "{{if .Id}}", "{{end}}", "{{", "{{range .X}}{{if .}}{{end}}"] {
            let failure = document("ps", format, &json!({"Id": "x"})).expect_err(format);
            assert!(failure.to_string().starts_with("template: ps:"), "{failure}");
        }
    }

    #[test]
    fn values_cannot_steer_the_terminal() {
        assert_eq!(inspect("{{.Name}}", json!({"Name": "a\u{1b}[2J\u{202e}"})), "a\\x1b[2J\\u202e\n");
        assert_eq!(inspect("{{json .Name}}", json!({"Name": "a\u{1b}\u{9b}"})), "\"a\\u001b\\u009b\"\n");
    }
}
