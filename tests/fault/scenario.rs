//! How each failpoint is reached.

/// An act, what it needs, and how one goes on after it was cut off.
#[derive(Debug)]
pub struct Scenario {
    /// What it is called in reports.
    pub name: &'static str,
    /// The points it is for: their names, or the beginnings of names, which end with a dot.
    pub points: &'static [&'static str],
    /// What is there before. Nothing fails here.
    pub setup: &'static str,
    /// Texts in the command lines of the processes that are killed before the act, at the same moment.
    pub kills: &'static [&'static str],
    /// The act.
    pub act: &'static str,
    /// What holds after it, whatever has failed. Typed where there is a second try, before that.
    pub truth: &'static str,
    /// Who comes to the first of these that is not the point itself is killed there, too, in a case of its own.
    pub second: &'static [&'static str],
    /// The second try, right after the first; it succeeds.
    pub again: &'static str,
    /// What it begins with is in no list: without the second try it stays.
    pub broken: bool,
    /// It is about images: it runs on an engine that has none, beside a registry.
    pub images: bool,
}

const NONE: Scenario = Scenario {
    name: "",
    points: &[],
    setup: "",
    kills: &[],
    act: "",
    truth: "",
    second: &[],
    again: "",
    broken: false,
    images: false,
};

/// What scenarios say in a word: a container that serves a page, counts, and ends with 7 when it is told; and what is true
/// of it, each with a deadline.
pub const WORDS: &str = r#"
COUNTER='nc -ll -p 80 -e echo page & i=0; until [ -e /end ]; do i=$((i+1)); echo line $i; sleep 0.02; done; echo last $i; exit 7'
soon() { for i in $(seq 200); do "$@" && return; sleep 0.05; done; echo "not so after 10 s: $*" >&2; return 1; }
is() {
    found=$(podctl inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}' victim)
    [ "$found" = "$1" ] || { echo "status, code and restarts are $found, not $1" >&2; return 1; }
}
told() {
    podctl exec victim touch /end
    # It may end before touch has, which is killed then.
    case $? in 0 | 137) ;; *) return 1 ;; esac
}
served() { [ "$(busybox nc -w 5 127.0.0.1 8080 < /dev/null)" = page ]; }
waited() {
    code=$(timeout -s KILL 30 podctl wait victim)
    [ "$code" = "$1" ] || { echo "it has ended with '$code', not with $1" >&2; return 1; }
}
whole() {
    podctl logs victim > ../logged
    last=$(sed -n 's/^last //p' ../logged)
    diff ../logged <(seq ${last:-0} | sed 's/^/line /'; echo last $last) > ../differs || { head -n 20 ../differs >&2; return 1; }
}
"#;

/// A pod with a member that publishes a port.
const UP: &str = "podctl run -d --pod new:p --name victim -p 8080:80 alpine top";

/// A pod that runs programs of its own, which can be installed anew.
const INSTALLED: &str = "$INSTALL && $OWN run -d --pod new:p --name victim -p 8080:80 alpine top";

/// A pod whose member writes what can be checked, and ends when it is told.
const COUNTS: &str = "podctl run -d --pod new:p --name victim -p 8080:80 alpine sh -c \"$COUNTER\"";

/// What such a member is, whoever of ours was killed: it runs, is served, says how it ends, and nothing of its log is lost.
const GOES_ON: &str = "is 'running 0 0' && served && told && waited 7 && whole && is 'exited 7 0'";

/// The same once it was told to end.
const HAS_ENDED: &str = "waited 7 && whole && soon is 'exited 7 0'";

/// What comes after that.
const STARTS: &str = "podctl start victim && waited 7";

/// The points of who takes over.
const TAKES_OVER: &[&str] = &["mon.begun", "mon.adopt.", "mon.adopted", "mon.serves", "monitor."];
const ADOPTS: &[&str] = &["shim.locked", "shim.open", "shim.bound", "shim.serves", "adopt."];

