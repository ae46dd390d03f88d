//! Records are put and got.

use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::cbor::Cbor;
use super::*;
use crate::kinesis::desk::Desk;

#[tokio::test]
async fn a_record_is_put_and_got_from_every_kind_of_place() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let mut numbers = Vec::new();
    for data in ["one", "two", "three"] {
        let put = house.put("clicks", "key", data).await;
        assert_eq!(put["ShardId"], "shardId-000000000000");
        assert!(put.get("EncryptionType").is_none());
        numbers.push(text(&put["SequenceNumber"]).to_owned());
    }
    assert!(numbers.is_sorted() && numbers.iter().all(|number| number.len() == 56));
    let read = async |kind: &str, more: Value| {
        let mut input = json!({ "StreamName": "clicks", "ShardId": "shardId-000000000000", "ShardIteratorType": kind });
        input.as_object_mut().expect("a map").extend(more.as_object().expect("a map").clone());
        let iterator = house.get("GetShardIterator", input).await;
        house.get("GetRecords", iterator).await
    };
    let all = read("TRIM_HORIZON", json!({})).await;
    assert_eq!(payloads(&all), ["one", "two", "three"]);
    let record = &all["Records"][1];
    assert_eq!((&record["PartitionKey"], text(&record["SequenceNumber"])), (&json!("key"), numbers[1].as_str()));
    let arrived = record["ApproximateArrivalTimestamp"].as_f64().expect("a time");
    assert!((arrived - house.clock.now().0 as f64 / 1000.0).abs() < 60.0);
    assert_eq!(all["MillisBehindLatest"], 0);
    assert!(all.get("ChildShards").is_none());
    let second = json!({ "StartingSequenceNumber": numbers[1] });
    assert_eq!(payloads(&read("AT_SEQUENCE_NUMBER", second.clone()).await), ["two", "three"]);
    assert_eq!(payloads(&read("AFTER_SEQUENCE_NUMBER", second).await), ["three"]);
    let start = &house.shards("clicks").await[0]["SequenceNumberRange"]["StartingSequenceNumber"];
    for kind in ["AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"] {
        let from_start = read(kind, json!({ "StartingSequenceNumber": start })).await;
        assert_eq!(payloads(&from_start), ["one", "two", "three"], "the start lies below the first record");
    }
    assert_eq!(payloads(&read("AT_TIMESTAMP", json!({ "Timestamp": 1.5 })).await), ["one", "two", "three"]);
    let latest = house.iterator("clicks", "0", "LATEST").await;
    house.put("clicks", "key", "four").await;
    let after = house.get("GetRecords", json!({ "ShardIterator": latest })).await;
    assert_eq!(payloads(&after), ["four"]);
    let next = house.get("GetRecords", json!({ "ShardIterator": after["NextShardIterator"] })).await;
    assert_eq!((payloads(&next).len(), &next["MillisBehindLatest"]), (0, &json!(0)));
    house.close().await;
}

#[tokio::test]
async fn a_time_finds_the_first_record_that_arrived_then() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    house.put("clicks", "key", "before").await;
    house.clock.by(Duration::from_secs(10));
    let between = house.clock.now().0 as f64 / 1000.0 - 5.0;
    house.put("clicks", "key", "after").await;
    let at = |time: f64| json!({ "StreamName": "clicks", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP", "Timestamp": time });
    let iterator = house.get("GetShardIterator", at(between)).await;
    assert_eq!(payloads(&house.get("GetRecords", iterator).await), ["after"]);
    let (code, message) = house.fail("GetShardIterator", at(between + 1000.0)).await;
    assert_eq!(code, "InvalidArgumentException");
    assert!(
        message.starts_with("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis.")
    );
    let none = json!({ "StreamName": "clicks", "ShardId": "0", "ShardIteratorType": "AT_TIMESTAMP" });
    assert!(house.fail("GetShardIterator", none).await.1.starts_with("Must specify timestampInMillis parameter"));
    house.close().await;
}

#[tokio::test]
async fn records_are_got_in_pieces() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let records: Vec<Value> =
        (0..100).map(|n| json!({ "PartitionKey": "key", "Data": BASE64_STANDARD.encode(n.to_string()) })).collect();
    house.get("PutRecords", json!({ "StreamName": "clicks", "Records": records })).await;
    let mut iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
    let mut got = Vec::new();
    for _ in 0..4 {
        let output = house.get("GetRecords", json!({ "ShardIterator": iterator, "Limit": 30 })).await;
        got.extend(payloads(&output));
        assert_eq!(output["MillisBehindLatest"].as_i64().expect("a number") > 0, got.len() < 100);
        iterator = text(&output["NextShardIterator"]).to_owned();
    }
    assert_eq!(got, (0..100).map(|n| n.to_string()).collect::<Vec<_>>());
    // Ten mebibytes at once and no more, but always one record.
    let large = BASE64_STANDARD.encode(vec![b'x'; 1024 * 1024 - 3]);
    for _ in 0..12 {
        house.get("PutRecord", json!({ "StreamName": "clicks", "PartitionKey": "key", "Data": large })).await;
    }
    let output = house.get("GetRecords", json!({ "ShardIterator": iterator })).await;
    assert_eq!(output["Records"].as_array().map(Vec::len), Some(10));
    let output = house.get("GetRecords", json!({ "ShardIterator": output["NextShardIterator"] })).await;
    assert_eq!(output["Records"].as_array().map(Vec::len), Some(2));
    house.close().await;
}

