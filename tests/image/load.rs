//! Images from archives, good and bad.

use harness::{
    Engine,
    image::{Image, Layer},
    images::{self, ALPINE},
};
use serde_json::json;

fn base() -> Image {
    Image::new().layer(Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine"))
}

#[test]
fn a_docker_archive_is_loaded_under_all_its_names() {
    let engine = Engine::new();
    let image = base().set("Cmd", json!(["echo", "loaded"]));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/one:latest", "localhost/two:v2"]).expect("archive");
    engine
        .sh("podctl load -i $TMPDIR/i.tar")
        .prints("Loaded image: localhost/one:latest\nLoaded image: localhost/two:v2");
    engine.sh("podctl run --rm localhost/one").prints("loaded");
    engine.sh("podctl run --rm localhost/two:v2").prints("loaded");
    engine.sh("podctl images -q --no-trunc").prints(&format!("sha256:{}", image.id()));
    engine.sh("rm $TMPDIR/i.tar").ok();
}

#[test]
fn an_oci_archive_is_loaded_and_so_is_standard_input() {
    let engine = Engine::new();
    let image = base().set("Cmd", json!(["echo", "loaded"]));
    image.oci_archive(&engine.path("tmp/oci.tar"), "localhost/oci:latest").expect("archive");
    engine.sh("podctl load -i $TMPDIR/oci.tar").prints("Loaded image: localhost/oci:latest");
    engine.sh("podctl run --rm localhost/oci").prints("loaded");
    engine.sh("podctl load < $TMPDIR/oci.tar && rm $TMPDIR/oci.tar").prints("Loaded image: localhost/oci:latest");
}

#[test]
fn layers_are_stacked_and_what_they_remove_is_gone() {
    let engine = Engine::new();
    let image = base()
        .layer(Layer::new().directory("d").file("d/kept", 0o600, "1").file("d/replaced", 0o644, "old").file(
            "d/removed",
            0o644,
            "",
        ))
        .layer(Layer::new().directory("o").file("o/hidden", 0o644, "").file("d/replaced", 0o755, "new"))
        .layer(Layer::new().without("d", "removed").file("o/.wh..wh..opq", 0o644, "").file("o/shown", 0o644, ""))
        .layer(Layer::new().link("d/link", "kept").owned_by(1000, 50).file("d/owned", 0o4755, "").entry(
            "d/hard",
            tar::EntryType::Link,
            0o4755,
            Some("d/owned"),
            b"",
        ));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/stack:latest"]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/i.tar && rm $TMPDIR/i.tar").ok();
    let inside = |command: &str| engine.sh(&format!("podctl run --rm localhost/stack {command}")).ok();
    assert_eq!(inside("ls d o"), "d:\nhard\nkept\nlink\nowned\nreplaced\n\no:\nshown");
    assert_eq!(inside("cat d/replaced d/link"), "new1");
    assert_eq!(inside("stat -c '%u:%g %a %h' d/owned"), "1000:50 4755 2");
    assert_eq!(inside("stat -c '%u:%g %a' d/kept"), "0:0 600");
}

#[test]
fn an_archive_that_reaches_outside_is_refused_or_kept_inside() {
    let engine = Engine::new();
    let canary = "/run/engine/home/canary";
    let layers: Vec<(&str, Layer)> = vec![
        ("dots", Layer::new().file("../../../../../../../../run/engine/home/canary", 0o644, "x")),
        ("absolute", Layer::new().file(canary, 0o644, "x")),
        ("through-link", Layer::new().link("way", "/run/engine/home").file("way/canary", 0o644, "x")),
        (
            "through-dots-link",
            Layer::new().link("way", "../../../../../../run/engine/home").file("way/canary", 0o644, "x"),
        ),
        ("hard-link", Layer::new().hard_link("passwd", "/etc/shadow")),
        ("hard-link-dots", Layer::new().hard_link("passwd", "../../../../../../../../../etc/shadow")),
        ("chmod-through-link", Layer::new().link("target", "/run/engine/home/mode").directory("target")),
    ];
    engine.sh("mkdir mode && chmod 700 mode").ok();
    for (name, layer) in layers {
        let image = base().layer(layer);
        image.docker_archive(&engine.path("tmp/i.tar"), &[&format!("localhost/{name}:latest")]).expect("archive");
        let load = engine.sh("podctl load -q -i $TMPDIR/i.tar");
        assert!(load.code == 0 || (load.code == 125 && load.stderr().starts_with("Error: ")), "{name}: {load}");
        assert!(!engine.path("home/canary").exists(), "{name}");
        if load.code == 0 {
            // A hard link to what is outside must not have become one.
            let shadow = engine.sh(&format!("podctl run --rm localhost/{name} cat /passwd"));
            assert!(!shadow.stdout().contains("root:"), "{name}: {shadow}");
        }
    }
    engine.sh("stat -c %a mode").prints("700");
    engine.sh("rm $TMPDIR/i.tar").ok();
}

#[test]
fn what_is_no_archive_is_refused() {
    let engine = Engine::new();
    engine.sh("echo garbage > x && podctl load -i x").code(125).mentions("Error: ");
    engine.sh("podctl load -i /no/such/file").code(125).mentions("/no/such/file");
    engine.sh("podctl load < /dev/null").code(125).mentions("Error: ");
    let whole = images::archive(ALPINE);
    engine.sh(&format!("head -c 1000000 {} > cut && podctl load -i cut", whole.display())).code(125);
    engine.sh("podctl images -q").prints_nothing();
}
