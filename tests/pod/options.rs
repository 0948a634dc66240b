//! Every option of `pod create`: what a member sees of it, and what `pod inspect` says of it. And the flags that name
//! pods and containers, which all verbs have.

use harness::{
    Engine,
    images::ALPINE,
    oracle,
    programs::is_stand_in,
    rows::{self, Row},
};

const ROWS: &[Row] = &[
    ("--hostname box", "hostname; cat /etc/hostname", "box\nbox", ".Hostname", "box"),
    ("--no-hostname", "cat /etc/hostname 2> /dev/null | wc -c", "0", ".InfraConfig.NoManageHostname", "true"),
    ("--add-host db:10.1.2.3", "grep -c '^10.1.2.3.db$' /etc/hosts", "1", ".InfraConfig.HostAdd", "[db:10.1.2.3]"),
    (
        "--hosts-file $TMPDIR/hosts",
        "head -n 1 /etc/hosts",
        "10.4.4.4 mine",
        "len .InfraConfig.HostsFile | lt 5",
        "true",
    ),
    (
        "--no-hosts",
        "cat /etc/hosts 2> /dev/null | grep -c containers.internal; true",
        "0",
        ".InfraConfig.NoManageHosts",
        "true",
    ),
    (
        "--dns 10.9.9.9",
        "grep ^nameserver /etc/resolv.conf",
        "nameserver 10.9.9.9",
        ".InfraConfig.DNSServer",
        "[10.9.9.9]",
    ),
    ("--dns-search a.org", "grep ^search /etc/resolv.conf", "search a.org", ".InfraConfig.DNSSearch", "[a.org]"),
    (
        "--dns-option ndots:4",
        "grep ^options /etc/resolv.conf",
        "options ndots:4",
        ".InfraConfig.DNSOption",
        "[ndots:4]",
    ),
    (
        "--ip 10.88.7.7",
        "ip -4 -o addr show eth0 | awk '{print $4}'",
        "10.88.7.7/16",
        ".InfraConfig.StaticIP",
        "10.88.7.7",
    ),
    (
        "--mac-address 02:11:22:33:44:55",
        "cat /sys/class/net/eth0/address",
        "02:11:22:33:44:55",
        ".InfraConfig.StaticMAC",
        "02:11:22:33:44:55",
    ),
    ("--network host", "ip -4 -o addr show eth0 | grep -c 198.51.100.1/24", "1", ".InfraConfig.HostNetwork", "true"),
    ("--network none", "ls /sys/class/net", "lo", ".InfraConfig.HostNetwork", "false"),
    ("--infra-name mine", "true", "", ".CreateInfra", "true"),
    ("--infra=false", "true", "", ".CreateInfra", "false"),
    ("--share ipc", "hostname | wc -c", "13", ".SharedNamespaces", "[ipc]"),
    ("--share +pid", "ps -o comm | grep -c podshim", "1", ".SharedNamespaces", "[ipc net pid uts]"),
    ("--share +pid --pid host", "test $$ -ne 1 && echo theirs", "theirs", "index .InfraConfig \"pid_ns\"", "host"),
    ("--uts host", "hostname | grep -c '^p[0-9]*$'; true", "0", "index .InfraConfig \"uts_ns\"", "host"),
    ("--uts ns:/proc/1/ns/uts", "hostname | grep -c '^p[0-9]*$'; true", "0", "len .SharedNamespaces", "3"),
    ("--uts private", "hostname | grep -c '^p[0-9]*$'; true", "1", "len .SharedNamespaces", "3"),
    ("--exit-policy stop", "true", "", ".ExitPolicy", "stop"),
    ("-l a=b --label-file $TMPDIR/labels", "true", "", "json .Labels", "{\"a\":\"b\",\"from\":\"file\"}"),
    ("-v vol:/d", "touch /d/x && echo w", "w", "(index .Mounts 0).Name", "vol"),
    ("-v $TMPDIR/dir:/d:ro", "cat /d/file; touch /d/x 2> /dev/null || echo ro", "text\nro", "len .Mounts", "1"),
    (
        "--device /dev/null:/dev/mine",
        "test -c /dev/mine && echo device",
        "device",
        "(index .Devices 0).PathInContainer",
        "/dev/mine",
    ),
    (
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status | cut -f 2",
        "1",
        ".SecurityOpts",
        "[no-new-privileges]",
    ),
    ("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1", ".CreateInfra", "true"),
    ("--shm-size 2m", "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "2048", ".CreateInfra", "true"),
    ("-m 64m", "true", "", ".MemoryLimit", "67108864"),
    ("-m 64m --memory-swap 128m", "true", "", ".MemorySwap", "134217728"),
    ("--cpus 0.5", "true", "", ".CPUQuota", "50000"),
    ("--cpu-shares 300", "true", "", ".CPUShares", "300"),
    ("--cpuset-cpus 0", "grep Cpus_allowed_list /proc/self/status | cut -f 2", "0", ".CPUSetCPUs", "0"),
    ("--volumes-from source", "cat /from/f", "here", "len .VolumesFrom", "1"),
];

#[test]
fn options_of_a_pod_reach_its_members_and_inspect() {
    let engine = Engine::with(&[ALPINE]);
    engine
        .sh("cd $TMPDIR && mkdir dir && echo text > dir/file && echo from=file > labels && echo 10.4.4.4 mine > hosts")
        .ok();
    engine.sh("podctl run --name source -v from:/from alpine sh -c 'echo here > /from/f'").ok();
    let line = |number: usize, options: &str, script: &str| {
        format!(
            "podctl pod create --name p{number} {options} > /dev/null && podctl run --rm --pod p{number} alpine sh -c {script}"
        )
    };
    let inspect = |number: usize| vec!["pod".to_owned(), "inspect".to_owned(), format!("p{number}")];
    let wrong = rows::wrong(&engine, ROWS, line, inspect);
    engine.sh("podctl pod rm -fa -t 0 > /dev/null && podctl rm source && rm -r $TMPDIR/*").ok();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), ROWS.len(), wrong.join("\n"));
}

