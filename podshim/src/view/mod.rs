//! Answers that only read: stub.
use crate::config::Engine;
use proto::{Roots, refusal::Result, wire};
/// s
pub fn inspect(_: &Engine, _: &wire::InspectObjects) -> Result<Vec<u8>> {
    unimplemented!()
}
pub mod pods {
    use super::*;
    pub fn list(_: &Roots, _: &wire::ListPods) -> Result<Vec<u8>> {
        unimplemented!()
    }
    pub fn inspect(_: &Engine, _: &wire::InspectObjects) -> Result<Vec<u8>> {
        unimplemented!()
    }
}
pub mod containers {
    use super::*;
    pub fn list(_: &Roots, _: &wire::ListContainers) -> Result<Vec<u8>> {
        unimplemented!()
    }
}
pub mod logs {
    use super::*;
    use std::os::fd::OwnedFd;
    pub async fn write(_: &Roots, _: &wire::LogsRequest, _: OwnedFd, _: OwnedFd) -> Result<()> {
        unimplemented!()
    }
}
pub mod top {
    use super::*;
    pub fn top(_: &Roots, _: &wire::TopRequest) -> Result<wire::TopReply> {
        unimplemented!()
    }
}
