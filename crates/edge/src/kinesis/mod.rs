//! The Kinesis door: the published API of Kinesis Data Streams over the streams of the log.
//!
//! **In:** requests of any Kinesis client, JSON or CBOR, over HTTP/1.1 or HTTP/2, signed or at an open door.
//! **Out:** records appended to streams; records of streams, asked for or pushed; streams made, changed and described.
//! **Holds:** beside each stream one note with its tags and consumers; in memory which subscriptions are open.
//! **Never:** says that a record is stored before it is on disk, or keeps a place for a reader: iterators and sequence
//! numbers carry all of it.
//!
//! How the pieces hang together:
//!
//! * `wire` reads and writes bodies, errors and event streams; `auth` judges signatures.
//! * `order` is what is judged before a signature is. `operation` is the table of operations; `door` takes a request the way to
//!   one, `body` reads what it carries, `desk` is what all of them share.
//! * `streams`, `shards`, `adjust`, `consumers`, `tags`, `account`: the control plane, one module for each family.
//! * `put`, `get`, `subscribe`: the data plane. `sequence` and `iterator` are how it names places, `held` are answers
//!   that are counted while they are sent.
//! * `constraint` tells what is wrong with an input in the service's own words, `limits` are the service's limits.

mod account;
mod adjust;
mod attributes;
pub(crate) mod auth;
mod body;
pub(crate) mod constraint;
mod consumers;
mod counts;
mod desk;
mod door;
mod fault;
mod follower;
mod get;
mod held;
mod iterator;
mod limits;
mod operation;
mod order;
mod put;
mod sequence;
mod settings;
mod shapes;
mod shards;
mod streams;
mod subscribe;
mod subscription;
mod tags;
#[cfg(test)]
mod tests;
mod token;
pub(crate) mod wire;

pub use auth::{AccessKeys, KeyError};
pub use counts::KinesisCounts;
pub use door::{KinesisBeside, KinesisDoor, KinesisStartError};
pub use put::EXPLICIT_HASH_KEY_HEADER;
pub use settings::{KINESIS_LISTEN_DEFAULT, KeySource, KinesisLimits, KinesisSettings};
