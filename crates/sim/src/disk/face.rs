//! The simulated disk as the stream sees it.

use std::any::Any;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use stream::disk::{Disk, DiskFile};

use super::change::{Change, FailedSync, Naming, Node};
use super::{Dir, File, SimDisk, split, stopped};

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") {
            return Ok(());
        }
        let (parent, name) = split(path);
        let mut state = self.0.lock();
        let parent = state.dir(&parent)?;
        match state.dirs[parent].now.get(&name) {
            Some(Node::Dir(_)) => return Ok(()),
            Some(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        let stops = state.step("create_dir", || format!("create_dir {}", path.display()))?;
        state.dirs.push(Dir::default());
        let made = Node::Dir(state.dirs.len() - 1);
        state.name(parent, Naming::Link(name, made));
        stopped(stops)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let (dir, name) = split(path);
        let mut state = self.0.lock();
        let dir = state.dir(&dir)?;
        let found = state.dirs[dir].now.get(&name).copied();
        let file = match (found, create) {
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(file)), false) => file,
            (Some(Node::Dir(_)), false) => return Err(io::ErrorKind::IsADirectory.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (None, true) => {
                if state.capacity.is_some_and(|most| state.used() >= most) {
                    state.hits.hit("no room to create a file");
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let stops = state.step("create", || format!("create {}", path.display()))?;
                state.files.push(File::default());
                let file = state.files.len() - 1;
                state.name(dir, Naming::Link(name, Node::File(file)));
                stopped(stops)?;
                file
            }
        };
        Ok(Box::new(SimFile { disk: self.clone(), file, path: path.to_owned() }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.0.lock();
        let dir = state.dir(dir)?;
        Ok(state.dirs[dir].now.keys().cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((dir, from), (other, to)) = (split(from), split(to));
        let mut state = self.0.lock();
        let dir = if dir == other { state.dir(&dir)? } else { return Err(io::ErrorKind::CrossesDevices.into()) };
        if !state.dirs[dir].now.contains_key(&from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let stops = state.step("rename", || format!("rename {from} to {to}"))?;
        state.name(dir, Naming::Rename(from, to));
        stopped(stops)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = split(path);
        let mut state = self.0.lock();
        let dir = state.dir(&dir)?;
        match state.dirs[dir].now.get(&name) {
            Some(Node::File(_)) => {}
            Some(Node::Dir(_)) => return Err(io::ErrorKind::IsADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        }
        let stops = state.step("remove", || format!("remove {}", path.display()))?;
        state.name(dir, Naming::Unlink(name));
        stopped(stops)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path);
        let mut state = self.0.lock();
        let (parent, dir) = (state.dir(&parent)?, state.dir(path)?);
        if !state.dirs[dir].now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let stops = state.step("remove_dir", || format!("remove_dir {}", path.display()))?;
        state.name(parent, Naming::Unlink(name));
        stopped(stops)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.0.lock();
        let dir = state.dir(path)?;
        let stops = state.step("sync_dir", || format!("sync_dir {}", path.display()))?;
        stopped(stops)?;
        let failed = state.sync_fails(path, "a folder", false);
        let dir = &mut state.dirs[dir];
        // Names go through a journal: one that failed is either tried again with the next sync, or undone.
        match failed {
            Some(FailedSync::PagesKept) => {}
            Some(FailedSync::PagesLost) => {
                dir.pending.clear();
                dir.now.clone_from(&dir.durable);
            }
            None => std::mem::take(&mut dir.pending).iter().for_each(|naming| naming.apply(&mut dir.durable)),
        }
        failed.map_or(Ok(()), |_| Err(io::Error::other("input/output error")))
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        Ok(Some(Box::new(())))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    file: usize,
    path: PathBuf,
}

impl SimFile {
    fn change(&self, what: &str, change: Change) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let kind = what.split(' ').next().unwrap_or(what);
        let stops = state.step(kind, || format!("{what} {}", self.path.display()))?;
        let file = &mut state.files[self.file];
        change.apply(&mut file.now);
        file.pending.push(change);
        stopped(stops)
    }

    /// A sync of what `synced` takes from what is pending.
    fn sync_of(&self, kind: &str, what: &str, synced: impl FnOnce(&mut File) -> Vec<Change>) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let next = state.syncs + 1;
        if let Some(meanwhile) = state.meanwhile.take_before(next) {
            drop(state);
            meanwhile();
            state = self.disk.0.lock();
        }
        let stops = state.step(kind, || format!("{kind} {}", self.path.display()))?;
        stopped(stops)?;
        let pending = &state.files[self.file].pending;
        let room = !pending.is_empty() && pending.iter().all(Change::is_room);
        if room {
            state.hits.hit("room is made ahead");
        }
        let failed = state.sync_fails(&self.path, what, room);
        let file = &mut state.files[self.file];
        let synced = synced(file);
        match failed {
            Some(FailedSync::PagesLost) => {
                file.pending.clear();
                file.now.clone_from(&file.durable);
            }
            Some(FailedSync::PagesKept) => {}
            None => synced.iter().for_each(|change| change.apply(&mut file.durable)),
        }
        failed.map_or(Ok(()), |_| Err(io::Error::other("input/output error")))
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

    /// One stretch in three is not in memory, whichever that is: it need not begin elsewhere, only end there.
    fn read_at_once(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let end = at + max as u64;
        if end.is_multiple_of(3) { Err(io::ErrorKind::WouldBlock.into()) } else { self.read_at(at, max, into) }
    }

    fn write_at(&self, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let (room, fails) = {
            let mut state = self.disk.0.lock();
            state.writes += 1;
            let grown = (at as usize + bytes.len()).saturating_sub(state.files[self.file].now.len());
            let left = state.capacity.map(|most| most.saturating_sub(state.used()));
            let room = left.filter(|left| *left < grown).map(|left| bytes.len() - (grown - left));
            let fails = state.fail_write == Some(state.writes);
            if room.is_some() {
                state.hits.hit("no room to write");
            } else if fails {
                state.hits.hit("a write fails");
            }
            (room, fails)
        };
        if let Some(fits) = room {
            bytes.truncate(fits);
            self.change("write partly", Change::Write(at as usize, bytes))?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        if fails {
            bytes.truncate(bytes.len() / 2);
            self.change("write badly", Change::Write(at as usize, bytes))?;
            return Err(io::Error::other("input/output error"));
        }
        let length = bytes.len();
        self.change(&format!("write {at}+{length}"), Change::Write(at as usize, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_of("sync", "a file", |file| std::mem::take(&mut file.pending))
    }

    /// Of these bytes only what lies where the file has durably something; what else was changed stays pending. Nothing at all if
    /// the file was cut before that.
    fn sync_in_place(&self, at: u64, bytes: u64) -> io::Result<()> {
        let (begin, end) = (at as usize, (at + bytes) as usize);
        self.sync_of("sync_in_place", "a file in place", |file| {
            let end = end.min(file.durable.len());
            let is_cut = file.pending.iter().any(|change| matches!(change, Change::Truncate(to) if *to < end));
            let within = |change: &mut Change| match change {
                Change::Write(at, data) => !is_cut && *at >= begin && *at + data.len() <= end,
                Change::Truncate(_) => false,
            };
            file.pending.extract_if(.., within).collect()
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.change("truncate", Change::Truncate(length as usize))
    }

    fn reserve(&self, _at: u64, _bytes: u64) -> io::Result<()> {
        Ok(())
    }
}
