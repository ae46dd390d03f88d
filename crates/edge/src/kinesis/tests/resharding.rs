//! Shards are listed, split, merged and counted anew.

use base64::Engine as _;
use serde_json::json;

use super::*;

fn ids(output: &Value) -> Vec<String> {
    let shards = output["Shards"].as_array().expect("shards");
    shards.iter().map(|shard| text(&shard["ShardId"]).trim_start_matches("shardId-00000000000").to_owned()).collect()
}

#[tokio::test]
async fn a_shard_is_split_and_its_children_are_read_after_it() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    house.put("clicks", "a", "before").await;
    let iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
    let half = (1u128 << 127).to_string();
    let split = json!({ "StreamName": "clicks", "ShardToSplit": "anything-0", "NewStartingHashKey": half });
    assert_eq!(house.get("SplitShard", split.clone()).await, Value::Null);
    let shards = house.shards("clicks").await;
    assert_eq!(shards.len(), 3);
    let end = text(&shards[0]["SequenceNumberRange"]["EndingSequenceNumber"]);
    for (child, first) in [(&shards[1], "0"), (&shards[2], half.as_str())] {
        assert_eq!(child["ParentShardId"], "shardId-000000000000");
        assert!(child.get("AdjacentParentShardId").is_none());
        assert_eq!(child["HashKeyRange"]["StartingHashKey"], first);
        assert!(text(&child["SequenceNumberRange"]["StartingSequenceNumber"]) > end, "a child is above its parent");
    }
    let put = house.put("clicks", "a", "after").await;
    assert_eq!(put["ShardId"], "shardId-000000000001", "MD5(a) is in the lower half");
    let last = house.get("GetRecords", json!({ "ShardIterator": iterator })).await;
    assert_eq!(payloads(&last), ["before"]);
    assert!(last.get("NextShardIterator").is_none() && last["MillisBehindLatest"] == 0);
    let children = last["ChildShards"].as_array().expect("children");
    assert_eq!(children.len(), 2);
    assert_eq!(children[1]["ParentShards"], json!(["shardId-000000000000"]));
    assert_eq!(children[1]["HashKeyRange"], shards[2]["HashKeyRange"]);
    let child = house.iterator("clicks", "1", "TRIM_HORIZON").await;
    assert_eq!(payloads(&house.get("GetRecords", json!({ "ShardIterator": child })).await), ["after"]);
    let at_end = json!({
        "StreamName": "clicks", "ShardId": "0", "ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": end,
    });
    let at_end = house.get("GetShardIterator", at_end).await;
    let nothing = house.get("GetRecords", at_end).await;
    assert_eq!((payloads(&nothing).len(), nothing.get("NextShardIterator")), (0, None));
    let (code, message) = house.fail("SplitShard", split).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(message.ends_with("has already been merged or split, and thus is not eligible for merging or splitting."));
    house.close().await;
}

#[tokio::test]
async fn neighbours_are_merged() {
    let house = House::open().await;
    house.create("clicks", 3).await;
    let merge = |lower: &str, upper: &str| json!({ "StreamName": "clicks", "ShardToMerge": lower, "AdjacentShardToMerge": upper });
    for (lower, upper) in [("0", "2"), ("1", "0")] {
        let (code, message) = house.fail("MergeShards", merge(lower, upper)).await;
        assert_eq!(code, "InvalidArgumentException");
        assert_eq!(
            message,
            format!(
                "Shards shardId-00000000000{lower} and shardId-00000000000{upper} in stream clicks under account \
                 000000000000 are not an adjacent pair of shards eligible for merging"
            )
        );
    }
    assert_eq!(house.fail("MergeShards", merge("0", "5")).await.0, "ResourceNotFoundException");
    assert_eq!(house.get("MergeShards", merge("0", "1")).await, Value::Null);
    let shards = house.shards("clicks").await;
    let child = &shards[3];
    assert_eq!(
        (&child["ParentShardId"], &child["AdjacentParentShardId"]),
        (&shards[0]["ShardId"], &shards[1]["ShardId"])
    );
    assert_eq!(child["HashKeyRange"]["StartingHashKey"], shards[0]["HashKeyRange"]["StartingHashKey"]);
    assert_eq!(child["HashKeyRange"]["EndingHashKey"], shards[1]["HashKeyRange"]["EndingHashKey"]);
    assert_eq!(house.fail("MergeShards", merge("0", "1")).await.0, "InvalidArgumentException");
    house.close().await;
}

