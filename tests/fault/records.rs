//! Every file that the engine keeps of a small world, one after the other: empty, cut off, with a byte that has flipped, or
//! larger than any record. Others are not affected, and what is broken is told, or does no harm, and can be cleared away.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    time::Instant,
};

use harness::{Engine, consistent, images::ALPINE, programs::is_stand_in};

use super::report::{self, Random};

/// How many of the cases a share has, and how many `make crash` takes: all of them would last for an hour.
const CASES: (usize, usize) = (8, 40);

/// Larger than anything that is read as a whole.
const TOO_LARGE: u64 = 17 << 20;

/// What happens to a file.
#[derive(Clone, Copy, Debug)]
enum Damage {
    Empty,
    Half,
    Flipped,
    Large,
}

/// Who has died, so that nobody has in memory what the file said.
type Killed = &'static [&'static str];

const KILLED: [Killed; 3] = [&[], &["podshim pod"], &["podshim pod", "podmon "]];

/// A pod with all that a pod can have, of which a member runs and one has ended; and one that nothing here concerns.
fn world(engine: &Engine) -> Result<(), String> {
    let pod = "podctl network create net && podctl volume create vol && echo word | podctl secret create key - \
               && podctl pod create --name bad --network net -v vol:/v -p 8080:80 \
               && podctl run -d --pod bad --name up --secret key --health-cmd true --health-interval 1h \
                  alpine sh -c 'echo up; exec sleep 10000' \
               && podctl run --pod bad --name down alpine echo down";
    let other = "podctl run -d --pod new:good --name other alpine sh -c 'echo other; exec sleep 10000' \
                 && podctl create --name spare alpine true";
    let made = engine.sh(&format!("{pod} && {other}"));
    consistent::expect(&made, "the world was not made")
}

/// The files below the engine's directories, with names for ids: the same in every world.
fn kept(engine: &Engine) -> Vec<(String, PathBuf)> {
    let ids = engine.sh(
        "podctl ps -a --no-trunc --format '{{.ID}} {{.Names}}'; podctl pod ps --no-trunc --format '{{.Id}} {{.Name}}'; \
         podctl secret ls --format '{{.ID}} {{.Name}}'",
    );
    let names: Vec<(String, String)> =
        ids.lines().iter().filter_map(|line| line.split_once(' ').map(|(id, name)| (id.into(), name.into()))).collect();
    let mut found = Vec::new();
    for root in ["state", "runroot"] {
        files(&engine.path(root), &mut |path| {
            let mut label = path.strip_prefix(engine.path("")).unwrap_or(path).to_string_lossy().into_owned();
            for (id, name) in &names {
                label = label.replace(id.as_str(), name);
            }
            found.push((label, path.to_owned()));
        });
    }
    found.sort();
    found
}

fn files(directory: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let (path, kind) = (entry.path(), entry.file_type());
        if kind.as_ref().is_ok_and(fs::FileType::is_dir) {
            files(&path, found);
        } else if kind.is_ok_and(|kind| kind.is_file()) {
            found(&path);
        }
    }
}

/// Whether it is the engine's own, and not of those who are not to be affected: what images and containers have in them is
/// theirs.
fn is_concerned(label: &str) -> bool {
    // Namespaces are no files that can be written to.
    let not = ["/ns/", "/diff/", "/_data/", "/merged/", "/upper/", "/rootfs/", "good", "other", "spare"];
    // The pod of `spare` has no name.
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    !not.iter().any(|part| label.contains(part)) && !label.split('/').any(is_id)
}

fn damage(file: &Path, how: Damage, random: &mut Random) -> std::io::Result<()> {
    let mut bytes = fs::read(file)?;
    // In place: who has it open, sees it.
    match how {
        Damage::Empty => fs::File::options().write(true).open(file)?.set_len(0),
        Damage::Half => fs::File::options().write(true).open(file)?.set_len(bytes.len() as u64 / 2),
        Damage::Large => fs::File::options().write(true).open(file)?.set_len(TOO_LARGE),
        Damage::Flipped => {
            let at = usize::try_from(random.below(bytes.len() as u64)).unwrap_or(0);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
            fs::write(file, bytes)
        }
    }
}

