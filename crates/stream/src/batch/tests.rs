use base::Millis;
use base::limits::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, KEY_BYTES_MAX, RECORD_BYTES_MAX};
use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression as TheirCompression, Record as Theirs, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions,
    TimestampType,
};
use proptest::prelude::*;

use super::*;
use crate::BatchError;
use crate::limit::{INFLATED_BYTES_MAX, RECORD_BYTES_POSSIBLE};

/// A record as plain values.
#[derive(Clone, Debug, PartialEq)]
struct Plain {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
}

fn plain() -> impl Strategy<Value = Plain> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..80);
    let headers = proptest::collection::vec(("[a-z]{1,8}".prop_map(String::into_bytes), bytes()), 0..4);
    (0i64..2_000_000_000_000, proptest::option::of(bytes()), bytes(), headers)
        .prop_map(|(timestamp, key, value, headers)| Plain { timestamp, key, value, headers })
}

/// In the order of time, as an appended batch always is.
fn plains() -> impl Strategy<Value = Vec<Plain>> {
    proptest::collection::vec(plain(), 1..20).prop_map(|mut records| {
        records.sort_by_key(|record| record.timestamp);
        records
    })
}

fn build(records: &[Plain], compression: Compression) -> Batch {
    let mut builder = Batch::builder().compression(compression);
    for record in records {
        let headers: Vec<(&[u8], &[u8])> = record.headers.iter().map(|(k, v)| (k.as_slice(), v.as_slice())).collect();
        let (timestamp, key, value) = (Millis(record.timestamp), record.key.as_deref(), record.value.as_slice());
        builder.push(RecordRef { timestamp, key, value, headers: &headers }).expect("fits");
    }
    builder.finish()
}

fn read(batch: &[u8]) -> Result<Vec<Plain>, Damage> {
    let header = Header::parse(batch)?;
    verify_crc(batch, &header)?;
    let inflated = inflate(header.codec(), &batch[HEADER_BYTES..])?;
    let records = Records::new(&header, inflated.as_deref().unwrap_or(&batch[HEADER_BYTES..]));
    records
        .map(|record| {
            let record = record?;
            Ok(Plain {
                timestamp: record.timestamp.0,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.to_vec(),
                headers: record.headers().map(|(name, value)| (name.to_vec(), value.to_vec())).collect(),
            })
        })
        .collect()
}

/// What the other implementation reads in an uncompressed batch.
fn read_theirs(batch: &[u8]) -> (Vec<Plain>, Vec<Theirs>) {
    let mut bytes = Bytes::copy_from_slice(batch);
    let theirs = RecordBatchDecoder::decode(&mut bytes).expect("they can read it").records;
    let plain = theirs.iter().map(|record| Plain {
        timestamp: record.timestamp,
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()).unwrap_or_default(),
        headers: (record.headers.iter())
            .map(|(name, value)| (name.as_bytes().to_vec(), value.clone().unwrap_or_default().to_vec()))
            .collect(),
    });
    (plain.collect(), theirs)
}

