//! Retention, mode, record size, distribution, monitoring, encryption.

use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::*;

#[tokio::test]
async fn retention_is_made_longer_and_shorter_within_a_year() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let hours = |hours: i32| json!({ "StreamName": "clicks", "RetentionPeriodHours": hours });
    assert_eq!(house.get("IncreaseStreamRetentionPeriod", hours(8760)).await, Value::Null);
    house.get("DecreaseStreamRetentionPeriod", hours(100)).await;
    let described = house.get("DescribeStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(described["StreamDescription"]["RetentionPeriodHours"], 100);
    for (operation, asked, message) in [
        ("IncreaseStreamRetentionPeriod", 23, "Minimum allowed retention period is 24 hours. Requested"),
        ("IncreaseStreamRetentionPeriod", 8761, "Maximum allowed retention period is 8760 hours. Requested"),
        (
            "IncreaseStreamRetentionPeriod",
            99,
            "Requested retention period (99 hours) for stream clicks can not be shorter",
        ),
        (
            "DecreaseStreamRetentionPeriod",
            101,
            "Requested retention period (101 hours) for stream clicks can not be longer",
        ),
    ] {
        let failed = house.fail(operation, hours(asked)).await;
        assert_eq!(failed.0, "InvalidArgumentException");
        assert!(failed.1.starts_with(message), "{}", failed.1);
    }
    house.close().await;
}

#[tokio::test]
async fn the_mode_is_switched_and_records_may_be_spread() {
    let house = House::open().await;
    house.create("clicks", 4).await;
    let arn = house.arn("clicks").await;
    let auto = json!({ "StreamARN": arn, "RecordDistributionStrategy": "AUTO" });
    assert_eq!(house.fail("UpdateStreamRecordDistributionStrategy", auto.clone()).await.0, "InvalidArgumentException");
    let mode = json!({ "StreamARN": arn, "StreamModeDetails": { "StreamMode": "ON_DEMAND" } });
    assert_eq!(house.get("UpdateStreamMode", mode).await, Value::Null);
    let put = json!({ "PartitionKey": "a", "Data": "" });
    let records = json!({ "StreamName": "clicks", "Records": vec![put; 8] });
    let shards = async || {
        let output = house.get("PutRecords", records.clone()).await;
        let results = output["Records"].as_array().expect("results");
        results
            .iter()
            .map(|result| text(&result["ShardId"]).to_owned())
            .collect::<std::collections::BTreeSet<_>>()
            .len()
    };
    assert_eq!(shards().await, 1, "one key, one shard");
    house.get("UpdateStreamRecordDistributionStrategy", auto).await;
    assert_eq!(shards().await, 4, "whatever the key");
    let keyless = json!({ "StreamName": "clicks", "Data": "" });
    let put = house.get("PutRecord", keyless.clone()).await;
    let iterator = json!({
        "StreamName": "clicks", "ShardId": put["ShardId"], "ShardIteratorType": "AT_SEQUENCE_NUMBER",
        "StartingSequenceNumber": put["SequenceNumber"],
    });
    let iterator = house.get("GetShardIterator", iterator).await;
    let read = house.get("GetRecords", json!({ "ShardIterator": iterator["ShardIterator"] })).await;
    assert_eq!(read["Records"][0].get("PartitionKey"), None, "it came without one");
    let count = json!({ "StreamName": "clicks", "TargetShardCount": 2, "ScalingType": "UNIFORM_SCALING" });
    assert_eq!(house.fail("UpdateShardCount", count).await.0, "ValidationException");
    let mode = json!({ "StreamARN": arn, "StreamModeDetails": { "StreamMode": "PROVISIONED" } });
    assert_eq!(house.get("UpdateStreamMode", mode).await, Value::Null);
    assert_eq!(shards().await, 1, "in a provisioned stream keys decide");
    assert_eq!(house.fail("PutRecord", keyless).await.0, "ValidationException");
    house.close().await;
}

#[tokio::test]
async fn larger_records_are_taken_where_they_are_allowed() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let data = BASE64_STANDARD.encode(vec![b'x'; 3 * 1024 * 1024]);
    let put = json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": data });
    assert_eq!(house.fail("PutRecord", put.clone()).await.0, "ValidationException");
    let size = |kib: i32| json!({ "StreamName": "clicks", "MaxRecordSizeInKiB": kib });
    assert_eq!(house.fail("UpdateMaxRecordSize", size(10_241)).await.0, "ValidationException");
    house.get("UpdateMaxRecordSize", size(4096)).await;
    house.get("PutRecord", put).await;
    let iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
    let output = house.get("GetRecords", json!({ "ShardIterator": iterator })).await;
    assert_eq!(output["Records"][0]["Data"], data);
    house.close().await;
}

#[tokio::test]
async fn shard_level_metrics_are_remembered() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let set = async |operation: &str, metrics: Value| {
        let input = json!({ "StreamName": "clicks", "ShardLevelMetrics": metrics });
        let output = house.get(operation, input).await;
        (output["CurrentShardLevelMetrics"].clone(), output["DesiredShardLevelMetrics"].clone())
    };
    let two = json!(["IncomingBytes", "OutgoingBytes"]);
    assert_eq!(set("EnableEnhancedMonitoring", two.clone()).await, (json!([]), two.clone()));
    let described = house.get("DescribeStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(described["StreamDescription"]["EnhancedMonitoring"], json!([{ "ShardLevelMetrics": two }]));
    assert_eq!(set("DisableEnhancedMonitoring", json!(["OutgoingBytes"])).await, (two, json!(["IncomingBytes"])));
    let (current, all) = set("EnableEnhancedMonitoring", json!(["ALL"])).await;
    assert_eq!((current, all.as_array().map(Vec::len)), (json!(["IncomingBytes"]), Some(7)), "all by their names");
    let less = set("DisableEnhancedMonitoring", json!(["IncomingBytes"])).await;
    assert_eq!((less.0, less.1.as_array().map(Vec::len)), (all, Some(6)));
    assert_eq!(set("DisableEnhancedMonitoring", json!(["ALL"])).await, (less.1, json!([])));
    let wrong = json!({ "StreamName": "clicks", "ShardLevelMetrics": ["Moons"] });
    assert_eq!(house.fail("EnableEnhancedMonitoring", wrong).await.0, "ValidationException");
    house.close().await;
}

#[tokio::test]
async fn without_a_key_nothing_is_said_to_be_encrypted() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let input = json!({ "StreamName": "clicks", "EncryptionType": "KMS", "KeyId": "alias/aws/kinesis" });
    let (code, message) = house.fail("StartStreamEncryption", input.clone()).await;
    assert_eq!(code, "KMSNotFoundException");
    assert!(message.starts_with("There is no key to encrypt stream clicks with"), "{message}");
    let described = house.get("DescribeStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(described["StreamDescription"]["EncryptionType"], "NONE");
    house.get("StopStreamEncryption", input).await;
    house.close().await;
}
