use super::*;
use base::Millis;

#[test]
fn a_batch_comes_back_as_it_was_put() {
    let mut builder = Batch::builder();
    builder
        .push(RecordRef {
            timestamp: Millis(1000),
            key: Some(b"k"),
            value: b"one",
            headers: &[(b"format", b"cdn"), (b"id", b"7")],
        })
        .expect("fits");
    builder.push(RecordRef { timestamp: Millis(1005), value: b"two", ..RecordRef::default() }).expect("fits");
    let batch = builder.finish();
    let header = Header::parse(batch.as_slice()).expect("a header");
    verify_crc(batch.as_slice(), &header).expect("the CRC");
    let records: Vec<_> =
        Records::new(&header, &batch.as_slice()[HEADER_BYTES..]).map(|record| record.expect("a record")).collect();
    assert_eq!(records.len(), 2);
    assert_eq!(
        (records[0].key, records[0].value, records[0].timestamp),
        (Some(b"k".as_slice()), b"one".as_slice(), Millis(1000))
    );
    assert_eq!((records[0].header("id"), records[0].header("x")), (Some(b"7".as_slice()), None));
    assert_eq!((records[1].key, records[1].value, records[1].timestamp), (None, b"two".as_slice(), Millis(1005)));
}
