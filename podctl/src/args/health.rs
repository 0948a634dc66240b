//! How a container's health is checked: `--health-*` and `--no-healthcheck` of `create` and `run`.

use proto::wire::{HealthConfig, HealthStartup};

use super::{Args, Flag, duration, switch, text, uint, value};
use crate::error::Failure;

/// The flags.
pub const FLAGS: &[Flag] = &[
    text(
        "health-cmd",
        "string",
        "set a healthcheck command for the container ('none' disables the existing healthcheck)",
    ),
    text(
        "health-interval",
        "string",
        "set an interval for the healthcheck. (a value of disable results in no automatic timer setup)",
    )
    .default("\"30s\""),
    text(
        "health-log-destination",
        "string",
        "set the destination of the HealthCheck log. Directory path, local or events_logger (local use container state file, events_logger will write to events, too)",
    )
    .default("\"local\""),
    uint("health-max-log-count", "set maximum number of attempts in the HealthCheck log file. ('0' value means 1000)")
        .default("5"),
    uint("health-max-log-size", "set maximum length in characters of stored HealthCheck log. ('0' value means 1 MiB)")
        .default("500"),
    text(
        "health-on-failure",
        "string",
        "action to take once the container turns unhealthy (\"none\"|\"kill\"|\"restart\"|\"stop\")",
    )
    .default("\"none\""),
    uint("health-retries", "the number of retries allowed before a healthcheck is considered to be unhealthy")
        .default("3"),
    text("health-start-period", "string", "the initialization time needed for a container to bootstrap")
        .default("\"0s\""),
    text("health-startup-cmd", "string", "Set a startup healthcheck command for the container"),
    text("health-startup-interval", "string", "Set an interval for the startup healthcheck").default("\"30s\""),
    uint(
        "health-startup-retries",
        "Set the maximum number of retries before the startup healthcheck will restart the container",
    ),
    uint(
        "health-startup-success",
        "Set the number of consecutive successes before the startup healthcheck is marked as successful and the normal healthcheck begins (0 indicates any success will start the regular healthcheck)",
    ),
    text(
        "health-startup-timeout",
        "string",
        "Set the maximum amount of time that the startup healthcheck may take before it is considered failed",
    )
    .default("\"30s\""),
    text(
        "health-timeout",
        "string",
        "the maximum time allowed to complete the healthcheck before an interval is considered failed",
    )
    .default("\"30s\""),
    switch("no-healthcheck", "Disable healthchecks on container"),
];

/// [`FLAGS`] where what is not given stays as it is.
pub const CHANGES: [Flag; FLAGS.len()] = {
    let mut flags = [FLAGS[0]; FLAGS.len()];
    let mut at = 0;
    while at < flags.len() {
        flags[at] = FLAGS[at].default("");
        at += 1;
    }
    flags
};

/// Flags that mean something only with `--health-startup-cmd`.
const STARTUP: [&str; 4] =
    ["health-startup-interval", "health-startup-retries", "health-startup-success", "health-startup-timeout"];

/// What is asked for; `None` = nothing: the image's check stays as it is.
///
/// # Errors
/// podman's words.
pub fn config(args: &Args) -> Result<Option<HealthConfig>, Failure> {
    if args.text_or_empty("health-startup-cmd").is_empty()
        && let Some(flag) = STARTUP.iter().find(|flag| args.given(flag))
    {
        return Err(Failure::invalid(format!("cannot set --{flag} without --health-startup-cmd")));
    }
    changes(args)
}

/// As [`config`], where there may be a check already: a startup check without a command changes the one that is there.
///
/// # Errors
/// podman's words.
pub fn changes(args: &Args) -> Result<Option<HealthConfig>, Failure> {
    for flag in ["health-cmd", "health-startup-cmd"] {
        if args.is("no-healthcheck") && !args.text_or_empty(flag).is_empty() {
            return Err(Failure::invalid(format!("cannot specify both --no-healthcheck and --{flag}")));
        }
    }
    let health = HealthConfig {
        test: test(args.text_or_empty("health-cmd"))?,
        interval_ns: args.text("health-interval").map(interval).transpose()?,
        timeout_ns: args.text("health-timeout").map(timeout).transpose()?,
        start_period_ns: args.text("health-start-period").map(start_period).transpose()?,
        retries: args.uint("health-retries").map(retries).transpose()?,
        startup: startup(args)?,
        on_failure: on_failure(args.text_or_empty("health-on-failure"))?,
        log_destination: match args.text_or_empty("health-log-destination") {
            word @ ("" | "local" | "events_logger") => word.to_owned(),
            path => value::absolute(path)?,
        },
        max_log_count: args.uint("health-max-log-count").map(number),
        max_log_size: args.uint("health-max-log-size").map(number),
    };
    Ok((health != HealthConfig::default()).then_some(health))
}

