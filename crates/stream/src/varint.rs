//! Variable-length integers as in Kafka's record format: zigzag, then seven bits a byte, lowest first.

/// Bytes that `value` takes.
pub(crate) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends `value`.
pub(crate) fn put(into: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    while rest >= 0x80 {
        into.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    into.push(rest as u8);
}

/// Takes a value from the front of `bytes`; `None` if it is cut off or longer than 64 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<i64> {
    if let [byte @ 0..0x80, rest @ ..] = bytes {
        *bytes = rest; // most lengths and deltas fit one byte
        return Some(unzigzag(u64::from(*byte)));
    }
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == 9 && part > 1 {
            return None;
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            *bytes = &bytes[index + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Takes a length: `Some(None)` for -1 (null), `None` if it is malformed or reaches beyond `bytes`.
pub(crate) fn take_length(bytes: &mut &[u8]) -> Option<Option<usize>> {
    match take(bytes)? {
        -1 => Some(None),
        length => usize::try_from(length).ok().filter(|length| *length <= bytes.len()).map(Some),
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_put_is_taken_and_its_size_is_known(value: i64) {
            let mut bytes = Vec::new();
            put(&mut bytes, value);
            prop_assert_eq!(bytes.len(), size(value));
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert!(rest.is_empty());
            for cut in 0..bytes.len() {
                prop_assert_eq!(take(&mut &bytes[..cut]), None);
            }
        }
    }

    #[test]
    fn eleven_bytes_or_more_than_64_bits_are_refused() {
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
        assert_eq!(take(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02].as_slice()), None);
    }
}
