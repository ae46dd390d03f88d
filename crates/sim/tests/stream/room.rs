//! A segment that grows by small groups has room made ahead of it while nobody waits.

use std::sync::Arc;

use base::{Offset, ShardId};
use sim::{Check, Crash, Disturbed, FailedSync, Put, World};
use stream::{AppendError, Batch, Faults, Log, RecordRef, Stream};

use crate::day;

const SHARD: ShardId = ShardId(0);
/// So long that room is made ahead of it more than once.
const SEGMENT_BYTES: u64 = 256 * 1024;
/// Groups of one life. They come to 31 KB: room is made ahead at 8 and at 24 KiB.
const GROUPS: usize = 40;

fn world() -> World {
    let mut world = World::new(Faults::default());
    world.segment_bytes = SEGMENT_BYTES;
    world
}

/// With a stream of one shard.
fn begun() -> World {
    let mut world = world();
    world.open().expect("opens");
    world.check().expect("nothing is there");
    world.create("s", 1, true).expect("is made");
    world
}

/// Grows in two lives, as far as the machine lets it.
fn live(world: &mut World) -> Check {
    for life in 1..=2 {
        if !day::open(world)? {
            return Ok(());
        }
        if !world.streams.contains_key("s") {
            world.create("s", 1, true)?;
        }
        for _ in 0..GROUPS {
            grow(world)?;
        }
        world.check()?;
        if life == 2 {
            world.reshape("s", 2)?; // closes the shard with room ahead of it
        }
        world.close();
    }
    Ok(())
}

/// Returns how many records were acknowledged: one or none.
fn grow(world: &mut World) -> Result<usize, String> {
    world.append(&[Put::new(1, 700)])
}

/// Writes, syncs and whatever else changes something.
fn operations() -> u64 {
    let mut world = world();
    live(&mut world).expect("undisturbed");
    world.disk.operations()
}

/// After how many groups room is made once the next one has its answer, and how many operations the two take: a group is a write
/// and a sync, and room is some writes and a sync.
fn groups_before_room_is_made() -> Vec<(usize, u64)> {
    let mut world = begun();
    let mut made = Vec::new();
    for before in 0..GROUPS {
        let (operations, syncs) = (world.disk.operations(), world.disk.syncs());
        assert_eq!(grow(&mut world), Ok(1));
        if world.disk.syncs() - syncs == 2 {
            made.push((before, world.disk.operations() - operations));
        }
    }
    assert!(made.len() >= 2, "room was made after the groups {made:?}");
    made
}

#[test]
fn whoever_has_an_answer_did_not_wait_for_room_that_is_made_ahead() {
    for (before, _) in groups_before_room_is_made() {
        let mut world = begun();
        for _ in 0..before {
            assert_eq!(grow(&mut world), Ok(1));
        }
        world.disk.fail_sync(2, FailedSync::PagesLost); // that of the room, not that of the group
        assert_eq!(append(&world), Ok(Offset(before as u64)), "its own sync did not fail");
        let refused = append(&world).expect_err("nobody knows what the disk holds");
        assert!(matches!(refused, AppendError::Poisoned { .. }), "{refused}");
        world.crash(Crash::LoseAll);
        world.open().expect("opens again");
        let end = world.log().stream("s").expect("is there").bounds(SHARD).end;
        assert_eq!(end, Offset(before as u64 + 1), "what was acknowledged is there");
    }
}

/// Appends a record without the model, for which an answer and a sync that fails after it come at once.
fn append(world: &World) -> Result<Offset, AppendError> {
    append_to(world.log(), &world.log().stream("s").expect("is there"))
}

fn append_to(log: &Log, stream: &Stream) -> Result<Offset, AppendError> {
    let mut batch = Batch::builder();
    batch.push(RecordRef { value: &[7; 700], ..RecordRef::default() }).expect("fits");
    crate::append(log, stream, SHARD, batch.finish()).map(|offsets| offsets.start)
}

/// What becomes of room in the making, once groups have come meanwhile.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Made,
    Fails(FailedSync),
    /// The machine stops before it is synced.
    Stops,
}

