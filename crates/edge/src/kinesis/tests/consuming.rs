//! Consumers are registered, and records are pushed to them.

use std::time::Instant;

use serde_json::json;

use super::*;
use crate::kinesis::settings::KinesisLimits;

/// A subscription as a client sees it.
pub(super) struct Pushed {
    response: reqwest::Response,
    bytes: Vec<u8>,
}

/// One frame.
#[derive(Debug)]
pub(super) struct Frame {
    headers: Vec<(String, String)>,
    pub(super) payload: Value,
}

impl Frame {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(found, _)| found == name).map_or("", |(_, value)| value)
    }
}

impl Pushed {
    pub(super) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(length) = self.bytes.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if self.bytes.len() >= length {
                    let frame: Vec<u8> = self.bytes.drain(..length).collect();
                    return Some(read(&frame));
                }
            }
            self.bytes.extend(self.response.chunk().await.expect("no error")?);
        }
    }

    /// The next event with records, and how many without came before.
    pub(super) async fn records(&mut self) -> (Value, usize) {
        let mut quiet = 0;
        loop {
            let frame = self.next().await.expect("a frame");
            assert_eq!(frame.header(":event-type"), "SubscribeToShardEvent", "{frame:?}");
            if frame.payload["Records"].as_array().is_some_and(|records| !records.is_empty()) {
                return (frame.payload, quiet);
            }
            quiet += 1;
        }
    }
}

fn read(frame: &[u8]) -> Frame {
    let number = |at: usize| u32::from_be_bytes(*frame[at..].first_chunk::<4>().expect("four bytes"));
    let (body, sum) = frame.split_last_chunk::<4>().expect("a sum");
    assert_eq!(crc32fast::hash(body), u32::from_be_bytes(*sum), "the frame came whole");
    assert_eq!(crc32fast::hash(&frame[..8]), number(8));
    let end = 12 + number(4) as usize;
    let mut rest = &frame[12..end];
    let mut headers = Vec::new();
    while let Some((length, after)) = rest.split_first() {
        let (name, after) = after.split_at(usize::from(*length));
        assert_eq!(after[0], 7, "text");
        let (value, after) = after[3..].split_at(usize::from(u16::from_be_bytes([after[1], after[2]])));
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        headers.push((text(name), text(value)));
        rest = after;
    }
    Frame { headers, payload: serde_json::from_slice(&body[end..]).expect("JSON") }
}

impl House {
    pub(super) async fn register(&self, stream: &str, name: &str) -> String {
        let input = json!({ "StreamARN": self.arn(stream).await, "ConsumerName": name });
        let output = self.get("RegisterStreamConsumer", input).await;
        text(&output["Consumer"]["ConsumerARN"]).to_owned()
    }

