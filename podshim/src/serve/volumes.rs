//! The service Volumes, for `podshim host`.

use std::{collections::BTreeMap, fmt, fs, io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use proto::{
    Id, Kind, Refusal, Roots,
    record::VolumeRecord,
    refusal::Result,
    wire::{
        CreateVolume, Document, ListVolumes, PruneVolumes, RemoveVolumes, VolumeCreated, VolumeNames, VolumesMounted,
        VolumesRemoved,
    },
};
use serde_json::Value;
use ttrpc::r#async::TtrpcContext;

use crate::{
    index, pod, spec,
    view::disk,
    volume::{self, Filter, Volumes, users::Users},
};

/// The service over the volumes of `roots`.
#[derive(Clone, Debug)]
pub struct Service {
    roots: Arc<Roots>,
    volumes: Volumes,
}

impl Service {
    /// Makes nothing.
    pub fn new(roots: &Roots) -> Service {
        Service { roots: Arc::new(roots.clone()), volumes: Volumes::open(roots) }
    }

    fn create_volume(&self, request: CreateVolume) -> Result<VolumeCreated> {
        let name = if request.name.is_empty() {
            Id::random().map_err(|error| Refusal::internal("no random name for a volume", error))?.to_string()
        } else {
            request.name
        };
        if !matches!(request.driver.as_str(), "" | "local") {
            let driver = spec::quotable(&request.driver);
            return Err(Refusal::invalid(format!(
                "volume {} uses volume plugin {driver} but it could not be retrieved: no volume plugin with name {driver} \
                 available: required plugin missing",
                spec::quotable(&name)
            )));
        }
        let (options, owner) = spec::volume(request.options, (request.uid, request.gid))?;
        source_is_there(&options)?;
        spec::check_labels(&request.labels)?;
        match self.volumes.create(&name, request.labels, options, owner) {
            Err(refusal) if request.ignore && refusal.kind == Kind::NameInUse => {}
            result => drop(result?),
        }
        Ok(VolumeCreated { name })
    }

    fn list_volumes(&self, request: &ListVolumes) -> Result<Document> {
        let filters = self.filters(&request.filters)?;
        let users = self.users()?;
        let matching = self.volumes.list()?.into_iter().filter(|record| passes(&filters, record, &users));
        document(matching.map(|record| self.one(&record, &users)).collect())
    }

    fn inspect_volumes(&self, request: &VolumeNames) -> Result<Document> {
        let users = self.users()?;
        let records = if request.all {
            self.volumes.list()?
        } else {
            request.names.iter().map(|name| self.volumes.find(name)).collect::<Result<_>>()?
        };
        document(records.iter().map(|record| self.one(record, &users)).collect())
    }

    fn remove_volumes(&self, request: &RemoveVolumes) -> Result<VolumesRemoved> {
        let all =
            || -> Result<Vec<String>> { Ok(self.volumes.list()?.into_iter().map(|record| record.name).collect()) };
        let names = if request.all { all()? } else { request.names.clone() };
        let mut removed = VolumesRemoved::default();
        for name in names {
            match self.remove_one(&name) {
                Ok(()) => removed.names.push(name),
                // As rm -f of everything else: what is not there is removed.
                Err(refusal) if request.force && refusal.kind == Kind::NoSuchVolume => {}
                Err(refusal) => {
                    removed.missing |= refusal.kind == Kind::NoSuchVolume;
                    removed.in_use |= refusal.kind == Kind::InUse;
                    if refusal.kind == Kind::InUse {
                        removed.users.extend(self.users()?.of_volume(&refusal.subject));
                    }
                    removed.errors.push(refusal.message);
                }
            }
        }
        Ok(removed)
    }

    fn remove_one(&self, text: &str) -> Result<()> {
        let name = self.volumes.find(text)?.name;
        self.volumes.remove_unless(&name, || self.users()?.none_of(&name))
    }

    fn prune_volumes(&self, request: &PruneVolumes) -> Result<VolumesRemoved> {
        let filters = self.filters(&request.filters)?;
        let users = self.users()?;
        let mut removed = VolumesRemoved::default();
        for record in self.volumes.list()? {
            let wanted = request.all || record.anonymous;
            if !wanted || users.uses(&record.name) || !passes(&filters, &record, &users) {
                continue;
            }
            let held = if request.measure { disk::size(&self.volumes.data(&record.name)) } else { 0 };
            match self.volumes.remove_unless(&record.name, || self.users()?.none_of(&record.name)) {
                Ok(()) => {
                    removed.freed = removed.freed.saturating_add(held);
                    removed.names.push(record.name);
                }
                // Somebody has begun to use it, or removed it, since we looked.
                Err(refusal) if matches!(refusal.kind, Kind::InUse | Kind::NoSuchVolume) => {}
                Err(refusal) => removed.errors.push(refusal.message),
            }
        }
        Ok(removed)
    }

    fn filters(&self, arguments: &[String]) -> Result<Vec<Filter>> {
        volume::parse_filters(arguments, |name| self.volumes.find(name).map(|record| record.created))
    }

    fn users(&self) -> Result<Users> {
        index::pods(&self.roots)
            .map(|pods| Users::of(&pods))
            .map_err(|error| Refusal::internal("reading the records of pods", error))
    }

    fn one(&self, record: &VolumeRecord, users: &Users) -> Value {
        let mounts = users.mount_count(&record.name) + self.volumes.mounts_of(record);
        volume::document(record, &self.volumes.data(&record.name), mounts)
    }

    fn each(&self, names: &[String], act: impl Fn(&str) -> Result<PathBuf>) -> VolumesMounted {
        let mut answer = VolumesMounted::default();
        for text in names {
            match self.volumes.find(text).and_then(|record| act(&record.name)) {
                Ok(path) => answer.paths.push(path.to_string_lossy().into_owned()),
                Err(refusal) => answer.errors.push(refusal.message),
            }
        }
        answer
    }

    fn mount_volumes(&self, request: &VolumeNames) -> VolumesMounted {
        self.each(&request.names, |name| pod::volumes::mount_on_host(&self.roots, &self.volumes, name))
    }

    fn unmount_volumes(&self, request: &VolumeNames) -> VolumesMounted {
        self.each(&request.names, |name| pod::volumes::unmount_on_host(&self.volumes, name))
    }
}

/// What a volume is to bind is there and a directory.
fn source_is_there(options: &BTreeMap<String, String>) -> Result<()> {
    let (Some(device), "bind") = (options.get("device"), options.get("type").map_or("", String::as_str)) else {
        return Ok(());
    };
    let words = match fs::metadata(device) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => "not a directory",
        Err(error) if error.kind() == io::ErrorKind::NotFound => "no such file or directory",
        Err(_) => "it cannot be looked up",
    };
    Err(Refusal::invalid(format!(
        "invalid volume option device for driver 'local': stat {}: {words}",
        spec::quotable(device)
    )))
}

