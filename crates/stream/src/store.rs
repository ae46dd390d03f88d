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
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
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

/// A file was not replaced.
#[derive(Debug)]
pub(crate) enum NotReplaced {
    /// It is as it was before, also after a crash.
    Unchanged(io::Error),
    /// After a crash it may be the old or the new one.
    Unknown(io::Error),
}

/// Like [`replace_durably`], and tells whether a failure left the file as it was.
pub(crate) fn replace_known(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), NotReplaced> {
    let unfinished = write_unfinished(disk, path, bytes, true).map_err(NotReplaced::Unchanged)?;
    disk.rename(&unfinished, path).map_err(NotReplaced::Unknown)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(NotReplaced::Unknown)
}

/// Removes a file; fine if there is none.
pub(crate) fn remove_if_there(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes a folder of files, as far as it is there. Durable only after its parent was synced.
pub(crate) fn remove_folder(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let names = match disk.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names {
        remove_if_there(disk, &dir.join(name))?;
    }
    disk.remove_dir(dir)
}

/// A small JSON file that carries its own CRC-32C, so that a flipped bit in a number is not taken for another number.
pub(crate) trait Sealed: serde::Serialize + serde::de::DeserializeOwned {
    /// The field that holds the CRC-32C, as eight hexadecimal digits, of the file's compact form with this field empty.
    fn crc(&mut self) -> &mut String;

    /// The bytes of the file.
    fn seal(mut self) -> Vec<u8> {
        self.crc().clear();
        *self.crc() = format!("{:08x}", crc32c::crc32c(&self.compact()));
        serde_json::to_vec_pretty(&self).expect("numbers and ids are always JSON")
    }

    /// What the bytes say; an `Err` tells what was expected and found.
    fn unseal(bytes: &[u8]) -> Result<Self, String> {
        let mut read: Self = serde_json::from_slice(bytes).map_err(|error| format!("not as expected: {error}"))?;
        let stored = std::mem::take(read.crc());
        let computed = format!("{:08x}", crc32c::crc32c(&read.compact()));
        if stored == computed {
            Ok(read)
        } else {
            Err(format!("expected \"crc32c\": {computed:?} for what the file says, found {stored:?}"))
        }
    }

    /// Without white space, the fields in their order.
    fn compact(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and ids are always JSON")
    }
}

/// Makes a folder and all above it, durably; also what an earlier attempt has made and a crash may still take back.
/// `path` is absolute.
pub(crate) fn create_dirs(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match disk.create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_dirs(disk, parent)?;
            disk.create_dir(path)?;
            return disk.sync_dir(parent);
        }
        made => made?,
    }
    for above in path.ancestors().skip(1) {
        match disk.sync_dir(above) {
            // A folder that we may not even read is none that we made.
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::InvalidInput) => {}
            synced => synced?,
        }
    }
    Ok(())
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
