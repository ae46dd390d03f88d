//! Whoever appends alone may commit on the spot: what that must not change for anybody else.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use base::{Millis, Offset, ShardId, SystemClock};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::values;
use crate::disk::{Disk, DiskFile, RealDisk};
use crate::{AppendError, Batch, Faults, Log, RecordRef, Stream, StreamSettings};

const SHARD: ShardId = ShardId(0);
/// How long what must not hang may take, before the disk breaks and the test with it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What syncs of files do, once it is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Way {
    #[default]
    Pass,
    /// They wait until another way is said.
    Wait,
    Fail,
}

/// The real disk, with syncs that wait or fail.
#[derive(Clone, Debug, Default)]
struct GateDisk {
    /// What they do, and how many wait.
    gate: Arc<(Mutex<(Way, usize)>, Condvar)>,
}

#[derive(Debug)]
struct GateFile {
    file: Box<dyn DiskFile>,
    disk: GateDisk,
}

impl GateDisk {
    fn set(&self, way: Way) {
        self.gate.0.lock().0 = way;
        self.gate.1.notify_all();
    }

    /// Returns once a sync waits.
    fn waits(&self) {
        let mut gate = self.gate.0.lock();
        while gate.1 == 0 {
            assert!(!self.gate.1.wait_for(&mut gate, PATIENCE).timed_out(), "nobody syncs");
        }
    }

    fn pass(&self) -> io::Result<()> {
        let mut gate = self.gate.0.lock();
        gate.1 += 1;
        self.gate.1.notify_all();
        while gate.0 == Way::Wait {
            self.gate.1.wait(&mut gate);
        }
        gate.1 -= 1;
        if gate.0 == Way::Fail { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    }
}

impl Disk for GateDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_dir(path)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GateFile { file: RealDisk.open(path, create)?, disk: self.clone() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        RealDisk.lock(path)
    }
}

impl DiskFile for GateFile {
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
        self.disk.pass()?;
        self.file.sync()
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.truncate(length)
    }

    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        self.file.reserve(at, bytes)
    }
}

/// A log on such a disk, and its stream.
struct Case {
    dir: TempDir,
    disk: GateDisk,
    log: Arc<Log>,
    stream: Arc<Stream>,
    /// Until it is dropped, somebody who needs no runtime watches that nothing hangs for long.
    _watch: mpsc::Sender<()>,
}

impl Case {
    fn new(committers: usize) -> Self {
        let (dir, disk) = (tempfile::tempdir().expect("a folder"), GateDisk::default());
        let log = open(&disk, dir.path(), committers);
        let stream = log.ensure("clicks", &StreamSettings::default()).expect("is made");
        let (watch, over) = mpsc::channel();
        let gate = disk.clone();
        std::thread::spawn(move || match over.recv_timeout(PATIENCE) {
            Err(RecvTimeoutError::Timeout) => gate.set(Way::Fail),
            _ => gate.set(Way::Pass),
        });
        Self { dir, disk, log, stream, _watch: watch }
    }

    /// One append that leads, and whose sync waits.
    async fn leader(&self) -> tokio::task::JoinHandle<Result<Offset, AppendError>> {
        self.disk.set(Way::Wait);
        let stream = self.stream.clone();
        let leader = tokio::spawn(async move { alone(&stream, "first").await });
        let disk = self.disk.clone();
        tokio::task::spawn_blocking(move || disk.waits()).await.expect("waits");
        assert_eq!(self.led(), 1);
        leader
    }

    fn led(&self) -> u64 {
        self.stream.counts.led_commits.get()
    }
}

fn open(disk: &GateDisk, dir: &Path, committers: usize) -> Arc<Log> {
    let disk = Arc::new(disk.clone());
    Log::open_on(disk, dir, Arc::new(SystemClock), Faults::default(), committers, None).expect("opens")
}

fn batch(value: &str) -> Batch {
    let mut builder = Batch::builder();
    let record = RecordRef { timestamp: Millis(1), value: value.as_bytes(), ..RecordRef::default() };
    builder.push(record).expect("fits");
    builder.finish()
}

