//! The acts that pods and containers have in common.

use std::time::Duration;

use proto::{
    Kind, Refusal,
    serve::deadline,
    wire::{ContainerAct, ContainerResult, PodAct, PodResult},
};
use ttrpc::context::Context;

use super::{
    container::{needs, ready, run::no_infra},
    select::{Container, Pod},
};
use crate::{
    args::{Args, value},
    dial::{ACT, Engine, Found},
    error::{Failure, Outcome, warn},
    fan_out::{self, Shims},
};

/// An act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// init
    Init,
    /// start
    Start,
    /// stop
    Stop,
    /// restart
    Restart,
    /// kill
    Kill,
    /// pause
    Pause,
    /// unpause
    Unpause,
    /// rm
    Remove,
}

/// What an act is asked for with.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Grace in milliseconds, -1 = for ever.
    pub timeout: Option<i64>,
    /// Signal of kill.
    pub signal: String,
    /// `--force`
    pub force: bool,
    /// Anonymous volumes go too.
    pub volumes: bool,
    /// `--depend`
    pub depend: bool,
}

impl Options {
    /// `--time` of `args`.
    pub fn with_time(args: &Args) -> Options {
        let milliseconds = |seconds: i64| if seconds < 0 { -1 } else { seconds.saturating_mul(1000) };
        Options { timeout: args.int("time").map(milliseconds), ..Default::default() }
    }

    /// `--force` of what removes, and `--time`, which needs it. Whatever depends on the removed goes with it.
    ///
    /// # Errors
    /// podman's words for a time without force.
    pub fn of_removal(args: &Args) -> Result<Options, Failure> {
        let force = args.is("force");
        if args.given("time") && !force {
            return Err(Failure::invalid("--force option must be specified to use the --time option"));
        }
        Ok(Options { force, depend: true, ..Options::with_time(args) })
    }

    /// `--signal` of `args`.
    ///
    /// # Errors
    /// `invalid signal: bad`
    pub fn with_signal(args: &Args) -> Result<Options, Failure> {
        Ok(Options { signal: value::signal_name(args.text("signal").unwrap_or("KILL"))?, ..Default::default() })
    }

    /// How long the act may take.
    fn context(&self) -> Context {
        match self.timeout {
            // Only the user knows when this is over.
            Some(-1) => Context::default(),
            grace => {
                let grace = grace.and_then(|grace| u64::try_from(grace).ok()).unwrap_or(0);
                deadline(ACT + Duration::from_millis(grace))
            }
        }
    }
}

/// What is printed for a pod that was acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Its id.
    Id,
    /// Its name.
    Name,
}

/// What came of an act: what is to be printed, `None` where nothing is.
pub type Acted = Result<Option<String>, Failure>;

/// Acts on pods and prints them. With `ignore` a pod that has gone meanwhile is no failure.
///
/// # Errors
/// The failures together; `code` gives the exit code of one.
pub async fn on_pods(
    engine: &Engine,
    pods: Vec<Pod>,
    verb: Verb,
    options: &Options,
    (shown, ignore): (Shown, bool),
    code: impl Fn(&Failure) -> i32,
) -> Outcome {
    fan_out::report(each_pod(engine, pods, verb, options, (shown, ignore)).await, code)
}

/// Acts on pods; what is to be printed for each, in their order.
pub async fn each_pod(
    engine: &Engine,
    pods: Vec<Pod>,
    verb: Verb,
    options: &Options,
    (shown, ignore): (Shown, bool),
) -> Vec<Acted> {
    let shims = Shims::new(engine);
    fan_out::each(pods, async |pod| {
        let result = match on_pod(&shims, &pod.id, verb, options).await {
            Err(failure) if ignore && crate::error::is_missing(failure.kind) => return Ok(None),
            other => other?,
        };
        if verb == Verb::Unpause && !result.acted {
            return Ok(None);
        }
        let name = if result.name.is_empty() { &pod.typed } else { &result.name };
        Ok(Some(if shown == Shown::Name { name.clone() } else { pod.id.to_string() }))
    })
    .await
}

async fn on_pod(shims: &Shims<'_>, pod: &proto::Id, verb: Verb, options: &Options) -> Result<PodResult, Failure> {
    let request = PodAct {
        pod: pod.to_string(),
        timeout_ms: options.timeout.unwrap_or(0),
        has_timeout: options.timeout.is_some(),
        signal: options.signal.clone(),
        force: options.force,
        volumes: options.volumes,
        ..Default::default()
    };
    let client = shims.of(pod).await?.pods();
    let context = options.context();
    let result = match verb {
        // Whoever resolves names has refused it: see on_container.
        Verb::Init => return Err(no_infra(pod.as_str(), "initialize")),
        Verb::Start => client.start(context, &request).await,
        Verb::Stop => client.stop(context, &request).await,
        Verb::Restart => client.restart(context, &request).await,
        Verb::Kill => client.kill(context, &request).await,
        Verb::Pause => client.pause(context, &request).await,
        Verb::Unpause => client.unpause(context, &request).await,
        Verb::Remove => client.remove(context, &request).await,
    }?;
    for warning in &result.warnings {
        warn(warning);
    }
    if result.errors.is_empty() {
        return Ok(result);
    }
    Err(Failure { messages: result.errors, ..Failure::invalid("") })
}

