//! Archives between podctl, Debian's podman and Debian's skopeo: the same image for all of them. Run by `make compat`,
//! which installs the two.

use std::path::{Path, PathBuf};

use harness::{
    Engine, Machine,
    image::{Image, Layer},
    images::{self, ALPINE, BANNER, NGINX},
    programs,
};
use serde_json::json;

const FORMATS: [&str; 2] = ["docker-archive", "oci-archive"];

/// A directory that all enclosures see, with an image of every kind of change in it.
struct Exchange(PathBuf);

impl Exchange {
    fn new(name: &str) -> Exchange {
        let path = Path::new("/var/tmp").join(format!("podctl-compat-{}-{name}", std::process::id()));
        std::fs::create_dir(&path).expect("a directory");
        let alpine = Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
        let image = Image::new()
            .layer(alpine)
            .layer(
                Layer::new().directory("d").file("d/kept", 0o640, "1").file("d/removed", 0o644, "").link("d/l", "kept"),
            )
            .layer(
                Layer::new().directory("o").file("o/hidden", 0o644, "").owned_by(1000, 50).file("d/owned", 0o4755, "x"),
            )
            .layer(Layer::new().without("d", "removed").file("o/.wh..wh..opq", 0o644, "").file("o/shown", 0o644, ""))
            .set("Labels", json!({"a": "b"}))
            .set("Cmd", json!(["cat", "/d/kept"]));
        image.docker_archive(&path.join("docker.tar"), &["localhost/changes:latest"]).expect("archive");
        image.oci_archive(&path.join("oci.tar"), "localhost/changes:latest").expect("archive");
        Exchange(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let _as_far_as_possible = std::fs::remove_dir_all(&self.0);
    }
}

fn podctl() -> Engine {
    Engine::on(Machine { engine: programs::Engine::Podctl, registry: true, on_disk: true, ..Machine::default() })
}

fn podman() -> Engine {
    Engine::on(Machine { engine: programs::Engine::Podman, on_disk: true, ..Machine::default() })
}

fn id(engine: &Engine, name: &str) -> String {
    engine.sh(&format!("podctl images -q --no-trunc {name}")).ok()
}

/// Everything in the directories the layers change, as a container sees it.
fn content(engine: &Engine) -> String {
    let command =
        "find /d /o /etc/passwd /etc/group -exec stat -c '%n %a %u %g %s %F' {} + ; cat /d/kept; readlink /d/l";
    engine.sh(&format!("podctl run --rm --network none localhost/changes sh -c \"{command}\" | sort")).ok()
}

#[test]
#[ignore = "make compat"]
fn podman_loads_what_podctl_saves_as_the_same_image() {
    let exchange = Exchange::new("out");
    let (ours, theirs) = (podctl(), podman());
    let archive = exchange.file("a.tar");
    for source in ["docker.tar", "oci.tar"] {
        ours.sh(&format!("podctl load -q -i {}", exchange.file(source))).ok();
        let (own, seen) = (id(&ours, "localhost/changes"), content(&ours));
        for format in FORMATS {
            ours.sh(&format!("podctl save -q --format {format} -o {archive} localhost/changes")).ok();
            theirs.sh(&format!("podctl load -q -i {archive}")).ok();
            assert_eq!(id(&theirs, "localhost/changes"), own, "{source} as {format}");
            assert_eq!(content(&theirs), seen, "{source} as {format}");
            theirs.sh("podctl rmi -fa").code(0);
        }
        ours.sh("podctl rmi -fa").code(0);
    }
    ours.load(&[ALPINE, NGINX, BANNER]);
    ours.sh(&format!("podctl save -q -m -o {archive} alpine nginx quay.io/libpod/banner")).ok();
    theirs.sh(&format!("podctl load -q -i {archive}")).ok();
    for name in [ALPINE, NGINX, BANNER] {
        assert_eq!(id(&theirs, name), id(&ours, name), "{name}");
    }
}

#[test]
#[ignore = "make compat"]
fn podctl_loads_what_podman_saves_as_the_same_image() {
    let exchange = Exchange::new("in");
    let (ours, theirs) = (podctl(), podman());
    let archive = exchange.file("a.tar");
    for source in ["docker.tar", "oci.tar"] {
        for format in FORMATS {
            theirs.sh(&format!("podctl load -q -i {}", exchange.file(source))).ok();
            theirs.sh(&format!("podctl save -q --format {format} -o {archive} localhost/changes")).ok();
            // From one family of formats to the other podman writes a new config: what it loads itself counts.
            theirs.sh(&format!("podctl rmi -fa && podctl load -q -i {archive}")).ok();
            ours.sh(&format!("podctl load -q -i {archive}")).ok();
            assert_eq!(id(&ours, "localhost/changes"), id(&theirs, "localhost/changes"), "{source} as {format}");
            assert_eq!(content(&ours), content(&theirs), "{source} as {format}");
            ours.sh("podctl rmi -fa").code(0);
            theirs.sh(&format!("podctl rmi -fa; rm {archive}")).code(0);
        }
    }
    theirs.load(&[ALPINE, NGINX]);
    theirs.sh(&format!("podctl save -q -m -o {archive} alpine docker.io/library/nginx")).ok();
    let loaded = ours.sh(&format!("podctl load < {archive}")).ok();
    for name in [ALPINE, NGINX] {
        assert!(loaded.contains(&format!("Loaded image: {name}")), "{loaded}");
        assert_eq!(id(&ours, name), id(&theirs, name), "{name}");
    }
}

#[test]
#[ignore = "make compat"]
fn skopeo_reads_what_podctl_saves() {
    let exchange = Exchange::new("skopeo-out");
    let ours = podctl();
    ours.sh(&format!("podctl load -q -i {}", exchange.file("docker.tar"))).ok();
    let own = id(&ours, "localhost/changes");
    for format in FORMATS {
        let (archive, copy) = (exchange.file("a.tar"), exchange.file("b.tar"));
        ours.sh(&format!("podctl save -q --format {format} -o {archive} localhost/changes")).ok();
        let inspect = |what: &str| ours.sh(&format!("skopeo inspect {what} {format}:{archive}")).ok();
        let layers = ours.field("localhost/changes", "len .RootFS.Layers");
        assert_eq!(inspect("--format '{{len .Layers}} {{.Labels}}'"), format!("{layers} map[a:b]"), "{format}");
        let config = harness::image::digest(inspect("--raw --config").as_bytes());
        assert_eq!(config, own, "{format}");
        let to = format!("{format}:{copy}:localhost/changes:latest");
        ours.sh(&format!("skopeo --insecure-policy --tmpdir $TMPDIR copy -q {format}:{archive} {to}")).ok();
        ours.sh(&format!("podctl rmi -fa && podctl load -q -i {copy} && rm {archive} {copy}")).ok();
        assert_eq!(id(&ours, "localhost/changes"), own, "{format}");
    }
    for (format, transport) in [("oci-dir", "oci"), ("docker-dir", "dir"), ("docker-dir --compress", "dir")] {
        let (saved, copy) = (exchange.file("saved"), exchange.file("copy"));
        ours.sh(&format!("podctl save -q --format {format} -o {saved} localhost/changes")).ok();
        let options = "--insecure-policy --tmpdir $TMPDIR copy -q";
        ours.sh(&format!("skopeo {options} {transport}:{saved} {transport}:{copy}")).ok();
        ours.sh(&format!("podctl rmi -fa && podctl load -q -i {copy} && rm -r {saved} {copy}")).ok();
        assert_eq!(ours.sh("podctl images -q --no-trunc").ok(), own, "{format}");
        ours.sh(&format!("podctl tag {own} localhost/changes")).ok();
    }
}

#[test]
#[ignore = "make compat"]
fn podctl_loads_what_skopeo_fetches() {
    let exchange = Exchange::new("skopeo-in");
    let ours = podctl();
    ours.sh("podctl pull -q alpine && podctl pull -q docker.io/nginx").code(0);
    let pulled = [ALPINE, NGINX].map(|name| id(&ours, name));
    // Each as what it is in the registry: alpine is an OCI image, nginx one of docker's.
    for (name, format) in [("alpine", "oci-archive"), ("nginx", "docker-archive")] {
        let archive = exchange.file(&format!("{name}.tar"));
        let from = format!("docker://127.0.0.1:5000/library/{name}");
        let to = format!("{format}:{archive}:docker.io/library/{name}:latest");
        let options = "--insecure-policy --tmpdir $TMPDIR copy -q --src-tls-verify=false";
        ours.sh(&format!("skopeo {options} {from} {to}")).ok();
    }
    ours.sh("podctl rmi -fa").code(0);
    for name in ["alpine", "nginx"] {
        ours.sh(&format!("podctl load -q -i {}", exchange.file(&format!("{name}.tar")))).ok();
    }
    assert_eq!([ALPINE, NGINX].map(|name| id(&ours, name)), pulled);
}
