//! One day in the life of a log, the same every time, in which everything happens once.

use sim::{Check, Put, Say, What, World};

/// Half of all hashes.
const HALF: u128 = 1 << 127;

/// Puts at both ends of the hashes.
fn puts(batches: &[(usize, usize)]) -> Vec<Put> {
    let both = |(at, (records, bytes)): (usize, &(usize, usize))| Put {
        hash: if at % 2 == 0 { 7 } else { u128::MAX - 7 },
        ..Put::new(*records, *bytes)
    };
    batches.iter().enumerate().map(both).collect()
}

/// Lives it as far as the machine lets it.
pub(crate) fn live(world: &mut World) -> Check {
    if !open(world)? {
        return Ok(());
    }
    world.create("s", 2, true)?;
    world.check()?;
    write(world, 3)?;
    speak(world)?;
    world.set_note("s", "consumers", &[1; 600])?;
    world.split("s", HALF / 2)?;
    write(world, 2)?;
    world.check()?;
    world.close();

    if !open(world)? {
        return Ok(());
    }
    write(world, 2)?;
    speak(world)?;
    world.set_note("s", "consumers", &[2; 900])?;
    world.merge("s", 1)?;
    write(world, 2)?;
    world.create("t", 1, false)?;
    world.append(&[Put { stream: "t", ..Put::new(3, 700) }])?;
    world.check()?;
    world.retain("s", 1500)?;
    world.check()?;
    speak(world)?;
    world.delete("t")?;
    world.sweep(50 * 3_600_000);
    world.check()?;
    world.reshape("s", 3)?;
    world.append(&puts(&[(1, 100), (2, 50)]))?;
    world.create("t", 2, false)?;
    world.check()?;
    world.close();
    Ok(())
}

/// Whether the log could be opened; if not, something must have kept it from that.
pub(crate) fn open(world: &mut World) -> Result<bool, String> {
    let disturbed = world.disturbed;
    match world.open() {
        Ok(()) => {
            world.disturbed = disturbed;
            world.check()?; // what was in doubt before is settled before anything else is done
            Ok(true)
        }
        Err(_) if disturbed > sim::Disturbed::No => Ok(false),
        Err(error) => Err(format!("opening: {error}")),
    }
}

fn write(world: &mut World, groups: usize) -> Check {
    for group in 0..groups {
        world.clock.jump(if group == 1 { -40 } else { 10 });
        let batches: &[(usize, usize)] = if group % 2 == 0 { &[(2, 100), (1, 700), (3, 20)] } else { &[(1, 300)] };
        world.append(&puts(batches))?;
    }
    Ok(())
}

/// Two producers send, and repeat what they sent, answered or not; to shards that are closed, too.
fn speak(world: &mut World) -> Check {
    let say =
        |producer, what| Say { hash: if producer == 1 { 7 } else { u128::MAX - 7 }, producer, ..Say::new(what, 2) };
    let again = [What::Again(0), What::Next, What::Again(0), What::Next, What::Again(2), What::AgainToClosed(0)];
    for producer in [1, 2] {
        world.produce(&again.map(|what| say(producer, what)))?;
    }
    world.produce(&[say(1, What::Gap), say(1, What::NextEpoch), say(1, What::Zombie), say(2, What::Next)]).map(drop)
}

/// After whatever happened: opens the log, which must hold, take records, and hold after a power cut as well.
pub(crate) fn afterwards(world: &mut World) -> Check {
    world.open().map_err(|error| format!("recovery: {error}"))?;
    world.check()?;
    if !world.streams.contains_key("s") {
        world.create("s", 2, true)?;
    }
    if world.append(&puts(&[(1, 50), (2, 300)]))? != 2 {
        return Err("a healthy log takes no record".to_owned());
    }
    world.check()?;
    speak(world)?;
    world.check()?;
    world.crash(sim::Crash::LoseAll);
    world.open().map_err(|error| format!("second recovery: {error}"))?;
    world.check()?;
    speak(world)?;
    world.check()
}
