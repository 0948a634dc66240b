//! Capabilities, sysctls, devices, security options.

use std::collections::BTreeMap;

use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{Device, Security},
};

use super::{
    modes::{Place, Sharing},
    text::{no_controls, quoted, shown},
};
use crate::namespace::sysctl::{self, Scope};

/// Longest value of a sysctl.
const MAX_SYSCTL: usize = 1024;

/// `--sysctl`, given where the namespaces come from.
pub(super) fn sysctls(sysctls: &BTreeMap<String, String>, sharing: &Sharing) -> Result<()> {
    for (key, value) in sysctls {
        let Some(scope) = sysctl::scope(key) else {
            return Err(Refusal::invalid(format!("sysctl '{}' is not allowed", shown(key))));
        };
        if value.is_empty() || value.len() > MAX_SYSCTL || value.chars().any(char::is_control) {
            return Err(Refusal::invalid(format!(
                "--sysctl {}={}: the value is one line of printable characters, {MAX_SYSCTL} at most",
                shown(key),
                quoted(value).trim_matches('"')
            )));
        }
        let (place, namespace) = match scope {
            Scope::Net => (&sharing.net, "Network"),
            Scope::Ipc => (&sharing.ipc, "IPC"),
        };
        if *place == Place::Host {
            return Err(Refusal::invalid(format!(
                "sysctl {key}={} can't be set since {namespace} Namespace set to host: invalid argument",
                shown(value)
            )));
        }
    }
    Ok(())
}

/// What of proc(5) may be asked for: `hidepid=2,subset=pid`.
fn proc_options(options: &str) -> Result<()> {
    let fits = |option: &str| match option.split_once('=') {
        Some(("hidepid", value)) => ["0", "1", "2", "4", "off", "noaccess", "invisible", "ptraceable"].contains(&value),
        Some(("subset", value)) => value == "pid",
        _ => false,
    };
    if options.split(',').all(fits) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("--security-opt proc-opts={}: give hidepid=0|1|2|4 or subset=pid", shown(options))))
}

/// Security options and capabilities; the latter in their canonical form afterwards (`CAP_CHOWN`, `ALL`).
pub(super) fn security(security: Option<Security>) -> Result<Option<Security>> {
    let Some(mut security) = security else { return Ok(None) };
    security.cap_add = capabilities(&security.cap_add)?;
    security.cap_drop = capabilities(&security.cap_drop)?;
    let all = "ALL".to_owned();
    if security.cap_add.contains(&all) && security.cap_drop.contains(&all) {
        return Err(Refusal::invalid("adding all caps and removing all caps not allowed"));
    }
    if let Some(both) = security.cap_add.iter().find(|name| **name != all && security.cap_drop.contains(name)) {
        return Err(Refusal::invalid(format!("capability {both:?} cannot be dropped and added")));
    }
    for path in security.mask.iter().chain(&security.unmask) {
        no_controls("--security-opt mask", path)?;
        if !path.starts_with('/') && !path.eq_ignore_ascii_case("all") {
            return Err(Refusal::invalid(format!(
                "--security-opt mask and unmask take absolute paths, or unmask=ALL: {}",
                quoted(path)
            )));
        }
    }
    if !matches!(security.seccomp.as_str(), "" | "unconfined")
        && !serde_json::from_str::<serde_json::Value>(&security.seccomp).is_ok_and(|profile| profile.is_object())
    {
        return Err(Refusal::invalid("--security-opt seccomp: the profile is not a JSON object"));
    }
    for options in security.security_opt.iter().filter_map(|option| option.strip_prefix("proc-opts=")) {
        proc_options(options)?;
    }
    no_controls("--security-opt apparmor", &security.apparmor)?;
    Ok(Some(security))
}

/// Canonical names, each once.
fn capabilities(names: &[String]) -> Result<Vec<String>> {
    let mut canonical: Vec<String> = Vec::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = match upper.as_str() {
            "ALL" => upper,
            _ if upper.starts_with("CAP_") => upper,
            _ => format!("CAP_{upper}"),
        };
        if full != "ALL" && full.parse::<caps::Capability>().is_err() {
            return Err(Refusal::invalid(format!("{}: unknown capability", quoted(&full))));
        }
        if !canonical.contains(&full) {
            canonical.push(full);
        }
    }
    Ok(canonical)
}

/// `--device`; permissions are filled in.
pub(super) fn devices(mut devices: Vec<Device>) -> Result<Vec<Device>> {
    for device in &mut devices {
        for path in [&device.host_path, &device.container_path] {
            no_controls("--device", path)?;
            if !path.starts_with('/') && !path.is_empty() {
                // A name such as vendor.com/class=device is the container device interface's.
                return Err(Refusal::new(
                    Kind::NotSupported,
                    format!("--device {}: this version takes absolute paths of devices only", quoted(path)),
                ));
            }
        }
        if device.host_path.is_empty() {
            return Err(Refusal::invalid("--device: the path of the device is missing"));
        }
        if device.container_path.is_empty() {
            device.container_path.clone_from(&device.host_path);
        }
        device.container_path = super::text::clean(&device.container_path);
        if device.permissions.is_empty() {
            "rwm".clone_into(&mut device.permissions);
        }
        let mut letters: Vec<char> = device.permissions.chars().collect();
        letters.sort_unstable();
        let unique = letters.windows(2).all(|pair| pair[0] != pair[1]);
        if !unique || !letters.iter().all(|letter| matches!(letter, 'r' | 'w' | 'm')) {
            return Err(Refusal::invalid(format!("invalid device mode: {}", shown(&device.permissions))));
        }
    }
    Ok(devices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_canonical() {
        let names = ["net_admin", "CAP_NET_ADMIN", "all"].map(str::to_owned);
        assert_eq!(capabilities(&names).expect("known"), ["CAP_NET_ADMIN", "ALL"]);
    }
}
