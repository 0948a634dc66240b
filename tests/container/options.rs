//! Every option of `run` and `create`: what the container sees of it, and what `inspect` says of it.
//!
//! Two tables. A row is the options, what a shell in the container is asked, what it answers, and a field of `inspect`
//! with its value. What another test is about (ports, restarts, logs, health) has no row here.

use harness::{
    Engine,
    images::ALPINE,
    rows::{self, Row},
};

/// Where a limit is on cgroup v1, else on v2.
macro_rules! cgroup {
    ($v1:literal, $v2:literal) => {
        concat!("cat /sys/fs/cgroup/", $v1, " 2> /dev/null || cat /sys/fs/cgroup/", $v2)
    };
}

const PROCESS: &[Row] = &[
    ("-u 1234:5678", "whoami; id -gn; tail -n 1 /etc/group", "1234\n5678\n5678:x:5678:1234", ".Config.Passwd", "true"),
    ("-u 1234 --passwd=false", "grep -c :1234: /etc/passwd; true", "0", ".Config.Passwd", "false"),
    (
        "-u 1234:9 --passwd-entry 'me:x:$UID:$GID:$NAME:$HOME:/bin/sh' --group-entry 'us:x:$GID:$USERLIST'",
        "whoami; tail -n 1 /etc/passwd",
        "me\nme:x:1234:9:container user:/:/bin/sh",
        ".Config.User",
        "1234:9",
    ),
    ("--env-merge WHERE='${PATH}':/more", "echo ${WHERE##*:}", "/more", "slice .Config.Env 0 0", "[]"),
    (
        "--init --init-path $(command -v catatonit)",
        "tr '\\0' ' ' < /proc/1/cmdline | cut -c 1-20",
        "/run/podman-init -- ",
        ".HostConfig.Init",
        "true",
    ),
    ("--annotation a.b=c", "true", "", "index .Config.Annotations \"a.b\"", "c"),
    ("--entrypoint /bin/echo", "x", "/bin/sh -c x", "json .Config.Entrypoint", "[\"/bin/echo\"]"),
    ("-e A=b -e C", "echo $A-$C", "b-", "slice .Config.Env 0 0", "[]"),
    ("--env-file $TMPDIR/env", "echo $FROM_FILE", "yes", ".Config.OpenStdin", "false"),
    ("--env-host", "echo $OF_THE_HOST", "here", ".Config.Tty", "false"),
    ("--unsetenv PATH -e X=1", "tr '\\0' '\\n' < /proc/1/environ | grep -c ^PATH=", "0", ".Config.WorkingDir", "/"),
    ("--unsetenv-all -e X=1", "/bin/env | grep -c ^container=", "0", ".Config.User", ""),
    ("--http-proxy=false", "echo \"[$http_proxy]\"", "[]", ".State.Status", "exited"),
    ("--group-add 1234", "id -G", "0 1234", "json .HostConfig.GroupAdd", "[\"1234\"]"),
    ("-u :50 -e ''", "id -u; id -g", "0\n50", ".Config.User", ":50"),
    ("-u 1000:50", "id -u; id -g", "1000\n50", ".Config.User", "1000:50"),
    ("-w /tmp", "pwd", "/tmp", ".Config.WorkingDir", "/tmp"),
    ("-h box", "hostname; cat /etc/hostname", "box\nbox", ".Config.Hostname", "box"),
    ("--personality LINUX32", "uname -m | grep -c 64; true", "0", ".HostConfig.Personality", "LINUX32"),
    ("--hostuser games", "grep -c ^games: /etc/passwd", "1", "json .HostConfig.HostUsers", "[\"games\"]"),
    ("--hostuser 5 -u 1234", "grep -c ^games: /etc/passwd; whoami", "1\n1234", "json .HostConfig.HostUsers", "[\"5\"]"),
    (
        "--chrootdirs /jail -h box",
        "cat /jail/etc/hostname; cmp /etc/hosts /jail/etc/hosts && cmp /etc/resolv.conf /jail/etc/resolv.conf",
        "box",
        "json .HostConfig.ChrootDirs",
        "[\"/jail\"]",
    ),
    (
        "--systemd always --shm-size-systemd 1m",
        "df -k /run | tail -n 1 | awk '{print $2}'",
        "1024",
        ".HostConfig.ShmSizeSystemd",
        "1048576",
    ),
    (
        "--seccomp-policy default",
        "grep ^Seccomp: /proc/self/status | cut -f 2",
        "2",
        ".HostConfig.SeccompPolicy",
        "default",
    ),
    ("--init", "cat /proc/1/cmdline | tr '\\0' ' ' | cut -c 1-20", "/run/podman-init -- ", ".HostConfig.Init", "true"),
    ("-i", "cat", "", ".Config.OpenStdin", "true"),
    ("-t", "test -t 1 && echo tty", "tty\r", ".Config.Tty", "true"),
    ("-l a=b --label-file $TMPDIR/labels", "true", "", "json .Config.Labels", "{\"a\":\"b\",\"from\":\"file\"}"),
    ("--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500", ".HostConfig.OomScoreAdj", "500"),
    ("--stop-signal USR1", "true", "", ".Config.StopSignal", "SIGUSR1"),
    ("--stop-timeout 3", "true", "", ".Config.StopTimeout", "3"),
    ("--tz Etc/GMT+3", "date +%z", "-0300", ".Config.Timezone", "Etc/GMT+3"),
    ("--umask 0077", "umask", "0077", ".Config.Umask", "0077"),
    (
        "--ulimit nofile=500:600",
        "ulimit -Sn; ulimit -Hn",
        "500\n600",
        "range .HostConfig.Ulimits}}{{if eq .Name \"RLIMIT_NOFILE\"}}{{.Soft}}{{end}}{{end",
        "500",
    ),
    ("--detach-keys ctrl-a", "true", "", ".State.ExitCode", "0"),
    ("--pidfile $TMPDIR/pid", "true", "", ".PidFile | len | lt 5", "true"),
    (
        "--systemd always",
        "grep -c ' /run tmpfs' /proc/mounts; echo ${#container_uuid}",
        "1\n32",
        ".Config.StopSignal",
        "SIGRTMIN+3",
    ),
    ("--systemd false", "grep -c ' /run tmpfs' /proc/mounts; true", "0", ".Config.StopSignal", "SIGTERM"),
];

