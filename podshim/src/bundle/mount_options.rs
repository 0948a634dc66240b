//! Options of `-v`, `--mount` and `--tmpfs` as the runtime takes them: a closed list, nothing is passed on unread.

use proto::{Refusal, refusal::Result, wire::mount::Kind};

/// What the options of one mount say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// For the runtime.
    pub options: Vec<String>,
    /// `private`, `slave`, `shared`, `unbindable`, with or without `r`.
    pub propagation: &'static str,
    /// Chown the source to the container's user (`U`).
    pub chown: bool,
}

const PROPAGATION: [&str; 8] =
    ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];
const FLAGS: [&str; 10] =
    ["exec", "noexec", "dev", "nodev", "suid", "nosuid", "noatime", "nodiratime", "relatime", "strictatime"];

/// Reads the options of a mount of `kind` at `destination`.
///
/// # Errors
/// podman's words for an option it does not know; a refusal for what this version does not do.
pub(super) fn parse(kind: Kind, destination: &str, options: &[String]) -> Result<Parsed> {
    let mut reader = Reader { kind, ..Default::default() };
    let destination = destination.escape_debug();
    for option in options.iter().flat_map(|options| options.split(',')).filter(|option| !option.is_empty()) {
        match reader.take(option) {
            Took::Yes => {}
            Took::No => {
                let option = option.escape_debug();
                return Err(Refusal::invalid(format!("mount at {destination}: invalid option type \"{option}\"")));
            }
            Took::NotHere(why) => {
                return Err(Refusal::new(
                    proto::Kind::NotSupported,
                    format!("mount at {destination}: option \"{}\": {why}", option.escape_debug()),
                ));
            }
        }
    }
    Ok(reader.finish())
}

