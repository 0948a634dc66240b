use proto::{record::Phase, wire::TopRequest};

use super::*;
use crate::view::fixture::Fixture;

fn request(container: &str, descriptors: &[&str]) -> TopRequest {
    TopRequest {
        containers: vec![container.to_owned()],
        descriptors: descriptors.iter().map(|word| (*word).to_owned()).collect(),
        ..Default::default()
    }
}

#[test]
fn the_processes_of_a_container_that_runs() {
    let fixture = Fixture::new();
    fixture.web();
    let reply = table(&fixture.engine.roots, &request("front", &[])).expect("table");
    assert_eq!(reply.titles, ["USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND"]);
    let this = Process::read(std::process::id()).expect("this");
    let pid = this.pid_in(&this).to_string();
    let row = reply.rows.iter().find(|row| row.cells[1] == pid).expect("this process");
    assert_eq!(row.cells.len(), 8);
    assert!(row.cells[3].contains('.') && row.cells[4].ends_with('s'), "{row:?}");
    assert!(row.cells[7].contains("podshim"), "{row:?}");
}

#[test]
fn every_column_has_a_cell() {
    let fixture = Fixture::new();
    fixture.web();
    let all = [
        "args", "capamb", "capbnd", "capeff", "capinh", "capprm", "comm", "etime", "group", "groups", "hgroup",
        "hgroups", "hpid", "huser", "label", "nice", "pcpu", "pgid", "pid", "ppid", "rgroup", "ruser", "rss",
        "seccomp", "state", "stime", "time", "tty", "user", "vsz",
    ];
    let reply = table(&fixture.engine.roots, &request("front", &all)).expect("table");
    let this = std::process::id().to_string();
    let hpid = reply.titles.iter().position(|title| title == "HPID").expect("HPID");
    let row = reply.rows.iter().find(|row| row.cells[hpid] == this).expect("this process");
    for (title, cell) in reply.titles.iter().zip(&row.cells) {
        assert!(!cell.is_empty() || title.ends_with("GROUPS"), "{title}");
    }
}

#[test]
fn the_children_of_a_container_are_its_own() {
    let fixture = Fixture::new();
    let web = fixture.web();
    let mut child = std::process::Command::new("unshare")
        .args(["-p", "-f", "--kill-child", "--", "sh", "-c", "sleep 30 & wait"])
        .spawn()
        .expect("unshare");
    // The first process of the namespace is the child of unshare.
    let init = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", child.id())).ok()?;
        let init = children.split_ascii_whitespace().next()?.parse::<u32>().ok()?;
        let grandchildren = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
        (!grandchildren.is_empty()).then_some(init)
    });
    let init = init.expect("a namespace with two processes");
    fixture.runs(&web.pod, &web.front, Init::of(init), Phase::Running);
    let reply = table(&fixture.engine.roots, &request("front", &["pid", "ppid", "args"])).expect("table");
    child.kill().expect("kill");
    child.wait().expect("wait");
    let rows: Vec<&[String]> = reply.rows.iter().map(|row| row.cells.as_slice()).collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert_eq!(rows[0], ["1", "0", "sh -c sleep 30 & wait"]);
    assert_eq!(rows[1][1..], ["1", "sleep 30"]);
}

#[test]
fn only_running_containers_have_one() {
    let fixture = Fixture::new();
    let web = fixture.web();
    let roots = &fixture.engine.roots;
    let words = "top can only be used on running containers";
    assert_eq!(table(roots, &request("back", &[])).expect_err("exited").message, words);
    fixture.runs(&web.pod, &web.front, Some(Init::this()), Phase::Paused);
    assert_eq!(table(roots, &request("front", &[])).expect_err("paused").message, words);
    assert_eq!(
        table(roots, &request("nope", &[])).expect_err("missing").message,
        "no container with name or ID \"nope\" found: no such container"
    );
    let pod = |name: &str| TopRequest { pod: name.to_owned(), ..Default::default() };
    assert_eq!(
        table(roots, &pod("nope")).expect_err("missing").message,
        "no pod with name or ID nope found: no such pod"
    );
    assert!(table(roots, &pod("web")).expect("a pod").rows.is_empty(), "none of its members runs");
}

#[test]
fn what_a_container_says_of_itself_cannot_reach_the_terminal() {
    assert_eq!(clean("a\x1b[2Jb\n"), "a?[2Jb?");
}
