//! Delta actions: a commit's bytes from its effect, and the effect from another's actions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::Schema;
use base::Clock;
use bytes::Bytes;
use deltalake::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{
    Action, CommitInfo, LogicalFileView, Metadata, MetadataExt, Protocol, Snapshot as DeltaSnapshot, StructType,
    Transaction, new_metadata,
};
use deltalake::logstore::{CommitOrBytes, LogStoreRef};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::error::LakeError;
use crate::file::DataFile;
use crate::schema::{PARTITION_COLUMNS, Shape};
use crate::settings::LakeSettings;
use crate::state::{Commit, Effect};

/// In `commitInfo`: the unique id of the commit, by which an uncertain outcome is settled.
pub(crate) const COMMIT_ID: &str = "riverrunCommitId";

/// In `commitInfo`: CRC-32C (hexadecimal) of all bytes after the `commitInfo` line and its newline.
pub(crate) const COMMIT_CHECK: &str = "riverrunCheck";

/// What a commit is called in the table's history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    CreateTable,
    AddColumns,
    Write,
    Optimize,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::CreateTable => "CREATE TABLE",
            Self::AddColumns => "ADD COLUMNS",
            Self::Write => "STREAMING UPDATE",
            Self::Optimize => "OPTIMIZE",
        }
    }
}

/// Makes a commit: actions of `effect` (and `more` before them), an id and a check sum.
pub(crate) fn commit(
    table: &str,
    operation: Operation,
    more: Vec<Action>,
    effect: Effect,
    removes: Vec<Action>,
    forget_progress: bool,
    clock: &dyn Clock,
) -> Result<Commit, LakeError> {
    let now = clock.now().0;
    let data_change = operation == Operation::Write;
    let adds = effect.added.iter().map(|file| Action::Add(file.add(data_change)));
    let mut actions: Vec<Action> = more.into_iter().chain(removes).chain(adds).collect();
    if !forget_progress {
        let txn =
            |(app_id, next): (&String, &i64)| Action::Txn(Transaction::new_with_last_update(app_id, *next, Some(now)));
        actions.extend(effect.progress.iter().map(txn));
    }
    let mut lines = Vec::new();
    for action in &actions {
        serde_json::to_writer(&mut lines, action).map_err(|error| LakeError::internal(table, error))?;
        lines.push(b'\n');
    }
    let id = Uuid::new_v4().to_string();
    let info = HashMap::from([
        (COMMIT_ID.to_owned(), json!(id)),
        (COMMIT_CHECK.to_owned(), json!(format!("{:08x}", crc32c::crc32c(&lines)))),
    ]);
    let info = Action::CommitInfo(CommitInfo {
        timestamp: Some(now),
        operation: Some(operation.name().to_owned()),
        operation_parameters: Some(HashMap::new()),
        engine_info: Some(concat!("riverrun/", env!("CARGO_PKG_VERSION")).to_owned()),
        is_blind_append: Some(data_change),
        info,
        ..CommitInfo::default()
    });
    let mut bytes = serde_json::to_vec(&info).map_err(|error| LakeError::internal(table, error))?;
    bytes.push(b'\n');
    bytes.extend_from_slice(&lines);
    Ok(Commit { id, bytes: bytes.into(), effect })
}

/// A commit of the log, read back.
#[derive(Debug)]
pub(crate) struct Found {
    /// The commit's id, if this program wrote it.
    pub(crate) id: Option<String>,
    pub(crate) actions: Vec<Action>,
}

/// Reads the bytes of a log entry, and checks those that this program wrote.
pub(crate) fn read(table: &str, version: u64, bytes: &Bytes) -> Result<Found, LakeError> {
    let damaged = |what: String| LakeError::corrupt(table, format!("version {version} of the Delta log: {what}"));
    let actions = deltalake::logstore::get_actions(version, bytes).map_err(|error| damaged(error.to_string()))?;
    if actions.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let info = actions.iter().find_map(|action| match action {
        Action::CommitInfo(info) => Some(&info.info),
        _ => None,
    });
    let text = |key: &str| info.and_then(|info| info.get(key)).and_then(Value::as_str).map(str::to_owned);
    if let Some(check) = text(COMMIT_CHECK) {
        let start = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        let found = format!("{:08x}", crc32c::crc32c(&bytes[start..]));
        if found != check {
            return Err(damaged(format!("its check sum is {found}, it was written with {check}")));
        }
    }
    Ok(Found { id: text(COMMIT_ID), actions })
}

/// Whether a commit by another writer changed the table's columns or protocol.
pub(crate) fn changes_shape(actions: &[Action]) -> bool {
    actions.iter().any(|action| matches!(action, Action::Metadata(_) | Action::Protocol(_)))
}

/// What a commit by another writer did to the table.
pub(crate) fn effect_of(table: &str, actions: &[Action], shape: &Shape) -> Result<Effect, LakeError> {
    let mut effect = Effect::default();
    for action in actions {
        match action {
            Action::Add(add) => {
                if add.deletion_vector.is_some() {
                    return Err(unsupported(table, "it uses deletion vectors"));
                }
                let stats = add.stats.as_deref();
                let path = add.path.clone();
                let file =
                    DataFile::from_log(path, add.size, add.modification_time, &add.partition_values, stats, shape);
                effect.added.push(file.map_err(|what| LakeError::corrupt(table, what))?);
            }
            Action::Remove(remove) => effect.removed.push(remove.path.clone()),
            Action::Txn(txn) => {
                effect.progress.insert(txn.app_id.clone(), txn.version);
            }
            Action::Metadata(_)
            | Action::Protocol(_)
            | Action::CommitInfo(_)
            | Action::Cdc(_)
            | Action::DomainMetadata(_) => {}
        }
    }
    Ok(effect)
}