    pub(super) async fn subscribe(&self, consumer: &str, shard: &str, position: Value) -> Pushed {
        let input = json!({ "ConsumerARN": consumer, "ShardId": shard, "StartingPosition": position });
        let response = self.send("SubscribeToShard", JSON, input.to_string().into_bytes()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
        let mut pushed = Pushed { response, bytes: Vec::new() };
        let first = pushed.next().await.expect("a frame");
        assert_eq!((first.header(":event-type"), &first.payload), ("initial-response", &json!({})));
        pushed
    }
}

#[tokio::test]
async fn a_consumer_is_registered_described_listed_and_deregistered() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let stream = house.arn("clicks").await;
    let arn = house.register("clicks", "app").await;
    let created = arn.strip_prefix(&format!("{stream}/consumer/app:")).expect("a creation time");
    assert!(created.parse::<i64>().is_ok_and(|seconds| (seconds - house.clock.now().0 / 1000).abs() < 60));
    let again = json!({ "StreamARN": stream, "ConsumerName": "app" });
    assert_eq!(house.fail("RegisterStreamConsumer", again.clone()).await.0, "ResourceInUseException");
    for named in [json!({ "ConsumerARN": arn }), again] {
        let described = house.get("DescribeStreamConsumer", named).await;
        let consumer = &described["ConsumerDescription"];
        assert_eq!((&consumer["ConsumerARN"], &consumer["StreamARN"]), (&json!(arn), &json!(stream)));
        assert_eq!(consumer["ConsumerStatus"], "ACTIVE");
    }
    for n in 1..20 {
        house.register("clicks", &format!("app-{n:02}")).await;
    }
    let more = json!({ "StreamARN": stream, "ConsumerName": "one-more" });
    assert_eq!(house.fail("RegisterStreamConsumer", more).await.0, "LimitExceededException");
    let page = house.get("ListStreamConsumers", json!({ "StreamARN": stream, "MaxResults": 15 })).await;
    let rest = json!({ "StreamARN": stream, "NextToken": page["NextToken"] });
    let rest = house.get("ListStreamConsumers", rest).await;
    let count = |output: &Value| output["Consumers"].as_array().map(Vec::len);
    assert_eq!((count(&page), count(&rest), rest.get("NextToken")), (Some(15), Some(5), None));
    let (code, message) = house.fail("DeleteStream", json!({ "StreamName": "clicks" })).await;
    assert_eq!(code, "ResourceInUseException");
    assert!(message.contains("20 registered consumers"), "{message}");
    assert_eq!(house.get("DeregisterStreamConsumer", json!({ "ConsumerARN": arn })).await, Value::Null);
    assert_eq!(
        house.fail("DescribeStreamConsumer", json!({ "ConsumerARN": arn })).await,
        ("ResourceNotFoundException".to_owned(), format!("Consumer {arn}, account 000000000000 not found."))
    );
    house.get("DeleteStream", json!({ "StreamName": "clicks", "EnforceConsumerDeletion": true })).await;
    house.close().await;
}

#[tokio::test]
async fn records_are_pushed_as_they_come_over_both_versions_of_http() {
    for http2 in [false, true] {
        let house = House::open().await;
        let house = if http2 { house.over_http2() } else { house };
        house.create("clicks", 1).await;
        let consumer = house.register("clicks", "app").await;
        house.put("clicks", "a", "old").await;
        let mut pushed = house.subscribe(&consumer, "0", json!({ "Type": "TRIM_HORIZON" })).await;
        let (event, _) = pushed.records().await;
        assert_eq!((payloads(&event), &event["MillisBehindLatest"]), (vec!["old".to_owned()], &json!(0)));
        assert_eq!(event["ContinuationSequenceNumber"], event["Records"][0]["SequenceNumber"]);
        let mut continuation = event["ContinuationSequenceNumber"].clone();
        let mut times = Vec::new();
        for n in 0..20 {
            let sent = Instant::now();
            let put = house.put("clicks", "a", &n.to_string()).await;
            let (event, _) = pushed.records().await;
            times.push(sent.elapsed());
            assert_eq!(payloads(&event), [n.to_string()]);
            assert_eq!(event["ContinuationSequenceNumber"], put["SequenceNumber"]);
            continuation = put["SequenceNumber"].clone();
        }
        times.sort();
        assert!(times[times.len() / 2] < Duration::from_secs(1), "pushed, not polled: {times:?}");
        let counts = house.door.as_ref().expect("open").counts();
        assert_eq!(counts.subscriptions(), 1);
        let mut samples = Vec::new();
        base::Measured::measure(&*counts, &mut samples);
        let behind = samples.iter().find(|sample| sample.name == "riverrun_kinesis_behind_records").expect("measured");
        let labels = [("stream", "clicks"), ("consumer", "app"), ("shard", "0")];
        assert_eq!(behind.labels, labels.map(|(name, value)| (name, value.to_owned())));
        assert!((0.0..=1.0).contains(&behind.value), "{behind:?}");
        let other = house.register("clicks", "other").await;
        let after = json!({ "Type": "AFTER_SEQUENCE_NUMBER", "SequenceNumber": continuation });
        let mut rest = house.subscribe(&other, "0", after).await;
        house.put("clicks", "a", "new").await;
        assert_eq!(payloads(&rest.records().await.0), ["new"]);
        assert_eq!(payloads(&pushed.records().await.0), ["new"]);
        drop((pushed, rest));
        house.close().await;
    }
}

