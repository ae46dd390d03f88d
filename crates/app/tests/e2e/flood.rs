//! Clients that cost: too many, too slow, too fast, too large. A good one beside them must hardly notice.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use crate::server::{self, Server, answer_of, integer};
use crate::{load, turn};

/// The time that a door gives a client to send the head of a request (`edge`'s `ServeLimits`).
const HEAD_TIME: Duration = Duration::from_secs(10);
/// What the process may hold at most under any of this: the collector's and the Kinesis door's 192 and 256 MiB, the
/// queues of the log and the rows of one table, and what it holds idle.
const MEMORY_CAP: u64 = 1 << 30;
/// The longest that all but one in a hundred answers to a good client may take beside ten times the load. Client, flood and
/// server share two cores here, so it is a bound against waiting without end (six seconds and more before large bodies
/// were checked in turns), not a figure of speed: half a second is usual.
const GOOD_CLIENT_WITHIN: Duration = Duration::from_secs(3);
/// Seconds of overload, unless `RIVERRUN_OVERLOAD_SECONDS` says otherwise.
const OVERLOAD_SECONDS: u64 = 60;
/// How many of them go into the stream of a table. It takes some hundred thousand events a second, all of which must then
/// be counted in SQL; the others go into a stream of a gigabyte at most, whose offsets tell what was stored.
const OVERLOAD_TABLE_SECONDS: u64 = 6;

/// The rooms of these tests: an edge, a stream with its table, and the Kinesis door.
fn rooms() -> String {
    let edge = "[edge.site]\nlisten = \"127.0.0.1:0\"\nroot = \".\"\n\n[edge.site.log]\nstream = \"clicks\"\n\n[stream.clicks]\n";
    let untabled = "[stream.untabled]\nretention_size = \"1GiB\"\n";
    format!("{}\n{edge}\n{untabled}", load::rooms(2, "1s"))
}

async fn started() -> Result<(tempfile::TempDir, Server)> {
    let folder = tempfile::tempdir()?;
    server::write_file(folder.path(), &rooms())?;
    let server = Server::serve(folder.path(), "riverrun.toml", &[])?;
    Ok((folder, server))
}

/// Every door, by name.
fn doors(server: &Server) -> Result<Vec<(&'static str, SocketAddr)>> {
    Ok(vec![("console", server.console()), ("edge", server.edge("site")?), ("kinesis", server.kinesis()?)])
}

/// How a good client fares that asks fifty times a second: the longest of its answers but one in a hundred, from when it
/// should have asked. It has a thread of its own; the cores it shares with everybody.
async fn good_client(server: &Server, during: Duration) -> Result<Duration> {
    let address = server.console();
    let asking = move || -> Result<Duration> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        let request = format!("GET /api/v1/health HTTP/1.1\r\nhost: {address}\r\n\r\n");
        let (mut times, mut answer) = (Vec::new(), [0; 4096]);
        let (end, mut next) = (Instant::now() + during, Instant::now());
        while next < end {
            next += Duration::from_millis(20);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            socket.write_all(request.as_bytes())?;
            let read = socket.read(&mut answer)?;
            ensure!(answer[..read].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer[..read]));
            times.push(next.elapsed());
        }
        times.sort_unstable();
        times.get(times.len() * 99 / 100).copied().context("it asked")
    };
    tokio::task::spawn_blocking(asking).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_silent_connections_are_reaped_in_time_and_keep_nobody_out() -> Result<()> {
    const SILENT: usize = 9_000;
    const DRIPPING: usize = 50;
    let _turn = turn::alone().await;
    let (_folder, server) = started().await?;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::setrlimit(
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: files.maximum, ..files },
    )?;
    let before = server.memory()?;
    for (name, address) in doors(&server)? {
        let mut open = JoinSet::new();
        for number in 0..SILENT + DRIPPING {
            let mut socket =
                tokio::net::TcpStream::connect(address).await.with_context(|| format!("{name}: {number}"))?;
            let connected = Instant::now();
            open.spawn(async move {
                let mut drip = "GET / HTTP/1.1\r\nhost: localhost\r\nx: ".bytes().chain(std::iter::repeat(b'a'));
                let mut end = [0];
                loop {
                    let closed = tokio::time::timeout(Duration::from_secs(1), socket.read(&mut end)).await;
                    match closed {
                        Ok(Ok(1..)) => {} // an answer that says why
                        Ok(_) => return connected.elapsed(),
                        Err(_) if number >= SILENT => {
                            let byte = drip.next().unwrap_or(b'a');
                            if socket.write_all(&[byte]).await.is_err() {
                                return connected.elapsed();
                            }
                        }
                        Err(_) => {}
                    }
                }
            });
        }
        let good = good_client(&server, Duration::from_secs(3)).await?;
        let memory = server.memory()?;
        let closed = tokio::time::timeout(Duration::from_secs(60), open.join_all()).await?;
        let (first, last) = (closed.iter().min(), closed.iter().max());
        // Those that send nothing are counted from the accept; the reaper looks four times a second.
        let late = HEAD_TIME + Duration::from_secs(2);
        ensure!(last.is_some_and(|last| *last < late), "{name}: the last of them was closed after {last:?}");
        ensure!(first.is_some_and(|first| *first > HEAD_TIME / 2), "{name}: one was closed after {first:?}");
        ensure!(good < Duration::from_millis(500), "{name}: a good client waited {good:?}");
        ensure!(memory.saturating_sub(before) < 400 << 20, "{name}: {} MiB for idle connections", memory >> 20);
        eprintln!(
            "{name}: {} silent connections, closed after {first:?} to {last:?}, good client p99 {good:?}, {} MiB",
            SILENT + DRIPPING,
            memory >> 20
        );
    }
    server.stop()
}

