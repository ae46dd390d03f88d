//! Deliveries that are sent again after the process ended: as it should, in the middle of one, on a disk that fails.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use base::{Header, ShardId};
use proptest::prelude::*;
use stream::disk::{Disk, DiskFile, RealDisk};
use stream::{Batch, Faults, RecordRef, ShardStatus};
use tempfile::TempDir;

use super::*;
use crate::tests::each_record;

/// A process: its log and its door. With `committers` 0, what is appended waits for [`Log::step`].
struct Life {
    folder: TempDir,
    log: Arc<Log>,
    firehose: Arc<Firehose>,
}

/// Parts of two records, so that small deliveries have several.
const PARTS: Parts = Parts { records_max: 2, bytes_max: 1000 };

impl Life {
    fn begin(folder: TempDir, committers: usize, reach: Reach) -> Self {
        Self::begin_on(Arc::new(RealDisk), folder, committers, reach)
    }

    fn begin_on(disk: Arc<dyn Disk>, folder: TempDir, committers: usize, reach: Reach) -> Self {
        let clock = Arc::new(SystemClock);
        let log = Log::open_on(disk, folder.path(), clock.clone(), Faults::default(), committers, None).expect("a log");
        log.ensure("clicks", &StreamSettings { shards: 2, ..StreamSettings::default() }).expect("a stream");
        let settings = FirehoseSettings { access: DeliveryAccess::Open, ..FirehoseSettings::default() };
        let streams = vec![DeliveryStream { name: "clicks".to_owned(), stream: "clicks".to_owned() }];
        let mut firehose = Firehose::new(log.clone(), clock, settings, streams);
        (firehose.parts, firehose.reach) = (PARTS, reach);
        Self { folder, log, firehose: Arc::new(firehose) }
    }

    fn first() -> Self {
        Self::begin(tempfile::tempdir().expect("a folder"), 2, Reach::default())
    }

    /// Ends as it should, and begins again.
    fn restart(self) -> Self {
        self.log.close();
        Self::begin(self.folder, 2, Reach::default())
    }

    /// Is killed at this moment: what was written is there, nothing is finished. Begins again on a copy of the files.
    fn kill(self, committers: usize) -> Self {
        let after = tempfile::tempdir().expect("a folder");
        copy(self.folder.path(), after.path());
        Self::begin(after, committers, Reach::default())
    }

    async fn deliver(&self, id: &str, records: &[String]) -> u16 {
        deliver(&self.firehose, "/firehose/clicks", id, records).await
    }

    fn stream(&self) -> Arc<Stream> {
        self.log.stream("clicks").expect("is there")
    }

    /// All records: their shard, and whether they carry a mark.
    fn records(&self) -> Vec<(ShardId, bool, String)> {
        let mut all = Vec::new();
        each_record(&self.stream(), |shard, record| {
            let marked = record.header(Header::DELIVERY).is_some();
            all.push((shard, marked, String::from_utf8_lossy(record.value).into_owned()));
        });
        all
    }

    /// How often each record is there.
    fn times(&self) -> BTreeMap<String, usize> {
        self.records().into_iter().fold(BTreeMap::new(), |mut times, (_, _, value)| {
            *times.entry(value).or_default() += 1;
            times
        })
    }

    /// What comes in by other doors.
    async fn fill(&self, shard: ShardId, records: usize, bytes: usize) {
        for _ in 0..records {
            let mut batch = Batch::builder();
            let value = vec![b'x'; bytes];
            batch
                .push(RecordRef { timestamp: SystemClock.now(), value: &value, ..RecordRef::default() })
                .expect("fits");
            self.stream().append(shard, batch.finish()).await.expect("is stored");
        }
    }
}

async fn deliver(firehose: &Arc<Firehose>, target: &str, id: &str, records: &[String]) -> u16 {
    let records: Vec<&str> = records.iter().map(String::as_str).collect();
    let (head, mut body) =
        Request::post(target).body(Body::from(delivery(id, &records))).expect("a request").into_parts();
    firehose.deliver(&head, &mut body).await.status().as_u16()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let there = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&there).expect("is made");
            copy(&entry.path(), &there);
        } else {
            std::fs::copy(entry.path(), there).expect("is copied");
        }
    }
}

