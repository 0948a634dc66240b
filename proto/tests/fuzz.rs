//! What decodes the bytes of others never panics, and answers what was encoded.

#[path = "../../tests/harness/fuzz.rs"]
mod fuzz;

use std::os::fd::AsFd;

use arbitrary::{Arbitrary, Unstructured};
use prost::Message;
use proto::{
    frame::{Attach, Frame},
    json_line,
    log_line::{self, Format, Record, Stream},
    raw::{Deposits, Raw, receive_packet, send_packet},
    wire,
};

#[test]
fn frames() {
    fuzz::run("frames", |input| {
        let Some(frame) = Frame::decode(input) else { return 0 };
        assert_eq!(frame.encode(), input);
        assert_eq!(Frame::decode(&frame.encode()), Some(frame));
        1 + frame.kind as u64
    });
}

/// The packets of the raw socket as a server takes them, through a real one.
#[test]
fn packets() {
    let (client, server) = Raw::pair().expect("pair");
    fuzz::run("packets", |input| {
        let mut deposits = Deposits::default();
        let mut kinds = 0;
        let mut input = Unstructured::new(input);
        while !input.is_empty() {
            // Never an error: what is missing is zero.
            let Ok((kind, text)) = <(u8, Vec<u8>)>::arbitrary(&mut input) else { break };
            let packet = [&[kind][..], &text].concat();
            send_packet(client.as_fd(), &packet, &[]).expect("sent");
            let mut buffer = [0; 1024];
            let (length, fds) = receive_packet(server.as_fd(), &mut buffer).expect("received");
            assert_eq!(length, packet.len().min(buffer.len()));
            let text = std::str::from_utf8(&buffer[1..length.max(1)]).unwrap_or_default();
            let attach = serde_json::from_str::<Attach>(text).is_ok();
            let added = deposits.add(text, fds).is_ok();
            kinds |= 1 << (u64::from(attach) * 2 + u64::from(added) + u64::from(kind % 8) * 4);
            if kind == b'N' {
                deposits.take(text);
            }
        }
        kinds
    });
}

#[test]
fn lines_of_k8s_file() {
    fuzz::run("k8s-file", |input| {
        let mut kind = 0;
        for line in input.split(|byte| *byte == b'\n') {
            let Some(record) = Record::decode(line) else { continue };
            assert_eq!(Format::Cri.head(line), Some((record.stream, record.full, record.stamp)));
            let time = record.time();
            kind |= 1 << (u64::from(record.full) * 2 + u64::from(time.is_some()) + 4 * record.stream as u64);
            let mut out = Vec::new();
            log_line::encode(&mut out, &log_line::stamp(time.unwrap_or(1)), record.stream, record.full, record.text);
            let again = Record::decode(&out[..out.len() - 1]).expect("what was encoded");
            assert_eq!((again.stream, again.full, again.text), (record.stream, record.full, record.text));
        }
        kind
    });
}

#[test]
fn lines_of_json_file() {
    fuzz::run("json-file", |input| {
        let (mut kind, mut scratch) = (0, Vec::new());
        for line in input.split(|byte| *byte == b'\n') {
            let head = json_line::head(line);
            let Some(record) = json_line::decode(line, &mut scratch) else { continue };
            assert_eq!(head, Some((record.stream, record.full, record.stamp)), "what has a text has a head");
            kind |= 1 << (u64::from(record.full) * 2 + record.stream as u64);
        }
        // And what we write is JSON, and the same text.
        let text = String::from_utf8_lossy(input).replace('\n', "");
        let mut out = Vec::new();
        let tail = json_line::tail(&log_line::stamp(1), Stream::Stderr, "");
        json_line::encode(&mut out, &tail, true, text.as_bytes());
        let value: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
        assert_eq!(value["log"], format!("{text}\n"));
        let record = json_line::decode(&out[..out.len() - 1], &mut scratch).expect("a record");
        assert_eq!(record.text, text.as_bytes());
        kind
    });
}

#[test]
fn messages_and_events() {
    fuzz::run("messages", |input| {
        let Some((which, bytes)) = input.split_first() else { return 0 };
        fn told<M: Message + Default + PartialEq>(bytes: &[u8]) -> bool {
            M::decode(bytes).is_ok_and(|message| {
                let again = M::decode(message.encode_to_vec().as_slice());
                // NaN is not itself.
                again.is_ok_and(|again| again.encode_to_vec() == message.encode_to_vec())
            })
        }
        let is = match which % 6 {
            0 => told::<wire::ExecRequest>(bytes),
            1 => told::<wire::CreateContainer>(bytes),
            2 => told::<wire::UpdateContainer>(bytes),
            3 => told::<wire::MonitorStop>(bytes),
            4 => proto::event::parse(bytes).is_some(),
            _ => serde_json::from_slice::<proto::record::StartRecord>(bytes).is_ok(),
        };
        u64::from(which % 6) * 2 + u64::from(is)
    });
}
