use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, symlink},
    path::PathBuf,
};

use tempfile::TempDir;

use super::*;

fn dir() -> TempDir {
    tempfile::tempdir().expect("tempdir")
}

fn fd(path: &Path) -> OwnedFd {
    beneath::directory(path).expect("directory")
}

fn archive(root: &Path, path: &str, name: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("file");
    pack(fd(root).as_fd(), Path::new(path), OsStr::new(name), file.reopen().expect("reopen")).expect("packed");
    fs::read(file.path()).expect("read")
}

fn put(archive: &[u8], directory: &Path, overwrite: bool) -> io::Result<()> {
    let directory = fd(directory);
    let owner = Some((nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw()));
    unpack(archive, &Target { directory: directory.as_fd(), owner, overwrite, harmless: true })
}

#[test]
fn paths_are_found_inside_the_root_only() {
    let dir = dir();
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("a/b")).expect("mkdir");
    fs::write(root.join("a/file"), "").expect("write");
    fs::write(dir.path().join("outside"), "").expect("write");
    for (name, text) in
        [("up", "../../../outside"), ("abs", "/a"), ("dangling", "a/new"), ("loop", "loop"), ("deep", "/none/x")]
    {
        symlink(text, root.join(name)).expect("link");
    }
    let root = fd(&root);
    let look = |path: &str| {
        let found = locate(root.as_fd(), Path::new(path)).expect(path);
        (found.path.display().to_string(), found.found, found.directory, found.parent)
    };
    let found = |path: &str, directory| (path.to_owned(), true, directory, false);
    let missing = |path: &str, parent| (path.to_owned(), false, false, parent);
    assert_eq!(look("/"), found("/", true));
    assert_eq!(look("abs/file"), found("/a/file", false));
    assert_eq!(look("/a/b/../../a/b/."), found("/a/b", true));
    assert_eq!(look("../../a"), found("/a", true));
    assert_eq!(look("up"), missing("/outside", true));
    assert_eq!(look("dangling"), missing("/a/new", true));
    assert_eq!(look("dangling/"), missing("/a/new", false));
    assert_eq!(look("deep"), missing("/none", false));
    assert!(!look("a/file/").1 && !look("a/file/x").1);
    assert!(locate(root.as_fd(), Path::new("loop")).is_err());
}

#[test]
fn a_tree_comes_out_as_it_went_in() {
    let (from, to) = (dir(), dir());
    let root = from.path();
    fs::create_dir_all(root.join("t/sub")).expect("mkdir");
    fs::write(root.join("t/one"), "1").expect("write");
    fs::hard_link(root.join("t/one"), root.join("t/two")).expect("link");
    symlink("/etc/passwd", root.join("t/sub/link")).expect("symlink");
    let long = "n".repeat(200);
    fs::write(root.join("t/sub").join(&long), "long").expect("write");
    nix::unistd::mkfifo(&root.join("t/fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    fs::set_permissions(root.join("t/one"), std::os::unix::fs::PermissionsExt::from_mode(0o4711)).expect("chmod");
    put(&archive(root, "/t", "renamed"), to.path(), false).expect("unpacked");
    let top = to.path().join("renamed");
    assert_eq!(fs::read_to_string(top.join("two")).expect("read"), "1");
    let one = fs::metadata(top.join("one")).expect("stat");
    assert_eq!((one.nlink(), one.mode() & 0o7777), (2, 0o711), "one file with two names, and not set-uid any more");
    assert_eq!(fs::read_link(top.join("sub/link")).expect("link"), PathBuf::from("/etc/passwd"));
    assert_eq!(fs::read_to_string(top.join("sub").join(long)).expect("read"), "long");
    assert!(fs::symlink_metadata(top.join("fifo")).is_ok());
    let nowhere = File::create(to.path().join("nowhere")).expect("file");
    let swapped = pack(fd(root).as_fd(), Path::new("/t/sub/link"), OsStr::new("x"), nowhere).expect_err("a new link");
    assert!(swapped.to_string().contains("has become a link"), "{swapped}");
    // Only what is in it, into a directory that has some of it already.
    put(&archive(root, "/t", ""), &top, false).expect("again");
    assert_eq!(fs::read_dir(&top).expect("dir").count(), 4);
    assert!(
        fs::read_dir(&top).expect("dir").flatten().all(|e| !e.file_name().to_string_lossy().starts_with(".podctl"))
    );
}

#[test]
fn kinds_take_each_others_place_only_when_asked() {
    let (from, to) = (dir(), dir());
    fs::create_dir(from.path().join("x")).expect("mkdir");
    fs::write(from.path().join("x/in"), "").expect("write");
    fs::write(from.path().join("y"), "file").expect("write");
    let (directory, file) = (archive(from.path(), "/x", "x"), archive(from.path(), "/y", "x"));
    put(&directory, to.path(), false).expect("new");
    let refused = put(&file, to.path(), false).expect_err("a directory is there");
    assert!(refused.to_string().starts_with("x: file exists: --overwrite"), "{refused}");
    put(&file, to.path(), true).expect("overwritten");
    assert_eq!(fs::read_to_string(to.path().join("x")).expect("read"), "file");
    put(&directory, to.path(), false).expect_err("a file is there");
    put(&directory, to.path(), true).expect("overwritten");
    assert!(to.path().join("x/in").exists());
}

#[test]
fn nothing_is_written_outside_through_links() {
    let (from, to, outside) = (dir(), dir(), dir());
    fs::write(outside.path().join("canary"), "alive").expect("write");
    fs::create_dir(from.path().join("d")).expect("mkdir");
    fs::write(from.path().join("d/canary"), "dead").expect("write");
    symlink(outside.path(), to.path().join("d")).expect("link");
    let archive = archive(from.path(), "/d", "d");
    put(&archive, to.path(), false).expect_err("a link is in the way");
    put(&archive, to.path(), true).expect("the link is replaced");
    assert_eq!(fs::read_to_string(outside.path().join("canary")).expect("read"), "alive");
    symlink(outside.path().join("canary"), to.path().join("f")).expect("link");
    let file = super::tests::archive(from.path(), "/d/canary", "f");
    put(&file, to.path(), false).expect("the link is replaced");
    assert_eq!(fs::read_to_string(outside.path().join("canary")).expect("read"), "alive");
    // What a hostile archive says itself: a link, then something below it.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "evil", outside.path()).expect("append");
    let mut header = tar::Header::new_gnu();
    header.set_size(4);
    header.set_mode(0o644);
    tar.append_data(&mut header, "evil/canary", &b"dead"[..]).expect("append");
    put(&tar.into_inner().expect("tar"), to.path(), true).expect_err("a link on the way");
    assert_eq!(fs::read_to_string(outside.path().join("canary")).expect("read"), "alive");
}

#[test]
fn an_archive_that_breaks_off_is_no_success() {
    let (from, to) = (dir(), dir());
    fs::write(from.path().join("f"), vec![7; 100_000]).expect("write");
    let archive = archive(from.path(), "/f", "f");
    let error = put(&archive[..50_000], to.path(), false).expect_err("cut off");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{error}");
    assert_eq!(fs::read_dir(to.path()).expect("dir").count(), 0, "no half file is left");
    put(
        b"this is no archive, however long it may be, and is longer than one block of 512 bytes".repeat(8).as_slice(),
        to.path(),
        false,
    )
    .expect_err("no archive");
}
