//! Places where a test makes a program fail: one between any two steps of every act that has several.
//!
//! Nothing happens at a point unless `PODCTL_FAILPOINTS` names a directory, which programs of ours hand on to those they
//! start. Then a file there that is called like the point says what happens: `kill` (SIGKILL to this process), `panic`,
//! `delay:MS`, or `error`. Whoever comes to the point removes the file first, and who could not remove it goes on: so it
//! happens once, whichever process it meets, and the test sees by the missing file that the point was reached.
//!
//! Where nothing is armed a point costs the look at one flag.

use std::{
    fs, io,
    path::PathBuf,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Refusal, refusal};

/// The variable that names the directory.
pub const VARIABLE: &str = "PODCTL_FAILPOINTS";

static ARMED: AtomicBool = AtomicBool::new(false);
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// Reads [`VARIABLE`]. Each program does so once, when it begins.
pub fn arm() {
    if let Some(directory) = std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty()) {
        ARMED.store(DIRECTORY.set(directory.into()).is_ok(), Ordering::Relaxed);
    }
}

/// A point whose step can fail.
///
/// # Errors
/// When a test wants it to.
#[inline]
pub fn check(point: Point) -> io::Result<()> {
    if ARMED.load(Ordering::Relaxed) { reached(point) } else { Ok(()) }
}

/// The same where failures are refusals.
///
/// # Errors
/// When a test wants it to.
#[inline]
pub fn refuse(point: Point) -> refusal::Result<()> {
    check(point).map_err(|error| Refusal::internal("a test", error))
}

/// A point after a step that nobody waits for, or that cannot fail: an `error` there changes nothing.
#[inline]
pub fn pass(point: Point) {
    // See above.
    let _ = check(point);
}

#[cold]
fn reached(point: Point) -> io::Result<()> {
    let Some(path) = DIRECTORY.get().map(|directory| directory.join(point.name())) else { return Ok(()) };
    let Ok(action) = fs::read_to_string(&path) else { return Ok(()) };
    if fs::remove_file(&path).is_err() {
        return Ok(());
    }
    match action.trim() {
        "kill" => {
            // To ourselves: the only error is a signal that there is not.
            let _ = kill(Pid::this(), Signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
        "panic" => panic!("failpoint {}", point.name()),
        "error" => Err(io::Error::other(format!("failpoint {}", point.name()))),
        action => {
            let delay = action.strip_prefix("delay:").and_then(|delay| delay.parse().ok()).unwrap_or(0);
            std::thread::sleep(Duration::from_millis(delay));
            Ok(())
        }
    }
}

macro_rules! points {
    ($($point:ident $name:literal $how:ident)*) => {
        /// Every point.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "each is called like the place it stands at")]
        pub enum Point { $($point,)* }

        impl Point {
            /// All of them, in the order of the acts.
            pub const ALL: &[Point] = &[$(Point::$point,)*];

            /// What tests know it by: the act, and what has just been done.
            pub fn name(self) -> &'static str {
                match self { $(Point::$point => $name,)* }
            }

            /// Whether its step can fail: [`check`] or [`refuse`] stands there, not [`pass`].
            pub fn fails(self) -> bool {
                match self { $(Point::$point => matches!(stringify!($how), "fails"),)* }
            }

            /// What the source calls it.
            pub fn variant(self) -> &'static str {
                match self { $(Point::$point => stringify!($point),)* }
            }
        }
    };
}

