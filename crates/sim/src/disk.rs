//! A simulated disk: it knows what is only in memory and what is durable, and can lose, tear and refuse.

use std::any::Any;
use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng};

use stream::disk::{Disk, DiskFile};

const SECTOR: usize = 512;

/// What a crash leaves of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies, the machine goes on: nothing is lost.
    Kill,
    /// The power fails: nothing un-synced is kept.
    LoseAll,
    /// The power fails: of what was not synced, any 512-byte sectors and any names are kept.
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

/// The simulated disk. A clone is the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<File>,
    dirs: BTreeMap<PathBuf, Dir>,
    /// Operations that change something, so far.
    operations: u64,
    /// The operation at which the machine stops; it is under way, and all after it fail.
    stop_at: Option<u64>,
    syncs: u64,
    fail_sync: Option<(u64, FailedSync)>,
    capacity: Option<usize>,
    trace: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

#[derive(Clone, Debug, Default)]
struct Dir {
    now: BTreeMap<String, Node>,
    durable: BTreeMap<String, Node>,
    pending: Vec<Naming>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    File(usize),
    Dir,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(String, Node),
    Unlink(String),
    Rename(String, String),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => {
                bytes.resize(bytes.len().max(at + data.len()), 0);
                bytes[*at..at + data.len()].copy_from_slice(data);
            }
            Self::Truncate(length) => bytes.resize(*length, 0),
        }
    }

    /// The parts of it that reach the disk or not, each for itself.
    fn sectors(&self) -> Vec<Self> {
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
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, Node>) {
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
}

impl State {
    /// Counts an operation; an error if the machine has stopped. `true`: it stops with this one.
    fn step(&mut self, what: impl FnOnce() -> String) -> io::Result<bool> {
        self.operations += 1;
        match self.stop_at {
            Some(at) if self.operations > at => Err(io::Error::other("the machine has stopped")),
            stop_at => {
                self.trace.push(what());
                Ok(stop_at == Some(self.operations))
            }
        }
    }

    fn sync_fails(&mut self) -> Option<FailedSync> {
        self.syncs += 1;
        self.fail_sync.filter(|(at, _)| *at == self.syncs).map(|(_, how)| how)
    }

    fn used(&self) -> usize {
        let linked = self.dirs.values().flat_map(|dir| dir.now.values());
        linked.map(|node| if let Node::File(file) = node { self.files[*file].now.len() } else { 0 }).sum()
    }
}

fn stopped(stops: bool) -> io::Result<()> {
    if stops { Err(io::Error::other("the machine stops")) } else { Ok(()) }
}

fn split(path: &Path) -> (PathBuf, String) {
    let parent = path.parent().expect("a path below the root").to_owned();
    (parent, path.file_name().expect("a name").to_string_lossy().into_owned())
}

impl SimDisk {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        let disk = Self::default();
        disk.0.lock().dirs.insert(PathBuf::from("/"), Dir::default());
        disk
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

