//! What the process asks of the system before any room opens.

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The number of `SIGXFSZ` on Linux; tokio has no name for it.
const FILE_SIZE_EXCEEDED: i32 = 25;

/// Raises the soft limit of open files to the hard one (every active shard and every connection holds one, and the
/// usual soft limit of 1,024 is less than the shards of one stream), and turns the signal that a file-size limit
/// sends into the error that the log answers with `Full`: by default the signal would end the process.
pub(super) fn prepare() -> anyhow::Result<Signal> {
    let files = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: files.maximum, maximum: files.maximum }) {
        tracing::warn!(%error, soft = files.current, hard = files.maximum, "the limit of open files stays as it is");
    }
    signal(SignalKind::from_raw(FILE_SIZE_EXCEEDED)).context("the signal of a file-size limit cannot be taken over")
}
