//! What becomes of a container's record when some of it is changed.

use proto::{
    Refusal,
    record::ContainerRecord,
    refusal::Result,
    wire::{BlockLimit, ContainerConfig, HealthConfig, HealthStartup, Resources, Ulimit, UpdateContainer},
};

use super::{container, health, limits, text};

/// The record with what is asked for, everything else as it was. Pure.
///
/// # Errors
/// A [`Refusal`] in its final words.
pub fn update(mut record: ContainerRecord, asked: &UpdateContainer) -> Result<ContainerRecord> {
    let given = |name: &str| asked.given.iter().any(|given| given == name);
    let config = &mut record.config;
    let mut resources = config.resources.take().unwrap_or_default();
    if let Some(wanted) = &asked.resources {
        merge_resources(&mut resources, wanted, given);
    }
    config.resources = limits::resources(Some(resources))?;
    merge_ulimits(&mut config.ulimits, &asked.ulimits)?;
    if given("restart") {
        config.restart.clone_from(&asked.restart);
        container::restart(config)?;
    }
    merge_checks(config, asked, given)?;
    change_env(&mut record, asked)?;
    Ok(record)
}

fn merge_resources(all: &mut Resources, wanted: &Resources, given: impl Fn(&str) -> bool) {
    if given("memory") {
        all.memory = wanted.memory;
    }
    if given("memory-swap") {
        all.memory_swap = wanted.memory_swap;
    }
    if given("memory-reservation") {
        all.memory_reservation = wanted.memory_reservation;
    }
    if given("cpu-shares") {
        all.cpu_shares = wanted.cpu_shares;
    }
    if given("cpus") {
        (all.cpus, all.cpu_quota, all.cpu_period) = (wanted.cpus, 0, 0);
    }
    if given("cpu-quota") {
        (all.cpus, all.cpu_quota) = (0.0, wanted.cpu_quota);
    }
    if given("cpu-period") {
        (all.cpus, all.cpu_period) = (0.0, wanted.cpu_period);
    }
    if given("cpuset-cpus") {
        all.cpuset_cpus.clone_from(&wanted.cpuset_cpus);
    }
    if given("cpuset-mems") {
        all.cpuset_mems.clone_from(&wanted.cpuset_mems);
    }
    if given("pids-limit") {
        // In a record 0 is the default, which is a limit.
        all.pids_limit = if wanted.pids_limit == 0 { -1 } else { wanted.pids_limit };
    }
    if given("blkio-weight") {
        all.blkio_weight = wanted.blkio_weight;
    }
    for (all, wanted) in [
        (&mut all.blkio_weights, &wanted.blkio_weights),
        (&mut all.read_bps, &wanted.read_bps),
        (&mut all.write_bps, &wanted.write_bps),
        (&mut all.read_iops, &wanted.read_iops),
        (&mut all.write_iops, &wanted.write_iops),
    ] {
        merge_devices(all, wanted);
    }
}

/// A limit of 0 is none.
fn merge_devices(all: &mut Vec<BlockLimit>, wanted: &[BlockLimit]) {
    for limit in wanted {
        all.retain(|known| known.device != limit.device);
        all.extend(Some(limit).filter(|limit| limit.value != 0).cloned());
    }
}

fn merge_ulimits(all: &mut Vec<Ulimit>, wanted: &[Ulimit]) -> Result<()> {
    limits::ulimits(wanted)?;
    all.retain(|known| !wanted.iter().any(|limit| limit.name == known.name));
    all.extend(wanted.iter().cloned());
    Ok(())
}

/// The check as it is, with what is asked for.
fn merge_checks(config: &mut ContainerConfig, asked: &UpdateContainer, given: impl Fn(&str) -> bool) -> Result<()> {
    if !given("no-healthcheck") && asked.health.is_none() {
        return Ok(());
    }
    let before = config.health.take();
    config.no_healthcheck = asked.no_healthcheck;
    let wanted = asked.health.clone().unwrap_or_default();
    let health = match before.filter(|_| !asked.no_healthcheck && !is_none(&wanted.test)) {
        Some(before) => changed(before, wanted, given),
        None => wanted,
    };
    if health.startup.as_ref().is_some_and(|startup| startup.test.is_empty()) {
        return Err(Refusal::invalid(
            "cannot change a startup healthcheck that is not there: give one by --health-startup-cmd",
        ));
    }
    config.health = Some(health);
    health::check(config)?;
    // What the image says has been part of it from the beginning.
    health::merge_health(config, None)
}

fn is_none(test: &[String]) -> bool {
    test.first().is_some_and(|first| first == "NONE")
}

