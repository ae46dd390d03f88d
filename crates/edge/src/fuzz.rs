//! What the targets in `fuzz/` throw bytes at: the parts of the doors that read what anybody sends. Each of these
//! functions panics if something does not hold that must.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Clock, Millis};
use http::Request;
use serde::{Deserialize, Serialize};

use crate::firehose::body::{Records, parse, room_for};
use crate::kinesis::auth::{AccessKeys, Verifier};
use crate::kinesis::wire::{Blob, Protocol, Timestamp, decode, encode};

/// A shape with members of every kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    stream_name: Option<String>,
    limit: Option<i32>,
    long: Option<i64>,
    flag: Option<bool>,
    data: Option<Blob>,
    at: Option<Timestamp>,
    names: Option<Vec<String>>,
    tags: Option<BTreeMap<String, String>>,
    inner: Option<Box<Input>>,
    records: Option<Vec<Input>>,
}

impl Input {
    /// Without its moments: one protocol has them in fractions of a second, the other not before 1973.
    fn timeless(mut self) -> Self {
        self.at = None;
        self.inner = self.inner.map(|inner| Box::new(inner.timeless()));
        self.records = self.records.map(|records| records.into_iter().map(Self::timeless).collect());
        self
    }
}

/// A body of the Kinesis door in JSON. What is read is written and read again as the same, in either protocol.
pub fn kinesis_json(body: &[u8]) {
    kinesis_body(Protocol::Json, body);
}

/// Likewise in CBOR.
pub fn kinesis_cbor(body: &[u8]) {
    kinesis_body(Protocol::Cbor, body);
}

fn kinesis_body(protocol: Protocol, body: &[u8]) {
    match decode::<Input>(protocol, body) {
        Ok(read) => {
            let read = read.timeless();
            for protocol in [Protocol::Json, Protocol::Cbor] {
                let again = decode::<Input>(protocol, &encode(protocol, &read)).expect("what was written can be read");
                assert_eq!(again, read, "{protocol:?}");
            }
        }
        Err(error) => assert_eq!((error.code, error.status.as_u16()), ("SerializationException", 400)),
    }
}

#[derive(Debug)]
struct Held;

impl Clock for Held {
    fn now(&self) -> Millis {
        Millis(1_440_938_160_000)
    }
}

/// A signed request: on the first line its query, on the second the `Authorization` header, on the third the date, and
/// after that the body. Nobody gets in.
pub fn signature(bytes: &[u8]) {
    let mut keys = AccessKeys::open();
    keys.insert("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").expect("a key");
    let mut lines = bytes.splitn(4, |byte| *byte == b'\n');
    let mut line = || lines.next().unwrap_or_default();
    let uri = format!("/?{}", String::from_utf8_lossy(line()));
    let request = Request::post(uri).header("host", "localhost");
    let request = request.header("authorization", line()).header("x-amz-date", line());
    let Ok(request) = request.body(()) else { return };
    let (head, ()) = request.into_parts();
    for keys in [keys, AccessKeys::open()] {
        let closed = !keys.is_empty();
        let judged = Verifier::new(keys, Arc::new(Held)).admit(&head, "kinesis");
        let judged = judged.and_then(|admitted| admitted.verify(line()));
        assert!(!closed || judged.is_err(), "a forged signature was taken");
    }
}

