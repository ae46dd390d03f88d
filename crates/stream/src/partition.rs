//! The hash of a key: MD5 as a 128-bit number, as in the published Kinesis API. Not for secrecy, only for spreading, and
//! so that a producer's keys spread here as they do there.

use md5::{Digest, Md5};

/// The hash of `key`.
pub(crate) fn hash_of(key: &[u8]) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::range::HashRange;

    /// How streams of layout 1 found the shard of a key.
    fn shard_of_layout_1(key: &[u8], shards: u32) -> u32 {
        if shards <= 1 {
            return 0;
        }
        let width = u128::MAX / u128::from(shards) + 1;
        u32::try_from(hash_of(key) / width).expect("a quotient by the width is below the number of shards")
    }

    #[test]
    fn keys_spread_evenly_and_stay_where_they_are() {
        let mut counts = [0u32; 7];
        for key in 0..70_000u32 {
            counts[shard_of_layout_1(&key.to_be_bytes(), 7) as usize] += 1;
        }
        assert!(counts.iter().all(|count| (9_500..10_500).contains(count)), "{counts:?}");
        // MD5("a") = 0cc175b9…, MD5("b") = 92eb5ffe…: the first half, the second half.
        assert_eq!(hash_of(b"a") >> 96, 0x0cc1_75b9);
        assert_eq!(hash_of(b"b") >> 96, 0x92eb_5ffe);
    }

    #[test]
    fn an_even_cut_gives_every_key_the_shard_it_had_without_ranges() {
        for shards in [1, 2, 3, 4, 5, 7, 64, 999, 1000] {
            let ranges: Vec<HashRange> = HashRange::even_of_layout_1(shards).collect();
            for key in 0..500u32 {
                let key = key.to_be_bytes();
                let place = ranges.iter().position(|range| range.contains(hash_of(&key)));
                assert_eq!(place, Some(shard_of_layout_1(&key, shards) as usize));
            }
            for (place, range) in ranges.iter().enumerate() {
                let width = (u128::MAX / u128::from(shards)).saturating_add(1);
                for hash in [range.start, range.end] {
                    let old = if shards == 1 { 0 } else { hash / width };
                    assert_eq!(old, place as u128, "the edges, too");
                }
            }
        }
    }
}
