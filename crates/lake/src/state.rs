//! What a table knows of itself, and how each event changes it. Pure: no I/O happens here, and everything a snapshot
//! shows changes under one lock in one call.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::RecordBatch;
use base::TableVersion;
use bytes::Bytes;

use crate::error::LakeError;
use crate::file::DataFile;
use crate::partition::Hours;
use crate::schema::{Shape, conform};
use crate::table::{Progress, Snapshot};
use crate::tail::{Chunk, Tail};

/// The effect of a commit on the table.
#[derive(Clone, Debug, Default)]
pub(crate) struct Effect {
    pub(crate) added: Vec<Arc<DataFile>>,
    /// Paths.
    pub(crate) removed: Vec<String>,
    pub(crate) progress: BTreeMap<String, i64>,
    /// The table's new columns.
    pub(crate) shape: Option<Shape>,
    /// The rows frozen for a flush are in the files added.
    pub(crate) takes_frozen: bool,
}

/// A commit that is to happen exactly once, whatever becomes of the attempts to write it.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// Stands in the commit's `commitInfo` and nowhere else.
    pub(crate) id: String,
    /// The bytes of the log entry: the same at every attempt and version.
    pub(crate) bytes: Bytes,
    pub(crate) effect: Effect,
}

/// A table at this moment.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) version: u64,
    /// The version of the newest checkpoint in the log, if there is one.
    pub(crate) checkpoint: Option<u64>,
    pub(crate) shape: Shape,
    pub(crate) files: Arc<[Arc<DataFile>]>,
    /// Committed, by application id.
    pub(crate) progress: BTreeMap<String, i64>,
    /// The sources that this process pushes.
    pub(crate) mine: BTreeSet<String>,
    pub(crate) tail: Tail,
    /// The rows of the flush under way: visible until its commit.
    pub(crate) frozen: Option<Arc<Tail>>,
    /// A commit whose outcome is not known: nothing else is committed before it is settled.
    pub(crate) unsettled: Option<Arc<Commit>>,
    /// Files being written or written and not yet committed: no vacuum may take them. Those of failed attempts stay
    /// here until restart, because a delayed upload may still arrive.
    pub(crate) in_flight: HashSet<String>,
    /// Files that left the table in this process, and when: running queries may still read them.
    pub(crate) left: HashMap<String, Instant>,
    /// Who took over, once somebody did.
    pub(crate) fenced: Option<(u64, String, i64)>,
    pub(crate) last_commit: Option<Instant>,
    pub(crate) changed: u64,
}

impl State {
    pub(crate) fn new(
        version: u64,
        checkpoint: Option<u64>,
        shape: Shape,
        files: Vec<Arc<DataFile>>,
        progress: BTreeMap<String, i64>,
    ) -> Self {
        Self {
            version,
            checkpoint,
            shape,
            files: files.into(),
            progress,
            mine: BTreeSet::new(),
            tail: Tail::default(),
            frozen: None,
            unsettled: None,
            in_flight: HashSet::new(),
            left: HashMap::new(),
            fenced: None,
            last_commit: None,
            changed: 0,
        }
    }

    pub(crate) fn check_fence(&self, table: &str) -> Result<(), LakeError> {
        match &self.fenced {
            None => Ok(()),
            Some((version, app_id, found)) => Err(LakeError::Fenced {
                table: table.to_owned(),
                version: *version,
                app_id: app_id.clone(),
                found: *found,
            }),
        }
    }

    /// The progress last pushed or committed.
    fn last_progress(&self, app_id: &str) -> Option<i64> {
        let pushed = self.tail.progress.get(app_id);
        let frozen = || self.frozen.as_ref().and_then(|frozen| frozen.progress.get(app_id));
        pushed.or_else(frozen).or_else(|| self.progress.get(app_id)).copied()
    }

