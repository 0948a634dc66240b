//! What `pod ps`, `pod inspect`, `pod logs` and `pod top` print.

use harness::{Engine, images::ALPINE, programs::is_stand_in, table::Table, until};
use serde_json::Value;

#[test]
fn pod_ps_has_the_columns_and_the_formats_of_podman() {
    let engine = Engine::with(&[ALPINE]);
    let empty = engine.sh("podctl pod ps").ok();
    assert_eq!(Table::read(&empty).headers, ["POD ID", "NAME", "STATUS", "CREATED", "INFRA ID", "# OF CONTAINERS"]);
    assert_eq!(engine.sh("podctl pod ps --format json").ok(), "[]");
    let first = engine.sh("podctl pod create --name first --label a=1 --label b=2").ok();
    let second = engine.sh("podctl pod create --name second").ok();
    assert_eq!(engine.sh("podctl pod ps -q --no-trunc").ok(), format!("{second}\n{first}"), "newest first");
    assert_eq!(
        Table::read(&engine.sh("podctl pod ps --no-trunc").ok()).cells("POD ID"),
        [second.as_str(), first.as_str()]
    );
    engine
        .sh("podctl pod ps --noheading --format '{{.Name}} {{.Status}} {{.NumberOfContainers}}'")
        .prints("second Created 1\nfirst Created 1");
    engine.sh("podctl pod ps --filter name=fir -q --no-trunc").prints(&first);
    engine.sh("podctl pod ps --filter label=a=1 --filter label=b -q --no-trunc").prints(&first);
    engine.sh("podctl pod ps --filter status=running -q").prints_nothing();
    let json: Value = serde_json::from_str(&engine.sh("podctl pod ps --format json --sort name").ok()).expect("json");
    assert_eq!(json[0]["Name"], "first");
    assert_eq!(json[0]["Id"], first.as_str());
    assert_eq!(json[0]["Labels"]["a"], "1");
    assert_eq!(json[0]["Containers"].as_array().map(Vec::len), Some(1));
}

#[test]
fn pod_inspect_tells_everything_as_json() {
    let engine = Engine::with(&[ALPINE]);
    let pod = engine.sh("podctl pod create --name p --hostname front --label a=1 -p 127.0.0.1:8080:80/tcp").ok();
    let cgroup = || engine.sh("podctl pod inspect --format '{{.CgroupPath}} {{.CgroupParent}}' p").ok();
    let before = cgroup();
    engine.sh("podctl run -d --pod p --name member alpine top").ok();
    assert!(before.starts_with('/') && before.contains(&format!("/{pod} /")), "{before}");
    assert_eq!(cgroup(), before, "the one it is in is the one it was to have");
    let text = engine.sh("podctl pod inspect p").ok();
    let json: Value = serde_json::from_str(&text).expect("json");
    let one = if is_stand_in() { &json } else { &json[0] };
    assert_eq!(one["Id"], pod.as_str());
    assert_eq!(one["Name"], "p");
    assert_eq!(one["State"], "Running");
    assert_eq!(one["Hostname"], "front");
    assert_eq!(one["Labels"]["a"], "1");
    assert_eq!(one["NumContainers"], 2);
    assert_eq!(one["Containers"].as_array().map(Vec::len), Some(2));
    let port = &one["InfraConfig"]["PortBindings"]["80/tcp"][0];
    assert_eq!((&port["HostIp"], &port["HostPort"]), (&Value::from("127.0.0.1"), &Value::from("8080")));
    engine.sh("podctl pod inspect --format '{{.Name}} {{.State}} {{.NumContainers}}' p").prints("p Running 2");
    // What is left out of the JSON because it is empty is a field of a template all the same.
    let empty = "'{{.MemoryLimit}} {{len .Mounts}} {{.CPUShares}} {{if .SecurityOpts}}some{{else}}none{{end}}'";
    engine.sh(&format!("podctl pod inspect --format {empty} p")).prints("0 0 0 none");
    let empty = "'{{if .State.Health}}some{{else}}none{{end}}|{{.State.StoppedByUser}}|{{.HostConfig.Init}}|{{.Config.Timezone}}'";
    engine.sh(&format!("podctl inspect --format {empty} member")).prints("none|false|false|");
    let nope = engine.sh("podctl pod inspect nope");
    nope.code(125).mentions("no such pod");
}

