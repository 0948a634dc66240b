//! `podctl volume prune`

use proto::{
    serve::deadline,
    wire::{ListVolumes, PruneVolumes},
};

use crate::{
    args::{Action, Args, Command, Operands, array, switch},
    command::{image::rm::failed, prompt::confirm, row},
    dial::{ACT, ASK, Engine},
    error::Outcome,
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove all unused volumes",
    description: "Volumes that are not currently owned by a container will be removed: anonymous ones, or all with --all.\n\nThe command prompts for confirmation which can be overridden with the --force flag.",
    usage: "[options]",
    examples: &["volume prune", "volume prune --all --force"],
    flags: &[&[
        switch("all", "Remove all unused volumes, anonymous and named").short('a'),
        array("filter", "Provide filter values (e.g. 'label=<key>=<value>')"),
        switch("force", "Do not prompt for confirmation").short('f'),
    ]],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = PruneVolumes { filters: args.all("filter"), all: args.is("all"), ..Default::default() };
    if !args.is("force") && !confirmed(engine, &request)? {
        return Ok(0);
    }
    let removed = engine.block_on(async { Ok(engine.host()?.volumes().prune(deadline(ACT), &request).await?) })?;
    output::print(&removed.names.iter().map(|name| format!("{}\n", output::escape::line(name))).collect::<String>())?;
    failed(removed.errors, removed.missing, removed.in_use)
}

/// Shows which volumes would go, and asks.
fn confirmed(engine: &Engine, request: &PruneVolumes) -> Result<bool, crate::error::Failure> {
    let mut filters = request.filters.clone();
    filters.push("dangling=true".to_owned());
    if !request.all {
        filters.push("anonymous=true".to_owned());
    }
    let list = ListVolumes { filters };
    let rows = engine.block_on(async { row::rows(&engine.host()?.volumes().list(deadline(ASK), &list).await?) })?;
    if rows.is_empty() {
        output::print("No dangling volumes found\n")?;
        return Ok(false);
    }
    let names: Vec<String> = rows.iter().map(|row| output::escape::line(row::text(row, "Name")).into_owned()).collect();
    confirm(&format!(
        "WARNING! This will remove all volumes not used by at least one container. The following volumes will be removed:\n{}",
        names.join("\n")
    ))
}
