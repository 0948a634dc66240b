//! What is measured, and what is wanted.

use crate::Goal::{self, AtLeast, Reaching, Within};

/// What a row counts.
#[derive(Clone, Copy, Debug)]
pub enum Unit {
    /// The time of its act.
    Milliseconds,
    /// So many things a second.
    PerSecond(u32),
    /// So many megabytes a second.
    Megabytes(u32),
}

/// One operation. `p` is the engine; each field is a line of shell.
#[derive(Debug)]
pub struct Row {
    /// Its name in the table.
    pub name: &'static str,
    /// What is wanted.
    pub goal: Goal,
    /// What is counted.
    pub unit: Unit,
    /// At most so many rounds.
    pub rounds: usize,
    /// Once, before the first round.
    pub before_all: &'static str,
    /// Before each round.
    pub before: &'static str,
    /// The operation.
    pub act: &'static str,
    /// After each round.
    pub after: &'static str,
    /// Once, after the last.
    pub after_all: &'static str,
}

const ROW: Row = Row {
    name: "",
    goal: AtLeast(1.0),
    unit: Unit::Milliseconds,
    rounds: usize::MAX,
    before_all: "",
    before: "",
    act: "",
    after: "",
    after_all: "",
};

const REMOVE: &str = "p pod rm -f -t 0 x";
const POD_OF_TWO: &str =
    "p run -d --pod new:x --name a alpine sleep 99999 && p run -d --pod x --name b alpine sleep 99999";
const FOUR_CLIENTS: &str =
    "for c in 1 2 3 4; do for i in 1 2 3 4; do p run -d --name n$c$i alpine sleep 99999 || exit 1; done & done; wait";

/// A container says the file `$TMPDIR/lines` and is waited for.
const SAY: &str = "p run -d --name l -v $TMPDIR/lines:/lines:ro alpine cat /lines && p wait l";

/// Log throughput: lines of so many bytes.
const fn said(name: &'static str, megabytes: u32, before_all: &'static str) -> Row {
    Row {
        name,
        goal: AtLeast(3.0),
        unit: Unit::Megabytes(megabytes),
        rounds: 3,
        before_all,
        act: SAY,
        after: "p rm l",
        after_all: "rm $TMPDIR/lines",
        ..ROW
    }
}

/// A log of 400 MB, in lines of 80 bytes.
const LONG_LOG: &str = "yes $(printf %079d 0) | head -c 400000000 > $TMPDIR/lines && p run --name l -v $TMPDIR/lines:/lines:ro alpine cat /lines";
const NO_LONG_LOG: &str = "p rm l && rm $TMPDIR/lines";

/// Everything that is measured in time.
pub const ROWS: &[Row] = &[
    Row { name: "pod create", goal: AtLeast(10.0), act: "p pod create --name x", after: REMOVE, ..ROW },
    Row {
        name: "pod start, bridge",
        goal: AtLeast(8.0),
        before: "p pod create --name x",
        act: "p pod start x",
        after: REMOVE,
        ..ROW
    },
    Row {
        name: "pod start, published port",
        goal: AtLeast(8.0),
        before: "p pod create --name x -p 8080:80",
        act: "p pod start x",
        after: REMOVE,
        ..ROW
    },
    Row {
        name: "run -d in a pod",
        goal: AtLeast(6.0),
        before: "p pod create --name x && p pod start x",
        act: "p run -d --pod x --name a alpine sleep 99999",
        after: REMOVE,
        ..ROW
    },
    Row {
        name: "run -d into a new pod",
        goal: AtLeast(7.0),
        act: "p run -d --pod new:x --name a alpine sleep 99999",
        after: REMOVE,
        ..ROW
    },
    Row {
        name: "run -d, no pod",
        goal: AtLeast(6.0),
        act: "p run -d --name a alpine sleep 99999",
        after: "p rm -f -t 0 a",
        ..ROW
    },
    Row { name: "run --rm true", goal: AtLeast(6.0), act: "p run --rm alpine true", ..ROW },
    Row {
        name: "exec true",
        goal: AtLeast(12.0),
        before_all: POD_OF_TWO,
        act: "p exec a true",
        after_all: REMOVE,
        ..ROW
    },
    Row {
        name: "pod pause + unpause",
        goal: AtLeast(10.0),
        before_all: POD_OF_TWO,
        act: "p pod pause x && p pod unpause x",
        after_all: REMOVE,
        ..ROW
    },
    Row {
        name: "logs of 1000 lines",
        goal: AtLeast(8.0),
        before_all: "p run --name l alpine seq 1000",
        act: "p logs l",
        after_all: "p rm l",
        ..ROW
    },
    said("log, lines of 80 bytes", 200, "yes $(printf %079d 0) | head -c 200000000 > $TMPDIR/lines"),
    said("log, lines of 2 bytes", 10, "yes 0 | head -c 10000000 > $TMPDIR/lines"),
    said("log, lines of 8 KiB", 200, "yes $(printf %08191d 0) | head -c 200000000 > $TMPDIR/lines"),
    Row {
        name: "logs of 400 MB, read",
        goal: Reaching(500.0),
        unit: Unit::Megabytes(400),
        rounds: 1,
        before_all: LONG_LOG,
        act: "p logs l",
        after_all: NO_LONG_LOG,
        ..ROW
    },
    Row {
        name: "logs of 400 MB, --tail 10",
        goal: Within(20.0),
        rounds: 5,
        before_all: LONG_LOG,
        act: "p logs --tail 10 l",
        after_all: NO_LONG_LOG,
        ..ROW
    },
    Row {
        name: "pod inspect",
        goal: AtLeast(8.0),
        before_all: POD_OF_TWO,
        act: "p pod inspect x",
        after_all: REMOVE,
        ..ROW
    },
    Row { name: "pod top", goal: AtLeast(8.0), before_all: POD_OF_TWO, act: "p pod top x", after_all: REMOVE, ..ROW },
    Row { name: "ps", goal: AtLeast(8.0), before_all: POD_OF_TWO, act: "p ps", after_all: REMOVE, ..ROW },
    Row {
        name: "pod stop -t 0",
        goal: AtLeast(8.0),
        before: POD_OF_TWO,
        act: "p pod stop -t 0 x",
        after: REMOVE,
        ..ROW
    },
    Row { name: "pod rm -f", goal: AtLeast(8.0), before: POD_OF_TWO, act: "p pod rm -f -t 0 x", ..ROW },
    Row {
        name: "run -d by 4 clients at once",
        goal: AtLeast(6.0),
        unit: Unit::PerSecond(16),
        rounds: 3,
        act: FOUR_CLIENTS,
        after: "p ps -aq > $TMPDIR/all && test $(wc -l < $TMPDIR/all) = 16 && p rm -f -t 0 $(cat $TMPDIR/all)",
        ..ROW
    },
    Row {
        name: "pull + unpack, 200 MB, 8 layers",
        goal: AtLeast(2.0),
        rounds: 5,
        act: "p pull -q 127.0.0.1:5001/bench/heavy",
        after: "p rmi -f 127.0.0.1:5001/bench/heavy",
        ..ROW
    },
    Row { name: "--version", goal: Within(5.0), act: "p --version", ..ROW },
    Row { name: "--help", goal: Within(5.0), act: "p --help", ..ROW },
];