fn number(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A command as an image's config has it: an array of several words is run as it is, everything else by a shell.
fn test(text: &str) -> Result<Vec<String>, Failure> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let array = serde_json::from_str::<Vec<String>>(text).ok();
    let is_array = array.is_some();
    let words = array.unwrap_or_else(|| text.splitn(2, ' ').map(str::to_owned).collect());
    let Some(first) = words.first() else {
        return Err(Failure::invalid("must define a healthcheck command for all healthchecks"));
    };
    Ok(match first.to_ascii_uppercase().as_str() {
        "NONE" => vec!["NONE".to_owned()],
        "CMD-SHELL" | "CMD" if is_array => words,
        "CMD-SHELL" => words,
        "CMD" => text.split_whitespace().map(str::to_owned).collect(),
        _ if is_array && words.len() > 1 => ["CMD".to_owned()].into_iter().chain(words).collect(),
        _ => vec!["CMD-SHELL".to_owned(), words.join(" ")],
    })
}

fn startup(args: &Args) -> Result<Option<HealthStartup>, Failure> {
    let test = test(args.text_or_empty("health-startup-cmd"))?;
    if test.is_empty() && !STARTUP.iter().any(|flag| args.given(flag)) {
        return Ok(None);
    }
    Ok(Some(HealthStartup {
        test,
        interval_ns: args.text("health-startup-interval").map(interval).transpose()?,
        timeout_ns: args.text("health-startup-timeout").map(timeout).transpose()?,
        retries: number(args.uint("health-startup-retries").unwrap_or(0)),
        success: number(args.uint("health-startup-success").unwrap_or(0)),
    }))
}

fn span(what: &str, text: &str) -> Result<i64, Failure> {
    duration::go(text).ok_or_else(|| {
        let why = match text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
            true => "missing unit in duration",
            false => "invalid duration",
        };
        Failure::invalid(format!("invalid healthcheck-{what}: time: {why} \"{text}\""))
    })
}

fn interval(text: &str) -> Result<i64, Failure> {
    let interval = if text == "disable" { 0 } else { span("interval", text)? };
    if interval != 0 && interval < 1_000_000 {
        return Err(Failure::invalid("healthcheck-interval must be at least 1ms, or disable"));
    }
    Ok(interval)
}

fn timeout(text: &str) -> Result<i64, Failure> {
    let timeout = span("timeout", text)?;
    if timeout < 1 {
        return Err(Failure::invalid("healthcheck-timeout must be at least 1 second"));
    }
    Ok(timeout)
}

fn start_period(text: &str) -> Result<i64, Failure> {
    let period = span("start-period", text)?;
    if period < 0 {
        return Err(Failure::invalid("healthcheck-start-period must be 0 seconds or greater"));
    }
    Ok(period)
}

fn retries(retries: u64) -> Result<u32, Failure> {
    match number(retries) {
        0 => Err(Failure::invalid("healthcheck-retries must be greater than 0")),
        retries => Ok(retries),
    }
}

fn on_failure(text: &str) -> Result<String, Failure> {
    match text {
        "" | "none" | "kill" | "restart" | "stop" => Ok(text.to_owned()),
        bogus => Err(Failure::invalid(format!(
            "invalid on-failure action \"{bogus}\" for health check: supported actions are none,kill,restart,stop"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_podman_reads_them() {
        for (text, expected) in [
            ("", ""),
            ("none", "NONE"),
            ("curl -f x || exit 1", "CMD-SHELL|curl -f x || exit 1"),
            ("CMD-SHELL a b", "CMD-SHELL|a b"),
            ("CMD a b", "CMD|a|b"),
            ("[\"a\",\"b c\"]", "CMD|a|b c"),
            ("[\"a b\"]", "CMD-SHELL|a b"),
            ("[\"CMD\",\"a b\"]", "CMD|a b"),
            ("[\"CMD-SHELL\",\"a b\"]", "CMD-SHELL|a b"),
            ("[\"NONE\"]", "NONE"),
        ] {
            assert_eq!(test(text).expect(text).join("|"), expected, "{text}");
        }
        assert_eq!(test("[]").expect_err("none").to_string(), "must define a healthcheck command for all healthchecks");
    }
}
