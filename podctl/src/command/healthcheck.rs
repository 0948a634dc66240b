//! `podctl healthcheck run`

use proto::wire::Empty;
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Operands, switch},
    command::container::{exec::running_monitor, run::no_infra},
    dial::{Engine, Found},
    error::{Failure, Outcome},
    output,
};

/// The group.
pub static COMMAND: Command = Command {
    name: "healthcheck",
    about: "Manage health checks on containers",
    description: "Run health checks on containers",
    usage: "[command]",
    interspersed: false,
    action: Action::Group(&[&RUN]),
    ..Command::EMPTY
};

static RUN: Command = Command {
    name: "run",
    about: "Run the health check of a container",
    description: "Run the health check of a container, and tell by the exit code how it went: 0 healthy, 1 not, 125 it cannot be run.",
    usage: "[options] CONTAINER",
    examples: &["healthcheck run mywebapp", "healthcheck run --ignore-result mywebapp"],
    flags: &[&[switch("ignore-result", "Exit code will be 0 regardless the healthcheck result")]],
    operands: Operands::Exactly(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

/// Exit code of a check that did not succeed.
const NOT_HEALTHY: i32 = 1;

fn run(engine: &Engine, args: &Args) -> Outcome {
    let name = &args.operands[0];
    engine.block_on(async {
        let within = |failure: Failure| failure.within(&format!("unable to look up {name} to perform a health check"));
        let Found::Container { pod, id } = engine.container(name).map_err(within)? else {
            return Err(no_infra(name, "check the health of"));
        };
        let Some(monitor) = running_monitor(engine, &pod, &id).await? else {
            return Err(Failure::invalid(format!("container {id} is not running")));
        };
        // It takes as long as its own limit allows.
        let result = monitor.client().health_run(Context::default(), &Empty {}).await?;
        if result.status == "healthy" {
            return Ok(0);
        }
        output::line(&result.status)?;
        Ok(if args.is("ignore-result") { 0 } else { NOT_HEALTHY })
    })
}
