//! Streams are made, described, listed and deleted.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_stream_is_made_described_and_deleted() {
    let house = House::open().await;
    house.create("clicks", 3).await;
    let described = house.get("DescribeStream", json!({ "StreamName": "clicks" })).await;
    let stream = &described["StreamDescription"];
    assert_eq!(stream["StreamARN"], "arn:aws:kinesis:us-east-1:000000000000:stream/clicks");
    assert_eq!((&stream["StreamStatus"], &stream["RetentionPeriodHours"]), (&json!("ACTIVE"), &json!(24)));
    assert_eq!((&stream["HasMoreShards"], &stream["EncryptionType"]), (&json!(false), &json!("NONE")));
    assert_eq!(stream["EnhancedMonitoring"], json!([{ "ShardLevelMetrics": [] }]));
    assert_eq!(stream["StreamModeDetails"], json!({ "StreamMode": "PROVISIONED" }));
    let shards = stream["Shards"].as_array().expect("shards");
    let ranges: Vec<&str> = shards.iter().map(|shard| text(&shard["HashKeyRange"]["EndingHashKey"])).collect();
    let third = "113427455640312821154458202477256070484";
    assert_eq!(ranges, [third, "226854911280625642308916404954512140969", "340282366920938463463374607431768211455"]);
    assert_eq!(shards[1]["ShardId"], "shardId-000000000001");
    assert_eq!(text(&shards[0]["SequenceNumberRange"]["StartingSequenceNumber"]).len(), 56);
    assert!(shards[0]["SequenceNumberRange"].get("EndingSequenceNumber").is_none());

    let arn = json!({ "StreamARN": stream["StreamARN"] });
    let summary = house.get("DescribeStreamSummary", arn.clone()).await;
    let summary = &summary["StreamDescriptionSummary"];
    assert_eq!((&summary["OpenShardCount"], &summary["ConsumerCount"]), (&json!(3), &json!(0)));
    assert_eq!(summary["MaxRecordSizeInKiB"], 1024);

    let page = house.get("DescribeStream", json!({ "StreamName": "clicks", "Limit": 2 })).await;
    assert_eq!(page["StreamDescription"]["HasMoreShards"], true);
    let rest = json!({ "StreamName": "clicks", "ExclusiveStartShardId": "shardId-000000000001" });
    let rest = house.get("DescribeStream", rest).await;
    assert_eq!(rest["StreamDescription"]["Shards"].as_array().map(Vec::len), Some(1));

    let consumers = json!({ "StreamARN": format!("{}/consumer/app:1", text(&stream["StreamARN"])) });
    assert_eq!(house.fail("DeleteStream", consumers).await.0, "ResourceNotFoundException", "that is no stream's");
    house.get("DeleteStream", arn).await;
    let gone = "Stream clicks under account 000000000000 not found.".to_owned();
    for operation in ["DescribeStream", "DescribeStreamSummary", "DeleteStream", "ListShards"] {
        let failed = house.fail(operation, json!({ "StreamName": "clicks" })).await;
        assert_eq!(failed, ("ResourceNotFoundException".to_owned(), gone.clone()), "{operation}");
    }
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_made_is_told_in_the_words_of_the_service() {
    let house =
        House::with(KinesisSettings { shards_max: 10, ..KinesisSettings::default() }, &[], Pace::default()).await;
    house.create("clicks", 3).await;
    let failed = house.fail("CreateStream", json!({ "StreamName": "clicks", "ShardCount": 1 })).await;
    let exists = "Stream clicks under account 000000000000 already exists.";
    assert_eq!(failed, ("ResourceInUseException".to_owned(), exists.to_owned()));
    let (code, message) = house.fail("CreateStream", json!({ "StreamName": "more", "ShardCount": 8 })).await;
    assert_eq!(code, "LimitExceededException");
    assert!(message.starts_with(
        "This request would exceed the shard limit for the account 000000000000 in us-east-1. Current shard count for the \
         account: 3. Limit: 10. Number of additional shards that would have resulted from this request: 8. Refer"
    ));
    let (code, message) = house.fail("CreateStream", json!({ "StreamName": "", "ShardCount": 0 })).await;
    assert_eq!(code, "ValidationException");
    assert!(message.starts_with("3 validation errors detected: Value '0' at 'shardCount'"), "{message}");
    let (_, message) = house.fail("CreateStream", json!({})).await;
    assert!(message.starts_with("2 validation errors detected: Value null at 'shardCount'"), "{message}");
    let large = json!({ "StreamName": "more", "ShardCount": 100_000_000_000i64 });
    let (_, message) = house.fail("CreateStream", large).await;
    assert!(message.contains("'2147483647' at 'shardCount' failed to satisfy constraint: Member must have value less"));
    house.close().await;
}

#[tokio::test]
async fn an_on_demand_stream_begins_with_four_shards() {
    let house = House::open().await;
    let input = json!({ "StreamName": "clicks", "StreamModeDetails": { "StreamMode": "ON_DEMAND" } });
    house.get("CreateStream", input).await;
    house.get("CreateStream", json!({ "StreamName": "likewise" })).await;
    for name in ["clicks", "likewise"] {
        let summary = house.get("DescribeStreamSummary", json!({ "StreamName": name })).await;
        let summary = &summary["StreamDescriptionSummary"];
        assert_eq!(
            (&summary["OpenShardCount"], &summary["StreamModeDetails"]["StreamMode"]),
            (&json!(4), &json!("ON_DEMAND"))
        );
        assert_eq!(summary["RecordDistributionStrategy"], "USER_PARTITION_KEY");
    }
    let limits = house.get("DescribeLimits", json!({})).await;
    assert_eq!((&limits["OpenShardCount"], &limits["OnDemandStreamCount"]), (&json!(8), &json!(2)));
    let split = json!({ "StreamName": "clicks", "ShardToSplit": "shardId-0", "NewStartingHashKey": "5" });
    let (code, message) = house.fail("SplitShard", split).await;
    assert_eq!(code, "ValidationException");
    assert_eq!(message, "Request is invalid. Stream clicks under account 000000000000 is in On-Demand mode.");
    house.close().await;
}

