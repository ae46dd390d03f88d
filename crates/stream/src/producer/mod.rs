//! Idempotent producers: (producer, epoch, sequence) is stored once.
//!
//! A shard remembers of each producer its epoch and its last five batches: as many as the published clients have on the
//! way at once, hence as many as they may send again. `known` judges a batch against that, by the published rules;
//! `group` does so for all that is about to be written together. The judging is done by whoever commits, in the order of
//! the queue, and what was judged is only remembered once it is on disk. So a repeat of a batch that still waits comes
//! after it: into the same group, where it gets the same answer, or into a later one, when the first is stored or is not.
//!
//! What is remembered can be read from the headers of the log, and that is what recovery does (`recover`). A `snapshot`
//! beside the segments saves reading all of them, and holds what retention has taken.
//!
//! Batches without a [`Stamp`](crate::Stamp) are not judged, and cost one look at whether any of a group has one.

mod group;
mod known;
mod recover;
mod snapshot;
#[cfg(test)]
mod tests;

pub(crate) use known::{Noted, Producers};
pub(crate) use recover::recover;
