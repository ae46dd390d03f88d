//! Which shard takes which key.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use base::ShardId;

use crate::partition::hash_of;
use crate::stream::{Shape, Stream};
use crate::topology::ShardMode;

/// Which shard takes which key, as it was at one moment.
///
/// Records that are sent together are mapped by the same one. Shards may be split or merged between any two questions: the
/// earlier records of a key would then go to a shard that takes nothing any more, the later ones to the one that follows it,
/// and when the earlier ones are sent there, too, they come after them.
#[derive(Debug)]
pub struct Mapping<'a> {
    stream: &'a Stream,
    shape: Arc<Shape>,
}

impl Mapping<'_> {
    /// The open shard of a key: the one whose range holds the MD5 of it, so that records of one key keep their order.
    /// Without a key, one shard after the other.
    #[must_use]
    pub fn shard_for(&self, key: Option<&[u8]>) -> ShardId {
        match key {
            Some(key) => self.shard_for_hash(hash_of(key)),
            None => {
                let turn = self.stream.next.fetch_add(1, Ordering::Relaxed) as usize;
                self.shape.in_turn(turn).id
            }
        }
    }

    /// The open shard whose range holds `hash`.
    #[must_use]
    pub fn shard_for_hash(&self, hash: u128) -> ShardId {
        let shard = self.shape.at(hash);
        if self.shape.metadata.settings.mode == ShardMode::OnDemand {
            shard.expect(hash);
        }
        shard.id
    }
}

/// What goes to each shard, in the order in which the shards first got something.
#[derive(Debug, Default)]
pub struct ByShard<T>(Vec<(ShardId, T)>);

impl<T: Default> ByShard<T> {
    /// What goes to this one: nothing yet, the first time.
    pub fn of(&mut self, shard: ShardId) -> &mut T {
        let place = self.0.iter().position(|(known, _)| *known == shard).unwrap_or_else(|| {
            self.0.push((shard, T::default()));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }
}

impl<T> IntoIterator for ByShard<T> {
    type Item = (ShardId, T);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Stream {
    /// Which shard takes which key now.
    #[must_use]
    pub fn mapping(&self) -> Mapping<'_> {
        Mapping { stream: self, shape: self.shape() }
    }

    /// The open shard of a key that is sent alone: see [`Mapping::shard_for`].
    #[must_use]
    pub fn shard_for(&self, key: Option<&[u8]>) -> ShardId {
        self.mapping().shard_for(key)
    }

    /// The open shard whose range holds `hash`, likewise.
    #[must_use]
    pub fn shard_for_hash(&self, hash: u128) -> ShardId {
        self.mapping().shard_for_hash(hash)
    }
}
