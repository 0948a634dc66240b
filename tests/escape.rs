//! What strangers write must not steer the terminal of whoever looks at it: labels, commands, environments, processes,
//! archives, and what registries and runtimes say.

use harness::{
    Engine, Run,
    handmade::{Answer, Handmade},
    image::{Image, Layer},
    images::ALPINE,
};
use serde_json::json;

/// Clears the screen, sets the title, rings, overwrites the line, and turns round what follows; C1 and C0.
const EVIL: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\rX\u{9b}31m\u{202e}evil";

/// What a terminal must never be sent.
fn steers(character: char) -> bool {
    (character.is_control() && character != '\n' && character != '\t')
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[track_caller]
fn harmless(run: &Run) {
    let said = run.stdout() + &run.stderr();
    let found = said.chars().find(|character| steers(*character));
    assert!(found.is_none(), "{found:?} is sent to the terminal by {}: {said:?}", run.line);
}

#[test]
fn no_list_and_no_document_passes_an_escape_sequence() {
    let engine = Engine::with(&[ALPINE]);
    let alpine = Layer::new().archive(harness::images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
    let image = Image::new()
        .layer(alpine)
        .set("Labels", json!({"from.image": EVIL}))
        .set("Env", json!([format!("EVIL={EVIL}"), "PATH=/bin"]))
        .set("Cmd", json!(["sh", "-c", "sleep 1000; true", EVIL]))
        .set("Maintainer", json!(EVIL));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/evil:latest"]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/i.tar && rm $TMPDIR/i.tar").ok();
    std::fs::write(engine.path("home/evil"), EVIL).expect("a file");
    let evil = "\"$(cat evil)\"";
    for line in [
        format!("podctl pod create --name p --label a={evil}"),
        format!("podctl run -d --pod p --name c --label a={evil} --annotation b={evil} -e E={evil} localhost/evil"),
        format!("podctl create --name d alpine {evil} {evil}"),
        format!("podctl volume create --label a={evil} v"),
        format!("podctl network create --label a={evil} n"),
    ] {
        harmless(engine.sh(&line).code(0));
    }
    for line in [
        "ps -a --no-trunc",
        "ps -a --format json",
        "ps -a --format '{{.Command}} {{.Labels}} {{.Label \"a\"}} {{.Mounts}}'",
        "ps -a --format 'table {{.Command}} {{.Labels}}'",
        "pod ps --format '{{.Labels}}'",
        "pod ps --format json",
        "pod inspect p",
        "pod inspect --format '{{.Labels}} {{.CreateCommand}}' p",
        "inspect c d",
        "inspect --format '{{.Config.Labels}} {{.Config.Cmd}} {{.Config.Env}} {{.Path}} {{.Args}}' c d",
        "inspect --format '{{json .Config}}' c",
        "inspect --format '{{range .Config.Env}}{{.}} {{upper .}}{{end}}' c",
        "images --format '{{.Repository}} {{.Labels}}'",
        "images --format json",
        "image inspect localhost/evil",
        "image inspect --format '{{.Labels}} {{.Config.Env}}' localhost/evil",
        "network ls --format '{{.Labels}}'",
        "network ls --format json",
        "network inspect n",
        "network inspect --format '{{.Labels}}' n",
        "volume ls --format '{{.Labels}}'",
        "volume ls --format json",
        "volume inspect v",
        "volume inspect --format '{{.Labels}}' v",
        "top c",
        "top c args comm",
        "pod top p",
        "info",
    ] {
        let run = engine.sh(&format!("podctl {line}"));
        harmless(run.code(0));
    }
    // They were there to be seen.
    for line in
        ["podctl inspect c", "podctl ps -a --no-trunc", "podctl volume ls --format '{{.Labels}}'", "podctl top c"]
    {
        assert!(engine.sh(line).stdout().contains("evil"), "{line}");
    }
}

#[test]
fn no_complaint_passes_an_escape_sequence() {
    let engine = Engine::with(&[ALPINE]);
    std::fs::write(engine.path("home/evil"), EVIL).expect("a file");
    engine.sh("podctl run -d --name up alpine top").code(0);
    let evil = "\"$(cat evil)\"";
    for line in [
        format!("run --rm alpine {evil}"),
        format!("exec up {evil}"),
        format!("exec -w /{evil} up true"),
        format!("exec -u {evil} up true"),
        format!("inspect {evil}"),
        format!("stop {evil} {evil}"),
        format!("run --rm -v /{evil}:/x alpine"),
        format!("run --rm -v x:/{evil} alpine"),
        format!("ps --filter {evil}=1"),
        format!("ps --format {evil}'{{{{.Nope}}}}'"),
        format!("network inspect {evil}"),
        format!("volume inspect {evil}"),
        format!("image inspect {evil}"),
        format!("rmi {evil}"),
        format!("load -i {evil}"),
        evil.to_owned(),
        format!("ps --{evil}"),
        format!("pull {evil}"),
    ] {
        let run = engine.sh(&format!("podctl {line}"));
        assert!(run.code != 0, "{run}");
        harmless(&run);
    }
    let bare = || Image::new().layer(Layer::new().file("x", 0o644, ""));
    bare().docker_archive(&engine.path("tmp/i.tar"), &[&format!("localhost/{EVIL}:latest")]).expect("archive");
    harmless(engine.sh("podctl load -i $TMPDIR/i.tar").code(125));
    bare().oci_archive(&engine.path("tmp/i.tar"), &format!("localhost/{EVIL}:latest")).expect("archive");
    harmless(engine.sh("podctl load -i $TMPDIR/i.tar").code(125));
    let hostile = Layer::new().file("x", 0o644, "").hard_link("y", "nosuch\u{1b}[2J");
    Image::new().layer(hostile).docker_archive(&engine.path("tmp/i.tar"), &["localhost/x:latest"]).expect("archive");
    harmless(engine.sh("podctl load -i $TMPDIR/i.tar").code(125));
    engine.sh("rm $TMPDIR/i.tar").ok();
}

#[test]
fn no_registry_passes_an_escape_sequence() {
    let engine = Engine::new();
    let words = format!(r#"{{"errors":[{{"code":"DENIED","message":{},"detail":{}}}]}}"#, json!(EVIL), json!(EVIL));
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let _registry = Handmade::serve(&engine.enclosure, 5001, move |path| {
        let mut parts = path.trim_start_matches("/v2/").split('/');
        Some(match parts.next().unwrap_or_default() {
            "" => Answer::ok("application/json", b"{}".to_vec()),
            "denied" => Answer::no("403 Forbidden", words.clone()),
            "missing" => Answer::no("404 Not Found", words.clone()),
            "broken" => Answer::no("500 Oops", EVIL),
            "phrase" => Answer::no("418 \u{1b}[2Jteapot", ""),
            "type" => Answer::ok("application/\u{1b}[2J", b"{}".to_vec()),
            "garbage" => Answer::ok(manifest, EVIL.as_bytes().to_vec()),
            "media" => {
                let text = json!({"schemaVersion": 2, "mediaType": EVIL, "config": {"mediaType": EVIL, "digest": EVIL, "size": 1}});
                Answer::ok("application/json", text.to_string().into_bytes())
            }
            "redirect" => Answer {
                headers: vec!["Location: http://\u{1b}[2J/".to_owned()],
                ..Answer::no("307 Temporary Redirect", "")
            },
            "login" => Answer {
                headers: vec!["WWW-Authenticate: Bearer realm=\"http://\u{1b}[2J/\",service=\"\u{1b}[31m\"".to_owned()],
                ..Answer::no("401 Unauthorized", words.clone())
            },
            _ => return None,
        })
    });
    for name in ["denied", "missing", "broken", "phrase", "type", "garbage", "media", "redirect", "login"] {
        let run = engine.sh(&format!("timeout 60 podctl pull 127.0.0.1:5001/{name}/x"));
        let complaint = run.code(125).stderr();
        assert!(complaint.contains("Error: ") && complaint.contains(name), "{run}");
        harmless(&run);
        harmless(&engine.sh(&format!("timeout 60 podctl run --rm 127.0.0.1:5001/{name}/x")));
    }
    engine.sh("podctl images -q").prints_nothing();
}
