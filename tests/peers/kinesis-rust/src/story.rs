//! Create, put, list, describe, iterate, subscribe, split, merge, count, tags, retention, delete.

use std::collections::BTreeSet;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{
    ConsumerStatus, PutRecordsRequestEntry, Record, ScalingType, Shard, ShardFilter, ShardFilterType,
    ShardIteratorType, StartingPosition, StreamMode, SubscribeToShardEventStream,
};

use crate::{WAIT_MAX, active};

const NAME: &str = "story-rust";
/// The first hash of the upper half.
const HALF: u128 = 1 << 127;

/// Fails with what was expected and what came.
macro_rules! expect {
    ($found:expr, $wanted:expr, $($what:tt)+) => {
        let (found, wanted) = (&$found, &$wanted);
        ensure!(found == wanted, "{}: expected {wanted:?}, found {found:?}", format!($($what)+));
    };
}

pub(crate) async fn walk(client: &Client) -> Result<()> {
    let begun = SystemTime::now() - std::time::Duration::from_secs(2);
    create(client).await?;
    let put = put(client).await?;
    iterate(client, &put, begun).await?;
    let consumer = subscribe(client, &put).await?;
    reshard(client, &put).await?;
    label(client).await?;
    delete(client, &consumer).await?;
    println!("{{\"done\": \"{NAME}\"}}");
    Ok(())
}

/// What was put into the first shard: sequence number and data.
type Put = Vec<(String, Vec<u8>)>;

async fn create(client: &Client) -> Result<()> {
    client.create_stream().stream_name(NAME).shard_count(2).send().await?;
    let summary = active(client, NAME).await?;
    expect!(summary.open_shard_count(), 2, "open shards");
    expect!(summary.retention_period_hours(), 24, "retention");
    let again = client.create_stream().stream_name(NAME).shard_count(2).send().await;
    let error = again.err().context("a stream was created twice")?.into_service_error();
    ensure!(error.is_resource_in_use_exception(), "creating it again was refused with {error:?}");
    let listed = client.list_streams().send().await?;
    ensure!(listed.stream_names().iter().any(|name| name == NAME), "not listed: {:?}", listed.stream_names());
    let described = client.describe_stream().stream_name(NAME).send().await?;
    let stream = described.stream_description().context("a description")?;
    expect!(stream.stream_mode_details().map(|it| it.stream_mode()), Some(&StreamMode::Provisioned), "mode");
    expect!(ranges(stream.shards())?, vec![(0, HALF - 1), (HALF, u128::MAX)], "ranges");
    let missing = client.describe_stream().stream_name("story-rust-none").send().await;
    let error = missing.err().context("a stream that nobody made was described")?.into_service_error();
    ensure!(error.is_resource_not_found_exception(), "an unknown stream was refused with {error:?}");
    Ok(())
}

async fn put(client: &Client) -> Result<Put> {
    let one = client.put_record().stream_name(NAME).partition_key("a").explicit_hash_key("0").data(Blob::new("one"));
    let said = one.send().await?;
    expect!(said.shard_id(), "shardId-000000000000", "the shard of hash 0");
    let mut put = vec![(said.sequence_number().to_owned(), b"one".to_vec())];
    let entries = (0..40u8).map(|number| {
        let hash = if number % 2 == 0 { HALF - 1 } else { HALF };
        let data = Blob::new(vec![number; 100]);
        PutRecordsRequestEntry::builder().partition_key("b").explicit_hash_key(hash.to_string()).data(data).build()
    });
    let answer =
        client.put_records().stream_name(NAME).set_records(Some(entries.collect::<Result<_, _>>()?)).send().await?;
    expect!(answer.failed_record_count().unwrap_or(0), 0, "failed records");
    expect!(answer.records().len(), 40, "answers");
    for (number, said) in (0..40u8).zip(answer.records()) {
        let shard = if number % 2 == 0 { "shardId-000000000000" } else { "shardId-000000000001" };
        expect!(said.shard_id(), Some(shard), "the shard of record {number}");
        if number % 2 == 0 {
            put.push((said.sequence_number().context("a sequence number")?.to_owned(), vec![number; 100]));
        }
    }
    Ok(put)
}