fn write_theirs(records: &[Plain], offset: i64) -> Vec<u8> {
    let theirs: Vec<Theirs> = records
        .iter()
        .zip(0..)
        .map(|(record, delta)| Theirs {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: 5,
            producer_id: 4_000,
            producer_epoch: 3,
            timestamp_type: TimestampType::Creation,
            offset: offset + delta,
            sequence: 70 + delta as i32,
            timestamp: record.timestamp,
            key: record.key.clone().map(Bytes::from),
            value: Some(Bytes::from(record.value.clone())),
            headers: (record.headers.iter())
                .map(|(name, value)| {
                    let name = String::from_utf8(name.clone()).expect("letters");
                    (name.into(), Some(Bytes::from(value.clone())))
                })
                .collect(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: TheirCompression::None };
    RecordBatchEncoder::encode(&mut bytes, &theirs, &options).expect("they can write it");
    bytes.to_vec()
}

/// Their headers are a map: of two with one name, only one stays.
fn with_distinct_headers(mut records: Vec<Plain>) -> Vec<Plain> {
    for record in &mut records {
        record.headers.sort();
        record.headers.dedup_by(|a, b| a.0 == b.0);
    }
    records
}

proptest! {
    #[test]
    fn what_is_put_is_read_whatever_the_compression(records in plains(), which in 0usize..3) {
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd][which];
        prop_assert_eq!(read(build(&records, compression).as_slice()), Ok(records));
    }

    #[test]
    fn another_implementation_reads_what_is_put(records in plains(), offset in 0u64..1 << 60) {
        let records = with_distinct_headers(records);
        let mut batch = build(&records, Compression::None);
        batch.place(offset, 9, i64::MIN);
        let (plain, theirs) = read_theirs(batch.as_slice());
        prop_assert_eq!(plain, records);
        prop_assert_eq!(theirs[0].offset, offset as i64);
        prop_assert_eq!(theirs[0].partition_leader_epoch, 9);
        prop_assert_eq!(theirs[0].timestamp_type, TimestampType::Creation);
        prop_assert_eq!(theirs[0].producer_id, -1);
    }

    #[test]
    fn what_another_implementation_writes_is_read(records in plains(), offset in 0i64..1 << 60) {
        let records = with_distinct_headers(records);
        let bytes = write_theirs(&records, offset);
        let header = Header::parse(&bytes).expect("a header");
        prop_assert_eq!(header.producer, (4_000, 3, 70));
        prop_assert_eq!(header.base_offset, offset as u64);
        let batch = Batch::parse(bytes).expect("a whole batch");
        prop_assert_eq!(batch.stamp(), Stamp::new(4_000, 3, 70));
        prop_assert_eq!(read(batch.as_slice()), Ok(records));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 61..300), codec in 0u8..8) {
        // Plausible enough to get past the header.
        let length = (bytes.len() - 12) as i32;
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[16] = 2;
        bytes[21..23].copy_from_slice(&[0, codec]);
        bytes[23..27].copy_from_slice(&2i32.to_be_bytes());
        bytes[57..61].copy_from_slice(&3i32.to_be_bytes());
        bytes[0] &= 0x7f;
        header::seal(&mut bytes);
        let _judged = read(&bytes);
        let _judged = Batch::parse(bytes);
    }

    #[test]
    fn any_changed_byte_of_what_the_crc_covers_is_noticed(records in plains(), at in 21usize..4000, by in 1u8..) {
        let mut bytes = build(&records, Compression::None).as_slice().to_vec();
        let at = 21 + (at - 21) % (bytes.len() - 21);
        bytes[at] ^= by;
        prop_assert!(read(&bytes).is_err());
    }
}

fn sized(value: usize) -> RecordRef<'static> {
    static ZEROS: [u8; RECORD_BYTES_POSSIBLE + 1] = [0; RECORD_BYTES_POSSIBLE + 1];
    RecordRef { value: &ZEROS[..value], ..RecordRef::default() }
}

#[test]
fn a_record_or_batch_that_is_too_large_is_refused_and_the_batch_stays_whole() {
    let mut builder = Batch::builder();
    let told = |error: BatchError| error.to_string();
    let much = builder.push(sized(RECORD_BYTES_POSSIBLE + 1)).map_err(told);
    assert_eq!(much, Err("the payload has 10485761, at most 10485760 are allowed".to_owned()));
    let key = vec![0; KEY_BYTES_MAX + 1];
    assert!(matches!(
        builder.push(RecordRef { key: Some(&key), ..RecordRef::default() }),
        Err(BatchError::TooLarge { part: "key", .. })
    ));
    let mut pushed = 0;
    while builder.push(sized(RECORD_BYTES_MAX)).is_ok() {
        pushed += 1;
    }
    assert_eq!(pushed, BATCH_BYTES_MAX / RECORD_BYTES_MAX - 1, "with what surrounds it, the last one does not fit");
    assert!(matches!(builder.push(sized(RECORD_BYTES_MAX)), Err(BatchError::Full { .. })));
    assert_eq!(read(builder.finish().as_slice()).expect("whole").len(), pushed);
    let mut builder = Batch::builder();
    for _ in 0..BATCH_RECORDS_MAX {
        builder.push(sized(1)).expect("fits");
    }
    assert!(matches!(builder.push(sized(1)), Err(BatchError::Full { records: BATCH_RECORDS_MAX, .. })));
}

