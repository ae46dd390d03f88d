//! One SQL over history and now: while batches are posted and the tail is flushed again and again, every query sees each
//! record exactly once, and never less than the one before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::sync::watch;

use crate::load::{self, Doors, Sent};
use crate::server::{self, Server, integer};
use crate::turn;

/// Long enough for several flushes at the shortest interval.
const LOADED_FOR: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_during_flushes_see_every_record_exactly_once() -> Result<()> {
    let _turn = turn::shared().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(1, "1s"))?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;

    let (door, at) = watch::channel(Some(Doors::of(&server)?));
    let sent = Arc::new(Sent::default());
    // One writer that waits for each answer: numbers arrive in order, so that a hole would show in the middle.
    let writers = load::start(&sent, "events", 1, 3, &at);

    let started = Instant::now();
    let (mut seen, mut queries) = (0, 0);
    while started.elapsed() < LOADED_FOR {
        let acknowledged_before = i64::try_from(sent.acknowledged().len())?;
        let answer = server.sql("select count(*), count(distinct n), coalesce(max(n) + 1, 0) from events").await?;
        let [rows, distinct, beyond] = [0, 1, 2].map(|column| integer(&answer.rows[0][column]).unwrap_or(-1));
        ensure!(rows == distinct, "{rows} rows, but {distinct} records: some were seen twice");
        ensure!(rows == beyond, "{rows} rows, but the last number is {}: a hole", beyond - 1);
        ensure!(rows >= seen, "{rows} rows after {seen} were seen before");
        // Acknowledged is on disk; the tail follows within the freshness that is promised, not instantly.
        ensure!(rows <= acknowledged_before + i64::try_from(sent.next())?, "more rows than were ever sent");
        seen = rows;
        queries += 1;
        let unaccounted = server.number("select unaccounted from system.ledger where \"table\" = 'events'").await?;
        ensure!(unaccounted == 0, "the ledger does not close: {unaccounted} records are nowhere");
    }
    sent.stop();
    drop(door);
    writers.join_all().await;
    ensure!(queries > 20, "only {queries} queries ran: the test saw too little");

    server.until("select count(*) from events", i64::try_from(sent.acknowledged().len())?).await?;
    let verdict = load::judge(&server, &sent).await?;
    ensure!(verdict.clean(), "{verdict:?}");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_is_in_sql_within_a_second_of_its_acknowledgement() -> Result<()> {
    let _turn = turn::alone().await;
    let folder = tempfile::tempdir()?;
    // A flush so late that only the tail can answer.
    server::write_file(folder.path(), &load::rooms(1, "10m"))?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let mut worst = Duration::ZERO;
    for number in 0..20 {
        let (status, answer) = server.collect("events", "application/json", load::event(number)).await?;
        ensure!(status == 200, "{answer}");
        let acknowledged = Instant::now();
        server.until(&format!("select count(*) from events where n = {number}"), 1).await?;
        worst = worst.max(acknowledged.elapsed());
    }
    ensure!(worst < Duration::from_secs(1), "the slowest of 20 took {worst:?}");
    server.stop()
}
