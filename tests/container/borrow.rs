//! What a container has of another one, in whichever pods the two are: namespaces and volumes. And that the other stays
//! for as long as it is needed.

use harness::{Engine, images::ALPINE};

/// A container of its own (`lone`) and one in a pod (`member` of `p`), both running.
fn lenders() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name lone --hostname box alpine top").ok();
    engine.sh("podctl run -d --pod new:p --name member alpine top").ok();
    engine
}

#[test]
fn the_network_of_another_container_with_its_names() {
    let engine = lenders();
    for lender in ["lone", "member"] {
        let address = engine.sh(&format!("podctl exec {lender} ip -4 -o addr show dev eth0")).ok();
        engine.sh(&format!("podctl run -d --name guest --network container:{lender} alpine top")).ok();
        assert_eq!(engine.sh("podctl exec guest ip -4 -o addr show dev eth0").ok(), address);
        let hosts = engine.sh(&format!("podctl exec {lender} cat /etc/hosts")).ok();
        assert_eq!(engine.sh("podctl exec guest cat /etc/hosts").ok(), hosts);
        let _server = engine.start(&format!("podctl exec {lender} nc -l -p 9000 -e echo local"));
        harness::until("an answer on localhost", || {
            (engine.sh("podctl exec guest nc -w 1 127.0.0.1 9000 < /dev/null").stdout() == "local\n").then_some(())
        });
        let id = engine.field(lender, ".Id");
        assert_eq!(engine.field("guest", ".HostConfig.NetworkMode"), format!("container:{id}"));
        assert_eq!(engine.field("guest", "json .Dependencies"), format!("[\"{id}\"]"));
        engine.sh("podctl rm -f -t 0 guest").ok();
    }
    // The infra lends the pod's.
    let infra = engine.field("p", ".InfraContainerID");
    let address = engine.sh("podctl exec member ip -4 -o addr show dev eth0").ok();
    engine
        .sh(&format!("podctl run --rm --network container:{infra} alpine ip -4 -o addr show dev eth0"))
        .prints(&address);
}

#[test]
fn processes_memory_and_host_name_of_another_container() {
    let engine = lenders();
    for (lender, name) in [("lone", "box"), ("member", "p")] {
        engine.sh(&format!("podctl exec {lender} sh -c 'echo shared > /dev/shm/file'")).ok();
        let run = |option: &str, script: &str| {
            engine.sh(&format!("podctl run --rm --{option} container:{lender} alpine sh -c '{script}'")).ok()
        };
        assert_eq!(run("ipc", "cat /dev/shm/file; echo back > /dev/shm/back"), "shared");
        engine.sh(&format!("podctl exec {lender} cat /dev/shm/back")).prints("back");
        assert_eq!(run("uts", "hostname; cat /etc/hostname; echo $HOSTNAME"), format!("{name}\n{name}\n{name}"));
        assert_eq!(run("pid", "cat /proc/1/comm"), "top");
    }
}

#[test]
fn a_container_that_is_needed_is_not_removed_before_those_that_need_it() {
    let engine = lenders();
    engine.sh("podctl run -d --name guest --network container:lone alpine top").ok();
    engine.sh("podctl run -d --name second --pid container:guest alpine top").ok();
    let id = |name: &str| engine.field(name, ".Id");
    let words = format!(
        "Error: container {} has dependent containers which must be removed before it: {}: container already exists",
        id("lone"),
        id("guest")
    );
    engine.sh("podctl rm -f -t 0 lone").code(2).complains(&words);
    engine.sh("podctl exec lone true").code(0);
    // In whichever order they are named, they go.
    engine.sh("podctl rm -f -t 0 lone guest second").prints("lone\nguest\nsecond");
    engine.sh("podctl run -d --name lone alpine top && podctl create --name guest --ipc container:lone alpine").code(0);
    engine.sh("podctl rm -f -t 0 --depend lone").code(0);
    engine.sh("podctl ps -a -q --filter name=guest").prints_nothing();
    // A pod is needed like its containers, by others; a member by a member is its own affair.
    engine.sh("podctl create --pod p --name inside --pid container:member alpine true").ok();
    engine.sh("podctl create --name guest --network container:member alpine").ok();
    engine.sh("podctl pod rm -f -t 0 p").code(2).mentions("has dependent containers which must be removed before it");
    engine.sh("podctl pod inspect p --format {{.State}}").prints("Degraded");
    engine.sh("podctl rm guest && podctl pod rm -f -t 0 p").code(0);
}

#[test]
fn who_lives_with_another_needs_it_to_run_and_follows_it_at_its_next_start() {
    let engine = lenders();
    engine.sh("podctl run -d --name guest --network container:lone alpine top").ok();
    engine.sh("podctl stop -t 0 lone").ok();
    engine.sh("podctl exec guest ip -4 -o addr").code(0);
    engine.sh("podctl restart -t 0 guest").code(125).mentions("it is not running, start it first");
    engine.sh("podctl start lone && podctl start guest").code(0);
    let address = engine.sh("podctl exec lone ip -4 -o addr show dev eth0").ok();
    engine.sh("podctl exec guest ip -4 -o addr show dev eth0").prints(&address);
}

#[test]
fn volumes_of_another_container_are_there_while_it_is() {
    let engine = lenders();
    let home = "-v named:/named -v /anonymous -v $TMPDIR:/bound";
    engine.sh(&format!("podctl run --name source {home} alpine sh -c 'echo a > /anonymous/f; echo n > /named/f'")).ok();
    engine.sh("podctl run --rm --volumes-from source alpine cat /anonymous/f /named/f").prints("a\nn");
    engine.sh("podctl run --name user --volumes-from source:ro -v other:/named alpine sh -c 'ls /named; ! touch /bound/x'").ok();
    engine
        .sh("podctl pod create --name with --volumes-from source && podctl run --rm --pod with alpine cat /named/f")
        .code(0);
    engine.sh("podctl rm source").code(2).mentions("has dependent containers which must be removed before it");
    engine.sh("podctl rm user && podctl rm source").code(2);
    engine.sh("podctl pod rm -f -t 0 with && podctl rm source").code(0);
    // The volume without a name was the source's.
    assert_eq!(engine.sh("podctl volume ls -q").lines(), ["named", "other"]);
}

#[test]
fn pid_files_tell_who_runs_and_go_with_the_container() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name c --pidfile $TMPDIR/pid --conmon-pidfile $TMPDIR/monitor alpine top").ok();
    engine.sh("cat $TMPDIR/pid; echo").prints(&engine.field("c", ".State.Pid"));
    engine.sh("cat $TMPDIR/monitor; echo").prints(&engine.field("c", ".State.ConmonPid"));
    engine.sh("podctl pod create --name p --infra-conmon-pidfile $TMPDIR/infra && podctl pod start p").code(0);
    engine.sh("cat $TMPDIR/infra").prints(&engine.field(&engine.field("p", ".InfraContainerID"), ".State.Pid"));
    engine.sh("podctl rm -f -t 0 c && podctl pod rm -f p && ls $TMPDIR | wc -l").code(0);
    engine.sh("ls $TMPDIR").prints_nothing();
}

#[test]
fn an_image_goes_with_its_last_container_on_request() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create --name other alpine").ok();
    engine.sh("podctl run --rmi alpine true").code(0);
    engine.sh("podctl image exists alpine").code(0);
    engine.sh("podctl rm other && podctl run --rmi alpine true").code(0);
    engine.sh("podctl image exists alpine").code(1);
}