/// What no door may take at its word. Each is sent as it stands; the door must answer an error or close.
fn lies() -> Vec<(&'static str, Vec<u8>)> {
    let head = |rest: &str| format!("POST /collect/events HTTP/1.1\r\nhost: localhost\r\n{rest}\r\n\r\n").into_bytes();
    let signed = format!(
        "authorization: {}\r\nx-amz-date: 20200101T000000Z\r\nx-amz-target: Kinesis_20131202.PutRecords\r\ncontent-type: application/x-amz-cbor-1.1",
        load::UNSIGNED
    );
    let cbor = |bytes: &[u8]| {
        let mut request = head(&format!("{signed}\r\ncontent-length: {}", bytes.len()));
        request.extend_from_slice(bytes);
        request
    };
    vec![
        ("a body of 2^63 bytes", head("content-length: 9223372036854775807")),
        ("a body of more than 2^64 bytes", head("content-length: 184467440737095516160")),
        ("a negative length", head("content-length: -1")),
        ("two lengths", head("content-length: 5\r\ncontent-length: 6")),
        ("a chunk of 2^63 bytes", [head("transfer-encoding: chunked"), b"7fffffffffffffff\r\nabc".to_vec()].concat()),
        (
            "a chunk of more than 2^64 bytes",
            [head("transfer-encoding: chunked"), b"fffffffffffffffff\r\nabc".to_vec()].concat(),
        ),
        ("a head of a mebibyte", [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'a'; 1 << 20]].concat()),
        ("a thousand headers", format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000)).into_bytes()),
        ("a path of a mebibyte", [b"GET /".to_vec(), vec![b'a'; 1 << 20], b" HTTP/1.1\r\n\r\n".to_vec()].concat()),
        ("a map of 2^64 pairs", cbor(b"\xbb\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("a text of 2^62 bytes", cbor(b"\xa1\x7b\x40\x00\x00\x00\x00\x00\x00\x00ab")),
        ("a list of 2^32 records", cbor(b"\xa1\x67Records\x9a\xff\xff\xff\xff")),
        ("maps within maps, 100,000 deep", cbor(&b"\xa1\x61a".repeat(100_000))),
        (
            "HTTP/2 with a frame of 16 MiB",
            [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), b"\xff\xff\xff\x00\x00\x00\x00\x00\x01".to_vec()].concat(),
        ),
    ]
}

