//! `podctl secret inspect`

use proto::{serve::deadline, wire::SecretNames};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{container::inspect::FORMAT, row},
    dial::{ASK, Engine},
    error::Outcome,
    output::{self, escape, human},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "inspect",
    about: "Inspect a secret",
    description: "Display detailed information on one or more secrets; what they hold only on request",
    usage: "[options] SECRET [SECRET...]",
    examples: &[
        "secret inspect mysecret",
        "secret inspect --pretty mysecret",
        "secret inspect --showsecret --format '{{.SecretData}}' mysecret",
    ],
    flags: &[
        FORMAT,
        &[
            switch("pretty", "Print inspect output in human-readable format"),
            switch("showsecret", "Display the secret"),
        ],
    ],
    operands: Operands::AtLeast(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = SecretNames { names: args.operands.clone(), show: args.is("showsecret") };
    let secrets =
        engine.block_on(async { row::rows(&engine.host()?.secrets().inspect(deadline(ASK), &request).await?) })?;
    if args.is("pretty") {
        return output::print(&secrets.iter().map(pretty).collect::<String>());
    }
    row::print_documents("secret inspect", args.text_or_empty("format"), &secrets, 4)
}

/// A secret for people, as podman shows it.
fn pretty(secret: &Value) -> String {
    let spec = secret.get("Spec").unwrap_or(&Value::Null);
    let labels = row::pairs(spec, "Labels");
    let labels: String =
        labels.split(',').filter(|label| !label.is_empty()).map(|label| format!(" - {label}\n")).collect();
    let driver = spec.get("Driver").map_or("", |driver| row::text(driver, "Name"));
    let time = |key: &str| human::go_time(row::nanoseconds(secret, key));
    let mut text = format!(
        "ID:              {}\nName:              {}\nLabels:\n{labels}Driver:            {driver}\nCreated at:        {}\nUpdated at:        {}\n",
        row::text(secret, "ID"),
        row::text(spec, "Name"),
        time("CreatedAt"),
        time("UpdatedAt"),
    );
    if let Some(data) = secret.get("SecretData").and_then(Value::as_str) {
        text.push_str(&format!("Secret:            {data}\n"));
    }
    text.lines().map(|line| format!("{}\n", escape::line(line))).collect()
}
