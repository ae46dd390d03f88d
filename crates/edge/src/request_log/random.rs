//! Random numbers for sampling and request ids: a small generator per thread, seeded from the system's entropy.
//! Not for secrets.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

thread_local! {
    static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()) | 1);
}

/// The next 64 random bits of this thread (a Weyl sequence, mixed; see "SplitMix", Steele, Lea, Flood 2014).
pub(crate) fn next() -> u64 {
    STATE.with(|state| {
        let now = state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(now);
        let mut mixed = now;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// Whether a request is among the `percent` of a hundred that are logged. Exactly unbiased: the few values that would
/// favour low numbers are drawn again (Lemire's method).
pub(crate) fn chosen(percent: u8) -> bool {
    if percent >= 100 {
        return true;
    }
    // 2^32 mod 100, which is 96: products whose low half lies below it belong to an incomplete last hundred.
    const REDRAW_BELOW: u32 = u32::MAX % 100 + 1;
    loop {
        let product = (next() >> 32) * 100;
        if product as u32 >= REDRAW_BELOW {
            return ((product >> 32) as u8) < percent;
        }
    }
}

/// A request id: a version 7 UUID, so that ids sort by time. The bytes are its usual 36 characters.
pub(crate) fn request_id(unix_ms: i64) -> [u8; 36] {
    let mut random = [0u8; 10];
    random[..8].copy_from_slice(&next().to_le_bytes());
    random[8..].copy_from_slice(&next().to_le_bytes()[..2]);
    let uuid = uuid::Builder::from_unix_timestamp_millis(u64::try_from(unix_ms).unwrap_or(0), &random).into_uuid();
    let mut text = [0u8; 36];
    uuid.hyphenated().encode_lower(&mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_keeps_its_percentage() {
        const DRAWS: u32 = 200_000;
        for percent in [1u8, 10, 50, 99] {
            let kept = (0..DRAWS).filter(|_| chosen(percent)).count() as f64;
            let expected = f64::from(DRAWS) * f64::from(percent) / 100.0;
            let deviation = (expected * (1.0 - f64::from(percent) / 100.0)).sqrt();
            assert!((kept - expected).abs() < 6.0 * deviation, "{percent} %: kept {kept}, expected {expected}");
        }
        assert!((0..1000).all(|_| chosen(100)));
    }

    #[test]
    fn ids_are_version_7_uuids_and_differ() {
        let (a, b) = (request_id(1_700_000_000_000), request_id(1_700_000_000_000));
        assert_ne!(a, b);
        let text = std::str::from_utf8(&a).expect("ASCII");
        let uuid = uuid::Uuid::parse_str(text).expect("a UUID");
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_timestamp().map(|time| time.to_unix().0), Some(1_700_000_000));
    }
}
