//! The store: making, finding and removing secrets.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use proto::{
    Id, Kind, Refusal, Roots,
    alive::Lock,
    failpoint::{self, Point},
    record::{self, Durability, SCHEMA},
    refusal::Result,
    time,
};
use serde::{Deserialize, Serialize};

/// Largest secret in bytes (podman-secret-create(1)).
const LARGEST: usize = 512_000;
/// Digits of a secret's id, as podman has it.
const ID_LENGTH: usize = 25;

/// `secret.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Schema of its writer.
    pub schema: u32,
    /// Its id, 25 hex digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was created, ns since the epoch.
    pub created: i64,
    /// When what it holds last changed.
    pub updated: i64,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Options of the driver, as typed.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// The store of secrets.
#[derive(Clone, Debug)]
pub struct Secrets {
    dir: PathBuf,
}

impl Secrets {
    /// Opens it; makes nothing.
    pub fn open(roots: &Roots) -> Secrets {
        Secrets { dir: roots.secrets() }
    }

    /// Where they are, a directory each.
    pub(super) fn directory(&self) -> &Path {
        &self.dir
    }

    /// Keeps `data` as the secret `new.name`; with `replace` in the place of the one there is. `new` is without id and
    /// times.
    ///
    /// # Errors
    /// In podman's words, when the name is none or in use, or there is nothing or too much to keep.
    pub fn create(&self, new: SecretRecord, data: &[u8], replace: bool) -> Result<SecretRecord> {
        check_name(&new.name)?;
        if data.is_empty() || data.len() >= LARGEST {
            let words = format!("secret data must be larger than 0 and less than {LARGEST} bytes: invalid secret data");
            return Err(Refusal::invalid(words).about(&new.name));
        }
        let failed = |error: io::Error| Refusal::internal(format!("creating secret {}", new.name), error);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(failed)?;
        let _lock = self.lock()?;
        self.collect()?;
        let old = self.list()?.into_iter().find(|secret| secret.name == new.name);
        if old.is_some() && !replace {
            return Err(Refusal::new(Kind::NameInUse, format!("{}: secret name in use", new.name)).about(&new.name));
        }
        let id = String::from(Id::random().map_err(failed)?);
        let now = time::now();
        let record = SecretRecord { schema: SCHEMA, id: id[..ID_LENGTH].to_owned(), created: now, updated: now, ..new };
        self.write(&record, data)
            .map_err(|error| Refusal::internal(format!("creating secret {}", record.name), error))?;
        failpoint::pass(Point::SecretRecorded);
        if let Some(old) = old {
            self.delete(&old)?;
        }
        Ok(record)
    }

    fn write(&self, record: &SecretRecord, data: &[u8]) -> io::Result<()> {
        use std::io::Write;
        let dir = self.dir.join(&record.id);
        let written = (|| {
            DirBuilder::new().mode(0o700).create(&dir)?;
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join("data"))?;
            file.write_all(data)?;
            file.sync_all()?;
            failpoint::check(Point::SecretData)?;
            // Last: a directory without a record is nothing.
            record::write(&dir.join("secret.json"), record, Durability::Durable)
        })();
        if written.is_err() {
            // The cause is what counts.
            let _ = fs::remove_dir_all(&dir);
        }
        written
    }

    /// All secrets, by name.
    ///
    /// # Errors
    /// When the store is there and cannot be read.
    pub fn list(&self) -> Result<Vec<SecretRecord>> {
        let (all, rubbish) = self.read()?;
        if !rubbish.is_empty()
            && let Ok(Some(_lock)) = Lock::try_take(&self.dir.join(".lock"))
        {
            self.collect()?;
        }
        Ok(all)
    }

    /// All secrets, by name, and the directories of what was cut off on its way in or out. Needs the lock where those count.
    fn read(&self) -> Result<(Vec<SecretRecord>, Vec<PathBuf>)> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Default::default()),
            entries => entries.map_err(|error| Refusal::internal("the store of secrets", error))?,
        };
        let (mut all, mut rubbish): (Vec<SecretRecord>, Vec<PathBuf>) = Default::default();
        for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            match record::read::<SecretRecord>(&entry.path().join("secret.json")) {
                Ok(record) => all.push(record),
                Err(error) if error.kind() == io::ErrorKind::NotFound => rubbish.push(entry.path()),
                // It is not known what it is: it stays.
                Err(_) => {}
            }
        }
        // Of two with one name the newer one was to replace the other.
        all.sort_by(|a, b| (&a.name, b.created).cmp(&(&b.name, a.created)));
        all.dedup_by(|old, new| {
            let replaced = old.name == new.name;
            if replaced {
                rubbish.push(self.dir.join(&old.id));
            }
            replaced
        });
        Ok((all, rubbish))
    }

    /// Removes what was cut off. Needs the lock.
    fn collect(&self) -> Result<()> {
        for path in self.read()?.1 {
            let _ = fs::remove_file(path.join("secret.json"));
            // The next one tries.
            let _ = fs::remove_dir_all(path);
        }
        Ok(())
    }

    /// The secret of that name or id, or whose id alone begins so.
    ///
    /// # Errors
    /// In podman's words.
    pub fn get(&self, text: &str) -> Result<SecretRecord> {
        let all = self.list()?;
        let exact = all.iter().find(|secret| secret.name == text || secret.id == text);
        let mut beginning = all.iter().filter(|secret| !text.is_empty() && secret.id.starts_with(text));
        match (exact, beginning.next(), beginning.next()) {
            (Some(found), ..) | (None, Some(found), None) => Ok(found.clone()),
            (None, Some(_), Some(_)) => {
                Err(Refusal::invalid(format!("more than one result secret with prefix {text}: ambiguous secret")))
            }
            (None, None, _) => {
                let words = format!("no secret with name or id {text:?}: no such secret");
                Err(Refusal::new(Kind::NoSuchSecret, words).about(text))
            }
        }
    }

    /// What the secret holds.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn data(&self, secret: &SecretRecord) -> Result<Vec<u8>> {
        fs::read(self.dir.join(&secret.id).join("data"))
            .map_err(|error| Refusal::internal(format!("secret {}", secret.name), error))
    }

    /// Removes the secret of that name or id; its id.
    ///
    /// # Errors
    /// When there is none.
    pub fn remove(&self, text: &str) -> Result<String> {
        let found = self.get(text)?;
        let _lock = self.lock()?;
        self.delete(&found)?;
        Ok(found.id)
    }

    fn delete(&self, secret: &SecretRecord) -> Result<()> {
        let dir = self.dir.join(&secret.id);
        // The record first: from then on there is no such secret.
        let _ = fs::remove_file(dir.join("secret.json"));
        failpoint::refuse(Point::SecretGone)?;
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Refusal::internal(format!("removing secret {}", secret.name), error))
            }
            _ => Ok(()),
        }
    }

    /// Held for a few system calls.
    fn lock(&self) -> Result<Lock> {
        Lock::take(&self.dir.join(".lock")).map_err(|error| Refusal::internal("the store of secrets", error))
    }
}

