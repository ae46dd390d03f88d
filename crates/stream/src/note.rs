//! Notes: small durable files that a door keeps beside a stream, and that go with it.

use std::io;
use std::path::PathBuf;

use crate::limit::{NOTE_BYTES_MAX, NOTES_MAX};
use crate::store;
use crate::stream::Stream;

/// Ends the name of a note's file, which begins with the note's name.
const SUFFIX: &str = ".note";
const NAME_CHARS_MAX: usize = 64;

impl Stream {
    /// The note of that name, as [`Stream::set_note`] left it. One that cannot be read is told in the log and missing here.
    #[must_use]
    pub fn note(&self, name: &str) -> Option<Vec<u8>> {
        let path = self.note_path(name).ok()?;
        let file = store::read(&*self.ground.around.disk, &path);
        let bytes = file.inspect_err(|error| {
            tracing::error!(path = %path.display(), %error, "a note could not be read");
        });
        let mut bytes = bytes.ok()??;
        let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
            tracing::error!(path = %path.display(), "a note is cut short");
            return None;
        };
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            tracing::error!(path = %path.display(), "a note is damaged: its CRC-32C does not fit");
            return None;
        }
        bytes.truncate(bytes.len() - 4);
        Some(bytes)
    }

    /// Replaces the note of that name (1 to 64 letters, digits, `_` or `-`), durably: after a crash it is the old or the
    /// new one. Empty `bytes` are kept like others. Blocks for two syncs.
    ///
    /// # Errors
    /// `InvalidInput` for a wrong name, or bytes or notes beyond the limits; `NotFound` once the stream was deleted;
    /// otherwise what the system says.
    pub fn set_note(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.note_path(name)?;
        if bytes.len() > NOTE_BYTES_MAX {
            let told = format!("expected a note of at most {NOTE_BYTES_MAX} bytes, found {}", bytes.len());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let changing = self.changing.lock(); // not while the folder is being removed
        if changing.over.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the stream was deleted or closed"));
        }
        let disk = &*self.ground.around.disk;
        let notes = disk.list(&self.dir)?.into_iter().filter(|file| file.ends_with(SUFFIX));
        if notes.filter(|file| !path.ends_with(file)).count() >= NOTES_MAX {
            let told = format!("a stream has at most {NOTES_MAX} notes");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        let mut sealed = bytes.to_vec();
        sealed.extend_from_slice(&crc32c::crc32c(bytes).to_be_bytes());
        store::replace_durably(disk, &path, &sealed)
    }

    fn note_path(&self, name: &str) -> io::Result<PathBuf> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        if !(1..=NAME_CHARS_MAX).contains(&name.len()) || !name.bytes().all(fits) {
            let told = format!("expected a note's name of letters, digits, '_' or '-', found {name:?}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, told));
        }
        Ok(self.dir.join(format!("{name}{SUFFIX}")))
    }
}
