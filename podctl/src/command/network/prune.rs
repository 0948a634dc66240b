//! `podctl network prune`

use proto::{serve::deadline, wire::PruneNetworks};

use crate::{
    args::{Action, Args, Command, Operands, array, switch},
    command::{image::rm::failed, prompt::confirm},
    dial::{ACT, Engine},
    error::Outcome,
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Prune unused networks",
    description: "Prune unused networks",
    usage: "[options]",
    examples: &["network prune", "network prune --force --filter label=temporary"],
    flags: &[&[
        array("filter", "Provide filter values (e.g. 'label=<key>=<value>')"),
        switch("force", "Do not prompt for confirmation").short('f'),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let warning = "WARNING! This will remove all networks not used by at least one container.";
    if !args.is("force") && !confirm(warning)? {
        return Ok(0);
    }
    let request = PruneNetworks { filters: args.all("filter") };
    let removed = engine.block_on(async { Ok(engine.host()?.networks().prune(deadline(ACT), &request).await?) })?;
    output::print(&removed.names.iter().map(|name| format!("{}\n", output::escape::line(name))).collect::<String>())?;
    failed(removed.errors, removed.missing, removed.in_use)
}