    /// Takes rows into the tail; answers the new [`Snapshot::changed`].
    pub(crate) fn push(
        &mut self,
        table: &str,
        rows: RecordBatch,
        hours: Hours,
        progress: Vec<Progress>,
        bytes_max: usize,
    ) -> Result<u64, LakeError> {
        self.check_fence(table)?;
        for Progress { app_id, next } in &progress {
            if let Some(last) = self.last_progress(app_id)
                && *next < last
            {
                let app_id = app_id.clone();
                return Err(LakeError::Backwards { table: table.to_owned(), app_id, last, next: *next });
            }
        }
        if self.tail_bytes() > bytes_max && rows.num_rows() > 0 {
            return Err(LakeError::Full { table: table.to_owned(), bytes: self.tail_bytes() });
        }
        // The table may have gained a column since the caller looked.
        let rows = conform(&self.shape.full, &rows).map_err(|what| LakeError::internal(table, what))?;
        if rows.num_rows() > 0 {
            self.changed += 1;
        }
        self.mine.extend(progress.iter().map(|progress| progress.app_id.clone()));
        let moved: Vec<(String, i64)> = progress
            .into_iter()
            .filter(|Progress { app_id, next }| self.last_progress(app_id) != Some(*next))
            .map(|Progress { app_id, next }| (app_id, next))
            .collect();
        if rows.num_rows() > 0 || !moved.is_empty() {
            self.tail.push(Chunk::new(rows, hours), moved);
        }
        Ok(self.changed)
    }

    pub(crate) fn tail_bytes(&self) -> usize {
        self.tail.bytes() + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes())
    }

    pub(crate) fn tail_rows(&self) -> usize {
        self.tail.rows() + self.frozen.as_ref().map_or(0, |frozen| frozen.rows())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let frozen = self.frozen.iter().flat_map(|frozen| &frozen.chunks);
        Snapshot {
            version: TableVersion(self.version),
            schema: Arc::clone(&self.shape.full),
            files: Arc::clone(&self.files),
            tail: frozen.chain(&self.tail.chunks).map(|chunk| chunk.rows.clone()).collect(),
            changed: self.changed,
        }
    }

    /// Sets the tail aside for a flush; it stays visible.
    pub(crate) fn freeze(&mut self) -> Arc<Tail> {
        let frozen = self.tail.take();
        self.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// Gives up a flush that committed nothing: its rows are first in the tail again.
    pub(crate) fn thaw(&mut self) {
        if let Some(frozen) = self.frozen.take() {
            self.tail.put_back(Arc::unwrap_or_clone(frozen));
        }
    }

    /// The commit is version `version`: files, progress, columns and tail change together.
    pub(crate) fn won(&mut self, version: u64, commit: &Commit) -> Result<(), String> {
        if self.unsettled.as_ref().is_some_and(|unsettled| unsettled.id == commit.id) {
            self.unsettled = None;
        }
        if commit.effect.takes_frozen {
            self.frozen = None;
        }
        for file in &commit.effect.added {
            self.in_flight.remove(&file.path);
        }
        self.last_commit = Some(Instant::now());
        self.apply(version, &commit.effect)
    }

    /// Version `version` has this effect.
    pub(crate) fn apply(&mut self, version: u64, effect: &Effect) -> Result<(), String> {
        self.version = version;
        self.changed += 1;
        if !effect.added.is_empty() || !effect.removed.is_empty() {
            let now = Instant::now();
            let gone: HashSet<&str> = effect.removed.iter().map(String::as_str).collect();
            self.left.extend(effect.removed.iter().map(|path| (path.clone(), now)));
            let new: HashSet<&str> = effect.added.iter().map(|file| file.path.as_str()).collect();
            let stays = |file: &&Arc<DataFile>| !gone.contains(file.path.as_str()) && !new.contains(file.path.as_str());
            self.files = self.files.iter().filter(stays).chain(&effect.added).cloned().collect();
        }
        self.progress.extend(effect.progress.iter().map(|(app_id, next)| (app_id.clone(), *next)));
        match &effect.shape {
            Some(shape) => self.adopt(shape.clone()),
            None => Ok(()),
        }
    }

    fn adopt(&mut self, shape: Shape) -> Result<(), String> {
        self.tail.adopt(&shape.full)?;
        if let Some(frozen) = &mut self.frozen {
            Arc::make_mut(frozen).adopt(&shape.full)?;
        }
        self.shape = shape;
        Ok(())
    }

    /// Another writer's progress that this process moves too: it has taken over. Remembered: nothing is taken or
    /// committed from then on.
    pub(crate) fn fence(&mut self, version: u64, progress: &BTreeMap<String, i64>) {
        let taken = progress.iter().find(|(app_id, _)| self.mine.contains(*app_id));
        if let Some((app_id, found)) = taken {
            self.fenced = Some((version, app_id.clone(), *found));
        }
    }
}
