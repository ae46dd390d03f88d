//! A site in a folder: what is asked for often comes from memory, the rest from the disk.

mod cache;
mod conditional;
mod encoding;
mod load;
mod path;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::sync::Semaphore;

use crate::answer::{Content, EdgeBody, Track};
use crate::counts::EdgeCounts;
use crate::request_log::line::Outcome;
use cache::{Cache, Claim, Kept, Look};
use conditional::{Decision, Facts, decide};
use encoding::{Encoding, accepted};
use load::{Found, Large, Small, Stamp};

pub(crate) use load::REQUEST_ID;

/// Files that are read and compressed at the same time: more would only slow down what is served from memory.
const LOADS_MAX: usize = 4;

/// Bytes of one read of a streamed file.
const CHUNK_BYTES: usize = 64 * 1024;

/// A site.
#[derive(Debug)]
pub(crate) struct Site {
    root: PathBuf,
    max_age: Duration,
    cache: Cache,
    loads: Semaphore,
    counts: Arc<EdgeCounts>,
}

/// What memory says to a request.
pub(crate) enum Quick {
    /// Answered.
    Done(Response<EdgeBody>),
    /// The disk must be asked, by [`Site::slow`].
    Ask(Track, Option<Claim>),
}

/// What the disk says to a path.
enum Loaded {
    Small(Arc<Kept>, Outcome),
    Large(Large),
    Folder,
    Nothing,
}

impl Site {
    /// The site in the folder `root`, keeping up to `cache_bytes` of small files in memory.
    ///
    /// # Errors
    /// What the system says to the folder.
    pub(crate) fn open(
        root: &Path,
        cache_bytes: usize,
        max_age: Duration,
        counts: Arc<EdgeCounts>,
    ) -> io::Result<Self> {
        let root = root.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "it is not a folder"));
        }
        Ok(Self { root, max_age, cache: Cache::new(cache_bytes), loads: Semaphore::new(LOADS_MAX), counts })
    }

    /// Answers from memory if possible.
    pub(crate) fn quick(&self, track: Track) -> Quick {
        let uri_path = track.exchange.uri.path();
        if !matches!(track.exchange.method, Method::GET | Method::HEAD) {
            return Quick::Ask(track, None);
        }
        let look = match uri_path.strip_prefix('/') {
            Some(plain) if !uri_path.contains('%') => self.cache.look(plain, track.exchange.started),
            _ => match path::resolve(uri_path) {
                Some(decoded) => self.cache.look(&decoded, track.exchange.started),
                None => Look::Unknown,
            },
        };
        match look {
            Look::Fresh(kept) => {
                self.counts.cache_hits.inc();
                Quick::Done(answer_small(&kept.small, track, Outcome::Hit))
            }
            Look::Stale(claim) => Quick::Ask(track, Some(claim)),
            Look::Unknown => Quick::Ask(track, None),
        }
    }

    /// Answers with the help of the disk. `stale` is what [`Site::quick`] gave along.
    pub(crate) async fn slow(self: Arc<Self>, track: Track, stale: Option<Claim>) -> Response<EdgeBody> {
        if !matches!(track.exchange.method, Method::GET | Method::HEAD) {
            let mut headers = HeaderMap::new();
            headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return track.refuse(StatusCode::METHOD_NOT_ALLOWED, headers, "this site answers GET and HEAD only");
        }
        let Some(path) = path::resolve(track.exchange.uri.path()).map(std::borrow::Cow::into_owned) else {
            return not_found(track);
        };
        let Ok(_permit) = self.loads.acquire().await else { return not_found(track) };
        let site = self.clone();
        // The look at the disk goes on when the client leaves: others wait for its result.
        let loaded = tokio::task::spawn_blocking(move || site.look_at_disk(&path, stale)).await;
        match loaded.map_err(io::Error::other).and_then(|loaded| loaded) {
            Ok(Loaded::Small(kept, outcome)) => answer_small(&kept.small, track, outcome),
            Ok(Loaded::Large(large)) => answer_large(large, track).await,
            Ok(Loaded::Folder) => redirect_to_folder(track),
            Ok(Loaded::Nothing) => not_found(track),
            Err(error) => {
                tracing::warn!(%error, path = track.exchange.uri.path(), "a file could not be read");
                let text = "the file cannot be read now; try again";
                track.refuse(StatusCode::SERVICE_UNAVAILABLE, HeaderMap::new(), text)
            }
        }
    }

    fn look_at_disk(&self, path: &str, stale: Option<Claim>) -> io::Result<Loaded> {
        if let Some(kept) = stale.as_ref().map(Claim::kept)
            && Stamp::at(&kept.small.place) == Some(kept.small.stamp)
        {
            self.cache.checked(kept);
            self.counts.cache_hits.inc();
            return Ok(Loaded::Small(kept.clone(), Outcome::RefreshHit));
        }
        self.counts.cache_misses.inc();
        let loaded = match load::load(&self.root, path, self.max_age) {
            Ok(Found::Small(small)) => Ok(Loaded::Small(self.cache.put(path, *small), Outcome::Miss)),
            other => {
                self.cache.forget(path);
                other.map(|found| match found {
                    Found::Large(large) => Loaded::Large(large),
                    Found::Folder => Loaded::Folder,
                    Found::Small(_) | Found::Nothing => Loaded::Nothing,
                })
            }
        };
        self.counts.cache_bytes.set(i64::try_from(self.cache.bytes()).unwrap_or(i64::MAX));
        loaded
    }
}

