//! `system check`: what a person or a crash has broken, and mending it.
//!
//! What is found is looked at again and again for a while, because others are at work at the same time: only what stays
//! as it is for [`SETTLE`] is told. What a living shim or monitor has in hand, by its lock, is never touched.

mod cgroups;
mod mounts;
mod names;
mod pods;
mod processes;
mod run;

use std::{
    collections::{BTreeSet, HashMap},
    path::Path,
    thread,
    time::Duration,
};

use proto::{
    Id,
    alive::Lock,
    failpoint::{self, Point},
    refusal::Result,
    wire::CheckRequest,
};
use serde_json::{Value, json};

use crate::{
    config::Engine,
    finding::{Finding, Mend},
    image, index, network, secret, volume,
};

/// How long something must stay wrong: others need milliseconds between two steps, and bridges are removed 300 ms after
/// the last pod.
const SETTLE: Duration = Duration::from_millis(2400);
/// Looks in that time.
const LOOKS: u32 = 4;
/// Mending one thing can show another.
const ROUNDS: usize = 4;

/// What is looked at, as it is now.
struct Scene<'a> {
    engine: &'a Engine,
    request: &'a CheckRequest,
    pods: Vec<index::Pod>,
}

impl Scene<'_> {
    /// Somebody has the pod in hand: a shim lives, or something is being made or removed.
    fn is_held(&self, pod: &Id) -> bool {
        Lock::is_held(&self.engine.roots.pod_lock(pod))
    }

    fn pod(&self, id: &Id) -> Option<&index::Pod> {
        self.pods.iter().find(|pod| pod.id() == id)
    }

    /// Whether anything of the pod lives or is in somebody's hands.
    fn is_live(&self, id: &Id) -> bool {
        self.is_held(id) || self.pod(id).is_some_and(|pod| pod.containers.iter().any(|one| one.init().is_some()))
    }
}

/// Checks the engine and, where it is asked to, mends it. Blocks.
///
/// # Errors
/// When the records cannot even be listed.
pub fn run(engine: &Engine, request: &CheckRequest) -> Result<Value> {
    let mut told: Vec<Value> = Vec::new();
    let mut done: BTreeSet<(String, String, String)> = BTreeSet::new();
    for round in 0..ROUNDS {
        let mut mended = false;
        for finding in settled(engine, request, round > 0)? {
            let key = finding.key();
            if !done.insert((key.0.to_owned(), key.1.to_owned(), key.2.to_owned())) {
                continue;
            }
            let (document, is_mended) = tell(finding, request);
            mended |= is_mended;
            told.push(document);
        }
        if !mended {
            break;
        }
    }
    Ok(json!({ "Findings": told }))
}

/// Tells of a finding, and mends it where that was asked for.
fn tell(finding: Finding, request: &CheckRequest) -> (Value, bool) {
    let remedy = finding.remedy();
    let (action, target) = match &finding.mend {
        Mend::Repair(..) => ("repair", String::new()),
        Mend::Force(..) => ("force", String::new()),
        Mend::Shim(pod) => ("shim", pod.to_string()),
        Mend::Remove(container) => ("remove", container.to_string()),
        Mend::User(_) => ("user", String::new()),
    };
    failpoint::pass(Point::CheckFound);
    let result = match finding.mend {
        Mend::Repair(_, act) if request.repair => Some(act()),
        Mend::Force(_, act) if request.repair && request.force => Some(act()),
        _ => None,
    };
    failpoint::pass(Point::CheckMended);
    let mended = matches!(result, Some(Ok(())));
    let error = result.and_then(Result::err).map(|refusal| refusal.message).unwrap_or_default();
    let document = json!({
        "Kind": finding.kind, "Object": finding.object, "Problem": finding.problem, "Remedy": remedy,
        "Action": action, "Target": target, "Repaired": mended, "Error": error,
    });
    (document, mended)
}

/// What is found at every look. `again` = the slow parts have been told already.
fn settled(engine: &Engine, request: &CheckRequest, again: bool) -> Result<Vec<Finding>> {
    let quick = CheckRequest { quick: true, ..*request };
    let mut found = scan(engine, if again { &quick } else { request })?;
    for _ in 1..LOOKS {
        if found.is_empty() {
            break;
        }
        thread::sleep(SETTLE / (LOOKS - 1));
        let now = scan(engine, &quick)?;
        let keys: BTreeSet<_> = now.iter().map(Finding::key).collect();
        // Bytes do not mend by themselves, and reading them takes long.
        found.retain(|finding| keys.contains(&finding.key()) || finding.kind == image::check::CONTENT);
    }
    Ok(found)
}

fn scan(engine: &Engine, request: &CheckRequest) -> Result<Vec<Finding>> {
    let roots = &engine.roots;
    let pods = index::pods(roots).map_err(|error| proto::Refusal::internal("reading the pods", error))?;
    let scene = Scene { engine, request, pods };
    let mut found = mounts::scan(&scene);
    found.extend(names::scan(&scene));
    found.extend(pods::scan(&scene));
    found.extend(run::scan(&scene));
    found.extend(processes::scan(&scene));
    found.extend(cgroups::scan(&scene));
    let networks = network::Networks::open(roots);
    found.extend(network::check::scan(&networks, |pod| scene.is_live(pod) || roots.pod_state(pod).exists())?);
    found.extend(volume::check::scan(&volume::Volumes::open(roots)));
    found.extend(secret::check::scan(&secret::Secrets::open(roots)));
    let users: HashMap<String, Vec<String>> = image::Store::open(roots).users();
    let max = Duration::from_nanos(u64::try_from(scene.request.max_age).unwrap_or(0));
    found.extend(image::check::scan(&image::Store::open(roots), &users, scene.request.quick, max));
    Ok(found)
}

/// Removes a directory of ours and all that is in it; not there is fine.
fn remove_all(path: &Path) -> Result<()> {
    mounts::none_below(path)?;
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(proto::Refusal::internal(path.display(), error))
        }
        _ => Ok(()),
    }
}

/// The names in a directory; none where it cannot be read.
fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}
