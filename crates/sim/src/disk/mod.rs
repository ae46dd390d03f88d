//! A simulated disk: it knows what is only in memory and what is durable, and can lose, tear, refuse and fill.

mod change;
mod face;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use change::{Change, Naming, Node};
pub use change::{Crash, FailedSync};

use crate::hits::Hits;
use crate::trace::Trace;

/// The simulated disk. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug)]
struct State {
    files: Vec<File>,
    /// The first one is `/`.
    dirs: Vec<Dir>,
    /// Operations that change something, so far.
    operations: u64,
    /// The operation at which the machine stops; it is under way, and all after it fail.
    stop_at: Option<u64>,
    syncs: u64,
    fail_sync: Option<(u64, FailedSync)>,
    meanwhile: Meanwhile,
    /// Files and folders whose sync has failed, and whether that counts yet.
    failed: Vec<(PathBuf, bool)>,
    writes: u64,
    fail_write: Option<u64>,
    capacity: Option<usize>,
    trace: Trace,
    hits: Hits,
}

/// What somebody else does while a sync is under way, once. It belongs to one life of the disk: a copy has nothing of it.
#[derive(Default)]
struct Meanwhile(Option<(u64, Box<dyn FnOnce() + Send>)>);

impl Meanwhile {
    fn take_before(&mut self, sync: u64) -> Option<Box<dyn FnOnce() + Send>> {
        self.0.take_if(|(at, _)| *at == sync).map(|(_, run)| run)
    }
}

impl Clone for Meanwhile {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Meanwhile").field(&self.0.as_ref().map(|(at, _)| at)).finish()
    }
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Naming>,
}

impl State {
    /// Counts an operation; an error if the machine has stopped. `true`: it stops with this one.
    fn step(&mut self, kind: &str, what: impl FnOnce() -> String) -> io::Result<bool> {
        self.operations += 1;
        match self.stop_at {
            Some(at) if self.operations > at => Err(io::Error::other("the machine has stopped")),
            stop_at => {
                self.trace.note(what());
                let stops = stop_at == Some(self.operations);
                if stops {
                    self.hits.hit(&format!("stop in {kind}"));
                }
                Ok(stops)
            }
        }
    }

    /// Whether this sync fails, and how. That of nothing but room made ahead comes after answers that nobody has seen yet.
    fn sync_fails(&mut self, path: &Path, kind: &str, room: bool) -> Option<FailedSync> {
        self.syncs += 1;
        let how = self.fail_sync.filter(|(at, _)| *at == self.syncs).map(|(_, how)| how)?;
        self.failed.push((path.to_owned(), !room));
        let left = if how == FailedSync::PagesKept { "kept" } else { "lost" };
        self.hits.hit(&format!("sync of {kind} fails, pages {left}"));
        Some(how)
    }

    fn used(&self) -> usize {
        let mut used = 0;
        let mut dirs = vec![0];
        while let Some(dir) = dirs.pop() {
            for node in self.dirs[dir].now.values() {
                match node {
                    Node::File(file) => used += self.files[*file].now.len(),
                    Node::Dir(dir) => dirs.push(*dir),
                }
            }
        }
        used
    }

    /// What has this name now.
    fn node(&self, path: &Path) -> Option<Node> {
        path.iter().skip(1).try_fold(Node::Dir(0), |node, name| match node {
            Node::Dir(dir) => self.dirs[dir].now.get(name.to_str()?).copied(),
            Node::File(_) => None,
        })
    }