fn not_found(track: Track) -> Response<EdgeBody> {
    track.refuse(StatusCode::NOT_FOUND, HeaderMap::new(), "there is no such page")
}

/// To the address of a folder, with its slash. The target begins with exactly one slash, so that it stays on this site.
fn redirect_to_folder(track: Track) -> Response<EdgeBody> {
    let uri = &track.exchange.uri;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = format!("/{}/{query}", uri.path().trim_matches('/'));
    let mut headers = HeaderMap::new();
    if let Ok(target) = HeaderValue::from_str(&target) {
        headers.insert(header::LOCATION, target);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    track.answer(StatusCode::MOVED_PERMANENTLY, headers, Content::Empty, Outcome::Redirect)
}

fn answer_small(small: &Small, track: Track, outcome: Outcome) -> Response<EdgeBody> {
    let headers = &track.exchange.headers;
    let encoding = match headers.contains_key(header::RANGE) {
        true => Encoding::Identity,
        false => accepted(headers.get(header::ACCEPT_ENCODING).map(HeaderValue::as_bytes)),
    };
    let variant = small.variant(encoding);
    let facts = Facts {
        etag: &variant.etag,
        modified: small.stamp.modified,
        bytes: variant.bytes.len() as u64,
        ranges: std::ptr::eq(variant, &small.plain) && track.exchange.method == Method::GET,
    };
    match decide(headers, facts) {
        Decision::Whole => {
            let content = Content::Whole(variant.bytes.clone());
            track.answer_prepared(&variant.headers, variant.head_bytes, &small.content_type, content, outcome)
        }
        Decision::Part(first, last) => {
            let bytes = variant.bytes.slice(first as usize..=last as usize);
            let headers = part_headers(&variant.headers, first, last, facts.bytes);
            track.part(first, last).answer(StatusCode::PARTIAL_CONTENT, headers, Content::Whole(bytes), outcome)
        }
        other => without_content(other, &variant.headers, facts.bytes, track, outcome),
    }
}

async fn answer_large(large: Large, track: Track) -> Response<EdgeBody> {
    let facts = Facts {
        etag: &large.etag,
        modified: large.stamp.modified,
        bytes: large.stamp.bytes,
        ranges: track.exchange.method == Method::GET,
    };
    let (status, first, last) = match decide(&track.exchange.headers, facts) {
        Decision::Whole => (StatusCode::OK, 0, facts.bytes - 1),
        Decision::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last),
        other => return without_content(other, &large.headers, facts.bytes, track, Outcome::Miss),
    };
    let mut headers = match status {
        StatusCode::OK => large.headers,
        _ => part_headers(&large.headers, first, last, facts.bytes),
    };
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(last - first + 1));
    let mut file = tokio::fs::File::from_std(large.file);
    if let Err(error) = file.seek(io::SeekFrom::Start(first)).await {
        tracing::warn!(%error, path = track.exchange.uri.path(), "a file could not be read");
        return track.refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            HeaderMap::new(),
            "the file cannot be read now; try again",
        );
    }
    let stream = tokio_util::io::ReaderStream::with_capacity(file.take(last - first + 1), CHUNK_BYTES);
    let track = if status == StatusCode::PARTIAL_CONTENT { track.part(first, last) } else { track };
    track.answer(status, headers, Content::File(Box::pin(stream)), Outcome::Miss)
}

fn part_headers(whole: &HeaderMap, first: u64, last: u64, bytes: u64) -> HeaderMap {
    let mut headers = whole.clone();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(last - first + 1));
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {first}-{last}/{bytes}")) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    headers
}

/// The answers that say something about the file instead of sending it.
fn without_content(
    decision: Decision,
    whole: &HeaderMap,
    bytes: u64,
    track: Track,
    outcome: Outcome,
) -> Response<EdgeBody> {
    let mut headers = HeaderMap::new();
    match decision {
        Decision::PreconditionFailed => {
            return track.refuse(StatusCode::PRECONDITION_FAILED, headers, "the page has changed");
        }
        Decision::Unsatisfiable => {
            if let Ok(range) = HeaderValue::from_str(&format!("bytes */{bytes}")) {
                headers.insert(header::CONTENT_RANGE, range);
            }
            return track.refuse(StatusCode::RANGE_NOT_SATISFIABLE, headers, "the file has no such bytes");
        }
        _ => {}
    }
    for name in [header::ETAG, header::LAST_MODIFIED, header::CACHE_CONTROL, header::VARY] {
        if let Some(value) = whole.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    track.answer(StatusCode::NOT_MODIFIED, headers, Content::Empty, outcome)
}
