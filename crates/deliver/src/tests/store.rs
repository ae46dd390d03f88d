//! An object store that fails, or waits, where it is told to.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use lake::Faults;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::watch;

/// What is done to writes: each nth of them fails, half of those after it has happened; none goes on while closed.
#[derive(Debug)]
pub(crate) struct Weather {
    /// 0: none fails.
    fail_each: AtomicU64,
    writes: AtomicU64,
    pub(crate) failed: AtomicU64,
    open: watch::Sender<bool>,
}

impl Weather {
    pub(crate) fn fair() -> Arc<Self> {
        let open = watch::Sender::new(true);
        Arc::new(Self { fail_each: AtomicU64::new(0), writes: AtomicU64::new(0), failed: AtomicU64::new(0), open })
    }

    pub(crate) fn fail_each(&self, nth: u64) {
        self.fail_each.store(nth, Ordering::SeqCst);
    }

    pub(crate) fn let_through(&self, open: bool) {
        self.open.send_replace(open);
    }

    pub(crate) fn faults(self: &Arc<Self>) -> Faults {
        let weather = Arc::clone(self);
        let wrap = move |inner| Arc::new(Store { inner, weather: Arc::clone(&weather) }) as Arc<dyn ObjectStore>;
        Faults { wrap: Some(Arc::new(wrap)), ..Faults::default() }
    }

    async fn around<T>(&self, done: impl Future<Output = Result<T>>) -> Result<T> {
        let mut open = self.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
        let nth = self.fail_each.load(Ordering::SeqCst);
        let count = self.writes.fetch_add(1, Ordering::SeqCst) + 1;
        if nth == 0 || !count.is_multiple_of(nth) {
            return done.await;
        }
        let failed = self.failed.fetch_add(1, Ordering::SeqCst);
        if failed.is_multiple_of(2) {
            done.await?;
        }
        Err(Error::Generic { store: "weather", source: "planted: 503".into() })
    }
}

#[derive(Debug)]
struct Store {
    inner: Arc<dyn ObjectStore>,
    weather: Arc<Weather>,
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.weather.around(self.inner.put_opts(location, payload, options)).await
    }

    async fn put_multipart_opts(&self, at: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.weather.around(self.inner.put_multipart_opts(at, options)).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.weather.around(self.inner.copy_opts(from, to, options)).await
    }
}
