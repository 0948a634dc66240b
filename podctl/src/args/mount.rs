//! Mounts: `-v SOURCE:DESTINATION[:OPTIONS]`, `--mount type=…,…`, `--tmpfs DESTINATION[:OPTIONS]`.

use std::{collections::BTreeSet, fs, path::Path};

use proto::{
    name, patience,
    wire::{Mount, mount::Kind},
};

use super::value;
use crate::error::{Failure, plain};

/// All mounts, in the order of the flags: `-v`, `--mount`, `--tmpfs`.
///
/// # Errors
/// podman's words; also where two mounts have one destination.
pub fn all(volumes: &[String], mounts: &[String], tmpfs: &[String]) -> Result<Vec<Mount>, Failure> {
    let volumes = volumes.iter().map(|text| volume(text));
    let mounts = mounts.iter().map(|text| mount(text));
    let tmpfs = tmpfs.iter().map(|text| self::tmpfs(text));
    let mut all = Vec::new();
    let mut destinations = BTreeSet::new();
    for mount in volumes.chain(mounts).chain(tmpfs) {
        let mount = mount?;
        if !destinations.insert(mount.destination.clone()) {
            return Err(Failure::invalid(format!("{}: duplicate mount destination", mount.destination)));
        }
        all.push(mount);
    }
    Ok(all)
}

/// `--volumes-from`: `CONTAINER[:ro,rw,z]`, checked.
///
/// # Errors
/// podman's words for another option.
pub fn volumes_from(given: &[String]) -> Result<Vec<String>, Failure> {
    for text in given {
        let options = text.split_once(':').map_or("", |(_, options)| options);
        if options.split(',').any(|option| !matches!(option, "" | "z" | "Z" | "ro" | "rw")) {
            return Err(Failure::invalid(format!(
                "invalid option \"{options}\" specified - volumes from another container can only use z,ro,rw options"
            )));
        }
    }
    Ok(given.to_vec())
}

