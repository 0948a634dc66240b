//! The log of a container as a file: rotated, in Docker's format, on a disk that is full, in the hands of others.

use std::{fmt::Write, os::unix::net::UnixDatagram, time::Duration};

use harness::{Engine, image::digest, images::ALPINE, programs::is_stand_in, until, wait};

/// The lines `1` to `last`.
fn numbers(first: u64, last: u64) -> String {
    (first..=last).fold(String::new(), |mut text, number| {
        let _ = writeln!(text, "{number}");
        text
    })
}

#[test]
fn a_log_is_rotated_by_renaming_and_read_as_one() {
    if is_stand_in() {
        return; // Others keep one file.
    }
    let engine = Engine::with(&[ALPINE]);
    for (driver, size) in [("k8s-file", 46), ("json-file", 76)] {
        let run = format!("podctl run --log-driver {driver} --log-opt path=$PWD/app.log --log-opt max-size=10kb");
        let seq = "seq 10000 29999";
        let said = engine.sh(&format!("{run} --log-opt max-file=1000 --name all alpine {seq}")).out;
        assert_eq!(String::from_utf8_lossy(&said), numbers(10_000, 29_999));
        assert_eq!(digest(&engine.sh("podctl logs all").out), digest(&said), "{driver}");
        let files = engine.sh("stat -c %s app.log app.log.*").lines();
        let per_file = 10_240 / size;
        assert_eq!(files.len(), 20_000_usize.div_ceil(per_file), "{files:?}");
        assert!(files.iter().all(|size| size.parse::<usize>().is_ok_and(|size| size <= 10_240)), "{files:?}");
        assert_eq!(engine.sh("podctl logs --tail 1000 all").out, numbers(29_000, 29_999).into_bytes());
        // Read by times that fall into some file in the middle.
        let times = engine.sh("podctl logs -t all | sed -n '7000p;7001p' | cut -d' ' -f1").lines();
        let since = engine.sh(&format!("podctl logs --since {} all | wc -l", times[0])).ok();
        assert!(since.parse::<u64>().is_ok_and(|lines| (0..=13_000).contains(&lines)), "{since} lines since {times:?}");
        engine.sh("podctl rm all && rm app.log*").ok();

        engine.sh(&format!("{run} --log-opt max-file=3 --name last alpine {seq} > /dev/null")).ok();
        assert_eq!(engine.sh("ls app.log*").lines(), ["app.log", "app.log.1", "app.log.2"]);
        let kept = engine.sh("podctl logs last").ok();
        let first = kept.lines().next().and_then(|line| line.parse().ok()).expect("a number");
        assert!(first > 29_999 - 3 * per_file as u64 && kept + "\n" == numbers(first, 29_999));
        engine.sh("podctl rm last && rm app.log*").ok();
    }
}

#[test]
fn followers_go_on_across_rotations_and_the_monitors_death() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let script = "i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; [ $((i % 50)) = 0 ] && sleep 0.02; done";
    let id = engine
        .podctl(&["run", "-d", "--log-opt", "max-size=2k", "--log-opt", "max-file=500", "alpine", "sh", "-c", script])
        .ok();
    let follower = engine.start(&format!("podctl logs -f {id}"));
    for _ in 0..3 {
        engine.sh(&format!("podctl container logrotate {id}"));
        let monitor = wait::within(Duration::from_secs(5), || engine.pids(&format!("podmon {id}")).first().copied());
        if let Some(pid) = monitor {
            // It may have ended by itself.
            let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
        }
    }
    assert_eq!(follower.finish().ok() + "\n", numbers(1, 3000));
    assert_eq!(engine.sh(&format!("podctl logs {id}")).ok() + "\n", numbers(1, 3000));
}

#[test]
fn tail_by_name_sees_every_line_once_through_sixty_rotations() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    // tail(1) only ever looks at the newest file: it is given time to see each of them.
    let script = r#"
        mkfifo in
        podctl run -i --name said --log-opt path=$PWD/app.log --log-opt max-size=1kb --log-opt max-file=100 \
            alpine cat < in > /dev/null &
        exec 3> in
        until [ -e app.log ]; do sleep 0.01; done
        tail -n +1 -F app.log > seen 2> /dev/null 3>&- &
        tail=$!
        n=0
        while [ $n -lt 1400 ]; do
            for i in 1 2 3 4 5 6 7 8 9 10; do n=$((n+1)); echo $n >&3; done
            until [ "$(wc -l < seen)" -ge $n ]; do sleep 0.005; done
        done
        exec 3>&-
        wait %1
        kill $tail
        ls app.log.* | wc -l
        cut -d' ' -f4 seen"#;
    let run = engine.sh(script);
    let (files, seen) = run.stdout().split_once('\n').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("two parts");
    assert!(files.parse::<u32>().is_ok_and(|files| files >= 50), "{files} rotations");
    assert!(seen == numbers(1, 1400), "{} lines", seen.lines().count());
}

