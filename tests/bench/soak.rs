//! Logs that are long, and a line that is: what is measured once in a while and not every time.

use harness::{Engine, images::ALPINE};

use crate::{Goal, line};

/// A log of so many gigabytes, read at both ends and in the middle; a line of a gigabyte. How many goals are missed.
pub fn run(ours: &Engine, gigabytes: u64) -> u32 {
    let mut missed = 0;
    let mut row = |name: &str, figure: f64, unit: &str, goal: Goal| {
        missed += u32::from(!line(name, f64::NAN, figure, unit, f64::NAN, goal));
    };
    // Half of it, the time in a moment in which nothing else is said, and the other half.
    let half = gigabytes * (1 << 30) / 2;
    let part = format!("yes $(printf %079d 0) | head -c {half}");
    ours.podctl(&[
        "run",
        "--name",
        "long",
        "--log-driver",
        "k8s-file",
        ALPINE,
        "sh",
        "-c",
        &format!("{part}; sleep 1; date -u +%Y-%m-%dT%H:%M:%SZ; sleep 1; {part}"),
    ])
    .code(0);
    let seconds = |line: &str| -> f64 {
        let script = format!("b=$EPOCHREALTIME; {line} > /dev/null; e=$EPOCHREALTIME; echo $b $e");
        let times: Vec<f64> = ours.sh(&script).ok().split(' ').map(|time| time.parse().expect("a time")).collect();
        times[1] - times[0]
    };
    let middle = ours.sh("podctl logs long | grep -m 1 T").ok();
    assert!(!middle.is_empty(), "the time is in the log");
    for (name, act) in [
        ("--tail 10", "podctl logs --tail 10 long".to_owned()),
        ("--since, first line", format!("podctl logs --since {middle} long | head -1")),
        ("--until, first line", format!("podctl logs --until {middle} long | head -1")),
    ] {
        let best = (0..5).map(|_| seconds(&act)).fold(f64::INFINITY, f64::min);
        row(&format!("log of {gigabytes} GiB, {name}"), best * 1e3, "ms", Goal::Within(20.0));
    }
    let rate = (gigabytes << 30) as f64 / 1e6 / seconds("podctl logs long");
    row(&format!("log of {gigabytes} GiB, read"), rate, "MB/s", Goal::Reaching(500.0));
    ours.sh("podctl rm long").code(0);

    // Noise without a newline; both streams are heard as they come and read back.
    let noise =
        "openssl enc -aes-128-ctr -nosalt -pass pass:x < /dev/zero 2> /dev/null | tr -d '\\n' | head -c 1073741824";
    ours.sh(&format!("{noise} > $TMPDIR/noise")).code(0);
    let said = ours.sh("podctl run --name line -v $TMPDIR/noise:/noise:ro alpine cat /noise | sha256sum");
    let read = ours.sh("podctl logs line | sha256sum");
    let meant = ours.sh("sha256sum < $TMPDIR/noise; rm $TMPDIR/noise");
    let same = said.stdout() == meant.stdout() && read.stdout() == meant.stdout();
    println!("a line of 1 GiB: {}", if same { "every byte, live and from the log" } else { "DIFFERS" });
    ours.sh("podctl rm line").code(0);
    missed + u32::from(!same)
}
