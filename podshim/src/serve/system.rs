//! The service System: the engine itself, and documents of objects of any kind.

use async_trait::async_trait;
use proto::{
    Refusal,
    wire::{self, CheckRequest, Document, EventsRequest, HelloReply, HelloRequest, InspectObjects},
};
use ttrpc::r#async::TtrpcContext;

use crate::{
    check,
    config::Engine,
    pod::copy::blocking,
    view::{EngineStores, View, events, info, inspect, programs, usage},
};

/// Serves System.
#[derive(Debug)]
pub struct System {
    engine: Engine,
    stores: EngineStores,
    deposits: super::raw::Shared,
}

impl System {
    /// Of this engine, with what clients deposit.
    pub fn new(engine: Engine, deposits: super::raw::Shared) -> System {
        let stores = EngineStores::open(&engine.roots);
        System { engine, stores, deposits }
    }

    fn view(&self) -> View<'_> {
        View { engine: &self.engine, stores: &self.stores }
    }
}

#[async_trait]
impl wire::System for System {
    async fn hello(&self, _: &TtrpcContext, request: HelloRequest) -> ttrpc::Result<HelloReply> {
        Ok(super::hello(&request))
    }

    async fn info(&self, _: &TtrpcContext, _: wire::Empty) -> ttrpc::Result<Document> {
        let document = info::document(&self.view())?;
        Ok(Document { json: document.to_string().into_bytes() })
    }

    async fn check(&self, _: &TtrpcContext, request: CheckRequest) -> ttrpc::Result<Document> {
        let engine = self.engine.clone();
        let document = super::to_the_end(blocking(move || check::run(&engine, &request))).await?;
        Ok(super::json(&document))
    }

    async fn programs(&self, _: &TtrpcContext, _: wire::Empty) -> ttrpc::Result<Document> {
        Ok(super::json(&programs::document(&self.view())?))
    }

    async fn disk_usage(&self, _: &TtrpcContext, _: wire::Empty) -> ttrpc::Result<Document> {
        let engine = self.engine.clone();
        // Every file of every volume is looked at.
        let document = blocking(move || {
            let stores = EngineStores::open(&engine.roots);
            usage::document(&View { engine: &engine, stores: &stores })
        });
        Ok(super::json(&document.await?))
    }

    async fn events(&self, _: &TtrpcContext, request: EventsRequest) -> ttrpc::Result<wire::Empty> {
        let Some(out) = super::raw::take(&self.deposits, &request.token).pop() else {
            return Err(Refusal::invalid("events needs a descriptor under its token").into());
        };
        let roots = self.engine.roots.clone();
        super::to_the_end(blocking(move || events::write(&roots, &request, out))).await?;
        Ok(wire::Empty {})
    }

    /// `{"found":[…],"errors":["…"]}`: what was found is printed, then an error for each name that is missing.
    async fn inspect(&self, _: &TtrpcContext, request: InspectObjects) -> ttrpc::Result<Document> {
        Ok(inspect::objects(&self.view(), &request)?.document())
    }
}
