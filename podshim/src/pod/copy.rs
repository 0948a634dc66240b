//! Files in and out of a member (`cp`), whatever its state.
//!
//! A member that is up is entered by the root of its first process: what is mounted there is what it sees. One that is
//! not has its root file system and volumes mounted for the time of the copy, and its turn is held for as long, so that
//! it is not started meanwhile: a root file system is never mounted twice.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use nix::{
    fcntl::{OFlag, open},
    sys::stat::Mode,
};
use proto::{
    Id, Kind, Refusal,
    alive::Process,
    failpoint::{self, Point},
    record::ContainerRecord,
    refusal::Result,
    wire::{LocatePath, Mount, PackPath, PathLocated, UnpackArchive, mount},
};
use rustix::{
    fs::CWD,
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree},
};

use tokio::time::timeout;

use super::{
    Pod,
    record::make_dir,
    sources::{self, Opened, Places},
    volumes,
};
use crate::{
    bundle::{self, BoundMount},
    image::plain::{Cancel, Plain},
    rootfs::{self, Keep},
    transfer,
};

/// How long a monitor whose container has ended may need to record it and go.
const RECORDED: Duration = Duration::from_secs(15);

/// The root of a container.
struct Root {
    fd: OwnedFd,
    /// Uid and gid of its user; `None` where the files do not know it.
    owner: Option<(u32, u32)>,
    workdir: PathBuf,
}

impl Root {
    fn open(path: &Path, record: &ContainerRecord) -> io::Result<Root> {
        let fd = open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        let owner = bundle::owner(record, Path::new(&format!("/proc/self/fd/{}/.", fd.as_raw_fd()))).ok();
        Ok(Root { fd, owner, workdir: Path::new("/").join(&record.workdir) })
    }
}

impl Pod {
    /// What is at a path of a member.
    ///
    /// # Errors
    /// When its root cannot be had, or links do not end.
    pub async fn locate(self: &Arc<Self>, id: &Id, request: LocatePath) -> Result<PathLocated> {
        self.in_root(id, move |root| {
            let path = root.workdir.join(&request.path);
            located(root.fd.as_fd(), &path)
        })
        .await
    }

    /// Writes what is at a path of a member to `out` as tar.
    ///
    /// # Errors
    /// [`Kind::Gone`] when nobody reads it any more.
    pub async fn pack(self: &Arc<Self>, id: &Id, request: PackPath, out: OwnedFd) -> Result<()> {
        self.in_root(id, move |root| packed(root.fd.as_fd(), &request, out)).await
    }

    /// Makes files of the tar archive in `from`.
    ///
    /// # Errors
    /// [`Kind::Gone`] when the archive breaks off.
    pub async fn unpack(self: &Arc<Self>, id: &Id, request: UnpackArchive, from: OwnedFd) -> Result<()> {
        self.in_root(id, move |root| {
            let owner = match (request.chown, root.owner) {
                (false, _) => None,
                (true, Some(owner)) => Some(owner),
                (true, None) => {
                    return Err(Refusal::invalid(
                        "the container's user is not in its /etc/passwd: use --archive=false to keep the owners",
                    ));
                }
            };
            unpacked(root.fd.as_fd(), &request, from, owner, false)
        })
        .await
    }

    /// Runs `work`, which may take as long as it likes, in the root of a member.
    async fn in_root<T: Send + 'static>(
        self: &Arc<Self>,
        id: &Id,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (record, found) = self.container(id)?;
        if let Some(init) = found.init().cloned() {
            return blocking(move || work(&root_of(&init, &record)?)).await;
        }
        let turn = self.turn(id);
        let _turn = turn.lock_owned().await;
        let (record, found) = self.container(id)?;
        if let Some(init) = found.init().cloned() {
            // Started meanwhile; it keeps its turn free.
            drop(_turn);
            return blocking(move || work(&root_of(&init, &record)?)).await;
        }
        if let Some(monitor) = self.monitors.get(id) {
            // Its end is being recorded. Between two runs of a restart policy it is not, and the root is mounted.
            let over = !found.state.is_alive() && timeout(RECORDED, monitor.ended()).await.is_ok();
            if !over {
                return Err(Refusal::new(
                    Kind::WrongState,
                    format!("container {} is between two states: try again: container state improper", record.name),
                ));
            }
        }
        let pod = self.clone();
        blocking(move || {
            let result = pod.mount_at_rest(&record).and_then(|root| work(&root));
            failpoint::pass(Point::CopyDone);
            pod.tear_down(&record);
            result
        })
        .await
    }

    /// Mounts the root file system of a member that is not up, and in it its volumes and what it binds of the host.
    fn mount_at_rest(&self, record: &ContainerRecord) -> Result<Root> {
        self.tear_down(record);
        let roots = &self.engine.roots;
        let broken = |error: io::Error| Refusal::internal(format!("mounting container {}", record.name), error);
        let run = roots.run_container(&self.id, &record.id);
        make_dir(&run).map_err(broken)?;
        let dir = roots.container(&self.id, &record.id);
        failpoint::refuse(Point::CopyDir)?;
        let target = roots.rootfs(&self.id, &record.id);
        match &record.image {
            Some(used) => {
                let image = self.images.resolve(&used.id)?;
                rootfs::mount(&image.layers, &dir.join("upper"), &dir.join("work"), &target, Keep::Safe)?;
            }
            None => sources::root(&mut Opened::default(), &record.config.rootfs, &target)?,
        }
        let root = open(&target, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|error| broken(error.into()))?;
        failpoint::refuse(Point::CopyMounted)?;
        let there = |mount: &Mount| match mount.kind() {
            mount::Kind::Volume => true,
            // A source that has gone hides nothing; to start the container would be refused.
            mount::Kind::Bind => fs::metadata(&mount.source).is_ok(),
            mount::Kind::Tmpfs | mount::Kind::Devpts | mount::Kind::Image => false,
        };
        let mut shown = record.clone();
        shown.mounts.retain(there);
        let mounted = &volumes::provide(roots, &self.volumes, &shown, &run)?;
        let places = Places { volumes: &self.volumes, images: &self.images, run_dir: &run, rootfs: &target, mounted };
        let mut bound = sources::bind(&shown, &mut Opened::default(), &places)?;
        bound.sort_by_key(|bound| Path::new(&bound.mount.destination).components().count());
        for bound in &bound {
            attach(&root, bound).map_err(broken)?;
        }
        Root::open(&target, record).map_err(broken)
    }
}