/// What must work whatever has become of a file of somebody else's.
fn others_work(engine: &Engine) -> Result<(), String> {
    for (line, says) in [
        ("podctl ps -a --format '{{.Names}}' | grep -xE 'other|spare' | sort", "other\nspare"),
        ("podctl pod ps --format '{{.Name}} {{.Status}}' | grep ^good", "good Running"),
        ("podctl inspect -f '{{.Name}}' other", "other"),
        ("podctl logs other", "other"),
        ("podctl exec other echo inside", "inside"),
        ("podctl stop -t 0 other", "other"),
        ("podctl rm -f spare", "spare"),
    ] {
        let run = engine.sh(line);
        if run.code != 0 || run.stdout().trim_end() != says {
            return Err(format!("this was to print {says:?}:\n{run}"));
        }
    }
    Ok(())
}

/// One file, one damage, some of ours killed.
fn case(engine: &Engine, label: &str, how: Damage, killed: Killed, random: &mut Random) -> Result<(), String> {
    world(engine)?;
    let Some((_, file)) = kept(engine).into_iter().find(|(found, _)| found == label) else {
        return Err(format!("{label} is not there"));
    };
    damage(&file, how, random).map_err(|error| error.to_string())?;
    if !killed.is_empty() {
        engine.kill_all(killed);
    }
    others_work(engine)?;
    let told = engine.sh("podctl system check");
    if !matches!(told.code, 0 | 125) {
        return Err(format!("the check itself failed:\n{told}"));
    }
    if told.code == 0 {
        // It does no harm.
        consistent::expect(
            &engine.sh("podctl stop -t 0 up && podctl pod rm -f -t 0 bad"),
            "nothing was told, and yet",
        )?;
    }
    let repaired = engine.sh("podctl system check --repair --force");
    if repaired.code != 0 {
        // What runs is a person's to end: the way is named.
        let way = |line: String| line.split_once(": end it with ").map(|(_, way)| way.to_owned());
        let ways: Vec<String> = repaired.lines().into_iter().filter_map(way).collect();
        if ways.is_empty() {
            return Err(format!("it is not repaired, and no way out is named:\n{repaired}"));
        }
        for way in ways {
            consistent::expect(&engine.sh(&format!("{way} -t 0")), "the way out that is named is none")?;
        }
        consistent::expect(&engine.sh("podctl system check --repair --force"), "it is not repaired")?;
    }
    consistent::clear(engine)?;
    // What was in use when it was repaired is nobody's now.
    let last = engine.sh("podctl rmi -a -f && podctl system check --repair && podctl system check");
    consistent::expect(&last, "something is wrong for ever")?;
    engine.load(&[ALPINE]);
    Ok(())
}

#[test]
fn whichever_file_of_the_engine_is_broken_others_go_on_and_all_can_be_cleared_away() {
    if is_stand_in() {
        return; // One database for all.
    }
    let (begun, seed) = (Instant::now(), report::seed());
    let mut random = Random::new(seed);
    let new = || Engine::with(&[ALPINE]);
    let mut engine = new();
    world(&engine).expect("a world");
    let mut all = Vec::new();
    for (label, file) in kept(&engine).into_iter().filter(|(label, _)| is_concerned(label)) {
        let damages = [Damage::Large, Damage::Empty, Damage::Half, Damage::Flipped];
        // Of an empty one nothing can be lost.
        let is_empty = fs::metadata(file).is_ok_and(|file| file.len() == 0);
        for how in damages.into_iter().take(if is_empty { 1 } else { damages.len() }) {
            all.extend(KILLED.iter().map(|killed| (label.clone(), how, *killed)));
        }
    }
    assert!(all.len() > 300, "the world is too small: {all:?}");
    consistent::clear(&engine).expect("nothing is broken yet");
    let cases = random.some(&all, if report::all() { CASES.1 } else { CASES.0 });
    println!("PODCTL_SEED={seed}, {} of {} cases", cases.len(), all.len());
    let mut found = Vec::new();
    for (label, how, killed) in &cases {
        let result = catch_unwind(AssertUnwindSafe(|| case(&engine, label, *how, killed, &mut random)));
        if let Err(words) = result.unwrap_or_else(|_| Err("a command did not end, or an image did not come".to_owned()))
        {
            let words = format!("=== {label}: {how:?}, killed: {killed:?}\n{words}");
            println!("{words}\n--- typed:\n{}\n--- there:\n{}", engine.transcript(), engine.traces());
            found.push(words);
            std::mem::replace(&mut engine, new()).abandon();
        }
        engine.transcript();
    }
    report::done("files of the engine that are broken", cases.len(), begun.elapsed(), &found);
}
