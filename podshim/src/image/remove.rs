//! Naming images, taking names away, and removing what nobody wants.
//!
//! Names and records change under the store's lock; blobs and layers are collected afterwards, when nobody adds any.

use std::{collections::HashMap, fs, io};

use proto::{
    Kind, Refusal,
    alive::Lock,
    failpoint::{self, Point},
    refusal::Result,
    wire::ImagesRemoved,
};

use super::{
    Image, Store,
    filter::Filter,
    not_known,
    reference::{Full, Reference},
};
use crate::index;

/// Which containers use which image: id of the image → ids of containers.
pub type Users = HashMap<String, Vec<String>>;

impl Store {
    /// Which containers use which image.
    pub fn users(&self) -> Users {
        let mut users = Users::new();
        // What of the records cannot be read names no image.
        for pod in index::pods(&self.roots).unwrap_or_default() {
            for container in pod.containers {
                if let Ok(record) = container.record
                    && let Some(image) = record.image
                {
                    users.entry(image.id).or_default().push(record.id.to_string());
                }
            }
        }
        users
    }

    /// Gives the image `source` more names. A short one is of this host.
    ///
    /// # Errors
    /// `NoSuchImage`, or `Invalid` for what can be no name.
    pub fn tag(&self, source: &str, targets: &[String]) -> Result<()> {
        let image = self.existing(source)?;
        let mut names = Vec::new();
        for target in targets {
            let reference = Reference::parse(target).map_err(|error| error.refusal(target))?;
            if reference.digest.is_some() {
                let target = super::printable(target);
                return Err(Refusal::invalid(format!("{target}: tag by digest not supported")).about(target));
            }
            names.push(local(&reference).to_string());
        }
        self.change_names(|all| {
            all.names.extend(names.into_iter().map(|name| (name, image.id.clone())));
            Ok(())
        })
        .map_err(|error| self.broken(&error))
    }

    /// Takes the names `targets` from the image `source`, all of them where none is given. The image stays.
    ///
    /// # Errors
    /// `NoSuchImage`, or `Invalid` for a name it does not have.
    pub fn untag(&self, source: &str, targets: &[String]) -> Result<()> {
        let image = self.existing(source)?;
        let mut gone = if targets.is_empty() { image.names.clone() } else { Vec::new() };
        for target in targets {
            let reference = Reference::parse(target).map_err(|error| error.refusal(target))?;
            let candidates = [local(&reference).to_string(), reference.docker().to_string()];
            let name = candidates.into_iter().find(|name| image.names.contains(name));
            gone.push(name.ok_or_else(|| {
                Refusal::invalid(format!("{}: tag not known", super::printable(target))).about(target)
            })?);
        }
        self.change_names(|all| {
            for name in &gone {
                if all.names.get(name) == Some(&image.id) {
                    all.names.remove(name);
                }
            }
            Ok(())
        })
        .map_err(|error| self.broken(&error))
    }

    /// Removes images or, where an image has other names, only the name. What goes wrong with one stops no other.
    pub fn remove(&self, names: &[String], force: bool, all: bool, ignore: bool) -> Result<ImagesRemoved> {
        let users = self.users();
        let mut done = ImagesRemoved::default();
        let names: Vec<String> =
            if all { self.list()?.into_iter().map(|image| image.id).collect() } else { names.to_vec() };
        for name in &names {
            match self.remove_one(name, force || all, &users) {
                Ok((untagged, deleted)) => {
                    done.untagged.extend(untagged);
                    done.deleted.extend(deleted);
                }
                Err(refusal) if refusal.kind == Kind::NoSuchImage && (ignore || all) => {}
                Err(refusal) => {
                    done.missing |= refusal.kind == Kind::NoSuchImage;
                    done.in_use |= refusal.kind == Kind::InUse;
                    done.errors.push(refusal.message);
                }
            }
        }
        failpoint::refuse(Point::ImageRmNames)?;
        // All means what a killed command has left, too.
        if all || !done.deleted.is_empty() {
            self.collect().map_err(|error| self.broken(&error))?;
        }
        Ok(done)
    }

