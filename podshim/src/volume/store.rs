//! The store: making, finding and removing volumes.

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::{Flock, FlockArg};
use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    event::{self, Event},
    failpoint::{self, Point},
    name,
    record::{self, Durability, SCHEMA, VolumeRecord},
    refusal::Result,
    time,
};

use super::{Mounting, copy_up};
use crate::sys::{beneath, mount};

/// Longest wait for the store's lock, which is held for a few system calls.
const STORE_WAIT: Duration = Duration::from_secs(30);

/// Longest wait for a volume's lock, which is held while an image's content is copied.
const COPY_WAIT: Duration = Duration::from_secs(600);

/// The directory containers see.
const DATA: &str = "_data";
/// What a user can do about a volume whose data is gone.
pub(super) const WAY_OUT: &str = "put it back, or podctl volume rm";

/// Beginnings of the names of what is being made and removed; no volume's name begins with a dot.
const NEW: &str = ".new-";
const GONE: &str = ".gone-";

/// The store of volumes.
#[derive(Clone, Debug)]
pub struct Volumes {
    roots: Roots,
}

impl Volumes {
    /// Opens it; makes nothing.
    pub fn open(roots: &Roots) -> Volumes {
        Volumes { roots: roots.clone() }
    }

    /// The volume `name`, made if it is not there. True when it was made now.
    ///
    /// The record that says who uses it must be on disk before: see the module.
    ///
    /// # Errors
    /// When `name` is none, and those of the file system.
    pub fn ensure(&self, name: &str, anonymous: bool) -> Result<(VolumeRecord, bool)> {
        check(name)?;
        let _lock = self.lock_store()?;
        match self.get(name) {
            Err(refusal) if refusal.kind == Kind::NoSuchVolume => {}
            result => return result.map(|record| (record, false)),
        }
        let record = VolumeRecord { anonymous, ..fresh(name) };
        self.make(&record).map_err(|error| Refusal::internal(format!("creating volume {name}"), error).about(name))?;
        event::note(&self.roots, &Event::new("volume", "create", "", name));
        Ok((record, true))
    }

    /// Creates the volume `name` with labels and the options it was asked for with; its directory belongs to `owner`.
    ///
    /// # Errors
    /// `NameInUse` when there is one, in podman's words.
    pub fn create(
        &self,
        name: &str,
        labels: BTreeMap<String, String>,
        options: BTreeMap<String, String>,
        owner: Option<(u32, u32)>,
    ) -> Result<VolumeRecord> {
        check(name)?;
        let _lock = self.lock_store()?;
        if self.dir(name).exists() {
            let words = format!("volume with name {name} already exists: volume already exists");
            return Err(Refusal::new(Kind::NameInUse, words).about(name));
        }
        let record = VolumeRecord { labels, options, owner, ..fresh(name) };
        self.make(&record).map_err(|error| Refusal::internal(format!("creating volume {name}"), error).about(name))?;
        event::note(&self.roots, &Event::new("volume", "create", "", name));
        Ok(record)
    }

