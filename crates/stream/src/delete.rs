//! Deleting a stream so that a crash leaves it whole or gone.
//!
//! First `stream.json` gets the name [`MARK`], durably: from then on there is no stream in the folder, and whoever opens the
//! folder finishes its removal. Everything else goes after that, the mark last but one, the folder last. Before the mark
//! goes, the removal of the rest is made durable: without its mark, a folder with shards in it would look like a stream
//! that lost its `stream.json`, and nobody removes that.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering;

use crate::disk::Disk;
use crate::error::{AppendError, OpenError};
use crate::metadata::Metadata;
use crate::store;
use crate::stream::{Over, Stream, is_shard_folder};

const MARK: &str = "deleted.json";

impl Stream {
    /// Ends the stream for everybody and marks its folder; what lies there is removed by [`finish`].
    pub(crate) fn retire(&self) -> Result<(), OpenError> {
        let mut changing = self.changing.lock();
        if changing.over.is_some() {
            return Err(OpenError::Deleted { name: self.name.clone() });
        }
        let disk = &*self.ground.around.disk;
        let from = Metadata::path(&self.dir);
        let marked = disk.rename(&from, &self.dir.join(MARK)).and_then(|()| disk.sync_dir(&self.dir));
        changing.over = Some(Over::Deleted);
        self.deleted.store(true, Ordering::Release);
        let shape = self.shape();
        let why = match &marked {
            Ok(()) => AppendError::Deleted,
            // It may be there or gone after a restart: nothing may be acknowledged any more.
            Err(error) => AppendError::Poisoned { why: error.to_string() },
        };
        for shard in shape.shards.values() {
            shard.abandon(&why);
            shard.forget();
        }
        self.tell_change();
        marked.map_err(OpenError::io("marking as deleted", &from))
    }
}

/// Finishes the deletion of the stream that was in `dir`, if one was begun.
pub(crate) fn finish(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    let failed = || OpenError::io("removing", dir);
    let names = list(disk, dir).map_err(failed())?;
    if !names.iter().any(|name| name == MARK) {
        return Ok(());
    }
    // After a crash the mark may be seen and not yet be durable: it must be before the rest goes.
    disk.sync_dir(dir).map_err(failed())?;
    for name in names.iter().filter(|name| *name != MARK) {
        let path = dir.join(name);
        let removed =
            if is_shard_folder(name) { store::remove_folder(disk, &path) } else { store::remove_if_there(disk, &path) };
        removed.map_err(failed())?;
    }
    disk.sync_dir(dir).map_err(failed())?;
    store::remove_if_there(disk, &dir.join(MARK)).map_err(failed())?;
    disk.remove_dir(dir).map_err(failed())?;
    disk.sync_dir(dir.parent().unwrap_or(dir)).map_err(failed())
}

/// Makes sure that a new stream finds nothing of an old one in `dir`: what was deleted goes, and shards that nobody
/// deleted are not written over.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path) -> Result<(), OpenError> {
    finish(disk, dir)?;
    let names = list(disk, dir).map_err(OpenError::io("reading", dir))?;
    match names.iter().find(|name| is_shard_folder(name)) {
        Some(shard) => {
            let what = format!("it is missing, although the folder of shard {shard} lies beside it");
            Err(OpenError::Metadata { path: Metadata::path(dir), what })
        }
        None => Ok(()),
    }
}

fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<String>> {
    match disk.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed,
    }
}
