//! Commits: exactly once, whatever the store answers.
//!
//! A commit has an id that stands in its log entry. It is written with *create, never overwrite* as the version after
//! the newest known. If the store says anything but yes, that version is read: if it carries our id, the commit
//! happened; if it is another writer's, its effect is taken over and the commit is tried as the next version; if it
//! is not there, the same bytes are written again as the same version. A delayed earlier attempt can therefore only
//! collide with itself. While even reading fails, the commit stays *unsettled*: its rows stay visible, and nothing
//! else is committed before it is settled.

use std::sync::Arc;
use std::time::Duration;

use deltalake::kernel::Snapshot as DeltaSnapshot;
use deltalake::kernel::transaction::TransactionError;
use deltalake::logstore::CommitOrBytes;
use tracing::{info, warn};
use uuid::Uuid;

use crate::actions::{self, Found, Operation};
use crate::error::LakeError;
use crate::schema::{Shape, evolved};
use crate::state::{Commit, Effect};
use crate::table::Table;

/// Attempts before a commit is left unsettled and the caller is told. Another writer's version does not count as one.
const ATTEMPTS_MAX: u32 = 5;

/// Wait before the second attempt; doubled for each further one.
const ATTEMPT_WAIT: Duration = Duration::from_millis(50);

/// Versions of other writers that one commit steps over before it is left unsettled: more means a writer that never pauses.
const STEPS_MAX: u32 = 1000;

impl Table {
    /// Makes the commit happen; answers its version. Whatever error comes, [`Table::settle_unsettled`] goes on with it
    /// unless the error is that it conflicts.
    pub(crate) async fn commit(&self, commit: Commit) -> Result<u64, LakeError> {
        let _one = self.committing.lock().await;
        self.settle_earlier().await?;
        let commit = Arc::new(commit);
        {
            let mut state = self.state.lock();
            state.check_fence(&self.name)?;
            state.unsettled = Some(Arc::clone(&commit));
        }
        self.settle(&commit).await
    }

    /// Settles a commit whose outcome is not known, if there is one.
    pub(crate) async fn settle_unsettled(&self) -> Result<(), LakeError> {
        let _one = self.committing.lock().await;
        self.settle_earlier().await
    }