fn passes(filters: &[Filter], record: &VolumeRecord, users: &Users) -> bool {
    filters.iter().all(|filter| filter.matches(record, users.uses(&record.name)))
}

fn document(values: Vec<Value>) -> Result<Document> {
    let json = serde_json::to_vec(&values).map_err(|error| Refusal::internal("writing the volumes as JSON", error))?;
    Ok(Document { json })
}

/// Runs file system work beside the loop: a removal may take long.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> ttrpc::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(broken(error))).map_err(Into::into)
}

fn broken(error: impl fmt::Display) -> Refusal {
    Refusal::internal("the volumes' work was cut off", error)
}

#[async_trait]
impl proto::wire::Volumes for Service {
    async fn create(&self, _: &TtrpcContext, request: CreateVolume) -> ttrpc::Result<VolumeCreated> {
        let service = self.clone();
        beside(move || service.create_volume(request)).await
    }

    async fn list(&self, _: &TtrpcContext, request: ListVolumes) -> ttrpc::Result<Document> {
        let service = self.clone();
        beside(move || service.list_volumes(&request)).await
    }

    async fn inspect(&self, _: &TtrpcContext, request: VolumeNames) -> ttrpc::Result<Document> {
        let service = self.clone();
        beside(move || service.inspect_volumes(&request)).await
    }

    async fn remove(&self, _: &TtrpcContext, request: RemoveVolumes) -> ttrpc::Result<VolumesRemoved> {
        let service = self.clone();
        beside(move || service.remove_volumes(&request)).await
    }

    async fn prune(&self, _: &TtrpcContext, request: PruneVolumes) -> ttrpc::Result<VolumesRemoved> {
        let service = self.clone();
        beside(move || service.prune_volumes(&request)).await
    }

