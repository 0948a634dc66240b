//! `--sdnotify`: who waits outside hears when a container is ready.

use std::{os::unix::net::UnixDatagram, path::PathBuf};

use harness::{
    Engine,
    images::{ALPINE, SOCAT},
    programs::is_stand_in,
    until,
};

/// The outside, whose NOTIFY_SOCKET is `$TMPDIR/outside`.
struct Outside {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Drop for Outside {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).expect("the socket's file");
    }
}

impl Outside {
    fn of(engine: &Engine) -> Outside {
        let socket = proto::socket::bind_datagram(&engine.path("tmp"), "outside").expect("a socket");
        Outside { socket, path: engine.path("tmp/outside") }
    }

    /// The next message, if there is one.
    fn heard(&self) -> Option<String> {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn hears(&self) -> String {
        until("a message", || self.heard())
    }
}

const WITH: &str = "NOTIFY_SOCKET=$TMPDIR/outside";

/// What the outside is told first.
fn main_pid(engine: &Engine) -> String {
    format!("MAINPID={}", engine.field("c", ".State.ConmonPid"))
}

#[test]
fn a_container_says_itself_when_it_is_ready_and_nothing_about_its_service() {
    if is_stand_in() {
        return; // podman of Debian does not pass on more than READY.
    }
    let engine = Engine::with(&[SOCAT]);
    let outside = Outside::of(&engine);
    let say = "printf \"$1\" | socat -u STDIN UNIX-SENDTO:$NOTIFY_SOCKET";
    let script = format!(
        "say() {{ {say}; }}; until test -e /go; do sleep 0.1; done; say 'MAINPID=1\nREADY=1\nFDSTORE=1'; say 'STATUS=well\nEXTEND_TIMEOUT_USEC=9'; say 'NOTIFYACCESS=all'; say 'STOPPING=1'; exec sleep 1000"
    );
    let mut run = engine.start(
        &format!("{WITH} podctl run -d --name c -u user localhost/socat sh -c \"$SCRIPT\"")
            .replace("\"$SCRIPT\"", &format!("'{}'", script.replace('\'', "'\\''"))),
    );
    let first = outside.hears();
    assert_eq!(first, main_pid(&engine));
    assert!(run.child.try_wait().expect("wait").is_none(), "it is not ready yet");
    engine
        .sh("podctl exec c sh -c 'echo $NOTIFY_SOCKET; ls -ld /run/notify | cut -c1-10'")
        .prints("/run/notify/notify.sock\ndrwxr-xr-x");
    engine.sh("podctl exec -u root c touch /go").code(0);
    assert_eq!(outside.hears(), "READY=1");
    assert_eq!(outside.hears(), "STATUS=well");
    assert_eq!(outside.hears(), "STOPPING=1");
    run.finish().code(0);
    // Who starts it again waits again, and is refused when it ends before.
    engine.sh(&format!("podctl stop -t 0 c; {WITH} timeout 20 podctl start c")).code(0);
    assert!(outside.hears().starts_with("MAINPID="));
}

#[test]
fn a_container_is_ready_when_it_runs_or_is_healthy_or_nobody_asks() {
    let engine = Engine::with(&[ALPINE]);
    let outside = Outside::of(&engine);
    engine.sh(&format!("{WITH} podctl run -d --name c --sdnotify conmon alpine top")).ok();
    assert_eq!(outside.hears(), format!("{}\nREADY=1", main_pid(&engine)));
    engine.sh("podctl exec c sh -c 'echo ${NOTIFY_SOCKET-unset}; ls /run'").prints("unset");
    engine.sh("podctl rm -f -t 0 c").code(0);

    let healthy = engine.start(&format!(
        "{WITH} podctl run -d --name c --sdnotify healthy --health-cmd 'test -e /go' --health-interval 100ms alpine top"
    ));
    let first = outside.hears();
    assert_eq!(first, main_pid(&engine));
    engine.sh("podctl exec c touch /go").code(0);
    assert_eq!(outside.hears(), "READY=1");
    healthy.finish().code(0);
    engine.sh("podctl rm -f -t 0 c").code(0);

    engine.sh(&format!("{WITH} podctl run -d --name c --sdnotify ignore alpine true")).ok();
    engine.sh("podctl run -d --name d alpine top && podctl exec d test ! -e /run/notify").code(0);
    assert_eq!(outside.heard(), None);
}

#[test]
fn who_waits_for_one_that_ends_is_told() {
    let engine = Engine::with(&[ALPINE]);
    let _outside = Outside::of(&engine);
    let run = engine.sh(&format!("{WITH} podctl run -d --name c alpine sleep 0.3"));
    run.code(125).mentions("container stopped running before READY message was received");
    engine.sh(&format!("{WITH} podctl run -d --name d --sdnotify conmon alpine true")).code(0);
    // Nobody listens there: nothing is lost by it.
    engine.sh("NOTIFY_SOCKET=/no/such podctl run -d --name e --sdnotify conmon alpine top").code(0);
    engine.sh("NOTIFY_SOCKET=relative podctl run -d --name f alpine top").code(0);
}
