//! The images that the tests run, built once per machine from Debian's packages and kept in `.cache/`.
//!
//! | name | in the role of | made of |
//! |---|---|---|
//! | [`ALPINE`] | docker.io/library/alpine:latest, a list of two machines | busybox-static |
//! | [`NGINX`] | docker.io/library/nginx:latest | the above, nginx and curl as Debian packs them |
//! | [`BANNER`] | quay.io/libpod/banner:latest | the above and a page |
//! | [`SOCAT`] | localhost/socat:latest, in no registry | the first and socat: servers that busybox has not |
//! | [`DEBIAN`] | docker.io/library/debian:latest | mmdebstrap's `essential` |
//!
//! Each is there as a docker-archive ([`archive`]) and in a registry's storage ([`storage`]).

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::{Context, Result, ensure};
use nix::fcntl::{Flock, FlockArg};
use serde_json::json;

use crate::{
    image::{Form, Image, Layer, digest},
    programs,
};

/// A shell and two hundred small programs.
pub const ALPINE: &str = "docker.io/library/alpine:latest";
/// A web server.
pub const NGINX: &str = "docker.io/library/nginx:latest";
/// A web server with something to say.
pub const BANNER: &str = "quay.io/libpod/banner:latest";
/// A shell and socat, which serves UDP too.
pub const SOCAT: &str = "localhost/socat:latest";
/// bash, coreutils, glibc.
pub const DEBIAN: &str = "docker.io/library/debian:latest";

/// What the banner says.
pub const BANNER_TEXT: &str = "___ podctl ___";

/// The docker-archive of one of the images.
pub fn archive(name: &str) -> PathBuf {
    ready().join(file_name(name))
}

/// The lowest layer of one of the images, as a tar archive.
///
/// # Panics
/// When the archive is none.
pub fn layer(name: &str) -> Vec<u8> {
    let mut archive = tar::Archive::new(File::open(archive(name)).expect("archive"));
    for entry in archive.entries().expect("entries") {
        let mut entry = entry.expect("entry");
        if entry.path().is_ok_and(|path| path.ends_with("layer.tar")) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("layer");
            return bytes;
        }
    }
    panic!("{name} has no layer");
}

/// A directory that docker-registry can serve.
pub fn storage() -> PathBuf {
    ready().join("registry")
}

/// The directory with all of it; builds what is missing.
///
/// # Panics
/// When it cannot be built: it needs Debian's packages and the programs that `make setup` installs.
pub fn ready() -> &'static Path {
    static READY: OnceLock<PathBuf> = OnceLock::new();
    READY.get_or_init(|| build().unwrap_or_else(|error| panic!("the test images cannot be built: {error:#}")))
}

fn file_name(name: &str) -> String {
    let short = name.rsplit('/').next().unwrap_or(name);
    format!("{}.tar", short.split(':').next().unwrap_or(short))
}

