//! The local object store of the lake: the file system, but with every write on disk before it is visible.
//!
//! `object_store`'s own local store renames files into place without syncing them. A power cut can then leave a
//! commit that exists by name and is empty inside, which no reader of the table survives. Here a file is written in
//! a staging folder, synced, moved to its name in one step (a hard link if it must not exist yet, else a rename), and
//! its folder synced, before the write counts.

use std::collections::HashSet;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use parking_lot::Mutex;
use uuid::Uuid;

/// Files on their way, below the lake's folder: a name that no table can have. Emptied when the lake is opened.
const STAGING: &str = ".staging";

const STORE: &str = "lake folder";

/// The lake's folder as an object store whose writes are on disk when they return.
#[derive(Clone, Debug)]
pub(crate) struct SyncedLocal {
    read: LocalFileSystem,
    place: Arc<Place>,
}

#[derive(Debug)]
struct Place {
    root: PathBuf,
    staging: PathBuf,
    /// Folders known to be on disk together with all folders above them.
    synced: Mutex<HashSet<PathBuf>>,
    /// A sync has failed: what is on disk is uncertain until restart, so nothing more is written.
    poisoned: AtomicBool,
}

impl SyncedLocal {
    /// Opens the folder, making it if missing, and throws away what an earlier process left half written.
    pub(crate) fn open(root: &FsPath) -> io::Result<Self> {
        fs::create_dir_all(root)?;
        let root = root.canonicalize()?;
        let staging = root.join(STAGING);
        fs::create_dir_all(&staging)?;
        for left in fs::read_dir(&staging)? {
            // One by one, and whoever takes it: a lake that was dropped in this process may still be at its last file.
            match fs::remove_file(left?.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        File::open(&root)?.sync_all()?;
        let read = LocalFileSystem::new_with_prefix(&root).map_err(io::Error::other)?;
        let place = Place { root, staging, synced: Mutex::default(), poisoned: AtomicBool::new(false) };
        Ok(Self { read, place: Arc::new(place) })
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Place) -> Result<T> + Send + 'static) -> Result<T> {
        let place = Arc::clone(&self.place);
        run(move || work(&place)).await
    }
}

async fn run<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|source| Error::JoinError { source })?
}

fn failed(what: &str, path: &FsPath, source: io::Error) -> Error {
    let told = io::Error::new(source.kind(), format!("{what} {}: {source}", path.display()));
    Error::Generic { store: STORE, source: Box::new(told) }
}

impl Place {
    fn check(&self) -> Result<()> {
        if self.poisoned.load(Ordering::Acquire) {
            let why =
                "an earlier sync to disk failed; nothing is written until restart (see the log for the first error)";
            return Err(Error::Generic { store: STORE, source: why.into() });
        }
        Ok(())
    }

    /// A failed sync may have dropped the pages it was to write, so that trying again would lie: stop instead.
    fn poison(&self, path: &FsPath, source: io::Error) -> Error {
        self.poisoned.store(true, Ordering::Release);
        tracing::error!(path = %path.display(), error = %source, "a sync to disk failed: the lake writes nothing until restart");
        failed("syncing", path, source)
    }

    fn stage(&self) -> Result<(File, PathBuf)> {
        self.check()?;
        let path = self.staging.join(Uuid::new_v4().to_string());
        let file = File::create_new(&path).map_err(|source| failed("creating", &path, source))?;
        Ok((file, path))
    }

    /// Syncs a staged file and moves it to its name.
    fn land(&self, file: &File, staged: &FsPath, target: &FsPath, create: bool) -> Result<PutResult> {
        let landed = self.try_land(file, staged, target, create);
        if landed.is_err() || create {
            // What stays behind is thrown away at the next start.
            let _ = fs::remove_file(staged);
        }
        landed
    }

    fn try_land(&self, file: &File, staged: &FsPath, target: &FsPath, create: bool) -> Result<PutResult> {
        self.check()?;
        file.sync_all().map_err(|source| self.poison(staged, source))?;
        let folder = target.parent().unwrap_or(&self.root);
        self.make(folder)?;
        let moved = if create { fs::hard_link(staged, target) } else { fs::rename(staged, target) };
        moved.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::AlreadyExists { path: target.display().to_string(), source: Box::new(source) }
            }
            _ => failed("moving a file to", target, source),
        })?;
        self.sync_folder(folder)?;
        Ok(PutResult { e_tag: None, version: None })
    }

    /// Makes a folder and those above it, each on disk before the next.
    fn make(&self, folder: &FsPath) -> Result<()> {
        if folder == self.root || self.synced.lock().contains(folder) {
            return Ok(());
        }
        let above = folder.parent().unwrap_or(&self.root);
        self.make(above)?;
        match fs::create_dir(folder) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(failed("creating the folder", folder, source)),
        }
        // Also when it existed: an earlier process may have been killed between making and syncing it.
        self.sync_folder(above)?;
        self.synced.lock().insert(folder.to_owned());
        Ok(())
    }

    fn sync_folder(&self, folder: &FsPath) -> Result<()> {
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| self.poison(folder, source))
    }
}

impl fmt::Display for SyncedLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SyncedLocal({})", self.place.root.display())
    }
}

fn is_staged(meta: &ObjectMeta) -> bool {
    meta.location.parts().next().is_some_and(|first| first.as_ref() == STAGING)
}