/// Those whose points match are all tried, with what is true afterwards.
pub const TAKE_OVERS: &[Scenario] = &[
    Scenario {
        name: "monitor killed",
        points: TAKES_OVER,
        setup: COUNTS,
        kills: &["podmon "],
        act: "podctl exec victim true",
        truth: GOES_ON,
        second: &["mon.serves", "mon.begun"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "shim killed",
        points: ADOPTS,
        setup: COUNTS,
        kills: &["podshim pod"],
        act: "podctl run --rm --pod p alpine true",
        truth: GOES_ON,
        second: &["shim.serves", "shim.locked"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "shim and monitor killed, shim",
        points: ADOPTS,
        setup: COUNTS,
        kills: &["podshim pod", "podmon "],
        act: "podctl exec victim true",
        truth: GOES_ON,
        second: &["mon.serves"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "shim and monitor killed, monitor",
        points: &["mon.begun", "mon.adopt.", "mon.adopted", "mon.serves", "monitor.sockets", "monitor.spawned"],
        setup: COUNTS,
        kills: &["podshim pod", "podmon "],
        act: "podctl exec victim true",
        truth: GOES_ON,
        second: &["shim.serves"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "an end",
        points: &["mon.end."],
        setup: COUNTS,
        act: "told",
        truth: HAS_ENDED,
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "an end under a successor",
        points: &["mon.end."],
        setup: COUNTS,
        kills: &["podmon "],
        act: "told",
        truth: HAS_ENDED,
        second: &["mon.adopted"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "an end under successors of both",
        points: &["mon.end."],
        setup: COUNTS,
        kills: &["podshim pod", "podmon "],
        // With a shim: where there is none, nobody can tell how it ends once its monitor is killed, too.
        act: "podctl start victim && told",
        truth: HAS_ENDED,
        second: &["adopt.members"],
        again: STARTS,
        ..NONE
    },
    Scenario {
        name: "all runs of a policy",
        points: &["mon.end.", "mon.again.counted"],
        setup: "podctl create --restart on-failure:2 --name victim alpine sh -c 'echo run; exit 7'",
        act: "podctl start victim",
        truth: "soon is 'exited 7 2' && [ $(podctl logs victim | grep -c run) = 3 ]",
        again: "podctl start victim",
        ..NONE
    },
];

/// The first whose points match counts.
pub const ALL: &[Scenario] = &[
    Scenario {
        name: "ps",
        points: &["podctl.host.started"],
        setup: "podctl create --name victim alpine top",
        act: "podctl ps -a",
        again: "podctl ps -a",
        ..NONE
    },
    Scenario {
        name: "create with pull",
        points: &["podctl.create.pulled", "pull."],
        act: "podctl create --name victim alpine top",
        again: "podctl container exists victim || podctl create --name victim alpine top",
        images: true,
        ..NONE
    },
    Scenario {
        name: "run --rm",
        points: &["podctl.run."],
        act: "podctl run --rm --name victim -v /anonymous alpine true",
        again: "podctl rm -f -t 0 victim && podctl run --rm --name victim -v /anonymous alpine true",
        ..NONE
    },
    Scenario {
        name: "pod create",
        points: &["pod.create."],
        act: "podctl pod create --name p -v vol:/v",
        again: "podctl pod exists p || podctl pod create --name p -v vol:/v",
        ..NONE
    },
    Scenario {
        name: "run that fails",
        points: &["create.failed"],
        act: "podctl run -d --pod new:p --name victim alpine /nonexistent; [ $? = 127 ]",
        again: "podctl rm -f -t 0 victim && podctl pod rm -f p && podctl run -d --pod new:p --name victim alpine top",
        ..NONE
    },
    Scenario {
        name: "create in a pod",
        points: &["create.named", "create.dir", "create.held"],
        setup: "podctl pod create --name p && podctl create --name other -v data:/data alpine top",
        act: "podctl create --pod p --name victim --volumes-from other -v vol:/v -v /anonymous alpine top",
        again: "podctl container exists victim || \
                podctl create --pod p --name victim --volumes-from other -v vol:/v -v /anonymous alpine top",
        ..NONE
    },
    Scenario {
        name: "create",
        points: &["create."],
        act: "podctl create --name victim -v vol:/v -v /anonymous alpine top",
        again: "podctl container exists victim || podctl create --name victim -v vol:/v -v /anonymous alpine top",
        ..NONE
    },
    Scenario {
        name: "rename",
        points: &["rename."],
        setup: "podctl create --name old alpine top",
        act: "podctl rename old victim",
        again: "podctl container exists victim || podctl rename old victim; podctl container exists victim",
        ..NONE
    },
    Scenario {
        name: "update",
        points: &["update.", "mon.reload."],
        setup: "podctl run -d --name victim alpine top",
        act: "podctl update -m 64m --restart on-failure victim",
        again: "podctl update -m 64m --restart on-failure victim && \
                test \"$(podctl inspect --format '{{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}}' victim)\" = \
                '67108864 on-failure' && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "run with a secret",
        points: &["start.secrets"],
        setup: "echo one | podctl secret create key -",
        act: "podctl run -d --name victim --secret key alpine top",
        again: "podctl container exists victim || podctl create --name victim --secret key alpine top; \
                podctl start victim && podctl exec victim cat /run/secrets/key",
        ..NONE
    },
    Scenario {
        name: "pod start",
        points: &["pod.start."],
        setup: "podctl pod create --name p -p 8080:80 && podctl create --pod p --name victim alpine top",
        act: "podctl pod start p",
        again: "podctl pod start p && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "pod stop",
        points: &["pod.stop.", "down."],
        setup: UP,
        act: "podctl pod stop -t 0 p",
        again: "podctl pod stop -t 0 p && podctl pod start p && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "pod rm",
        points: &["pod.rm."],
        setup: UP,
        act: "podctl pod rm -f -t 0 p",
        again: "podctl pod rm -f -t 0 p && ! podctl pod exists p",
        ..NONE
    },
    Scenario {
        name: "rm",
        points: &["rm.", "leave."],
        setup: "podctl run -d --name other -v data:/data alpine top && \
                podctl run -d --name victim --volumes-from other -v /anonymous -p 8080:80 alpine top",
        act: "podctl rm -f -t 0 victim",
        again: "podctl rm -f -t 0 victim && ! podctl container exists victim && podctl rm -f -t 0 other",
        ..NONE
    },
    Scenario {
        name: "another run by policy, monitor killed",
        points: &["mon.again.cleared"],
        // In the middle of a pause of three seconds.
        setup: "podctl run -d --restart always --name victim alpine sh -c 'exit 3' && \
                until podctl ps --format '{{.Status}} {{.Restarts}}' | grep -q '(3) [12] seconds* ago [5-9]'; do :; done",
        kills: &["podmon "],
        act: "podctl ps -a",
        again: "podctl stop -t 0 victim && podctl start victim",
        ..NONE
    },
    Scenario {
        name: "another run by policy",
        points: &["mon.again."],
        act: "podctl run -d --restart always --name victim alpine sh -c 'sleep 0.1; exit 3'",
        again: "podctl stop -t 0 victim && podctl start victim",
        ..NONE
    },
    Scenario {
        name: "pause",
        points: &["pause.", "mon.pause."],
        setup: "podctl run -d --name victim alpine top",
        act: "podctl pause victim",
        again: "podctl unpause victim; podctl pause victim && podctl unpause victim && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "unpause",
        points: &["unpause.", "mon.unpause."],
        setup: "podctl run -d --name victim alpine top && podctl pause victim",
        act: "podctl unpause victim",
        again: "podctl unpause victim; podctl exec victim true && podctl pause victim && podctl unpause victim",
        ..NONE
    },
    Scenario {
        name: "run with an image as a mount",
        points: &["start.image"],
        act: "podctl run -d --name victim --mount type=image,source=alpine,destination=/image alpine top",
        again: "podctl container exists victim || \
                podctl create --name victim --mount type=image,source=alpine,destination=/image alpine top; \
                podctl start victim && podctl exec victim test -s /image/etc/passwd",
        ..NONE
    },
    Scenario {
        name: "tag",
        points: &["tag."],
        setup: "podctl load -q -i $ALPINE",
        act: "podctl tag alpine other",
        again: "podctl tag alpine other && podctl untag other && podctl run --rm alpine true",
        images: true,
        ..NONE
    },
    Scenario {
        name: "system upgrade",
        points: &["upgrade.", "mon.upgrade."],
        setup: INSTALLED,
        act: "$INSTALL && $OWN system upgrade",
        again: "$OWN exec victim true && $OWN run --rm --pod p alpine true && $OWN system upgrade && \
                $OWN exec victim true",
        ..NONE
    },
    Scenario {
        name: "system check --repair",
        points: &["check."],
        setup: "podctl pod create --name lost && podctl create --pod lost --name victim alpine top && \
                id=$(podctl pod inspect --format '{{.Id}}' lost) && while [ -e ../runroot/pods/$id ]; do :; done && \
                rm ../state/pods/$id/pod.json",
        act: "podctl system check --quick --repair --force",
        again: "podctl system check --quick --repair --force && podctl create --name victim alpine top && \
                podctl pod create --name lost",
        broken: true,
        ..NONE
    },
    Scenario {
        name: "a run directory that somebody deletes",
        points: &["deleted.", "mon.mend."],
        setup: UP,
        act: "rm -rf ../runroot/pods/*; true",
        again: "podctl exec victim true && podctl pod stop -t 0 p && podctl pod start p && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "stop",
        points: &["stop.", "end.", "settle.", "shim.idle", "shim.unpinned", "shim.left", "network.down.", "mon.end."],
        setup: "podctl run -d --name victim -p 8080:80 alpine top",
        act: "podctl stop -t 0 victim",
        truth: "podctl stop -t 0 victim && waited 137 && soon is 'exited 137 0'",
        again: "podctl stop -t 0 victim && podctl start victim && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "network create",
        points: &["network.create."],
        act: "podctl network create net",
        again: "podctl network exists net || podctl network create net",
        ..NONE
    },
    Scenario {
        name: "network rm",
        points: &["network.rm."],
        setup: "podctl network create net && podctl run --rm --network net alpine true",
        act: "podctl network rm net",
        again: "podctl network rm -f net && podctl network create net",
        ..NONE
    },
    Scenario {
        name: "network connect",
        points: &["network.connect."],
        setup: "podctl network create net && podctl run -d --name victim -p 8080:80 alpine top",
        act: "podctl network connect net victim",
        again: "podctl network connect net victim; podctl network disconnect net victim",
        ..NONE
    },
    Scenario {
        name: "network disconnect",
        points: &["network.disconnect."],
        setup: "podctl network create net && podctl run -d --name victim --network podman --network net alpine top",
        act: "podctl network disconnect net victim",
        again: "podctl network disconnect -f net victim && podctl network connect net victim",
        ..NONE
    },
    Scenario {
        name: "rmi",
        points: &["image.rm."],
        setup: "podctl load -q -i $ALPINE",
        act: "podctl rmi alpine",
        again: "podctl rmi -f alpine && podctl load -q -i $ALPINE && podctl run --rm alpine true",
        images: true,
        ..NONE
    },
    Scenario {
        name: "load",
        points: &["image."],
        act: "podctl load -q -i $ALPINE",
        again: "podctl load -q -i $ALPINE && podctl run --rm alpine true",
        images: true,
        ..NONE
    },
    Scenario {
        name: "an image's content for a volume",
        points: &["volume.copy."],
        act: "podctl run --rm --name victim -v vol:/etc alpine true",
        again: "podctl rm -f -t 0 victim && podctl run --rm --name victim -v vol:/etc alpine test -s /etc/passwd",
        ..NONE
    },
    Scenario {
        name: "volume rm",
        points: &["volume.rm."],
        setup: "podctl volume create vol",
        act: "podctl volume rm vol",
        again: "podctl volume rm -f vol && podctl volume create vol",
        ..NONE
    },
    Scenario {
        name: "volume create",
        points: &["volume."],
        act: "podctl volume create vol",
        again: "podctl volume exists vol || podctl volume create vol",
        ..NONE
    },
    Scenario {
        name: "secret rm",
        points: &["secret.rm."],
        setup: "echo one | podctl secret create key -",
        act: "podctl secret rm key",
        again: "podctl secret rm key; echo two | podctl secret create key -",
        ..NONE
    },
    Scenario {
        name: "secret create",
        points: &["secret."],
        setup: "echo one | podctl secret create key -",
        act: "echo two | podctl secret create --replace key -",
        again: "echo two | podctl secret create --replace key -; test $(podctl secret ls -q | wc -l) = 1",
        ..NONE
    },
    Scenario {
        name: "cp",
        points: &["cp."],
        setup: "podctl create --name victim -v vol:/v alpine top",
        act: "podctl cp /etc/passwd victim:/v/file",
        again: "podctl cp /etc/passwd victim:/v/file && podctl start victim && podctl exec victim test -s /v/file",
        ..NONE
    },
    Scenario {
        name: "exec",
        points: &["mon.exec."],
        setup: "podctl run -d --name victim alpine top",
        act: "podctl exec victim true",
        again: "podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "logrotate",
        points: &["mon.rotate."],
        setup: "podctl run -d --name victim alpine sh -c 'echo line; exec top' && \
                until podctl logs victim | grep -q line; do :; done && podctl container logrotate victim",
        act: "podctl container logrotate victim",
        again: "podctl container logrotate victim && test $(podctl logs victim | grep -c line) = 1",
        ..NONE
    },
    Scenario {
        name: "adoption of a pod",
        points: &["adopt."],
        setup: UP,
        kills: &["podshim pod"],
        act: "podctl run --rm --pod p alpine true",
        again: "podctl run --rm --pod p alpine true && podctl exec victim true",
        ..NONE
    },
    Scenario {
        name: "adoption of a container",
        points: &["mon.adopt.streams", "monitor.replaced"],
        setup: UP,
        kills: &["podmon "],
        act: "podctl exec victim true",
        truth: "podctl exec victim true && is 'running 0 0'",
        again: "podctl exec victim true && podctl stop -t 0 victim",
        ..NONE
    },
    Scenario {
        name: "run -d",
        points: &["podctl.", "shim.", "up.", "network.up.", "start.", "monitor.", "mon."],
        act: "podctl run -d --name victim -p 8080:80 -v vol:/v alpine top",
        again: "podctl container exists victim || podctl create --name victim -p 8080:80 -v vol:/v alpine top; \
                podctl start victim && podctl exec victim true",
        ..NONE
    },
];

fn is_for(one: &str, point: &str) -> bool {
    if one.ends_with('.') { point.starts_with(one) } else { point == one }
}

/// The scenario that reaches `point`.
pub fn of(point: &str) -> Option<&'static Scenario> {
    // The longest that matches: `mon.rotate.` rather than `mon.`.
    let best = |scenario: &Scenario| scenario.points.iter().filter(|one| is_for(one, point)).map(|one| one.len()).max();
    ALL.iter().filter(|scenario| best(scenario).is_some()).max_by_key(|scenario| best(scenario))
}

/// The take-overs that reach `point`.
pub fn take_overs(point: &str) -> impl Iterator<Item = &'static Scenario> {
    TAKE_OVERS.iter().filter(move |scenario| scenario.points.iter().any(|one| is_for(one, point)))
}
