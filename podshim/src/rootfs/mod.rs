//! Root file systems: unpacked layers and a writable directory as one tree, by overlayfs.
//!
//! The new mount API takes one layer per call and has no limit for all of them together. Where it is too old for that
//! (before Linux 6.8) mount(2) does it, whose options must fit into a page: layers are then named by their descriptors.

use std::{
    collections::HashSet,
    ffi::CString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{
            ffi::OsStrExt,
            fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown},
        },
    },
    path::{Path, PathBuf},
};

use proto::{Kind, Refusal, refusal::Result};
use rustix::{
    fs::CWD,
    io::Errno,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

use crate::config::IMPLIED_ROOT;

/// Options that do not depend on the host's configuration: what a module parameter switches on must not decide whether a
/// layer can be read by another engine, or twice.
const OPTIONS: [(&str, &str); 2] = [("index", "off"), ("metacopy", "off")];
/// fsconfig(2) takes values of up to 255 bytes.
const MAX_VALUE: usize = 255;
/// mount(2) takes options of up to a page.
const MAX_OPTIONS: usize = 4095;

/// What becomes of the files that a run writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// They are as safe as on the disk below.
    Safe,
    /// They go with the container (`--rm`): nothing of them is ever forced to the disk (overlayfs' "volatile").
    Volatile,
}

/// Whether something is mounted at `target` in the mount namespace of this process.
pub fn is_mounted(target: &Path) -> bool {
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    device(target).is_some_and(|inside| target.parent().and_then(device) != Some(inside))
}

/// Mounts an overlay of `layers` (bottom first) with `upper` and `work` at `target`, all of which are made, in the mount
/// namespace of this process.
///
/// The root has owner and mode of the topmost layer that says something of it. An `upper` that is there already is used
/// as it is.
///
/// # Errors
/// When a layer is missing, or the kernel refuses; its words are shown.
pub fn mount(layers: &[PathBuf], upper: &Path, work: &Path, target: &Path, keep: Keep) -> Result<()> {
    let failed = |what: &Path, error: io::Error| {
        let text = error.to_string();
        let words = text.split(" (os error").next().unwrap_or_default();
        Refusal::new(Kind::Internal, format!("mounting the root file system: {}: {words}", what.display()))
    };
    if layers.is_empty() {
        return Err(Refusal::new(Kind::Invalid, "the image has no layers: there is nothing to run in it"));
    }
    let layers = without_repeats(layers);
    let mut open = Vec::with_capacity(layers.len());
    for layer in &layers {
        open.push(open_directory(layer).map_err(|error| failed(layer, error))?);
    }
    make_upper(&open, upper).map_err(|error| failed(upper, error))?;
    if keep == Keep::Volatile && work.exists() {
        // An earlier volatile mount has left its mark there, and overlayfs would refuse another.
        fs::remove_dir_all(work).map_err(|error| failed(work, error))?;
    }
    for dir in [work, target] {
        fs::create_dir_all(dir).map_err(|error| failed(dir, error))?;
    }
    let stack = Stack {
        layers: layers.iter().copied().zip(&open).collect(),
        upper: (upper, &open_directory(upper).map_err(|error| failed(upper, error))?),
        work: (work, &open_directory(work).map_err(|error| failed(work, error))?),
        keep,
    };
    match stack.mount_new(target) {
        // No such call or no such option: an older kernel, or one that hides them.
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL | libc::EPERM)) => {
            stack.mount_old(target)
        }
        other => other,
    }
    .map_err(|error| failed(target, error))
}

/// Unmounts `target` (detached) and removes the directory; not mounted or not there is fine.
///
/// Before it lets go of an overlay the kernel writes out all of the disk below (syncfs(2)), and that takes as long as
/// others keep the disk busy. A thread of its own waits for that: here the tree is only gone from sight.
///
/// # Errors
/// When it cannot be unmounted.
pub fn unmount(target: &Path) -> Result<()> {
    let failed = |error: io::Error| Refusal::internal(format_args!("unmounting {}", target.display()), error);
    let held =
        OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(target);
    loop {
        match rustix::mount::unmount(target, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Mounted once more below: off with all of them.
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOENT) => break,
            Err(error) => return Err(failed(error.into())),
        }
    }
    if let Ok(held) = held {
        // Where there can be no thread it is dropped here, and waited for.
        let _ = std::thread::Builder::new().name("unmount".to_owned()).spawn(move || drop(held));
    }
    match fs::remove_dir(target) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        _ => Ok(()),
    }
}

/// The layers top first, each once: overlayfs refuses one that comes twice (docker's empty layer does), and all that the
/// lower one has is hidden by the upper one.
fn without_repeats(layers: &[PathBuf]) -> Vec<&Path> {
    let mut seen = HashSet::new();
    layers.iter().rev().map(PathBuf::as_path).filter(|layer| seen.insert(*layer)).collect()
}

fn open_directory(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
}

