//! Who is let in and means no good: memory stays bounded, others are served, the log goes on.

use std::{
    fs,
    io::{Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::Command,
    time::Duration,
};

use prost::Message;
use proto::{
    Refusal,
    frame::{Attach, Kind},
    socket,
    wire::{Empty, HelloRequest, MonitorCreate, WindowSize},
};

use super::{
    harness::{Bench, Wish, command, copy, exec, memory, send, soon, until, up},
    lossless,
};

/// What a monitor may ever have needed, whatever it was asked, in kB.
const MOST: u64 = 8 << 10;

/// A container that never stops talking.
const TALKS: &str = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done";

/// A figure that the test takes from the environment, for a longer run.
fn amount(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A frame of ttrpc (its PROTOCOL.md): length, stream, type, flags; 1 is a request.
fn frame(length: u32, stream: u32, kind: u8, payload: &[u8]) -> Vec<u8> {
    [&length.to_be_bytes()[..], &stream.to_be_bytes(), &[kind, 0], payload].concat()
}

/// `ttrpc.Request`: service, method, payload.
#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    service: String,
    #[prost(string, tag = "2")]
    method: String,
    #[prost(bytes = "vec", tag = "3")]
    payload: Vec<u8>,
}

fn hello(stream: u32) -> Vec<u8> {
    let payload = HelloRequest::default().encode_to_vec();
    let request = Request { service: "podctl.v1.Monitor".into(), method: "Hello".into(), payload }.encode_to_vec();
    frame(u32::try_from(request.len()).expect("short"), stream, 1, &request)
}

fn dial(bench: &Bench) -> UnixStream {
    let stream = socket::connect_stream(&bench.run, "mon.sock").expect("connect");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream.set_write_timeout(Some(Duration::from_secs(20))).expect("timeout");
    stream
}

/// Everything is as if nothing had been.
async fn unhurt(bench: &Bench) {
    let client = bench.client();
    assert_eq!(client.status(soon(), &Empty {}).await.expect("status").status, "running");
    assert_eq!(exec(bench, command(&["echo", "well"])).await.expect("exec").stdout, "well\n");
    let length = || fs::metadata(bench.log_path()).map_or(0, |metadata| metadata.len());
    let before = length();
    until("the log to go on", || length() > before).await;
    let peak = fs::read_to_string(format!("/proc/{}/status", bench.pid())).expect("status");
    let peak = peak.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("RssAnon").trim().to_owned();
    let kilobytes: u64 = peak.trim_end_matches(" kB").parse().expect("kB");
    assert!(kilobytes < MOST, "{kilobytes} kB of its own");
    assert!(memory(bench.pid(), "Private_Dirty") < MOST);
}

#[tokio::test(flavor = "current_thread")]
async fn oversize_half_and_slow_frames_hurt_nobody() {
    let bench = Bench::new(&Wish::sh(TALKS));
    let (_client, _) = up(&bench).await;
    // Longer than any message may be.
    for length in [u32::MAX, (4 << 20) + 1] {
        let mut stream = dial(&bench);
        stream.write_all(&frame(length, 1, 1, &[])).expect("sent");
        // It is told so, or cut off.
        let _either = stream.read(&mut [0; 256]);
    }
    // Begun, and never ended; as long as is allowed, and one byte at a time.
    let mut half: Vec<UnixStream> = (0..40).map(|_| dial(&bench)).collect();
    for stream in &mut half {
        stream.write_all(&frame(2 << 20, 1, 1, b"the beginning")).expect("sent");
    }
    let mut slow = dial(&bench);
    for byte in hello(1) {
        slow.write_all(&[byte]).expect("sent");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut answer = [0; 10];
    slow.read_exact(&mut answer).expect("the slow one is answered, too");
    assert_eq!((answer[7], answer[8]), (1, 2), "stream 1, a response");
    unhurt(&bench).await;
    // Not ttrpc at all.
    let mut other = dial(&bench);
    other.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    drop((half, slow, other));
    unhurt(&bench).await;
}

/// Has as many as are served send the beginning of a frame of `length`, as much of it as is taken.
fn crowd(bench: &Bench, length: u32) -> Vec<UnixStream> {
    let bytes = vec![0; length as usize - 1];
    let mut crowd: Vec<UnixStream> = (0..60).map(|_| dial(bench)).collect();
    for stream in &mut crowd {
        stream.set_nonblocking(true).expect("non-blocking");
        let mut rest = [frame(length, 1, 1, &[]), bytes.clone()].concat();
        // What is not taken at once will not be.
        while let Ok(taken @ 1..) = stream.write(&rest) {
            rest.drain(..taken);
            std::thread::yield_now();
        }
    }
    crowd
}

#[tokio::test(flavor = "current_thread")]
async fn frames_that_are_never_whole_have_no_more_room_together_than_one_has() {
    let bench = Bench::new(&Wish::sh(TALKS));
    let (_client, _) = up(&bench).await;
    // The largest that ttrpc knows, the largest that is taken, and many that are none of the shortest.
    for length in [4 << 20, 2 << 20, 100_000] {
        let crowd = crowd(&bench, length);
        unhurt(&bench).await;
        drop(crowd);
        unhurt(&bench).await;
    }
    // One that has the room and does not come to its end does not keep it.
    let mut holder = dial(&bench);
    holder.write_all(&frame(2 << 20, 1, 1, b"the beginning")).expect("sent");
    let done = exec(&bench, command(&["true", &"x".repeat(100_000)])).await.expect("exec");
    assert_eq!(done.exit.code, 0, "{}", done.stderr);
    unhurt(&bench).await;
}

/// Packets of the raw socket that are as long as they can be, from as many as there can be.
#[tokio::test(flavor = "current_thread")]
async fn packets_of_all_clients_at_once_hurt_nobody() {
    let bench = Bench::new(&Wish { stdin: true, ..Wish::sh(TALKS) });
    let (_client, _) = up(&bench).await;
    let mut clients = Vec::new();
    for _ in 0..30 {
        clients.push(bench.attach(&Attach { stdin: true, output: false, lossless: false, ..Default::default() }).await);
    }
    // Nobody reads the container's standard input: all that does not fit into it waits.
    for client in &clients {
        for _ in 0..2 {
            let packet = proto::frame::Frame { kind: Kind::Stdin, offset: 0, payload: &vec![b'x'; 60_000] }.encode();
            let _not_taken = client.try_send(&packet);
        }
    }
    unhurt(&bench).await;
    drop(clients);
    unhurt(&bench).await;
}

#[tokio::test(flavor = "current_thread")]
async fn stream_ids_given_twice_and_floods_of_requests_hurt_nobody() {
    let bench = Bench::new(&Wish::sh(TALKS));
    let (_client, _) = up(&bench).await;
    let mut twice = dial(&bench);
    twice.write_all(&[hello(1), hello(1), hello(2), hello(0), hello(u32::MAX)].concat()).expect("sent");
    let _whatever_it_says = twice.read(&mut [0; 512]);
    unhurt(&bench).await;
    // Nothing in them; a million by ABUSE_REQUESTS=1000000. Whoever does not read is not served for ever.
    let (mut sent, empty) = (0, frame(0, 1, 1, &[]).repeat(1000));
    let mut flood = dial(&bench);
    let mut reader = flood.try_clone().expect("a second descriptor");
    let reading = std::thread::spawn(move || while reader.read(&mut [0; 65536]).is_ok_and(|length| length > 0) {});
    while sent < amount("ABUSE_REQUESTS", 50_000) && flood.write_all(&empty).is_ok() {
        sent += 1000;
    }
    flood.shutdown(std::net::Shutdown::Both).expect("shutdown");
    reading.join().expect("the reader");
    unhurt(&bench).await;
    // Real ones whose answers nobody reads: the sender is held up, or cut off.
    let mut deaf = dial(&bench);
    deaf.set_write_timeout(Some(Duration::from_secs(2))).expect("timeout");
    let many: Vec<u8> = (0..1000).flat_map(|number| hello(2 * number + 1)).collect();
    for _ in 0..amount("ABUSE_REQUESTS", 50_000) / 1000 {
        if deaf.write_all(&many).is_err() {
            break;
        }
    }
    unhurt(&bench).await;
}

#[tokio::test(flavor = "current_thread")]
async fn two_thousand_connections_hurt_nobody() {
    let bench = Bench::new(&Wish::sh(TALKS));
    let (client, _) = up(&bench).await;
    for name in ["mon.sock", "mon.raw"] {
        let mut open = Vec::new();
        for _ in 0..2000 {
            let connected = match name {
                "mon.sock" => try_connect(&bench.run).map(std::os::fd::OwnedFd::from),
                _ => socket::connect_seqpacket(&bench.run, name).ok(),
            };
            open.extend(connected);
            if open.len() > 150 {
                // The backlog is full long before: more would wait for it.
                open.drain(..100);
            }
        }
        // Those that were there go on being served, whoever waits.
        assert_eq!(client.status(soon(), &Empty {}).await.expect("status").status, "running", "{name}");
        drop(open);
        unhurt(&bench).await;
    }
}

/// Connects without waiting for a place in the backlog.
fn try_connect(run: &Path) -> Option<UnixStream> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).expect("socket");
    let directory = fs::File::open(run).expect("run directory");
    let path = format!("/proc/self/fd/{}/mon.sock", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let address = UnixAddr::new(path.as_str()).expect("address");
    connect(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).ok().map(|()| fd.into())
}

#[tokio::test(flavor = "current_thread")]
async fn packets_and_deposits_without_end_hurt_nobody() {
    let bench = Bench::new(&Wish::sh(TALKS));
    let (_client, _) = up(&bench).await;
    let null = fs::File::open("/dev/null").expect("null");
    let raw = bench.raw();
    // Tokens that nobody takes; one token that takes everything.
    let mut refused = None;
    for number in 0..1000 {
        if let Err(error) = raw.deposit(&format!("token-{number}"), &[null.as_fd()]).await {
            refused = Some(error.to_string());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("too many descriptors wait to be taken"));
    drop(raw);
    until("their end", || fs::read_dir(format!("/proc/{}/fd", bench.pid())).is_ok_and(|fds| fds.count() < 100)).await;
    // Frames of a client that only sends.
    let attached = bench.attach(&Attach { stdin: true, output: true, lossless: false, ..Default::default() }).await;
    for size in [0, 1, 60_000] {
        for _ in 0..100 {
            send(&attached, Kind::Stdin, &vec![b'x'; size]).await;
        }
        for payload in [&[0; 4][..], &[0xff; 4], b"", b"123", &[7; 5]] {
            send(&attached, Kind::Resize, payload).await;
        }
    }
    unhurt(&bench).await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_terminal_of_no_size_and_of_the_largest_is_one() {
    let bench = Bench::new(&Wish { tty: true, stdin: true, ..Wish::sh("read a; echo end; sleep 1000") });
    let (client, status) = up(&bench).await;
    let raw = bench.attach(&lossless()).await;
    let logged = |text: &str| String::from_utf8_lossy(&bench.logged("stdout")).contains(text);
    // Busybox shows neither as it is.
    let shown = || {
        let terminal = format!("/proc/{}/fd/0", status.pid);
        let output = Command::new("stty").args(["-F", &terminal, "size"]).output().expect("stty");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    for size in [0, 65535] {
        client.resize(soon(), &WindowSize { rows: size, columns: size }).await.expect("resize");
        assert_eq!(shown(), format!("{size} {size}"));
    }
    let beyond = client.resize(soon(), &WindowSize { rows: 65536, columns: 0 }).await.expect_err("refused");
    let words = "a terminal of 65536 rows and 0 columns is too large";
    assert_eq!(Refusal::from(beyond).message, words);
    send(&raw, Kind::Resize, &[0; 4]).await;
    send(&raw, Kind::Resize, &[7, 0, 9, 0]).await;
    until("the last size", || shown() == "7 9").await;
    send(&raw, Kind::Stdin, b"\n").await;
    until("its end", || logged("end")).await;
    assert_eq!(client.status(soon(), &Empty {}).await.expect("status").status, "running");
}

#[tokio::test(flavor = "current_thread")]
async fn what_can_be_no_log_is_refused_at_create() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = |name: &str| dir.path().join(name);
    std::os::unix::fs::symlink(path("target"), path("link")).expect("symlink");
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    fs::create_dir(path("directory")).expect("directory");
    let _listener = std::os::unix::net::UnixListener::bind(path("socket")).expect("socket");
    let places = ["link", "fifo", "directory", "socket", "missing/log"].map(path);
    let devices = ["/dev/null", "/dev/full", "/dev/tty0", "/proc/sys/log", "/proc/self/mem"].map(Into::into);
    for log in places.into_iter().chain(devices) {
        let bench = Bench::new(&Wish { log: Some(log.clone()), ..Wish::sh("true") });
        let refusal = Refusal::from(bench.client().create(soon(), &MonitorCreate {}).await.expect_err("refused"));
        assert!(refusal.message.starts_with(&format!("log path {}: ", log.display())), "{refusal:?}");
    }
    assert!(!path("target").exists(), "the link was not followed");
}

/// Names the run directory in the environment of [`a_stranger_is_not_served`]'s child.
const STRANGER: &str = "PODMON_TEST_STRANGER";

#[tokio::test(flavor = "current_thread")]
async fn a_stranger_is_not_served() {
    if let Some(run) = std::env::var_os(STRANGER) {
        return strange(Path::new(&run));
    }
    let bench = Bench::new(&Wish::sh(TALKS));
    let (_client, _) = up(&bench).await;
    // The permissions of files and directories are one wall, and who the peer is another: this is about the second.
    for directory in bench.run.ancestors().take_while(|directory| *directory != Path::new("/tmp")) {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        if fs::set_permissions(directory, mode).is_err() {
            break;
        }
    }
    for name in ["mon.sock", "mon.raw"] {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(bench.run.join(name), mode).expect("chmod");
    }
    let program = bench.run.join("stranger");
    copy(&std::env::current_exe().expect("this program"), &program);
    let mut child = Command::new(&program);
    child.args(["--exact", "abuse::a_stranger_is_not_served", "--nocapture"]).env(STRANGER, &bench.run);
    let output = child.uid(65534).gid(65534).output().expect("the stranger");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("stranger: turned away twice"), "{text}");
    unhurt(&bench).await;
}

/// Somebody else's side.
fn strange(run: &Path) {
    let mut stream = socket::connect_stream(run, "mon.sock").expect("the file lets everybody in");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("timeout");
    // It may be closed before this is sent.
    let _ = stream.write_all(&hello(1));
    assert!(!matches!(stream.read(&mut [0; 64]), Ok(1..)), "it was answered");
    let raw = socket::connect_seqpacket(run, "mon.raw").expect("the file lets everybody in");
    let _ = proto::raw::send_packet(raw.as_fd(), b"Dtoken", &[]);
    let mut poll = [nix::poll::PollFd::new(raw.as_fd(), nix::poll::PollFlags::POLLIN)];
    assert_eq!(nix::poll::poll(&mut poll, 20_000u16), Ok(1), "it is cut off at once");
    let answer = proto::raw::receive_packet(raw.as_fd(), &mut [0; 64]);
    assert!(!matches!(answer, Ok((1.., _))), "it was answered");
    println!("stranger: turned away twice");
}
