//! What the system does to a server: no room on the disk, and the order to end, both under load.
//!
//! `RIVERRUN_TERMINATIONS` and `RIVERRUN_SEED` make it longer or different (`make soak`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::sync::watch;

use crate::kill::{setting, settled};
use crate::load::{self, Doors, Sent};
use crate::server::{self, Server};
use crate::turn;

/// Orders to end in one run, unless `RIVERRUN_TERMINATIONS` says otherwise.
const TERMINATIONS: u32 = 5;
/// No file of the server may grow beyond this while its disk counts as full.
const FILE_BYTES: u64 = 512 * 1024;
/// The longest that a server may take to notice that there is no room, or that there is again.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);

/// Lets no file of the server grow beyond `bytes`, as a full disk would; `None` gives the room back.
fn limit_files(server: &Server, bytes: Option<u64>) -> Result<()> {
    let pid = Pid::from_raw(i32::try_from(server.id())?);
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None })?;
    Ok(())
}

/// Asks the collector until it answers with `wanted`; what it accepts meanwhile is acknowledged.
async fn until_status(server: &Server, sent: &Sent, wanted: u16) -> Result<()> {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let numbers = sent.reserve(1);
        let (status, answer) = server.collect("events", "application/x-ndjson", load::event(numbers.start)).await?;
        if status == 200 {
            sent.acknowledge(numbers);
        } else {
            ensure!([429, 503, 507].contains(&status), "a full disk was answered {status}: {answer}");
        }
        if status == wanted {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "no {wanted} within {NOTICED_WITHIN:?}, but {status}: {answer}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_told_nothing_false_is_acknowledged_and_it_goes_on_with_room() -> Result<()> {
    let _turn = turn::alone().await;
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(2, "1s"))?;
    let (door, at) = watch::channel(None);
    let sent = Arc::new(Sent::default());
    let writers = load::start(&sent, "events", 4, 1, &at);

    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    for _ in 0..2 {
        door.send_replace(Some(Doors::of(&server)?));
        limit_files(&server, Some(FILE_BYTES))?;
        until_status(&server, &sent, 507).await?;
        limit_files(&server, None)?;
        until_status(&server, &sent, 200).await?;
        door.send_replace(None);
    }
    // Once more, and this time it is killed while there is no room.
    door.send_replace(Some(Doors::of(&server)?));
    limit_files(&server, Some(FILE_BYTES))?;
    until_status(&server, &sent, 507).await?;
    server.kill()?;
    sent.stop();
    drop(door);
    writers.join_all().await;

    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    until_status(&server, &sent, 200).await?;
    let verdict = settled(&server, &sent).await?;
    ensure!(verdict.clean(), "after a full disk: {verdict:?}");
    ensure!(verdict.acknowledged > 500, "the load was too small to mean anything: {verdict:?}");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_end_under_load_it_ends_in_time_and_keeps_all_it_acknowledged() -> Result<()> {
    let _turn = turn::alone().await;
    let (rounds, seed) = (setting("RIVERRUN_TERMINATIONS", TERMINATIONS), setting("RIVERRUN_SEED", 20_150_517));
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &load::rooms(2, "1s"))?;
    let mut random = StdRng::seed_from_u64(seed);
    let (door, at) = watch::channel(None);
    let sent = Arc::new(Sent::default());
    let writers = load::start(&sent, "events", 4, seed, &at);
    let mut longest = Duration::ZERO;
    for _ in 0..rounds {
        let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
        door.send_replace(Some(Doors::of(&server)?));
        tokio::time::sleep(Duration::from_millis(random.random_range(50..800))).await;
        let told = Instant::now();
        // The writers go on as if nothing were: what is in flight is answered, what comes later finds no door.
        tokio::task::spawn_blocking(|| server.terminate()).await??;
        longest = longest.max(told.elapsed());
        door.send_replace(None);
    }
    sent.stop();
    drop(door);
    writers.join_all().await;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    let verdict = settled(&server, &sent).await?;
    ensure!(verdict.clean(), "after {rounds} orders to end with seed {seed}: {verdict:?}");
    eprintln!("{rounds} orders to end, seed {seed}: longest {longest:?}, {} acknowledged", verdict.acknowledged);
    server.stop()
}