/// Makes the writable directory with the owner and mode that the image wants for its root. `layers` is top first.
fn make_upper(layers: &[File], upper: &Path) -> io::Result<()> {
    if upper.is_dir() {
        return Ok(());
    }
    if let Some(parent) = upper.parent() {
        fs::create_dir_all(parent)?;
    }
    let says_nothing = |layer: &&File| rustix::fs::fgetxattr(layer, IMPLIED_ROOT, &mut [0_u8; 8]).is_ok();
    let root = match layers.iter().find(|layer| !says_nothing(layer)) {
        Some(layer) => Some(layer.metadata()?),
        None => None,
    };
    // Under another name until it is right: a half-made one would be used as it is.
    let mut name = upper.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = upper.with_file_name(name);
    match fs::create_dir(&new) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let (uid, gid, mode) = root.map_or((0, 0, 0o755), |root| (root.uid(), root.gid(), root.mode() & 0o7777));
    chown(&new, Some(uid), Some(gid))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(mode))?;
    fs::rename(&new, upper)
}

/// What is stacked, top first: each with the path it has and a descriptor of it.
struct Stack<'a> {
    layers: Vec<(&'a Path, &'a File)>,
    upper: (&'a Path, &'a File),
    work: (&'a Path, &'a File),
    keep: Keep,
}

/// The name of a directory by its descriptor: short, and without a character that options are parted by.
fn by_descriptor(file: &File) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

