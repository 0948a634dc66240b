//! A store that has no room for an image: one line says so, nothing of it is left, and it comes when there is room.

use harness::{
    Engine,
    image::{Form, Image, Layer},
    images::{self, ALPINE},
    programs::is_stand_in,
    registry::Registry,
};

/// Numbers that do not compress.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

#[test]
fn an_image_for_which_there_is_no_room_is_refused_in_a_line_and_comes_when_there_is() {
    if is_stand_in() {
        return;
    }
    const BIG: usize = 12 << 20;
    const NO_ROOM: &str = "o space left on device";
    let many = (0..400).fold(Layer::new().directory("many"), |layer, n| layer.file(&format!("many/{n}"), 0o644, ""));
    let cases: [(&str, &str, Layer, &str, &str); 3] = [
        // What comes over the wire is too large already: said before it comes.
        ("noise", "size=8m", Layer::new().file("big", 0o644, noise(BIG)), "need ", NO_ROOM),
        // Only what is unpacked is.
        ("zeros", "size=8m", Layer::new().file("big", 0o644, vec![0; BIG]), NO_ROOM, NO_ROOM),
        ("many", "nr_inodes=500", many, NO_ROOM, NO_ROOM),
    ];
    for (name, options, layer, of_pull, of_load) in cases {
        let engine = Engine::new();
        let alpine = Layer::new().archive(images::layer(ALPINE).as_slice(), |_| true).expect("alpine");
        let image = Image::new().layer(alpine).layer(layer);
        image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/big:latest"]).expect("archive");
        let storage = engine.path("tmp/storage");
        image.published(Form::Oci).store(&storage, "some/big", "latest").expect("storage");
        let _registry = Registry::serve(&engine.enclosure, 5001, "/run/engine/tmp/storage".as_ref());
        engine.sh(&format!("mkdir -p ../state && mount -t tmpfs -o {options} test ../state")).ok();
        // The engine's own directories are there now.
        engine.sh("podctl volume create kept && podctl images").ok();
        engine.sh("echo FROM_NOTHING | podctl load -q").code(125);
        let there = "find ../state -type f -not -path '*/events/*' | sort; podctl images -aq";
        let before = engine.sh(there).ok();
        let both = [("podctl pull -q 127.0.0.1:5001/some/big", of_pull), ("podctl load -q -i ../tmp/i.tar", of_load)];
        for (line, words) in both {
            let run = engine.sh(line);
            run.code(125).mentions(words);
            assert_eq!(run.stderr().trim_end().lines().count(), 1, "{name}: {run}");
            run.mentions("Error: ");
            assert_eq!(engine.sh(there).ok(), before, "{name}: after {line}");
            engine.sh("podctl ps -a && podctl volume ls && podctl system check").code(0);
        }
        engine.sh("mount -o remount,size=64m,nr_inodes=20k ../state").ok();
        for (line, _) in both {
            let id = engine.sh(&format!("{line} | tail -n 1 | sed 's/.* //'")).ok();
            engine.sh(&format!("podctl run --rm {id} test -e /big -o -e /many/399")).code(0);
            engine.sh(&format!("podctl rmi {id}")).code(0);
        }
        engine.sh("podctl volume rm kept && umount ../state && rm -r ../tmp/storage ../tmp/i.tar").ok();
    }
}