    /// The volume `name`. One whose record was lost (a power failure) is there all the same: its data counts.
    ///
    /// # Errors
    /// `NoSuchVolume`, in podman's words.
    pub fn get(&self, name: &str) -> Result<VolumeRecord> {
        let missing = || {
            let words = format!("no volume with name {name:?} found: no such volume");
            Refusal::new(Kind::NoSuchVolume, words).about(name)
        };
        if !name::is_valid(name) {
            return Err(missing());
        }
        match record::read::<VolumeRecord>(&self.record(name)) {
            Ok(record) => Ok(VolumeRecord { name: name.to_owned(), ..record }),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                let data = fs::symlink_metadata(self.data(name)).map_err(|_| missing())?;
                let created = data.mtime().saturating_mul(1_000_000_000).saturating_add(data.mtime_nsec());
                // Whether an image's content went in is not known any more: none may cover what is there.
                Ok(VolumeRecord { created, copied_up: true, ..fresh(name) })
            }
            Err(error) => Err(Refusal::internal(format!("reading volume {name}"), error).about(name)),
        }
    }

    /// The volume that `text` names: its name, or the beginning of exactly one.
    ///
    /// # Errors
    /// `NoSuchVolume`, or podman's words for a beginning of several.
    pub fn find(&self, text: &str) -> Result<VolumeRecord> {
        let exact = self.get(text);
        if !matches!(&exact, Err(refusal) if refusal.kind == Kind::NoSuchVolume) || text.is_empty() {
            return exact;
        }
        let mut matching = self.names()?.into_iter().filter(|name| name.starts_with(text));
        match (matching.next(), matching.next()) {
            (Some(only), None) => self.get(&only),
            (Some(_), Some(_)) => Err(Refusal::invalid(format!(
                "more than one result for volume name {text:?}: use more of it: volume already exists"
            ))
            .about(text)),
            (None, _) => exact,
        }
    }

    /// All, by name. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// When the store is there and cannot be read.
    pub fn list(&self) -> Result<Vec<VolumeRecord>> {
        Ok(self.names()?.iter().filter_map(|name| self.get(name).ok()).collect())
    }

    /// Removes it with its data; the caller has checked that no container uses it (or removes the container that does).
    ///
    /// # Errors
    /// `NoSuchVolume`, and those of the file system.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.remove_unless(name, || Ok(()))
    }

    /// Removes it with its data unless `used` refuses, which is asked under the store's lock.
    ///
    /// # Errors
    /// Those of `used`, `NoSuchVolume`, and those of the file system.
    pub fn remove_unless(&self, name: &str, used: impl FnOnce() -> Result<()>) -> Result<()> {
        let failed = |error: io::Error| Refusal::internal(format!("removing volume {name}"), error).about(name);
        {
            let _lock = self.lock_store()?;
            self.get(name)?;
            used()?;
            if self.host_mounts(name) > 0 {
                // What would be removed is what is mounted.
                let words =
                    format!("volume {name} is mounted, unmount it first (volume unmount): volume is being used");
                return Err(Refusal::new(Kind::InUse, words).about(name));
            }
            let id = Id::random().map_err(failed)?;
            let gone = self.roots.volumes().join(format!("{GONE}{}", id.short()));
            fs::rename(self.dir(name), gone).map_err(failed)?;
            failpoint::check(Point::VolumeGone).map_err(failed)?;
            event::note(&self.roots, &Event::new("volume", "remove", "", name));
            self.collect(NEW).map_err(failed)?;
            failpoint::check(Point::VolumeCollect).map_err(failed)?;
        }
        // Without the lock: a volume may hold millions of files. What an earlier removal was cut off from goes, too.
        self.collect(GONE).map_err(failed)
    }

    /// How many times something is mounted on its data in our own mount namespace (`volume mount`).
    pub fn host_mounts(&self, name: &str) -> usize {
        let data = self.data(name);
        mount::points().iter().filter(|point| **point == data).count()
    }

    /// The same of `record`, for who only wants to know it: nearly no volume mounts anything.
    pub fn mounts_of(&self, record: &VolumeRecord) -> usize {
        Mounting::of(record).map_or(0, |_| self.host_mounts(&record.name))
    }

    /// Its data directory.
    pub fn data(&self, name: &str) -> PathBuf {
        self.dir(name).join(DATA)
    }

    /// Refuses what somebody has put in the place of a volume's data: through a link a container would see the machine's own
    /// files.
    ///
    /// # Errors
    /// Naming the volume and the way out.
    pub fn check_data(&self, name: &str) -> Result<()> {
        let data = self.data(name);
        if fs::symlink_metadata(&data).is_ok_and(|found| found.is_dir()) {
            return Ok(());
        }
        let words = format!("volume {name}: {} is no directory any more: {WAY_OUT} {name}", data.display());
        Err(Refusal::new(Kind::WrongState, words).about(name))
    }

    /// Copies what the image has at `destination` (a path inside `rootfs`, resolved inside it) into the volume, once and
    /// only while it is empty, with owner, mode, xattrs, links. The volume itself takes owner and mode of the image's
    /// directory. `mounted` is where the volume has mounted what it mounts. Not to be called for a mount with `nocopy`.
    /// Blocks while another container's content is copied.
    ///
    /// # Errors
    /// Those of the file system; the volume is then as empty as it was.
    pub fn copy_up(&self, name: &str, rootfs: &Path, destination: &str, mounted: Option<&Path>) -> Result<()> {
        // A tmpfs is new each time it is mounted.
        let is_over = |record: &VolumeRecord| {
            let fresh = mounted.is_some() && Mounting::of(record).is_some_and(|mounting| mounting.is_fresh());
            record.options.contains_key("nocopy") || (record.copied_up && !fresh)
        };
        if is_over(&self.get(name)?) {
            return Ok(());
        }
        let failed = |error: io::Error| {
            Refusal::internal(format!("copying the image's {destination} into volume {name}"), error).about(name)
        };
        let _lock = self.lock(name)?;
        let mut record = self.get(name)?;
        if is_over(&record) {
            return Ok(());
        }
        let place = match mounted {
            None => copy_up::Place::of_volume(&self.dir(name)).map_err(failed)?,
            Some(path) => match copy_up::Place::mounted(path).map_err(failed)? {
                Some(place) => place,
                None => return Ok(()),
            },
        };
        let outcome = copy_up::run(&place, rootfs, destination).map_err(failed)?;
        if let Some((uid, gid)) = record.owner {
            // The image's owner came with its content.
            nix::unistd::fchown(&place.data, Some(uid.into()), Some(gid.into())).map_err(|no| failed(no.into()))?;
        }
        if outcome == copy_up::Outcome::ChanceGone && !record.copied_up {
            failpoint::check(Point::VolumeCopied).map_err(failed)?;
            record.copied_up = true;
            record::write(&self.record(name), &record, Durability::Durable).map_err(failed)?;
        }
        Ok(())
    }

    /// The lock of the volume `name`: held while its content, or what it mounts, comes into being.
    ///
    /// # Errors
    /// When somebody else holds it for longer than a copy may take, and those of the file system.
    pub fn lock(&self, name: &str) -> Result<Lock> {
        wait_for(&self.dir(name).join("lock"), COPY_WAIT, &format!("volume {name}, which is being filled or mounted"))
    }

    /// The directory of all volumes.
    pub(super) fn store(&self) -> PathBuf {
        self.roots.volumes()
    }

    /// Whether `name`, in that directory, is of something half made or half removed.
    pub(super) fn is_remains(name: &str) -> bool {
        name.starts_with(NEW) || name.starts_with(GONE)
    }

    /// Removes everything that is half made or half removed.
    pub(super) fn remove_remains(&self) -> Result<()> {
        let failed = |error: io::Error| Refusal::internal("removing what volumes have left", error);
        let _lock = self.lock_store()?;
        self.collect(NEW).and_then(|()| self.collect(GONE)).map_err(failed)
    }

    /// Removes the directory of a volume that has no data.
    pub(super) fn forget(&self, name: &str) -> Result<()> {
        let _lock = self.lock_store()?;
        if self.data(name).exists() {
            return Ok(());
        }
        fs::remove_dir_all(self.dir(name)).map_err(|error| Refusal::internal(format!("removing volume {name}"), error))
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.roots.volumes().join(name)
    }

    /// `NAME/volume.json`
    pub(super) fn record(&self, name: &str) -> PathBuf {
        self.dir(name).join("volume.json")
    }

    /// Names of all volumes, sorted.
    fn names(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(self.roots.volumes()) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Refusal::internal("reading the volumes", error)),
        };
        let (mut names, others): (Vec<String>, Vec<String>) = entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .partition(|name| name::is_valid(name));
        if others.iter().any(|name| name.starts_with(NEW) || name.starts_with(GONE)) {
            self.finish();
        }
        names.sort_unstable();
        Ok(names)
    }

    /// What was cut off goes, unless somebody is at it. What cannot go now is the next one's.
    fn finish(&self) {
        if let Ok(Some(_lock)) = Lock::try_take(&self.roots.volumes().join(".lock")) {
            let _ = self.collect(NEW);
        }
        let _ = self.collect(GONE);
    }

    fn lock_store(&self) -> Result<Lock> {
        let store = self.roots.volumes();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&store)
            .map_err(|error| Refusal::internal(format!("creating {}", store.display()), error))?;
        wait_for(&store.join(".lock"), STORE_WAIT, "the volumes")
    }

    /// Makes the volume of `record` under a name of its own and renames it: it is whole or not there. Needs the lock.
    fn make(&self, record: &VolumeRecord) -> io::Result<()> {
        let store = self.roots.volumes();
        let new = store.join(format!("{NEW}{}", Id::random()?.short()));
        // Anonymous volumes are not worth waiting for the disk: their record says nothing that their name does not.
        let durability = if record.anonymous { Durability::Volatile } else { Durability::Durable };
        let result = (|| {
            DirBuilder::new().mode(0o700).create(&new)?;
            failpoint::check(Point::VolumeDir)?;
            DirBuilder::new().mode(0o755).create(new.join(DATA))?;
            // Whatever our umask is.
            fs::set_permissions(new.join(DATA), PermissionsExt::from_mode(0o755))?;
            if let Some((uid, gid)) = record.owner {
                std::os::unix::fs::chown(new.join(DATA), Some(uid), Some(gid))?;
            }
            record::write(&new.join("volume.json"), record, durability)?;
            failpoint::check(Point::VolumeRecorded)?;
            fs::rename(&new, self.dir(&record.name))?;
            failpoint::pass(Point::VolumePlaced);
            if durability == Durability::Durable {
                File::open(&store)?.sync_all()?;
            }
            Ok(())
        })();
        if result.is_err() {
            // The cause is reported; what is left is collected by the next removal.
            let _ = fs::remove_dir_all(&new);
        }
        result
    }

    /// Removes what was cut off on its way in (needs the lock) or out.
    fn collect(&self, beginning: &str) -> io::Result<()> {
        let store = beneath::directory(&self.roots.volumes())?;
        for entry in fs::read_dir(self.roots.volumes())?.flatten() {
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(beginning.as_bytes()) {
                // Somebody may be at it: a volume may hold millions of files, which one is enough to remove.
                let Ok(dir) = File::open(entry.path()) else { continue };
                let Ok(_alone) = Flock::lock(dir, FlockArg::LockExclusiveNonblock) else { continue };
                beneath::remove_tree(&store, &CString::new(name.as_encoded_bytes())?)?;
            }
        }
        Ok(())
    }
}

