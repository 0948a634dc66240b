//! What the shape of the code promises: a star of crates, podshim's order of modules, few dependencies in podctl,
//! unsafe code at one address, licences and sources that `.deny.toml` allows.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use harness::programs::workspace;
use proto::failpoint::Point;
use regex::Regex;
use serde_json::Value;

const OURS: [&str; 5] = ["podctl", "podmon", "podshim", "proto", "tests"];

/// `cargo metadata` of the workspace, as far as this machine builds it: what is for others need not even be there.
fn metadata() -> &'static Value {
    static METADATA: OnceLock<Value> = OnceLock::new();
    METADATA.get_or_init(|| {
        let rustc = Command::new("rustc").arg("-vV").output().expect("rustc");
        let rustc = String::from_utf8(rustc.stdout).expect("text");
        let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("host");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host])
            .current_dir(workspace())
            .output()
            .expect("cargo");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("metadata")
    })
}

fn packages() -> impl Iterator<Item = &'static Value> {
    metadata()["packages"].as_array().into_iter().flatten()
}

/// The names of what `package` depends on, tests and build scripts included.
fn dependencies(package: &str) -> BTreeSet<&'static str> {
    let found = packages().find(|one| one["name"] == package).unwrap_or_else(|| panic!("no package {package}"));
    found["dependencies"].as_array().into_iter().flatten().filter_map(|one| one["name"].as_str()).collect()
}

