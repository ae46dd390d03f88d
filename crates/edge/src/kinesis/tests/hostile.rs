//! Clients that mean no good: bodies without end, bodies that drip, lengths that lie.

use std::time::Instant;

use base::{Measured as _, Millis, ShardId};
use stream::{Batch, Compression, RecordRef};

use super::super::auth::AccessKeys;
use super::super::settings::KeySource;
use super::*;
use crate::tests::Client;

const HEAD: &str = "POST / HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-target: Kinesis_20131202.PutRecords\r\n";

impl House {
    /// A connection on which a head was sent that an open door lets in, with these headers beside it.
    async fn said(&self, headers: &str) -> Client {
        let mut client = self.silent().await;
        client.send(format!("{HEAD}x-amz-date: 20200101T000000Z\r\nauthorization: {OPEN}\r\n{headers}\r\n")).await;
        client
    }

    async fn silent(&self) -> Client {
        Client::to(self.door.as_ref().expect("open").local_addr()).await
    }

    /// Bytes that requests hold.
    fn held(&self) -> f64 {
        let mut samples = Vec::new();
        self.door.as_ref().expect("open").counts().measure(&mut samples);
        samples.iter().find(|sample| sample.name == "riverrun_kinesis_memory_bytes").expect("is told").value
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_its_length_or_when_it_gets_there() {
    let house = House::open().await;
    let mut promised = house.said("content-length: 16777217\r\n").await;
    // Its sender is let finish, or it would see a broken pipe instead of the answer.
    let sending = tokio::spawn(async move {
        for _ in 0..16 {
            promised.send(vec![b'x'; 1024 * 1024]).await;
        }
        // What is promised, and nothing beyond: that would be the next request, and no one would wait for it.
        promised.send("x").await;
        promised.answer(true).await
    });
    assert_eq!(sending.await.expect("is answered").status, 413);
    let mut endless = house.said("transfer-encoding: chunked\r\n").await;
    let sending = tokio::spawn(async move {
        for _ in 0..20 {
            endless.send([b"100000\r\n", vec![b'x'; 1024 * 1024].as_slice(), b"\r\n"].concat()).await;
        }
        endless.send("0\r\n\r\n").await;
        endless.answer(true).await
    });
    let answer = sending.await.expect("is answered");
    assert!(answer.status == 413 && answer.text().contains("16777216 bytes"), "{}", answer.text());
    house.close().await;
}

#[tokio::test]
async fn of_a_stranger_nothing_large_is_read_before_it_is_told() {
    let mut keys = AccessKeys::open();
    keys.insert("AKIDEXAMPLE", "a-secret-of-some-length").expect("a key");
    let keyed = KinesisSettings { keys: KeySource::Here(keys), ..KinesisSettings::default() };
    let house = House::with(keyed, &[], Pace::default()).await;
    for _ in 0..3 {
        let mut stranger = house.said("content-length: 15000000\r\n").await;
        let began = Instant::now();
        stranger.send(vec![b'x'; 14_000_000]).await;
        // The last million never comes; the answer does, once its patience with the rest is over.
        let answer = stranger.answer(true).await;
        assert!(
            answer.text().contains("IncompleteSignatureException")
                || answer.text().contains("InvalidSignatureException"),
            "{}",
            answer.text()
        );
        assert!(began.elapsed() < Duration::from_secs(15));
        assert!(house.held() < 1.0);
    }
    house.close().await;
}

#[tokio::test]
async fn all_bodies_together_hold_no_more_than_their_share() {
    let settings = KinesisSettings { memory_bytes: 32 << 20, ..KinesisSettings::default() };
    let house = House::with(settings, &[], Pace::default()).await;
    house.create("clicks", 1).await;
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut client = house.said("content-length: 8000000\r\n").await;
        client.send(vec![b' '; 7_000_000]).await;
        waiting.push(client);
    }
    // Two fit; the others are told to come back.
    let mut told = Vec::new();
    for mut client in waiting {
        client.send(vec![b' '; 1_000_000]).await;
        let answer = client.answer(true).await;
        told.push(answer.status);
        assert!(answer.status != 503 || answer.header("retry-after") == "1", "{}", answer.text());
    }
    told.sort_unstable();
    assert!(told.contains(&400) && told.contains(&503), "blanks are no input, and not all were read: {told:?}");
    // And nobody else is the worse for it.
    house.put("clicks", "a", "b").await;
    house.close().await;
}

#[tokio::test]
async fn answers_that_nobody_takes_hold_their_share_until_their_connections_end() {
    const RECORDS: usize = 9;
    let settings = KinesisSettings { memory_bytes: 64 << 20, ..KinesisSettings::default() };
    let house = House::with(settings, &[], Pace::default()).await;
    house.create("clicks", 1).await;
    for _ in 0..RECORDS {
        house.put("clicks", "a", &"x".repeat(1_000_000)).await;
    }
    let iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
    let body = json!({ "ShardIterator": iterator }).to_string();
    let head = HEAD.replace("PutRecords", "GetRecords");
    let head =
        format!("{head}x-amz-date: 20200101T000000Z\r\nauthorization: {OPEN}\r\ncontent-length: {}\r\n", body.len());
    // More than connections hold by themselves: the first two stand still in the middle of their answers.
    let mut stuck = Vec::new();
    for number in 1..=2 {
        let mut client = house.silent().await;
        client.send(format!("{head}\r\n{body}")).await;
        let counts = house.door.as_ref().expect("open").counts();
        crate::tests::until("it was read", || counts.got_records.get() >= (number * RECORDS) as u64).await;
        stuck.push(client);
    }
    let answers = 2.0 * 12_000_000.0;
    assert!(house.held() >= answers, "{}", house.held());
    // Who asks now gets as much as there is room for, and who takes what it gets holds nothing.
    let output = house.get("GetRecords", json!({ "ShardIterator": iterator })).await;
    assert!((1..=RECORDS).contains(&payloads(&output).len()));
    assert!(house.held() >= answers, "{}", house.held());
    drop(stuck);
    crate::tests::until("all is given back", || house.held() < 1.0).await;
    house.close().await;
}

#[tokio::test]
async fn what_decompression_makes_of_a_batch_is_counted_before_it_is_given() {
    let settings = KinesisSettings { memory_bytes: 32 << 20, ..KinesisSettings::default() };
    let house = House::with(settings, &["clicks"], Pace::default()).await;
    let mut batch = Batch::builder().compression(Compression::Zstd);
    let value = vec![b'x'; 1_000_000];
    for _ in 0..15 {
        batch.push(RecordRef { timestamp: Millis(1), value: &value, ..RecordRef::default() }).expect("fits");
    }
    let batch = batch.finish();
    assert!(batch.bytes() < 100_000, "little lies on the disk");
    house.log.stream("clicks").expect("is there").append(ShardId(0), batch).await.expect("is stored");
    let iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
    let one = json!({ "ShardIterator": iterator, "Limit": 1 });
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let mut client = house.said("content-length: 8000000\r\n").await;
        client.send(vec![b' '; 7_000_000]).await;
        waiting.push(client);
    }
    crate::tests::until("both bodies are held", || house.held() > 28e6).await;
    assert_eq!(house.ask("GetRecords", one.clone()).await.0, 503, "there is no room for fifteen megabytes");
    drop(waiting);
    crate::tests::until("all is given back", || house.held() < 1.0).await;
    assert_eq!(payloads(&house.get("GetRecords", one).await).len(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_thousand_bodies_that_drip_keep_nobody_out() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let mut dripping = Vec::new();
    for _ in 0..1000 {
        let mut client = house.said("content-length: 10000000\r\n").await;
        client.send("{").await;
        dripping.push(client);
    }
    let began = Instant::now();
    house.put("clicks", "a", "b").await;
    assert!(began.elapsed() < Duration::from_secs(5) && house.held() < 1e6);
    drop(dripping);
    house.close().await;
}

#[tokio::test]
async fn lists_and_depths_beyond_reason_are_refused_as_they_are_read() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let many = format!("{{\"StreamName\":\"clicks\",\"Records\":[{}{{}}]}}", "{},".repeat(3_000_000));
    let deep = format!("{{\"StreamName\":{}1{}}}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for body in [many, deep] {
        let response = house.send("PutRecords", JSON, body.into_bytes()).await;
        assert_eq!(response.status(), 400);
        assert!(response.text().await.expect("a body").contains("SerializationException"));
    }
    for length in [u64::MAX, 1 << 40] {
        let body = [&b"\xa2\x6aStreamName\x66clicks\x67Records\x9b"[..], &length.to_be_bytes()].concat();
        let response = house.send("PutRecords", "application/x-amz-cbor-1.1", body).await;
        assert_eq!(response.status(), 400);
    }
    house.put("clicks", "a", "b").await;
    house.close().await;
}