const SECURITY: &[Row] = &[
    (
        "--cap-add MKNOD --device-cgroup-rule 'c 1:11 rwm'",
        "mknod /dev/k c 1 11 && true > /dev/k && echo opened",
        "opened",
        ".HostConfig.Privileged",
        "false",
    ),
    (
        "--cap-add MKNOD",
        "mknod /dev/k c 1 11 && { true > /dev/k; } 2> /dev/null || echo refused",
        "refused",
        ".HostConfig.Privileged",
        "false",
    ),
    (
        "--cap-add NET_ADMIN --cap-drop CHOWN",
        "grep CapEff /proc/self/status | tr -d '\\t'",
        "CapEff:00000000800415fa",
        "json .HostConfig.CapAdd",
        "[\"CAP_NET_ADMIN\"]",
    ),
    ("--cap-drop ALL", "grep CapBnd /proc/self/status | cut -f 2", "0000000000000000", "json .EffectiveCaps", "null"),
    ("--privileged", "grep ^Seccomp: /proc/self/status | cut -f 2", "0", ".HostConfig.Privileged", "true"),
    (
        "--security-opt no-new-privileges",
        "grep NoNewPrivs /proc/self/status | cut -f 2",
        "1",
        "json .HostConfig.SecurityOpt",
        "[\"no-new-privileges\"]",
    ),
    (
        "--security-opt seccomp=unconfined",
        "grep ^Seccomp: /proc/self/status | cut -f 2",
        "0",
        "json .HostConfig.SecurityOpt",
        "[\"seccomp=unconfined\"]",
    ),
    ("--security-opt mask=/proc/version", "cat /proc/version", "", ".HostConfig.SecurityOpt", "[mask=/proc/version]"),
    (
        "--security-opt unmask=/proc/keys",
        "stat -c %F /proc/keys",
        "regular empty file",
        ".HostConfig.SecurityOpt",
        "[unmask=/proc/keys]",
    ),
    (
        "--security-opt proc-opts=hidepid=2",
        "grep -c 'proc /proc proc .*hidepid=' /proc/mounts",
        "1",
        "len .HostConfig.SecurityOpt",
        "1",
    ),
    ("--read-only", "touch /x 2> /dev/null || touch /tmp/x && echo tmp", "tmp", ".HostConfig.ReadonlyRootfs", "true"),
    (
        "--read-only --read-only-tmpfs=false",
        "touch /x /tmp/x /dev/shm/x 2> /dev/null || echo none",
        "none",
        ".HostConfig.ReadonlyRootfs",
        "true",
    ),
    ("--sysctl net.ipv4.ip_forward=1", "cat /proc/sys/net/ipv4/ip_forward", "1", ".HostConfig.Privileged", "false"),
    (
        "--device /dev/null:/dev/mine:rw",
        "echo x > /dev/mine && test -c /dev/mine && echo device",
        "device",
        "(index .HostConfig.Devices 0).PathInContainer",
        "/dev/mine",
    ),
    ("--pid host", "test $$ -ne 1 && echo theirs", "theirs", ".HostConfig.PidMode", "host"),
    (
        "--ipc host",
        "grep -c 'shm /dev/shm' /proc/mounts | grep -v ^0 > /dev/null; echo",
        "",
        ".HostConfig.IpcMode",
        "host",
    ),
    ("--ipc none", "grep -c ' /dev/shm ' /proc/mounts; true", "0", ".HostConfig.IpcMode", "none"),
    ("--uts host", "hostname > /dev/null && echo yes", "yes", ".HostConfig.UTSMode", "host"),
    (
        "--cgroupns host",
        "grep -c podctl-test /proc/self/cgroup > /dev/null && echo whole",
        "whole",
        ".HostConfig.CgroupMode",
        "host",
    ),
];

