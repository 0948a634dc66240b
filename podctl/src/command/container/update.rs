//! `podctl update`

use proto::{serve::deadline, wire::UpdateContainer};

use crate::{
    args::{Action, Args, Command, Flag, array, block, env, health, list, resources, text, value},
    command::{container::run::no_infra, select},
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
};

const FLAGS: &[Flag] = &[
    array("env", "Set environment variables in container").short('e'),
    text(
        "restart",
        "string",
        "Restart policy to apply when a container exits (\"always\"|\"no\"|\"on-failure\"|\"unless-stopped\")",
    ),
    list("ulimit", "Ulimit options"),
    array("unsetenv", "Unset environment default variables in container"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "update",
    about: "Update an existing container",
    description: "Changes the limits, the restart policy, the health check and the environment of a container, whether it runs or not, and nothing that is not named. Limits, policy and health check hold at once, and from then on; the environment is that of exec at once, and the container's own from its next start on. A limit of 0 is none. Of devices and ulimits those that are named change.",
    usage: "[options] CONTAINER",
    examples: &[
        "update --memory 512m --cpus 1.5 mywebserver",
        "update --restart on-failure:5 mywebserver",
        "update --health-interval 10s --health-retries 2 mywebserver",
        "update --device-write-bps /dev/sda:10mb --ulimit nofile=1024:4096 mywebserver",
        "update -e MODE=quiet --unsetenv DEBUG mywebserver",
    ],
    flags: &[
        FLAGS,
        resources::FLAGS,
        resources::CONTAINER_FLAGS,
        block::FLAGS,
        block::CONTAINER_FLAGS,
        &health::CHANGES,
        select::LATEST,
    ],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut request = request(args)?;
    engine.block_on(async {
        let containers = select::containers(engine, args, false, &[], "accepts 1 arg(s), received 0").await?;
        let [container] = containers.as_slice() else {
            return Err(Failure::invalid(format!("accepts 1 arg(s), received {}", containers.len())));
        };
        let Found::Container { pod, id } = &container.found else { return Err(no_infra(&container.typed, "update")) };
        request.container = id.to_string();
        engine.pod(pod).await?.containers().update(deadline(ASK), &request).await?;
        println!("{id}");
        Ok(0)
    })
}

fn request(args: &Args) -> Result<UpdateContainer, Failure> {
    Ok(UpdateContainer {
        given: args.names(),
        resources: Some(resources::given(args)?),
        restart: args.text("restart").map(value::restart).transpose()?,
        health: health::changes(args)?,
        no_healthcheck: args.is("no-healthcheck"),
        env: env::variables(&[], &args.all("env"))?,
        unset_env: args.all("unsetenv"),
        ulimits: value::ulimits(&args.all("ulimit"))?,
        ..Default::default()
    })
}
