//! The service Secrets, for `podshim host`.

use async_trait::async_trait;
use proto::{
    Kind, Refusal, Roots,
    refusal::Result,
    wire::{CreateSecret, Document, ListSecrets, RemoveSecrets, SecretCreated, SecretNames, SecretsRemoved},
};
use serde_json::Value;
use ttrpc::r#async::TtrpcContext;

use super::json;
use crate::{
    secret::{self, SecretRecord, Secrets},
    spec,
};

/// The service over the secrets of an engine.
#[derive(Clone, Debug)]
pub struct Service(Secrets);

impl Service {
    /// Makes nothing.
    pub fn new(roots: &Roots) -> Service {
        Service(Secrets::open(roots))
    }

    fn create_secret(&self, request: CreateSecret) -> Result<SecretCreated> {
        if !matches!(request.driver.as_str(), "" | "file") {
            return Err(Refusal::new(
                Kind::NotSupported,
                format!(
                    "--driver {}: this version keeps secrets in files: leave it out",
                    spec::quotable(&request.driver)
                ),
            ));
        }
        spec::check_labels(&request.labels)?;
        let new = SecretRecord {
            schema: 0,
            id: String::new(),
            name: request.name.clone(),
            created: 0,
            updated: 0,
            labels: request.labels,
            options: request.driver_options,
        };
        match self.0.create(new, &request.data, request.replace) {
            Err(refusal) if request.ignore && refusal.kind == Kind::NameInUse => {
                Ok(SecretCreated { id: self.0.get(&request.name)?.id })
            }
            created => Ok(SecretCreated { id: created?.id }),
        }
    }

    fn list_secrets(&self, request: &ListSecrets) -> Result<Value> {
        secret::check(&request.filters)?;
        let mut documents = Vec::new();
        for record in self.0.list()? {
            if secret::passes(&request.filters, &record) {
                let mut document = secret::document(&record, None);
                // For who shows how long ago that was.
                document["Created"] = record.created.into();
                document["Updated"] = record.updated.into();
                documents.push(document);
            }
        }
        Ok(documents.into())
    }

    fn inspect_secrets(&self, request: &SecretNames) -> Result<Value> {
        let one = |name: &String| {
            let record = self.0.get(name)?;
            let data = request.show.then(|| self.0.data(&record)).transpose()?;
            Ok(secret::document(&record, data.as_deref()))
        };
        request.names.iter().map(one).collect()
    }

    fn remove_secrets(&self, request: RemoveSecrets) -> Result<SecretsRemoved> {
        let all = || -> Result<Vec<String>> { Ok(self.0.list()?.into_iter().map(|secret| secret.id).collect()) };
        let names = if request.all { all()? } else { request.names };
        let mut removed = SecretsRemoved::default();
        for name in names {
            match self.0.remove(&name) {
                Ok(id) => removed.ids.push(id),
                Err(refusal) if request.ignore && refusal.kind == Kind::NoSuchSecret => {}
                Err(refusal) => {
                    removed.missing |= refusal.kind == Kind::NoSuchSecret;
                    removed.errors.push(refusal.message);
                }
            }
        }
        Ok(removed)
    }
}

#[async_trait]
impl proto::wire::Secrets for Service {
    async fn create(&self, _: &TtrpcContext, request: CreateSecret) -> ttrpc::Result<SecretCreated> {
        Ok(self.create_secret(request)?)
    }

    async fn list(&self, _: &TtrpcContext, request: ListSecrets) -> ttrpc::Result<Document> {
        Ok(json(&self.list_secrets(&request)?))
    }

    async fn inspect(&self, _: &TtrpcContext, request: SecretNames) -> ttrpc::Result<Document> {
        Ok(json(&self.inspect_secrets(&request)?))
    }

    async fn remove(&self, _: &TtrpcContext, request: RemoveSecrets) -> ttrpc::Result<SecretsRemoved> {
        Ok(self.remove_secrets(request)?)
    }
}
