//! `podctl top`

use proto::{serve::deadline, wire::TopRequest};

use crate::{
    args::{Action, Args, Command},
    command::{container::exec, select},
    dial::{ASK, Engine, Found},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "top",
    about: "Display the running processes of a container",
    description: "List the running processes of the container. By default: user, pid, ppid, pcpu, etime, tty, time and args. \
                  Options of ps(1) are for the ps in the container.",
    usage: "[options] CONTAINER [FORMAT-DESCRIPTORS|ARGS...]",
    examples: &["top ctrID", "top --latest", "top ctrID pid seccomp args %C", "top ctrID -eo pid,args"],
    flags: &[select::LATEST],
    interspersed: false,
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let missing = || Failure::invalid("you must provide the name or id of a running container");
    engine.block_on(async {
        let (found, descriptors) = if args.is("latest") {
            let only = Args::new(args.command, args.path.clone(), vec![("latest", "true".to_owned())], Vec::new());
            let containers = select::containers(engine, &only, false, &[], "").await?;
            (containers.into_iter().next().ok_or_else(missing)?.found, args.operands.as_slice())
        } else {
            let (name, descriptors) = args.operands.split_first().ok_or_else(missing)?;
            let found =
                engine.container(name).map_err(|failure| failure.within("unable to look up requested container"))?;
            (found, descriptors)
        };
        let Found::Container { pod, id } = found else {
            return Err(Failure::invalid("the infra of a pod has no processes of its own: ask podctl pod top"));
        };
        if descriptors.first().is_some_and(|word| is_of_ps(word)) {
            let words = descriptors.iter().flat_map(|text| text.split_whitespace()).map(str::to_owned);
            return exec::plain(engine, &pod, &id, std::iter::once("ps".to_owned()).chain(words).collect()).await;
        }
        let request = TopRequest {
            containers: vec![id.to_string()],
            descriptors: self::descriptors(descriptors),
            ..Default::default()
        };
        show(engine, &request).await
    })
}

/// Whether `word` is for the ps(1) in the container: `-ef`, `aux`.
fn is_of_ps(word: &str) -> bool {
    word.starts_with('-') || (!word.is_empty() && word.chars().all(|letter| "aefjluwx".contains(letter)))
}

/// Descriptors, each of which may be several separated by commas.
pub fn descriptors(given: &[String]) -> Vec<String> {
    given.iter().flat_map(|text| text.split(',')).filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// Asks and prints the processes.
///
/// # Errors
/// When the engine refuses.
pub async fn show(engine: &Engine, request: &TopRequest) -> Outcome {
    let reply = engine.host()?.containers().top(deadline(ASK), request).await?;
    let line = |cells: &[String]| {
        cells.iter().map(|cell| output::escape::line(cell).into_owned()).collect::<Vec<_>>().join("\t") + "\n"
    };
    let mut text = line(&reply.titles);
    for row in &reply.rows {
        text.push_str(&line(&row.cells));
    }
    output::print(&output::table::align(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ps_are_told_from_descriptors() {
        for word in ["-ef", "-o", "aux", "ax"] {
            assert!(is_of_ps(word), "{word}");
        }
        for word in ["", "pid", "args", "user", "%a", "label", "bogus"] {
            assert!(!is_of_ps(word), "{word}");
        }
    }
}
