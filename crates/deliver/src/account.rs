//! What has become of one shard's records, and what of it must be written down. Pure: no I/O happens here.
//!
//! The table's commits carry, as Delta `txn` actions, all that this account needs to go on after a crash. Their
//! application ids are `<stream uuid>/<shard>` for the next offset to read, and the same with a suffix for the sums.
//!
//! `system.rejected` is a table of its own with commits of its own, so a crash may come between the two. Neither waits
//! for the other. Instead the table's commit says from which offset on rejections may be missing in `system.rejected`
//! (`#rejected_from`), and the commit of `system.rejected` says up to which offset it has them. What lies between is
//! read again after a crash, for its rejections alone; what `system.rejected` has already is not written again.

use std::collections::VecDeque;

use base::Offset;
use lake::Progress;

/// Spans of not yet durable rejections that are remembered apart. Beyond, the newest grows: a crash then reads again
/// a little more than it had to.
const SPANS_MAX: usize = 4096;

/// The account of one shard.
#[derive(Debug)]
pub(crate) struct Account {
    /// `<stream uuid>/<shard>`.
    app_id: String,
    /// Where the table began to read.
    pub(crate) origin: u64,
    /// Sums over everything from `origin` to `sums.next`.
    pub(crate) sums: Sums,
    /// Rejections before this offset are in `system.rejected` or in its tail.
    pub(crate) rejected_to: u64,
    /// Offsets between which rejections lie in the tail of `system.rejected`, oldest first.
    pending: VecDeque<Span>,
}

/// Cumulative numbers, as they are committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// The next offset to read.
    pub(crate) next: u64,
    /// Records that the SQL's `where` left out.
    pub(crate) filtered: u64,
    /// Records in `system.rejected`.
    pub(crate) rejected: u64,
    /// Records that retention removed before they were read.
    pub(crate) expired: u64,
    /// How many more user records there were than records: those in aggregated records, less one each.
    pub(crate) unpacked: u64,
}

/// From the first rejection of a batch to the batch's end.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: u64,
    to: u64,
}

/// What became of the records from an account's next offset on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    /// The offset after the last of them.
    pub(crate) to: u64,
    pub(crate) filtered: u64,
    pub(crate) rejected: u64,
    pub(crate) expired: u64,
    pub(crate) unpacked: u64,
}

/// What two commits say about one shard.
pub(crate) struct Committed<'a> {
    /// Progress of the table, by application id.
    pub(crate) table: &'a dyn Fn(&str) -> Option<i64>,
    /// Up to where `system.rejected` has this shard's rejections.
    pub(crate) rejected_to: Option<i64>,
}

impl Account {
    /// A table that begins to read at `origin`. `rejected_to` is not 0 if the table was there before and its folder was
    /// removed: its rejections are still in `system.rejected`.
    pub(crate) fn begin(app_id: String, origin: Offset, rejected_to: Option<i64>) -> Self {
        Self {
            app_id,
            origin: origin.0,
            sums: Sums { next: origin.0, ..Sums::default() },
            rejected_to: origin.0.max(unsigned(rejected_to)),
            pending: VecDeque::new(),
        }
    }

    /// Goes on from what is committed; `None` if the table has never read this shard. The second part are the offsets to
    /// read again for rejections that a crash may have kept out of `system.rejected`.
    pub(crate) fn resume(app_id: String, committed: &Committed<'_>) -> Option<(Self, Option<(Offset, Offset)>)> {
        let sum = |suffix: &str| (committed.table)(&format!("{app_id}{suffix}"));
        let next = unsigned(Some(sum("")?));
        let origin = sum("#origin").map_or(0, |origin| unsigned(Some(origin)));
        let sums = Sums {
            next,
            filtered: unsigned(sum("#filtered")),
            rejected: unsigned(sum("#rejected")),
            expired: unsigned(sum("#expired")),
            unpacked: unsigned(sum("#unpacked")),
        };
        let had = unsigned(committed.rejected_to);
        let missing_from = sum("#rejected_from").map_or(next, |from| unsigned(Some(from)));
        let from = missing_from.max(had);
        let again = (from < next).then_some((Offset(from), Offset(next)));
        let account = Self { app_id, origin, sums, rejected_to: from.min(next).max(had), pending: VecDeque::new() };
        Some((account, again))
    }

    /// The table's application id for this shard: `<stream uuid>/<shard>`.
    pub(crate) fn app_id(&self) -> &str {
        &self.app_id
    }

    /// The sums once `passed` has happened.
    pub(crate) fn after(&self, passed: &Passed) -> Sums {
        Sums {
            next: passed.to,
            filtered: self.sums.filtered + passed.filtered,
            rejected: self.sums.rejected + passed.rejected,
            expired: self.sums.expired + passed.expired,
            unpacked: self.sums.unpacked + passed.unpacked,
        }
    }

    /// What the table's commit must carry for `sums`.
    pub(crate) fn progress(&self, sums: &Sums) -> Vec<Progress> {
        let missing_from = self.pending.front().map_or(sums.next, |span| span.from.min(sums.next));
        // Most producers aggregate nothing: then there is nothing to say about it.
        let unpacked = (sums.unpacked > 0).then_some(("#unpacked", sums.unpacked));
        [
            ("", sums.next),
            ("#origin", self.origin),
            ("#filtered", sums.filtered),
            ("#rejected", sums.rejected),
            ("#rejected_from", missing_from),
            ("#expired", sums.expired),
        ]
        .into_iter()
        .chain(unpacked)
        .map(|(suffix, value)| Progress { app_id: format!("{}{suffix}", self.app_id), next: signed(value) })
        .collect()
    }

    /// Rejections from `from` on went into the tail of `system.rejected`, which now has all before `to`.
    pub(crate) fn rejected(&mut self, from: Option<u64>, to: u64) {
        self.rejected_to = self.rejected_to.max(to);
        let Some(from) = from else { return };
        let is_full = self.pending.len() >= SPANS_MAX;
        match self.pending.back_mut() {
            Some(last) if is_full => last.to = to,
            _ => self.pending.push_back(Span { from, to }),
        }
    }

    /// `system.rejected` has committed all rejections before `to`.
    pub(crate) fn rejections_durable(&mut self, to: Option<i64>) {
        let to = unsigned(to);
        while self.pending.front().is_some_and(|span| span.to <= to) {
            self.pending.pop_front();
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Committed numbers are never negative unless somebody else wrote them.
fn unsigned(value: Option<i64>) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
