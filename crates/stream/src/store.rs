//! Small files, written as a whole.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use crate::disk::Disk;

/// Suffix of a file that is being written; left over after a crash, and never read.
pub(crate) const UNFINISHED: &str = ".new";

/// The bytes of a small file; `None` if there is none.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let length = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = Vec::new();
    file.read_at(0, length, &mut bytes)?;
    Ok(Some(bytes))
}

/// Puts `bytes` in the place of the file, so that a reader sees the old or the new ones. Not durable yet.
pub(crate) fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_unfinished(disk, path, bytes, false)?;
    disk.rename(&unfinished, path)
}

/// Like [`replace`], and durable on return: after a crash the file holds the old or the new bytes.
pub(crate) fn replace_durably(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_unfinished(disk, path, bytes, true)?;
    disk.rename(&unfinished, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Makes a folder and all above it, durably.
pub(crate) fn create_dirs(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else { return Ok(()) };
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dirs(disk, parent)?;
            disk.create_dir(path)?;
        }
        made => made?,
    }
    disk.sync_dir(parent)
}

fn write_unfinished(disk: &dyn Disk, path: &Path, bytes: &[u8], sync: bool) -> io::Result<PathBuf> {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    let unfinished = PathBuf::from(name);
    let file = match disk.open(&unfinished, true) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let file = disk.open(&unfinished, false)?;
            file.truncate(0)?;
            file
        }
        opened => opened?,
    };
    file.write_at(0, &mut [IoSlice::new(bytes)])?;
    if sync {
        file.sync()?;
    }
    Ok(unfinished)
}
