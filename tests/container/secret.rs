//! Secrets: kept for root alone, seen by those who are given them, and by nobody else.

use harness::{Engine, images::ALPINE, until};

#[test]
fn a_secret_is_seen_where_it_was_asked_for_and_nowhere_else() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("printf first-word | podctl secret create one -").code(0);
    engine.sh("WORD=other-word podctl secret create --env two WORD").code(0);
    engine
        .sh("podctl run -d --name c --secret one --secret one,target=key,uid=1000,gid=50,mode=0400 --secret two,type=env,target=TWO alpine top")
        .ok();
    let inside = |script: &str| engine.podctl(&["exec", "c", "sh", "-c", script]);
    inside("cat /run/secrets/one; echo; stat -c %a:%u:%g /run/secrets/one").prints("first-word\n444:0:0");
    inside("cat /run/secrets/key; echo; stat -c %a:%u:%g /run/secrets/key").prints("first-word\n400:1000:50");
    inside("grep -c ' /run/secrets/one tmpfs ' /proc/mounts; ! touch /run/secrets/one 2> /dev/null").prints("1");
    inside("tr '\\0' '\\n' < /proc/1/environ | grep ^TWO=").prints("TWO=other-word");
    assert_eq!(engine.field("c", "(index .Config.Secrets 0).Name"), "one");
    // Neither word is in anything that people or programs are shown, nor on the disk but in the store.
    for shown in ["podctl inspect c", "podctl secret inspect one two", "podctl secret ls", "podctl ps -a"] {
        let shown = engine.sh(shown).ok();
        assert!(!shown.contains("-word"), "{shown}");
    }
    engine.sh("grep -rl -e first-word -e other-word ../state | grep -cv ^../state/secrets/").prints("0");
    engine.sh("find ../state/secrets -type f -perm /077 | wc -l").prints("0");
    engine.sh("podctl commit c 2> /dev/null; podctl rm -f -t 0 c").code(0);
    engine.sh("podctl secret rm one two").code(0);
}

#[test]
fn secrets_are_made_listed_replaced_and_removed() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("echo one > $TMPDIR/file; podctl secret create -l a=b db $TMPDIR/file; rm $TMPDIR/file").ok();
    assert_eq!(id.len(), 25, "{id}");
    engine.sh("podctl secret ls --format '{{.ID}} {{.Name}} {{.Driver}}'").prints(&format!("{id} db file"));
    engine.sh("podctl secret ls --format '{{.Spec.Name}} {{.Spec.Driver.Name}}'").prints("db file");
    let table = engine.sh("podctl secret ls").lines();
    assert!(table[0].starts_with("ID") && table[1].contains(" ago"), "{table:?}");
    engine.sh("echo x | podctl secret create db -").code(125).mentions("db: secret name in use");
    engine.sh("echo x | podctl secret create --ignore db -").prints(&id);
    engine.sh("podctl secret inspect --showsecret --format '{{.SecretData}}{{.Spec.Labels.a}}' db").prints("one\nb");
    let pretty = engine.sh("podctl secret inspect --pretty --showsecret db").ok();
    for line in ["Name:              db", "Labels:", " - a=b", "Driver:            file", "Secret:            one"] {
        assert!(pretty.lines().any(|shown| shown == line), "{line}: {pretty}");
    }
    engine.sh("echo two | podctl secret create --replace db -").code(0);
    engine.sh("podctl run --name c --secret db alpine cat /run/secrets/db").prints("two");
    engine.sh("podctl secret exists db").code(0);
    engine.sh("podctl secret rm db").code(0);
    engine.sh("podctl secret exists db").code(1);
    // A container that was to have it says so; it is not started without.
    engine.sh("podctl start c").code(125).mentions("no secret with name or id \"db\": no such secret");
    until("the container to be at rest", || (engine.field("c", ".State.Status") == "exited").then_some(()));
    engine.sh("podctl secret rm --all").prints_nothing();
}
