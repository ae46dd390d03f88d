//! What the segment that was being written is worth after a crash.
//!
//! A group of batches is written and then synced, and the next group is written only after that. So when the machine
//! stops, the file holds synced groups and at most one un-synced group, of which any sectors may be missing, in any
//! order. Every batch says where its group began (`leader epoch` = distance to the first offset of its group, mixed with
//! the stream's salt, so that no payload can pretend). Hence the rule, in [`decide`]:
//!
//! * Whatever lies before the byte that the saved index vouches for was synced: missing bytes there are damage.
//! * Behind the last whole batch, look for a whole batch whose group began **later** than the first missing offset. If
//!   there is one, that offset was synced before: damage, stop. If there is none, it is the torn un-synced group: cut.
//!
//! Nothing but zeros there is room that was made blank ahead of the next groups: given back without a word.
//!
//! What this cannot tell: damage to the very last group, after a crash and before any later one, looks like a torn end.

use std::io;

use crate::batch::{Damage, HEADER_BYTES, Header, verify_crc};
use crate::disk::DiskFile;
use crate::index::Index;
use crate::scan::{Scanner, expect_offset};

/// Bytes that are looked through at once behind the whole batches.
const WINDOW_BYTES: usize = 1024 * 1024;

/// What reading the file found.
#[derive(Debug)]
pub(crate) struct Facts {
    /// All whole batches from the front on.
    pub(crate) whole: Index,
    /// Length of the file.
    pub(crate) length: u64,
    /// Bytes that the saved index vouches for.
    pub(crate) vouched: u64,
    /// Why reading ended before the end of the file.
    pub(crate) damage: Option<Damage>,
    /// From the damage on there are only zeros.
    pub(crate) blank: bool,
    /// A batch behind the damage was written after the damaged bytes had been synced.
    pub(crate) synced_behind: bool,
    /// Where the last group begins, of which it is unknown whether it was synced.
    pub(crate) last_group: u64,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// All bytes are whole batches.
    Keep,
    /// Cut the file after the whole batches: the rest is blank, written ahead of batches to come.
    Trim,
    /// Cut the file after the whole batches: the rest was never synced, hence never acknowledged.
    Cut,
    /// Serve what is whole, take nothing more, tell everybody.
    Stop(Damage),
}

/// Decides from the facts alone.
pub(crate) fn decide(facts: &Facts) -> Decision {
    if facts.length < facts.vouched {
        return Decision::Stop(Damage::Truncated { expected: facts.vouched, found: facts.length });
    }
    match &facts.damage {
        None => Decision::Keep,
        Some(_) if facts.blank => Decision::Trim,
        Some(damage) if facts.synced_behind => Decision::Stop(damage.clone()),
        Some(_) => Decision::Cut,
    }
}

/// Reads what the saved index does not vouch for.
pub(crate) fn examine(file: &dyn DiskFile, saved: Index, salt: u32) -> io::Result<Facts> {
    let length = file.length()?;
    let vouched = saved.summary.bytes;
    let mut facts = Facts {
        whole: saved,
        length,
        vouched,
        damage: None,
        blank: false,
        synced_behind: false,
        last_group: vouched.min(length),
    };
    let mut scanner = Scanner::new(file, vouched, length);
    let mut group: Option<u64> = None;
    loop {
        let position = scanner.position();
        let Some(next) = scanner.next()? else { break };
        let expected = facts.whole.summary.end;
        let checked = next.and_then(|(header, _)| {
            expect_offset(&header, expected)?;
            let start = group_start(&header, salt);
            let continues = start == Some(expected) || (start == group && group.is_some());
            if continues { Ok((header, start)) } else { Err(Damage::Group) }
        });
        match checked {
            Ok((header, start)) => {
                if start != group {
                    facts.last_group = position;
                }
                group = start;
                facts.whole.take_up(&header);
            }
            Err(damage) => {
                facts.damage = Some(damage);
                facts.blank = is_blank(file, position, length)?;
                facts.synced_behind = !facts.blank && synced_behind(file, position + 1, length, expected, salt)?;
                break;
            }
        }
    }
    Ok(facts)
}

/// The leader epoch that a batch is written with: how many records of its group lie before it, mixed with the salt.
pub(crate) fn leader_epoch(group_start: u64, base_offset: u64, salt: u32) -> i32 {
    ((base_offset - group_start) as u32 ^ salt) as i32
}

/// The first offset of the group that the batch was written in.
fn group_start(header: &Header, salt: u32) -> Option<u64> {
    header.base_offset.checked_sub(u64::from(header.leader_epoch as u32 ^ salt))
}

/// Whether there are only zeros from byte `from` up to `to`.
pub(crate) fn is_blank(file: &dyn DiskFile, from: u64, to: u64) -> io::Result<bool> {
    let mut window = Vec::new();
    let mut at = from;
    while at < to {
        window.clear();
        file.read_at(at, WINDOW_BYTES.min((to - at) as usize), &mut window)?;
        if window.is_empty() || window.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += window.len() as u64;
    }
    Ok(true)
}

/// Whether any whole batch from byte `from` on was written after `expected` had been synced.
fn synced_behind(file: &dyn DiskFile, from: u64, limit: u64, expected: u64, salt: u32) -> io::Result<bool> {
    let mut window = Vec::new();
    let mut at = from;
    while at + (HEADER_BYTES as u64) <= limit {
        window.clear();
        file.read_at(at, WINDOW_BYTES.min((limit - at) as usize), &mut window)?;
        if window.len() < HEADER_BYTES {
            break;
        }
        let starts = window.len() - HEADER_BYTES + 1;
        for index in (0..starts).filter(|index| window[index + 16] == 2) {
            let Ok(header) = Header::parse(&window[index..]) else { continue };
            let later = group_start(&header, salt).is_some_and(|start| start > expected);
            // A record takes more than a byte, so a batch further on cannot be further ahead than there are bytes.
            let near = header.base_offset.saturating_sub(expected) <= limit;
            let position = at + index as u64;
            if later && near && position + header.bytes as u64 <= limit {
                let mut batch = Vec::new();
                file.read_at(position, header.bytes, &mut batch)?;
                if verify_crc(&batch, &header).is_ok() {
                    return Ok(true);
                }
            }
        }
        at += starts as u64;
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(length: u64, vouched: u64, damage: Option<Damage>, synced_behind: bool) -> Facts {
        Facts { whole: Index::empty(0), length, vouched, damage, blank: false, synced_behind, last_group: 0 }
    }

    #[test]
    fn only_an_end_that_nothing_vouches_for_is_cut() {
        let torn = Damage::Magic(0);
        assert_eq!(decide(&facts(100, 0, None, false)), Decision::Keep);
        assert_eq!(decide(&facts(100, 100, None, false)), Decision::Keep);
        assert_eq!(decide(&facts(100, 50, Some(torn.clone()), false)), Decision::Cut);
        assert_eq!(decide(&facts(100, 50, Some(torn.clone()), true)), Decision::Stop(torn.clone()));
        let blank = Facts { blank: true, ..facts(100, 50, Some(torn), false) };
        assert_eq!(decide(&blank), Decision::Trim);
        assert_eq!(
            decide(&facts(99, 100, None, false)),
            Decision::Stop(Damage::Truncated { expected: 100, found: 99 })
        );
    }
}
