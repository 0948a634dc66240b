//! Who waits until the container is ready.

use std::os::fd::OwnedFd;

use proto::{Kind, Refusal, refusal::Result, wire::Empty};

use super::{Message, Monitor};
use crate::{readiness::Readiness, service::Reply, state::State};

impl Monitor {
    /// Hears the container from now on, where it is to say by itself that it is ready; by the socket that an earlier
    /// monitor has left where there is one.
    pub(super) fn listen_to_container(&mut self, kept: Option<OwnedFd>) -> Result<()> {
        let Some(readiness) = &mut self.readiness else { return Ok(()) };
        let directory = self.start.state_record.with_file_name("notify");
        let inbox = self.inbox.clone();
        let heard = move |lines| Monitor::send(&inbox, Message::Notified(lines));
        readiness
            .listen(&directory, kept, heard)
            .map_err(|error| Refusal::internal("the container's notify socket", error))
    }

    /// It runs.
    pub(super) fn announce(&mut self) {
        if let Some(readiness) = &mut self.readiness {
            readiness.started();
        }
        self.tell_ready();
    }

    /// It is healthy.
    pub(super) fn is_healthy(&mut self) {
        if let Some(readiness) = &mut self.readiness {
            readiness.healthy();
        }
        self.tell_ready();
    }

    /// It says something that may be passed on.
    pub(super) fn pass_on(&mut self, lines: &[String]) {
        if let Some(readiness) = &mut self.readiness {
            readiness.pass(lines);
        }
        self.tell_ready();
    }

    /// Somebody waits until it is ready.
    pub(super) fn wait_ready(&mut self, reply: Reply<Empty>) {
        // Who has gone does not wait.
        self.expectant.retain(|reply| !reply.is_closed());
        self.expectant.push(reply);
        match self.state.get() {
            State::Draining | State::Recorded | State::Failing | State::Failed | State::GivingUp | State::Leaving => {
                self.never_ready();
            }
            _ => self.tell_ready(),
        }
    }

    fn tell_ready(&mut self) {
        if self.readiness.as_ref().is_none_or(Readiness::is_ready) {
            for reply in self.expectant.drain(..) {
                // Who has gone does not hear it.
                let _ = reply.send(Ok(Empty {}));
            }
        }
    }

    /// It has ended: who still waits would wait for ever.
    pub(super) fn never_ready(&mut self) {
        self.tell_ready();
        for reply in self.expectant.drain(..) {
            let words = format!(
                "container {}: container stopped running before READY message was received: see --sdnotify",
                self.start.id
            );
            // Who has gone does not hear it.
            let _ = reply.send(Err(Refusal::new(Kind::WrongState, words)));
        }
    }
}
