//! The tutorial that users follow, line by line, on images pulled from a registry.

use harness::{
    Engine, Machine, enclosure, images::BANNER_TEXT, programs::is_stand_in, table::Table, terminal::Terminal, until,
};

#[test]
fn the_tutorial_works_line_by_line() {
    let engine = Engine::on(Machine { registry: true, ..Machine::default() });
    lifecycle(&engine);
    network(&engine);
    storage(&engine);
}

fn lifecycle(engine: &Engine) {
    // A pod is made with its infra, which is there but has not been started.
    let pod1 = id(&engine.sh("podctl pod create --name pod1").ok());
    let ps = engine.sh("podctl pod ps").ok();
    let pods = Table::read(&ps);
    // The width of CREATED follows what is in it: "1 second ago", "2 seconds ago".
    let created = format!("{:width$}", "CREATED", width = pods.cells("CREATED")[0].len());
    let header = format!("POD ID        NAME        STATUS      {created}  INFRA ID      # OF CONTAINERS");
    assert_eq!(ps.lines().next().map(str::trim_end), Some(header.as_str()));
    assert_eq!(pods.headers, ["POD ID", "NAME", "STATUS", "CREATED", "INFRA ID", "# OF CONTAINERS"]);
    assert_eq!(pods.cells("POD ID"), [&pod1[..12]]);
    assert_eq!(pods.cells("NAME"), ["pod1"]);
    assert_eq!(pods.cells("STATUS"), ["Created"]);
    assert!(pods.cells("CREATED")[0].ends_with(" ago"), "{ps}");
    assert_eq!(pods.cells("INFRA ID")[0].len(), 12);
    assert_eq!(pods.cells("# OF CONTAINERS"), ["1"]);
    let infra = format!("{}-infra", &pod1[..12]);
    let names = Table::read(&engine.sh("podctl pod ps --ctr-names").ok());
    assert_eq!(names.headers, ["POD ID", "NAME", "STATUS", "CREATED", "INFRA ID", "NAMES"]);
    assert_eq!(names.cells("NAMES"), [infra.as_str()]);

    // The first member starts it.
    let principal = id(&engine.sh("podctl run -dt --pod pod1 --name principal alpine:latest top").ok());
    assert_eq!(pod_status(engine, "pod1"), "Running");
    assert_eq!(Table::read(&engine.sh("podctl pod ps").ok()).cells("# OF CONTAINERS"), ["2"]);
    let ps = engine.sh("podctl ps --pod").ok();
    let containers = Table::read(&ps);
    assert_eq!(
        containers.headers,
        ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES", "POD ID", "PODNAME"]
    );
    assert_eq!(containers.cell("NAMES", "principal", "CONTAINER ID"), &principal[..12]);
    assert_eq!(containers.cell("NAMES", "principal", "IMAGE"), "docker.io/library/alpine:latest");
    assert_eq!(containers.cell("NAMES", "principal", "COMMAND"), "top");
    assert_eq!(containers.cell("NAMES", &infra, "COMMAND"), "");
    assert_eq!(containers.cells("PODNAME"), ["pod1", "pod1"]);
    assert_eq!(containers.cells("POD ID"), [&pod1[..12]; 2]);
    for status in containers.cells("STATUS") {
        assert!(status.starts_with("Up "), "{ps}");
    }
    if !is_stand_in() {
        assert_eq!(containers.cell("NAMES", &infra, "IMAGE"), "", "an infra needs no image");
        assert!(!engine.sh("podctl images").ok().contains("pause"));
    }

    // One monitor above each container, and nothing between the two.
    let top = engine.field("principal", ".State.Pid");
    let monitor = engine.field("principal", ".State.ConmonPid");
    let parent = engine.sh(&format!("awk '{{print $4}}' /proc/{top}/stat")).ok();
    assert_eq!(parent, monitor);

    engine.sh("podctl pod pause pod1").prints(&pod1).code(0);
    assert_eq!(pod_status(engine, "pod1"), "Paused");
    assert_eq!(engine.sh("podctl ps -q").ok(), "", "what is paused does not run");
    engine.sh("podctl pod unpause pod1").prints(&pod1).code(0);
    assert_eq!(pod_status(engine, "pod1"), "Running");
    engine.sh("podctl pod stop -t 1 pod1").prints(named("pod1", &pod1)).code(0);
    assert_eq!(pod_status(engine, "pod1"), "Exited");
    engine.sh("podctl pod start pod1").prints(named("pod1", &pod1)).code(0);
    assert_eq!(pod_status(engine, "pod1"), "Running");
    engine.sh("podctl pod restart pod1").prints(&pod1).code(0);
    assert_eq!(pod_status(engine, "pod1"), "Running");
    let inspected: serde_json::Value = serde_json::from_str(&engine.sh("podctl pod inspect pod1").ok()).expect("json");
    let inspected = if is_stand_in() { &inspected } else { &inspected[0] };
    assert_eq!(inspected["Id"], pod1.as_str());
    assert_eq!(inspected["State"], "Running");
    assert_eq!(inspected["NumContainers"], 2);

    // Its logs, and a container's of two.
    until("top to draw", || engine.sh("podctl pod logs pod1").ok().contains("PID").then_some(()));
    engine.sh("podctl run -d --pod pod1 --name secundario alpine:latest echo segundo").ok();
    until("its words", || (engine.sh("podctl pod logs -c secundario pod1").ok() == "segundo").then_some(()));
    let nope = engine.sh("podctl pod logs -c nope pod1");
    nope.code(125).complains("Error: container nope is not in pod pod1: no such container");
    assert_eq!(pod_status(engine, "pod1"), "Degraded");

    let top = engine.sh("podctl pod top pod1").ok();
    let header: Vec<&str> = top.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(header, ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]);
    let row = top.lines().find(|line| line.trim_end().ends_with(" top")).unwrap_or_else(|| panic!("no top in\n{top}"));
    let row: Vec<&str> = row.split_whitespace().collect();
    assert_eq!([row[0], row[1], row[2], row[5]], ["root", "1", "0", "pts/0"], "{top}");

    engine.sh("podctl pod stop -t 0 pod1").code(0);
    engine.sh("podctl pod rm pod1").prints(&pod1).code(0);
    let one =
        id(&engine.sh("podctl run -dt --pod new:pod1 alpine:latest top && podctl pod ps -q --no-trunc").lines()[1]);
    engine.sh("podctl pod rm -f -t 0 pod1").prints(&one).code(0);
    engine.sh("podctl pod create --name a && podctl pod create --name b").ok();
    assert_eq!(engine.sh("podctl pod rm --all").lines().len(), 2);
    engine.sh("podctl run -dt --pod new:c alpine top").ok();
    assert_eq!(engine.sh("podctl pod rm -f -t 0 --all").lines().len(), 1);

    // Prune asks.
    let exited = id(&engine.sh("podctl pod create --name viejo").ok());
    engine.sh("podctl run --pod viejo alpine true && podctl pod stop viejo").code(0);
    let question = "WARNING! This will remove all stopped/exited pods..\nAre you sure you want to continue? [y/N] ";
    let no = engine.sh_with("podctl pod prune", "n\n");
    assert_eq!(no.code(0).stdout(), question);
    engine.sh("podctl pod exists viejo").code(0);
    engine.sh("podctl pod prune").code(125).complains("Error: EOF");
    let yes = engine.sh_with("podctl pod prune", "y\n");
    assert_eq!(yes.code(0).stdout(), format!("{question}{exited}\n"));
    engine.sh("podctl pod exists viejo").code(1);
}

