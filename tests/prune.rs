//! What the prunes take and what they leave; what `system df` says of it before and after.

use harness::{
    Engine,
    image::{Image, Layer},
    images::{self, ALPINE},
    table::Table,
};
use serde_json::Value;

/// Loads an image called `name` with `bytes` of its own over alpine's layer.
fn load(engine: &Engine, name: &str, bytes: usize) {
    let image = Image::new()
        .layer(Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine"))
        .layer(Layer::new().file("own", 0o644, name.repeat(bytes / name.len())));
    image.docker_archive(&engine.path("tmp/i.tar"), &[name]).expect("archive");
    engine.sh("podctl load -q -i $TMPDIR/i.tar && rm $TMPDIR/i.tar").ok();
}

#[test]
fn container_prune_takes_what_does_not_run_and_is_in_no_pod() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name up alpine top && podctl run --name done -l old alpine true").ok();
    engine.sh("podctl create --name made alpine && podctl create --name ready alpine && podctl init ready").ok();
    engine.sh("podctl run -d --name held alpine top && podctl pause held").ok();
    engine.sh("podctl pod create --name p && podctl create --pod p --name member alpine").ok();
    let names = "podctl ps -a --filter name='^[a-z]*$' --sort names --format '{{.Names}}'";

    let asked = engine.sh("echo n | podctl container prune");
    assert_eq!(
        asked.code(0).stdout(),
        "WARNING! This will remove all non running containers.\nAre you sure you want to continue? [y/N] "
    );
    engine.sh(names).prints("done\nheld\nmade\nmember\nready\nup");
    let id = engine.field("done", ".Id");
    engine.sh("podctl container prune --force --filter label=old --filter until=0s").prints(&id);
    engine.sh("podctl container prune -f --filter until=1h").code(0).prints_nothing();
    let pruned = engine.sh("echo yes | podctl container prune");
    assert_eq!(pruned.code(0).stdout().matches('\n').count(), 3, "the question and two ids: {pruned}");
    engine.sh(names).prints("held\nmember\nup");
    engine.sh("podctl unpause held").code(0);
}

#[test]
fn image_prune_takes_nameless_images_and_with_all_unused_ones_but_never_a_containers() {
    let engine = Engine::with(&[ALPINE]);
    load(&engine, "localhost/free:1", 1000);
    load(&engine, "localhost/used:1", 2000);
    load(&engine, "localhost/nameless:1", 3000);
    engine.sh("podctl create --name user localhost/used:1 true").ok();
    let nameless = engine.field("localhost/nameless:1", ".Id");
    engine.sh("podctl untag localhost/nameless:1").code(0);

    let asked = engine.sh("echo | podctl image prune");
    assert_eq!(
        asked.code(0).stdout(),
        "WARNING! This command removes all dangling images.\nAre you sure you want to continue? [y/N] "
    );
    engine.sh("podctl image prune -f").prints(&nameless);
    engine.sh("podctl image prune -f").code(0).prints_nothing();
    // A name that was taken from an image in use does not cost the container its image.
    engine.sh("podctl untag localhost/used:1 && podctl image prune -f").code(0).prints_nothing();
    let asked = engine.sh("echo | podctl image prune --all");
    assert!(
        asked.stdout().starts_with(
            "WARNING! This command removes all images without at least one container associated with them.\n"
        ),
        "{asked}"
    );
    engine.sh("podctl image prune -a -f --filter until=1970-01-02T00:00:00Z").code(0).prints_nothing();
    assert_eq!(engine.sh("podctl image prune -a -f").code(0).lines().len(), 2);
    assert_eq!(engine.sh("podctl images -q").lines().len(), 1);
    engine.sh("podctl start -a user").code(0);
    // podman's containers of other tools: there are none here, and the flags of scripts that look for them work.
    engine.sh("podctl image prune -f --external && podctl ps -a --external").code(0);
    engine.sh("podctl container exists --external nosuch").code(1);
}