points! {
    ClientHost "podctl.host.started" passes
    ClientShim "podctl.shim.started" fails
    ClientCreate "podctl.create.connected" passes
    ClientCreated "podctl.create.answered" passes
    ClientPulled "podctl.create.pulled" passes
    ClientRun "podctl.run.initialized" passes
    ClientRan "podctl.run.ended" passes
    ShimLocked "shim.locked" fails
    ShimOpen "shim.open" fails
    ShimBound "shim.bound" fails
    ShimServes "shim.serves" fails
    ShimIdle "shim.idle" passes
    ShimUnpinned "shim.unpinned" passes
    ShimLeft "shim.left" passes
    AdoptPinned "adopt.pinned" fails
    AdoptNetwork "adopt.network" fails
    AdoptState "adopt.state" fails
    AdoptMembers "adopt.members" fails
    PodLock "pod.create.locked" fails
    PodMade "pod.create.made" passes
    PodBegun "pod.create.begun" fails
    PodNamed "pod.create.named" fails
    PodClaimed "pod.create.claimed" fails
    PodDir "pod.create.dir" fails
    PodRecorded "pod.create.recorded" fails
    PodHeld "pod.create.held" passes
    PodVolumes "pod.create.volumes" passes
    MemberPod "create.pod" fails
    MemberClaimed "create.claimed" passes
    MemberHeld "create.held" fails
    MemberRecorded "create.recorded" passes
    MemberVolumes "create.volumes" fails
    MemberMade "create.made" passes
    MemberFailed "create.failed" passes
    MemberDir "create.dir" fails
    MemberNamed "create.named" passes
    LeaveBegun "leave.begun" passes
    LeaveEmptied "leave.emptied" passes
    LeaveUnlocked "leave.unlocked" passes
    UpdateLimits "update.limits" fails
    UpdateRecorded "update.recorded" fails
    UpdateAmended "update.amended" fails
    UpdateWritten "update.written" fails
    UpdateTold "update.told" passes
    MonReload "mon.reload.read" fails
    RenameClaimed "rename.claimed" passes
    RenameRecorded "rename.recorded" passes
    UpCgroup "up.cgroup" fails
    UpNamespaces "up.namespaces" fails
    UpInfra "up.infra" fails
    UpShm "up.shm" fails
    UpNetwork "up.network" passes
    UpFiles "up.files" fails
    UpRan "up.ran" fails
    UpState "up.state" fails
    UpServes "up.serves" passes
    NetPorts "network.up.ports" fails
    NetJoined "network.up.joined" fails
    NetBridge "network.up.bridge" fails
    NetPair "network.up.pair" fails
    NetNoted "network.up.noted" fails
    NetBridgeMade "network.up.bridge_made" fails
    NetInside "network.up.inside" fails
    NetRules "network.up.rules" fails
    NetDownRules "network.down.rules" fails
    NetDownLeft "network.down.left" fails
    NetDownSwept "network.down.swept" passes
    NetDownBridge "network.down.bridge" fails
    NetworkCreate "network.create.planned" fails
    NetworkCreated "network.create.recorded" passes
    NetworkRmBridge "network.rm.bridge" fails
    NetworkRmForgot "network.rm.forgotten" passes
    ConnectRules "network.connect.rules" fails
    DisconnectDevice "network.disconnect.device" fails
    DisconnectLeft "network.disconnect.left" fails
    ConnectUp "network.connect.up" passes
    DisconnectUp "network.disconnect.up" passes
    ConnectState "network.connect.state" passes
    ConnectRecorded "network.connect.recorded" passes
    StartDir "start.dir" fails
    StartRootfs "start.rootfs" fails
    StartSecrets "start.secrets" fails
    StartImage "start.image" fails
    StartMounts "start.mounts" fails
    StartFiles "start.files" fails
    StartBundle "start.bundle" fails
    StartRecorded "start.recorded" fails
    StartMonitor "start.monitor" passes
    StartCreated "start.created" passes
    StartStarted "start.started" passes
    StartNoted "start.noted" passes
    MonitorSockets "monitor.sockets" fails
    MonitorSpawned "monitor.spawned" passes
    MonitorReplaced "monitor.replaced" passes
    PauseAsked "pause.asked" fails
    PauseDone "pause.done" passes
    UnpauseAsked "unpause.asked" fails
    UnpauseDone "unpause.done" passes
    StopAsked "stop.asked" fails
    StopEnded "stop.ended" passes
    EndTornDown "end.torn_down" fails
    EndForgotten "end.forgotten" fails
    SettleDown "settle.down" passes
    RmStopped "rm.stopped" fails
    RmTornDown "rm.torn_down" fails
    RmForgotten "rm.forgotten" passes
    RmRecord "rm.record" passes
    RmDependents "rm.dependents" passes
    RmVolumes "rm.volumes" passes
    RmBuried "rm.buried" fails
    RmNames "rm.names" fails
    PodRmBuried "pod.rm.buried" fails
    RmTombstone "rm.tombstone" fails
    DownNetwork "down.network" passes
    DownNamespaces "down.namespaces" passes
    DownCgroup "down.cgroup" passes
    DownRan "down.ran" passes
    UpgradeMonitor "upgrade.monitor" fails
    UpgradeShim "upgrade.shim" passes
    DeletedLocked "deleted.locked" passes
    DeletedWritten "deleted.written" passes
    CheckFound "check.found" passes
    CheckMended "check.mended" passes
    BuryKilled "check.bury.killed" fails
    BuryNames "check.bury.names" fails
    PodStartUp "pod.start.up" fails
    PodStarted "pod.start.members" passes
    PodStopMembers "pod.stop.members" fails
    PodRmStopped "pod.rm.stopped" fails
    PodRmDown "pod.rm.down" fails
    PodRmNames "pod.rm.names" fails
    ImageTemporary "image.temporary" fails
    ImageNames "image.names" fails
    ImageCollected "image.rm.collected" fails
    ImageLayerDir "image.layer.dir" fails
    ImageUnpacked "image.layer.unpacked" fails
    ImageLayerRecorded "image.layer.recorded" fails
    ImageBlob "image.layer.blob" fails
    ImageLayer "image.layer.placed" fails
    ImageConfig "image.config" fails
    ImageTexts "image.texts" fails
    ImageSynced "image.synced" fails
    ImageRecorded "image.recorded" fails
    ImageRmRecord "image.rm.record" fails
    ImageRmNames "image.rm.names" fails
    ImageTagged "tag.named" passes
    PullBegun "pull.begun" passes
    PullLayers "pull.layers" passes
    VolumeDir "volume.create.dir" fails
    VolumeRecorded "volume.create.recorded" fails
    VolumePlaced "volume.create.placed" passes
    VolumeGone "volume.rm.gone" fails
    VolumeCollect "volume.rm.collect" fails
    VolumeCopied "volume.copy.done" fails
    VolumePart "volume.copy.part" fails
    VolumeMoved "volume.copy.moved" fails
    SecretData "secret.create.data" fails
    SecretRecorded "secret.create.recorded" passes
    SecretGone "secret.rm.gone" fails
    CopyDir "cp.dir" fails
    CopyMounted "cp.mounted" fails
    CopyDone "cp.done" passes
    MonBegun "mon.begun" fails
    MonAdopted "mon.adopted" fails
    MonServes "mon.serves" passes
    MonCreate "mon.create.begun" fails
    MonCreated "mon.create.made" fails
    MonHeld "mon.create.held" fails
    MonPumps "mon.create.pumps" fails
    MonInit "mon.create.init" passes
    MonStart "mon.start.begun" passes
    MonPlaceholder "mon.start.placeholder" passes
    MonStarted "mon.start.started" fails
    MonDrain "mon.end.seen" passes
    MonDrained "mon.end.drained" passes
    MonWritten "mon.end.written" passes
    MonDeleted "mon.end.deleted" passes
    MonGone "mon.end.gone" passes
    MonWrite "mon.end.write" fails
    MonAgain "mon.again.counted" passes
    MonClear "mon.again.cleared" passes
    MonFroze "mon.pause.frozen" passes
    MonThawed "mon.unpause.thawed" passes
    MonUpgrade "mon.upgrade.passed" passes
    MonMended "mon.mend.made" passes
    MonAdoptState "mon.adopt.state" passes
    MonAdoptStreams "mon.adopt.streams" passes
    ExecSpec "mon.exec.spec" fails
    ExecMade "mon.exec.made" fails
    ExecBegun "mon.exec.begun" passes
    RotateRoom "mon.rotate.room" fails
    RotateLinked "mon.rotate.linked" fails
    RotateFresh "mon.rotate.fresh" fails
    RotateNamed "mon.rotate.named" fails
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_happens_unless_armed_and_then_once() {
        let directory = tempfile::tempdir().expect("tempdir");
        let file = directory.path().join(Point::PodDir.name());
        fs::write(&file, "error").expect("write");
        check(Point::PodDir).expect("not armed");
        assert!(file.exists());
        DIRECTORY.set(directory.path().to_owned()).expect("nobody else arms");
        ARMED.store(true, Ordering::Relaxed);
        let refusal = refuse(Point::PodDir).expect_err("armed");
        assert_eq!(refusal.message, "a test: failpoint pod.create.dir");
        assert!(!file.exists());
        check(Point::PodDir).expect("only once");
        fs::write(&file, "delay:1").expect("write");
        check(Point::PodDir).expect("late and no error");
        assert!(!file.exists());
    }

    #[test]
    fn names_are_unlike_each_other() {
        let names: std::collections::BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
