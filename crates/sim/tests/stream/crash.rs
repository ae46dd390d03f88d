//! The sweep: a crash after every operation, and what a disk can do besides.

use std::path::PathBuf;

use proptest::prelude::*;

use sim::world::SHARD;
use sim::{Check, Crash, FailedSync, SimDisk, World};
use stream::{AppendError, Faults, ShardStatus};

/// A life of a log: rolling, closing, retention, clocks that go back, groups of several batches.
fn life(world: &mut World) -> Check {
    let failed = |what: &str| format!("{what} failed");
    for round in 0..2 {
        world.open().map_err(|error| format!("opening: {error}"))?;
        world.check()?;
        for group in 0..5 {
            world.clock.jump(if group == 3 { -40 } else { 10 });
            let batches: &[(usize, usize)] = if group % 2 == 0 { &[(2, 100), (1, 700), (3, 20)] } else { &[(1, 300)] };
            world.append(batches).map_err(|error| format!("appending: {error}"))?;
        }
        world.check()?;
        if round == 1 {
            world.retain(2000).map_err(|_| failed("removing"))?;
            world.check()?;
        }
        world.close();
    }
    Ok(())
}

/// How many operations a life has.
fn operations() -> u64 {
    let mut world = World::new(Faults::default());
    life(&mut world).expect("an undisturbed life");
    world.disk.operations()
}

/// Lives until the disk stops at `operation`, crashes, recovers, lives on.
fn crash_at(operation: u64, crash: Crash, faults: Faults) -> Check {
    let mut world = World::new(faults);
    world.disk.stop_at(Some(operation));
    let before = world.disk.clone();
    let lived = life(&mut world);
    if before.operations() < operation {
        lived?;
    }
    world.crash(crash);
    world.open().map_err(|error| format!("recovery: {error}"))?;
    world.accept_start()?;
    if let Some(ShardStatus::Corrupt(corrupt)) = world.stream().status(SHARD) {
        return Err(format!("a crash is taken for damage: {corrupt}"));
    }
    world.check()?;
    world.append(&[(1, 50), (2, 300)]).map_err(|error| format!("appending after recovery: {error}"))?;
    world.check()?;
    // What was served after recovery must survive the next power cut.
    world.crash(Crash::LoseAll);
    world.open().map_err(|error| format!("second recovery: {error}"))?;
    world.accept_start()?;
    world.check()
}

