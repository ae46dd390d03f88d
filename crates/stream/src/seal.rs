//! Encryption at rest: the records of a batch are sealed with AES-256-GCM before they are queued, and opened when they are
//! fetched. The bytes, and what is not hidden, are in `docs/formats/segment.md`.
//!
//! **Keys.** A master key (32 bytes, outside of this room's care) is never used on records. By HKDF-SHA-256 it gives a key for
//! each (stream, shard, salt); a salt is 16 random bytes, drawn when a shard seals its first batch after opening.
//!
//! **Nonces.** A counter per salt: no two batches of one derived key share a nonce, as long as no salt is drawn twice (2^64
//! openings of one shard for an even chance) and no process is resumed twice from one image of its memory. A salt is
//! given up after 2^32 batches or 2^46 bytes, where the mode's bounds still leave an attacker less than 2^-40.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{self, HKDF_SHA256, Prk, Salt};
use base::ShardId;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use uuid::Uuid;

use crate::batch::{Batch, Damage, HEADER_BYTES, Header};

/// Bytes behind the sealed records: tag, counter, salt, id of the master key.
const TRAILER_BYTES: usize = TAG_BYTES + COUNTER_BYTES + SALT_BYTES + KEY_ID_BYTES;
const TAG_BYTES: usize = 16;
const COUNTER_BYTES: usize = 8;
const SALT_BYTES: usize = 16;
const KEY_ID_BYTES: usize = 4;

/// Batches and bytes sealed with one salt.
const SALT_BATCHES_MAX: u64 = 1 << 32;
const SALT_RECORD_BYTES_MAX: u64 = 1 << 46;

/// Derived keys that a shard keeps for its readers; each opening of the log made one.
const OPENING_KEYS_MAX: usize = 8;

/// Which master key: the first bytes of what HKDF makes of it, telling nothing about the key itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId([u8; KEY_ID_BYTES]);

impl KeyId {
    /// Of sealed records; of bytes too short for any, zeros.
    pub(crate) fn of_sealed(sealed: &[u8]) -> Self {
        Self(sealed.last_chunk().copied().unwrap_or_default())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Master keys: one to seal with, and others that can still be read.
#[derive(Clone)]
pub struct Keyring {
    /// The current one first.
    keys: Vec<(KeyId, Prk)>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Keyring {
    /// One master key, to seal and to open.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { keys: vec![Self::derive(key)] }
    }

    /// Adds a key of before, to open what it sealed.
    #[must_use]
    pub fn and_old(mut self, key: &[u8; 32]) -> Self {
        let key = Self::derive(key);
        if self.keys.iter().all(|(known, _)| *known != key.0) {
            self.keys.push(key);
        }
        self
    }

    /// Reads keys as a file has them: one per line, 64 hexadecimal digits (`openssl rand -hex 32`); the first is the current
    /// one, the others are old. Empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// The number of the first line that is no key, or that there is none; never a part of a key.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut ring: Option<Self> = None;
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || format!("line {} is no key: expected 64 hexadecimal digits", index + 1);
            let key = unhex(line).ok_or_else(wrong)?;
            ring = Some(match ring {
                None => Self::new(&key),
                Some(ring) => ring.and_old(&key),
            });
        }
        ring.ok_or_else(|| {
            "there is no key: expected 64 hexadecimal digits, as `openssl rand -hex 32` prints".to_owned()
        })
    }

    /// The key that seals.
    #[must_use]
    pub fn current(&self) -> KeyId {
        self.keys[0].0
    }

    fn derive(key: &[u8; 32]) -> (KeyId, Prk) {
        let master = Salt::new(HKDF_SHA256, b"riverrun stream 1").extract(key);
        let mut id = [0; KEY_ID_BYTES];
        let okm = master.expand(&[b"key id"], IdLength).and_then(|okm| okm.fill(&mut id));
        okm.expect("HKDF gives a few bytes for any key");
        (KeyId(id), master)
    }

    fn find(&self, id: KeyId) -> Option<&Prk> {
        self.keys.iter().find(|(known, _)| *known == id).map(|(_, key)| key)
    }
}

#[derive(Debug)]
struct IdLength;

