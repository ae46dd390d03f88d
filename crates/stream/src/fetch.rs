//! Reading: by offset and by time, durable records only.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use base::{Millis, Offset};

use crate::batch::{Compression, Damage, HEADER_BYTES, Header, RecordView, Records, inflate, verify_crc};
use crate::disk::DiskFile;
use crate::error::{Corrupt, FetchError};
use crate::index::Summary;
use crate::limit::FETCH_BYTES_MAX;
use crate::scan::Scanner;
use crate::seal::{KeyId, NotOpened};
use crate::segment::{self, OpenSegment};
use crate::shard::{Shard, View, segment_name};

/// The records of one fetch, as they lie in the log. Every batch has passed its CRC.
#[derive(Debug)]
pub struct Fetched {
    from: Offset,
    next: Offset,
    bytes: Vec<u8>,
    batches: Vec<Piece>,
    /// For messages, should a batch turn out to be malformed within.
    segment: String,
}

/// One whole batch in the fetched bytes.
#[derive(Debug)]
struct Piece {
    header: Header,
    position: u64,
    records: Range<usize>,
    inflated: Option<Vec<u8>>,
}

impl Fetched {
    fn nothing(from: Offset) -> Self {
        Self { from, next: from, bytes: Vec::new(), batches: Vec::new(), segment: String::new() }
    }

    /// The records, from the offset that was asked for. Ends after an error.
    pub fn records(&self) -> impl Iterator<Item = Result<RecordView<'_>, Corrupt>> {
        self.records_of_batches(usize::MAX)
    }

    /// Likewise, of each batch the first only: for who looks for what stands at the head of an append.
    pub fn first_records(&self) -> impl Iterator<Item = Result<RecordView<'_>, Corrupt>> {
        self.records_of_batches(1)
    }

    fn records_of_batches(&self, most: usize) -> impl Iterator<Item = Result<RecordView<'_>, Corrupt>> {
        let mut broken = false;
        self.batches
            .iter()
            .flat_map(move |piece| {
                let records = piece.inflated.as_deref().unwrap_or(&self.bytes[piece.records.clone()]);
                let records = Records::new(&piece.header, records).take(most);
                records.map(move |record| record.map_err(|damage| (piece, damage)))
            })
            .filter(|record| record.as_ref().map_or(true, |record| record.offset >= self.from))
            .map_while(move |record| {
                if broken {
                    return None;
                }
                broken = record.is_err();
                Some(record.map_err(|(piece, damage)| Corrupt {
                    segment: self.segment.clone(),
                    position: piece.position,
                    offset: Offset(piece.header.base_offset),
                    damage,
                }))
            })
    }

    /// Where to fetch on.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// Whether there are no records.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next.since(self.from) as usize
    }

    /// Bytes read for it, with headers and encryption, without those that decompression made.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of memory that it takes, with those that decompression made.
    #[must_use]
    pub fn held(&self) -> usize {
        let inflated: usize = self.batches.iter().map(|piece| piece.inflated.as_ref().map_or(0, Vec::capacity)).sum();
        self.bytes.capacity() + inflated + self.batches.capacity() * size_of::<Piece>()
    }
}

/// A stretch of a segment that is durable.
struct Place {
    file: Arc<dyn DiskFile>,
    base: u64,
    position: u64,
    limit: u64,
    /// Whether nothing may take long: what would is an error, [`io::ErrorKind::WouldBlock`].
    at_once: bool,
}

/// Where a reader must look, as the view says.
enum Found {
    Active(Place),
    Closed(Summary),
}

impl Shard {
    /// Reads whole batches from the one that holds `from`: up to `max_bytes`, but at least one.
    pub(crate) fn fetch(&self, from: Offset, max_bytes: usize) -> Result<Fetched, FetchError> {
        let found = {
            let view = self.view.read();
            if let Some(nothing) = self.admit(&view, from)? {
                return Ok(nothing);
            }
            locate(&view, |summary| summary.base <= from.0, |active| active.position_of(from.0))
        };
        let Some(found) = found else { return Ok(Fetched::nothing(from)) };
        let place = self.open_place(found, from, |segment| segment.index.position_of(from.0))?;
        let window = Window { bytes: Vec::new(), at: place.position };
        self.fetch_at(&place, window, from, max_bytes)
    }

