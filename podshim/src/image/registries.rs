//! registries.conf(5), version 2: where the images of a name are.
//!
//! Read whole whenever a pull begins (and for a short name that several local images could be meant by): files are small,
//! and a change counts at once.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
};

use proto::{Kind, Refusal, refusal::Result};
use serde::Deserialize;

use super::reference::{DOCKER, Full, Reference, Which};

const SYSTEM: &str = "/etc/containers/registries.conf";
const SYSTEM_DIR: &str = "/etc/containers/registries.conf.d";
/// Largest file that is read.
const MAX: u64 = 4 << 20;

/// What all the files say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    search: Vec<String>,
    aliases: BTreeMap<String, String>,
    registries: Vec<Registry>,
}

/// One place an image can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The name it has there.
    pub name: Full,
    /// Neither TLS nor certificates are insisted on.
    pub insecure: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Registry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct FileContent {
    unqualified_search_registries: Option<Vec<String>>,
    registry: Vec<Registry>,
    aliases: BTreeMap<String, String>,
}

impl Registries {
    /// Reads what this machine and this user have.
    ///
    /// # Errors
    /// When a file is there and cannot be read or understood; the refusal names it.
    pub fn read() -> Result<Registries> {
        let home = env::var_os("XDG_CONFIG_HOME")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".config")))
            .map(|dir| dir.join("containers"));
        let chosen = env::var_os("CONTAINERS_REGISTRIES_CONF").filter(|path| !path.is_empty()).map(PathBuf::from);
        Registries::read_from(chosen.as_deref(), Path::new(SYSTEM), Path::new(SYSTEM_DIR), home.as_deref())
    }

    /// The order of containers/image: the chosen file, or else the user's, or else the system's; then the drop-ins of the
    /// system (but not when the user has a file), then those of the user.
    fn read_from(
        chosen: Option<&Path>,
        system: &Path,
        system_dir: &Path,
        user_dir: Option<&Path>,
    ) -> Result<Registries> {
        let user = user_dir.map(|dir| dir.join("registries.conf")).filter(|path| path.is_file());
        let mut all = Registries::default();
        if let Some(chosen) = chosen {
            let text = read_text(chosen).map_err(|error| bad(chosen, error))?;
            all.merge(chosen, &text)?;
        } else {
            all.merge_file(user.as_deref().unwrap_or(system))?;
        }
        let system_dir = (chosen.is_some() || user.is_none()).then_some(system_dir);
        let user_dir = user_dir.map(|dir| dir.join("registries.conf.d"));
        for dir in system_dir.into_iter().chain(user_dir.as_deref()) {
            for path in drop_ins(dir) {
                all.merge_file(&path)?;
            }
        }
        Ok(all)
    }

    fn merge_file(&mut self, path: &Path) -> Result<()> {
        match read_text(path) {
            Ok(text) => self.merge(path, &text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(bad(path, error)),
        }
    }

    /// Adds `text`: later lists replace earlier ones, registries and aliases replace those of the same name.
    fn merge(&mut self, path: &Path, text: &str) -> Result<()> {
        let content: FileContent = toml::from_str(text).map_err(|error| bad(path, error.message()))?;
        if let Some(search) = content.unqualified_search_registries {
            for registry in &search {
                check_location(registry)
                    .map_err(|why| bad(path, format_args!("unqualified-search-registries: {why}")))?;
            }
            self.search = search;
        }
        for mut registry in content.registry {
            if registry.prefix.is_empty() {
                registry.prefix.clone_from(&registry.location);
            }
            if registry.location.is_empty() && !registry.prefix.starts_with("*.") {
                registry.location.clone_from(&registry.prefix);
            }
            check_location(registry.prefix.strip_prefix("*.").unwrap_or(&registry.prefix))
                .map_err(|why| bad(path, format_args!("[[registry]] prefix: {why}")))?;
            for location in registry.mirror.iter().map(|mirror| &mirror.location).chain([&registry.location]) {
                if !location.is_empty() || !registry.prefix.starts_with("*.") {
                    check_location(location).map_err(|why| bad(path, format_args!("[[registry]] location: {why}")))?;
                }
            }
            self.registries.retain(|other| other.prefix != registry.prefix);
            self.registries.push(registry);
        }
        for (short, full) in content.aliases {
            if full.is_empty() {
                self.aliases.remove(&short);
            } else {
                self.aliases.insert(short, full);
            }
        }
        Ok(())
    }

    /// The names to pull for what the user typed, in the order in which they are tried.
    pub fn candidates(&self, name: &Reference) -> Vec<Full> {
        if !name.is_short() {
            return vec![name.docker()];
        }
        if let Some(alias) = self.alias(name) {
            return vec![alias];
        }
        let mut candidates: Vec<Full> = self.search.iter().map(|registry| name.at(registry)).collect();
        if candidates.is_empty() {
            candidates.push(name.at(DOCKER));
        }
        candidates
    }

    /// The names a local image may have for what the user typed, the likeliest first.
    pub fn local_candidates(&self, name: &Reference) -> Vec<Full> {
        if !name.is_short() {
            return vec![name.docker()];
        }
        let mut candidates: Vec<Full> = self.alias(name).into_iter().collect();
        candidates.push(name.at("localhost"));
        candidates.extend(self.search.iter().map(|registry| name.at(registry)));
        candidates.push(name.at(DOCKER));
        candidates
    }

    fn alias(&self, name: &Reference) -> Option<Full> {
        let full = Reference::parse(self.aliases.get(&name.path)?).ok()?;
        Some(Full { which: name.which(), ..full.docker() })
    }

    /// Where the image `name` is fetched from: mirrors in their order, then the place itself.
    ///
    /// # Errors
    /// When the registry is blocked.
    pub fn sources(&self, name: &Full) -> Result<Vec<Source>> {
        let Some((registry, length)) = self
            .registries
            .iter()
            .filter_map(|registry| Some((registry, matched(&registry.prefix, name)?)))
            .max_by_key(|(_, length)| *length)
        else {
            return Ok(vec![Source { name: name.clone(), insecure: false }]);
        };
        if registry.blocked {
            return Err(Refusal::new(
                Kind::Invalid,
                format!("registry {} is blocked in {SYSTEM} or {SYSTEM_DIR}", registry.prefix),
            )
            .about(name.to_string()));
        }
        let by_digest = matches!(name.which, Which::Digest(_));
        let mut sources = Vec::new();
        for mirror in &registry.mirror {
            let wanted = match mirror.pull_from_mirror.as_str() {
                "digest-only" => by_digest,
                "tag-only" => !by_digest,
                _ => by_digest || !registry.mirror_by_digest_only,
            };
            if wanted {
                sources.extend(moved(name, length, &mirror.location, mirror.insecure));
            }
        }
        sources.extend(moved(name, length, &registry.location, registry.insecure));
        Ok(sources)
    }
}