#[tokio::test]
async fn streams_are_listed_page_by_page() {
    let house = House::open().await;
    for name in ["e", "c", "a", "b", "d"] {
        house.create(name, 1).await;
    }
    let first = house.get("ListStreams", json!({ "Limit": 2 })).await;
    assert_eq!((&first["StreamNames"], &first["HasMoreStreams"]), (&json!(["a", "b"]), &json!(true)));
    assert_eq!(first["StreamSummaries"][1]["StreamName"], "b");
    let next = house.get("ListStreams", json!({ "Limit": 2, "NextToken": first["NextToken"] })).await;
    assert_eq!(next["StreamNames"], json!(["c", "d"]));
    let last = house.get("ListStreams", json!({ "ExclusiveStartStreamName": "d" })).await;
    assert_eq!((&last["StreamNames"], &last["HasMoreStreams"]), (&json!(["e"]), &json!(false)));
    assert!(last.get("NextToken").is_none());
    house.clock.by(Duration::from_secs(301));
    let (code, _) = house.fail("ListStreams", json!({ "NextToken": first["NextToken"] })).await;
    assert_eq!(code, "ExpiredNextTokenException");
    let (code, _) = house.fail("ListStreams", json!({ "NextToken": "nonsense" })).await;
    assert_eq!(code, "InvalidArgumentException");
    house.close().await;
}

#[tokio::test]
async fn a_stream_of_the_file_cannot_be_deleted_through_the_door() {
    let house = House::with(KinesisSettings::default(), &["clicks"], Pace::default()).await;
    let (code, message) = house.fail("DeleteStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(code, "ResourceInUseException");
    assert!(message.contains("Remove [stream.clicks]"), "{message}");
    assert!(house.log.stream("clicks").is_some());
    house.door.as_ref().expect("open").declare([]);
    house.get("DeleteStream", json!({ "StreamName": "clicks" })).await;
    house.close().await;
}

#[tokio::test]
async fn what_has_no_meaning_here_says_so() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let arn = house.arn("clicks").await;
    let (code, message) = house.fail("CreateChannel", json!({ "ChannelName": "x" })).await;
    assert_eq!(code, "UnsupportedOperationException");
    assert!(message.contains("CreateChannel is not offered here"), "{message}");
    let (code, _) = house.fail("PutResourcePolicy", json!({ "ResourceARN": arn, "Policy": "{}" })).await;
    assert_eq!(code, "UnsupportedOperationException");
    assert_eq!(house.get("GetResourcePolicy", json!({ "ResourceARN": arn })).await, json!({ "Policy": "{}" }));
    let (code, _) = house.fail("DeleteResourcePolicy", json!({ "ResourceARN": arn })).await;
    assert_eq!(code, "ResourceNotFoundException");
    let warm = json!({ "StreamName": "clicks", "WarmThroughputMiBps": 10 });
    assert_eq!(house.fail("UpdateStreamWarmThroughput", warm).await.0, "UnsupportedOperationException");
    let account = house.get("DescribeAccountSettings", json!({})).await;
    assert_eq!(account["MinimumThroughputBillingCommitment"]["Status"], "DISABLED");
    assert_eq!(house.fail("NoSuchOperation", json!({})).await.0, "UnknownOperationException");
    house.close().await;
}

#[tokio::test]
async fn what_the_door_knows_of_a_stream_outlives_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let settings =
        || KinesisSettings { listen: "127.0.0.1:0".parse().expect("an address"), ..KinesisSettings::default() };
    let input = json!({ "StreamName": "clicks", "ShardCount": 1, "Tags": { "team": "web" } });
    let ask = async |door: &KinesisDoor, operation: &str, input: Value| {
        let request = reqwest::Client::new()
            .post(format!("http://{}/", door.local_addr()))
            .header("content-type", JSON)
            .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
            .header("x-amz-date", "20200101T000000Z")
            .header("authorization", OPEN);
        let response = request.body(input.to_string()).send().await.expect("an answer");
        response.text().await.expect("a body")
    };
    for round in 0..2 {
        let log = Log::open(dir.path(), clock.clone()).expect("a log");
        let door = KinesisDoor::start(settings(), log.clone(), clock.clone(), []).await.expect("a door");
        if round == 0 {
            assert_eq!(ask(&door, "CreateStream", input.clone()).await, "");
            let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks";
            let consumer = json!({ "StreamARN": arn, "ConsumerName": "app" });
            assert!(ask(&door, "RegisterStreamConsumer", consumer).await.contains("consumer/app:"));
        } else {
            let tags = ask(&door, "ListTagsForStream", json!({ "StreamName": "clicks" })).await;
            assert!(tags.contains(r#""Key":"team","Value":"web""#), "{tags}");
            let summary = ask(&door, "DescribeStreamSummary", json!({ "StreamName": "clicks" })).await;
            assert!(summary.contains(r#""ConsumerCount":1"#), "{summary}");
        }
        door.stop().await;
        log.close();
    }
}
