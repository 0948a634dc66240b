//! Health checks: what may be asked for, and what becomes of it with the image's.

use proto::{
    Refusal,
    refusal::Result,
    wire::{ContainerConfig, HealthConfig, HealthStartup},
};
use serde::Deserialize;
use serde_json::Value;

use super::text;

/// Where neither options nor image say anything (podman-run(1)).
const INTERVAL_NS: i64 = 30_000_000_000;
const TIMEOUT_NS: i64 = 30_000_000_000;
const RETRIES: u32 = 3;
const MAX_LOG_COUNT: u32 = 5;
const MAX_LOG_SIZE: u32 = 500;
/// Shortest interval: one check after the other without a pause is an attack on the machine.
const SHORTEST_NS: i64 = 1_000_000;

/// What an image's config has (docker's schema 2); OCI's has no such thing.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct OfImage {
    test: Option<Vec<String>>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    retries: i64,
}

/// What is asked for, by itself.
pub(super) fn check(config: &ContainerConfig) -> Result<()> {
    let Some(health) = &config.health else { return Ok(()) };
    command("--health-cmd", &health.test)?;
    times(health.interval_ns, health.timeout_ns)?;
    if health.start_period_ns.is_some_and(|period| period < 0) {
        return Err(Refusal::invalid("healthcheck-start-period must be 0 seconds or greater"));
    }
    if health.retries == Some(0) {
        return Err(Refusal::invalid("healthcheck-retries must be greater than 0"));
    }
    if let Some(startup) = &health.startup {
        command("--health-startup-cmd", &startup.test)?;
        times(startup.interval_ns, startup.timeout_ns)?;
    }
    match health.on_failure.as_str() {
        "" | "none" | "kill" | "restart" | "stop" => {}
        other => {
            return Err(Refusal::invalid(format!(
                "invalid on-failure action {} for health check: supported actions are none,kill,restart,stop",
                text::quoted(other)
            )));
        }
    }
    match health.log_destination.as_str() {
        "" | "local" | "events_logger" => Ok(()),
        path => {
            text::no_controls("--health-log-destination", path)?;
            if !path.starts_with('/') {
                let words = format!("--health-log-destination {}: give an absolute path", text::shown(path));
                return Err(Refusal::invalid(words));
            }
            Ok(())
        }
    }
}

fn command(flag: &str, test: &[String]) -> Result<()> {
    test.iter().try_for_each(|word| text::no_nul(flag, word))?;
    match test {
        [] => Ok(()),
        [only] if only == "NONE" => Ok(()),
        [kind, first, ..] if matches!(kind.as_str(), "CMD" | "CMD-SHELL") && !first.is_empty() => Ok(()),
        _ => Err(Refusal::invalid("must define a healthcheck command for all healthchecks")),
    }
}

fn times(interval: Option<i64>, timeout: Option<i64>) -> Result<()> {
    if interval.is_some_and(|interval| interval != 0 && interval < SHORTEST_NS) {
        return Err(Refusal::invalid("healthcheck-interval must be at least 1ms, or disable"));
    }
    if timeout.is_some_and(|timeout| timeout < 1) {
        return Err(Refusal::invalid("healthcheck-timeout must be at least 1 second"));
    }
    Ok(())
}

/// Makes `config.health` complete with what the image says and the defaults; absent where nothing is checked.
///
/// # Errors
/// For options that need a check where there is none, and for an image's check that cannot be.
pub fn merge_health(config: &mut ContainerConfig, image: Option<&Value>) -> Result<()> {
    let asked = config.health.take().unwrap_or_default();
    let is_none = |test: &[String]| test.first().is_some_and(|first| first == "NONE");
    let of_image = match image.filter(|_| asked.test.is_empty() && !config.no_healthcheck) {
        Some(value) => read(value).map_err(|refusal| Refusal {
            message: format!(
                "image {}: HEALTHCHECK: {}: run it with --no-healthcheck",
                text::shown(&config.image),
                refusal.message
            ),
            ..refusal
        })?,
        None => HealthConfig::default(),
    };
    let test = if asked.test.is_empty() { of_image.test } else { asked.test.clone() };
    if test.is_empty() || is_none(&test) || config.no_healthcheck {
        needs_one(config, &asked)?;
        config.no_healthcheck |= is_none(&asked.test);
        return Ok(());
    }
    let startup = asked.startup.filter(|startup| !is_none(&startup.test)).map(|startup| HealthStartup {
        interval_ns: startup.interval_ns.or(Some(INTERVAL_NS)),
        timeout_ns: startup.timeout_ns.or(Some(TIMEOUT_NS)),
        ..startup
    });
    let word = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
    config.health = Some(HealthConfig {
        test,
        interval_ns: asked.interval_ns.or(of_image.interval_ns).or(Some(INTERVAL_NS)),
        timeout_ns: asked.timeout_ns.or(of_image.timeout_ns).or(Some(TIMEOUT_NS)),
        start_period_ns: asked.start_period_ns.or(of_image.start_period_ns).or(Some(0)),
        retries: asked.retries.or(of_image.retries).or(Some(RETRIES)),
        startup,
        on_failure: word(asked.on_failure, "none"),
        log_destination: word(asked.log_destination, "local"),
        max_log_count: asked.max_log_count.or(Some(MAX_LOG_COUNT)),
        max_log_size: asked.max_log_size.or(Some(MAX_LOG_SIZE)),
    });
    Ok(())
}

