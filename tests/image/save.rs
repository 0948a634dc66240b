//! Archives out of the store and into it again: the same image, whichever way it went.

use harness::{
    Engine,
    image::{Image, Layer},
    images::{ALPINE, NGINX},
};

const FORMATS: [&str; 2] = ["docker-archive", "oci-archive"];

/// The ids of all images, by name.
fn images(engine: &Engine) -> String {
    engine.sh("podctl images --no-trunc --format '{{.Repository}}:{{.Tag}} {{.ID}}' | sort").ok()
}

#[test]
fn what_is_saved_is_loaded_as_the_same_image_by_file_and_through_a_pipe() {
    let engine = Engine::with(&[ALPINE, NGINX]);
    let before = images(&engine);
    for format in FORMATS {
        for (save, load) in [
            ("-o $TMPDIR/a.tar", "-i $TMPDIR/a.tar"),
            ("> $TMPDIR/a.tar", "< $TMPDIR/a.tar"),
            ("| gzip > $TMPDIR/a.tar", "-i $TMPDIR/a.tar"),
            ("| cat > $TMPDIR/a.tar", "< <(cat $TMPDIR/a.tar)"),
        ] {
            engine.sh(&format!("podctl save -q --format {format} nginx {save} && podctl rmi -f nginx")).ok();
            engine.sh(&format!("podctl load {load}")).prints(&format!("Loaded image: {NGINX}"));
            assert_eq!(images(&engine), before, "{format} {save}");
        }
        engine.sh("podctl run --rm nginx test -x /usr/sbin/nginx").code(0);
    }
    engine.sh("rm $TMPDIR/a.tar").ok();
}

#[test]
fn several_images_share_their_layers_in_one_archive() {
    let engine = Engine::with(&[ALPINE, NGINX]);
    engine.sh("podctl tag alpine localhost/other:v2").ok();
    let before = images(&engine);
    for format in FORMATS {
        engine.sh(&format!("podctl save -m --format {format} -o $TMPDIR/m.tar alpine nginx localhost/other:v2")).ok();
        // alpine's layer is nginx's lowest.
        let list = engine.sh("tar -tf $TMPDIR/m.tar | sort | uniq -d").ok();
        assert_eq!(list, "", "nothing is there twice");
        engine.sh("podctl rmi -fa").code(0);
        let loaded = engine.sh("podctl load -i $TMPDIR/m.tar").ok();
        for name in [ALPINE, NGINX, "localhost/other:v2"] {
            assert!(loaded.contains(&format!("Loaded image: {name}")), "{format}: {loaded}");
        }
        assert_eq!(images(&engine), before, "{format}");
    }
    engine.sh("rm $TMPDIR/m.tar").ok();
}

#[test]
fn an_image_saved_by_its_id_has_no_name_in_the_archive() {
    let engine = Engine::with(&[ALPINE]);
    let id = engine.sh("podctl images -q --no-trunc alpine").ok();
    for format in FORMATS {
        engine.sh(&format!("podctl save --format {format} -o $TMPDIR/a.tar {id} && podctl rmi -f alpine")).ok();
        engine.sh("podctl load -i $TMPDIR/a.tar").prints(&format!("Loaded image: {id}"));
        engine.sh(&format!("podctl tag {id} alpine")).code(0);
        engine.sh("podctl tag alpine docker.io/library/alpine && podctl untag alpine localhost/alpine").code(0);
    }
    engine.sh("rm $TMPDIR/a.tar").ok();
}

#[test]
fn an_archive_that_cannot_be_written_is_not_left_half() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("mkdir small && mount -t tmpfs -o size=100k none small").ok();
    engine.sh("podctl save -o small/a.tar alpine").code(125).mentions("no space left on device");
    engine.sh("ls small").prints_nothing();
    engine.sh("umount small && rmdir small").ok();
    engine.sh("echo mine > kept && podctl save -o kept nosuch").code(125);
    engine.sh("cat kept").prints("mine");
    // A reader that has seen enough.
    engine.sh("podctl save alpine | head -c 10 > /dev/null; exit ${PIPESTATUS[0]}").code(125);
    engine.sh("podctl save alpine > /dev/full").code(125).mentions("no space left on device");
}

#[test]
fn an_image_saved_into_a_directory_is_loaded_as_the_same_image() {
    let engine = Engine::with(&[ALPINE, NGINX]);
    let before = images(&engine);
    let id = engine.sh("podctl images -q --no-trunc nginx").ok();
    engine.sh("podctl save -q --format oci-dir -o $TMPDIR/oci nginx && podctl rmi -f nginx").ok();
    engine.sh("grep -c 1.0.0 $TMPDIR/oci/oci-layout").prints("1");
    engine.sh("podctl load -i $TMPDIR/oci").prints(&format!("Loaded image: {NGINX}"));
    assert_eq!(images(&engine), before);
    // A directory that is there and empty will do.
    engine.sh("mkdir $TMPDIR/packed").ok();
    for (directory, option, packed) in [("plain", "", "0"), ("packed", "--compress", "2")] {
        engine.sh(&format!("podctl save --format docker-dir {option} -o $TMPDIR/{directory} nginx")).code(0);
        engine.sh(&format!("cat $TMPDIR/{directory}/version")).prints("Directory Transport Version: 1.1");
        let count = "for blob in *; do head -c 2 $blob | od -An -t x1; done | grep -c '1f 8b'";
        engine.sh(&format!("cd $TMPDIR/{directory} && {count} || true")).prints(packed);
        engine
            .sh(&format!("podctl rmi -f nginx > /dev/null && podctl load -i $TMPDIR/{directory}"))
            .prints(&format!("Loaded image: {id}"));
        engine.sh(&format!("podctl tag {id} nginx && podctl run --rm nginx test -x /usr/sbin/nginx")).code(0);
    }
    engine.sh("mkdir small && mount -t tmpfs -o size=100k none small").ok();
    engine.sh("podctl save --format oci-dir -o small/new nginx").code(125).mentions("no space left on device");
    engine.sh("podctl save --format oci-dir -o small nginx").code(125).mentions("no space left on device");
    engine.sh("ls small").prints_nothing();
    engine.sh("umount small && rmdir small").ok();
    engine.sh("rm -r $TMPDIR/oci $TMPDIR/plain $TMPDIR/packed").ok();
}

#[test]
fn an_archive_packed_with_zstd_is_loaded() {
    let engine = Engine::new();
    let image = Image::new().layer(Layer::new().file("word", 0o644, "zstd"));
    image.docker_archive(&engine.path("tmp/i.tar"), &["localhost/packed:latest"]).expect("archive");
    engine.sh("zstd -q --rm $TMPDIR/i.tar").code(0);
    engine.sh("podctl load -i $TMPDIR/i.tar.zst").prints("Loaded image: localhost/packed:latest");
    engine.sh("podctl images -q --no-trunc").prints(&format!("sha256:{}", image.id()));
    engine.sh("rm $TMPDIR/i.tar.zst").ok();
}
