//! Every sync and every write of a day fails once.

use sim::{Check, Crash, Disturbed, FailedSync, Hits, World};
use stream::Faults;

use crate::{RETRY_SYNC, day};

/// Lives a day that `arm` has disturbed, restarts, looks; then the power fails, and nothing seen may be gone.
fn disturbed_day(faults: Faults, hits: &Hits, arm: impl FnOnce(&World)) -> Check {
    let mut world = World::counting(faults, hits.clone());
    arm(&world);
    world.disturbed = Disturbed::Badly;
    day::live(&mut world)?;
    world.disk.heal();
    world.close();
    world.open().map_err(|error| format!("restart: {error}"))?;
    world.check()?;
    world.crash(Crash::LoseAll);
    day::afterwards(&mut world)
}

fn syncs() -> u64 {
    let mut world = World::new(Faults::default());
    day::live(&mut world).expect("an undisturbed day");
    world.disk.syncs()
}

fn fail_every_sync(faults: Faults, hits: &Hits) -> Check {
    for nth in 1..=syncs() {
        for how in [FailedSync::PagesKept, FailedSync::PagesLost] {
            disturbed_day(faults, hits, |world| world.disk.fail_sync(nth, how))
                .map_err(|what| format!("sync {nth} fails, {how:?}: {what}"))?;
        }
    }
    Ok(())
}

#[test]
fn after_any_failed_sync_nothing_more_is_acknowledged_and_nothing_seen_is_lost() {
    let hits = Hits::default();
    fail_every_sync(Faults::default(), &hits).expect("holds");
    let files = ["sync of a file fails, pages kept", "sync of a file fails, pages lost"];
    let folders = ["sync of a folder fails, pages kept", "sync of a folder fails, pages lost"];
    hits.expect(&[files, folders].concat()).expect("every kind is hit");
    eprintln!("{} syncs, each failed in two ways", syncs());
}

#[test]
fn the_sync_test_catches_retrying_a_failed_sync() {
    let caught = fail_every_sync(RETRY_SYNC(), &Hits::default());
    assert!(caught.is_err(), "a test that cannot see this bug is worth nothing");
}

#[test]
fn after_any_failed_write_nothing_false_is_acknowledged_and_nothing_seen_is_lost() {
    let hits = Hits::default();
    for nth in 1.. {
        let before = hits.of("a write fails");
        disturbed_day(Faults::default(), &hits, |world| world.disk.fail_write(nth))
            .unwrap_or_else(|what| panic!("write {nth} fails: {what}"));
        if hits.of("a write fails") == before {
            break;
        }
    }
    assert!(hits.of("a write fails") > 30, "{:?}", hits.all());
}
