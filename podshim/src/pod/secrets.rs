//! The secrets of a member: files in memory, and variables that are told to the runtime and to nobody else.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt, chown},
    path::Path,
};

use nix::mount::{MsFlags, mount};
use proto::{
    Refusal,
    failpoint::{self, Point},
    record::ContainerRecord,
    refusal::Result,
    wire::{Mount, mount::Kind},
};

use super::{Pod, record::make_dir, sources::BINDS};
use crate::{
    bundle::BoundMount,
    spec::{self, SecretPlace},
};

/// What a member is given beside its record.
#[derive(Debug, Default)]
pub(super) struct Given {
    /// Files.
    pub(super) mounts: Vec<BoundMount>,
    /// `NAME=VALUE`
    pub(super) env: Vec<String>,
}

impl Pod {
    /// Refuses a container that asks for secrets that are not there.
    pub(super) fn check_secrets(&self, secrets: &[String]) -> Result<()> {
        secrets.iter().try_for_each(|text| self.secrets.get(&spec::secret(text)?.name).map(drop))
    }

    /// Puts the secrets of `record` where it will see them.
    ///
    /// # Errors
    /// When one has been removed, or is no text and to be a variable.
    pub(super) fn give_secrets(&self, record: &ContainerRecord, run: &Path) -> Result<Given> {
        let mut given = Given::default();
        if record.config.secrets.is_empty() {
            return Ok(given);
        }
        let dir = run.join(BINDS).join("secrets");
        memory(&dir).map_err(|error| Refusal::internal(format!("container {}: secrets", record.name), error))?;
        failpoint::refuse(Point::StartSecrets)?;
        for text in &record.config.secrets {
            let wanted = spec::secret(text)?;
            let secret = self.secrets.get(&wanted.name)?;
            let data = self.secrets.data(&secret)?;
            let failed = |error: io::Error| Refusal::internal(format!("--secret {}", wanted.name), error);
            match wanted.place {
                SecretPlace::Variable(name) => {
                    let value = String::from_utf8(data).ok().filter(|value| !value.contains('\0'));
                    let value = value.ok_or_else(|| {
                        Refusal::invalid(format!("--secret {}: it is no text: only as a file", wanted.name))
                    })?;
                    given.env.push(format!("{name}={value}"));
                }
                SecretPlace::File { path, uid, gid, mode } => {
                    let source = dir.join(given.mounts.len().to_string());
                    write(&source, &data, uid, gid, mode).map_err(failed)?;
                    let options = ["ro", "nosuid", "nodev", "noexec"].map(str::to_owned).into();
                    let mount = Mount { kind: Kind::Bind.into(), destination: path, options, ..Default::default() };
                    given.mounts.push(BoundMount { mount, source });
                }
            }
        }
        Ok(given)
    }
}

/// A directory that is in memory alone.
fn memory(dir: &Path) -> io::Result<()> {
    make_dir(dir)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("secrets"), dir, Some("tmpfs"), flags, Some("mode=0700"))?;
    Ok(())
}

fn write(path: &Path, data: &[u8], uid: u32, gid: u32, mode: u32) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(data)?;
    chown(path, Some(uid), Some(gid))?;
    // After the owner: a change of it takes bits away.
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}
