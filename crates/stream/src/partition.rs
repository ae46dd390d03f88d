//! Which shard a key belongs to: MD5 of the key as a 128-bit number, the number's range cut into equal parts, as in the
//! published Kinesis API. Not for secrecy, only for spreading, and so that a producer's keys spread here as they do there.

use md5::{Digest, Md5};

/// The shard of `key` among `shards` (at least 1).
pub(crate) fn shard_of(key: &[u8], shards: u32) -> u32 {
    if shards <= 1 {
        return 0;
    }
    let hash = u128::from_be_bytes(Md5::digest(key).into());
    let width = u128::MAX / u128::from(shards) + 1;
    u32::try_from(hash / width).expect("a quotient by the width is below the number of shards")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_evenly_and_stay_where_they_are() {
        let mut counts = [0u32; 7];
        for key in 0..70_000u32 {
            counts[shard_of(&key.to_be_bytes(), 7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        assert_eq!(shard_of(b"anything", 1), 0);
        // MD5("a") = 0cc175b9…, MD5("b") = 92eb5ffe…: the first half, the second half.
        assert_eq!((shard_of(b"a", 2), shard_of(b"b", 2)), (0, 1));
        assert!((0..1000).all(|key: u32| shard_of(&key.to_be_bytes(), 1000) < 1000));
    }
}
