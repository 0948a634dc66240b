//! What must hold whatever has happened: all that is listed can be looked at and removed, and then nothing is left.

use crate::{cli::Run, engine::Engine, oracle::Traces, wait};

/// Every list answers, and every object in one can be inspected. A list of what has no directory is asked in vain: that
/// costs a start of two programs.
const LOOK: &str = r#"
set -e; shopt -s nullglob dotglob extglob
any() { [ $# -gt 0 ]; }
members() { sed -n 's/^false //p'; }
all=$(podctl ps -a --pod --size --format '{{.IsInfra}} {{.ID}} {{.PodName}} {{.Size}}' | cut -d ' ' -f 1,2)
containers=$(members <<< "$all") pods=$(podctl pod ps -q) images= volumes= networks= secrets=
any ../state/images/records/* && images=$(podctl images -aq)
any ../state/volumes/!(.lock) && volumes=$(podctl volume ls -q)
any ../state/networks/* && networks=$(podctl network ls -q)
any ../state/secrets/!(.lock) && secrets=$(podctl secret ls -q)
[ -z "$all" ] || podctl container inspect $(cut -d ' ' -f 2 <<< "$all") > /dev/null
[ -z "$pods" ] || podctl pod inspect $pods > /dev/null
[ -z "$images" ] || podctl image inspect $images > /dev/null
[ -z "$volumes" ] || podctl volume inspect $volumes > /dev/null
[ -z "$networks" ] || podctl network inspect $networks > /dev/null
[ -z "$secrets" ] || podctl secret inspect $secrets > /dev/null
[ -z "$containers" ] || podctl logs $containers > /dev/null
"#;

/// Every object can be removed by its id, and its name is no object's any more. Follows [`LOOK`], or these lines.
const LISTS: &str = r#"
set -e
containers=$(podctl ps -a --format '{{.IsInfra}} {{.ID}}' | sed -n 's/^false //p') pods=$(podctl pod ps -q)
volumes=$(podctl volume ls -q) networks=$(podctl network ls -q) secrets=$(podctl secret ls -q)
"#;
const REMOVE: &str = r#"
networks=$(grep -vx podman <<< "$networks" || true)
[ -z "$containers" ] || podctl rm -f -t 0 $containers > /dev/null
[ -z "$pods" ] || podctl pod rm -f -t 0 $pods > /dev/null
# Those without a name have gone with their containers.
[ -z "$volumes" ] || volumes=$(podctl volume ls -q)
[ -z "$volumes" ] || podctl volume rm $volumes > /dev/null
[ -z "$networks" ] || podctl network rm $networks > /dev/null
[ -z "$secrets" ] || podctl secret rm $secrets > /dev/null
podctl ps -aq
[ -z "$pods" ] || podctl pod ps -q
[ -z "$volumes" ] || podctl volume ls -q
[ -z "$networks" ] || podctl network ls -q | grep -vx podman || true
[ -z "$secrets" ] || podctl secret ls -q
"#;

/// What is wrong with `engine`, if anything is: see the module.
///
/// # Errors
/// What was typed and what came of it, or what is left.
pub fn check(engine: &Engine) -> Result<(), String> {
    emptied(engine, &engine.sh(&format!("{LOOK}{REMOVE}")))
}

/// Looks at everything that is listed, and removes nothing.
///
/// # Errors
/// What was typed and what came of it.
pub fn look(engine: &Engine) -> Result<(), String> {
    expect(&engine.sh(LOOK), "something that is listed cannot be looked at")
}

/// Removes all objects, and proves that nothing of them is left.
///
/// # Errors
/// As [`check`].
pub fn clear(engine: &Engine) -> Result<(), String> {
    emptied(engine, &engine.sh(&format!("{LISTS}{REMOVE}")))
}

/// `removed` has removed everything, and nothing of it is left.
fn emptied(engine: &Engine, removed: &Run) -> Result<(), String> {
    expect(removed, "something that is listed cannot be looked at, or not removed")?;
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