/// podman's rule for names.
fn check_name(name: &str) -> Result<()> {
    if (1..=253).contains(&name.len()) && !name.contains(['=', '/', ',', '\0']) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "secret name {name:?} can not include '=', '/', ',', or the NULL ('\\0') and be between 1 and 253 characters: \
         invalid secret name"
    )))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn named(name: &str) -> SecretRecord {
        SecretRecord {
            schema: 0,
            id: String::new(),
            name: name.into(),
            created: 0,
            updated: 0,
            labels: BTreeMap::new(),
            options: BTreeMap::new(),
        }
    }

    #[test]
    fn a_secret_is_kept_for_root_alone_until_it_is_removed() {
        let dir = tempfile::tempdir().expect("tempdir");
        let secrets = Secrets::open(&Roots { state: dir.path().into(), run: dir.path().into() });
        assert_eq!(secrets.list().expect("empty"), []);
        let first = secrets.create(named("db"), b"word", false).expect("created");
        assert_eq!((first.id.len(), secrets.get("db").expect("found")), (ID_LENGTH, first.clone()));
        assert_eq!(secrets.get(&first.id[..8]).expect("by its beginning"), first);
        let mode =
            |path: &str| fs::metadata(dir.path().join("secrets").join(path)).expect("there").permissions().mode();
        assert_eq!(mode(&format!("{}/data", first.id)) & 0o777, 0o600);
        assert_eq!(mode(&first.id) & 0o777, 0o700);
        let refusal = secrets.create(named("db"), b"other", false).expect_err("in use");
        assert_eq!((refusal.kind, refusal.message.as_str()), (Kind::NameInUse, "db: secret name in use"));
        let second = secrets.create(named("db"), b"other", true).expect("replaced");
        assert_eq!(secrets.list().expect("one"), std::slice::from_ref(&second));
        assert_eq!(secrets.data(&second).expect("data"), b"other");
        assert_eq!(secrets.remove("db").expect("removed"), second.id);
        assert_eq!(secrets.get("db").expect_err("gone").message, "no secret with name or id \"db\": no such secret");
    }

    #[test]
    fn what_cannot_be_kept() {
        let dir = tempfile::tempdir().expect("tempdir");
        let secrets = Secrets::open(&Roots { state: dir.path().into(), run: dir.path().into() });
        for bad in ["", "a/b", "a=b", "a,b", "a\nb", &"x".repeat(254)] {
            assert!(secrets.create(named(bad), b"x", false).expect_err(bad).message.contains("invalid secret name"));
        }
        for bad in [0, LARGEST] {
            assert!(secrets.create(named("x"), &vec![b'x'; bad], false).is_err(), "{bad} bytes");
        }
    }
}
