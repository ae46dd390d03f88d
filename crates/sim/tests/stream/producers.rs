//! Ten thousand sequences of idempotent producers: everything is sent again, old epochs go on, the machine crashes and the
//! stream is made anew; each record is stored once, and nothing that was acknowledged is missing.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};
use sim::{Check, Crash, Disturbed, FailedSync, Hits, Put, Say, What, World};
use stream::Faults;

use crate::{FORGET_PRODUCERS, REPEAT_EARLY, setting};

/// Sequences of one run, unless `SIM_SEQUENCES` says otherwise.
const SEQUENCES: u64 = 10_000;
/// Runs, unless `SIM_STORIES` says otherwise.
const STORIES: u64 = 20;

/// What producers in trouble send at once: everything again, and again; now and then what must be refused.
fn breath(random: &mut StdRng) -> Vec<Say> {
    let producer = random.random_range(1..4);
    let hash = if random.random_bool(0.5) { 0 } else { u128::MAX };
    let say = |what, records| Say { stream: "s", hash, producer, what, records };
    let mut says = Vec::new();
    for _ in 0..random.random_range(1..6) {
        says.push(say(What::Next, random.random_range(1..5)));
        for _ in 0..random.random_range(0..3) {
            says.push(say(What::Again(random.random_range(0..7)), 1));
        }
    }
    match random.random_range(0..40) {
        0..4 => says.push(say(What::Zombie, 1)),
        4..6 => says.push(say(What::Gap, 1)),
        6 => says.push(say(What::NextEpoch, 2)),
        7 => says.push(say(What::Stranger, 1)),
        8..16 => says.push(say(What::AgainToClosed(random.random_range(0..6)), 1)),
        16 => says.push(say(What::NextToClosed, 1)),
        _ => {}
    }
    says
}

/// What meets them.
fn trouble(world: &mut World, random: &mut StdRng) -> Check {
    let left = if random.random() { FailedSync::PagesKept } else { FailedSync::PagesLost };
    match random.random_range(0..10) {
        0..5 => {
            let now = world.disk.operations();
            world.disk.stop_at(Some(now + random.random_range(1..8)));
            world.disturbed = Disturbed::Badly;
            world.produce(&breath(random))?;
            let crash = match random.random_range(0..4) {
                0 => Crash::Kill,
                1 => Crash::LoseAll,
                _ => Crash::Tear(random.random()),
            };
            world.crash(crash);
            world.open().map_err(|error| format!("recovery: {error}"))?;
        }
        5 => {
            world.disk.fail_sync(random.random_range(1..3), left);
            world.disturbed = Disturbed::Badly;
            world.produce(&breath(random))?;
            world.disk.heal();
            world.close();
            world.open().map_err(|error| format!("opening again: {error}"))?;
        }
        6 => {
            world.split("s", random.random())?;
            world.merge("s", 0)?;
        }
        7 => world.spoil("s", random.random_bool(0.5).then(|| random.random_range(0..400)))?,
        8 => world.sweep(random.random_range(0..30 * 3_600_000)),
        _ => world.retain("s", 20_000)?,
    }
    world.check()
}

/// Lives until so many sequences were stored, in streams of which each is at most a third of that old.
fn live(seed: u64, sequences: u64, faults: Faults, hits: &Hits) -> Check {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::counting(faults, hits.clone());
    let lived = lives(&mut world, &mut random, sequences);
    lived.map_err(|what| format!("seed {seed}: {what}\n{}", world.trace.tail().join("\n")))
}

fn lives(world: &mut World, random: &mut StdRng, sequences: u64) -> Check {
    world.open().map_err(|error| error.to_string())?;
    world.check()?;
    world.create("s", 2, true)?;
    let (mut stored, mut of_stream) = (0, 0);
    while stored < sequences {
        let before = records(world);
        let says = breath(random);
        world.trace.note(format_args!("{says:?}"));
        world.produce(&says)?;
        if random.random_bool(0.1) {
            world.append(&[Put::new(2, 30)])?; // somebody who does not count
        }
        let more = records(world) - before;
        (stored, of_stream) = (stored + more, of_stream + more);
        if random.random_bool(0.04) {
            trouble(world, random)?;
        }
        if of_stream > sequences / 3 {
            of_stream = 0;
            world.check()?;
            world.delete("s")?;
            world.create("s", random.random_range(1..3), true)?;
        }
    }
    world.check()?;
    world.crash(Crash::LoseAll);
    world.open().map_err(|error| format!("the last recovery: {error}"))?;
    world.check()?;
    for producer in 1..4 {
        for hash in [0, u128::MAX] {
            let say = |what| Say { stream: "s", hash, producer, what, records: 2 };
            world.produce(&[say(What::Again(0)), say(What::Next), say(What::Again(0)), say(What::Again(4))])?;
        }
    }
    world.check()
}

/// Records that producers have stored.
fn records(world: &World) -> u64 {
    let shards = world.streams.values().flat_map(|stream| stream.shards.values());
    let speakers = shards.flat_map(|shard| shard.speakers.values());
    speakers.flat_map(|speaker| &speaker.spoken).map(|spoken| u64::from(spoken.batch.1)).sum()
}

/// What happens to producers, here and in the lives of [`crate::seeds`].
pub(crate) const MUST_HIT: &[&str] = &[
    "producer: begins another epoch",
    "producer: sends again what was never answered",
    "producer: repeats what is not answered yet",
    "producer: told so after a restart",
    "producer: told so by a closed shard",
    "producer: refused by a closed shard",
    "producer: out of sequence",
    "producer: older than remembered",
    "producer: fenced",
    "producer: unknown",
    "a snapshot of producers is damaged",
];

#[test]
fn ten_thousand_sequences_are_each_stored_once_whatever_is_sent_again() {
    let (sequences, hits) = (setting("SIM_SEQUENCES", SEQUENCES), Hits::default());
    let (first, stories) = (setting("SIM_FIRST_SEED", 1), setting("SIM_STORIES", STORIES));
    for seed in first..first + stories {
        live(seed, sequences, Faults::default(), &hits).unwrap_or_else(|broken| panic!("{broken}"));
    }
    eprintln!("{stories} times {sequences} sequences, hit: {:?}", hits.all());
    hits.expect(MUST_HIT).expect("is hit");
}

#[test]
fn the_sequences_catch_forgetting_producers_and_acknowledging_repeats_early() {
    for (name, faults) in [("forgetting", FORGET_PRODUCERS()), ("acknowledging early", REPEAT_EARLY())] {
        let caught = (0..20).any(|seed| live(seed, 1_000, faults, &Hits::default()).is_err());
        assert!(caught, "{name} is not caught: the test is worth nothing");
    }
}
