//! Where the mounts of a member come from, in the engine's mount namespace.
//!
//! A host path means the caller's view: podctl opens it (open_tree(2)) and passes the descriptor; it is attached below
//! the member's run directory. Where no descriptor came (a restart by policy, a caller without the right) the path is
//! looked up in the view this shim inherited from whoever started it.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::OFlag,
    mount::{MntFlags, umount2},
};
use proto::{
    Refusal,
    failpoint::{self, Point},
    patience,
    record::ContainerRecord,
    refusal::Result,
    wire::{ContainerAct, Mount, mount},
};
use rustix::fs::{AtFlags, StatxFlags, statx};

use super::{record::make_dir, volumes::Mounted};
use crate::{
    bundle::BoundMount,
    image,
    namespace::tree,
    rootfs::{self, Keep},
    sys::{self, beneath},
    volume::Volumes,
};

/// Where the directory of `--rootfs` goes: it is opened like a mount.
pub(super) const ROOT: &str = "/";

/// Where the mounts of a member are attached, below its run directory.
pub(super) const BINDS: &str = "binds";

/// What the caller has opened.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Bind sources, by destination.
    binds: HashMap<String, OwnedFd>,
    /// The directory of its log.
    pub(super) log: Option<OwnedFd>,
    /// The container's standard streams, by the names its monitor knows them by.
    pub(super) streams: Vec<(String, OwnedFd)>,
}

/// What whoever asks for a start brings along.
#[derive(Debug, Default)]
pub(super) struct Brought {
    /// Bind sources.
    pub(super) opened: Opened,
    /// The caller's NOTIFY_SOCKET; empty = none.
    pub(super) notify_socket: String,
    /// The containers of other pods that the caller has started because this one needs them; `None` where nobody could,
    /// because the restart policy asks.
    pub(super) met: Option<Vec<String>>,
    /// The caller has been asked for the log's directory, and has opened it if it can.
    pub(super) log_asked: bool,
}

impl Brought {
    /// What comes with a request to start a container that is there.
    pub(super) fn with(act: ContainerAct, log: Option<OwnedFd>) -> Brought {
        let opened = Opened { log, ..Opened::default() };
        Brought { opened, notify_socket: act.notify_socket, met: Some(act.met), log_asked: act.log_asked }
    }
}

/// What podmon calls the streams of the caller.
const STREAMS: [&str; 3] = ["caller-stdin", "caller-stdout", "caller-stderr"];

/// What podmon calls the descriptors of `--preserve-fds`, with their number from 0 on.
const PRESERVED: &str = "caller-preserved-";

/// Assigns `fds` to the binds of `mounts`, in order (the order podctl opened them in); after them come the three streams
/// of a container that writes past its monitor, and the `preserved` descriptors that it gets beside its own.
pub(super) fn assign<'a>(
    mounts: impl Iterator<Item = &'a Mount>,
    passes_through: bool,
    preserved: usize,
    mut fds: Vec<OwnedFd>,
) -> Opened {
    let mut last = |count: usize| if fds.len() >= count { fds.split_off(fds.len() - count) } else { Vec::new() };
    let preserved = last(preserved);
    let standard = last(if passes_through { STREAMS.len() } else { 0 });
    let preserved = preserved.into_iter().enumerate().map(|(number, fd)| (format!("{PRESERVED}{number}"), fd));
    let streams = STREAMS.map(str::to_owned).into_iter().zip(standard).chain(preserved).collect();
    let binds = mounts
        .filter(|mount| mount.kind() == mount::Kind::Bind)
        .zip(fds)
        .map(|(mount, fd)| (mount.destination.clone(), fd))
        .collect();
    Opened { binds, log: None, streams }
}

/// Attaches the directory `path` of the host, as the caller had it opened, as root file system `target`.
///
/// # Errors
/// When it is no directory any more.
pub(super) fn root(opened: &mut Opened, path: &str, target: &Path) -> Result<()> {
    let refuse = |error: io::Error| Refusal::invalid(format!("--rootfs {path}: {}", words(&error)));
    let tree = match opened.binds.remove(ROOT) {
        Some(tree) => Ok(tree),
        None => beneath::directory(Path::new(path)).and_then(|dir| tree::clone_at(dir.as_fd())),
    };
    make_dir(target).and_then(|()| sys::mount::attach_tree(tree?.as_fd(), target)).map_err(refuse)
}

/// Where sources are looked for, and where they are put.
#[derive(Debug)]
pub(super) struct Places<'a> {
    /// The volumes.
    pub(super) volumes: &'a Volumes,
    /// The images.
    pub(super) images: &'a image::Store,
    /// The member's run directory.
    pub(super) run_dir: &'a Path,
    /// Its root file system, mounted.
    pub(super) rootfs: &'a Path,
    /// What its volumes mount, by the number of the mount: see [`super::volumes`].
    pub(super) mounted: &'a HashMap<usize, Mounted>,
}