    async fn settle_earlier(&self) -> Result<(), LakeError> {
        let unsettled = self.state.lock().unsettled.clone();
        let Some(commit) = unsettled else { return Ok(()) };
        // A change of this process that turned out to conflict is over: what follows does not depend on it.
        match self.settle(&commit).await {
            Ok(_) | Err(LakeError::Conflict { .. }) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Writes or finds the commit. `committing` is held.
    async fn settle(&self, commit: &Arc<Commit>) -> Result<u64, LakeError> {
        let (mut attempts, mut steps) = (0, 0);
        let mut wait = ATTEMPT_WAIT;
        loop {
            let version = self.state.lock().version + 1;
            let why = match self.attempt(commit, version).await {
                Outcome::Written => return self.win(commit, version),
                Outcome::Uncertain(why) => why,
            };
            match self.find(version).await {
                Ok(Some(found)) if found.id.as_deref() == Some(commit.id.as_str()) => {
                    info!(table = self.name, version, why, "an uncertain commit had happened");
                    self.counts.settled.inc();
                    return self.win(commit, version);
                }
                Ok(Some(found)) => {
                    self.counts.overtaken.inc();
                    self.take_over(commit, version, &found).await?;
                    steps += 1;
                    if steps < STEPS_MAX {
                        continue;
                    }
                }
                Ok(None) => {}
                Err(error @ LakeError::Corrupt { .. }) => return Err(error),
                Err(error) => warn!(table = self.name, version, %error, "an uncertain commit cannot be looked up"),
            }
            attempts += 1;
            if attempts >= ATTEMPTS_MAX {
                return Err(LakeError::Unsettled { table: self.name.clone(), version, why });
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn attempt(&self, commit: &Commit, version: u64) -> Outcome {
        let bytes = CommitOrBytes::LogBytes(commit.bytes.clone());
        match self.log.write_commit_entry(version, bytes, Uuid::new_v4()).await {
            Ok(()) => Outcome::Written,
            Err(TransactionError::VersionAlreadyExists(_)) => Outcome::Uncertain("the version exists".to_owned()),
            Err(error) => {
                warn!(table = self.name, version, %error, "writing a commit failed");
                Outcome::Uncertain(error.to_string())
            }
        }
    }

    async fn find(&self, version: u64) -> Result<Option<Found>, LakeError> {
        let read = self.log.read_commit_entry(version).await;
        let bytes = read.map_err(|error| LakeError::reading(&self.name, "reading a commit", error))?;
        bytes.map(|bytes| actions::read(&self.name, version, &bytes)).transpose()
    }

    fn win(&self, commit: &Commit, version: u64) -> Result<u64, LakeError> {
        let mut state = self.state.lock();
        let won = state.won(version, commit);
        self.changes.send_replace(state.changed);
        self.counts.commits.inc();
        won.map_err(|what| LakeError::internal(&self.name, what))?;
        Ok(version)
    }

    /// Takes over what another writer committed as `version`, unless `commit` cannot stand beside it.
    async fn take_over(&self, commit: &Commit, version: u64, found: &Found) -> Result<(), LakeError> {
        let mut shape = self.state.lock().shape.clone();
        let reshaped = actions::changes_shape(&found.actions);
        if reshaped {
            shape = self.shape_at(version).await?;
        }
        let mut effect = actions::effect_of(&self.name, &found.actions, &shape)?;
        effect.shape = reshaped.then_some(shape);
        let lost = commit.effect.removed.iter().find(|path| effect.removed.contains(path)).cloned();
        let clash = reshaped && commit.effect.shape.is_some();

        let mut state = self.state.lock();
        state.fence(version, &effect.progress);
        let applied = state.apply(version, &effect);
        self.changes.send_replace(state.changed);
        applied.map_err(|what| LakeError::Conflict {
            table: self.name.clone(),
            version,
            what: format!("changed its columns: {what}"),
        })?;
        let what = match lost {
            Some(path) => Some(format!("removed {path}, which was to be merged")),
            None => clash.then(|| "changed its columns at the same time".to_owned()),
        };
        if let Some(what) = what {
            // The version is another's for good: what this commit was to add never comes.
            state.unsettled = None;
            for file in &commit.effect.added {
                state.in_flight.remove(&file.path);
            }
            return Err(LakeError::Conflict { table: self.name.clone(), version, what });
        }
        state.check_fence(&self.name)
    }

    /// The columns at a version that another program wrote.
    async fn shape_at(&self, version: u64) -> Result<Shape, LakeError> {
        let snapshot = DeltaSnapshot::try_new(self.log.as_ref(), Some(version)).await;
        let snapshot = snapshot.map_err(|error| LakeError::reading(&self.name, "reading the Delta log", error))?;
        let shape = actions::shape_of(&self.name, &snapshot)?;
        let known = self.data_schema();
        // Every column of ours must still be there as it was, or rows in the tail would have no place.
        if let Some(missing) = evolved(&self.name, &shape.data, &known)? {
            let what = format!("has removed columns that riverrun writes (it needs {})", missing.fields().len());
            return Err(LakeError::Conflict { table: self.name.clone(), version, what });
        }
        Ok(shape)
    }

    /// Gives the table new columns.
    pub(crate) async fn add_columns(&self, shape: Shape) -> Result<(), LakeError> {
        let version = self.state.lock().version;
        let snapshot = DeltaSnapshot::try_new(self.log.as_ref(), Some(version)).await;
        let snapshot = snapshot.map_err(|error| LakeError::reading(&self.name, "reading the Delta log", error))?;
        let action = actions::with_columns(&self.name, snapshot.metadata().clone(), &shape)?;
        let effect = Effect { shape: Some(shape), ..Effect::default() };
        let clock = self.clock.as_ref();
        let commit =
            actions::commit(&self.name, Operation::AddColumns, vec![action], effect, Vec::new(), false, clock)?;
        let version = self.commit(commit).await?;
        info!(table = self.name, version, "table gained columns");
        Ok(())
    }
}

enum Outcome {
    Written,
    Uncertain(String),
}
