//! `update`: other limits, restart policy, health check and environment for a member, whether it runs or not.

use std::time::Duration;

use proto::{
    Id, Refusal,
    failpoint::{self, Point},
    record::{self, ContainerRecord, Durability, Phase, StartRecord},
    refusal::Result,
    serve,
    wire::{self, BlockLimit, ContainerResult, Resources, UpdateContainer},
};

use super::{Pod, create::check_health_log, member::result, ulimits::Ulimits};
use crate::{bundle, cgroup, index, spec};

/// How long a monitor may take to hear of it: it may be about to create or start the container.
const HEARD: Duration = Duration::from_secs(90);

impl Pod {
    /// Changes what `asked` names. Where the kernel, the disk or a check refuses, nothing has changed.
    ///
    /// # Errors
    /// A refusal that names the flag.
    pub async fn update(&self, id: &Id, asked: UpdateContainer) -> Result<ContainerResult> {
        let _gate = self.gate.read().await;
        let turn = self.turn(id);
        let _turn = turn.lock().await;
        let (before, found) = self.container(id)?;
        let after = spec::update(before.clone(), &asked)?;
        cgroup::check(&after.config.resources.clone().unwrap_or_default())?;
        check_health_log(&after.config)?;
        let start = self.start_record_of(id, &found);
        let limits = of_devices(&after, &asked);
        let back = |start: &StartRecord| cgroup::update(&start.cgroup, &of_devices(&before, &asked), &asked.given);
        let mut exchanged = Ulimits::default();
        let ulimits = bundle::ulimits(&asked.ulimits)?;
        if let Some(start) = &start {
            cgroup::update(&start.cgroup, &limits, &asked.given)?;
            // One that is refused takes the others with it; that refusal is what counts.
            exchanged = Ulimits::set(&ulimits, || cgroup::pids(&start.cgroup)).inspect_err(|_| drop(back(start)))?;
        }
        if let Err(refusal) = self.write_update(&after, start.as_ref(), &asked) {
            // All or nothing, as far as the disk and the kernel let us; the refusal is what counts.
            let _ = record::write(&self.engine.roots.container_record(&self.id, id), &before, Durability::Durable);
            if let Some(start) = &start {
                let _ = back(start);
                exchanged.back();
            }
            return Err(refusal);
        }
        if let Some(start) = &start {
            failpoint::refuse(Point::UpdateWritten)?;
            self.tell(id).await?;
            failpoint::pass(Point::UpdateTold);
            // Another run may have been made meanwhile of what was there before.
            cgroup::update(&start.cgroup, &limits, &asked.given)?;
        }
        self.note("update", &after);
        Ok(result(&after))
    }

    /// The start record of a member that has a process, or will have one again without our doing.
    fn start_record_of(&self, id: &Id, found: &index::Container) -> Option<StartRecord> {
        // Its process may have ended a moment ago, which its monitor has not written yet.
        let goes_on =
            found.monitor.as_ref().is_some_and(|state| !matches!(state.phase, Phase::Created | Phase::Exited));
        let is_up = found.init().is_some() || (goes_on && self.monitors.get(id).is_some());
        record::read(&self.engine.roots.start_record(&self.id, id)).ok().filter(|_| is_up)
    }

    fn write_update(
        &self,
        after: &ContainerRecord,
        start: Option<&StartRecord>,
        asked: &UpdateContainer,
    ) -> Result<()> {
        failpoint::refuse(Point::UpdateLimits)?;
        let roots = &self.engine.roots;
        let broken = |error: std::io::Error| Refusal::internal(format!("updating container {}", after.name), error);
        record::write(&roots.container_record(&self.id, &after.id), after, Durability::Durable).map_err(broken)?;
        failpoint::refuse(Point::UpdateRecorded)?;
        let Some(start) = start else { return Ok(()) };
        let limits = after.config.resources.clone().unwrap_or_default();
        bundle::amend(&start.bundle, &limits, &asked.ulimits, |env| spec::change_variables(env, asked))?;
        failpoint::refuse(Point::UpdateAmended)?;
        let path = roots.start_record(&self.id, &after.id);
        // Read anew: a witnessed exit may have been written into it.
        let mut start: StartRecord = record::read(&path).map_err(broken)?;
        start.restart = after.config.restart.clone().unwrap_or_default();
        start.health.clone_from(&after.config.health);
        start.limits = cgroup::block_limits(&start.cgroup, &limits)?;
        record::write(&path, &start, Durability::Volatile).map_err(broken)
    }

    /// Tells the monitor. One that dies of something else meanwhile has a successor, which may have read the start record
    /// before it changed.
    async fn tell(&self, id: &Id) -> Result<()> {
        let Some(monitor) = self.monitors.get(id) else { return Ok(()) };
        monitor
            .ask(|client| async move { client.reload(serve::deadline(HEARD), &wire::Empty {}).await })
            .await
            .map(drop)
    }
}

/// The limits of `record`; of devices those that were asked for, 0 where there is none.
fn of_devices(record: &ContainerRecord, asked: &UpdateContainer) -> Resources {
    let mut limits = record.config.resources.clone().unwrap_or_default();
    let wanted = asked.resources.clone().unwrap_or_default();
    let only = |all: &mut Vec<BlockLimit>, wanted: Vec<BlockLimit>| {
        let value = |device: &str| all.iter().find(|limit| limit.device == device).map_or(0, |limit| limit.value);
        *all =
            wanted.into_iter().map(|limit| BlockLimit { value: value(&limit.device), device: limit.device }).collect();
    };
    only(&mut limits.blkio_weights, wanted.blkio_weights);
    only(&mut limits.read_bps, wanted.read_bps);
    only(&mut limits.write_bps, wanted.write_bps);
    only(&mut limits.read_iops, wanted.read_iops);
    only(&mut limits.write_iops, wanted.write_iops);
    limits
}
