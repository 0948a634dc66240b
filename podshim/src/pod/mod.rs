//! What happens to one pod.
//!
//! ```text
//!            create            ensure_up            start             stop, end            remove
//!  (nothing) ──────▶ recorded ──────────▶ infra up ──────▶ members up ─────────▶ infra up ──▶ down ──▶ (nothing)
//!                                            ▲                                      │
//!                                            └───────────── start again ◀───────────┘
//! ```
//!
//! Who may do what at once is decided by three locks, always taken in this order and never held while something may take
//! as long as it likes (a stop's grace, a pull):
//!
//! 1. the **gate**: acts on one member share it, acts on the whole pod (start, stop, rm) have it alone;
//! 2. a member's **turn**: the steps of one member, one act after the other, beside those of other members;
//! 3. the pod's **core**: namespaces, network, ports, the order of start. Whoever holds it is the pod's driver.
//!
//! All three are fair: acts happen in the order in which they were asked for. Every act runs in a task of its own, so a
//! client that goes away changes nothing.

mod borrow;
mod bring_up;
mod connect;
pub mod copy;
pub mod create;
mod deleted;
mod depend;
pub mod dependents;
mod events;
mod files;
pub mod intent;
mod member;
pub mod names;
pub mod record;
pub mod remove;
mod secrets;
mod sources;
mod stop;
mod ulimits;
mod undo;
mod update;
mod upgrade;
pub mod volumes;
mod whole;

use std::{
    collections::HashMap,
    future::Future,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use proto::{
    Id, Refusal,
    alive::Lock,
    failpoint::{self, Point},
    layout::Target,
    raw::Deposits,
    record::{ContainerRecord, PodRecord},
    refusal::Result,
};
use tokio::sync::{Notify, RwLock, mpsc};

use crate::{
    config::Engine,
    image, index,
    monitor::{Ended, Supervisor},
    network, secret, volume,
};
use bring_up::Core;
use intent::{Intents, Newborn};

/// The pod this shim serves.
pub struct Pod {
    /// Configuration.
    pub engine: Engine,
    /// Its id. There need not be a record yet.
    pub id: Id,
    /// Its monitors.
    pub monitors: Supervisor,
    /// Descriptors clients have deposited for a request.
    pub deposits: Arc<Mutex<Deposits>>,
    networks: network::Networks,
    volumes: volume::Volumes,
    images: image::Store,
    secrets: secret::Secrets,
    intents: Arc<Intents>,
    newborn: Mutex<Option<Newborn>>,
    gate: RwLock<()>,
    turns: Mutex<HashMap<Id, Arc<tokio::sync::Mutex<()>>>>,
    core: tokio::sync::Mutex<Core>,
    acts: AtomicUsize,
    /// Starts that are under way, of members and of the whole pod: what is up is theirs, though nothing may live in it yet
    /// or any more.
    starts: AtomicUsize,
    changed: Notify,
    /// Something of its network may have been removed by somebody, or PID 1 of its PID namespace was killed.
    lost: Arc<Notify>,
    /// The pod's lock once more, for the program that this one may become.
    lock: Mutex<Option<OwnedFd>>,
}

/// A start that is under way, as long as this lives.
struct Starting<'a>(&'a AtomicUsize);

impl Starting<'_> {
    fn new(pod: &Pod) -> Starting<'_> {
        pod.starts.fetch_add(1, Ordering::AcqRel);
        Starting(&pod.starts)
    }
}