    /// Likewise, but at once: `None` where that takes reading from the disk, more than `max_bytes`, or decompression.
    pub(crate) fn fetch_at_once(&self, from: Offset, max_bytes: usize) -> Result<Option<Fetched>, FetchError> {
        let (window, place) = {
            let view = self.view.read();
            if let Some(nothing) = self.admit(&view, from)? {
                return Ok(Some(nothing));
            }
            let found = locate(&view, |summary| summary.base <= from.0, |active| active.position_of(from.0));
            let (Some(Found::Active(place)), Some(active)) = (found, &view.active) else { return Ok(None) };
            let held = active.held_from(place.position);
            let held = if held.len() <= max_bytes { held } else { &[] };
            (Window { bytes: held.to_vec(), at: place.position }, place)
        };
        match self.fetch_at(&Place { at_once: true, ..place }, window, from, max_bytes) {
            Err(FetchError::Io { source, .. }) if source.kind() == io::ErrorKind::WouldBlock => Ok(None),
            fetched => fetched.map(Some),
        }
    }

    fn fetch_at(&self, place: &Place, window: Window, from: Offset, max_bytes: usize) -> Result<Fetched, FetchError> {
        let fetched = self.read(place, window, from, max_bytes.clamp(1, FETCH_BYTES_MAX));
        if let Err(FetchError::Corrupt(corrupt)) = &fetched {
            self.notice(corrupt);
        }
        let fetched = fetched?;
        self.counts.fetches.inc();
        self.counts.fetched_bytes.add(fetched.bytes.len() as u64);
        // Not what was read to find the place: a reader at the end would seem to take many times what comes in.
        let taken: usize = fetched.batches.iter().map(|piece| piece.header.bytes).sum();
        self.meter.read(self.around.clock.now(), fetched.len() as u64, taken as u64);
        Ok(fetched)
    }

    /// The first offset whose record arrived at `time` or later; the end, if there is none yet.
    pub(crate) fn offset_at(&self, time: Millis) -> Result<Offset, FetchError> {
        loop {
            let (found, end) = {
                let view = self.view.read();
                let earlier = |summary: &Summary| summary.times.is_some_and(|(first, _)| first < time.0);
                let found = locate(&view, earlier, |active| active.index.position_at(time.0));
                (found, Offset(view.end()))
            };
            // No segment begins earlier: the first record kept is the answer.
            let Some(found) = found else { return Ok(self.bounds().start) };
            match self.open_place(found, end, |segment| segment.index.position_at(time.0)) {
                // Retention was faster, and less is left to look at.
                Err(FetchError::Removed { .. }) => {}
                place => return self.first_at(&place?, time).map(|found| found.max(self.bounds().start)),
            }
        }
    }

    /// The first offset of the segment whose record arrived at `time` or later; the segment's end, if there is none.
    fn first_at(&self, place: &Place, time: Millis) -> Result<Offset, FetchError> {
        let failed = |source| FetchError::Io { segment: segment_name(&self.dir, place.base), source };
        let mut scanner = Scanner::new(&*place.file, place.position, place.limit);
        let mut end = Offset(place.base);
        loop {
            let position = scanner.position();
            let Some(next) = scanner.next().map_err(failed)? else { return Ok(end) };
            let expected = end.0;
            let damaged = |damage| self.corrupt(place.base, position, expected, damage);
            let (header, batch) = next.map_err(damaged)?;
            end = Offset(header.end_offset());
            if header.max_timestamp < time.0 {
                continue;
            }
            let mut opened = Vec::new();
            let records = if header.is_encrypted() {
                opened.extend_from_slice(batch);
                let length = self.plain(&header, &mut opened);
                let length = length.map_err(|why| self.not_opened(why, place.base, position, &header))?;
                &opened[HEADER_BYTES..HEADER_BYTES + length]
            } else {
                &batch[HEADER_BYTES..]
            };
            let inflated = inflate(header.codec(), records).map_err(damaged)?;
            for record in Records::new(&header, inflated.as_deref().unwrap_or(records)) {
                let record = record.map_err(damaged)?;
                if record.timestamp >= time {
                    return Ok(record.offset);
                }
            }
        }
    }

