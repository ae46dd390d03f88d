//! The lake as it lies on disk, read by programs that know nothing of riverrun.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::server::{self, Server, integer};
use crate::{load, outside, turn};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deltalake_and_duckdb_read_the_same_rows_as_sql_while_the_server_runs() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(2, "1s"))?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let rows = 3_000;
    for first in (0..rows).step_by(500) {
        let body: String = (first..first + 500).map(load::event).collect();
        let (status, answer) = server.collect("events", "application/x-ndjson", body).await?;
        ensure!(status == 200, "{answer}");
    }
    server.until("select count(*) from events", i64::try_from(rows)?).await?;
    let by_hour = server.sql("select year, month, day, hour, count(*), sum(n) from events group by 1, 2, 3, 4").await?;
    let mut wanted = BTreeMap::new();
    for row in &by_hour.rows {
        let cells: Vec<i64> =
            row.iter().map(|cell| integer(cell).with_context(|| format!("{row:?}"))).collect::<Result<_>>()?;
        wanted.insert(format!("{}/{}/{}/{}", cells[0], cells[1], cells[2], cells[3]), (cells[4], cells[5]));
    }

    let table = folder.path().join("data/lake/events");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let read = loop {
        // The last rows reach the lake with the next flush.
        let read = outside::python("read_lake.py", &[&table.to_string_lossy(), "n"])?;
        if read["rows"] == rows || std::time::Instant::now() > deadline {
            break read;
        }
    };
    for reader in ["deltalake", "duckdb"] {
        let found: BTreeMap<String, (i64, i64)> = serde_json::from_value(read[reader].clone())?;
        ensure!(found == wanted, "{reader} found {found:?}, SQL {wanted:?}");
    }
    ensure!(read["distinct"] == rows, "{read}");
    server.stop()
}
