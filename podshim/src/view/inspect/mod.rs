//! Documents of objects, and which names have none.
//!
//! podman prints what it found and then an error for each name that is missing, so the answer has both:
//! `{"found":[…],"errors":["…"]}`, the errors in their final words.

mod capabilities;
mod config;
mod container;
mod host_config;
mod image;
mod mounts;
mod network;
mod pod;
mod settings;
mod volume;

use std::cell::RefCell;

use proto::{
    Refusal,
    layout::Target,
    refusal::Result,
    wire::{Document, InspectObjects},
};
use serde_json::Value;

use super::{Shown, View, json::object};
use crate::index;

pub(super) use container::extend;

/// Documents of the objects that were found, in the order asked for, and words for those that were not.
#[derive(Debug, Default)]
pub struct Inspection {
    /// Documents.
    pub found: Vec<Value>,
    /// What is printed after `Error: `, one line each.
    pub errors: Vec<String>,
}

impl Inspection {
    fn collect(
        names: &[String],
        find: impl Fn(&str) -> Result<Option<Value>>,
        missing: impl Fn(&str) -> String,
    ) -> Result<Inspection> {
        let mut inspection = Inspection::default();
        for name in names {
            match find(name)? {
                Some(document) => inspection.found.push(document),
                None => inspection.errors.push(missing(name)),
            }
        }
        Ok(inspection)
    }

    /// The answer: `{"found":[…],"errors":[…]}`.
    pub fn document(self) -> Document {
        let errors = super::json::strings(self.errors);
        Document { json: object([("found", Value::Array(self.found)), ("errors", errors)]).to_string().into_bytes() }
    }
}

/// Documents of containers and infras.
///
/// # Errors
/// A name that stands for several; records that cannot be listed; no container at all for `latest`.
pub fn containers(view: &View<'_>, request: &InspectObjects) -> Result<Inspection> {
    if request.latest {
        let pods = view.pods()?;
        let newest = pods.iter().flat_map(Shown::of).max_by_key(|shown| (shown.created(), !shown.is_infra()));
        let newest = newest
            .ok_or_else(|| Refusal::new(proto::Kind::NoSuchContainer, "no containers to inspect: no such container"))?;
        return Ok(Inspection { found: vec![container::document(view, newest, request.size)], errors: Vec::new() });
    }
    let last = Last::default();
    Inspection::collect(
        &request.names,
        |name| container(view, &last, name, request.size),
        |name| format!("no such container {name:?}"),
    )
}

/// Documents of pods; a hidden pod is none.
///
/// # Errors
/// A name that stands for several; records that cannot be listed; no pod at all for `latest`.
pub fn pods(view: &View<'_>, request: &InspectObjects) -> Result<Inspection> {
    if request.latest {
        let pods = view.pods()?;
        let newest = pods.iter().rfind(|pod| !pod.hidden());
        let newest = newest.ok_or_else(|| Refusal::new(proto::Kind::NoSuchPod, "no pods to inspect: no such pod"))?;
        return Ok(Inspection { found: vec![pod::document(view, newest)], errors: Vec::new() });
    }
    Inspection::collect(&request.names, |name| pod(view, name), |name| format!("no such pod {name}"))
}

/// Documents of images.
///
/// # Errors
/// None; what is missing is an error of the [`Inspection`].
pub fn images(view: &View<'_>, names: &[String]) -> Result<Inspection> {
    Inspection::collect(names, |name| Ok(image(view, name)), |name| format!("{name}: image not known"))
}

/// Documents of volumes.
///
/// # Errors
/// None; what is missing is an error of the [`Inspection`].
pub fn volumes(view: &View<'_>, names: &[String]) -> Result<Inspection> {
    Inspection::collect(names, |name| volume(view, name), |name| format!("no such volume {name}"))
}

/// Documents of networks.
///
/// # Errors
/// None; what is missing is an error of the [`Inspection`].
pub fn networks(view: &View<'_>, names: &[String]) -> Result<Inspection> {
    let missing =
        |name: &str| format!("network {name}: unable to find network with name or ID {name}: network not found");
    Inspection::collect(names, |name| network(view, name), missing)
}

