//! Keys derived from secrets. A signer has one for each day, region and service, and makes it five hashes deep: a fifth of what a
//! small request takes until it is stored.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::hmac;
use parking_lot::Mutex;

/// Keys that are held. Who asks for more of them at the same time has each derived anew, as the first time.
const HELD_MAX: usize = 256;

/// Bytes of a credential whose key is held, many more than any has that is meant: the region may be any text.
const CREDENTIAL_BYTES_MAX: usize = 256;

/// What was derived last, by credential: access key, day, region and service. Of a known access key only, so that nobody else
/// has anything held.
#[derive(Default)]
pub(super) struct SigningKeys(Mutex<HashMap<String, Arc<hmac::Key>>>);

impl SigningKeys {
    /// The key for a credential.
    pub(super) fn of(&self, credential: &str, derive: impl FnOnce() -> hmac::Key) -> Arc<hmac::Key> {
        if let Some(key) = self.0.lock().get(credential) {
            return key.clone();
        }
        let key = Arc::new(derive());
        if credential.len() > CREDENTIAL_BYTES_MAX {
            return key;
        }
        let mut held = self.0.lock();
        if held.len() >= HELD_MAX {
            held.clear(); // of other days, most of them
        }
        held.insert(credential.to_owned(), key.clone());
        key
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKeys({})", self.0.lock().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_derived_once_and_few_are_held() {
        let keys = SigningKeys::default();
        let sign = |key: &hmac::Key| hmac::sign(key, b"text").as_ref().to_vec();
        let made = |of: &str| keys.of(of, || hmac::Key::new(hmac::HMAC_SHA256, of.as_bytes()));
        let first = sign(&made("first"));
        let again = keys.of("first", || unreachable!("it is held"));
        assert_eq!(sign(&again), first);
        assert_ne!(sign(&made("second")), first);
        for number in 0..2 * HELD_MAX {
            made(&number.to_string());
            assert!(keys.0.lock().len() <= HELD_MAX);
        }
        assert_eq!(sign(&made("first")), first);
        assert!(!format!("{keys:?}").contains("first"));
        let long = "x".repeat(CREDENTIAL_BYTES_MAX + 1);
        made(&long);
        assert!(!keys.0.lock().contains_key(&long), "nobody makes it hold much");
    }
}