#[tokio::test]
async fn keys_and_hashes_lead_to_the_shards_of_the_published_ranges() {
    let house = House::open().await;
    house.create("clicks", 3).await;
    let record = |key: &str, hash: Option<&str>| json!({ "PartitionKey": key, "Data": "", "ExplicitHashKey": hash });
    let records = [
        record("a", None),
        record("b", None),
        record("e", None),
        record("f", None),
        record("a", Some("340282366920938463463374607431768211455")),
        record("a", Some("226854911280625642308916404954512140969")),
        record("a", Some("226854911280625642308916404954512140970")),
    ];
    let output = house.get("PutRecords", json!({ "StreamName": "clicks", "Records": records })).await;
    assert_eq!(output["FailedRecordCount"], 0);
    let shards: Vec<&str> =
        output["Records"].as_array().expect("results").iter().map(|r| text(&r["ShardId"])).collect();
    let names = shards.iter().map(|name| name.chars().last().expect("a digit")).collect::<String>();
    assert_eq!(names, "0121212");
    let stream = house.log.stream("clicks").expect("there");
    let fetched = stream.fetch(base::ShardId(2), base::Offset::ZERO, 1000).expect("readable");
    let hashes: Vec<_> = fetched
        .records()
        .map(|record| record.expect("whole").header(crate::EXPLICIT_HASH_KEY_HEADER).map(<[u8]>::to_vec))
        .collect();
    assert_eq!(hashes[1].as_deref(), Some(&b"340282366920938463463374607431768211455"[..]), "the hash is kept");
    let beyond = record("a", Some("340282366920938463463374607431768211456"));
    let (code, message) = house.fail("PutRecords", json!({ "StreamName": "clicks", "Records": [beyond] })).await;
    assert_eq!(code, "InvalidArgumentException");
    assert_eq!(
        message,
        "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was \
         340282366920938463463374607431768211456"
    );
    house.close().await;
}

#[tokio::test]
async fn both_protocols_and_both_versions_of_http_tell_the_same() {
    for http2 in [false, true] {
        let house = House::open().await;
        let house = if http2 { house.over_http2() } else { house };
        house.create("clicks", 1).await;
        let put = Cbor::map([
            ("StreamName", Cbor::text("clicks")),
            ("PartitionKey", Cbor::text("key")),
            ("Data", Cbor::Bytes(vec![0, 159, 146, 150])),
        ]);
        let response = house.send("PutRecord", cbor::CONTENT_TYPE, put.write()).await;
        assert_eq!(response.headers()["content-type"], cbor::CONTENT_TYPE);
        assert!(response.headers().contains_key("x-amzn-requestid"));
        let put = Cbor::read(&response.bytes().await.expect("a body"));
        let iterator = house.iterator("clicks", "0", "TRIM_HORIZON").await;
        let json = house.get("GetRecords", json!({ "ShardIterator": iterator })).await;
        let ask = Cbor::map([("ShardIterator", Cbor::text(&iterator))]);
        let response = house.send("GetRecords", cbor::CONTENT_TYPE, ask.write()).await;
        let got = Cbor::read(&response.bytes().await.expect("a body"));
        let record = got.at("Records").item(0);
        assert_eq!(record.at("Data"), &Cbor::Bytes(vec![0, 159, 146, 150]), "bytes are bytes, no text");
        assert_eq!(record.at("SequenceNumber"), put.at("SequenceNumber"));
        assert_eq!(record.at("SequenceNumber"), &Cbor::text(text(&json["Records"][0]["SequenceNumber"])));
        let seconds = json["Records"][0]["ApproximateArrivalTimestamp"].as_f64().expect("a time");
        let Cbor::Time(ms) = record.at("ApproximateArrivalTimestamp") else { panic!("a time is tagged") };
        assert!((seconds * 1000.0 - *ms as f64).abs() < 0.5);
        let wrong = Cbor::map([("StreamName", Cbor::text("nowhere"))]);
        let response = house.send("DescribeStream", cbor::CONTENT_TYPE, wrong.write()).await;
        assert_eq!(response.status(), 400);
        let error = Cbor::read(&response.bytes().await.expect("a body"));
        assert_eq!(error.at("__type"), &Cbor::text("ResourceNotFoundException"));
        let listed = house.send("ListStreams", cbor::CONTENT_TYPE, Cbor::map([]).write()).await;
        let listed = Cbor::read(&listed.bytes().await.expect("a body"));
        assert_eq!(listed.at("StreamNames").item(0), &Cbor::text("clicks"));
        house.close().await;
    }
}

