//! One question: what we know, what we ask others, what we refuse. No I/O but a look at the names.

use std::net::Ipv4Addr;

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata},
};

use super::names::Names;
use crate::network::DOMAIN;

/// Bytes of a DNS header.
const HEADER: usize = 12;
/// Answers are true now; the next moment the pod may be another.
const TTL: u32 = 0;
/// Smallest and largest UDP answer (RFC 1035, RFC 9715).
const UDP: (u16, u16) = (512, 1232);

/// A question as it came in.
#[derive(Clone, Debug)]
pub(super) struct Query {
    bytes: Vec<u8>,
    /// End of the question section in `bytes`.
    end: usize,
    message: Message,
    /// The name asked for, in lower case without the last dot.
    name: String,
}

/// What becomes of a question.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// This is the answer.
    Reply(Vec<u8>),
    /// Somebody else knows.
    Forward,
}

impl Query {
    /// Reads a question; `None` for anything that deserves no answer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Query> {
        let end = question_end(bytes)?;
        let message = Message::from_vec(bytes).ok()?;
        if message.metadata.message_type != MessageType::Query {
            return None;
        }
        let name = message.queries.first()?.name().to_lowercase().to_string();
        let name = name.strip_suffix('.').unwrap_or(&name).to_owned();
        Some(Query { bytes: bytes.to_vec(), end, message, name })
    }

    /// The question with another number, for others to answer.
    pub(super) fn with_id(&self, id: u16) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes
    }

    /// The answer of somebody we asked with number `id`, with the client's number; `None` if it is none to this
    /// question.
    pub(super) fn accept(&self, id: u16, mut reply: Vec<u8>) -> Option<Vec<u8>> {
        let is_reply = reply.get(2)? & 0x80 != 0;
        let same = reply.get(HEADER..self.end)?.eq_ignore_ascii_case(&self.bytes[HEADER..self.end]);
        if !is_reply || !same || reply[..2] != id.to_be_bytes() || reply[4..6] != [0, 1] {
            return None;
        }
        reply[..2].copy_from_slice(&self.bytes[..2]);
        Some(reply)
    }

    /// The answer as UDP can carry it to this client: one that is too large says so, and the client asks by TCP.
    pub(super) fn fit(&self, mut reply: Vec<u8>) -> Vec<u8> {
        let asked = self.message.edns.as_ref().map_or(0, Edns::max_payload);
        if reply.len() > usize::from(asked.clamp(UDP.0, UDP.1)) && reply.len() >= HEADER {
            reply.truncate(HEADER);
            reply[2] |= 0x02;
            reply[4..HEADER].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
            reply.extend_from_slice(&self.bytes[HEADER..self.end]);
        }
        reply
    }

    /// "Nobody answered."
    pub(super) fn failure(&self) -> Vec<u8> {
        self.encode(ResponseCode::ServFail, false, Vec::new())
    }

    /// What we have to say; `forward` = others may be asked.
    pub(super) fn answer(&self, names: &Names, forward: bool) -> Verdict {
        if self.message.metadata.op_code != OpCode::Query {
            return self.reply(ResponseCode::NotImp, Vec::new());
        }
        let Some(query) = self.message.queries.first().filter(|query| query.query_class() == DNSClass::IN) else {
            return self.reply(ResponseCode::Refused, Vec::new());
        };
        if let Some(address) = reverse(&self.name)
            && let Some(name) = names.name_of(address)
        {
            return self.reverse(query.query_type(), name);
        }
        let host = match self.name.strip_suffix(DOMAIN) {
            Some("") => return self.reply(ResponseCode::NoError, Vec::new()),
            Some(host) => host.strip_suffix('.'),
            None => None,
        };
        match (names.addresses(host.unwrap_or(&self.name)), host) {
            (Some(addresses), _) => self.addresses(query.query_type(), &addresses),
            // The domain is ours: what we do not know is not there, and nobody else learns that it was asked for.
            (None, Some(_)) => self.reply(ResponseCode::NXDomain, Vec::new()),
            (None, None) if forward => Verdict::Forward,
            (None, None) => self.reply(ResponseCode::NXDomain, Vec::new()),
        }
    }

    fn addresses(&self, kind: RecordType, addresses: &[Ipv4Addr]) -> Verdict {
        let Some(query) = self.message.queries.first().filter(|_| matches!(kind, RecordType::A | RecordType::ANY))
        else {
            // It has the name, and nothing of this type.
            return self.reply(ResponseCode::NoError, Vec::new());
        };
        // Clients take the first: each of several gets its turn.
        let turn = usize::from(self.message.metadata.id) % addresses.len().max(1);
        let record = |ip: &Ipv4Addr| Record::from_rdata(query.name().clone(), TTL, RData::A(rdata::A(*ip)));
        let records = addresses.iter().cycle().skip(turn).take(addresses.len()).map(record);
        self.reply(ResponseCode::NoError, records.collect())
    }

    fn reverse(&self, kind: RecordType, name: Option<String>) -> Verdict {
        let target = name.and_then(|name| Name::from_ascii(format!("{name}.{DOMAIN}.")).ok());
        match (target, self.message.queries.first()) {
            (Some(target), Some(query)) if matches!(kind, RecordType::PTR | RecordType::ANY) => {
                let record = Record::from_rdata(query.name().clone(), TTL, RData::PTR(rdata::PTR(target)));
                self.reply(ResponseCode::NoError, vec![record])
            }
            (Some(_), _) => self.reply(ResponseCode::NoError, Vec::new()),
            (None, _) => self.reply(ResponseCode::NXDomain, Vec::new()),
        }
    }

    fn reply(&self, code: ResponseCode, records: Vec<Record>) -> Verdict {
        Verdict::Reply(self.encode(code, true, records))
    }

    fn encode(&self, code: ResponseCode, authoritative: bool, records: Vec<Record>) -> Vec<u8> {
        let asked = &self.message.metadata;
        let mut reply = Message::response(asked.id, asked.op_code);
        reply.metadata.authoritative = authoritative;
        reply.metadata.recursion_desired = asked.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.metadata.response_code = code;
        reply.queries.extend(self.message.queries.first().cloned());
        reply.answers = records;
        if self.message.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP.1);
            reply.set_edns(edns);
        }
        reply.to_vec().unwrap_or_default()
    }
}

