//! Small files in memory, up to a limit. A file is looked at again once a second at most; what was asked for longest
//! ago goes first.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::RwLock;

use super::load::Small;

/// How long a file is served from memory before the disk is asked whether it changed: short enough for an editor
/// who reloads the page, long enough that a busy page costs one look per second.
const FRESH_MS: u64 = 1000;

/// Names in the cache: bounds what many tiny files cost.
const NAMES_MAX: usize = 8192;

/// A file and when it was last used and looked at.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) small: Small,
    checked_ms: AtomicU64,
    used_ms: AtomicU64,
    checking: AtomicBool,
}

/// What the cache knows of a path.
#[derive(Debug)]
pub(crate) enum Look {
    /// Serve it.
    Fresh(Arc<Kept>),
    /// Whoever gets this is to look at the disk; all others go on being served what there is.
    Stale(Claim),
    /// Not here.
    Unknown,
}

/// The task of looking at the disk. Dropped undone, it falls to the next who asks.
#[derive(Debug)]
pub(crate) struct Claim(Arc<Kept>);

impl Claim {
    /// The file in question.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.checking.store(false, Ordering::Release);
    }
}

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    opened: Instant,
    bytes_max: usize,
    files: RwLock<Files>,
}

#[derive(Debug, Default)]
struct Files {
    by_path: HashMap<Box<str>, Arc<Kept>>,
    bytes: usize,
}

impl Cache {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { opened: Instant::now(), bytes_max, files: RwLock::default() }
    }

    fn ms(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.opened).as_millis()).unwrap_or(u64::MAX)
    }

    /// What is known of `path` (decoded, below the root, without the leading slash).
    pub(crate) fn look(&self, path: &str, now: Instant) -> Look {
        let Some(kept) = self.files.read().by_path.get(path).cloned() else { return Look::Unknown };
        let now = self.ms(now);
        if kept.used_ms.load(Ordering::Relaxed) != now {
            kept.used_ms.store(now, Ordering::Relaxed);
        }
        let age = now.saturating_sub(kept.checked_ms.load(Ordering::Relaxed));
        if age > FRESH_MS && !kept.checking.swap(true, Ordering::AcqRel) {
            return Look::Stale(Claim(kept));
        }
        Look::Fresh(kept)
    }

    /// Says that the file is unchanged.
    pub(crate) fn checked(&self, kept: &Kept) {
        kept.checked_ms.store(self.ms(Instant::now()), Ordering::Relaxed);
    }

    /// Puts a file in, in place of an older state of it.
    pub(crate) fn put(&self, path: &str, small: Small) -> Arc<Kept> {
        let now = self.ms(Instant::now());
        let weight = small.weight();
        let kept = Arc::new(Kept {
            small,
            checked_ms: AtomicU64::new(now),
            used_ms: AtomicU64::new(now),
            checking: AtomicBool::new(false),
        });
        if weight <= self.bytes_max {
            let mut files = self.files.write();
            files.remove(path);
            while files.bytes + weight > self.bytes_max || files.by_path.len() >= NAMES_MAX {
                files.remove_oldest();
            }
            files.bytes += weight;
            files.by_path.insert(path.into(), kept.clone());
        }
        kept
    }

    /// Forgets a path.
    pub(crate) fn forget(&self, path: &str) {
        self.files.write().remove(path);
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.files.read().bytes
    }
}

impl Files {
    fn remove(&mut self, path: &str) {
        if let Some(gone) = self.by_path.remove(path) {
            self.bytes -= gone.small.weight();
        }
    }

    /// Looks at every name; happens only when a file is put into a full cache.
    fn remove_oldest(&mut self) {
        let oldest = self.by_path.iter().min_by_key(|(_, kept)| kept.used_ms.load(Ordering::Relaxed));
        let oldest = oldest.map(|(path, _)| path.clone());
        match oldest {
            Some(path) => self.remove(&path),
            None => self.bytes = 0,
        }
    }
}