#[tokio::test]
async fn wrong_places_are_refused_in_the_words_of_the_service() {
    let house = House::open().await;
    house.create("clicks", 2).await;
    let put = house.put("clicks", "a", "x").await;
    let ask = async |shard: &str, kind: &str, number: Option<&str>| {
        let input = json!({
            "StreamName": "clicks", "ShardId": shard, "ShardIteratorType": kind, "StartingSequenceNumber": number,
        });
        house.fail("GetShardIterator", input).await
    };
    let invalid = |message: &str| ("InvalidArgumentException".to_owned(), message.to_owned());
    let missing = |message: &str| ("ResourceNotFoundException".to_owned(), message.to_owned());
    let rule = "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) \
                TRIM_HORIZON or LATEST and no StartingSequenceNumber. Request specified";
    assert_eq!(
        ask("0", "AT_SEQUENCE_NUMBER", None).await,
        invalid(&format!("{rule} AT_SEQUENCE_NUMBER and no StartingSequenceNumber."))
    );
    assert_eq!(
        ask("0", "LATEST", Some("5")).await,
        invalid(&format!("{rule} LATEST and also a StartingSequenceNumber."))
    );
    assert_eq!(
        ask("0", "AT_SEQUENCE_NUMBER", Some("5")).await,
        invalid(
            "Invalid StartingSequenceNumber. It encodes shardId-000000000005, while it was used in a call to a shard with \
             shardId-000000000000"
        )
    );
    let (_, message) = ask("1", "AT_SEQUENCE_NUMBER", Some(text(&put["SequenceNumber"]))).await;
    assert!(message.contains("It encodes shardId-000000000000"), "{message}");
    assert_eq!(
        ask("shardId-5", "LATEST", None).await,
        missing("Shard shardId-000000000005 in stream clicks under account 000000000000 does not exist")
    );
    assert_eq!(
        ask("2.14E4", "LATEST", None).await,
        missing("Could not find shard 2.14E4 in stream clicks under account 000000000000.")
    );
    let (code, message) = ask("0", "SOMEWHERE", None).await;
    assert_eq!(code, "ValidationException");
    assert!(message.contains("[AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"));
    let get = async |iterator: &str| house.fail("GetRecords", json!({ "ShardIterator": iterator })).await;
    assert_eq!(get("nonsense").await, invalid("Invalid ShardIterator."));
    let iterator = house.iterator("clicks", "0", "LATEST").await;
    house.clock.by(Duration::from_secs(301));
    assert_eq!(get(&iterator).await.0, "ExpiredIteratorException");
    let iterator = house.iterator("clicks", "0", "LATEST").await;
    house.get("DeleteStream", json!({ "StreamName": "clicks" })).await;
    let gone = missing("Shard shardId-000000000000 in stream clicks under account 000000000000 does not exist");
    assert_eq!(get(&iterator).await, gone);
    house.create("clicks", 2).await;
    assert_eq!(get(&iterator).await, gone, "another stream of that name is another stream");
    house.close().await;
}

