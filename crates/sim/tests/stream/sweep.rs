//! A crash after every operation of a day, and after every operation of the recovery from it.

use sim::{Check, Crash, Disturbed, Hits, World};
use stream::Faults;

use crate::{ACKNOWLEDGE_EARLY, day, setting};

/// How many operations the day has.
fn operations() -> u64 {
    let mut world = World::new(Faults::default());
    day::live(&mut world).expect("an undisturbed day");
    world.disk.operations()
}

/// Lives until the disk stops at `operation` and the machine crashes.
fn crashed_at(operation: u64, crash: Crash, faults: Faults, hits: &Hits) -> Result<World, String> {
    let mut world = World::counting(faults, hits.clone());
    world.disk.stop_at(Some(operation));
    world.disturbed = Disturbed::Badly;
    day::live(&mut world)?;
    world.crash(crash);
    Ok(world)
}

/// With what led there.
fn told(what: String, world: &World) -> String {
    format!("{what}\n{}\nof the disk:\n{}", world.trace.tail().join("\n"), world.disk.trace().tail().join("\n"))
}

fn sweep(faults: Faults, tears: u64, hits: &Hits) -> Check {
    for operation in setting("SIM_FROM", 1)..=operations() {
        let seeds = (0..tears).map(|seed| Crash::Tear(seed * 7919 + operation));
        for crash in [Crash::Kill, Crash::LoseAll].into_iter().chain(seeds) {
            let lived = crashed_at(operation, crash, faults, hits);
            lived
                .and_then(|mut world| day::afterwards(&mut world).map_err(|what| told(what, &world)))
                .map_err(|what| format!("{crash:?} at operation {operation}: {what}"))?;
        }
    }
    Ok(())
}

/// Crashes at `operation`, then at every operation of the recovery.
fn crash_again(operation: u64, crash: Crash, again: Crash, hits: &Hits) -> Check {
    for second in 1.. {
        let mut world = crashed_at(operation, crash, Faults::default(), hits)?;
        let before = world.disk.operations();
        world.disk.stop_at(Some(before + second));
        let opened = world.open();
        if opened.is_ok() && !world.disk.has_stopped() {
            return Ok(());
        }
        world.crash(again);
        let told =
            |what: String| format!("{crash:?} at {operation}, then {again:?} at {second} of the recovery: {what}");
        day::afterwards(&mut world).map_err(|what| told(self::told(what, &world)))?;
        hits.hit("crashed in a recovery");
    }
    Ok(())
}

#[test]
fn a_crash_after_every_operation_loses_nothing_acknowledged() {
    let (operations, hits) = (operations(), Hits::default());
    assert!(operations > 200, "the day is long enough to hit everything: {operations}");
    let tears = setting("SIM_TEARS", 8);
    sweep(Faults::default(), tears, &hits).expect("holds");
    eprintln!("{operations} crash points, {} crashes each, hit: {:?}", tears + 2, hits.all());
}

#[test]
fn a_crash_after_every_operation_of_every_recovery_loses_nothing_either() {
    let hits = Hits::default();
    let tears = setting("SIM_PAIRS", 1);
    for operation in 1..=operations() {
        crash_again(operation, Crash::LoseAll, Crash::LoseAll, &hits).expect("holds");
        for seed in 0..tears {
            let (first, second) = (seed * 104_729 + operation, seed * 15_485_863 + operation);
            crash_again(operation, Crash::Tear(first), Crash::Tear(second), &hits).expect("holds");
        }
    }
    hits.expect(&["crashed in a recovery"]).expect("is hit");
    eprintln!("{} pairs", hits.of("crashed in a recovery"));
}

#[test]
fn the_same_day_gives_the_same_trace() {
    let trace = || {
        let mut world = World::new(Faults::default());
        day::live(&mut world).expect("an undisturbed day");
        (world.trace.hash(), world.disk.trace().hash())
    };
    assert_eq!(trace(), trace());
}

#[test]
fn the_sweep_catches_acknowledging_before_the_sync() {
    let caught = sweep(ACKNOWLEDGE_EARLY(), 1, &Hits::default());
    assert!(caught.is_err(), "a test that cannot see this bug is worth nothing");
}
