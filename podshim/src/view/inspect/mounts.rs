//! Mounts as documents show them.

use proto::wire::{Mount, mount};
use serde_json::{Map, Value};

use crate::view::{
    View,
    json::{object, strings},
};

const PROPAGATIONS: [&str; 8] =
    ["shared", "slave", "private", "rshared", "rslave", "rprivate", "unbindable", "runbindable"];

/// A mount's options, taken apart and with the defaults podman adds.
struct Options {
    writable: bool,
    propagation: String,
    /// `z` or `Z`
    relabel: String,
    others: Vec<String>,
}

impl Options {
    fn of(mount: &Mount) -> Options {
        let mut options =
            Options { writable: true, propagation: String::new(), relabel: String::new(), others: Vec::new() };
        for option in &mount.options {
            match option.as_str() {
                "ro" => options.writable = false,
                "rw" => options.writable = true,
                "z" | "Z" => options.relabel.clone_from(option),
                // How the source is made is no property of the mount.
                "copy" | "nocopy" => {}
                word if word.starts_with("subpath=") => {}
                word if PROPAGATIONS.contains(&word) => options.propagation = word.to_owned(),
                _ => options.others.push(option.clone()),
            }
        }
        if options.propagation.is_empty() {
            options.propagation = "rprivate".to_owned();
        }
        let mut default = |word: &str, unless: &[&str]| {
            if !options.others.iter().any(|other| other == word || unless.contains(&other.as_str())) {
                options.others.push(word.to_owned());
            }
        };
        if mount.kind() != mount::Kind::Bind {
            default("nosuid", &["suid"]);
            default("nodev", &["dev"]);
        }
        if mount.kind() != mount::Kind::Tmpfs {
            default("rbind", &["bind"]);
        }
        options
    }

    /// As one word, the way `HostConfig.Binds` has them.
    fn joined(&self) -> String {
        let access = if self.writable { "rw" } else { "ro" };
        let relabel = Some(self.relabel.as_str()).filter(|relabel| !relabel.is_empty());
        let words = [access, &self.propagation].into_iter().chain(relabel);
        words.chain(self.others.iter().map(String::as_str)).collect::<Vec<_>>().join(",")
    }
}

/// `Mounts`: binds, volumes and images; what is only memory is in `HostConfig.Tmpfs`.
pub(super) fn list(view: &View<'_>, mounts: &[Mount]) -> Value {
    let shown = |mount: &&Mount| !matches!(mount.kind(), mount::Kind::Tmpfs | mount::Kind::Devpts);
    mounts.iter().filter(shown).map(|mount| document(view, mount)).collect()
}

/// The order of the keys is part of what users rely on (`{{json .Mounts}}`).
fn document(view: &View<'_>, mount: &Mount) -> Value {
    let options = Options::of(mount);
    let mut document = object([]);
    let Some(map) = document.as_object_mut() else { return document };
    let mut set = |key: &str, value: Value| map.insert(key.to_owned(), value);
    match mount.kind() {
        mount::Kind::Volume => {
            set("Type", "volume".into());
            set("Name", mount.source.as_str().into());
            let data = view.roots().volumes().join(&mount.source).join("_data");
            set("Source", data.to_string_lossy().into());
        }
        mount::Kind::Image => {
            set("Type", "image".into());
            set("Source", mount.source.as_str().into());
        }
        _ => {
            set("Type", "bind".into());
            set("Source", mount.source.as_str().into());
        }
    }
    set("Destination", mount.destination.as_str().into());
    set("Driver", if mount.kind() == mount::Kind::Volume { "local" } else { "" }.into());
    set("Mode", options.relabel.as_str().into());
    set("Options", strings(&options.others));
    set("RW", options.writable.into());
    set("Propagation", options.propagation.as_str().into());
    if let Some(part) = mount.options.iter().find_map(|option| option.strip_prefix("subpath=")) {
        set("SubPath", part.into());
    }
    document
}

/// `HostConfig.Binds`: `SOURCE:DESTINATION:OPTIONS`.
pub(super) fn binds(mounts: &[Mount]) -> Value {
    mounts
        .iter()
        .filter(|mount| matches!(mount.kind(), mount::Kind::Bind | mount::Kind::Volume))
        .map(|mount| Value::from(format!("{}:{}:{}", mount.source, mount.destination, Options::of(mount).joined())))
        .collect()
}

/// `HostConfig.Tmpfs`: options by destination.
pub(super) fn tmpfs(mounts: &[Mount]) -> Value {
    let tmpfs = mounts.iter().filter(|mount| mount.kind() == mount::Kind::Tmpfs);
    Value::Object(
        tmpfs
            .map(|mount| (mount.destination.clone(), Options::of(mount).joined().into()))
            .collect::<Map<String, Value>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Fixture;
    use super::*;

    fn mount(kind: mount::Kind, source: &str, destination: &str, options: &[&str]) -> Mount {
        Mount {
            kind: kind.into(),
            source: source.into(),
            destination: destination.into(),
            options: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Default::default()
        }
    }

    #[test]
    fn a_volume_is_shown_as_the_tutorial_has_it() {
        let fixture = Fixture::new();
        let volume = mount(mount::Kind::Volume, "vol1", "/usr/share/nginx/html", &[]);
        let volumes = fixture.engine.roots.volumes();
        assert_eq!(
            list(&fixture.view(), &[volume]).to_string(),
            format!(
                r#"[{{"Type":"volume","Name":"vol1","Source":"{}/vol1/_data","Destination":"/usr/share/nginx/html","Driver":"local","Mode":"","Options":["nosuid","nodev","rbind"],"RW":true,"Propagation":"rprivate"}}]"#,
                volumes.display()
            )
        );
    }

    #[test]
    fn a_bind_is_shown_as_podman_does() {
        let fixture = Fixture::new();
        let bind = mount(mount::Kind::Bind, "/tmp", "/mnt", &["ro", "Z", "rslave", "noexec"]);
        assert_eq!(
            list(&fixture.view(), &[bind]).to_string(),
            r#"[{"Type":"bind","Source":"/tmp","Destination":"/mnt","Driver":"","Mode":"Z","Options":["noexec","rbind"],"RW":false,"Propagation":"rslave"}]"#
        );
    }

    #[test]
    fn binds_and_tmpfs_are_words() {
        let mounts = [
            mount(mount::Kind::Bind, "/tmp", "/mnt", &["ro"]),
            mount(mount::Kind::Volume, "vol1", "/data", &[]),
            mount(mount::Kind::Tmpfs, "", "/t", &["size=1m"]),
        ];
        assert_eq!(
            binds(&mounts).to_string(),
            r#"["/tmp:/mnt:ro,rprivate,rbind","vol1:/data:rw,rprivate,nosuid,nodev,rbind"]"#
        );
        assert_eq!(tmpfs(&mounts).to_string(), r#"{"/t":"rw,rprivate,size=1m,nosuid,nodev"}"#);
    }
}