#[tokio::test]
async fn a_place_to_split_must_lie_within() {
    let house = House::open().await;
    house.create("clicks", 3).await;
    for hash in ["1", "113427455640312821154458202477256070484", "999999999999999999999999999999999999999"] {
        let split = json!({ "StreamName": "clicks", "ShardToSplit": "shard-0", "NewStartingHashKey": hash });
        assert_eq!(
            house.fail("SplitShard", split).await,
            (
                "InvalidArgumentException".to_owned(),
                format!(
                    "NewStartingHashKey {hash} used in SplitShard() on shard shardId-000000000000 in stream clicks under \
                     account 000000000000 is not both greater than one plus the shard's StartingHashKey 0 and less than \
                     the shard's EndingHashKey 113427455640312821154458202477256070484."
                )
            )
        );
    }
    let split =
        |stream: &str, shard: &str| json!({ "StreamName": stream, "ShardToSplit": shard, "NewStartingHashKey": "2" });
    let (_, message) = house.fail("SplitShard", split("clicks", "shardId-5")).await;
    assert_eq!(message, "Could not find shard shardId-000000000005 in stream clicks under account 000000000000.");
    let (_, message) = house.fail("SplitShard", split("nowhere", "ABKLFD8")).await;
    assert_eq!(message, "Could not find shard ABKLFD8 in stream nowhere under account 000000000000.");
    let (_, message) = house.fail("SplitShard", split("nowhere", "5")).await;
    assert_eq!(message, "Stream nowhere under account 000000000000 not found.");
    house.get("SplitShard", split("clicks", "0")).await;
    house.close().await;
}