impl hkdf::KeyType for IdLength {
    fn len(&self) -> usize {
        KEY_ID_BYTES
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != key.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(*high)? * 16 + digit(*low)?) as u8;
    }
    Some(key)
}

/// Sealed records were not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotOpened {
    /// That master key was not given.
    NoKey(KeyId),
    /// They are not what this shard sealed.
    Damage(Damage),
}

/// Seals and opens the batches of one shard.
pub(crate) struct Seal {
    uuid: Uuid,
    shard: ShardId,
    keys: Arc<Keyring>,
    sealing: Mutex<Option<Sealing>>,
    /// The last used first.
    opening: Mutex<Vec<Opening>>,
}

type Opening = (KeyId, [u8; SALT_BYTES], Arc<LessSafeKey>);

/// The derived key in use.
#[derive(Clone)]
struct Sealing {
    key: Arc<LessSafeKey>,
    salt: [u8; SALT_BYTES],
    counter: u64,
    bytes: u64,
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("shard", &self.shard).field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl Seal {
    pub(crate) fn new(uuid: Uuid, shard: ShardId, keys: Arc<Keyring>) -> Self {
        Self { uuid, shard, keys, sealing: Mutex::default(), opening: Mutex::default() }
    }

    /// Seals the records of a batch, which must not be sealed yet.
    pub(crate) fn seal(&self, batch: &mut Batch) {
        let Sealing { key, salt, counter, .. } = self.turn(batch.bytes() as u64);
        let aad = self.aad(batch.as_slice());
        batch.seal_records(TRAILER_BYTES, |records, trailer| {
            let tag = key.seal_in_place_separate_tag(nonce(counter), Aad::from(aad), records);
            let tag = tag.expect("a batch is far below what one nonce may seal");
            trailer.extend_from_slice(tag.as_ref());
            trailer.extend_from_slice(&counter.to_be_bytes());
            trailer.extend_from_slice(&salt);
            trailer.extend_from_slice(&self.keys.current().0);
        });
    }

    /// The next counter, and the key that it goes with.
    fn turn(&self, bytes: u64) -> Sealing {
        let mut sealing = self.sealing.lock();
        let used = sealing.as_ref().is_none_or(|sealing| {
            sealing.counter >= SALT_BATCHES_MAX || sealing.bytes.saturating_add(bytes) > SALT_RECORD_BYTES_MAX
        });
        if used {
            let mut salt = [0; SALT_BYTES];
            aws_lc_rs::rand::fill(&mut salt).expect("the system has random bytes");
            let key = Arc::new(self.derive(&self.keys.keys[0].1, &salt));
            *sealing = Some(Sealing { key, salt, counter: 0, bytes: 0 });
        }
        let sealing = sealing.as_mut().expect("just made if there was none");
        let turn = sealing.clone();
        sealing.counter += 1;
        sealing.bytes += bytes;
        turn
    }

    /// Opens sealed records in place: what follows the header of a batch whose CRC was right. Returns how many bytes of
    /// them are records.
    pub(crate) fn open(&self, header: &[u8], sealed: &mut [u8]) -> Result<usize, NotOpened> {
        let unfit = NotOpened::Damage(Damage::Sealed);
        let Some((within, id)) = sealed.split_last_chunk_mut::<KEY_ID_BYTES>() else { return Err(unfit) };
        let Some((within, salt)) = within.split_last_chunk_mut::<SALT_BYTES>() else { return Err(unfit) };
        let Some((within, counter)) = within.split_last_chunk_mut::<COUNTER_BYTES>() else { return Err(unfit) };
        let key = self.opening_key(KeyId(*id), salt).ok_or(NotOpened::NoKey(KeyId(*id)))?;
        let nonce = nonce(u64::from_be_bytes(*counter));
        let records = key.open_in_place(nonce, Aad::from(self.aad(header)), within);
        records.map(|records| records.len()).map_err(|_| unfit)
    }

    fn opening_key(&self, id: KeyId, salt: &[u8; SALT_BYTES]) -> Option<Arc<LessSafeKey>> {
        let mut opening = self.opening.lock();
        if let Some(place) = opening.iter().position(|(known, known_salt, _)| *known == id && known_salt == salt) {
            opening[..=place].rotate_right(1);
            return Some(Arc::clone(&opening[0].2));
        }
        let key = Arc::new(self.derive(self.keys.find(id)?, salt));
        opening.insert(0, (id, *salt, Arc::clone(&key)));
        opening.truncate(OPENING_KEYS_MAX);
        Some(key)
    }

    fn derive(&self, master: &Prk, salt: &[u8; SALT_BYTES]) -> LessSafeKey {
        let shard = self.shard.0.to_be_bytes();
        let info = [b"batches".as_slice(), self.uuid.as_bytes(), &shard, salt];
        let okm = master.expand(&info, &AES_256_GCM).expect("HKDF gives 32 bytes for any key");
        LessSafeKey::new(UnboundKey::from(okm))
    }

    /// What of the header is sealed with the records: all that the log does not change when it places a batch.
    fn aad(&self, header: &[u8]) -> [u8; 52] {
        let mut aad = [0; 52];
        aad[..16].copy_from_slice(self.uuid.as_bytes());
        aad[16..20].copy_from_slice(&self.shard.0.to_be_bytes());
        if let Some(header) = header.first_chunk::<HEADER_BYTES>() {
            aad[20..22].copy_from_slice(&Header::fixed_attributes(header).to_be_bytes());
            aad[22..34].copy_from_slice(&header[23..35]); // last offset delta, base timestamp
            aad[34..52].copy_from_slice(&header[43..61]); // producer, number of records
        }
        aad
    }
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    nonce[NONCE_LEN - COUNTER_BYTES..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use base::Millis;
    use proptest::prelude::*;

    use super::*;
    use crate::batch::{Compression, RecordRef, Records, inflate, verify_crc};

    fn keyring(byte: u8) -> Arc<Keyring> {
        Arc::new(Keyring::new(&[byte; 32]))
    }

    fn seal(keys: &Arc<Keyring>, uuid: u128, shard: u32) -> Seal {
        Seal::new(Uuid::from_u128(uuid), ShardId(shard), Arc::clone(keys))
    }

    fn batch(values: &[Vec<u8>], compression: Compression) -> Batch {
        let mut builder = Batch::builder().compression(compression);
        for value in values {
            builder.push(RecordRef { timestamp: Millis(5), value, ..RecordRef::default() }).expect("fits");
        }
        builder.finish()
    }

    fn open(seal: &Seal, batch: &[u8]) -> Result<Vec<Vec<u8>>, NotOpened> {
        let header = Header::parse(batch).expect("whole");
        verify_crc(batch, &header).expect("whole");
        assert!(header.is_encrypted());
        let mut records = batch[HEADER_BYTES..].to_vec();
        let length = seal.open(batch, &mut records)?;
        let inflated = inflate(header.codec(), &records[..length]).expect("inflates");
        let records = Records::new(&header, inflated.as_deref().unwrap_or(&records[..length]));
        Ok(records.map(|record| record.expect("whole").value.to_vec()).collect())
    }

    fn compression() -> impl Strategy<Value = Compression> {
        prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn what_is_sealed_is_opened_wherever_the_log_places_it(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..10),
            compression in compression(), offset in 0u64..1 << 40, epoch in any::<i32>(), last in 0i64..10,
        ) {
            let seal = seal(&keyring(7), 1, 2);
            let mut batch = batch(&values, compression);
            let plain = batch.bytes();
            seal.seal(&mut batch);
            prop_assert_eq!(batch.bytes(), plain + TRAILER_BYTES);
            batch.place(offset, epoch, last);
            prop_assert_eq!(open(&seal, batch.as_slice()), Ok(values));
        }

        #[test]
        fn no_changed_byte_is_opened_and_none_panics(
            values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..4),
            at in any::<prop::sample::Index>(), by in 1u8..,
        ) {
            let seal = seal(&keyring(7), 1, 2);
            let mut batch = batch(&values, Compression::None);
            seal.seal(&mut batch);
            let mut bytes = batch.as_slice().to_vec();
            let at = HEADER_BYTES + at.index(bytes.len() - HEADER_BYTES);
            bytes[at] ^= by;
            let (header, records) = bytes.split_at_mut(HEADER_BYTES);
            prop_assert!(seal.open(header, records).is_err());
        }
    }

