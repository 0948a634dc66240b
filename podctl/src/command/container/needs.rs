//! What a shim asks for before it starts a container: other containers, which are in pods of their own, and the directory
//! of its log, which is the caller's to open. The caller does it and asks again.

use std::{future::Future, pin::Pin, slice};

use proto::{
    Kind,
    serve::deadline,
    wire::{ContainerAct, ContainerResult},
};
use ttrpc::context::Context;

use crate::{
    command::verb::Verb,
    dial::{ACT, Engine, Found, Shim},
    error::Failure,
    source,
};

/// Has a shim init, start or restart a container, and does before what it asks for. `act` tells afterwards what that was.
///
/// # Errors
/// The engine's refusal.
pub async fn bring_up(
    engine: &Engine,
    shim: &Shim,
    verb: Verb,
    context: &Context,
    act: &mut ContainerAct,
) -> Result<ContainerResult, Failure> {
    let (client, mut log) = (shim.containers(), None);
    loop {
        // Each attempt takes its deposit.
        let deposit = match &log {
            Some(log) => Some(source::deposit(shim, slice::from_ref(log)).await?),
            None => None,
        };
        act.log_token = deposit.as_ref().map(|deposit| deposit.token.clone()).unwrap_or_default();
        let answer = match verb {
            Verb::Init => client.init(context.clone(), act).await,
            Verb::Restart => client.restart(context.clone(), act).await,
            _ => client.start(context.clone(), act).await,
        };
        let refusal = match answer.map_err(Failure::from) {
            Ok(result) => return Ok(result),
            Err(refusal) => refusal,
        };
        if refusal.kind == Kind::NeedsLog && !act.log_asked {
            log = source::log_directory(&refusal.subject)?;
            act.log_asked = true;
        } else {
            meet(engine, refusal, &mut act.met).await?;
        }
    }
}

/// Starts the container that `refusal` asks for, and adds it to `met`.
///
/// # Errors
/// The refusal where it asks for none, or again for the same one; why that cannot be started.
pub fn meet<'a>(
    engine: &'a Engine,
    refusal: Failure,
    met: &'a mut Vec<String>,
) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>> {
    Box::pin(async move {
        if refusal.kind != Kind::NeedsContainer || met.contains(&refusal.subject) {
            return Err(refusal);
        }
        let Found::Container { pod, id } = engine.container(&refusal.subject)? else { return Err(refusal) };
        let mut act = ContainerAct { container: id.to_string(), ..Default::default() };
        let shim = engine.pod(&pod).await?;
        let started = bring_up(engine, &shim, Verb::Start, &deadline(ACT), &mut act).await;
        started.map_err(|failure| failure.within(&refusal.to_string()))?;
        met.push(refusal.subject);
        Ok(())
    })
}
