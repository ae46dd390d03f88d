//! The files of one segment: `BASEOFFSET.log`, `.index`, `.timeindex`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::index::{INDEX_HEADER_BYTES, Index, Summary};
use crate::scan;
use crate::store;

/// A closed segment, open for reading.
#[derive(Debug)]
pub(crate) struct OpenSegment {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) index: Index,
}

pub(crate) fn log_name(base: u64) -> String {
    format!("{base:020}.log")
}

pub(crate) fn log_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(log_name(base))
}

fn index_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.index"))
}

fn time_index_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.timeindex"))
}

/// The base offset, if `name` is that of a log file.
pub(crate) fn parse_log_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// What the saved index says about the segment, without reading its entries.
pub(crate) fn load_summary(disk: &dyn Disk, dir: &Path, base: u64) -> Option<Summary> {
    let file = disk.open(&index_path(dir, base), false).ok()?;
    let mut head = Vec::new();
    file.read_at(0, INDEX_HEADER_BYTES, &mut head).ok()?;
    Summary::decode(base, &head)
}

/// The saved index; `None` if there is none or it fails a check. An unreadable index is no error: the log is the truth.
pub(crate) fn load_index(disk: &dyn Disk, dir: &Path, base: u64) -> Option<Index> {
    let offsets = store::read(disk, &index_path(dir, base)).ok()??;
    let times = store::read(disk, &time_index_path(dir, base)).ok()??;
    Index::decode(base, &offsets, &times)
}

/// Saves the index of bytes that are synced. Not synced itself: what a crash leaves of it is checked when loaded.
pub(crate) fn save_index(disk: &dyn Disk, dir: &Path, index: &Index) -> io::Result<()> {
    let (offsets, times) = index.encode();
    store::replace(disk, &time_index_path(dir, index.summary.base), &times)?;
    store::replace(disk, &index_path(dir, index.summary.base), &offsets)
}

/// Opens a closed segment, rebuilding its index if need be.
pub(crate) fn open_closed(disk: &dyn Disk, dir: &Path, summary: Summary) -> io::Result<OpenSegment> {
    let file: Arc<dyn DiskFile> = Arc::from(disk.open(&log_path(dir, summary.base), false)?);
    let saved = load_index(disk, dir, summary.base).filter(|index| index.summary == summary);
    let index = match saved {
        Some(index) => index,
        None => scan::rebuild(&*file, summary.base, summary.bytes)?.0,
    };
    Ok(OpenSegment { file, index })
}

/// Removes the files of a segment, the log first: an index without a log is never looked at.
pub(crate) fn remove(disk: &dyn Disk, dir: &Path, base: u64) -> io::Result<()> {
    disk.remove(&log_path(dir, base))?;
    remove_index(disk, dir, base)
}

/// Removes the indexes of a segment, as far as they are there: they can be made anew.
pub(crate) fn remove_index(disk: &dyn Disk, dir: &Path, base: u64) -> io::Result<()> {
    for path in [index_path(dir, base), time_index_path(dir, base)] {
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