#[test]
fn containers_are_named_by_file_by_age_and_all_at_once() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl run -d --name old alpine top && podctl run -d --name new --cidfile $TMPDIR/id alpine top").ok();
    let running = |name: &str| engine.field(name, ".State.Status") == "running";
    for (act, undo) in [("pause", "unpause"), ("stop -t 0", "start"), ("kill", "start")] {
        for by in ["--cidfile $TMPDIR/id", "-l"] {
            if by != "-l" && undo == "start" && act == "kill" {
                continue;
            }
            engine.sh(&format!("podctl {act} {by}")).code(0);
            if act == "kill" {
                engine.sh("podctl wait new").code(0);
            }
            assert!(!running("new") && running("old"), "{act} {by}");
            engine.sh(&format!("podctl {undo} new")).code(0);
        }
        engine.sh(&format!("podctl {act} -a")).code(0);
        if act == "kill" {
            engine.sh("podctl wait old new").code(0);
        }
        assert!(!running("new") && !running("old"), "{act} -a");
        engine.sh(&format!("podctl {undo} old new")).code(0);
    }
    engine.sh("podctl restart -t 0 -l && podctl restart -t 0 --cidfile $TMPDIR/id && podctl restart -t 0 -a").code(0);
    for verb in ["top -l", "logs -l", "inspect -l", "exec -l true", "exec --cidfile $TMPDIR/id true", "port -l"] {
        engine.sh(&format!("podctl {verb}")).code(0);
    }
    for verb in ["stop", "rm"] {
        engine.sh(&format!("podctl {verb} --ignore nosuch --cidfile /no/such")).code(0);
        engine.sh(&format!("podctl {verb} --cidfile /no/such")).code(125);
    }
    engine.sh("podctl rm -f -t 0 --cidfile $TMPDIR/id && podctl rm -f -t 0 -l").code(0);
    engine.sh("podctl ps -aq").prints_nothing();
    // The file goes with its container, unless it is somebody else's by then.
    engine.sh("test ! -e $TMPDIR/id && podctl create --name one --cidfile $TMPDIR/id alpine true").code(0);
    engine.sh("echo mine > $TMPDIR/id && podctl rm one && grep mine $TMPDIR/id && rm $TMPDIR/id").code(0);
}