enum Took {
    Yes,
    No,
    NotHere(&'static str),
}

#[derive(Default)]
struct Reader {
    kind: Kind,
    read_only: bool,
    not_recursive: bool,
    no_copy_up: bool,
    propagation: Option<&'static str>,
    flags: Vec<String>,
    data: Vec<String>,
    chown: bool,
}

impl Reader {
    fn take(&mut self, option: &str) -> Took {
        let (key, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
        match (key, value) {
            ("ro" | "readonly" | "rw", None | Some("true")) => self.read_only = key != "rw",
            ("ro" | "readonly", Some("false")) => self.read_only = false,
            // Labels: without SELinux there is nothing to relabel, and our containers run under no label of their own.
            ("z" | "Z", None) | ("relabel", Some("shared" | "private")) => {}
            ("U", None | Some("true")) | ("chown", None | Some("true")) => self.chown = true,
            ("U" | "chown", Some("false")) => self.chown = false,
            // The source is one made for it.
            ("O", None) | ("subpath", Some(_)) if self.kind != Kind::Tmpfs => {}
            ("idmap" | "upperdir" | "workdir", _) => {
                return Took::NotHere("this version does not do it: leave it out");
            }
            ("copy" | "nocopy", None) if self.kind == Kind::Volume => {}
            ("consistency", Some(_)) => {}
            _ => return self.take_kernel(option, key, value),
        }
        Took::Yes
    }

    fn take_kernel(&mut self, option: &str, key: &str, value: Option<&str>) -> Took {
        let binds = matches!(self.kind, Kind::Bind | Kind::Volume | Kind::Image);
        let named = if key == "bind-propagation" { value.unwrap_or_default() } else { option };
        if let Some(propagation) =
            PROPAGATION.iter().find(|known| **known == named).filter(|_| self.kind != Kind::Devpts)
        {
            self.propagation = Some(propagation);
            return Took::Yes;
        }
        match (key, value) {
            ("bind", None) | ("bind-nonrecursive", None | Some("true")) if binds => self.not_recursive = true,
            ("rbind", None) | ("bind-nonrecursive", Some("false")) if binds => self.not_recursive = false,
            ("tmpcopyup", None) if self.kind == Kind::Tmpfs => self.no_copy_up = false,
            ("notmpcopyup", None) if self.kind == Kind::Tmpfs => self.no_copy_up = true,
            (flag, None) if FLAGS.contains(&flag) => {
                // The later of `exec` and `noexec` counts.
                let bare = flag.trim_start_matches("no");
                self.flags.retain(|had| had.trim_start_matches("no") != bare);
                self.flags.push(flag.to_owned());
            }
            (key, Some(value)) => return self.take_data(key, value),
            _ => return Took::No,
        }
        Took::Yes
    }

    fn take_data(&mut self, key: &str, value: &str) -> Took {
        let digits = |text: &str| !text.is_empty() && text.len() < 20 && text.bytes().all(|b| b.is_ascii_digit());
        let size = |text: &str| digits(text.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G', '%']).unwrap_or(text));
        let octal = |text: &str| digits(text) && text.len() < 6 && text.bytes().all(|b| b < b'8');
        let (name, fits) = match (self.kind, key) {
            (Kind::Tmpfs, "size" | "tmpfs-size") => ("size", size(value)),
            (Kind::Tmpfs, "mode" | "tmpfs-mode") | (Kind::Devpts, "mode") => ("mode", octal(value)),
            (Kind::Tmpfs, "nr_inodes") => ("nr_inodes", size(value)),
            (Kind::Tmpfs | Kind::Devpts, "uid") => ("uid", digits(value)),
            (Kind::Tmpfs | Kind::Devpts, "gid") => ("gid", digits(value)),
            (Kind::Devpts, "max") => ("max", digits(value)),
            _ => return Took::No,
        };
        if fits {
            self.data.push(format!("{name}={value}"));
            return Took::Yes;
        }
        Took::No
    }

    /// The order podman writes them in.
    fn finish(mut self) -> Parsed {
        let mut options = std::mem::take(&mut self.data);
        options.push(if self.read_only { "ro" } else { "rw" }.to_owned());
        let propagation = self.propagation.unwrap_or("rprivate");
        let default = |flag: &str, flags: &[String]| {
            let bare = flag.trim_start_matches("no");
            (!flags.iter().any(|had| had.trim_start_matches("no") == bare)).then(|| flag.to_owned())
        };
        if matches!(self.kind, Kind::Volume | Kind::Tmpfs) {
            options.extend(["nosuid", "nodev"].iter().filter_map(|flag| default(flag, &self.flags)));
        }
        if self.kind == Kind::Devpts {
            options.extend(["nosuid", "noexec"].iter().filter_map(|flag| default(flag, &self.flags)));
            options.extend(["newinstance", "ptmxmode=0666"].map(str::to_owned));
        } else {
            options.push(propagation.to_owned());
        }
        // `suid`, `exec` and `dev` are what a mount is anyway; some runtimes do not know the words.
        options.extend(self.flags.into_iter().filter(|flag| !["suid", "exec", "dev"].contains(&flag.as_str())));
        match self.kind {
            Kind::Tmpfs if !self.no_copy_up => options.push("tmpcopyup".to_owned()),
            Kind::Bind | Kind::Volume | Kind::Image if self.not_recursive => options.push("bind".to_owned()),
            Kind::Bind | Kind::Volume | Kind::Image => options.push("rbind".to_owned()),
            _ => {}
        }
        Parsed { options, propagation, chown: self.chown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(kind: Kind, typed: &[&str]) -> String {
        let typed: Vec<String> = typed.iter().map(|text| (*text).to_owned()).collect();
        parse(kind, "/x", &typed).map_or_else(|refusal| refusal.message, |parsed| parsed.options.join(","))
    }

    #[test]
    fn podmans_defaults_by_kind() {
        assert_eq!(options(Kind::Bind, &[]), "rw,rprivate,rbind");
        assert_eq!(options(Kind::Bind, &["ro", "z", "noexec", "rslave"]), "ro,rslave,noexec,rbind");
        assert_eq!(options(Kind::Volume, &["nocopy"]), "rw,nosuid,nodev,rprivate,rbind");
        assert_eq!(options(Kind::Volume, &["suid", "dev"]), "rw,rprivate,rbind");
        assert_eq!(
            options(Kind::Tmpfs, &["size=1m,mode=1777"]),
            "size=1m,mode=1777,rw,nosuid,nodev,rprivate,tmpcopyup"
        );
        assert_eq!(options(Kind::Tmpfs, &["tmpfs-size=5", "notmpcopyup"]), "size=5,rw,nosuid,nodev,rprivate");
        assert_eq!(options(Kind::Devpts, &["gid=5"]), "gid=5,rw,nosuid,noexec,newinstance,ptmxmode=0666");
        assert_eq!(options(Kind::Bind, &["bind-propagation=shared", "bind"]), "rw,shared,bind");
        assert_eq!(options(Kind::Bind, &["noexec", "exec"]), "rw,rprivate,rbind");
    }

    #[test]
    fn anything_else_is_refused() {
        for (kind, option) in [
            (Kind::Bind, "bogus"),
            (Kind::Bind, "bind-propagation=bogus"),
            (Kind::Bind, "size=1m"),
            (Kind::Tmpfs, "size=1x"),
            (Kind::Tmpfs, "size="),
            (Kind::Tmpfs, "mode=99"),
            (Kind::Tmpfs, "rbind"),
            (Kind::Bind, "context=x"),
            (Kind::Bind, "nocopy"),
            (Kind::Bind, "a\nb"),
            (Kind::Devpts, "shared"),
        ] {
            let words = options(kind, &[option]);
            assert!(words.starts_with("mount at /x: invalid option type ") && !words.contains('\n'), "{words}");
        }
        assert!(options(Kind::Bind, &["idmap"]).contains("does not do it"));
    }
}