#[test]
fn pod_logs_tells_the_members_apart() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name p").ok();
    let one = engine.sh("podctl run -d --pod p --name one alpine sh -c 'echo from one; echo err one >&2'").ok();
    let two = engine.sh("podctl run -d --pod p --name two alpine echo from two").ok();
    engine.sh("podctl wait one two").code(0);
    let logs = engine.sh("podctl pod logs p");
    let mut lines = logs.code(0).lines();
    lines.sort();
    let mut expected = vec![format!("{} from one", &one[..12]), format!("{} from two", &two[..12])];
    expected.sort();
    assert_eq!(lines, expected);
    assert_eq!(logs.stderr(), format!("{} err one\n", &one[..12]));
    engine.sh("podctl pod logs -c two p").prints("from two");
    engine.sh("podctl pod logs --tail 1 -c one p").code(0);
    engine.sh("podctl pod logs").code(125).mentions("specify at least one pod name or ID to log");
}

#[test]
fn ps_shows_states_ports_and_exit_codes() {
    let engine = Engine::with(&[ALPINE]);
    let header = engine.sh("podctl ps").ok();
    assert_eq!(header.trim_end(), "CONTAINER ID  IMAGE       COMMAND     CREATED     STATUS      PORTS       NAMES");
    engine.sh("podctl run -d --name up -p 127.0.0.1:8080:80 -p 9000-9002:9000-9002/udp alpine sleep 1234567890").ok();
    engine.sh("podctl run --name done alpine sh -c 'exit 3'").code(3);
    let running = Table::read(&engine.sh("podctl ps").ok());
    assert_eq!(running.cells("NAMES"), ["up"]);
    let all = Table::read(&engine.sh("podctl ps -a").ok());
    assert_eq!(all.cells("NAMES"), ["up", "done"], "oldest first");
    assert_eq!(all.cell("NAMES", "up", "PORTS"), "127.0.0.1:8080->80/tcp, 0.0.0.0:9000-9002->9000-9002/udp");
    assert_eq!(all.cell("NAMES", "up", "COMMAND"), "sleep 1234567890");
    let status = all.cell("NAMES", "done", "STATUS");
    assert!(status.starts_with("Exited (3) ") && status.ends_with(" ago"), "{status}");
    assert!(all.cell("NAMES", "up", "STATUS").starts_with("Up "));
    assert_eq!(engine.sh("podctl pod ps -q").ok(), "", "a container without a pod shows no pod");
    assert_eq!(Table::read(&engine.sh("podctl ps --pod").ok()).cells("PODNAME"), [""]);
    engine
        .sh("podctl ps -a --format '{{.Names}}|{{.Image}}' --filter name=done")
        .prints("done|docker.io/library/alpine:latest");
    engine.sh("podctl ps --noheading --filter status=exited --format '{{.Names}}'").prints("done");
}

#[test]
fn pod_top_lists_every_process_of_every_member() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --pod new:p --name one alpine sleep 1111").ok();
    engine.sh("podctl run -d --pod p --name two -u user alpine sleep 2222").ok();
    let both = || {
        let top = engine.sh("podctl pod top p").ok();
        (top.contains("sleep 1111") && top.contains("sleep 2222")).then_some(top)
    };
    let top = until("both", both);
    let user = |command: &str| {
        let line = top.lines().find(|line| line.contains(command)).unwrap_or_default();
        line.split_whitespace().next().unwrap_or_default().to_owned()
    };
    assert_eq!((user("sleep 1111").as_str(), user("sleep 2222").as_str()), ("root", "user"));
    let columns = engine.sh("podctl pod top p pid comm").ok();
    assert_eq!(columns.lines().next().map(|line| line.split_whitespace().collect()), Some(vec!["PID", "COMMAND"]));
    engine.sh("podctl pod stop -t 0 p").code(0);
    engine.sh("podctl pod top p").code(if is_stand_in() { 0 } else { 125 });
}
