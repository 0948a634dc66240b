//! `podctl logs`

use std::os::fd::AsFd;

use nix::poll::PollFlags;
use proto::{raw, wire::LogsRequest};
use ttrpc::context::Context;

use crate::{
    args::{Action, Args, Command, Flag, duration, int, switch, text},
    command::select,
    dial::{Engine, Found},
    error::{Failure, Outcome},
    relay, sys,
};

/// Flags that `pod logs` has too.
pub const FLAGS: &[Flag] = &[
    switch("color", "Output the containers with different colors in the log"),
    switch("follow", "Follow log output").short('f'),
    switch("names", "Output container names instead of container IDs in the logs").short('n'),
    text("since", "string", "Show logs since TIMESTAMP"),
    int("tail", "Output the specified number of LINES at the end of the logs.  Defaults to -1, which prints all lines")
        .default("-1"),
    switch("timestamps", "Output the timestamps in the log").short('t'),
    text("until", "string", "Show logs until TIMESTAMP"),
];

/// The command.
pub static COMMAND: Command = Command {
    name: "logs",
    about: "Fetch the logs of one or more containers",
    description: "Retrieves logs for one or more containers.\n\nThis does not guarantee execution order when combined with podctl run (i.e., your run may not have generated any logs at the time you execute podctl logs).",
    usage: "[options] CONTAINER [CONTAINER...]",
    examples: &[
        "logs ctrID",
        "logs --names ctrID1 ctrID2",
        "logs --tail 2 mywebserver",
        "logs --follow=true --since 10m ctrID",
    ],
    flags: &[FLAGS, select::LATEST],
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let mut request = request(args)?;
    if args.operands.is_empty() && !args.is("latest") {
        return Err(Failure::invalid("specify at least one container name or ID to log"));
    }
    if !args.operands.is_empty() && args.is("latest") {
        return Err(Failure::invalid("--latest and containers cannot be used together"));
    }
    engine.block_on(async {
        let containers = select::containers(engine, args, false, &[], "").await?;
        request.prefix = containers.len() > 1 || request.names;
        for container in containers {
            match container.found {
                Found::Container { id, .. } => request.containers.push(id.to_string()),
                // It says nothing.
                Found::Infra(_) => {}
            }
        }
        if request.containers.is_empty() {
            return Ok(0);
        }
        show(engine, request).await
    })
}

/// What the flags ask for.
///
/// # Errors
/// podman's words.
pub fn request(args: &Args) -> Result<LogsRequest, Failure> {
    let (since, until) = duration::window(args)?;
    let tail = args.int("tail").unwrap_or(-1);
    Ok(LogsRequest {
        follow: args.is("follow"),
        since,
        until,
        tail: tail.max(0),
        has_tail: tail >= 0,
        timestamps: args.is("timestamps"),
        names: args.is("names"),
        color: args.is("color"),
        ..Default::default()
    })
}

/// Lets the engine write the logs to our stdout and stderr.
///
/// # Errors
/// When it refuses.
pub async fn show(engine: &Engine, mut request: LogsRequest) -> Outcome {
    let host = engine.host()?;
    let words = |error: std::io::Error| Failure::io("hand stdout to podshim", &error);
    request.token = raw::token().map_err(words)?;
    let (out, err) = (std::io::stdout(), std::io::stderr());
    let raw = host.raw().map_err(words)?;
    raw.deposit(&request.token, &[out.as_fd(), err.as_fd()]).await.map_err(words)?;
    // It ends when the log does, or the user says so.
    match host.containers().logs(Context::default(), &request).await {
        Ok(_) => Ok(0),
        Err(_) if relay::is_ready(out.as_fd(), PollFlags::empty()) => sys::die_of_broken_pipe(),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    fn parse(line: &str) -> Result<LogsRequest, Failure> {
        match scan::parse(&crate::command::ROOT, line.split(' ').map(str::to_owned).collect())? {
            Parsed::Run { args, .. } => request(&args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_the_request() {
        let found = parse("logs -ft --tail 0 --since 1700000000 --until 1700000001 -n --color x").expect("request");
        assert!(found.follow && found.timestamps && found.names && found.color && found.has_tail);
        assert_eq!((found.tail, found.since, found.until), (0, 1_700_000_000_000_000_000, 1_700_000_001_000_000_000));
        assert!(!parse("logs --tail -1 x").expect("request").has_tail);
        assert_eq!(
            parse("logs --since bogus x").expect_err("refused").to_string(),
            "parsing --since \"bogus\": unable to interpret time value"
        );
    }
}