/// Events, keep-alives and the end come within fractions of a second.
fn hasty() -> Pace {
    Pace { life: Duration::from_millis(600), quiet: Duration::from_millis(100), hold: Duration::from_secs(5) }
}

#[tokio::test]
async fn a_quiet_shard_is_told_of_and_a_subscription_ends_with_its_time() {
    let house = House::with(KinesisSettings::default(), &[], hasty()).await;
    house.create("clicks", 1).await;
    let consumer = house.register("clicks", "app").await;
    let mut pushed = house.subscribe(&consumer, "0", json!({ "Type": "LATEST" })).await;
    let mut last = Value::Null;
    let mut events = 0;
    while let Some(frame) = pushed.next().await {
        assert_eq!((&frame.payload["Records"], &frame.payload["MillisBehindLatest"]), (&json!([]), &json!(0)));
        last = frame.payload["ContinuationSequenceNumber"].clone();
        events += 1;
    }
    assert!(events >= 2, "{events}");
    // Going on with AT and with AFTER are the same where no record is.
    house.put("clicks", "a", "next").await;
    for (consumer, kind) in [("b", "AT_SEQUENCE_NUMBER"), ("c", "AFTER_SEQUENCE_NUMBER")] {
        let consumer = house.register("clicks", consumer).await;
        let mut pushed = house.subscribe(&consumer, "0", json!({ "Type": kind, "SequenceNumber": last })).await;
        assert_eq!(payloads(&pushed.records().await.0), ["next"]);
    }
    house.close().await;
}

#[tokio::test]
async fn a_second_subscription_is_refused_and_a_later_one_takes_over() {
    let pace = Pace { hold: Duration::from_millis(300), ..Pace::default() };
    let house = House::with(KinesisSettings::default(), &[], pace).await;
    house.create("clicks", 1).await;
    let consumer = house.register("clicks", "app").await;
    let latest = json!({ "Type": "LATEST" });
    let mut first = house.subscribe(&consumer, "0", latest.clone()).await;
    let begun = Instant::now();
    let input = json!({ "ConsumerARN": consumer, "ShardId": "0", "StartingPosition": latest });
    loop {
        let response = house.send("SubscribeToShard", JSON, input.to_string().into_bytes()).await;
        if response.status() == 200 {
            assert!(begun.elapsed() >= Duration::from_millis(250));
            break;
        }
        let error: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).expect("JSON");
        assert_eq!(error["__type"], "ResourceInUseException", "{error}");
    }
    let frame = first.next().await.expect("the last frame");
    assert_eq!(
        (frame.header(":message-type"), frame.header(":exception-type")),
        ("exception", "ResourceInUseException")
    );
    assert!(first.next().await.is_none());
    house.close().await;
}

