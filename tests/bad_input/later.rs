//! What only the image, the machine or the network can tell: refused with nothing left of what was made so far.

use super::{Has, Is, Row};

/// Told once there is an image.
pub const ROWS: &[Row] = &[
    ("run --rm localhost/empty true", 125, Has("the image has no layers")),
    ("run --rm --pull never --platform linux/s390x alpine true", 125, Has("not for linux/s390x: pull it for that one")),
    ("run --rm localhost/bad-health true", 125, Has("it is not what an image's is")),
    ("run --rm localhost/mute", 125, Has("no command or entrypoint provided, and no CMD or ENTRYPOINT from image")),
    ("run --rm localhost/bad-env true", 125, Has("ENV \"X\": it has no =")),
    ("run --rm localhost/bad-volume true", 125, Has("VOLUME \"../x\": must be an absolute path below / without ..")),
    ("run --rm localhost/proc-volume true", 125, Has("VOLUME /proc/x: an image cannot cover /proc or /sys")),
    ("run --rm localhost/many-volumes true", 125, Has("VOLUME: more than 256 of them")),
    ("run --rm -P localhost/bad-port true", 125, Has("EXPOSE")),
    ("run --rm -P localhost/many-ports true", 125, Has("image: EXPOSE: more than 256 ports")),
    ("run --rm localhost/bad-user true", 125, Has("USER \"a b\": a name has a character no name has")),
    (
        "run --rm localhost/bad-workdir true",
        125,
        Has("WORKDIR /proc/self: the working directory cannot be in a process' own"),
    ),
    ("run --rm localhost/file-workdir true", 125, Has("workdir \"/word/x\" of the image cannot be made")),
    ("run --rm localhost/bad-signal true", 125, Has("invalid signal: BOGUS")),
    ("run --rm localhost/long-passwd true", 125, Has("/etc/passwd of the image has more than 4096 lines")),
    ("run --rm -w /no/such alpine", 125, Has("workdir \"/no/such\" does not exist on container")),
    ("run --rm --group-add nosuch alpine", 125, Has("unable to find group nosuch: no matching entries in group file")),
    ("run --rm --secret binary,type=env alpine true", 125, Has("--secret binary: it is no text: only as a file")),
    ("run --rm --tz Etc alpine true", 125, Has("Etc")),
    ("run --rm --device /etc/hostname alpine true", 125, Is("--device /etc/hostname: not a device node")),
    (
        "run --rm --security-opt seccomp=<(echo '{\"defaultAction\":\"SCMP_ACT_NOTIFY\"}') alpine true",
        125,
        Has("SCMP_ACT_NOTIFY needs an agent, which podctl does not start: use another action"),
    ),
    (
        "run --rm --security-opt seccomp=<(echo '{\"defaultAction\":\"X\"}') alpine true",
        125,
        Has("--security-opt seccomp: loading seccomp profile failed:"),
    ),
    (
        "sh: setpriv --bounding-set -sys_time podctl run --rm --cap-add sys_time alpine true",
        125,
        Has("--cap-add CAP_SYS_TIME: podctl does not have this capability itself and cannot give it"),
    ),
    ("run --rm --ip 10.88.0.77 alpine true", 125, Has("requested ip address 10.88.0.77 is already allocated")),
    ("run --rm --network tiny alpine true", 125, Has("failed to find free IP in range")),
    ("run --rm -p 127.0.0.1:7001:80 alpine true", 125, Has("host port 7001/tcp is already in use")),
    (
        "sh: setpriv --bounding-set -net_bind_service podctl run --rm -p 80:80 alpine true",
        125,
        Has("host port 80/tcp needs privilege: permission denied"),
    ),
    (
        "sh: setpriv --bounding-set -sys_resource podctl run --rm --oom-score-adj -1000 alpine true",
        125,
        Has("which only CAP_SYS_RESOURCE may lower"),
    ),
    (
        "run --rm $(seq -f '--device /dev/null:/dev/n%.0f' 1 2049) alpine true",
        125,
        Is("--device: more than 2048 devices"),
    ),
    (
        "run --rm --security-opt mask=$(seq -s: -f /m%.0f 1 300) alpine true",
        125,
        Is("--security-opt mask: more than 256 paths"),
    ),
    (
        "run --rm $(seq -f '-v /v%.0f' 1 1000) localhost/volumes true",
        125,
        Has("mounts with those of pod and image: mount a directory above them"),
    ),
    (
        "run --rm --security-opt seccomp=<(head -c 2000000 /dev/zero | tr '\\0' ' '; echo '{}') alpine true",
        125,
        Has("loading seccomp profile failed: it is larger than"),
    ),
    ("run --rm -u user localhost/dir-passwd true", 125, Has("/etc/passwd of the container: ")),
    ("exec -u user odd true", 125, Has("/etc/passwd of the container: ")),
    (
        "run --rm --log-opt path=/no/such/x alpine true",
        125,
        Has("--log-opt path=/no/such/x: its directory does not exist: make it first"),
    ),
    (
        "run --rm $(podctl images -q | cut -c1 | sort | uniq -d | head -1)",
        125,
        Has("several images have an id that begins so: use more of it"),
    ),
    (
        "stop $(podctl ps -aq | cut -c1 | sort | uniq -d | head -1)",
        125,
        Has("use more of it: container already exists"),
    ),
    ("network inspect ebad", 125, Has("more than one result for network ID ebad: use more of it")),
    (
        "sh: ulimit -n 64; podctl run --rm -p 8000-8200:8000-8200 alpine true",
        125,
        Has("too many ports for the limit of open files"),
    ),
    (
        "sh: ip link add taken0 type veth peer name y0; podctl run --rm --network taken alpine true; c=$?; ip link del taken0; exit $c",
        125,
        Has("interface taken0 is there and belongs to somebody else"),
    ),
    (
        "sh: ip link add x0 type veth peer name y0; ip addr add 172.31.8.9/24 dev x0; ip link set x0 up; podctl run --rm --network taken alpine true; c=$?; \
         ip link del x0; exit $c",
        125,
        Has("subnet 172.31.8.0/24 is already used on the host by x0"),
    ),
];
