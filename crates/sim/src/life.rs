//! A life: what happens to a log, one thing after the other, drawn from a seed, and the faults that meet it.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use stream::{Compression, Faults};

use crate::disk::{Crash, FailedSync};
use crate::hits::Hits;
use crate::model::Check;
use crate::send::{Say, What};
use crate::world::{Disturbed, Put, World};

const NAMES: [&str; 2] = ["s", "t"];
/// In most lives segments hold a few records. In one of so many they are so long, and records so many times larger, that room is made
/// ahead of small groups, more than once; what else a life is does not depend on it.
const LONG_SEGMENTS_EVERY: u64 = 4;
const LONG_SEGMENT_BYTES: u64 = 48 * 1024;
const LONG_RECORDS: usize = 4;
const HOUR_MS: i64 = 3_600_000;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;

/// Something that happens.
#[derive(Clone, Debug)]
pub enum Event {
    /// Streams that are made from now on have segments of so many bytes.
    Segments(u64),
    /// Batches are appended together.
    Append(Vec<Put>),
    /// Idempotent producers send together.
    Produce(Vec<Say>),
    /// A restart finds the snapshots of producers damaged: with a flipped bit, or empty.
    Spoil(&'static str, Option<usize>),
    /// A shard is split at this hash.
    Split(&'static str, u128),
    /// The nth shard is merged with the next.
    Merge(&'static str, usize),
    /// The stream is cut into so many shards.
    Reshape(&'static str, u32),
    /// A stream is made with so many shards; by the file (`true`) or a call.
    Create(&'static str, u32, bool),
    /// A stream is deleted.
    Delete(&'static str),
    /// What is above so many bytes goes.
    Retain(&'static str, u64),
    /// So many milliseconds pass, then retention sweeps.
    Sweep(i64),
    /// The records of a stream are encrypted from now on, or no more.
    Encrypt(&'static str, bool),
    /// A note of so many bytes is set.
    Note(&'static str, usize),
    /// The wall clock jumps.
    Jump(i64),
    /// The log is closed and opened.
    Reopen,
    /// The machine or the process stops, and starts again.
    Crash(Crash),
}

/// What meets it.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The machine stops in the middle of the nth operation of the event, and again, if the second number says so, in
    /// the middle of so many operations of the recovery.
    Stop(u64, Crash, Option<u64>),
    /// The nth sync fails.
    Sync(u64, FailedSync),
    /// The nth write fails.
    Write(u64),
    /// So many bytes more, and the disk is full.
    Full(usize),
}

/// An event, and the fault that meets it.
#[derive(Clone, Debug)]
pub struct Step {
    /// What happens.
    pub event: Event,
    /// What meets it, if anything.
    pub fault: Option<Fault>,
}

/// A promise was broken.
#[derive(Debug)]
pub struct Broken {
    /// Which.
    pub what: String,
    /// At which step.
    pub step: usize,
    /// The last lines of what was done and answered.
    pub trace: Vec<String>,
}

/// The life of a seed.
#[must_use]
pub fn from_seed(seed: u64) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let shards = random.random_range(1..4);
    let mut steps = Vec::new();
    let long = seed % LONG_SEGMENTS_EVERY == LONG_SEGMENTS_EVERY - 1;
    if long {
        steps.push(Step { event: Event::Segments(LONG_SEGMENT_BYTES), fault: None });
    }
    steps.push(Step { event: Event::Create("s", shards, true), fault: None });
    for _ in 0..random.random_range(4..24) {
        let (mut event, fault) = (event(&mut random), fault(&mut random));
        if let (true, Event::Append(puts)) = (long, &mut event) {
            puts.iter_mut().for_each(|put| put.bytes *= LONG_RECORDS);
        }
        // What is damaged cannot be made good again if a fault comes in between: nothing is promised then.
        let fault = fault.filter(|_| !matches!(event, Event::Spoil(..)));
        steps.push(Step { event, fault });
    }
    steps
}

fn event(random: &mut StdRng) -> Event {
    let name = if random.random_bool(0.8) { NAMES[0] } else { NAMES[1] };
    match random.random_range(0..130) {
        0..46 => Event::Append((0..random.random_range(1..6)).map(|_| put(name, random)).collect()),
        46..52 => Event::Split(name, random.random()),
        52..56 => Event::Merge(name, random.random_range(0..4)),
        56..59 => Event::Reshape(name, random.random_range(1..5)),
        59..66 => Event::Create(name, random.random_range(1..4), random.random()),
        66..69 => Event::Delete(name),
        69..75 => Event::Retain(name, random.random_range(0..4000)),
        75..79 => Event::Sweep(random.random_range(0..40 * HOUR_MS)),
        79 => Event::Encrypt(name, random.random()),
        80..83 => Event::Note(name, random.random_range(0..1500)),
        83..86 => Event::Jump([-HOUR_MS, YEAR_MS, 1000, -1][random.random_range(0..4)]),
        86..91 => Event::Reopen,
        91..127 => Event::Produce((0..random.random_range(1..9)).map(|_| say(name, random)).collect()),
        127 => Event::Spoil(name, random.random_bool(0.5).then(|| random.random_range(0..500))),
        _ => Event::Crash(crash(random)),
    }
}

fn say(stream: &'static str, random: &mut StdRng) -> Say {
    let what = match random.random_range(0..30) {
        0..14 => What::Next,
        14..21 => What::Again(random.random_range(0..7)),
        21 => What::Gap,
        22..24 => What::NextEpoch,
        24..26 => What::Zombie,
        26 => What::Stranger,
        27..29 => What::AgainToClosed(random.random_range(0..6)),
        _ => What::NextToClosed,
    };
    let hash = if random.random_bool(0.8) { 0 } else { random.random() };
    let producer = if random.random_bool(0.8) { 1 } else { 2 };
    Say { stream, hash, producer, what, records: random.random_range(1..4) }
}

fn put(stream: &'static str, random: &mut StdRng) -> Put {
    let compression = [Compression::None, Compression::None, Compression::Lz4, Compression::Zstd];
    Put {
        stream,
        hash: random.random(),
        records: random.random_range(1..4),
        bytes: random.random_range(8..900),
        compression: compression[random.random_range(0..compression.len())],
        future_ms: if random.random_bool(0.05) { YEAR_MS } else { 0 },
    }
}

fn crash(random: &mut StdRng) -> Crash {
    match random.random_range(0..6) {
        0 => Crash::Kill,
        1 => Crash::LoseAll,
        _ => Crash::Tear(random.random()),
    }
}

fn fault(random: &mut StdRng) -> Option<Fault> {
    let left = if random.random() { FailedSync::PagesKept } else { FailedSync::PagesLost };
    match random.random_range(0..100) {
        0..16 => {
            let again = random.random_bool(0.3).then(|| random.random_range(1..8));
            Some(Fault::Stop(random.random_range(1..16), crash(random), again))
        }
        16..22 => Some(Fault::Sync(random.random_range(1..5), left)),
        22..25 => Some(Fault::Write(random.random_range(1..5))),
        25..30 => Some(Fault::Full(random.random_range(0..3000))),
        _ => None,
    }
}

/// Lives it. Returns a number that tells this trace from others.
///
/// # Errors
/// The first promise that was broken.
pub fn run(steps: &[Step], faults: Faults, hits: &Hits) -> Result<u64, Broken> {
    let mut world = World::counting(faults, hits.clone());
    let opened = world.open().map_err(|error| format!("opening an empty folder: {error}"));
    let mut at = 0;
    let lived = opened.and_then(|()| world.check()).and_then(|()| {
        steps.iter().enumerate().try_for_each(|(number, step)| {
            at = number;
            live(&mut world, step, hits)
        })
    });
    let lived = lived.and_then(|()| last_restart(&mut world));
    world.close();
    match lived {
        Ok(()) => Ok(world.trace.hash() ^ world.disk.trace().hash().rotate_left(1)),
        Err(what) => {
            let mut trace = world.trace.tail();
            trace.push("and of the disk:".to_owned());
            trace.extend(world.disk.trace().tail());
            Err(Broken { what, step: at, trace })
        }
    }
}

/// What was served at the end must survive the next power cut, whatever was served before.
fn last_restart(world: &mut World) -> Check {
    world.crash(Crash::LoseAll);
    world.open().map_err(|error| format!("the last recovery: {error}"))?;
    world.check()?;
    if !world.streams.contains_key("s") {
        world.create("s", 1, false)?;
    }
    let acknowledged = world.append(&[Put::new(1, 50)])?;
    if acknowledged != 1 {
        return Err("a healthy log takes no record".to_owned());
    }
    world.check()
}

fn live(world: &mut World, step: &Step, hits: &Hits) -> Check {
    world.trace.note(format_args!("{step:?}"));
    arm(world, step.fault);
    happen(world, &step.event, hits)?;
    match step.fault {
        Some(Fault::Stop(_, crash, again)) => {
            world.crash(crash);
            if let Some(operation) = again {
                let now = world.disk.operations();
                world.disk.stop_at(Some(now + operation));
                if world.open().is_err() {
                    hits.hit("stopped in the middle of a recovery");
                }
                world.crash(crash);
            }
            world.open().map_err(|error| format!("recovery: {error}"))?;
        }
        Some(_) => {
            world.disk.heal();
            world.disk.limit(None);
            if world.disturbed == Disturbed::Full {
                world.disturbed = Disturbed::No; // there is room again: it must go on
            }
            if !world.is_open() {
                world.open().map_err(|error| format!("opening again: {error}"))?;
            }
        }
        None => {}
    }
    world.check()
}

fn arm(world: &mut World, fault: Option<Fault>) {
    let disk = &world.disk;
    match fault {
        Some(Fault::Stop(operation, ..)) => disk.stop_at(Some(disk.operations() + operation)),
        Some(Fault::Sync(nth, how)) => disk.fail_sync(nth, how),
        Some(Fault::Write(nth)) => disk.fail_write(nth),
        Some(Fault::Full(room)) => disk.limit(Some(disk.used() + room)),
        None => return,
    }
    let by = if matches!(fault, Some(Fault::Full(_))) { Disturbed::Full } else { Disturbed::Badly };
    world.disturbed = world.disturbed.max(by);
}

fn happen(world: &mut World, event: &Event, hits: &Hits) -> Check {
    hits.hit(match event {
        Event::Segments(_) => "event: segments",
        Event::Append(_) => "event: append",
        Event::Produce(_) => "event: produce",
        Event::Spoil(..) => "event: spoil",
        Event::Split(..) => "event: split",
        Event::Merge(..) => "event: merge",
        Event::Reshape(..) => "event: reshape",
        Event::Create(..) => "event: create",
        Event::Delete(_) => "event: delete",
        Event::Retain(..) => "event: retain",
        Event::Sweep(_) => "event: sweep",
        Event::Encrypt(..) => "event: encrypt",
        Event::Note(..) => "event: note",
        Event::Jump(_) => "event: the clock jumps",
        Event::Reopen => "event: reopen",
        Event::Crash(_) => "event: crash",
    });
    match event {
        Event::Segments(bytes) => {
            world.segment_bytes = *bytes;
            Ok(())
        }
        Event::Append(puts) => world.append(puts).map(drop),
        Event::Produce(says) => world.produce(says).map(drop),
        Event::Spoil(name, flip) => world.spoil(name, *flip),
        Event::Split(name, at) => world.split(name, *at).map(drop),
        Event::Merge(name, nth) => world.merge(name, *nth).map(drop),
        Event::Reshape(name, shards) => world.reshape(name, *shards).map(drop),
        Event::Create(name, shards, declared) => world.create(name, *shards, *declared).map(drop),
        Event::Delete(name) => world.delete(name).map(drop),
        Event::Retain(name, bytes) => world.retain(name, *bytes),
        Event::Sweep(ms) => {
            world.sweep(*ms);
            Ok(())
        }
        Event::Encrypt(name, encrypt) => world.encrypt(name, *encrypt),
        Event::Note(name, bytes) => world.set_note(name, "note", &vec![7; *bytes]),
        Event::Jump(ms) => {
            world.jump(*ms);
            Ok(())
        }
        Event::Reopen => {
            let disturbed = world.disturbed;
            world.close();
            match world.open() {
                Ok(()) => {
                    world.disturbed = disturbed;
                    Ok(())
                }
                // Tried again when the fault is over.
                Err(_) if disturbed > Disturbed::No => Ok(()),
                Err(error) => Err(format!("opening again: {error}")),
            }
        }
        Event::Crash(crash) => {
            world.crash(*crash);
            world.open().map_err(|error| format!("recovery: {error}"))
        }
    }
}

/// The life without the steps that the broken promise does not need: shorter to read. Each step is left out in turn.
#[must_use]
pub fn shrink(steps: &[Step], faults: Faults) -> Vec<Step> {
    let breaks = |steps: &[Step]| run(steps, faults, &Hits::default()).is_err();
    let mut least = steps.to_vec();
    let mut size = least.len() / 2;
    while size > 0 {
        let mut from = 0;
        while from < least.len() {
            let mut fewer = least.clone();
            fewer.drain(from..(from + size).min(least.len()));
            if breaks(&fewer) {
                least = fewer;
            } else {
                from += size;
            }
        }
        size /= 2;
    }
    for at in 0..least.len() {
        let mut calmer = least.clone();
        if calmer[at].fault.take().is_some() && breaks(&calmer) {
            least = calmer;
        }
    }
    least
}

/// Lives the life of a seed; what is broken is told with the shortest life that breaks it.
///
/// # Errors
/// The promise that was broken, as a text for people.
pub fn judge(seed: u64, faults: Faults, hits: &Hits) -> Result<u64, String> {
    let steps = from_seed(seed);
    run(&steps, faults, hits).map_err(|broken| {
        let least = shrink(&steps, faults);
        let broken = run(&least, faults, &Hits::default()).err().unwrap_or(broken);
        let steps: Vec<String> = least.iter().map(|step| format!("  {step:?}")).collect();
        let (what, trace) = (&broken.what, broken.trace.join("\n  "));
        format!("seed {seed}: {what} (step {})\n{}\ntrace:\n  {trace}", broken.step, steps.join("\n"))
    })
}