/// The records of a delivery, none of which is in another one.
fn records(id: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{id}/{number}")).collect()
}

#[tokio::test]
async fn a_delivery_that_is_sent_again_after_a_restart_is_stored_once() {
    let life = Life::first();
    let sent = records("a", 5);
    assert_eq!(life.deliver("a", &sent).await, 200);
    let marks: Vec<_> = life.records().into_iter().filter(|(_, marked, _)| *marked).collect();
    assert_eq!(marks.len(), 3, "one for each part of two: {marks:?}");
    let life = life.restart();
    assert_eq!(life.deliver("a", &sent).await, 200);
    assert!(life.times().values().all(|times| *times == 1) && life.times().len() == 5, "{:?}", life.times());
    let counts = life.firehose.counts();
    assert_eq!((counts.recalled_deliveries(), counts.repeated_records(), counts.records()), (1, 5, 0));
    // What differs is another delivery.
    assert_eq!(life.deliver("a", &records("other", 2)).await, 200);
    assert_eq!(deliver(&life.firehose, "/firehose/clicks?format=json", "a", &sent).await, 200);
    assert_eq!(life.times().len(), 7);
    assert_eq!(life.times().values().sum::<usize>(), 12);
    // And again, killed this time.
    let life = life.kill(2);
    for records in [&sent, &records("other", 2)] {
        assert_eq!(life.deliver("a", records).await, 200);
    }
    assert_eq!((life.times().values().sum::<usize>(), life.firehose.counts().recalled_deliveries()), (12, 3));
}

/// Delivers until so many parts are on disk, and stops there: of the last one nobody heard. `Some`: it ended before.
async fn deliver_until(life: &Life, id: &str, sent: &[String], parts: usize) -> Option<u16> {
    let (firehose, id, sent) = (life.firehose.clone(), id.to_owned(), sent.to_vec());
    let delivering = tokio::spawn(async move { deliver(&firehose, "/firehose/clicks", &id, &sent).await });
    let mut stored = 0;
    while !delivering.is_finished() {
        if stored == parts {
            delivering.abort();
            return None;
        }
        stored += usize::from(life.log.step());
        if stored < parts {
            tokio::task::yield_now().await;
        }
    }
    Some(delivering.await.expect("ends"))
}

#[tokio::test]
async fn killed_between_the_disk_and_the_answer_it_goes_on_where_the_disk_is() {
    let sent = records("a", 7);
    for parts in 0..=4 {
        let life = Life::begin(tempfile::tempdir().expect("a folder"), 0, Reach::default());
        assert_eq!(deliver_until(&life, "a", &sent, parts).await, None);
        let life = life.kill(2);
        assert_eq!(life.times().len(), (2 * parts).min(7), "after {parts} parts");
        assert_eq!(life.deliver("a", &sent).await, 200);
        assert!(life.times().values().all(|times| *times == 1) && life.times().len() == 7, "{:?}", life.times());
        assert_eq!(life.firehose.counts().repeated_records(), (2 * parts).min(7) as u64);
    }
}

#[tokio::test]
async fn what_was_stored_before_shards_were_split_and_merged_is_known_too() {
    let mut life = Life::first();
    for (round, shards) in [4, 3, 1].into_iter().enumerate() {
        for number in 0..4 {
            let id = format!("{round}-{number}");
            assert_eq!(life.deliver(&id, &records(&id, 3)).await, 200);
        }
        life.log.ensure("clicks", &StreamSettings { shards, ..StreamSettings::default() }).expect("is reshaped");
    }
    life = {
        life.log.close();
        let folder = life.folder;
        Life::begin(folder, 2, Reach::default())
    };
    for round in 0..3 {
        for number in 0..4 {
            let id = format!("{round}-{number}");
            assert_eq!(life.deliver(&id, &records(&id, 3)).await, 200);
        }
    }
    assert!(life.times().values().all(|times| *times == 1) && life.times().len() == 36, "{:?}", life.times());
    assert_eq!(life.firehose.counts().recalled_deliveries(), 12);
}

