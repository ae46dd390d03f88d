//! Pushes click events of 20 columns into a table, flushing and compacting as the product does, and says what that
//! cost: `flood ROWS [ROWS_PER_PUSH] [ROWS_PER_SECOND] [HOURS]`
//! (0 rows per second: as fast as it goes; HOURS: over so many hours the event times jump).
#![allow(clippy::print_stdout)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use base::{Clock, SystemClock};
use lake::{Lake, LakeSettings, Progress, TableSpec, TailBatch};

/// The allocator of the product: it is what decides how much stays resident.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Different rows made before the clock starts.
const POOL_ROWS: usize = 400_000;

fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn batch(from: u64, rows: usize) -> RecordBatch {
    let ids: Vec<u64> = (from..).take(rows).map(mix).collect();
    let text = |make: &dyn Fn(u64) -> String| {
        Arc::new(ids.iter().map(|id| Some(make(*id))).collect::<StringArray>()) as ArrayRef
    };
    let int =
        |make: &dyn Fn(u64) -> i32| Arc::new(ids.iter().map(|id| Some(make(*id))).collect::<Int32Array>()) as ArrayRef;
    let times = || Arc::new(TimestampMillisecondArray::from(vec![0; rows])) as ArrayRef;
    RecordBatch::try_from_iter([
        ("event_time", times()),
        ("arrival_time", times()),
        ("action", text(&|id| if id % 10 == 0 { "buy" } else { "view" }.to_owned())),
        ("product_id", text(&|id| format!("p{:02}", id % 12))),
        ("product_name", text(&|id| format!("The product number {}", id % 12))),
        ("price", Arc::new(ids.iter().map(|id| Some((id % 12) as f64 * 9.99)).collect::<Float64Array>())),
        ("visitor", text(&|id| format!("v{:08x}", id % 50_000))),
        ("session", text(&|id| format!("s{:012x}", id % 200_000))),
        ("browser", text(&|id| ["Chrome", "Firefox", "Safari", "Edge"][(id % 4) as usize].to_owned())),
        ("os", text(&|id| ["Windows", "macOS", "Linux", "Android", "iOS"][(id % 5) as usize].to_owned())),
        ("device", text(&|id| ["desktop", "phone", "tablet"][(id % 3) as usize].to_owned())),
        ("is_bot", Arc::new(ids.iter().map(|id| Some(id % 20 == 0)).collect::<BooleanArray>())),
        ("referer", text(&|id| format!("https://shop.example.com/page/{}", id % 300))),
        ("path", text(&|_| "/action".to_owned())),
        ("status", int(&|id| if id % 50 == 0 { 404 } else { 200 })),
        ("bytes", int(&|id| (id % 5000) as i32)),
        ("ip", text(&|id| format!("10.{}.{}.{}", id % 3, (id >> 8) % 256, (id >> 16) % 256))),
        ("country", text(&|id| ["DE", "US", "FR", "JP"][(id % 4) as usize].to_owned())),
        ("offset", Arc::new(Int64Array::from_iter_values((from..).take(rows).map(u64::cast_signed)))),
        ("request_id", text(&|id| format!("{id:016x}{:016x}", mix(id)))),
    ])
    .expect("columns of equal length")
}

fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|n| n.parse().ok())
        .collect();
    Duration::from_millis(fields.iter().sum::<u64>() * 10)
}

