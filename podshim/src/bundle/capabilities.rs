//! Which capabilities the process gets: podman's defaults, `--cap-add`, `--cap-drop`, `--privileged`.

use std::collections::BTreeSet;

use caps::CapSet;
use oci_spec::runtime::{self, LinuxCapabilities};
use proto::{Kind, Refusal, refusal::Result, wire::Security};

/// Names with `CAP_`, in order.
pub(super) type Names = BTreeSet<String>;

/// What containers get unless told otherwise (containers.conf(5), `default_capabilities`), in order.
pub const DEFAULT: [&str; 11] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The sets of a process; the inheritable one is that of the ambient ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sets {
    /// The most it can ever have.
    pub bounding: Names,
    /// What it begins with.
    pub effective: Names,
    /// What it keeps over execve although it is not root: only what was asked for by name.
    pub ambient: Names,
}

/// What this process could give to a child.
pub(super) fn ours() -> Result<Names> {
    let read = |set| caps::read(None, set).map_err(|error| Refusal::internal("our own capabilities", error));
    let bounding = read(CapSet::Bounding)?;
    Ok(read(CapSet::Permitted)?.intersection(&bounding).map(ToString::to_string).collect())
}

/// The sets for `uid` by `security`, where `ours` is what can be given.
///
/// # Errors
/// podman's words for contradictions and unknown names; `--cap-add` of one we do not have, naming it.
pub(super) fn sets(security: &Security, uid: u32, ours: &Names) -> Result<Sets> {
    let (adds, drops) = (named(&security.cap_add)?, named(&security.cap_drop)?);
    let explicit: Names = adds.names.iter().cloned().collect();
    if let Some(name) = explicit.iter().find(|name| !ours.contains(*name)) {
        return Err(Refusal::new(
            Kind::NotSupported,
            format!(
                "--cap-add {name}: podctl does not have this capability itself and cannot give it: run it with {name}"
            ),
        ));
    }
    if adds.all && drops.all {
        return Err(Refusal::invalid("adding all caps and removing all caps not allowed"));
    }
    if let Some(both) = adds.names.intersection(&drops.names).next() {
        return Err(Refusal::invalid(format!("capability \"{both}\" cannot be dropped and added")));
    }
    let base = if security.privileged || adds.all {
        ours.clone()
    } else if drops.all {
        Names::new()
    } else {
        // Defaults are clamped to what there is; only a wish by name is refused.
        DEFAULT.iter().filter(|name| ours.contains(**name)).map(|name| (*name).to_owned()).collect()
    };
    let bounding: Names = if drops.all {
        explicit.clone()
    } else {
        base.union(&explicit).filter(|name| !drops.names.contains(*name)).cloned().collect()
    };
    if uid == 0 {
        return Ok(Sets { effective: bounding.clone(), bounding, ambient: Names::new() });
    }
    // A user who is not root has none but those asked for, and these must be ambient to survive its execve.
    let ambient: Names = if adds.all { bounding.clone() } else { explicit };
    Ok(Sets { bounding, effective: ambient.clone(), ambient })
}

impl Sets {
    /// As the runtime wants them.
    pub(super) fn to_oci(&self) -> Result<LinuxCapabilities> {
        let convert = |names: &Names| -> Result<runtime::Capabilities> {
            let parse = |name: &String| name.trim_start_matches("CAP_").parse();
            names.iter().map(parse).collect::<std::result::Result<_, _>>().map_err(|_| {
                Refusal::internal("capabilities", format!("{names:?} has one that the OCI specification does not know"))
            })
        };
        let mut all = LinuxCapabilities::default();
        let effective = convert(&self.effective)?;
        all.set_bounding(Some(convert(&self.bounding)?));
        all.set_permitted(Some(effective.clone()));
        all.set_effective(Some(effective));
        all.set_inheritable(Some(convert(&self.ambient)?));
        all.set_ambient(Some(convert(&self.ambient)?));
        Ok(all)
    }
}

struct Named {
    all: bool,
    names: Names,
}