/// Acts on containers and prints them as they were typed. With `ignore` one that has gone is no failure.
///
/// # Errors
/// The failures together; `code` gives the exit code of one.
pub async fn on_containers(
    engine: &Engine,
    containers: Vec<Container>,
    verb: Verb,
    options: &Options,
    ignore: bool,
    code: impl Fn(&Failure) -> i32,
) -> Outcome {
    fan_out::report(each_container(engine, containers, verb, options, ignore).await, code)
}

/// Acts on containers; what is to be printed for each, in their order.
pub async fn each_container(
    engine: &Engine,
    containers: Vec<Container>,
    verb: Verb,
    options: &Options,
    ignore: bool,
) -> Vec<Acted> {
    let shims = Shims::new(engine);
    let act = async |container: Container| match on_container(&shims, &container, verb, options).await {
        Err(failure) if ignore && crate::error::is_missing(failure.kind) => Ok(None),
        Err(failure) => Err(failure),
        Ok(()) => {
            if let (Verb::Start, Found::Container { pod, id }) = (verb, &container.found) {
                ready::wait(engine, pod, id).await?;
            }
            Ok(Some(container.typed.clone()))
        }
    };
    let mut results = fan_out::each(containers.clone(), &act).await;
    // What was needed by others of the same command goes after them.
    let mut again = if verb == Verb::Remove { needed(&results) } else { Vec::new() };
    while !again.is_empty() {
        let next = again.iter().map(|at| containers[*at].clone()).collect();
        for (at, result) in again.iter().zip(fan_out::each(next, &act).await) {
            results[*at] = result;
        }
        let left = needed(&results);
        if left.len() == again.len() {
            break;
        }
        again = left;
    }
    results
}

/// Which were not removed because another container needs them.
fn needed(results: &[Acted]) -> Vec<usize> {
    let is_needed = |at: &usize| results[*at].as_ref().is_err_and(|failure| failure.kind == Kind::InUse);
    (0..results.len()).filter(is_needed).collect()
}

async fn on_container(shims: &Shims<'_>, container: &Container, verb: Verb, options: &Options) -> Result<(), Failure> {
    let (pod, id) = match &container.found {
        Found::Container { pod, id } => (pod, id),
        // The infra has no process: stopping it stops the pod, and so on.
        Found::Infra(pod) if verb == Verb::Remove && !options.depend => return Err(infra(&container.typed, pod)),
        Found::Infra(_) if verb == Verb::Init => return Err(no_infra(&container.typed, "initialize")),
        Found::Infra(pod) => return on_pod(shims, pod, verb, options).await.map(|_| ()),
    };
    let mut request = ContainerAct {
        container: id.to_string(),
        timeout_ms: options.timeout.unwrap_or(0),
        has_timeout: options.timeout.is_some(),
        signal: options.signal.clone(),
        force: options.force,
        volumes: options.volumes,
        notify_socket: match verb {
            Verb::Init | Verb::Start => ready::notify_socket(),
            _ => String::new(),
        },
        fresh: true,
        ..Default::default()
    };
    let shim = shims.of(pod).await?;
    let (client, context) = (shim.containers(), options.context());
    let result: ContainerResult = match verb {
        Verb::Init | Verb::Start | Verb::Restart => {
            return needs::bring_up(shims.engine(), &shim, verb, &context, &mut request).await.map(warned);
        }
        Verb::Stop => client.stop(context, &request).await,
        Verb::Kill => client.kill(context, &request).await,
        Verb::Pause => client.pause(context, &request).await,
        Verb::Unpause => client.unpause(context, &request).await,
        Verb::Remove => client.remove(context, &request).await,
    }?;
    warned(result);
    Ok(())
}

/// Says what a result warns of.
fn warned(result: ContainerResult) {
    for warning in &result.warnings {
        warn(warning);
    }
}

fn infra(typed: &str, pod: &proto::Id) -> Failure {
    Refusal::new(
        Kind::Invalid,
        format!("container {typed} is the infra container of pod {pod} and cannot be removed without removing the pod"),
    )
    .into()
}
