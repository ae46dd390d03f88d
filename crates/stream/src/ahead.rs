//! Room made ahead of small groups: zeros behind what the active segment holds, so that to write there changes nothing that
//! the file system keeps of the file.
//!
//! Most of it is made while nobody waits, by who holds the [`Hand`] and no writer: groups that fit into what is left go on
//! meanwhile. Whoever writes beyond what is left, or takes the file for complete, takes the hand first, and so waits until
//! nobody makes any. It is taken after the writer, never before, and who has it wants nothing else.

use std::io::{self, IoSlice};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::disk::DiskFile;
use crate::limit::{Ahead, BLANK};
use crate::segment::log_path;
use crate::shard::Shard;

/// Zeros are written in pieces, since groups that are written meanwhile wait for each.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The blank room of one shard.
#[derive(Debug, Default)]
pub(crate) struct Room {
    /// Up to which byte the active file was written with zeros, and synced.
    end: AtomicU64,
    hand: Mutex<()>,
}

/// Whoever has it may change the room.
#[derive(Debug)]
pub(crate) struct Hand<'a> {
    room: &'a Room,
    _alone: MutexGuard<'a, ()>,
}

impl Room {
    /// Whether the file is blank up to this byte, behind what it holds.
    pub(crate) fn reaches(&self, byte: u64) -> bool {
        byte <= self.end()
    }

    /// Up to which byte it is, or was.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(crate) fn take(&self) -> Hand<'_> {
        Hand { room: self, _alone: self.hand.lock() }
    }

    /// `None`: somebody has it.
    fn try_take(&self) -> Option<Hand<'_>> {
        self.hand.try_lock().map(|alone| Hand { room: self, _alone: alone })
    }

    /// How many more zeros are wanted when the file holds `held` bytes and small groups come.
    fn wanted(&self, held: u64, segment_bytes: u64) -> u64 {
        let (end, zeros) = (self.end(), BLANK.of(held, segment_bytes));
        // Without any, small groups do not go on here, or there was no room for them a moment ago.
        if held >= end || end - held > zeros / 4 {
            return 0;
        }
        zeros.min(segment_bytes.saturating_sub(end))
    }
}

impl Hand<'_> {
    /// Of a new file, or one that was cut, nothing is known to be blank.
    pub(crate) fn forget(&self) {
        self.room.end.store(0, Ordering::Release);
    }

    /// Writes zeros behind the byte `at`, where the file ends, to be synced with what was written before them; none where
    /// there is no room for them.
    pub(crate) fn begin(&self, file: &dyn DiskFile, at: u64, zeros: u64) {
        let made = make_blank(file, at, zeros);
        self.room.end.store(if made { at + zeros } else { at }, Ordering::Release);
    }

    /// Writes so many zeros behind those that are there, and syncs them, or what is left where there was no room.
    fn extend(&self, file: &dyn DiskFile, zeros: u64) -> io::Result<()> {
        let at = self.room.end();
        let made = make_blank(file, at, zeros);
        file.sync()?;
        if made {
            self.room.end.store(at + zeros, Ordering::Release);
        }
        Ok(())
    }
}

/// Room that is to be made ahead in a segment.
pub(crate) struct Making<'a> {
    hand: Hand<'a>,
    base: u64,
    zeros: u64,
}

impl Shard {
    /// The room that is to be made ahead of small groups now, if nobody waits; for who has the writer.
    pub(crate) fn room_to_make(&self, segment_bytes: u64) -> Option<Making<'_>> {
        let (base, held) = {
            let view = self.view.read();
            let summary = &view.active.as_ref()?.index.summary;
            (summary.base, summary.bytes)
        };
        if self.room.wanted(held, segment_bytes) == 0 {
            return None;
        }
        let hand = self.room.try_take()?;
        // Looked at again: it may have been made until now.
        let zeros = self.room.wanted(held, segment_bytes);
        (zeros > 0 && self.is_idle()).then_some(Making { hand, base, zeros })
    }

    /// Makes it, by a handle of its own, so that both this sync and those of groups meanwhile are told of what fails.
    pub(crate) fn make_room(&self, making: Making<'_>) {
        let Making { hand, base, zeros } = making;
        let made = match self.around.disk.open(&log_path(&self.dir, base), false) {
            Ok(file) => hand.extend(&*file, zeros),
            Err(error) => return tracing::debug!(dir = %self.dir.display(), %error, "no room could be made ahead"),
        };
        if let Err(error) = made {
            self.poison(&error);
        }
    }
}

impl Ahead {
    /// How many bytes are prepared when the file holds `held` of them: none beyond the segment.
    pub(crate) fn of(self, held: u64, segment_bytes: u64) -> u64 {
        held.saturating_mul(self.times).clamp(self.least, self.most).min(segment_bytes.saturating_sub(held))
    }
}

/// Writes zeros from byte `at` on, where the file ends. Returns whether there was room; if not, what was written of them is given back.
fn make_blank(file: &dyn DiskFile, at: u64, zeros: u64) -> bool {
    let written = write_zeros(file, at, zeros);
    if let Err(error) = &written {
        tracing::debug!(%error, "no room could be made blank ahead");
        // Whether it goes or stays, it is blank; but until the next sync a crash may leave anything there.
        let _given_back = file.truncate(at);
    }
    written.is_ok()
}

/// After it the file is `bytes` longer than `at`; they are at most what [`BLANK`] says.
fn write_zeros(file: &dyn DiskFile, mut at: u64, bytes: u64) -> io::Result<()> {
    let end = at + bytes;
    while at < end {
        let part = (end - at).min(ZEROS.len() as u64);
        file.write_at(at, &mut [IoSlice::new(&ZEROS[..part as usize])])?;
        at += part;
    }
    Ok(())
}