#[tokio::test]
async fn with_the_limits_of_the_service_a_consumer_subscribes_to_a_shard_once_in_a_second() {
    let pace = Pace { hold: Duration::from_secs(60), ..Pace::default() };
    let settings = KinesisSettings { limits: KinesisLimits::Aws, ..KinesisSettings::default() };
    let house = House::with(settings, &[], pace).await;
    house.create("clicks", 2).await;
    let consumer = house.register("clicks", "app").await;
    let latest = json!({ "Type": "LATEST" });
    let begun = Instant::now();
    let _first = house.subscribe(&consumer, "0", latest.clone()).await;
    let _other = house.subscribe(&consumer, "1", latest.clone()).await;
    // Asked without a pause: too often for a second, and then too soon for another subscription.
    let input = json!({ "ConsumerARN": consumer, "ShardId": "0", "StartingPosition": latest });
    let mut limited = 0;
    loop {
        let (code, message) = house.fail("SubscribeToShard", input.clone()).await;
        match code.as_str() {
            "LimitExceededException" => assert!(message.contains("Rate exceeded for SubscribeToShard"), "{message}"),
            "ResourceInUseException" => break,
            other => panic!("{other}: {message}"),
        }
        limited += 1;
    }
    assert!(begun.elapsed() >= Duration::from_secs(1) && limited > 0, "{limited} in {:?}", begun.elapsed());
    assert_eq!(house.fail("SubscribeToShard", input).await.0, "LimitExceededException");
    house.close().await;
}

#[tokio::test]
async fn a_subscription_ends_with_its_shard_its_consumer_and_its_stream() {
    let house = House::open().await;
    house.create("clicks", 2).await;
    let consumer = house.register("clicks", "app").await;
    let position = || json!({ "Type": "TRIM_HORIZON" });
    let mut split = house.subscribe(&consumer, "0", position()).await;
    let input = json!({ "StreamName": "clicks", "ShardToSplit": "0", "NewStartingHashKey": "1000" });
    house.get("SplitShard", input).await;
    let last = split.next().await.expect("the last event").payload;
    let children = last["ChildShards"].as_array().expect("children");
    assert_eq!((children.len(), &children[0]["ShardId"]), (2, &json!("shardId-000000000002")));
    assert_eq!(last.get("ContinuationSequenceNumber"), None, "there is nowhere to continue");
    assert!(split.next().await.is_none());
    let mut left = house.subscribe(&consumer, "1", position()).await;
    house.get("DeregisterStreamConsumer", json!({ "ConsumerARN": consumer })).await;
    assert_eq!(left.next().await.expect("a frame").header(":exception-type"), "ResourceNotFoundException");
    let consumer = house.register("clicks", "again").await;
    let mut deleted = house.subscribe(&consumer, "1", position()).await;
    house.get("DeleteStream", json!({ "StreamName": "clicks", "EnforceConsumerDeletion": true })).await;
    assert_eq!(deleted.next().await.expect("a frame").header(":exception-type"), "ResourceNotFoundException");
    house.close().await;
}

#[tokio::test]
async fn a_door_that_closes_ends_its_subscriptions_at_once() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let consumer = house.register("clicks", "app").await;
    let mut pushed = house.subscribe(&consumer, "0", json!({ "Type": "LATEST" })).await;
    let begun = Instant::now();
    let (ended, _) = tokio::join!(pushed.next(), house.close());
    assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn wrong_subscriptions_are_refused_before_anything_is_pushed() {
    let house = House::open().await;
    house.create("clicks", 1).await;
    let consumer = house.register("clicks", "app").await;
    let ask = async |consumer: &str, shard: &str, position: Value| {
        let input = json!({ "ConsumerARN": consumer, "ShardId": shard, "StartingPosition": position });
        house.fail("SubscribeToShard", input).await
    };
    let latest = || json!({ "Type": "LATEST" });
    assert_eq!(ask("nonsense", "0", latest()).await.0, "ValidationException");
    assert_eq!(ask(&consumer, "0", json!({})).await.0, "ValidationException");
    assert_eq!(ask(&consumer, "7", latest()).await.0, "ResourceNotFoundException");
    assert_eq!(ask(&consumer, "0", json!({ "Type": "AT_SEQUENCE_NUMBER" })).await.0, "InvalidArgumentException");
    let other = consumer.replace("/app:", "/other:");
    assert_eq!(ask(&other, "0", latest()).await.0, "ResourceNotFoundException");
    assert_eq!(house.door.as_ref().expect("open").counts().subscriptions(), 0);
    house.close().await;
}
