//! `--secret NAME[,type=mount|env,target=,uid=,gid=,mode=]`.

use proto::{Refusal, refusal::Result};

use super::text::{clean, no_controls, quoted, shown};

/// Where secrets are in a container unless their target is a path.
const DIR: &str = "/run/secrets";

/// A secret that a container has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name or id.
    pub name: String,
    /// How the container sees it.
    pub place: SecretPlace,
}

/// See [`Secret::place`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretPlace {
    /// A file.
    File {
        /// Its absolute path.
        path: String,
        /// Its owner.
        uid: u32,
        /// Its group.
        gid: u32,
        /// Its permissions.
        mode: u32,
    },
    /// A variable of the environment, of that name.
    Variable(String),
}

/// Reads one option.
///
/// # Errors
/// Naming what of it cannot be.
pub fn secret(text: &str) -> Result<Secret> {
    let refuse = |what: &str| Err(Refusal::invalid(format!("--secret {}: {what}", shown(text))));
    no_controls("--secret", text)?;
    let (mut name, mut target, mut is_variable) = (String::new(), String::new(), false);
    let (mut uid, mut gid, mut mode) = (None, None, None);
    for (number, option) in text.split(',').enumerate() {
        match option.split_once('=') {
            None if number == 0 => option.clone_into(&mut name),
            Some(("source", value)) => value.clone_into(&mut name),
            Some(("type", "mount")) => is_variable = false,
            Some(("type", "env")) => is_variable = true,
            Some(("type", other)) => return refuse(&format!("type {other} is invalid, it is mount or env")),
            Some(("target", value)) if !value.is_empty() => value.clone_into(&mut target),
            Some(("uid", value)) if value.parse::<u32>().is_ok() => uid = value.parse().ok(),
            Some(("gid", value)) if value.parse::<u32>().is_ok() => gid = value.parse().ok(),
            Some(("mode", value)) => match u32::from_str_radix(value, 8) {
                Ok(bits) if bits <= 0o7777 => mode = Some(bits),
                _ => return refuse(&format!("mode {} is not octal", quoted(value))),
            },
            _ => return refuse(&format!("option {} is invalid: give type, target, uid, gid or mode", quoted(option))),
        }
    }
    if name.is_empty() {
        return refuse("no secret is named");
    }
    if is_variable {
        if uid.is_some() || gid.is_some() || mode.is_some() {
            return refuse("uid, gid and mode cannot be set for type=env");
        }
        let variable = if target.is_empty() { name.clone() } else { target };
        if variable.contains('=') {
            return refuse("the name of a variable has no =");
        }
        return Ok(Secret { name, place: SecretPlace::Variable(variable) });
    }
    let target = if target.is_empty() { name.clone() } else { target };
    let path = if target.starts_with('/') { target } else { format!("{DIR}/{target}") };
    if path.split('/').any(|part| part == "..") || clean(&path) == "/" || path.ends_with('/') {
        return refuse("the target must be the path of a file without ..");
    }
    let place = SecretPlace::File {
        path: clean(&path),
        uid: uid.unwrap_or(0),
        gid: gid.unwrap_or(0),
        mode: mode.unwrap_or(0o444),
    };
    Ok(Secret { name, place })
}

/// Refuses secrets that cannot be, or are in each other's way.
pub(super) fn check(secrets: &[String]) -> Result<()> {
    let mut places: Vec<String> = Vec::new();
    for text in secrets {
        let place = match secret(text)?.place {
            SecretPlace::File { path, .. } => path,
            SecretPlace::Variable(name) => name,
        };
        if places.contains(&place) {
            return Err(Refusal::invalid(format!("--secret {}: another one has the target {place}", shown(text))));
        }
        places.push(place);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_variables() {
        let file = |path: &str, uid, gid, mode| SecretPlace::File { path: path.into(), uid, gid, mode };
        for (text, name, place) in [
            ("db", "db", file("/run/secrets/db", 0, 0, 0o444)),
            ("source=db,target=x,uid=1,gid=2,mode=0400", "db", file("/run/secrets/x", 1, 2, 0o400)),
            ("db,type=mount,target=/etc//key", "db", file("/etc/key", 0, 0, 0o444)),
            ("db,type=env", "db", SecretPlace::Variable("db".into())),
            ("db,type=env,target=DB", "db", SecretPlace::Variable("DB".into())),
        ] {
            assert_eq!(secret(text).expect(text), Secret { name: name.into(), place });
        }
    }
}
