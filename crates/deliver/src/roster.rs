//! Which shard is read when: all that are open to reading at once, but a shard only after its parents.
//!
//! When a shard is split, or two are merged, its keys move to new shards. A record of a new shard was acknowledged after
//! every record of the shards it came from. So a new shard's reader begins once its parents are closed and their records
//! are delivered to their ends: then the rows of each key stay in order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base::ShardId;
use stream::{ShardInfo, Stream};
use tokio::task::JoinSet;

use crate::books;
use crate::counts::{Books, DeliveryState};
use crate::reader::{Feed, Reader, rejected_id};
use crate::shift::{Bell, Shift};

/// Starts the readers of one table.
pub(crate) struct Roster {
    pub(crate) feed: Arc<Feed>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) bell: Bell,
}

impl Roster {
    /// Runs until delivery is stopped, or the stream is deleted, and no reader is left.
    pub(crate) async fn run(self) {
        let mut readers = JoinSet::new();
        let mut started = BTreeSet::new();
        let mut topology = self.stream.topology();
        let mut follows = true;
        loop {
            topology.borrow_and_update();
            self.call_up(&mut readers, &mut started);
            let ends = self.bell.is_rung() || self.stream.is_deleted();
            if ends && readers.is_empty() {
                break;
            }
            tokio::select! {
                Some(_) = readers.join_next() => {}
                changed = topology.changed(), if follows => follows = changed.is_ok(),
                () = self.bell.rung(), if !ends => {}
            }
        }
        if self.stream.is_deleted() && !self.bell.halt.is_cancelled() {
            self.close_books();
        }
    }

    /// Starts the readers whose turn it is.
    fn call_up(&self, readers: &mut JoinSet<()>, started: &mut BTreeSet<ShardId>) {
        let infos = self.stream.shard_infos();
        let ready = {
            let mut books = self.feed.counts.books.lock();
            note(&infos, &mut books, |shard| books::open_new(&self.feed, shard));
            ready(&infos, &books)
        };
        let waiting = infos.iter().filter(|info| !started.contains(&info.id) && !ready.contains(&info.id)).count();
        self.feed.counts.waiting.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        if self.bell.halt.is_cancelled() || self.bell.is_late() || self.stream.is_deleted() {
            return;
        }
        for shard in ready {
            if !started.insert(shard) {
                continue;
            }
            let again = self.feed.counts.books.lock().shards.get_mut(&shard).and_then(|book| book.again.take());
            let id = rejected_id(&self.feed.settings.name, &books::app_id(&self.stream, shard));
            let reader = Reader::new(Arc::clone(&self.feed), shard, id);
            let shift = Shift::new(Arc::clone(&self.stream), self.bell.clone());
            readers.spawn(shift.work(reader, again));
        }
    }

    /// The stream is deleted: what was not read of it is lost, and is counted as that.
    fn close_books(&self) {
        let why = format!("the stream {} was deleted", self.stream.name());
        tracing::warn!(table = self.feed.settings.name, stream = self.stream.name(), "delivery has ended: {why}");
        for shard in self.feed.counts.unread() {
            let id = rejected_id(&self.feed.settings.name, &books::app_id(&self.stream, shard));
            if let Err(error) = Reader::new(Arc::clone(&self.feed), shard, id).give_up() {
                tracing::warn!(table = self.feed.settings.name, shard = shard.0, %error, "what was lost could not be counted");
            }
        }
        self.feed.counts.waiting.set(0);
        *self.feed.counts.state.lock() = DeliveryState::Ended(why);
        self.bell.pushed();
    }
}

/// Brings the books up to what the stream says: new shards get one, closed ones their end, and those that the stream no
/// longer lists are over.
fn note(infos: &[ShardInfo], books: &mut Books, open: impl Fn(ShardId) -> crate::counts::ShardBook) {
    for info in infos {
        let book = books.shards.entry(info.id).or_insert_with(|| open(info.id));
        book.closed = info.closed.map(|closing| closing.end);
    }
    let listed: BTreeSet<ShardId> = infos.iter().map(|info| info.id).collect();
    for (shard, book) in &mut books.shards {
        book.over |= !listed.contains(shard);
    }
}

/// The shards that may be read: those all of whose ancestors are read to their ends, or gone. A shard's number is higher
/// than its parents', so one look at each in their order is enough.
fn ready(infos: &[ShardInfo], books: &Books) -> BTreeSet<ShardId> {
    let listed: BTreeMap<ShardId, &ShardInfo> = infos.iter().map(|info| (info.id, info)).collect();
    let (mut ready, mut read) = (BTreeSet::new(), BTreeSet::new());
    for (shard, info) in &listed {
        let mut parents = [info.parent, info.adjacent_parent].into_iter().flatten();
        // Of a parent that is not listed, retention has taken all.
        if parents.all(|parent| read.contains(&parent) || !listed.contains_key(&parent)) {
            ready.insert(*shard);
            let ends = info.closed.map(|closing| closing.end);
            if ends.is_some_and(|end| books.next(*shard).is_some_and(|next| next >= end)) {
                read.insert(*shard);
            }
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    use base::{Millis, Offset};
    use stream::{Closing, HashRange};

    use super::*;
    use crate::account::{Account, Passed};
    use crate::counts::ShardBook;

    fn info(id: u32, parents: &[u32], end: Option<u64>) -> ShardInfo {
        ShardInfo {
            id: ShardId(id),
            range: HashRange { start: 0, end: u128::MAX },
            parent: parents.first().copied().map(ShardId),
            adjacent_parent: parents.get(1).copied().map(ShardId),
            created: Millis(0),
            closed: end.map(|end| Closing { at: Millis(0), end: Offset(end) }),
        }
    }

    fn begin(_: ShardId) -> ShardBook {
        ShardBook::new(Account::begin("s".into(), Offset::ZERO, None))
    }

    fn read(books: &mut Books, shard: u32, to: u64) {
        let account = &mut books.shards.get_mut(&ShardId(shard)).expect("noted").account;
        account.sums = account.after(&Passed { to, ..Passed::default() });
    }

    fn ids(shards: &[u32]) -> BTreeSet<ShardId> {
        shards.iter().copied().map(ShardId).collect()
    }

    #[test]
    fn a_child_waits_for_the_ends_of_all_its_parents_and_of_theirs() {
        // 0 was split into 2 and 3; 3 and 1 were merged into 4.
        let infos = [
            info(0, &[], Some(10)),
            info(1, &[], Some(7)),
            info(2, &[0], None),
            info(3, &[0], Some(0)),
            info(4, &[3, 1], None),
        ];
        let mut books = Books::new(0);
        note(&infos, &mut books, begin);
        assert_eq!(ready(&infos, &books), ids(&[0, 1]));
        read(&mut books, 1, 7);
        read(&mut books, 0, 9);
        // Shard 3 never had a record and so is at its end; what its parent still has comes before shard 4 all the same.
        assert_eq!(ready(&infos, &books), ids(&[0, 1]));
        read(&mut books, 0, 10);
        assert_eq!(ready(&infos, &books), ids(&[0, 1, 2, 3, 4]));
    }

    #[test]
    fn what_retention_has_taken_is_waited_for_no_more() {
        let infos = [info(2, &[0], None), info(4, &[2, 1], None)];
        let mut books = Books::new(0);
        note(&infos, &mut books, begin);
        assert_eq!(ready(&infos, &books), ids(&[2]));
        let rest = [info(4, &[2, 1], None)];
        note(&rest, &mut books, begin);
        assert!(books.shards[&ShardId(2)].over);
        assert_eq!(ready(&rest, &books), ids(&[4]));
    }
}
