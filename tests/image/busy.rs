//! Registries that are busy, and one that changes while an image comes from it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use harness::{
    Engine,
    handmade::{Answer, Handmade},
    image::{Form, Image, Layer, Published, digest},
    images::{self, ALPINE},
    programs::is_stand_in,
    until,
};
use serde_json::json;

const OCI: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that says `word`.
fn saying(word: &str) -> Published {
    let alpine = Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
    let own = Layer::new().file("word", 0o644, format!("{word}\n"));
    Image::new().layer(alpine).layer(own).set("Cmd", json!(["cat", "/word"])).published(Form::Oci)
}

fn manifest(published: &Published) -> Vec<u8> {
    let (config, layers) = published.blobs().split_last().expect("a config");
    let descriptor = |media_type: &str, bytes: &[u8]| json!({"mediaType": format!("application/vnd.oci.image.{media_type}"), "digest": digest(bytes), "size": bytes.len()});
    let layers: Vec<_> = layers.iter().map(|layer| descriptor("layer.v1.tar+gzip", &layer.bytes)).collect();
    let config = descriptor("config.v1+json", &config.bytes);
    json!({"schemaVersion": 2, "mediaType": OCI, "config": config, "layers": layers}).to_string().into_bytes()
}

fn busy(status: &str, wait: &str) -> Answer {
    let mut answer = Answer::no(status, "{}");
    answer.headers.extend((!wait.is_empty()).then(|| format!("Retry-After: {wait}")));
    answer
}

#[test]
fn a_registry_that_is_busy_is_asked_again_when_it_wants_to_be_and_not_for_ever() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::new();
    let image = saying("patience");
    let (manifest, blobs): (_, BTreeMap<String, Vec<u8>>) =
        (manifest(&image), image.blobs().iter().map(|blob| (blob.digest.clone(), blob.bytes.clone())).collect());
    // The first request for anything is refused by each repository in its own way; by `never` all are.
    let asked: Arc<[AtomicU32; 2]> = Arc::default();
    let counts = asked.clone();
    let registry = Handmade::serve(&engine.enclosure, 5001, move |path| {
        if path == "/v2/" {
            return Some(Answer::ok("application/json", b"{}".to_vec()));
        }
        let is_manifest = path.contains("/manifests/");
        let first = counts[usize::from(is_manifest)].fetch_add(1, Ordering::SeqCst) == 0;
        match path.split('/').nth(2)? {
            "never" => return Some(busy("503 Service Unavailable", "0")),
            "soon" if first => return Some(busy("503 Service Unavailable", "2")),
            "limit" if first => return Some(busy("429 Too Many Requests", "2")),
            "odd" if first => return Some(busy("502 Bad Gateway", "Fri, 31 Dec 1999 23:59:59 GMT")),
            _ => {}
        }
        if is_manifest {
            return Some(Answer::ok(OCI, manifest.clone()));
        }
        Some(Answer::ok("application/octet-stream", blobs.get(path.rsplit('/').next()?)?.clone()))
    });
    for name in ["soon", "limit", "odd"] {
        for count in asked.iter() {
            count.store(0, Ordering::SeqCst);
        }
        let run = engine.sh(&format!("podctl pull -q 127.0.0.1:5001/{name}/x"));
        run.code(0);
        // Once for the manifest, once for a blob; without a number the engine's own pause.
        assert!((Duration::from_millis(3900)..Duration::from_secs(60)).contains(&run.took), "{run}");
        assert_eq!(registry.asked(&format!("/v2/{name}/x/manifests/")), 2);
        engine.sh(&format!("podctl run --rm 127.0.0.1:5001/{name}/x")).prints("patience");
        engine.sh("podctl rmi -a").code(0);
    }
    let run = engine.sh("podctl pull -q 127.0.0.1:5001/never/x");
    run.code(125).mentions("127.0.0.1:5001/never/x").mentions("503");
    assert_eq!(run.stderr().trim_end().lines().count(), 1, "{run}");
    assert_eq!(registry.asked("/v2/never/x/manifests/"), 3);
    engine.sh("podctl images -aq").prints_nothing();
}

#[test]
fn a_tag_that_moves_while_its_image_comes_gives_the_one_or_the_other_and_no_mixture() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::new();
    let images = [saying("old"), saying("new")];
    let ids: Vec<String> = images
        .iter()
        .map(|image| image.blobs().last().expect("a config").digest["sha256:".len()..].to_owned())
        .collect();
    let manifests = [manifest(&images[0]), manifest(&images[1])];
    let blobs: BTreeMap<String, Vec<u8>> = images
        .iter()
        .flat_map(|image| image.blobs().iter().map(|blob| (blob.digest.clone(), blob.bytes.clone())))
        .collect();
    let manifests_asked = Arc::new(AtomicU32::new(0));
    let counts = manifests_asked.clone();
    let registry = Handmade::serve(&engine.enclosure, 5001, move |path| {
        if path == "/v2/" {
            return Some(Answer::ok("application/json", b"{}".to_vec()));
        }
        if path.contains("/manifests/") {
            // Whoever asks first sees the old one, which has gone by the time that a blob of it is asked for.
            let which = usize::from(counts.fetch_add(1, Ordering::SeqCst) > 0);
            return Some(Answer::ok(OCI, manifests[which].clone()));
        }
        let bytes = blobs.get(path.rsplit('/').next()?)?.clone();
        let held_after = Some(bytes.len() / 2);
        Some(Answer { held_after, ..Answer::ok("application/octet-stream", bytes) })
    });
    let name = "127.0.0.1:5001/moves/x";
    let first = engine.start(&format!("podctl pull -q {name}"));
    until("the first in the middle of it", || (registry.asked("/blobs/") > 0).then_some(()));
    let second = engine.start(&format!("podctl pull -q {name}"));
    until("the second with the tag", || (registry.asked("/manifests/") > 1).then_some(()));
    registry.go_on();
    first.finish().prints(&ids[0]);
    second.finish().prints(&ids[1]);
    for (id, word) in ids.iter().zip(["old", "new"]) {
        engine.sh(&format!("podctl run --rm {id}")).prints(word);
    }
    // Who came last has the name; asked once more it is the new one's.
    let named = engine.sh(&format!("podctl run --rm --pull never {name}")).ok();
    assert!(["old", "new"].contains(&named.as_str()), "{named}");
    engine.sh(&format!("podctl pull -q {name}")).prints(&ids[1]);
    engine.sh(&format!("podctl run --rm --pull never {name}")).prints("new");
    engine.sh(&format!("podctl rmi {} && podctl rmi {} && podctl system check", ids[0], ids[1])).code(0);
}