fn sweep(faults: Faults, tears: u64) -> Check {
    for operation in 1..=operations() {
        let seeds = (0..tears).map(|seed| Crash::Tear(seed * 7919 + operation));
        for crash in [Crash::Kill, Crash::LoseAll].into_iter().chain(seeds) {
            crash_at(operation, crash, faults).map_err(|what| format!("{crash:?} at operation {operation}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_crash_after_every_operation_loses_nothing_acknowledged() {
    assert!(operations() > 60, "the life is long enough to hit everything: {}", operations());
    sweep(Faults::default(), 30).expect("holds");
}

#[test]
fn the_same_life_gives_the_same_trace() {
    let trace = || {
        let mut world = World::new(Faults::default());
        life(&mut world).expect("an undisturbed life");
        world.disk.trace().hash()
    };
    assert_eq!(trace(), trace());
}

#[test]
fn the_sweep_catches_acknowledging_before_the_sync() {
    let planted = Faults { acknowledge_before_sync: true, ..Faults::default() };
    assert!(sweep(planted, 1).is_err(), "a test that cannot see this bug is worth nothing");
}

/// Lives with the nth sync failing, restarts, checks; then the power fails and nothing read before may be gone.
fn failing_sync(nth: u64, how: FailedSync, faults: Faults) -> Check {
    let mut world = World::new(faults);
    world.disk.fail_sync(nth, how);
    let disk = world.disk.clone();
    let _failed = life(&mut world);
    if disk.syncs() < nth {
        return Ok(());
    }
    if world.is_open() {
        let poisoned = matches!(world.stream().status(SHARD), Some(ShardStatus::Poisoned { .. }));
        let refused = matches!(world.append(&[(1, 9)]), Err(AppendError::Poisoned { .. }));
        if poisoned != refused {
            return Err("poisoned, and yet taking records".to_owned());
        }
    }
    world.close();
    world.open().map_err(|error| format!("restart: {error}"))?;
    world.accept_start()?;
    world.check()?;
    world.crash(Crash::LoseAll);
    world.open().map_err(|error| format!("recovery: {error}"))?;
    world.accept_start()?;
    world.check()?;
    world.append(&[(2, 30)]).map_err(|error| format!("appending after all: {error}"))?;
    world.check()
}

fn syncs() -> u64 {
    let mut world = World::new(Faults::default());
    life(&mut world).expect("an undisturbed life");
    world.disk.syncs()
}

fn fail_every_sync(faults: Faults) -> Check {
    for nth in 1..=syncs() {
        for how in [FailedSync::PagesKept, FailedSync::PagesLost] {
            failing_sync(nth, how, faults).map_err(|what| format!("sync {nth} fails, {how:?}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn after_any_failed_sync_nothing_more_is_acknowledged_and_nothing_seen_is_lost() {
    fail_every_sync(Faults::default()).expect("holds");
}

#[test]
fn the_sync_test_catches_retrying_a_failed_sync() {
    let planted = Faults { retry_failed_sync: true, ..Faults::default() };
    assert!(fail_every_sync(planted).is_err(), "a test that cannot see this bug is worth nothing");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    for room in (0..20).map(|step| step * 4096 / 16) {
        let mut world = World::new(Faults::default());
        world.open().expect("opens");
        world.append(&[(1, 100)]).expect("there is room yet");
        let used: usize = world.disk.files().iter().map(|(_, bytes)| bytes).sum();
        world.disk.limit(Some(used + room));
        let mut refused = false;
        for _ in 0..12 {
            match world.append(&[(2, 100), (1, 300)]) {
                Ok(()) => {}
                Err(AppendError::Full { .. }) => refused = true,
                Err(other) => panic!("with {room} bytes left: {other}"),
            }
            world.check().expect("what was acknowledged is there");
        }
        assert!(refused, "{room} bytes are soon full");
        world.disk.limit(None);
        world.append(&[(1, 500)]).expect("there is room again");
        world.check().expect("holds");
        world.crash(Crash::LoseAll);
        world.open().expect("recovers");
        world.check().expect("holds after a power cut, too");
    }
}

#[derive(Clone, Debug)]
enum Event {
    Append(Vec<(usize, usize)>),
    Reopen,
    Crash(Crash),
    Clock(i64),
    Remove,
}

fn event() -> impl Strategy<Value = Event> {
    let batches = proptest::collection::vec((1usize..4, 8usize..900), 1..5);
    prop_oneof![
        6 => batches.prop_map(Event::Append),
        1 => Just(Event::Reopen),
        1 => Just(Event::Crash(Crash::Kill)),
        1 => Just(Event::Crash(Crash::LoseAll)),
        3 => any::<u64>().prop_map(|seed| Event::Crash(Crash::Tear(seed))),
        1 => (-3_600_000i64..100_000).prop_map(Event::Clock),
        1 => Just(Event::Remove),
    ]
}

fn run(events: &[(Event, Option<u64>)]) -> Check {
    let mut world = World::new(Faults::default());
    world.open().map_err(|error| error.to_string())?;
    for (event, stop) in events {
        if let Some(after) = stop {
            let now = world.disk.operations();
            world.disk.stop_at(Some(now + 1 + after));
        }
        match event {
            Event::Append(batches) => {
                let _failed = world.append(batches);
            }
            Event::Reopen => {
                world.close();
                let _failed = world.open();
            }
            Event::Clock(by) => world.clock.jump(*by),
            Event::Remove => {
                let _failed = world.retain(2000);
            }
            Event::Crash(crash) => {
                world.crash(*crash);
                world.open().map_err(|error| error.to_string())?;
            }
        }
        if stop.is_some() {
            world.crash(Crash::Tear(*stop.as_ref().unwrap_or(&0)));
            world.open().map_err(|error| error.to_string())?;
        }
        world.accept_start()?;
        if let Some(ShardStatus::Corrupt(corrupt)) = world.stream().status(SHARD) {
            return Err(format!("a crash is taken for damage: {corrupt}"));
        }
        world.check()?;
    }
    Ok(())
}

/// 2,000 lives, or as many as `PROPTEST_CASES` says for a long run.
fn seeds() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(2000);
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(seeds())]
    #[test]
    fn any_life_with_any_crashes_keeps_every_promise(
        events in proptest::collection::vec((event(), proptest::option::weighted(0.15, 0u64..6)), 1..16)
    ) {
        prop_assert_eq!(run(&events), Ok(()));
    }
}

/// A small log: one closed segment and one with several groups. `crashed`: without what closing would have saved.
fn small(crashed: bool) -> World {
    let mut world = World::new(Faults::default());
    world.open().expect("opens");
    for batches in [&[(2, 200), (2, 200)][..], &[(2, 300)], &[(1, 40)], &[(2, 30), (1, 60)], &[(1, 9), (1, 30)]] {
        world.clock.jump(10);
        world.append(batches).expect("appends");
    }
    if crashed {
        world.crash(Crash::Kill);
    } else {
        world.close();
    }
    world
}

/// Opens a spoiled copy of the small log. Served must be a prefix of what was written, and less than all of it only with
/// an alarm, unless `cut` records may be missing at the end.
fn open_spoiled(world: &World, disk: SimDisk, cut: usize, faults: Faults) -> Check {
    let mut spoiled = World::new(faults);
    spoiled.disk = disk;
    match spoiled.open() {
        Ok(()) => {}
        Err(error) if error.kind() == base::ErrorKind::Corrupt => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    let stream = spoiled.stream();
    let mut served: Vec<Vec<u8>> = Vec::new();
    let alarm = loop {
        let from = base::Offset(served.len() as u64);
        match stream.fetch(SHARD, from, 300) {
            Ok(fetched) if fetched.is_empty() => break None,
            Ok(fetched) => {
                for record in fetched.records() {
                    served.push(record.map_err(|error| error.to_string())?.value.to_vec());
                }
            }
            Err(error) => break Some(error),
        }
    };
    let all = &world.promised;
    if served.len() > all.len() || served[..] != all[..served.len()] {
        return Err(format!("served {} records, not the ones written", served.len()));
    }
    if alarm.is_none() && served.len() + cut < all.len() {
        return Err(format!("{} of {} records vanished without an alarm", all.len() - served.len(), all.len()));
    }
    if alarm.is_some() && !matches!(stream.status(SHARD), Some(ShardStatus::Corrupt(_))) {
        return Err("the status does not tell".to_owned());
    }
    Ok(())
}

/// Records of the last group of [`small`], which nothing vouches for after a crash.
const LAST_GROUP: usize = 2;

fn flip_every_bit(faults: Faults) -> Check {
    for crashed in [false, true] {
        let world = small(crashed);
        let cut = if crashed { LAST_GROUP } else { 0 };
        for (path, bytes) in world.disk.files() {
            for bit in 0..bytes * 8 {
                let disk = world.disk.copy();
                disk.spoil(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                open_spoiled(&world, disk, cut, faults)
                    .map_err(|what| format!("bit {bit} of {} (crashed: {crashed}): {what}", path.display()))?;
            }
        }
    }
    Ok(())
}

#[test]
fn any_flipped_bit_is_told_and_never_served() {
    flip_every_bit(Faults::default()).expect("holds");
}

#[test]
fn the_bit_flips_catch_cutting_at_damage_and_serving_without_the_crc() {
    assert!(flip_every_bit(Faults { cut_at_damage: true, ..Faults::default() }).is_err());
    assert!(flip_every_bit(Faults { skip_crc: true, ..Faults::default() }).is_err());
}

#[test]
fn any_truncated_file_is_told_or_was_never_vouched_for() {
    for crashed in [false, true] {
        let world = small(crashed);
        let is_log = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "log");
        let last = world.disk.files().into_iter().map(|(path, _)| path).rfind(is_log);
        for (path, bytes) in world.disk.files() {
            for length in 0..bytes {
                let disk = world.disk.copy();
                disk.spoil(&path, |bytes| bytes.truncate(length));
                // After a crash nothing says how long the last file was: a shorter one is a shorter log.
                let cut = if crashed && Some(&path) == last.as_ref() { usize::MAX / 2 } else { 0 };
                let held = open_spoiled(&world, disk, cut, Faults::default());
                assert_eq!(held, Ok(()), "{} cut to {length} bytes (crashed: {crashed})", path.display());
            }
        }
    }
}
