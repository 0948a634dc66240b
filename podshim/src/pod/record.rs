//! Making and removing the records of pods and containers, and claiming their names.
//!
//! A name is a symlink in `names/`; making it is the claim, for pods and containers at once. A creator that dies between
//! the claim and the record leaves a name whose target is not there while nobody holds the pod's lock: such a name is
//! free. Removal renames the object to a tombstone first. What was cut off on its way in or out is settled by whoever comes
//! next, see [`super::intent`].

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, symlink},
    path::{Path, PathBuf},
};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    failpoint::{self, Point},
    layout::Target,
    record::{self, ContainerRecord, Durability, PodRecord},
    refusal::Result,
    wire::PodConfig,
};

use super::{dependents, names, undo::Undo};

/// Prefix of what is being removed.
pub const TOMBSTONE: &str = ".rm-";

/// Makes a directory and its parents, mode 0700.
///
/// # Errors
/// Those of mkdir(2).
pub fn make_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// What a name is claimed for, in podman's words.
fn in_use(name: &str, taken: &Target) -> Refusal {
    let what = match taken {
        Target::Pod(_) => "pod already exists",
        Target::Infra(_) | Target::Container { .. } => "container already exists",
    };
    Refusal::new(Kind::NameInUse, format!("name \"{name}\" is in use: {what}")).about(name)
}

/// Refuses `name` (empty = none) where somebody has it now, who is not to be replaced. Only [`claim`] makes sure, but
/// that is later.
///
/// # Errors
/// [`Kind::NameInUse`] with podman's words.
pub fn refuse_taken(roots: &Roots, name: &str, ours: &Id, replace: bool) -> Result<()> {
    let link = if name.is_empty() { None } else { fs::read_link(roots.names().join(name)).ok() };
    match link.and_then(|link| Target::from_link(&link)) {
        Some(Target::Container { .. }) if replace => Ok(()),
        Some(taken) if is_taken(roots, &taken, ours) => Err(in_use(name, &taken)),
        _ => Ok(()),
    }
}

/// Claims `name` for `target`.
///
/// # Errors
/// [`Kind::NameInUse`] with podman's words.
pub fn claim(roots: &Roots, name: &str, target: &Target) -> Result<()> {
    let path = roots.names().join(name);
    let broken = |error: io::Error| Refusal::internal(format!("claiming the name {name}"), error);
    for _ in 0..8 {
        match symlink(target.link(), &path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => make_dir(&roots.names()).map_err(broken)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let Ok(link) = fs::read_link(&path) else { continue };
                match Target::from_link(&link) {
                    Some(taken) if taken == *target => return Ok(()),
                    Some(taken) if is_taken(roots, &taken, target.pod()) => return Err(in_use(name, &taken)),
                    _ => drop(fs::remove_file(&path)),
                }
            }
            Err(error) => return Err(broken(error)),
        }
    }
    Err(Refusal::new(Kind::NameInUse, format!("name \"{name}\" is being claimed by others: try again")).about(name))
}

/// Whether `target` exists, or may yet come to: somebody holds its pod's lock.
pub fn is_there(roots: &Roots, target: &Target) -> bool {
    roots.is_recorded(target) || (Lock::is_held(&roots.pod_lock(target.pod())) && !is_buried(roots, target))
}

/// Whether `target` has been removed, and only what it has left is still there.
fn is_buried(roots: &Roots, target: &Target) -> bool {
    let alone = match target {
        Target::Container { pod, container } => container_tombstone(roots, pod, container).exists(),
        Target::Pod(_) | Target::Infra(_) => false,
    };
    alone || pod_tombstone(roots, target.pod()).exists()
}

/// Whether `target` exists, or may yet come to, where the lock of the pod `ours` is our own.
fn is_taken(roots: &Roots, target: &Target, ours: &Id) -> bool {
    if target.pod() == ours { roots.is_recorded(target) } else { is_there(roots, target) }
}

/// Lets go of `name` if it stands for `target`.
pub fn release(roots: &Roots, name: &str, target: &Target) {
    let path = roots.names().join(name);
    if fs::read_link(&path).ok().and_then(|link| Target::from_link(&link)).as_ref() == Some(target) {
        // Gone already is as good.
        let _ = fs::remove_file(&path);
    }
}

/// Claims the name that was asked for, or one we choose.
fn claim_or_choose(roots: &Roots, wanted: &str, target: &Target) -> Result<String> {
    if !wanted.is_empty() {
        claim(roots, wanted, target)?;
        return Ok(wanted.to_owned());
    }
    loop {
        let name = names::random().map_err(|error| Refusal::internal("a new name", error))?;
        match claim(roots, &name, target) {
            Ok(()) => return Ok(name),
            Err(refusal) if refusal.kind == Kind::NameInUse => {}
            Err(refusal) => return Err(refusal),
        }
    }
}

