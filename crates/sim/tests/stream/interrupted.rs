//! A start that ends in the middle, whatever it was doing, and then a file that is taken for complete: what the first start
//! cut off must not come back with the next power cut.

use sim::life::{self, Event, Fault, Step};
use sim::{Crash, Hits, Put};
use stream::Faults;

/// A write that fails in the middle leaves the beginning of a batch, and a crash ends the next start at its `nth` operation.
fn cut_by_halves(nth: u64) -> [Step; 2] {
    let write = Step { event: Event::Append(vec![Put::new(3, 200)]), fault: Some(Fault::Write(1)) };
    let nothing = Event::Reshape("no such stream", 2);
    [write, Step { event: nothing, fault: Some(Fault::Stop(1, Crash::Kill, Some(nth))) }]
}

fn step(event: Event) -> Step {
    Step { event, fault: None }
}

/// Lives `before`, the cut, and `complete`, and loses the power, each start ending at any of its operations, and any of what
/// was not synced being lost.
fn judge(before: &[Step], complete: &[Event]) {
    let hits = Hits::default();
    for nth in 1..=12 {
        for tear in 0..25 {
            let mut steps = before.to_vec();
            steps.extend(cut_by_halves(nth));
            steps.extend(complete.iter().cloned().map(step));
            steps.push(step(Event::Crash(Crash::Tear(tear))));
            if let Err(broken) = life::run(&steps, Faults::default(), &hits) {
                panic!("start ended at its operation {nth}, torn by {tear}: {}\n{:#?}", broken.what, broken.trace);
            }
        }
    }
    hits.expect(&["stopped in the middle of a recovery", "recovery: cut"]).expect("it was about this");
}

#[test]
fn what_a_start_cut_stays_cut_when_the_shard_is_closed() {
    let create = [step(Event::Create("s", 1, true))];
    judge(&create, &[Event::Split("s", 1 << 100)]);
    let with_records = [create[0].clone(), step(Event::Append(vec![Put::new(2, 50)])), step(Event::Reopen)];
    judge(&with_records, &[Event::Split("s", 1 << 100)]);
}

#[test]
fn what_a_start_cut_stays_cut_when_the_next_segment_begins() {
    let before = [step(Event::Create("s", 1, true)), step(Event::Append(vec![Put::new(2, 50)])), step(Event::Reopen)];
    judge(&before, &[Event::Append(vec![Put::new(40, 300)])]);
}
