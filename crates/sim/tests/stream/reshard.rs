//! Shards that split, merge and end, and streams that are made and deleted, with a crash after every operation: each key
//! keeps its order, no acknowledged record is lost, and every hash has exactly one open shard.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base::{Clock, Offset, ShardId};
use sim::{Check, Crash, FailedSync, SimClock, SimDisk};
use stream::{
    AppendError, Batch, Faults, HashRange, Log, OpenError, RecordRef, ReshardError, ShardInfo, ShardStatus, Stream,
    StreamSettings,
};

const DIR: &str = "/data";
const STREAM: &str = "s";
const KEYS: u8 = 6;
const DAY: Duration = Duration::from_secs(86_400);

type Appending = Pin<Box<dyn Future<Output = Result<std::ops::Range<Offset>, AppendError>>>>;

/// What one key was promised.
#[derive(Clone, Debug, Default)]
struct Promised {
    /// Numbers that were acknowledged, or seen by a reader.
    kept: Vec<u32>,
    /// Those up to this one retention may take at any time, and a crash may bring back.
    old: u32,
    /// Numbers that were sent and not acknowledged.
    open: Vec<u32>,
    sent: u32,
}

struct Town {
    disk: SimDisk,
    clock: Arc<SimClock>,
    faults: Faults,
    log: Option<(Arc<Log>, Arc<Stream>)>,
    keys: BTreeMap<u8, Promised>,
    /// What a note may be: any of these.
    note: Vec<Option<Vec<u8>>>,
}

fn told<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> String {
    move |error| format!("{what}: {error}")
}

impl Town {
    fn new(faults: Faults) -> Self {
        Self {
            disk: SimDisk::new(),
            clock: Arc::default(),
            faults: Faults { late_by: Duration::ZERO, ..faults },
            log: None,
            keys: (0..KEYS).map(|key| (key, Promised::default())).collect(),
            note: vec![None],
        }
    }

