//! Random puts, splits, merges and reads against a model: a reader that follows iterators and `ChildShards` sees every
//! record exactly once, the records of a key in their order, parents first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use serde_json::json;

use super::*;

/// One thing that somebody does.
#[derive(Clone, Debug)]
enum Step {
    /// Puts so many records with keys out of a few.
    Put { key: u8, count: u8 },
    /// Splits one of the open shards somewhere.
    Split { which: u8, part: u8 },
    /// Merges one of the open shards with its upper neighbour.
    Merge { which: u8 },
    /// Reads a little from every shard that is being read.
    Read { limit: u8 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (any::<u8>(), 1u8..8).prop_map(|(key, count)| Step::Put { key, count }),
        1 => (any::<u8>(), 1u8..255).prop_map(|(which, part)| Step::Split { which, part }),
        1 => any::<u8>().prop_map(|which| Step::Merge { which }),
        2 => (1u8..10).prop_map(|limit| Step::Read { limit }),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Reads as the client library does: shards by iterators, children when all their parents were read to their end.
#[derive(Default)]
struct Reader {
    /// Shards that are being read, with their iterators.
    reading: VecDeque<(String, String)>,
    /// Shards that were read to their end.
    done: BTreeSet<String>,
    begun: BTreeSet<String>,
    /// What was read, by key.
    seen: BTreeMap<String, Vec<String>>,
    last: BTreeMap<String, String>,
}

impl Reader {
    async fn begin(&mut self, house: &House, shard: &str) {
        if self.begun.insert(shard.to_owned()) {
            let iterator = house.iterator("clicks", shard, "TRIM_HORIZON").await;
            self.reading.push_back((shard.to_owned(), iterator));
        }
    }

    /// Reads up to `limit` records from each shard; whether there was anything new.
    async fn read(&mut self, house: &House, limit: u8) -> bool {
        let mut moved = false;
        for _ in 0..self.reading.len() {
            let (shard, iterator) = self.reading.pop_front().expect("as many as there are");
            let output = house.get("GetRecords", json!({ "ShardIterator": iterator, "Limit": limit })).await;
            for record in output["Records"].as_array().expect("records") {
                moved = true;
                let (key, number) = (text(&record["PartitionKey"]), text(&record["SequenceNumber"]));
                let last = self.last.insert(key.to_owned(), number.to_owned());
                assert!(last.is_none_or(|last| last.as_str() < number), "sequence numbers of a key grow");
                self.seen.entry(key.to_owned()).or_default().push(payload(record));
            }
            let Some(next) = output["NextShardIterator"].as_str() else {
                moved = true;
                self.done.insert(shard);
                let children = output["ChildShards"].as_array().expect("children").clone();
                for child in children {
                    let parents = child["ParentShards"].as_array().expect("parents");
                    if parents.iter().all(|parent| self.done.contains(text(parent))) {
                        self.begin(house, text(&child["ShardId"])).await;
                    }
                }
                continue;
            };
            self.reading.push_back((shard, next.to_owned()));
        }
        moved
    }
}

async fn open_shards(house: &House) -> Vec<(String, u128, u128)> {
    let shards = house.shards("clicks").await;
    let open = shards.iter().filter(|shard| shard["SequenceNumberRange"].get("EndingSequenceNumber").is_none());
    let hash = |shard: &Value, end: &str| text(&shard["HashKeyRange"][end]).parse::<u128>().expect("a hash");
    let mut open: Vec<_> = open
        .map(|shard| (text(&shard["ShardId"]).to_owned(), hash(shard, "StartingHashKey"), hash(shard, "EndingHashKey")))
        .collect();
    open.sort_by_key(|(_, start, _)| *start);
    assert_eq!((open[0].1, open[open.len() - 1].2), (0, u128::MAX));
    assert!(open.windows(2).all(|pair| pair[0].2 + 1 == pair[1].1), "no hole and no overlap: {open:?}");
    open
}

async fn run(steps: Vec<Step>) {
    let house = House::open().await;
    house.create("clicks", 2).await;
    let mut reader = Reader::default();
    reader.begin(&house, "shardId-000000000000").await;
    reader.begin(&house, "shardId-000000000001").await;
    let mut put: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut number = 0;
    for step in steps {
        match step {
            Step::Put { key, count } => {
                let mut records = Vec::new();
                for more in 0..count {
                    let (key, data) = (format!("key-{}", key.wrapping_add(more) % 9), format!("{number}"));
                    number += 1;
                    records.push(json!({ "PartitionKey": key, "Data": BASE64_STANDARD.encode(&data) }));
                    put.entry(key).or_default().push(data);
                }
                let output = house.get("PutRecords", json!({ "StreamName": "clicks", "Records": records })).await;
                assert_eq!(output["FailedRecordCount"], 0);
            }
            Step::Split { which, part } => {
                let open = open_shards(&house).await;
                let (shard, start, end) = &open[usize::from(which) % open.len()];
                let at = start + (end - start) / 256 * u128::from(part);
                if at > start + 1 && at < *end {
                    let at = at.to_string();
                    let input = json!({ "StreamName": "clicks", "ShardToSplit": shard, "NewStartingHashKey": at });
                    house.get("SplitShard", input).await;
                }
            }
            Step::Merge { which } => {
                let open = open_shards(&house).await;
                if open.len() > 1 {
                    let lower = usize::from(which) % (open.len() - 1);
                    let (a, b) = (&open[lower].0, &open[lower + 1].0);
                    let input = json!({ "StreamName": "clicks", "ShardToMerge": a, "AdjacentShardToMerge": b });
                    house.get("MergeShards", input).await;
                }
            }
            Step::Read { limit } => drop(reader.read(&house, limit).await),
        }
    }
    while reader.read(&house, 100).await {}
    assert_eq!(reader.seen, put);
    house.close().await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_read_once_in_the_order_of_its_key_whatever_becomes_of_the_shards(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads");
        runtime.block_on(run(steps));
    }
}
