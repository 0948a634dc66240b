//! What `system check` can find: something that a person or a crash has broken, and the way out.

use std::path::Path;

use proto::{Id, refusal::Result};

/// One thing that is not as it should be.
pub struct Finding {
    /// What it is, in one or two words: `name`, `lease`, `image` …
    pub kind: &'static str,
    /// Which: a name, an id or a path.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// How it can be mended.
    pub mend: Mend,
}

/// Does the mending; it looks again before it changes anything, for time has passed.
pub type Act = Box<dyn FnOnce() -> Result<()> + Send>;

/// Who mends it, and what is lost by it.
pub enum Mend {
    /// `--repair` does this, and nothing that anybody wants is lost.
    Repair(&'static str, Act),
    /// `--repair --force` does this; something that cannot be used any more is then gone.
    Force(&'static str, Act),
    /// `--repair` has the pod's shim started, which knows what to do with what it finds.
    Shim(Id),
    /// `--repair --force` has the container removed by its pod's shim.
    Remove(Id),
    /// Only the user can: these words say how.
    User(String),
}

/// A path as the object of a finding.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl Finding {
    /// Something that `--repair` mends by `act`, which `verb` says in a word or two.
    pub fn repair(
        kind: &'static str,
        object: impl ToString,
        problem: impl ToString,
        verb: &'static str,
        act: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Finding {
        Finding::new(kind, object, problem, Mend::Repair(verb, Box::new(act)))
    }

    /// Something that only `--repair --force` mends.
    pub fn force(
        kind: &'static str,
        object: impl ToString,
        problem: impl ToString,
        verb: &'static str,
        act: impl FnOnce() -> Result<()> + Send + 'static,
    ) -> Finding {
        Finding::new(kind, object, problem, Mend::Force(verb, Box::new(act)))
    }

    /// Any finding.
    pub fn new(kind: &'static str, object: impl ToString, problem: impl ToString, mend: Mend) -> Finding {
        Finding { kind, object: object.to_string(), problem: problem.to_string(), mend }
    }

    /// What makes it the same finding when it is found again.
    pub fn key(&self) -> (&'static str, &str, &str) {
        (self.kind, &self.object, &self.problem)
    }

    /// The way out, in words that follow those of the problem.
    pub fn remedy(&self) -> String {
        match &self.mend {
            Mend::Repair(verb, _) => format!("--repair {verb}"),
            Mend::Force(verb, _) => format!("--repair --force {verb}"),
            Mend::Shim(_) => "--repair starts its shim, which takes over what is left".to_owned(),
            Mend::Remove(_) => "--repair --force removes the container".to_owned(),
            Mend::User(words) => words.clone(),
        }
    }
}