    fn open(&mut self) -> Result<(), OpenError> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let log = Log::open_on(Arc::new(self.disk.clone()), Path::new(DIR), clock, self.faults, 0, None)?;
        let settings = StreamSettings { shards: 2, segment_bytes: 600, ..StreamSettings::default() };
        let stream = log.ensure(STREAM, &settings)?;
        self.log = Some((log, stream));
        Ok(())
    }

    fn close(&mut self) {
        if let Some((log, _)) = self.log.take() {
            log.close();
        }
    }

    fn crash(&mut self, crash: Crash) {
        let after = self.disk.after(crash);
        self.disk.stop_at(Some(0));
        self.log = None;
        self.disk = after;
    }

    fn log(&self) -> &Arc<Log> {
        &self.log.as_ref().expect("the log is open").0
    }

    fn stream(&self) -> &Arc<Stream> {
        &self.log.as_ref().expect("the log is open").1
    }

    /// Sends the next record of a key, and does not wait for the answer.
    fn send(&mut self, key: u8) -> (u8, u32, Appending) {
        let promised = self.keys.get_mut(&key).expect("a known key");
        promised.sent += 1;
        let number = promised.sent;
        promised.open.push(number);
        let value = [&[key][..], &number.to_be_bytes(), &[key; 60]].concat();
        let mut builder = Batch::builder();
        let name = [key];
        let record = RecordRef { timestamp: self.clock.now(), key: Some(&name), value: &value, headers: &[] };
        builder.push(record).expect("fits");
        let stream = Arc::clone(self.stream());
        let shard = stream.shard_for(Some(&name));
        let batch = builder.finish();
        let mut appending: Appending = Box::pin(async move { stream.append(shard, batch).await });
        // The first look queues it.
        match appending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => (key, number, appending),
            Poll::Ready(answer) => (key, number, Box::pin(std::future::ready(answer))),
        }
    }

    fn answer(&mut self, (key, number, mut appending): (u8, u32, Appending)) -> Result<(), AppendError> {
        while self.log().step() {}
        let Poll::Ready(answer) = appending.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("every append is answered")
        };
        let promised = self.keys.get_mut(&key).expect("a known key");
        match answer {
            Ok(_) => {
                promised.open.retain(|open| *open != number);
                promised.kept.push(number);
                Ok(())
            }
            Err(error) => {
                if matches!(error, AppendError::Full { .. } | AppendError::ShardClosed { .. }) {
                    promised.open.retain(|open| *open != number); // it is certain that it is not there
                }
                Err(error)
            }
        }
    }

    /// Every key gets a record.
    fn round(&mut self) -> Check {
        self.clock.jump(10);
        for key in 0..KEYS {
            let sent = self.send(key);
            self.answer(sent).map_err(told("appending"))?;
        }
        Ok(())
    }

    /// Records wait in the queues while `change` is made: those to shards that it closes must come before it.
    fn round_during(&mut self, change: impl FnOnce(&Stream) -> Result<(), ReshardError>) -> Check {
        let sent: Vec<_> = (0..KEYS).map(|key| self.send(key)).collect();
        let changed = change(&Arc::clone(self.stream())).map_err(told("resharding"));
        for sent in sent {
            self.answer(sent).map_err(told("appending during a change"))?;
        }
        changed
    }

    fn set_note(&mut self, bytes: &[u8]) -> Check {
        self.note.push(Some(bytes.to_vec()));
        self.stream().set_note("n", bytes).map_err(told("noting"))?;
        self.note = vec![Some(bytes.to_vec())];
        Ok(())
    }

    /// Lets everything older than retention go. A removal that the disk stopped may be seen only after a restart.
    fn sweep(&mut self) {
        self.clock.jump(8 * DAY.as_millis() as i64);
        for promised in self.keys.values_mut() {
            promised.old = promised.sent;
        }
        self.log().sweep_after(8 * DAY);
    }

    /// Reads all, parents before their children, and holds it against what was promised.
    fn check(&mut self) -> Check {
        let stream = Arc::clone(self.stream());
        let infos = stream.shard_infos();
        check_ranges(&infos)?;
        let mut read: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for info in &infos {
            if [info.parent, info.adjacent_parent].into_iter().flatten().any(|parent| parent >= info.id) {
                return Err(format!("shard {} comes before its parent", info.id));
            }
            match stream.status(info.id) {
                Some(ShardStatus::Serving) => {}
                other => return Err(format!("shard {} is {other:?}", info.id)),
            }
            let bounds = stream.bounds(info.id);
            if let Some(closed) = info.closed
                && closed.end != bounds.end
            {
                return Err(format!("shard {} was closed at {} and ends at {}", info.id, closed.end, bounds.end));
            }
            read_shard(&stream, info, bounds.start, &mut read)?;
        }
        for (key, promised) in &mut self.keys {
            let read = read.remove(key).unwrap_or_default();
            if !read.is_sorted_by(|a, b| a < b) {
                return Err(format!("key {key} is out of order or doubled: {read:?}"));
            }
            if let Some(lost) = promised.kept.iter().find(|kept| **kept > promised.old && !read.contains(kept)) {
                return Err(format!("key {key} has lost {lost} of {:?}: {read:?}", promised.kept));
            }
            let known = |number| promised.kept.contains(number) || promised.open.contains(number);
            if let Some(wrong) = read.iter().find(|number| **number > promised.old && !known(number)) {
                return Err(format!("key {key} has {wrong}, which was never sent or was refused"));
            }
            promised.open.retain(|open| read.last().is_none_or(|last| open > last));
            promised.kept = read;
        }
        let note = stream.note("n");
        if !self.note.contains(&note) {
            return Err(format!("the note is {note:?}, expected one of {:?}", self.note));
        }
        self.note = vec![note];
        Ok(())
    }
}

