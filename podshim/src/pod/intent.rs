//! Acts that change which pods and containers there are, while they are under way: `$STATE/pods/.open/POD`.
//!
//! The file is made before the first step and removed after the last, so what a killed program has left half done is
//! found without looking at everything: the file is there and nobody holds the pod's lock. Whoever comes next, the pod's
//! own shim or any other, then brings the pod's records to where they would be had the act failed or ended.
//!
//! | found | what is done |
//! |---|---|
//! | a pod or container without record | its names and its directory go |
//! | a tombstone | its removal is finished: names, who it needed, anonymous volumes, the directory |
//! | a name that its object does not have (any more) | it goes |
//! | a hidden pod without its container | it goes |
//! | a pod that was to be made for a container which is not there | it goes |

use std::{
    collections::BTreeSet,
    fs, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use proto::{
    Id, Roots,
    alive::Lock,
    failpoint::{self, Point},
    layout::Target,
    record::{self, ContainerRecord, PodRecord},
};

use super::{record as records, remove::finish_buried};
use crate::{
    cgroup, index,
    namespace::{infra, pin},
    network,
};

/// What is in the file of an act that makes its pod, too.
const NEW: &str = "new";

fn directory(roots: &Roots) -> PathBuf {
    roots.pods().join(".open")
}

fn file(roots: &Roots, pod: &Id) -> PathBuf {
    directory(roots).join(pod.as_str())
}

/// Whether an act on `pod` is under way, or was cut off.
pub fn is_open(roots: &Roots, pod: &Id) -> bool {
    file(roots, pod).exists()
}

/// Counts the acts of this process on one pod.
#[derive(Debug)]
pub struct Intents {
    roots: Roots,
    pod: Id,
    acts: Mutex<u32>,
    kept: AtomicBool,
}

/// One act that is under way, as long as this lives.
#[derive(Debug)]
pub struct Intent<'a>(&'a Intents);

impl Intents {
    /// For acts on `pod`, whose lock the caller has or is about to take.
    pub fn new(roots: &Roots, pod: &Id) -> Intents {
        Intents { roots: roots.clone(), pod: pod.clone(), acts: Mutex::default(), kept: AtomicBool::new(false) }
    }

    /// An act has failed in the middle, and there is no way back: whoever comes after this process settles it.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
        if !is_open(&self.roots, &self.pod) {
            self.open();
        }
    }

    /// Makes the file. Where it cannot be made it is as if there were no act: the act itself will fail or not.
    fn open(&self) {
        let words = if self.roots.pod_record(&self.pod).exists() { "" } else { NEW };
        let file = file(&self.roots, &self.pod);
        let _ = fs::write(&file, words).or_else(|_| {
            records::make_dir(&directory(&self.roots))?;
            fs::write(&file, words)
        });
    }

    /// Whether that is so.
    pub fn is_kept(&self) -> bool {
        self.kept.load(Ordering::Relaxed)
    }

    /// Begins an act.
    pub fn begin(&self) -> Intent<'_> {
        let mut acts = self.acts.lock().unwrap_or_else(PoisonError::into_inner);
        *acts += 1;
        if *acts == 1 {
            self.open();
        }
        Intent(self)
    }
}

impl Drop for Intent<'_> {
    fn drop(&mut self) {
        let mut acts = self.0.acts.lock().unwrap_or_else(PoisonError::into_inner);
        *acts = acts.saturating_sub(1);
        // Of a pod that is not there, or not any more, what its shim has in the run directory is left: see `leave`.
        let gone = !self.0.roots.pod_record(&self.0.pod).exists();
        if *acts == 0 && !gone && !self.0.kept.load(Ordering::Relaxed) {
            // A file that stays makes somebody look, and find nothing.
            let _ = fs::remove_file(file(&self.0.roots, &self.0.pod));
        }
    }
}

/// A pod without a record has a shim: until it is made, or the shim leaves, that is an act under way.
#[derive(Debug)]
pub struct Newborn(Arc<Intents>);

