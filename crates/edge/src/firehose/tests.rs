mod restart;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use base::SystemClock;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use stream::StreamSettings;

use super::*;
use crate::kinesis::wire::{Protocol, ServiceError};
use crate::tests::House;

const KEY: &str = "a-key-for-deliveries";

struct Door {
    house: House,
    firehose: Arc<Firehose>,
}

fn door() -> Door {
    door_with(FirehoseSettings {
        access: DeliveryAccess::Key(Token::new(KEY).expect("a key")),
        ..FirehoseSettings::default()
    })
}

fn door_with(settings: FirehoseSettings) -> Door {
    let house = House::new();
    let named = |name: &str, stream: &str| DeliveryStream { name: name.to_owned(), stream: stream.to_owned() };
    let streams = vec![named("sales", "clicks"), named("clicks", "clicks"), named("gone", "gone")];
    let firehose = Firehose::new(house.log.clone(), Arc::new(SystemClock), settings, streams);
    Door { house, firehose: Arc::new(firehose) }
}

impl Door {
    async fn call(&self, operation: &str, input: Value) -> Result<Value, ServiceError> {
        let output = self.firehose.perform(operation, Protocol::Json, input.to_string().as_bytes()).await?;
        Ok(serde_json::from_slice(&output).expect("JSON"))
    }

    async fn refused(&self, operation: &str, input: Value) -> (&'static str, String) {
        let error = self.call(operation, input).await.expect_err("is refused");
        (error.code, error.message.unwrap_or_default())
    }

    fn stored(&self) -> Vec<String> {
        self.house
            .records("clicks")
            .into_iter()
            .map(|(_, value)| String::from_utf8_lossy(&value).into_owned())
            .collect()
    }

    async fn post(&self, target: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (u16, Value) {
        let mut request = Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (head, mut body) = request.body(body.into()).expect("a request").into_parts();
        let answer = self.firehose.deliver(&head, &mut body).await;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("is read").to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }
}

fn data(text: &str) -> Value {
    json!({ "Data": BASE64_STANDARD.encode(text) })
}

/// A delivery in the recorded form.
fn delivery(id: &str, records: &[&str]) -> String {
    let records: Vec<Value> = records.iter().map(|text| json!({ "data": BASE64_STANDARD.encode(text) })).collect();
    json!({ "requestId": id, "timestamp": 1_578_090_901_599_i64, "records": records }).to_string()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).expect("packs");
    packed.finish().expect("packs")
}

const WITH_KEY: (&str, &str) = ("x-amz-firehose-access-key", KEY);

#[tokio::test]
async fn records_put_are_on_disk_and_have_ids() {
    let door = door();
    let output = door.call("PutRecord", json!({ "DeliveryStreamName": "sales", "Record": data("one\n") })).await;
    let output = output.expect("is stored");
    assert!(output["RecordId"].as_str().is_some_and(|id| id.len() == 33) && output["Encrypted"] == json!(false));
    let records: Vec<Value> = (0..500).map(|number| data(&format!("{number}"))).collect();
    let output = door.call("PutRecordBatch", json!({ "DeliveryStreamName": "clicks", "Records": records })).await;
    let output = output.expect("is stored");
    let ids: std::collections::BTreeSet<&str> = output["RequestResponses"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|one| one["RecordId"].as_str())
        .collect();
    assert_eq!((&output["FailedPutCount"], ids.len()), (&json!(0), 500));
    let mut stored = door.stored();
    assert_eq!((stored.len(), door.firehose.counts().records()), (501, 501));
    stored.retain(|value| value != "one\n");
    let expected: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(stored, expected, "a batch keeps its order");
}

#[tokio::test]
async fn what_the_stream_does_not_take_fails_alone() {
    let door = door();
    door.house.log.stream("clicks").expect("is there").set_record_bytes_max(1_000_000).expect("is set");
    let records = json!([data("a"), data(&"x".repeat(1_000_001)), data("b")]);
    let output = door.call("PutRecordBatch", json!({ "DeliveryStreamName": "clicks", "Records": records })).await;
    let output = output.expect("is answered");
    assert_eq!(output["FailedPutCount"], json!(1));
    assert_eq!(output["RequestResponses"][1]["ErrorCode"], json!("InvalidArgumentException"));
    assert!(output["RequestResponses"][2]["RecordId"].is_string());
    assert_eq!((door.stored().len(), door.firehose.counts().failed_records()), (2, 1));
}

