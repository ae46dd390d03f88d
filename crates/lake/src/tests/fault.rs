//! An object store that fails where it is told to.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;

use crate::Faults;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Pass,
    /// It does not happen, and fails.
    Before,
    /// It happens, and fails: the acknowledgement is lost.
    After,
}

type Judge = Box<dyn FnMut(u64, &str, &str) -> Verdict + Send>;

/// Decides the fate of every operation: by its number from 0, what it is, and the path.
pub(crate) struct Script {
    judge: Mutex<Judge>,
    count: AtomicU64,
    /// While off, everything passes and is not counted.
    on: AtomicBool,
    /// How often it was not let pass.
    pub(crate) hits: AtomicU64,
}

impl Script {
    pub(crate) fn new(judge: impl FnMut(u64, &str, &str) -> Verdict + Send + 'static) -> Arc<Self> {
        let judge: Mutex<Judge> = Mutex::new(Box::new(judge));
        Arc::new(Self { judge, count: AtomicU64::new(0), on: AtomicBool::new(false), hits: AtomicU64::new(0) })
    }

    /// The process dies at operation `at`: that one fails before or after it happened, and all later ones fail.
    pub(crate) fn crash_at(at: u64, verdict: Verdict) -> Arc<Self> {
        Self::new(move |count, _, _| match count.cmp(&at) {
            std::cmp::Ordering::Less => Verdict::Pass,
            std::cmp::Ordering::Equal => verdict,
            std::cmp::Ordering::Greater => Verdict::Before,
        })
    }

    /// Operation `at` fails, all others pass.
    pub(crate) fn fail_at(at: u64, verdict: Verdict) -> Arc<Self> {
        Self::new(move |count, _, _| if count == at { verdict } else { Verdict::Pass })
    }

    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::SeqCst);
    }

    pub(crate) fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    pub(crate) fn faults(self: &Arc<Self>) -> Faults {
        let script = Arc::clone(self);
        let wrap = move |inner| Arc::new(FaultStore { inner, script: Arc::clone(&script) }) as Arc<dyn ObjectStore>;
        Faults { wrap: Some(Arc::new(wrap)), ..Faults::default() }
    }

    fn ask(&self, what: &str, path: &str) -> Verdict {
        if !self.on.load(Ordering::SeqCst) {
            return Verdict::Pass;
        }
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        let verdict = (self.judge.lock())(count, what, path);
        if verdict != Verdict::Pass {
            self.hits.fetch_add(1, Ordering::SeqCst);
        }
        verdict
    }

    async fn around<T>(&self, what: &str, path: &str, done: impl Future<Output = Result<T>>) -> Result<T> {
        match self.ask(what, path) {
            Verdict::Pass => done.await,
            Verdict::Before => Err(planted(what, path)),
            Verdict::After => {
                done.await?;
                Err(planted(what, path))
            }
        }
    }
}

fn planted(what: &str, path: &str) -> Error {
    Error::Generic { store: "fault", source: format!("planted: {what} {path} failed with 503").into() }
}

pub(crate) struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    script: Arc<Script>,
}

impl fmt::Debug for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultStore")
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.script.around("put", location.as_ref(), self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.inner.put_multipart_opts(at, options);
        let inner = self.script.around("begin", at.as_ref(), begun).await?;
        Ok(Box::new(FaultUpload { inner, script: Arc::clone(&self.script), path: at.to_string() }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.script.around("get", location.as_ref(), self.inner.get_opts(location, options)).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.script.around("get", location.as_ref(), self.inner.get_ranges(location, ranges)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (script, inner) = (Arc::clone(&self.script), Arc::clone(&self.inner));
        let delete = move |location: Result<Path>| {
            let (script, inner) = (Arc::clone(&script), Arc::clone(&inner));
            async move {
                let path = location?;
                let one = stream::iter([Ok(path.clone())]).boxed();
                let deleted = async { inner.delete_stream(one).next().await.unwrap_or(Ok(path.clone())) };
                script.around("delete", path.as_ref(), deleted).await
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.map(ToString::to_string).unwrap_or_default();
        match self.script.ask("list", &path) {
            Verdict::Pass => self.inner.list(prefix),
            _ => stream::iter([Err(planted("list", &path))]).boxed(),
        }
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let path = prefix.map(ToString::to_string).unwrap_or_default();
        match self.script.ask("list", &path) {
            Verdict::Pass => self.inner.list_with_offset(prefix, offset),
            _ => stream::iter([Err(planted("list", &path))]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.script.around("copy", from.as_ref(), self.inner.copy_opts(from, to, options)).await
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    script: Arc<Script>,
    path: String,
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let part = self.inner.put_part(data);
        let (script, path) = (Arc::clone(&self.script), self.path.clone());
        Box::pin(async move { script.around("part", &path, part).await })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.script.around("complete", &self.path, self.inner.complete()).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.script.around("abort", &self.path, self.inner.abort()).await
    }
}
