//! What happened, and what happens: `events`.

use harness::{Engine, images::ALPINE, wait};

/// Type, status and name of every event so far.
fn told(engine: &Engine, filters: &str) -> Vec<String> {
    engine
        .sh(&format!("podctl events --stream=false --format '{{{{.Type}}}} {{{{.Status}}}} {{{{.Name}}}}' {filters}"))
        .lines()
}

#[test]
fn the_life_of_a_container_is_told_in_order() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name web").ok();
    engine.sh("podctl run -d --pod web --name c --label a=b alpine top").ok();
    engine.sh("podctl exec c true").code(0);
    engine.sh("podctl pause c && podctl unpause c && podctl rename c d && podctl stop -t 0 d").code(0);
    // One that ends by itself has been stopped by nobody.
    engine.sh("podctl run --rm --name short alpine true").code(0);
    assert!(!told(&engine, "--filter container=short").contains(&"container stop short".to_owned()));
    engine.sh("podctl pod rm -f -t 0 web").ok();
    // The end of a command in a container is told by whoever sees it, which may be a moment later.
    let of_container = wait::until("every event", || {
        let events = told(&engine, "--filter type=container").into_iter().filter(|event| !event.ends_with(" short"));
        let events: Vec<String> = events.collect();
        events.iter().any(|event| event.contains("exec_died")).then_some(events)
    });
    let mut expected = vec![
        "create c",
        "init c",
        "start c",
        "exec c",
        "exec_died c",
        "pause c",
        "unpause c",
        "rename d",
        "died c",
        "stop d",
        "cleanup d",
        "remove d",
    ];
    let mut found: Vec<String> = of_container.iter().map(|event| event.replacen("container ", "", 1)).collect();
    assert_eq!(found[..4], expected[..4], "{found:?}");
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected);
    assert_eq!(told(&engine, "--filter type=pod"), ["pod create web", "pod remove web"]);
    let line = engine.sh("podctl events --stream=false --filter event=died --filter label=a=b").ok();
    assert!(
        line.contains(" +0000 UTC container died ")
            && line.contains("(image=docker.io/library/alpine:latest, name=c, pod_id="),
        "{line}"
    );
    let json = engine.sh("podctl events --stream=false --filter event=died --format json").ok();
    assert!(json.starts_with("{\"ContainerExitCode\":137,\"ID\":\""), "{json}");
    assert_eq!(told(&engine, "--filter label=a=c"), Vec::<String>::new());
}

#[test]
fn what_happens_is_shown_as_it_happens() {
    let engine = Engine::with(&[ALPINE]);
    let follower = engine.start("podctl events --format '{{.Status}} {{.Name}} {{.ContainerExitCode}}' > told");
    let shown = wait::until("the end of a container to be shown", || {
        // Only what happens once the follower is there is shown.
        engine.sh("podctl run --rm --name c alpine sh -c 'exit 3'").code(3);
        std::fs::read_to_string(engine.path("home/told")).ok().filter(|told| told.contains("died"))
    });
    assert!(shown.contains("died c 3\n"), "{shown}");
    drop(follower);
}

#[test]
fn volumes_networks_and_images_are_told_of() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl volume create v && podctl volume rm v").code(0);
    engine.sh("podctl network create n && podctl network rm n").code(0);
    engine.sh("podctl tag alpine other:1 && podctl untag alpine other:1 && podctl rmi alpine").code(0);
    assert_eq!(told(&engine, "--filter type=volume"), ["volume create v", "volume remove v"]);
    assert_eq!(told(&engine, "--filter type=network"), ["network create n", "network remove n"]);
    let images = told(&engine, "--filter type=image");
    let actions: Vec<&str> = images.iter().filter_map(|event| event.split(' ').nth(1)).collect();
    assert_eq!(actions, ["loadfromarchive", "tag", "untag", "untag", "remove"], "{images:?}");
    engine.sh("podctl events --stream=false --until 2000-01-01 | wc -l").prints("0");
    // A span is after now for --until, before it for --since.
    engine.sh("podctl events --until 200ms --filter event=tag --format '{{.Status}}'").prints("tag");
    engine.sh("podctl events --stream=false --since 10m --until -5m | wc -l").prints("0");
}

#[test]
fn a_record_cut_short_by_a_kill_hides_no_other() {
    let engine = Engine::new();
    engine.sh("podctl volume create v").code(0);
    engine.sh("printf '\\n{\"time\":1,\"ki' >> $(dirname $(dirname $(dirname $(podctl volume inspect v --format '{{.Mountpoint}}'))))/events/log").code(0);
    engine.sh("podctl volume rm v").code(0);
    assert_eq!(told(&engine, ""), ["volume create v", "volume remove v"]);
}