const LIMITS: &[Row] = &[
    (
        "--device-read-bps $DISK:1mb",
        "cat /sys/fs/cgroup/blkio/blkio.throttle.read_bps_device /sys/fs/cgroup/io.max 2> /dev/null | grep -o 1048576",
        "1048576",
        "(index .HostConfig.BlkioDeviceReadBps 0).Rate",
        "1048576",
    ),
    (
        "--device-write-bps $DISK:2mb --device-write-iops $DISK:777",
        "cd /sys/fs/cgroup; cat blkio/blkio.throttle.write_*_device io.max 2> /dev/null | grep -o -e 2097152 -e 777",
        "2097152\n777",
        "(index .HostConfig.BlkioDeviceWriteIOps 0).Rate",
        "777",
    ),
    (
        "--device-read-iops $DISK:5",
        "cd /sys/fs/cgroup; cat blkio/blkio.throttle.read_iops_device io.max 2> /dev/null | grep -c -e ' 5$' -e riops=5",
        "1",
        "len .HostConfig.BlkioDeviceReadIOps",
        "1",
    ),
    ("--cgroups no-conmon", "true", "", ".HostConfig.Cgroups", "no-conmon"),
    ("--cgroups enabled", "true", "", ".HostConfig.Cgroups", "default"),
    ("-m 64m", cgroup!("memory/memory.limit_in_bytes", "memory.max"), "67108864", ".HostConfig.Memory", "67108864"),
    (
        "-m 64m --memory-reservation 32m",
        cgroup!("memory/memory.soft_limit_in_bytes", "memory.low"),
        "33554432",
        ".HostConfig.MemoryReservation",
        "33554432",
    ),
    ("-m 64m --memory-swap 128m", "true", "", ".HostConfig.MemorySwap", "134217728"),
    (
        "--cpus 0.5",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2> /dev/null || cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max",
        "50000",
        ".HostConfig.NanoCpus",
        "500000000",
    ),
    (
        "--cpu-period 50000 --cpu-quota 20000",
        "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2> /dev/null || cut -d ' ' -f 1 /sys/fs/cgroup/cpu.max",
        "20000",
        ".HostConfig.CpuPeriod",
        "50000",
    ),
    (
        "--cpu-shares 300",
        "cat /sys/fs/cgroup/cpu/cpu.shares 2> /dev/null || echo 300",
        "300",
        ".HostConfig.CpuShares",
        "300",
    ),
    ("--cpuset-cpus 0", "grep Cpus_allowed_list /proc/self/status | cut -f 2", "0", ".HostConfig.CpusetCpus", "0"),
    ("--cpuset-mems 0", "grep Mems_allowed_list /proc/self/status | cut -f 2", "0", ".HostConfig.CpusetMems", "0"),
    ("--pids-limit 55", cgroup!("pids/pids.max", "pids.max"), "55", ".HostConfig.PidsLimit", "55"),
    ("--shm-size 2m", "df -k /dev/shm | tail -n 1 | awk '{print $2}'", "2048", ".HostConfig.ShmSize", "2097152"),
    (
        "--cgroup-parent there --cgroupns host",
        "grep -c /there/ /proc/self/cgroup | grep -v ^0 > /dev/null && echo there",
        "there",
        ".HostConfig.CgroupParent",
        "there",
    ),
];

