//! What is refused: in which words, with which code, and that nothing came of it.
//!
//! One table. A row is a command line, the code, and what its one line of complaint says: all of it after `Error: `
//! where a row says [`Is`], a part where it says [`Has`]. After each row everything that an engine can leave behind is
//! compared with what was there before it.

use std::time::Duration;

use harness::{oracle, programs::is_stand_in, wait};

mod commands;
mod coverage;
mod exceptions;
mod hostile;
mod later;
mod machine;
mod options;

enum Words {
    /// The complaint is exactly this.
    Is(&'static str),
    /// The complaint contains this: the rest depends on ids, or on the machine.
    Has(&'static str),
}
use Words::{Has, Is};

/// Within this everything of a refused line is gone: a shim that was started for it leaves when idle for 2 s.
const LINGER: Duration = Duration::from_secs(10);

type Row = (&'static str, i32, Words);

/// What names are made of.
const RULE: &str = "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument";

const POD_CREATE: &[Row] = &[
    ("pod create --name one two", 125, Is("cannot specify --name and NAME at the same time")),
    ("pod create one two", 125, Has("accepts at most 1 arg(s), received 2")),
    ("pod create --name web", 125, Has("name \"web\" is in use: pod already exists")),
    ("pod create --name up", 125, Has("name \"up\" is in use")),
    ("pod create --name -x", 125, Has(RULE)),
    ("pod create --name a/b", 125, Has(RULE)),
    (
        "pod create --share bogus",
        125,
        Is("invalid kernel namespace to share: bogus. Options are: cgroup, ipc, net, pid, uts or none"),
    ),
    ("pod create --infra=false --share net", 125, Has("cannot set share(net) namespaces without an infra container")),
    (
        "pod create --infra=false -p 8080:80",
        125,
        Is("you must have an infra container to publish port bindings to the host"),
    ),
    ("pod create --infra=false --network none", 125, Has("NoInfra and network modes cannot be used together")),
    ("pod create --infra=false --network bridge", 125, Has("NoInfra")),
    ("pod create --infra=false --dns 1.1.1.1", 125, Has("NoInfra and")),
    ("pod create --infra=false --add-host a:1.2.3.4", 125, Has("NoInfra and")),
    ("pod create --infra=false --no-hosts", 125, Has("no-hosts")),
    ("pod create --exit-policy bad", 125, Is("running pod create option: invalid pod exit policy: \"bad\"")),
    ("pod create --network nosuch", 125, Has("nosuch")),
    ("pod create --network container:up", 125, Is("pods presently do not support network mode container")),
    ("pod create --network none --dns 1.1.1.1", 125, Has("conflicting options: dns and the network mode: none")),
    ("pod create --dns nonsense", 125, Has("nonsense")),
    ("pod create --add-host nonsense", 125, Has("nonsense")),
    ("pod create --no-hosts --add-host a:1.2.3.4", 125, Has("no-hosts")),
    ("pod create -p 80:80:80:80", 125, Is("invalid port format - format is [[hostIP:]hostPort:]containerPort")),
    ("pod create -p 0:80", 125, Has("0")),
    ("pod create -p 8080:0", 125, Has("0")),
    ("pod create -p 70000:80", 125, Has("70000")),
    ("pod create -p 8080:70000", 125, Has("70000")),
    ("pod create -p 8080-8081:80-82", 125, Is("host and container port ranges have different lengths: 2 vs 3")),
    ("pod create -p 8080:80/bogus", 125, Has("bogus")),
    ("pod create -p 300.1.1.1:8080:80", 125, Has("300.1.1.1")),
    ("pod create -p x:80", 125, Has("x")),
    ("pod create -p 8080:80 -p 8080:81", 125, Has("8080")),
    ("pod create --network none -p 8080:80", 125, Has("PortMappings can only be used with Bridge")),
    ("pod create --network host -p 8080:80", 125, Has("PortMappings can only be used with Bridge")),
    ("pod create --hostname 'a b'", 125, Has(RULE)),
    ("pod create --label =x", 125, Has("label")),
    ("pod create -v relative/dir:/x", 125, Has("relative/dir")),
    ("pod create -v vol:relative", 125, Has("relative")),
    ("pod create -v /no/such/dir:/x", 125, Has("/no/such/dir")),
    ("pod create -v vol:/x:bogus", 125, Has("bogus")),
    ("pod create -v a:/x -v b:/x", 125, Has("/x")),
    ("pod create --memory 1k", 125, Has("memory")),
    ("pod create --memory lots", 125, Has("lots")),
    ("pod create --cpus -1", 125, Has("cpus")),
    ("pod create --restart bogus", 125, Has("bogus")),
    ("pod create --shm-size lots", 125, Has("lots")),
    ("pod create --no-such-option", 125, Has("unknown flag: --no-such-option")),
];

const POD_VERBS: &[Row] = &[
    ("pod", 125, Has("missing command 'podctl pod COMMAND'")),
    ("pod bogus", 125, Has("unrecognized command `podctl pod bogus`")),
    ("bogus", 125, Has("unrecognized command `podctl bogus`")),
    ("pod start", 125, Is("you must provide at least one name or id")),
    ("pod stop", 125, Is("you must provide at least one name or id")),
    ("pod restart", 125, Is("you must provide at least one name or id")),
    ("pod pause", 125, Is("you must provide at least one name or id")),
    ("pod unpause", 125, Is("you must provide at least one name or id")),
    ("pod rm", 125, Is("you must provide at least one name or id")),
    ("pod start nosuch", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod stop nosuch", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod restart nosuch", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod pause nosuch", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod unpause nosuch", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod rm nosuch", 1, Is("no pod with name or ID nosuch found: no such pod")),
    ("pod rm -t 3 web", 125, Is("--force option must be specified to use the --time option")),
    ("pod rm --all web", 125, Is("no arguments are needed with --all")),
    ("pod stop --all web", 125, Is("no arguments are needed with --all")),
    ("pod stop -t x web", 125, Has("x")),
    ("pod inspect", 125, Has("name")),
    ("pod inspect nosuch", 125, Is("no such pod nosuch")),
    ("pod inspect --format '{{.NoSuchField}}' web", 125, Has("NoSuchField")),
    ("pod inspect --format '{{' web", 125, Has("")),
    ("pod logs", 125, Is("specify at least one pod name or ID to log")),
    ("pod logs web other", 125, Has("requires exactly 1 arg")),
    ("pod logs nosuch", 125, Has("no pod with name or ID nosuch found: no such pod")),
    ("pod logs -c nosuch web", 125, Is("container nosuch is not in pod web: no such container")),
    ("pod top", 125, Is("you must provide the name or id of a running pod")),
    ("pod top nosuch", 125, Has("no pod with name or ID nosuch found: no such pod")),
    ("pod top web bogus", 125, Has("bogus")),
    ("pod exists", 125, Has("accepts 1 arg(s), received 0")),
    ("pod ps --filter bogus=1", 125, Has("bogus is an invalid filter")),
    ("pod ps --filter status=bad", 125, Has("bad is not a valid pod status")),
    ("pod ps --filter name", 125, Has("filter input must be in the form of filter=value: name is invalid")),
    ("pod ps --sort bogus", 125, Has("invalid option for --sort, options are: created, id, name, number, or status")),
    ("pod ps -q --format json", 125, Is("quiet and format cannot be used together")),
    ("pod ps --format '{{.Bogus}}'", 125, Has("Bogus")),
];

const MEMBER: &[Row] = &[
    (
        "run --pod web -p 8080:80 alpine",
        125,
        Is(
            "invalid config provided: published or exposed ports must be defined when the pod is created: network cannot be configured when it is shared with a pod",
        ),
    ),
    ("run --pod web -P alpine", 125, Has("published or exposed ports must be defined when the pod is created")),
    (
        "run --pod web --ip 10.88.0.9 alpine",
        125,
        Has(
            "networks must be defined when the pod is created: network cannot be configured when it is shared with a pod",
        ),
    ),
    (
        "run --pod web --mac-address 02:00:00:00:00:01 alpine",
        125,
        Has("networks must be defined when the pod is created"),
    ),
    ("run --pod web --network-alias x alpine", 125, Has("networks must be defined when the pod is created")),
    (
        "run --pod web --add-host a:1.2.3.4 alpine",
        125,
        Has(
            "extra host entries must be specified on the pod: network cannot be configured when it is shared with a pod",
        ),
    ),
    (
        "run --pod web --hostname x alpine",
        125,
        Has("cannot set hostname when joining the pod UTS namespace: invalid configuration"),
    ),
    ("run --pod nosuch alpine", 125, Is("no pod with name or ID nosuch found: no such pod")),
    ("run --pod new: alpine", 125, Is("new pod name must be at least one character")),
    ("run --pod new:web alpine", 125, Has("name \"web\" is in use")),
    (
        "run --pod web --userns keep-id alpine",
        125,
        Is("cannot set user namespace mode when joining pod with infra container: invalid argument"),
    ),
];

const CONTAINER: &[Row] = &[
    ("run", 125, Has("requires at least 1 arg(s), only received 0")),
    ("run --bogus alpine", 125, Has("unknown flag: --bogus")),
    ("run --name up alpine", 125, Has("name \"up\" is in use: container already exists")),
    ("run --name web alpine", 125, Has("name \"web\" is in use")),
    ("run --name 'a b' alpine", 125, Has(RULE)),
    ("run --name ../x alpine", 125, Has(RULE)),
    ("run --pull never nosuch", 125, Has("nosuch")),
    ("run --pull sometimes alpine", 125, Has("sometimes")),
    ("run alpine/UPPER", 125, Has("UPPER")),
    ("run 'alpine:no tag' true", 125, Has("no tag")),
    (
        "run --rm --restart always alpine",
        125,
        Is("the --rm option conflicts with --restart, when the restartPolicy is not \"\" and \"no\""),
    ),
    ("run --restart bogus alpine", 125, Has("bogus")),
    ("run -w relative alpine", 125, Has("relative")),
    ("run --rm -u nosuchuser alpine", 125, Has("nosuchuser")),
    ("run --rm -u root:nosuchgroup alpine", 125, Has("nosuchgroup")),
    ("run -e =x alpine", 125, Has("=x")),
    ("run --env-file /no/such/file alpine", 125, Has("/no/such/file")),
    ("run --label =x alpine", 125, Has("label")),
    ("run --cap-add nonsense alpine", 125, Is("\"CAP_NONSENSE\": unknown capability")),
    ("run --cap-drop nonsense alpine", 125, Is("\"CAP_NONSENSE\": unknown capability")),
    ("run --security-opt bogus=1 alpine", 125, Has("bogus")),
    ("run --security-opt seccomp=/no/such/profile alpine", 125, Has("/no/such/profile")),
    ("run --ulimit bogus=1:1 alpine", 125, Has("bogus")),
    ("run --ulimit nofile=2:1 alpine", 125, Has("nofile")),
    ("run --rm --ulimit nofile=99999999999:99999999999 alpine", 125, Has("--ulimit")),
    ("run --stop-signal BOGUS alpine", 125, Has("BOGUS")),
    ("run --memory lots alpine", 125, Has("lots")),
    ("run --memory 1k alpine", 125, Has("memory")),
    (
        "run --memory 64m --memory-swap 32m alpine",
        125,
        Has("minimum memoryswap limit should be larger than memory limit"),
    ),
    ("run --memory-swap 64m alpine", 125, Has("memory")),
    ("run --cpus x alpine", 125, Has("cpus")),
    ("run --cpus 0.5 --cpu-quota 1000 alpine", 125, Has("cpu-quota")),
    ("run --cpuset-cpus 4711 alpine", 125, Has("4711")),
    ("run --pids-limit x alpine", 125, Has("pids-limit")),
    ("run --shm-size lots alpine", 125, Has("lots")),
    ("run --tmpfs relative alpine", 125, Has("relative")),
    ("run --tmpfs /x:bogus alpine", 125, Has("bogus")),
    ("run -v : alpine", 125, Is("host directory cannot be empty")),
    ("run -v /no/such:/x alpine", 125, Has("/no/such")),
    ("run -v vol:relative alpine", 125, Has("relative")),
    ("run -v vol:/ alpine", 125, Has("/")),
    ("run -v vol:/x:ro,rw alpine", 125, Has("rw")),
    ("run -v vol:/x:bogus alpine", 125, Has("bogus")),
    ("run -v a:/x -v b:/x alpine", 125, Has("/x: duplicate mount destination")),
    ("run -v 'bad name:/x' alpine", 125, Has("bad name")),
    ("run --mount type=bogus,target=/x alpine", 125, Has("bogus")),
    ("run --mount type=bind,target=/x alpine", 125, Is("statfs /x: no such file or directory")),
    ("run --mount type=volume,source=v alpine", 125, Is("must set volume destination")),
    ("run --mount type=tmpfs,source=/a,target=/x alpine", 125, Has("source")),
    ("run --network nosuch alpine", 125, Has("nosuch")),
    ("run --hostname 'a b' alpine", 125, Has("a b")),
    ("run --detach-keys ctrl-nonsense -it alpine", 125, Has("ctrl-nonsense")),
    ("run --pid bogus alpine", 125, Has("bogus")),
    ("run --entrypoint '[\"x\"' --platform bogus/x/y/z alpine", 125, Has("bogus")),
    ("run -d -i --rm --no-such-option alpine", 125, Has("--no-such-option")),
];

const CONTAINER_VERBS: &[Row] = &[
    ("start", 125, Has("start requires at least one argument")),
    ("start nosuch", 125, Is("no container with name or ID \"nosuch\" found: no such container")),
    ("start -a up done", 125, Has("you cannot start and attach multiple containers at once")),
    ("stop", 125, Is("you must provide at least one name or id")),
    ("stop nosuch", 125, Is("no container with name or ID \"nosuch\" found: no such container")),
    ("stop -t x up", 125, Has("x")),
    ("rm", 125, Is("you must provide at least one name or id")),
    ("rm nosuch", 1, Is("no container with name or ID \"nosuch\" found: no such container")),
    (
        "rm up",
        2,
        Has(
            "as it is running - running or paused containers cannot be removed without force: container state improper",
        ),
    ),
    ("exec up", 125, Has("")),
    ("exec nosuch true", 125, Is("no container with name or ID \"nosuch\" found: no such container")),
    ("exec done true", 255, Is("can only create exec sessions on running containers: container state improper")),
    ("exec -u nosuchuser up true", 125, Has("nosuchuser")),
    ("exec -w /no/such/dir up true", 127, Has("/no/such/dir")),
    ("exec -w relative up true", 125, Has("relative")),
    ("exec -e =x up true", 125, Has("=x")),
    ("exec --detach-keys nonsense up true", 125, Has("nonsense")),
    ("logs", 125, Has("specify at least one container name or ID to log")),
    ("logs nosuch", 125, Has("no container with name or ID \"nosuch\" found: no such container")),
    ("logs --tail x up", 125, Has("x")),
    ("logs --since nonsense up", 125, Has("nonsense")),
    ("wait", 125, Is("\"podctl wait\" requires a name, id, or the \"--latest\" flag")),
    ("wait nosuch", 125, Has("no container with name or ID \"nosuch\" found: no such container")),
    ("wait --condition bogus up", 125, Has("bogus")),
    ("inspect", 125, Has("")),
    ("inspect nosuch", 125, Has("no such object: \"nosuch\"")),
    ("inspect --format '{{.NoSuchField}}' up", 125, Has("NoSuchField")),
    ("inspect --format '{{range}}' up", 125, Has("")),
    ("inspect --type bogus up", 125, Has("bogus")),
    ("ps --filter bogus=1", 125, Has("bogus")),
    ("ps --filter status=bad", 125, Has("bad")),
    ("ps --sort bogus", 125, Has("bogus")),
    ("ps -q --size", 125, Has("quiet conflicts with size and namespace")),
    ("ps -a extra", 125, Is("`podctl ps` takes no arguments")),
];

const THE_REST: &[Row] = &[
    ("pull", 125, Has("")),
    ("pull ''", 125, Has("")),
    ("pull UPPER", 125, Has("UPPER")),
    ("pull alpine@sha256:123", 125, Has("sha256:123")),
    ("load -i /no/such/file", 125, Has("/no/such/file")),
    ("images --filter bogus=1", 125, Has("bogus")),
    ("network create podman", 125, Has("podman")),
    ("network create 'bad name'", 125, Has("bad name")),
    ("network create --subnet nonsense n", 125, Has("nonsense")),
    ("network create --subnet 10.88.0.0/24 n", 125, Has("10.88.0.0/24")),
    ("network create --subnet 172.30.0.0/24 --gateway 10.1.1.1 n", 125, Has("10.1.1.1")),
    ("network create --driver bogus n", 125, Has("bogus")),
    ("network rm", 125, Has("")),
    ("network rm nosuch", 1, Has("nosuch")),
    ("network rm podman", 125, Has("podman")),
    ("volume rm", 125, Has("")),
    ("volume rm nosuch", 1, Has("nosuch")),
    ("volume rm used", 2, Has("used")),
    ("--no-such-global-option ps", 125, Has("--no-such-global-option")),
    ("--runtime no-such-runtime run alpine", 125, Has("no-such-runtime")),
    ("kube play x.yaml", 125, Has("kube")),
    ("build .", 125, Has("build")),
];

const TABLES: [&[Row]; 15] = [
    POD_CREATE,
    POD_VERBS,
    MEMBER,
    CONTAINER,
    CONTAINER_VERBS,
    THE_REST,
    options::NETWORK,
    options::POD,
    options::LOG,
    options::CONTAINER,
    commands::CONTAINERS,
    commands::OTHERS,
    hostile::OPTIONS,
    hostile::VERBS,
    later::ROWS,
];

#[test]
fn what_is_refused_says_why_in_one_line_and_leaves_nothing() {
    if is_stand_in() {
        return; // podman's words of this version are not the reference's, and it leaves things.
    }
    let engine = machine::engine();
    let mut settled = wait::until("peace", || {
        let one = oracle::look(&engine.enclosure, &engine.label);
        (one == oracle::look(&engine.enclosure, &engine.label)).then_some(one)
    });
    let mut wrong = Vec::new();
    let mut complaints = Vec::new();
    for (line, code, words) in TABLES.iter().copied().flatten() {
        let line = match line.strip_prefix("sh: ") {
            Some(line) => format!("({line}) < /dev/null"),
            None => format!("timeout 20 podctl {line} < /dev/null"),
        };
        let run = engine.sh(&line);
        let complaint = run.stderr();
        let first = complaint.lines().next().and_then(|line| line.strip_prefix("Error: "));
        complaints.extend(first.map(str::to_owned));
        let said = match words {
            Is(text) => first == Some(*text),
            Has(text) => first.is_some_and(|line| line.contains(text)),
        };
        // Usage errors may be followed by where to read on.
        let short = complaint.lines().skip(1).all(|line| line.starts_with("See '") || line.starts_with("Try '"));
        if run.code != *code || !said || !short {
            let expected = match words {
                Is(text) => format!("exactly {text:?}"),
                Has(text) => format!("something with {text:?}"),
            };
            wrong.push(format!("{run}\n  expected code {code} and {expected}"));
        }
        let mut left = oracle::Traces::default();
        let nothing = || {
            left = oracle::look(&engine.enclosure, &engine.label).beyond(&settled);
            left.is_empty().then_some(())
        };
        if wait::within(LINGER, nothing).is_none() {
            wrong.push(format!("{run}\n  leaves\n{left}"));
            settled = oracle::look(&engine.enclosure, &engine.label);
        }
    }
    // No refusal in podman either, and not silent.
    let discarded = engine.sh("podctl run --rm --network none -p 8080:80 alpine true");
    discarded.code(0);
    assert!(discarded.stderr().contains("Port mappings have been discarded"), "{discarded}");
    machine::clear(&engine);
    if let Some(file) = std::env::var_os("PODCTL_COMPLAINTS") {
        std::fs::write(file, complaints.join("\n")).expect("complaints");
    }
    let missing = coverage::without_a_row(&complaints);
    let idle = coverage::idle_exceptions();
    assert!(wrong.is_empty(), "{} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(missing.is_empty(), "{} refusals in the code have no row:\n{}", missing.len(), missing.join("\n"));
    assert!(idle.is_empty(), "{} exceptions are none any more:\n{}", idle.len(), idle.join("\n"));
}

#[test]
fn what_needs_no_image_is_refused_before_one_is_fetched() {
    if is_stand_in() {
        return;
    }
    let engine = machine::engine();
    let mut wrong = Vec::new();
    let before_fetching = |line: &&&Row| line.0.starts_with("run ") || line.0.starts_with("create ");
    for (line, code, words) in TABLES.iter().copied().flatten().filter(|row| before_fetching(&row)) {
        // With --rm a row is only refused once there is a container; the others must not come so far.
        // Whether there is a health check to speak of is for the image to say.
        let told_later = ["--rm ", "--pull", "--health", "--sdnotify healthy"].iter().any(|flag| line.contains(flag));
        if told_later || !line.ends_with(" alpine") {
            continue;
        }
        let (verb, rest) = line.split_once(' ').unwrap_or_default();
        // Nobody listens there: whoever asked would say so.
        let line = format!("{verb} --pull=always {}127.0.0.1:1/no/image", rest.trim_end_matches("alpine"));
        let run = engine.sh(&format!("timeout 20 podctl {line} < /dev/null"));
        let complaint = run.stderr();
        let first = complaint.lines().next().and_then(|line| line.strip_prefix("Error: ")).unwrap_or_default();
        let said = match words {
            Is(text) => first == *text,
            Has(text) => first.contains(text),
        };
        if run.code != *code || !said || complaint.contains("127.0.0.1:1") {
            wrong.push(run.to_string());
        }
    }
    machine::clear(&engine);
    assert!(wrong.is_empty(), "{} are refused too late:\n{}", wrong.len(), wrong.join("\n"));
}
