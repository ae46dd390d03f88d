//! Reading what lies in a stream, page by page: from its beginning, from a time, from an offset.
//!
//! The records of all shards are put in the order of their arrival, and a child's come after its parents'. A page ends
//! with a cursor, which says for every shard where the next one begins; shards made since then are read from their start.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt::Write as _;

use base::{ErrorKind, Millis, Offset, ShardId};
use serde::Serialize;
use stream::{FetchError, Stream};

use crate::error::ApiError;
use crate::record::{Filter, Shown, show};

/// Records of one page at most.
pub(crate) const PAGE_MAX: usize = 500;
/// Records searched for one page at most: a filter that finds nothing must end.
const SEARCHED_MAX: u64 = 50_000;
/// Bytes of log read at once, over all shards that are read side by side.
const READ_BYTES: usize = 8 << 20;
/// Least bytes of one read: a batch is read whole anyway.
const READ_BYTES_MIN: usize = 16 << 10;
/// What all shards together hold in memory ahead of the page: bytes of records that are shown, and places of all.
const HELD_BYTES: usize = 16 << 20;
const HELD_RECORDS: usize = 200_000;

/// Where a page begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// With the first record kept.
    Earliest,
    /// With the first record that arrived then or later.
    Time(Millis),
    /// At an offset of the one shard that is read.
    Offset(Offset),
    /// Where another page ended.
    Cursor(Cursor),
}

/// Where a page ended: the next offset of each shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Only these shards are read; otherwise also those that were made since.
    alone: bool,
    next: BTreeMap<u32, Offset>,
}

impl Cursor {
    /// Reads `0:12,3:40`, or `=3:40` for one shard alone.
    pub(crate) fn read(text: &str) -> Result<Self, ApiError> {
        let wrong = || {
            let what = format!("no cursor is written like {:?}", text.chars().take(100).collect::<String>());
            ApiError::new(ErrorKind::Invalid, what, "Send the cursor of the page before, or none to begin anew")
        };
        let (alone, places) = text.strip_prefix('=').map_or((false, text), |places| (true, places));
        let place = |place: &str| {
            let (shard, offset) = place.split_once(':')?;
            Some((shard.parse().ok()?, Offset(offset.parse().ok()?)))
        };
        let next = places.split(',').filter(|part| !part.is_empty()).map(place).collect::<Option<_>>();
        Ok(Self { alone, next: next.ok_or_else(wrong)? })
    }

    fn write(&self) -> String {
        let mut text = String::from(if self.alone { "=" } else { "" });
        for (index, (shard, offset)) in self.next.iter().enumerate() {
            let _ = write!(text, "{}{shard}:{offset}", if index == 0 { "" } else { "," });
        }
        text
    }
}

/// A page of records.
#[derive(Debug, Serialize)]
pub(crate) struct Page {
    records: Vec<Shown>,
    /// Records looked at for it.
    searched: u64,
    cursor: String,
    /// Records behind it, now.
    left: u64,
}

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) shard: Option<ShardId>,
    pub(crate) from: From,
    pub(crate) filter: Filter,
    pub(crate) limit: usize,
}

/// One shard while a page is made.
struct Lane {
    shard: ShardId,
    parents: Vec<u32>,
    next: Offset,
    end: Offset,
    /// Read and not yet in the page.
    held: VecDeque<Held>,
}

struct Held {
    arrival: Millis,
    offset: Offset,
    /// `None`: it is not wanted, only counted.
    shown: Option<Shown>,
}

/// Reads one page. Blocks for some reads of files.
pub(crate) fn read(stream: &Stream, wanted: &Wanted) -> Result<Page, ApiError> {
    let (mut lanes, alone) = lanes(stream, wanted)?;
    let share = lanes.len().max(1);
    let mut children: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut waiting: Vec<usize> = Vec::with_capacity(lanes.len());
    let unread: Vec<u32> = lanes.iter().filter(|lane| lane.next < lane.end).map(|lane| lane.shard.0).collect();
    for (index, lane) in lanes.iter().enumerate() {
        let before: Vec<u32> = lane.parents.iter().copied().filter(|id| unread.binary_search(id).is_ok()).collect();
        waiting.push(before.len());
        before.into_iter().for_each(|parent| children.entry(parent).or_default().push(index));
    }
    // The next record of every lane whose parents are read, the earliest on top.
    let mut heads = BinaryHeap::new();
    for (index, _) in waiting.iter().enumerate().filter(|(_, parents)| **parents == 0) {
        advance(stream, &mut lanes, index, share, wanted, &mut heads)?;
    }
    let (mut records, mut searched) = (Vec::new(), 0);
    while records.len() < wanted.limit && searched < SEARCHED_MAX {
        let Some(Reverse((_, _, index))) = heads.pop() else { break };
        let lane: &mut Lane = &mut lanes[index];
        let Some(held) = lane.held.pop_front() else { continue };
        lane.next = held.offset.plus(1);
        searched += 1;
        records.extend(held.shown);
        advance(stream, &mut lanes, index, share, wanted, &mut heads)?;
        let lane = &lanes[index];
        if lane.held.is_empty() && lane.next >= lane.end {
            for child in children.remove(&lane.shard.0).unwrap_or_default() {
                waiting[child] -= 1;
                if waiting[child] == 0 {
                    advance(stream, &mut lanes, child, share, wanted, &mut heads)?;
                }
            }
        }
    }
    let left = lanes.iter().map(|lane| lane.end.since(lane.next)).sum();
    let next = lanes.iter().map(|lane| (lane.shard.0, lane.next)).collect();
    Ok(Page { records, searched, cursor: Cursor { alone, next }.write(), left })
}

