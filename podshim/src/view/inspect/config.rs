//! `Config` of a container's document: what runs in it (InspectContainerConfig).

use std::collections::BTreeSet;

use proto::wire::{Argv, ContainerConfig, PortMapping};
use serde_json::Value;

use super::container::{Subject, extend};
use crate::{
    secret::Secrets,
    spec::{self, Secret, SecretPlace},
    view::{
        Shown,
        json::{add, map_or_null, object, strings, strings_or_null},
    },
};

/// Stop timeout where none is given (containers.conf(5), stop_timeout).
const STOP_TIMEOUT_SECONDS: u32 = 10;

/// The part `Config`.
pub(super) fn document(subject: &Subject<'_>) -> Value {
    let record = subject.record;
    let config = record.map(|record| &record.config);
    let env: Vec<String> = match subject.spec.as_ref().and_then(|spec| spec.process().as_ref()?.env().clone()) {
        Some(told) => without_secrets(told, config),
        None => record.map_or_else(Vec::new, |record| record.env.clone()),
    };
    let image_name = record.and_then(|record| record.image.as_ref()).map_or("", |image| &image.name);
    let (entrypoint, command) = command(subject);
    let mut document = object([
        ("Hostname", hostname(subject).into()),
        ("Domainname", "".into()),
        ("User", record.map_or("", |record| &record.user).into()),
        ("AttachStdin", false.into()),
        ("AttachStdout", false.into()),
        ("AttachStderr", false.into()),
        ("Tty", config.is_some_and(|config| config.tty).into()),
        ("OpenStdin", config.is_some_and(|config| config.interactive).into()),
        ("StdinOnce", false.into()),
        ("Env", strings(env)),
        ("Cmd", strings_or_null(command)),
        ("Image", image_name.into()),
        ("Volumes", Value::Null),
        ("WorkingDir", record.map_or("/", |record| &record.workdir).into()),
        ("Entrypoint", strings_or_null(entrypoint)),
        ("OnBuild", Value::Null),
        ("Labels", map_or_null(subject.shown.labels())),
        ("Annotations", config.map_or(Value::Null, |config| map_or_null(&config.annotations))),
        ("StopSignal", record.map_or("SIGTERM", |record| &record.stop_signal).into()),
    ]);
    run_options(subject, &mut document);
    document
}

fn run_options(subject: &Subject<'_>, document: &mut Value) {
    let config = subject.record.map(|record| &record.config);
    health(config, document);
    let create_command = match subject.shown {
        Shown::Member(..) => config.map(|config| &config.create_command),
        Shown::Infra(_, record, _) => Some(&record.config.create_command),
    };
    add(document, "CreateCommand", strings(create_command.into_iter().flatten()));
    add(document, "Timezone", config.map_or("", |config| &config.timezone));
    add(document, "SystemdMode", config.is_some_and(|config| config.systemd == "always"));
    let umask = config.map_or("", |config| &config.umask);
    let umask = if umask.is_empty() { "0022".to_owned() } else { format!("{umask:0>4}") };
    let stop_timeout = config.and_then(|config| config.stop_timeout_seconds).unwrap_or(STOP_TIMEOUT_SECONDS);
    extend(document, [("Umask", umask.into())]);
    if subject.record.is_some_and(|record| !record.config.secrets.is_empty()) {
        extend(document, [("Secrets", secrets(subject))]);
    }
    extend(
        document,
        [
            ("Timeout", config.map_or(0, |config| config.timeout_seconds).into()),
            ("StopTimeout", stop_timeout.into()),
            ("Passwd", config.and_then(|config| config.passwd).unwrap_or(true).into()),
        ],
    );
    let sdnotify = config.map_or("", |config| &config.sdnotify);
    add(document, "sdNotifyMode", if sdnotify.is_empty() { "container" } else { sdnotify });
    add(document, "ExposedPorts", exposed(subject));
}

/// How its health is checked (manifest.Schema2HealthConfig: what is zero is left out).
fn health(config: Option<&ContainerConfig>, document: &mut Value) {
    let health = config.and_then(|config| config.health.as_ref());
    match health {
        Some(health) => {
            let span = |key, span: Option<i64>| (key, span.unwrap_or(0).into());
            let times = [span("StartPeriod", health.start_period_ns), span("Interval", health.interval_ns)];
            let mut check = check(&health.test, times);
            add_given(&mut check, span("Timeout", health.timeout_ns));
            add_given(&mut check, ("Retries", health.retries.unwrap_or(0).into()));
            add(document, "Healthcheck", check);
        }
        // It was asked that the image's is not run.
        None if config.is_some_and(|config| config.no_healthcheck) => {
            add(document, "Healthcheck", object([("Test", strings(["NONE"]))]));
        }
        None => {}
    }
    let action = health.map_or("none", |health| health.on_failure.as_str());
    extend(document, [("HealthcheckOnFailureAction", action.into())]);
    let Some(health) = health else { return };
    add(document, "HealthLogDestination", health.log_destination.as_str());
    add_given(document, ("HealthcheckMaxLogCount", health.max_log_count.unwrap_or(0).into()));
    add_given(document, ("HealthcheckMaxLogSize", health.max_log_size.unwrap_or(0).into()));
    if let Some(startup) = &health.startup {
        let mut check = check(&startup.test, [("Interval", startup.interval_ns.unwrap_or(0).into())]);
        add_given(&mut check, ("Timeout", startup.timeout_ns.unwrap_or(0).into()));
        add_given(&mut check, ("Retries", startup.retries.into()));
        add_given(&mut check, ("Successes", startup.success.into()));
        add(document, "StartupHealthCheck", check);
    }
}