    /// Removes images without a name or, with `all`, those that no container uses.
    ///
    /// # Errors
    /// For a filter that cannot be.
    pub fn prune(&self, all: bool, filters: &[String]) -> Result<ImagesRemoved> {
        let filter = Filter::parse(self, filters, &[])?;
        let users = self.users();
        let mut done = ImagesRemoved::default();
        for image in self.list()? {
            if users.contains_key(&image.id) || !(all || image.names.is_empty()) || !filter.fits(&image, &users) {
                continue;
            }
            match self.delete(&image) {
                Ok(None) => {
                    done.untagged.extend(image.names);
                    done.deleted.push(image.id);
                }
                // Somebody has begun to use it since we looked.
                Ok(Some(_)) => {}
                Err(error) => done.errors.push(self.broken(&error).message),
            }
        }
        let before = self.layers_size();
        self.collect().map_err(|error| self.broken(&error))?;
        done.freed = before.saturating_sub(self.layers_size());
        Ok(done)
    }

    /// Whether the image with that id is still here, for whoever has just recorded that it uses it: a removal that had
    /// looked for users before has come to its end then, and a later one finds the record.
    ///
    /// # Errors
    /// `ImageMissing` when it has gone.
    pub fn confirm(&self, image: &Image) -> Result<()> {
        let _lock = Lock::take(&self.root().join("lock")).map_err(|error| self.broken(&error))?;
        let name = if image.name.is_empty() { &image.id } else { &image.name };
        if self.record_path(&image.id).exists() { Ok(()) } else { Err(super::missing(name)) }
    }

    fn existing(&self, name: &str) -> Result<Image> {
        self.damaged_or_not(name).map_err(|refusal| match refusal.kind {
            Kind::ImageMissing => not_known(Kind::NoSuchImage, name),
            _ => refusal,
        })
    }

    /// What is removed: names that are no longer the image's, and its id when it is gone too.
    fn remove_one(&self, name: &str, force: bool, users: &Users) -> Result<(Vec<String>, Option<String>)> {
        let image = self.existing(name)?;
        if image.names.contains(&image.name) && image.names.len() > 1 {
            self.untag(&image.id, std::slice::from_ref(&image.name))?;
            return Ok((vec![image.name], None));
        }
        if image.names.len() > 1 && !force {
            return Err(Refusal::new(
                Kind::Invalid,
                format!(
                    "unable to delete image \"{}\" by ID with more than one tag ([{}]): please force removal",
                    image.id,
                    image.names.join(" ")
                ),
            )
            .about(name));
        }
        let user = match users.get(&image.id).and_then(|containers| containers.first()) {
            Some(container) => Some(container.clone()),
            None => self.delete(&image).map_err(|error| self.broken(&error))?,
        };
        match user {
            Some(container) => Err(in_use(&container).about(name)),
            None => Ok((image.names, Some(image.id))),
        }
    }

    /// Removes the record of `image` and its names, unless a container uses it, whose id is returned. Under the lock:
    /// see [`Store::confirm`].
    fn delete(&self, image: &Image) -> io::Result<Option<String>> {
        self.change_names(|all| {
            if let Some(container) = self.users().remove(&image.id).and_then(|mut containers| containers.pop()) {
                return Ok(Some(container));
            }
            match fs::remove_file(self.record_path(&image.id)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            failpoint::check(Point::ImageRmRecord)?;
            all.names.retain(|_, hex| *hex != image.id);
            Ok(None)
        })
    }
}

fn in_use(container: &str) -> Refusal {
    Refusal::new(
        Kind::InUse,
        format!(
            "image used by {container}: image is in use by a container: consider listing external containers \
             and force-removing image"
        ),
    )
}

/// A name in full where a short one is of this host.
fn local(reference: &Reference) -> Full {
    if reference.is_short() { reference.at("localhost") } else { reference.docker() }
}