/// The body of a delivery to the HTTP endpoint. Its records come in parts that hold all of them once, and its lines hold
/// no line ends.
pub fn firehose_delivery(body: &[u8]) {
    let Ok(delivery) = parse(body) else { return };
    let Some(records) = delivery.records else { return };
    let parts = |records: &Records| {
        let (mut from, mut seen) = (0, 0);
        while from < records.len() {
            let to = records.chunk_end(from, 3, 64);
            assert!(to > from && to <= records.len());
            seen += records.range(from..to).count();
            from = to;
        }
        assert_eq!(seen, records.len());
    };
    assert!(records.room() <= room_for(body.len()), "no more memory than was reserved");
    parts(&records);
    let lines = records.lines(records.lines_most());
    assert!(lines.len() <= records.lines_most());
    parts(&lines);
    assert!(lines.range(0..lines.len()).all(|line| !line.is_empty() && !line.contains(&b'\n')));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies of each target, made of what is well and then broken: bytes changed, cut out, doubled, put in, two halves
    /// of different bodies. The same ones every time.
    const BODIES: u32 = 30_000;

    struct Breaking {
        state: u64,
    }

    impl Breaking {
        /// xorshift64*.
        fn next(&mut self, below: usize) -> usize {
            self.state ^= self.state >> 12;
            self.state ^= self.state << 25;
            self.state ^= self.state >> 27;
            let number = self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
            usize::try_from(number).expect("31 bits") % below.max(1)
        }

        fn broken(&mut self, seeds: &[Vec<u8>]) -> Vec<u8> {
            let mut body = seeds[self.next(seeds.len())].clone();
            for _ in 0..=self.next(4) {
                let at = self.next(body.len());
                match self.next(6) {
                    0 if !body.is_empty() => body[at] = u8::try_from(self.next(256)).expect("a byte"),
                    1 => body.truncate(at),
                    2 => drop(body.splice(at..at, b"\xff\x9f{[\"\\u00,:}]\n=/;&"[self.next(12)..].iter().copied())),
                    3 => {
                        let end = (at + self.next(16)).min(body.len());
                        body.drain(at..end);
                    }
                    4 => {
                        let end = (at + self.next(64)).min(body.len());
                        let part = body[at..end].to_vec();
                        body.splice(at..at, part);
                    }
                    _ => {
                        let other = &seeds[self.next(seeds.len())];
                        body.truncate(at);
                        body.extend_from_slice(&other[self.next(other.len())..]);
                    }
                }
            }
            body
        }

        fn throw(target: fn(&[u8]), seeds: &[Vec<u8>]) {
            seeds.iter().for_each(|seed| target(seed));
            let mut breaking = Self { state: 0x9e37_79b9_7f4a_7c15 };
            for _ in 0..BODIES {
                target(&breaking.broken(seeds));
            }
        }
    }

    fn inputs() -> Vec<Input> {
        let inner = Input { limit: Some(-70_000), long: Some(i64::MAX), flag: Some(false), ..Input::default() };
        let whole = Input {
            stream_name: Some("clicks \u{1f4a7}\n\"".to_owned()),
            data: Some(Blob(vec![0, 255, 7, 9].into())),
            at: Some(Timestamp(Millis(1_700_000_000_123))),
            names: Some(vec!["a".to_owned(), String::new()]),
            tags: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
            inner: Some(Box::new(inner.clone())),
            ..Input::default()
        };
        vec![Input { records: Some(vec![whole.clone(), inner.clone()]), ..Input::default() }, whole, inner]
    }

    #[test]
    fn broken_json_bodies_bring_nothing_down() {
        Breaking::throw(
            kinesis_json,
            &inputs().iter().map(|input| encode(Protocol::Json, input).to_vec()).collect::<Vec<_>>(),
        );
    }

    #[test]
    fn broken_cbor_bodies_bring_nothing_down() {
        let mut seeds: Vec<Vec<u8>> = inputs().iter().map(|input| encode(Protocol::Cbor, input).to_vec()).collect();
        seeds.push(
            b"\xbf\x67Records\x9f\xa1\x64Data\x5f\x41a\x42bc\xff\xff\x62At\xc1\xfb\x41\xd9\x55\x00\x00\x00\x00\x00\xff"
                .to_vec(),
        );
        Breaking::throw(kinesis_cbor, &seeds);
    }

    #[test]
    fn broken_signatures_let_nobody_in() {
        let scope = "AKIDEXAMPLE/20150830/us-east-1/kinesis/aws4_request";
        let zeros = "0".repeat(64);
        let header = format!(
            "\nAWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature={zeros}\n20150830T123600Z\n{{}}"
        );
        let query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={scope}&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={zeros}\n\n\n{{}}"
        );
        Breaking::throw(signature, &[header.into_bytes(), query.into_bytes()]);
    }

    #[test]
    fn broken_deliveries_bring_nothing_down() {
        let seeds = [
            &br#"{"requestId":"a","timestamp":1578090901599,"records":[{"data":"aGVsbG8K"},{"data":"YQpiCgpj"},{"data":""}]}"#[..],
            br#"{"records":[],"requestId":"a","timestamp":-1}"#,
        ];
        Breaking::throw(firehose_delivery, &seeds.map(<[u8]>::to_vec));
    }
}