#[tokio::test]
async fn the_search_has_limits_and_what_was_stored_last_is_found_within_them() {
    let life = Life::first();
    let shards = [ShardId(0), ShardId(1)];
    assert_eq!(life.deliver("early", &records("early", 1)).await, 200);
    for shard in shards {
        life.fill(shard, 20, 100_000).await;
    }
    assert_eq!(life.deliver("late", &records("late", 1)).await, 200);
    // Much in the other shard does not hide it.
    let late = life.records().into_iter().find(|(_, _, value)| value == "late/0").expect("is stored").0;
    life.fill(shards[usize::from(late == shards[0])], 20, 100_000).await;
    life.log.close();
    let reach = Reach { bytes: 1_000_000, ..Reach::default() };
    let life = Life::begin(life.folder, 2, reach);
    for id in ["late", "early"] {
        assert_eq!(life.deliver(id, &records(id, 1)).await, 200);
    }
    let times = life.times();
    assert_eq!((times["late/0"], times["early/0"]), (1, 2), "what lies too far back is stored again");
    let counts = life.firehose.counts();
    assert_eq!((counts.recalled_deliveries(), counts.recalls_cut()), (1, 1));
    // Too old is the second limit, time the third.
    for (reach, known) in [
        (Reach { age: Duration::ZERO, ..Reach::default() }, 1),
        (Reach { time: Duration::ZERO, ..Reach::default() }, 0),
    ] {
        let again = tempfile::tempdir().expect("a folder");
        copy(life.folder.path(), again.path());
        let life = Life::begin(again, 2, reach);
        assert_eq!(life.deliver("new", &records("new", 1)).await, 200);
        let found = life.firehose.counts().recalled_deliveries();
        assert!(found >= known && found < 3 && (known > 0 || found == 0), "{found} of {reach:?}");
    }
}

#[tokio::test]
async fn what_another_stream_or_one_made_anew_was_given_is_not_taken_for_this_one() {
    let life = Life::first();
    assert_eq!(life.deliver("a", &records("a", 3)).await, 200);
    assert!(life.log.delete("clicks").expect("is deleted"));
    let life = life.restart();
    assert_eq!(life.deliver("a", &records("a", 3)).await, 200);
    assert_eq!((life.times().len(), life.firehose.counts().recalled_deliveries()), (3, 0));
}

#[tokio::test]
async fn damage_in_the_log_costs_no_delivery() {
    let life = Life::first();
    for number in 0..8 {
        let id = number.to_string();
        assert_eq!(life.deliver(&id, &records(&id, 1)).await, 200);
    }
    let (damaged, ..) = life.records()[0];
    life.log.close();
    // In the middle of what its saved index vouches for.
    let log = life.folder.path().join(format!("stream/clicks/{}/{:020}.log", damaged.0, 0));
    let mut bytes = std::fs::read(&log).expect("is read");
    bytes[70] ^= 1;
    std::fs::write(&log, bytes).expect("is written");
    let life = Life::begin(life.folder, 2, Reach::default());
    assert_eq!(life.deliver("new", &records("new", 3)).await, 200);
    let mut samples = Vec::new();
    base::Measured::measure(&*life.firehose.counts(), &mut samples);
    let count = |name: &str| samples.iter().find(|sample| sample.name == name).map(|sample| sample.value);
    assert_eq!(count("riverrun_edge_firehose_recall_failures_total"), Some(1.0));
}

/// A disk whose syncs of files can be made to fail.
#[derive(Debug, Default)]
struct Failing {
    real: RealDisk,
    fails: Arc<AtomicBool>,
}

#[derive(Debug)]
struct FailingFile {
    file: Box<dyn DiskFile>,
    fails: Arc<AtomicBool>,
}

