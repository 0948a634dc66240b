//! podmon against real runtimes. Needs root, crun, runc and busybox-static.

mod abuse;
mod harness;
mod restart;

use std::{fs, os::fd::AsFd, time::Duration};

use harness::{Bench, LONG, Seen, Wish, command, exec, run, send, soon, until, up};
use proto::{
    Kind as Why, Refusal,
    frame::{Attach, Kind},
    record::Phase,
    wire::{
        Empty, ExecId, ExecRequest, ExitStatus, MonitorCreate, MonitorKill, MonitorStop, NewSupervisor, WindowSize,
    },
};

fn lossless() -> Attach {
    Attach { stdin: true, output: true, lossless: true, ..Default::default() }
}

#[tokio::test(flavor = "current_thread")]
async fn exit_codes_are_exact_with_both_runtimes() {
    for runtime in ["crun", "runc"] {
        for (script, code, signal) in [("exit 0", 0, 0), ("exit 7", 7, 0), ("exit 255", 255, 0), ("kill -9 $$", 137, 9)]
        {
            // PID 1 of a namespace cannot kill itself: with the host's it can.
            let config = |config: &mut serde_json::Value| {
                let namespaces = config["linux"]["namespaces"].as_array_mut().expect("array");
                namespaces.retain(|namespace| namespace["type"] != "pid");
            };
            let config = if signal > 0 { config } else { |_: &mut serde_json::Value| () };
            let mut bench = Bench::new(&Wish { runtime, config, ..Wish::sh(script) });
            let exit = run(&bench).await;
            assert_eq!((exit.known, exit.code, exit.signal), (true, code, signal), "{runtime} {script}");
            // On disk before anybody was told.
            assert_eq!(bench.exit_record().status, exit);
            assert!(bench.exit_record().started_at > 0 && exit.finished_at >= bench.exit_record().started_at);
            assert_eq!(bench.wait_monitor(), Some(0));
            assert_eq!((bench.state().phase, bench.state().init), (Phase::Exited, None));
            assert!(!bench.start.runtime_root.join(bench.start.id.as_str()).exists(), "the runtime has left something");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn output_is_complete_and_in_order() {
    let bench = Bench::new(&Wish::sh("seq 1 200000; echo oops >&2; printf end"));
    assert_eq!(run(&bench).await.code, 0);
    let mut expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    expected.push_str("end");
    assert!(bench.logged("stdout") == expected.as_bytes(), "stdout differs");
    assert_eq!(bench.logged("stderr"), b"oops\n");
}

#[tokio::test(flavor = "current_thread")]
async fn bytes_are_exact_whatever_they_are() {
    // A line of 100 000 bytes, NULs, invalid UTF-8, carriage returns.
    let script =
        "head -c 100000 /dev/zero | tr '\\0' x; printf '\\n\\0\\377\\r\\n\\033[2J\\n\\n'; head -c 16384 /dev/zero";
    let bench = Bench::new(&Wish::sh(script));
    assert_eq!(run(&bench).await.code, 0);
    let expected = [&[b'x'; 100_000][..], b"\n\0\xff\r\n\x1b[2J\n\n", &[0; 16384]].concat();
    assert!(bench.logged("stdout") == expected);
}

#[tokio::test(flavor = "current_thread")]
async fn a_short_command_loses_nothing() {
    for _ in 0..20 {
        let bench = Bench::new(&Wish::sh("echo x; exit 37"));
        assert_eq!(run(&bench).await.code, 37);
        assert_eq!(bench.logged("stdout"), b"x\n");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_command_that_cannot_be_run_is_refused_and_leaves_nothing() {
    for (runtime, program, kind, words) in [
        (
            "crun",
            "nosuch",
            Why::CommandNotFound,
            "crun: executable file `nosuch` not found in $PATH: No such file or directory: OCI runtime attempted to invoke \
             a command that was not found",
        ),
        (
            "crun",
            "/bin/noexec",
            Why::CommandNotExecutable,
            "crun: open executable: Permission denied: OCI permission denied",
        ),
        ("runc", "nosuch", Why::CommandNotFound, "not found in $PATH: OCI runtime attempted to invoke a command"),
        ("runc", "/bin/noexec", Why::CommandNotExecutable, "permission denied: OCI permission denied"),
    ] {
        let mut bench = Bench::new(&Wish { runtime, args: vec![program.into()], ..Wish::sh("") });
        let client = bench.client();
        let refusal = Refusal::from(client.create(soon(), &MonitorCreate {}).await.expect_err("refused"));
        assert_eq!(refusal.kind, kind, "{refusal:?}");
        assert!(refusal.message.contains(words), "{refusal:?}");
        assert!(!bench.start.exit_record.exists(), "it looks as if it had run");
        assert!(!bench.start.runtime_root.join(bench.start.id.as_str()).exists());
        client.shutdown(soon(), &Empty {}).await.expect("shutdown");
        assert_eq!(bench.wait_monitor(), Some(0));
        assert_eq!(fs::read(bench.log_path()).expect("log"), b"");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn what_was_created_and_never_started_is_given_up() {
    let mut bench = Bench::new(&Wish::sh("echo never"));
    let client = bench.client();
    assert_eq!(client.create(soon(), &MonitorCreate {}).await.expect("create").status, "created");
    assert_eq!(client.create(soon(), &MonitorCreate {}).await.expect("twice").status, "created");
    client.shutdown(soon(), &Empty {}).await.expect("shutdown");
    assert_eq!(bench.wait_monitor(), Some(0));
    assert!(!bench.start.exit_record.exists());
}

#[tokio::test(flavor = "current_thread")]
async fn stdin_arrives_and_its_end_ends_the_command() {
    let bench = Bench::new(&Wish { stdin: true, ..Wish::sh("cat | wc -c; echo done") });
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let raw = bench.attach(&lossless()).await;
    client.start(soon(), &Empty {}).await.expect("start");
    let feed = async {
        for _ in 0..30 {
            send(&raw, Kind::Stdin, &[b'x'; 10_000]).await;
        }
        send(&raw, Kind::StdinEnd, b"").await;
    };
    let (seen, ()) = tokio::join!(Seen::all(&raw, Duration::ZERO), feed);
    assert_eq!(String::from_utf8_lossy(&seen.stdout), "300000\ndone\n");
    assert_eq!(seen.exit.map(|exit| exit.code), Some(0));
}

#[tokio::test(flavor = "current_thread")]
async fn without_stdin_the_command_reads_the_end_at_once() {
    let bench = Bench::new(&Wish::sh("cat; exit 3"));
    assert_eq!(run(&bench).await.code, 3);
}

#[tokio::test(flavor = "current_thread")]
async fn the_client_that_attaches_before_start_sees_every_byte_though_it_is_slow() {
    // Far more than any socket holds; the container is never slowed down by it.
    let bench = Bench::new(&Wish::sh("seq 1 300000; seq 1 1000 >&2; printf tail"));
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let raw = bench.attach(&lossless()).await;
    let ordinary = bench.attach(&Attach { output: true, ..Attach::default() }).await;
    client.start(soon(), &Empty {}).await.expect("start");
    let (seen, other) =
        tokio::join!(Seen::all(&raw, Duration::from_millis(2)), Seen::all(&ordinary, Duration::from_millis(30)));
    let expected: String = (1..=300_000).map(|number| format!("{number}\n")).chain(["tail".into()]).collect();
    assert!(seen.stdout == expected.as_bytes(), "{} of {} bytes", seen.stdout.len(), expected.len());
    assert_eq!(seen.stderr.len(), 3893);
    assert_eq!((seen.skipped, seen.exit.map(|exit| exit.code)), (0, Some(0)));
    // Who does not read is told what it missed.
    assert!(other.skipped > 0);
    assert_eq!(other.stdout.len() + other.stderr.len() + other.skipped as usize, expected.len() + 3893);
}

#[tokio::test(flavor = "current_thread")]
async fn with_driver_none_the_terminal_loses_nothing_either() {
    let bench = Bench::new(&Wish { driver: "none", ..Wish::sh("seq 1 100000") });
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let raw = bench.attach(&lossless()).await;
    client.start(soon(), &Empty {}).await.expect("start");
    let seen = Seen::all(&raw, Duration::from_millis(2)).await;
    let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
    assert!(seen.stdout == expected.as_bytes());
    assert!(!bench.log_path().exists());
}

#[tokio::test(flavor = "current_thread")]
async fn the_terminal_loses_nothing_though_its_log_is_rotated_and_dropped() {
    for (driver, files) in [("k8s-file", 1), ("k8s-file", 3), ("k8s-file", 500), ("json-file", 3)] {
        let wish = Wish { driver, rotation: Some((100_000, files)), ..Wish::sh("seq 1 100000") };
        let bench = Bench::new(&wish);
        let client = bench.client();
        client.create(soon(), &MonitorCreate {}).await.expect("create");
        let raw = bench.attach(&lossless()).await;
        client.start(soon(), &Empty {}).await.expect("start");
        // Long enough that a container that is not held back would be through.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let seen = Seen::all(&raw, Duration::ZERO).await;
        let expected: String = (1..=100_000).map(|number| format!("{number}\n")).collect();
        assert_eq!(seen.skipped, 0, "{driver} {files}");
        assert!(seen.stdout == expected.as_bytes(), "{driver} {files}: {} bytes", seen.stdout.len());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_client_that_stops_reading_never_slows_the_container() {
    let bench = Bench::new(&Wish::sh("seq 1 300000"));
    let expected: usize = (1..=300_000).map(|number: u32| number.to_string().len() + 1).sum();
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let stopped = bench.attach(&Attach { output: true, ..Attach::default() }).await;
    client.start(soon(), &Empty {}).await.expect("start");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 0);
    assert_eq!(bench.logged("stdout").len(), expected);
    drop(stopped);
}

#[tokio::test(flavor = "current_thread")]
async fn a_terminal_has_a_size_before_and_after_it_exists() {
    for runtime in ["crun", "runc"] {
        let script = "stty size; read line; stty size; echo got $line; exit 5";
        let bench = Bench::new(&Wish { tty: true, stdin: true, runtime, ..Wish::sh(script) });
        let client = bench.client();
        client.resize(soon(), &WindowSize { rows: 31, columns: 97 }).await.expect("resize");
        client.create(soon(), &MonitorCreate {}).await.expect("create");
        let raw = bench.attach(&lossless()).await;
        client.start(soon(), &Empty {}).await.expect("start");
        until("the first size", || bench.logged("stdout").starts_with(b"31 97\r\n")).await;
        send(&raw, Kind::Resize, &[[40, 0], [100, 0]].concat()).await;
        send(&raw, Kind::Stdin, b"hello\n").await;
        let seen = Seen::all(&raw, Duration::ZERO).await;
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        assert_eq!(text, "31 97\r\nhello\r\n40 100\r\ngot hello\r\n", "{runtime}");
        assert_eq!(seen.exit.map(|exit| exit.code), Some(5));
        assert_eq!(bench.logged("stdout"), seen.stdout);
        let refused = client.resize(soon(), &WindowSize { rows: 65536, columns: 1 }).await;
        assert!(refused.is_err() || bench.exit_record().status.known);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn commands_run_in_the_container_with_exact_codes() {
    for runtime in ["crun", "runc"] {
        let bench = Bench::new(&Wish { runtime, ..Wish::sh("sleep 1000") });
        let (client, _) = up(&bench).await;
        for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
            assert_eq!(exec(&bench, command(&["sh", "-c", script])).await.expect("exec").exit.code, code, "{script}");
        }
        let ran = exec(&bench, command(&["sh", "-c", "echo out; echo err >&2; env"])).await.expect("exec");
        assert!(ran.stdout.starts_with("out\n") && ran.stdout.contains("INSIDE=1\n"), "{ran:?}");
        assert!(!ran.stdout.contains("CANARY"), "{ran:?}");
        assert_eq!(ran.stderr, "err\n");
        for (args, kind) in [
            (&["nosuch"][..], Why::CommandNotFound),
            (&["/bin/noexec"], Why::CommandNotExecutable),
            (&[], Why::Invalid),
        ] {
            let refusal = exec(&bench, command(args)).await.expect_err("refused");
            assert_eq!(refusal.kind, kind, "{runtime}: {refusal:?}");
        }
        let alice = ExecRequest { user: "alice".into(), workdir: "/tmp".into(), ..command(&["sh", "-c", "id; pwd"]) };
        let ran = exec(&bench, alice).await.expect("exec");
        assert_eq!(ran.stdout, "uid=1000(alice) gid=1001(alice) groups=50(staff),1001(alice)\n/tmp\n", "{runtime}");
        let nobody = ExecRequest { user: "nobody".into(), ..command(&["true"]) };
        assert_eq!(
            exec(&bench, nobody).await.expect_err("refused").message,
            "unable to find user nobody: no matching entries in passwd file"
        );
        let gone = client.exec_wait(soon(), &ExecId { id: "x".into() }).await;
        assert!(gone.is_err());
        assert!(bench.state().execs.is_empty());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn commands_beside_each_other_and_detached() {
    let bench = Bench::new(&Wish::sh("sleep 1000"));
    let (client, _) = up(&bench).await;
    let codes = (0..12).map(|code| {
        let bench = &bench;
        async move {
            let script = format!("echo {code}; exit {code}");
            let ran = exec(bench, command(&["sh", "-c", &script])).await.expect("exec");
            assert_eq!((ran.stdout, ran.exit.code), (format!("{code}\n"), code));
        }
    });
    futures::future::join_all(codes).await;

    let request = ExecRequest { detach: true, ..command(&["sleep", "1000"]) };
    let started = client.exec(soon(), &request).await.expect("exec");
    until("state.json has it", || bench.state().execs == [started.id.clone()]).await;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(started.pid).expect("pid")),
        nix::sys::signal::Signal::SIGKILL,
    )
    .expect("kill");
    until("state.json has it no more", || bench.state().execs.is_empty()).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_command_with_a_terminal() {
    let bench = Bench::new(&Wish::sh("sleep 1000"));
    let (client, _) = up(&bench).await;
    let request = ExecRequest {
        tty: true,
        window: Some(WindowSize { rows: 24, columns: 80 }),
        // crun sets the size while the command begins.
        ..command(&["sh", "-c", "sleep 0.3; stty size; read line; stty size; exit 4"])
    };
    let started = client.exec(soon(), &request).await.expect("exec");
    let raw = bench.raw();
    raw.send(&[b"P", started.id.as_bytes()].concat(), &[]).await.expect("send");
    let master = raw.acknowledgement().await.expect("ack").pop().expect("the master");
    let mut text = Vec::new();
    let mut read = |wanted: &str| {
        let mut buffer = [0; 256];
        match nix::unistd::read(&master, &mut buffer) {
            Ok(length) => text.extend_from_slice(&buffer[..length]),
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EIO) => {}
            Err(error) => panic!("{error}"),
        }
        String::from_utf8_lossy(&text).contains(wanted)
    };
    until("the first size", || read("24 80\r\n")).await;
    let resize =
        proto::wire::ExecResizeRequest { id: started.id.clone(), window: Some(WindowSize { rows: 50, columns: 132 }) };
    client.exec_resize(soon(), &resize).await.expect("resize");
    nix::unistd::write(&master, b"x\n").expect("write");
    until("the second size", || read("50 132\r\n")).await;
    let exit = client.exec_wait(soon(), &ExecId { id: started.id }).await.expect("wait");
    assert_eq!(exit.code, 4);

    // Whose caller goes away writes on, to nobody.
    let request = ExecRequest { tty: true, ..command(&["sh", "-c", "seq 1 100000; exit 6"]) };
    let started = client.exec(soon(), &request).await.expect("exec");
    let raw = bench.raw();
    raw.send(&[b"P", started.id.as_bytes()].concat(), &[]).await.expect("send");
    drop(raw.acknowledgement().await.expect("ack"));
    drop(raw);
    assert_eq!(client.exec_wait(soon(), &ExecId { id: started.id }).await.expect("wait").code, 6);
}

#[tokio::test(flavor = "current_thread")]
async fn stop_asks_waits_and_kills() {
    let stop = |timeout_ms| MonitorStop { timeout_ms, ..MonitorStop::default() };
    // Ends when it is asked to.
    let bench = Bench::new(&Wish::sh("trap 'exit 3' TERM; while :; do sleep 0.05; done"));
    let (client, _) = up(&bench).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.stop(soon(), &stop(30_000)).await.expect("stop").code, 3);

    // Does not: the second stop joins the first, and shortens it. A command may run until the end of the grace.
    let bench = Bench::new(&Wish::sh("trap '' TERM; while :; do sleep 0.05; done"));
    let (client, _) = up(&bench).await;
    let begun = std::time::Instant::now();
    let (first, second) = (bench.client(), bench.client());
    let forever = stop(-1);
    let waiting = first.stop(soon(), &forever);
    let rest = async {
        until("stopping", || bench.state().phase == Phase::Stopping).await;
        assert_eq!(exec(&bench, command(&["true"])).await.expect("exec").exit.code, 0);
        second.stop(soon(), &stop(300)).await.expect("stop")
    };
    let (one, two) = tokio::join!(waiting, rest);
    assert_eq!((one.expect("stop"), two.code, two.signal), (two, 137, 9));
    assert!(begun.elapsed() >= Duration::from_millis(300));
    drop(client);

    // Paused: it is thawed to be told.
    let bench = Bench::new(&Wish::sh("trap 'exit 8' TERM; while :; do sleep 0.05; done"));
    let (client, _) = up(&bench).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    client.pause(soon(), &Empty {}).await.expect("pause");
    assert_eq!(client.stop(soon(), &stop(30_000)).await.expect("stop").code, 8);
}

#[tokio::test(flavor = "current_thread")]
async fn pause_freezes_and_unpause_thaws() {
    let bench = Bench::new(&Wish::sh("n=0; while :; do n=$((n+1)); echo $n; sleep 0.01; done"));
    let (client, _) = up(&bench).await;
    until("it counts", || !bench.logged("stdout").is_empty()).await;
    client.pause(soon(), &Empty {}).await.expect("pause");
    assert_eq!(bench.state().phase, Phase::Paused);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let before = bench.logged("stdout");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.logged("stdout"), before);
    let twice = Refusal::from(client.pause(soon(), &Empty {}).await.expect_err("refused"));
    assert_eq!(twice.message, format!("{:?} is already paused: container state improper", bench.start.id.as_str()));
    let refusal = exec(&bench, command(&["true"])).await.expect_err("refused");
    assert!(refusal.message.ends_with("is paused, unpause it first: container state improper"), "{refusal:?}");
    client.unpause(soon(), &Empty {}).await.expect("unpause");
    until("it counts on", || bench.logged("stdout").len() > before.len()).await;
    assert!(client.unpause(soon(), &Empty {}).await.is_err());
    // SIGKILL reaches a frozen one, too.
    client.pause(soon(), &Empty {}).await.expect("pause");
    client.kill(soon(), &MonitorKill { signal: "KILL".into(), all: false }).await.expect("kill");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 137);
}

#[tokio::test(flavor = "current_thread")]
async fn signals_by_name_and_number() {
    let bench =
        Bench::new(&Wish::sh("trap 'echo hup' HUP; trap 'exit 9' USR1; echo ready; while :; do sleep 0.05; done"));
    let (client, _) = up(&bench).await;
    until("ready", || bench.logged("stdout") == b"ready\n").await;
    let kill = |signal: &str| MonitorKill { signal: signal.into(), all: false };
    client.kill(soon(), &kill("SIGHUP")).await.expect("kill");
    until("hup", || bench.logged("stdout").ends_with(b"hup\n")).await;
    let refusal = Refusal::from(client.kill(soon(), &kill("NOPE")).await.expect_err("refused"));
    assert_eq!((refusal.kind, refusal.message.as_str()), (Why::Invalid, "invalid signal: NOPE"));
    client.kill(soon(), &kill("10")).await.expect("kill");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 9);
}

#[tokio::test(flavor = "current_thread")]
async fn a_lifetime_ends() {
    let bench = Bench::new(&Wish { timeout_seconds: 1, ..Wish::sh("trap '' TERM; sleep 1000") });
    assert_eq!(run(&bench).await.code, 137);
}

#[tokio::test(flavor = "current_thread")]
async fn memory_kills_are_told_apart() {
    let limit = |config: &mut serde_json::Value| {
        config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 20 << 20, "swap": 20 << 20});
    };
    let hog = "exec dd if=/dev/zero of=/dev/null bs=64M count=1";
    let bench = Bench::new(&Wish { config: limit, ..Wish::sh(hog) });
    let exit = run(&bench).await;
    assert!(exit.oom_killed && exit.code == 137, "{exit:?}");
    assert!(bench.state().oom_kills > 0);
    let child = "dd if=/dev/zero of=/dev/null bs=64M count=1; exit 5";
    let bench = Bench::new(&Wish { config: limit, ..Wish::sh(child) });
    let exit = run(&bench).await;
    assert_eq!((exit.oom_killed, exit.code), (false, 5));
    assert!(bench.state().oom_kills > 0);
}

/// A container that writes numbered lines to both streams as fast as it can.
const COUNTER: &str = "seq 1 1500000; printf end >&2; exit 7";

#[tokio::test(flavor = "current_thread")]
async fn a_killed_monitor_loses_doubles_and_tears_no_line() {
    killed_again_and_again(&Wish::sh(COUNTER)).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_monitor_killed_while_it_rotates_loses_doubles_and_tears_no_line() {
    // Some hundred rotations, so that kills come near one.
    killed_again_and_again(&Wish { rotation: Some((500_000, 1000)), ..Wish::sh(COUNTER) }).await;
    killed_again_and_again(&Wish { driver: "json-file", rotation: Some((2_000_000, 1000)), ..Wish::sh(COUNTER) }).await;
}

async fn killed_again_and_again(wish: &Wish) {
    let mut bench = Bench::new(wish);
    up(&bench).await;
    assert_eq!(bench.stored(), ["pidfd", "stderr", "stdout"]);
    let mut kills = 0;
    for round in 0..20u64 {
        tokio::time::sleep(Duration::from_millis(1 + round * 7 % 13)).await;
        if bench.exit_record().status.known {
            break;
        }
        bench.kill();
        bench.respawn();
        kills += 1;
        // Until it serves.
        bench.client().status(soon(), &Empty {}).await.expect("status");
    }
    let exit = wait_reporting(&mut bench).await;
    let expected: String = (1..=1_500_000).map(|number| format!("{number}\n")).collect();
    let logged = bench.logged("stdout");
    assert!(logged == expected.as_bytes(), "{} of {} bytes after {kills} kills", logged.len(), expected.len());
    assert_eq!(bench.logged("stderr"), b"end");
    assert_eq!((exit.known, exit.code), (true, 7));
    assert!(kills >= 5, "only {kills} kills");
}

#[tokio::test(flavor = "current_thread")]
async fn killed_with_all_who_hold_its_pipes_it_loses_doubles_and_tears_no_line() {
    let script = "seq 1 1500000; printf end >&2; while [ ! -e /tmp/go ]; do sleep 0.01; done; exit 7";
    let mut bench = Bench::new(&Wish::sh(script));
    up(&bench).await;
    for round in 0..20u64 {
        tokio::time::sleep(Duration::from_millis(1 + round * 7 % 13)).await;
        bench.kill();
        bench.forget();
        bench.respawn();
        bench.client().status(soon(), &Empty {}).await.expect("status");
    }
    let expected: String = (1..=1_500_000).map(|number| format!("{number}\n")).collect();
    until("the last line", || bench.logged("stdout").len() >= expected.len()).await;
    exec(&bench, command(&["sh", "-c", ": > /tmp/go"])).await.expect("exec");
    assert_eq!(wait_reporting(&mut bench).await.code, 7);
    assert!(bench.logged("stdout") == expected.as_bytes());
    assert_eq!(bench.logged("stderr"), b"end");
}

/// Waits as a supervisor does that has become the container's reaper.
async fn wait_reporting(bench: &mut Bench) -> ExitStatus {
    let client = bench.client();
    let wait = client.wait(soon(), &Empty {});
    tokio::pin!(wait);
    let init = bench.state().init;
    let report = bench.client();
    loop {
        tokio::select! {
            exit = &mut wait => return exit.expect("wait"),
            () = tokio::time::sleep(Duration::from_millis(5)) => {
                if let Some(init) = &init
                    && let Some(wait_status) = harness::reap(init.pid, Duration::ZERO)
                {
                    let exit = proto::wire::WitnessedExit { pid: init.pid, wait_status };
                    let report = report.clone();
                    // Who has seen the end itself may leave before this is answered.
                    tokio::spawn(async move { report.report_exit(soon(), &exit).await });
                }
                // It was recorded before we asked, and who recorded it may have gone.
                let recorded = bench.exit_record().status;
                if recorded.known {
                    return recorded;
                }
            }
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_successor_attaches_executes_stops() {
    let mut bench =
        Bench::new(&Wish { stdin: true, ..Wish::sh("while read line; do echo got $line; done; sleep 1000") });
    up(&bench).await;
    let before = bench.state();
    bench.kill();
    bench.respawn();
    let client = bench.client();
    let status = client.status(soon(), &Empty {}).await.expect("status");
    assert_eq!((status.status.as_str(), status.started_at), ("running", before.started_at));
    assert_eq!(exec(&bench, command(&["sh", "-c", "exit 3"])).await.expect("exec").exit.code, 3);
    let _raw = bench.attach(&Attach { stdin: true, output: true, lossless: false, ..Default::default() }).await;
    let stopped = client.stop(soon(), &MonitorStop { timeout_ms: 0, ..MonitorStop::default() }).await.expect("stop");
    assert_eq!((stopped.known, stopped.code), (true, 137));
    let init = before.init.expect("init").pid;
    assert_eq!(harness::reap(init, LONG), Some(9));
    assert_eq!(bench.wait_monitor(), Some(0));
}

#[tokio::test(flavor = "current_thread")]
async fn a_successor_of_a_terminal_keeps_it() {
    let script = "trap 'exit 77' HUP; echo one; read line; echo $line; stty size; exit 4";
    let mut bench = Bench::new(&Wish { tty: true, stdin: true, ..Wish::sh(script) });
    up(&bench).await;
    until("one", || bench.logged("stdout") == b"one\r\n").await;
    bench.kill();
    bench.respawn();
    let raw = bench.attach(&Attach { stdin: true, output: true, lossless: false, ..Default::default() }).await;
    send(&raw, Kind::Resize, &[[20, 0], [60, 0]].concat()).await;
    send(&raw, Kind::Stdin, b"two\n").await;
    let exit = wait_reporting(&mut bench).await;
    assert_eq!(exit.code, 4);
    assert_eq!(bench.logged("stdout"), b"one\r\ntwo\r\ntwo\r\n20 60\r\n");
}

#[tokio::test(flavor = "current_thread")]
async fn killed_with_its_container_the_exit_is_still_exact_and_the_output_complete() {
    let mut bench = Bench::new(&Wish::sh("read x < /dev/zero & sleep 0.3; seq 1 5000; printf tail; exit 6"));
    up(&bench).await;
    bench.kill();
    let init = bench.state().init.expect("init").pid;
    // The container ends while nobody is there: what it wrote waits in the FIFO.
    let status = harness::reap(init, LONG).expect("ended");
    assert_eq!(status, 6 << 8);
    (bench.start.witnessed_exit, bench.start.witnessed_pid) = (Some(status), init);
    proto::record::write(&bench.run.join("start.json"), &bench.start, proto::record::Durability::Volatile)
        .expect("write");
    bench.spawn();
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!(bench.exit_record().status.code, 6);
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).chain(["tail".into()]).collect();
    assert!(bench.logged("stdout") == expected.as_bytes());
}

#[tokio::test(flavor = "current_thread")]
async fn a_full_disk_costs_records_and_nothing_else() {
    let dir = tempfile::Builder::new().prefix("podmon-full-").tempdir().expect("tempdir");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "podmon-test"])
        .arg(dir.path())
        .status()
        .expect("mount");
    assert!(mount.success());
    struct Mounted<'a>(&'a std::path::Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _mounted = Mounted(dir.path());
    let log = dir.path().join("ctr.log");
    let script = "seq 1 100000; echo full; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo after; exit 2";
    let bench = Bench::new(&Wish { log: Some(log.clone()), ..Wish::sh(script) });
    let (client, _) = up(&bench).await;
    until("records are lost", || bench.state().log_dropped > 0).await;
    let kept = bench.logged("stdout");
    assert!(kept.ends_with(b"\n"));
    // Room again.
    let mounted = std::process::Command::new("mount").args(["-o", "remount,size=16m"]).arg(dir.path()).status();
    assert!(mounted.expect("mount").success());
    exec(&bench, command(&["sh", "-c", ": > /tmp/go"])).await.expect("exec");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 2);
    let text = String::from_utf8(bench.logged("stderr")).expect("text");
    let dropped: u64 = text.split(' ').nth(2).expect("a number").parse().expect("a number");
    assert!(text.ends_with("No space left on device\n"), "{text}");
    let kept = String::from_utf8(bench.logged("stdout")).expect("text");
    assert!(kept.ends_with("after\n"));
    assert_eq!(kept.lines().count() as u64 + dropped, 100_002);
    assert_eq!(bench.state().log_dropped, dropped);
}

#[tokio::test(flavor = "current_thread")]
async fn nothing_of_ours_leaks_into_the_container() {
    // Not by a shell, which changes signals.
    for runtime in ["crun", "runc"] {
        let args = ["cat", "/proc/self/status", "/proc/self/environ"].map(str::to_owned).to_vec();
        let bench = Bench::new(&Wish { runtime, args, ..Wish::sh("") });
        assert_eq!(run(&bench).await.code, 0);
        let text = String::from_utf8(bench.logged("stdout")).expect("text");
        assert!(!text.contains("CANARY") && !text.contains("NOTIFY_SOCKET") && !text.contains("LISTEN_"), "{text}");
        assert!(text.contains("SigBlk:\t0000000000000000"), "{text}");
        assert!(text.contains("SigIgn:\t0000000000000000"), "{text}");
        assert!(text.contains("Umask:\t0022"), "{text}");
    }
    let bench = Bench::new(&Wish::sh("echo /proc/self/fd/*"));
    assert_eq!(run(&bench).await.code, 0);
    let text = String::from_utf8(bench.logged("stdout")).expect("text");
    // The third is the directory that the shell reads.
    assert_eq!(text, "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3\n");
}

#[tokio::test(flavor = "current_thread")]
async fn who_keeps_stdout_open_after_the_end_does_not_hold_it_up() {
    let host_pids = |config: &mut serde_json::Value| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("array");
        namespaces.retain(|namespace| namespace["type"] != "pid");
    };
    let mut bench = Bench::new(&Wish { config: host_pids, ..Wish::sh("(sleep 30; echo late) & printf now; exit 3") });
    let begun = std::time::Instant::now();
    assert_eq!(run(&bench).await.code, 3);
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(bench.logged("stdout"), b"now");
    assert_eq!(bench.wait_monitor(), Some(0));
}

#[tokio::test(flavor = "current_thread")]
async fn without_its_terminal_stdin_ends_but_an_attached_client_may_go() {
    let bench = Bench::new(&Wish { stdin: true, ..Wish::sh("cat; echo end") });
    let client = bench.client();
    client.create(soon(), &MonitorCreate {}).await.expect("create");
    let starter = bench.attach(&lossless()).await;
    client.start(soon(), &Empty {}).await.expect("start");
    let other = bench.attach(&Attach { stdin: true, output: true, lossless: false, ..Default::default() }).await;
    send(&other, Kind::Stdin, b"from the other\n").await;
    until("it arrives", || bench.logged("stdout") == b"from the other\n").await;
    drop(other);
    send(&starter, Kind::Stdin, b"still there\n").await;
    until("it arrives", || bench.logged("stdout").ends_with(b"still there\n")).await;
    drop(starter);
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 0);
    assert!(bench.logged("stdout").ends_with(b"end\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_renamed_log_is_left_and_nothing_is_lost_on_the_way() {
    let bench = Bench::new(&Wish::sh("seq 1 400000; sleep 0.5; echo last"));
    let (client, _) = up(&bench).await;
    let old = bench.log_path().with_extension("1");
    until("some lines", || fs::metadata(bench.log_path()).is_ok_and(|log| log.len() > 100_000)).await;
    fs::rename(bench.log_path(), &old).expect("rename");
    client.reopen_log(soon(), &Empty {}).await.expect("reopen");
    assert_eq!(client.wait(soon(), &Empty {}).await.expect("wait").code, 0);
    let new = bench.logged("stdout");
    fs::rename(&old, bench.log_path()).expect("rename");
    let both = [bench.logged("stdout"), new].concat();
    let expected: String = (1..=400_000).map(|number| format!("{number}\n")).chain(["last\n".into()]).collect();
    assert!(both == expected.as_bytes());
}

#[tokio::test(flavor = "current_thread")]
async fn a_runtime_that_hangs_or_shouts_is_dealt_with() {
    // Given up while it hangs: killed with what it has started.
    let mut bench = Bench::new(&Wish {
        runtime_script: Some("[ \"$3\" = create ] && { sleep 1000 & sleep 1000; }"),
        ..Wish::sh("")
    });
    let client = bench.client();
    let other = bench.client();
    let request = MonitorCreate {};
    let (created, _) = tokio::join!(client.create(soon(), &request), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        other.shutdown(soon(), &Empty {}).await.expect("shutdown");
    });
    assert_eq!(Refusal::from(created.expect_err("refused")).message, "fake-runtime create was given up");
    assert_eq!(bench.wait_monitor(), Some(0));

    let shout = "[ \"$3\" = create ] && head -c 1000000 /dev/zero | tr '\\0' x >&2; echo >&2; echo 'no\u{1b}[2Jway' >&2; exit 1";
    let bench = Bench::new(&Wish { runtime_script: Some(shout), ..Wish::sh("") });
    let refusal = Refusal::from(bench.client().create(soon(), &MonitorCreate {}).await.expect_err("refused"));
    assert_eq!(refusal.message, "OCI runtime error: fake-runtime: no [2Jway");

    let bench = Bench::new(&Wish { runtime_script: Some("exit 0"), ..Wish::sh("") });
    let refusal = Refusal::from(bench.client().create(soon(), &MonitorCreate {}).await.expect_err("refused"));
    assert!(refusal.message.starts_with("fake-runtime: "), "{refusal:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn what_dies_before_it_is_started_is_recorded() {
    let mut bench = Bench::new(&Wish::sh("echo never"));
    let client = bench.client();
    let status = client.create(soon(), &MonitorCreate {}).await.expect("create");
    let stopped = client.stop(soon(), &MonitorStop { timeout_ms: 5000, ..MonitorStop::default() }).await.expect("stop");
    assert_eq!((stopped.known, stopped.code), (true, 137));
    assert!(status.pid > 0);
    assert_eq!(bench.wait_monitor(), Some(0));
    assert_eq!((bench.exit_record().started_at, bench.exit_record().status.code), (0, 137));
    assert_eq!(bench.logged("stdout"), b"");
}

#[tokio::test(flavor = "current_thread")]
async fn a_new_supervisor_is_sent_the_descriptors_again() {
    let bench = Bench::new(&Wish { tty: true, ..Wish::sh("sleep 1000") });
    let (client, _) = up(&bench).await;
    until("stored", || bench.stored() == ["pidfd", "pty"]).await;
    bench.forget();
    client.store_fds(soon(), &NewSupervisor::default()).await.expect("store");
    until("stored again", || bench.stored() == ["pidfd", "pty"]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn an_idle_monitor_is_small_and_asleep() {
    let bench = Bench::new(&Wish::sh("seq 1 200000; sleep 1000"));
    let (client, _) = up(&bench).await;
    let said = || fs::read(bench.log_path()).is_ok_and(|log| log.ends_with(b" 200000\n"));
    until("the output is there", said).await;
    for _ in 0..20 {
        exec(&bench, command(&["true"])).await.expect("exec");
    }
    drop(client);
    // What the linker has just written and the disk has not yet would count as ours.
    fs::File::open(env!("CARGO_BIN_EXE_podmon")).and_then(|program| program.sync_all()).expect("sync");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let dirty = harness::memory(bench.pid(), "Private_Dirty");
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", bench.pid())).expect("status");
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("the line");
        line.trim().parse::<u64>().expect("a number")
    };
    let before = switches();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(switches(), before, "it wakes up");
    // This profile is not the one that is released: the figure there is 200 kB.
    assert!(dirty < 600, "{dirty} kB private dirty");
    println!("idle: {dirty} kB private dirty");
}

#[tokio::test(flavor = "current_thread")]
async fn garbage_on_the_raw_socket_hurts_nobody() {
    let bench = Bench::new(&Wish::sh("sleep 1000"));
    let (client, _) = up(&bench).await;
    for packet in [&b"X"[..], b"", b"T{", b"Pnosuch", b"T{\"stdin\":5}", &[0xff; 60_000]] {
        let raw = bench.raw();
        if packet.is_empty() {
            continue;
        }
        raw.send(packet, &[]).await.expect("send");
        assert!(raw.acknowledgement().await.is_err());
    }
    let raw = bench.attach(&lossless()).await;
    raw.send(&[9; 20], &[]).await.expect("send");
    let mut many = Vec::new();
    for _ in 0..40 {
        let raw = bench.raw();
        let request = serde_json::to_vec(&Attach { output: true, ..Attach::default() }).expect("json");
        raw.send(&[b"T".to_vec(), request].concat(), &[]).await.expect("send");
        many.push((raw.acknowledgement().await.is_ok(), raw));
    }
    assert!(many.iter().filter(|(attached, _)| *attached).count() <= 32);
    assert_eq!(client.status(soon(), &Empty {}).await.expect("status").status, "running");
    let fd = fs::File::open("/dev/null").expect("null");
    bench.raw().deposit("token", &[fd.as_fd()]).await.expect("deposit");
}
