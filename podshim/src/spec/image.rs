//! What an image's config may say. All of it is hostile: whoever made the image does not speak for whoever runs it.

use std::collections::BTreeMap;

use oci_spec::image::ImageConfiguration;
use proto::{
    Refusal,
    refusal::Result,
    wire::{PodConfig, PortMapping},
};

use super::{ports, signal, text, user};

/// Most volumes and ports an image may declare: more is an attempt at something else.
const MAX: usize = 256;

/// What a container takes from its image, checked.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Defaults {
    pub(super) entrypoint: Vec<String>,
    pub(super) cmd: Vec<String>,
    pub(super) env: Vec<String>,
    pub(super) user: String,
    /// Absolute and clean, or empty.
    pub(super) workdir: String,
    /// Canonical, or empty.
    pub(super) stop_signal: String,
    pub(super) labels: BTreeMap<String, String>,
    /// Absolute and clean destinations, sorted.
    pub(super) volumes: Vec<String>,
}

impl Defaults {
    /// Of `image`, which refusals call `name`; its volumes only where they are wanted.
    pub(super) fn of(image: &ImageConfiguration, name: &str, with_volumes: bool) -> Result<Defaults> {
        let Some(config) = image.config() else { return Ok(Defaults::default()) };
        Defaults::read(config, with_volumes).map_err(|refusal| Refusal {
            message: format!("image {}: {}", text::shown(name), refusal.message),
            ..refusal
        })
    }

    fn read(config: &oci_spec::image::Config, with_volumes: bool) -> Result<Defaults> {
        let arguments = |argv: &Option<Vec<String>>, what: &str| -> Result<Vec<String>> {
            let argv = argv.clone().unwrap_or_default();
            argv.iter().try_for_each(|argument| text::no_nul(what, argument))?;
            Ok(argv)
        };
        let user = config.user().clone().unwrap_or_default();
        user::check("USER", &user)?;
        let workdir = match config.working_dir().as_deref() {
            None | Some("") => String::new(),
            Some(path) => text::workdir("WORKDIR", path)?,
        };
        let stop_signal = match config.stop_signal().as_deref() {
            None | Some("") => String::new(),
            Some(name) => signal::canonical(name)?,
        };
        let labels = config.labels().iter().flatten().filter(|(key, value)| {
            // Stripped, not refused: a label is only a remark. NUL would cut it short for whoever prints it.
            !text::is_reserved_label(key) && !value.contains('\0')
        });
        Ok(Defaults {
            entrypoint: arguments(config.entrypoint(), "ENTRYPOINT")?,
            cmd: arguments(config.cmd(), "CMD")?,
            env: env(config.env().as_deref().unwrap_or_default())?,
            user,
            workdir,
            stop_signal,
            labels: labels.map(|(key, value)| (key.clone(), value.clone())).collect(),
            volumes: volumes(config.volumes().as_deref().filter(|_| with_volumes).unwrap_or_default())?,
        })
    }
}

fn env(entries: &[String]) -> Result<Vec<String>> {
    for entry in entries {
        if let Some(why) = text::wrong_with_env(entry) {
            return Err(Refusal::invalid(format!("ENV {}: {why}", text::quoted(entry))));
        }
    }
    Ok(entries.to_vec())
}

/// Destinations of the image's volumes: a path that climbs is refused, not cleaned, since only a hostile image has one
/// (CVE-2022-23648).
fn volumes(paths: &[String]) -> Result<Vec<String>> {
    if paths.len() > MAX {
        return Err(Refusal::invalid(format!("VOLUME: more than {MAX} of them")));
    }
    let mut clean: Vec<String> = Vec::with_capacity(paths.len());
    for path in paths {
        text::no_controls("VOLUME", path)?;
        let cleaned = text::clean(path);
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") || cleaned == "/" {
            return Err(Refusal::invalid(format!(
                "VOLUME {}: must be an absolute path below / without ..: run it with --image-volume=ignore",
                text::quoted(path)
            )));
        }
        // Labels of security modules are written below /proc: one could be made to go nowhere (CVE-2019-16884).
        if ["/proc", "/sys"]
            .iter()
            .any(|dir| cleaned.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        {
            return Err(Refusal::invalid(format!(
                "VOLUME {}: an image cannot cover /proc or /sys: run it with --image-volume=ignore",
                text::shown(&cleaned)
            )));
        }
        clean.push(cleaned);
    }
    clean.sort_unstable();
    clean.dedup();
    Ok(clean)
}

/// Publishes what the image exposes, and what `--expose` adds, on random host ports: `--publish-all` of a container of its
/// own, whose hidden pod is `pod`. Does nothing where `publish_all` is not set.
///
/// # Errors
/// When the image exposes what is no port.
pub fn publish_all(pod: &mut PodConfig, image: Option<&ImageConfiguration>) -> Result<()> {
    let Some(network) = pod.network.as_mut().filter(|network| network.publish_all && network.mode == "bridge") else {
        return Ok(());
    };
    let config = image.and_then(|image| image.config().as_ref());
    let mut exposed = network.exposed.clone();
    exposed.extend(exposed_ports(config.and_then(|config| config.exposed_ports().as_deref()).unwrap_or_default())?);
    for port in exposed {
        let published = network.ports.iter().any(|known| {
            known.protocol == port.protocol
                && known.container_port <= port.container_port
                && port.container_port + port.range <= known.container_port + known.range
        });
        if !published {
            network.ports.push(PortMapping { host_port: 0, ..port });
        }
    }
    Ok(())
}

/// `80/tcp`, `8000-8010/udp`, `53`.
fn exposed_ports(entries: &[String]) -> Result<Vec<PortMapping>> {
    if entries.len() > MAX {
        return Err(Refusal::invalid(format!("image: EXPOSE: more than {MAX} ports")));
    }
    let mut ports = Vec::with_capacity(entries.len());
    for entry in entries {
        let refuse = || Refusal::invalid(format!("image: EXPOSE {}: not a port", text::quoted(entry)));
        let (range, protocol) = entry.split_once('/').unwrap_or((entry, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.parse::<u16>().map(u32::from).map_err(|_| refuse());
        let (first, last) = (number(first)?, number(last)?);
        let range = last.checked_sub(first).ok_or_else(refuse)? + 1;
        let protocol = protocol.to_owned();
        ports.push(ports::one(PortMapping { container_port: first, range, protocol, ..Default::default() })?);
    }
    ports.sort_by(|a, b| (a.container_port, &a.protocol).cmp(&(b.container_port, &b.protocol)));
    Ok(ports)
}
