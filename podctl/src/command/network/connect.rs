//! `podctl network connect` and `podctl network disconnect`

use proto::{
    Kind,
    serve::deadline,
    wire::{NetworkAct, NetworkAttachment},
};

use crate::{
    args::{Action, Args, Command, Operands, list, network, switch, text},
    dial::{ACT, Engine, Found},
    error::{Failure, Outcome},
};

/// `network connect`
pub static CONNECT: Command = Command {
    name: "connect",
    about: "Add container or pod to a network",
    description: "Add container or pod to a network: now if it runs, and at every start. On a member of a pod it changes the whole pod.",
    usage: "[options] NETWORK CONTAINER|POD",
    examples: &["network connect web secondary", "network connect --alias db --ip 10.89.1.7 back web"],
    flags: &[&[
        list("alias", "Add network-scoped alias for the container"),
        text("ip", "string", "Set a static IPv4 address for this container on this network"),
        text("mac-address", "string", "Set a static MAC address for this container on this network"),
    ]],
    operands: Operands::Exactly(2),
    action: Action::Run(connect),
    ..Command::EMPTY
};

/// `network disconnect`
pub static DISCONNECT: Command = Command {
    name: "disconnect",
    about: "Disconnect a container or pod from a network",
    description: "Remove container or pod from a network. On a member of a pod it changes the whole pod.",
    usage: "[options] NETWORK CONTAINER|POD",
    examples: &["network disconnect web secondary"],
    flags: &[&[switch("force", "Do not fail where the container is not on the network").short('f')]],
    operands: Operands::Exactly(2),
    action: Action::Run(disconnect),
    ..Command::EMPTY
};

/// The pod whose network it is.
fn pod(engine: &Engine, name: &str) -> Result<proto::Id, Failure> {
    match engine.container(name) {
        Ok(Found::Container { pod, .. } | Found::Infra(pod)) => Ok(pod),
        Err(failure) if failure.kind == Kind::NoSuchContainer => engine.pod_id(name).map_err(|_| failure),
        Err(failure) => Err(failure),
    }
}

fn request(engine: &Engine, args: &Args) -> Result<(proto::Id, NetworkAct), Failure> {
    let [network, container] = args.operands.as_slice() else {
        return Err(Failure::invalid("accepts 2 arg(s)"));
    };
    let pod = pod(engine, container)?;
    let attachment = NetworkAttachment { name: network.clone(), ..Default::default() };
    let request = NetworkAct { pod: pod.to_string(), attachment: Some(attachment), ..Default::default() };
    Ok((pod, request))
}

fn connect(engine: &Engine, args: &Args) -> Outcome {
    let (pod, mut request) = request(engine, args)?;
    if let Some(attachment) = &mut request.attachment {
        network::static_addresses(args, attachment)?;
        attachment.aliases = args.all("alias");
    }
    engine.block_on(async {
        engine.pod(&pod).await?.pods().connect(deadline(ACT), &request).await?;
        Ok(0)
    })
}

fn disconnect(engine: &Engine, args: &Args) -> Outcome {
    let (pod, mut request) = request(engine, args)?;
    request.force = args.is("force");
    engine.block_on(async {
        engine.pod(&pod).await?.pods().disconnect(deadline(ACT), &request).await?;
        Ok(0)
    })
}
