//! Small files in the bundle that are mounted into the container.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use proto::{
    Refusal,
    record::{self, Durability},
    refusal::Result,
};

use super::{Input, accounts::Completed};

const ZONES: &str = "/usr/share/zoneinfo";
/// Largest zone file that is taken for one.
const LARGEST_ZONE: u64 = 1 << 20;

/// `/run/.containerenv`: empty, but for a privileged container, which may know what it is in (podman's format).
pub(super) fn containerenv(input: &Input<'_>, privileged: bool) -> Result<PathBuf> {
    let mut text = String::new();
    if privileged {
        let image = input.record.image.as_ref();
        for (key, value) in [
            ("engine", format!("podctl-{}", proto::VERSION).as_str()),
            ("name", &input.record.name),
            ("id", input.record.id.as_str()),
            ("image", image.map_or("", |image| &image.name)),
            ("imageid", image.map_or("", |image| &image.id)),
        ] {
            write_line(&mut text, key, value)?;
        }
        text.push_str("rootless=0\n");
    }
    write_file(input.bundle, "containerenv", text.as_bytes(), 0o644)
}

/// A line of its own for one value: what could make it two is refused.
fn write_line(text: &mut String, key: &str, value: &str) -> Result<()> {
    if value.chars().any(|c| c.is_control() || c == '"') {
        return Err(Refusal::invalid(format!("{key} \"{}\": it has control characters", value.escape_debug())));
    }
    text.push_str(&format!("{key}=\"{value}\"\n"));
    Ok(())
}

/// A copy of the host's zone `--tz`, for /etc/localtime; `local` = the host's own.
///
/// # Errors
/// podman's words when there is no such zone.
pub(super) fn localtime(input: &Input<'_>) -> Result<Option<PathBuf>> {
    let zone = input.record.config.timezone.as_str();
    let source = match zone {
        "" => return Ok(None),
        "local" => PathBuf::from("/etc/localtime"),
        zone => zone_file(zone)?,
    };
    let refuse = |error: io::Error| Refusal::invalid(format!("--tz {zone}: stat {}: {error}", source.display()));
    let meta = fs::metadata(&source).map_err(refuse)?;
    if !meta.is_file() || meta.len() > LARGEST_ZONE {
        return Err(Refusal::invalid(format!("--tz {zone}: {} is no time zone", source.display())));
    }
    let bytes = fs::read(&source).map_err(refuse)?;
    write_file(input.bundle, "localtime", &bytes, 0o644).map(Some)
}

fn zone_file(zone: &str) -> Result<PathBuf> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    if zone.len() > 128 || zone.split('/').any(|part| part.is_empty() || !part.chars().all(plain)) {
        return Err(Refusal::invalid(format!(
            "--tz {}: want a name like Europe/Berlin, or local",
            zone.escape_debug()
        )));
    }
    Ok(Path::new(ZONES).join(zone))
}

/// `/etc/passwd` and `/etc/group`, where the container gets others than its image has.
pub(super) fn accounts(
    input: &Input<'_>,
    Completed { passwd, group }: Completed,
) -> Result<(Option<PathBuf>, Option<PathBuf>)> {
    let write = |name: &str, text: Option<String>| {
        text.map(|text| write_file(input.bundle, name, text.as_bytes(), 0o644)).transpose()
    };
    Ok((write("passwd", passwd)?, write("group", group)?))
}

/// Written whole with the mode that people in the container need; the bundle's directory is for us alone.
fn write_file(bundle: &Path, name: &str, bytes: &[u8], mode: u32) -> Result<PathBuf> {
    let path = bundle.join(name);
    let written = record::write_bytes(&path, bytes, Durability::Volatile)
        .and_then(|()| fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)));
    written.map_err(|error| Refusal::internal(path.display(), error))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_a_name_below_the_hosts_zones() {
        assert_eq!(zone_file("Etc/GMT+1").expect("zone"), Path::new("/usr/share/zoneinfo/Etc/GMT+1"));
        for bad in ["../../etc/shadow", "/etc/passwd", "a//b", "a\nb", "."] {
            assert!(zone_file(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_value_cannot_become_a_line() {
        let mut text = String::new();
        write_line(&mut text, "name", "web").expect("plain");
        assert_eq!(text, "name=\"web\"\n");
        for bad in ["a\nb", "a\"b", "a\u{7f}"] {
            assert!(write_line(&mut text, "name", bad).is_err());
        }
    }
}
