use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn progress(account: &Account) -> BTreeMap<String, i64> {
    account.progress(&account.sums).into_iter().map(|progress| (progress.app_id, progress.next)).collect()
}

fn resume(table: &BTreeMap<String, i64>, rejected_to: Option<i64>) -> (Account, Option<(Offset, Offset)>) {
    let committed = Committed { table: &|id| table.get(id).copied(), rejected_to };
    Account::resume("s/0".into(), &committed).expect("it was committed")
}

#[test]
fn what_was_committed_is_what_it_goes_on_with() {
    let mut account = Account::begin("s/0".into(), Offset(5), None);
    account.sums = account.after(&Passed { to: 50, filtered: 7, rejected: 2, expired: 3, unpacked: 4 });
    let (resumed, again) = resume(&progress(&account), Some(50));
    assert_eq!((resumed.origin, resumed.sums, again), (5, account.sums, None));
    let nothing = Committed { table: &|_| None, rejected_to: None };
    assert!(Account::resume("s/0".into(), &nothing).is_none());
}

#[test]
fn rejections_that_only_the_tables_commit_knows_of_are_read_again() {
    let mut account = Account::begin("s/0".into(), Offset(0), None);
    account.rejected(Some(12), 20);
    account.sums = account.after(&Passed { to: 20, rejected: 1, ..Passed::default() });
    account.rejected(Some(25), 30);
    account.sums = account.after(&Passed { to: 30, rejected: 1, ..Passed::default() });
    assert_eq!(resume(&progress(&account), None).1, Some((Offset(12), Offset(30))));
    // The commit of system.rejected came in between.
    assert_eq!(resume(&progress(&account), Some(20)).1, Some((Offset(20), Offset(30))));
    account.rejections_durable(Some(20));
    assert_eq!(resume(&progress(&account), None).1, Some((Offset(25), Offset(30))));
    account.rejections_durable(Some(30));
    assert_eq!(resume(&progress(&account), Some(30)).1, None);
}

#[test]
fn rejections_that_only_system_rejected_knows_of_are_not_written_again() {
    let mut account = Account::begin("s/0".into(), Offset(0), None);
    account.sums = account.after(&Passed { to: 10, ..Passed::default() });
    let (resumed, again) = resume(&progress(&account), Some(25));
    assert_eq!((resumed.rejected_to, again), (25, None));
}

#[test]
fn however_many_rejections_wait_memory_is_bounded() {
    let mut account = Account::begin("s/0".into(), Offset(0), None);
    for batch in 0..10_000 {
        account.rejected(Some(batch * 10 + 3), batch * 10 + 10);
    }
    assert_eq!(account.pending.len(), SPANS_MAX);
    account.sums.next = 100_000;
    assert_eq!(progress(&account)["s/0#rejected_from"], 3);
    account.rejections_durable(Some(99_999));
    assert_eq!(account.pending.len(), 1, "what is not all durable stays");
    account.rejections_durable(Some(100_000));
    assert!(account.pending.is_empty());
}

#[derive(Clone, Debug)]
enum Event {
    /// A batch of that many records.
    Batch(u64),
    /// The rejections went into the tail, then the table refused the rows.
    Refused(u64),
    FlushTable,
    FlushRejected,
    Crash,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    proptest::collection::vec(
        prop_oneof![
            4 => (1u64..6).prop_map(Event::Batch),
            1 => (1u64..6).prop_map(Event::Refused),
            2 => Just(Event::FlushTable),
            2 => Just(Event::FlushRejected),
            1 => Just(Event::Crash),
        ],
        0..60,
    )
}

proptest! {
    /// The model of the two tables: whatever is flushed in whatever order and wherever it crashes, each rejection is in
    /// system.rejected exactly once as soon as all is read and flushed, and the sums are those of the offsets.
    #[test]
    fn each_rejection_is_written_exactly_once(events in events(), bad in proptest::collection::btree_set(0u64..400, 0..120)) {
        let mut account = Account::begin("s/0".into(), Offset(0), None);
        let mut table = progress(&account);
        let (mut tail, mut lake): (Vec<u64>, Vec<u64>) = (Vec::new(), Vec::new());
        let (mut tail_to, mut lake_to) = (None, None);
        let reject = |account: &mut Account, tail: &mut Vec<u64>, tail_to: &mut Option<i64>, lake_to: Option<i64>, from: u64, to: u64| {
            account.rejections_durable(lake_to);
            let new: Vec<u64> = bad.range(from..to).copied().filter(|offset| *offset >= account.rejected_to).collect();
            if !new.is_empty() {
                tail.extend(&new);
                *tail_to = Some(to as i64);
            }
            account.rejected(new.first().copied(), to);
            bad.range(from..to).count() as u64
        };
        for event in events.into_iter().chain([Event::Crash, Event::Batch(5), Event::FlushRejected, Event::FlushTable]) {
            match event {
                Event::Batch(len) => {
                    let (from, to) = (account.sums.next, account.sums.next + len);
                    let rejected = reject(&mut account, &mut tail, &mut tail_to, lake_to, from, to);
                    let sums = account.after(&Passed { to, rejected, ..Passed::default() });
                    let before = progress(&account);
                    account.sums = sums;
                    for (id, value) in progress(&account) {
                        prop_assert!(before[&id] <= value, "{id} went from {} to {value}", before[&id]);
                    }
                }
                Event::Refused(len) => {
                    let from = account.sums.next;
                    reject(&mut account, &mut tail, &mut tail_to, lake_to, from, from + len);
                }
                Event::FlushTable => table = progress(&account),
                Event::FlushRejected => {
                    lake.append(&mut tail);
                    lake_to = tail_to.take().or(lake_to);
                }
                Event::Crash => {
                    tail.clear();
                    tail_to = None;
                    let (resumed, again) = resume(&table, lake_to);
                    account = resumed;
                    prop_assert_eq!(account.sums.rejected, bad.range(..account.sums.next).count() as u64);
                    if let Some((from, until)) = again {
                        reject(&mut account, &mut tail, &mut tail_to, lake_to, from.0, until.0);
                    }
                }
            }
        }
        let once: BTreeSet<u64> = lake.iter().copied().collect();
        prop_assert_eq!(once.len(), lake.len(), "written twice: {:?}", lake);
        let read: BTreeSet<u64> = bad.range(..account.sums.next).copied().collect();
        prop_assert!(read.is_subset(&once), "missing: {:?}", read.difference(&once));
        prop_assert_eq!(account.sums.rejected, read.len() as u64);
    }
}