    /// Opens the records of a whole batch in place, if they are sealed; returns their bytes.
    fn plain(&self, header: &Header, batch: &mut [u8]) -> Result<usize, NotOpened> {
        let (front, records) = batch.split_at_mut(HEADER_BYTES);
        if !header.is_encrypted() {
            return Ok(records.len());
        }
        match &self.seal {
            Some(seal) => seal.open(front, records),
            None => Err(NotOpened::NoKey(KeyId::of_sealed(records))),
        }
    }

    fn not_opened(&self, why: NotOpened, base: u64, position: u64, header: &Header) -> FetchError {
        match why {
            NotOpened::NoKey(key) => {
                FetchError::NoKey { segment: segment_name(&self.dir, base), offset: Offset(header.base_offset), key }
            }
            NotOpened::Damage(damage) => self.corrupt(base, position, header.base_offset, damage).into(),
        }
    }

    /// Checks `from` against what is kept; `Some` if there is nothing to read yet.
    fn admit(&self, view: &View, from: Offset) -> Result<Option<Fetched>, FetchError> {
        let (start, end) = (Offset(view.start), Offset(view.end()));
        match &view.damage {
            Some(damage) if from >= damage.offset => {
                self.counts.corrupt.inc();
                Err(FetchError::Corrupt(damage.clone()))
            }
            _ if from < start => Err(FetchError::Removed { from, start }),
            _ if from > end => Err(FetchError::Beyond { from, end }),
            _ if from == end => Ok(Some(Fetched::nothing(from))),
            _ => Ok(None),
        }
    }