    async fn mount(&self, _: &TtrpcContext, request: VolumeNames) -> ttrpc::Result<VolumesMounted> {
        let service = self.clone();
        beside(move || Ok(service.mount_volumes(&request))).await
    }

    async fn unmount(&self, _: &TtrpcContext, request: VolumeNames) -> ttrpc::Result<VolumesMounted> {
        let service = self.clone();
        beside(move || Ok(service.unmount_volumes(&request))).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proto::{
        record::{self, ContainerRecord, Durability, PodRecord, SCHEMA},
        wire::{ContainerConfig, Mount, PodConfig, mount},
    };

    use super::*;

    struct Fixture {
        _dir: tempfile::TempDir,
        roots: Roots,
        service: Service,
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        Fixture { service: Service::new(&roots), roots, _dir: dir }
    }

    impl Fixture {
        fn create(&self, name: &str) {
            let request = CreateVolume { name: name.into(), ..Default::default() };
            assert_eq!(self.service.create_volume(request).expect("created").name, name);
        }

        fn remove(&self, names: &[&str], force: bool) -> VolumesRemoved {
            let names = names.iter().map(|name| (*name).to_owned()).collect();
            self.service.remove_volumes(&RemoveVolumes { names, force, all: false }).expect("an answer")
        }

        fn names(&self, filters: &[&str]) -> Vec<String> {
            let filters = filters.iter().map(|filter| (*filter).to_owned()).collect();
            let document = self.service.list_volumes(&ListVolumes { filters }).expect("a list");
            let values: Vec<Value> = serde_json::from_slice(&document.json).expect("json");
            values.iter().map(|value| value["Name"].as_str().expect("a name").to_owned()).collect()
        }

        /// A pod that mounts `of_pod` and has a container that mounts `of_container`.
        fn pod(&self, of_pod: &str, of_container: &str) -> (Id, Id) {
            let volume = |source: &str| Mount {
                kind: mount::Kind::Volume.into(),
                source: source.into(),
                destination: "/d".into(),
                ..Default::default()
            };
            let (pod, container) = (Id::random().expect("id"), Id::random().expect("id"));
            fs::create_dir_all(self.roots.container(&pod, &container)).expect("dirs");
            let config = PodConfig { mounts: vec![volume(of_pod)], ..Default::default() };
            let pod_record =
                PodRecord { schema: SCHEMA, id: pod.clone(), name: "p".into(), created: 1, infra: None, config };
            record::write(&self.roots.pod_record(&pod), &pod_record, Durability::Volatile).expect("pod.json");
            let of_image = (&Default::default(), Default::default());
            let config = ContainerConfig {
                command: Some(proto::wire::Argv { args: vec!["c".into()] }),
                mounts: vec![volume(of_container)],
                ..Default::default()
            };
            let record: ContainerRecord =
                spec::merge(container.clone(), "c".into(), config, &pod_record, Some(of_image)).expect("a record");
            record::write(&self.roots.container_record(&pod, &container), &record, Durability::Volatile)
                .expect("record");
            (pod, container)
        }
    }

    #[test]
    fn what_create_refuses() {
        let f = fixture();
        f.create("v");
        let create = |name: &str, driver: &str, options: &[&str], label: &str| {
            let request = CreateVolume {
                name: name.into(),
                driver: driver.into(),
                options: options.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect(),
                labels: [(label.to_owned(), String::new())].into(),
                ..Default::default()
            };
            f.service.create_volume(request).expect_err("refused").message
        };
        assert_eq!(create("v", "", &[], "a"), "volume with name v already exists: volume already exists");
        assert_eq!(
            create("a b", "local", &[], "a"),
            "running volume create option: names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument"
        );
        assert_eq!(
            create("w", "foo", &[], "a"),
            "volume w uses volume plugin foo but it could not be retrieved: no volume plugin with name foo available: \
             required plugin missing"
        );
        assert_eq!(create("w", "", &["foo"], "a"), "invalid mount option foo for driver 'local': invalid argument");
        assert_eq!(create("w", "", &["uid"], "a"), "cannot convert uid x to integer: give a number");
        assert_eq!(
            create("w", "", &[], "io.podctl.x"),
            "--label io.podctl.x: names that begin with io.podctl. are the engine's own: choose another"
        );
        let again = CreateVolume { name: "v".into(), ignore: true, ..Default::default() };
        assert_eq!(f.service.create_volume(again).expect("ignored").name, "v");
        assert!(spec::is_anonymous(&f.service.create_volume(CreateVolume::default()).expect("named").name));
        assert_eq!(f.names(&[]).len(), 2, "a refusal leaves nothing");
    }

    #[test]
    fn a_volume_in_use_is_not_removed() {
        let f = fixture();
        ["of-pod", "of-ctr", "free"].iter().for_each(|name| f.create(name));
        let (pod, container) = f.pod("of-pod", "of-ctr");
        let removed = f.remove(&["of-pod", "of-ctr", "free", "nope"], false);
        assert_eq!(removed.names, ["free"]);
        assert!(removed.in_use && removed.missing);
        assert_eq!(
            removed.errors,
            [
                format!("volume of-pod is being used by the following container(s): {pod}: volume is being used"),
                format!("volume of-ctr is being used by the following container(s): {container}: volume is being used"),
                "no volume with name \"nope\" found: no such volume".to_owned(),
            ]
        );
        let forced = f.remove(&["of-ctr", "nope"], true);
        assert_eq!((forced.errors.len(), forced.users), (1, vec![container.to_string()]));
        assert!(!forced.missing);
        assert_eq!(f.names(&["dangling=true"]), Vec::<String>::new());
        fs::write(f.roots.container_record(&pod, &container), "{").expect("broken");
        let removed = f.remove(&["of-ctr"], false);
        assert_eq!(
            removed.errors,
            [format!(
                "volume of-ctr may be used by {container}, whose record cannot be read: remove that first (rm -f)"
            )]
        );
    }

    #[test]
    fn prune_takes_what_is_anonymous_and_unused() {
        let f = fixture();
        f.create("named");
        let (one, two) = (Id::random().expect("id").to_string(), Id::random().expect("id").to_string());
        for name in [&one, &two] {
            f.service.volumes.ensure(name, true).expect("made");
        }
        f.pod("p", &two);
        let prune = |all| f.service.prune_volumes(&PruneVolumes { all, ..Default::default() }).expect("pruned").names;
        assert_eq!(prune(false), [one]);
        assert_eq!(prune(true), ["named"]);
        assert_eq!(f.names(&[]), [two]);
    }

    #[test]
    fn inspect_finds_by_name_and_by_its_beginning() {
        let f = fixture();
        f.create("vol1");
        f.create("vol22");
        let inspect = |name: &str| f.service.inspect_volumes(&VolumeNames { names: vec![name.into()], all: false });
        let values: Vec<Value> = serde_json::from_slice(&inspect("vol2").expect("found").json).expect("json");
        assert_eq!(values[0]["Name"], "vol22");
        assert_eq!(values[0]["Driver"], "local");
        assert_eq!(values[0]["MountCount"], 0);
        assert_eq!(values[0]["Mountpoint"], f.service.volumes.data("vol22").to_str().expect("utf-8"));
        assert!(inspect("vol").expect_err("two").message.starts_with("more than one result for volume name \"vol\""));
        assert_eq!(inspect("../x").expect_err("none").message, "no volume with name \"../x\" found: no such volume");
        let all = f.service.inspect_volumes(&VolumeNames { names: vec![], all: true }).expect("all");
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&all.json).expect("json").len(), 2);
    }

    #[tokio::test]
    async fn answers_and_refusals_travel() {
        let f = fixture();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let connections = proto::serve::Connections::default();
        let listener = proto::serve::listener(None, Some(theirs), &connections).expect("a listener");
        let service = proto::wire::create_volumes(Arc::new(f.service.clone()));
        let mut server = ttrpc::r#async::Server::new().add_listener(listener).register_service(service);
        server.start().await.expect("a server");
        let client = proto::wire::VolumesClient::new(proto::serve::client(ours).expect("a client"));
        let deadline = || proto::serve::deadline(std::time::Duration::from_secs(10));
        let request = CreateVolume { name: "v".into(), ..Default::default() };
        assert_eq!(client.create(deadline(), &request).await.expect("created").name, "v");
        let refusal = Refusal::from(client.create(deadline(), &request).await.expect_err("twice"));
        assert_eq!((refusal.kind, refusal.subject.as_str()), (Kind::NameInUse, "v"));
        let listed = client.list(deadline(), &ListVolumes::default()).await.expect("a list");
        assert_eq!(serde_json::from_slice::<Vec<Value>>(&listed.json).expect("json").len(), 1);
    }
}
