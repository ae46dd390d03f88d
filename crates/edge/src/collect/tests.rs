use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{CollectCounts, CollectLimits, Collector};
use crate::serve::{ServeLimits, listen, serve};
use crate::tests::reshaping::each_once_and_in_order;
use crate::tests::{Answer, Client, House};
use crate::{Token, TokenSource};

struct Door {
    house: House,
    address: SocketAddr,
    counts: Arc<CollectCounts>,
    _stop: tokio_util::sync::DropGuard,
}

fn door(limits: CollectLimits) -> Door {
    let house = House::new();
    let collector = Collector::new(house.log.clone(), limits);
    let counts = collector.counts();
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    tokio::spawn(serve(listener, collector.routes(), ServeLimits::default(), stop.clone()));
    Door { house, address, counts, _stop: stop.drop_guard() }
}

impl Door {
    async fn post(&self, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        Client::to(self.address).await.post(target, headers, body).await
    }

    fn payloads(&self) -> Vec<String> {
        let mut payloads: Vec<String> = self
            .house
            .records("clicks")
            .into_iter()
            .map(|(_, payload)| String::from_utf8_lossy(&payload).into_owned())
            .collect();
        payloads.sort();
        payloads
    }
}

fn json(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).expect("packs");
    encoder.finish().expect("packs")
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");
const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn objects_arrays_and_lines_become_records_with_their_own_bytes() {
    let door = door(CollectLimits::default());
    for (headers, body, accepted) in [
        (vec![JSON], &b"{ \"a\" : 1.50 }"[..], 1),
        (vec![JSON], b"[{\"b\":1},\n {\"b\":2}]", 2),
        (vec![NDJSON], b"{\"c\":1}\n\n{\"c\":2}\n", 2),
        (vec![("content-type", "text/plain")], b"{\"d\":1}", 1),
        (vec![], b"{\"e\":1}\n{\"e\":2}", 2),
        (vec![NDJSON], b"", 0),
        (vec![JSON], b"[]", 0),
    ] {
        let answer = door.post("/collect/clicks", &headers, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.text(), format!("{{\"accepted\":{accepted},\"rejected\":[],\"rejected_count\":0}}"));
    }
    assert_eq!(
        door.payloads(),
        ["{ \"a\" : 1.50 }", "{\"b\":1}", "{\"b\":2}", "{\"c\":1}", "{\"c\":2}", "{\"d\":1}", "{\"e\":1}", "{\"e\":2}"]
    );
    assert!(door.house.records("clicks").iter().all(|(headers, _)| headers.is_empty()), "JSON needs no header");
    assert_eq!(door.counts.accepted(), 8);
}

#[tokio::test]
async fn what_was_accepted_is_on_disk_before_the_answer() {
    let door = door(CollectLimits::default());
    let mut client = Client::to(door.address).await;
    for number in 1..=50 {
        let answer = client.post("/collect/clicks", &[JSON], format!("{{\"n\":{number}}}")).await;
        assert_eq!(json(&answer)["accepted"], 1);
        assert_eq!(door.house.records("clicks").len(), number);
    }
}

#[tokio::test]
async fn wrong_records_are_named_and_the_others_are_taken() {
    let door = door(CollectLimits::default());
    let answer = door.post("/collect/clicks", &[NDJSON], "{\"a\":1}\n{\"a\":\n42\n{\"a\":2}").await;
    assert_eq!(answer.status, 200);
    let said = json(&answer);
    assert_eq!((&said["accepted"], &said["rejected_count"]), (&2.into(), &2.into()));
    assert_eq!(said["rejected"][0]["index"], 1);
    assert!(said["rejected"][0]["reason"].as_str().expect("text").contains("column 5"), "{said}");
    assert_eq!(said["rejected"][1]["reason"], "expected a JSON object, found a number");
    assert_eq!(door.payloads(), ["{\"a\":1}", "{\"a\":2}"]);

    let answer = door.post("/collect/clicks", &[NDJSON], "1\n2\n").await;
    assert_eq!((answer.status, &json(&answer)["rejected_count"]), (400, &2.into()));
    assert_eq!(json(&answer)["error"]["kind"], "invalid");
    assert_eq!((door.counts.accepted(), door.counts.rejected()), (2, 4));
}