#[async_trait]
impl ObjectStore for SyncedLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let create = match options.mode {
            PutMode::Overwrite => false,
            PutMode::Create => true,
            PutMode::Update(_) => {
                let operation = "conditional update".to_owned();
                return Err(Error::NotImplemented { operation, implementer: self.to_string() });
            }
        };
        let target = self.read.path_to_filesystem(location)?;
        self.blocking(move |place| {
            let (mut file, staged) = place.stage()?;
            for part in &payload {
                if let Err(source) = file.write_all(part) {
                    let _ = fs::remove_file(&staged);
                    return Err(failed("writing", &staged, source));
                }
            }
            place.land(&file, &staged, &target, create)
        })
        .await
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let target = self.read.path_to_filesystem(location)?;
        let (file, staged) = self.blocking(Place::stage).await?;
        let file = Arc::new(file);
        Ok(Box::new(Upload { place: Arc::clone(&self.place), file, staged, target, end: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.read.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.read.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        // Not synced: a deleted file that comes back after a power cut is deleted again by the next vacuum.
        self.read.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.read.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        sorted(self.read.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let mut found = self.read.list_with_delimiter(prefix).await?;
        found.common_prefixes.retain(|prefix| prefix.parts().next().is_none_or(|first| first.as_ref() != STAGING));
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let mode = match options.mode {
            object_store::CopyMode::Overwrite => PutMode::Overwrite,
            object_store::CopyMode::Create => PutMode::Create,
        };
        let bytes = self.read.get_opts(from, GetOptions::default()).await?.bytes().await?;
        self.put_opts(to, bytes.into(), mode.into()).await?;
        Ok(())
    }
}

/// In the order of names, as remote stores list: readers of the Delta log rely on it.
fn sorted(listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
    let all = async move {
        let mut found: Vec<ObjectMeta> = listing.try_collect().await?;
        found.retain(|meta| !is_staged(meta));
        found.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok::<_, Error>(stream::iter(found.into_iter().map(Ok)))
    };
    stream::once(all).try_flatten().boxed()
}

/// A file that comes in parts.
#[derive(Debug)]
struct Upload {
    place: Arc<Place>,
    file: Arc<File>,
    staged: PathBuf,
    target: PathBuf,
    end: u64,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        let (file, staged, mut at) = (Arc::clone(&self.file), self.staged.clone(), self.end);
        self.end += part.content_length() as u64;
        Box::pin(run(move || {
            for piece in &part {
                file.write_all_at(piece, at).map_err(|source| failed("writing", &staged, source))?;
                at += piece.len() as u64;
            }
            Ok(())
        }))
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let (place, file) = (Arc::clone(&self.place), Arc::clone(&self.file));
        let (staged, target) = (self.staged.clone(), self.target.clone());
        run(move || place.land(&file, &staged, &target, false)).await
    }

    async fn abort(&mut self) -> Result<()> {
        let staged = self.staged.clone();
        run(move || fs::remove_file(&staged).map_err(|source| failed("removing", &staged, source))).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::ObjectStoreExt;

    #[tokio::test]
    async fn what_was_put_is_there_once_and_nothing_stays_staged() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = SyncedLocal::open(dir.path()).expect("opens");
        let path = Path::from("t/year=2026/x.json");
        store.put_opts(&path, "one".into(), PutMode::Create.into()).await.expect("created");
        let again = store.put_opts(&path, "two".into(), PutMode::Create.into()).await;
        assert!(matches!(again, Err(Error::AlreadyExists { .. })));
        assert_eq!(store.get(&path).await.expect("there").bytes().await.expect("read"), "one");
        store.put(&path, "three".into()).await.expect("overwritten");
        assert_eq!(store.get(&path).await.expect("there").bytes().await.expect("read"), "three");
        assert_eq!(fs::read_dir(dir.path().join(STAGING)).expect("staging").count(), 0);
    }

    #[tokio::test]
    async fn parts_land_in_the_order_they_were_given_and_listings_are_sorted() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = SyncedLocal::open(dir.path()).expect("opens");
        let mut upload = store.put_multipart(&Path::from("t/b")).await.expect("begun");
        let parts = [upload.put_part("first ".into()), upload.put_part("second".into())];
        for part in parts.into_iter().rev() {
            part.await.expect("written");
        }
        upload.complete().await.expect("landed");
        assert_eq!(store.get(&Path::from("t/b")).await.expect("there").bytes().await.expect("read"), "first second");
        for name in ["t/c", "t/a"] {
            store.put(&Path::from(name), name.into()).await.expect("put");
        }
        let names: Vec<String> =
            store.list(None).map_ok(|meta| meta.location.to_string()).try_collect().await.expect("list");
        assert_eq!(names, ["t/a", "t/b", "t/c"]);
    }

    #[test]
    fn it_opens_while_a_dropped_one_is_still_at_its_last_files() {
        let dir = tempfile::tempdir().expect("a folder");
        let last = SyncedLocal::open(dir.path()).expect("opens");
        let over = Arc::new(AtomicBool::new(false));
        let writing = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                while !over.load(Ordering::Acquire) {
                    let (_, staged) = last.place.stage().expect("stages");
                    // Gone already if the other got there first.
                    let _ = fs::remove_file(staged);
                }
            }
        });
        for _ in 0..200 {
            SyncedLocal::open(dir.path()).expect("opens");
        }
        over.store(true, Ordering::Release);
        writing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        SyncedLocal::open(dir.path()).expect("opens");
        assert_eq!(fs::read_dir(dir.path().join(STAGING)).expect("staging").count(), 0);
    }

    #[tokio::test]
    async fn after_a_failed_sync_nothing_more_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = SyncedLocal::open(dir.path()).expect("opens");
        store.place.poison(dir.path(), io::Error::other("planted"));
        let refused = store.put(&Path::from("t/a"), "x".into()).await.expect_err("refused");
        assert!(refused.to_string().contains("until restart"));
    }
}