impl Disk for Failing {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.real.create_dir(path)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(FailingFile { file: self.real.open(path, create)?, fails: self.fails.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.real.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.real.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.real.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.real.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.real.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        self.real.lock(path)
    }
}

impl DiskFile for FailingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.file.read_at(at, max, into)
    }

    fn write_at(&self, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        self.file.write_at(at, parts)
    }

    fn sync(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(io::Error::other("as planned"));
        }
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.file.reserve(at, bytes)
    }
}

#[tokio::test]
async fn a_delivery_in_doubt_waits_for_a_restart_and_others_go_around_the_failed_shard() {
    let disk = Failing::default();
    let fails = disk.fails.clone();
    let life = Life::begin_on(Arc::new(disk), tempfile::tempdir().expect("a folder"), 2, Reach::default());
    // The files are made while all is well.
    for shard in [ShardId(0), ShardId(1)] {
        life.fill(shard, 1, 1).await;
    }
    fails.store(true, Ordering::SeqCst);
    let sent = records("a", 2);
    assert_eq!(life.deliver("a", &sent).await, 503);
    fails.store(false, Ordering::SeqCst);
    assert_eq!(life.deliver("a", &sent).await, 503, "it may be on disk");
    let serving = |shard| life.stream().status(ShardId(shard)) == Some(ShardStatus::Serving);
    assert!(serving(0) != serving(1), "one shard failed");
    for number in 0..20 {
        let id = format!("b{number}");
        assert_eq!(life.deliver(&id, &records(&id, 1)).await, 200, "the other shard takes it");
    }
    let life = life.restart();
    assert_eq!(life.deliver("a", &sent).await, 200);
    let times = life.times();
    assert!(sent.iter().all(|record| times[record] == 1), "{times:?}");
    assert_eq!(times.len(), 2 + 20 + 1);
}

/// What happens in a history of lives.
#[derive(Clone, Debug)]
enum Event {
    /// One of a few deliveries is sent; after so many parts on disk the process is killed, unless it ended before.
    Send { which: usize, parts: usize },
    /// Other records come into a shard.
    Fill { shard: u32 },
    /// The process ends as it should.
    Stop,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..4usize, 0..6usize).prop_map(|(which, parts)| Event::Send { which, parts }),
        2 => (0..2u32).prop_map(|shard| Event::Fill { shard }),
        1 => Just(Event::Stop),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is sent how often and cut off where: each record is stored at most once, all of an acknowledged delivery
    /// are, and once a delivery was answered all of it is there exactly once.
    #[test]
    fn however_often_it_is_sent_and_killed_a_delivery_is_stored_once(events in prop::collection::vec(event(), 1..16)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sent: Vec<Vec<String>> = (0..4).map(|which| records(&which.to_string(), 1 + 2 * which)).collect();
            let mut life = Life::begin(tempfile::tempdir().expect("a folder"), 0, Reach::default());
            let mut acknowledged = [false; 4];
            let last = (0..4).map(|which| Event::Send { which, parts: usize::MAX });
            for event in events.into_iter().chain(last) {
                match event {
                    Event::Send { which, parts } => {
                        match deliver_until(&life, &which.to_string(), &sent[which], parts).await {
                            Some(status) => {
                                assert_eq!(status, 200);
                                acknowledged[which] = true;
                            }
                            None => life = life.kill(0),
                        }
                    }
                    Event::Fill { shard } => {
                        let filling = life.fill(ShardId(shard), 1, 10);
                        let mut filling = std::pin::pin!(filling);
                        while futures::poll!(&mut filling).is_pending() {
                            life.log.step();
                        }
                    }
                    Event::Stop => {
                        life.log.close();
                        life = Life::begin(life.folder, 0, Reach::default());
                    }
                }
                let mut times = life.times();
                times.remove(&"x".repeat(10));
                assert!(times.values().all(|times| *times == 1), "{times:?}");
                for (which, _) in acknowledged.iter().enumerate().filter(|(_, known)| **known) {
                    assert!(sent[which].iter().all(|record| times.contains_key(record)), "{which}: {times:?}");
                }
            }
            assert!(acknowledged.iter().all(|known| *known));
        });
    }
}