fn check_ranges(infos: &[ShardInfo]) -> Check {
    let mut open: Vec<HashRange> = infos.iter().filter(|info| info.closed.is_none()).map(|info| info.range).collect();
    open.sort_unstable();
    let whole = open.first().is_some_and(|first| first.start == 0)
        && open.last().is_some_and(|last| last.end == u128::MAX)
        && open.windows(2).all(|pair| pair[0].end.checked_add(1) == Some(pair[1].start));
    if whole { Ok(()) } else { Err(format!("the open shards do not cover every hash once: {open:?}")) }
}

fn read_shard(stream: &Stream, info: &ShardInfo, start: Offset, read: &mut BTreeMap<u8, Vec<u32>>) -> Check {
    let mut from = start;
    loop {
        let fetched = stream.fetch(info.id, from, 300).map_err(told("reading"))?;
        if fetched.is_empty() {
            return Ok(());
        }
        for record in fetched.records() {
            let record = record.map_err(told("reading"))?;
            let number = u32::from_be_bytes(*record.value[1..].first_chunk().expect("a number"));
            let at = stream_hash(record.value[0]);
            if !info.range.contains(at) {
                return Err(format!("key {} lies in shard {}, which does not take it", record.value[0], info.id));
            }
            read.entry(record.value[0]).or_default().push(number);
        }
        from = fetched.next();
    }
}

/// Where a key of one byte lies: its MD5.
fn stream_hash(key: u8) -> u128 {
    const MD5: [u128; KEYS as usize] = [
        0x93b8_85ad_fe0d_a089_cdf6_3490_4fd5_9f71,
        0x55a5_4008_ad1b_a589_aa21_0d26_29c1_df41,
        0x9e68_8c58_a548_7b8e_af69_c9e1_005a_d0bf,
        0x8666_6835_06aa_cd90_0bbd_5a74_ac4e_df68,
        0xec7f_7e7b_b437_42ce_8681_45f7_1d37_b53c,
        0x8bb6_c178_3864_3f96_91cc_6a4d_e6c5_1709,
    ];
    MD5[usize::from(key)]
}

fn open_ids(stream: &Stream) -> Vec<ShardId> {
    let mut open: Vec<_> = stream.shard_infos().into_iter().filter(|info| info.closed.is_none()).collect();
    open.sort_unstable_by_key(|info| info.range.start);
    open.into_iter().map(|info| info.id).collect()
}

fn split_first(stream: &Stream) -> Result<(), ReshardError> {
    let first = open_ids(stream)[0];
    let range = stream.shard_infos().into_iter().find(|info| info.id == first).map(|info| info.range);
    stream.split(first, range.and_then(|range| range.middle()).unwrap_or(1)).map(|_| ())
}

fn merge_first(stream: &Stream) -> Result<(), ReshardError> {
    let open = open_ids(stream);
    stream.merge(open[1], open[0]).map(|_| ())
}

/// A life of a stream whose shards change under load, and go when their retention is over.
fn life(town: &mut Town) -> Check {
    town.open().map_err(told("opening"))?;
    town.round()?;
    town.round_during(split_first)?;
    town.set_note(b"one")?;
    town.round()?;
    town.round_during(|stream| stream.reshape(5))?;
    town.check()?;
    town.close();
    town.open().map_err(told("opening"))?;
    town.round_during(merge_first)?;
    town.set_note(b"two")?;
    town.stream().set_retention(2 * DAY).map_err(told("setting"))?;
    town.round()?;
    town.sweep();
    town.check()?;
    town.round_during(|stream| stream.reshape(1))?;
    town.round_during(split_first)?;
    town.check()?;
    town.close();
    Ok(())
}

fn undisturbed() -> SimDisk {
    let mut town = Town::new(Faults::default());
    life(&mut town).expect("an undisturbed life");
    town.disk
}

/// After any crash: everything holds, it lives on, and what it showed survives the next power cut.
fn recovers(town: &mut Town) -> Check {
    town.open().map_err(told("recovery"))?;
    town.check()?;
    town.round()?;
    town.round_during(|stream| stream.reshape(3))?;
    town.round()?;
    town.check()?;
    town.crash(Crash::LoseAll);
    town.open().map_err(told("second recovery"))?;
    town.check()
}

