//! Resource limits of the process: defaults clamped to what the kernel lets us give, wishes refused by name.

use nix::sys::resource::{Resource, getrlimit};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use proto::{Kind, Refusal, refusal::Result, ulimit, wire};

use super::capabilities;
use crate::sys::limit::Limit;

/// podman's default for `nofile` and `nproc`.
const DEFAULT: u64 = 1_048_576;

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
        format!("RLIMIT_{}", self.name.to_ascii_uppercase()).parse().ok()
    }
}

impl std::fmt::Display for Ulimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}:{}", self.name, ulimit::signed(self.limit.soft), ulimit::signed(self.limit.hard))
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

/// The limits of the process by `--ulimit`.
///
/// # Errors
/// podman's words for an unknown name; the flag and both numbers where the kernel would refuse.
pub(super) fn rlimits(wished: &[wire::Ulimit], machine: &Machine) -> Result<Vec<PosixRlimit>> {
    let mut all: Vec<PosixRlimit> = Vec::new();
    for (typ, resource) in [
        (PosixRlimitType::RlimitNofile, Resource::RLIMIT_NOFILE),
        (PosixRlimitType::RlimitNproc, Resource::RLIMIT_NPROC),
    ] {
        let value = DEFAULT.min(machine.ceiling(resource));
        all.push(oci(typ, value, value)?);
    }
    for ulimit in asked_for(wished, machine)? {
        all.retain(|had| !ulimit.is(had));
        all.push(ulimit.to_oci()?);
    }
    Ok(all)
}

fn asked_for(wished: &[wire::Ulimit], machine: &Machine) -> Result<Vec<Ulimit>> {
    let mut all: Vec<Ulimit> = Vec::new();
    for wish in wished {
        let Some((name, resource)) = ulimit::find(&wish.name) else {
            return Err(Refusal::invalid(format!("--ulimit: invalid ulimit type: {}", wish.name.escape_debug())));
        };
        let value = |limit: i64| u64::try_from(limit).unwrap_or(nix::libc::RLIM_INFINITY);
        let (soft, hard) = (value(wish.soft), value(wish.hard));
        let flag = format!("--ulimit {name}={}:{}", wish.soft, wish.hard);
        if soft > hard {
            return Err(Refusal::invalid(format!(
                "{flag}: ulimit soft limit must be less than or equal to hard limit"
            )));
        }
        let ceiling = machine.ceiling(resource);
        if hard > ceiling {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!("{flag}: exceeds hard limit {ceiling}, which podctl may not raise: ask for at most that"),
            ));
        }
        all.retain(|had| had.name != name);
        all.push(Ulimit { name, resource: resource as i32, limit: Limit { soft, hard } });
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