#[test]
fn pods_are_named_by_file_by_age_and_all_at_once() {
    let engine = Engine::with(&[ALPINE]);
    engine.sh("podctl pod create --name old && podctl pod create --name new --pod-id-file $TMPDIR/id").ok();
    engine.sh("podctl run -d --pod old --stop-signal KILL alpine top && podctl run -d --pod-id-file $TMPDIR/id --stop-signal KILL alpine top").ok();
    let state = |name: &str| engine.sh(&format!("podctl pod inspect --format {{{{.State}}}} {name}")).ok();
    for by in ["--pod-id-file $TMPDIR/id", "-l"] {
        engine.sh(&format!("podctl pod stop -t 0 {by}")).code(0);
        assert_eq!((state("new"), state("old")), ("Exited".to_owned(), "Running".to_owned()), "{by}");
        engine.sh(&format!("podctl pod start {by}")).code(0);
        assert_eq!(state("new"), "Running", "{by}");
    }
    for (act, then, before) in [
        ("pause", "Paused", "Running"),
        ("unpause", "Running", "Paused"),
        ("restart", "Running", "Running"),
        ("kill", "Exited", "Running"),
    ] {
        engine.sh(&format!("podctl pod {act} -l")).code(0);
        assert_eq!((state("new").as_str(), state("old").as_str()), (then, before), "{act} -l");
        engine.sh(&format!("podctl pod {act} -a")).code(0);
        harness::until(act, || (state("old") == then).then_some(()));
    }
    for verb in ["inspect -l", "logs -l", "exists new"] {
        engine.sh(&format!("podctl pod {verb}")).code(0);
    }
    for verb in ["stop", "rm"] {
        engine.sh(&format!("podctl pod {verb} --ignore nosuch --pod-id-file /no/such")).code(0);
        engine.sh(&format!("podctl pod {verb} --pod-id-file /no/such")).code(125);
    }
    engine.sh("podctl pod rm --pod-id-file $TMPDIR/id && podctl pod rm -l").code(0);
    engine.sh("podctl pod ps -q").prints_nothing();
    engine.sh("rm -f $TMPDIR/id").code(0);
}

#[test]
fn a_cgroup_parent_that_was_made_goes_with_the_last_pod_in_it_and_one_that_was_there_stays() {
    if is_stand_in() {
        return;
    }
    let engine = Engine::with(&[ALPINE]);
    let there = |group: &str| oracle::cgroups(&engine.label).iter().any(|one| one.ends_with(group));
    let own: Vec<_> = oracle::hierarchies().iter().map(|top| top.join(&engine.label).join("mine")).collect();
    let made: Vec<_> = own.iter().filter(|group| std::fs::create_dir_all(group).is_ok()).collect();
    engine.sh("podctl pod create --name one --cgroup-parent deep/er && podctl run -d --pod one alpine top").ok();
    engine.sh("podctl pod create --name two --cgroup-parent deep/er && podctl run -d --pod two alpine top").ok();
    engine.sh("podctl run -d --name alone --cgroup-parent mine/below alpine top").ok();
    engine.sh("podctl run -d --name other --cgroup-parent others alpine top").ok();
    assert!(there("deep/er") && there("mine/below") && there("others"));
    engine.sh("podctl pod rm -f -t 0 one").code(0);
    assert!(there("deep/er"), "two is in it");
    engine.sh("podctl pod rm -f -t 0 two && podctl rm -f -t 0 alone other").code(0);
    harness::until("their ends", || (!there("deep") && !there("mine/below") && !there("others")).then_some(()));
    assert!(there("mine"), "a person has made it");
    for group in made {
        std::fs::remove_dir(group).expect("nothing is in it");
    }
}
