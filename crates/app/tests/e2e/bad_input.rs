//! What must be refused, each with a clear answer, nothing lost, no panic.

use std::io::Write;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::server::{self, Server, answer_of, binary};
use crate::{load, turn};

/// That an answer is an error as documented: the status, `{"error": {"kind", "message", "remedy"}}`, and words in it.
fn refused(what: &str, found: &(u16, Value), status: u16, words: &[&str]) -> Result<()> {
    let error = &found.1["error"];
    ensure!(found.0 == status, "{what}: answered {}, not {status}: {}", found.0, found.1);
    for part in ["kind", "message", "remedy"] {
        ensure!(error[part].as_str().is_some_and(|text| !text.is_empty()), "{what}: no {part} in {}", found.1);
    }
    let text = error.to_string().to_lowercase();
    for word in words {
        ensure!(text.contains(&word.to_lowercase()), "{what}: nothing about {word:?} in {error}");
    }
    Ok(())
}

async fn started() -> Result<(tempfile::TempDir, Server)> {
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(1, "1s"))?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    Ok((folder, server))
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes)?;
    Ok(packed.finish()?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_collector_refuses_what_it_cannot_keep_and_says_why() -> Result<()> {
    let _turn = turn::shared().await;
    let (_folder, server) = started().await?;
    let json = "application/json";

    refused("unknown stream", &server.collect("nosuch", json, load::event(0)).await?, 404, &["nosuch"])?;
    refused("broken JSON", &server.collect("events", json, "{\"n\": 1,").await?, 400, &[])?;
    refused("a number instead of an object", &server.collect("events", json, "17").await?, 400, &[])?;
    let (status, answer) = server.collect("events", json, "").await?;
    ensure!(status == 200 && answer["accepted"] == 0, "nothing is no mistake, and no record: {status}: {answer}");
    let oversize = format!("{{\"n\":1,\"seal\":\"{}\"}}", "x".repeat(64 << 20));
    refused("oversize", &server.collect("events", json, oversize).await?, 413, &[])?;

    let post = |body: Vec<u8>| {
        let url = format!("{}/collect/events", server.url());
        server.http().post(url).header("content-type", json).header("content-encoding", "gzip").body(body)
    };
    let whole = gzip(load::event(1).as_bytes())?;
    let mut broken = whole.clone();
    broken.truncate(whole.len() / 2);
    refused("half a gzip", &answer_of(post(broken)).await?, 400, &["gzip"])?;
    refused("no gzip at all", &answer_of(post(b"plain text".to_vec())).await?, 400, &["gzip"])?;
    // Small on the wire, large once inflated: refused for what it becomes, before it is held in memory.
    let bomb = gzip(&vec![b' '; 256 << 20])?;
    refused("a gzip bomb", &answer_of(post(bomb)).await?, 413, &[])?;

    // Good lines beside bad ones are kept, and the answer says which were not.
    let mixed = format!("{}not json\n{}", load::event(0), load::event(1));
    let (status, answer) = server.collect("events", "application/x-ndjson", mixed).await?;
    ensure!(status == 200 && answer["accepted"] == 2 && answer["rejected_count"] == 1, "{status}: {answer}");
    ensure!(answer["rejected"][0]["index"] == 1 && answer["rejected"][0]["reason"].is_string(), "{answer}");
    let (status, answer) = answer_of(post(gzip(load::event(2).as_bytes())?)).await?;
    ensure!(status == 200 && answer["accepted"] == 1, "{status}: {answer}");

    server.until("select count(*) from events", 3).await?;
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_the_wrong_type_is_rejected_with_its_bytes_and_the_rest_goes_on() -> Result<()> {
    let _turn = turn::shared().await;
    let (_folder, server) = started().await?;
    let bad = "{\"n\":\"a word\",\"seal\":\"x\"}";
    let body = format!("{}{bad}\n{}", load::event(0), load::event(1));
    let (status, answer) = server.collect("events", "application/x-ndjson", body).await?;
    ensure!(status == 200 && answer["accepted"] == 3, "well-formed JSON belongs on the stream: {status}: {answer}");

    server.until("select count(*) from events", 2).await?;
    server.until("select count(*) from system.rejected where \"table\" = 'events'", 1).await?;
    let rejected = server.sql("select payload, reason, stream, \"offset\" from system.rejected").await?;
    let row = rejected.rows.first().context("one rejected record")?;
    ensure!(row[0] == json!(bad), "its bytes: {row:?}");
    ensure!(row[1].as_str().is_some_and(|reason| reason.contains('n')), "its reason names the column: {row:?}");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_that_writes_and_sql_with_mistakes_is_refused_with_the_place() -> Result<()> {
    let _turn = turn::shared().await;
    let (folder, server) = started().await?;
    let (_, answer) = server.collect("events", "application/json", load::event(0)).await?;
    ensure!(answer["accepted"] == 1, "{answer}");
    server.until("select count(*) from events", 1).await?;

    let copied = folder.path().join("copied.csv");
    let copy = format!("copy (select * from events) to '{}'", copied.display());
    let external = format!("create external table t stored as parquet location '{}'", folder.path().display());
    for sql in [
        "insert into events values (now(), 1, 'x')",
        "delete from events",
        "update events set n = 2",
        "drop table events",
        "create table t as select 1",
        "create view v as select 1",
        "set datafusion.execution.batch_size = 1",
        "select 1; drop table events",
        copy.as_str(),
        external.as_str(),
    ] {
        let found = server.ask(sql).await?;
        refused(sql, &found, 400, &[])?;
    }
    ensure!(!copied.exists(), "a file was written");
    for (sql, line, words) in [
        ("select nosuch from events", 1, &["nosuch"][..]),
        ("select n\nfrom evnts", 2, &["evnts"][..]),
        ("select n\nfrom events\nwhere n >", 3, &[][..]),
    ] {
        let found = server.ask(sql).await?;
        refused(sql, &found, 400, words)?;
        ensure!(found.1["error"]["line"] == line, "{sql}: the place is wrong: {}", found.1);
        ensure!(found.1["error"]["column"].as_u64().is_some_and(|column| column > 0), "{sql}: no column: {}", found.1);
    }
    ensure!(server.number("select count(*) from events").await? == 1, "still one row");
    server.stop()
}

/// Ten mistakes of ten kinds; each is told once, with its line, its key and a remedy.
const TEN_MISTAKES: &str = r#"data = "data"

[console]
listen = "127.0.0.1"

[edge.shop]
listen = "0.0.0.0:8080"
root = 7
rot = "shop/"

[edge.shop.log]
stream = "clikcs"
sampling_rate = 250
fields = ["timestamp", "c-pi"]

[stream.clicks]
shards = 0
retention = "7 weeks"

[table.clicks]
from = "clicks"
flush = { every = "ten" }
sql = "select nosuch( from record"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_with_ten_mistakes_is_told_all_ten_at_once() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("riverrun.toml"), TEN_MISTAKES)?;
    for command in ["check", "serve"] {
        let output = Command::new(binary()).args([command, "riverrun.toml"]).current_dir(folder.path()).output()?;
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(!output.status.success(), "{command} accepted it:\n{said}");
        ensure!(!said.contains("panicked"), "{said}");
        for (line, key) in [
            (4, "console.listen"),
            (8, "edge.shop.root"),
            (9, "edge.shop.rot"),
            (12, "edge.shop.log.stream"),
            (13, "edge.shop.log.sampling_rate"),
            (14, "edge.shop.log.fields"),
            (17, "stream.clicks.shards"),
            (18, "stream.clicks.retention"),
            (22, "table.clicks.flush.every"),
            (23, "table.clicks.sql"),
        ] {
            let told = said.lines().any(|told| told.contains(&format!("{line}:")) && told.contains(key));
            ensure!(told, "{command} says nothing of {key} on line {line}:\n{said}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_commands_say_plainly_what_is_wrong() -> Result<()> {
    let _turn = turn::shared().await;
    let (folder, server) = started().await?;
    let url = server.url();
    let cases: [(&[&str], &[&str]); 5] = [
        (&["import", "nosuch.log", "--stream", "events", "--format", "combined", "--server", &url], &["nosuch.log"]),
        (&["import", "riverrun.toml", "--stream", "nosuch", "--format", "ndjson", "--server", &url], &["nosuch"]),
        (&["sql", "select nosuch", "--server", &url], &["nosuch"]),
        (&["sql", "select 1", "--server", "http://127.0.0.1:1"], &["127.0.0.1:1"]),
        (&["serve", "nosuch.toml"], &["nosuch.toml"]),
    ];
    for (args, words) in cases {
        let output = Command::new(binary()).args(args).current_dir(folder.path()).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{args:?} ended well");
        ensure!(!said.contains("panicked"), "{args:?}:\n{said}");
        for word in words {
            ensure!(said.contains(word), "{args:?} says nothing of {word}:\n{said}");
        }
    }
    server.stop()
}
