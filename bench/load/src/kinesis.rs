//! A Kinesis door: PutRecords, PutRecord, SubscribeToShard, GetRecords.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::http::{Body, Connection};
use crate::{Asked, Due, Mode, Tally, Times, on_time, payload, prepared, rate, records_of, stamped};

/// Different bodies of PutRecords, made before the clock starts.
const BODIES: u64 = 16;
/// Connections of the open loop: HTTP/1.1 carries one request at a time.
const SENDERS: usize = 64;
/// A connection that rested for longer may have been closed by the server.
const REST_MAX: Duration = Duration::from_secs(8);
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records<'a> {
    #[serde(borrow)]
    records: Vec<Record<'a>>,
    #[serde(default)]
    next_shard_iterator: Option<&'a str>,
    millis_behind_latest: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record<'a> {
    #[serde(borrow)]
    data: &'a str,
}

pub(crate) async fn run(asked: &Asked) -> Result<Value> {
    match asked.mode {
        Mode::Publish => publish(asked).await,
        Mode::Latency => latency(asked).await,
        Mode::Read => read(asked).await,
    }
}

fn body(value: &Value) -> Body {
    Body::new(value.to_string())
}

async fn ask(connection: &mut Connection, operation: &str, value: &Value) -> Result<Value> {
    let answer = connection.call(operation, &body(value)).await?;
    Ok(if answer.is_empty() { Value::Null } else { serde_json::from_slice(&answer)? })
}

