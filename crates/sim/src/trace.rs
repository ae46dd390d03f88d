//! What happened, in order: the same seed must give the same.

use std::fmt::Display;
use std::hash::{DefaultHasher, Hasher};

/// The last lines kept for a message; the hash covers all.
const LINES_KEPT: usize = 60;

/// A trace: its hash, and its last lines.
#[derive(Clone, Debug)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: std::collections::VecDeque<String>,
    count: u64,
}

impl Default for Trace {
    fn default() -> Self {
        Self { hasher: DefaultHasher::new(), lines: std::collections::VecDeque::new(), count: 0 }
    }
}

impl Trace {
    /// Notes a line.
    pub fn note(&mut self, line: impl Display) {
        let line = line.to_string();
        self.hasher.write(line.as_bytes());
        self.hasher.write_u8(0xff);
        self.count += 1;
        if self.lines.len() == LINES_KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Notes bytes, by their hash alone.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// A number that two equal traces share, and two different ones do not, as far as 64 bits can tell.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// Lines so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The last lines.
    #[must_use]
    pub fn tail(&self) -> Vec<String> {
        self.lines.iter().cloned().collect()
    }
}