#[tokio::test]
async fn bad_requests_get_a_clear_answer_and_store_nothing() {
    let door = door(CollectLimits { body_bytes_max: 10_000, inflated_bytes_max: 100_000, ..CollectLimits::default() });
    let bomb = gzip(&vec![b' '; 1_000_000]);
    let mut cut = gzip(b"{\"a\":1}\n{\"a\":2}\n");
    cut.truncate(cut.len() - 9);
    for (target, headers, body, status, says) in [
        ("/collect/nowhere", vec![JSON], b"{}".to_vec(), 404, "there is no stream \"nowhere\""),
        ("/collect/clicks", vec![JSON], b"{\"a\":1,\n\"b\":]".to_vec(), 400, "line 2, column 5"),
        ("/collect/clicks", vec![JSON], b"[{\"a\":1},{]".to_vec(), 400, "line 1, column 11"),
        ("/collect/clicks", vec![JSON], vec![b' '; 10_001], 413, "larger than 10000 bytes"),
        ("/collect/clicks", vec![NDJSON, ("content-encoding", "gzip")], bomb, 413, "inflates to more than 100000"),
        ("/collect/clicks", vec![NDJSON, ("content-encoding", "gzip")], cut, 400, "gzip body is broken"),
        ("/collect/clicks", vec![NDJSON, ("content-encoding", "gzip")], b"{}".to_vec(), 400, "gzip body is broken"),
        ("/collect/clicks", vec![NDJSON, ("content-encoding", "zstd")], b"{}".to_vec(), 415, "zstd"),
        ("/collect/clicks?format=csv", vec![], b"{}".to_vec(), 400, "\"csv\" is no format"),
        ("/collect/clicks?format=cdn&fields=5,1", vec![], b"x".to_vec(), 400, "no list of field numbers"),
        ("/collect/clicks?fields=1", vec![], b"{}".to_vec(), 400, "fields go with format=cdn"),
        ("/collect/clicks?format=cdn&key=a", vec![], b"x".to_vec(), 400, "a key can be taken from JSON only"),
        ("/collect/clicks?colour=red", vec![], b"{}".to_vec(), 400, "\"colour\" is no parameter"),
    ] {
        let answer = door.post(target, &headers, &body).await;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        let said = json(&answer);
        let message = said["error"]["message"].as_str().expect("a message");
        assert!(message.contains(says), "{target}: {message}");
        assert!(!said["error"]["remedy"].as_str().expect("a remedy").is_empty());
    }
    let answer = Client::to(door.address).await.get("/collect/clicks").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
    assert_eq!(door.payloads(), Vec::<String>::new());
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_too() {
    let door = door(CollectLimits { body_bytes_max: 10_000, ..CollectLimits::default() });
    let mut client = Client::to(door.address).await;
    client.send("POST /collect/clicks HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for _ in 0..11 {
        client.send(format!("3e8\r\n{}\r\n", "x".repeat(1000))).await;
    }
    assert_eq!(client.answer(true).await.status, 413);
}

#[tokio::test]
async fn gzip_is_inflated() {
    let door = door(CollectLimits::default());
    let lines: String = (0..50_000).map(|number| format!("{{\"number\":{number}}}\n")).collect();
    let answer = door.post("/collect/clicks", &[NDJSON, ("content-encoding", "gzip")], gzip(lines.as_bytes())).await;
    assert_eq!(json(&answer)["accepted"], 50_000, "{}", answer.text());
    assert_eq!(door.house.records("clicks").len(), 50_000);
}

#[tokio::test]
async fn raw_lines_keep_their_format_and_fields() {
    let door = door(CollectLimits::default());
    let combined = "1.2.3.4 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"x\"";
    door.post("/collect/clicks?format=combined", &[], format!("{combined}\r\n\r\n")).await;
    door.post("/collect/clicks?format=cdn&fields=1,2,5", &[], "1.5\t1.2.3.4\t200\n").await;
    let mut records = door.house.records("clicks");
    records.sort();
    assert_eq!(records[0].1, b"1.5\t1.2.3.4\t200");
    assert_eq!((records[0].0["format"].as_str(), records[0].0["fields"].as_str()), ("cdn", "1,2,5"));
    assert_eq!((records[1].0["format"].as_str(), records[1].1.as_slice()), ("combined", combined.as_bytes()));
}

#[tokio::test]
async fn records_of_one_key_share_a_shard() {
    let door = door(CollectLimits::default());
    let body: String = (0..1000).map(|number| format!("{{\"user\":\"u{}\",\"n\":{number}}}\n", number % 10)).collect();
    assert_eq!(json(&door.post("/collect/clicks?key=user", &[NDJSON], body).await)["accepted"], 1000);
    let stream = door.house.log.stream("clicks").expect("a stream");
    let mut shards = std::collections::HashMap::new();
    for shard in (0..stream.shards()).map(base::ShardId) {
        let fetched = stream.fetch(shard, base::Offset::ZERO, 1 << 20).expect("can be read");
        assert!(!fetched.is_empty(), "ten users reach both shards");
        for record in fetched.records() {
            let key = record.expect("is whole").key.expect("a key").to_vec();
            assert_eq!(stream.shard_for(Some(&key)), shard);
            assert_eq!(*shards.entry(key).or_insert(shard), shard);
        }
    }
    assert_eq!(shards.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_come_while_shards_change_are_stored_once_and_in_the_order_of_their_key() {
    let door = door(CollectLimits::default());
    let post = async |records: Vec<(String, usize)>| {
        let line = |(key, number): (String, usize)| format!("{{\"user\":\"{key}\",\"n\":{number}}}\n");
        let count = records.len();
        let body: String = records.into_iter().map(line).collect();
        let answer = door.post("/collect/clicks?key=user", &[NDJSON], body).await;
        assert_eq!(json(&answer)["accepted"], count, "{}", answer.text());
    };
    let number =
        |value: &[u8]| serde_json::from_slice::<Value>(value).expect("JSON")["n"].as_u64().expect("a number") as usize;
    let stream = door.house.log.stream("clicks").expect("a stream");
    each_once_and_in_order(&stream, 5_000, post, number).await;
}

#[tokio::test]
async fn who_finds_no_memory_is_told_to_come_back() {
    let door = door(CollectLimits { memory_bytes_max: 10_000, ..CollectLimits::default() });
    let answer = door.post("/collect/clicks", &[NDJSON], "{\"a\":1}\n".repeat(5_000)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, "1"), "{}", answer.text());
    assert_eq!(json(&answer)["error"]["kind"], "throttled");
    assert_eq!(door.counts.throttled(), 1);
    assert_eq!(door.post("/collect/clicks", &[NDJSON], "{\"a\":1}\n").await.status, 200, "the share was given back");
}

#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let door = door(CollectLimits { body_time: Duration::from_millis(200), ..CollectLimits::default() });
    let mut client = Client::to(door.address).await;
    client.send("POST /collect/clicks HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n{").await;
    assert_eq!(client.answer(true).await.status, 408);
}

#[tokio::test]
async fn a_closed_log_is_told_with_the_place_to_go_on_from() {
    let door = door(CollectLimits::default());
    door.house.log.close();
    let answer = door.post("/collect/clicks", &[NDJSON], "{\"a\":1}\n{\"a\":2}\n").await;
    let said = json(&answer);
    assert_eq!((answer.status, &said["accepted"], &said["next"]), (503, &0.into(), &0.into()), "{said}");
    assert_eq!((door.counts.accepted(), door.counts.not_stored()), (0, 2));
}

#[tokio::test]
async fn a_public_door_wants_its_token_and_only_its_streams() {
    let house = House::new();
    house.log.ensure("private", &stream::StreamSettings::default()).expect("a stream");
    let mut settings = house.settings();
    settings.collect = vec!["clicks".to_owned()];
    settings.log = None;
    settings.collect_token = Some(TokenSource::Here(Token::new("0123456789abcdef").expect("long enough")));
    let edge = house.start(settings).await;
    let mut client = Client::to(edge.local_addr()).await;
    let token = ("authorization", "Bearer 0123456789abcdef");
    for headers in [vec![], vec![("authorization", "Bearer 0123456789abcdeX")]] {
        let answer = Client::to(edge.local_addr()).await.post("/collect/clicks", &headers, "{}").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    }
    assert_eq!(client.post("/collect/clicks", &[token], "{\"a\":1}").await.status, 200);
    assert_eq!(client.post("/collect/private", &[token], "{\"a\":1}").await.status, 404);
    assert_eq!(client.get("/collect/clicks").await.status, 405);
    let counts = edge.collect_counts().expect("a collector");
    edge.stop().await;
    assert_eq!((counts.accepted(), house.records("clicks").len()), (1, 1));
}

#[tokio::test]
async fn a_token_file_that_is_missing_or_too_short_stops_the_start() {
    let house = House::new();
    let start = |file: &str| {
        let mut settings = house.settings();
        settings.collect = vec!["clicks".to_owned()];
        settings.collect_token = Some(TokenSource::File(house.path().join(file)));
        crate::Edge::start(settings, house.log.clone(), Arc::new(base::SystemClock))
    };
    house.put("short", "abc\n");
    house.put("good", "0123456789abcdef\n");
    for file in ["short", "missing"] {
        assert!(matches!(start(file).await, Err(crate::StartError::Token { .. })), "{file}");
    }
    start("good").await.expect("starts").stop().await;
}
