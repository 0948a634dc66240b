//! Service Pods: what acts on one pod is served by its shim, the rest by the host role.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use proto::{
    Id, Refusal,
    failpoint::{self, Point},
    refusal::Result,
    wire::{
        CreatePod, Document, HelloReply, HelloRequest, InspectObjects, ListPods, NetworkAct, PodAct, PodCreated,
        PodResult, PodUpgraded, Pods, UpgradePod,
    },
};
use ttrpc::r#async::TtrpcContext;

use super::{hello, json, to_the_end};
use crate::{
    config::Engine,
    network::Networks,
    pod::{
        Pod,
        create::{Ports, check_host, make_pod},
        intent::{self, Newborn},
    },
    spec,
    view::{self, EngineStores, View},
    volume::Volumes,
};

/// The acts on one pod.
pub struct PodService(pub Arc<Pod>);

impl PodService {
    fn check(&self, act: &PodAct) -> Result<()> {
        self.check_id(&act.pod)
    }

    fn check_id(&self, pod: &str) -> Result<()> {
        if pod == self.0.id.as_str() { Ok(()) } else { Err(Refusal::no_such_pod(pod)) }
    }
}

fn timeout(act: &PodAct) -> Option<i64> {
    act.has_timeout.then_some(act.timeout_ms)
}

#[async_trait]
impl Pods for PodService {
    async fn hello(&self, _: &TtrpcContext, request: HelloRequest) -> ttrpc::Result<HelloReply> {
        Ok(hello(&request))
    }

    async fn start(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.start_pod().await }).await?)
    }

    async fn stop(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.stop_pod(timeout(&act)).await }).await?)
    }

    async fn restart(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.restart_pod(timeout(&act)).await }).await?)
    }

    async fn kill(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.kill_pod(&act.signal).await }).await?)
    }

    async fn pause(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.pause_pod().await }).await?)
    }

    async fn unpause(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.unpause_pod().await }).await?)
    }

    async fn connect(&self, _: &TtrpcContext, act: NetworkAct) -> ttrpc::Result<PodResult> {
        self.check_id(&act.pod)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.connect(act.attachment.unwrap_or_default()).await }).await?)
    }

    async fn disconnect(&self, _: &TtrpcContext, act: NetworkAct) -> ttrpc::Result<PodResult> {
        self.check_id(&act.pod)?;
        let pod = self.0.clone();
        let name = act.attachment.unwrap_or_default().name;
        Ok(self.0.act(async move { pod.disconnect(&name, act.force).await }).await?)
    }

    async fn upgrade(&self, _: &TtrpcContext, request: UpgradePod) -> ttrpc::Result<PodUpgraded> {
        self.check_id(&request.pod)?;
        if request.shim {
            self.0.upgrade_shim().await?;
            return Ok(PodUpgraded::default());
        }
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.upgrade_monitors().await }).await?)
    }

    async fn remove(&self, _: &TtrpcContext, act: PodAct) -> ttrpc::Result<PodResult> {
        self.check(&act)?;
        let pod = self.0.clone();
        Ok(self.0.act(async move { pod.remove_pod(&act, timeout(&act)).await }).await?)
    }
}

/// What concerns no pod that is up.
pub struct HostPodService(pub Engine);

#[async_trait]
impl Pods for HostPodService {
    async fn hello(&self, _: &TtrpcContext, request: HelloRequest) -> ttrpc::Result<HelloReply> {
        Ok(hello(&request))
    }

    async fn create(&self, _: &TtrpcContext, request: CreatePod) -> ttrpc::Result<PodCreated> {
        let engine = self.0.clone();
        to_the_end(create(engine, request)).await
    }

    async fn list(&self, _: &TtrpcContext, request: ListPods) -> ttrpc::Result<Document> {
        let stores = EngineStores::open(&self.0.roots);
        Ok(json(&view::pods::list(&View { engine: &self.0, stores: &stores }, &request)?))
    }

    async fn inspect(&self, _: &TtrpcContext, request: InspectObjects) -> ttrpc::Result<Document> {
        let stores = EngineStores::open(&self.0.roots);
        Ok(view::inspect::pods(&View { engine: &self.0, stores: &stores }, &request)?.document())
    }
}

/// Between two looks at a lock that is held for a few system calls.
const LOOK: Duration = Duration::from_millis(1);

/// Creates a pod: checks everything, then records it. Nothing runs.
async fn create(engine: Engine, request: CreatePod) -> Result<PodCreated> {
    let roots = &engine.roots;
    let config = spec::check_pod(request.config.unwrap_or_default())?;
    let id = Id::random().map_err(|error| Refusal::internal("a new id", error))?;
    check_host(&Networks::open(roots), &id, &config, Ports::Later)?;
    let broken = |error: std::io::Error| Refusal::internal("creating the pod", error);
    let newborn = Newborn::new(roots, &id);
    // While the lock is held nobody takes the claimed names for those of a creator that died.
    let lock = loop {
        match intent::lock(roots, &id).map_err(broken)? {
            Some(lock) => break lock,
            // Somebody looks whether we have been killed.
            None => tokio::time::sleep(LOOK).await,
        }
    };
    newborn.iter().for_each(Newborn::renew);
    let made = failpoint::check(Point::PodLock)
        .map_err(broken)
        .and_then(|()| make_pod(roots, &Volumes::open(roots), &id, config));
    intent::leave(roots, &id);
    drop(newborn);
    drop(lock);
    let record = made?;
    failpoint::pass(Point::PodMade);
    Ok(PodCreated { id: record.id.to_string(), name: record.name, warnings: Vec::new() })
}
