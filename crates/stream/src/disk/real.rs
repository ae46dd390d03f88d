//! The disk of the machine.

use std::any::Any;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, IoSliceMut};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::{Errno, ReadWriteFlags};

use super::in_place::InPlace;
use super::{Disk, DiskFile};

/// The file system of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create_new(create).open(path)?;
        let in_place = InPlace::of(&file, path);
        Ok(Box::new(RealFile { file, in_place }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // A name that is not UTF-8 is none of ours.
        fs::read_dir(dir)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    in_place: Option<InPlace>,
}

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        into.reserve_exact(max);
        let mut left = max;
        let mut at = at;
        while left > 0 {
            // The spare capacity may be larger than what was asked for; reading on into it would be harmless but not exact.
            let read = if into.spare_capacity_mut().len() == left {
                rustix::io::pread(&self.file, spare_capacity(into), at)
            } else {
                read_part(&self.file, into, left, at)
            };
            match read {
                Ok(0) => break,
                Ok(read) => {
                    left -= read;
                    at += read as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn read_at_once(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let length = into.len();
        into.resize(length + max, 0);
        let mut part = [IoSliceMut::new(&mut into[length..])];
        match rustix::io::preadv2(&self.file, &mut part, at, ReadWriteFlags::NOWAIT) {
            Ok(read) if read == max => Ok(()),
            // A part may be in memory, or the file system may not be able to tell.
            Ok(_) | Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::INTR) => {
                into.truncate(length);
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(error) => {
                into.truncate(length);
                Err(error.into())
            }
        }
    }

    fn write_at(&self, at: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let mut at = at;
        IoSlice::advance_slices(&mut parts, 0); // drop empty ones at the front
        while !parts.is_empty() {
            match rustix::io::pwritev(&self.file, parts, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    IoSlice::advance_slices(&mut parts, written);
                    at += written as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(&self.file)?)
    }

    fn sync_in_place(&self, at: u64, bytes: u64) -> io::Result<()> {
        match &self.in_place {
            Some(in_place) => in_place.sync(&self.file, at, bytes),
            None => self.sync(),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()> {
        Ok(rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, at, bytes)?)
    }
}

/// Reads at most `max` bytes although `into` has room for more.
fn read_part(file: &File, into: &mut Vec<u8>, max: usize, at: u64) -> Result<usize, Errno> {
    let length = into.len();
    into.resize(length + max, 0);
    let read = rustix::io::pread(file, &mut into[length..], at);
    into.truncate(length + *read.as_ref().unwrap_or(&0));
    read
}