/// Without a check, options about one would have no effect.
fn needs_one(config: &ContainerConfig, asked: &HealthConfig) -> Result<()> {
    if config.sdnotify == "healthy" {
        return Err(Refusal::invalid("sdnotify policy \"healthy\" requires a healthcheck to be set"));
    }
    if !matches!(asked.on_failure.as_str(), "" | "none") {
        let action = &asked.on_failure;
        return Err(Refusal::invalid(format!("cannot set on-failure action to {action} without a health check")));
    }
    if asked.startup.is_some() {
        return Err(Refusal::invalid(
            "cannot set a startup healthcheck when there is no regular healthcheck: invalid argument",
        ));
    }
    let given = [
        ("interval", asked.interval_ns.is_some()),
        ("timeout", asked.timeout_ns.is_some()),
        ("start-period", asked.start_period_ns.is_some()),
        ("retries", asked.retries.is_some()),
        ("log-destination", !asked.log_destination.is_empty()),
        ("max-log-count", asked.max_log_count.is_some()),
        ("max-log-size", asked.max_log_size.is_some()),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Refusal::invalid(format!(
            "cannot set --health-{flag} without a health check: give one by --health-cmd"
        ))),
        None => Ok(()),
    }
}

/// What the image says: a field that is zero is not there.
fn read(value: &Value) -> Result<HealthConfig> {
    let of_image: OfImage =
        serde_json::from_value(value.clone()).map_err(|_| Refusal::invalid("it is not what an image's is"))?;
    let test = of_image.test.unwrap_or_default();
    command("its command", &test)?;
    let given = |number: i64| (number != 0).then_some(number);
    let health = HealthConfig {
        test,
        interval_ns: given(of_image.interval),
        timeout_ns: given(of_image.timeout),
        start_period_ns: given(of_image.start_period),
        retries: match of_image.retries {
            0 => None,
            number => {
                let words = "healthcheck-retries must be greater than 0";
                Some(u32::try_from(number).map_err(|_| Refusal::invalid(words))?)
            }
        },
        ..Default::default()
    };
    check(&ContainerConfig { health: Some(health.clone()), ..Default::default() })?;
    Ok(health)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(change: impl FnOnce(&mut HealthConfig)) -> ContainerConfig {
        let mut health = HealthConfig::default();
        change(&mut health);
        ContainerConfig { image: "img".into(), health: Some(health), ..Default::default() }
    }

    #[test]
    fn options_are_over_the_image_and_the_image_over_defaults() {
        let image = json!({"Test": ["CMD", "a"], "Interval": 7_000_000, "Timeout": 5, "Retries": 9, "X": 1});
        let mut config = asked(|health| health.retries = Some(2));
        merge_health(&mut config, Some(&image)).expect("merged");
        let health = config.health.expect("a check");
        assert_eq!(
            (health.test.join(" ").as_str(), health.retries, health.interval_ns),
            ("CMD a", Some(2), Some(7_000_000))
        );
        assert_eq!((health.start_period_ns, health.max_log_size), (Some(0), Some(500)));
        // A command of one's own has nothing of the image's.
        let mut config = asked(|health| health.test = vec!["CMD-SHELL".into(), "b".into()]);
        merge_health(&mut config, Some(&image)).expect("merged");
        assert_eq!(config.health.expect("a check").interval_ns, Some(INTERVAL_NS));
    }

    #[test]
    fn there_may_be_none() {
        let image = json!({"Test": ["CMD", "a"]});
        let mut config = ContainerConfig { no_healthcheck: true, ..Default::default() };
        merge_health(&mut config, Some(&image)).expect("merged");
        assert!(config.health.is_none());
        let mut config = asked(|health| health.test = vec!["NONE".into()]);
        merge_health(&mut config, Some(&image)).expect("merged");
        assert!(config.health.is_none() && config.no_healthcheck);
        for none in [json!({"Test": ["NONE"]}), json!({"Test": []}), json!({})] {
            let mut config = ContainerConfig::default();
            merge_health(&mut config, Some(&none)).expect("merged");
            assert!(config.health.is_none(), "{none}");
        }
    }

    #[test]
    fn what_needs_a_check_is_refused_without_one() {
        for (mut config, words) in [
            (asked(|h| h.on_failure = "kill".into()), "cannot set on-failure action to kill without a health check"),
            (
                asked(|h| h.startup = Some(HealthStartup::default())),
                "cannot set a startup healthcheck when there is no regular healthcheck: invalid argument",
            ),
            (
                asked(|h| h.retries = Some(2)),
                "cannot set --health-retries without a health check: give one by --health-cmd",
            ),
            (
                ContainerConfig { sdnotify: "healthy".into(), ..Default::default() },
                "sdnotify policy \"healthy\" requires a healthcheck to be set",
            ),
        ] {
            assert_eq!(merge_health(&mut config, None).expect_err(words).message, words);
        }
    }

    #[test]
    fn an_images_check_is_not_trusted() {
        for (image, words) in [
            (json!({"Test": "x"}), "it is not what an image's is"),
            (json!([1]), "it is not what an image's is"),
            (json!({"Test": ["BOGUS", "x"]}), "must define a healthcheck command for all healthchecks"),
            (json!({"Test": ["CMD", "a\0"]}), "its command \"a\\0\": NUL characters are not allowed"),
            (json!({"Test": ["CMD", "a"], "Interval": 1}), "healthcheck-interval must be at least 1ms, or disable"),
            (json!({"Test": ["CMD", "a"], "Retries": -1}), "healthcheck-retries must be greater than 0"),
            (json!({"Test": ["CMD", "a"], "Timeout": -1}), "healthcheck-timeout must be at least 1 second"),
        ] {
            let mut config = ContainerConfig { image: "img".into(), ..Default::default() };
            let refusal = merge_health(&mut config, Some(&image)).expect_err(words);
            assert_eq!(refusal.message, format!("image img: HEALTHCHECK: {words}: run it with --no-healthcheck"));
        }
    }
}