/// Sends bytes and reads what comes back within a second or two.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut answer = Vec::new();
    // A door that closes before it has read everything is within its rights.
    if socket.write_all(bytes).is_ok() {
        let mut buffer = [0; 4096];
        while let Ok(1..) = socket.read(&mut buffer).inspect(|read| answer.extend_from_slice(&buffer[..*read])) {
            if answer.starts_with(b"HTTP/1.1") {
                break;
            }
        }
    }
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lengths_that_lie_cost_no_memory_and_harm_nobody() -> Result<()> {
    let _turn = turn::shared().await;
    let (_folder, server) = started().await?;
    let before = server.memory()?;
    for (name, address) in doors(&server)? {
        for (what, bytes) in lies() {
            let answer = tokio::task::spawn_blocking(move || answer_to(address, &bytes)).await??;
            let ok = answer.starts_with(b"HTTP/1.1 2") || answer.starts_with(b"HTTP/1.0 2");
            ensure!(!ok, "{name}: {what} was answered {}", String::from_utf8_lossy(&answer));
        }
    }
    let grown = server.memory()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "{} MiB for lengths that lie", grown >> 20);
    server.unharmed()?;
    ensure!(server.number("select count(*) from events").await? == 0, "nothing was stored");
    server.stop()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_are_refused_for_what_they_become_at_every_door() -> Result<()> {
    let _turn = turn::shared().await;
    let (_folder, server) = started().await?;
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    bomb.write_all(&vec![b' '; 512 << 20])?;
    let bomb = bomb.finish()?;
    for (what, url) in [
        ("the console's collector", format!("{}/collect/events", server.url())),
        ("the edge's collector", format!("http://{}/collect/events", server.edge("site")?)),
        ("a delivery", format!("http://{}/firehose/events", server.kinesis()?)),
        ("the Kinesis door", format!("http://{}/", server.kinesis()?)),
    ] {
        let mut sending = JoinSet::new();
        for _ in 0..8 {
            let request =
                server.http().post(&url).header("content-encoding", "gzip").header("content-type", "application/json");
            let request =
                request.header("x-amz-firehose-request-id", "1").header("x-amz-firehose-protocol-version", "1.0");
            sending.spawn(request.body(bomb.clone()).send());
        }
        for answer in sending.join_all().await {
            let status = answer.map(|answer| answer.status().as_u16());
            ensure!(!matches!(status, Ok(200..300)), "{what} took a bomb: {status:?}");
        }
    }
    let peak = server.peak_memory()?;
    eprintln!("bombs of {} KiB that want to be 512 MiB, eight at a time: peak {} MiB", bomb.len() >> 10, peak >> 20);
    ensure!(peak < MEMORY_CAP, "{} MiB", peak >> 20);
    server.unharmed()?;
    server.stop()
}

/// What the collector answered, by kind.
#[derive(Default)]
struct Answered {
    stored: AtomicU64,
    throttled: AtomicU64,
    lost: AtomicU64,
    other: AtomicU64,
    not_sent: AtomicU64,
}