const NETWORK: &[Row] = &[
    (
        "--add-host db:10.1.2.3",
        "grep -c '^10.1.2.3.db$' /etc/hosts",
        "1",
        "json .HostConfig.ExtraHosts",
        "[\"db:10.1.2.3\"]",
    ),
    (
        "--dns 10.9.9.9",
        "grep ^nameserver /etc/resolv.conf",
        "nameserver 10.9.9.9",
        "json .HostConfig.Dns",
        "[\"10.9.9.9\"]",
    ),
    (
        "--dns-search example.org",
        "grep ^search /etc/resolv.conf",
        "search example.org",
        "json .HostConfig.DnsSearch",
        "[\"example.org\"]",
    ),
    (
        "--dns-option ndots:4",
        "grep ^options /etc/resolv.conf",
        "options ndots:4",
        "json .HostConfig.DnsOptions",
        "[\"ndots:4\"]",
    ),
    ("--dns none", "cat /etc/resolv.conf 2> /dev/null | grep -c nameserver", "0", ".HostConfig.Dns", "[none]"),
    ("--expose 81/udp", "true", "", "json .Config.ExposedPorts", "{\"81/udp\":{}}"),
    ("--ip 10.88.7.7", "ip -4 -o addr show eth0 | awk '{print $4}'", "10.88.7.7/16", ".NetworkSettings.IPAddress", ""),
    (
        "--mac-address 02:11:22:33:44:55",
        "cat /sys/class/net/eth0/address",
        "02:11:22:33:44:55",
        ".HostConfig.NetworkMode",
        "bridge",
    ),
    ("--network none", "ls /sys/class/net", "lo", ".HostConfig.NetworkMode", "none"),
    ("--network host", "ip -4 -o addr show eth0 | grep -c 198.51.100.1/24", "1", ".HostConfig.NetworkMode", "host"),
    (
        "--network podman:interface_name=front,mac=02:11:22:33:44:66",
        "cat /sys/class/net/front/address",
        "02:11:22:33:44:66",
        ".HostConfig.NetworkMode",
        "bridge",
    ),
    (
        "--hosts-file $TMPDIR/hosts",
        "head -n 1 /etc/hosts",
        "10.4.4.4 mine",
        ".HostConfig.HostsFile | len | lt 5",
        "true",
    ),
    ("--hosts-file none", "grep -c localhost4 /etc/hosts", "1", ".HostConfig.HostsFile", "none"),
    ("--hosts-file image", "grep -c containers.internal /etc/hosts", "1", ".HostConfig.HostsFile", "image"),
    ("--no-hosts", "cat /etc/hosts 2> /dev/null | grep -c containers.internal; true", "0", ".State.ExitCode", "0"),
    ("--no-hostname", "cat /etc/hostname 2> /dev/null | wc -c", "0", ".UseImageHostname", "true"),
    ("-p 127.0.0.1::80", "true", "", "(index (index .HostConfig.PortBindings \"80/tcp\") 0).HostIp", "127.0.0.1"),
];

