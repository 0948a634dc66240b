//! `podctl system prune`

use std::collections::HashMap;

use proto::{
    serve::deadline,
    wire::{ListContainers, PruneNetworks, PruneVolumes},
};
use serde_json::Value;

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::{image::prune::images, prompt::confirm, prune, row, verb::Acted},
    dial::{ACT, Engine},
    error::{Failure, Outcome},
    output::{self, escape, human},
};

/// The command.
pub static COMMAND: Command = Command {
    name: "prune",
    about: "Remove unused data",
    description: "Removes all stopped pods and containers, all networks that no container uses, dangling images or with --all every image that no container uses, and with --volumes the volumes that no container uses.\n\nThe filters are label, label! and until; they hold for objects of every kind.",
    usage: "[options]",
    examples: &["system prune", "system prune --all --volumes --force", "system prune -f --filter until=24h"],
    flags: &[
        &[
            switch("all", "Remove all unused images not just dangling ones").short('a'),
            switch("volumes", "Prune volumes"),
        ],
        prune::FLAGS,
    ],
    operands: Operands::None,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let filters = prune::filters(args)?;
    let (all, volumes) = (args.is("all"), args.is("volumes"));
    if !args.is("force") && !confirm(&warning(all, volumes))? {
        return Ok(0);
    }
    engine.block_on(async {
        let mut pruned = Pruned::default();
        let sizes = Sizes::measure(engine).await?;
        // What uses others goes before them.
        let pods = prune::pods(engine, filters.clone()).await?;
        let containers = prune::containers(engine, filters.clone()).await?;
        let networks = PruneNetworks { filters: filters.clone() };
        let networks = engine.host()?.networks().prune(deadline(ACT), &networks).await?;
        let images = images(engine, all, filters.clone()).await?;
        pruned.freed = images.freed;
        pruned.acted("Deleted Containers", containers, |id| sizes.container(id));
        pruned.acted("Deleted Pods", pods, |id| sizes.pod(id));
        if volumes {
            let request = PruneVolumes { filters, all: true, measure: true };
            let volumes = engine.host()?.volumes().prune(deadline(ACT), &request).await?;
            pruned.freed = pruned.freed.saturating_add(volumes.freed);
            pruned.listed("Deleted Volumes", &volumes.names, volumes.errors);
        }
        pruned.listed("Deleted Images", &images.deleted, images.errors);
        pruned.listed("Deleted Networks", &networks.names, networks.errors);
        pruned.print()
    })
}

fn warning(all: bool, volumes: bool) -> String {
    let volumes = if volumes { "\n\t- all volumes not used by at least one container" } else { "" };
    let (images, cache) = if all {
        ("all images without at least one container associated with them", "all build cache")
    } else {
        ("all dangling images", "all dangling build cache")
    };
    format!(
        "WARNING! This command removes:\n\t- all stopped containers\n\t- all networks not used by at least one container{volumes}\n\t- {images}\n\t- {cache}\n"
    )
}

/// What was written into containers, in bytes.
struct Sizes(HashMap<String, (String, u64)>);

impl Sizes {
    async fn measure(engine: &Engine) -> Result<Sizes, Failure> {
        let request = ListContainers {
            filters: ["created", "initialized", "exited"].map(|state| format!("status={state}")).into(),
            all: true,
            size: true,
            ..Default::default()
        };
        let rows = row::rows(&engine.host()?.containers().list(deadline(ACT), &request).await?)?;
        let size = |row: &Value| row.pointer("/Size/rwSize").and_then(Value::as_u64).unwrap_or(0);
        let entry = |row: &Value| (row::text(row, "Id").to_owned(), (row::text(row, "Pod").to_owned(), size(row)));
        Ok(Sizes(rows.iter().map(entry).collect()))
    }

    fn container(&self, id: &str) -> u64 {
        self.0.get(id).map_or(0, |(_, size)| *size)
    }

    fn pod(&self, id: &str) -> u64 {
        self.0.values().filter(|(pod, _)| pod == id).map(|(_, size)| size).sum()
    }
}

/// What has gone, section by section.
#[derive(Default)]
struct Pruned {
    text: String,
    freed: u64,
    errors: Vec<String>,
}

impl Pruned {
    fn acted(&mut self, heading: &str, results: Vec<Acted>, size: impl Fn(&str) -> u64) {
        let mut names = Vec::new();
        let mut errors = Vec::new();
        for result in results {
            match result {
                Ok(name) => names.extend(name),
                Err(failure) => errors.extend(failure.messages),
            }
        }
        self.freed = names.iter().fold(self.freed, |freed, name| freed.saturating_add(size(name)));
        self.listed(heading, &names, errors);
    }

    fn listed(&mut self, heading: &str, names: &[String], errors: Vec<String>) {
        if !names.is_empty() {
            self.text.push_str(&format!("{heading}\n"));
            names.iter().for_each(|name| self.text.push_str(&format!("{}\n", escape::line(name))));
        }
        self.errors.extend(errors);
    }

    fn print(self) -> Outcome {
        output::print(&format!("{}Total reclaimed space: {}\n", self.text, human::fine_size(self.freed)))?;
        if self.errors.is_empty() {
            return Ok(0);
        }
        Err(Failure { messages: self.errors, ..Failure::invalid("") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_says_what_will_go() {
        let least = "WARNING! This command removes:\n\t- all stopped containers\n\t- all networks not used by at least one container\n\t- all dangling images\n\t- all dangling build cache\n";
        assert_eq!(warning(false, false), least);
        let most = "WARNING! This command removes:\n\t- all stopped containers\n\t- all networks not used by at least one container\n\t- all volumes not used by at least one container\n\t- all images without at least one container associated with them\n\t- all build cache\n";
        assert_eq!(warning(true, true), most);
    }
}
