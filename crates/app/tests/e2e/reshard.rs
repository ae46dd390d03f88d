//! Shards split and merged through the Kinesis door while records pour in and the process is killed: nothing is lost,
//! doubled or out of its place in the ledger.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kill::{self, setting};
use crate::load::{self, Doors, Sent};
use crate::server::{self, Server, Starting};
use crate::turn;

/// Rounds of one run, unless `RIVERRUN_KILLS` says otherwise. Each ends with a kill.
const ROUNDS: u32 = 8;

/// The load's rooms with the door, and a table that shows from which shard a row came.
fn rooms() -> String {
    load::rooms(2, "1s").replace("select event_time, n, seal", "select event_time, n, seal, shard")
}

/// Asks the Kinesis door; gives status and answer.
async fn ask(server: &Server, operation: &str, input: &Value) -> Result<(u16, Value)> {
    let request = server
        .http()
        .post(format!("http://{}/", server.kinesis()?))
        .header("content-type", "application/x-amz-json-1.1")
        .header("authorization", load::UNSIGNED)
        .header("x-amz-date", "20200101T000000Z")
        .header("x-amz-target", format!("Kinesis_20131202.{operation}"))
        .body(input.to_string());
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
}

/// Open shards as (number, first hash, last hash), in the order of their hashes.
async fn open_shards(server: &Server) -> Result<Vec<(String, u128, u128)>> {
    let (status, listed) = ask(server, "ListShards", &json!({ "StreamName": "events" })).await?;
    ensure!(status == 200, "ListShards answered {status}: {listed}");
    let shards = listed["Shards"].as_array().context("ListShards lists shards")?;
    let mut open = Vec::new();
    for shard in shards.iter().filter(|shard| shard["SequenceNumberRange"]["EndingSequenceNumber"].is_null()) {
        let hash = |key: &str| shard["HashKeyRange"][key].as_str().and_then(|text| text.parse::<u128>().ok());
        let id = shard["ShardId"].as_str().context("a shard has an id")?.to_owned();
        open.push((id, hash("StartingHashKey").context("a hash")?, hash("EndingHashKey").context("a hash")?));
    }
    open.sort_by_key(|(_, start, _)| *start);
    Ok(open)
}

