//! Who may ask, and how much.

use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::super::auth::AccessKeys;
use super::super::operation::Operation;
use super::super::settings::{KeySource, KinesisLimits};
use super::*;

/// An input that would do something, or at least tell something, for each operation that has one.
fn input(operation: Operation, stream: &str) -> Value {
    let mut input = json!({
        "StreamName": "clicks", "StreamARN": stream, "ResourceARN": stream, "ConsumerName": "app", "ShardCount": 1,
        "Tags": { "a": "b" }, "TagKeys": ["a"], "ShardToSplit": "0", "NewStartingHashKey": "1000", "ShardToMerge": "0",
        "AdjacentShardToMerge": "1", "TargetShardCount": 4, "ScalingType": "UNIFORM_SCALING", "RetentionPeriodHours": 48,
        "StreamModeDetails": { "StreamMode": "ON_DEMAND" }, "MaxRecordSizeInKiB": 2048, "ShardLevelMetrics": ["ALL"],
        "EncryptionType": "KMS", "KeyId": "k", "PartitionKey": "a", "Data": "", "Policy": "{}",
        "Records": [{ "PartitionKey": "a", "Data": "" }], "ShardId": "0", "ShardIteratorType": "LATEST",
    });
    if operation == Operation::CreateStream {
        input["StreamName"] = json!("another");
    }
    input
}

#[tokio::test]
async fn no_operation_is_carried_out_for_who_cannot_sign() {
    let mut keys = AccessKeys::open();
    keys.insert("AKIDEXAMPLE", "a secret of some length, without blanks".replace(' ', "-").as_str()).expect("a key");
    let settings = KinesisSettings { keys: KeySource::Here(keys), ..KinesisSettings::default() };
    let house = House::with(settings, &[], Pace::default()).await;
    let made = stream::StreamSettings { shards: 2, ..stream::StreamSettings::default() };
    let stream = house.log.create("clicks", &made).expect("a stream");
    let before = (stream.settings(), stream.shard_infos().len());
    let now = httpdate::fmt_http_date(std::time::SystemTime::now());
    let parts: Vec<&str> = now.split([' ', ':']).collect();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + months.iter().position(|month| *month == parts[2]).expect("a month");
    let day = format!("{}{month:02}{}", parts[3], parts[1]);
    let date = format!("{day}T{}{}{}Z", parts[4], parts[5], parts[6]);
    let signed = |key: &str, signature: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential={key}/{day}/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, \
             Signature={signature}"
        )
    };
    let wrong = "0".repeat(64);
    for operation in Operation::ALL {
        for (authorization, code) in [
            (signed("AKIDEXAMPLE", &wrong), "InvalidSignatureException"),
            (signed("AKIDSTRANGER", &wrong), "UnrecognizedClientException"),
            (String::new(), "MissingAuthenticationTokenException"),
        ] {
            let request = house
                .client
                .post(&house.url)
                .header("content-type", JSON)
                .header("x-amz-target", format!("Kinesis_20131202.{}", operation.name()))
                .header("x-amz-date", &date)
                .header("authorization", authorization);
            let arn = "arn:aws:kinesis:us-east-1:000000000000:stream/clicks";
            let response = request.body(input(*operation, arn).to_string()).send().await.expect("an answer");
            let status = response.status().as_u16();
            let error: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
            assert_eq!((status, &error["__type"]), (400, &json!(code)), "{}: {error}", operation.name());
        }
    }
    assert_eq!((stream.settings(), stream.shard_infos().len()), before);
    assert_eq!(stream.bounds(base::ShardId(0)).end, base::Offset::ZERO);
    assert_eq!((house.log.streams().len(), stream.note("kinesis")), (1, None));
    assert_eq!(house.door.as_ref().expect("open").counts().errors("InvalidSignatureException"), 57);
    house.close().await;
}

#[tokio::test]
async fn what_is_no_request_of_the_api_is_told_so() {
    let house = House::open().await;
    let got = house.client.get(&house.url).send().await.expect("an answer");
    assert_eq!(got.status(), 403);
    assert!(got.text().await.expect("a body").starts_with("<AccessDeniedException>"));
    let unsigned = house.client.post(&house.url).header("content-type", JSON);
    let unsigned = unsigned.header("x-amz-target", "Kinesis_20131202.ListStreams").body("{}");
    let unsigned = unsigned.send().await.expect("an answer");
    assert_eq!(unsigned.status(), 400);
    assert!(unsigned.text().await.expect("a body").contains("MissingAuthenticationTokenException"));
    let text = house.client.post(&house.url).header("content-type", "text/plain").header("authorization", OPEN);
    let text = text.header("x-amz-date", "20200101T000000Z").body("{}").send().await.expect("an answer");
    assert_eq!(text.status(), 403);
    house.close().await;
}

fn limited() -> KinesisSettings {
    KinesisSettings { limits: KinesisLimits::Aws, ..KinesisSettings::default() }
}

#[tokio::test]
async fn with_the_limits_of_the_service_a_shard_takes_a_mebibyte_in_a_second() {
    let house = House::with(limited(), &[], Pace::default()).await;
    house.create("clicks", 1).await;
    let half = BASE64_STANDARD.encode(vec![b'x'; 512 * 1024 - 1]);
    let entry = json!({ "PartitionKey": "a", "Data": half });
    let output = house.get("PutRecords", json!({ "StreamName": "clicks", "Records": vec![entry; 6] })).await;
    let results = output["Records"].as_array().expect("results");
    let failed: Vec<&Value> = results.iter().filter(|result| result.get("ErrorCode").is_some()).collect();
    assert_eq!((results.len(), &output["FailedRecordCount"]), (6, &json!(failed.len())));
    assert!((1..=4).contains(&failed.len()), "two fit at once: {output}");
    assert_eq!(failed[0]["ErrorCode"], "ProvisionedThroughputExceededException");
    assert_eq!(
        failed[0]["ErrorMessage"],
        "Rate exceeded for shard shardId-000000000000 in stream clicks under account 000000000000."
    );
    assert!(failed[0].get("SequenceNumber").is_none() && results[0].get("SequenceNumber").is_some());
    let large =
        json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": BASE64_STANDARD.encode(vec![b'x'; 1_000_000]) });
    let (code, _) = house.fail("PutRecord", large).await;
    assert_eq!(code, "ProvisionedThroughputExceededException");
    house.close().await;
}

#[tokio::test]
async fn with_the_limits_of_the_service_an_account_may_not_ask_too_often() {
    let house = House::with(limited(), &[], Pace::default()).await;
    house.create("clicks", 1).await;
    let mut refused = Vec::new();
    for _ in 0..30 {
        let (status, output) = house.ask("ListTagsForStream", json!({ "StreamName": "clicks" })).await;
        if status != 200 {
            refused.push(output);
        }
    }
    assert!(!refused.is_empty());
    assert_eq!(refused[0]["__type"], "LimitExceededException");
    assert!(text(&refused[0]["message"]).starts_with("Rate exceeded"));
    let iterator = house.iterator("clicks", "0", "LATEST").await;
    let mut codes = Vec::new();
    for _ in 0..10 {
        codes.push(house.ask("GetRecords", json!({ "ShardIterator": iterator })).await.1["__type"].clone());
    }
    assert!(codes.contains(&json!("ProvisionedThroughputExceededException")), "{codes:?}");
    house.close().await;
}