    fn open_place(
        &self,
        found: Found,
        from: Offset,
        position: impl FnOnce(&OpenSegment) -> u64,
    ) -> Result<Place, FetchError> {
        let summary = match found {
            Found::Active(place) => return Ok(place),
            Found::Closed(summary) => summary,
        };
        let key = self.key(summary.base);
        let open = || segment::open_closed(&*self.around.disk, &self.dir, summary);
        match self.around.cache.get(key, open) {
            Ok(segment) => Ok(Place {
                file: Arc::clone(&segment.file),
                base: summary.base,
                position: position(&segment),
                limit: summary.bytes,
                at_once: false,
            }),
            // Retention was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.bounds().start > Offset(summary.base) => {
                Err(FetchError::Removed { from, start: self.bounds().start })
            }
            Err(source) => Err(FetchError::Io { segment: segment_name(&self.dir, summary.base), source }),
        }
    }

    /// Whole batches up to `max_bytes`, at least one. What is wrong with a later one is for the fetch that begins with it.
    fn read(&self, place: &Place, mut window: Window, from: Offset, max_bytes: usize) -> Result<Fetched, FetchError> {
        let mut position = self.skip_to(place, from, max_bytes, &mut window)?;
        let mut fetched = Fetched::nothing(from);
        let mut inflated = 0;
        while position < place.limit && inflated < max_bytes {
            let expected = (!fetched.is_empty()).then_some(fetched.next);
            let piece = match self.piece(place, &mut window, position, expected.unwrap_or(from)) {
                Ok(Some(piece)) if expected.is_none_or(|expected| expected.0 == piece.header.base_offset) => piece,
                Err(error) if expected.is_none() => return Err(error),
                _ => break,
            };
            inflated += piece.inflated.as_ref().map_or(0, Vec::len);
            position += piece.header.bytes as u64;
            fetched.next = Offset(piece.header.end_offset());
            fetched.batches.push(piece);
        }
        fetched.bytes = window.bytes;
        fetched.segment = segment_name(&self.dir, place.base);
        Ok(fetched)
    }

    /// The batch at `position`, checked and opened; `None` if not all of it is in the window.
    fn piece(
        &self,
        place: &Place,
        window: &mut Window,
        position: u64,
        expected: Offset,
    ) -> Result<Option<Piece>, FetchError> {
        let damaged = |damage| self.corrupt(place.base, position, expected.0, damage);
        let rest = window.from(position);
        let header = match Header::parse(rest) {
            Ok(header) if rest.len() < header.bytes => return Ok(None),
            Err(Damage::Short { .. }) => return Ok(None),
            parsed => parsed.map_err(damaged)?,
        };
        if place.at_once && header.codec() != Compression::None.codec() {
            return Err(self.unread(place, io::ErrorKind::WouldBlock.into()));
        }
        if !self.around.faults.skip_crc {
            verify_crc(&rest[..header.bytes], &header).map_err(damaged)?;
        }
        let begin = (position - window.at) as usize;
        let records = begin + HEADER_BYTES;
        let length = self.plain(&header, &mut window.bytes[begin..begin + header.bytes]);
        let length = length.map_err(|why| self.not_opened(why, place.base, position, &header))?;
        let records = records..records + length;
        let inflated = inflate(header.codec(), &window.bytes[records.clone()]).map_err(damaged)?;
        Ok(Some(Piece { header, position, inflated, records }))
    }

    /// Where the batch that holds `from` begins; `window` then holds all of it.
    fn skip_to(&self, place: &Place, from: Offset, max_bytes: usize, window: &mut Window) -> Result<u64, FetchError> {
        let mut position = place.position;
        let mut expected = None;
        loop {
            self.fill(place, window, position, HEADER_BYTES, max_bytes)?;
            let damaged = |damage| self.corrupt(place.base, position, expected.unwrap_or(from.0), damage);
            let header = Header::parse(window.from(position)).map_err(damaged)?;
            if header.base_offset > from.0 || expected.is_some_and(|expected| expected != header.base_offset) {
                let expected = expected.unwrap_or(from.0);
                return Err(damaged(Damage::Offset { expected, found: header.base_offset as i64 }).into());
            }
            if header.end_offset() > from.0 {
                self.fill(place, window, position, header.bytes, max_bytes)?;
                let found = window.from(position).len();
                if found < header.bytes {
                    return Err(damaged(Damage::Short { expected: header.bytes, found }).into());
                }
                return Ok(position);
            }
            expected = Some(header.end_offset());
            position += header.bytes as u64;
        }
    }

    /// Makes the window hold `needed` bytes from `position` on, as far as there are so many; if it must read, then
    /// `max_bytes` at once.
    fn fill(
        &self,
        place: &Place,
        window: &mut Window,
        position: u64,
        needed: usize,
        max_bytes: usize,
    ) -> Result<(), FetchError> {
        let left = usize::try_from(place.limit.saturating_sub(position)).unwrap_or(usize::MAX);
        if window.from(position).len() >= needed.min(left) && !window.bytes.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let wanted = needed.max(max_bytes).min(left);
        let read = match place.at_once {
            false => place.file.read_at(position, wanted, &mut bytes),
            true if wanted > max_bytes => Err(io::ErrorKind::WouldBlock.into()),
            true => place.file.read_at_once(position, wanted, &mut bytes),
        };
        read.map_err(|source| self.unread(place, source))?;
        *window = Window { bytes, at: position };
        Ok(())
    }

    fn unread(&self, place: &Place, source: io::Error) -> FetchError {
        FetchError::Io { segment: segment_name(&self.dir, place.base), source }
    }
}

/// Bytes of a segment in memory.
struct Window {
    bytes: Vec<u8>,
    /// Where in the segment they begin.
    at: u64,
}

impl Window {
    /// What is held from `position` on.
    fn from(&self, position: u64) -> &[u8] {
        let skip = usize::try_from(position.saturating_sub(self.at)).unwrap_or(usize::MAX);
        self.bytes.get(skip..).unwrap_or_default()
    }
}

/// The last segment for which `begins` holds, in the order of offsets; readers of the active one need no file opened.
fn locate(
    view: &View,
    begins: impl Fn(&Summary) -> bool,
    position: impl FnOnce(&crate::shard::Active) -> u64,
) -> Option<Found> {
    if let Some(active) =
        view.active.as_ref().filter(|active| active.index.summary.bytes > 0 && begins(&active.index.summary))
    {
        return Some(Found::Active(Place {
            file: Arc::clone(&active.file),
            base: active.index.summary.base,
            position: position(active),
            limit: active.index.summary.bytes,
            at_once: false,
        }));
    }
    let after = view.closed.partition_point(|closed| begins(&closed.summary));
    let index = after.checked_sub(1)?;
    Some(Found::Closed(view.closed[index].summary))
}
