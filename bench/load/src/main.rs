//! load TARGET MODE: publishes to, reads from, or times a Redis stream, a NATS JetStream or a Kinesis door.
//!
//! * `publish`: closed loop; each connection keeps `window` records on their way and counts those acknowledged.
//! * `latency`: open loop at `rate`; both the acknowledgement and the arrival at a subscribed reader count from when the record was
//!   due, so that a server that stalls is charged for the stall.
//! * `read`: everything that is there, from the beginning.
//!
//! One JSON object on standard output.

mod http;
mod kinesis;
mod nats;
mod redis;
mod schedule;
mod signature;
mod wire;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::runtime::Builder;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Target {
    Redis,
    Nats,
    Kinesis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    Publish,
    Latency,
    Read,
}

#[derive(Clone, Debug, Parser)]
struct Asked {
    target: Target,
    mode: Mode,
    /// Address and port.
    #[arg(long)]
    address: String,
    /// Bytes of a record's payload.
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How long publishing or the open loop lasts.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Connections that publish.
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Records on their way on each of them; through a Kinesis door, records of one PutRecords.
    #[arg(long, default_value_t = 500)]
    window: usize,
    /// Records per second of the open loop.
    #[arg(long, default_value_t = 1000)]
    rate: u64,
    /// Shards of the stream that a Kinesis door makes.
    #[arg(long, default_value_t = 4)]
    shards: u32,
    /// Connections that are opened, used once and left idle meanwhile.
    #[arg(long, default_value_t = 0)]
    idle: usize,
    /// How many of these programs load servers side by side, each sending between the records of the others.
    #[arg(long, default_value_t = 1)]
    beside: u32,
    /// The place of this one among them, from 0.
    #[arg(long, default_value_t = 0)]
    place: u32,
    /// When the open loop begins, for all of them alike, in milliseconds since 1970. Without: as soon as it can.
    #[arg(long)]
    begin: Option<u64>,
    /// The name of the stream.
    #[arg(long, default_value = "bench")]
    stream: String,
}

fn main() -> Result<()> {
    let asked = Asked::parse();
    ensure!(asked.place < asked.beside, "expected --place below {}, got {}", asked.beside, asked.place);
    // For latency one thread: with two, each wakes the other to see whether there is more to do, on cores that the server needs.
    let mut runtime = match asked.mode {
        Mode::Latency => Builder::new_current_thread(),
        Mode::Publish | Mode::Read => Builder::new_multi_thread(),
    };
    let found = runtime.worker_threads(2).enable_all().build()?.block_on(async {
        match asked.target {
            Target::Redis => redis::run(&asked).await,
            Target::Nats => nats::run(&asked).await,
            Target::Kinesis => kinesis::run(&asked).await,
        }
    })?;
    println!("{found}");
    Ok(())
}

/// The part of an open loop that warms up and is not counted.
const WARM_UP: Duration = Duration::from_secs(1);

/// Printable filler of which no two are alike.
fn payload(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b' ' + (state % 95) as u8
    };
    (0..size).map(next).collect()
}

/// When a record was due, in its first eight bytes.
fn stamped(filler: &[u8], due: Duration) -> Vec<u8> {
    let mut value = filler.to_vec();
    value[..8].copy_from_slice(&(due.as_nanos() as u64).to_le_bytes());
    value
}

fn due_of(value: &[u8]) -> Duration {
    Duration::from_nanos(u64::from_le_bytes(value[..8].try_into().expect("eight bytes")))
}

/// Records counted by all connections until the time is over.
#[derive(Clone)]
struct Tally {
    records: Arc<AtomicU64>,
    begun: Instant,
    end: Instant,
}

impl Tally {
    fn new(seconds: u64) -> Self {
        let begun = Instant::now();
        Self { records: Arc::default(), begun, end: begun + Duration::from_secs(seconds) }
    }

    fn add(&self, records: usize) {
        self.records.fetch_add(records as u64, Ordering::Relaxed);
    }

    fn over(&self) -> bool {
        Instant::now() >= self.end
    }

    fn report(&self, asked: &Asked) -> Value {
        rate(asked, self.records.load(Ordering::Relaxed), self.begun.elapsed())
    }
}

fn rate(asked: &Asked, records: u64, taken: Duration) -> Value {
    let seconds = taken.as_secs_f64();
    let bytes = records * asked.size as u64;
    json!({ "records": records, "seconds": seconds, "records_per_s": records as f64 / seconds, "mb_per_s": bytes as f64 / seconds / 1e6 })
}