/// Makes the stream anew.
async fn fresh(asked: &Asked, connection: &mut Connection) -> Result<()> {
    let name = json!({ "StreamName": asked.stream });
    let deadline = Instant::now() + WAIT_MAX;
    let gone = json!({ "StreamName": asked.stream, "EnforceConsumerDeletion": true });
    connection.ask("DeleteStream", &body(&gone)).await?;
    while connection.ask("DescribeStream", &body(&name)).await?.0 == 200 {
        ensure!(Instant::now() < deadline, "the stream of the last run is still there");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ask(connection, "CreateStream", &json!({ "StreamName": asked.stream, "ShardCount": asked.shards })).await?;
    loop {
        let said = ask(connection, "DescribeStream", &name).await?;
        if said["StreamDescription"]["StreamStatus"] == "ACTIVE" {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the stream is not ACTIVE");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn publish(asked: &Asked) -> Result<Value> {
    fresh(asked, &mut Connection::open(&asked.address).await?).await?;
    let put = |number: u64| {
        let record = |at: u64| json!({ "PartitionKey": format!("key {}", number * 1000 + at), "Data": STANDARD.encode(payload(asked.size, at)) });
        let records: Vec<Value> = (0..asked.window as u64).map(record).collect();
        body(&json!({ "StreamName": asked.stream, "Records": records }))
    };
    let bodies: Arc<Vec<Body>> = Arc::new((0..BODIES).map(put).collect());
    let tally = Tally::new(asked.seconds);
    let mut connections = JoinSet::new();
    for number in 0..asked.connections {
        let (bodies, tally, address, window) = (bodies.clone(), tally.clone(), asked.address.clone(), asked.window);
        connections.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            for body in bodies.iter().cycle().skip(number) {
                if tally.over() {
                    break;
                }
                let answer = connection.call("PutRecords", body).await?;
                ensure!(
                    !answer.windows(11).any(|part| part == b"\"ErrorCode\""),
                    "a record was refused: {}",
                    String::from_utf8_lossy(&answer[..answer.len().min(400)])
                );
                tally.add(window);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(tally.report(asked))
}

/// Connections that were used once, and now wait.
async fn idle(asked: &Asked) -> Result<Vec<Connection>> {
    let mut held = Vec::new();
    let question = body(&json!({ "Limit": 1 }));
    for _ in 0..asked.idle {
        let mut connection = Connection::open(&asked.address).await?;
        connection.call("ListStreams", &question).await?;
        held.push(connection);
    }
    Ok(held)
}

async fn latency(asked: &Asked) -> Result<Value> {
    let mut connection = Connection::open(&asked.address).await?;
    fresh(asked, &mut connection).await?;
    let held = idle(asked).await?;
    let said = ask(&mut connection, "DescribeStreamSummary", &json!({ "StreamName": asked.stream })).await?;
    let arn = &said["StreamDescriptionSummary"]["StreamARN"];
    let said =
        ask(&mut connection, "RegisterStreamConsumer", &json!({ "StreamARN": arn, "ConsumerName": "bench" })).await?;
    let consumer = said["Consumer"]["ConsumerARN"].clone();
    let deadline = Instant::now() + WAIT_MAX;
    while ask(&mut connection, "DescribeStreamConsumer", &json!({ "ConsumerARN": consumer })).await?["ConsumerDescription"]
        ["ConsumerStatus"]
        != "ACTIVE"
    {
        ensure!(Instant::now() < deadline, "the consumer is not ACTIVE");
    }
    let shards = ask(&mut connection, "ListShards", &json!({ "StreamName": asked.stream })).await?;
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut readers = JoinSet::new();
    // With a thousand shards, records go to the first alone, and its reader is the one that counts.
    let first_only = asked.shards > 16;
    let watched = if first_only { 1 } else { asked.shards as usize };
    let subscribed: Vec<_> = shards["Shards"].as_array().context("shards")?.iter().take(watched).collect();
    for shard in subscribed {
        let wish = json!({ "ConsumerARN": consumer, "ShardId": shard["ShardId"], "StartingPosition": { "Type": "TRIM_HORIZON" } });
        let mut connection = Connection::open(&asked.address).await?;
        connection.subscribe(&body(&wish)).await?;
        readers.spawn(follow(connection, tell.clone()));
    }
    let filler = payload(asked.size, 3);
    let messages = prepared(asked, |due| {
        let key = format!("key {}", due.as_nanos());
        let data = STANDARD.encode(stamped(&filler, due));
        let mut record = json!({ "StreamName": asked.stream, "PartitionKey": key, "Data": data });
        if first_only {
            record["ExplicitHashKey"] = "0".into();
        }
        connection.request("PutRecord", &body(&record))
    });
    let times = Times::new(asked)?;
    let (send, mut due) = mpsc::unbounded_channel::<Due>();
    let (pool, taken) = (Arc::new(Pool::of(&asked.address)), times.clone());
    let sending = tokio::spawn(async move {
        let mut sending = JoinSet::new();
        while let Some((at, request)) = due.recv().await {
            let (pool, times) = (pool.clone(), taken.clone());
            sending.spawn(async move {
                let mut connection = pool.take().await?;
                connection.put(&request).await?;
                times.acknowledged(at);
                pool.give_back(connection);
                anyhow::Ok(())
            });
            while let Some(ended) = sending.try_join_next() {
                ended??;
            }
        }
        while let Some(ended) = sending.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    });
    let got = times.clone();
    let count = records_of(asked);
    let counting = tokio::spawn(async move {
        for _ in 0..count {
            let (value, at): (Vec<u8>, Instant) = told.recv().await.context("the readers ended")?;
            got.got_at(&value, at);
        }
        anyhow::Ok(())
    });
    on_time(messages, &times, send).await?;
    sending.await??;
    tokio::time::timeout(WAIT_MAX, counting).await.context("records are missing at the reader")???;
    drop(held);
    let mut report = times.report(asked);
    report["idle"] = asked.idle.into();
    report["shards"] = asked.shards.into();
    Ok(report)
}

/// Connections that carry one request each, as the pools of all SDKs keep them: that which was used last is taken first, and more
/// are opened as they are needed.
struct Pool {
    address: String,
    resting: Mutex<Vec<(Connection, Instant)>>,
    most: Semaphore,
}

impl Pool {
    fn of(address: &str) -> Self {
        Self { address: address.to_owned(), resting: Mutex::default(), most: Semaphore::new(SENDERS) }
    }

    async fn take(&self) -> Result<Connection> {
        self.most.acquire().await?.forget();
        let last = self.resting.lock().expect("nobody panics with it").pop();
        match last {
            Some((connection, since)) if since.elapsed() < REST_MAX => Ok(connection),
            _ => Connection::open(&self.address).await,
        }
    }

    fn give_back(&self, connection: Connection) {
        self.resting.lock().expect("nobody panics with it").push((connection, Instant::now()));
        self.most.add_permits(1);
    }
}

/// Tells every record of a subscription and when its frame had come.
async fn follow(mut connection: Connection, tell: mpsc::UnboundedSender<(Vec<u8>, Instant)>) -> Result<()> {
    let mut bytes: Vec<u8> = Vec::new();
    while let Some(chunk) = connection.chunk().await? {
        bytes.extend(chunk);
        let now = Instant::now();
        while let Some(payload) = frame(&mut bytes) {
            if payload.len() > 2 {
                let event: Records<'_> = serde_json::from_slice(&payload)?;
                for record in event.records {
                    if tell.send((STANDARD.decode(record.data)?, now)).is_err() {
                        return Ok(());
                    }
                }
            }
        }
    }
    Ok(())
}

/// The payload of the first whole frame: total length, length of the headers, a checksum, headers, payload, a checksum.
fn frame(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?) as usize);
    let (total, headers) = (number(0)?, number(4)?);
    let payload = bytes.get(..total)?[12 + headers..total - 4].to_vec();
    bytes.drain(..total);
    Some(payload)
}

async fn read(asked: &Asked) -> Result<Value> {
    let mut connection = Connection::open(&asked.address).await?;
    let shards = ask(&mut connection, "ListShards", &json!({ "StreamName": asked.stream })).await?;
    let begun = Instant::now();
    let mut readers = JoinSet::new();
    for shard in shards["Shards"].as_array().context("shards")? {
        let wish =
            json!({ "StreamName": asked.stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON" });
        let address = asked.address.clone();
        readers.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let said = ask(&mut connection, "GetShardIterator", &wish).await?;
            let mut place = said["ShardIterator"].as_str().context("an iterator")?.to_owned();
            let mut count = 0;
            loop {
                let answer = connection.call("GetRecords", &body(&json!({ "ShardIterator": place }))).await?;
                let answer: Records<'_> = serde_json::from_slice(&answer)?;
                count += answer.records.len() as u64;
                match answer.next_shard_iterator {
                    Some(next) if !answer.records.is_empty() || answer.millis_behind_latest != Some(0) => {
                        place = next.to_owned()
                    }
                    _ => return anyhow::Ok(count),
                }
            }
        });
    }
    let mut count = 0;
    while let Some(ended) = readers.join_next().await {
        count += ended??;
    }
    Ok(rate(asked, count, begun.elapsed()))
}
