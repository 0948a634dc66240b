//! podctl and Debian's podman in turns on the same machine and images: medians, ratios, and whether the goals are met.
//!
//! Each engine sits in an enclosure of its own, its directories on the same disk. Times are taken by a shell inside,
//! around a process that is started directly: what is compared is what a user waits for.
//!
//! `make bench B="pod exec"` measures only the rows with one of the words in their names; `B=--rounds=5` fewer rounds.
//! The monitors by themselves are the rows `monitor`: `--megabytes=` of output, `--execs=` commands before memory is
//! compared, `--idle=1000` containers beside each other. `make soak` measures long logs: `--soak=` gigabytes.

mod heavy;
mod memory;
mod monitors;
mod rows;
mod shell;
mod soak;

use harness::{Engine, Machine, images::ALPINE, oracle, programs, until};
use rows::{Row, Unit};
use shell::Shell;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str, default: usize| {
        let given = |word: &String| word.strip_prefix("--")?.strip_prefix(name)?.strip_prefix('=')?.parse().ok();
        arguments.iter().find_map(given).unwrap_or(default)
    };
    let rounds = number("rounds", 15);
    let words: Vec<&String> = arguments.iter().filter(|word| !word.starts_with("--")).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));

    let machine = Machine { on_disk: true, registry: true, ..Machine::default() };
    let gigabytes = number("soak", 0);
    if gigabytes > 0 {
        let ours = Engine::on(Machine { engine: programs::Engine::Podctl, registry: false, ..machine });
        ours.load(&[ALPINE]);
        println!("{:<34} {:>14} {:>14} {:>7} {:>10}", "", "", "podctl", "", "goal");
        let missed = soak::run(&ours, gigabytes as u64);
        println!("\n{missed} goals are missed");
        return;
    }
    let theirs = Engine::on(Machine { engine: programs::Engine::Podman, ..machine });
    let ours = Engine::on(Machine { engine: programs::Engine::Podctl, ..machine });
    for engine in [&theirs, &ours] {
        engine.load(&[ALPINE]);
    }
    println!("podman: {}", theirs.sh("podctl --version").ok());
    println!("podctl: {}", ours.sh("podctl --version").ok());
    println!("rounds: {rounds}, in turns; medians\n");
    println!("{:<34} {:>14} {:>14} {:>7} {:>10}", "", "podman", "podctl", "ratio", "goal");

    let _heavy = rows::ROWS
        .iter()
        .any(|row| wanted(row.name) && row.act.contains(heavy::NAME))
        .then(|| heavy::Heavy::serve(&[&theirs, &ours]));
    let mut missed = 0;
    for row in rows::ROWS.iter().filter(|row| wanted(row.name)) {
        missed += u32::from(!times(row, &theirs, &ours, rounds));
    }
    if wanted("memory") {
        missed += memory::compare(&theirs, &ours);
    }
    let amounts = monitors::Amounts {
        megabytes: number("megabytes", 200),
        execs: number("execs", 300) as u32,
        idle: number("idle", 0) as u32,
    };
    missed += monitors::compare(&theirs, &ours, amounts, wanted);
    println!("\n{}", if missed == 0 { "every goal is met".to_owned() } else { format!("{missed} goals are missed") });
    for engine in [&theirs, &ours] {
        engine.remove_all();
    }
}

/// Measures one row; whether its goal is met.
fn times(row: &Row, theirs: &Engine, ours: &Engine, rounds: usize) -> bool {
    let mut samples = [Vec::new(), Vec::new()];
    let mut shells = [Shell::open(theirs), Shell::open(ours)];
    for shell in &mut shells {
        shell.run(row.before_all);
    }
    // The first round warms caches up and does not count.
    for round in 0..=rounds.min(row.rounds) {
        for (shell, samples) in shells.iter_mut().zip(&mut samples) {
            shell.run(row.before);
            settle(theirs, ours);
            let took = shell.time(row.act);
            shell.run(row.after);
            if round > 0 {
                samples.push(took);
            }
        }
    }
    for shell in &mut shells {
        shell.run(row.after_all);
    }
    let [theirs, ours] = samples.map(median);
    let (theirs, ours, unit) = match row.unit {
        Unit::Milliseconds => (theirs * 1e3, ours * 1e3, "ms"),
        Unit::PerSecond(count) => (f64::from(count) / theirs, f64::from(count) / ours, "/s"),
        Unit::Megabytes(count) => (f64::from(count) / theirs, f64::from(count) / ours, "MB/s"),
    };
    let ratio = if matches!(row.unit, Unit::Milliseconds) { theirs / ours } else { ours / theirs };
    line(row.name, theirs, ours, unit, ratio, row.goal)
}

/// Waits until what the turn before has left running has ended: podman's exec, for one, cleans up in a process of its own
/// for a tenth of a second after it has answered, which would be the next engine's time.
fn settle(theirs: &Engine, ours: &Engine) {
    let commands = ["podman", "podctl", "crun"];
    let at_work = |engine: &Engine| {
        oracle::processes(&engine.enclosure).iter().any(|process| {
            let program = process.command.split(' ').next().unwrap_or_default();
            commands.contains(&program.rsplit('/').next().unwrap_or_default())
        })
    };
    until("the turn before to end", || (!at_work(theirs) && !at_work(ours)).then_some(()));
}

/// Prints one line; whether the goal is met.
fn line(name: &str, theirs: f64, ours: f64, unit: &str, ratio: f64, goal: Goal) -> bool {
    let (met, goal) = match goal {
        Goal::AtLeast(times) => (ratio >= times, format!("≥ {times}")),
        Goal::AtMost(times) => (ratio <= times, format!("≤ {times}")),
        Goal::Reaching(least) => (ours >= least, format!("≥ {least} {unit}")),
        Goal::Within(most) => (ours <= most, format!("≤ {most} {unit}")),
    };
    let verdict = if met { "met" } else { "MISSED" };
    // A figure that only one of them has.
    let compared = if theirs.is_nan() {
        [" ".repeat(14), " ".repeat(7)]
    } else {
        [format!("{theirs:>9.1} {unit:<4}"), format!("{ratio:>7.2}")]
    };
    let [theirs, ratio] = compared;
    println!("{name:<34} {theirs} {ours:>9.2} {unit:<4} {ratio} {goal:>10}  {verdict}");
    met
}

/// What is wanted of a ratio or a figure.
#[derive(Clone, Copy, Debug)]
pub enum Goal {
    /// podman's time is at least so many times podctl's (or podctl's rate podman's).
    AtLeast(f64),
    /// podctl's memory is at most so many times podman's.
    AtMost(f64),
    /// podctl's figure itself is at least this.
    Reaching(f64),
    /// podctl's figure itself is at most this.
    Within(f64),
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
