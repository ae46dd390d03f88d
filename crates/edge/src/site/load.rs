//! Reading a file below the root: what it is, where it really lies, and, if it is small, its bytes ready to be sent.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{HeaderName, StatusCode};

use super::encoding::{Encoding, compress, compressible};
use crate::request_log::line::head_bytes;

/// Answers carry the id under which their line stands in the log.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-edge-request-id");

/// Files up to this size live in memory, compressed beforehand: pages, scripts and product pictures. Larger ones are
/// streamed from the disk as they are.
pub(crate) const SMALL_BYTES_MAX: u64 = 1024 * 1024;

/// The state of a file by which a change is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) modified: SystemTime,
    pub(crate) bytes: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self { modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), bytes: metadata.len() }
    }

    /// The stamp of the file at `place` now.
    pub(crate) fn at(place: &Path) -> Option<Self> {
        fs::metadata(place).ok().filter(Metadata::is_file).map(|metadata| Self::of(&metadata))
    }
}

/// One form of a file, with the whole head of its answer.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) bytes: Bytes,
    pub(crate) headers: HeaderMap,
    pub(crate) etag: String,
    /// The size of the head of a 200 answer with these headers and a request id.
    pub(crate) head_bytes: u64,
}

/// A small file, ready.
#[derive(Debug)]
pub(crate) struct Small {
    pub(crate) place: PathBuf,
    pub(crate) stamp: Stamp,
    pub(crate) content_type: HeaderValue,
    pub(crate) plain: Variant,
    pub(crate) gzip: Option<Variant>,
    pub(crate) brotli: Option<Variant>,
}

impl Small {
    /// The variant for that encoding, or the nearest there is.
    pub(crate) fn variant(&self, encoding: Encoding) -> &Variant {
        let chosen = match encoding {
            Encoding::Identity => None,
            Encoding::Gzip => self.gzip.as_ref(),
            Encoding::Brotli => self.brotli.as_ref().or(self.gzip.as_ref()),
        };
        chosen.unwrap_or(&self.plain)
    }

    /// Bytes that this file holds in memory.
    pub(crate) fn weight(&self) -> usize {
        /// Headers, names and the map's own bookkeeping, roughly.
        const OVERHEAD: usize = 2048;
        let variants = [Some(&self.plain), self.gzip.as_ref(), self.brotli.as_ref()];
        variants.into_iter().flatten().map(|variant| variant.bytes.len() + OVERHEAD).sum()
    }
}

/// A file to be streamed.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) file: File,
    pub(crate) stamp: Stamp,
    pub(crate) headers: HeaderMap,
    pub(crate) etag: String,
}

/// What lies at a path.
#[derive(Debug)]
pub(crate) enum Found {
    Small(Box<Small>),
    Large(Large),
    /// A folder with an index: its address ends with a slash.
    Folder,
    Nothing,
}

/// The file at `path` (as resolved) below `root`, which must be canonical. Follows links only inside the root.
///
/// # Errors
/// What the system says, except that a missing file is [`Found::Nothing`].
pub(crate) fn load(root: &Path, path: &str, max_age: Duration) -> io::Result<Found> {
    let (inside, wants_folder) = match path.strip_suffix('/') {
        Some(folder) => (folder, true),
        None => (path, path.is_empty()),
    };
    let Some(place) = real_place(root, &root.join(inside))? else { return Ok(Found::Nothing) };
    let (place, is_folder) = if fs::metadata(&place)?.is_dir() {
        match real_place(root, &place.join("index.html"))? {
            Some(index) => (index, true),
            None => return Ok(Found::Nothing),
        }
    } else {
        (place, false)
    };
    match (is_folder, wants_folder) {
        (true, false) => return Ok(Found::Folder),
        (false, true) => return Ok(Found::Nothing),
        _ => {}
    }
    let file = File::open(&place)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Ok(Found::Nothing);
    }
    let stamp = Stamp::of(&metadata);
    let content_type = content_type(&place);
    if stamp.bytes > SMALL_BYTES_MAX {
        let nanos = stamp.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let etag = format!("\"{:x}-{nanos:x}\"", stamp.bytes);
        let headers = headers(&content_type, stamp, &etag, max_age);
        return Ok(Found::Large(Large { file, stamp, headers, etag }));
    }
    small(file, place, stamp, &content_type, max_age).map(|small| Found::Small(Box::new(small)))
}

