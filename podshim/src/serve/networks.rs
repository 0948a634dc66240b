//! The service Networks, for `podshim host`.

use async_trait::async_trait;
use proto::{
    Kind, Refusal, Roots,
    event::{self, Event},
    record::{NetworkRecord, NetworkStatus},
    refusal::Result,
    wire::{
        CreateNetwork, Document, ListNetworks, NetworkConfig, NetworkCreated, NetworkNames, NetworksRemoved,
        PruneNetworks, RemoveNetworks,
    },
};
use ttrpc::r#async::TtrpcContext;

use crate::{
    index::{self, Pod},
    network::{self, DEFAULT, NetworkDocument, Networks, filter},
    spec,
};

/// The service over the networks of one engine.
#[derive(Clone, Debug)]
pub struct Service {
    roots: Roots,
    networks: Networks,
}

impl Service {
    /// Makes nothing.
    pub fn new(roots: &Roots) -> Service {
        Service { roots: roots.clone(), networks: Networks::open(roots) }
    }

    fn pods(&self) -> Result<Vec<Pod>> {
        index::pods(&self.roots).map_err(|error| Refusal::internal("reading the records of pods", error))
    }

    fn list_networks(&self, request: &ListNetworks) -> Result<Document> {
        let filters = filter::parse(&request.filters)?;
        let pods = self.pods()?;
        let mut networks = self.networks.list()?;
        // podman's order: by name, the default network among the others.
        networks.sort_by(|a, b| a.name.cmp(&b.name));
        networks.retain(|record| filter::passes(&filters, record, !users(&pods, record).is_empty()));
        document(&networks.iter().map(network::document).collect::<Vec<_>>())
    }

    fn inspect_networks(&self, request: &NetworkNames) -> Result<Document> {
        let pods = self.pods()?;
        let inspect = |name: &String| -> Result<NetworkDocument> {
            let record = self.networks.get(name).map_err(|refusal| match refusal.kind {
                Kind::NoSuchNetwork => {
                    Refusal { message: format!("inspecting object: network {name}: {}", refusal.message), ..refusal }
                }
                _ => refusal,
            })?;
            Ok(network::inspect_document(&record, pods.iter().filter_map(|pod| member(pod, &record.name))))
        };
        document(&request.names.iter().map(inspect).collect::<Result<Vec<_>>>()?)
    }

    async fn remove_networks(&self, request: RemoveNetworks) -> Result<NetworksRemoved> {
        let mut removed = NetworksRemoved::default();
        for name in request.names {
            match self.remove_network(&name).await {
                Ok(()) => removed.names.push(name),
                // As rm -f of everything else: what is not there is removed.
                Err(refusal) if request.force && refusal.kind == Kind::NoSuchNetwork => {}
                Err(refusal) => {
                    removed.missing |= refusal.kind == Kind::NoSuchNetwork;
                    removed.in_use |= refusal.kind == Kind::InUse;
                    if refusal.kind == Kind::InUse {
                        let (record, pods) = (self.networks.get(&name)?, self.pods()?);
                        removed.users.extend(users(&pods, &record).into_iter().flat_map(stand_for));
                    }
                    removed.errors.push(refusal.message);
                }
            }
        }
        Ok(removed)
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let record = self.networks.get_to_remove(name)?;
        let pods = self.pods()?;
        let users = users(&pods, &record);
        if record.name != DEFAULT && !users.is_empty() {
            return Err(network::in_use(name));
        }
        self.networks.remove(&record.name).await?;
        self.removed(&record);
        Ok(())
    }

    fn removed(&self, record: &NetworkRecord) {
        event::note(&self.roots, &Event::new("network", "remove", record.id.as_str(), &record.name));
    }

