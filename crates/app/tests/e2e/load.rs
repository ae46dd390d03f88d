//! Writers that keep a server busy and remember exactly what it acknowledged.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::delivery::Sender;
use crate::server::{Server, integer};

/// Most records of one request.
const BATCH_MAX: u64 = 40;
/// How long a writer that was refused waits before it tries again.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);
/// What a client shows to a Kinesis door that has no keys: the form of a signature.
pub(crate) const UNSIGNED: &str = "AWS4-HMAC-SHA256 Credential=AKID/20200101/us-east-1/kinesis/aws4_request, \
                                   SignedHeaders=host;x-amz-date, Signature=00";
/// Rows asked for at once when everything is read back; below every row limit.
const PAGE: i64 = 5_000;

/// What was sent so far and what of it was acknowledged. Every record carries a number of its own.
#[derive(Default)]
pub(crate) struct Sent {
    next: AtomicU64,
    acknowledged: Mutex<Vec<u64>>,
    stop: AtomicBool,
}

/// What is wrong with the table afterwards. Empty is what we want.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: usize,
    pub(crate) rows: usize,
    /// Acknowledged, and not in the table.
    pub(crate) lost: Vec<u64>,
    /// In the table more than once.
    pub(crate) doubled: Vec<u64>,
    /// In the table, and never sent, or not as it was sent.
    pub(crate) invented: Vec<u64>,
}

impl Verdict {
    pub(crate) fn clean(&self) -> bool {
        self.lost.is_empty() && self.doubled.is_empty() && self.invented.is_empty()
    }
}

/// A text that belongs to `number` and to no other, so that a mangled record shows.
fn seal(number: u64) -> String {
    format!("{:016x}", (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29))
}

/// One record as it is sent.
pub(crate) fn event(number: u64) -> String {
    format!("{{\"n\":{number},\"seal\":\"{}\"}}\n", seal(number))
}

impl Sent {
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::SeqCst)
    }

    /// Reserves the numbers of one request.
    pub(crate) fn reserve(&self, count: u64) -> std::ops::Range<u64> {
        let first = self.next.fetch_add(count, Ordering::SeqCst);
        first..first + count
    }

    pub(crate) fn acknowledge(&self, numbers: impl IntoIterator<Item = u64>) {
        self.acknowledged.lock().expect("no writer panics while it holds the list").extend(numbers);
    }

    pub(crate) fn acknowledged(&self) -> Vec<u64> {
        self.acknowledged.lock().expect("no writer panics while it holds the list").clone()
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Where records go in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doors {
    console: SocketAddr,
    kinesis: SocketAddr,
}

impl Doors {
    /// Those of a running server.
    pub(crate) fn of(server: &Server) -> Result<Self> {
        Ok(Self { console: server.console(), kinesis: server.kinesis()? })
    }
}

/// Starts `writers` that send to `stream` wherever `doors` says, until [`Sent::stop`]: by turns one that posts to the collector,
/// one that puts records through the Kinesis door, and one that delivers to the Firehose endpoint.
/// At the first two a request without an answer is not sent again: its records may be there or not, but never twice. A sender of
/// deliveries sends it again until it is answered, also to the next server, and is given back in the end with what it still holds.
pub(crate) fn start(
    sent: &Arc<Sent>,
    stream: &'static str,
    writers: u64,
    seed: u64,
    doors: &watch::Receiver<Option<Doors>>,
) -> JoinSet<Option<Sender>> {
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let (sent, mut doors) = (sent.clone(), doors.clone());
        let mut random = StdRng::seed_from_u64(seed ^ (writer + 1).wrapping_mul(0x2545_F491_4F6C_DD1D));
        let mut sender = (writer % 3 == 2).then(|| Sender::new(stream));
        running.spawn(async move {
            let client = client();
            while !sent.stop.load(Ordering::SeqCst) {
                let Some(Doors { console, kinesis }) = *doors.borrow_and_update() else {
                    if doors.changed().await.is_err() {
                        return sender;
                    }
                    continue;
                };
                let count = random.random_range(1..=BATCH_MAX);
                let taken = if let Some(sender) = &mut sender {
                    sender.turn(&client, kinesis, &sent, &mut random, count).await
                } else {
                    let numbers = sent.reserve(count);
                    let acknowledged = if writer % 3 == 0 {
                        let all = post(&client, console, stream, numbers.clone()).await;
                        if all { numbers.collect() } else { Vec::new() }
                    } else {
                        put(&client, kinesis, stream, numbers).await
                    };
                    let any = !acknowledged.is_empty();
                    sent.acknowledge(acknowledged);
                    any
                };
                if !taken {
                    tokio::time::sleep(REFUSED_PAUSE).await;
                }
            }
            sender
        });
    }
    running
}