fn crash_at(operation: u64, crash: Crash, faults: Faults) -> Check {
    let mut town = Town::new(faults);
    town.disk.stop_at(Some(operation));
    let before = town.disk.clone();
    let lived = life(&mut town);
    if before.operations() < operation {
        lived?;
    }
    town.crash(crash);
    recovers(&mut town)
}

fn sweep(faults: Faults, tears: u64) -> Check {
    for operation in 1..=undisturbed().operations() {
        let seeds = (0..tears).map(|seed| Crash::Tear(seed * 7919 + operation));
        for crash in [Crash::Kill, Crash::LoseAll].into_iter().chain(seeds) {
            crash_at(operation, crash, faults).map_err(|what| format!("{crash:?} at operation {operation}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_after_every_operation_keeps_every_keys_order_and_every_acknowledged_record() {
    let operations = undisturbed().operations();
    assert!(operations > 150, "the life is long enough to hit everything: {operations}");
    sweep(Faults::default(), 6).expect("holds");
}

#[test]
fn the_sweep_catches_new_shards_that_take_records_before_the_close_is_durable() {
    let planted = Faults { close_unsynced: true, ..Faults::default() };
    assert!(sweep(planted, 1).is_err(), "a test that cannot see this bug is worth nothing");
}

fn failing_sync(nth: u64, how: FailedSync, crash: Crash, faults: Faults) -> Check {
    let mut town = Town::new(faults);
    town.disk.fail_sync(nth, how);
    let disk = town.disk.clone();
    let _failed = life(&mut town);
    if disk.syncs() < nth {
        return Ok(());
    }
    // Whoever still takes records keeps them.
    if town.log.is_some() {
        for key in 0..KEYS {
            let sent = town.send(key);
            let _refused = town.answer(sent);
        }
    }
    town.crash(crash);
    recovers(&mut town)
}

fn fail_every_sync(faults: Faults) -> Check {
    for nth in 1..=undisturbed().syncs() {
        for how in [FailedSync::PagesKept, FailedSync::PagesLost] {
            for crash in [Crash::Kill, Crash::LoseAll, Crash::Tear(nth), Crash::Tear(nth + 1000)] {
                failing_sync(nth, how, crash, faults)
                    .map_err(|what| format!("sync {nth} fails, {how:?}, then {crash:?}: {what}"))?;
            }
        }
    }
    Ok(())
}

#[test]
fn after_any_failed_sync_no_shard_takes_what_a_restart_would_not_find() {
    fail_every_sync(Faults::default()).expect("holds");
}

#[test]
fn the_sync_test_catches_taking_records_again_although_the_close_may_be_durable() {
    let planted = Faults { reopen_after_failed_close: true, ..Faults::default() };
    assert!(fail_every_sync(planted).is_err(), "a test that cannot see this bug is worth nothing");
}

#[test]
fn on_a_full_disk_the_shards_stay_as_they_were_and_go_on_when_there_is_room() {
    let (mut refused, mut changed) = (0, 0);
    for room in (0..3000).step_by(100) {
        let mut town = Town::new(Faults::default());
        town.open().expect("opens");
        town.round().expect("there is room yet");
        town.disk.limit(Some(town.disk.used() + room));
        let before = town.stream().shards();
        match split_first(town.stream()) {
            Ok(()) => changed += 1,
            Err(error) => {
                assert_eq!(error.kind(), base::ErrorKind::Full, "{error}");
                assert_eq!(town.stream().shards(), before, "{room} bytes");
                refused += 1;
            }
        }
        town.disk.limit(None);
        town.round().expect("nothing is left closed or poisoned");
        town.round_during(split_first).expect("there is room again");
        town.check().expect("holds");
        town.crash(Crash::LoseAll);
        recovers(&mut town).expect("holds after a power cut, too");
    }
    assert!(refused > 0 && changed > 0, "{refused} refused, {changed} changed");
}

/// Makes a stream, gives it a record, deletes it, makes it again; returns what is certain about it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Acknowledged in the stream that is there, if it is certain which one.
    acknowledged: Vec<u8>,
    deleting: bool,
    making: bool,
}

fn live_and_die(town: &mut Town, known: &mut Known) -> Check {
    town.open().map_err(told("opening"))?;
    let log = Arc::clone(town.log());
    for life in 0..2u8 {
        known.making = true;
        let stream = log.create("mayfly", &StreamSettings::default()).map_err(told("making"))?;
        known.making = false;
        for number in 0..2 {
            let value = life * 10 + number;
            let mut builder = Batch::builder();
            builder.push(RecordRef { value: &[value], ..RecordRef::default() }).expect("fits");
            crate::append(&log, &stream, ShardId(0), builder.finish()).map_err(told("appending"))?;
            known.acknowledged.push(value);
        }
        stream.set_note("n", &[life]).map_err(told("noting"))?;
        if life == 0 {
            known.deleting = true;
            log.delete("mayfly").map_err(told("deleting"))?;
            known.acknowledged.clear();
            known.deleting = false;
        }
    }
    town.close();
    Ok(())
}

fn read_mayfly(stream: &Stream) -> Result<Vec<u8>, String> {
    let mut read = Vec::new();
    let mut from = Offset::ZERO;
    loop {
        let fetched = stream.fetch(ShardId(0), from, 1000).map_err(told("reading"))?;
        if fetched.is_empty() {
            return Ok(read);
        }
        for record in fetched.records() {
            read.push(record.map_err(told("reading"))?.value[0]);
        }
        from = fetched.next();
    }
}

#[test]
fn a_crash_during_deletion_leaves_the_stream_whole_or_gone_and_never_in_another_of_its_name() {
    let mut whole = Town::new(Faults::default());
    live_and_die(&mut whole, &mut Known::default()).expect("an undisturbed life");
    let (mut kept, mut gone) = (0, 0);
    for operation in 1..=whole.disk.operations() {
        let tears = (0..6).map(|seed| Crash::Tear(seed * 7919 + operation));
        for crash in [Crash::Kill, Crash::LoseAll].into_iter().chain(tears) {
            let mut town = Town::new(Faults::default());
            let mut known = Known::default();
            town.disk.stop_at(Some(operation));
            let _stopped = live_and_die(&mut town, &mut known);
            town.crash(crash);
            town.open().unwrap_or_else(|error| panic!("{crash:?} at operation {operation}: {error}"));
            let log = Arc::clone(town.log());
            let found = log.stream("mayfly");
            let read = found.map(|stream| read_mayfly(&stream).expect("readable"));
            match &read {
                Some(read) => {
                    assert!(read.starts_with(&known.acknowledged), "{crash:?} at {operation}: {read:?} {known:?}");
                    let lives: Vec<u8> = read.iter().map(|value| value / 10).collect();
                    assert!(lives.windows(2).all(|pair| pair[0] == pair[1]), "of one life: {read:?}");
                    kept += u32::from(known.deleting);
                }
                None => {
                    let may_be_gone = known.deleting || known.acknowledged.is_empty();
                    assert!(may_be_gone, "{crash:?} at {operation}: {known:?}");
                    gone += u32::from(known.deleting);
                }
            }
            // Whatever was left, the name serves again, and nothing of before comes through.
            if read.is_some() {
                log.delete("mayfly").expect("deletes");
            }
            let next = log.create("mayfly", &StreamSettings::default()).expect("makes");
            assert_eq!((read_mayfly(&next), next.note("n")), (Ok(Vec::new()), None), "{crash:?} at {operation}");
            town.crash(Crash::LoseAll);
            town.open().expect("opens");
            let uuid = town.log().stream("mayfly").map(|stream| stream.uuid());
            assert_eq!(uuid, Some(next.uuid()), "{crash:?} at {operation}");
        }
    }
    assert!(kept > 0 && gone > 0, "both ends of a deletion were met: {kept} {gone}");
}