/// Names as people type them: any case, with or without `CAP_`, `ALL`.
fn named(list: &[String]) -> Result<Named> {
    let mut found = Named { all: false, names: Names::new() };
    for typed in list {
        let upper = typed.trim().to_ascii_uppercase();
        if upper == "ALL" {
            found.all = true;
            continue;
        }
        let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        if name.parse::<caps::Capability>().is_err() {
            return Err(Refusal::invalid(format!("\"{}\": unknown capability", name.escape_debug())));
        }
        found.names.insert(name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Names {
        caps::all().iter().map(ToString::to_string).filter(|name| name != "CAP_SYS_RESOURCE").collect()
    }

    fn asked(add: &[&str], drop: &[&str]) -> Security {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Security { cap_add: owned(add), cap_drop: owned(drop), ..Default::default() }
    }

    fn names(set: &Names) -> Vec<&str> {
        set.iter().map(|name| name.trim_start_matches("CAP_")).collect()
    }

    #[test]
    fn root_gets_podmans_defaults_and_nothing_inheritable() {
        let got = sets(&asked(&[], &[]), 0, &all()).expect("sets");
        assert_eq!(got.bounding, DEFAULT.iter().map(|name| (*name).to_owned()).collect::<Names>());
        assert_eq!((&got.effective, got.ambient.len()), (&got.bounding, 0));
    }

    #[test]
    fn names_are_forgiving_and_all_works_both_ways() {
        let got = sets(&asked(&["net_admin"], &["CAP_chown", "Kill"]), 0, &all()).expect("sets");
        assert!(got.bounding.contains("CAP_NET_ADMIN") && !got.bounding.contains("CAP_CHOWN"));
        assert_eq!(names(&sets(&asked(&["sys_time"], &["all"]), 0, &all()).expect("sets").bounding), ["SYS_TIME"]);
        let most = sets(&asked(&["ALL"], &["mknod"]), 0, &all()).expect("sets");
        assert_eq!(most.bounding.len(), all().len() - 1);
        assert_eq!(
            sets(&Security { privileged: true, ..Default::default() }, 0, &all()).expect("sets").bounding,
            all()
        );
    }

    #[test]
    fn a_user_has_only_what_was_asked_for() {
        let got = sets(&asked(&["net_admin"], &[]), 33, &all()).expect("sets");
        assert_eq!((names(&got.effective), names(&got.ambient)), (vec!["NET_ADMIN"], vec!["NET_ADMIN"]));
        assert_eq!(got.bounding.len(), DEFAULT.len() + 1);
        let got = sets(&Security { privileged: true, ..Default::default() }, 33, &all()).expect("sets");
        assert_eq!((got.effective.len(), got.bounding), (0, all()));
    }

    #[test]
    fn refusals_have_podmans_words() {
        for (security, words) in [
            (asked(&["bogus"], &[]), "\"CAP_BOGUS\": unknown capability"),
            (asked(&[], &["a\nb"]), "\"CAP_A\\nB\": unknown capability"),
            (asked(&["all"], &["all"]), "adding all caps and removing all caps not allowed"),
            (asked(&["kill"], &["kill"]), "capability \"CAP_KILL\" cannot be dropped and added"),
            (asked(&["SYS_RESOURCE"], &[]), "--cap-add CAP_SYS_RESOURCE: podctl does not have this capability"),
        ] {
            let refusal = sets(&security, 0, &all()).expect_err(words);
            assert!(refusal.message.starts_with(words), "{refusal}");
        }
    }

    #[test]
    fn defaults_are_clamped_to_what_there_is() {
        let few: Names = ["CAP_CHOWN".to_owned()].into();
        assert_eq!(names(&sets(&asked(&[], &[]), 0, &few).expect("sets").bounding), ["CHOWN"]);
    }

    #[test]
    fn every_capability_of_the_kernel_has_its_oci_name() {
        let all: Names = caps::all().iter().map(ToString::to_string).collect();
        let sets = Sets { bounding: all.clone(), effective: all.clone(), ambient: all.clone() };
        assert_eq!(
            sets.to_oci().expect("known").bounding().as_ref().map(std::collections::HashSet::len),
            Some(all.len())
        );
    }
}
