//! The monitors themselves, podmon and conmon, each with the container of its engine on the same runtime.
//!
//! What the container says is written by us into its standard output (`/proc/PID/fd/1`), and seen to arrive in the file of
//! its log: the container, the engines and their command lines have no part in what is measured.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use harness::{Engine, oracle, wait};

use crate::{Goal, line, memory};

/// How much is done; all of it can be said on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Amounts {
    /// Megabytes of output for throughput, and of log before memory is compared.
    pub megabytes: usize,
    /// Commands executed before memory is compared.
    pub execs: u32,
    /// Containers that are idle beside each other; 0 = this is not measured.
    pub idle: u32,
}

/// How long anything here may take.
const LONG: Duration = Duration::from_secs(600);
/// Containers whose share of memory is compared.
const THIRTY: u32 = 30;
const LAST: &[u8] = b"the end\n";

/// One container, and what watches it.
struct Watched<'a> {
    engine: &'a Engine,
    monitor: i32,
    output: File,
    log: PathBuf,
}

impl<'a> Watched<'a> {
    fn start(engine: &'a Engine) -> Watched<'a> {
        engine.sh("podctl run -d -i --name w alpine sleep 99999").ok();
        let id = engine.field("w", ".Id");
        // Their pids as we know them; inside they have others.
        let processes = oracle::processes(&engine.enclosure);
        let of = |what: &str, is: &dyn Fn(&str) -> bool| {
            processes.iter().find(|process| is(&process.command)).unwrap_or_else(|| panic!("no {what}")).pid
        };
        let monitor = of("monitor", &|command| is_monitor(command) && command.contains(&id));
        let output = format!("/proc/{}/fd/1", of("container", &|command| command.trim_end() == "sleep 99999"));
        let output = OpenOptions::new().write(true).open(output).expect("the container's output");
        let log = ["{{.LogPath}}", "{{.HostConfig.LogConfig.Path}}"].iter().find_map(|field| {
            let path = engine.podctl(&["inspect", "--format", field, "w"]).stdout().trim().to_owned();
            path.starts_with('/').then(|| engine.enclosure.path(&path))
        });
        Watched { engine, monitor, output, log: log.expect("a log") }
    }

    /// Writes `megabytes` of `text` and a last line, and waits until that is in the log: seconds, and those of the
    /// monitor's CPU.
    fn say(&mut self, text: &[u8], megabytes: usize) -> (f64, f64) {
        let chunk = text.repeat((64 << 10) / text.len());
        let (cpu, begin) = (cpu_seconds(self.monitor), Instant::now());
        for _ in 0..(megabytes << 20) / chunk.len() {
            self.output.write_all(&chunk).expect("the pipe takes it");
        }
        self.output.write_all(LAST).expect("the pipe takes it");
        wait::within(LONG, || ends_with(&self.log, LAST).then_some(())).expect("the last line in the log");
        (begin.elapsed().as_secs_f64(), cpu_seconds(self.monitor) - cpu)
    }

    /// Seconds from the write of a line until the log has grown, one by one while nothing else happens.
    fn latencies(&mut self, count: usize) -> Vec<f64> {
        let log = File::open(&self.log).expect("the log");
        let length = || log.metadata().map_or(0, |metadata| metadata.len());
        let mut all: Vec<f64> = (0..count)
            .map(|_| {
                let (before, begin) = (length(), Instant::now());
                self.output.write_all(b"a line\n").expect("the pipe takes it");
                while length() == before && begin.elapsed() < LONG {}
                let took = begin.elapsed().as_secs_f64();
                std::thread::sleep(Duration::from_millis(10));
                took
            })
            .collect();
        all.sort_by(f64::total_cmp);
        all
    }

    /// Share of one core in percent while 100 lines a second are written for so long.
    fn trickle(&mut self, length: Duration) -> f64 {
        let (cpu, begin) = (cpu_seconds(self.monitor), Instant::now());
        while begin.elapsed() < length {
            self.output
                .write_all(b"one of a hundred lines a second, as services write them all day long\n")
                .expect("pipe");
            std::thread::sleep(Duration::from_millis(10));
        }
        (cpu_seconds(self.monitor) - cpu) / begin.elapsed().as_secs_f64() * 100.0
    }

    /// Megabytes a second that reach an attached client.
    fn attached(&mut self, megabytes: usize) -> f64 {
        let bytes = megabytes << 20;
        let reader =
            self.engine.start(&format!("podctl attach --no-stdin --sig-proxy=false w | head -c {bytes} > /dev/null"));
        wait::until("a client", || (!self.engine.pids("attach --no-stdin").is_empty()).then_some(()));
        // It has a socket and is heard of a moment later: what it misses would be waited for for ever.
        std::thread::sleep(Duration::from_millis(500));
        let (chunk, begin) = (vec![b'x'; 64 << 10], Instant::now());
        let mut output = self.output.try_clone().expect("a descriptor");
        // More than is waited for: what a client that lags has missed is not counted.
        let writer = std::thread::spawn(move || {
            for _ in 0..4 * bytes / chunk.len() {
                if output.write_all(&chunk).is_err() {
                    return;
                }
            }
        });
        let run = reader.finish();
        let took = begin.elapsed().as_secs_f64();
        assert_eq!(run.code, 0, "{run}");
        writer.join().expect("the writer");
        self.output.write_all(b"\n").expect("pipe");
        bytes as f64 / 1e6 / took
    }
}

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.engine.sh("podctl rm -f -t 0 w");
    }
}

