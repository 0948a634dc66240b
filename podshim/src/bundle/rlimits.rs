//! Resource limits of the process: defaults clamped to what the kernel lets us give, wishes refused by name.

use nix::sys::resource::{Resource, getrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use proto::{Kind, Refusal, refusal::Result, wire};

use super::capabilities;
use crate::sys::limit::Limit;

/// podman's default for `nofile` and `nproc`.
const DEFAULT: u64 = 1_048_576;

const KNOWN: [(&str, PosixRlimitType, Resource); 16] = [
    ("as", PosixRlimitType::RlimitAs, Resource::RLIMIT_AS),
    ("core", PosixRlimitType::RlimitCore, Resource::RLIMIT_CORE),
    ("cpu", PosixRlimitType::RlimitCpu, Resource::RLIMIT_CPU),
    ("data", PosixRlimitType::RlimitData, Resource::RLIMIT_DATA),
    ("fsize", PosixRlimitType::RlimitFsize, Resource::RLIMIT_FSIZE),
    ("locks", PosixRlimitType::RlimitLocks, Resource::RLIMIT_LOCKS),
    ("memlock", PosixRlimitType::RlimitMemlock, Resource::RLIMIT_MEMLOCK),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue, Resource::RLIMIT_MSGQUEUE),
    ("nice", PosixRlimitType::RlimitNice, Resource::RLIMIT_NICE),
    ("nofile", PosixRlimitType::RlimitNofile, Resource::RLIMIT_NOFILE),
    ("nproc", PosixRlimitType::RlimitNproc, Resource::RLIMIT_NPROC),
    ("rss", PosixRlimitType::RlimitRss, Resource::RLIMIT_RSS),
    ("rtprio", PosixRlimitType::RlimitRtprio, Resource::RLIMIT_RTPRIO),
    ("rttime", PosixRlimitType::RlimitRttime, Resource::RLIMIT_RTTIME),
    ("sigpending", PosixRlimitType::RlimitSigpending, Resource::RLIMIT_SIGPENDING),
    ("stack", PosixRlimitType::RlimitStack, Resource::RLIMIT_STACK),
];

/// A limit of `--ulimit` that can be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`
    pub name: &'static str,
    /// `RLIMIT_NOFILE`
    pub resource: i32,
    /// Its values.
    pub limit: Limit,
}

impl Ulimit {
    /// Whether `other` is of the same kind.
    pub fn is(&self, other: &PosixRlimit) -> bool {
        self.typ() == Some(other.typ())
    }

    /// As it is in config.json.
    ///
    /// # Errors
    /// None that can happen.
    pub fn to_oci(self) -> Result<PosixRlimit> {
        let typ = self.typ().unwrap_or(PosixRlimitType::RlimitNofile);
        oci(typ, self.limit.soft, self.limit.hard)
    }

    fn typ(&self) -> Option<PosixRlimitType> {
        KNOWN.iter().find(|(name, ..)| *name == self.name).map(|(_, typ, _)| *typ)
    }
}

impl std::fmt::Display for Ulimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = |value: u64| i64::try_from(value).unwrap_or(-1);
        write!(f, "{}={}:{}", self.name, value(self.limit.soft), value(self.limit.hard))
    }
}

fn oci(typ: PosixRlimitType, soft: u64, hard: u64) -> Result<PosixRlimit> {
    let limit = PosixRlimitBuilder::default().typ(typ).soft(soft).hard(hard).build();
    limit.map_err(|error| Refusal::internal("--ulimit", error))
}

/// Those that `--ulimit` of `update` names.
///
/// # Errors
/// Naming the flag, where the kernel would refuse.
pub fn ulimits(wished: &[wire::Ulimit]) -> Result<Vec<Ulimit>> {
    asked_for(wished, &Machine::this(capabilities::ours()?.contains("CAP_SYS_RESOURCE")))
}

/// What decides whether a limit can be raised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// We have CAP_SYS_RESOURCE.
    pub may_raise: bool,
    /// `fs.nr_open`: not even that capability raises `nofile` above it.
    pub nr_open: u64,
    /// Our own hard limit.
    pub hard: fn(Resource) -> u64,
}

impl Machine {
    /// This one. `may_raise`: we have CAP_SYS_RESOURCE.
    pub(super) fn this(may_raise: bool) -> Machine {
        let nr_open = std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok());
        let hard = |resource| getrlimit(resource).map_or(0, |(_, hard)| hard);
        Machine { may_raise, nr_open: nr_open.unwrap_or(DEFAULT), hard }
    }

    /// The highest hard limit we can give.
    fn ceiling(&self, resource: Resource) -> u64 {
        match (self.may_raise, resource) {
            (true, Resource::RLIMIT_NOFILE) => self.nr_open,
            (true, _) => nix::libc::RLIM_INFINITY,
            (false, _) => (self.hard)(resource),
        }
    }
}