/// End of a section of exactly one question whose name is not compressed.
fn question_end(bytes: &[u8]) -> Option<usize> {
    if bytes.get(4..6)? != [0, 1] {
        return None;
    }
    let mut at = HEADER;
    loop {
        match *bytes.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    let end = at + 1 + 4;
    (end <= bytes.len() && at < HEADER + 255).then_some(end)
}

/// The address of a name under in-addr.arpa.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let digits = name.strip_suffix(".in-addr.arpa")?;
    let parts: Vec<u8> = digits.split('.').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let [d, c, b, a] = parts.try_into().ok()?;
    Some(Ipv4Addr::new(a, b, c, d))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use hickory_proto::op::Query as Question;
    use proto::{Id, Roots, alive, record::NetworkStatus};

    use super::*;
    use crate::network::lease::Leases;

    /// Names `web` with 10.89.0.3.
    fn names(dir: &tempfile::TempDir) -> Names {
        let roots = Roots { state: dir.path().join("state"), run: dir.path().join("run") };
        let pod: Id = "a".repeat(64).parse().expect("id");
        Leases::of(&roots, "net").join(&pod, "x").expect("join");
        fs::create_dir_all(roots.run_pod(&pod)).expect("dir");
        let state = format!(
            r#"{{"schema":1,"started":true,"boot_id":"{}","started_at":1,"shim":{{"pid":1,"start_time":1,"boot_id":""}},
            "networks":[{{"network":"net","ip":"10.89.0.3","prefix":24,"aliases":["web"],"dns":true}}]}}"#,
            alive::boot_id()
        );
        fs::write(roots.pod_state(&pod), state).expect("write");
        let own = NetworkStatus {
            network: "net".into(),
            ip: "10.89.0.2".into(),
            prefix: 24,
            dns: true,
            ..Default::default()
        };
        Names::new(&roots, &[own])
    }

    fn ask(name: &str, kind: RecordType) -> Query {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = true;
        message.add_query(Question::query(Name::from_ascii(name).expect("name"), kind));
        Query::parse(&message.to_vec().expect("encodes")).expect("parses")
    }

    fn reply(names: &Names, name: &str, kind: RecordType) -> Option<Message> {
        match ask(name, kind).answer(names, true) {
            Verdict::Reply(bytes) => Some(Message::from_vec(&bytes).expect("a message")),
            Verdict::Forward => None,
        }
    }

    #[test]
    fn known_names_are_answered_with_and_without_the_domain() {
        let dir = tempfile::tempdir().expect("tempdir");
        let names = names(&dir);
        for name in ["web.", "WEB.dns.podman."] {
            let message = reply(&names, name, RecordType::A).expect("ours");
            assert!(message.metadata.authoritative && message.metadata.id == 7);
            assert_eq!(message.answers[0].data, RData::A(rdata::A::new(10, 89, 0, 3)), "{name}");
            let nothing = reply(&names, name, RecordType::AAAA).expect("ours");
            assert_eq!((nothing.metadata.response_code, nothing.answers.len()), (ResponseCode::NoError, 0));
        }
        let back = reply(&names, "3.0.89.10.in-addr.arpa.", RecordType::PTR).expect("ours");
        assert_eq!(back.answers[0].data.to_string(), "web.dns.podman.");
    }

    #[test]
    fn the_domain_is_ours_and_the_rest_is_not() {
        let dir = tempfile::tempdir().expect("tempdir");
        let names = names(&dir);
        for name in ["nope.dns.podman.", "a.b.dns.podman.", "9.0.89.10.in-addr.arpa."] {
            assert_eq!(
                reply(&names, name, RecordType::A).expect("ours").metadata.response_code,
                ResponseCode::NXDomain,
                "{name}"
            );
        }
        for name in ["example.com.", "xdns.podman.", "nope.", "1.1.1.10.in-addr.arpa."] {
            assert!(reply(&names, name, RecordType::A).is_none(), "{name}");
            let Verdict::Reply(inside) = ask(name, RecordType::A).answer(&names, false) else { panic!("{name} leaks") };
            assert_eq!(Message::from_vec(&inside).expect("reply").metadata.response_code, ResponseCode::NXDomain);
        }
    }

    #[test]
    fn an_answer_that_is_too_large_is_cut_and_says_so() {
        let query = ask("web.", RecordType::A);
        let mut large = query.failure();
        large.resize(600, 0);
        let cut = Message::from_vec(&query.fit(large)).expect("a message");
        assert!(cut.metadata.truncation && cut.queries.len() == 1 && cut.answers.is_empty());
    }

    #[test]
    fn only_the_answer_to_our_question_is_accepted() {
        let query = ask("example.com.", RecordType::A);
        let mut good = query.failure();
        good[..2].copy_from_slice(&99u16.to_be_bytes());
        assert_eq!(query.accept(99, good.clone()).expect("good")[..2], [0, 7]);
        assert_eq!(query.accept(98, good.clone()), None);
        let mut other = ask("example.org.", RecordType::A).failure();
        other[..2].copy_from_slice(&99u16.to_be_bytes());
        assert_eq!(query.accept(99, other), None);
        assert_eq!(query.accept(7, query.with_id(7)), None, "a question is no answer");
        assert_eq!(query.accept(99, vec![0; 3]), None);
    }

    #[test]
    fn what_is_no_question_is_dropped() {
        let good = ask("web.", RecordType::A).bytes;
        let mut two = good.clone();
        two[5] = 2;
        let mut response = good.clone();
        response[2] |= 0x80;
        // A name that points at itself.
        let loops = [&good[..HEADER], &[0xc0, 0x0c, 0, 1, 0, 1]].concat();
        for bytes in [&[][..], &good[..11], &good[..good.len() - 1], &two, &response, &loops, &[255; 600]] {
            assert!(Query::parse(bytes).is_none(), "{bytes:?}");
        }
        for length in 0..good.len() {
            assert!(Query::parse(&good[..length]).is_none());
        }
    }
}
