//! On-demand streams: hot shards are split and cold neighbours merged by measured load.

/// What a look at the on-demand streams did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scaled {
    /// Shards split.
    pub splits: u64,
    /// Pairs of shards merged.
    pub merges: u64,
}