impl Drop for Starting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pod {
    /// Takes charge of the pod `id`: what an earlier shim left running is adopted.
    ///
    /// # Errors
    /// When what an earlier shim left cannot be taken over.
    pub async fn open(engine: Engine, id: Id, newborn: Option<Newborn>) -> Result<Arc<Pod>> {
        let (ended, mut events) = mpsc::unbounded_channel::<Ended>();
        let monitors =
            Supervisor::new(&engine, &id, ended).map_err(|error| Refusal::internal("the notify socket", error))?;
        let pod = Arc::new(Pod {
            networks: network::Networks::open(&engine.roots),
            volumes: volume::Volumes::open(&engine.roots),
            images: image::Store::open(&engine.roots),
            secrets: secret::Secrets::open(&engine.roots),
            intents: newborn.as_ref().map_or_else(|| Arc::new(Intents::new(&engine.roots, &id)), Newborn::intents),
            newborn: Mutex::new(newborn),
            engine,
            id,
            monitors,
            deposits: Arc::default(),
            gate: RwLock::default(),
            turns: Mutex::default(),
            core: tokio::sync::Mutex::default(),
            acts: AtomicUsize::new(0),
            starts: AtomicUsize::new(0),
            changed: Notify::new(),
            lost: Arc::default(),
            lock: Mutex::default(),
        });
        pod.adopt().await?;
        let this = Arc::downgrade(&pod);
        tokio::spawn(async move {
            while let Some(Ended(container)) = events.recv().await {
                let Some(pod) = this.upgrade() else { break };
                let this = pod.clone();
                // Nobody waits for this answer; what goes wrong is in the log.
                drop(pod.act(async move { this.ended(&container).await }));
            }
        });
        let (this, lost) = (Arc::downgrade(&pod), pod.lost.clone());
        tokio::spawn(async move {
            loop {
                lost.notified().await;
                let Some(pod) = this.upgrade() else { break };
                pod.mend().await;
                if let Err(refusal) = pod.renew_infra(&mut *pod.core.lock().await) {
                    tracing::error!("{refusal}");
                }
            }
        });
        Ok(pod)
    }

    /// Runs an act in a task of its own and counts it; the answer is lost only with the shim.
    pub fn act<T, F>(self: &Arc<Self>, work: F) -> impl Future<Output = Result<T>> + use<T, F>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        self.acts.fetch_add(1, Ordering::AcqRel);
        let pod = self.clone();
        let task = tokio::spawn(async move {
            let result = work.await;
            pod.acts.fetch_sub(1, Ordering::AcqRel);
            pod.changed.notify_one();
            result
        });
        async move { task.await.unwrap_or_else(|error| Err(Refusal::internal("the act broke off", error))) }
    }

    /// Nothing of the pod is up and nobody is at work.
    pub async fn is_idle(&self) -> bool {
        self.acts.load(Ordering::Acquire) == 0 && self.monitors.count() == 0 && !self.core.lock().await.is_up()
    }

    /// No act is under way.
    fn is_at_rest(&self) -> bool {
        self.acts.load(Ordering::Acquire) == 0
    }

    /// Waits until an act has ended.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The turn of a member.
    fn turn(&self, container: &Id) -> Arc<tokio::sync::Mutex<()>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry(container.clone()).or_default().clone()
    }

    /// The pod's record.
    ///
    /// # Errors
    /// [`proto::Kind::NoSuchPod`] when it has not been created, or has been removed.
    async fn record(&self) -> Result<Arc<PodRecord>> {
        self.core.lock().await.record.clone().ok_or_else(|| Refusal::no_such_pod(self.id.as_str()))
    }

    /// The container `id` of this pod as it is now.
    ///
    /// # Errors
    /// [`proto::Kind::NoSuchContainer`], or when its record cannot be read.
    pub fn container(&self, id: &Id) -> Result<(ContainerRecord, index::Container)> {
        let found = index::container(&self.engine.roots, &self.id, id).ok_or_else(|| match self.monitors.get(id) {
            Some(_)
                if self.engine.roots.is_lost(&Target::Container { pod: self.id.clone(), container: id.clone() }) =>
            {
                Refusal::internal(format!("container {id}"), "its record was deleted while it runs: end it with rm -f")
            }
            _ => Refusal::no_such_container(id.as_str()),
        })?;
        match &found.record {
            Ok(record) => Ok((record.clone(), found)),
            Err(_) => {
                Err(Refusal::internal(format!("container {id}"), "its record cannot be read: remove it with rm -f"))
            }
        }
    }

    /// The pod has been made: from now on it is there without a shim, too.
    fn born(&self) {
        self.newborn.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Lets go of `$RUN/pods/ID`. Called by the role when the pod is idle and its sockets are closed.
    pub fn leave(&self, lock: Lock) {
        // Nobody makes again what goes now.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        failpoint::pass(Point::ShimUnpinned);
        crate::namespace::pin::unpin(&self.engine.roots.namespaces(&self.id));
        if self.intents.is_kept() {
            intent::leave_open(&self.engine.roots, &self.id);
        } else {
            intent::leave(&self.engine.roots, &self.id);
        }
        failpoint::pass(Point::ShimLeft);
        // Of a pod that was not made after all nothing is left.
        self.born();
        drop(lock);
    }
}