/// A path of the container, without `.`, `..` and doubled slashes.
fn destination(text: &str) -> Result<String, Failure> {
    if text.is_empty() {
        return Err(Failure::invalid("container directory cannot be empty"));
    }
    if !text.starts_with('/') {
        return Err(Failure::invalid(format!("invalid container path \"{text}\", must be an absolute path")));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// The source of a bind mount, which must be there.
///
/// # Errors
/// `statfs /x: no such file or directory`
pub fn bind_source(text: &str) -> Result<String, Failure> {
    let path = value::absolute(text)?;
    if let Some(why) = patience::hangs(Path::new(&path)) {
        return Err(Failure::invalid(format!("statfs {path}: {why}")));
    }
    fs::metadata(&path).map_err(|error| Failure::invalid(format!("statfs {path}: {}", plain(&error))))?;
    Ok(path)
}

fn volume_name(text: &str) -> Result<String, Failure> {
    if name::is_valid(text) {
        Ok(text.to_owned())
    } else {
        Err(Failure::invalid(format!(
            "creating named volume \"{text}\": running volume create option: {}",
            name::rule(text)
        )))
    }
}

fn volume(text: &str) -> Result<Mount, Failure> {
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts.as_slice() {
        [target] => (None, *target, ""),
        [source, target] => (Some(*source), *target, ""),
        [source, target, options] => (Some(*source), *target, *options),
        _ => {
            return Err(Failure::invalid(format!(
                "{text}: incorrect volume format, should be [host-dir:]ctr-dir[:option]"
            )));
        }
    };
    if source == Some("") {
        return Err(Failure::invalid("host directory cannot be empty"));
    }
    let destination = destination(target)?;
    let options: Vec<String> = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    check_volume_options(&options)?;
    let (kind, source) = match source {
        None => (Kind::Volume, String::new()),
        Some(path) if path.starts_with(['/', '.']) => (Kind::Bind, bind_source(path)?),
        Some(name) => (Kind::Volume, volume_name(name)?),
    };
    Ok(Mount { kind: kind.into(), source, destination, options, ..Default::default() })
}

/// Options of which at most one may be given, with the words about them.
const CHOICES: &[(&[&str], &str)] = &[
    (&["rw", "ro"], "'rw' or 'ro' option"),
    (&["z", "Z", "O"], "'z', 'Z', or 'O' option"),
    (
        &["private", "rprivate", "shared", "rshared", "slave", "rslave", "unbindable", "runbindable"],
        "'[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
    ),
    (&["bind", "rbind"], "'rbind' or 'bind' option"),
    (&["exec", "noexec"], "'noexec' or 'exec' option"),
    (&["dev", "nodev"], "'nodev' or 'dev' option"),
    (&["suid", "nosuid"], "'nosuid' or 'suid' option"),
    (&["copy", "nocopy"], "'copy' or 'nocopy' option"),
];

fn check_volume_options(options: &[String]) -> Result<(), Failure> {
    for option in options {
        let known = CHOICES.iter().any(|(choices, _)| choices.contains(&option.as_str())) || option == "U";
        if !known {
            return Err(Failure::invalid(format!("invalid option type \"{option}\"")));
        }
    }
    for (choices, words) in CHOICES {
        let given: Vec<&str> = options.iter().map(String::as_str).filter(|option| choices.contains(option)).collect();
        if given.len() > 1 {
            return Err(Failure::invalid(format!(
                "invalid options \"{}\", can only specify 1 {words}",
                given.join(", ")
            )));
        }
    }
    Ok(())
}

fn tmpfs(text: &str) -> Result<Mount, Failure> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    let destination = destination(target)?;
    let options: Vec<String> = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
    for option in &options {
        if !is_tmpfs_option(option) {
            return Err(Failure::invalid(format!("unknown mount option \"{option}\": invalid mount option")));
        }
    }
    Ok(Mount { kind: Kind::Tmpfs.into(), destination, options, ..Default::default() })
}

fn is_tmpfs_option(option: &str) -> bool {
    match option.split_once('=') {
        Some(("size", size)) => {
            size.strip_suffix('%').map_or_else(|| value::size(size).is_ok(), |part| part.parse::<u8>().is_ok())
        }
        Some(("mode", mode)) => u32::from_str_radix(mode, 8).is_ok_and(|mode| mode <= 0o7777),
        Some(("uid" | "gid", id)) => id.parse::<u32>().is_ok(),
        Some(("nr_inodes" | "nr_blocks", count)) => value::size(count).is_ok(),
        Some(_) => false,
        None => matches!(
            option,
            "rw" | "ro"
                | "exec"
                | "noexec"
                | "dev"
                | "nodev"
                | "suid"
                | "nosuid"
                | "tmpcopyup"
                | "notmpcopyup"
                | "U"
                | "private"
                | "rprivate"
                | "shared"
                | "rshared"
                | "slave"
                | "rslave"
                | "noatime"
        ),
    }
}

const FORMAT: &str = "incorrect mount format: should be --mount type=<bind|image|tmpfs|volume>,[src=<host-dir|volume-name>,]target=<ctr-dir>[,options]";

fn mount(text: &str) -> Result<Mount, Failure> {
    let tokens = super::scan::split_list(text);
    if !tokens.iter().any(|token| token.contains('=')) {
        return Err(Failure::invalid(FORMAT));
    }
    let mut kind = Kind::Volume;
    for token in &tokens {
        if let Some(word) = token.strip_prefix("type=") {
            kind = match word {
                "bind" => Kind::Bind,
                "volume" => Kind::Volume,
                "image" => Kind::Image,
                "tmpfs" => Kind::Tmpfs,
                _ => return Err(Failure::invalid(format!("invalid filesystem type \"{word}\""))),
            };
        }
    }
    let mut parsed = Parsed::default();
    for token in tokens.iter().filter(|token| !token.starts_with("type=")) {
        parsed.take(kind, token)?;
    }
    parsed.finish(kind)
}

#[derive(Default)]
struct Parsed {
    source: Option<String>,
    destination: Option<String>,
    options: Vec<String>,
}

impl Parsed {
    fn take(&mut self, kind: Kind, token: &str) -> Result<(), Failure> {
        let (key, value) = match token.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (token, None),
        };
        let unknown = || Failure::invalid(format!("{token}: invalid mount option"));
        let needed = || value.filter(|value| !value.is_empty());
        let argument =
            || needed().ok_or_else(|| Failure::invalid(format!("{key}: must provide an argument for option")));
        match key {
            "src" | "source" if kind != Kind::Tmpfs => set(&mut self.source, argument()?)?,
            "dst" | "destination" | "target" => set(&mut self.destination, argument()?)?,
            "ro" | "readonly" | "rw" => self.options.push(access(key, value)?.to_owned()),
            "U" | "chown" if truth(value) == Some(true) => self.options.push("U".to_owned()),
            "U" | "chown" if truth(value) == Some(false) => {}
            "exec" | "noexec" | "dev" | "nodev" | "suid" | "nosuid" if value.is_none() => {
                self.options.push(key.to_owned())
            }
            "bind-propagation" if kind == Kind::Bind => {
                let option = argument()?.to_owned();
                check_volume_options(std::slice::from_ref(&option))?;
                self.options.push(option);
            }
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "runbindable"
                if kind != Kind::Tmpfs && value.is_none() =>
            {
                self.options.push(key.to_owned());
            }
            "bind-nonrecursive" if kind == Kind::Bind => {
                self.options.push(if truth(value) == Some(true) { "bind" } else { "rbind" }.to_owned());
            }
            "relabel" if kind == Kind::Bind => self.options.push(
                match value {
                    Some("shared") => "z",
                    Some("private") => "Z",
                    _ => return Err(Failure::invalid(format!("{}: invalid mount option", value.unwrap_or(key)))),
                }
                .to_owned(),
            ),
            "z" | "Z" if kind != Kind::Tmpfs && value.is_none() => self.options.push(key.to_owned()),
            "subpath" | "volume-subpath" if matches!(kind, Kind::Volume | Kind::Image) => {
                self.options.push(format!("subpath={}", argument()?));
            }
            "copy" | "nocopy" if kind == Kind::Volume && value.is_none() => self.options.push(key.to_owned()),
            "volume-nocopy" if kind == Kind::Volume => self.options.push("nocopy".to_owned()),
            "consistency" => {}
            "tmpfs-size" | "tmpfs-mode" if kind == Kind::Tmpfs => {
                self.tmpfs_option(&format!("{}={}", &key["tmpfs-".len()..], argument()?))?;
            }
            _ if kind == Kind::Tmpfs && is_tmpfs_option(token) => self.options.push(token.to_owned()),
            _ => return Err(unknown()),
        }
        Ok(())
    }

    fn tmpfs_option(&mut self, option: &str) -> Result<(), Failure> {
        if !is_tmpfs_option(option) {
            return Err(Failure::invalid(format!("tmpfs-{option}: invalid mount option")));
        }
        self.options.push(option.to_owned());
        Ok(())
    }

    fn finish(self, kind: Kind) -> Result<Mount, Failure> {
        let target = self.destination.ok_or_else(|| Failure::invalid("must set volume destination"))?;
        let destination = destination(&target)?;
        let source = match (kind, self.source) {
            (Kind::Image, Some(image)) => image,
            (Kind::Image, None) => {
                return Err(Failure::invalid("must set source and destination for image volume"));
            }
            (Kind::Bind, source) => bind_source(source.as_deref().unwrap_or(&destination))?,
            (_, Some(name)) => volume_name(&name)?,
            (_, None) => String::new(),
        };
        let mut options = self.options;
        if kind != Kind::Tmpfs {
            let plain: Vec<String> = options.iter().filter(|option| !option.starts_with("subpath=")).cloned().collect();
            check_volume_options(&plain)?;
        }
        if kind == Kind::Image && !options.iter().any(|option| option == "rw" || option == "ro") {
            // What is written to an image's files is gone with the container: only on request.
            options.push("ro".to_owned());
        }
        Ok(Mount { kind: kind.into(), source, destination, options, ..Default::default() })
    }
}