#[test]
fn groups_go_on_while_room_is_made_and_outlive_whatever_becomes_of_it() {
    const MEANWHILE: u64 = 3;
    let fates = [Fate::Made, Fate::Fails(FailedSync::PagesLost), Fate::Fails(FailedSync::PagesKept), Fate::Stops];
    let crashes = [Crash::Kill, Crash::LoseAll].into_iter().chain((0..20).map(Crash::Tear));
    let each = fates.into_iter().flat_map(|fate| crashes.clone().map(move |crash| (fate, crash)));
    let made = groups_before_room_is_made();
    for ((before, operations), (fate, crash)) in made.iter().flat_map(|made| each.clone().map(|fate| (*made, fate))) {
        let mut world = begun();
        for _ in 0..before {
            assert_eq!(grow(&mut world), Ok(1));
        }
        let first = before as u64 + 1;
        let (log, stream) = (Arc::clone(world.log()), world.log().stream("s").expect("is there"));
        // The second sync from now on is that of the room.
        world.disk.meanwhile(2, move || {
            for number in 0..MEANWHILE {
                assert_eq!(
                    append_to(&log, &stream),
                    Ok(Offset(first + number)),
                    "room is left, and nobody else commits"
                );
            }
        });
        match fate {
            Fate::Made => {}
            Fate::Fails(how) => world.disk.fail_sync(2 + MEANWHILE, how),
            // The groups that come meanwhile are a write and a sync each.
            Fate::Stops => world.disk.stop_at(Some(world.disk.operations() + operations + 2 * MEANWHILE)),
        }
        assert_eq!(append(&world), Ok(Offset(before as u64)), "its answer does not wait for the room");
        let mut acknowledged = first + MEANWHILE;
        match (fate, append(&world)) {
            (Fate::Made, appended) => {
                assert_eq!(appended, Ok(Offset(acknowledged)));
                acknowledged += 1;
            }
            (_, appended) => assert!(matches!(appended, Err(AppendError::Poisoned { .. })), "{fate:?}: {appended:?}"),
        }
        world.crash(crash);
        world.open().expect("opens again");
        let stream = world.log().stream("s").expect("is there");
        let fetched = stream.fetch(SHARD, Offset(0), SEGMENT_BYTES as usize).expect("is read");
        assert!(fetched.records().all(|record| record.is_ok()), "{fate:?}, {crash:?}");
        assert_eq!(fetched.next(), Offset(acknowledged), "{fate:?}, {crash:?}: what was acknowledged is there");
        assert_eq!(append(&world), Ok(Offset(acknowledged)), "and the next one comes behind it");
    }
}

#[test]
fn a_crash_while_room_is_made_loses_nothing() {
    for operation in 1..=operations() {
        for crash in [Crash::Kill, Crash::LoseAll, Crash::Tear(operation), Crash::Tear(7919 + operation)] {
            let mut world = world();
            world.disk.stop_at(Some(operation));
            world.disturbed = Disturbed::Badly;
            let lived = live(&mut world).and_then(|()| {
                world.crash(crash);
                day::afterwards(&mut world)
            });
            lived.unwrap_or_else(|what| panic!("{crash:?} at operation {operation}: {what}"));
        }
    }
}

/// Writes so many groups to a disk with `room` bytes left. Returns how many records were taken.
fn fill(room: usize, groups: usize) -> (World, usize) {
    let mut world = begun();
    assert_eq!(grow(&mut world), Ok(1));
    world.disk.limit(Some(world.disk.used() + room));
    world.disturbed = Disturbed::Full;
    let taken = (0..groups).map(|_| grow(&mut world).expect("is answered")).sum();
    world.disk.limit(None);
    world.disturbed = Disturbed::No;
    (world, taken)
}

#[test]
fn without_room_to_make_ahead_the_groups_go_on() {
    let mut most = 0;
    for room in (0..SEGMENT_BYTES as usize / 2).step_by(512) {
        let (mut world, taken) = fill(room, GROUPS);
        most = most.max(taken);
        assert_eq!(grow(&mut world), Ok(1), "there is room again");
        world.check().expect("holds");
        world.crash(Crash::LoseAll);
        day::afterwards(&mut world).unwrap_or_else(|what| panic!("{room} bytes left: {what}"));
    }
    assert_eq!(most, GROUPS, "in half a segment there is room for all of them");
}

#[test]
fn what_was_acknowledged_after_no_room_could_be_made_is_durable() {
    for room in (0..SEGMENT_BYTES as usize / 4).step_by(4096) {
        for groups in 1..=GROUPS {
            let (mut world, taken) = fill(room, groups);
            world.crash(Crash::LoseAll);
            day::afterwards(&mut world).unwrap_or_else(|what| panic!("{room} bytes left, {groups} groups: {what}"));
            if taken < groups {
                break; // the group that was undone for lack of room was synced, and all before it
            }
        }
    }
}

#[test]
fn a_shard_closed_after_no_room_could_be_made_is_whole_whatever_a_crash_leaves() {
    for room in (0..SEGMENT_BYTES as usize / 2).step_by(512) {
        for tear in 0..8 {
            let (mut world, _) = fill(room, GROUPS);
            world.reshape("s", 2).expect("is closed");
            world.crash(Crash::Tear(tear));
            day::afterwards(&mut world).unwrap_or_else(|what| panic!("{room} bytes left, tear {tear}: {what}"));
        }
    }
}