#[test]
fn times_that_go_back_are_raised_within_a_batch_and_between_batches() {
    let at = |timestamp| Plain { timestamp, key: None, value: vec![], headers: vec![] };
    let mut batch = build(&[at(100), at(90), at(120)], Compression::None);
    let times = |batch: &Batch| read(batch.as_slice()).expect("whole").iter().map(|r| r.timestamp).collect::<Vec<_>>();
    assert_eq!(times(&batch), [100, 100, 120]);
    assert_eq!(batch.place(0, 0, 100), 120, "nothing to do");
    assert_eq!(times(&batch), [100, 100, 120]);
    assert_eq!(batch.place(0, 0, 110), 120, "the first are too early");
    assert_eq!(times(&batch), [120, 120, 120]);
    assert_eq!(batch.place(0, 0, 500), 500);
    assert_eq!(times(&batch), [500, 500, 500]);
    // A foreign producer's order is its own; the log's is not.
    let mut foreign = Batch::parse(write_theirs(&[at(50), at(20), at(30)], 0)).expect("whole");
    assert_eq!(foreign.place(0, 0, i64::MIN), 50);
    assert_eq!(times(&foreign), [50, 50, 50]);
}

#[test]
fn what_a_batch_says_of_its_producer_is_carried_and_must_make_sense() {
    let record = RecordRef { value: b"x", ..RecordRef::default() };
    let mut builder = Batch::builder().stamp(Stamp::new(77, 2, 19).expect("not negative"));
    builder.push(record).expect("fits");
    let batch = builder.finish();
    let (_, theirs) = read_theirs(batch.as_slice());
    assert_eq!((theirs[0].producer_id, theirs[0].producer_epoch, theirs[0].sequence), (77, 2, 19));
    assert_eq!(Batch::parse(batch.as_slice().to_vec()).expect("whole").stamp(), batch.stamp());
    for (at, what) in [(51, "the epoch"), (53, "the sequence")] {
        let mut bytes = batch.as_slice().to_vec();
        bytes[at] = 0xff;
        header::seal(&mut bytes);
        let refused = Batch::parse(bytes).map(|_| ());
        assert!(matches!(refused, Err(BatchError::Malformed(Damage::Stamp { producer: 77, .. }))), "{what}");
    }
    let mut bytes = batch.as_slice().to_vec();
    bytes[43] = 0xff;
    header::seal(&mut bytes);
    assert_eq!(Batch::parse(bytes).map(|batch| batch.stamp()).ok(), Some(None), "an id below 0 is nobody's");
}

#[test]
fn a_batch_that_inflates_without_end_is_refused_early() {
    for (codec, bomb) in [
        (4, zstd::bulk::compress(&vec![0; INFLATED_BYTES_MAX + 1], 1).expect("compresses")),
        (3, Compression::Lz4.deflate(&vec![0; INFLATED_BYTES_MAX + 1]).expect("compresses")),
    ] {
        assert!(bomb.len() < 1 << 20, "small: {}", bomb.len());
        assert!(matches!(inflate(codec, &bomb), Err(Damage::Inflate(_))));
    }
    assert_eq!(inflate(1, b"gzip"), Err(Damage::Codec(1)));
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let mut builder = Batch::builder();
    let headers: &[(&[u8], &[u8])] = &[(b"format", b"cdn")];
    let first = RecordRef { timestamp: Millis(0x0102_0304_0506), key: Some(b"k"), value: b"hello", headers };
    builder.push(first).expect("fits");
    builder.push(RecordRef { timestamp: Millis(0x0102_0304_0509), value: b"", ..first }).expect("fits");
    let mut batch = builder.finish();
    batch.place(0x1122, 7, i64::MIN);
    let hex: String = batch.as_slice().iter().map(|byte| format!("{byte:02x}")).collect();
    let expected = [
        "0000000000001122", // base offset
        "0000005c",         // length of what follows
        "00000007",         // leader epoch
        "02",               // magic
        "99b34db5",         // CRC-32C of what follows
        "0000",             // attributes
        "00000001",         // last offset delta
        "0000010203040506", // base timestamp
        "0000010203040509", // greatest timestamp
        "ffffffffffffffff", // producer id
        "ffff",             // producer epoch
        "ffffffff",         // base sequence
        "00000002",         // records
        "2e",               // length of the record: 23
        "00",               // attributes
        "00",               // timestamp delta
        "00",               // offset delta
        "026b",             // key
        "0a68656c6c6f",     // value
        "02",               // headers
        "0c666f726d6174",   // name
        "0663646e",         // value
        "24000602026b00020c666f726d61740663646e",
    ];
    assert_eq!(hex, expected.concat());
}
