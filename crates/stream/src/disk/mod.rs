//! The seam between the log and the disk. Everything the log does to a disk goes through these two traits, so that
//! tests can put a simulated disk underneath that crashes, tears, fails and fills.

mod in_place;
mod real;

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::Path;

pub use real::RealDisk;

/// A disk with folders.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Makes a folder; fine if it is there. Durable only after its parent was synced with [`Disk::sync_dir`].
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Opens a file for reading and writing. With `create`, makes it, and fails if it is there already; durable only
    /// after the folder was synced.
    ///
    /// # Errors
    /// What the system says; `NotFound` and `AlreadyExists` are told apart.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;

    /// The names in a folder, in no order.
    ///
    /// # Errors
    /// What the system says; `NotFound` if there is no such folder.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Renames a file within its folder, replacing what has the name. Durable only after the folder was synced.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable only after the folder was synced.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty folder. Durable only after its parent was synced.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes a lock that no other process has, until the guard is dropped or the process ends. `None`: somebody has it.
    ///
    /// # Errors
    /// What the system says.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Any + Send + Sync>>>;
}

/// An open file.
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;

    /// Appends to `into` up to `max` bytes that lie from byte `at` on; fewer only at the end of the file.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, at: u64, max: usize, into: &mut Vec<u8>) -> io::Result<()>;

    /// Like [`DiskFile::read_at`], but only what is in memory.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if the disk would have to be waited for, or if it cannot tell: nothing was appended.
    fn read_at_once(&self, _at: u64, _max: usize, _into: &mut Vec<u8>) -> io::Result<()> {
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Writes all `parts`, one after the other, from byte `at` on. After an error any part may have been written.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::StorageFull`] if there is no room.
    fn write_at(&self, at: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Makes the bytes and the length durable.
    ///
    /// # Errors
    /// What the system says. What the disk then holds is unknown.
    fn sync(&self) -> io::Result<()>;

    /// Makes the `bytes` from byte `at` on durable, if they lie within what [`DiskFile::sync`] has made durable and the file was
    /// not cut before them since: there may be a shorter way for that. Whatever else was changed may stay as it is.
    ///
    /// # Errors
    /// As of [`DiskFile::sync`].
    fn sync_in_place(&self, _at: u64, _bytes: u64) -> io::Result<()> {
        self.sync()
    }

    /// Cuts the file to `length` bytes, and gives back what was reserved beyond. Durable only after a sync.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Reserves room for `bytes` from byte `at` on without changing the length: a hint that makes later syncs cheaper.
    ///
    /// # Errors
    /// What the system says; nothing depends on it.
    fn reserve(&self, at: u64, bytes: u64) -> io::Result<()>;
}