#[tokio::test]
async fn the_number_of_shards_is_doubled_and_halved_but_no_more() {
    let house = House::open().await;
    house.create("clicks", 2).await;
    let count =
        |target: u32| json!({ "StreamName": "clicks", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING" });
    let output = house.get("UpdateShardCount", count(4)).await;
    assert_eq!((&output["CurrentShardCount"], &output["TargetShardCount"]), (&json!(2), &json!(4)));
    let open = async || {
        let filter = json!({ "StreamName": "clicks", "ShardFilter": { "Type": "AT_LATEST" } });
        house.get("ListShards", filter).await["Shards"].as_array().map(Vec::len)
    };
    assert_eq!(open().await, Some(4));
    for (target, word) in [(9, "double"), (1, "half")] {
        let (code, message) = house.fail("UpdateShardCount", count(target)).await;
        assert_eq!(code, "InvalidArgumentException");
        assert!(message.contains(word) && message.contains("Current open shard count: 4"), "{message}");
    }
    house.get("UpdateShardCount", count(3)).await;
    assert_eq!(open().await, Some(3));
    let wrong = json!({ "StreamName": "clicks", "TargetShardCount": 0, "ScalingType": "BY_MOON" });
    let (_, message) = house.fail("UpdateShardCount", wrong).await;
    assert!(message.starts_with("2 validation errors detected"), "{message}");
    house.close().await;
}

#[tokio::test]
async fn shards_are_listed_by_what_they_were_at_some_time() {
    let house = House::open().await;
    house.create("clicks", 2).await;
    house.put("clicks", "a", "x").await;
    house.clock.by(Duration::from_secs(100));
    let before_split = house.clock.now().0 as f64 / 1000.0 - 50.0;
    let split = json!({ "StreamName": "clicks", "ShardToSplit": "0", "NewStartingHashKey": "1000" });
    house.get("SplitShard", split).await;
    house.clock.by(Duration::from_secs(100));
    let after_split = house.clock.now().0 as f64 / 1000.0 - 50.0;
    let list = async |filter: Value| {
        ids(&house.get("ListShards", json!({ "StreamName": "clicks", "ShardFilter": filter })).await)
    };
    assert_eq!(list(json!({ "Type": "FROM_TRIM_HORIZON" })).await, ["0", "1", "2", "3"]);
    assert_eq!(list(json!({ "Type": "AT_TRIM_HORIZON" })).await, ["0", "1"]);
    assert_eq!(list(json!({ "Type": "AT_LATEST" })).await, ["1", "2", "3"]);
    assert_eq!(list(json!({ "Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000001" })).await, ["2", "3"]);
    assert_eq!(list(json!({ "Type": "AT_TIMESTAMP", "Timestamp": before_split })).await, ["0", "1"]);
    assert_eq!(list(json!({ "Type": "AT_TIMESTAMP", "Timestamp": after_split })).await, ["1", "2", "3"]);
    assert_eq!(list(json!({ "Type": "AT_TIMESTAMP", "Timestamp": 1 })).await, ["0", "1"], "the oldest there are");
    assert_eq!(list(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": before_split })).await, ["0", "1", "2", "3"]);
    assert_eq!(list(json!({ "Type": "FROM_TIMESTAMP", "Timestamp": after_split })).await, ["1", "2", "3"]);
    for wrong in [json!({ "Type": "AFTER_SHARD_ID" }), json!({ "Type": "AT_TIMESTAMP" })] {
        let (code, _) = house.fail("ListShards", json!({ "StreamName": "clicks", "ShardFilter": wrong })).await;
        assert_eq!(code, "InvalidArgumentException");
    }
    house.close().await;
}

#[tokio::test]
async fn shards_are_listed_page_by_page_as_they_were_asked_for() {
    let house = House::open().await;
    house.create("clicks", 5).await;
    let split = json!({ "StreamName": "clicks", "ShardToSplit": "0", "NewStartingHashKey": "1000" });
    house.get("SplitShard", split).await;
    let filter = json!({ "Type": "AT_LATEST" });
    let first = json!({ "StreamName": "clicks", "MaxResults": 4, "ShardFilter": filter });
    let first = house.get("ListShards", first).await;
    assert_eq!(ids(&first), ["1", "2", "3", "4"]);
    let token = &first["NextToken"];
    let rest = house.get("ListShards", json!({ "NextToken": token })).await;
    assert_eq!((ids(&rest), rest.get("NextToken")), (vec!["5".to_owned(), "6".to_owned()], None));
    let invalid = |message: &str| ("InvalidArgumentException".to_owned(), message.to_owned());
    assert_eq!(
        house.fail("ListShards", json!({ "NextToken": token, "StreamName": "clicks" })).await,
        invalid("NextToken and StreamName cannot be provided together.")
    );
    assert_eq!(
        house.fail("ListShards", json!({})).await,
        invalid("Either NextToken or StreamName should be provided.")
    );
    let after = json!({ "StreamName": "clicks", "ExclusiveStartShardId": "shardId-000000000004" });
    assert_eq!(ids(&house.get("ListShards", after).await), ["5", "6"]);
    house.clock.by(Duration::from_secs(301));
    assert_eq!(house.fail("ListShards", json!({ "NextToken": token })).await.0, "ExpiredNextTokenException");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_while_shards_change_are_stored_once_and_in_the_order_of_their_key() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let put = async |records: Vec<(String, usize)>| {
        let entry = |(key, number): (String, usize)| json!({ "PartitionKey": key, "Data": base64::prelude::BASE64_STANDARD.encode(number.to_string()) });
        let records: Vec<Value> = records.into_iter().map(entry).collect();
        let output = house.get("PutRecords", json!({ "StreamName": "clicks", "Records": records })).await;
        assert_eq!(output["FailedRecordCount"], 0, "{output}");
    };
    let number = |value: &[u8]| std::str::from_utf8(value).expect("text").parse().expect("a number");
    let stream = house.log.stream("clicks").expect("there");
    crate::tests::reshaping::each_once_and_in_order(&stream, 500, put, number).await;
    house.close().await;
}