#[test]
fn images_are_pruned_while_containers_are_made_of_them() {
    let engine = Engine::with(&[ALPINE]);
    let load = format!("podctl load -q -i {}", images::archive(ALPINE).display());
    // Whatever is recorded has its image: a creation is refused where the image has gone, and what was made starts.
    // One prune meets each creation, later by a moment from round to round: neither always wins.
    let line = format!(
        "i=0 made=0; while test $i -lt 40 || test $made -lt 5; do i=$((i + 1)); {load} > /dev/null; \
         podctl create --pull never --name c$i alpine true > /dev/null 2> $TMPDIR/said & \
         for _ in $(seq $((i % 40 * 25))); do :; done; podctl image prune -af || exit 6; wait $!; \
         if podctl container exists c$i; then \
         made=$((made + 1)); podctl start -a c$i || exit 9; podctl rm c$i > /dev/null || exit 8; \
         else grep -q 'image not known' $TMPDIR/said || {{ cat $TMPDIR/said >&2; exit 7; }}; fi; done"
    );
    engine.sh(&line).code(0);
    engine.sh("rm -f $TMPDIR/said").ok();
}

#[test]
fn system_df_counts_shared_layers_once_and_says_what_pruning_gives_back() {
    let engine = Engine::new();
    load(&engine, "localhost/used:1", 100_000);
    load(&engine, "localhost/free:1", 200_000);
    engine.sh("podctl run --name done localhost/used:1 sh -c 'head -c 5000 /dev/zero > /file'").code(0);
    engine
        .sh("podctl run -d --name up -v busy:/v localhost/used:1 sh -c 'head -c 7000 /dev/zero > /v/x; exec top'")
        .ok();
    engine
        .sh("podctl volume create idle && head -c 300 /dev/zero > $(podctl volume inspect -f '{{.Mountpoint}}' idle)/x")
        .ok();
    engine.sh("until test $(podctl exec up stat -c %s /v/x) = 7000; do :; done").code(0);

    let table = Table::read(&engine.sh("podctl system df").ok());
    assert_eq!(table.headers, ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!(table.cells("TYPE"), ["Images", "Containers", "Local Volumes"]);
    assert_eq!((table.cells("TOTAL"), table.cells("ACTIVE")), (vec!["2", "2", "2"], vec!["1", "1", "1"]));
    assert_eq!(table.cell("TYPE", "Containers", "RECLAIMABLE"), "5kB (100%)");
    assert_eq!(table.cell("TYPE", "Local Volumes", "SIZE"), "7.3kB");
    assert_eq!(table.cell("TYPE", "Local Volumes", "RECLAIMABLE"), "300B (4%)");
    let json: Value = serde_json::from_str(&engine.sh("podctl system df --format json").ok()).expect("json");
    let number = |row: usize, key: &str| json[row][key].as_u64().unwrap_or_else(|| panic!("{key} in {json}"));
    let alpine = images::layer(ALPINE).len() as u64;
    let (size, reclaimable) = (number(0, "RawSize"), number(0, "RawReclaimable"));
    // Layers are counted as plain tar, with config and manifest.
    assert!((alpine + 300_000..alpine + 320_000).contains(&size), "{size} with {alpine} of alpine");
    assert!((200_000..210_000).contains(&reclaimable), "{reclaimable}");
    engine
        .sh("podctl system df --format '{{.Type}}:{{.TotalCount}}'")
        .prints("Images:2\nContainers:2\nLocal Volumes:2");

    let detailed = engine.sh("podctl system df -v").ok();
    let sections: Vec<&str> = detailed.split(" space usage:\n\n").collect();
    let titles: Vec<&str> = sections.iter().filter_map(|section| section.lines().last()).take(3).collect();
    assert_eq!(titles, ["Images", "Containers", "Local Volumes"]);
    let images = Table::read(sections[1]);
    assert_eq!(images.cell("REPOSITORY", "localhost/used", "CONTAINERS"), "2");
    assert_eq!(images.cell("REPOSITORY", "localhost/free", "CONTAINERS"), "0");
    let containers = Table::read(sections[2]);
    assert_eq!(containers.cell("NAMES", "up", "LOCAL VOLUMES"), "1");
    assert_eq!(
        (containers.cell("NAMES", "done", "SIZE"), containers.cell("NAMES", "done", "STATUS")),
        ("5kB", "exited")
    );
    let volumes = Table::read(sections[3]);
    assert_eq!(
        (volumes.cell("VOLUME NAME", "busy", "LINKS"), volumes.cell("VOLUME NAME", "idle", "SIZE")),
        ("1", "300B")
    );

    // What it says can be had is what there is to be had.
    let pruned = engine.sh("podctl system prune -f --all --volumes").ok();
    let freed = 5000 + 300;
    let said = pruned.lines().last().and_then(|line| line.strip_prefix("Total reclaimed space: ")).unwrap_or_default();
    let thousands: f64 = said.trim_end_matches("kB").parse().unwrap_or_else(|_| panic!("{pruned}"));
    let least = f64::from(200_000 + freed) / 1000.0;
    assert!((least..least + 10.0).contains(&thousands), "{said}");
    let json: Value = serde_json::from_str(&engine.sh("podctl system df --format json").ok()).expect("json");
    for row in json.as_array().expect("rows") {
        assert_eq!((&row["RawReclaimable"], &row["Total"]), (&0.into(), &1.into()), "{row}");
    }
}

#[test]
fn system_prune_asks_says_what_went_and_leaves_what_is_used() {
    let engine = Engine::with(&[ALPINE]);
    load(&engine, "localhost/free:1", 1000);
    engine.sh("podctl network create used && podctl network create free && podctl volume create free").ok();
    engine
        .sh("podctl run -d --name up --network used -v used:/v alpine top && podctl run --name done alpine true")
        .ok();
    engine.sh("podctl pod create --name down && podctl run --pod down --name member alpine true && podctl pod stop -t 0 down").ok();
    engine.sh("podctl pod create --name new && podctl run -d --pod new:live --name lives alpine top").ok();

    let question = "Are you sure you want to continue? [y/N] ";
    let asked = engine.sh("echo no | podctl system prune");
    assert_eq!(
        asked.code(0).stdout(),
        format!(
            "WARNING! This command removes:\n\t- all stopped containers\n\t- all networks not used by at least one container\n\t- all dangling images\n\t- all dangling build cache\n\n{question}"
        )
    );
    let (done, down, network) =
        (engine.field("done", ".Id"), engine.sh("podctl pod inspect -f '{{.ID}}' down").ok(), "free");
    engine.sh("podctl system prune -f --filter label=nothing").prints("Total reclaimed space: 0B");
    let pruned = engine.sh("echo y | podctl system prune");
    let (_, told) =
        pruned.code(0).stdout().split_once(question).map(|(a, b)| (a.to_owned(), b.to_owned())).expect("asked");
    assert_eq!(
        told,
        format!(
            "Deleted Containers\n{done}\nDeleted Pods\n{down}\nDeleted Networks\n{network}\nTotal reclaimed space: 0B\n"
        )
    );
    let free = engine.field("localhost/free:1", ".Id");
    let pruned = engine.sh("podctl system prune -a -f --volumes").ok();
    let lines: Vec<&str> = pruned.lines().collect();
    assert_eq!(lines[..4], ["Deleted Volumes", "free", "Deleted Images", &free], "{pruned}");
    assert!(lines[4].starts_with("Total reclaimed space: ") && lines.len() == 5, "{pruned}");
    engine.sh("podctl pod ps --sort name --format '{{.Name}} {{.Status}}'").prints("live Running\nnew Created");
    engine.sh("podctl ps --filter name='^[a-z]*$' --sort names --format '{{.Names}}'").prints("lives\nup");
    engine.sh("podctl network ls -q").prints("podman\nused");
    engine.sh("podctl volume ls -q").prints("used");
    engine.sh("podctl images --format '{{.Repository}}'").prints("docker.io/library/alpine");
}