/// Documents of objects of `request.type`, or where that is empty of any kind: a name stands for the first of container,
/// image, volume, network and pod that has it.
///
/// # Errors
/// A kind that does not exist; a name that stands for several; records that cannot be listed.
pub fn objects(view: &View<'_>, request: &InspectObjects) -> Result<Inspection> {
    let sized = || match request.size {
        true => Err(Refusal::invalid(format!("size is not supported for type {:?}", request.r#type))),
        false => Ok(()),
    };
    let alone = || match request.latest {
        true => Err(Refusal::invalid(format!("latest is not supported for type {:?}", request.r#type))),
        false => Ok(()),
    };
    let last = Last::default();
    match request.r#type.as_str() {
        "" | "all" if request.latest => containers(view, request),
        "container" => containers(view, request),
        "pod" => sized().and_then(|()| pods(view, request)),
        "image" => alone().and_then(|()| sized()).and_then(|()| images(view, &request.names)),
        "volume" => alone().and_then(|()| volumes(view, &request.names)),
        "network" => alone().and_then(|()| networks(view, &request.names)),
        "" | "all" => Inspection::collect(
            &request.names,
            |name| {
                Ok(match container(view, &last, name, request.size)?.or_else(|| image(view, name)) {
                    Some(document) => Some(document),
                    None => match volume(view, name)? {
                        Some(document) => Some(document),
                        None => match network(view, name)? {
                            Some(document) => Some(document),
                            None => pod(view, name)?,
                        },
                    },
                })
            },
            |name| format!("no such object: {name:?}"),
        ),
        other => Err(Refusal::invalid(format!(
            "invalid type {other:?}: must be \"image\", \"container\", \"pod\", \"network\", \"volume\", or \"all\""
        ))),
    }
}

/// The pod that was read last: whoever asks for many containers asks for all members of one after the other, and they are
/// read together.
type Last = RefCell<Option<index::Pod>>;

fn container(view: &View<'_>, last: &Last, name: &str, size: bool) -> Result<Option<Value>> {
    let Some(target) = view.roots().resolve(name)? else { return Ok(None) };
    let mut last = last.borrow_mut();
    if last.as_ref().is_none_or(|pod| pod.id() != target.pod()) {
        *last = index::pod(view.roots(), target.pod());
    }
    let Some(pod) = last.as_ref() else { return Ok(None) };
    let shown = match &target {
        Target::Pod(_) => None,
        Target::Infra(_) => Shown::infra_of(pod),
        Target::Container { container, .. } => {
            pod.containers.iter().find(|member| member.id() == container).map(|member| Shown::Member(pod, member))
        }
    };
    Ok(shown.map(|shown| container::document(view, shown, size)))
}

fn pod(view: &View<'_>, name: &str) -> Result<Option<Value>> {
    let Some(Target::Pod(id)) = view.roots().resolve(name)? else { return Ok(None) };
    let pod = index::pod(view.roots(), &id).filter(|pod| !pod.hidden());
    Ok(pod.map(|pod| pod::document(view, &pod)))
}

fn image(view: &View<'_>, name: &str) -> Option<Value> {
    view.stores.image(name).map(|image| image::document(view, &image))
}

fn volume(view: &View<'_>, name: &str) -> Result<Option<Value>> {
    view.stores.find_volume(name)?.map(|volume| volume::document(view, &volume)).transpose()
}

fn network(view: &View<'_>, name: &str) -> Result<Option<Value>> {
    view.stores.find_network(name)?.map(|network| network::document(view, &network)).transpose()
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    fn request(kind: &str, names: &[&str]) -> InspectObjects {
        InspectObjects {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            r#type: kind.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn a_name_stands_for_the_first_kind_that_has_it_and_what_is_missing_is_told() {
        let fixture = Fixture::new();
        let web = fixture.web();
        let names = ["front", "nope", "vol1", "net1", "web", web.infra.short()];
        let inspection = objects(&fixture.view(), &request("", &names)).expect("inspection");
        let kinds: Vec<&str> = inspection
            .found
            .iter()
            .map(|document| match document {
                _ if document.get("IsInfra") == Some(&true.into()) => "infra",
                _ if document.get("IsInfra").is_some() => "container",
                _ if document.get("Mountpoint").is_some() => "volume",
                _ if document.get("network_interface").is_some() => "network",
                _ => "pod",
            })
            .collect();
        assert_eq!(kinds, ["container", "volume", "network", "pod", "infra"]);
        assert_eq!(inspection.errors, ["no such object: \"nope\""]);
    }

    #[test]
    fn words_for_what_is_missing() {
        let fixture = Fixture::new();
        fixture.web();
        let (hidden, _) = fixture.plain("solo");
        for (kind, name, words) in [
            ("container", "web", "no such container \"web\""),
            ("pod", "front", "no such pod front"),
            ("pod", hidden.as_str(), &format!("no such pod {hidden}")),
            ("volume", "nope", "no such volume nope"),
            ("image", "nope", "nope: image not known"),
            ("network", "nope", "network nope: unable to find network with name or ID nope: network not found"),
            ("", "../../etc", "no such object: \"../../etc\""),
        ] {
            let inspection = objects(&fixture.view(), &request(kind, &[name])).expect("inspection");
            assert_eq!((inspection.found.len(), inspection.errors), (0, vec![words.to_owned()]), "{kind} {name}");
        }
        assert!(objects(&fixture.view(), &request("bogus", &["x"])).is_err());
        let empty = objects(&fixture.view(), &request("", &[])).expect("inspection").document();
        assert_eq!(empty.json, br#"{"found":[],"errors":[]}"#);
    }

    #[test]
    fn the_latest() {
        let fixture = Fixture::new();
        let latest = InspectObjects { latest: true, ..Default::default() };
        assert!(containers(&fixture.view(), &latest).is_err() && pods(&fixture.view(), &latest).is_err());
        fixture.web();
        assert_eq!(containers(&fixture.view(), &latest).expect("one").found[0]["Name"], "back");
        assert_eq!(pods(&fixture.view(), &latest).expect("one").found[0]["Name"], "web");
    }
}