fn build() -> Result<PathBuf> {
    let cache = programs::workspace().join(".cache");
    std::fs::create_dir_all(&cache)?;
    let cache = cache.canonicalize()?;
    let recipe = digest([include_str!("images.rs"), include_str!("image.rs")].concat().as_bytes());
    let home = cache.join(format!("images-{}", &recipe["sha256:".len()..][..12]));
    let lock = File::create(cache.join("lock")).context("lock of the image cache")?;
    let _until_built = Flock::lock(lock, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
    if home.is_dir() {
        return Ok(home);
    }
    let work = cache.join("building");
    if work.exists() {
        std::fs::remove_dir_all(&work)?;
    }
    std::fs::create_dir(&work)?;
    make(&work)?;
    for old in std::fs::read_dir(&cache)?.flatten() {
        if old.file_name().to_string_lossy().starts_with("images-") {
            std::fs::remove_dir_all(old.path())?;
        }
    }
    std::fs::rename(&work, &home)?;
    Ok(home)
}

fn make(work: &Path) -> Result<()> {
    let (packages, base) = std::thread::scope(|scope| {
        let packages = scope.spawn(|| debian("extract", &["--include=nginx,curl,socat"], &work.join("packages")));
        let base = scope.spawn(|| debian("essential", SLIM, &work.join("base")));
        (packages.join().expect("a thread"), base.join().expect("a thread"))
    });
    packages?;
    base?;
    let registry = work.join("registry");
    let put = |name: &str, image: &Image, form: Form| -> Result<()> {
        let (repository, tag) = in_registry(name);
        image.docker_archive(&work.join(file_name(name)), &[name])?;
        Ok(image.published(form).store(&registry, repository, tag)?)
    };

    let alpine = Image::new().layer(busybox()?).set("Cmd", json!(["/bin/sh"]));
    put(ALPINE, &alpine, Form::Oci)?;
    // What must not be chosen comes first in the list.
    let wrong = Image::new().layer(Layer::new().file("wrong-machine", 0o644, "")).for_architecture("s390x");
    let (repository, tag) = in_registry(ALPINE);
    Image::list(&[wrong, alpine.clone()], Form::Oci).store(&registry, repository, tag)?;

    let socat = libraries(&["usr/bin/socat"], &work.join("packages"))?;
    let socat = Layer::new().archive(File::open(work.join("packages"))?, |name| socat.contains(name))?;
    alpine.clone().layer(socat).docker_archive(&work.join(file_name(SOCAT)), &[SOCAT])?;

    let nginx = alpine
        .layer(nginx(&work.join("packages"))?)
        .set("Cmd", json!(["nginx", "-g", "daemon off;"]))
        .set("ExposedPorts", json!({"80/tcp": {}}))
        .set("StopSignal", json!("SIGQUIT"));
    put(NGINX, &nginx, Form::Docker)?;
    let page = Layer::new().file("usr/share/nginx/html/index.html", 0o644, format!("{BANNER_TEXT}\n"));
    put(BANNER, &nginx.layer(page), Form::Oci)?;

    let everything_but_devices = |name: &str| !name.starts_with("dev/");
    let base = Layer::new().archive(File::open(work.join("base"))?, everything_but_devices)?;
    put(DEBIAN, &Image::new().layer(base).set("Cmd", json!(["bash"])), Form::Docker)?;
    for left in ["packages", "base"] {
        std::fs::remove_file(work.join(left))?;
    }
    Ok(())
}

/// `docker.io/library/alpine:latest` → `library/alpine`, `latest`
fn in_registry(name: &str) -> (&str, &str) {
    let path = name.split_once('/').map_or(name, |(_, path)| path);
    path.split_once(':').unwrap_or((path, "latest"))
}

const SLIM: &[&str] = &[
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/zoneinfo/*",
    "--customize-hook=rm -rf $1/var/lib/apt/lists $1/var/cache/apt $1/var/log/dpkg.log",
];

fn debian(variant: &str, options: &[&str], output: &Path) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--quiet", "--format=tar", &format!("--variant={variant}")])
        .args(options)
        .arg("bookworm")
        .arg(output);
    let output = command.output().context("mmdebstrap (Debian package mmdebstrap)")?;
    ensure!(output.status.success(), "mmdebstrap: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn busybox() -> Result<Layer> {
    let path = ["/bin/busybox", "/usr/bin/busybox"].iter().find(|path| Path::new(path).exists());
    let path = path.context("no busybox (Debian package busybox-static)")?;
    let list = Command::new(path).arg("--list").output()?;
    let mut layer = Layer::new();
    for directory in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "usr/bin", "var", "var/log"] {
        layer = layer.directory(directory);
    }
    layer = layer
        .entry("tmp", tar::EntryType::Directory, 0o1777, None, b"")
        .file("bin/busybox", 0o755, std::fs::read(path)?)
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .file(
            "etc/os-release",
            0o644,
            "ID=alpine\nNAME=\"Alpine Linux\"\nPRETTY_NAME=\"Alpine Linux (in its role)\"\n",
        );
    for name in String::from_utf8_lossy(&list.stdout).lines().filter(|name| *name != "busybox") {
        layer = layer.link(&format!("bin/{name}"), "busybox");
    }
    Ok(layer)
}

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/sbin/nologin
nginx:x:101:101:nginx:/nonexistent:/sbin/nologin
user:x:1000:1000:A user:/home:/bin/sh
nobody:x:65534:65534:nobody:/:/sbin/nologin
";
const GROUP: &str = "\
root:x:0:root
daemon:x:1:
staff:x:50:user
nginx:x:101:
user:x:1000:
nogroup:x:65534:
";

fn nginx(packages: &Path) -> Result<Layer> {
    let needed = libraries(&["usr/sbin/nginx", "usr/bin/curl"], packages)?;
    let layer =
        Layer::new().archive(File::open(packages)?, |name| needed.contains(name) || name == "etc/nginx/mime.types")?;
    Ok(layer
        .directory("var/lib/nginx")
        .directory("var/log/nginx")
        .file("etc/nginx/nginx.conf", 0o644, NGINX_CONF)
        .file("usr/share/nginx/html/index.html", 0o644, "<h1>Welcome to nginx!</h1>\n"))
}

const NGINX_CONF: &str = "\
user nginx;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
    include /etc/nginx/mime.types;
    access_log /dev/stdout;
    server { listen 80; root /usr/share/nginx/html; index index.html; }
}
";

/// The loader's well-known name, and the file it is a link to.
const LOADERS: [(&str, &str); 2] = [
    ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
    ("lib/ld-linux-aarch64.so.1", "lib/aarch64-linux-gnu/ld-linux-aarch64.so.1"),
];

/// The programs and, transitively, the shared libraries they name, by their names in the archive.
fn libraries(programs: &[&str], packages: &Path) -> Result<BTreeSet<String>> {
    let unpacked = packages.with_extension("unpacked");
    std::fs::create_dir_all(&unpacked)?;
    tar::Archive::new(File::open(packages)?).unpack(&unpacked)?;
    let mut needed: BTreeSet<String> = programs.iter().map(|&name| name.to_owned()).collect();
    // glibc's loader lists what it would load; the unpacked one, so that the host's versions do not matter.
    let multiarch = format!("{}-linux-gnu", std::env::consts::ARCH);
    let (link, file) =
        LOADERS.iter().find(|(_, file)| unpacked.join(file).exists()).context("no loader among the packages")?;
    needed.extend([(*link).to_owned(), (*file).to_owned()]);
    let path = ["lib", "usr/lib"].map(|lib| unpacked.join(lib).join(&multiarch).display().to_string()).join(":");
    let root = unpacked.canonicalize()?;
    for program in programs {
        let mut command = Command::new(unpacked.join(file));
        command.args(["--library-path", &path, "--list"]).arg(unpacked.join(program));
        let output = command.output().context("the loader of glibc")?;
        ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
        for word in String::from_utf8_lossy(&output.stdout).split_whitespace() {
            let Ok(name) = Path::new(word).strip_prefix(&unpacked) else { continue };
            needed.insert(name.display().to_string());
            // A library's name is a link to its versioned file.
            needed.insert(unpacked.join(name).canonicalize()?.strip_prefix(&root)?.display().to_string());
        }
    }
    std::fs::remove_dir_all(&unpacked)?;
    Ok(needed)
}