/// What an open loop takes, in nanoseconds: acknowledged, got, and how late this program itself was to hand a record on. The last is part
/// of the others, and says what the machine did to whoever wanted to run at a certain moment.
#[derive(Clone)]
struct Times {
    begun: Instant,
    taken: Arc<[Mutex<Histogram<u64>>; 3]>,
    /// Likewise got, of each slice of the schedule by itself, in microseconds.
    got_of_slices: Arc<Mutex<BTreeMap<u64, Vec<u64>>>>,
}

fn report(taken: &Histogram<u64>) -> Value {
    let at = |q: f64| taken.value_at_quantile(q) as f64 / 1e6;
    json!({ "count": taken.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p999": at(0.999), "max": taken.max() as f64 / 1e6 })
}

impl Times {
    fn new(asked: &Asked) -> Result<Self> {
        Ok(Self {
            begun: schedule::begin(asked)?,
            taken: Arc::new(std::array::from_fn(|_| {
                Mutex::new(Histogram::new_with_bounds(1_000, 120_000_000_000, 3).expect("these bounds fit"))
            })),
            got_of_slices: Arc::default(),
        })
    }

    fn acknowledged(&self, due: Duration) {
        self.note(0, due, Instant::now());
    }

    fn got(&self, value: &[u8]) {
        self.got_at(value, Instant::now());
    }

    fn got_at(&self, value: &[u8], at: Instant) {
        let due = due_of(value);
        if let Some(taken) = self.note(1, due, at) {
            let mut slices = self.got_of_slices.lock().expect("nobody panics with it");
            slices.entry(schedule::slice_of(due)).or_default().push(taken / 1000);
        }
    }

    fn handed_on(&self, due: Duration) {
        self.note(2, due, Instant::now());
    }

    /// The nanoseconds it took, if it counts.
    fn note(&self, which: usize, due: Duration, at: Instant) -> Option<u64> {
        if due < WARM_UP {
            return None;
        }
        let taken = at.saturating_duration_since(self.begun + due).as_nanos() as u64;
        self.taken[which].lock().expect("nobody panics with it").saturating_record(taken);
        Some(taken)
    }

    fn report(&self, asked: &Asked) -> Value {
        let of = |which: usize| report(&self.taken[which].lock().expect("nobody panics with it"));
        let mut report = json!({ "rate": asked.rate, "acknowledged_ms": of(0), "got_ms": of(1), "late_ms": of(2) });
        if asked.beside > 1 {
            let slices = self.got_of_slices.lock().expect("nobody panics with it");
            report["got_us_of_slices"] = slices.values().cloned().collect();
        }
        report
    }
}

/// How many records an open loop sends.
fn records_of(asked: &Asked) -> u64 {
    (asked.seconds + WARM_UP.as_secs()) * asked.rate
}

/// What an open loop sends, each with the moment it is due.
type Due = (Duration, Vec<u8>);

/// All that an open loop sends, made before it begins: what a request costs this program is no part of what the server takes.
fn prepared(asked: &Asked, message: impl Fn(Duration) -> Vec<u8>) -> Vec<Due> {
    (0..records_of(asked)).map(|number| schedule::due(asked, number)).map(|due| (due, message(due))).collect()
}

/// Sends each message when it is due, from a thread of its own: timers of the runtime round to a millisecond.
async fn on_time(messages: Vec<Due>, times: &Times, send: UnboundedSender<Due>) -> Result<()> {
    let times = times.clone();
    tokio::task::spawn_blocking(move || {
        for (due, message) in messages {
            std::thread::sleep((times.begun + due).saturating_duration_since(Instant::now()));
            times.handed_on(due);
            send.send((due, message))?;
        }
        Ok(())
    })
    .await?
}

/// Writes every message that has come due, all of them with one flush, and tells which were sent.
/// Gives the connection back to be kept open: the acknowledgements of the last are still on their way.
async fn write_due<W: AsyncWrite + Unpin>(
    mut out: W,
    mut due: UnboundedReceiver<Due>,
    sent: UnboundedSender<Duration>,
) -> Result<W> {
    while let Some(first) = due.recv().await {
        let mut next = Some(first);
        while let Some((at, message)) = next {
            out.write_all(&message).await?;
            sent.send(at)?;
            next = due.try_recv().ok();
        }
        out.flush().await?;
    }
    Ok(out)
}