/// Creates a pod: names and record, nothing that runs. `config` has passed [`crate::spec::check_pod`].
///
/// # Errors
/// [`Kind::NameInUse`], or when the disk refuses; nothing is left then.
pub fn create_pod(roots: &Roots, id: &Id, mut config: PodConfig) -> Result<PodRecord> {
    let broken = |error: io::Error| Refusal::internal(format!("creating pod {id}"), error);
    let mut undo = Undo::default();
    let target = Target::Pod(id.clone());
    failpoint::refuse(Point::PodBegun)?;
    let infra = if config.no_infra || config.hidden { None } else { Some(Id::random().map_err(broken)?) };
    let name = if config.hidden {
        id.as_str().to_owned()
    } else {
        let name = claim_or_choose(roots, &config.name, &target)?;
        undo_claim(&mut undo, roots, &name, &target);
        claim(roots, id.as_str(), &target)?;
        undo_claim(&mut undo, roots, id.as_str(), &target);
        failpoint::refuse(Point::PodNamed)?;
        name
    };
    config.name.clone_from(&name);
    let record = PodRecord { schema: record::SCHEMA, id: id.clone(), name, created: proto::time::now(), infra, config };
    if let Some(infra) = &record.infra {
        let target = Target::Infra(id.clone());
        for name in [record.infra_name().as_str(), infra.as_str()] {
            claim(roots, name, &target)?;
            undo_claim(&mut undo, roots, name, &target);
        }
    }
    failpoint::refuse(Point::PodClaimed)?;
    let dir = roots.pod(id);
    let gone = dir.clone();
    undo.push(move || drop(fs::remove_dir_all(gone)));
    make_dir(&roots.containers(id)).map_err(broken)?;
    failpoint::refuse(Point::PodDir)?;
    record::write(&roots.pod_record(id), &record, Durability::Durable).map_err(broken)?;
    failpoint::refuse(Point::PodRecorded)?;
    undo.forget();
    Ok(record)
}

fn undo_claim(undo: &mut Undo, roots: &Roots, name: &str, target: &Target) {
    let (roots, name, target) = (roots.clone(), name.to_owned(), target.clone());
    undo.push(move || release(&roots, &name, &target));
}

/// Claims the name of a container that is about to be recorded; its id is claimed with it.
///
/// # Errors
/// [`Kind::NameInUse`].
pub fn claim_container(roots: &Roots, pod: &Id, id: &Id, wanted: &str) -> Result<String> {
    let target = Target::Container { pod: pod.clone(), container: id.clone() };
    let name = claim_or_choose(roots, wanted, &target)?;
    failpoint::pass(Point::MemberNamed);
    if let Err(refusal) = claim(roots, id.as_str(), &target) {
        release(roots, &name, &target);
        return Err(refusal);
    }
    Ok(name)
}

/// The names that stand for `pod` or something of it, each with what it stands for.
pub fn names_of(roots: &Roots, pod: &Id) -> Vec<(String, Target)> {
    let entries = fs::read_dir(roots.names()).into_iter().flatten().flatten();
    let named = entries.filter_map(|entry| {
        let target = Target::from_link(&fs::read_link(entry.path()).ok()?)?;
        Some((entry.file_name().to_str()?.to_owned(), target))
    });
    named.filter(|(_, target)| target.pod() == pod).collect()
}

/// What is known of a pod whose record cannot be read: what its names say. Enough to stop and to remove it.
pub fn stand_in(roots: &Roots, pod: &Id) -> PodRecord {
    let mut record = PodRecord {
        schema: record::SCHEMA,
        id: pod.clone(),
        name: pod.to_string(),
        created: 0,
        infra: None,
        config: PodConfig::default(),
    };
    for (name, target) in names_of(roots, pod) {
        match (target, name.parse::<Id>()) {
            (Target::Pod(_), Err(_)) => record.name = name,
            (Target::Infra(_), Err(_)) => record.config.infra_name = name,
            (Target::Infra(_), Ok(infra)) => record.infra = Some(infra),
            _ => {}
        }
    }
    // A hidden pod of one has no name of its own.
    record.config.hidden = record.name == pod.as_str();
    record
}

/// Writes a container's record for the first time.
///
/// # Errors
/// Those of the disk; the directory is gone then.
pub fn create_container(roots: &Roots, container: &ContainerRecord) -> Result<()> {
    let dir = roots.container(&container.pod, &container.id);
    make_dir(&dir)
        .and_then(|()| failpoint::check(Point::MemberDir))
        .and_then(|()| {
            let path = roots.container_record(&container.pod, &container.id);
            record::write(&path, container, Durability::Durable)
        })
        .map_err(|error| {
            // The cause is what the user needs to know.
            let _ = fs::remove_dir_all(&dir);
            Refusal::internal(format!("recording container {}", container.id), error)
        })
}

