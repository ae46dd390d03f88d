//! Lives drawn from seeds, with crashes, torn writes, failing syncs and full disks anywhere.

use std::time::Instant;

use sim::{Hits, life};
use stream::Faults;

use crate::producers;
use crate::{ACKNOWLEDGE_EARLY, FORGET_PRODUCERS, REPEAT_EARLY, RETRY_SYNC, setting};

/// Seeds of one run, unless `SIM_SEEDS` says otherwise; `SIM_FIRST_SEED` is where they begin.
const SEEDS: u64 = 2000;

/// Everything that a run of so many seeds must have met, or it has shown nothing about it.
const MUST_HIT: &[&str] = &[
    "killed",
    "power lost, with all that was not synced",
    "power lost, with parts of what was not synced",
    "torn write",
    "stale sector",
    "sector lost",
    "truncate lost",
    "link lost",
    "unlink lost",
    "rename lost",
    "stop in write",
    "stop in sync",
    "stop in sync_in_place",
    "stop in sync_dir",
    "stop in create",
    "stop in create_dir",
    "stop in rename",
    "stop in remove",
    "stop in remove_dir",
    "stop in truncate",
    "stopped in the middle of a recovery",
    "sync of a file fails, pages kept",
    "sync of a file fails, pages lost",
    "sync of a file in place fails, pages kept",
    "sync of a file in place fails, pages lost",
    "sync of a folder fails, pages kept",
    "sync of a folder fails, pages lost",
    "room is made ahead",
    "a write fails",
    "no room to write",
    "no room to create a file",
    "event: segments",
    "event: append",
    "event: produce",
    "event: spoil",
    "event: split",
    "event: merge",
    "event: reshape",
    "event: create",
    "event: delete",
    "event: retain",
    "event: sweep",
    "event: encrypt",
    "event: note",
    "event: the clock jumps",
    "event: reopen",
    "event: crash",
    "a slow reader was overtaken by retention",
    "a reader had no need to wait for the disk",
    "producer: stored",
    "producer: told where a repeat lies",
    "recovery: producers_read",
    "recovery: producers_replayed",
    "recovery: producers_rebuilt",
    "recovery: producers_spoiled",
    "recovery: kept",
    "recovery: trimmed",
    "recovery: cut",
    "recovery: rewritten",
    "recovery: name_synced",
    "recovery: index_rebuilt",
    "recovery: unfinished_removed",
    "recovery: removal_finished",
    "recovery: deletion_finished",
];

#[test]
fn any_life_with_any_faults_keeps_every_promise_and_meets_every_fault() {
    let (seeds, first) = (setting("SIM_SEEDS", SEEDS), setting("SIM_FIRST_SEED", 0));
    let (hits, started) = (Hits::default(), Instant::now());
    for seed in first..first + seeds {
        if let Err(broken) = life::judge(seed, Faults::default(), &hits) {
            panic!("{broken}");
        }
    }
    eprintln!("seeds {first}..{}: {:?}, hit: {:#?}", first + seeds, started.elapsed(), hits.all());
    for wanted in [MUST_HIT, producers::MUST_HIT] {
        hits.expect(wanted).expect("a run that misses a fault has shown nothing about it");
    }
}

/// Lives in which a long run found something broken, in the log or in the model; they are lived in every run since.
const ONCE_BROKEN: [u64; 2] = [1_363_926, 1_660_446];

#[test]
fn lives_that_once_broke_a_promise_keep_it() {
    for seed in ONCE_BROKEN {
        if let Err(broken) = life::judge(seed, Faults::default(), &Hits::default()) {
            panic!("{broken}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..setting("SIM_TWICE", 100) {
        let steps = life::from_seed(seed);
        let trace = || life::run(&steps, Faults::default(), &Hits::default()).map_err(|broken| broken.what);
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

#[test]
fn two_seeds_give_two_traces() {
    let trace = |seed| life::judge(seed, Faults::default(), &Hits::default());
    assert_ne!(trace(1), trace(2));
}

/// How many seeds it takes to see a planted bug.
fn caught_after(faults: Faults) -> Option<u64> {
    (0..SEEDS).find(|seed| life::run(&life::from_seed(*seed), faults, &Hits::default()).is_err())
}

#[test]
fn the_seeds_catch_every_planted_bug() {
    let close_unsynced = Faults { close_unsynced: true, ..Faults::default() };
    let grow_in_place = Faults { grow_in_place: true, ..Faults::default() };
    let reopen = Faults { reopen_after_failed_close: true, ..Faults::default() };
    for (name, faults) in [
        ("acknowledge before sync", ACKNOWLEDGE_EARLY()),
        ("retry a failed sync", RETRY_SYNC()),
        ("sync in place where the file has grown", grow_in_place),
        ("let new shards take records before it is durable that the old ones are closed", close_unsynced),
        ("go on with a shard that may be closed after a restart", reopen),
        ("know no producer after a restart", FORGET_PRODUCERS()),
        ("acknowledge a repeat before the sync of what it repeats", REPEAT_EARLY()),
    ] {
        let after = caught_after(faults);
        assert!(after.is_some(), "{name} is not caught by {SEEDS} seeds: they are worth nothing");
        eprintln!("{name}: caught by seed {after:?}");
    }
}