/// Whether the file ends with `text`, and perhaps a line feed more.
fn ends_with(file: &Path, text: &[u8]) -> bool {
    let mut end = Vec::new();
    let read = || -> std::io::Result<()> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(text.len() as u64)))?;
        file.read_to_end(&mut end).map(|_| ())
    };
    let mut read = read;
    read().is_ok() && end.ends_with(text)
}

fn is_monitor(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default().rsplit('/').next();
    matches!(program, Some("podmon" | "conmon"))
}

/// CPU time of all threads of `pid` (proc_pid_schedstat: nanoseconds).
fn cpu_seconds(pid: i32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanoseconds = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<f64>().ok()
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// A figure of `/proc/PID/smaps_rollup` in kB.
fn rollup(pid: i32, figure: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(figure));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// Of all monitors of the engine, once they rest.
fn sum(engine: &Engine, figure: &str) -> f64 {
    let of = || {
        let monitors = oracle::processes(&engine.enclosure).into_iter().filter(|process| is_monitor(&process.command));
        monitors.map(|process| rollup(process.pid, figure)).sum()
    };
    memory::at_rest(engine, of)
}

/// Measures what is `wanted`; how many goals are missed.
pub fn compare(theirs: &Engine, ours: &Engine, amounts: Amounts, wanted: impl Fn(&str) -> bool) -> u32 {
    let (both, mut missed) = ([theirs, ours], 0);
    let mut row = |name: &str, unit: &str, [theirs, ours]: [f64; 2], more_is_better: bool, goal: Goal| {
        let ratio = if more_is_better || matches!(goal, Goal::AtMost(_)) { ours / theirs } else { theirs / ours };
        missed += u32::from(!line(name, theirs, ours, unit, ratio, goal));
    };
    ours.sh("sync").ok();
    if wanted("monitor, idle") {
        let idle = both.map(|engine| {
            let _one = Watched::start(engine);
            sum(engine, "Private_Dirty:")
        });
        row("monitor, idle, private dirty", "kB", idle, false, Goal::Within(200.0));
        let shares = both.map(|engine| beside(engine, THIRTY, "Pss:").0);
        row("monitor, idle, PSS of each of 30", "kB", shares, false, Goal::AtMost(1.0));
    }
    if wanted("monitor, output") {
        for (name, length) in [("80 bytes", 80), ("2 bytes", 2), ("8 KiB", 8192)] {
            let text = [vec![b'0'; length - 1], b"\n".to_vec()].concat();
            // Each byte of a short line is 20 of its record.
            let megabytes = if length < 10 { amounts.megabytes / 20 } else { amounts.megabytes }.max(1);
            let [took, cpu] = in_turns(both, |engine| Watched::start(engine).say(&text, megabytes).into());
            let bytes = (megabytes << 20) as f64;
            let goal = Goal::AtLeast(3.0);
            row(&format!("monitor, output, {name}"), "MB/s", took.map(|took| bytes / 1e6 / took), true, goal);
            let cpu = cpu.map(|cpu| cpu / bytes * 1e9);
            row(&format!("monitor, output, {name}, CPU"), "s/GB", cpu, false, Goal::AtMost(0.5));
        }
    }
    if wanted("monitor, latency") {
        let all = both.map(|engine| Watched::start(engine).latencies(500));
        let at = |part: usize| [0, 1].map(|which: usize| all[which][(all[which].len() - 1) * part / 100] * 1e3);
        row("monitor, latency, median", "ms", at(50), false, Goal::Within(5.0));
        row("monitor, latency, p99", "ms", at(99), false, Goal::Within(5.0));
    }
    if wanted("monitor, 100 lines/s") {
        let [shares] = in_turns(both, |engine| [Watched::start(engine).trickle(Duration::from_secs(20))]);
        row("monitor, 100 lines/s", "%", shares, false, Goal::Within(0.5));
    }
    if wanted("monitor, attach") {
        let [rates] = in_turns(both, |engine| [Watched::start(engine).attached(amounts.megabytes)]);
        row("monitor, attach", "MB/s", rates, true, Goal::AtLeast(2.0));
    }
    if wanted("monitor, exec") {
        let [theirs, ours] = both.map(|engine| execs(engine, 100));
        row("monitor, exec, one after the other", "/s", [theirs.1, ours.1], true, Goal::Reaching(100.0));
        row("monitor, exec, over the runtime's", "ms", [theirs.0, ours.0], false, Goal::Within(3.0));
    }
    if wanted("monitor, growth") {
        // podman starts a conmon for each command: the container's own has no part in them.
        let grown = [growth(theirs, amounts.megabytes, 0), growth(ours, amounts.megabytes, amounts.execs)];
        row("monitor, growth after work", "kB", grown, false, Goal::Within(64.0));
    }
    if amounts.idle > 0 {
        let [theirs, ours] = both.map(|engine| beside(engine, amounts.idle, "Private_Dirty:"));
        let name = format!("monitor, private, each of {}", amounts.idle);
        row(&name, "kB", [theirs.0, ours.0], false, Goal::AtMost(0.7));
        row(&format!("ps -a of {}", amounts.idle), "ms", [theirs.1, ours.1], false, Goal::Within(150.0));
    }
    missed
}

/// Medians of what `act` measures of each engine in some turns.
fn in_turns<const FIGURES: usize>(both: [&Engine; 2], act: impl Fn(&Engine) -> [f64; FIGURES]) -> [[f64; 2]; FIGURES] {
    const TURNS: usize = 5;
    let turns: Vec<[[f64; FIGURES]; 2]> = (0..TURNS).map(|_| both.map(&act)).collect();
    std::array::from_fn(|figure| {
        [0, 1].map(|which: usize| crate::median(turns.iter().map(|turn| turn[which][figure]).collect()))
    })
}

/// A monitor's share of a figure where so many containers are idle, and the milliseconds in which they are listed.
fn beside(engine: &Engine, count: u32, figure: &str) -> (f64, f64) {
    repeat(engine, count, "podctl run -d --network none alpine sleep 99999");
    let kilobytes = sum(engine, figure) / f64::from(count);
    let list = |_| engine.sh("podctl ps -a > /dev/null").took.as_secs_f64() * 1e3;
    let listed = crate::median((0..5).map(list).collect());
    while !engine.sh("podctl ps -aq | head -n 50 | xargs -r podctl rm -f -t 0").stdout().is_empty() {}
    (kilobytes, listed)
}

/// Runs `line` so many times, in parts: what is typed at once has a time limit.
fn repeat(engine: &Engine, count: u32, line: &str) {
    const PART: u32 = 50;
    for done in (0..count).step_by(PART as usize) {
        let part = PART.min(count - done);
        engine.sh(&format!("for i in $(seq {part}); do {line} || exit 1; done")).ok();
    }
}

/// Milliseconds of `exec true` beyond what the runtime alone takes, and how many there are in a second.
fn execs(engine: &Engine, count: usize) -> (f64, f64) {
    let _watched = Watched::start(engine);
    let each = |line: &str| {
        let script = format!(
            "b=$EPOCHREALTIME; for i in $(seq {count}); do {line} || exit 1; done; e=$EPOCHREALTIME; echo $b $e"
        );
        let times: Vec<f64> = engine.sh(&script).ok().split(' ').map(|time| time.parse().expect("a time")).collect();
        (times[1] - times[0]) / count as f64
    };
    let words = engine.words().join(" ");
    let whole = each(&format!("{words} exec w true"));
    let id = engine.field("w", ".Id");
    // Where the runtime keeps its state: each engine tells it by --root.
    let roots = "../runroot/runtime /run/crun";
    let root = engine.sh(&format!("for r in {roots}; do [ -e $r/{id} ] && echo $r; done; true"));
    let root = root.stdout().lines().next().unwrap_or("/run/crun").to_owned();
    let runtime = each(&format!("crun --root {root} exec {id} true"));
    ((whole - runtime) * 1e3, 1.0 / whole)
}

/// Kilobytes that a monitor has more after a log, commands, clients and resizes than it had before.
fn growth(engine: &Engine, megabytes: usize, execs: u32) -> f64 {
    let mut watched = Watched::start(engine);
    let before = sum(engine, "Private_Dirty:");
    watched.say(&[b'x'; 80], 1);
    watched.say(format!("{}\n", "x".repeat(79)).as_bytes(), megabytes);
    repeat(engine, execs, "podctl exec w true");
    engine.sh("for i in $(seq 20); do timeout 0.2 podctl attach --no-stdin --sig-proxy=false w; done; true").code(0);
    sum(engine, "Private_Dirty:") - before
}
