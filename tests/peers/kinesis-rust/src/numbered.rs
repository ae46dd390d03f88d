//! Many keys, each counting from 0: written in batches, and read by subscription through whatever splits and merges there are,
//! parents before their children. Every key must come in order, each number once.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{
    ConsumerStatus, PutRecordsRequestEntry, ShardIteratorType, StartingPosition, SubscribeToShardEventStream,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::active;

/// Records of one request: the most the API takes.
const BATCH: usize = 500;
/// Requests on their way at once, each with keys of its own.
const WRITERS: u32 = 4;
/// A reader that sees nothing new for so long has lost something.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Writes `rounds` numbers for each of `keys` keys. A writer's next request leaves when the one before is acknowledged, so that the
/// order of a key is the order of its requests; a request has several numbers of one key when there are fewer keys than records.
pub(crate) async fn write(client: &Client, stream: &str, keys: u32, rounds: u32) -> Result<()> {
    let begun = Instant::now();
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (client, stream) = (client.clone(), stream.to_owned());
        writers.spawn(async move {
            let mine = |key: &u32| key % WRITERS == writer;
            let all: Vec<_> =
                (0..rounds).flat_map(|round| (0..keys).filter(mine).map(move |key| (key, round))).collect();
            for batch in all.chunks(BATCH) {
                send(&client, &stream, batch).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = writers.join_next().await {
        ended??;
    }
    println!(
        "{{\"written\": {}, \"seconds\": {:.1}}}",
        u64::from(keys) * u64::from(rounds),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn send(client: &Client, stream: &str, batch: &[(u32, u32)]) -> Result<()> {
    let entry = |(key, number): &(u32, u32)| {
        let data = format!(
            "{{\"key\": {key}, \"number\": {number}, \"page\": \"/products/{key}\", \"agent\": \"Mozilla/5.0\"}}"
        );
        PutRecordsRequestEntry::builder().partition_key(format!("key-{key}")).data(Blob::new(data)).build()
    };
    let entries = batch.iter().map(entry).collect::<Result<_, _>>()?;
    let answer = client.put_records().stream_name(stream).set_records(Some(entries)).send().await?;
    // Nothing here may fail: limits are off, and a shard that is split meanwhile hands over to its children.
    let failed = answer.records().iter().find(|record| record.error_code().is_some());
    ensure!(failed.is_none() && answer.failed_record_count().unwrap_or(0) == 0, "a record was refused: {failed:?}");
    ensure!(answer.records().len() == batch.len(), "{} answers for {} records", answer.records().len(), batch.len());
    Ok(())
}

/// What a shard's reader tells: the records' data, or, at the end of a closed shard, its children with their parents.
enum Told {
    Records(Vec<Vec<u8>>),
    Ended(String, Vec<(String, Vec<String>)>),
}

/// Reads until every number of every key was there, checking their order.
pub(crate) async fn read(client: &Client, stream: &str, keys: u32, rounds: u32) -> Result<()> {
    let begun = Instant::now();
    let arn = active(client, stream).await?.stream_arn().to_owned();
    let registered = client.register_stream_consumer().stream_arn(&arn).consumer_name("numbered").send().await?;
    let consumer = registered.consumer().context("a consumer")?.consumer_arn().to_owned();
    while {
        let said = client.describe_stream_consumer().consumer_arn(&consumer).send().await?;
        said.consumer_description().is_none_or(|it| *it.consumer_status() != ConsumerStatus::Active)
    } {}
    let (tell, mut told) = mpsc::channel(16);
    let follow = |shard: String| {
        let (client, consumer, tell) = (client.clone(), consumer.clone(), tell.clone());
        tokio::spawn(async move {
            if let Err(error) = subscription(&client, &consumer, shard, &tell).await {
                let _ = tell.send(Err(error)).await;
            }
        });
    };
    let shards = client.list_shards().stream_name(stream).send().await?;
    let known: HashSet<&str> = shards.shards().iter().map(|shard| shard.shard_id()).collect();
    for shard in shards.shards() {
        // A child waits for its parents to end.
        let parents = [shard.parent_shard_id(), shard.adjacent_parent_shard_id()];
        if !parents.into_iter().flatten().any(|parent| known.contains(parent)) {
            follow(shard.shard_id().to_owned());
        }
    }
    let mut next: HashMap<u32, u32> = HashMap::new();
    let (mut ended, mut begun_children) = (HashSet::new(), HashSet::new());
    let (mut waiting_children, wanted) = (Vec::new(), u64::from(keys) * u64::from(rounds));
    let mut count = 0u64;
    while count < wanted {
        let said = tokio::time::timeout(SILENCE_MAX, told.recv()).await;
        match said
            .with_context(|| format!("silence after {count} of {wanted} records"))?
            .context("the readers ended")??
        {
            Told::Records(records) => {
                for record in records {
                    let (key, number) = numbers(&record)?;
                    let expected = next.entry(key).or_default();
                    ensure!(number == *expected, "key {key}: expected number {expected}, found {number}");
                    *expected += 1;
                    count += 1;
                }
            }
            Told::Ended(shard, children) => {
                ended.insert(shard);
                waiting_children.extend(children);
                for (child, parents) in &waiting_children {
                    if parents.iter().all(|parent| ended.contains(parent)) && begun_children.insert(child.clone()) {
                        follow(child.clone());
                    }
                }
            }
        }
    }
    let short: Vec<_> = (0..keys).filter(|key| next.get(key) != Some(&rounds)).take(5).collect();
    ensure!(short.is_empty(), "keys without all their numbers: {short:?}");
    client.deregister_stream_consumer().consumer_arn(&consumer).send().await?;
    println!(
        "{{\"read\": {count}, \"ended_shards\": {}, \"seconds\": {:.1}}}",
        ended.len(),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Follows one shard from its beginning to its end, if it has one.
async fn subscription(client: &Client, consumer: &str, shard: String, tell: &mpsc::Sender<Result<Told>>) -> Result<()> {
    let from = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build()?;
    let asked = client.subscribe_to_shard().consumer_arn(consumer).shard_id(&shard).starting_position(from);
    let mut events = asked.send().await.with_context(|| format!("subscribing to {shard}"))?.event_stream;
    while let Some(event) = events.recv().await? {
        let SubscribeToShardEventStream::SubscribeToShardEvent(event) = event else {
            bail!("an event of another kind: {event:?}")
        };
        let records: Vec<_> = event.records().iter().map(|record| record.data().clone().into_inner()).collect();
        if !records.is_empty() && tell.send(Ok(Told::Records(records))).await.is_err() {
            return Ok(());
        }
        if !event.child_shards().is_empty() {
            let child =
                |it: &aws_sdk_kinesis::types::ChildShard| (it.shard_id().to_owned(), it.parent_shards().to_vec());
            let _ = tell.send(Ok(Told::Ended(shard, event.child_shards().iter().map(child).collect()))).await;
            return Ok(());
        }
    }
    // Subscriptions live five minutes; a run is shorter.
    bail!("the subscription to {shard} ended and named no children")
}

/// Key and number of a record's data.
fn numbers(data: &[u8]) -> Result<(u32, u32)> {
    let text = std::str::from_utf8(data)?;
    let number = |name: &str| {
        let rest = text.split_once(name).with_context(|| format!("no {name} in {text}"))?.1;
        Ok::<u32, anyhow::Error>(rest.split_once(',').context("a comma")?.0.parse()?)
    };
    Ok((number("\"key\": ")?, number("\"number\": ")?))
}
