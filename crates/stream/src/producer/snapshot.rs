//! The file that holds what a shard remembers of its producers. Its bytes are described in `docs/formats/segment.md`.

use std::io;
use std::path::{Path, PathBuf};

use super::known::{Known, Producers, Stored};
use crate::batch::Stamp;
use crate::limit::PRODUCER_BATCHES;
use crate::shard::Shard;
use crate::store;

const MAGIC: &[u8; 8] = b"RRPRODU1";
const FORGETFUL: u32 = 1;
/// One batch of a producer.
const BATCH_BYTES: usize = 24;

/// Where the snapshot of a shard lies.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("producers.snapshot")
}

/// The bytes of a snapshot that takes all batches below offset `end` into account.
pub(super) fn encode(producers: &Producers, end: u64) -> Vec<u8> {
    let mut file = Vec::with_capacity(28 + producers.len() * (12 + PRODUCER_BATCHES * BATCH_BYTES));
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&end.to_be_bytes());
    file.extend_from_slice(&if producers.forgetful { FORGETFUL } else { 0 }.to_be_bytes());
    file.extend_from_slice(&(producers.len() as u32).to_be_bytes());
    for (id, known) in &producers.known {
        file.extend_from_slice(&id.to_be_bytes());
        file.extend_from_slice(&known.epoch.to_be_bytes());
        file.extend_from_slice(&(known.recent.len() as u16).to_be_bytes());
        for stored in &known.recent {
            file.extend_from_slice(&stored.first.to_be_bytes());
            file.extend_from_slice(&stored.count.to_be_bytes());
            file.extend_from_slice(&stored.offset.to_be_bytes());
            file.extend_from_slice(&stored.time.to_be_bytes());
        }
    }
    let crc = crc32c::crc32c(&file);
    file.extend_from_slice(&crc.to_be_bytes());
    file
}

/// Up to which offset a snapshot goes, and what it says; `None` if it fails a check.
pub(super) fn decode(file: &[u8]) -> Option<(u64, Producers)> {
    let (mut rest, crc) = file.split_last_chunk::<4>()?;
    if crc32c::crc32c(rest) != u32::from_be_bytes(*crc) || take(&mut rest)? != MAGIC {
        return None;
    }
    let end = u64::from_be_bytes(*take(&mut rest)?);
    let flags = u32::from_be_bytes(*take(&mut rest)?);
    let mut producers = Producers::new(flags & FORGETFUL != 0);
    for _ in 0..u32::from_be_bytes(*take(&mut rest)?) {
        let id = i64::from_be_bytes(*take(&mut rest)?);
        let epoch = i16::from_be_bytes(*take(&mut rest)?);
        let count = usize::from(u16::from_be_bytes(*take(&mut rest)?));
        let mut recent = Vec::with_capacity(PRODUCER_BATCHES);
        for _ in 0..count {
            let first = i32::from_be_bytes(*take(&mut rest)?);
            let count = u32::from_be_bytes(*take(&mut rest)?);
            let offset = u64::from_be_bytes(*take(&mut rest)?);
            let time = i64::from_be_bytes(*take(&mut rest)?);
            Stamp::new(id, epoch, first)?;
            recent.push(Stored { first, count, offset, time });
        }
        if !(1..=PRODUCER_BATCHES).contains(&recent.len()) {
            return None;
        }
        producers.known.insert(id, Known::new(epoch, recent));
    }
    rest.is_empty().then_some((end, producers))
}

fn take<'f, const N: usize>(rest: &mut &'f [u8]) -> Option<&'f [u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(taken)
}

impl Shard {
    /// Saves what is remembered, durably, unless what was saved last reaches to offset `enough`. What lies there before is
    /// replaced only by what is synced: retention may have taken the log that it was made from.
    pub(crate) fn save_producers_to(&self, enough: u64) -> io::Result<()> {
        let mut saved = self.producers_saved.lock(); // one at a time writes the file
        if *saved >= enough {
            return Ok(());
        }
        let (end, file) = {
            let producers = self.producers.lock(); // batches are published under this lock
            if producers.len() == 0 {
                return Ok(());
            }
            let end = self.view.read().end();
            (end, encode(&producers, end))
        };
        store::replace_durably(&*self.around.disk, &path(&self.dir), &file)?;
        *saved = end;
        Ok(())
    }

    /// Saves what is remembered now. If that fails, more of the log is read at the next start.
    pub(crate) fn save_producers(&self) {
        let end = self.view.read().end();
        if let Err(error) = self.save_producers_to(end) {
            tracing::warn!(dir = %self.dir.display(), %error, "the producers could not be saved; the log tells them");
        }
    }
}