    /// What was done so far, one line each.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        self.0.lock().trace.clone()
    }

    /// Stops the machine in the middle of that operation: it and all that follow fail.
    pub fn stop_at(&self, operation: Option<u64>) {
        self.0.lock().stop_at = operation;
    }

    /// Fails the `nth` sync from now on.
    pub fn fail_sync(&self, nth: u64, how: FailedSync) {
        let mut state = self.0.lock();
        state.syncs = 0;
        state.fail_sync = Some((nth, how));
    }

    /// Bytes of all files together above which there is no room.
    pub fn limit(&self, bytes: Option<usize>) {
        self.0.lock().capacity = bytes;
    }

    /// What is there after a crash.
    #[must_use]
    pub fn after(&self, crash: Crash) -> Self {
        let mut state = self.0.lock().clone();
        (state.operations, state.stop_at, state.syncs, state.fail_sync) = (0, None, 0, None);
        state.trace.clear();
        let mut rng = StdRng::seed_from_u64(if let Crash::Tear(seed) = crash { seed } else { 0 });
        let mut keep = |always: bool| always || (matches!(crash, Crash::Tear(_)) && rng.random_bool(0.5));
        let kill = crash == Crash::Kill;
        if !kill {
            for file in &mut state.files {
                for part in file.pending.drain(..).flat_map(|change| change.sectors()) {
                    if keep(false) {
                        part.apply(&mut file.durable);
                    }
                }
                file.now.clone_from(&file.durable);
            }
            for dir in state.dirs.values_mut() {
                for naming in std::mem::take(&mut dir.pending) {
                    if keep(false) {
                        naming.apply(&mut dir.durable);
                    }
                }
                dir.now.clone_from(&dir.durable);
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
        for dir in state.dirs.values_mut() {
            dir.durable.clone_from(&dir.now);
            dir.pending.clear();
        }
        Self(Arc::new(Mutex::new(state)))
    }

    /// All files with their lengths.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.0.lock();
        let file = |node: &Node| if let Node::File(file) = node { Some(state.files[*file].now.len()) } else { None };
        let dirs = state.dirs.iter();
        dirs.flat_map(|(dir, names)| {
            names.now.iter().filter_map(move |(name, node)| Some((dir.join(name), file(node)?)))
        })
        .collect()
    }

    /// Changes the durable bytes of a file behind everybody's back.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn spoil(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let (dir, name) = split(path);
        let mut state = self.0.lock();
        let Some(Node::File(file)) = state.dirs[&dir].now.get(&name).copied() else { panic!("no file {path:?}") };
        let file = &mut state.files[file];
        change(&mut file.now);
        file.durable.clone_from(&file.now);
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") {
            return Ok(());
        }
        let (parent, name) = split(path);
        let mut state = self.0.lock();
        if self.node(&state, &parent)?.now.contains_key(&name) {
            return Ok(());
        }
        let stops = state.step(|| format!("create_dir {}", path.display()))?;
        let parent = state.dirs.get_mut(&parent).expect("just looked up");
        parent.now.insert(name.clone(), Node::Dir);
        parent.pending.push(Naming::Link(name, Node::Dir));
        state.dirs.insert(path.to_owned(), Dir::default());
        stopped(stops)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let (dir, name) = split(path);
        let mut state = self.0.lock();
        let found = self.node(&state, &dir)?.now.get(&name).copied();
        let file = match (found, create) {
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(file)), false) => file,
            (_, false) => return Err(io::ErrorKind::NotFound.into()),
            (None, true) => {
                if state.capacity.is_some_and(|most| state.used() >= most) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let stops = state.step(|| format!("create {}", path.display()))?;
                state.files.push(File::default());
                let file = state.files.len() - 1;
                let dir = state.dirs.get_mut(&dir).expect("just looked up");
                dir.now.insert(name.clone(), Node::File(file));
                dir.pending.push(Naming::Link(name, Node::File(file)));
                stopped(stops)?;
                file
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), file, name: path.display().to_string() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        Ok(self.node(&state, dir)?.now.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((dir, from), (_, to)) = (split(from), split(to));
        self.naming(&dir, Naming::Rename(from, to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path);
        if !self.node(&self.0.lock(), &dir)?.now.contains_key(&name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.naming(&dir, Naming::Unlink(name))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let stops = state.step(|| format!("sync_dir {}", path.display()))?;
        stopped(stops)?;
        let failed = state.sync_fails();
        let dir = state.dirs.get_mut(path).ok_or(io::ErrorKind::NotFound)?;
        // Names go through a journal: one that failed is either tried again with the next sync, or undone.
        if failed != Some(FailedSync::PagesKept) {
            let pending = std::mem::take(&mut dir.pending);
            match failed {
                Some(_) => dir.now.clone_from(&dir.durable),
                None => pending.iter().for_each(|naming| naming.apply(&mut dir.durable)),
            }
        }
        failed.map_or(Ok(()), |_| Err(io::Error::other("input/output error")))
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

impl SimDisk {
    fn node<'s>(&self, state: &'s State, dir: &Path) -> io::Result<&'s Dir> {
        // A folder is reachable only through names that are there.
        let reachable = dir.ancestors().all(|path| {
            path.parent().is_none_or(|parent| {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                state.dirs.get(parent).is_some_and(|parent| parent.now.get(&name) == Some(&Node::Dir))
            })
        });
        state.dirs.get(dir).filter(|_| reachable).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn naming(&self, dir: &Path, naming: Naming) -> io::Result<()> {
        let mut state = self.0.lock();
        let stops = state.step(|| format!("{naming:?} in {}", dir.display()))?;
        let dir = state.dirs.get_mut(dir).ok_or(io::ErrorKind::NotFound)?;
        naming.apply(&mut dir.now);
        dir.pending.push(naming);
        stopped(stops)
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
    name: String,
}

impl SimFile {
    fn change(&self, what: &str, change: Change) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let stops = state.step(|| format!("{what} {}", self.name))?;
        let file = &mut state.files[self.file];
        change.apply(&mut file.now);
        file.pending.push(change);
        stopped(stops)
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().files[self.file].now.len() as u64)
    }

    fn read_at(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let state = self.disk.0.lock();
        let bytes = &state.files[self.file].now;
        let begin = (at as usize).min(bytes.len());
        into.extend_from_slice(&bytes[begin..(begin + max).min(bytes.len())]);
        Ok(())
    }

    fn write_at(&self, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_vec()).collect();
        let room = {
            let state = self.disk.0.lock();
            let grown = (at as usize + bytes.len()).saturating_sub(state.files[self.file].now.len());
            let left = state.capacity.map(|most| most.saturating_sub(state.used()));
            left.filter(|left| *left < grown).map(|left| bytes.len() - (grown - left))
        };
        if let Some(fits) = room {
            bytes.truncate(fits);
            self.change("write partly", Change::Write(at as usize, bytes))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let length = bytes.len();
        self.change(&format!("write {at}+{length}"), Change::Write(at as usize, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let stops = state.step(|| format!("sync {}", self.name))?;
        stopped(stops)?;
        let failed = state.sync_fails();
        let file = &mut state.files[self.file];
        let pending = std::mem::take(&mut file.pending);
        match failed {
            Some(FailedSync::PagesLost) => file.now.clone_from(&file.durable),
            Some(FailedSync::PagesKept) => {}
            None => pending.iter().for_each(|change| change.apply(&mut file.durable)),
        }
        failed.map_or(Ok(()), |_| Err(io::Error::other("input/output error")))
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change("truncate", Change::Truncate(length as usize))
    }

    fn reserve(&self, _at: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}