/// Removes a container's record: from here on it does not exist for anyone. [`super::remove::finish`] does the rest.
///
/// # Errors
/// Those of the disk.
pub fn bury_container(roots: &Roots, pod: &Id, id: &Id) -> Result<()> {
    bury(&roots.containers(pod), id.as_str())
        .map_err(|error| Refusal::internal(format!("removing container {id}"), error))?;
    failpoint::refuse(Point::RmBuried)
}

/// What is left of a container that was buried.
pub fn container_tombstone(roots: &Roots, pod: &Id, id: &Id) -> PathBuf {
    roots.containers(pod).join(format!("{TOMBSTONE}{id}"))
}

/// What is left of a pod that was buried.
pub fn pod_tombstone(roots: &Roots, pod: &Id) -> PathBuf {
    roots.pods().join(format!("{TOMBSTONE}{pod}"))
}

/// Removes a pod's record and names; its containers' with it.
///
/// # Errors
/// Those of the disk; asked again it goes on.
pub fn remove_pod(roots: &Roots, pod: &PodRecord) -> Result<()> {
    let broken = |error: io::Error| Refusal::internal(format!("removing pod {}", pod.id), error);
    bury(&roots.pods(), pod.id.as_str()).map_err(broken)?;
    failpoint::refuse(Point::PodRmBuried)?;
    finish_pod(roots, pod).map_err(broken)
}

/// Finishes the removal of `pod` where it was cut off.
///
/// # Errors
/// Those of the disk.
pub fn finish_removed_pod(roots: &Roots, pod: &Id) -> io::Result<()> {
    let tombstone = pod_tombstone(roots, pod);
    match record::read::<PodRecord>(&tombstone.join("pod.json")) {
        Ok(record) => finish_pod(roots, &record),
        Err(_) => remove_all(&tombstone),
    }
}

fn finish_pod(roots: &Roots, pod: &PodRecord) -> io::Result<()> {
    if let Some(infra) = &pod.infra {
        for name in [pod.infra_name().as_str(), infra.as_str()] {
            release(roots, name, &Target::Infra(pod.id.clone()));
        }
    }
    for name in [pod.name.as_str(), pod.id.as_str()] {
        release(roots, name, &Target::Pod(pod.id.clone()));
    }
    failpoint::check(Point::PodRmNames)?;
    let sources: Vec<String> =
        pod.config.volumes_from.iter().map(|source| dependents::name_of(source).to_owned()).collect();
    dependents::release(roots, &sources, pod.infra.as_ref().unwrap_or(&pod.id));
    remove_all(&pod_tombstone(roots, &pod.id))
}

/// Gives the object `name` of `dir` the name of its tombstone.
///
/// # Errors
/// Those of the disk.
pub fn bury(dir: &Path, name: &str) -> io::Result<()> {
    match fs::rename(dir.join(name), dir.join(format!("{TOMBSTONE}{name}"))) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a tree. Not there is fine.
///
/// # Errors
/// Those of the disk.
pub fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(dir: &Path) -> Roots {
        Roots { state: dir.join("state"), run: dir.join("run") }
    }

    #[test]
    fn a_name_is_claimed_once_for_pods_and_containers() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = roots(dir.path());
        let pod =
            create_pod(&roots, &Id::random().expect("id"), PodConfig { name: "web".into(), ..Default::default() })
                .expect("created");
        let refusal =
            create_pod(&roots, &Id::random().expect("id"), PodConfig { name: "web".into(), ..Default::default() })
                .expect_err("taken");
        assert_eq!(
            (refusal.kind, refusal.message.as_str()),
            (Kind::NameInUse, "name \"web\" is in use: pod already exists")
        );
        let id = Id::random().expect("id");
        assert_eq!(claim_container(&roots, &pod.id, &id, "web").expect_err("taken").kind, Kind::NameInUse);
        assert!(!roots.names().join(id.as_str()).exists());
        remove_pod(&roots, &pod).expect("removed");
        assert_eq!(fs::read_dir(roots.names()).expect("names").count(), 0, "every name is free again");
        assert_eq!(fs::read_dir(roots.pods()).expect("pods").count(), 0);
    }

    #[test]
    fn a_name_whose_creator_died_is_free() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = roots(dir.path());
        let dead = Target::Pod(Id::random().expect("id"));
        claim(&roots, "web", &dead).expect("claimed");
        let alive = Target::Pod(Id::random().expect("id"));
        claim(&roots, "web", &alive).expect("claimed again");
        assert_eq!(Target::from_link(&fs::read_link(roots.names().join("web")).expect("link")), Some(alive));
    }
}