    fn dir(&self, path: &Path) -> io::Result<usize> {
        match self.node(path) {
            Some(Node::Dir(dir)) => Ok(dir),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn name(&mut self, dir: usize, naming: Naming) {
        naming.apply(&mut self.dirs[dir].now);
        self.dirs[dir].pending.push(naming);
    }

    /// The power fails: of what is pending, what `keep` says becomes durable, the rest is gone.
    fn lose(&mut self, keep: &mut impl FnMut(Loss) -> bool) {
        for file in &mut self.files {
            for change in file.pending.drain(..) {
                let (mut kept, mut lost) = (false, false);
                for part in change.sectors() {
                    if keep(Loss { kind: part.kind(), grown: None }) {
                        part.apply(&mut file.durable);
                        kept = true;
                        continue;
                    }
                    lost = true;
                    // The file may have grown without this sector having been written: it holds what lay there before.
                    if let Change::Write(at, data) = &part
                        && *at >= file.durable.len()
                        && keep(Loss { kind: "stale sector", grown: Some(*at) })
                    {
                        let stale = data.iter().enumerate().map(|(index, byte)| byte ^ (index as u8 | 0x55)).collect();
                        Change::Write(*at, stale).apply(&mut file.durable);
                    }
                }
                if kept && lost {
                    self.hits.hit("torn write");
                }
            }
            file.now.clone_from(&file.durable);
        }
        for dir in &mut self.dirs {
            for naming in std::mem::take(&mut dir.pending) {
                if keep(Loss { kind: naming.kind(), grown: None }) {
                    naming.apply(&mut dir.durable);
                }
            }
            dir.now.clone_from(&dir.durable);
        }
    }
}

/// Something that is not durable when the power fails.
struct Loss {
    kind: &'static str,
    /// Where, if this asks for stale bytes in a file that has grown.
    grown: Option<usize>,
}

fn stopped(stops: bool) -> io::Result<()> {
    if stops { Err(io::Error::other("the machine stops")) } else { Ok(()) }
}

fn split(path: &Path) -> (PathBuf, String) {
    let parent = path.parent().expect("a path below the root").to_owned();
    (parent, path.file_name().expect("a name").to_string_lossy().into_owned())
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::counting(Hits::default())
    }

    /// An empty one that counts what it does to others into `hits`.
    #[must_use]
    pub fn counting(hits: Hits) -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            dirs: vec![Dir::default()],
            operations: 0,
            stop_at: None,
            syncs: 0,
            fail_sync: None,
            meanwhile: Meanwhile::default(),
            failed: Vec::new(),
            writes: 0,
            fail_write: None,
            capacity: None,
            trace: Trace::default(),
            hits,
        })))
    }

    /// Operations so far that changed something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Syncs so far, or since [`SimDisk::fail_sync`].
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// What was done so far, crashes of this disk's earlier lives included.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.0.lock().trace.clone()
    }

    /// Stops the machine in the middle of that operation: it and all that follow fail.
    pub fn stop_at(&self, operation: Option<u64>) {
        self.0.lock().stop_at = operation;
    }

    /// Whether the machine has stopped.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let state = self.0.lock();
        state.stop_at.is_some_and(|at| state.operations >= at)
    }

    /// Fails the `nth` sync from now on, once.
    pub fn fail_sync(&self, nth: u64, how: FailedSync) {
        let mut state = self.0.lock();
        state.syncs = 0;
        state.fail_sync = Some((nth, how));
    }

    /// Runs `what` in the middle of the `nth` sync from now on, once: what was written before is on its way to the disk then.
    pub fn meanwhile(&self, nth: u64, what: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        state.syncs = 0;
        state.meanwhile = Meanwhile(Some((nth, Box::new(what))));
    }

    /// Fails the `nth` write from now on, once, in the middle.
    pub fn fail_write(&self, nth: u64) {
        let mut state = self.0.lock();
        state.writes = 0;
        state.fail_write = Some(nth);
    }

    /// No sync or write fails any more.
    pub fn heal(&self) {
        let mut state = self.0.lock();
        (state.fail_sync, state.fail_write) = (None, None);
    }

    /// Files and folders whose sync has failed since the last crash or [`SimDisk::forgive`]; that of room made ahead counts from
    /// [`SimDisk::count_failed`] on.
    #[must_use]
    pub fn failed(&self) -> Vec<PathBuf> {
        self.0.lock().failed.iter().filter(|(_, counts)| *counts).map(|(path, _)| path.clone()).collect()
    }

    /// All answers that came before what has failed until now were seen.
    pub fn count_failed(&self) {
        self.0.lock().failed.iter_mut().for_each(|(_, counts)| *counts = true);
    }

    /// What failed below `dir` before counts no more: it was opened anew, or removed.
    pub fn forgive(&self, dir: &Path) {
        self.0.lock().failed.retain(|(path, _)| !path.starts_with(dir));
    }

    /// Bytes of all files together above which there is no room.
    pub fn limit(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// Bytes of all files.
    #[must_use]
    pub fn used(&self) -> usize {
        self.0.lock().used()
    }

    /// What is there after a crash. This disk stays as it is.
    #[must_use]
    pub fn after(&self, crash: Crash) -> Self {
        let mut state = self.0.lock().clone();
        (state.stop_at, state.syncs, state.fail_sync, state.writes, state.fail_write) = (None, 0, None, 0, None);
        state.failed.clear();
        state.trace.note(format_args!("{crash:?}"));
        let hits = state.hits.clone();
        let lost = |loss: &Loss| hits.hit(&format!("{} lost", loss.kind));
        match crash {
            Crash::Kill => hits.hit("killed"),
            Crash::LoseAll => {
                hits.hit("power lost, with all that was not synced");
                state.lose(&mut |loss| {
                    if loss.grown.is_none() {
                        lost(&loss);
                    }
                    false
                });
            }
            Crash::Tear(seed) => {
                hits.hit("power lost, with parts of what was not synced");
                let mut random = StdRng::seed_from_u64(seed);
                let share = [0.1, 0.5, 0.9][random.random_range(0..3)];
                state.lose(&mut |loss| {
                    let keep = random.random_bool(if loss.grown.is_some() { 0.1 } else { share });
                    match (keep, loss.grown) {
                        (false, None) => lost(&loss),
                        (true, Some(_)) => hits.hit("stale sector"),
                        _ => {}
                    }
                    keep
                });
            }
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// An independent copy, all of it durable.
    #[must_use]
    pub fn copy(&self) -> Self {
        let mut state = self.0.lock().clone();
        for file in &mut state.files {
            file.durable.clone_from(&file.now);
            file.pending.clear();
        }
        for dir in &mut state.dirs {
            dir.durable.clone_from(&dir.now);
            dir.pending.clear();
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// All files with their lengths, in order.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.0.lock();
        let mut found = Vec::new();
        let mut dirs = vec![(PathBuf::from("/"), 0)];
        while let Some((path, dir)) = dirs.pop() {
            for (name, node) in &state.dirs[dir].now {
                match node {
                    Node::File(file) => found.push((path.join(name), state.files[*file].now.len())),
                    Node::Dir(dir) => dirs.push((path.join(name), *dir)),
                }
            }
        }
        found.sort();
        found
    }

    /// Changes the durable bytes of a file behind everybody's back.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn spoil(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.0.lock();
        let Some(Node::File(file)) = state.node(path) else { panic!("no file {}", path.display()) };
        let file = &mut state.files[file];
        change(&mut file.now);
        file.durable.clone_from(&file.now);
    }
}
