//! `kill -9` at random moments under load, and the planted bugs that this very check must catch.
//!
//! `RIVERRUN_KILLS` and `RIVERRUN_SEED` make it longer or different (`make soak`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

use crate::delivery::{Again, Sender};
use crate::load::{self, Doors, Sent, Verdict};
use crate::server::{self, Server, Starting};
use crate::turn;

/// Kills of one run, unless `RIVERRUN_KILLS` says otherwise.
const KILLS: u32 = 100;
/// Writers that the server is killed under, two at each door.
const WRITERS: u64 = 6;
/// One kill in this many comes while the server still starts, in the middle of recovery.
const KILL_WHILE_STARTING: u32 = 5;
/// The longest that a restarted server may take to deliver what it had acknowledged before.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(60);

pub(crate) fn setting<T: std::str::FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Loads a server, kills it `kills` times at moments drawn from `seed`, and judges the table after the last restart.
/// With a planted bug, stops at the first restart that shows it. Tells also which deliveries were sent again: in the end each
/// has been answered, so that all of their records must be there, once.
async fn run(kills: u32, seed: u64, plant: Option<&str>) -> Result<(Verdict, Again)> {
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(2, "1s"))?;
    let mut random = StdRng::seed_from_u64(seed);
    let mut args = vec!["serve", "riverrun.toml"];
    args.extend(plant.into_iter().flat_map(|name| ["--plant", name]));

    let (door, at) = watch::channel(None);
    let sent = Arc::new(Sent::default());
    let writers = load::start(&sent, "events", WRITERS, seed, &at);
    let mut killed = 0;
    while killed < kills {
        let starting = Starting::run(folder.path(), &args)?;
        if random.random_ratio(1, KILL_WHILE_STARTING) {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
            starting.kill()?;
            killed += 1;
            continue;
        }
        let server = starting.ready()?;
        if plant.is_some() && killed > 0 {
            let verdict = settled(&server, &sent).await?;
            if !verdict.clean() {
                sent.stop();
                return Ok((verdict, Again::default()));
            }
        }
        door.send_replace(Some(Doors::of(&server)?));
        tokio::time::sleep(Duration::from_millis(random.random_range(20..500))).await;
        server.kill()?;
        door.send_replace(None);
        killed += 1;
    }
    sent.stop();
    drop(door);
    let senders: Vec<Sender> = writers.join_all().await.into_iter().flatten().collect();

    let server = Server::serve(folder.path(), "riverrun.toml", &args[2..])?;
    let mut again = Again::default();
    for mut sender in senders {
        let all = sender.send_again(&load::client(), server.kinesis()?, &sent).await;
        ensure!(all, "a delivery was refused by a server that has nothing else to do: {sender:?}");
        again += sender.again();
    }
    let verdict = settled(&server, &sent).await?;
    if plant.is_some() || !verdict.clean() {
        return Ok((verdict, again));
    }
    // The same again from the lake alone: a clean end flushes the tail, and the next start has nothing left to deliver.
    server.stop()?;
    let server = Server::serve(folder.path(), "riverrun.toml", &args[2..])?;
    let verdict = load::judge(&server, &sent).await?;
    server.stop()?;
    Ok((verdict, again))
}

/// The verdict once everything acknowledged is there, or once it is plain that it never will be.
pub(crate) async fn settled(server: &Server, sent: &Sent) -> Result<Verdict> {
    let deadline = Instant::now() + CAUGHT_UP_WITHIN;
    let mut rows_before = None;
    let mut still_since = Instant::now();
    loop {
        let verdict = load::judge(server, sent).await?;
        if rows_before.replace(verdict.rows) != Some(verdict.rows) {
            still_since = Instant::now();
        }
        let still = still_since.elapsed();
        // Complete and unchanged for a moment (a double would come late), or incomplete and unchanged for long.
        let complete = verdict.lost.is_empty() && still > Duration::from_millis(300);
        if complete || still > Duration::from_secs(5) || Instant::now() > deadline {
            return Ok(verdict);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_every_acknowledged_record_is_there_exactly_once() -> Result<()> {
    let _turn = turn::alone().await;
    let (kills, seed) = (setting("RIVERRUN_KILLS", KILLS), setting("RIVERRUN_SEED", 20_150_517));
    let (verdict, again) = run(kills, seed, None).await?;
    ensure!(verdict.clean(), "after {kills} kills with seed {seed}: {verdict:?}");
    ensure!(verdict.acknowledged > 1_000, "the load was too small to mean anything: {verdict:?}");
    let enough = again.open > u64::from(kills / 10) && again.answered > u64::from(kills);
    ensure!(enough, "too few deliveries were sent again to mean anything: {again:?}");
    eprintln!(
        "{kills} kills, seed {seed}: {} acknowledged, {} rows; deliveries sent again: {} without an answer, {} with one",
        verdict.acknowledged, verdict.rows, again.open, again.answered
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planted_acknowledgement_before_the_sync_is_caught_as_loss() -> Result<()> {
    let _turn = turn::alone().await;
    let (verdict, _) = run(KILLS, 7, Some("ack-before-sync")).await?;
    ensure!(!verdict.lost.is_empty(), "the planted bug was not caught: {verdict:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_forgetting_of_the_offsets_is_caught_as_doubles() -> Result<()> {
    let _turn = turn::alone().await;
    let (verdict, _) = run(KILLS, 11, Some("forget-offsets")).await?;
    ensure!(!verdict.doubled.is_empty(), "the planted bug was not caught: {verdict:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn planted_forgetting_of_deliveries_is_caught_as_doubles() -> Result<()> {
    let _turn = turn::alone().await;
    let (verdict, _) = run(KILLS, 13, Some("forget-deliveries")).await?;
    ensure!(!verdict.doubled.is_empty(), "the planted bug was not caught: {verdict:?}");
    Ok(())
}