fn memory(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn stamped(pool: &RecordBatch, now: i64, hours: i64) -> (RecordBatch, Vec<i64>) {
    let times: Vec<i64> = (0..).take(pool.num_rows()).map(|i| now + i / 100 - i % hours * 3_600_000).collect();
    let mut columns = pool.columns().to_vec();
    columns[0] = Arc::new(TimestampMillisecondArray::from(times.clone()));
    columns[1] = Arc::clone(&columns[0]);
    (RecordBatch::try_new(pool.schema(), columns).expect("as before"), times)
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|number| number.parse::<u64>().ok());
    let (total, push) = (arguments.next().unwrap_or(2_000_000), arguments.next().unwrap_or(1000) as usize);
    let rate = arguments.next().filter(|rate| *rate > 0);
    let hours = arguments.next().unwrap_or(1).cast_signed();
    let pool: Vec<RecordBatch> = (0..POOL_ROWS / push).map(|i| batch((i * push) as u64, push)).collect();
    let dir = std::env::temp_dir().join(format!("flood-{}", std::process::id()));
    let lake = Lake::open(&dir, LakeSettings::default(), Arc::new(SystemClock)).await.expect("opens");
    let spec = TableSpec { name: "clicks".to_owned(), schema: pool[0].schema(), partitioned: true };
    let table = lake.ensure(spec.clone()).await.expect("opens");
    println!("pool of {} rows, {} MiB resident", POOL_ROWS, memory("VmRSS"));

    let (begun, before) = (Instant::now(), cpu());
    let keeper = tokio::spawn({
        let lake = Arc::clone(&lake);
        async move { lake.maintain(std::future::pending(), |report| println!("{report:?}")).await }
    });
    let flusher = tokio::spawn({
        let table = Arc::clone(&table);
        async move {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                let due = table.tail_age().is_some_and(|age| age > Duration::from_secs(10));
                if due || table.tail_bytes() > 64 << 20 {
                    table.flush().await.expect("flushes");
                }
            }
        }
    });
    let (mut sent, mut slowest, mut index) = (0, Duration::ZERO, 0);
    while sent < total {
        let (rows, event_time) = stamped(&pool[index % pool.len()], SystemClock.now().0, hours);
        index += 1;
        sent += push as u64;
        let progress = vec![Progress { app_id: "flood/0".to_owned(), next: sent.cast_signed() }];
        let at = Instant::now();
        let mut batch = TailBatch { rows, event_time, progress };
        while let Err(refused) = table.push(batch.clone()) {
            assert_eq!(refused.kind(), base::ErrorKind::Full, "{refused}");
            tokio::time::sleep(Duration::from_millis(5)).await;
            batch = batch.clone();
        }
        slowest = slowest.max(at.elapsed());
        if let Some(rate) = rate {
            let due = Duration::from_secs_f64(sent as f64 / rate as f64);
            tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
        }
    }
    flusher.abort();
    table.drain().await.expect("committed");
    let (took, used) = (begun.elapsed(), cpu() - before);
    keeper.abort();
    let (sent_f, counts) = (sent as f64, table.counts());
    println!(
        "{sent} rows in {took:.2?}: {:.0} rows/s, {:.2} us of CPU per row",
        sent_f / took.as_secs_f64(),
        used.as_secs_f64() * 1e6 / sent_f
    );
    println!(
        "slowest push {slowest:?}; flush p50 {:?} us, p99 {:?} us",
        counts.flush_us.quantile_us(0.5),
        counts.flush_us.quantile_us(0.99)
    );
    println!(
        "{} files, {:.1} bytes per row flushed; peak {} MiB, now {} MiB",
        counts.files.get(),
        counts.bytes.get() as f64 / sent_f,
        memory("VmHWM"),
        memory("VmRSS")
    );

    let (at, before) = (Instant::now(), cpu());
    let report = table.compact().await.expect("a report");
    println!(
        "compaction {:?}, {:.2} us of CPU per row, {} -> {} files, {} -> {} bytes, error {:?}",
        at.elapsed(),
        (cpu() - before).as_secs_f64() * 1e6 / report.rows.max(1) as f64,
        report.files_before,
        report.files_after,
        report.bytes_before,
        report.bytes_after,
        report.error
    );
    let at = Instant::now();
    table.checkpoint().await.expect("a report");
    println!("checkpoint {:?}; peak {} MiB", at.elapsed(), memory("VmHWM"));
    drop((table, lake));
    let at = Instant::now();
    let lake = Lake::open(&dir, LakeSettings::default(), Arc::new(SystemClock)).await.expect("opens");
    let table = lake.ensure(spec).await.expect("opens");
    println!("opened again in {:?} with {} files", at.elapsed(), table.snapshot().files.len());
    println!("left in {}", dir.display());
}