/// Makes every mount of `record` available in the engine's mount namespace.
///
/// # Errors
/// When a source is missing or a volume cannot be made, naming the mount.
pub(super) fn bind(record: &ContainerRecord, opened: &mut Opened, places: &Places<'_>) -> Result<Vec<BoundMount>> {
    let Places { volumes, images, run_dir, rootfs, mounted } = places;
    let mut bound = Vec::with_capacity(record.mounts.len());
    for (number, mount) in record.mounts.iter().enumerate() {
        let made = Made { run_dir, number };
        let source = match mount.kind() {
            mount::Kind::Bind => match opened.binds.remove(&mount.destination) {
                Some(tree) => made.attach(&tree).map_err(|error| refuse(mount, error))?,
                None => look_up(mount)?,
            },
            mount::Kind::Volume => {
                let anonymous = record.anonymous_volumes.contains(&mount.source);
                volumes.ensure(&mount.source, anonymous)?;
                volumes.check_data(&mount.source)?;
                let at = mounted.get(&number).map(|mounted| mounted.path.as_path());
                if !mount.options.iter().any(|option| option == "nocopy") {
                    volumes.copy_up(&mount.source, rootfs, &mount.destination, at)?;
                }
                at.map_or_else(|| volumes.data(&mount.source), Path::to_owned)
            }
            mount::Kind::Image => {
                let image = images.resolve(&mount.source).map_err(|refusal| Refusal {
                    message: format!("--mount type=image,source={}: pull it first", refusal.message),
                    ..refusal
                })?;
                let overlay = made.overlay(&image.layers, "image")?;
                failpoint::refuse(Point::StartImage)?;
                overlay
            }
            mount::Kind::Tmpfs | mount::Kind::Devpts => PathBuf::new(),
        };
        let source = match mount.options.iter().find_map(|option| option.strip_prefix("subpath=")) {
            Some(part) => made.part(&source, part).map_err(|error| refuse(mount, error))?,
            None => source,
        };
        let source =
            if mount.options.iter().any(|option| option == "O") { made.overlay(&[source], "over")? } else { source };
        let mut mount = mount.clone();
        if let Some(mounted) = mounted.get(&number) {
            mount.options = mounted.options(&mount.options);
        }
        bound.push(BoundMount { mount, source });
    }
    Ok(bound)
}

fn refuse(mount: &Mount, error: io::Error) -> Refusal {
    Refusal::internal(format!("-v {}:{}", mount.source, mount.destination), error)
}

/// The mounts that are made for one mount of a member, below its run directory.
struct Made<'a> {
    run_dir: &'a Path,
    number: usize,
}

impl Made<'_> {
    /// Attaches an opened tree: a file onto a file, a directory onto a directory.
    fn attach(&self, tree: &OwnedFd) -> io::Result<PathBuf> {
        attach(tree, &self.run_dir.join(BINDS), &self.number.to_string())
    }

    /// An overlay of `layers` (bottom first) whose changes go with the run.
    fn overlay(&self, layers: &[PathBuf], what: &str) -> Result<PathBuf> {
        let changes = self.run_dir.join("overlays").join(format!("{}-{what}", self.number));
        let target = self.run_dir.join(BINDS).join(format!("{}-{what}", self.number));
        rootfs::mount(layers, &changes.join("upper"), &changes.join("work"), &target, Keep::Volatile)?;
        Ok(target)
    }

    /// The part `path` of `whole`, which others write to: links lead nowhere out of it.
    fn part(&self, whole: &Path, path: &str) -> io::Result<PathBuf> {
        let root = beneath::directory(whole)?;
        let part = beneath::in_root(root, Path::new(path.trim_start_matches('/')), OFlag::O_PATH)?;
        let tree = tree::clone_at(part.as_fd())?;
        attach(&tree, &self.run_dir.join(BINDS), &format!("{}-part", self.number))
    }
}

/// Attaches an opened tree as `dir/name`.
pub(super) fn attach(tree: &OwnedFd, dir: &Path, name: &str) -> io::Result<PathBuf> {
    make_dir(dir)?;
    let target = dir.join(name);
    if is_directory(tree)? {
        make_dir(&target)?;
    } else {
        File::create(&target)?;
    }
    sys::mount::attach_tree(tree.as_fd(), &target)?;
    Ok(target)
}

/// Whether `tree` is a directory. Its kind is known: a file system that hangs is not asked.
fn is_directory(tree: &OwnedFd) -> io::Result<bool> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let mode = match statx(tree, c"", flags, StatxFlags::TYPE) {
        Ok(stat) => stat.stx_mode.into(),
        // Not there, or not allowed.
        Err(_) => nix::sys::stat::fstat(tree)?.st_mode,
    };
    Ok(mode & libc::S_IFMT == libc::S_IFDIR)
}

/// Refuses sources that are to be [looked up](look_up) where a file system hangs: only whoever asks waits for that.
///
/// # Errors
/// `statfs /x: the fuse file system at /x has not answered for 10 s`
pub(super) async fn answer(record: &ContainerRecord, opened: &Opened) -> Result<()> {
    let to_look_up =
        |mount: &&Mount| mount.kind() == mount::Kind::Bind && !opened.binds.contains_key(&mount.destination);
    for mount in record.mounts.iter().filter(to_look_up) {
        let source = PathBuf::from(&mount.source);
        if !patience::may_hang(&source) {
            continue;
        }
        let hangs = tokio::task::spawn_blocking(move || patience::hangs(&source)).await.ok().flatten();
        if let Some(why) = hangs {
            return Err(Refusal::new(proto::Kind::TimedOut, format!("statfs {}: {why}", mount.source)));
        }
    }
    Ok(())
}

fn look_up(mount: &Mount) -> Result<PathBuf> {
    let path = PathBuf::from(&mount.source);
    match fs::metadata(&path) {
        Ok(_) => Ok(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound && mount.create_source => {
            fs::create_dir_all(&path).map_err(|error| refuse(mount, error))?;
            Ok(path)
        }
        Err(error) => Err(Refusal::invalid(format!("statfs {}: {}", mount.source, words(&error))).about(&mount.source)),
    }
}

/// The kernel's words without Rust's "(os error 2)".
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Detaches what [`bind`] attached.
pub(super) fn release(run_dir: &Path) {
    for entry in fs::read_dir(run_dir.join(BINDS)).into_iter().flatten().flatten() {
        // Not mounted is as good as unmounted; the caller removes the directory.
        let _ = umount2(&entry.path(), MntFlags::MNT_DETACH);
    }
}