async fn alone(stream: &Stream, value: &str) -> Result<Offset, AppendError> {
    stream.append_alone(SHARD, batch(value)).await.map(|(offsets, _)| offsets.start)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_batch_is_written_by_whoever_appends_it_alone_and_others_are_handed_over() {
    let case = Case::new(2);
    assert_eq!(alone(&case.stream, "small").await, Ok(Offset(0)));
    assert_eq!(case.led(), 1);
    assert_eq!(case.stream.append(SHARD, batch("one of several")).await, Ok(Offset(1)..Offset(2)));
    assert_eq!(alone(&case.stream, &"large ".repeat(10_000)).await, Ok(Offset(2)));
    assert_eq!(case.led(), 1);
    case.log.close();
    assert_eq!(alone(&case.stream, "late").await, Err(AppendError::Closed));
}

#[tokio::test]
async fn a_thread_without_others_beside_it_does_not_wait_for_the_disk() {
    let case = Case::new(2);
    assert_eq!(alone(&case.stream, "small").await, Ok(Offset(0)));
    assert_eq!(case.led(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_leader_waits_for_the_disk_the_network_and_the_clock_are_served() {
    let case = Case::new(2);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let address = listener.local_addr().expect("an address");
    case.disk.set(Way::Wait);
    let stream = case.stream.clone();
    // Each connection sends what it is to do: append, or just answer.
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let stream = stream.clone();
            tokio::spawn(async move {
                while let Ok(what) = connection.read_u8().await {
                    if what == b'a' {
                        alone(&stream, "first").await.expect("appends");
                    }
                    connection.write_u8(what).await.expect("answers");
                }
            });
        }
    });
    let mut appending = TcpStream::connect(address).await.expect("connects");
    let mut asking = TcpStream::connect(address).await.expect("connects");
    asking.write_u8(b'q').await.expect("asks");
    assert_eq!(asking.read_u8().await.expect("is answered"), b'q');
    appending.write_u8(b'a').await.expect("asks");
    let disk = case.disk.clone();
    tokio::task::spawn_blocking(move || disk.waits()).await.expect("waits");
    assert_eq!(case.led(), 1);
    for _ in 0..100 {
        asking.write_u8(b'q').await.expect("asks");
        assert_eq!(asking.read_u8().await.expect("is answered"), b'q');
    }
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::spawn(async {}).await.expect("runs");
    case.disk.set(Way::Pass);
    assert_eq!(appending.read_u8().await.expect("is answered"), b'a');
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_while_one_leads_is_written_afterwards_by_a_thread() {
    let case = Case::new(2);
    let leader = case.leader().await;
    let followers: Vec<_> = ["second", "third"].map(|value| case.stream.enqueue(SHARD, batch(value))).into();
    case.disk.set(Way::Pass);
    assert_eq!(leader.await.expect("ends"), Ok(Offset(0)));
    for (number, follower) in (1..).zip(followers) {
        let (offsets, _) = follower.expect("queued").await.expect("answered").expect("appended");
        assert_eq!(offsets.start, Offset(number));
    }
    assert_eq!(values(&case.stream, SHARD), ["first", "second", "third"]);
    assert_eq!(case.led(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_a_leader_refuses_it_and_all_who_follow() {
    let case = Case::new(2);
    let leader = case.leader().await;
    let follower = case.stream.enqueue(SHARD, batch("second")).expect("queued");
    case.disk.set(Way::Fail);
    assert!(matches!(leader.await.expect("ends"), Err(AppendError::Poisoned { .. })));
    assert!(matches!(follower.await.expect("answered"), Err(AppendError::Poisoned { .. })));
    case.disk.set(Way::Pass);
    assert!(matches!(alone(&case.stream, "third").await, Err(AppendError::Poisoned { .. })));
    assert!(values(&case.stream, SHARD).is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_waits_for_who_leads_and_writes_what_queued_up_behind() {
    let case = Case::new(2);
    let leader = case.leader().await;
    let mut follower = case.stream.enqueue(SHARD, batch("second")).expect("queued");
    let log = case.log.clone();
    let closing = tokio::task::spawn_blocking(move || log.close());
    let refuses = || case.stream.shape().open_shards().all(|(_, shard)| shard.queue.lock().refused.is_some());
    while !refuses() {
        tokio::task::yield_now().await;
    }
    assert!(!closing.is_finished());
    case.disk.set(Way::Pass);
    assert_eq!(leader.await.expect("ends"), Ok(Offset(0)));
    closing.await.expect("closes");
    assert_eq!(follower.try_recv().expect("answered").expect("appended").0, Offset(1)..Offset(2));
    let Case { dir, disk, .. } = case;
    let log = open(&disk, dir.path(), 0);
    assert_eq!(values(&log.stream("clicks").expect("is there"), SHARD), ["first", "second"]);
}

#[test]
fn what_a_leader_wrote_stays_when_it_goes_away_before_it_is_answered() {
    let case = Case::new(0);
    {
        let mut appending = std::pin::pin!(alone(&case.stream, "first"));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        // It makes way for those it woke.
        assert!(appending.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(values(&case.stream, SHARD), ["first"]);
    assert_eq!(case.led(), 1);
}