/// A record of a volume made now.
fn fresh(name: &str) -> VolumeRecord {
    VolumeRecord {
        schema: SCHEMA,
        name: name.to_owned(),
        created: time::now(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
        anonymous: false,
        copied_up: false,
        owner: None,
    }
}

fn check(name: &str) -> Result<()> {
    if name::is_valid(name) {
        return Ok(());
    }
    Err(Refusal::invalid(format!("running volume create option: {}", name::rule(name))).about(name))
}

/// The lock at `path`, waited for until `limit`.
fn wait_for(path: &Path, limit: Duration, what: &str) -> Result<Lock> {
    Lock::take_within(path, limit).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Refusal::new(
            Kind::TimedOut,
            format!("another command has kept {what} locked: {error}: try again when it has ended"),
        ),
        _ => Refusal::internal(format!("locking {what}"), error),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, chown, symlink};

    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        volumes: Volumes,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        fs::create_dir_all(dir.path().join("rootfs")).expect("rootfs");
        Fixture { volumes: Volumes::open(&roots), dir }
    }

    impl Fixture {
        fn rootfs(&self) -> PathBuf {
            self.dir.path().join("rootfs")
        }

        fn copy_up(&self, destination: &str) -> Result<()> {
            self.volumes.copy_up("v", &self.rootfs(), destination, None)
        }

        fn contents(&self) -> Vec<String> {
            let mut names: Vec<String> = fs::read_dir(self.volumes.data("v"))
                .expect("data")
                .map(|entry| entry.expect("entry").file_name().into_string().expect("utf-8"))
                .collect();
            names.sort();
            names
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("there").mode() & 0o7777
    }

    #[test]
    fn a_volume_is_made_once_and_removed_whole() {
        let f = fixture();
        assert!(f.volumes.list().expect("no store yet").is_empty());
        assert!(f.volumes.ensure("v", false).expect("made").1);
        assert!(!f.volumes.ensure("v", true).expect("there").1);
        assert!(!f.volumes.get("v").expect("there").anonymous);
        let store = f.dir.path().join("state/volumes");
        assert_eq!((mode(&store), mode(&store.join("v")), mode(&store.join("v/_data"))), (0o700, 0o700, 0o755));
        fs::write(f.volumes.data("v").join("file"), "x").expect("write");
        fs::create_dir_all(store.join(".new-cut/_data")).expect("a leftover");
        fs::create_dir_all(store.join(".gone-cut/_data")).expect("a leftover");
        assert_eq!(f.volumes.list().expect("list").len(), 1);
        f.volumes.remove("v").expect("removed");
        let left: Vec<_> = fs::read_dir(&store).expect("store").flatten().map(|entry| entry.file_name()).collect();
        assert_eq!(left, [".lock"]);
        assert_eq!(f.volumes.remove("v").expect_err("gone").kind, Kind::NoSuchVolume);
        for bad in ["", "../x", ".lock", "a/b"] {
            assert!(f.volumes.ensure(bad, false).is_err() && f.volumes.get(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn many_at_once_make_it_once() {
        let f = fixture();
        let made: usize = std::thread::scope(|scope| {
            let tasks: Vec<_> =
                (0..8).map(|_| scope.spawn(|| usize::from(f.volumes.ensure("v", false).expect("there").1))).collect();
            tasks.into_iter().map(|task| task.join().expect("no panic")).sum()
        });
        assert_eq!(made, 1);
    }

    #[test]
    fn a_lost_record_does_not_lose_the_data() {
        let f = fixture();
        f.volumes.ensure("v", false).expect("made");
        fs::write(f.dir.path().join("state/volumes/v/volume.json"), "").expect("a power failure");
        let record = f.volumes.get("v").expect("there");
        assert!(record.copied_up && record.created > 0);
        f.volumes.remove("v").expect("removed");
    }

    #[test]
    fn the_images_content_goes_in_once_with_everything_it_has() {
        let f = fixture();
        let html = f.rootfs().join("usr/html");
        fs::create_dir_all(html.join("sub/deep")).expect("dirs");
        fs::write(html.join("index.html"), "hello").expect("file");
        chown(html.join("index.html"), Some(33), Some(34)).expect("owner");
        fs::set_permissions(html.join("index.html"), PermissionsExt::from_mode(0o4750)).expect("mode");
        fs::hard_link(html.join("index.html"), html.join("sub/same")).expect("link");
        symlink("/etc/passwd", html.join("link")).expect("link");
        nix::unistd::mkfifo(&html.join("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
        let _socket = std::os::unix::net::UnixListener::bind(html.join("socket")).expect("socket");
        let sparse = File::create(html.join("sub/sparse")).expect("file");
        sparse.set_len(1 << 30).expect("a hole");
        fs::set_permissions(html.join("sub"), PermissionsExt::from_mode(0o2500)).expect("mode");
        chown(&html, Some(101), Some(102)).expect("owner");
        fs::set_permissions(&html, PermissionsExt::from_mode(0o1777)).expect("mode");
        crate::sys::xattr::set(beneath::directory(&html.join("sub")).expect("dir"), c"user.x", b"y").expect("xattr");

        f.volumes.ensure("v", false).expect("made");
        f.copy_up("/usr/html").expect("copied");
        let data = f.volumes.data("v");
        assert_eq!(f.contents(), ["fifo", "index.html", "link", "sub"]);
        assert_eq!(fs::read_to_string(data.join("index.html")).expect("file"), "hello");
        assert_eq!(mode(&data.join("index.html")), 0o4750);
        let (file, same) = (data.join("index.html"), data.join("sub/same"));
        let (file, same) = (fs::metadata(file).expect("file"), fs::metadata(same).expect("file"));
        assert_eq!((file.uid(), file.gid(), file.ino(), file.nlink()), (33, 34, same.ino(), 2));
        assert_eq!(fs::read_link(data.join("link")).expect("link"), Path::new("/etc/passwd"));
        assert!(fs::symlink_metadata(data.join("fifo")).expect("fifo").file_type().is_fifo());
        let sparse = fs::metadata(data.join("sub/sparse")).expect("file");
        assert_eq!((sparse.len(), sparse.blocks()), (1 << 30, 0));
        assert_eq!(mode(&data.join("sub")), 0o2500);
        let there = fs::metadata(html.join("sub")).expect("dir").mtime_nsec();
        assert_eq!(fs::metadata(data.join("sub")).expect("dir").mtime_nsec(), there);
        let xattr = crate::sys::xattr::get(beneath::directory(&data.join("sub")).expect("dir"), c"user.x");
        assert_eq!(xattr.expect("xattr").as_deref(), Some(&b"y"[..]));
        let root = fs::metadata(&data).expect("data");
        assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (101, 102, 0o1777));

        // Once: what the containers make of it stays theirs.
        fs::remove_file(data.join("index.html")).expect("removed by a container");
        f.copy_up("/usr/html").expect("nothing to do");
        assert_eq!(f.contents(), ["fifo", "link", "sub"]);
        assert!(f.volumes.get("v").expect("there").copied_up);
        f.volumes.remove("v").expect("removed");
    }

    #[test]
    fn a_volume_that_has_something_is_left_alone() {
        let f = fixture();
        fs::create_dir_all(f.rootfs().join("d")).expect("dir");
        fs::write(f.rootfs().join("d/image"), "").expect("file");
        f.volumes.ensure("v", false).expect("made");
        fs::write(f.volumes.data("v").join("mine"), "").expect("file");
        f.copy_up("/d").expect("nothing to do");
        assert_eq!(f.contents(), ["mine"]);
        assert!(f.volumes.get("v").expect("there").copied_up);
    }

    #[test]
    fn an_image_without_the_directory_leaves_the_chance_to_the_next() {
        let f = fixture();
        f.volumes.ensure("v", false).expect("made");
        fs::write(f.rootfs().join("file"), "").expect("file");
        for nothing in ["/none", "/file", "/file/x"] {
            f.copy_up(nothing).expect("nothing to do");
        }
        fs::create_dir(f.rootfs().join("empty")).expect("dir");
        chown(f.rootfs().join("empty"), Some(7), Some(8)).expect("owner");
        f.copy_up("/empty").expect("only the owner");
        assert_eq!(fs::metadata(f.volumes.data("v")).expect("data").uid(), 7);
        fs::create_dir(f.rootfs().join("other")).expect("dir");
        f.copy_up("/other").expect("it belongs to somebody now");
        assert_eq!(fs::metadata(f.volumes.data("v")).expect("data").uid(), 7);
        assert!(!f.volumes.get("v").expect("there").copied_up);
        fs::write(f.rootfs().join("other/x"), "").expect("file");
        f.copy_up("/other").expect("copied");
        assert_eq!(f.contents(), ["x"]);
    }

    #[test]
    fn paths_of_the_image_stay_inside_it() {
        let f = fixture();
        let outside = f.dir.path().join("outside");
        fs::create_dir(&outside).expect("dir");
        fs::write(outside.join("secret"), "").expect("file");
        symlink(&outside, f.rootfs().join("abs")).expect("link");
        symlink("../outside", f.rootfs().join("up")).expect("link");
        symlink("/proc/self/root", f.rootfs().join("magic")).expect("link");
        f.volumes.ensure("v", false).expect("made");
        for path in ["/abs", "/up", "/../outside", "/magic/etc", "/up/../../outside"] {
            f.copy_up(path).expect("nothing inside");
            assert!(f.contents().is_empty(), "{path}");
        }
        // A link inside is followed, links in the content are only copied.
        fs::create_dir(f.rootfs().join("real")).expect("dir");
        symlink(&outside, f.rootfs().join("real/link")).expect("link");
        symlink("/real", f.rootfs().join("inside")).expect("link");
        f.copy_up("/inside").expect("copied");
        assert_eq!(f.contents(), ["link"]);
        assert!(fs::symlink_metadata(f.volumes.data("v").join("link")).expect("link").is_symlink());
    }

    #[test]
    fn a_copy_that_fails_leaves_nothing_and_one_that_was_cut_off_is_finished() {
        let f = fixture();
        f.volumes.ensure("v", false).expect("made");
        // A path longer than the kernel takes, which only a hostile image has.
        let mut at = beneath::directory(&f.rootfs()).expect("rootfs");
        nix::sys::stat::mkdirat(&at, "d", nix::sys::stat::Mode::S_IRWXU).expect("dir");
        let name = "x".repeat(200);
        let flags = nix::fcntl::OFlag::O_RDONLY | nix::fcntl::OFlag::O_DIRECTORY;
        at = beneath::no_links(&at, Path::new("d"), flags).expect("dir");
        for _ in 0..30 {
            nix::sys::stat::mkdirat(&at, name.as_str(), nix::sys::stat::Mode::S_IRWXU).expect("dir");
            at = beneath::no_links(&at, Path::new(&name), flags).expect("dir");
        }
        let refusal = f.copy_up("/d").expect_err("too deep");
        assert!(refusal.message.starts_with("copying the image's /d into volume v: "), "{refusal}");
        assert!(f.contents().is_empty());
        let dir = f.dir.path().join("state/volumes/v");
        assert!(!dir.join("_copy").exists() && !dir.join("_copy.part").exists());
        assert!(!f.volumes.get("v").expect("there").copied_up);

        fs::create_dir_all(dir.join("_copy.part/half")).expect("cut off while copying");
        fs::create_dir_all(dir.join("_copy/whole")).expect("cut off while moving in");
        f.copy_up("/none").expect("finished");
        assert_eq!(f.contents(), ["whole"]);
        assert!(!dir.join("_copy").exists());
        f.volumes.remove("v").expect("removed");
    }
}