impl Answered {
    fn count(&self, status: Option<u16>) {
        let counter = match status {
            Some(200) => &self.stored,
            Some(429 | 503) => &self.throttled,
            None => &self.lost,
            Some(_) => &self.other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Events of one request.
const EVENTS: u64 = 5_000;
/// Requests under way at once: what is due beyond counts as not sent. Their bodies are several times what the collector
/// may hold.
const UNDER_WAY_MAX: usize = 2_000;

/// A client that sends to one stream of the collector, and counts what it is told.
#[derive(Clone)]
struct Sender {
    client: reqwest::Client,
    url: String,
    body: Arc<str>,
    answered: Arc<Answered>,
}

impl Sender {
    fn to(server: &Server, stream: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(Duration::from_secs(30)).build()?;
        let body = (0..EVENTS).map(load::event).collect::<String>().into();
        Ok(Self { client, url: format!("{}/collect/{stream}", server.url()), body, answered: Arc::default() })
    }

    async fn send(&self) {
        let request = self.client.post(&self.url).header("content-type", "application/x-ndjson");
        let answer = request.body(self.body.to_string()).send().await;
        self.answered.count(answer.ok().map(|answer| answer.status().as_u16()));
    }

    /// Eight that send one after the other: requests stored in a second.
    async fn capacity(&self) -> Result<u64> {
        const SECONDS: u64 = 2;
        let mut senders = JoinSet::new();
        let end = Instant::now() + Duration::from_secs(SECONDS);
        for _ in 0..8 {
            let sender = self.clone();
            senders.spawn(async move {
                while Instant::now() < end {
                    sender.send().await;
                }
            });
        }
        senders.join_all().await;
        let capacity = self.answered.stored.load(Ordering::Relaxed) / SECONDS;
        ensure!(capacity > 0, "it takes nothing at all");
        Ok(capacity)
    }

    /// So many requests a second, whether the server keeps up or not; comes back when all are answered.
    async fn flood(self, a_second: u64, seconds: u64) {
        let between = Duration::from_secs(1) / u32::try_from(a_second).unwrap_or(u32::MAX);
        let (begin, mut next, mut requests) = (Instant::now(), Instant::now(), JoinSet::new());
        while begin.elapsed() < Duration::from_secs(seconds) {
            next += between;
            tokio::time::sleep_until(next.into()).await;
            while requests.try_join_next().is_some() {}
            if requests.len() >= UNDER_WAY_MAX {
                self.answered.not_sent.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            let sender = self.clone();
            requests.spawn(async move { sender.send().await });
        }
        requests.join_all().await;
    }

    /// Ten times `capacity`, beside a good client. Gives the fewest and the most events that the stream must now hold:
    /// what was acknowledged, and that with what was sent and not answered.
    async fn overload(self, server: &Server, capacity: u64, seconds: u64) -> Result<(i64, i64)> {
        let flood = tokio::spawn(self.clone().flood(capacity * 10, seconds));
        let good = good_client(server, Duration::from_secs(seconds)).await?;
        let peak = server.peak_memory()?;
        flood.await?;
        let Answered { stored, throttled, lost, other, not_sent } = &*self.answered;
        let [stored, throttled, lost, other, not_sent] =
            [stored, throttled, lost, other, not_sent].map(|counter| counter.load(Ordering::Relaxed));
        eprintln!(
            "{}: {capacity} requests/s of {EVENTS} events is what it takes; at ten times as many for {seconds} s: {stored} \
             stored, {throttled} throttled, {lost} without an answer, {other} others, {not_sent} not sent; a good client's p99 \
             {good:?}; peak {} MiB",
            self.url,
            peak >> 20
        );
        ensure!(throttled > 0, "nobody was told to come back later");
        ensure!(other == 0, "{other} answers say neither stored nor come back later");
        ensure!(peak < MEMORY_CAP, "{} MiB", peak >> 20);
        ensure!(good < GOOD_CLIENT_WITHIN, "a good client's p99 was {good:?}");
        Ok((i64::try_from(stored * EVENTS)?, i64::try_from((stored + lost) * EVENTS)?))
    }
}

/// Events that a stream has ever taken.
async fn ends(server: &Server, stream: &str) -> Result<i64> {
    let (_, answer) = answer_of(server.http().get(format!("{}/api/v1/streams/{stream}", server.url()))).await?;
    let shards = answer["shards"].as_array().context("a stream has shards")?;
    shards.iter().map(|shard| integer(&shard["end"]).context("a shard has an end")).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_what_it_can_take_is_throttled_within_its_memory() -> Result<()> {
    let _turn = turn::alone().await;
    let (_folder, server) = started().await?;
    let seconds = crate::kill::setting("RIVERRUN_OVERLOAD_SECONDS", OVERLOAD_SECONDS);

    let sender = Sender::to(&server, "events")?;
    let capacity = sender.capacity().await?;
    let (least, most) = sender.overload(&server, capacity, OVERLOAD_TABLE_SECONDS.min(seconds)).await?;
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let rows = server.number("select count(*) from events").await?;
        ensure!(rows <= most, "{rows} rows, although at most {most} can have been stored");
        if rows >= least {
            break;
        }
        ensure!(Instant::now() < deadline, "{rows} rows where {least} were acknowledged");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    let sender = Sender::to(&server, "untabled")?;
    let rest = seconds.saturating_sub(OVERLOAD_TABLE_SECONDS).max(1);
    let (least, most) = sender.overload(&server, capacity, rest).await?;
    let stored = ends(&server, "untabled").await?;
    ensure!((least..=most).contains(&stored), "{stored} records, where {least} were acknowledged and {most} sent");
    server.stop()
}
