//! Reading a segment from front to back, checking every byte: for recovery and for rebuilding an index.

use std::io;

use crate::batch::{Damage, HEADER_BYTES, Header, verify_crc};
use crate::disk::DiskFile;
use crate::index::Index;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1024 * 1024;

/// A batch's header and all its bytes, or why there is none.
pub(crate) type Scanned<'s> = Result<(Header, &'s [u8]), Damage>;

/// Walks over the batches of a file.
pub(crate) struct Scanner<'f> {
    file: &'f dyn DiskFile,
    position: u64,
    limit: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl<'f> Scanner<'f> {
    /// Over the bytes from `position` (where a batch begins) to `limit`.
    pub(crate) fn new(file: &'f dyn DiskFile, position: u64, limit: u64) -> Self {
        Self { file, position, limit, buffer: Vec::new(), buffer_at: position }
    }

    /// Where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// The next batch with its CRC checked; `None` at the limit. After damage the position stays where it is.
    pub(crate) fn next(&mut self) -> io::Result<Option<Scanned<'_>>> {
        if self.position >= self.limit {
            return Ok(None);
        }
        let header = match Header::parse(self.peek(HEADER_BYTES)?) {
            Ok(header) => header,
            Err(damage) => return Ok(Some(Err(damage))),
        };
        let position = self.position;
        let batch = self.peek(header.bytes)?;
        if let Err(damage) = verify_crc(batch, &header) {
            return Ok(Some(Err(damage)));
        }
        self.position += header.bytes as u64;
        let from = (position - self.buffer_at) as usize;
        Ok(Some(Ok((header, &self.buffer[from..from + header.bytes]))))
    }

    /// Up to `wanted` bytes from the position on; fewer only at the limit.
    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.limit - self.position).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let mut from = (self.position - self.buffer_at) as usize;
        if from + wanted > self.buffer.len() {
            self.buffer.clear();
            self.buffer_at = self.position;
            from = 0;
            self.file.read_at(self.position, wanted.max(CHUNK_BYTES).min(left), &mut self.buffer)?;
        }
        let to = (from + wanted).min(self.buffer.len());
        Ok(&self.buffer[from..to])
    }
}

/// The index of the segment `base` as its first `limit` bytes say, and the damage that ended the reading before.
pub(crate) fn rebuild(file: &dyn DiskFile, base: u64, limit: u64) -> io::Result<(Index, Option<Damage>)> {
    let mut index = Index::empty(base);
    let mut scanner = Scanner::new(file, 0, limit);
    while let Some(next) = scanner.next()? {
        match next.and_then(|(header, _)| expect_offset(&header, index.summary.end).map(|()| header)) {
            Ok(header) => index.take_up(&header),
            Err(damage) => return Ok((index, Some(damage))),
        }
    }
    Ok((index, None))
}

/// Whether the batch is the one that belongs here.
pub(crate) fn expect_offset(header: &Header, expected: u64) -> Result<(), Damage> {
    if header.base_offset == expected {
        Ok(())
    } else {
        Err(Damage::Offset { expected, found: header.base_offset as i64 })
    }
}