async fn iterate(client: &Client, put: &Put, begun: SystemTime) -> Result<()> {
    let at =
        |kind| client.get_shard_iterator().stream_name(NAME).shard_id("shardId-000000000000").shard_iterator_type(kind);
    let third = &put[3].0;
    let kinds = [
        (at(ShardIteratorType::TrimHorizon), 0),
        (at(ShardIteratorType::AtSequenceNumber).starting_sequence_number(third), 3),
        (at(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(third), 4),
        (at(ShardIteratorType::AtTimestamp).timestamp(DateTime::from(begun)), 0),
        (at(ShardIteratorType::Latest), put.len()),
    ];
    for (asked, skipped) in kinds {
        let asked = asked.send().await?;
        let read = client.get_records().shard_iterator(asked.shard_iterator().context("an iterator")?).send().await?;
        expect!(contents(read.records()), put[skipped..].to_vec(), "records after {skipped}");
        expect!(read.millis_behind_latest(), Some(0), "how far behind");
        ensure!(read.next_shard_iterator().is_some(), "an open shard gave no next iterator");
    }
    Ok(())
}

/// Gives the consumer's ARN.
async fn subscribe(client: &Client, put: &Put) -> Result<String> {
    let arn = active(client, NAME).await?.stream_arn().to_owned();
    let registered = client.register_stream_consumer().stream_arn(&arn).consumer_name("reader").send().await?;
    let consumer = registered.consumer().context("a consumer")?.consumer_arn().to_owned();
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let said = client.describe_stream_consumer().consumer_arn(&consumer).send().await?;
        let said = said.consumer_description().context("a consumer")?;
        if *said.consumer_status() == ConsumerStatus::Active {
            break;
        }
        ensure!(tokio::time::Instant::now() < deadline, "the consumer is still {}", said.consumer_status());
    }
    let from = StartingPosition::builder().r#type(ShardIteratorType::TrimHorizon).build()?;
    let subscribed = client.subscribe_to_shard().consumer_arn(&consumer).shard_id("shardId-000000000000");
    let mut events = subscribed.starting_position(from).send().await?.event_stream;
    let mut read = Vec::new();
    while read.len() < put.len() + 1 {
        let Some(SubscribeToShardEventStream::SubscribeToShardEvent(event)) = events.recv().await? else {
            bail!("the subscription ended after {} records", read.len());
        };
        read.extend(contents(event.records()));
        ensure!(!event.continuation_sequence_number().is_empty(), "no place to continue");
        if read.len() == put.len() && event.records().last().is_some() {
            let late =
                client.put_record().stream_name(NAME).partition_key("a").explicit_hash_key("0").data(Blob::new("late"));
            late.send().await?;
        }
    }
    expect!(read[..put.len()], put[..], "what the subscription gave");
    expect!(read[put.len()].1, b"late".to_vec(), "what was pushed");
    Ok(consumer)
}