fn changed(before: HealthConfig, wanted: HealthConfig, given: impl Fn(&str) -> bool) -> HealthConfig {
    let word = |wanted: String, before: String| if wanted.is_empty() { before } else { wanted };
    HealthConfig {
        test: if wanted.test.is_empty() { before.test } else { wanted.test },
        interval_ns: wanted.interval_ns.or(before.interval_ns),
        timeout_ns: wanted.timeout_ns.or(before.timeout_ns),
        start_period_ns: wanted.start_period_ns.or(before.start_period_ns),
        retries: wanted.retries.or(before.retries),
        startup: match wanted.startup {
            Some(wanted) => Some(changed_startup(before.startup.unwrap_or_default(), wanted, given)),
            None => before.startup,
        },
        on_failure: word(wanted.on_failure, before.on_failure),
        log_destination: word(wanted.log_destination, before.log_destination),
        max_log_count: wanted.max_log_count.or(before.max_log_count),
        max_log_size: wanted.max_log_size.or(before.max_log_size),
    }
}

fn changed_startup(before: HealthStartup, wanted: HealthStartup, given: impl Fn(&str) -> bool) -> HealthStartup {
    HealthStartup {
        test: if wanted.test.is_empty() { before.test } else { wanted.test },
        interval_ns: wanted.interval_ns.or(before.interval_ns),
        timeout_ns: wanted.timeout_ns.or(before.timeout_ns),
        retries: if given("health-startup-retries") { wanted.retries } else { before.retries },
        success: if given("health-startup-success") { wanted.success } else { before.success },
    }
}

/// What was asked for and what came of it with the image's.
fn change_env(record: &mut ContainerRecord, asked: &UpdateContainer) -> Result<()> {
    text::env(&asked.env)?;
    for name in &asked.unset_env {
        text::no_controls("--unsetenv", name)?;
    }
    change_variables(&mut record.config.env, asked);
    change_variables(&mut record.env, asked);
    let unset = &mut record.config.unset_env;
    unset.retain(|name| !asked.env.iter().any(|entry| key(entry) == name));
    for name in &asked.unset_env {
        if !unset.contains(name) && !asked.env.iter().any(|entry| key(entry) == name) {
            unset.push(name.clone());
        }
    }
    Ok(())
}

fn key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

