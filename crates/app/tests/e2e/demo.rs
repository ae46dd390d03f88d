//! `riverrun demo` as a newcomer meets it: shoppers, the ledger, the end and the second start.

use anyhow::{Result, ensure};

use crate::server::{Server, Starting};
use crate::turn;

const ARGS: [&str; 11] = [
    "demo",
    "--rate",
    "300",
    "--data",
    "data",
    "--site",
    "127.0.0.1:0",
    "--console",
    "127.0.0.1:0",
    "--kinesis",
    "127.0.0.1:0",
];

/// Waits until more than `least` clicks are in SQL.
async fn more_than(server: &Server, least: i64) -> Result<i64> {
    let sql = format!("select count(*) > {least} and count(distinct action) = 2 and bool_or(is_bot) from clicks");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        if server.sql(&sql).await?.rows[0][0] == true {
            return server.number("select count(*) from clicks").await;
        }
        ensure!(std::time::Instant::now() < deadline, "the shoppers made no more than {least} clicks in a minute");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shoppers_fill_the_dashboard_and_a_second_start_goes_on() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    let first = Starting::run(folder.path(), &ARGS)?.ready()?;
    more_than(&first, 500).await?;
    ensure!(
        first.number("select count(*) from clicks where not simulated").await? == 0,
        "a shopper is not marked as simulated"
    );
    ensure!(first.number("select sum(unaccounted) from system.ledger").await? == 0, "the ledger does not close");
    ensure!(first.number("select count(*) from system.rejected").await? == 0, "the demo rejects its own records");

    // Every tile of the dashboard must answer.
    let dashboards = first.http().get(format!("{}/api/v1/dashboards", first.url())).send().await?;
    let dashboards: serde_json::Value = dashboards.json().await?;
    let tiles = dashboards[0]["tiles"].as_array().cloned().unwrap_or_default();
    ensure!(tiles.len() >= 5, "the demo's dashboard has too few tiles: {dashboards}");
    for tile in tiles {
        let sql = tile["sql"].as_str().unwrap_or_default();
        let values = [
            ("$from", "'2020-01-01T00:00:00Z'"),
            ("$to", "'2100-01-01T00:00:00Z'"),
            ("$bucket", "'hour'"),
            ("$simulated", "true"),
            ("$bots", "true"),
        ];
        let sql = values.iter().fold(sql.to_owned(), |sql, (name, value)| sql.replace(name, value));
        ensure!(!first.sql(&sql).await?.rows.is_empty(), "the tile {} is empty", tile["title"]);
    }
    let at_the_end = first.number("select count(*) from clicks").await?;
    first.stop()?;

    let second = Starting::run(folder.path(), &ARGS)?.ready()?;
    let at_the_start = second.number("select count(*) from clicks").await?;
    ensure!(at_the_start >= at_the_end, "{at_the_start} clicks after the restart, {at_the_end} before");
    more_than(&second, at_the_start).await?;
    second.stop()
}
