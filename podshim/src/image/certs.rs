//! Certificates for a registry, as containers-certs.d(5) has them: whom it is trusted by, and who we are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use reqwest::{Certificate, ClientBuilder, Identity};

use super::registry::Failure;

/// Where the directories of registries are; the first that has one for a registry counts.
const PLACES: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
/// Largest file that is taken for certificates, in bytes.
const LARGEST: u64 = 1 << 20;

/// What is in the directory of a registry.
#[derive(Debug, Default)]
pub(super) struct Certs {
    /// `*.crt`: authorities beside those of the machine.
    authorities: Vec<Certificate>,
    /// `*.cert` with its `*.key`: our own.
    own: Option<Identity>,
}

impl Certs {
    /// Those in `dir`, or where none is given those of the machine for `registry` (`HOST[:PORT]`).
    ///
    /// # Errors
    /// When a file cannot be read or is none, naming it.
    pub(super) fn read(dir: Option<&Path>, registry: &str) -> Result<Certs, Failure> {
        let of_machine = || PLACES.iter().map(|place| Path::new(place).join(registry)).find(|dir| dir.is_dir());
        let Some(dir) = dir.map(Path::to_owned).or_else(of_machine) else { return Ok(Certs::default()) };
        let entries = fs::read_dir(&dir).map_err(|error| broken(&dir, error))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
        let mut certs = Certs::default();
        for file in &files {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => {
                    let found = Certificate::from_pem_bundle(&bytes(file)?).map_err(|error| broken(file, error))?;
                    certs.authorities.extend(found);
                }
                Some("cert") => {
                    let key = file.with_extension("key");
                    if !files.contains(&key) {
                        let words = "its key is missing: the name of an authority's certificate ends with .crt";
                        return Err(broken(file, words));
                    }
                    let both = [bytes(&key)?, b"\n".to_vec(), bytes(file)?].concat();
                    certs.own = Some(Identity::from_pem(&both).map_err(|error| broken(file, error))?);
                }
                _ => {}
            }
        }
        Ok(certs)
    }

    /// Has a client use them.
    pub(super) fn apply(self, mut builder: ClientBuilder) -> ClientBuilder {
        if !self.authorities.is_empty() {
            builder = builder.tls_certs_merge(self.authorities);
        }
        match self.own {
            Some(own) => builder.identity(own),
            None => builder,
        }
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    let metadata = fs::metadata(file).map_err(|error| broken(file, error))?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(broken(file, io::Error::from(io::ErrorKind::InvalidData)));
    }
    fs::read(file).map_err(|error| broken(file, error))
}

fn broken(file: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::last(format!("certificates of registries: {}: {why}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_is_named() {
        let dir = tempfile::tempdir().expect("tempdir");
        let read = || Certs::read(Some(dir.path()), "x").map(|certs| certs.authorities.len());
        assert_eq!(read().expect("an empty directory"), 0);
        assert_eq!(Certs::read(None, "no.such.registry:1").expect("none").authorities.len(), 0);
        fs::write(dir.path().join("a.cert"), "x").expect("write");
        assert!(read().expect_err("no key").words.contains("a.cert: its key is missing"));
        fs::write(dir.path().join("a.key"), "x").expect("write");
        assert!(read().expect_err("no certificate").words.contains("a.cert: "));
        fs::create_dir(dir.path().join("A.crt")).expect("mkdir");
        assert!(read().expect_err("a directory").words.contains("A.crt: "));
    }
}