#[test]
fn docker_s_format_is_json_to_the_byte() {
    if is_stand_in() {
        return; // podman's json-file is its k8s-file.
    }
    let engine = Engine::with(&[ALPINE]);
    let script = r#"printf "tab\there\r\n\"<&>\\\\\n\377\303\274\n"; echo oops >&2; printf end"#;
    let driver = "--log-driver json-file --log-opt path=$PWD/app.log";
    engine.sh(&format!("podctl run --name plain {driver} alpine sh -c '{script}'")).code(0);
    let logged = engine.sh("sed 's/,\"time\":\"[-0-9T:.]*Z\"}$/}/' app.log").lines();
    let stdout: Vec<&str> = logged.iter().map(String::as_str).filter(|line| line.contains("stdout")).collect();
    assert_eq!(
        stdout,
        [
            r#"{"log":"tab\u0009here\r\n","stream":"stdout"}"#,
            r#"{"log":"\"\u003c\u0026\u003e\\\n","stream":"stdout"}"#,
            r#"{"log":"\ufffdü\n","stream":"stdout"}"#,
            r#"{"log":"end","stream":"stdout"}"#,
        ]
    );
    let run = engine.sh("podctl logs plain");
    assert_eq!(run.stdout(), "tab\there\r\n\"<&>\\\n\u{fffd}ü\nend");
    run.complains("oops");
    engine.sh("rm app.log").ok();
    let tagged = format!("{driver} --log-opt tag={{{{.Name}}}}/x --log-opt label=TEAM=blue");
    engine.sh(&format!("podctl run --name tagged {tagged} alpine echo hello")).prints("hello");
    let line = engine.sh("cat app.log").ok();
    assert!(line.contains(r#","attrs":{"TEAM":"blue","tag":"tagged/x"},"time":""#), "{line}");
    engine.sh("podctl logs tagged").prints("hello");
    assert_eq!(engine.sh("podctl inspect -f '{{.HostConfig.LogConfig.Type}}' tagged").ok(), "json-file");
}

#[test]
fn a_line_of_64_megabytes_without_end_is_kept_whole() {
    let engine = Engine::with(&[ALPINE]);
    let script = "head -c 67108864 /dev/zero | tr '\\0' x";
    engine.podctl(&["run", "-d", "--name", "long", "alpine", "sh", "-c", script]).ok();
    engine.sh("podctl wait long").prints("0");
    let expected = digest(&vec![b'x'; 64 << 20]);
    let mut logged = engine.sh("podctl logs long").out;
    if is_stand_in() {
        logged.retain(|byte| *byte == b'x');
    }
    assert_eq!((logged.len(), digest(&logged)), (64 << 20, expected));
}

#[test]
fn a_full_disk_stops_nothing_and_what_was_lost_is_said() {
    if is_stand_in() {
        return; // conmon dies of it.
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir small && mount -t tmpfs -o size=64k test small").ok();
    let script = "seq 1 20000; echo said; while [ ! -e /go ]; do sleep 0.05; done; echo after; sleep 1; exit 3";
    engine.sh(&format!("podctl run -d --name c --log-opt path=$PWD/small/c.log alpine sh -c '{script}'")).ok();
    let dropped = || engine.field("c", ".LogDropped").parse::<u64>().ok().filter(|dropped| *dropped > 0);
    until("lost records", dropped);
    assert_eq!(engine.field("c", ".State.Status"), "running");
    engine.sh("mount -o remount,size=8m small && podctl exec c touch /go").ok();
    engine.sh("podctl wait c").prints("3");
    let dropped = dropped().unwrap_or_default();
    engine.sh("podctl ps -a --format '{{.Names}} {{.LogDropped}}'").prints(&format!("c {dropped}"));
    let logs = engine.sh("podctl logs c");
    assert!(logs.stderr().starts_with(&format!("[podmon] dropped {dropped} records, ")), "{logs}");
    assert!(logs.stderr().trim_end().ends_with("No space left on device"), "{logs}");
    assert!(logs.stdout().ends_with("after\n"), "{logs}");
    assert_eq!(logs.lines().len() as u64 + dropped, 20_002);
    engine.sh("podctl rm c && umount small").ok();
}

#[test]
fn a_follower_goes_on_when_its_container_is_restarted() {
    let engine = Engine::with(&[ALPINE]);
    engine
        .sh("podctl pod create --name p && podctl run -d --pod p --name c alpine sh -c 'echo run; exec sleep 1000'")
        .ok();
    let follower = engine.start("podctl logs -f c > $TMPDIR/followed");
    let lines = |count: usize| {
        until("the lines", || (engine.sh("cat $TMPDIR/followed").stdout().lines().count() == count).then_some(()));
    };
    lines(1);
    engine.sh("podctl restart -t 0 c").code(0);
    lines(2);
    engine.sh("podctl pod restart p").code(0);
    lines(3);
    engine.sh("podctl stop -t 0 c").code(0);
    follower.finish().code(0);
    lines(3);
    engine.sh("rm $TMPDIR/followed").code(0);
}

#[test]
fn a_log_in_other_hands_is_followed_made_anew_and_rotated_at_their_word() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --log-opt path=$PWD/c.log alpine sleep 1000").ok();
    let say = |word: &str| engine.sh(&format!("podctl exec c sh -c 'echo {word} > /proc/1/fd/1'")).ok();
    let has = |file: &str, word: &str| {
        until(&format!("{word} in {file}"), || {
            engine.sh(&format!("grep -q ' {word}$' {file}")).code.eq(&0).then_some(())
        });
    };
    say("one");
    has("c.log", "one");
    // As logrotate does it: renamed, the old file is written until we are told.
    engine.sh("mv c.log c.log.1").ok();
    say("two");
    has("c.log.1", "two");
    engine.sh("podctl container logrotate c").prints("c");
    say("three");
    has("c.log", "three");
    // By itself.
    engine.sh("podctl container logrotate --all").code(0);
    assert_eq!(engine.sh("cut -d' ' -f4 c.log.2 c.log.1").lines(), ["one", "two", "three"]);
    say("four");
    has("c.log", "four");
    assert_eq!(engine.sh("podctl logs c").lines(), ["one", "two", "three", "four"]);
    // Truncated: what comes now begins it.
    engine.sh("truncate -s 0 c.log").ok();
    say("five");
    has("c.log", "five");
    assert_eq!(engine.sh("wc -l < c.log").ok(), "1");
    // Removed: made anew when asked to, or after a moment.
    engine.sh("rm c.log && podctl container logrotate c").ok();
    say("six");
    has("c.log", "six");
    engine.sh("rm c.log").ok();
    until("a new log", || {
        say("again");
        engine.sh("test -e c.log").code.eq(&0).then_some(())
    });
    assert_eq!(engine.field("c", ".State.Status"), "running");
    assert_eq!(engine.field("c", ".LogDropped"), "0");
    engine.sh("podctl rm -f -t 0 c").ok();
}

#[test]
fn journald_gets_every_line_with_its_fields() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let socket = engine.enclosure.path("/run/systemd/journal/socket");
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("mkdir");
    let journal = UnixDatagram::bind(&socket).expect("bind");
    journal.set_read_timeout(Some(Duration::from_secs(60))).expect("timeout");
    let mut buffer = vec![0; 64 << 10];
    // What happened is told there, too.
    let mut entry = || loop {
        let length = journal.recv(&mut buffer).expect("an entry");
        let entry = String::from_utf8_lossy(&buffer[..length]).into_owned();
        if !entry.contains("\nPODMAN_EVENT=") {
            return entry;
        }
    };
    let script = "echo one; sleep 0.3; echo '<4>two' >&2; sleep 0.3; head -c 20000 /dev/zero | tr '\\0' x; echo";
    let run = "podctl run -d --name web --log-driver journald --log-opt tag=T --log-opt label=TEAM=blue";
    let id = engine.sh(&format!("{run} alpine sh -c \"{script}\"")).ok();
    let rest = format!(
        "CONTAINER_ID_FULL={id}\nCONTAINER_ID={}\nCONTAINER_NAME=web\nSYSLOG_IDENTIFIER=T\nCONTAINER_TAG=T\nTEAM=blue\n",
        &id[..12]
    );
    assert_eq!(entry(), format!("MESSAGE=one\nPRIORITY=6\n{rest}"));
    assert_eq!(entry(), format!("MESSAGE=two\nPRIORITY=4\nCONTAINER_STREAM=stderr\n{rest}"));
    let part = "x".repeat(16384);
    assert_eq!(entry(), format!("MESSAGE={part}\nPRIORITY=6\nCONTAINER_PARTIAL_MESSAGE=true\n{rest}"));
    assert_eq!(entry(), format!("MESSAGE={}\nPRIORITY=6\n{rest}", "x".repeat(20_000 - 16_384)));
    engine.sh("podctl wait web").prints("0");
    // This one keeps nothing.
    engine
        .sh("unshare -m sh -c 'mount -t tmpfs t /var/log; podctl logs web'")
        .code(125)
        .mentions("there is no journal in");
    std::fs::remove_dir_all(engine.enclosure.path("/run/systemd")).expect("rmdir");
}

#[test]
fn with_passthrough_the_container_has_the_callers_own_streams() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let run = "podctl run --name c --log-driver passthrough";
    let script = "'cat; echo oops >&2; exit 3'";
    let said = engine.sh(&format!("echo hello | {run} alpine sh -c {script} > out; echo $?"));
    said.prints("3");
    assert_eq!(engine.sh("cat out").ok(), "hello");
    said.complains("oops");
    engine.sh("podctl logs c").code(125).mentions("this container is using the 'passthrough' log driver");
    engine.sh("podctl rm c").ok();
    // Without a terminal it may go to the background: what systemd units do.
    engine.sh(&format!("{run} -d alpine sh -c 'echo from behind' > out 2>&1 < /dev/null && podctl wait c")).prints("0");
    assert!(engine.sh("cat out").ok().contains("from behind"));
    engine.sh("podctl start -a c").code(125).mentions("cannot attach to a container with log driver passthrough");
    engine.sh("podctl start c && podctl wait c && podctl rm c").code(0);
    engine.sh(&format!("{run} --rm alpine nosuch < /dev/null")).code(127).mentions("nosuch");
    let terminal = engine.terminal("podctl run --rm --log-driver passthrough alpine true");
    terminal.expect("the '--log-driver passthrough' option cannot be used on a TTY");
    assert_eq!(terminal.finish().0, 125);
    let terminal = engine
        .terminal("podctl run --rm --log-driver passthrough-tty alpine sh -c '[ -t 0 ] && [ -t 1 ] && echo mine'");
    terminal.expect("mine");
    assert_eq!(terminal.finish().0, 0);
}

