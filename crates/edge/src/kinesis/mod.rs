//! The Kinesis door: the published API of Kinesis Data Streams over the streams of the log.

pub(crate) mod auth;
pub(crate) mod wire;
