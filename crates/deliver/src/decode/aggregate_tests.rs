use proptest::prelude::*;

use super::aggregate::{Broken, USER_RECORDS_MAX, UserRecord, unpack};

/// Packs as a producer does: the inverse of what is tested, written from the published format.
#[derive(Default)]
pub(crate) struct Packer {
    message: Vec<u8>,
    keys: Vec<Vec<u8>>,
}

fn varint(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn field(into: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(into, number << 3 | 2);
    varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

impl Packer {
    pub(crate) fn add(&mut self, key: &[u8], data: &[u8]) -> &mut Self {
        let index = self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            field(&mut self.message, 1, key);
            self.keys.push(key.to_vec());
            self.keys.len() - 1
        });
        let mut record = vec![1 << 3];
        varint(&mut record, index as u64);
        field(&mut record, 3, data);
        self.raw(&record)
    }

    /// A record of any bytes.
    fn raw(&mut self, record: &[u8]) -> &mut Self {
        field(&mut self.message, 3, record);
        self
    }

    pub(crate) fn pack(&self) -> Vec<u8> {
        sealed(&self.message)
    }
}

/// Any message with magic and checksum.
fn sealed(message: &[u8]) -> Vec<u8> {
    use md5::Digest;
    [&[0xF3, 0x89, 0x9A, 0xC2], message, &md5::Md5::digest(message)[..]].concat()
}

fn broken(message: &[u8]) -> Broken {
    unpack(&sealed(message)).expect("the checksum is right").expect_err("the message is wrong")
}

/// Made with the published format by hand: two records of key "a", one of key "b" with an explicit hash key and a tag.
#[test]
fn a_record_of_the_published_format_is_read() {
    let message = b"\x0a\x01a\x0a\x01b\x12\x0142\x1a\x06\x08\x00\x1a\x02hi\x1a\x0f\x08\x01\x10\x00\x1a\x01x\x22\x06\x0a\x01k\x12\x01v\x1a\x04\x08\x00\x1a\x00";
    let message = {
        // The explicit hash key "42" has two characters.
        let mut message = message.to_vec();
        message[7] = 2;
        message
    };
    let payload = sealed(&message);
    let wanted = [("a", "hi"), ("b", "x"), ("a", "")];
    let wanted = wanted.map(|(key, data)| UserRecord { key: key.as_bytes(), data: data.as_bytes() });
    assert_eq!(unpack(&payload), Some(Ok(wanted.to_vec())));
}

#[test]
fn what_only_begins_like_one_is_a_plain_record() {
    let mut packer = Packer::default();
    let payload = packer.add(b"k", b"data").pack();
    assert!(unpack(&payload).is_some());
    for (what, plain) in [
        ("nothing", vec![]),
        ("text", b"{\"a\":1}".to_vec()),
        ("the magic alone", payload[..4].to_vec()),
        ("too short for a checksum", payload[..19].to_vec()),
        ("an empty message", sealed(b"")),
        ("cut at the end", payload[..payload.len() - 1].to_vec()),
        (
            "one bit of the message",
            payload.iter().enumerate().map(|(at, b)| if at == 6 { b ^ 1 } else { *b }).collect(),
        ),
        (
            "one bit of the checksum",
            payload.iter().enumerate().map(|(at, b)| if at + 1 == payload.len() { b ^ 1 } else { *b }).collect(),
        ),
    ] {
        assert_eq!(unpack(&plain), None, "{what}");
    }
}

#[test]
fn a_broken_message_is_told_and_hostile_lengths_reserve_nothing() {
    for (message, expected) in [
        (&b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], "as many bytes as the length before them says"),
        (b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number of 64 bits"),
        (b"\x1a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", "a number of 64 bits"),
        (b"\x0a\x05ab", "as many bytes as the length before them says"),
        (b"\x0b", "a wire type of protobuf"),
        (b"\x08\x01", "a field with its length"),
        (b"\x0a\x01k\x1a\x02\x0a\x00", "a number"),
        (b"\x0a\x01k\x1a\x04\x08\x00\x18\x00", "a field with its length"),
    ] {
        match broken(message) {
            Broken::Malformed { expected: told, .. } => assert_eq!(told, expected, "{message:?}"),
            other => panic!("{message:?}: {other:?}"),
        }
    }
    assert_eq!(broken(b"\x0a\x01k"), Broken::Empty);
    assert_eq!(broken(b"\x0a\x01k\x1a\x02\x1a\x00"), Broken::Missing { index: 0, what: "partition key" });
    assert_eq!(broken(b"\x0a\x01k\x1a\x02\x08\x00"), Broken::Missing { index: 0, what: "data" });
    assert_eq!(broken(b"\x0a\x01k\x1a\x04\x08\x01\x1a\x00"), Broken::NoSuchKey { index: 0, key: 1, keys: 1 });
    assert_eq!(broken(b"\x0a\x01k\x1a\x06\x08\x00\x10\x00\x1a\x00"), Broken::NoSuchKey { index: 0, key: 0, keys: 0 });
    let many = [&b"\x0a\x01k"[..], &b"\x1a\x04\x08\x00\x1a\x00".repeat(USER_RECORDS_MAX + 1)].concat();
    assert_eq!(broken(&many), Broken::TooMany);
}

proptest! {
    #[test]
    fn what_was_packed_is_unpacked(
        records in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..4), proptest::collection::vec(any::<u8>(), 0..300)), 1..60),
    ) {
        let mut packer = Packer::default();
        for (key, data) in &records {
            packer.add(key, data);
        }
        let payload = packer.pack();
        let unpacked = unpack(&payload).expect("aggregated").expect("whole");
        let found: Vec<(Vec<u8>, Vec<u8>)> =
            unpacked.iter().map(|record| (record.key.to_vec(), record.data.to_vec())).collect();
        prop_assert_eq!(found, records);
    }

    #[test]
    fn no_bytes_are_too_strange(message in proptest::collection::vec(any::<u8>(), 1..200)) {
        let payload = sealed(&message);
        if let Some(Ok(records)) = unpack(&payload) {
            prop_assert!(!records.is_empty());
        }
    }
}