/// Takes out of `variables` (`K=V`) what is unset, and then puts in what is set.
pub fn change_variables(variables: &mut Vec<String>, asked: &UpdateContainer) {
    variables.retain(|entry| !asked.unset_env.iter().any(|name| name == key(entry)));
    for entry in &asked.env {
        match variables.iter_mut().find(|known| key(known) == key(entry)) {
            Some(known) => known.clone_from(entry),
            None => variables.push(entry.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{record::SCHEMA, wire::RestartPolicy};

    use super::*;

    fn record(config: ContainerConfig) -> ContainerRecord {
        ContainerRecord {
            schema: SCHEMA,
            id: "a".repeat(64).parse().expect("id"),
            pod: "b".repeat(64).parse().expect("id"),
            name: "c".into(),
            created: 1,
            env: config.env.clone(),
            config,
            image: None,
            mounts: vec![],
            args: vec![],
            user: String::new(),
            workdir: String::new(),
            stop_signal: String::new(),
            anonymous_volumes: vec![],
        }
    }

    fn given(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_not_named_stays() {
        let before = record(ContainerConfig {
            resources: Some(Resources { memory: 64 << 20, cpus: 1.5, pids_limit: 7, ..Default::default() }),
            restart: Some(RestartPolicy { name: "always".into(), max_retries: 0 }),
            ..Default::default()
        });
        let asked = UpdateContainer {
            given: given(&["memory-reservation", "cpu-quota"]),
            resources: Some(Resources { memory_reservation: 32 << 20, cpu_quota: 50_000, ..Default::default() }),
            ..Default::default()
        };
        let after = update(before.clone(), &asked).expect("updated").config;
        let limits = after.resources.expect("limits");
        assert_eq!((limits.memory, limits.memory_reservation, limits.pids_limit), (64 << 20, 32 << 20, 7));
        assert_eq!((limits.cpus, limits.cpu_quota), (0.0, 50_000));
        assert_eq!(after.restart, before.config.restart);
        let lifted = UpdateContainer {
            given: given(&["memory", "cpus", "pids-limit"]),
            resources: Some(Resources::default()),
            ..Default::default()
        };
        let limits = update(before, &lifted).expect("updated").config.resources.expect("limits");
        assert_eq!((limits.memory, limits.cpus, limits.cpu_quota, limits.pids_limit), (0, 0.0, 0, -1));
    }

    #[test]
    fn what_contradicts_the_rest_is_refused() {
        let before = record(ContainerConfig {
            resources: Some(Resources { memory: 64 << 20, memory_swap: 100 << 20, ..Default::default() }),
            auto_remove: true,
            ..Default::default()
        });
        let more = UpdateContainer {
            given: given(&["memory"]),
            resources: Some(Resources { memory: 128 << 20, ..Default::default() }),
            ..Default::default()
        };
        let always = UpdateContainer {
            given: given(&["restart"]),
            restart: Some(RestartPolicy { name: "always".into(), max_retries: 0 }),
            ..Default::default()
        };
        let startup = UpdateContainer {
            health: Some(HealthConfig { startup: Some(HealthStartup::default()), ..Default::default() }),
            ..Default::default()
        };
        for (asked, words) in [
            (more, "minimum memoryswap limit should be larger than memory limit, see usage"),
            (always, "the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\""),
            (startup, "cannot change a startup healthcheck that is not there: give one by --health-startup-cmd"),
        ] {
            assert_eq!(update(before.clone(), &asked).expect_err(words).message, words);
        }
    }

    #[test]
    fn a_check_keeps_what_is_not_changed() {
        let check = |test: &str| HealthConfig { test: vec!["CMD".into(), test.into()], ..Default::default() };
        let mut config = ContainerConfig {
            health: Some(HealthConfig {
                retries: Some(7),
                startup: Some(HealthStartup { test: vec!["CMD".into(), "s".into()], success: 2, ..Default::default() }),
                ..check("a")
            }),
            ..Default::default()
        };
        health::merge_health(&mut config, None).expect("merged");
        let asked = UpdateContainer {
            health: Some(HealthConfig {
                interval_ns: Some(5_000_000),
                startup: Some(HealthStartup { retries: 3, ..Default::default() }),
                ..Default::default()
            }),
            given: given(&["health-interval", "health-startup-retries"]),
            ..Default::default()
        };
        let after = update(record(config.clone()), &asked).expect("updated").config.health.expect("check");
        assert_eq!((after.interval_ns, after.retries, after.test[1].as_str()), (Some(5_000_000), Some(7), "a"));
        let startup = after.startup.expect("startup");
        assert_eq!((startup.success, startup.retries, startup.test[1].as_str()), (2, 3, "s"));

        let none = UpdateContainer { no_healthcheck: true, given: given(&["no-healthcheck"]), ..Default::default() };
        let after = update(record(config), &none).expect("updated").config;
        assert!(after.health.is_none() && after.no_healthcheck);
        let again = UpdateContainer { health: Some(check("b")), given: given(&["health-cmd"]), ..Default::default() };
        let after = update(record(after), &again).expect("updated").config;
        assert_eq!(after.health.expect("check").retries, Some(3));
        assert!(!after.no_healthcheck);
    }

    #[test]
    fn devices_and_ulimits_change_one_by_one() {
        let rate = |device: &str, value| BlockLimit { device: device.into(), value };
        let ulimit = |name: &str, soft| Ulimit { name: name.into(), soft, hard: soft };
        let before = record(ContainerConfig {
            resources: Some(Resources { read_bps: vec![rate("/dev/a", 5), rate("/dev/b", 6)], ..Default::default() }),
            ulimits: vec![ulimit("core", 1), ulimit("nofile", 2)],
            ..Default::default()
        });
        let asked = UpdateContainer {
            resources: Some(Resources {
                read_bps: vec![rate("/dev/a", 0), rate("/dev/c", 7)],
                write_iops: vec![rate("/dev/a", 8)],
                ..Default::default()
            }),
            ulimits: vec![ulimit("nofile", 3)],
            ..Default::default()
        };
        let after = update(before, &asked).expect("updated").config;
        let limits = after.resources.expect("limits");
        assert_eq!(limits.read_bps, [rate("/dev/b", 6), rate("/dev/c", 7)]);
        assert_eq!(limits.write_iops, [rate("/dev/a", 8)]);
        assert_eq!(after.ulimits, [ulimit("core", 1), ulimit("nofile", 3)]);
    }

    #[test]
    fn variables_are_set_and_unset() {
        let before = record(ContainerConfig {
            env: vec!["A=1".into(), "B=2".into()],
            unset_env: vec!["C".into()],
            ..Default::default()
        });
        let asked = UpdateContainer {
            env: vec!["C=3".into(), "A=9".into()],
            unset_env: vec!["B".into(), "PATH".into()],
            ..Default::default()
        };
        let after = update(before, &asked).expect("updated");
        assert_eq!(after.env, ["A=9", "C=3"]);
        assert_eq!((after.config.env, after.config.unset_env), (after.env, vec!["B".into(), "PATH".to_owned()]));
    }
}