    #[test]
    fn a_batch_opens_only_in_its_stream_and_shard_with_its_key_and_header() {
        let keys = keyring(7);
        let values = vec![b"secret".to_vec(); 3];
        let mut batch = batch(&values, Compression::None);
        let here = seal(&keys, 1, 2);
        here.seal(&mut batch);
        assert!(!batch.as_slice().windows(6).any(|window| window == b"secret"));
        let unfit = Err(NotOpened::Damage(Damage::Sealed));
        assert_eq!(open(&seal(&keys, 1, 3), batch.as_slice()), unfit, "another shard");
        assert_eq!(open(&seal(&keys, 9, 2), batch.as_slice()), unfit, "another stream");
        let other = keyring(8);
        assert_eq!(open(&seal(&other, 1, 2), batch.as_slice()), Err(NotOpened::NoKey(keys.current())));
        let both = Arc::new(Keyring::new(&[8; 32]).and_old(&[7; 32]));
        assert_eq!(open(&seal(&both, 1, 2), batch.as_slice()), Ok(values), "an old key still opens");
        assert_eq!(both.current(), other.current());
        // Not the offset, the group mark, the greatest timestamp: the log sets them when it places the batch.
        let fixed = (23..35).chain(43..61).chain([21, 22]);
        for at in fixed {
            let mut bytes = batch.as_slice().to_vec();
            bytes[at] ^= if at == 22 { 0b0100 } else { 0b1_0000 };
            let (header, records) = bytes.split_at_mut(HEADER_BYTES);
            assert_eq!(here.open(header, records), Err(NotOpened::Damage(Damage::Sealed)), "byte {at} of the header");
        }
        for length in 0..TRAILER_BYTES {
            assert!(here.open(batch.as_slice(), &mut vec![0; length]).is_err());
        }
    }

