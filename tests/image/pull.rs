//! Images from registries, good and bad.

use harness::{
    Engine, Machine,
    image::{Form, Image, Layer, blob_path},
    images::{self, ALPINE},
    programs::is_stand_in,
    registry::Registry,
};
use serde_json::json;

fn with_registry() -> Engine {
    Engine::on(Machine { registry: true, ..Machine::default() })
}

#[test]
fn an_image_is_pulled_by_any_of_its_names_and_once() {
    let engine = with_registry();
    let id = engine.sh("podctl pull -q alpine").ok();
    assert_eq!(id.len(), 64, "{id}");
    let blobs = engine.registry().asked("GET /v2/library/alpine/blobs/");
    assert_eq!(blobs, 2, "a config and a layer: {:?}", engine.registry().requests());
    for name in ["alpine:latest", "library/alpine", "docker.io/alpine", ALPINE] {
        engine.sh(&format!("podctl pull -q {name}")).prints(&id);
        engine.sh(&format!("podctl run --rm {name} true")).code(0);
    }
    if !is_stand_in() {
        assert_eq!(engine.registry().asked("GET /v2/library/alpine/blobs/"), blobs, "nothing is fetched twice");
    }
    let table = harness::table::Table::read(&engine.sh("podctl images").ok());
    assert_eq!(table.headers, ["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"]);
    assert_eq!(table.rows.len(), 1);
    assert_eq!(table.cell("TAG", "latest", "REPOSITORY"), "docker.io/library/alpine");
    assert_eq!(table.cell("TAG", "latest", "IMAGE ID"), &id[..12]);
    engine.sh("podctl run --rm alpine ls /wrong-machine").code(1);
}

#[test]
fn layers_that_are_there_are_not_fetched() {
    let engine = with_registry();
    engine.sh("podctl pull -q alpine && podctl pull -q docker.io/nginx").code(0);
    assert_eq!(engine.registry().asked("GET /v2/library/nginx/blobs/"), 2, "{:?}", engine.registry().requests());
}

#[test]
fn run_pulls_what_is_missing_unless_told_never() {
    let engine = with_registry();
    engine.sh("podctl run --rm --pull never alpine true").code(125).mentions("alpine");
    let run = engine.sh("podctl run --rm alpine echo pulled");
    run.prints("pulled").code(0).mentions("alpine");
    engine.sh("podctl run --rm --pull never alpine echo there").prints("there");
}

#[test]
fn what_no_registry_has_is_refused_in_one_line() {
    let engine = with_registry();
    for name in ["nosuch", "docker.io/library/alpine:nosuchtag", "quay.io/no/such"] {
        let run = engine.sh(&format!("podctl pull -q {name}"));
        let complaint = run.code(125).stderr();
        assert!(
            complaint.starts_with("Error: ") && complaint.contains(name.rsplit(':').next().unwrap_or(name)),
            "{run}"
        );
    }
    engine.sh("podctl pull -q localhost:1/no/registry").code(125);
    engine.sh("podctl images -q").prints_nothing();
}

#[test]
fn an_image_is_pulled_by_its_digest() {
    let engine = with_registry();
    let storage = engine.path("tmp/storage");
    let image = small("by digest").published(Form::Oci);
    image.store(&storage, "some/thing", "latest").expect("storage");
    let _registry = Registry::serve(&engine.enclosure, 5001, "/run/engine/tmp/storage".as_ref());
    let name = format!("127.0.0.1:5001/some/thing@{}", image.digest());
    engine.sh(&format!("podctl pull -q {name} && podctl run --rm {name} cat /word")).code(0);
    let wrong = format!("127.0.0.1:5001/some/thing@sha256:{}", "0".repeat(64));
    engine.sh(&format!("podctl pull -q {wrong}")).code(125);
    std::fs::remove_dir_all(storage).expect("removal");
}

/// An image with one word in it.
fn small(word: &str) -> Image {
    let alpine = Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
    Image::new().layer(alpine).layer(Layer::new().file("word", 0o644, word)).set("Cmd", json!(["cat", "/word"]))
}

#[test]
fn a_registry_that_lies_is_found_out_and_nothing_of_it_is_kept() {
    let engine = Engine::new();
    let home = engine.path("tmp/storage");
    let serve = |tag: &str, lie: &dyn Fn(&mut Vec<u8>), which: usize| {
        let published = small(tag).published(Form::Docker);
        published.store(&home, "some/liar", tag).expect("storage");
        let blob = blob_path(&home, &published.blobs()[which].digest);
        let mut bytes = std::fs::read(&blob).expect("blob");
        lie(&mut bytes);
        std::fs::write(&blob, bytes).expect("blob");
    };
    let flip = |bytes: &mut Vec<u8>| *bytes.last_mut().expect("a byte") ^= 1;
    serve("flipped-layer", &flip, 1);
    serve("cut-layer", &|bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 7), 1);
    serve("longer-layer", &|bytes: &mut Vec<u8>| bytes.extend_from_slice(b"more"), 1);
    serve("flipped-config", &flip, 2);
    let _registry = Registry::serve(&engine.enclosure, 5001, "/run/engine/tmp/storage".as_ref());
    for tag in ["flipped-layer", "cut-layer", "longer-layer", "flipped-config"] {
        let run = engine.sh(&format!("podctl pull -q 127.0.0.1:5001/some/liar:{tag}"));
        run.code(125);
        assert!(run.stderr().starts_with("Error: "), "{run}");
        if tag.starts_with("flipped") && !is_stand_in() {
            run.mentions("digest");
        }
    }
    engine.sh("podctl images -q").prints_nothing();
    std::fs::remove_dir_all(home).expect("removal");
}

#[test]
fn certificates_for_a_registry_are_found_and_can_be_given() {
    let engine = Engine::on(Machine { registry: true, ..Machine::default() });
    let own = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    engine
        .sh(&format!(
            "mkdir certs && cd certs && openssl req -x509 {own} -subj /CN=ca -keyout ca.pem -out ca.crt \
             && openssl req {own} -subj /CN=registry -addext subjectAltName=IP:127.0.0.1 -keyout server.pem -out server.csr \
             && openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.pem -days 2 -copy_extensions copy -out server.out"
        ))
        .code(0);
    let _registry = Registry::with_tls(&engine.enclosure, 5443, &images::storage(), "home/certs/server");
    engine.sh("podctl pull -q 127.0.0.1:5443/library/alpine").code(125).mentions("certificate");
    engine.sh("podctl pull -q --cert-dir certs 127.0.0.1:5443/library/alpine | wc -c").prints("65");
    engine.sh("podctl rmi 127.0.0.1:5443/library/alpine").code(0);
    // The machine's own, in a mount namespace of the command's.
    let own = "mkdir -p etc/certs.d/127.0.0.1:5443 && cp certs/ca.crt etc/certs.d/127.0.0.1:5443/ && \
        unshare -m sh -c 'mkdir -p /etc/containers && mount --bind etc /etc/containers && podctl pull -q 127.0.0.1:5443/library/alpine | wc -c'";
    engine.sh(own).prints("65");
    engine.sh("rm -r certs etc").ok();
}