fn network(engine: &Engine) {
    engine.sh("podctl network create mired").prints("mired").code(0);
    engine.sh("podctl pod create --name pod2 --network mired").ok();
    let pod2 = Table::read(&engine.sh("podctl pod ps").ok());
    let infra = pod2.cell("NAME", "pod2", "INFRA ID").to_owned();
    engine.sh("podctl pod start pod2").code(0);
    let escape = if is_stand_in() { "" } else { "\\" };
    let template = format!("'{{{{range {escape}.NetworkSettings.Networks }}}}{{{{.IPAddress}}}}{{{{end}}}}'");
    engine.sh(&format!("podctl inspect --format={template} {infra}")).prints("10.89.0.2").code(0);

    let pod3 = id(&engine.sh("podctl pod create --name pod3 -p 8080:80").ok());
    let infra = format!("{}-infra", &pod3[..12]);
    engine.sh("podctl run -d --pod pod3 --name webserver quay.io/libpod/banner").ok();
    let names = Table::read(&engine.sh("podctl pod ps --ctr-names").ok());
    let mut names: Vec<&str> = names.cell("NAME", "pod3", "NAMES").split(',').collect();
    names.sort_unstable();
    assert_eq!(names, [infra.as_str(), "webserver"]);
    let containers = Table::read(&engine.sh("podctl ps --pod").ok());
    for name in [infra.as_str(), "webserver"] {
        assert_eq!(containers.cell("NAMES", name, "PORTS"), "0.0.0.0:8080->80/tcp");
    }
    assert_eq!(containers.cell("NAMES", "webserver", "COMMAND"), "nginx -g daemon o...");
    assert_eq!(containers.cell("NAMES", "webserver", "IMAGE"), "quay.io/libpod/banner:latest");

    // A pod made on the way, with a port of its own.
    engine.sh("podctl run -d --pod new:pod4 --name webserver2 -p 8081:80 quay.io/libpod/banner").ok();
    assert_eq!(engine.sh("podctl exec webserver2 hostname").ok(), "pod4");
    for address in ["localhost", "127.0.0.1", enclosure::ADDRESS] {
        for port in [8080, 8081] {
            let page = engine.sh(&format!("curl -sS --retry 5 --retry-connrefused http://{address}:{port}"));
            page.prints(BANNER_TEXT).code(0);
        }
    }

    // Members reach each other on localhost; on a terminal here.
    let line = "podctl run -it --pod pod3 --name cliente quay.io/libpod/banner curl -sS http://localhost";
    let cliente: Terminal = engine.terminal(line);
    let (code, shown) = cliente.finish();
    assert_eq!((code, shown.trim_end()), (0, BANNER_TEXT));
    assert_eq!(pod_status(engine, "pod3"), "Degraded");
    engine.sh("podctl pod rm -f -t 0 pod2 pod3 pod4").code(0);
    engine.sh("podctl network rm mired").prints("mired").code(0);
}

