//! The Firehose door, beside Kinesis on its port: records for a table's stream.
//!
//! **In:** `PutRecord` and `PutRecordBatch` of any Firehose client (JSON, signed for `firehose`); what a real delivery
//! stream delivers to an HTTP endpoint (`POST /firehose/{stream}`), so that a CDN's log can be pointed here.
//! **Out:** records appended to streams, as they are, with a random partition key.
//! **Holds:** the names of the delivery streams; which deliveries came lately, so that one that is sent again is not
//! stored again, and after a restart finds them in the log.
//! **Never:** says that a record is stored before it is on disk.
//!
//! A delivery stream here is a stream that tables read from, under its own name or a table's. What becomes of its
//! records stands in the file, so operations that would change it are answered with what to write there.

pub(crate) mod body;
mod counts;
mod delivery;
mod mark;
mod operation;
mod recall;
mod recent;
mod store;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use base::Clock;
use parking_lot::RwLock;
use stream::{Log, Stream};

use crate::collect::Token;
use crate::collect::budget::Budget;
use recall::{Before, Reach};
use recent::Recent;

pub use counts::FirehoseCounts;

/// The service and version in `X-Amz-Target`, and the service that requests are signed for.
pub(crate) const TARGET: &str = "Firehose_20150804";
pub(crate) const SERVICE: &str = "firehose";

/// A name that producers of the Firehose API may write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryStream {
    /// The name that clients use: the stream's, or that of a table that reads from it.
    pub name: String,
    /// The stream that takes the records.
    pub stream: String,
}

/// Who may deliver to the HTTP endpoint.
#[derive(Clone, Debug, Default)]
pub enum DeliveryAccess {
    /// Anybody: for doors that only this machine reaches.
    Open,
    /// Nobody.
    #[default]
    Closed,
    /// Who shows this key as `X-Amz-Firehose-Access-Key`.
    Key(Token),
}

/// What the door is told about itself.
#[derive(Clone, Debug)]
pub struct FirehoseSettings {
    /// Twelve digits, part of every ARN.
    pub account: String,
    /// Part of every ARN.
    pub region: String,
    /// Who may deliver to the HTTP endpoint.
    pub access: DeliveryAccess,
    /// Bytes that all deliveries in progress may hold together. One of the largest (64 MiB of data) needs 220 MiB.
    pub memory_bytes: usize,
    /// A planted bug, **only to test the tests**: after a start nothing is known of what was delivered before.
    pub forget_deliveries: bool,
}

impl Default for FirehoseSettings {
    fn default() -> Self {
        Self {
            account: "000000000000".to_owned(),
            region: "us-east-1".to_owned(),
            access: DeliveryAccess::default(),
            memory_bytes: 256 * 1024 * 1024,
            forget_deliveries: false,
        }
    }
}

/// How deliveries are cut: each part is one append.
#[derive(Clone, Copy, Debug)]
struct Parts {
    records_max: usize,
    bytes_max: usize,
}

impl Default for Parts {
    /// Large enough to be worth a sync, small enough to be built in a few milliseconds.
    fn default() -> Self {
        Self { records_max: 20_000, bytes_max: 4 * 1024 * 1024 }
    }
}

/// The door.
#[derive(Debug)]
pub struct Firehose {
    log: Arc<Log>,
    clock: Arc<dyn Clock>,
    settings: FirehoseSettings,
    /// In the order of their names.
    streams: RwLock<Vec<DeliveryStream>>,
    budget: Arc<Budget>,
    recent: Recent,
    before: Before,
    reach: Reach,
    parts: Parts,
    counts: Arc<FirehoseCounts>,
}

impl Firehose {
    /// A door to the streams of `log`. One at a time for a log: what is stored through it, only it remembers.
    #[must_use]
    pub fn new(log: Arc<Log>, clock: Arc<dyn Clock>, settings: FirehoseSettings, streams: Vec<DeliveryStream>) -> Self {
        let budget = Budget::new(settings.memory_bytes);
        let (recent, counts) = (Recent::default(), Arc::new(FirehoseCounts::default()));
        let (before, reach, parts) = (Before::of(&log), Reach::default(), Parts::default());
        let names = RwLock::default();
        let firehose = Self { log, clock, settings, streams: names, budget, recent, before, reach, parts, counts };
        firehose.set_streams(streams);
        firehose
    }

    /// Takes over which delivery streams there are, after the file was changed. Of several with one name, the first
    /// counts.
    pub fn set_streams(&self, mut streams: Vec<DeliveryStream>) {
        streams.sort_by(|a, b| a.name.cmp(&b.name));
        streams.dedup_by(|later, first| later.name == first.name);
        *self.streams.write() = streams;
    }

    /// What came in and what became of it.
    #[must_use]
    pub fn counts(&self) -> Arc<FirehoseCounts> {
        self.counts.clone()
    }

    /// The stream behind a name.
    fn stream(&self, name: &str) -> Option<Arc<Stream>> {
        let streams = self.streams.read();
        let place = streams.binary_search_by(|known| known.name.as_str().cmp(name)).ok()?;
        self.log.stream(&streams[place].stream)
    }

    fn arn(&self, name: &str) -> String {
        let FirehoseSettings { account, region, .. } = &self.settings;
        format!("arn:aws:firehose:{region}:{account}:deliverystream/{name}")
    }
}
