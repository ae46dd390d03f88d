//! Clients that were written for the cloud service, unchanged, through the Kinesis and Firehose doors.

use anyhow::{Result, ensure};

use crate::kinesis_door::{DELIVERY_KEY, Door, make_certificate};
use crate::server::integer;
use crate::turn;

/// A table that the Firehose door and aggregated records end in.
const TABLE: &str = r#"
[stream.events]
shards = 2

[table.events]
from = "events"
columns = { n = "integer", sender = "text" }
flush = { every = "1s", size = "64MiB" }
sql = "select event_time, n, sender from record"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_lives_through_the_life_of_a_stream() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.python("story_boto3.py", &[])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_aws_cli_lives_through_the_life_of_a_stream() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.python("story_cli.py", &[])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_sdk_lives_through_the_life_of_a_stream() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.javascript("story.mjs", &[])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_sdk_lives_through_the_life_of_a_stream() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.rust(&["story"])?;
    door.server.stop()
}

/// Written with the Rust SDK and read with the JavaScript SDK, then again after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_shards_of_a_hundred_thousand_records_are_read_in_order_and_each_once() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let rooms = "[stream.numbered]\nshards = 4\n";
    let (keys, rounds) = (1_000, 400);
    let arguments = ["numbered".to_owned(), keys.to_string(), rounds.to_string()];
    let [stream, keys_text, rounds_text] = arguments.each_ref().map(String::as_str);
    let door = Door::open(folder.path(), rooms, None)?;
    let written = door.rust(&["write", stream, keys_text, rounds_text])?;
    ensure!(written["written"] == keys * rounds, "{written}");
    let read = door.javascript("numbered.mjs", &[stream, keys_text, rounds_text])?;
    let by_shard: Vec<u64> = serde_json::from_value(read["by_shard"].clone())?;
    // Keys are spread by their hash: a fifth to a third of them on each of four shards.
    ensure!(by_shard.len() == 4 && by_shard.iter().all(|count| (80_000..130_000).contains(count)), "{read}");
    eprintln!("numbered records: {written} {read}");
    door.server.stop()
}

/// Written with boto3 while shards are split and merged, and read by the Rust SDK's subscriptions at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn splits_and_merges_during_the_writing_lose_double_and_reorder_nothing() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "[stream.numbered]\nshards = 4\n", None)?;
    let arguments = ["numbered", "500", "200"];
    let (written, read) = std::thread::scope(|threads| {
        let reading = threads.spawn(|| door.rust(&["read", arguments[0], arguments[1], arguments[2]]));
        let written = door.python("numbered.py", &[arguments[0], arguments[1], arguments[2], "12"]);
        (written, reading.join())
    });
    let written = written?;
    let read = read.map_err(|_| anyhow::anyhow!("the reading thread broke"))??;
    ensure!(written["written"] == 100_000 && read["read"] == 100_000, "{written} {read}");
    // The same stream once more from its beginning, by another client and without subscriptions.
    let again = door.javascript("numbered.mjs", &arguments)?;
    ensure!(again["read"] == 100_000, "{again}");
    eprintln!("numbered records through splits and merges: {written} {read}");
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn signatures_are_checked_in_both_forms_and_wrong_ones_change_nothing() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.python("signatures.py", &[])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cbor_means_the_same_as_json() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), "", None)?;
    door.python("cbor.py", &[])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn boto3_talks_through_tls_to_a_certificate_it_was_told_of_and_to_no_other() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let certificate = folder.path().join("tls");
    make_certificate(&certificate)?;
    let door = Door::open(folder.path(), "", Some(&certificate))?;
    door.python("tls.py", &["walk", &certificate.to_string_lossy()])?;
    door.server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn firehose_clients_and_aggregated_records_become_one_row_for_each_event() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let door = Door::open(folder.path(), TABLE, None)?;
    door.python("firehose_boto3.py", &["events", "1000"])?;
    door.javascript("firehose.mjs", &["events", "2000"])?;
    door.python("firehose_http.py", &[door.url(), "events", "3000", DELIVERY_KEY])?;
    let said = door.python("aggregated.py", &["events", "500"])?;
    ensure!(said["records"].as_u64().is_some_and(|records| records < 50), "{said}");
    door.server.until("select count(*) from events", 10 + 10 + 6 + 501).await?;
    let wanted = [("aggregated", 500, 0), ("boto3", 10, 1000), ("http", 6, 3000), ("js", 10, 2000), ("plain", 1, 500)];
    let found = door.server.sql("select sender, count(distinct n), min(n) from events group by 1 order by 1").await?;
    for (row, (sender, count, first)) in found.rows.iter().zip(wanted) {
        let (counted, least) = (integer(&row[1]), integer(&row[2]));
        ensure!(
            row[0] == sender && counted == Some(count) && least == Some(first),
            "expected {sender} {count} {first}: {row:?}"
        );
    }
    ensure!(found.rows.len() == wanted.len(), "{:?}", found.rows);
    ensure!(door.server.number("select count(*) from system.rejected").await? == 0, "something was rejected");
    door.server.stop()
}