/// Splits or merges some shard; gives whether the server did.
async fn change(server: &Server, random: &mut StdRng) -> Result<bool> {
    let open = open_shards(server).await?;
    let at = random.random_range(0..open.len());
    let (operation, input) = if open.len() < 2 || (open.len() < 8 && random.random_bool(0.5)) {
        let (id, start, end) = &open[at];
        let cut = start + (end - start) / random.random_range(2..5u128) + 1;
        ("SplitShard", json!({ "StreamName": "events", "ShardToSplit": id, "NewStartingHashKey": cut.to_string() }))
    } else {
        let at = at.min(open.len() - 2);
        let (one, other) = (&open[at].0, &open[at + 1].0);
        ("MergeShards", json!({ "StreamName": "events", "ShardToMerge": one, "AdjacentShardToMerge": other }))
    };
    let (status, answer) = ask(server, operation, &input).await?;
    ensure!(status == 200 || status == 400, "{operation} answered {status}: {answer}");
    Ok(status == 200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_split_and_merged_under_load_and_kills_lose_and_double_nothing() -> Result<()> {
    let _turn = turn::alone().await;
    let (rounds, seed) = (setting("RIVERRUN_KILLS", ROUNDS), setting("RIVERRUN_SEED", 4567));
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &rooms())?;
    let mut random = StdRng::seed_from_u64(seed);
    let (door, at) = watch::channel(None);
    let sent = Arc::new(Sent::default());
    let writers = load::start(&sent, "events", 4, seed, &at);
    let mut changes = 0;
    for _ in 0..rounds {
        let server = Starting::run(folder.path(), &["serve", "riverrun.toml"])?.ready()?;
        door.send_replace(Some(Doors::of(&server)?));
        for _ in 0..random.random_range(1..6) {
            changes += u32::from(change(&server, &mut random).await?);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
        }
        server.kill()?;
        door.send_replace(None);
    }
    sent.stop();
    drop(door);
    writers.join_all().await;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let verdict = kill::settled(&server, &sent).await?;
    ensure!(verdict.clean(), "after {rounds} rounds and {changes} changes with seed {seed}: {verdict:?}");
    ensure!(changes >= rounds, "too few changes to mean anything: {changes}");
    let closes = "select count(*) from system.ledger where unaccounted = 0 and in_flight = 0 and received = delivered";
    server.until(closes, 1).await?;
    let shards = server.number("select count(distinct shard) from events").await?;
    ensure!(shards > 2, "only {shards} shards have rows");
    eprintln!(
        "{changes} changes, {rounds} kills, seed {seed}: {} acknowledged, {} rows, {shards} shards",
        verdict.acknowledged, verdict.rows
    );
    server.stop()?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let verdict = load::judge(&server, &sent).await?;
    ensure!(verdict.clean(), "from the lake alone: {verdict:?}");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declared_stream_cannot_be_deleted_through_the_door_and_one_made_there_is_measured() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &rooms())?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let (status, answer) = ask(&server, "DeleteStream", &json!({ "StreamName": "events" })).await?;
    ensure!(status == 400, "a declared stream was deleted: {status} {answer}");
    let (status, answer) = ask(&server, "CreateStream", &json!({ "StreamName": "other", "ShardCount": 2 })).await?;
    ensure!(status == 200, "CreateStream answered {status}: {answer}");
    let metrics = server.http().get(format!("{}/metrics", server.url())).send().await?.text().await?;
    ensure!(metrics.contains("riverrun_stream_shards{stream=\"other\"} 2"), "a stream made now is not measured");
    server.stop()
}

/// `riverrun stream …` against the server; what it printed.
fn stream(server: &Server, args: &[&str]) -> Result<String> {
    let run = Command::new(server::binary()).arg("stream").args(args).args(["--server", &server.url()]).output()?;
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    ensure!(run.status.success(), "riverrun stream {args:?}: {out}{err}");
    Ok(out.into_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_are_seen_and_changed_from_the_command_line() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &rooms())?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let sent: String = (0..10).map(load::event).collect();
    let (status, answer) = server.collect("events", "application/x-ndjson", sent).await?;
    ensure!(status == 200, "the collector answered {status}: {answer}");
    ensure!(
        stream(&server, &["list"])?.contains("events  provisioned       2       10"),
        "{}",
        stream(&server, &["list"])?
    );
    let split = stream(&server, &["split", "events", "0"])?;
    ensure!(split.contains("events: provisioned, 3 open shards, 1 closed, 10 records"), "{split}");
    stream(&server, &["merge", "events", "2", "3"])?;
    let reshaped = stream(&server, &["reshape", "events", "5"])?;
    ensure!(reshaped.contains("events: provisioned, 5 open shards"), "{reshaped}");
    server.until("select received from system.ledger where unaccounted = 0 and in_flight = 0", 10).await?;
    let described: Value = serde_json::from_str(&stream(&server, &["describe", "events", "--json"])?)?;
    ensure!(described["reading"][0]["name"] == "events", "{described}");
    let planned = Command::new(server::binary())
        .args(["stream", "plan", "--record-size", "2KiB", "--records-per-second", "12000", "--json"])
        .output()?;
    let planned: Value = serde_json::from_slice(&planned.stdout)?;
    let of_the_server =
        server.http().get(format!("{}/api/v1/plan?record_bytes=2048&records_per_second=12000", server.url()));
    let of_the_server: Value = of_the_server.send().await?.json().await?;
    ensure!(planned == of_the_server && planned["shards"] == 24, "{planned}\n{of_the_server}");
    server.stop()
}
