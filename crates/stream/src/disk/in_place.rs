//! A shorter way to sync bytes that were overwritten, for a file system that has none of its own.
//!
//! What `fdatasync` must write of a file that neither grew nor got new blocks is its bytes; that it was changed, and when, may
//! wait. Most file systems let it wait. ext4 without a journal does not: it writes the block that holds the inode each time
//! (`ext4_fsync_nojournal` in Linux), which is one trip to the disk of three. There, the bytes are written with
//! `sync_file_range`, and then the cache of the device is flushed by an `fdatasync` of something on the same file system that
//! has nothing to write.
//!
//! Without a journal, blocks that were written once stay where they are, and what leads to them was written by the
//! `fdatasync` that found them new. Where anything is not known for certain, there is no such way.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

/// `EXT4_SUPER_MAGIC` of `statfs(2)`.
const EXT4: u64 = 0xEF53;

/// By device, what is known of its file system. A folder that is held open keeps it from being another one's.
static KNOWN: Mutex<BTreeMap<u64, Option<InPlace>>> = Mutex::new(BTreeMap::new());

/// The shorter way.
#[derive(Clone, Debug)]
pub(super) struct InPlace {
    /// The uppermost folder of the file system that can be reached: the inodes of the files that are written to are elsewhere.
    calm: Arc<File>,
}

impl InPlace {
    /// The shorter way for this file, which lies at `path`, if there is one.
    pub(super) fn of(file: &File, path: &Path) -> Option<Self> {
        let device = file.metadata().ok()?.dev();
        KNOWN.lock().entry(device).or_insert_with(|| Self::find(file, path, device)).clone()
    }

    fn find(file: &File, path: &Path, device: u64) -> Option<Self> {
        let found = rustix::fs::fstatfs(file).ok()?;
        if found.f_type as u64 != EXT4 || !is_without_journal(device) {
            return None;
        }
        let calm = uppermost(path, device)?;
        tracing::debug!(path = %path.display(), "ext4 without a journal: overwritten bytes are synced without the inode");
        Some(Self { calm: Arc::new(calm) })
    }

    pub(super) fn sync(&self, file: &File, at: u64, bytes: u64) -> io::Result<()> {
        write_out(file, at, bytes)?;
        Ok(rustix::fs::fdatasync(&*self.calm)?)
    }
}

/// Whether the kernel says so of the ext4 file system on this device.
fn is_without_journal(device: u64) -> bool {
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let said = fs::read_link(format!("/sys/dev/block/{major}:{minor}")).ok().and_then(|device| {
        let name = device.file_name().and_then(OsStr::to_str)?;
        fs::read_to_string(format!("/sys/fs/ext4/{name}/journal_task")).ok()
    });
    said.is_some_and(|journal| journal.trim() == "<none>")
}

/// The uppermost folder above `path` that is on the device and can be opened.
fn uppermost(path: &Path, device: u64) -> Option<File> {
    let path = path.canonicalize().ok()?;
    let above = path.ancestors().skip(1).filter_map(|folder| File::open(folder).ok());
    above.take_while(|folder| folder.metadata().is_ok_and(|found| found.dev() == device)).last()
}

/// Writes what is dirty of these bytes, and waits until the device has them, in its cache at least.
#[expect(
    unsafe_code,
    reason = "no crate in the tree offers this call; it takes numbers, and touches no memory of ours"
)]
fn write_out(file: &File, at: u64, bytes: u64) -> io::Result<()> {
    const WRITE_AND_WAIT: u32 =
        libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: the descriptor is open as long as `file` is borrowed.
    let result =
        unsafe { libc::sync_file_range(file.as_raw_fd(), at.cast_signed(), bytes.cast_signed(), WRITE_AND_WAIT) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// Also where `fdatasync` would do: the calls are the same everywhere.
    #[test]
    fn overwritten_bytes_are_synced_and_errors_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("segment");
        let file = File::options().read(true).write(true).create_new(true).open(&path).expect("is made");
        file.write_all_at(&[0; 64 * 1024], 0).expect("room is made");
        file.sync_data().expect("syncs");
        let device = file.metadata().expect("is there").dev();
        let in_place = InPlace { calm: Arc::new(uppermost(&path, device).expect("its own folder at least")) };
        file.write_all_at(b"clicks", 5000).expect("writes");
        in_place.sync(&file, 5000, 6).expect("syncs");

        let (_reader, pipe) = std::io::pipe().expect("a pipe");
        let refused = write_out(&File::from(std::os::fd::OwnedFd::from(pipe)), 0, 1).expect_err("a pipe is on no disk");
        assert_eq!(refused.raw_os_error(), Some(libc::ESPIPE));
    }

    #[test]
    fn what_is_uppermost_is_a_folder_on_the_same_device() {
        let dir = tempfile::tempdir().expect("a folder");
        let device = dir.path().metadata().expect("is there").dev();
        let found = uppermost(&dir.path().join("no such file"), device);
        assert!(found.is_none(), "of a file that is not there nothing is known");
        let found = uppermost(dir.path(), device).expect("its own folder at least").metadata().expect("is there");
        assert_eq!(found.dev(), device);
        assert!(found.is_dir());
    }

    #[test]
    fn a_device_that_the_kernel_says_nothing_of_has_a_journal() {
        assert!(!is_without_journal(rustix::fs::makedev(0, 4_000_000)));
    }
}
