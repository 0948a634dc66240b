//! What the rows of the table are typed on: pods, containers, networks, volumes and images, some of them hostile.

use std::os::unix::net::UnixDatagram;

use harness::{
    Engine,
    image::{Image, Layer},
    images::ALPINE,
};
use serde_json::{Value, json};

/// The engine with all of it.
pub fn engine() -> Engine {
    let engine = Engine::with(&[ALPINE]);
    for (name, image) in images() {
        image.docker_archive(&engine.path("tmp/i.tar"), &[&format!("localhost/{name}:latest")]).expect("archive");
        engine.sh("podctl load -q -i $TMPDIR/i.tar").ok();
    }
    engine.sh("rm $TMPDIR/i.tar; podctl tag localhost/twice localhost/thrice").ok();
    std::fs::write(engine.path("tmp/blocked"), "[[registry]]\nlocation = \"blocked.example\"\nblocked = true\n")
        .expect("registries.conf");
    // There is a journal until the rows are typed.
    let socket = engine.enclosure.path("/run/systemd/journal/socket");
    std::fs::create_dir_all(socket.parent().expect("a directory")).expect("mkdir");
    let journal = UnixDatagram::bind(&socket).expect("bind");
    for line in SETTING {
        engine.sh(line).code(0);
    }
    drop(journal);
    std::fs::remove_file(socket).expect("rm");
    engine
}

/// What is not removed with pods, containers, volumes and networks.
pub fn clear(engine: &Engine) {
    // What is frozen could not be ended with the enclosure, should the test fail now.
    engine.sh("podctl unpause held; podctl secret rm known binary; rm $TMPDIR/blocked").code(0);
}

const SETTING: &[&str] = &[
    "podctl pod create --name web && podctl pod start web",
    "podctl pod create --name idle",
    "podctl create --pod new:extra --name member alpine",
    "podctl pod create --name empty --infra=false",
    "podctl pod create --name ipconly --share ipc",
    "podctl run -d --name up -v used:/used alpine top && podctl run --name done alpine true",
    "podctl run -d --name silent --log-driver none alpine top",
    "podctl create --name through --log-driver passthrough alpine",
    "podctl run --name logged --log-opt path=$TMPDIR/log alpine true && rm $TMPDIR/log",
    "podctl run -d --name entered --log-driver journald alpine top",
    "podctl run --name entering --log-driver journald alpine true",
    "podctl create --name stranger -u stranger alpine && podctl cp stranger:/bin - > /dev/null",
    "podctl create --name needed alpine && podctl create --network container:needed alpine",
    "printf '\\xff' | podctl secret create binary -",
    "podctl run -d --name fixed --ip 10.88.0.77 -p 127.0.0.1:7001:80 alpine top",
    "podctl run -d --name odd alpine sh -c 'rm /etc/passwd && mkdir /etc/passwd && exec top'",
    // Of seventeen ids two begin alike.
    "for i in {1..8}; do podctl create alpine || exit; done",
    "podctl secret create known /etc/hosts && podctl create --name alone --network host alpine",
    "podctl volume create twin1 && podctl volume create twin2",
    "podctl network create --subnet 172.31.9.0/30 tiny && podctl run -d --name only --network tiny alpine top",
    // The ids of these two begin with ebad: an id is the hash of the name.
    "podctl network create twin37 && podctl network create twin63",
    "podctl network create --subnet 172.31.8.0/24 --interface-name taken0 taken",
    "podctl network create --subnet 172.31.7.0/24 linked && podctl create --name link --network linked alpine",
    // Last: what is frozen could not be ended with the enclosure, should another line fail.
    "podctl run -d --name held alpine top && podctl pause held",
];

fn images() -> Vec<(&'static str, Image)> {
    let plain = || Image::new().layer(Layer::new().file("word", 0o644, ""));
    let with = |field: &str, value: Value| plain().set(field, value);
    let many = |name: &dyn Fn(usize) -> String| -> Value {
        (0..257).map(|number| (name(number), json!({}))).collect::<serde_json::Map<_, _>>().into()
    };
    let accounts: String = (0..5000).map(|uid| format!("u{uid}:x:{uid}:{uid}::/:/bin/sh\n")).collect();
    let passwd = Layer::new().directory("etc").file("etc/passwd", 0o644, accounts);
    vec![
        ("twice", plain()),
        ("empty", Image::new()),
        ("mute", with("Cmd", Value::Null)),
        ("bad-env", with("Env", json!(["X"]))),
        ("bad-volume", with("Volumes", json!({"../x": {}}))),
        ("proc-volume", with("Volumes", json!({"/proc/x": {}}))),
        ("many-volumes", with("Volumes", many(&|number| format!("/{number}")))),
        (
            "volumes",
            with("Volumes", (0..100).map(|n| (format!("/{n}"), json!({}))).collect::<serde_json::Map<_, _>>().into()),
        ),
        ("bad-health", with("Healthcheck", json!("x"))),
        ("dir-passwd", Image::new().layer(Layer::new().directory("etc").directory("etc/passwd"))),
        ("bad-port", with("ExposedPorts", json!({"x": {}}))),
        ("many-ports", with("ExposedPorts", many(&|number| format!("{}/tcp", number + 1)))),
        ("bad-user", with("User", json!("a b"))),
        ("bad-workdir", with("WorkingDir", json!("/proc/self"))),
        ("file-workdir", with("WorkingDir", json!("/word/x"))),
        ("bad-signal", with("StopSignal", json!("BOGUS"))),
        ("long-passwd", Image::new().layer(passwd)),
    ]
}