fn check<const N: usize>(test: &[String], times: [(&'static str, Value); N]) -> Value {
    let mut check = object([("Test", strings(test))]);
    for pair in times {
        add_given(&mut check, pair);
    }
    check
}

/// Adds a number that is not zero.
fn add_given(document: &mut Value, (key, value): (&'static str, Value)) {
    if value.as_i64() != Some(0) {
        extend(document, [(key, value)]);
    }
}

/// The environment as the runtime was told, but for what is secret.
fn without_secrets(mut told: Vec<String>, config: Option<&ContainerConfig>) -> Vec<String> {
    let secrets: Vec<String> = config
        .into_iter()
        .flat_map(|config| &config.secrets)
        .filter_map(|text| match spec::secret(text).ok()?.place {
            SecretPlace::Variable(name) => Some(name),
            SecretPlace::File { .. } => None,
        })
        .collect();
    told.retain(|entry| entry.split_once('=').is_none_or(|(name, _)| secrets.iter().all(|secret| secret != name)));
    told
}

/// `Secrets`: which, and whose; what is in the environment has no owner.
fn secrets(subject: &Subject<'_>) -> Value {
    let store = Secrets::open(subject.view.roots());
    let texts = subject.record.into_iter().flat_map(|record| &record.config.secrets);
    texts
        .filter_map(|text| {
            let Secret { name, place } = spec::secret(text).ok()?;
            let id = store.get(&name).map(|secret| secret.id).unwrap_or_default();
            let (uid, gid, mode) = match place {
                SecretPlace::File { uid, gid, mode, .. } => (uid, gid, mode),
                SecretPlace::Variable(_) => (0, 0, 0),
            };
            let keys = [("Name", name.into()), ("ID", id.into()), ("UID", uid.into())];
            let mut document = object(keys);
            extend(&mut document, [("GID", gid.into()), ("Mode", mode.into())]);
            Some(document)
        })
        .collect()
}

/// Entrypoint and command: those given, else those of the image; a given entrypoint leaves the image's command out.
fn command(subject: &Subject<'_>) -> (Vec<String>, Vec<String>) {
    let given = |argv: Option<&Argv>| argv.map(|argv| argv.args.clone());
    let config = subject.record.map(|record| &record.config);
    let image = subject.image.as_ref().and_then(|image| image.config.config().as_ref());
    let entrypoint = given(config.and_then(|config| config.entrypoint.as_ref()));
    let command = given(config.and_then(|config| config.command.as_ref()));
    let command = command.or_else(|| match entrypoint {
        Some(_) => None,
        None => image.and_then(|image| image.cmd().clone()),
    });
    let entrypoint = entrypoint.or_else(|| image.and_then(|image| image.entrypoint().clone()));
    (entrypoint.unwrap_or_default(), command.unwrap_or_default())
}

/// The name the container sees: its own, or the pod's where the UTS namespace is shared.
fn hostname(subject: &Subject<'_>) -> String {
    let pod = subject.shown.pod().record.as_ref().ok();
    let of_pod = || {
        pod.map_or_else(String::new, |pod| {
            if pod.config.hostname.is_empty() { pod.name.clone() } else { pod.config.hostname.clone() }
        })
    };
    match subject.record {
        None if subject.shown.is_infra() => of_pod(),
        Some(record) if subject.shown.joins("uts", &record.config.uts_mode) => of_pod(),
        Some(record) if !record.config.hostname.is_empty() => record.config.hostname.clone(),
        _ => subject.shown.id().short().to_owned(),
    }
}

/// Exposed ports, and the published ones of whoever publishes.
fn exposed(subject: &Subject<'_>) -> Value {
    let of_pod = subject.shown.pod().record.as_ref().ok().and_then(|pod| pod.config.network.as_ref());
    let own = subject.record.and_then(|record| record.config.network.as_ref());
    let publishes = subject.shown.is_infra() || subject.shown.pod().hidden();
    let configs = own.into_iter().chain(of_pod.filter(|_| publishes));
    let ports: BTreeSet<String> = configs
        .flat_map(|config| config.exposed.iter().chain(&config.ports))
        .flat_map(|PortMapping { container_port, protocol, range, .. }| {
            (0..(*range).max(1)).map(move |step| format!("{}/{protocol}", container_port.saturating_add(step)))
        })
        .collect();
    Value::Object(ports.into_iter().map(|port| (port, object([]))).collect())
}