#[tokio::test]
async fn wrong_records_are_refused_in_the_words_of_the_service() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let (code, message) = house.fail("PutRecord", json!({})).await;
    assert_eq!(code, "ValidationException");
    assert!(message.starts_with("3 validation errors detected: Value null at 'partitionKey'"), "{message}");
    let long = BASE64_STANDARD.encode(vec![b'x'; 1_048_577]);
    let input =
        json!({ "StreamName": "x".repeat(129), "PartitionKey": "k".repeat(257), "Data": long, "ExplicitHashKey": "" });
    let (_, message) = house.fail("PutRecord", input).await;
    assert!(message.starts_with("4 validation errors detected"), "{message}");
    assert!(message.contains(
        "Value 'java.nio.HeapByteBuffer[pos=0 lim=1048577 cap=1048577]' at 'data' failed to satisfy constraint: Member must \
         have length less than or equal to 1048576"
    ));
    let entry = json!({ "PartitionKey": "", "Data": "" });
    let (_, message) = house.fail("PutRecords", json!({ "StreamName": "clicks", "Records": [entry] })).await;
    assert_eq!(
        message,
        "1 validation error detected: Value '' at 'records.1.member.partitionKey' failed to satisfy constraint: Member must \
         have length greater than or equal to 1"
    );
    let many = vec![json!({ "PartitionKey": "a", "Data": "" }); 501];
    let (_, message) = house.fail("PutRecords", json!({ "StreamName": "clicks", "Records": many })).await;
    assert!(
        message
            .ends_with("at 'records' failed to satisfy constraint: Member must have length less than or equal to 500")
    );
    let mebibyte = BASE64_STANDARD.encode(vec![b'x'; 1024 * 1024 - 1]);
    let eleven = vec![json!({ "PartitionKey": "a", "Data": mebibyte }); 11];
    let (code, message) = house.fail("PutRecords", json!({ "StreamName": "clicks", "Records": eleven })).await;
    assert_eq!((code.as_str(), message.as_str()), ("InvalidArgumentException", "Records size exceeds 10 MB limit"));
    let ordering =
        json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": "", "SequenceNumberForOrdering": "9".repeat(56) });
    let (_, message) = house.fail("PutRecord", ordering).await;
    assert!(message.starts_with("ExclusiveMinimumSequenceNumber 999"), "{message}");
    let first = house.put("clicks", "a", "x").await;
    let ordered = json!({
        "StreamName": "clicks", "PartitionKey": "a", "Data": "", "SequenceNumberForOrdering": first["SequenceNumber"],
    });
    let second = house.get("PutRecord", ordered).await;
    assert!(text(&second["SequenceNumber"]) > text(&first["SequenceNumber"]));
    house.clock.by(Duration::from_secs(3600));
    let ahead = house.put("clicks", "a", "x").await;
    let ahead_time = house.clock.now();
    house.clock.back(Duration::from_secs(7200));
    let mut ordered = json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": "", "SequenceNumberForOrdering": ahead["SequenceNumber"] });
    house.get("PutRecord", ordered.clone()).await;
    let end = house.log.stream("clicks").expect("there").bounds(base::ShardId(0)).end;
    let next = Desk::origin(&house.log.stream("clicks").expect("there"), base::ShardId(0)).record(end, ahead_time);
    ordered["SequenceNumberForOrdering"] = json!(next);
    let (_, message) = house.fail("PutRecord", ordered).await;
    assert!(message.starts_with("ExclusiveMinimumSequenceNumber"), "of a record that does not exist: {message}");
    house.clock.by(Duration::from_secs(3600));
    let dry = json!({ "StreamName": "clicks", "PartitionKey": "a", "Data": "", "DryRun": true });
    assert_eq!(house.fail("PutRecord", dry).await.0, "DryRunOperationException");
    assert_eq!(house.log.stream("clicks").expect("there").bounds(base::ShardId(0)).end, base::Offset(4));
    house.close().await;
}

#[tokio::test]
async fn a_body_larger_than_ten_mebibytes_of_records_needs_is_refused() {
    let house = House::open().await;
    let response = house.send("PutRecords", JSON, vec![b' '; 17 * 1024 * 1024]).await;
    assert_eq!(response.status(), 413);
    let (code, _) = house.fail("PutRecords", json!([1, 2])).await;
    assert_eq!(code, "SerializationException");
    let response = house.send("PutRecords", JSON, Vec::new()).await;
    assert_eq!(response.status(), 400);
    house.close().await;
}
