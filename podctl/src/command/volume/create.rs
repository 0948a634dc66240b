//! `podctl volume create`

use std::collections::BTreeMap;

use proto::{name, serve::deadline, wire::CreateVolume};

use crate::{
    args::{Action, Args, Command, Operands, array, list, switch, text, uint, value},
    dial::{ASK, Engine},
    error::{Failure, Outcome},
    output,
};

/// The command.
pub static COMMAND: Command = Command {
    name: "create",
    about: "Create a new volume",
    description: "If using the default driver, \"local\", the volume will be created on the host in the volumes directory under container storage. With --opt type, device and o it mounts a file system, as mount(8) would, in the containers that use it: from the first one that is started until the last has stopped.",
    usage: "[options] [NAME]",
    examples: &[
        "volume create myvol",
        "volume create",
        "volume create --label foo=bar myvol",
        "volume create --uid 1000 --gid 1000 myvol",
        "volume create -o type=tmpfs -o o=size=64m,nodev scratch",
        "volume create -o type=ext4 -o device=/dev/sdb1 disk",
        "volume create -o type=bind -o device=/srv/data data",
    ],
    flags: &[&[
        text("driver", "string", "Specify volume driver name").short('d').default("\"local\""),
        switch("ignore", "Don't fail if volume already exists"),
        list("label", "Set metadata for a volume").short('l'),
        array("opt", "Set driver specific options").short('o'),
        uint("gid", "Set the GID of the volume owner"),
        uint("uid", "Set the UID of the volume owner"),
    ]],
    operands: Operands::AtMost(1),
    action: Action::Run(run),
    ..Command::EMPTY
};

fn run(engine: &Engine, args: &Args) -> Outcome {
    let request = request(args)?;
    engine.block_on(async {
        let created = engine.host()?.volumes().create(deadline(ASK), &request).await?;
        output::line(&created.name)
    })
}

fn request(args: &Args) -> Result<CreateVolume, Failure> {
    let name = args.operands.first().cloned().unwrap_or_default();
    if !name.is_empty() && !name::is_valid(&name) {
        return Err(Failure::invalid(format!("running volume create option: {}", name::rule(&name))));
    }
    let driver = args.text("driver").unwrap_or("local");
    if driver != "local" {
        return Err(Failure::invalid(format!(
            "volume {name} uses volume plugin {driver} but it could not be retrieved: no volume plugin with name {driver} available: required plugin missing"
        )));
    }
    let options: BTreeMap<String, String> = args
        .all("opt")
        .iter()
        .map(|text| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        })
        .collect();
    let id = |flag: &'static str| {
        let wide = args.uint(flag);
        let fits = |wide: u64| u32::try_from(wide).ok().filter(|id| *id != u32::MAX);
        wide.map(|wide| fits(wide).ok_or_else(|| Failure::invalid(format!("--{flag} {wide}: no such id can be"))))
            .transpose()
    };
    Ok(CreateVolume {
        uid: id("uid")?,
        gid: id("gid")?,
        name,
        labels: value::labels(&[], &args.all("label"))?,
        options,
        driver: driver.to_owned(),
        ignore: args.is("ignore"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::scan::{self, Parsed};

    #[test]
    fn every_refusal_here_has_its_words() {
        for (line, words) in [
            ("a/b", "running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"),
            (
                "--driver foo x",
                "volume x uses volume plugin foo but it could not be retrieved: no volume plugin with name foo available: required plugin missing",
            ),
            ("--uid 4294967295 x", "--uid 4294967295: no such id can be"),
            ("--label =x", "unable to process labels: invalid label format: \"=x\""),
        ] {
            let words_of = format!("volume create {line}").split(' ').map(str::to_owned).collect();
            let Ok(Parsed::Run { args, .. }) = scan::parse(&crate::command::ROOT, words_of) else { panic!("{line}") };
            assert_eq!(request(&args).expect_err(line).to_string(), words, "{line}");
        }
    }
}