    async fn prune_networks(&self, request: PruneNetworks) -> Result<NetworksRemoved> {
        let filters = filter::parse(&request.filters)?;
        let pods = self.pods()?;
        let mut removed = NetworksRemoved::default();
        for record in self.networks.list()? {
            let unused = users(&pods, &record).is_empty();
            if record.name == DEFAULT || !unused || !filter::passes(&filters, &record, false) {
                continue;
            }
            match self.networks.remove(&record.name).await {
                Ok(()) => {
                    self.removed(&record);
                    removed.names.push(record.name);
                }
                // Somebody has begun to use it, or removed it, since we looked.
                Err(refusal) if matches!(refusal.kind, Kind::InUse | Kind::NoSuchNetwork) => {}
                Err(refusal) => removed.errors.push(refusal.message),
            }
        }
        Ok(removed)
    }
}

/// The pods that are, or will be when they start, on a network.
fn users<'a>(pods: &'a [Pod], network: &NetworkRecord) -> Vec<&'a Pod> {
    let uses = |config: Option<&NetworkConfig>| config.is_some_and(|config| is_on(config, network));
    let of_pod = |pod: &Pod| pod.record.as_ref().is_ok_and(|record| uses(record.config.network.as_ref()));
    let of_member = |pod: &Pod| {
        let records = pod.containers.iter().filter_map(|container| container.record.as_ref().ok());
        records.into_iter().any(|record| uses(record.config.network.as_ref()))
    };
    pods.iter().filter(|pod| of_pod(pod) || of_member(pod) || member(pod, &network.name).is_some()).collect()
}

/// Ids that stand for the whole of a pod: of its infra, or of its containers.
fn stand_for(pod: &Pod) -> Vec<String> {
    match pod.record.as_ref().ok().and_then(|record| record.infra.as_ref()) {
        Some(infra) => vec![infra.to_string()],
        None => pod.containers.iter().map(|container| container.id().to_string()).collect(),
    }
}

fn is_on(config: &NetworkConfig, network: &NetworkRecord) -> bool {
    let named = |name: &str| name == network.name || (name.len() > 2 && network.id.as_str().starts_with(name));
    config.networks.iter().any(|attachment| named(&attachment.name))
}

/// Who stands for the pod on a network (its infra, or the container that has a hidden pod of its own), and what it has.
fn member<'a>(pod: &'a Pod, network: &str) -> Option<(String, String, &'a NetworkStatus)> {
    let status = pod.state.as_ref()?.networks.iter().find(|status| status.network == network)?;
    let record = pod.record.as_ref().ok()?;
    let (id, name) = match (&record.infra, pod.containers.first().and_then(|container| container.record.as_ref().ok()))
    {
        (Some(infra), _) => (infra, record.infra_name()),
        (None, Some(container)) => (&container.id, container.name.clone()),
        (None, None) => (&record.id, record.name.clone()),
    };
    Some((id.to_string(), name, status))
}

fn document(networks: &[NetworkDocument]) -> Result<Document> {
    let json = serde_json::to_vec(networks).map_err(|error| Refusal::internal("writing networks as JSON", error))?;
    Ok(Document { json })
}

#[async_trait]
impl proto::wire::Networks for Service {
    async fn create(&self, _: &TtrpcContext, request: CreateNetwork) -> ttrpc::Result<NetworkCreated> {
        spec::check_labels(&request.labels)?;
        Ok(NetworkCreated { name: self.networks.create(&request)?.name })
    }

    /// An array of podman's objects, by name.
    async fn list(&self, _: &TtrpcContext, request: ListNetworks) -> ttrpc::Result<Document> {
        Ok(self.list_networks(&request)?)
    }

    /// An array of podman's objects in the order of the names.
    async fn inspect(&self, _: &TtrpcContext, request: NetworkNames) -> ttrpc::Result<Document> {
        Ok(self.inspect_networks(&request)?)
    }

    async fn remove(&self, _: &TtrpcContext, request: RemoveNetworks) -> ttrpc::Result<NetworksRemoved> {
        Ok(self.remove_networks(request).await?)
    }

