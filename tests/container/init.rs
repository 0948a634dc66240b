//! `init`: a container the runtime has, of which nothing runs yet.

use harness::{Engine, images::ALPINE};

#[test]
fn an_initialized_container_is_mounted_and_networked_and_waits_for_start() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl create --name c alpine sh -c 'echo ran; cat /etc/hostname > /there'").ok();
    engine.sh("podctl init c").prints("c");
    engine.sh("podctl ps -a --format '{{.Names}} {{.Status}}'").prints("c Initialized");
    engine.sh("podctl ps -q").prints_nothing();
    assert!(engine.field("c", ".NetworkSettings.IPAddress").starts_with("10.88."), "it has an address");
    engine.sh("podctl logs c").prints_nothing();
    engine.sh("podctl init c").code(125).mentions("has already been created in runtime: container state improper");
    engine.sh("podctl start c && podctl wait c").prints("c\n0");
    engine.sh("podctl logs c").prints("ran");
    // What has ended can be made ready once more.
    engine.sh("podctl init --latest && podctl start -a c").code(0).mentions("");
    engine.sh("podctl logs c").prints("ran\nran");
}

#[test]
fn init_all_leaves_what_is_up_alone_and_rm_takes_what_never_ran() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top").ok();
    engine.sh("podctl pod create --name p && podctl create --pod p --name member alpine top").ok();
    engine.sh("podctl create --name plain alpine top").ok();
    assert_eq!(engine.sh("podctl init --all").code(0).lines().len(), 2);
    let states = "podctl ps -a --filter name=up --filter name=plain --filter name=member --sort names --format '{{.Names}} {{.State}}'";
    engine.sh(states).prints("member initialized\nplain initialized\nup running");
    engine
        .sh("podctl exec plain true")
        .code(255)
        .mentions("can only create exec sessions on running containers: container state improper");
    engine.sh("podctl rm plain").prints("plain").code(0);
    engine.sh("podctl start member").code(0);
    engine.sh("podctl exec member true").code(0);
}