/// Where a path really leads; `None` if nowhere, outside the root or to a hidden file.
fn real_place(root: &Path, place: &Path) -> io::Result<Option<PathBuf>> {
    match fs::canonicalize(place) {
        Ok(real) => {
            let shown = real.strip_prefix(root).is_ok_and(|inside| {
                inside.iter().all(|part| !part.as_encoded_bytes().starts_with(b".") || part == ".well-known")
            });
            Ok(shown.then_some(real))
        }
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::InvalidFilename
            | io::ErrorKind::PermissionDenied => Ok(None),
            _ => Err(error),
        },
    }
}

fn small(file: File, place: PathBuf, stamp: Stamp, content_type: &str, max_age: Duration) -> io::Result<Small> {
    let mut bytes = Vec::with_capacity(usize::try_from(stamp.bytes).unwrap_or(0));
    // One byte beyond the limit tells a file that grew while it was read.
    file.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != stamp.bytes {
        return Err(io::Error::new(io::ErrorKind::Interrupted, "the file changed while it was read; ask again"));
    }
    let hash = xxhash_rust::xxh3::xxh3_128(&bytes);
    let shrinks = compressible(content_type);
    let variant = |bytes: Bytes, suffix: &str, encoding: Option<&'static str>| {
        let etag = format!("\"{hash:032x}{suffix}\"");
        let mut headers = headers(content_type, stamp, &etag, max_age);
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        if shrinks {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        if let Some(encoding) = encoding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
            headers.remove(header::ACCEPT_RANGES);
        }
        let head_bytes = head_bytes(StatusCode::OK, &headers) + (REQUEST_ID.as_str().len() + 36 + 4) as u64;
        Variant { bytes, headers, etag, head_bytes }
    };
    let packed = |encoding| if shrinks { compress(&bytes, encoding) } else { None };
    let brotli = packed(Encoding::Brotli).map(|bytes| variant(bytes, "-br", Some("br")));
    let gzip = packed(Encoding::Gzip).map(|bytes| variant(bytes, "-gz", Some("gzip")));
    let plain = variant(bytes.into(), "", None);
    let content_type = plain.headers[header::CONTENT_TYPE].clone();
    Ok(Small { place, stamp, content_type, plain, gzip, brotli })
}

/// The head that all answers with this file share.
fn headers(content_type: &str, stamp: Stamp, etag: &str, max_age: Duration) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    let mut put = |name: HeaderName, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, content_type);
    put(header::ETAG, etag);
    put(header::LAST_MODIFIED, &httpdate::fmt_http_date(stamp.modified));
    // A page is asked for again each time (a 304 is cheap); what it needs may be kept for a while.
    if content_type.starts_with("text/html") || max_age.is_zero() {
        put(header::CACHE_CONTROL, "no-cache");
    } else {
        put(header::CACHE_CONTROL, &format!("public, max-age={}", max_age.as_secs()));
    }
    put(header::ACCEPT_RANGES, "bytes");
    put(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    headers
}

/// The type by the name's ending; texts are UTF-8, as everything the project writes.
fn content_type(place: &Path) -> String {
    let mime = mime_guess::from_path(place).first_or_octet_stream();
    let essence = mime.essence_str();
    let is_text = mime.type_() == "text" || matches!(essence, "application/javascript" | "application/json");
    if is_text && mime.get_param("charset").is_none() { format!("{essence}; charset=utf-8") } else { mime.to_string() }
}
