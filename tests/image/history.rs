//! `history`: the steps an image was made in.

use harness::{
    Engine,
    image::{Image, Layer},
    table::Table,
};
use serde_json::{Value, json};

#[test]
fn each_step_has_its_command_and_the_size_of_the_layer_it_made() {
    let engine = Engine::new();
    let image = Image::new()
        .layer(Layer::new().file("one", 0o644, "x".repeat(5000)))
        .layer(Layer::new().file("two", 0o644, ""))
        .history(&json!([
            {"created": "2024-04-04T18:00:00Z", "created_by": "ADD one"},
            {"created": "2024-04-05T18:00:00Z", "created_by": format!("ENV {}", "é".repeat(60)), "empty_layer": true},
            {"created": "2024-04-06T18:00:00Z", "created_by": "COPY two \u{1b}[31m", "comment": "buildkit"},
        ]));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/steps:latest", "localhost/also:1"]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/i.tar && rm $TMPDIR/i.tar").ok();

    let table = Table::read(&engine.sh("podctl history localhost/steps").ok());
    assert_eq!(table.headers, ["ID", "CREATED", "CREATED BY", "SIZE", "COMMENT"]);
    assert_eq!(table.cells("ID"), [&image.id()[..12], "<missing>", "<missing>"]);
    assert_eq!(table.cells("SIZE"), ["1.54 kB", "0 B", "6.66 kB"]);
    assert_eq!(table.cells("COMMENT"), ["buildkit", "", ""]);
    assert!(table.cells("CREATED").iter().all(|cell| cell.ends_with(" ago")), "{table:?}");
    let commands = table.cells("CREATED BY");
    assert_eq!(commands[1], format!("ENV {}...", "é".repeat(38)));
    assert!(!commands[0].contains('\u{1b}'), "{table:?}");

    engine
        .sh("podctl image history -q --no-trunc localhost/steps")
        .prints(&format!("{}\n<missing>\n<missing>", image.id()));
    let exact = engine.sh("podctl history --human=false --format '{{.Created}} {{.Size}}' localhost/also:1");
    exact.prints("2024-04-06T18:00:00Z 1536\n2024-04-05T18:00:00Z 0\n2024-04-04T18:00:00Z 6656");
    let steps: Value =
        serde_json::from_str(&engine.sh("podctl history --format json localhost/steps").ok()).expect("json");
    assert_eq!(steps[0]["tags"], json!(["localhost/also:1", "localhost/steps:latest"]));
    assert_eq!(
        (&steps[2]["createdBy"], &steps[2]["size"], &steps[2]["id"]),
        (&json!("ADD one"), &json!(6656), &json!("<missing>"))
    );
    assert!(steps[2].get("comment").is_none());
}