#[test]
fn a_log_path_is_the_callers() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir -p $TMPDIR/logs && podctl pod create --name p && podctl pod start p").code(0);
    // The pod's shim has been there before this mount, which only the caller sees.
    let path = "$TMPDIR/logs/app.log";
    let private = |line: &str| engine.sh(&format!("unshare -m bash -c \"mount -t tmpfs t $TMPDIR/logs; {line}\""));
    private(&format!(
        "podctl run -d --pod p --name c --log-opt path={path} --log-opt max-size=1k alpine sh -c 'seq 40; echo end' &&
         podctl wait c && cat {path}* | grep -c stdout && podctl logs c | wc -l"
    ))
    .ok()
    .ends_with("0\n41\n41")
    .then_some(())
    .expect("the log is where the caller has said");
    assert_eq!(engine.sh("ls $TMPDIR/logs").ok(), "");
    // What is in the way there is seen, too, and named as it was typed.
    private(&format!("ln -s x {path}; podctl run --pod p --log-opt path={path} alpine true"))
        .code(125)
        .mentions("app.log: it is no regular file: give the path of one, or one that is not there yet");
    private("mount -o remount,ro $TMPDIR/logs; podctl run --rm --pod p --log-opt path=$TMPDIR/logs/ro.log alpine true")
        .code(125)
        .mentions("tmp/logs/ro.log: Read-only file system");
    // Started again, too; and the container goes on where there is no such directory to be seen.
    private(&format!("podctl start c && podctl wait c && cat {path}* | grep -c end"))
        .ok()
        .ends_with("0\n1")
        .then_some(())
        .expect("the log is where the caller of start has said");
    private(&format!(
        "podctl restart c && podctl wait c && podctl start -a c > /dev/null && cat {path}* | grep -c end"
    ))
    .ok()
    .ends_with("0\n2")
    .then_some(())
    .expect("the log is where the caller of restart has said");
    engine.sh("podctl start c").code(0);
    engine.sh("podctl wait c; grep -c end $TMPDIR/logs/app.log").prints("0\n1");
    engine.sh("rm -r $TMPDIR/logs").code(0);
    engine.sh("podctl start c").code(125).mentions("app.log: its directory does not exist: make it first");
}