#[tokio::test]
async fn inputs_are_judged_as_published() {
    let door = door();
    let put = |records: Vec<Value>| json!({ "DeliveryStreamName": "clicks", "Records": records });
    let too_many = door.refused("PutRecordBatch", put(vec![data("a"); 501])).await;
    assert_eq!(too_many.0, "ValidationException");
    assert!(too_many.1.contains("at 'records' failed") && too_many.1.contains("less than or equal to 500"));
    assert!(door.refused("PutRecordBatch", put(vec![])).await.1.contains("greater than or equal to 1"));
    let large = data(&"x".repeat(1_000_000));
    let too_large = door.refused("PutRecordBatch", put(vec![large; 5])).await;
    assert_eq!(too_large, ("InvalidArgumentException", "Records size exceeds 4 MB limit".to_owned()));
    let over = json!({ "DeliveryStreamName": "clicks", "Record": data(&"x".repeat(1_024_001)) });
    let expected = "1 validation error detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1024001 cap=1024001]' at \
                    'record.data' failed to satisfy constraint: Member must have length less than or equal to 1024000";
    assert_eq!(door.refused("PutRecord", over).await, ("ValidationException", expected.to_owned()));
    let bad = put(vec![data("a"), data(&"x".repeat(1_024_002)), json!({})]);
    let expected = "2 validation errors detected: Value 'java.nio.HeapByteBuffer[pos=0 lim=1024002 cap=1024002]' at \
                    'records.2.member.data' failed to satisfy constraint: Member must have length less than or equal to \
                    1024000; Value null at 'records.3.member.data' failed to satisfy constraint: Member must not be null";
    assert_eq!(door.refused("PutRecordBatch", bad).await, ("ValidationException", expected.to_owned()));
    let unknown = json!({ "DeliveryStreamName": "other", "Record": data("a") });
    let unknown = door.refused("PutRecord", unknown).await;
    assert_eq!(
        unknown,
        ("ResourceNotFoundException", "Firehose other under account 000000000000 not found.".to_owned())
    );
    for name in ["a b", "", &"n".repeat(65)] {
        let input = json!({ "DeliveryStreamName": name, "Record": data("a") });
        assert_eq!(door.refused("PutRecord", input).await.0, "ValidationException", "{name:?}");
    }
    assert_eq!(door.refused("PutRecord", json!({})).await.0, "ValidationException");
    assert_eq!(door.refused("PutRecord", json!({ "Record": 1 })).await.0, "SerializationException");
    let create = door.refused("CreateDeliveryStream", json!({})).await;
    assert!(create.0 == "UnsupportedOperationException" && create.1.contains("[table.NAME]"), "{create:?}");
    assert_eq!(door.refused("Nonsense", json!({})).await.0, "UnknownOperationException");
    assert_eq!(door.stored().len(), 0);
}

