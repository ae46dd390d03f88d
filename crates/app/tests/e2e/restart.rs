//! Ctrl-C, and the start after it.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::load;
use crate::server::{self, Server};
use crate::turn;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_goes_on_where_the_first_stopped() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(2, "10m"))?;

    let first = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let body: String = (0..1_000).map(load::event).collect();
    let (status, answer) = first.collect("events", "application/x-ndjson", body).await?;
    ensure!(status == 200 && answer["accepted"] == 1_000, "{status}: {answer}");
    // Ctrl-C at once: what is acknowledged and not yet delivered must be drained or taken up again.
    first.stop()?;

    let second = Server::serve(folder.path(), "riverrun.toml", &[])?;
    second.until("select count(*) from events", 1_000).await?;
    let body: String = (1_000..1_500).map(load::event).collect();
    let (status, answer) = second.collect("events", "application/x-ndjson", body).await?;
    ensure!(status == 200 && answer["accepted"] == 500, "{status}: {answer}");
    second.until("select count(distinct n) from events", 1_500).await?;
    second.until("select count(*) from events", 1_500).await?;
    second.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_end_leaves_everything_in_the_lake() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(1, "10m"))?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let body: String = (0..200).map(load::event).collect();
    server.collect("events", "application/x-ndjson", body).await?;
    server.until("select count(*) from events", 200).await?;
    server.stop()?;

    let table = folder.path().join("data/lake/events");
    let read = crate::outside::python("read_lake.py", &[&table.to_string_lossy(), "n"])?;
    ensure!(read["rows"] == 200, "the lake alone, read by others: {read}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_encrypted_stream_on_demand_is_read_again_after_a_kill_and_tells_nothing_on_disk() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let encrypted = "[encryption]\nkey_file = \"keys\"\n\n[stream.events]\nmode = \"on-demand\"\nencryption = true\n";
    server::write_file(folder.path(), &load::rooms(4, "10m").replace("[stream.events]\n", encrypted))?;
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "8f".repeat(32))?;
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o600))?;

    let first = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let body: String = (0..1_000).map(load::event).collect();
    let (status, answer) = first.collect("events", "application/x-ndjson", body).await?;
    ensure!(status == 200 && answer["accepted"] == 1_000, "{status}: {answer}");
    first.kill()?;

    let (mut bytes, mut segments) = (0, 0);
    for shard in std::fs::read_dir(folder.path().join("data/stream/events"))? {
        let shard = shard?.path();
        for file in shard.is_dir().then(|| std::fs::read_dir(&shard)).transpose()?.into_iter().flatten() {
            let file = file?.path();
            let held = std::fs::read(&file)?;
            ensure!(!held.windows(6).any(|part| part == b"\"seal\""), "{} can be read", file.display());
            segments += u32::from(file.extension().is_some_and(|extension| extension == "log"));
            bytes += held.len();
        }
    }
    ensure!(segments > 0 && bytes > 30_000, "{bytes} bytes in {segments} segments are not what was sent");

    let second = Server::serve(folder.path(), "riverrun.toml", &[])?;
    second.until("select count(distinct n) from events", 1_000).await?;
    second.until("select count(*) from events", 1_000).await?;
    second.stop()?;

    // With another key, and nothing in the lake yet: nobody waits for what will never come.
    std::fs::write(&keys, "1d".repeat(32))?;
    std::fs::remove_dir_all(folder.path().join("data/lake"))?;
    let third = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let picture = format!("{}/api/v1/streams/events", third.url());
    let told = async {
        loop {
            let (_, picture) = server::answer_of(third.http().get(&picture)).await?;
            if picture["reading"][0]["state"] == "stopped" {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.context("the table is not told to have stopped")??;
    third.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_never_share_one_data_folder() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(1, "10s"))?;
    let first = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let second = Server::serve(folder.path(), "riverrun.toml", &[]);
    ensure!(second.is_err(), "a second server started on the same data folder");
    first.stop()
}