const MOUNTS: &[Row] = &[
    ("-v $TMPDIR/dir:/d", "cat /d/file", "text", "(index .Mounts 0).Destination", "/d"),
    ("-v $TMPDIR/dir:/d:ro,z", "touch /d/x 2> /dev/null || echo ro", "ro", "(index .Mounts 0).RW", "false"),
    (
        "-v $TMPDIR/dir:/d:noexec,nosuid,nodev",
        "grep -c ' /d .*nosuid,nodev,noexec' /proc/mounts",
        "1",
        "(index .Mounts 0).Type",
        "bind",
    ),
    ("-v named:/d:nocopy", "ls /d | wc -l", "0", "(index .Mounts 0).Name", "named"),
    ("-v /d", "touch /d/x && echo w", "w", "len (index .Mounts 0).Name", "64"),
    (
        "--tmpfs /d:size=1m,mode=0700",
        "stat -c %a /d; df -k /d | tail -n 1 | awk '{print $2}'",
        "700\n1024",
        "len .HostConfig.Tmpfs",
        "1",
    ),
    ("--mount type=bind,src=$TMPDIR/dir,dst=/d,ro", "cat /d/file", "text", "(index .Mounts 0).RW", "false"),
    ("--mount type=volume,src=other,dst=/d", "touch /d/x && echo w", "w", "(index .Mounts 0).Name", "other"),
    (
        "-v $TMPDIR/owned:/d:U -u 1000:50",
        "stat -c %u:%g /d; touch /d/x && echo w",
        "1000:50\nw",
        "(index .Mounts 0).Type",
        "bind",
    ),
    ("-v $TMPDIR/dir:/d:O", "echo new > /d/file; cat /d/file", "new", "(index .Mounts 0).Destination", "/d"),
    ("-v $TMPDIR/dir:/d", "cat /d/file", "text", "(index .Mounts 0).RW", "true"),
    ("-v parts:/d", "mkdir -p /d/a/b; echo part > /d/a/b/f; ln -s / /d/out", "", "(index .Mounts 0).Name", "parts"),
    ("--mount type=volume,src=parts,dst=/d,subpath=a/b", "cat /d/f", "part", "(index .Mounts 0).SubPath", "a/b"),
    ("--mount type=volume,src=parts,dst=/d,subpath=out", "ls /d", "a\nout", "(index .Mounts 0).SubPath", "out"),
    (
        "--mount type=image,src=alpine,dst=/d",
        "test -x /d/bin/busybox && ! touch /d/x 2> /dev/null && echo looked",
        "looked",
        "(index .Mounts 0).Type",
        "image",
    ),
    ("--mount type=image,src=alpine,dst=/d,rw=true", "touch /d/x && echo w", "w", "(index .Mounts 0).RW", "true"),
    ("--volumes-from c0:ro", "cat /d/file; touch /d/x 2> /dev/null || echo ro", "text\nro", "len .Dependencies", "1"),
    ("--mount type=tmpfs,dst=/d,tmpfs-size=1m", "df -k /d | tail -n 1 | awk '{print $2}'", "1024", "len .Mounts", "0"),
];

/// Runs every row and shows all that are not as they should be.
fn check(table: &[Row]) {
    let engine = Engine::with(&[ALPINE]);
    engine
        .sh("cd $TMPDIR && echo FROM_FILE=yes > env && echo from=file > labels && mkdir dir owned && echo text > dir/file && echo 10.4.4.4 mine > hosts")
        .ok();
    let disk = "/dev/$(ls /sys/block | grep -v -e loop -e ram | head -n 1)";
    let begin = format!("export OF_THE_HOST=here LABEL={} DISK={disk}", engine.label);
    let line = |number: usize, options: &str, script: &str| {
        format!("{begin}; podctl run --name c{number} {options} alpine /bin/sh -c {script}")
    };
    let wrong = rows::wrong(&engine, table, line, |number| vec!["inspect".to_owned(), format!("c{number}")]);
    // A parent that was asked for stays; what the containers had below it does not.
    engine.sh("podctl rm -fa -t 0 > /dev/null && rm -r $TMPDIR/*").ok();
    let parents = format!("/sys/fs/cgroup/*/{0}/there /sys/fs/cgroup/{0}/there", engine.label);
    engine.sh(&format!("for group in {parents}; do test ! -d $group || rmdir $group || exit 1; done")).ok();
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

#[test]
fn options_of_the_process_reach_it_and_inspect() {
    check(PROCESS);
}

#[test]
fn options_of_privileges_and_namespaces_reach_the_container_and_inspect() {
    check(SECURITY);
}

#[test]
fn limits_reach_the_control_group_and_inspect() {
    check(LIMITS);
}

#[test]
fn options_of_the_network_reach_the_container_and_inspect() {
    check(NETWORK);
}

#[test]
fn mounts_reach_the_container_and_inspect() {
    check(MOUNTS);
}
