//! Every bit of a small log is flipped, and every file cut to every length.

use std::path::PathBuf;

use base::{ErrorKind, Offset, ShardId};
use sim::{Check, Crash, Put, Say, SimDisk, What, World};
use stream::{Batch, Faults, RecordRef, ShardStatus};

/// A small log: a shard that was split, with two segments, and its children, one with several groups; in both, a batch of an
/// idempotent producer. `crashed`: without what closing would have saved.
fn small(crashed: bool) -> World {
    let mut world = World::new(Faults::default());
    let made = (|| {
        world.open().map_err(|error| error.to_string())?;
        world.check()?;
        world.create("s", 1, true)?;
        world.append(&[Put::new(2, 300), Put::new(2, 200)])?;
        world.append(&[Put::new(2, 300)])?;
        world.produce(&[Say::new(What::Next, 2)])?;
        world.set_note("s", "note", &[3; 40])?;
        world.split("s", 1 << 127)?;
        world.produce(&[Say::new(What::Next, 1)])?;
        for batches in [&[(1, 40)][..], &[(2, 30), (1, 60)], &[(1, 9), (1, 30)]] {
            world.clock.jump(10);
            let puts: Vec<Put> = batches.iter().map(|(records, bytes)| Put::new(*records, *bytes)).collect();
            world.append(&puts)?;
        }
        world.check()
    })();
    made.expect("nothing disturbs it");
    if crashed {
        world.crash(Crash::Kill);
    } else {
        world.close();
    }
    world
}

/// The shard being written when the small log ended, and the records of its last group, which nothing vouches for after
/// a crash.
const LAST_SHARD: u32 = 1;
const LAST_GROUP: usize = 2;

/// Opens a spoiled copy of the small log. Served must be a prefix of what was written, and less than all of it only with
/// an alarm, unless `cut` records may be missing at the end of the last shard.
fn open_spoiled(world: &World, disk: SimDisk, cut: usize, faults: Faults) -> Check {
    let mut spoiled = World::new(faults);
    spoiled.disk = disk;
    match spoiled.open() {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
        Err(error) => return Err(error.to_string()),
    }
    let Some(stream) = spoiled.log().stream("s") else { return Err("the stream is gone".to_owned()) };
    let known = &world.streams["s"];
    if !matches!(stream.note("note").as_deref(), None | Some(&[3, 3, ..])) {
        return Err("a damaged note is served".to_owned());
    }
    if stream.shard_infos().len() != known.shards.len() {
        return Err(format!("{} shards are left", stream.shard_infos().len()));
    }
    let mut whole = true;
    for (id, model) in &known.shards {
        let (shard, all) = (ShardId(*id), &model.promised);
        let mut served = 0;
        let alarm = loop {
            match stream.fetch(shard, Offset(served as u64), 300) {
                Ok(fetched) if fetched.is_empty() => break false,
                Ok(fetched) => {
                    for record in fetched.records() {
                        let record = record.map_err(|error| error.to_string())?;
                        let expected = all.get(served).ok_or("more is served than was ever written")?;
                        if record.value != expected.value || Some(record.timestamp) != expected.time {
                            return Err(format!("shard {id} serves another record at {served}"));
                        }
                        served += 1;
                    }
                }
                Err(_) => break true,
            }
        };
        let may_miss = if *id == LAST_SHARD { cut } else { 0 };
        if !alarm && served.saturating_add(may_miss) < all.len() {
            return Err(format!("{} of {} records of shard {id} vanished silently", all.len() - served, all.len()));
        }
        if alarm && !matches!(stream.status(shard), Some(ShardStatus::Corrupt(_))) {
            return Err("the status does not tell".to_owned());
        }
        whole &= !alarm && served == all.len();
    }
    if whole { send_again(world, &spoiled) } else { Ok(()) }
}

/// As long as all records are there, their producers are known: by a snapshot, or by the log.
fn send_again(world: &World, spoiled: &World) -> Check {
    let stream = spoiled.log().stream("s").ok_or("the stream is gone")?;
    for (id, model) in &world.streams["s"].shards {
        for spoken in model.speakers.values().flat_map(|speaker| &speaker.spoken) {
            let (stamp, count) = spoken.batch;
            let mut builder = Batch::builder().stamp(stamp);
            for kept in model.promised.iter().skip(spoken.offset as usize).take(count as usize) {
                builder
                    .push(RecordRef { value: &kept.value, ..RecordRef::default() })
                    .map_err(|error| error.to_string())?;
            }
            let answer = crate::append(spoiled.log(), &stream, ShardId(*id), builder.finish());
            let at = Offset(spoken.offset)..Offset(spoken.offset + u64::from(count));
            match answer {
                Ok(range) if range == at => {}
                other => return Err(format!("{stamp:?} was sent again to shard {id}: {other:?}, it lies at {at:?}")),
            }
        }
    }
    Ok(())
}

fn flip_every_bit(faults: Faults) -> Result<usize, String> {
    let mut flips = 0;
    for crashed in [false, true] {
        let world = small(crashed);
        let cut = if crashed { LAST_GROUP } else { 0 };
        for (path, bytes) in world.disk.files() {
            for bit in 0..bytes * 8 {
                let disk = world.disk.copy();
                disk.spoil(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
                open_spoiled(&world, disk, cut, faults)
                    .map_err(|what| format!("bit {bit} of {} (crashed: {crashed}): {what}", path.display()))?;
                flips += 1;
            }
        }
    }
    Ok(flips)
}

#[test]
fn any_flipped_bit_is_told_and_never_served() {
    let flips = flip_every_bit(Faults::default()).expect("holds");
    eprintln!("{flips} bits flipped, one by one");
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
        let of_last =
            |path: &PathBuf| path.to_string_lossy().ends_with(&format!("/{LAST_SHARD}/00000000000000000000.log"));
        for (path, bytes) in world.disk.files() {
            for length in 0..bytes {
                let disk = world.disk.copy();
                disk.spoil(&path, |bytes| bytes.truncate(length));
                // After a crash nothing says how long the last file was: a shorter one is a shorter log.
                let cut = if crashed && of_last(&path) { usize::MAX / 2 } else { 0 };
                let held = open_spoiled(&world, disk, cut, Faults::default());
                assert_eq!(held, Ok(()), "{} cut to {length} bytes (crashed: {crashed})", path.display());
            }
        }
    }
}