fn storage(engine: &Engine) {
    let html = "/usr/share/nginx/html";
    engine.sh(&format!("podctl pod create --name pod5 -p 8082:80 -v vol1:{html}")).ok();
    assert_eq!(engine.sh("podctl volume ls -q").ok(), "vol1");
    sidecar(engine);
    let state = if is_stand_in() { "volumes/vol1/_data" } else { "/run/engine/state/volumes/vol1/_data" };
    let escape = if is_stand_in() { "" } else { " | escape_once" };
    for container in ["web", "sidecar"] {
        let mounts = engine.sh(&format!("podctl inspect --format='{{{{json .Mounts{escape}}}}}' {container}")).ok();
        let begin = r#"[{"Type":"volume","Name":"vol1","Source":""#;
        let end = format!(
            r#"","Destination":"{html}","Driver":"local","Mode":"","Options":["nosuid","nodev","rbind"],"RW":true,"Propagation":"rprivate"}}]"#
        );
        assert!(mounts.starts_with(begin) && mounts.contains(state) && mounts.ends_with(&end), "{mounts}");
    }
    // The first member's image filled the new volume, the dates follow.
    assert!(growing(engine).starts_with("<h1>Welcome to nginx!</h1>\n"));
    engine.sh("podctl pod rm -f -t 0 pod5").code(0);
    engine.sh("podctl volume rm vol1").prints("vol1").code(0);

    // The same with a directory of the host.
    engine.sh("mkdir -p directorio_compartido").ok();
    engine.sh(&format!("podctl pod create --name pod5 -p 8082:80 -v ${{PWD}}/directorio_compartido:{html}:z")).ok();
    sidecar(engine);
    growing(engine);
    assert!(engine.sh("cat directorio_compartido/index.html").ok().contains("UTC"));
    engine.sh("podctl pod rm -f -t 0 pod5").code(0);
}

/// nginx in one member, a Debian that writes its page in another.
fn sidecar(engine: &Engine) {
    engine.sh("podctl run --pod pod5 -d --name web docker.io/nginx").ok();
    let write = r#"while true; do date >> /usr/share/nginx/html/index.html;sleep 1;done"#;
    engine.sh(&format!("podctl run --pod pod5 -d --name sidecar docker.io/debian bash -c \"{write}\"")).ok();
}

/// Waits until the page is seen to grow; what it was in the end.
fn growing(engine: &Engine) -> String {
    let page = || {
        let run = engine.sh("curl -sS http://localhost:8082");
        (run.code == 0).then(|| run.stdout())
    };
    let dates = |page: &str| page.lines().filter(|line| line.contains("UTC")).count();
    let first = until("a first date", || page().filter(|page| dates(page) > 0));
    until("the page to grow", || page().filter(|page| dates(page) > dates(&first)))
}

/// Checks that `text` is an id.
fn id(text: &str) -> String {
    assert!(text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()), "{text:?} is no id");
    text.to_owned()
}

fn pod_status(engine: &Engine, pod: &str) -> String {
    Table::read(&engine.sh("podctl pod ps").ok()).cell("NAME", pod, "STATUS").to_owned()
}

/// `pod start` and `pod stop` print the name as it was given since podman 5.2, the id before.
fn named<'a>(name: &'a str, id: &'a str) -> &'a str {
    if is_stand_in() { id } else { name }
}
