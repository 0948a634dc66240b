//! Capabilities of a container that has no bundle now: what it would get.

use proto::wire::Security;

use crate::bundle::capabilities::DEFAULT;

/// All the kernel's headers we are built with know.
fn all() -> Vec<String> {
    let mut all: Vec<String> = caps::all().iter().map(ToString::to_string).collect();
    all.sort();
    all
}

/// The bounding set that `security` means, sorted.
pub(super) fn bounding(security: Option<&Security>) -> Vec<String> {
    let Some(security) = security else { return DEFAULT.map(str::to_owned).to_vec() };
    if security.privileged {
        return all();
    }
    let named = |words: &[String], name: &str| words.iter().any(|word| full_name(word) == name);
    let (add_all, drop_all) = (named(&security.cap_add, "ALL"), named(&security.cap_drop, "ALL"));
    let mut set = match (add_all, drop_all) {
        (true, _) => all(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT.map(str::to_owned).to_vec(),
    };
    set.retain(|capability| !named(&security.cap_drop, capability));
    let added = security.cap_add.iter().map(|word| full_name(word)).filter(|word| word != "ALL");
    set.extend(added);
    set.sort();
    set.dedup();
    set
}

/// `CAP_SYS_ADMIN` for `sys_admin`; `ALL` stays.
fn full_name(word: &str) -> String {
    let word = word.to_ascii_uppercase();
    if word == "ALL" || word.starts_with("CAP_") { word } else { format!("CAP_{word}") }
}

/// What `set` has more and less than usual: `CapAdd` and `CapDrop`.
pub(super) fn difference(set: &[String], privileged: bool) -> (Vec<String>, Vec<String>) {
    let usual: Vec<String> = if privileged { all() } else { DEFAULT.map(str::to_owned).to_vec() };
    let added = set.iter().filter(|capability| !usual.contains(capability)).cloned().collect();
    let dropped = usual.iter().filter(|capability| !set.contains(capability)).cloned().collect();
    (added, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_and_dropped_ones() {
        let security = |add: &[&str], drop: &[&str]| {
            let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            bounding(Some(&Security { cap_add: own(add), cap_drop: own(drop), ..Default::default() }))
        };
        assert_eq!(bounding(None), DEFAULT);
        assert_eq!(security(&["net_admin"], &["all"]), ["CAP_NET_ADMIN"]);
        assert!(security(&["ALL"], &["CAP_MKNOD"]).len() > 30);
        assert!(!security(&["ALL"], &["CAP_MKNOD"]).contains(&"CAP_MKNOD".to_owned()));
        let (added, dropped) = difference(&security(&["NET_RAW"], &["kill"]), false);
        assert_eq!((added, dropped), (vec!["CAP_NET_RAW".to_owned()], vec!["CAP_KILL".to_owned()]));
    }
}
