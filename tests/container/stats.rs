//! What containers use: `stats` and `pod stats`.

use harness::{Engine, images::ALPINE, oracle, wait};

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn stats_shows_the_use_of_running_containers() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl run -d --name busy --memory 64m alpine sh -c 'sleep 1000 & while :; do :; done'").ok();
    engine.sh("podctl run --name done alpine true").ok();
    wait::until("processor time", || {
        let json = json(&engine.sh("podctl stats --no-stream --format json busy").ok());
        let percent: f64 = json[0]["cpu_percent"].as_str()?.strip_suffix('%')?.parse().ok()?;
        (percent > 1.0).then_some(())
    });
    let lines = engine.sh("podctl stats --no-stream").lines();
    let titles: Vec<&str> = lines[0].split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    assert_eq!(
        titles,
        ["ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET IO", "BLOCK IO", "PIDS", "CPU TIME", "AVG CPU %"]
    );
    assert_eq!(lines.len(), 2, "a stopped container is not shown: {lines:?}");
    assert!(lines[1].starts_with(&id[..12]) && lines[1].contains(" / 67.11MB"), "{}", lines[1]);
    engine
        .sh("podctl stats --no-stream --no-trunc --format '{{.ID}} {{.PIDS}} {{.MemLimit}}' busy")
        .prints(&format!("{id} 2 67108864"));
    let all =
        engine.sh("podctl stats -a --no-stream --format '{{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDS}}'").lines();
    assert_eq!(all[1], "done -- -- / -- --", "{all:?}");
    let line = engine.sh("podctl stats --no-stream --format '{{.Duration}} {{len .PerCPU}}' busy").ok();
    let (duration, each) = line.split_once(' ').expect("two words");
    assert!(duration.parse::<u64>().is_ok_and(|nanoseconds| nanoseconds > 0), "{line}");
    // cgroup v1 counts each processor, v2 does not.
    let counts = oracle::hierarchies().iter().any(|hierarchy| hierarchy.join("cpuacct.usage_percpu").exists());
    assert_eq!(each != "0", counts, "{line}");
    engine.sh("podctl pause busy && podctl stats --no-stream --format '{{.PIDs}}' busy").code(0);
    engine.sh("podctl stats --no-stream --format '{{.PIDS}}' busy").prints("2");
}

#[test]
fn traffic_is_that_of_the_pod_and_shared_by_its_members() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name web").ok();
    engine.sh("podctl run -d --pod web --name one --cap-add net_raw alpine top").ok();
    engine.sh("podctl run -d --pod web --name two alpine top").ok();
    engine.sh("podctl run -d --name host --network host alpine top").ok();
    engine.sh("podctl exec one ping -c 3 -i 0.2 10.88.0.1").code(0);
    let io = |name: &str| {
        engine.sh(&format!("podctl stats --no-stream --format '{{{{.NetIO}}}} {{{{.NetOutput}}}}' {name}")).ok()
    };
    wait::until("the same figures", || (io("one") == io("two")).then_some(()));
    let sent: u64 = io("one").rsplit(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    assert!(sent >= 3 * 98, "three pings were sent: {sent}");
    assert_eq!(io("host"), "-- / -- 0", "the host's traffic is not the container's");

    let table = engine.sh("podctl pod stats --no-stream web").lines();
    let titles: Vec<&str> = table[0].split("  ").map(str::trim).filter(|title| !title.is_empty()).collect();
    assert_eq!(titles, ["POD", "CID", "NAME", "CPU %", "MEM USAGE/ LIMIT", "MEM %", "NET IO", "BLOCK IO", "PIDS"]);
    assert_eq!(table.len(), 3, "{table:?}");
    let text = engine.sh("podctl pod stats --no-stream --format json web").ok();
    assert!(text.starts_with("[\n     {\n          \"CPU\": \""), "{text}");
    let pod = engine.sh("podctl pod inspect --format '{{.Id}}' web").ok();
    assert_eq!(json(&text)[0]["Pod"], pod[..12], "{text}");
    engine.sh("podctl stop -t 0 two").ok();
    engine.sh("podctl pod stats --no-stream --format '{{.Name}} {{.PIDS}}' web").prints("one 1\ntwo --");
    engine.sh("podctl pod stop -t 0 web").ok();
    let none = engine.sh("podctl pod stats --no-stream").lines();
    assert!(none[1].split_whitespace().all(|cell| cell == "--") && none.len() == 2, "{none:?}");
    engine.sh("podctl pod stats --no-stream -a --format '{{.Name}} {{.PIDS}}'").prints("one --\ntwo --");
}

#[test]
fn stats_works_without_a_monitor() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c alpine top").ok();
    for pid in engine.pids("podmon").into_iter().chain(engine.pids("podshim pod")) {
        let _it_may_have_gone =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
    engine.sh("podctl stats --no-stream --format '{{.Name}} {{.PIDS}}' c").prints("c 1");
}

#[test]
fn a_terminal_is_refreshed_and_ctrl_c_ends_it() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c alpine top").ok();
    let line = "timeout --foreground --preserve-status -s INT 3 podctl stats -i 1; echo code=$?";
    let (_, shown) = engine.terminal(line).finish();
    assert!(shown.matches("\x1b[2J\x1b[H").count() >= 2, "{shown}");
    assert!(shown.contains("code=0") && !shown.contains("Error"), "{shown}");
    let piped = engine.start("podctl stats -i 1 c | head -3");
    let piped = piped.finish();
    assert!(!piped.stdout().contains('\x1b') && piped.lines().len() == 3, "{piped}");
}
