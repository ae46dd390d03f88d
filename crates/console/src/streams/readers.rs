//! Who reads a stream, and how far behind: gathered from the numbers that every room shows at `/metrics`, so that the
//! console needs to know none of the rooms that read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Measured, Sample};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use stream::Stream;

/// However many look, all rooms are measured for them once in this time.
const KEPT: Duration = Duration::from_millis(900);

/// The note in which the Kinesis door keeps what it knows of a stream; its `consumers` are by name.
const KINESIS_NOTE: &str = "kinesis";

/// One reader of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Reader {
    /// `table` or `registered`.
    kind: &'static str,
    name: String,
    /// Over all shards; `None` where nobody measures.
    pub(crate) lag_records: Option<u64>,
    /// Of the slowest shard.
    pub(crate) lag_ms: Option<u64>,
    state: &'static str,
    shards: Vec<Place>,
}

/// How far a reader is in one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
struct Place {
    shard: u32,
    lag_records: u64,
    lag_ms: u64,
}

/// All readers that the numbers tell of, by stream.
type Known = BTreeMap<String, Vec<Reader>>;

/// The readers of all streams, measured when somebody asks.
#[derive(Default)]
pub(crate) struct Readers {
    latest: Mutex<Option<(Instant, Arc<Known>)>>,
}

impl Readers {
    /// Of one stream, at most [`KEPT`] old.
    pub(crate) fn of(&self, stream: &Stream, measured: &[Arc<dyn Measured>]) -> Vec<Reader> {
        let known = {
            // Held while measuring: whoever comes meanwhile takes the same.
            let mut latest = self.latest.lock();
            match &*latest {
                Some((at, known)) if at.elapsed() < KEPT => known.clone(),
                _ => {
                    let mut samples = Vec::new();
                    measured.iter().for_each(|room| room.measure(&mut samples));
                    let known = Arc::new(read(&samples));
                    *latest = Some((Instant::now(), known.clone()));
                    known
                }
            }
        };
        let mut readers = known.get(stream.name()).cloned().unwrap_or_default();
        for name in registered(stream.note(KINESIS_NOTE).as_deref()) {
            if !readers.iter().any(|reader| reader.kind == REGISTERED && reader.name == name) {
                let state = "registered";
                readers.push(Reader { kind: REGISTERED, name, lag_records: None, lag_ms: None, state, shards: vec![] });
            }
        }
        readers
    }
}

const TABLE: &str = "table";
const REGISTERED: &str = "registered";

/// What a number says of a reader's place.
enum Says {
    Records,
    Millis,
    Stopped,
}

/// The numbers that tell of readers, with the label that names them.
const TELLING: [(&str, &str, &str, Says); 5] = [
    ("riverrun_deliver_in_flight_records", TABLE, "table", Says::Records),
    ("riverrun_deliver_lag_ms", TABLE, "table", Says::Millis),
    ("riverrun_deliver_stopped", TABLE, "table", Says::Stopped),
    ("riverrun_kinesis_behind_records", REGISTERED, "consumer", Says::Records),
    ("riverrun_kinesis_behind_ms", REGISTERED, "consumer", Says::Millis),
];

fn read(samples: &[Sample]) -> Known {
    #[derive(Default)]
    struct Found {
        stopped: bool,
        places: BTreeMap<u32, Place>,
    }
    let mut found: BTreeMap<(&str, &'static str, &str), Found> = BTreeMap::new();
    for sample in samples {
        let Some((_, kind, named_by, says)) = TELLING.iter().find(|(name, ..)| *name == sample.name) else { continue };
        let label = |wanted| sample.labels.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str());
        let (Some(stream), Some(name), Some(shard)) = (label("stream"), label(named_by), label("shard")) else {
            continue;
        };
        let Ok(shard) = shard.parse::<u32>() else { continue };
        let reader = found.entry((stream, kind, name)).or_default();
        let place = reader.places.entry(shard).or_insert(Place { shard, ..Place::default() });
        // The numbers are whole and not negative, as their rooms counted them.
        let value = sample.value.max(0.0) as u64;
        match says {
            Says::Records => place.lag_records = value,
            Says::Millis => place.lag_ms = value,
            Says::Stopped => reader.stopped |= value > 0,
        }
    }
    let mut known = Known::new();
    for ((stream, kind, name), Found { stopped, places }) in found {
        let shards: Vec<Place> = places.into_values().collect();
        known.entry(stream.to_owned()).or_default().push(Reader {
            kind,
            name: name.to_owned(),
            lag_records: Some(shards.iter().map(|place| place.lag_records).sum()),
            lag_ms: shards.iter().map(|place| place.lag_ms).max(),
            state: match kind {
                _ if stopped => "stopped",
                TABLE => "reading",
                _ => "subscribed",
            },
            shards,
        });
    }
    // Tables before consumers.
    known.values_mut().for_each(|readers| readers.sort_by_key(|reader| reader.kind != TABLE));
    known
}

/// The names in the note of the Kinesis door; none if it is not what was expected, which the door itself tells.
fn registered(note: Option<&[u8]>) -> Vec<String> {
    #[derive(Deserialize)]
    struct Note {
        #[serde(default)]
        consumers: BTreeMap<String, serde::de::IgnoredAny>,
    }
    let note = note.and_then(|bytes| serde_json::from_slice::<Note>(bytes).ok());
    note.map_or_else(Vec::new, |note| note.consumers.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_are_told_by_their_numbers_stream_by_stream() {
        let labels = |table, shard| [("table", table), ("stream", "clicks"), ("shard", shard)];
        let consumer = [("consumer", "fraud"), ("stream", "clicks"), ("shard", "0")];
        let samples = [
            Sample::new("riverrun_kinesis_behind_records", &consumer, 4),
            Sample::new("riverrun_deliver_in_flight_records", &labels("visits", "0"), 3),
            Sample::new("riverrun_deliver_in_flight_records", &labels("visits", "7"), 5),
            Sample::new("riverrun_deliver_lag_ms", &labels("visits", "7"), 120),
            Sample::new("riverrun_deliver_stopped", &labels("visits", "7"), 1),
            Sample::new("riverrun_deliver_stopped", &labels("bots", "0"), 0),
            Sample::new("riverrun_lake_files", &[("table", "visits")], 9),
        ];
        let known = read(&samples);
        let clicks = &known["clicks"];
        let told: Vec<_> =
            clicks.iter().map(|reader| (reader.name.as_str(), reader.state, reader.lag_records)).collect();
        assert_eq!(
            told,
            [("bots", "reading", Some(0)), ("visits", "stopped", Some(8)), ("fraud", "subscribed", Some(4))]
        );
        assert_eq!(clicks[1].lag_ms, Some(120));
        assert_eq!(clicks[1].shards[1], Place { shard: 7, lag_records: 5, lag_ms: 120 });
    }

    #[test]
    fn consumers_of_the_kinesis_door_are_known_by_name_and_a_strange_note_is_no_trouble() {
        let note = br#"{"tags": {}, "consumers": {"fraud": {"created_ms": 1}, "audit": {}}}"#;
        assert_eq!(registered(Some(note)), ["audit", "fraud"]);
        assert!(registered(None).is_empty() && registered(Some(b"x")).is_empty() && registered(Some(b"{}")).is_empty());
    }
}