fn set(place: &mut Option<String>, value: &str) -> Result<(), Failure> {
    if place.replace(value.to_owned()).is_some() {
        return Err(Failure::invalid(FORMAT));
    }
    Ok(())
}

/// `ro`, `ro=true`, `rw=false` …
fn access(key: &str, value: Option<&str>) -> Result<&'static str, Failure> {
    let on = truth(value).ok_or_else(|| {
        Failure::invalid(format!(
            "'readonly', 'ro', or 'rw' must be set to true or false, instead received \"{}\": must provide an argument for option",
            value.unwrap_or_default()
        ))
    })?;
    Ok(if on == (key == "rw") { "rw" } else { "ro" })
}

fn truth(value: Option<&str>) -> Option<bool> {
    match value {
        None | Some("true" | "1") => Some(true),
        Some("false" | "0") => Some(false),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts(volumes: &[&str], mounts: &[&str], tmpfs: &[&str]) -> Result<Vec<Mount>, Failure> {
        let own = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        all(&own(volumes), &own(mounts), &own(tmpfs))
    }

    #[test]
    fn volumes_binds_and_tmpfs() {
        let found = mounts(
            &["vol1:/usr/share/nginx/html", "/tmp:/t/../x:z,ro", "/data", ".:/here"],
            &[
                "type=bind,src=/tmp,dst=/b,ro,bind-propagation=rslave",
                "type=tmpfs,target=/m,tmpfs-size=1m",
                "source=v,target=/v,U=true",
            ],
            &["/run:size=64m,mode=1777"],
        )
        .expect("mounts");
        let shown: Vec<String> = found
            .iter()
            .map(|m| format!("{:?} {} {} {}", m.kind(), m.source, m.destination, m.options.join(",")))
            .collect();
        let here = std::env::current_dir().expect("cwd");
        assert_eq!(
            shown,
            [
                "Volume vol1 /usr/share/nginx/html ".to_owned(),
                "Bind /tmp /x z,ro".to_owned(),
                "Volume  /data ".to_owned(),
                format!("Bind {} /here ", here.display()),
                "Bind /tmp /b ro,rslave".to_owned(),
                "Tmpfs  /m size=1m".to_owned(),
                "Volume v /v U".to_owned(),
                "Tmpfs  /run size=64m,mode=1777".to_owned(),
            ]
        );
    }

    #[test]
    fn every_refusal_here_has_its_words() {
        for (volume, words) in [
            ("a:b", "invalid container path \"b\", must be an absolute path"),
            ("b", "invalid container path \"b\", must be an absolute path"),
            ("a:", "container directory cannot be empty"),
            ("a:/b:c:d", "a:/b:c:d: incorrect volume format, should be [host-dir:]ctr-dir[:option]"),
            ("a:/b:bad", "invalid option type \"bad\""),
            (":/b", "host directory cannot be empty"),
            ("/a:/b:ro,rw", "invalid options \"ro, rw\", can only specify 1 'rw' or 'ro' option"),
            ("/tmp:/y:z,Z", "invalid options \"z, Z\", can only specify 1 'z', 'Z', or 'O' option"),
            (
                "/tmp:/y:shared,rslave",
                "invalid options \"shared, rslave\", can only specify 1 '[r]shared', '[r]private', '[r]slave' or '[r]unbindable' option",
            ),
            ("/nonexist:/x", "statfs /nonexist: no such file or directory"),
            (
                "a@b:/x",
                "creating named volume \"a@b\": running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
            ),
        ] {
            assert_eq!(mounts(&[volume], &[], &[]).expect_err(volume).to_string(), words, "{volume}");
        }
        for (mount, words) in [
            ("type=foo,target=/x", "invalid filesystem type \"foo\""),
            ("type=bind,source=/nonexist,target=/x", "statfs /nonexist: no such file or directory"),
            ("foo", FORMAT),
            ("src=v,dst=/x,src=w", FORMAT),
            ("type=tmpfs,target=x", "invalid container path \"x\", must be an absolute path"),
            ("type=tmpfs,target=/x,bogus", "bogus: invalid mount option"),
            ("type=tmpfs,target=/x,tmpfs-size=x", "tmpfs-size=x: invalid mount option"),
            ("type=volume,source=a", "must set volume destination"),
            ("type=volume,source=,target=/x", "source: must provide an argument for option"),
            (
                "type=bind,src=/tmp,dst=/x,ro=maybe",
                "'readonly', 'ro', or 'rw' must be set to true or false, instead received \"maybe\": must provide an argument for option",
            ),
            ("type=bind,src=/tmp,dst=/x,bind-propagation=bogus", "invalid option type \"bogus\""),
            ("type=bind,src=/tmp,dst=/x,relabel=x", "x: invalid mount option"),
            (
                "type=volume,src=a/b,dst=/x",
                "creating named volume \"a/b\": running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument",
            ),
        ] {
            assert_eq!(mounts(&[], &[mount], &[]).expect_err(mount).to_string(), words, "{mount}");
        }
        for (tmpfs, words) in [
            ("x", "invalid container path \"x\", must be an absolute path"),
            ("/x:bogus", "unknown mount option \"bogus\": invalid mount option"),
            ("/x:size=x", "unknown mount option \"size=x\": invalid mount option"),
        ] {
            assert_eq!(mounts(&[], &[], &[tmpfs]).expect_err(tmpfs).to_string(), words, "{tmpfs}");
        }
        assert_eq!(
            mounts(&["/tmp:/x", "v:/x/"], &[], &[]).expect_err("twice").to_string(),
            "/x: duplicate mount destination"
        );
    }
}
