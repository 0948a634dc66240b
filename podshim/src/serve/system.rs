//! The service System: the engine itself, and documents of objects of any kind.

use async_trait::async_trait;
use proto::wire::{self, Document, HelloReply, HelloRequest, InspectObjects};
use ttrpc::r#async::TtrpcContext;

use crate::{
    config::Engine,
    view::{EngineStores, View, info, inspect},
};

/// Serves System.
#[derive(Debug)]
pub struct System {
    engine: Engine,
    stores: EngineStores,
}

impl System {
    /// Of this engine.
    pub fn new(engine: Engine) -> System {
        let stores = EngineStores::open(&engine.roots);
        System { engine, stores }
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

    /// `{"found":[…],"errors":["…"]}`: what was found is printed, then an error for each name that is missing.
    async fn inspect(&self, _: &TtrpcContext, request: InspectObjects) -> ttrpc::Result<Document> {
        Ok(inspect::objects(&self.view(), &request)?.document())
    }
}
