use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::fd::OwnedFd,
    thread,
    time::Duration,
};

use proto::{
    alive::Process,
    log_line::{
        self,
        Stream::{Stderr, Stdout},
    },
    record::{self, ContainerRecord, Durability, Phase, PodState},
    wire::LogConfig,
};

use super::*;
use crate::view::fixture::{Fixture, Web, member};

const SECOND: i64 = 1_000_000_000;

/// Appends a record whose time is `second`.
fn put(log: &Path, second: i64, stream: Stream, full: bool, text: &str) {
    let mut line = Vec::new();
    log_line::encode(&mut line, &log_line::stamp(second * SECOND), stream, full, text.as_bytes());
    let mut file = OpenOptions::new().append(true).create(true).open(log).expect("log");
    file.write_all(&line).expect("write");
}

/// What `request` prints: to stdout and to stderr.
fn read(roots: &Roots, request: LogsRequest) -> (String, String) {
    let dir = tempfile::tempdir().expect("tempdir");
    let sink = |name: &str| File::create(dir.path().join(name)).expect("file");
    run(roots, &request, sink("out").into(), sink("err").into()).expect("logs");
    let text = |name: &str| fs::read_to_string(dir.path().join(name)).expect("text");
    (text("out"), text("err"))
}

fn of(containers: &[&str]) -> LogsRequest {
    LogsRequest { containers: containers.iter().map(|name| (*name).to_owned()).collect(), ..Default::default() }
}

fn fixture() -> (Fixture, Web, PathBuf) {
    let fixture = Fixture::new();
    let web = fixture.web();
    let log = fixture.engine.roots.log(&web.pod, &web.back);
    (fixture, web, log)
}

#[test]
fn lines_go_to_their_streams_and_parts_are_joined() {
    let (fixture, _, log) = fixture();
    put(&log, 1, Stdout, true, "one");
    put(&log, 2, Stderr, true, "bad");
    put(&log, 3, Stdout, false, "two ");
    put(&log, 4, Stderr, false, "no newline");
    put(&log, 5, Stdout, true, "parts\r");
    let (out, err) = read(&fixture.engine.roots, of(&["back"]));
    assert_eq!((out.as_str(), err.as_str()), ("one\ntwo parts\r\n", "bad\nno newline"));
}

#[test]
fn a_torn_record_and_rubbish_are_left_out() {
    let (fixture, _, log) = fixture();
    put(&log, 1, Stdout, true, "one");
    let mut file = OpenOptions::new().append(true).open(&log).expect("log");
    file.write_all(b"rubbish\n\n2023-11-14T22:13:20.000000001Z stdout F to").expect("write");
    assert_eq!(read(&fixture.engine.roots, of(&["back"])).0, "one\n");
    assert_eq!(read(&fixture.engine.roots, LogsRequest { tail: 1, has_tail: true, ..of(&["back"]) }).0, "one\n");
}

#[test]
fn prefixes_times_and_colours() {
    let (fixture, web, log) = fixture();
    put(&log, 1, Stdout, false, "a");
    put(&log, 2, Stdout, true, "b");
    put(&fixture.engine.roots.log(&web.pod, &web.front), 3, Stdout, true, "c");
    let roots = &fixture.engine.roots;
    let both = || LogsRequest { prefix: true, ..of(&["back", "front"]) };
    let (back, front) = (web.back.short(), web.front.short());
    assert_eq!(read(roots, both()).0, format!("{back} ab\n{front} c\n"));
    let named = LogsRequest { names: true, timestamps: true, ..both() };
    let time = |second: i64| proto::time::rfc3339(second * SECOND);
    assert_eq!(read(roots, named).0, format!("back {} ab\nfront {} c\n", time(1), time(3)));
    let coloured = LogsRequest { color: true, names: true, ..both() };
    assert_eq!(read(roots, coloured).0, "\x1b[37mback a\x1b[0m\x1b[37mb\x1b[0m\n\x1b[31mfront c\x1b[0m\n");
}

#[test]
fn a_line_without_end_does_not_run_into_the_next_containers() {
    let (fixture, web, log) = fixture();
    put(&log, 1, Stdout, false, "no end");
    put(&fixture.engine.roots.log(&web.pod, &web.front), 3, Stdout, true, "c");
    let named = LogsRequest { prefix: true, names: true, ..of(&["back", "front"]) };
    assert_eq!(read(&fixture.engine.roots, named).0, "back no end\nfront c\n");
}

