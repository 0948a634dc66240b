//! Collectors that people have follow the log of a container that writes numbered lines through its rotations: every line
//! arrives once and in order.
//!
//! They watch the newest file only, so the container writes as fast as the slowest of them reads: ten lines, and then it
//! waits until all have them.

use harness::{Engine, images::ALPINE};

/// Lines that are written, and the rotations there are at least.
const LINES: u64 = 1400;
const ROTATIONS: u64 = 50;

/// A collector: how it is started in a directory with `app.log`, so that its lines arrive in the file of its name.
struct Collector {
    name: &'static str,
    start: &'static str,
}

const COLLECTORS: [Collector; 3] = [
    Collector { name: "tail", start: "tail -n +1 -F app.log > tail 2> /dev/null" },
    Collector {
        name: "rsyslog",
        start: r#"mkdir -p spool && cat > rsyslog.conf << end
global(workDirectory="$PWD/spool")
module(load="imfile" mode="inotify")
input(type="imfile" File="$PWD/app.log" Tag="app")
template(name="line" type="string" string="%msg%\n")
action(type="omfile" file="$PWD/rsyslog" template="line" flushOnTXEnd="on")
end
$RSYSLOG/usr/sbin/rsyslogd -n -M $(echo $RSYSLOG/usr/lib/*/rsyslog) -f $PWD/rsyslog.conf -i $PWD/rsyslog.pid"#,
    },
    Collector {
        name: "syslog-ng",
        start: r#"cat > syslog-ng.conf << end
@version: 3.38
options { flush-lines(1); };
source s { file("$PWD/app.log" follow-freq(0.01) flags(no-parse)); };
destination d { file("$PWD/syslog-ng" template("\$MSG\n")); };
log { source(s); destination(d); };
end
/usr/sbin/syslog-ng -F -f $PWD/syslog-ng.conf -R $PWD/syslog-ng.persist -p $PWD/syslog-ng.pid -c $PWD/syslog-ng.ctl"#,
    },
];

/// What feeds the container: `$1` lines, and each ten of them must have arrived at the collector `$2`.
const FEED: &str = r#"
n=0
while [ $n -lt $1 ]; do
    for i in 1 2 3 4 5 6 7 8 9 10; do n=$((n+1)); echo $n >&3; done
    tries=0
    until [ "$(cat $2 2> /dev/null | wc -l)" -ge $n ]; do
        tries=$((tries+1))
        [ $tries -lt 2000 ] || { echo "line $n has not arrived" >&2; exit 1; }
        sleep 0.01
    done
done
"#;

fn main() {
    let engine = Engine::with(&[ALPINE]);
    let mut failed = 0;
    for Collector { name, start } in COLLECTORS {
        let script = format!(
            "RSYSLOG={}/../.cache/rsyslog
            mkdir {name}.d && cd {name}.d && mkfifo in
            podctl run -i --name c --log-opt path=$PWD/app.log --log-opt max-size=1kb --log-opt max-file=100 alpine cat \
                < in > /dev/null &
            exec 3> in
            until [ -e app.log ]; do sleep 0.01; done
            ( {start} ) > out 2>&1 < /dev/null 3>&- &
            collector=$!
            set -- {LINES} {name}
            ( {FEED} ); fed=$?
            exec 3>&-
            wait %1
            pkill -P $collector; kill $collector
            [ $fed = 0 ] || cat out >&2
            ls app.log.* | wc -l
            cut -d' ' -f4 {name}
            podctl rm -f c > /dev/null
            exit $fed",
            env!("CARGO_MANIFEST_DIR"),
        );
        let run = engine.sh(&script);
        let text = run.stdout();
        let (rotations, seen) = text.split_once('\n').unwrap_or_default();
        let expected: String = (1..=LINES).map(|number| format!("{number}\n")).collect();
        let enough = rotations.parse::<u64>().is_ok_and(|rotations| rotations >= ROTATIONS);
        let well = run.code == 0 && enough && seen == expected;
        let verdict = if well { "every line once, in order" } else { "FAILED" };
        println!("{name:<10} {rotations:>4} rotations, {} lines: {verdict}", seen.lines().count());
        if !well {
            eprintln!("{run}");
            failed += 1;
        }
    }
    engine.remove_all();
    assert!(failed == 0, "{failed} collectors have missed lines");
}
