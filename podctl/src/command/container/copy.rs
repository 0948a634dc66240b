//! The two ends of `cp`: each is a path in a container or on the host, asked of the process that can open it.
//!
//! A pod's shim reads and writes in its members; `podshim host` does the same below the root of the caller, which is
//! opened here. Between the two is a pipe.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use proto::{
    Kind, raw,
    wire::{ContainersClient, LocatePath, PackPath, PathLocated, UnpackArchive},
};
use ttrpc::context::Context;

use crate::{
    dial::{Engine, Found, Host, Shim},
    error::{Failure, plain},
};

/// Where one end is.
pub enum Place {
    /// In a container.
    Container {
        /// As it was typed.
        name: String,
        /// Its id.
        id: String,
        /// The shim of its pod.
        shim: Shim,
    },
    /// On the host.
    Host {
        /// The root of this process.
        root: OwnedFd,
        /// Who opens it.
        host: Host,
    },
}

impl Place {
    /// In the container called `name`.
    ///
    /// # Errors
    /// When there is none, or it is an infra.
    pub async fn container(engine: &Engine, name: &str) -> Result<Place, Failure> {
        match engine.container(name)? {
            Found::Infra(_) => Err(super::run::no_infra(name, "copy files of")),
            Found::Container { pod, id } => {
                Ok(Place::Container { name: name.to_owned(), id: id.to_string(), shim: engine.pod(&pod).await? })
            }
        }
    }

    /// On the host, as this process sees it.
    ///
    /// # Errors
    /// When podshim cannot be started.
    pub fn host(engine: &Engine) -> Result<Place, Failure> {
        let root = File::open("/").map_err(|error| Failure::io("open /", &error))?;
        Ok(Place::Host { root: root.into(), host: engine.host()? })
    }

    /// `could not be found on …`
    pub fn missing(&self, path: &str) -> Failure {
        let place = match self {
            Place::Container { name, .. } => format!("container {name}"),
            Place::Host { .. } => "the host".to_owned(),
        };
        Failure::invalid(format!("\"{path}\" could not be found on {place}: no such file or directory"))
    }

    fn client(&self) -> ContainersClient {
        match self {
            Place::Container { shim, .. } => shim.containers(),
            Place::Host { host, .. } => host.containers(),
        }
    }

    fn id(&self) -> String {
        match self {
            Place::Container { id, .. } => id.clone(),
            Place::Host { .. } => String::new(),
        }
    }

    /// Deposits `fds`, and the root where this is the host: the token, and what keeps it valid.
    async fn deposit(&self, fds: &[BorrowedFd<'_>]) -> Result<(String, Option<raw::Raw>), Failure> {
        let words = |error: io::Error| Failure::io("hand descriptors to podshim", &error);
        let token = raw::token().map_err(words)?;
        match self {
            Place::Container { .. } if fds.is_empty() => Ok((String::new(), None)),
            Place::Container { shim, .. } => {
                let connection = shim.raw().map_err(words)?;
                connection.deposit(&token, fds).await.map_err(words)?;
                Ok((token, Some(connection)))
            }
            Place::Host { root, host } => {
                let fds: Vec<BorrowedFd<'_>> = fds.iter().copied().chain([root.as_fd()]).collect();
                host.raw().map_err(words)?.deposit(&token, &fds).await.map_err(words)?;
                Ok((token, None))
            }
        }
    }

    /// What is at `path`; on the host it is absolute.
    ///
    /// # Errors
    /// When links do not end.
    pub async fn locate(&self, path: &str) -> Result<PathLocated, Failure> {
        let (token, _held) = self.deposit(&[]).await?;
        let request = LocatePath { container: self.id(), path: path.to_owned(), token };
        // A container at rest may be a large image to mount on a slow disk, or wait for its start.
        let located = self.client().locate(proto::serve::deadline(crate::dial::ACT), &request).await;
        located.map_err(|error| Failure::from(error).within(path))
    }

    /// Writes what is at `path` to `archive`, under `name`.
    ///
    /// # Errors
    /// [`Kind::Gone`] when nobody reads it any more.
    pub async fn pack(&self, path: Vec<u8>, name: Vec<u8>, archive: OwnedFd) -> Result<(), Failure> {
        let (token, _held) = self.deposit(&[archive.as_fd()]).await?;
        drop(archive);
        let request = PackPath { container: self.id(), path, name, token };
        self.client().pack(Context::default(), &request).await?;
        Ok(())
    }

    /// Makes files in `directory` of `archive`.
    ///
    /// # Errors
    /// [`Kind::Gone`] when it breaks off.
    pub async fn unpack(&self, directory: Vec<u8>, how: How, archive: OwnedFd) -> Result<(), Failure> {
        let (token, _held) = self.deposit(&[archive.as_fd()]).await?;
        drop(archive);
        let request =
            UnpackArchive { container: self.id(), directory, token, chown: how.chown, overwrite: how.overwrite };
        self.client().unpack(Context::default(), &request).await?;
        Ok(())
    }
}

/// How files are made.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// `--archive`
    pub chown: bool,
    /// `--overwrite`
    pub overwrite: bool,
}

/// The failure of two ends of a pipe that tells why: an end that only saw the other go does not know.
pub fn cause(out: Result<(), Failure>, into: Result<(), Failure>) -> Result<(), Failure> {
    match (out, into) {
        (Err(out), Err(into)) if out.kind == Kind::Gone => Err(into),
        (Err(out), _) => Err(out),
        (Ok(()), into) => into,
    }
}

/// A pipe for an archive: its end to read, its end to write.
///
/// # Errors
/// Those of pipe2(2).
pub fn pipe() -> Result<(OwnedFd, OwnedFd), Failure> {
    let pipe = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io::Error::from);
    let pipe = pipe.map_err(|error| Failure::invalid(format!("a pipe for the archive: {}", plain(&error))))?;
    // Larger is faster; where it is not allowed the usual size does.
    let _ = nix::fcntl::fcntl(&pipe.0, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20));
    Ok(pipe)
}