    async fn prune(&self, _: &TtrpcContext, request: PruneNetworks) -> ttrpc::Result<NetworksRemoved> {
        Ok(self.prune_networks(request).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proto::{
        Id,
        record::{self, Durability, PodRecord, SCHEMA},
        wire::{NetworkAttachment, PodConfig},
    };
    use serde_json::Value;

    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        roots: Roots,
        service: Service,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        let fixture = Fixture { service: Service::new(&roots), roots, _dir: dir };
        for name in ["used", "free"] {
            let request = CreateNetwork { name: name.into(), ..Default::default() };
            fixture.service.networks.create(&request).expect("create");
        }
        fixture
    }

    impl Fixture {
        fn pod(&self, network: &str) -> Id {
            let id = Id::random().expect("id");
            let networks = vec![NetworkAttachment { name: network.into(), ..Default::default() }];
            let network = Some(NetworkConfig { mode: "bridge".into(), networks, ..Default::default() });
            let record = PodRecord {
                schema: SCHEMA,
                id: id.clone(),
                name: "web".into(),
                created: 1,
                infra: None,
                config: PodConfig { network, ..Default::default() },
            };
            fs::create_dir_all(self.roots.pod(&id)).expect("dir");
            record::write(&self.roots.pod_record(&id), &record, Durability::Volatile).expect("record");
            id
        }

        fn names(&self, filters: &[&str]) -> Vec<String> {
            let filters = filters.iter().map(|&filter| filter.to_owned()).collect();
            let document = self.service.list_networks(&ListNetworks { filters }).expect("a list");
            let values: Vec<Value> = serde_json::from_slice(&document.json).expect("json");
            values.iter().map(|value| value["name"].as_str().expect("a name").to_owned()).collect()
        }
    }

    #[tokio::test]
    async fn a_network_in_use_is_not_removed() {
        let fixture = fixture();
        let pod = fixture.pod("used");
        let request = |names: &[&str], force| RemoveNetworks {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            force,
        };
        let removed =
            fixture.service.remove_networks(request(&["used", "nope", "free", DEFAULT], false)).await.expect("answer");
        assert_eq!(removed.names, ["free"]);
        assert!(removed.in_use && removed.missing);
        assert_eq!(
            removed.errors,
            [
                "\"used\" has associated containers with it. Use -f to forcefully delete containers and pods: network is being used",
                "unable to find network with name or ID nope: network not found",
                "default network podman cannot be removed",
            ]
        );
        let forced = fixture.service.remove_networks(request(&["used", "nope"], true)).await.expect("answer");
        assert!(forced.in_use && !forced.missing);
        let pods = fixture.service.pods().expect("pods");
        assert_eq!(forced.users, pods.iter().find(|one| *one.id() == pod).map(stand_for).expect("the pod"));
        fs::remove_file(fixture.roots.pod_record(&pod)).expect("removed");
        let removed = fixture.service.remove_networks(request(&["used"], false)).await.expect("answer");
        assert_eq!((removed.names.len(), removed.errors.len()), (1, 0));
    }

    #[tokio::test]
    async fn prune_takes_what_is_unused() {
        let fixture = fixture();
        fixture.pod("used");
        assert_eq!(fixture.names(&[]), ["free", "podman", "used"]);
        assert_eq!(fixture.names(&["dangling=true"]), ["free", "podman"]);
        let removed = fixture.service.prune_networks(PruneNetworks::default()).await.expect("answer");
        assert_eq!(removed.names, ["free"]);
        assert_eq!(fixture.names(&["name=."]), ["podman", "used"]);
    }

    #[test]
    fn inspect_says_what_is_missing() {
        let fixture = fixture();
        let inspect = |name: &str| fixture.service.inspect_networks(&NetworkNames { names: vec![name.into()] });
        let values: Vec<Value> = serde_json::from_slice(&inspect("used").expect("there").json).expect("json");
        assert_eq!((values[0]["dns_enabled"].as_bool(), values[0]["containers"].is_object()), (Some(true), true));
        let refusal = inspect("nope").expect_err("missing");
        assert_eq!(refusal.kind, Kind::NoSuchNetwork);
        let words = "inspecting object: network nope: unable to find network with name or ID nope: network not found";
        assert_eq!(refusal.message, words);
    }
}
