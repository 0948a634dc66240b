//! `podctl version`

use serde_json::json;

use crate::{
    args::{Action, Args, Command, Operands, text},
    dial::Engine,
    error::Outcome,
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "version",
    about: "Display the podctl version information",
    description: "Display the podctl version information",
    usage: "[options]",
    examples: &["version", "version --format json", "version --format '{{.Client.Version}}'"],
    flags: &[&[text("format", "string", "Change the output format to JSON or a Go template").short('f')]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(_: &Engine, args: &Args) -> Outcome {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = format!("{}/{arch}", std::env::consts::OS);
    let (version, protocol) = (proto::VERSION, proto::PROTOCOL);
    let value = json!({"Client": {"Version": version, "APIVersion": protocol.to_string(), "OsArch": platform}});
    match args.text_or_empty("format") {
        "" => output::print(&format!(
            "Client:       podctl\nVersion:      {version}\nAPI Version:  {protocol}\nOS/Arch:      {platform}\n"
        )),
        "json" => output::print(&(output::json::pretty(&value.to_string(), 2) + "\n")),
        format => output::print(&output::template::document("version", format, &value)?),
    }
}
