//! What is done to a disk and not yet durable, piece by piece, and what a crash may leave of it.

use std::collections::BTreeMap;

/// What a disk writes wholly or not at all.
pub(super) const SECTOR: usize = 512;

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine goes on: nothing is lost.
    Kill,
    /// The power fails: nothing un-synced is kept.
    LoseAll,
    /// The power fails: of what was not synced, any 512-byte sectors and any names are kept, in any order, and where
    /// a file has grown the lost sectors hold anything.
    Tear(u64),
}

/// What a failed sync leaves in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedSync {
    /// The pages are still there, and count as clean although the disk never got them.
    PagesKept,
    /// The pages are gone.
    PagesLost,
}

/// A change of a file's bytes.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

/// A change of the names in a folder.
#[derive(Clone, Debug)]
pub(super) enum Naming {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

/// What a name stands for: the number of a file or folder, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(usize),
    Dir(usize),
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    /// Whether it is part of the room that is made ahead of records.
    pub(super) fn is_room(&self) -> bool {
        matches!(self, Self::Write(_, data) if data.iter().all(|byte| *byte == 0))
    }

    /// The parts of it that reach the disk or not, each for itself.
    pub(super) fn sectors(&self) -> Vec<Self> {
        let Self::Write(at, data) = self else { return vec![self.clone()] };
        let mut parts = Vec::new();
        let mut begin = 0;
        while begin < data.len() {
            let end = ((at + begin) / SECTOR * SECTOR + SECTOR - at).min(data.len());
            parts.push(Self::Write(at + begin, data[begin..end].to_vec()));
            begin = end;
        }
        parts
    }

    /// For counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Write(..) => "sector",
            Self::Truncate(_) => "truncate",
        }
    }
}

impl Naming {
    pub(super) fn apply(&self, names: &mut BTreeMap<String, Node>) {
        match self {
            Self::Link(name, node) => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = names.remove(from) {
                    names.insert(to.clone(), node);
                }
            }
        }
    }

    /// For counting.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Link(..) => "link",
            Self::Unlink(_) => "unlink",
            Self::Rename(..) => "rename",
        }
    }
}