#[test]
fn the_last_lines_of_interleaved_streams() {
    let (fixture, _, log) = fixture();
    put(&log, 1, Stdout, true, "one");
    put(&log, 2, Stdout, false, "two-");
    put(&log, 3, Stderr, true, "err");
    put(&log, 4, Stdout, true, "two");
    put(&log, 5, Stdout, false, "three");
    let roots = &fixture.engine.roots;
    let tail = |lines: i64| read(roots, LogsRequest { tail: lines, has_tail: true, ..of(&["back"]) });
    assert_eq!(tail(0), (String::new(), String::new()));
    assert_eq!(tail(1).0, "three");
    assert_eq!(tail(2), ("two-two\nthree".into(), String::new()));
    assert_eq!(tail(3), ("two-two\nthree".into(), "err\n".into()));
    assert_eq!(tail(4).0, "one\ntwo-two\nthree");
    assert_eq!(tail(-1).0, "one\ntwo-two\nthree");
    assert_eq!(tail(1_000).0, "one\ntwo-two\nthree");
}

/// A log of `lines` lines, one a second, in three files.
fn long(log: &Path, lines: i64) {
    let mut text = Vec::new();
    let mut files = vec![log.with_extension("log.2"), log.with_extension("log.1"), log.to_path_buf()].into_iter();
    for line in 0..lines {
        let stream = if line % 3 == 0 { Stderr } else { Stdout };
        log_line::encode(
            &mut text,
            &log_line::stamp((line + 1) * SECOND),
            stream,
            true,
            format!("line {line}").as_bytes(),
        );
        if (line + 1) % (lines / 3 + 1) == 0 || line + 1 == lines {
            fs::write(files.next().expect("three files"), &text).expect("write");
            text.clear();
        }
    }
}