#[tokio::test]
async fn delivery_streams_are_listed_in_pages_and_described() {
    let door = door();
    let listed = door.call("ListDeliveryStreams", json!({})).await.expect("lists");
    assert_eq!(listed, json!({ "DeliveryStreamNames": ["clicks", "sales"], "HasMoreDeliveryStreams": false }));
    let first = door.call("ListDeliveryStreams", json!({ "Limit": 1 })).await.expect("lists");
    assert_eq!(first, json!({ "DeliveryStreamNames": ["clicks"], "HasMoreDeliveryStreams": true }));
    let next = json!({ "ExclusiveStartDeliveryStreamName": "clicks" });
    assert_eq!(door.call("ListDeliveryStreams", next).await.expect("lists")["DeliveryStreamNames"], json!(["sales"]));
    let others = json!({ "DeliveryStreamType": "MSKAsSource" });
    assert_eq!(door.call("ListDeliveryStreams", others).await.expect("lists")["DeliveryStreamNames"], json!([]));
    let described = door.call("DescribeDeliveryStream", json!({ "DeliveryStreamName": "sales" })).await;
    let described = &described.expect("describes")["DeliveryStreamDescription"];
    assert_eq!(described["DeliveryStreamARN"], json!("arn:aws:firehose:us-east-1:000000000000:deliverystream/sales"));
    assert_eq!(described["DeliveryStreamStatus"], json!("ACTIVE"));
    door.firehose.set_streams(Vec::new());
    assert_eq!(
        door.refused("DescribeDeliveryStream", json!({ "DeliveryStreamName": "sales" })).await.0,
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn a_delivery_is_answered_with_its_id_once_it_is_on_disk() {
    let door = door();
    let body = delivery("ed4acda5-034f-9f42-bba1-f29aea6d7d8f", &["aGVsbG8", "hello \u{fc}", ""]);
    let headers = [
        WITH_KEY,
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
        ("x-amz-firehose-protocol-version", "1.0"),
        ("x-amz-firehose-request-id", "ed4acda5-034f-9f42-bba1-f29aea6d7d8f"),
        ("x-amz-firehose-source-arn", "arn:aws:firehose:us-east-1:123456789:deliverystream/testStream"),
        ("x-amz-firehose-common-attributes", "{\"commonAttributes\":{\"deployment-context\":\"pre-prod\"}}"),
    ];
    let (status, answer) = door.post("/firehose/clicks", &headers, gzip(body.as_bytes())).await;
    assert_eq!((status, &answer["requestId"]), (200, &json!("ed4acda5-034f-9f42-bba1-f29aea6d7d8f")));
    assert!(
        answer["timestamp"].as_i64().is_some_and(|at| at > 1_700_000_000_000) && answer.get("errorMessage").is_none()
    );
    assert_eq!(door.stored(), ["aGVsbG8", "hello \u{fc}", ""]);
    // Its answer got lost: it is sent again, and not stored again.
    let (status, _) = door.post("/firehose/clicks", &headers, gzip(body.as_bytes())).await;
    assert_eq!((status, door.stored().len(), door.firehose.counts().repeated_records()), (200, 3, 3));
    // The same id with other records is another delivery.
    let other = delivery("ed4acda5-034f-9f42-bba1-f29aea6d7d8f", &["other"]);
    let (status, _) = door.post("/firehose/clicks", &headers, gzip(other.as_bytes())).await;
    assert_eq!((status, door.stored().len()), (200, 4));
}

#[tokio::test]
async fn the_stream_is_named_by_path_query_or_attribute() {
    let door = door();
    let attributes = "{\"commonAttributes\":{\"stream\":\"sales\"}}";
    for (number, (target, headers)) in [
        ("/firehose/clicks", vec![WITH_KEY]),
        ("/firehose?stream=clicks", vec![WITH_KEY]),
        ("/firehose/", vec![WITH_KEY, ("x-amz-firehose-common-attributes", attributes)]),
    ]
    .into_iter()
    .enumerate()
    {
        let (status, answer) = door.post(target, &headers, delivery(&number.to_string(), &["x"])).await;
        assert_eq!(status, 200, "{target} {answer}");
    }
    assert_eq!(door.stored().len(), 3);
    assert_eq!(door.post("/firehose", &[WITH_KEY], delivery("a", &["x"])).await.0, 404);
    assert_eq!(door.post("/firehose/gone", &[WITH_KEY], delivery("a", &["x"])).await.0, 404);
    assert!(Firehose::is_delivery("/firehose") && Firehose::is_delivery("/firehose/a"));
    assert!(!Firehose::is_delivery("/firehoses") && !Firehose::is_delivery("/"));
}

#[tokio::test]
async fn log_lines_are_stored_as_the_collector_would() {
    let door = door();
    let body = delivery("a", &["1.5\t1.2.3.4\n", "2.5\t1.2.3.5\r\n3.5\t1.2.3.6\n\n"]);
    let (status, answer) = door.post("/firehose/clicks?format=cdn&fields=1,2", &[WITH_KEY], body).await;
    assert_eq!(status, 200, "{answer}");
    let mut records = door.house.records("clicks");
    records.sort();
    let headers = BTreeMap::from([("fields".to_owned(), "1,2".to_owned()), ("format".to_owned(), "cdn".to_owned())]);
    let marks: Vec<_> = records.iter_mut().filter_map(|(headers, _)| headers.remove("delivery")).collect();
    assert_eq!(marks.len(), 1, "the first says which delivery it is of");
    let line = |text: &str| (headers.clone(), text.as_bytes().to_vec());
    assert_eq!(records, [line("1.5\t1.2.3.4"), line("2.5\t1.2.3.5"), line("3.5\t1.2.3.6")]);
    for query in ["format=xml", "fields=1,2", "format=cdn&fields=2,1", "format=json&fields=1"] {
        let (status, _) = door.post(&format!("/firehose/clicks?{query}"), &[WITH_KEY], delivery("b", &["x"])).await;
        assert_eq!(status, 400, "{query}");
    }
}

#[tokio::test]
async fn who_has_not_the_key_is_told_so_and_nothing_is_read() {
    let door = door();
    for headers in [vec![], vec![("x-amz-firehose-access-key", "a-key-for-deliveriez")]] {
        let endless = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
        let (status, answer) = door.post("/firehose/clicks", &headers, endless).await;
        assert_eq!((status, answer["requestId"].as_str()), (401, Some("")));
        assert!(answer["errorMessage"].as_str().is_some_and(|text| !text.contains(KEY)));
    }
    let closed = door_with(FirehoseSettings::default());
    assert_eq!(closed.post("/firehose/clicks", &[WITH_KEY], delivery("a", &["x"])).await.0, 403);
    let open = door_with(FirehoseSettings { access: DeliveryAccess::Open, ..FirehoseSettings::default() });
    assert_eq!(open.post("/firehose/clicks", &[], delivery("a", &["x"])).await.0, 200);
    let page = [("origin", "https://shop.example"), ("content-type", "text/plain")];
    assert_eq!(open.post("/firehose/clicks", &page, delivery("b", &["x"])).await.0, 403);
    assert_eq!((door.stored().len(), closed.stored().len(), open.stored().len()), (0, 0, 1));
}

#[tokio::test]
async fn bodies_that_are_no_deliveries_are_refused_in_the_form_of_the_endpoint() {
    let door = door();
    let id = ("x-amz-firehose-request-id", "the-id");
    for body in [
        "",
        "[]",
        "{}",
        "{\"requestId\":\"the-id\",\"timestamp\":1}",
        "{\"requestId\":\"the-id\",\"records\":[]}",
        "{\"requestId\":\"the-id\",\"timestamp\":1,\"records\":[{}]}",
        "{\"requestId\":\"the-id\",\"timestamp\":1,\"records\":[{\"data\":\"a\"}]}",
        "{\"requestId\":\"another\",\"timestamp\":1,\"records\":[]}",
    ] {
        let (status, answer) = door.post("/firehose/clicks", &[WITH_KEY, id], body).await;
        assert_eq!((status, &answer["requestId"]), (400, &json!("the-id")), "{body}");
        assert!(answer["errorMessage"].is_string() && answer["timestamp"].is_i64(), "{answer}");
    }
    assert_eq!(door.post("/firehose/clicks", &[WITH_KEY, ("content-encoding", "br")], "x").await.0, 415);
    assert_eq!(door.post("/firehose/clicks", &[WITH_KEY, ("content-encoding", "gzip")], "x").await.0, 400);
    assert_eq!(
        door.post("/firehose/clicks", &[WITH_KEY, ("x-amz-firehose-protocol-version", "2.0")], "x").await.0,
        400
    );
    assert_eq!(door.post("/firehose/clicks", &[WITH_KEY, ("x-amz-firehose-common-attributes", "x")], "x").await.0, 400);
    assert_eq!(door.stored().len(), 0);
}

#[tokio::test]
async fn what_is_too_large_is_refused_for_good_and_holds_no_memory() {
    let door = door();
    let (status, _) = door.post("/firehose/clicks", &[WITH_KEY, ("content-length", "100663297")], "x").await;
    assert_eq!(status, 413);
    // 200 MiB of blanks in 200 KiB.
    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 2 << 20);
    let (status, _) = door.post("/firehose/clicks", &[WITH_KEY, ("content-encoding", "gzip")], bomb).await;
    assert_eq!(status, 413);
    // A record that the stream never takes.
    door.house.log.stream("clicks").expect("is there").set_record_bytes_max(1024 * 1024).expect("is set");
    let (status, _) = door.post("/firehose/clicks", &[WITH_KEY], delivery("a", &[&"x".repeat(1_048_577)])).await;
    assert_eq!(status, 413);
    let many = format!(
        "{{\"requestId\":\"a\",\"timestamp\":1,\"records\":[{}{{\"data\":\"\"}}]}}",
        "{\"data\":\"\"},".repeat(500_000)
    );
    assert_eq!(door.post("/firehose/clicks", &[WITH_KEY], many).await.0, 400);
    let lines = delivery("a", &[&"\n".repeat(4_000_000)]);
    let (status, answer) = door.post("/firehose/clicks?format=json", &[WITH_KEY], lines).await;
    assert_eq!((status, answer["errorMessage"].as_str().map(|text| text.contains("4000001 lines"))), (413, Some(true)));
    let small = door_with(FirehoseSettings {
        access: DeliveryAccess::Open,
        memory_bytes: 1 << 20,
        ..FirehoseSettings::default()
    });
    let (status, _) = small.post("/firehose/clicks", &[], delivery("a", &[&"x".repeat(700_000)])).await;
    assert_eq!(status, 429);
    assert_eq!((door.firehose.budget.used(), small.firehose.budget.used(), door.stored().len()), (0, 0, 0));
}

#[tokio::test]
async fn a_large_delivery_is_stored_in_parts_each_in_order() {
    let door = door();
    let records: Vec<String> = (0..45_000).map(|number| format!("{number:0100}")).collect();
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let body = delivery("a", &records);
    let began = Instant::now();
    let (status, _) = door.post("/firehose/clicks", &[WITH_KEY], body).await;
    assert_eq!(status, 200);
    assert!(began.elapsed() < Duration::from_secs(20));
    let mut stored = door.stored();
    stored.sort();
    assert_eq!(stored, records);
}

#[tokio::test]
async fn a_stream_that_splits_takes_records_all_the_same() {
    let door = door();
    door.house.log.ensure("clicks", &StreamSettings { shards: 8, ..StreamSettings::default() }).expect("is reshaped");
    for number in 0..20 {
        let input = json!({ "DeliveryStreamName": "clicks", "Record": data(&number.to_string()) });
        door.call("PutRecord", input).await.expect("is stored");
    }
    assert_eq!(door.firehose.counts().records(), 20);
}
