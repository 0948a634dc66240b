//! Generates the messages and services of `wire/*.proto`.
//!
//! The messages are also what the records of `$STATE` contain, so after generation two things are mended that the
//! generator has no option for: maps become ordered (records and `inspect` are the same from run to run), and every
//! message may be read from a record that an older version wrote (`#[serde(default)]`).

use std::{env, fs, path::PathBuf};

use ttrpc_codegen_prost::{Codegen, Customize};

fn main() {
    let wire = PathBuf::from("wire");
    let mut inputs: Vec<PathBuf> = fs::read_dir(&wire)
        .expect("wire/ is part of the crate")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ext| ext == "proto"))
        .collect();
    inputs.sort();
    println!("cargo:rerun-if-changed=wire");
    Codegen::new()
        .prost()
        .inputs(&inputs)
        .include(&wire)
        .customize(Customize { async_all: true, gen_mod: true, serde: true, ..Default::default() })
        .run()
        .expect("protoc (Debian: protobuf-compiler) generates wire/*.proto");

    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let generated = out.join("podctl.v1.rs");
    let text = fs::read_to_string(&generated).expect("the generator wrote the package podctl.v1");
    fs::write(&generated, mend(&text)).expect("OUT_DIR is writable");
}

/// Orders maps and gives every message serde defaults.
fn mend(text: &str) -> String {
    let mut mended = String::with_capacity(text.len() + text.len() / 8);
    let mut map_field = false;
    for line in text.lines() {
        let mut line = line.to_owned();
        if line.contains("#[prost(map = ") {
            line = line.replace("#[prost(map = ", "#[prost(btree_map = ");
            map_field = true;
        } else if map_field && line.contains("HashMap<") {
            line = line.replace("HashMap<", "BTreeMap<");
            map_field = false;
        }
        mended.push_str(&line);
        mended.push('\n');
        if line.contains("::prost::Message)]") {
            mended.push_str("#[serde(default)]\n");
        }
    }
    mended
}
