//! `riverrun import`: the lines of files, sent to a stream through the collector.
//!
//! One thread reads and cuts the input at line ends into bodies of about [`BODY_BYTES`]; several bodies are on their way
//! at the same time. A body that is refused for now (429, 503) is sent again after a pause; the log keeps the order of
//! arrival, which for an import means little: tables go by the event's own time.

mod body;

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::{StatusCode, header};
use serde::Deserialize;

use crate::cli::{Import, ImportFormat};
use crate::client::{Client, refusal, told};
use crate::import::body::{Bodies, Body};
use crate::{Outcome, say};

/// Bytes of one body: large enough that requests do not count, small enough that several fit beside each other.
const BODY_BYTES: usize = 2 << 20;
/// How often one body is sent before the import gives up; with the pauses below about two minutes.
const TRIES_MAX: u32 = 12;
const PAUSE_FIRST: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// Rejected lines that are told one by one.
const TOLD_MAX: u64 = 10;

/// What became of all lines.
#[derive(Debug, Default)]
struct Sums {
    accepted: AtomicU64,
    rejected: AtomicU64,
}

pub(crate) async fn import(asked: Import) -> anyhow::Result<Outcome> {
    let client = Client::new(&asked.server)?;
    // Before anything is sent: a file that is not there is no reason to stop in the middle.
    asked.files.iter().try_for_each(|file| try_open(file))?;
    let url = client.url(&format!("/collect/{}", asked.stream), &query(&asked));
    let sums = Arc::new(Sums::default());
    let begun = Instant::now();
    let bar = progress(&asked.files);
    let (sender, bodies) = tokio::sync::mpsc::channel(2);
    let reading = {
        let (files, format, bar) = (asked.files.clone(), asked.format, bar.clone());
        tokio::task::spawn_blocking(move || files.iter().try_for_each(|file| read(file, format, &bar, &sender)))
    };
    let sending = futures::stream::unfold(bodies, |mut bodies| async { Some((bodies.recv().await?, bodies)) })
        .map(Ok)
        .try_for_each_concurrent(usize::from(asked.in_flight), |body| {
            let (client, url, sums, bar) = (client.clone(), url.clone(), sums.clone(), bar.clone());
            async move { send(&client, url, body, &sums, &bar).await }
        });
    let ended = match sending.await {
        // It ends when reading does; and whoever reads may wait for input for ever.
        Err(error) => Err(error),
        Ok(()) => reading.await.context("reading broke off").flatten(),
    };
    bar.finish_and_clear();
    // Also if it broke off: what is stored is stored.
    let outcome = tell(&sums, begun.elapsed());
    ended.map(|()| outcome)
}

/// Whether the file can be read. What is no file (a pipe) can be opened only once, and is opened when it is its turn.
fn try_open(path: &Path) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return Ok(());
    }
    let named = || format!("{} cannot be read", path.display());
    let found = std::fs::metadata(path).with_context(named)?;
    anyhow::ensure!(!found.is_dir(), "{}: it is a folder; name the files in it", named());
    if found.is_file() {
        File::open(path).with_context(named)?;
    }
    Ok(())
}

fn query(asked: &Import) -> Vec<(&str, &str)> {
    let format = match asked.format {
        ImportFormat::Combined => "combined",
        ImportFormat::Cdn => "cdn",
        // CSV rows are turned into JSON objects on this side.
        ImportFormat::Ndjson | ImportFormat::Csv => "ndjson",
    };
    let mut query = vec![("format", format)];
    query.extend(asked.fields.as_deref().map(|fields| ("fields", fields)));
    query
}

/// A bar over the bytes of all files; a spinner where standard input has no length, nothing where nobody looks.
fn progress(files: &[PathBuf]) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(10)
    } else {
        ProgressDrawTarget::hidden()
    };
    let sizes: Option<u64> = files.iter().map(|file| std::fs::metadata(file).ok().map(|found| found.len())).sum();
    let (bar, style) = match sizes {
        Some(bytes) => (ProgressBar::new(bytes), "{bar:32} {bytes}/{total_bytes}  {msg}  {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {bytes}  {msg}"),
    };
    bar.set_draw_target(target);
    bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Reads one file to its end and gives its lines away in bodies.
fn read(
    path: &Path,
    format: ImportFormat,
    bar: &ProgressBar,
    sender: &tokio::sync::mpsc::Sender<Body>,
) -> anyhow::Result<()> {
    let named = || format!("{} cannot be read", path.display());
    let input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(bar.wrap_read(std::io::stdin().lock()))
    } else {
        Box::new(bar.wrap_read(File::open(path).with_context(named)?))
    };
    let zipped = path.extension().is_some_and(|ending| ending == "gz");
    let input: Box<dyn Read> = if zipped { Box::new(flate2::read::MultiGzDecoder::new(input)) } else { input };
    let name = path.display().to_string();
    let mut bodies = Bodies::new(name, input, BODY_BYTES, format == ImportFormat::Csv);
    while let Some(body) = bodies.next().with_context(named)? {
        if sender.blocking_send(body).is_err() {
            return Ok(()); // sending failed and says why
        }
    }
    Ok(())
}