    #[test]
    fn no_two_batches_share_a_nonce_and_every_opening_has_its_salt() {
        let keys = keyring(7);
        let mut seen = std::collections::BTreeSet::new();
        for _opening in 0..5 {
            let seal = seal(&keys, 1, 2);
            for _ in 0..20 {
                let mut batch = batch(&[b"same".to_vec()], Compression::None);
                seal.seal(&mut batch);
                let bytes = batch.as_slice();
                let trailer = &bytes[bytes.len() - TRAILER_BYTES + TAG_BYTES..];
                assert!(seen.insert(trailer.to_vec()), "the same counter and salt again");
            }
        }
        let seal = seal(&keys, 1, 2);
        let first = seal.turn(1).salt;
        seal.sealing.lock().as_mut().expect("in use").counter = SALT_BATCHES_MAX;
        let second = seal.turn(1).salt;
        assert_ne!(first, second, "a salt is given up in time");
        assert_ne!(seal.turn(SALT_RECORD_BYTES_MAX).salt, second);
    }

    #[test]
    fn keys_are_read_from_a_file_and_never_shown() {
        let one = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
        let text = format!("# made in autumn\n{one}\n\n{}\n", "5".repeat(64));
        let ring = Keyring::read(&text).expect("two keys");
        assert_eq!(ring.keys.len(), 2);
        assert!(!format!("{ring:?}").contains("0011"));
        assert_eq!(Keyring::read("").map(|_| ()).map_err(|told| told.starts_with("there is no key")), Err(true));
        let wrong = Keyring::read(&format!("{one}\nnot a key")).map(|_| ());
        assert_eq!(wrong, Err("line 2 is no key: expected 64 hexadecimal digits".to_owned()));
        for short in ["", "0", &one[1..], &format!("{one}00"), &"é".repeat(32)] {
            assert_eq!(unhex(short), None);
        }
    }

    /// As HKDF-SHA-256 gave it elsewhere; a log of the first version is among the fixtures.
    #[test]
    fn the_derivation_stays_as_it_is() {
        assert_eq!(Keyring::new(&[7; 32]).current().to_string(), KEY_ID_OF_SEVENS);
    }

    const KEY_ID_OF_SEVENS: &str = "4b42fcbe";
}