/// Attaches a mount in `root`, at a place that is found, or made, inside it.
fn attach(root: &OwnedFd, bound: &BoundMount) -> io::Result<()> {
    let file = !fs::metadata(&bound.source)?.is_dir();
    let place = transfer::place(root, Path::new(&bound.mount.destination), file)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(CWD, &bound.source, flags)?;
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &place, "", empty)?;
    if bound.mount.options.iter().any(|option| option == "ro" || option == "readonly") {
        let path = format!("/proc/self/fd/{}", tree.as_raw_fd());
        mount_remount(path, MountFlags::BIND | MountFlags::RDONLY, "")?;
    }
    Ok(())
}

/// The root of the container whose first process is `init`, as it sees it.
fn root_of(init: &Process, record: &ContainerRecord) -> Result<Root> {
    let gone = || Refusal::new(Kind::WrongState, format!("container {} has just ended: try again", record.name));
    let root = Root::open(Path::new(&format!("/proc/{}/root", init.pid)), record).map_err(|_| gone())?;
    // Looked at after it was opened: so it was this process' root.
    if init.is_alive() { Ok(root) } else { Err(gone()) }
}

/// Runs `work`, which reads and writes files, beside the loop.
///
/// # Errors
/// Those of `work`.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Refusal::internal("the copy broke off", error)))
}

/// What is at `path` in `root`.
///
/// # Errors
/// When links do not end.
pub fn located(root: BorrowedFd<'_>, path: &Path) -> Result<PathLocated> {
    let found = transfer::locate(root, path).map_err(|error| Refusal::invalid(transfer::words(&error)))?;
    Ok(PathLocated {
        found: found.found,
        directory: found.directory,
        parent: found.parent,
        path: found.path.as_os_str().as_bytes().to_vec(),
    })
}

/// Writes what `request` names in `root` to `out`.
///
/// # Errors
/// [`Kind::Gone`] when nobody reads it any more.
pub fn packed(root: BorrowedFd<'_>, request: &PackPath, out: OwnedFd) -> Result<()> {
    let path = Path::new(OsStr::from_bytes(&request.path));
    transfer::pack(root, path, OsStr::from_bytes(&request.name), File::from(out)).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Refusal::new(Kind::Gone, "nobody reads the archive any more"),
        _ => Refusal::invalid(format!("copying {}: {}", path.display(), transfer::words(&error))),
    })
}

/// Makes files in `root` of the archive in `from`, which may be compressed. `harmless`: no file is set-uid.
///
/// # Errors
/// [`Kind::Gone`] when the archive breaks off.
pub fn unpacked(
    root: BorrowedFd<'_>,
    request: &UnpackArchive,
    from: OwnedFd,
    owner: Option<(u32, u32)>,
    harmless: bool,
) -> Result<()> {
    let path = Path::new(OsStr::from_bytes(&request.directory));
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => Refusal::new(Kind::Gone, "the archive breaks off"),
        _ => Refusal::invalid(format!("copying to {}: {}", path.display(), transfer::words(&error))),
    };
    let directory = transfer::directory(root, path).map_err(failed)?;
    let target = transfer::Target { directory: directory.as_fd(), owner, overwrite: request.overwrite, harmless };
    let archive = Plain::new(File::from(from), &Cancel::default()).map_err(failed)?;
    transfer::unpack(archive, &target).map_err(failed)
}
