//! Clocks that jump, stand still and come back, and records whose times lie in the future.

use base::ShardId;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use sim::{Check, Hits, Put, World};
use stream::Faults;

use crate::setting;

const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const YEAR_MS: i64 = 365 * 24 * HOUR_MS;
/// Retention is a day; a segment is closed after a tenth of it, a clock that was set is believed after an hour, and times
/// in the future count from when they are first seen.
const GONE_AFTER_MS: i64 = (24 + 2 * 3 + 2 + 2) * HOUR_MS;

/// Three days of a log whose clock is wrong now and then, for less than an hour each time.
fn three_days(seed: u64, hits: &Hits) -> Check {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::counting(Faults::default(), hits.clone());
    world.clock.pass(YEAR_MS);
    world.clock.mend();
    world.open().map_err(|error| error.to_string())?;
    world.check()?;
    world.create("s", 1, true)?;
    let mut wrong_for = None;
    while world.clock.really() < YEAR_MS + 3 * 24 * HOUR_MS {
        match wrong_for {
            None if random.random_bool(0.1) => {
                wrong_for = Some(random.random_range(0..2));
                go_wrong(&mut world, &mut random, hits);
            }
            Some(0) => {
                wrong_for = None;
                world.clock.mend();
            }
            Some(steps) => wrong_for = Some(steps - 1),
            None => {}
        }
        if random.random_bool(0.4) {
            let future_ms = if random.random_bool(0.1) { YEAR_MS } else { 0 };
            hits.add("a producer's time lies in the future", u64::from(future_ms > 0));
            world.append(&[Put { future_ms, ..Put::new(random.random_range(1..4), 150) }])?;
        }
        if random.random_bool(0.03) {
            hits.add("restarted with a wrong clock", u64::from(wrong_for.is_some()));
            world.close();
            world.open().map_err(|error| error.to_string())?;
            world.check()?;
        }
        sweep(&mut world, random.random_range(5..25))?;
    }
    world.clock.mend();
    let last = world.clock.really();
    while world.clock.really() < last + GONE_AFTER_MS {
        sweep(&mut world, 20)?;
    }
    world.check()?;
    let bounds = world.log().stream("s").ok_or("the stream is gone")?.bounds(ShardId(0));
    if bounds.start == bounds.end || bounds.end.0 == 0 {
        return Ok(());
    }
    // Nothing arrived for longer than retention: what is left is the segment being written, begun anew by retention.
    Err(format!("retention has stalled: {bounds:?} although the last record arrived {GONE_AFTER_MS} ms ago"))
}

/// Time passes; when retention has removed something, everything is looked at.
fn sweep(world: &mut World, minutes: i64) -> Check {
    let start = |world: &World| world.log().stream("s").map(|stream| stream.bounds(ShardId(0)).start);
    let before = start(world);
    world.sweep(minutes * MINUTE_MS);
    if start(world) == before {
        return Ok(());
    }
    world.check().map_err(|what| format!("{what}\n{}", world.trace.tail().join("\n")))
}

fn go_wrong(world: &mut World, random: &mut StdRng, hits: &Hits) {
    match random.random_range(0..3) {
        0 => {
            hits.hit("the clock jumps back by an hour");
            world.clock.jump(-HOUR_MS);
        }
        1 => {
            hits.hit("the clock jumps ahead by a year");
            world.clock.jump(YEAR_MS);
        }
        _ => {
            hits.hit("the clock stands still");
            world.clock.freeze(true);
        }
    }
}

#[test]
fn a_wrong_clock_never_reorders_deletes_early_or_stalls_retention() {
    let (seeds, first) = (setting("SIM_CLOCK_SEEDS", 200), setting("SIM_FIRST_SEED", 0));
    let hits = Hits::default();
    for seed in first..first + seeds {
        three_days(seed, &hits).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
    }
    let wanted = [
        "the clock jumps back by an hour",
        "the clock jumps ahead by a year",
        "the clock stands still",
        "a producer's time lies in the future",
        "restarted with a wrong clock",
    ];
    hits.expect(&wanted).expect("a run that misses a fault has shown nothing about it");
    eprintln!("seeds {first}..{}: {:?}", first + seeds, hits.all());
}
