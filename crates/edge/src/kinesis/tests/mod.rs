//! Stories over real HTTP, each on a door and a log of its own.

mod access;
mod adjusting;
mod cbor;
mod consuming;
mod damaged;
mod hostile;
mod model;
mod order;
mod reading;
mod resharding;
mod streams;
mod tagging;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::{Clock, Millis, SystemClock};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use stream::Log;

use super::door::{KinesisBeside, KinesisDoor};
use super::settings::KinesisSettings;
use super::subscription::Pace;

/// The clock of the machine, and what a test adds to it.
#[derive(Debug, Default)]
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn now(&self) -> Millis {
        SystemClock.now().plus_ms(self.0.load(Ordering::Relaxed))
    }
}

impl Ahead {
    fn by(&self, time: Duration) {
        self.0.fetch_add(i64::try_from(time.as_millis()).expect("short"), Ordering::Relaxed);
    }

    fn back(&self, time: Duration) {
        self.0.fetch_sub(i64::try_from(time.as_millis()).expect("short"), Ordering::Relaxed);
    }
}

/// A door, its log, and a client.
struct House {
    door: Option<KinesisDoor>,
    log: Arc<Log>,
    clock: Arc<Ahead>,
    client: reqwest::Client,
    url: String,
    dir: tempfile::TempDir,
}

/// Signed well enough for an open door.
const OPEN: &str = "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/kinesis/aws4_request, \
                    SignedHeaders=host;x-amz-date, Signature=00";

const JSON: &str = "application/x-amz-json-1.1";

impl House {
    async fn open() -> Self {
        Self::with(KinesisSettings::default(), &[], Pace::default()).await
    }

    async fn with(settings: KinesisSettings, declared: &[&str], pace: Pace) -> Self {
        Self::of(tempfile::tempdir().expect("a folder"), settings, declared, pace).await
    }

    /// On what the folder holds.
    async fn of(dir: tempfile::TempDir, settings: KinesisSettings, declared: &[&str], pace: Pace) -> Self {
        let clock = Arc::new(Ahead::default());
        let log = Log::open(dir.path(), clock.clone()).expect("a log");
        for name in declared {
            log.ensure(name, &stream::StreamSettings::default()).expect("a stream");
        }
        let settings = KinesisSettings { listen: "127.0.0.1:0".parse().expect("an address"), ..settings };
        let declared = declared.iter().map(|name| (*name).to_owned()).collect();
        let beside = KinesisBeside::default();
        let door =
            KinesisDoor::start_at(settings, log.clone(), clock.clone(), declared, beside, pace).await.expect("a door");
        let url = format!("http://{}/", door.local_addr());
        Self { door: Some(door), log, clock, client: reqwest::Client::new(), url, dir }
    }

    /// Closed, changed by another hand, and opened again.
    async fn reopened(self, change: impl FnOnce(&Path)) -> Self {
        let dir = self.close().await;
        change(dir.path());
        Self::of(dir, KinesisSettings::default(), &[], Pace::default()).await
    }

    /// With a client that speaks HTTP/2 from the first byte.
    fn over_http2(mut self) -> Self {
        self.client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        self
    }

    async fn send(&self, operation: &str, content_type: &str, body: Vec<u8>) -> reqwest::Response {
        let request = self
            .client
            .post(&self.url)
            .header("content-type", content_type)
            .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
            .header("x-amz-date", "20200101T000000Z")
            .header("authorization", OPEN);
        request.body(body).send().await.expect("an answer")
    }

    /// The status and the body of an answer; an empty body is null.
    async fn ask(&self, operation: &str, input: Value) -> (u16, Value) {
        let response = self.send(operation, JSON, input.to_string().into_bytes()).await;
        let status = response.status().as_u16();
        let body = response.bytes().await.expect("a body");
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") })
    }

    /// The output of an operation that goes well.
    async fn get(&self, operation: &str, input: Value) -> Value {
        let (status, output) = self.ask(operation, input).await;
        assert_eq!(status, 200, "{operation}: {output}");
        output
    }

    /// The name and the message of an exception, status 400.
    async fn fail(&self, operation: &str, input: Value) -> (String, String) {
        let (status, output) = self.ask(operation, input).await;
        assert_eq!(status, 400, "{operation}: {output}");
        let text = |member: &str| output[member].as_str().unwrap_or_default().to_owned();
        (text("__type"), text("message"))
    }

    /// Makes a stream of so many shards.
    async fn create(&self, name: &str, shards: u32) {
        let output = self.get("CreateStream", json!({ "StreamName": name, "ShardCount": shards })).await;
        assert_eq!(output, Value::Null, "an operation without output has an empty body");
    }

    async fn put(&self, stream: &str, key: &str, data: &str) -> Value {
        let input = json!({ "StreamName": stream, "PartitionKey": key, "Data": BASE64_STANDARD.encode(data) });
        self.get("PutRecord", input).await
    }

    async fn iterator(&self, stream: &str, shard: &str, kind: &str) -> String {
        let input = json!({ "StreamName": stream, "ShardId": shard, "ShardIteratorType": kind });
        let output = self.get("GetShardIterator", input).await;
        output["ShardIterator"].as_str().expect("an iterator").to_owned()
    }

    /// All shards of a stream.
    async fn shards(&self, stream: &str) -> Vec<Value> {
        let output = self.get("ListShards", json!({ "StreamName": stream })).await;
        output["Shards"].as_array().expect("shards").clone()
    }

    async fn arn(&self, stream: &str) -> String {
        let output = self.get("DescribeStreamSummary", json!({ "StreamName": stream })).await;
        output["StreamDescriptionSummary"]["StreamARN"].as_str().expect("an ARN").to_owned()
    }

    async fn close(mut self) -> tempfile::TempDir {
        if let Some(door) = self.door.take() {
            door.stop().await;
        }
        self.log.close();
        self.dir
    }
}

/// The payloads of records as text.
fn payloads(output: &Value) -> Vec<String> {
    let records = output["Records"].as_array().expect("records");
    records.iter().map(payload).collect()
}

fn payload(record: &Value) -> String {
    let bytes = BASE64_STANDARD.decode(record["Data"].as_str().expect("data")).expect("base64");
    String::from_utf8(bytes).expect("text")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}