async fn reshard(client: &Client, put: &Put) -> Result<()> {
    let split = client.split_shard().stream_name(NAME).shard_to_split("shardId-000000000000");
    split.new_starting_hash_key((HALF / 2).to_string()).send().await?;
    active(client, NAME).await?;
    let open = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build()?;
    let shards = client.list_shards().stream_name(NAME).shard_filter(open.clone()).send().await?;
    expect!(ranges(shards.shards())?, vec![(0, HALF / 2 - 1), (HALF / 2, HALF - 1), (HALF, u128::MAX)], "ranges");
    let from = client.get_shard_iterator().stream_name(NAME).shard_id("shardId-000000000000");
    let from = from.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await?;
    let mut place = from.shard_iterator().map(str::to_owned);
    let (mut read, mut children) = (0, BTreeSet::new());
    while let Some(iterator) = place {
        let answer = client.get_records().shard_iterator(iterator).send().await?;
        read += answer.records().len();
        children.extend(answer.child_shards().iter().map(|child| child.shard_id().to_owned()));
        place = answer.next_shard_iterator().map(str::to_owned);
    }
    expect!(read, put.len() + 1, "records of the closed shard");
    let wanted = ["shardId-000000000002", "shardId-000000000003"].map(str::to_owned);
    expect!(children, BTreeSet::from(wanted.clone()), "its children");

    let merge = client.merge_shards().stream_name(NAME).shard_to_merge(&wanted[0]).adjacent_shard_to_merge(&wanted[1]);
    merge.send().await?;
    active(client, NAME).await?;
    let shards = client.list_shards().stream_name(NAME).shard_filter(open).send().await?;
    expect!(ranges(shards.shards())?, vec![(0, HALF - 1), (HALF, u128::MAX)], "ranges");
    let count = client.update_shard_count().stream_name(NAME).target_shard_count(4);
    let answer = count.scaling_type(ScalingType::UniformScaling).send().await?;
    expect!(answer.target_shard_count(), Some(4), "the target");
    expect!(active(client, NAME).await?.open_shard_count(), 4, "open shards");
    Ok(())
}

async fn label(client: &Client) -> Result<()> {
    client.add_tags_to_stream().stream_name(NAME).tags("team", "shop").tags("tier", "1").send().await?;
    client.remove_tags_from_stream().stream_name(NAME).tag_keys("tier").send().await?;
    let tags = client.list_tags_for_stream().stream_name(NAME).send().await?;
    let tags: Vec<_> = tags.tags().iter().map(|tag| (tag.key(), tag.value())).collect();
    expect!(tags, vec![("team", Some("shop"))], "tags");
    client.increase_stream_retention_period().stream_name(NAME).retention_period_hours(48).send().await?;
    expect!(active(client, NAME).await?.retention_period_hours(), 48, "retention");
    client.decrease_stream_retention_period().stream_name(NAME).retention_period_hours(24).send().await?;
    expect!(active(client, NAME).await?.retention_period_hours(), 24, "retention");
    let wrong = client.decrease_stream_retention_period().stream_name(NAME).retention_period_hours(12).send().await;
    let error = wrong.err().context("a retention of 12 hours was taken")?.into_service_error();
    ensure!(error.is_invalid_argument_exception(), "12 hours were refused with {error:?}");
    Ok(())
}

async fn delete(client: &Client, consumer: &str) -> Result<()> {
    client.deregister_stream_consumer().consumer_arn(consumer).send().await?;
    client.delete_stream().stream_name(NAME).enforce_consumer_deletion(true).send().await?;
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        match client
            .describe_stream_summary()
            .stream_name(NAME)
            .send()
            .await
            .map_err(|error| error.into_service_error())
        {
            Err(error) if error.is_resource_not_found_exception() => return Ok(()),
            Err(error) => bail!("describing a stream that is being deleted was refused with {error:?}"),
            Ok(_) => ensure!(tokio::time::Instant::now() < deadline, "the stream is still there"),
        }
    }
}

fn contents(records: &[Record]) -> Put {
    records.iter().map(|it| (it.sequence_number().to_owned(), it.data().clone().into_inner())).collect()
}

/// The ranges of shards, from the lowest.
fn ranges(shards: &[Shard]) -> Result<Vec<(u128, u128)>> {
    let range = |shard: &Shard| {
        let range = shard.hash_key_range().context("a shard without a range")?;
        Ok((range.starting_hash_key().parse()?, range.ending_hash_key().parse()?))
    };
    let mut ranges = shards.iter().map(range).collect::<Result<Vec<_>>>()?;
    ranges.sort_unstable();
    Ok(ranges)
}