impl Newborn {
    /// Before anything of `pod` is made; `None` where there is such a pod.
    pub fn new(roots: &Roots, pod: &Id) -> Option<Newborn> {
        if roots.pod_record(pod).exists() {
            return None;
        }
        let intents = Arc::new(Intents::new(roots, pod));
        // Until this is dropped.
        std::mem::forget(intents.begin());
        Some(Newborn(intents))
    }

    /// The lock has been taken. Who looked before whether we had been killed has taken the file away.
    pub fn renew(&self) {
        let path = file(&self.0.roots, &self.0.pod);
        if !path.exists() {
            // As in `begin`.
            let _ = fs::write(path, NEW);
        }
    }

    /// Somebody else has the pod's lock.
    pub fn leave_to_another(self, roots: &Roots, pod: &Id) {
        if !roots.pod_record(pod).exists() {
            // The act is theirs now.
            std::mem::forget(self);
        }
    }

    /// For the acts of the shim.
    pub fn intents(&self) -> Arc<Intents> {
        self.0.clone()
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        drop(Intent(&self.0));
    }
}

/// Takes the lock of `pod`, making its run directory; `None` when somebody has it.
///
/// # Errors
/// Those of mkdir(2) and open(2).
pub fn lock(roots: &Roots, pod: &Id) -> io::Result<Option<Lock>> {
    loop {
        records::make_dir(&roots.run_pod(pod))?;
        match Lock::try_take(&roots.pod_lock(pod)) {
            // An earlier shim of this pod has just left, with the directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
    }
}

/// Finishes or takes back what killed programs have left of acts on other pods than `own`.
pub async fn sweep(roots: &Roots, own: Option<&Id>) {
    for entry in fs::read_dir(directory(roots)).into_iter().flatten().flatten() {
        let Some(pod) = entry.file_name().to_str().and_then(|name| name.parse::<Id>().ok()) else { continue };
        if own == Some(&pod) || Lock::is_held(&roots.pod_lock(&pod)) {
            continue;
        }
        let run = roots.run_pod(&pod);
        // Somebody was faster, or it cannot be now: the next one tries.
        let Ok(Some(lock)) = lock(roots, &pod) else { continue };
        let parent = record::read::<PodRecord>(&roots.pod_record(&pod)).map(|pod| pod.config.cgroup_parent);
        // What was busy when its shim left may not be any more.
        tidy(roots, &pod).await;
        if settle(roots, &pod) {
            clear(roots, &pod, &parent.unwrap_or_default()).await;
        }
        if !roots.pod(&pod).exists() || fs::read_dir(&run).is_ok_and(|entries| entries.count() == 1) {
            leave(roots, &pod);
        }
        drop(lock);
    }
    if let Err(refusal) = network::finish(&network::Networks::open(roots)).await {
        tracing::warn!("bridges or rules that nobody needs are left: {refusal}");
    }
}

/// Where a shim was killed: what it had begun to bring up and not recorded goes. The caller has the pod's lock.
pub async fn tidy(roots: &Roots, id: &Id) {
    let found = index::pod(roots, id);
    let up = |pod: &index::Pod| {
        pod.state.as_ref().is_some_and(|state| state.started)
            || pod.containers.iter().any(|container| container.state.is_alive())
    };
    if found.as_ref().is_some_and(up) {
        return;
    }
    let parent = found.and_then(|pod| pod.record.ok()).map(|pod| pod.config.cgroup_parent);
    clear(roots, id, &parent.unwrap_or_default()).await;
}

/// Takes down what a killed shim had up of a pod, by the pod's id. What is not there is fine.
pub async fn clear(roots: &Roots, pod: &Id, cgroup_parent: &str) {
    pin::unpin(&roots.namespaces(pod));
    infra::end_of(pod, roots);
    if let Err(refusal) = network::down(&network::Networks::open(roots), pod).await {
        tracing::warn!("pod {pod}: {refusal}");
    }
    let removed = cgroup::pod_path(pod, cgroup_parent).and_then(|path| {
        let removed = cgroup::remove(&path);
        cgroup::remove_parents(&path, &roots.run);
        removed
    });
    if let Err(refusal) = removed {
        tracing::warn!("pod {pod}: {refusal}");
    }
}

/// Removes `$RUN/pods/POD`; with it ends the act that has removed the pod, if it has been removed. The caller has its lock.
pub fn leave(roots: &Roots, pod: &Id) {
    leave_open(roots, pod);
    if !roots.pod(pod).exists() {
        // As in `drop`.
        let _ = fs::remove_file(file(roots, pod));
    }
}

/// Removes `$RUN/pods/POD`, the lock last, which the caller holds: nobody else ever works in a directory that goes.
pub fn leave_open(roots: &Roots, pod: &Id) {
    let run = roots.run_pod(pod);
    failpoint::pass(Point::LeaveBegun);
    for entry in fs::read_dir(&run).into_iter().flatten().flatten() {
        if entry.file_name() == "lock" {
            continue;
        }
        // What cannot be removed is in a directory that the next shim of the pod uses, or the next boot empties.
        let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
    }
    failpoint::pass(Point::LeaveEmptied);
    let _ = fs::remove_file(roots.pod_lock(pod));
    failpoint::pass(Point::LeaveUnlocked);
    // Not empty where the next one has come already.
    let _ = fs::remove_dir(run);
}

/// Brings the records of `pod` to where an act that was cut off would have left them. The caller has its lock. Whether
/// the pod has gone.
pub fn settle(roots: &Roots, pod: &Id) -> bool {
    let intent = file(roots, pod);
    let Ok(words) = fs::read_to_string(&intent) else { return false };
    if let Err(error) = settle_records(roots, pod, words == NEW) {
        // The file stays: the next one tries.
        tracing::warn!("pod {pod}: what was cut off cannot be settled: {error}");
        return false;
    }
    let gone = !roots.pod(pod).exists();
    if !gone {
        // Of one that has gone, `leave` removes it, after the run directory.
        let _ = fs::remove_file(intent);
    }
    gone
}

fn settle_records(roots: &Roots, pod: &Id, new: bool) -> io::Result<()> {
    records::finish_removed_pod(roots, pod)?;
    finish_buried(roots, pod).map_err(|refusal| io::Error::other(refusal.message))?;
    let mut names: BTreeSet<(String, Target)> = BTreeSet::new();
    let container = |container: &Id| Target::Container { pod: pod.clone(), container: container.clone() };
    let mut members = 0;
    for entry in fs::read_dir(roots.containers(pod)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if let Ok(id) = name.parse::<Id>() {
            let path = roots.container_record(pod, &id);
            match record::read::<ContainerRecord>(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => records::remove_all(&entry.path())?,
                // What cannot be read keeps whatever name it has.
                Err(_) => return Ok(()),
                Ok(record) => {
                    members += 1;
                    names.extend([(record.name, container(&id)), (id.to_string(), container(&id))]);
                }
            }
        }
    }
    match record::read::<PodRecord>(&roots.pod_record(pod)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => records::remove_all(&roots.pod(pod))?,
        Err(_) => return Ok(()),
        Ok(record) if members == 0 && (record.config.hidden || new) => {
            records::remove_pod(roots, &record).map_err(|refusal| io::Error::other(refusal.message))?;
        }
        Ok(record) => {
            names
                .extend([(record.name.clone(), Target::Pod(pod.clone())), (pod.to_string(), Target::Pod(pod.clone()))]);
            if let Some(infra) = &record.infra {
                let target = Target::Infra(pod.clone());
                names.extend([(record.infra_name(), target.clone()), (infra.to_string(), target)]);
            }
        }
    }
    for (name, target) in records::names_of(roots, pod) {
        if !names.contains(&(name.clone(), target.clone())) {
            records::release(roots, &name, &target);
        }
    }
    Ok(())
}
