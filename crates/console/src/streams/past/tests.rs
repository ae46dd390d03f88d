//! Pages over a real log whose shards are split and merged while records come in.

use std::sync::Arc;

use base::{Clock, Millis, SystemClock};
use parking_lot::Mutex;
use stream::{Batch, Log, RecordRef, StreamSettings};

use super::*;

/// A clock that stands until it is told.
#[derive(Debug)]
struct Told(Mutex<Millis>);

impl Clock for Told {
    fn now(&self) -> Millis {
        *self.0.lock()
    }
}

struct House {
    stream: Arc<Stream>,
    clock: Arc<Told>,
    _log: Arc<Log>,
    _folder: tempfile::TempDir,
}

fn house() -> House {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(Told(Mutex::new(Millis(SystemClock.now().0))));
    let log = Log::open(folder.path(), clock.clone()).expect("an empty log");
    let stream = log.ensure("s", &StreamSettings { shards: 2, ..StreamSettings::default() }).expect("a stream");
    House { stream, clock, _log: log, _folder: folder }
}

impl House {
    fn tick(&self) {
        let mut now = self.clock.0.lock();
        *now = Millis(now.0 + 1);
    }

    /// Appends one record, a millisecond later than the one before.
    async fn put(&self, key: &str, payload: &str) {
        self.tick();
        let shard = self.stream.shard_for(Some(key.as_bytes()));
        let (timestamp, key, value) = (self.clock.now(), Some(key.as_bytes()), payload.as_bytes());
        let mut batch = Batch::builder();
        batch.push(RecordRef { timestamp, key, value, headers: &[] }).expect("there is room");
        self.stream.append(shard, batch.finish()).await.expect("it is appended");
    }
}

/// All pages from there on: shard, offset and payload of every record.
fn all(stream: &Stream, from: From, shard: Option<u32>, filter: &str, limit: usize) -> Vec<(u32, u64, String)> {
    let mut wanted = Wanted { shard: shard.map(ShardId), from, filter: filter_of(filter), limit };
    let mut found = Vec::new();
    loop {
        let page = read(stream, &wanted).expect("a page");
        assert!(page.records.len() <= limit);
        let told = page.records.iter().map(|record| serde_json::to_value(record).expect("it is JSON"));
        found.extend(told.map(|record| {
            let number = |name: &str| record[name].as_u64().expect("a number");
            (number("shard") as u32, number("offset"), record["payload"].as_str().expect("text").to_owned())
        }));
        if page.left == 0 {
            return found;
        }
        wanted.from = From::Cursor(Cursor::read(&page.cursor).expect("our own"));
        wanted.shard = None;
    }
}

fn filter_of(text: &str) -> Filter {
    Filter::new(Some(text.to_owned())).expect("it is short")
}

#[tokio::test]
async fn every_record_comes_once_in_the_order_of_arrival_whatever_the_pages_and_the_shards() {
    let house = house();
    let mut sent = Vec::new();
    let mut middle = Millis(0);
    for round in 0..6 {
        for n in 0..20 {
            let payload = format!("{round}-{n}");
            house.put(&format!("key{}", n % 7), &payload).await;
            sent.push(payload);
        }
        if round == 2 {
            middle = house.clock.now().plus_ms(1);
        }
        house.tick();
        house.stream.reshape([5, 1, 3, 8, 2, 4][round]).expect("it can be cut");
    }
    for limit in [1, 7, 100, PAGE_MAX] {
        let found = all(&house.stream, From::Earliest, None, "", limit);
        assert_eq!(found.iter().map(|(_, _, payload)| payload.clone()).collect::<Vec<_>>(), sent, "{limit} a page");
    }
    let later: Vec<_> =
        all(&house.stream, From::Time(middle), None, "", 9).into_iter().map(|(.., text)| text).collect();
    assert_eq!(later, sent[60..], "from a time on");
    let found = all(&house.stream, From::Earliest, None, "-1", 3);
    let wanted: Vec<_> = sent.iter().filter(|payload| payload.contains("-1")).cloned().collect();
    assert_eq!(found.into_iter().map(|(.., text)| text).collect::<Vec<_>>(), wanted, "with a filter");
}

#[tokio::test]
async fn one_shard_is_read_alone_from_an_offset_and_its_cursor_stays_with_it() {
    let house = house();
    for n in 0..30 {
        house.put(&format!("key{n}"), &n.to_string()).await;
    }
    let end = house.stream.bounds(ShardId(1)).end.0;
    let found = all(&house.stream, From::Offset(Offset(2)), Some(1), "", 4);
    assert_eq!(
        found.iter().map(|(shard, offset, _)| (*shard, *offset)).collect::<Vec<_>>(),
        (2..end).map(|n| (1, n)).collect::<Vec<_>>()
    );
    let beyond = read(
        &house.stream,
        &Wanted { shard: Some(ShardId(1)), from: From::Offset(Offset(9_999)), filter: filter_of(""), limit: 4 },
    );
    assert_eq!(beyond.map(|page| (page.records.len(), page.left)).ok(), Some((0, 0)));
}

#[tokio::test]
async fn a_child_waits_for_its_parent_even_if_its_records_claim_to_be_older() {
    let house = house();
    house.put("a", "parent").await;
    let shard = house.stream.shard_for(Some(b"a"));
    let range = house.stream.shard_infos()[shard.0 as usize].range;
    house.stream.split(shard, range.middle().expect("it is wide")).expect("it can be split");
    // The clock goes back.
    *house.clock.0.lock() = Millis(1_000);
    house.put("a", "child").await;
    let found: Vec<_> = all(&house.stream, From::Earliest, None, "", 1).into_iter().map(|(.., text)| text).collect();
    assert_eq!(found, ["parent", "child"]);
}

#[test]
fn a_cursor_is_read_as_it_was_written_and_others_are_refused() {
    for text in ["", "0:12,3:40", "=3:40"] {
        assert_eq!(Cursor::read(text).map(|cursor| cursor.write()).ok().as_deref(), Some(text));
    }
    for text in ["0", "0:", "a:b", "0:1;2:3", "-1:0"] {
        assert!(Cursor::read(text).is_err(), "{text}");
    }
}
