//! Real log lines in, and the same counts out as an independent reader finds in the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::outside;
use crate::server::{self, Server, binary, integer};
use crate::turn;

const ROOMS: &str = r#"
[stream.access]
shards = 2

[table.access]
from = "access"
format = "combined"
flush = { every = "2s", size = "64MiB" }
sql = """
select event_time, c_ip, cs_method, cs_uri_stem as path, cs_uri_query as query, sc_status as status, sc_bytes as bytes,
       cs_referer as referer, cs_user_agent as agent
from record
"""
"#;

/// What is compared: the name in the independent count, and the SQL that must agree.
const GROUPS: [(&str, &str); 4] = [
    ("status", "select cast(status as varchar), count(*) from access group by 1"),
    ("hour", "select to_char(date_trunc('hour', event_time), '%Y-%m-%d %H'), count(*) from access group by 1"),
    ("path", "select path, count(*) from access group by 1"),
    ("agent", "select coalesce(agent, '-'), count(*) from access group by 1"),
];

/// Imports `file` and compares with what DuckDB counts in it. `lines` is how many it has.
async fn import_and_compare(file: &Path, lines: i64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), ROOMS)?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let output = Command::new(binary())
        .arg("import")
        .arg(file)
        .args(["--stream", "access", "--format", "combined", "--server", &server.url()])
        .output()?;
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "import ended with {}:\n{said}", output.status);

    // The sum closes: every line is a row, or a rejected record with its bytes and a reason.
    let all =
        "select (select count(*) from access) + (select count(*) from system.rejected where \"table\" = 'access')";
    server.until(all, lines).await?;
    let rejected = server.sql("select payload, reason from system.rejected where \"table\" = 'access'").await?;
    for row in &rejected.rows {
        ensure!(row[1].as_str().is_some_and(|reason| !reason.is_empty()), "rejected without a reason: {row:?}");
    }
    let payloads: Vec<&Value> = rejected.rows.iter().map(|row| &row[0]).collect();
    let kept_out = folder.path().join("rejected.json");
    std::fs::write(&kept_out, serde_json::to_vec(&payloads)?)?;

    let counted = outside::python("count_combined.py", &[&file.to_string_lossy(), &kept_out.to_string_lossy()])?;
    ensure!(counted["lines"] == lines, "the independent reader found {} lines", counted["lines"]);
    for (name, sql) in GROUPS {
        let wanted: BTreeMap<String, i64> = serde_json::from_value(counted[name].clone())?;
        let found = groups(&server, sql).await?;
        let differences: Vec<_> = wanted
            .keys()
            .chain(found.keys())
            .filter(|key| wanted.get(*key) != found.get(*key))
            .map(|key| format!("{key:?}: counted {:?}, in SQL {:?}", wanted.get(key), found.get(key)))
            .take(10)
            .collect();
        ensure!(differences.is_empty(), "by {name}, {} lines:\n{}", lines, differences.join("\n"));
    }
    server.stop()
}

async fn groups(server: &Server, sql: &str) -> Result<BTreeMap<String, i64>> {
    let mut groups = BTreeMap::new();
    for row in server.sql(sql).await?.rows {
        let key = row[0].as_str().map_or_else(|| row[0].to_string(), str::to_owned);
        *groups.entry(key).or_default() += integer(&row[1]).with_context(|| format!("{row:?}"))?;
    }
    Ok(groups)
}

fn own_sample() -> PathBuf {
    outside::repository().join("tests/data/combined-sample.log")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_with_every_oddity_counts_as_an_independent_reader_counts_it() -> Result<()> {
    let _turn = turn::shared().await;
    let lines = std::fs::read(own_sample())?.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count();
    import_and_compare(&own_sample(), i64::try_from(lines)?).await
}

/// Runs on the 10,000 real requests where this machine has them; the sample above stands in elsewhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_real_requests_count_as_an_independent_reader_counts_them() -> Result<()> {
    let _turn = turn::shared().await;
    let Some(file) = outside::shared("data/access-combined-10k.log.gz") else { return Ok(()) };
    import_and_compare(&file, 10_000).await
}