fn bad(path: &Path, cause: impl std::fmt::Display) -> Refusal {
    Refusal::new(
        Kind::Invalid,
        format!("{}: {}: correct the file", path.display(), super::printable(&cause.to_string())),
    )
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("is a directory"));
    }
    io::Read::read_to_string(&mut io::Read::take(file, MAX), &mut text)?;
    Ok(text)
}

/// The `*.conf` of `dir` in alphabetical order; none where there is no such directory.
fn drop_ins(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf") && !path.is_dir())
        .collect();
    paths.sort();
    paths
}

/// A location is a host with an optional path, as in a reference.
fn check_location(location: &str) -> std::result::Result<(), String> {
    let location = location.strip_suffix('/').unwrap_or(location);
    // `host` alone is no reference; with a path it is one, and a location that is a host may lack the dot.
    let probe = if location.contains('/') { location.to_owned() } else { format!("{location}/x") };
    let dotted = probe.split_once('/').map(|(host, path)| {
        format!("{}/{path}", if host.contains(['.', ':', '[']) { host.to_owned() } else { format!("{host}.x") })
    });
    match dotted.map(|probe| Reference::parse(&probe)) {
        Some(Ok(_)) => Ok(()),
        _ => Err(format!("{location:?} is no registry: write HOST[:PORT][/PATH] without a scheme")),
    }
}

