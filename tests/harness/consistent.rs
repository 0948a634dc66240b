//! What must hold whatever has happened: all that is listed can be looked at and removed, and then nothing is left.

use crate::{cli::Run, engine::Engine, oracle::Traces, wait};

/// Every list answers, and every object in one can be inspected. Prints what is there.
const INSPECT: &str = r#"
set -e
podctl ps -a --pod --size > /dev/null
podctl pod ps > /dev/null
containers=$(podctl ps -aq) pods=$(podctl pod ps -q) images=$(podctl images -aq) volumes=$(podctl volume ls -q)
networks=$(podctl network ls -q)
[ -z "$containers" ] || podctl container inspect $containers > /dev/null
[ -z "$pods" ] || podctl pod inspect $pods > /dev/null
[ -z "$images" ] || podctl image inspect $images > /dev/null
[ -z "$volumes" ] || podctl volume inspect $volumes > /dev/null
[ -z "$networks" ] || podctl network inspect $networks > /dev/null
for container in $containers; do podctl logs $container > /dev/null; done
"#;

/// Every object can be removed by its id, and its name is no object's any more.
const REMOVE: &str = r#"
set -e
containers=$(podctl ps -a --format '{{.IsInfra}} {{.ID}}' | sed -n 's/^false //p') pods=$(podctl pod ps -q)
[ -z "$containers" ] || podctl rm -f -t 0 $containers > /dev/null
[ -z "$pods" ] || podctl pod rm -f -t 0 $pods > /dev/null
volumes=$(podctl volume ls -q) networks=$(podctl network ls -q | grep -vx podman || true) secrets=$(podctl secret ls -q)
[ -z "$volumes" ] || podctl volume rm $volumes > /dev/null
[ -z "$networks" ] || podctl network rm $networks > /dev/null
[ -z "$secrets" ] || podctl secret rm $secrets > /dev/null
podctl ps -aq; podctl pod ps -q; podctl volume ls -q; podctl network ls -q | grep -vx podman || true; podctl secret ls -q
"#;

/// What is wrong with `engine`, if anything is: see the module.
///
/// # Errors
/// What was typed and what came of it, or what is left.
pub fn check(engine: &Engine) -> Result<(), String> {
    expect(&engine.sh(INSPECT), "something that is listed cannot be looked at")?;
    clear(engine)
}

/// Removes all objects, and proves that nothing of them is left.
///
/// # Errors
/// As [`check`].
pub fn clear(engine: &Engine) -> Result<(), String> {
    let removed = engine.sh(REMOVE);
    expect(&removed, "something that is listed cannot be removed")?;
    if !removed.stdout().trim().is_empty() {
        return Err(format!("this is listed although it was removed:\n{removed}"));
    }
    let mut left = Traces::default();
    let gone = wait::within(wait::PATIENCE / 3, || {
        // A bridge and the table outlive the last pod for a moment, in which the next may use them.
        left = engine.traces().without_lingering();
        left.is_empty().then_some(())
    });
    if gone.is_some() { Ok(()) } else { Err(format!("this is left:\n{left}")) }
}

/// `run` has succeeded without a word on standard error.
///
/// # Errors
/// What was wrong, and what came of it.
pub fn expect(run: &Run, what: &str) -> Result<(), String> {
    if run.code == 0 { Ok(()) } else { Err(format!("{what}:\n{run}")) }
}
