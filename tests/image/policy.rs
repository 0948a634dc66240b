//! When a registry is asked, for which machine, and how often.

use harness::{
    Engine, Machine,
    handmade::Handmade,
    image::{Form, Image, Layer, architecture, digest},
    images::{self, ALPINE},
    registry::Registry,
    until,
};
use serde_json::json;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that says `word`.
fn saying(word: &str) -> Image {
    let alpine = Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
    Image::new().layer(alpine).set("Cmd", json!(["echo", word]))
}

#[test]
fn policies_say_when_a_registry_is_asked() {
    let engine = Engine::new();
    let storage = engine.path("tmp/storage");
    let publish =
        |word: &str| saying(word).published(Form::Oci).store(&storage, "some/word", "latest").expect("storage");
    let name = "127.0.0.1:5001/some/word";
    publish("one");
    let registry = Registry::serve(&engine.enclosure, 5001, "/run/engine/tmp/storage".as_ref());
    let run = |policy: &str| engine.sh(&format!("podctl run -q --rm --pull {policy} {name}"));
    engine.sh(&format!("podctl pull -q --policy never {name}")).code(125).mentions("image not known");
    run("never").code(125).mentions("image not known");
    assert_eq!(registry.asked("some/word"), 0, "{:?}", registry.requests());
    run("newer").prints("one");
    let asked = registry.asked("some/word");
    run("missing").prints("one");
    run("never").prints("one");
    engine.sh(&format!("podctl pull -q --policy missing {name}")).code(0);
    assert_eq!(registry.asked("some/word"), asked, "nobody needs to be asked");
    run("newer").prints("one");
    assert_eq!(registry.asked("/blobs/"), 2, "it has not changed: {:?}", registry.requests());
    publish("two");
    run("missing").prints("one");
    run("newer").prints("two");
    publish("three");
    run("never").prints("two");
    run("always").prints("three");
    drop(registry);
    run("newer").prints("three");
    run("missing").prints("three");
    run("always").code(125).mentions("connection refused");
    std::fs::remove_dir_all(storage).expect("removal");
}

#[test]
fn an_image_of_another_platform_is_pulled_where_it_is_asked_for() {
    let engine = Engine::on(Machine { registry: true, ..Machine::default() });
    let own = engine.sh("podctl pull -q alpine").ok();
    let other = engine.sh("podctl pull -q --platform linux/s390x alpine").ok();
    assert_ne!(own, other);
    engine.sh(&format!("podctl image inspect --format '{{{{.Architecture}}}}' {other}")).prints("s390x");
    engine.sh(&format!("podctl image inspect --format '{{{{.Architecture}}}}' {own}")).prints(architecture());
    let missing = engine.sh("podctl pull -q --platform linux/mips alpine");
    missing.code(125).mentions("no image found in manifest list for architecture mips");
    // The name is that of the last pulled; a run for this machine fetches this machine's again.
    engine.sh(&format!("podctl run -q --rm --platform linux/{} alpine echo here", architecture())).prints("here");
}

#[test]
fn pulls_at_once_share_one_download() {
    let engine = Engine::new();
    let image = (0..3).fold(saying("shared"), |image, number| {
        image.layer(Layer::new().file(&format!("layer{number}"), 0o644, format!("{number}").repeat(1000)))
    });
    let published = image.published(Form::Oci);
    let (config, layers) = published.blobs().split_last().expect("a config");
    let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI, "config": descriptor("config.v1+json", &config.bytes),
        "layers": layers.iter().map(|layer| descriptor("layer.v1.tar+gzip", &layer.bytes)).collect::<Vec<_>>(),
    });
    let blobs = published.blobs().iter().map(|blob| {
        // Each ends when everybody has come.
        (blob.bytes.clone(), Some(blob.bytes.len() / 2))
    });
    let manifest = (OCI, manifest.to_string().into_bytes());
    let registry = Handmade::of(&engine.enclosure, 5001, manifest, blobs.collect());
    let line = "podctl pull -q 127.0.0.1:5001/shared/image";
    let pulls: Vec<_> = (0..3).map(|_| engine.start(line)).collect();
    until("everybody to have the manifest", || (registry.asked("/manifests/") >= 3).then_some(()));
    registry.go_on();
    for pull in pulls {
        pull.finish().prints(&image.id());
    }
    for blob in published.blobs() {
        assert_eq!(registry.asked(&format!("/blobs/{}", blob.digest)), 1, "{}", blob.digest);
    }
    engine.sh("podctl run --rm 127.0.0.1:5001/shared/image").prints("shared");
}

#[test]
fn layers_packed_with_zstd_are_pulled_and_saved() {
    let engine = Engine::new();
    let image = saying("zstd");
    let published = image.published(Form::Oci);
    let config = published.blobs().last().expect("a config");
    std::fs::write(engine.path("tmp/gz"), &published.blobs()[0].bytes).expect("layer");
    engine.sh("gunzip -c < $TMPDIR/gz | zstd -q > $TMPDIR/zst").code(0);
    let layer = std::fs::read(engine.path("tmp/zst")).expect("layer");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config.digest, "size": config.bytes.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+zstd", "digest": digest(&layer), "size": layer.len()}],
    });
    let manifest = (OCI, manifest.to_string().into_bytes());
    let blobs = vec![(config.bytes.clone(), None), (layer.clone(), None)];
    let _registry = Handmade::of(&engine.enclosure, 5001, manifest, blobs);
    engine.sh("podctl pull -q 127.0.0.1:5001/packed/image").prints(&image.id());
    engine.sh("podctl run --rm 127.0.0.1:5001/packed/image").prints("zstd");
    // As it came, into the archive and out of it.
    engine.sh("podctl save --format oci-archive -o $TMPDIR/z.tar 127.0.0.1:5001/packed/image").ok();
    let name = format!("blobs/sha256/{}", &digest(&layer)["sha256:".len()..]);
    engine.sh(&format!("tar -xOf $TMPDIR/z.tar {name} | cmp - $TMPDIR/zst")).code(0);
    engine.sh("podctl rmi -fa && podctl load -i $TMPDIR/z.tar && podctl run --rm 127.0.0.1:5001/packed/image").code(0);
    engine.sh("rm $TMPDIR/z.tar $TMPDIR/gz $TMPDIR/zst").ok();
}