/// How much of `name` (its text in full) `prefix` covers: up to a border between parts.
fn matched(prefix: &str, name: &Full) -> Option<usize> {
    let text = name.to_string();
    if let Some(suffix) = prefix.strip_prefix("*.") {
        let (domain, rest) = text.split_at(name.domain.len());
        let (suffix_domain, suffix_path) = suffix.split_at(suffix.find('/').unwrap_or(suffix.len()));
        let host = domain.strip_suffix(suffix_domain)?;
        let border = rest.strip_prefix(suffix_path)?.bytes().next();
        return (host.ends_with('.') && matches!(border, None | Some(b'/' | b':' | b'@')))
            .then_some(domain.len() + suffix_path.len());
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let rest = text.strip_prefix(prefix)?;
    matches!(rest.bytes().next(), None | Some(b'/' | b':' | b'@')).then_some(prefix.len())
}

/// `name` with its first `length` bytes replaced by `location`; with an empty location it is the same.
fn moved(name: &Full, length: usize, location: &str, insecure: bool) -> Option<Source> {
    if location.is_empty() {
        return Some(Source { name: name.clone(), insecure });
    }
    let text = name.repository();
    // A prefix may cover the tag too; what is replaced is never more than the repository.
    let rest = text.get(length.min(text.len())..)?;
    let text = format!("{}{rest}", location.strip_suffix('/').unwrap_or(location));
    let (domain, path) = text.split_once('/')?;
    Some(Source {
        name: Full { domain: domain.to_owned(), path: path.to_owned(), which: name.which.clone() },
        insecure,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(text: &str) -> Registries {
        let mut all = Registries::default();
        all.merge(Path::new("test.conf"), text).expect("understood");
        all
    }

    fn name(text: &str) -> Reference {
        Reference::parse(text).expect("name")
    }

    fn texts(names: &[Full]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn short_names() {
        let none = Registries::default();
        assert_eq!(texts(&none.candidates(&name("alpine"))), ["docker.io/library/alpine:latest"]);
        let some = from(
            "unqualified-search-registries = ['quay.io', 'localhost:5000/sub']\n[aliases]\n'nginx' = 'docker.io/library/nginx'",
        );
        assert_eq!(texts(&some.candidates(&name("alpine:1"))), ["quay.io/alpine:1", "localhost:5000/sub/alpine:1"]);
        assert_eq!(texts(&some.candidates(&name("nginx:1"))), ["docker.io/library/nginx:1"]);
        assert_eq!(texts(&some.candidates(&name("x.y/nginx"))), ["x.y/nginx:latest"]);
        assert_eq!(
            texts(&some.local_candidates(&name("alpine"))),
            [
                "localhost/alpine:latest",
                "quay.io/alpine:latest",
                "localhost:5000/sub/alpine:latest",
                "docker.io/library/alpine:latest"
            ]
        );
    }

    #[test]
    fn mirrors_come_first_and_the_longest_prefix_wins() {
        let all = from(
            r#"
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "127.0.0.1:5000"
            insecure = true
            [[registry.mirror]]
            location = "mirror.example/docker"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "docker.io/library/special"
            location = "other.example/special"
            insecure = true
            [[registry]]
            prefix = "*.blocked.example"
            blocked = true
            "#,
        );
        let sources = |text: &str| -> Vec<(String, bool)> {
            let full = name(text).docker();
            all.sources(&full).expect("sources").into_iter().map(|s| (s.name.to_string(), s.insecure)).collect()
        };
        assert_eq!(
            sources("alpine"),
            [
                ("127.0.0.1:5000/library/alpine:latest".to_owned(), true),
                ("docker.io/library/alpine:latest".to_owned(), false)
            ]
        );
        assert_eq!(sources("special:2"), [("other.example/special:2".to_owned(), true)]);
        assert_eq!(sources("docker.io/library/special/x")[0].0, "other.example/special/x:latest");
        assert_eq!(sources("specially").len(), 2);
        assert_eq!(sources("quay.io/x"), [("quay.io/x:latest".to_owned(), false)]);
        assert!(all.sources(&name("a.blocked.example/x").docker()).is_err());
        assert!(all.sources(&name("blocked.example/x").docker()).is_ok());
        assert_eq!(sources("docker.io.evil.example/x").len(), 1);
    }

    #[test]
    fn files_in_their_order() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = |name: &str| dir.path().join(name);
        fs::create_dir_all(path("system.d")).expect("dir");
        fs::create_dir_all(path("user/registries.conf.d")).expect("dir");
        fs::write(path("system"), "unqualified-search-registries = ['a.example']").expect("write");
        fs::write(path("system.d/1.conf"), "[aliases]\nx = 'a.example/x'\ny = 'a.example/y'").expect("write");
        fs::write(path("system.d/2.conf"), "[aliases]\nx = 'b.example/x'").expect("write");
        fs::write(path("user/registries.conf.d/3.conf"), "[aliases]\ny = ''").expect("write");
        let read = |chosen: Option<&Path>| {
            Registries::read_from(chosen, &path("system"), &path("system.d"), Some(&path("user"))).expect("read")
        };
        let all = read(None);
        assert_eq!(all.search, ["a.example"]);
        assert_eq!(all.aliases.get("x").map(String::as_str), Some("b.example/x"));
        assert_eq!(all.aliases.get("y"), None);
        fs::write(path("user/registries.conf"), "unqualified-search-registries = ['u.example']").expect("write");
        assert_eq!((read(None).search, read(None).aliases.len()), (vec!["u.example".to_owned()], 0));
        fs::write(path("chosen"), "unqualified-search-registries = ['c.example']").expect("write");
        assert_eq!(read(Some(&path("chosen"))).search, ["c.example"]);
        assert!(Registries::read_from(Some(&path("missing")), &path("system"), &path("system.d"), None).is_err());
    }

    #[test]
    fn a_bad_file_is_named() {
        for text in [
            "x = ",
            "unqualified-search-registries = 'a'",
            "unqualified-search-registries = ['http://a']",
            "unqualified-search-registries = ['../x']",
            "[[registry]]\nlocation = 'https://x'",
            "[[registry]]\ninsecure = true",
        ] {
            let error = Registries::default().merge(Path::new("/etc/x.conf"), text).expect_err(text);
            assert!(error.message.starts_with("/etc/x.conf: ") && !error.message.contains('\n'), "{}", error.message);
        }
    }
}
