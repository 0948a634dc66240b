//! Pulling at a terminal, from a registry that takes its time.

use harness::{
    Engine,
    handmade::Handmade,
    image::{Form, Image, Layer, digest},
    until,
};
use serde_json::{Value, json};

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYERS: usize = 4;

/// Bytes that no compression makes less of.
fn noise(seed: usize, length: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": digest(bytes), "size": bytes.len()})
}

/// An image of several layers in a registry at port 5001 that holds every layer back after 100 kB, and its id.
fn slow(engine: &Engine) -> (Handmade, String) {
    let image = (0..LAYERS).fold(Image::new(), |image, number| {
        image.layer(Layer::new().file(&format!("noise{number}"), 0o644, noise(number, 300_000)))
    });
    // What the harness publishes, taken apart: each layer is held back, the config is not.
    let published = image.published(Form::Oci);
    let (config, layers) = published.blobs().split_last().expect("a config");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config.bytes),
        "layers": layers.iter()
            .map(|layer| descriptor("application/vnd.oci.image.layer.v1.tar+gzip", &layer.bytes)).collect::<Vec<_>>(),
    });
    let mut blobs: Vec<(Vec<u8>, Option<usize>)> =
        layers.iter().map(|layer| (layer.bytes.clone(), Some(100_000))).collect();
    blobs.push((config.bytes.clone(), None));
    let registry = Handmade::of(&engine.enclosure, 5001, (OCI, manifest.to_string().into_bytes()), blobs);
    (registry, image.id())
}

#[test]
fn a_terminal_shows_a_bar_for_each_layer_and_the_id_last() {
    let engine = Engine::new();
    let (registry, id) = slow(&engine);
    let terminal =
        engine.terminal("stty -a > before; podctl pull 127.0.0.1:5001/slow/image; c=$?; stty -a > after; exit $c");
    terminal.expect("Trying to pull 127.0.0.1:5001/slow/image:latest...").expect("Copying blob ").expect("=>");
    registry.go_on();
    let (code, shown) = terminal.finish();
    assert_eq!(code, 0, "{shown}");
    let last = shown.trim_end().lines().last().map(str::trim).unwrap_or_default();
    assert_eq!(last, id, "{shown}");
    assert!(shown.matches("done").count() >= LAYERS, "{shown}");
    assert!(shown.contains("Writing manifest to image destination"), "{shown}");
    engine.sh("cmp before after").code(0);
}

#[test]
fn control_c_ends_a_pull_with_nothing_left_and_the_terminal_as_it_was() {
    let engine = Engine::new();
    let (_registry, _) = slow(&engine);
    // With a process group of its own, as every command has that is typed at a shell.
    let terminal = engine.terminal("set -m; podctl pull 127.0.0.1:5001/slow/image");
    let before = terminal.settings();
    terminal.expect("Copying blob ").expect("=>");
    // The shell may be about to give the terminal away, and would have the signal itself.
    let in_front = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        // Its process group, and that in the terminal's foreground (proc_pid_stat(5)).
        fields.get(2).is_some_and(|group| fields.get(5) == Some(group))
    };
    // podctl itself, and not the shell above it.
    let pull = || engine.pids("runroot pull 127.0.0.1:5001/slow/image");
    until("podctl to have the terminal", || pull().iter().any(in_front).then_some(()));
    terminal.send("\x03");
    until("podctl to end", || engine.pids(" pull 127.0.0.1:5001/slow/image").is_empty().then_some(()));
    assert_eq!(terminal.settings(), before);
    let (code, shown) = terminal.finish();
    assert_eq!(code, 130, "{shown}");
    // The cursor was not left hidden.
    assert!(shown.rfind("\x1b[?25h") >= shown.rfind("\x1b[?25l"), "{shown:?}");
    nothing_kept(&engine);
}

#[test]
fn a_pull_that_is_killed_leaves_nothing() {
    let engine = Engine::new();
    let (registry, id) = slow(&engine);
    let pull = || {
        let asked = registry.asked("/blobs/");
        let pull = engine.start("exec podctl pull 127.0.0.1:5001/slow/image");
        until("layers to be asked for", || (registry.asked("/blobs/") >= asked + 3).then_some(()));
        pull
    };
    let running = pull();
    for pid in engine.pids(" pull 127.0.0.1:5001/slow/image") {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("kill");
    }
    running.finish().code(137);
    nothing_kept(&engine);
    // With all of its helpers: what they leave goes with the next pull.
    drop(pull());
    registry.go_on();
    engine.sh("podctl pull -q 127.0.0.1:5001/slow/image").prints(&id);
    engine.sh("podctl rmi 127.0.0.1:5001/slow/image").code(0);
    nothing_kept(&engine);
}

/// Waits until the store has no image, no layer and nothing half done.
fn nothing_kept(engine: &Engine) {
    let store = engine.path("state/images");
    let mut found = String::new();
    let empty = || {
        found.clear();
        for directory in ["tmp", "layers", "blobs/sha256", "records", "locks"] {
            for entry in std::fs::read_dir(store.join(directory)).into_iter().flatten().flatten() {
                found.push_str(&format!("{}\n", entry.path().display()));
            }
        }
        found.is_empty().then_some(())
    };
    assert!(harness::wait::within(harness::wait::PATIENCE, empty).is_some(), "this is kept:\n{found}");
    engine.sh("podctl images -q").prints_nothing();
}
