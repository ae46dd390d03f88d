//! A disk that fills.

use sim::{Crash, Disturbed, Hits, Put, World};
use stream::Faults;

use crate::day;

/// Writes until well after the disk is full with `room` bytes left, then makes room.
fn fill(room: usize, bytes: usize, hits: &Hits) -> Result<(), String> {
    let mut world = World::counting(Faults::default(), hits.clone());
    world.open().map_err(|error| error.to_string())?;
    world.check()?;
    world.create("s", 1, true)?;
    if world.append(&[Put::new(1, 100)])? != 1 {
        return Err("there is room yet".to_owned());
    }
    world.disk.limit(Some(world.disk.used() + room));
    world.disturbed = Disturbed::Full;
    let mut refused = 0;
    let mut written = 0;
    while written < room + 8 * bytes {
        let sent = [Put::new(2, bytes / 4), Put::new(1, bytes / 2)];
        refused += sent.len() - world.append(&sent)?;
        written += bytes;
        world.check()?;
    }
    if refused == 0 {
        return Err(format!("{written} bytes were written where {room} fit"));
    }
    hits.add("refused for lack of room", refused as u64);
    world.disk.limit(None);
    world.disturbed = Disturbed::No;
    if world.append(&[Put::new(1, 500)])? != 1 {
        return Err("there is room again, and yet nothing is taken".to_owned());
    }
    world.check()?;
    world.crash(Crash::LoseAll);
    day::afterwards(&mut world)
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let hits = Hits::default();
    for step in 0..64 {
        fill(step * 4096, 12_000, &hits).unwrap_or_else(|what| panic!("with {} KiB left: {what}", step * 4));
    }
    for room in (0..4096).step_by(128) {
        fill(room, 400, &hits).unwrap_or_else(|what| panic!("with {room} bytes left: {what}"));
    }
    hits.expect(&["no room to write", "no room to create a file", "refused for lack of room"]).expect("is hit");
}

#[test]
fn a_day_on_a_disk_of_any_size_ends_well_when_there_is_room() {
    let size = {
        let mut world = World::new(Faults::default());
        day::live(&mut world).expect("an undisturbed day");
        world.disk.used()
    };
    for room in (0..size + 4096).step_by(256) {
        let mut world = World::new(Faults::default());
        world.disk.limit(Some(room));
        world.disturbed = Disturbed::Full;
        let lived = day::live(&mut world).and_then(|()| {
            world.disk.limit(None);
            world.close();
            day::afterwards(&mut world)
        });
        lived.unwrap_or_else(|what| panic!("on a disk of {room} bytes: {what}"));
    }
}

/// Retention must be able to make the room that retention is for.
#[test]
fn a_full_disk_is_no_reason_to_keep_what_is_old() {
    let mut world = World::new(Faults::default());
    world.open().expect("opens");
    world.check().expect("there is nothing yet");
    world.create("s", 1, true).expect("is made");
    for _ in 0..8 {
        world.append(&[Put::new(2, 500)]).expect("appends");
    }
    let used = world.disk.used();
    world.disk.limit(Some(used));
    world.disturbed = Disturbed::Full;
    world.sweep(60 * 3_600_000);
    world.check().expect("holds");
    assert!(world.disk.used() < used / 2, "{} of {used} bytes are still there", world.disk.used());
    assert_eq!(world.append(&[Put::new(1, 200)]), Ok(1), "there is room again");
}