/// The lanes of the shards asked for, at their beginnings, by number; and whether only these are read later on.
fn lanes(stream: &Stream, wanted: &Wanted) -> Result<(Vec<Lane>, bool), ApiError> {
    let mut infos = stream.shard_infos();
    let alone = match &wanted.from {
        From::Cursor(cursor) => cursor.alone,
        _ => wanted.shard.is_some(),
    };
    match (&wanted.from, wanted.shard) {
        (From::Cursor(cursor), _) if cursor.alone => infos.retain(|info| cursor.next.contains_key(&info.id.0)),
        (From::Cursor(_), _) | (_, None) => {}
        (_, Some(shard)) => {
            infos.retain(|info| info.id == shard);
            if infos.is_empty() {
                let what = format!("the stream {} has no shard {shard}", stream.name());
                return Err(ApiError::new(ErrorKind::NotFound, what, "GET /api/v1/streams/{name} lists its shards"));
            }
        }
    }
    let mut lanes = Vec::with_capacity(infos.len());
    for info in infos {
        let bounds = stream.bounds(info.id);
        let asked = match &wanted.from {
            From::Earliest => bounds.start,
            From::Time(time) => match stream.offset_at(info.id, *time) {
                Ok(offset) => offset,
                // It went meanwhile.
                Err(FetchError::NoShard { .. } | FetchError::Removed { .. }) => bounds.start,
                Err(error) => return Err(failed(&error)),
            },
            From::Offset(offset) => *offset,
            From::Cursor(cursor) => cursor.next.get(&info.id.0).copied().unwrap_or(bounds.start),
        };
        lanes.push(Lane {
            shard: info.id,
            parents: [info.parent, info.adjacent_parent].into_iter().flatten().map(|parent| parent.0).collect(),
            next: asked.clamp(bounds.start, bounds.end.max(bounds.start)),
            end: bounds.end,
            held: VecDeque::new(),
        });
    }
    Ok((lanes, alone))
}

/// Puts the lane's next record on the heap, reading on if need be; nothing if there is none.
fn advance(
    stream: &Stream,
    lanes: &mut [Lane],
    index: usize,
    share: usize,
    wanted: &Wanted,
    heads: &mut BinaryHeap<Reverse<(Millis, ShardId, usize)>>,
) -> Result<(), ApiError> {
    let lane = &mut lanes[index];
    if lane.held.is_empty() && lane.next < lane.end {
        fill(stream, lane, share, &wanted.filter)?;
    }
    if let Some(head) = lane.held.front() {
        heads.push(Reverse((head.arrival, lane.shard, index)));
    }
    Ok(())
}

fn fill(stream: &Stream, lane: &mut Lane, share: usize, filter: &Filter) -> Result<(), ApiError> {
    let fetched = match stream.fetch(lane.shard, lane.next, (READ_BYTES / share).max(READ_BYTES_MIN)) {
        Ok(fetched) => fetched,
        // Retention was faster: what is left of the shard is for the next page.
        Err(FetchError::Removed { start, .. }) => {
            lane.next = start;
            lane.end = lane.end.max(start);
            return Ok(());
        }
        Err(FetchError::NoShard { .. }) => {
            lane.next = lane.end;
            return Ok(());
        }
        Err(error) => return Err(failed(&error)),
    };
    let (bytes_max, records_max) = (HELD_BYTES / share, (HELD_RECORDS / share).max(1));
    let mut bytes = 0;
    for record in fetched.records() {
        let record =
            record.map_err(|error| ApiError::new(ErrorKind::Corrupt, error.to_string(), "See the server's log"))?;
        if record.offset >= lane.end || lane.held.len() >= records_max || bytes > bytes_max {
            break;
        }
        let shown = filter.wants(&record).then(|| show(lane.shard, &record));
        bytes += shown.as_ref().map_or(0, Shown::weight);
        lane.held.push_back(Held { arrival: record.timestamp, offset: record.offset, shown });
    }
    Ok(())
}

fn failed(error: &FetchError) -> ApiError {
    ApiError::new(error.kind(), error.to_string(), "See the server's log")
}

#[cfg(test)]
mod tests;