/// A file of the newest version.
pub(crate) fn file_of(table: &str, view: &LogicalFileView, shape: &Shape) -> Result<Arc<DataFile>, LakeError> {
    if view.deletion_vector_descriptor().is_some() {
        return Err(unsupported(table, "it uses deletion vectors"));
    }
    let (path, values, stats) = (view.path().into_owned(), view.partition_values_map(), view.stats());
    let file = DataFile::from_log(path, view.size(), view.modification_time(), &values, stats.as_deref(), shape);
    file.map_err(|what| LakeError::corrupt(table, what))
}

fn unsupported(table: &str, what: impl Into<String>) -> LakeError {
    LakeError::Unsupported { table: table.to_owned(), what: what.into() }
}

/// The table's columns, after making sure that this program may write it.
pub(crate) fn shape_of(table: &str, snapshot: &DeltaSnapshot) -> Result<Shape, LakeError> {
    check_protocol(table, snapshot.protocol())?;
    let all: Schema = snapshot
        .schema()
        .as_ref()
        .try_into_arrow()
        .map_err(|error| LakeError::corrupt(table, format!("its columns cannot be read: {error}")))?;
    let metadata = to_value(table, snapshot.metadata())?;
    let by: Vec<String> = serde_json::from_value(metadata["partitionColumns"].clone())
        .map_err(|error| LakeError::corrupt(table, format!("its partition columns cannot be read: {error}")))?;
    let partitioned = match by.as_slice() {
        [] => false,
        names if names == PARTITION_COLUMNS => true,
        names => return Err(unsupported(table, format!("it is partitioned by {}", names.join(", ")))),
    };
    let own = all.fields().iter().filter(|field| !by.contains(field.name()));
    let data: Vec<_> =
        own.map(|field| field.as_ref().clone().with_nullable(true).with_metadata(HashMap::new())).collect();
    Ok(Shape::new(Arc::new(Schema::new(data)), partitioned))
}

fn check_protocol(table: &str, protocol: &Protocol) -> Result<(), LakeError> {
    let protocol = to_value(table, protocol)?;
    let (reader, writer) = (protocol["minReaderVersion"].as_i64(), protocol["minWriterVersion"].as_i64());
    // Version 7 lists its features; those two change nothing for a writer that only appends.
    let listed = |key: &str| protocol[key].as_array().cloned().unwrap_or_default();
    let features: Vec<Value> = listed("readerFeatures").into_iter().chain(listed("writerFeatures")).collect();
    let known = |feature: &Value| matches!(feature.as_str(), Some("appendOnly" | "invariants"));
    match (reader, writer) {
        (Some(1), Some(1 | 2)) => Ok(()),
        (Some(1 | 3), Some(7)) if features.iter().all(known) => Ok(()),
        _ => Err(unsupported(table, format!("it needs a Delta protocol that riverrun does not write: {protocol}"))),
    }
}

fn to_value(table: &str, what: &impl serde::Serialize) -> Result<Value, LakeError> {
    serde_json::to_value(what).map_err(|error| LakeError::internal(table, error))
}

fn delta_schema(table: &str, shape: &Shape) -> Result<StructType, LakeError> {
    shape.full.as_ref().try_into_kernel().map_err(|error| LakeError::internal(table, error))
}

/// The metadata action that gives the table new columns.
pub(crate) fn with_columns(table: &str, metadata: Metadata, shape: &Shape) -> Result<Action, LakeError> {
    let schema = delta_schema(table, shape)?;
    let metadata = metadata.with_schema(&schema).map_err(|error| LakeError::internal(table, error))?;
    Ok(Action::Metadata(metadata))
}

/// Writes version 0. That it exists already is no error: who made it first has made it.
pub(crate) async fn create(
    table: &str,
    shape: &Shape,
    log: &LogStoreRef,
    settings: &LakeSettings,
    clock: &dyn Clock,
) -> Result<(), LakeError> {
    let by: &[&str] = if shape.partitioned { &PARTITION_COLUMNS } else { &[] };
    let interval = |duration: Duration| format!("interval {} seconds", duration.as_secs());
    let properties = [
        ("delta.deletedFileRetentionDuration", interval(settings.retention)),
        ("delta.logRetentionDuration", interval(settings.retention)),
    ];
    let metadata = new_metadata(&delta_schema(table, shape)?, by, properties);
    let metadata = metadata.map_err(|error| LakeError::internal(table, error))?;
    let protocol: Protocol = serde_json::from_value(json!({"minReaderVersion": 1, "minWriterVersion": 2}))
        .map_err(|error| LakeError::internal(table, error))?;
    let first = vec![Action::Protocol(protocol), Action::Metadata(metadata)];
    let commit = commit(table, Operation::CreateTable, first, Effect::default(), Vec::new(), false, clock)?;
    let written = log.write_commit_entry(0, CommitOrBytes::LogBytes(commit.bytes), Uuid::new_v4()).await;
    match written {
        Ok(()) | Err(TransactionError::VersionAlreadyExists(_)) => Ok(()),
        Err(TransactionError::ObjectStore { source }) => {
            Err(LakeError::Store { what: format!("making table {table}"), source })
        }
        Err(other) => Err(LakeError::internal(table, other)),
    }
}

/// The progress among actions.
pub(crate) fn progress_of(actions: &[Action]) -> BTreeMap<String, i64> {
    let txn = |action: &Action| match action {
        Action::Txn(txn) => Some((txn.app_id.clone(), txn.version)),
        _ => None,
    };
    actions.iter().filter_map(txn).collect()
}