/// What writers send with.
pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_secs(20)).build().expect("a client needs no file")
}

/// Whether the whole request was acknowledged.
async fn post(client: &reqwest::Client, address: SocketAddr, stream: &str, numbers: std::ops::Range<u64>) -> bool {
    let count = numbers.end - numbers.start;
    let body: String = numbers.map(event).collect();
    let url = format!("http://{address}/collect/{stream}");
    let answer = client.post(url).header("content-type", "application/x-ndjson").body(body).send().await;
    let Ok(response) = answer else { return false };
    if response.status() != 200 {
        return false;
    }
    // A 200 that was cut off in its body still says that the records are on disk, but not how many.
    match response.json::<serde_json::Value>().await {
        Ok(answer) => answer["accepted"].as_u64() == Some(count),
        Err(_) => false,
    }
}

/// Puts records through the Kinesis door, and tells those that it acknowledged: each for itself.
async fn put(client: &reqwest::Client, door: SocketAddr, stream: &str, numbers: std::ops::Range<u64>) -> Vec<u64> {
    let record = |number| json!({ "Data": BASE64_STANDARD.encode(event(number)), "PartitionKey": number.to_string() });
    let records: Vec<Value> = numbers.clone().map(record).collect();
    let request = client
        .post(format!("http://{door}/"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "Kinesis_20131202.PutRecords")
        .header("x-amz-date", "20200101T000000Z")
        .header("authorization", UNSIGNED)
        .body(json!({ "StreamName": stream, "Records": records }).to_string());
    let Ok(response) = request.send().await else { return Vec::new() };
    if response.status() != 200 {
        return Vec::new();
    }
    // An answer that was cut off says that all were stored, or that some were not, but not which.
    let Ok(answer) = response.json::<Value>().await else { return Vec::new() };
    let results = answer["Records"].as_array().map(Vec::as_slice).unwrap_or_default();
    numbers.zip(results).filter(|(_, result)| result["SequenceNumber"].is_string()).map(|(number, _)| number).collect()
}

/// Reads the whole table `events` back and judges it.
pub(crate) async fn judge(server: &Server, sent: &Sent) -> Result<Verdict> {
    let mut acknowledged = sent.acknowledged();
    acknowledged.sort_unstable();
    let next = i64::try_from(sent.next())?;
    let mut seen: Vec<u32> = vec![0; usize::try_from(next)?];
    let mut verdict = Verdict { acknowledged: acknowledged.len(), ..Verdict::default() };
    // What has no number, or one that was never given out, cannot be found page by page.
    let strangers = format!("select count(*) from events where n is null or n < 0 or n >= {next}");
    verdict.invented.extend(std::iter::repeat_n(u64::MAX, usize::try_from(server.number(&strangers).await?)?));
    let mut first = 0;
    while first < next {
        let last = (first + PAGE).min(next);
        let sql = format!(
            "select n, seal, count(*) as copies from events where n >= {first} and n < {last} group by n, seal order by n, seal"
        );
        for row in server.sql(&sql).await?.rows {
            let (Some(number), Some(copies)) = (integer(&row[0]), integer(&row[2])) else {
                anyhow::bail!("{sql} gave the row {row:?}")
            };
            let number = u64::try_from(number)?;
            if row[1].as_str() != Some(&seal(number)) {
                verdict.invented.push(number);
            }
            seen[usize::try_from(number)?] += u32::try_from(copies)?;
        }
        first = last;
    }
    verdict.rows = seen.iter().map(|copies| *copies as usize).sum();
    verdict.lost = acknowledged.iter().copied().filter(|number| seen[*number as usize] == 0).collect();
    verdict.doubled = (0..).zip(&seen).filter(|(_, copies)| **copies > 1).map(|(number, _)| number).collect();
    Ok(verdict)
}

/// The rooms of the file that these tests run: a collector's stream and a table that takes the events as they are.
pub(crate) fn rooms(shards: u32, flush_every: &str) -> String {
    format!(
        r#"
[kinesis]
listen = "127.0.0.1:0"

[stream.events]
shards = {shards}

[table.events]
from = "events"
columns = {{ n = "integer", seal = "text" }}
flush = {{ every = "{flush_every}", size = "64MiB" }}
sql = "select event_time, n, seal from record"
"#
    )
}