/// What the collector answers, whatever the status.
#[derive(Debug, Deserialize)]
pub(crate) struct Collected {
    #[serde(default)]
    pub(crate) accepted: u64,
    #[serde(default)]
    rejected: Vec<Rejected>,
    #[serde(default)]
    pub(crate) rejected_count: u64,
    /// Only the records before this index were stored; the others may be sent again.
    #[serde(default)]
    pub(crate) next: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Rejected {
    index: u64,
    reason: String,
}

/// Sends one body, and what is left of it again, until all of it is taken or refused for good.
async fn send(client: &Client, url: url::Url, mut body: Body, sums: &Sums, bar: &ProgressBar) -> anyhow::Result<()> {
    let mut pause = PAUSE_FIRST;
    for attempt in 1..=TRIES_MAX {
        let request = client.post(url.clone()).header(header::CONTENT_TYPE, "application/x-ndjson");
        // A connection that breaks in the middle may have delivered the body: sending it again could count it twice.
        let response = request.body(body.bytes.clone()).send().await.map_err(|error| client.failed(error))?;
        let status = response.status();
        let for_now = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        // A body of which nothing was any good comes back as 400 with the same counts.
        if !(for_now || status.is_success() || status == StatusCode::BAD_REQUEST) {
            return Err(refusal(response).await);
        }
        let asked = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.context("the server's answer broke off")?;
        let collected: Collected = serde_json::from_str(&text).context("the server's answer is none of ours")?;
        if status == StatusCode::BAD_REQUEST && collected.rejected_count == 0 {
            anyhow::bail!("{}", told(&text));
        }
        take(&collected, &body, sums, bar);
        if !for_now {
            return Ok(());
        }
        anyhow::ensure!(attempt < TRIES_MAX, "{}", told(&text));
        body = body.rest_from(collected.next.unwrap_or(0));
        tokio::time::sleep(asked.map_or(pause, Duration::from_secs).min(PAUSE_MAX)).await;
        pause = if collected.next.is_some() { PAUSE_FIRST } else { (pause * 2).min(PAUSE_MAX) };
    }
    Ok(())
}

/// Counts what was taken, and tells the first rejected lines.
fn take(collected: &Collected, body: &Body, sums: &Sums, bar: &ProgressBar) {
    let accepted = sums.accepted.fetch_add(collected.accepted, Ordering::Relaxed) + collected.accepted;
    // Those behind the cut come back with the next attempt.
    let counts = |rejected: &&Rejected| collected.next.is_none_or(|next| rejected.index < next);
    let rejected = match collected.next {
        None => collected.rejected_count,
        Some(_) => collected.rejected.iter().filter(counts).count() as u64,
    };
    let told = sums.rejected.fetch_add(rejected, Ordering::Relaxed);
    let left = usize::try_from(TOLD_MAX.saturating_sub(told)).unwrap_or(0);
    for rejected in collected.rejected.iter().filter(counts).take(left) {
        bar.suspend(|| {
            say::note(&format!("{}: line {}: {}", body.file, body.line_of(rejected.index), rejected.reason))
        });
    }
    bar.set_message(format!("{accepted} accepted"));
}

fn tell(sums: &Sums, took: Duration) -> Outcome {
    let (accepted, rejected) = (sums.accepted.load(Ordering::Relaxed), sums.rejected.load(Ordering::Relaxed));
    let seconds = took.as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss)]
    let per_second = (accepted + rejected) as f64 / seconds;
    if rejected > TOLD_MAX {
        say::note(&format!("… and {} more rejected lines", rejected - TOLD_MAX));
    }
    say::note(&format!("{accepted} accepted, {rejected} rejected in {seconds:.2} s ({per_second:.0} lines/s)"));
    if rejected == 0 { Outcome::Done } else { Outcome::NotAllWell }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_tried_before_anything_is_sent() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("good.ndjson");
        std::fs::write(&file, "{}\n").expect("it is written");
        assert!(try_open(&file).is_ok() && try_open(Path::new("-")).is_ok());
        let told = |path: &Path| format!("{:#}", try_open(path).expect_err("it cannot be read"));
        let missing = folder.path().join("missing.ndjson");
        assert!(told(&missing).contains("missing.ndjson cannot be read: "), "{}", told(&missing));
        assert!(told(folder.path()).contains("it is a folder"), "{}", told(folder.path()));
    }
}