fn numbers((out, err): (String, String)) -> Vec<i64> {
    let mut numbers: Vec<i64> = out.lines().chain(err.lines()).map(|line| line[5..].parse().expect("line N")).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn rotated_files_are_one_log_and_times_and_tails_are_found_in_it() {
    let (fixture, _, log) = fixture();
    const LINES: i64 = 30_000;
    long(&log, LINES);
    let roots = &fixture.engine.roots;
    assert_eq!(numbers(read(roots, of(&["back"]))), (0..LINES).collect::<Vec<_>>());
    for lines in [1, 2, 3, 100, 10_000, 10_001, 20_500, LINES - 1] {
        let tail = LogsRequest { tail: lines, has_tail: true, ..of(&["back"]) };
        assert_eq!(numbers(read(roots, tail)), (LINES - lines..LINES).collect::<Vec<_>>(), "tail {lines}");
    }
    for (since, until) in
        [(0, 5), (5, 9), (9_999, 10_002), (12_345, 25_000), (29_990, 40_000), (40_000, 50_000), (9, 5)]
    {
        let request = LogsRequest { since: since * SECOND, until: until * SECOND, ..of(&["back"]) };
        // Line N is of second N + 1: after `since`, before `until`.
        let expected: Vec<i64> = (since..(until - 1).min(LINES)).collect();
        assert_eq!(numbers(read(roots, request)), expected, "{since} {until}");
    }
    let last = LogsRequest { since: 100 * SECOND, until: 20_000 * SECOND, tail: 5, has_tail: true, ..of(&["back"]) };
    assert_eq!(numbers(read(roots, last)), (19_994..19_999).collect::<Vec<_>>());
}

#[test]
fn a_rotation_that_was_cut_off_hides_and_doubles_nothing() {
    let (fixture, _, log) = fixture();
    let number = |number: u32| log_line::rotated(&log, number);
    for (second, file) in [(1, 4), (2, 3), (3, 1), (4, 0)] {
        put(&number(file), second, Stdout, true, &second.to_string());
    }
    // Number 2 is free; then the newest has two names.
    let roots = &fixture.engine.roots;
    assert_eq!(read(roots, of(&["back"])).0, "1\n2\n3\n4\n");
    fs::rename(number(1), number(2)).expect("rename");
    fs::hard_link(&log, number(1)).expect("link");
    assert_eq!(read(roots, of(&["back"])).0, "1\n2\n3\n4\n");
    assert_eq!(read(roots, LogsRequest { tail: 3, has_tail: true, ..of(&["back"]) }).0, "2\n3\n4\n");
    // What only looks like one of its files.
    fs::write(log.with_extension("log.x"), "no record\n").expect("write");
    fs::write(log.with_extension("log.4294967295"), "no record\n").expect("write");
    assert_eq!(read(roots, of(&["back"])).0, "1\n2\n3\n4\n");
}

#[test]
fn while_files_are_renamed_all_the_time_none_is_missed() {
    const LINES: i64 = 300;
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("ctr.log");
    put(&log, 1, Stdout, true, "0");
    // A monitor that is asked for one line a file.
    let writer = thread::spawn({
        let log = log.clone();
        move || {
            for line in 1..LINES {
                let count = fs::read_dir(log.parent().expect("parent")).expect("listing").count();
                for number in (1..u32::try_from(count).expect("few")).rev() {
                    fs::rename(log_line::rotated(&log, number), log_line::rotated(&log, number + 1)).expect("rename");
                }
                let (first, fresh) = (log_line::rotated(&log, 1), log.with_file_name("fresh"));
                fs::hard_link(&log, first).expect("link");
                put(&fresh, line, Stdout, true, &line.to_string());
                fs::rename(&fresh, &log).expect("rename");
            }
        }
    });
    let mut follower = Journal::open(&log, Format::Cri).expect("open");
    let (mut followed, mut position) = (Vec::<i64>::new(), 0);
    let mut buffer = journal::buffer();
    let mut read = |journal: &Journal, from: u64| {
        let mut lines: Vec<i64> = Vec::new();
        let each = |_, line: &[u8]| {
            let text = String::from_utf8_lossy(line);
            lines.push(text.rsplit(' ').next().and_then(|number| number.parse().ok()).expect("a number"));
            Ok(ControlFlow::Continue(()))
        };
        let end = journal.scan(from, journal.end(), &mut buffer, each).expect("scan");
        (lines, end)
    };
    loop {
        let over = writer.is_finished();
        follower.refresh(position).expect("refresh");
        let (lines, end) = read(&follower, position);
        position = end;
        followed.extend(lines);
        let (lines, _) = read(&Journal::open(&log, Format::Cri).expect("open"), 0);
        assert!(lines.iter().copied().eq(0..i64::try_from(lines.len()).expect("few")), "{lines:?}");
        if over {
            break;
        }
    }
    writer.join().expect("the writer");
    assert!(followed.iter().copied().eq(0..LINES), "{followed:?}");
}

#[test]
fn what_has_been_read_comes_once_and_is_let_go_when_it_has_been_dropped() {
    let dir = tempfile::tempdir().expect("tempdir");
    let log = dir.path().join("ctr.log");
    let mut journal = Journal::open(&log, Format::Cri).expect("open");
    let (mut position, mut lines, mut buffer) = (0, 0, journal::buffer());
    let mut put_and_follow = |journal: &mut Journal| {
        put(&log, 1, Stdout, true, "line");
        journal.refresh(position).expect("refresh");
        let each = |_, _: &[u8]| {
            lines += 1;
            Ok(ControlFlow::Continue(()))
        };
        position = journal.scan(position, journal.end(), &mut buffer, each).expect("scan");
        lines
    };
    let rotated = |number| log_line::rotated(&log, number);
    for line in 1..=10 {
        assert_eq!(put_and_follow(&mut journal), line);
        // Three are kept.
        let _not_there_yet = fs::rename(rotated(1), rotated(2));
        fs::rename(&log, rotated(1)).expect("rename");
    }
    assert!(journal.segments.len() <= 4, "{} files are held", journal.segments.len());
    assert_eq!(put_and_follow(&mut journal), 11);
    fs::remove_file(&log).expect("a person deletes the newest");
    assert_eq!(put_and_follow(&mut journal), 12, "those before it are known");
}

#[test]
fn docker_s_lines_are_read_like_ours() {
    let (fixture, web, log) = fixture();
    let roots = &fixture.engine.roots;
    let path = roots.container_record(&web.pod, &web.back);
    let mut record: ContainerRecord = record::read(&path).expect("record");
    record.config.log = Some(LogConfig { driver: "json-file".into(), ..Default::default() });
    record::write(&path, &record, Durability::Volatile).expect("write");
    let mut lines = String::new();
    for second in 1..=3000 {
        let stream = if second % 3 == 0 { "stderr" } else { "stdout" };
        let time = proto::time::rfc3339(second * SECOND);
        // A part of 9000 bytes that are escaped, then the rest.
        if second == 2999 {
            let escaped = "\\u0001".repeat(9000);
            lines += &format!("{{\"log\":\"{escaped}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n");
        }
        lines += &format!(
            "{{\"log\":\"a\\\"{second}\\n\",\"stream\":\"{stream}\",\"attrs\":{{\"tag\":\"x\"}},\"time\":\"{time}\"}}\n"
        );
    }
    fs::write(&log, &lines).expect("write");
    let line = |second: i64| format!("a\"{second}\n");
    let (out, err) = read(roots, of(&["back"]));
    let streamed = |is: fn(i64) -> bool| (1..=3000).filter(|second| is(*second)).map(line).collect::<String>();
    assert_eq!(err, streamed(|second| second % 3 == 0));
    assert_eq!(out.replace('\u{1}', ""), streamed(|second| second % 3 != 0));
    let tail = |lines: i64| read(roots, LogsRequest { tail: lines, has_tail: true, ..of(&["back"]) });
    assert_eq!(tail(1), (String::new(), line(3000)));
    assert_eq!(tail(3).0, format!("{}{}{}", line(2998), "\u{1}".repeat(9000), line(2999)));
    let since = LogsRequest { since: 100 * SECOND, until: 104 * SECOND, timestamps: true, ..of(&["back"]) };
    let time = |second: i64| proto::time::rfc3339(second * SECOND);
    assert_eq!(
        read(roots, since),
        (format!("{} {}{} {}", time(101), line(101), time(103), line(103)), format!("{} {}", time(102), line(102)))
    );
}

#[test]
fn words_for_logs_that_cannot_be_read() {
    let (fixture, web, log) = fixture();
    let roots = &fixture.engine.roots;
    let refused = |request: LogsRequest| {
        let null = || OwnedFd::from(File::options().write(true).open("/dev/null").expect("null"));
        run(roots, &request, null(), null()).expect_err("refused").message
    };
    assert_eq!(refused(of(&["nope"])), "no container with name or ID \"nope\" found: no such container");
    assert_eq!(refused(of(&["web"])), "no container with name or ID \"web\" found: no such container");
    assert_eq!(
        refused(LogsRequest { pod: "nope".into(), ..Default::default() }),
        "no pod with name or ID nope found: no such pod"
    );
    fixture.plain("solo");
    assert_eq!(
        refused(LogsRequest { pod: web.pod.to_string(), ..of(&["solo"]) }),
        "container solo is not in pod web: no such container"
    );
    let path = roots.container_record(&web.pod, &web.back);
    let mut record: ContainerRecord = record::read(&path).expect("record");
    record.config.log = Some(LogConfig { driver: "none".into(), ..Default::default() });
    record::write(&path, &record, Durability::Volatile).expect("write");
    assert_eq!(
        refused(of(&["back"])),
        "this container is using the 'none' log driver, cannot read logs: this container is not logging output"
    );
    record.config.log = None;
    record::write(&path, &record, Durability::Volatile).expect("write");
    std::os::unix::fs::symlink("/etc/passwd", &log).expect("symlink");
    assert!(refused(of(&["back"])).starts_with(&format!("logs: {}: ", log.display())));
    fs::remove_file(&log).expect("remove");
    assert_eq!(read(roots, of(&["back"])), (String::new(), String::new()), "no log yet");
}

/// Starts `request` with a pipe as both streams.
fn start(fixture: &Fixture, request: LogsRequest) -> (io::PipeReader, thread::JoinHandle<Result<()>>) {
    let (reader, writer) = io::pipe().expect("pipe");
    let roots = fixture.engine.roots.clone();
    let out = OwnedFd::from(writer);
    let err = out.try_clone().expect("clone");
    (reader, thread::spawn(move || run(&roots, &request, out, err)))
}

fn expect(reader: &mut io::PipeReader, text: &str) {
    let mut got = vec![0; text.len()];
    reader.read_exact(&mut got).expect("text");
    assert_eq!(String::from_utf8_lossy(&got), text);
}

#[test]
fn following_goes_on_across_a_rotation_until_the_container_has_ended() {
    let (fixture, web, _) = fixture();
    let log = fixture.engine.roots.log(&web.pod, &web.front);
    put(&log, 1, Stdout, true, "one");
    let (mut reader, thread) = start(&fixture, LogsRequest { follow: true, ..of(&["front"]) });
    expect(&mut reader, "one\n");
    put(&log, 2, Stderr, true, "two");
    expect(&mut reader, "two\n");
    put(&log, 3, Stdout, true, "three");
    fs::rename(&log, log.with_extension("log.1")).expect("rename");
    put(&log, 4, Stdout, true, "four");
    fs::rename(log.with_extension("log.1"), log.with_extension("log.2")).expect("rename");
    fs::rename(&log, log.with_extension("log.1")).expect("rename");
    put(&log, 5, Stdout, true, "five");
    expect(&mut reader, "three\nfour\nfive\n");
    assert!(!thread.is_finished());
    fs::write(&log, "").expect("truncate");
    thread::sleep(Duration::from_millis(50));
    put(&log, 6, Stdout, true, "six");
    expect(&mut reader, "six\n");
    put(&log, 7, Stdout, true, "last");
    fixture.exited(&web.pod, &web.front, 0);
    fixture.runs(&web.pod, &web.front, None, Phase::Exited);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("rest");
    assert_eq!(rest, "last\n");
    thread.join().expect("thread").expect("logs");
}

#[test]
fn following_an_ended_container_ends() {
    let (fixture, _, log) = fixture();
    put(&log, 1, Stdout, true, "one");
    let request = LogsRequest { follow: true, tail: 1, has_tail: true, ..of(&["back"]) };
    assert_eq!(read(&fixture.engine.roots, request).0, "one\n");
}

#[test]
fn following_ends_when_the_reader_has_gone() {
    let (fixture, _, _) = fixture();
    let (reader, thread) = start(&fixture, LogsRequest { follow: true, ..of(&["front"]) });
    thread::sleep(Duration::from_millis(50));
    assert!(!thread.is_finished());
    drop(reader);
    thread.join().expect("thread").expect("a quiet end");
}

#[test]
fn following_ends_at_the_time_that_is_asked_for() {
    let (fixture, _, _) = fixture();
    let until = proto::time::now() + SECOND / 5;
    let begin = std::time::Instant::now();
    let (_reader, thread) = start(&fixture, LogsRequest { follow: true, until, ..of(&["front"]) });
    thread.join().expect("thread").expect("logs");
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_followed_pod_takes_in_new_members_and_ends_with_the_pod() {
    let (fixture, web, log) = fixture();
    let roots = &fixture.engine.roots;
    put(&log, 1, Stdout, true, "old");
    let request =
        LogsRequest { pod: web.pod.to_string(), follow: true, prefix: true, names: true, ..Default::default() };
    let (mut reader, thread) = start(&fixture, request);
    expect(&mut reader, "back old\n");
    let new = Id::random().expect("id");
    fixture.container(&ContainerRecord { created: 4_000, ..member(&web.pod, &new, "new") });
    put(&roots.log(&web.pod, &new), 2, Stdout, true, "hello");
    fixture.runs(&web.pod, &new, Some(Process::this()), Phase::Running);
    expect(&mut reader, "new hello\n");
    put(&roots.log(&web.pod, &new), 3, Stdout, true, "bye");
    for id in [&new, &web.front] {
        fixture.exited(&web.pod, id, 0);
        fixture.runs(&web.pod, id, None, Phase::Exited);
    }
    let mut state: PodState = record::read(&roots.pod_state(&web.pod)).expect("state");
    state.started = false;
    record::write(&roots.pod_state(&web.pod), &state, Durability::Volatile).expect("write");
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("rest");
    assert_eq!(rest, "new bye\n");
    thread.join().expect("thread").expect("logs");
}
