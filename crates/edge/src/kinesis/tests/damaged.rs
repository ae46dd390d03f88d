//! Damage on the disk: what lies before it is given, it is told, and nobody takes it for the end.

use std::path::PathBuf;

use serde_json::json;

use super::*;

const FIRST: &str = "shardId-000000000000";

/// Four records in the first shard, which may be closed then.
async fn written(closed: bool) -> House {
    let house = House::open().await;
    house.create("clicks", 1).await;
    house.register("clicks", "app").await;
    for payload in ["first", "second", "third", "fourth"] {
        house.put("clicks", "k", payload).await;
    }
    if closed {
        let half = (u128::MAX / 2).to_string();
        house
            .get("SplitShard", json!({ "StreamName": "clicks", "ShardToSplit": FIRST, "NewStartingHashKey": half }))
            .await;
    }
    house
}

fn segment(dir: &Path) -> PathBuf {
    dir.join("stream/clicks/0/00000000000000000000.log")
}

/// Changes one bit of the third record.
fn flip(dir: &Path) {
    let mut bytes = std::fs::read(segment(dir)).expect("a segment");
    let at = bytes.windows(5).position(|window| window == b"third").expect("as it was put");
    bytes[at] ^= 1;
    std::fs::write(segment(dir), bytes).expect("written");
}

/// Loses the end of the file.
fn shorten(dir: &Path) {
    let file = std::fs::OpenOptions::new().write(true).open(segment(dir)).expect("a segment");
    file.set_len(file.metadata().expect("there").len() - 3).expect("shorter");
}

/// What is read from the beginning until it fails.
async fn until_told(house: &House) -> Vec<String> {
    let mut iterator = house.iterator("clicks", FIRST, "TRIM_HORIZON").await;
    let mut given = Vec::new();
    loop {
        let (status, output) = house.ask("GetRecords", json!({ "ShardIterator": iterator })).await;
        if status == 500 {
            assert_eq!(output["__type"], "InternalFailure", "{output}");
            return given;
        }
        let more = payloads(&output);
        assert!(status == 200 && !more.is_empty(), "neither records nor an error: {output}");
        given.extend(more);
        iterator = text(&output["NextShardIterator"]).to_owned();
    }
}

/// What is pushed from the beginning until it fails.
async fn pushed_until_told(house: &House) -> Vec<String> {
    let described = json!({ "StreamARN": house.arn("clicks").await, "ConsumerName": "app" });
    let described = house.get("DescribeStreamConsumer", described).await;
    let consumer = text(&described["ConsumerDescription"]["ConsumerARN"]);
    let mut pushed = house.subscribe(consumer, FIRST, json!({ "Type": "TRIM_HORIZON" })).await;
    let mut given = Vec::new();
    loop {
        let frame = pushed.next().await.expect("an event or an exception");
        if frame.header(":message-type") == "exception" {
            assert_eq!(frame.header(":exception-type"), "InternalFailureException");
            assert!(pushed.next().await.is_none(), "nothing follows");
            return given;
        }
        assert_eq!(frame.payload.get("ChildShards"), None, "read to its end: {frame:?}");
        given.extend(payloads(&frame.payload));
    }
}

#[tokio::test]
async fn a_flipped_bit_is_told_after_what_lies_before_it() {
    for closed in [false, true] {
        let house = written(closed).await.reopened(flip).await;
        assert_eq!(until_told(&house).await, ["first", "second"]);
        assert_eq!(pushed_until_told(&house).await, ["first", "second"]);
        house.close().await;
    }
}

#[tokio::test]
async fn a_shard_that_lost_its_end_is_not_taken_for_one_that_was_read_to_it() {
    for closed in [false, true] {
        let house = written(closed).await.reopened(shorten).await;
        let (asked, pushed) = (until_told(&house).await, pushed_until_told(&house).await);
        assert_eq!(asked, pushed);
        assert!(
            ["first", "second", "third"].starts_with(&asked.iter().map(String::as_str).collect::<Vec<_>>()),
            "{asked:?}"
        );
        house.close().await;
    }
}
