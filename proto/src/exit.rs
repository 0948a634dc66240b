//! Exit codes of `podctl run`, `exec` and of everything else (podman-run(1), "Exit Status").

use crate::wire::ExitStatus;

/// The engine failed, the request was refused, the command line was wrong.
pub const ENGINE_ERROR: i32 = 125;
/// The container's command cannot be executed.
pub const NOT_EXECUTABLE: i32 = 126;
/// The container's command was not found.
pub const NOT_FOUND: i32 = 127;
/// Added to the number of the signal a process died of.
pub const SIGNAL_BASE: i32 = 128;

/// The status a process ended with, from the raw status of wait(2).
pub fn from_wait_status(raw: i32, finished_at: i64) -> ExitStatus {
    let signal = raw & 0x7f;
    if signal == 0 {
        ExitStatus { known: true, code: (raw >> 8) & 0xff, finished_at, ..Default::default() }
    } else {
        ExitStatus {
            known: true,
            code: SIGNAL_BASE + signal,
            signal: signal.unsigned_abs(),
            finished_at,
            ..Default::default()
        }
    }
}

/// A status nobody witnessed. It is shown as -1 and never as success.
pub fn unknown(finished_at: i64) -> ExitStatus {
    ExitStatus { known: false, code: -1, finished_at, ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_statuses() {
        assert_eq!(from_wait_status(0, 1).code, 0);
        assert_eq!(from_wait_status(7 << 8, 1).code, 7);
        let killed = from_wait_status(9, 1);
        assert_eq!((killed.code, killed.signal), (137, 9));
        let dumped = from_wait_status(11 | 0x80, 1);
        assert_eq!((dumped.code, dumped.signal), (139, 11));
        assert!(!unknown(1).known && unknown(1).code == -1);
    }
}
