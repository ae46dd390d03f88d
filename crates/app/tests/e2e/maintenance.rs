//! Small files are made into large ones while records come in, and the runs can be asked about in SQL.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::server::{self, Server};
use crate::{load, outside, turn};

/// Small files of one hour that are surely worth a compaction.
const SMALL_FILES: u64 = 24;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_files_are_compacted_and_the_run_is_a_row() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let rooms = format!("{}\n[lake]\nmaintain_every = \"1s\"\n", load::rooms(1, "100ms"));
    server::write_file(folder.path(), &rooms)?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut sent = 0;
    let sql = "select count(*) from system.runs where \"table\" = 'events' and kind = 'compaction' and files_after < files_before";
    while server.number(sql).await? == 0 || sent < SMALL_FILES {
        let (status, answer) = server.collect("events", "application/json", load::event(sent)).await?;
        ensure!(status == 200, "{answer}");
        sent += 1;
        // One flush, one small file.
        server.until(&format!("select count(*) from events where n = {}", sent - 1), 1).await?;
        tokio::time::sleep(Duration::from_millis(150)).await;
        ensure!(Instant::now() < deadline, "no compaction in {SMALL_FILES} flushes and a minute and a half");
    }
    let run = server.sql("select files_before, files_after, bytes_before, bytes_after, duration_ms from system.runs where kind = 'compaction'").await?;
    ensure!(run.rows.iter().flatten().all(|cell| !cell.is_null()), "a run says what it did: {run:?}");

    // The rows are the same, for us and for others.
    server.until("select count(*) from events", i64::try_from(sent)?).await?;
    server.until("select count(distinct n) from events", i64::try_from(sent)?).await?;
    server.stop()?;
    let read = outside::python("read_lake.py", &[&folder.path().join("data/lake/events").to_string_lossy(), "n"])?;
    ensure!(read["rows"] == sent && read["distinct"] == sent, "{read}");
    Ok(())
}
