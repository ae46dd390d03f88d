//! The edge: the doors through which everything comes in.
//!
//! **In:** HTTP requests: of browsers to a site, of producers to the collector.
//! **Out:** answers; for each request a line of the real-time request log, for each collected event a record, both
//! appended to a stream.
//! **Holds:** small files of a site in memory and a bounded queue of log lines; nothing that a restart would miss.
//! **Never:** knows a table, runs SQL, delays an answer for the log, or says that a record is stored before it is on disk.
//!
//! How the pieces hang together:
//!
//! * [`serve`] is the one HTTP server loop of all doors, with a limit on everything a client can hold, with TLS or
//!   without.
//! * `edge` takes a request the way: collector, beacon, site or origin. The body of every answer carries its request
//!   along and ends it when it is dropped, so that each request is counted and logged exactly once.
//! * `site` serves a folder, `origin` passes through to another server.
//! * `request_log` writes a line into a queue of the thread at hand; a writer appends what waits. What does not fit is
//!   counted as dropped.
//! * [`collect`] takes JSON or raw lines and answers when they are on disk.
//! * `body` reads the body of a request within its limits.
//! * `checks` gives turns at the cores to whatever is long: large bodies, reads, answers.
//! * `firehose` takes records of Firehose clients and what delivery streams elsewhere deliver.
//! * `kinesis` speaks the published API of Kinesis Data Streams over the streams of the log.

mod answer;
mod body;
mod checks;
pub mod collect;
mod counts;
mod edge;
mod firehose;
#[doc(hidden)]
pub mod fuzz;
mod kinesis;
mod origin;
mod request_log;
pub mod serve;
mod settings;
mod site;
#[cfg(test)]
mod tests;

pub use collect::{CollectCounts, CollectLimits, Collector, Token};
pub use counts::{EdgeCounts, EdgeLedger};
pub use edge::{Edge, StartError};
pub use firehose::{DeliveryAccess, DeliveryStream, Firehose, FirehoseCounts, FirehoseSettings};
pub use kinesis::{
    AccessKeys, EXPLICIT_HASH_KEY_HEADER, KINESIS_LISTEN_DEFAULT, KeyError, KeySource, KinesisBeside, KinesisCounts,
    KinesisDoor, KinesisLimits, KinesisSettings, KinesisStartError,
};
pub use request_log::field::Field;
pub use serve::{Cipher, Peer, ServeCounts, ServeLimits, Tls, TlsError, TlsSettings};
pub use settings::{Content, EdgeSettings, LISTEN_DEFAULT, LogSettings, TokenSource};
