//! Service Containers: acts on members are served by their pod's shim, lists, inspect, logs, top and stats by the host role.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;
use proto::{
    Kind, Refusal,
    refusal::Result,
    wire::{
        ContainerAct, ContainerCreated, ContainerResult, Containers, CreateContainer, Document, Empty, InspectObjects,
        ListContainers, LocatePath, LogsRequest, PackPath, PathLocated, RenameContainer, StatsRequest, TopReply,
        TopRequest, UnpackArchive, UpdateContainer,
    },
};
use ttrpc::r#async::TtrpcContext;

use super::{id, json, raw, to_the_end};
use crate::{
    config::Engine,
    pod::{
        Pod,
        copy::{self, blocking},
    },
    view::{self, EngineStores, View},
};

/// Exactly `N` descriptors that a client has deposited.
fn deposited<const N: usize>(deposits: &raw::Shared, token: &str) -> Result<[OwnedFd; N]> {
    let words = || Refusal::new(Kind::Invalid, format!("the request needs {N} descriptors under its token"));
    raw::take(deposits, token).try_into().map_err(|_| words())
}

/// The acts on members of one pod.
pub struct ContainerService(pub Arc<Pod>);

fn timeout(act: &ContainerAct) -> Option<i64> {
    act.has_timeout.then_some(act.timeout_ms)
}

#[async_trait]
impl Containers for ContainerService {
    async fn create(&self, _: &TtrpcContext, request: CreateContainer) -> ttrpc::Result<ContainerCreated> {
        if request.pod != self.0.id.as_str() {
            return Err(Refusal::no_such_pod(&request.pod).into());
        }
        let pod = self.0.clone();
        let sources = raw::take(&pod.deposits, &request.source_token);
        let log = raw::take(&pod.deposits, &request.log_token).pop();
        Ok(self.0.act(async move { pod.create(request, sources, log).await }).await?)
    }

    async fn init(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        let log = raw::take(&pod.deposits, &act.log_token).pop();
        Ok(self.0.act(async move { pod.init(act, &id, log).await }).await?)
    }

    async fn start(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        let log = raw::take(&pod.deposits, &act.log_token).pop();
        Ok(self.0.act(async move { pod.start(act, &id, log).await }).await?)
    }

    async fn stop(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        Ok(self.0.act(async move { pod.stop(&id, timeout(&act)).await }).await?)
    }

    async fn restart(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        let (timeout, log) = (timeout(&act), raw::take(&pod.deposits, &act.log_token).pop());
        Ok(self.0.act(async move { pod.restart(act, &id, timeout, log).await }).await?)
    }

    async fn kill(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        Ok(self.0.act(async move { pod.kill(&id, &act.signal, act.all).await }).await?)
    }

    async fn pause(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        Ok(self.0.act(async move { pod.pause(&id).await }).await?)
    }

    async fn unpause(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        Ok(self.0.act(async move { pod.unpause(&id).await }).await?)
    }

    async fn remove(&self, _: &TtrpcContext, act: ContainerAct) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&act.container)?);
        Ok(self.0.act(async move { pod.remove(&id, act.force, timeout(&act)).await }).await?)
    }

    async fn rename(&self, _: &TtrpcContext, request: RenameContainer) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&request.container)?);
        Ok(self.0.act(async move { pod.rename(&id, &request.name).await }).await?)
    }

    async fn update(&self, _: &TtrpcContext, request: UpdateContainer) -> ttrpc::Result<ContainerResult> {
        let (pod, id) = (self.0.clone(), id(&request.container)?);
        Ok(self.0.act(async move { pod.update(&id, request).await }).await?)
    }

    async fn locate(&self, _: &TtrpcContext, request: LocatePath) -> ttrpc::Result<PathLocated> {
        let (pod, id) = (self.0.clone(), id(&request.container)?);
        Ok(self.0.act(async move { pod.locate(&id, request).await }).await?)
    }

    async fn pack(&self, _: &TtrpcContext, request: PackPath) -> ttrpc::Result<Empty> {
        let (pod, id) = (self.0.clone(), id(&request.container)?);
        let [archive] = deposited(&self.0.deposits, &request.token)?;
        Ok(self.0.act(async move { pod.pack(&id, request, archive).await.map(|()| Empty {}) }).await?)
    }

    async fn unpack(&self, _: &TtrpcContext, request: UnpackArchive) -> ttrpc::Result<Empty> {
        let (pod, id) = (self.0.clone(), id(&request.container)?);
        let [archive] = deposited(&self.0.deposits, &request.token)?;
        Ok(self.0.act(async move { pod.unpack(&id, request, archive).await.map(|()| Empty {}) }).await?)
    }
}

/// What only reads.
pub struct HostContainerService {
    /// Configuration.
    pub engine: Engine,
    /// Descriptors for [`Containers::logs`].
    pub deposits: raw::Shared,
}

#[async_trait]
impl Containers for HostContainerService {
    async fn list(&self, _: &TtrpcContext, request: ListContainers) -> ttrpc::Result<Document> {
        let stores = EngineStores::open(&self.engine.roots);
        let view = View { engine: &self.engine, stores: &stores };
        Ok(json(&view::containers::list(&view, &request)?))
    }

    async fn inspect(&self, _: &TtrpcContext, request: InspectObjects) -> ttrpc::Result<Document> {
        let stores = EngineStores::open(&self.engine.roots);
        let view = View { engine: &self.engine, stores: &stores };
        Ok(view::inspect::containers(&view, &request)?.document())
    }

    async fn logs(&self, _: &TtrpcContext, request: LogsRequest) -> ttrpc::Result<Empty> {
        let mut fds = raw::take(&self.deposits, &request.token).into_iter();
        let (Some(stdout), Some(stderr)) = (fds.next(), fds.next()) else {
            return Err(Refusal::new(Kind::Invalid, "logs needs two descriptors under its token").into());
        };
        let roots = self.engine.roots.clone();
        to_the_end(async move { view::logs::write(&roots, request, stdout, stderr).await }).await?;
        Ok(Empty {})
    }

    async fn top(&self, _: &TtrpcContext, request: TopRequest) -> ttrpc::Result<TopReply> {
        Ok(view::top::table(&self.engine.roots, &request)?)
    }

    async fn locate(&self, _: &TtrpcContext, request: LocatePath) -> ttrpc::Result<PathLocated> {
        let [root] = deposited(&self.deposits, &request.token)?;
        Ok(copy::located(root.as_fd(), Path::new(&request.path))?)
    }

    async fn pack(&self, _: &TtrpcContext, request: PackPath) -> ttrpc::Result<Empty> {
        let [archive, root] = deposited(&self.deposits, &request.token)?;
        to_the_end(blocking(move || copy::packed(root.as_fd(), &request, archive))).await?;
        Ok(Empty {})
    }

    async fn unpack(&self, _: &TtrpcContext, request: UnpackArchive) -> ttrpc::Result<Empty> {
        let [archive, root] = deposited(&self.deposits, &request.token)?;
        // On the host the files are the caller's, whoever they were of, as with cp(1).
        let owner = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
        to_the_end(blocking(move || copy::unpacked(root.as_fd(), &request, archive, Some(owner), true))).await?;
        Ok(Empty {})
    }

    async fn stats(&self, _: &TtrpcContext, request: StatsRequest) -> ttrpc::Result<Document> {
        let stores = EngineStores::open(&self.engine.roots);
        let view = View { engine: &self.engine, stores: &stores };
        Ok(json(&view::stats::rows(&view, &request)?))
    }
}