/// The limits of the process by `--ulimit`. `host` among them = ours as they are.
///
/// # Errors
/// podman's words for an unknown name; the flag and both numbers where the kernel would refuse.
pub(super) fn rlimits(wished: &[wire::Ulimit], machine: &Machine) -> Result<Vec<PosixRlimit>> {
    let mut all: Vec<PosixRlimit> = Vec::new();
    let host = wished.iter().any(|ulimit| ulimit.name == "host");
    for (typ, resource) in [
        (PosixRlimitType::RlimitNofile, Resource::RLIMIT_NOFILE),
        (PosixRlimitType::RlimitNproc, Resource::RLIMIT_NPROC),
    ] {
        if !host {
            let value = DEFAULT.min(machine.ceiling(resource));
            all.push(oci(typ, value, value)?);
        }
    }
    for ulimit in asked_for(wished, machine)? {
        all.retain(|had| !ulimit.is(had));
        all.push(ulimit.to_oci()?);
    }
    Ok(all)
}

fn asked_for(wished: &[wire::Ulimit], machine: &Machine) -> Result<Vec<Ulimit>> {
    let mut all: Vec<Ulimit> = Vec::new();
    for ulimit in wished.iter().filter(|ulimit| ulimit.name != "host") {
        let name = ulimit.name.to_ascii_lowercase();
        let name = name.trim_start_matches("rlimit_");
        let Some((name, _, resource)) = KNOWN.iter().find(|(known, ..)| *known == name) else {
            return Err(Refusal::invalid(format!("--ulimit: invalid ulimit type: {}", name.escape_debug())));
        };
        let value = |limit: i64| u64::try_from(limit).unwrap_or(nix::libc::RLIM_INFINITY);
        let (soft, hard) = (value(ulimit.soft), value(ulimit.hard));
        let flag = format!("--ulimit {name}={}:{}", ulimit.soft, ulimit.hard);
        if soft > hard {
            return Err(Refusal::invalid(format!(
                "{flag}: ulimit soft limit must be less than or equal to hard limit"
            )));
        }
        let ceiling = machine.ceiling(*resource);
        if hard > ceiling {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("{flag}: exceeds hard limit {ceiling}, which podctl may not raise: ask for at most that"),
            ));
        }
        all.retain(|had| had.name != *name);
        all.push(Ulimit { name, resource: *resource as i32, limit: Limit { soft, hard } });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Machine = Machine { may_raise: false, nr_open: 1_048_576, hard: |_| 20_000 };

    fn wish(name: &str, soft: i64, hard: i64) -> wire::Ulimit {
        wire::Ulimit { name: name.into(), soft, hard }
    }

    #[test]
    fn defaults_are_clamped() {
        let got = rlimits(&[], &SMALL).expect("limits");
        assert_eq!(got.iter().map(|l| (l.soft(), l.hard())).collect::<Vec<_>>(), [(20_000, 20_000); 2]);
        let got = rlimits(&[], &Machine { may_raise: true, ..SMALL }).expect("limits");
        assert_eq!(got[0].hard(), DEFAULT);
        assert!(rlimits(&[wish("host", 0, 0)], &SMALL).expect("limits").is_empty());
    }

    #[test]
    fn a_wish_replaces_the_default_or_is_refused_by_name() {
        let got = rlimits(&[wish("nofile", 10, 20), wish("core", 0, 0)], &SMALL).expect("limits");
        assert_eq!(got.len(), 3);
        assert!(got.iter().any(|l| l.typ() == PosixRlimitType::RlimitNofile && (l.soft(), l.hard()) == (10, 20)));
        for (ulimit, words) in [
            (wish("nofile", 1, 1_048_576), "--ulimit nofile=1:1048576: exceeds hard limit 20000"),
            (wish("memlock", -1, -1), "--ulimit memlock=-1:-1: exceeds hard limit 20000"),
            (wish("core", 2, 1), "--ulimit core=2:1: ulimit soft limit"),
            (wish("bogus\n", 1, 1), "--ulimit: invalid ulimit type: bogus\\n"),
        ] {
            let refusal = rlimits(&[ulimit], &SMALL).expect_err(words);
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
        let most = Machine { may_raise: true, ..SMALL };
        assert!(rlimits(&[wish("nofile", 1, 1_048_577)], &most).is_err());
        assert!(rlimits(&[wish("memlock", -1, -1)], &most).is_ok());
    }
}
