//! podshim: see the library's documentation for its roles and modules.

mod report;

use std::{io::Write, process::ExitCode};

use podshim::host::{self, Arguments};

fn main() -> ExitCode {
    // A panic is a bug. Its answer is an end that others notice (podctl starts a new shim, which adopts), never half a shim.
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
    proto::failpoint::arm();
    report::init();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The last line is what whoever waits for us shows its user: no time, no level.
            let _ = writeln!(std::io::stderr(), "podshim: {error:#}");
            ExitCode::from(125)
        }
    }
}

fn run() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("host") => host::host(&Arguments::parse(arguments)?),
        Some("pod") => {
            let id = arguments.next().unwrap_or_default().parse()?;
            host::pod(&id, &Arguments::parse(arguments)?)
        }
        Some("infra") => podshim::namespace::infra::run(),
        Some("--version") => anyhow::bail!("podshim version {}; it is started by podctl", proto::VERSION),
        _ => anyhow::bail!("podshim is started by podctl: podshim host | pod ID | infra"),
    }
}