#[test]
fn the_crates_form_a_star_around_proto() {
    let members: BTreeSet<&str> = metadata()["workspace_members"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| packages().find(|package| package["id"] == *id)?["name"].as_str())
        .collect();
    assert_eq!(members, OURS.into_iter().collect());
    for crate_ in OURS {
        let of_ours: Vec<&str> = dependencies(crate_).into_iter().filter(|name| OURS.contains(name)).collect();
        let allowed: &[&str] = if crate_ == "proto" { &[] } else { &["proto"] };
        assert_eq!(of_ours, allowed, "{crate_}");
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let output = Command::new("git").args(["ls-tree", "--name-only", "HEAD"]).current_dir(workspace()).output();
    let output = output.expect("git");
    let allowed = [
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "podctl",
        "podmon",
        "podshim",
        "proto",
        "tests",
    ];
    for name in String::from_utf8_lossy(&output.stdout).lines() {
        assert!(name.starts_with('.') || allowed.contains(&name), "{name} has no place at the top level");
    }
}

#[test]
fn podctl_knows_terminals_and_not_engines() {
    // What makes images, networks, namespaces and control groups belongs into podshim.
    let engines = [
        "caps",
        "flate2",
        "hickory-proto",
        "ipnet",
        "netlink-packet-route",
        "oci-spec",
        "reqwest",
        "rtnetlink",
        "rustls",
        "sha2",
        "tar",
        "zstd",
        "oci-client",
    ];
    let strangers: Vec<&str> = dependencies("podctl").into_iter().filter(|name| engines.contains(name)).collect();
    assert!(strangers.is_empty(), "{strangers:?}");
    for (path, text) in sources("podctl/src") {
        for forbidden in ["flock", "pod.json", "container.json", "state.json"] {
            let uses = code_lines(&text).any(|(_, line)| line.contains(&format!("\"{forbidden}\"")));
            assert!(!uses, "{} opens the engine's {forbidden}", path.display());
        }
    }
}

#[test]
fn podmon_dials_nobody_and_links_no_engine() {
    let strangers: Vec<&str> = dependencies("podmon")
        .into_iter()
        .filter(|name| ["reqwest", "rustls", "tar", "rtnetlink", "clap", "hickory-proto"].contains(name))
        .collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

/// The modules of podshim in the order of its documentation, each with its height: a line may use what is lower.
fn heights() -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(workspace().join("podshim/src/lib.rs")).expect("podshim/src/lib.rs");
    let picture: Vec<&str> = text
        .split("```text")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("the picture in podshim/src/lib.rs")
        .lines()
        .map(|line| line.trim_start_matches("//!").trim())
        .filter(|line| !line.is_empty())
        .collect();
    let modules: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let mut heights = BTreeMap::new();
    for (depth, line) in picture.iter().enumerate() {
        // Siblings are separated by bars; after two spaces comes what they are about.
        let names = line.split('|').flat_map(|part| part.trim().split("  ").next()).map(str::trim);
        for name in names.flat_map(|name| name.split_whitespace().next()) {
            if modules.contains(name) {
                heights.entry(name.to_owned()).or_insert(picture.len() - depth);
            }
        }
    }
    assert_eq!(heights.keys().map(String::as_str).collect::<BTreeSet<_>>(), modules, "every module is in the picture");
    heights
}

#[test]
fn podshims_modules_use_only_what_is_below_them() {
    let heights = heights();
    let used = Regex::new(r"\bcrate::(?:\{)?\s*([a-z_]+)").expect("regex");
    let in_list = Regex::new(r"\bcrate::\{([^;]*)\}").expect("regex");
    let mut wrong = Vec::new();
    for (path, text) in sources("podshim/src") {
        let relative =
            path.strip_prefix(workspace().join("podshim/src")).expect("below").to_string_lossy().into_owned();
        let own = relative.split('/').next().unwrap_or_default().trim_end_matches(".rs").to_owned();
        let Some(&height) = heights.get(&own) else { continue };
        let code: String = code_lines(&text).map(|(_, line)| format!("{line}\n")).collect();
        let mut names: BTreeSet<String> = used.captures_iter(&code).map(|found| found[1].to_owned()).collect();
        for list in in_list.captures_iter(&code) {
            names.extend(top_names(&list[1]));
        }
        for name in names.iter().filter(|&name| *name != own) {
            if heights.get(name).is_some_and(|&other| other >= height) {
                wrong.push(format!("{relative} uses {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order in podshim/src/lib.rs:\n{}", wrong.join("\n"));
}

/// The first words of the elements of a use list: `a::b, c::{d, e}` → a, c.
fn top_names(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    for letter in list.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => names.last_mut().expect("never empty").push(letter),
            _ => {}
        }
    }
    names.iter().map(|name| name.trim().split("::").next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn unsafe_code_has_one_address_in_each_program() {
    // proto is a library of all three: its few system calls stand where they are used.
    let in_proto = ["src/alive.rs", "src/deletions.rs", "src/memory.rs", "src/raw.rs", "src/spawn.rs", "src/lib.rs"];
    let marks = Regex::new(r"^[^\x22]*(\bunsafe (\{|fn|impl)|allow\(.*\bunsafe_code\b)").expect("regex");
    for program in OURS {
        for (path, text) in sources(program) {
            let name = path.strip_prefix(workspace().join(program)).expect("below").to_string_lossy().into_owned();
            if !name.starts_with("src/") {
                // The tests of a program are no part of it.
                continue;
            }
            let may = name == "src/sys.rs"
                || name.starts_with("src/sys/")
                || (program == "proto" && in_proto.contains(&name.as_str()));
            let has = code_lines(&text).any(|(_, line)| marks.is_match(line));
            assert!(may || !has, "{program}/{name} has unsafe code, which belongs into src/sys");
        }
    }
}

#[test]
fn every_failpoint_stands_at_one_place_and_is_what_the_list_says() {
    let use_ = Regex::new(r"failpoint::(check|refuse|pass)\(Point::(\w+)\)").expect("regex");
    let all = Regex::new(r"\bPoint::\w+").expect("regex");
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for program in ["podctl", "podmon", "podshim"] {
        for (path, text) in sources(&format!("{program}/src")) {
            let code: String = code_lines(&text).map(|(_, line)| format!("{line}\n")).collect();
            let uses: Vec<_> = use_.captures_iter(&code).collect();
            let other = all.find_iter(&code).filter(|found| found.as_str() != "Point::ALL").count() - uses.len();
            assert_eq!(other, 0, "{}: a point is used otherwise than by a call", path.display());
            for found in uses {
                places.entry(found[2].to_owned()).or_default().push(found[1].to_owned());
            }
        }
    }
    for point in Point::ALL {
        let at = places.remove(point.variant()).unwrap_or_default();
        assert_eq!(at.len(), 1, "{} stands at {} places", point.name(), at.len());
        assert_eq!(at[0] != "pass", point.fails(), "{}: {}", point.name(), at[0]);
    }
    assert!(places.is_empty(), "not listed: {places:?}");
}

#[test]
fn every_test_file_is_part_of_the_suite() {
    let main = std::fs::read_to_string(workspace().join("tests/main.rs")).expect("tests/main.rs");
    for (path, _) in sources("tests") {
        let name = path.strip_prefix(workspace().join("tests")).expect("below").to_string_lossy().into_owned();
        if name.starts_with("harness/")
            || name.starts_with("bench/")
            || name.starts_with("bad_input/")
            || name.starts_with("collectors/")
            || name == "main.rs"
        {
            continue;
        }
        let module = name.rsplit('/').next().unwrap_or_default().trim_end_matches(".rs");
        assert!(main.contains(&format!("mod {module};")), "tests/{name} is not in tests/main.rs");
    }
}

#[test]
fn whatever_the_readme_says_is_survived_has_a_test() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).expect("README.md");
    let page = readme.split("### What survives what").nth(1).expect("the page").split("\n## ").next().expect("its end");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 15, "{} rows", rows.len());
    let tests: String = sources("tests").into_iter().map(|(_, text)| text).collect();
    for row in rows {
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap_or_default().trim();
        let name = cell.trim_matches('`');
        assert!(cell.starts_with('`') && tests.contains(&format!("fn {name}()")), "no test {name:?} for\n{row}");
    }
}

#[test]
fn licences_bans_and_sources_are_as_deny_toml_allows() {
    let text = std::fs::read_to_string(workspace().join(".deny.toml")).expect(".deny.toml");
    let rules: toml::Table = text.parse().expect(".deny.toml");
    let list = |table: &str, key: &str| -> BTreeSet<String> {
        let values = rules[table].get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
        let name = |value: &toml::Value| value.as_str().or_else(|| value.get("crate")?.as_str()).map(str::to_owned);
        values.iter().filter_map(name).collect()
    };
    let (allowed, banned, sources) =
        (list("licenses", "allow"), list("bans", "deny"), list("sources", "allow-registry"));
    let mut wrong = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default();
        if banned.contains(name) {
            wrong.push(format!("{name} is banned"));
        }
        match package["source"].as_str() {
            None if OURS.contains(&name) => {}
            Some(source) if sources.iter().any(|allowed| source.ends_with(allowed.as_str())) => {}
            source => wrong.push(format!("{name} comes from {source:?}")),
        }
        let licence = package["license"].as_str().unwrap_or_default();
        if !satisfied(licence, &allowed) {
            wrong.push(format!("{name} is licensed {licence:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Whether an SPDX expression can be satisfied by licences of the list. Parentheses bind first, then AND, then OR.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    fn any(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
        let mut value = all(words, allowed);
        while words.first() == Some(&"OR") {
            *words = &words[1..];
            value |= all(words, allowed);
        }
        value
    }
    fn all(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
        let mut value = one(words, allowed);
        while words.first() == Some(&"AND") {
            *words = &words[1..];
            value &= one(words, allowed);
        }
        value
    }
    fn one(words: &mut &[&str], allowed: &BTreeSet<String>) -> bool {
        let Some((&first, rest)) = words.split_first() else { return false };
        *words = rest;
        if first == "(" {
            let value = any(words, allowed);
            *words = words.get(1..).unwrap_or_default();
            return value;
        }
        if words.first() == Some(&"WITH") {
            let exception = format!("{first} WITH {}", words.get(1).copied().unwrap_or_default());
            *words = words.get(2..).unwrap_or_default();
            return allowed.contains(&exception) || allowed.contains(first);
        }
        allowed.contains(first)
    }
    any(&mut words.as_slice(), allowed)
}

#[test]
fn licence_expressions_are_understood() {
    let allowed: BTreeSet<String> = ["MIT", "Apache-2.0"].map(str::to_owned).into();
    for (expression, fine) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("MIT/Apache-2.0", true),
        ("(MIT OR GPL-3.0) AND Apache-2.0", true),
        ("MIT AND GPL-3.0", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
        ("Apache-2.0 WITH LLVM-exception OR GPL-2.0", true),
        ("", false),
    ] {
        assert_eq!(satisfied(expression, &allowed), fine, "{expression}");
    }
}

/// The Rust files below a directory of the workspace.
pub fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).expect("a directory of sources").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source");
                found.push((path, text));
            }
        }
    }
    let mut found = Vec::new();
    walk(&workspace().join(directory), &mut found);
    found
}

/// The lines of code before the unit tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .take_while(|line| !line.starts_with("#[cfg(test)]"))
        .enumerate()
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}