impl Stack<'_> {
    /// By fsopen(2).
    fn mount_new(&self, target: &Path) -> io::Result<()> {
        let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let result = (|| {
            fsconfig_set_string(&context, "source", "overlay")?;
            for (path, file) in &self.layers {
                set_path(&context, "lowerdir+", path, file)?;
            }
            set_path(&context, "upperdir", self.upper.0, self.upper.1)?;
            set_path(&context, "workdir", self.work.0, self.work.1)?;
            for (key, value) in OPTIONS {
                fsconfig_set_string(&context, key, value)?;
            }
            if self.keep == Keep::Volatile {
                fsconfig_set_flag(&context, "volatile")?;
            }
            fsconfig_create(&context)
        })();
        result.map_err(|error| explained(error, &context))?;
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        Ok(move_mount(&mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
    }

    /// By mount(2).
    fn mount_old(&self, target: &Path) -> io::Result<()> {
        let lower: Vec<String> = self.layers.iter().map(|(_, file)| by_descriptor(file)).collect();
        let mut options = format!(
            "lowerdir={},upperdir={},workdir={}",
            lower.join(":"),
            by_descriptor(self.upper.1),
            by_descriptor(self.work.1)
        );
        for (key, value) in OPTIONS {
            options.push_str(&format!(",{key}={value}"));
        }
        if self.keep == Keep::Volatile {
            options.push_str(",volatile");
        }
        if options.len() > MAX_OPTIONS {
            return Err(io::Error::other(format!(
                "{} layers are more than this kernel can stack: use Linux 6.8 or later",
                self.layers.len()
            )));
        }
        let options = CString::new(options)?;
        Ok(rustix::mount::mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?)
    }
}

/// Sets an option to a path, or to the name of its descriptor where the path cannot be a value.
fn set_path(context: impl AsFd, key: &str, path: &Path, file: &File) -> rustix::io::Result<()> {
    let bytes = path.as_os_str().as_bytes();
    if bytes.len() > MAX_VALUE || bytes.contains(&b'\\') || !path.is_absolute() {
        return fsconfig_set_string(context, key, by_descriptor(file));
    }
    fsconfig_set_string(context, key, path)
}

/// The words the kernel keeps with a file system context that failed.
fn explained(error: Errno, context: impl AsFd) -> io::Error {
    let mut words = [0; 512];
    match rustix::io::read(context, &mut words) {
        // "e overlay: …": e is for error. The number must stay readable where the caller decides by it.
        Ok(length) if !matches!(error, Errno::INVAL | Errno::PERM | Errno::NOSYS) => {
            let words = String::from_utf8_lossy(&words[..length]);
            let words = words.trim().trim_start_matches("e ").to_owned();
            io::Error::other(format!("{words}: {}", io::Error::from(error)))
        }
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// Runs `test` in a mount namespace of its own, which ends with its thread.
    fn alone(test: impl FnOnce(&Path) + Send) {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let dir = tempfile::tempdir().expect("tempdir");
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS | nix::sched::CloneFlags::CLONE_FS)
                    .expect("a mount namespace (root)");
                nix::mount::mount(
                    None::<&str>,
                    "/",
                    None::<&str>,
                    nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
                    None::<&str>,
                )
                .expect("private");
                test(dir.path());
            });
        });
    }

    fn layers(dir: &Path, count: usize) -> Vec<PathBuf> {
        (0..count)
            .map(|number| {
                let layer = dir.join(format!("{}{number:03}", "layer-".repeat(10)));
                fs::create_dir(&layer).expect("dir");
                fs::write(layer.join(format!("file-{number}")), number.to_string()).expect("write");
                fs::write(layer.join("same"), number.to_string()).expect("write");
                layer
            })
            .collect()
    }

    fn check(dir: &Path, layers: &[PathBuf], mount: impl Fn(&Stack<'_>, &Path) -> io::Result<()>) {
        let [upper, work, target] = ["upper", "work", "target"].map(|name| dir.join(name));
        for dir in [&upper, &work, &target] {
            fs::create_dir_all(dir).expect("dir");
        }
        let files: Vec<File> = layers.iter().rev().map(|path| open_directory(path).expect("open")).collect();
        let (upper_file, work_file) = (open_directory(&upper).expect("open"), open_directory(&work).expect("open"));
        let stack = Stack {
            layers: layers.iter().rev().zip(&files).map(|(path, file)| (path.as_path(), file)).collect(),
            upper: (&upper, &upper_file),
            work: (&work, &work_file),
            keep: Keep::Safe,
        };
        mount(&stack, &target).expect("mount");
        let top = layers.len() - 1;
        assert_eq!(fs::read_to_string(target.join("same")).expect("read"), top.to_string());
        assert_eq!(fs::read_to_string(target.join("file-0")).expect("read"), "0");
        fs::write(target.join("new"), "x").expect("write");
        assert!(upper.join("new").exists());
        unmount(&target).expect("unmount");
        assert!(!target.exists());
        unmount(&target).expect("not there is fine");
    }

    #[test]
    fn two_hundred_layers_by_either_call() {
        alone(|dir| {
            let layers = layers(dir, 200);
            check(dir, &layers, |stack, target| stack.mount_new(target));
            check(dir, &layers, |stack, target| stack.mount_old(target));
        });
    }

    #[test]
    fn odd_paths_are_no_options() {
        alone(|dir| {
            let odd = dir.join(format!("a,b:c\\d{}", "x".repeat(240)));
            fs::create_dir(&odd).expect("dir");
            let layers = layers(&odd, 2);
            check(&odd, &layers, |stack, target| stack.mount_new(target));
            check(&odd, &layers, |stack, target| stack.mount_old(target));
        });
    }

    #[test]
    fn the_root_is_as_the_image_says() {
        alone(|dir| {
            let layers = layers(dir, 3);
            chown(&layers[1], Some(5), Some(6)).expect("chown");
            fs::set_permissions(&layers[1], fs::Permissions::from_mode(0o1750)).expect("chmod");
            rustix::fs::setxattr(&layers[2], IMPLIED_ROOT, b"y", rustix::fs::XattrFlags::empty()).expect("xattr");
            let [upper, work, target] = ["c/upper", "c/work", "c/target"].map(|name| dir.join(name));
            mount(&layers, &upper, &work, &target, Keep::Safe).expect("mount");
            let root = fs::metadata(&target).expect("stat");
            assert_eq!((root.uid(), root.gid(), root.mode() & 0o7777), (5, 6, 0o1750));
            fs::write(target.join("kept"), "x").expect("write");
            unmount(&target).expect("unmount");
            fs::set_permissions(&upper, fs::Permissions::from_mode(0o700)).expect("chmod");
            mount(&layers, &upper, &work, &target, Keep::Safe).expect("again");
            assert_eq!(fs::metadata(&target).expect("stat").mode() & 0o7777, 0o700, "an upper that is there is kept");
            assert!(target.join("kept").exists());
            unmount(&target).expect("unmount");
            let twice = [layers[0].clone(), layers[1].clone(), layers[0].clone()];
            mount(&twice, &dir.join("d/upper"), &work, &target, Keep::Safe).expect("a layer that comes twice");
            assert_eq!(fs::read_to_string(target.join("same")).expect("read"), "0");
            assert_eq!(fs::read_to_string(target.join("file-1")).expect("read"), "1");
            unmount(&target).expect("unmount");
        });
    }

    #[test]
    fn what_goes_with_the_container_can_be_mounted_again() {
        alone(|dir| {
            let layers = layers(dir, 2);
            let [upper, work, target] = ["v/upper", "v/work", "v/target"].map(|name| dir.join(name));
            for run in ["first", "second"] {
                mount(&layers, &upper, &work, &target, Keep::Volatile).expect(run);
                fs::write(target.join(run), run).expect("write");
                assert!(work.join("work/incompat/volatile").exists());
                unmount(&target).expect("unmount");
            }
            assert!(upper.join("first").exists() && upper.join("second").exists());
        });
    }

    #[test]
    fn what_cannot_be_mounted_is_named() {
        alone(|dir| {
            let layers = layers(dir, 1);
            let paths = |name: &str| dir.join(name);
            let missing = [layers[0].clone(), paths("missing")];
            let error = mount(&missing, &paths("u"), &paths("w"), &paths("t"), Keep::Safe).expect_err("missing");
            assert!(error.message.contains("missing") && !error.message.contains('\n'), "{}", error.message);
            symlink(&layers[0], paths("link")).expect("link");
            assert!(
                mount(&[paths("link")], &paths("u"), &paths("w"), &paths("t"), Keep::Safe).is_err(),
                "a link is no layer"
            );
            assert!(mount(&[], &paths("u"), &paths("w"), &paths("t"), Keep::Safe).is_err());
        });
    }
}
