//! Reading from `_delta_log` what the Delta library does not hand out: all progress (`txn`), all removed files.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ::parquet::arrow::ProjectionMask;
use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use arrow::array::{Array, AsArray, RecordBatch, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use bytes::Bytes;
use deltalake::kernel::Action;
use deltalake::logstore::commit_uri_from_version;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::actions;
use crate::error::LakeError;

/// What the log says beside the files.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// By application id.
    pub(crate) progress: BTreeMap<String, i64>,
    /// Files that left the table, and when (epoch milliseconds), as far as the log remembers.
    pub(crate) removed: HashMap<String, i64>,
    /// The newest checkpoint at or before the version read.
    pub(crate) checkpoint: Option<u64>,
}

/// Reads the newest checkpoint at or before `version` and the commits after it.
pub(crate) async fn replay(table: &str, store: &Arc<dyn ObjectStore>, version: u64) -> Result<Extras, LakeError> {
    let mut extras = Extras::default();
    let checkpoint = newest_checkpoint(table, store, version).await?;
    if let Some((at, paths)) = checkpoint {
        extras.checkpoint = Some(at);
        for path in paths {
            let bytes = get(table, store, &path).await?;
            read_checkpoint(&bytes, &mut extras)
                .map_err(|what| LakeError::corrupt(table, format!("{path}: {what}")))?;
        }
    }
    for version in extras.checkpoint.map_or(0, |at| at + 1)..=version {
        let bytes = get(table, store, &commit_uri_from_version(Some(version))).await?;
        let found = actions::read(table, version, &bytes)?;
        extras.progress.extend(actions::progress_of(&found.actions));
        for action in found.actions {
            match action {
                Action::Remove(remove) => {
                    extras.removed.insert(remove.path, remove.deletion_timestamp.unwrap_or_default());
                }
                Action::Add(add) => {
                    extras.removed.remove(&add.path);
                }
                _ => {}
            }
        }
    }
    Ok(extras)
}

async fn get(table: &str, store: &Arc<dyn ObjectStore>, path: &Path) -> Result<Bytes, LakeError> {
    let failed = |source| match source {
        object_store::Error::NotFound { .. } => LakeError::corrupt(table, format!("{path} is missing")),
        source => LakeError::Store { what: format!("table {table}: reading {path}"), source },
    };
    store.get(path).await.map_err(failed)?.bytes().await.map_err(failed)
}

async fn newest_checkpoint(
    table: &str,
    store: &Arc<dyn ObjectStore>,
    version: u64,
) -> Result<Option<(u64, Vec<Path>)>, LakeError> {
    let mut parts: BTreeMap<u64, Vec<Path>> = BTreeMap::new();
    let mut listing = store.list(Some(&Path::from("_delta_log")));
    while let Some(object) =
        listing.try_next().await.map_err(LakeError::store(format!("table {table}: listing its log")))?
    {
        let name = object.location.filename().unwrap_or_default();
        if let Some(at) = checkpoint_version(name)
            && at <= version
        {
            parts.entry(at).or_default().push(object.location);
        }
    }
    // A checkpoint in several parts counts only when all are there.
    let whole = |paths: &[Path]| paths.iter().any(|path| parts_of(path) == 1) || paths.len() == parts_of(&paths[0]);
    Ok(parts.into_iter().rev().find(|(_, paths)| whole(paths)))
}

/// `00000000000000000050.checkpoint.parquet`, `….checkpoint.0000000001.0000000003.parquet`, `….checkpoint.UUID.parquet`.
fn checkpoint_version(name: &str) -> Option<u64> {
    let (version, rest) = name.split_at_checked(20)?;
    (rest.starts_with(".checkpoint.") && rest.ends_with("parquet")).then(|| version.parse().ok())?
}

/// How many parts the checkpoint of this file has.
fn parts_of(path: &Path) -> usize {
    let name = path.filename().unwrap_or_default();
    match name.split('.').collect::<Vec<_>>().as_slice() {
        [_, _, _, of, _] => of.parse().unwrap_or(1),
        _ => 1,
    }
}

fn read_checkpoint(bytes: &Bytes, extras: &mut Extras) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).map_err(|error| told(&error))?;
    let wanted: Vec<usize> = {
        let columns = builder.parquet_schema();
        let leaf = |index: &usize| {
            let path = columns.column(*index).path().string();
            ["txn.appId", "txn.version", "remove.path", "remove.deletionTimestamp"].contains(&path.as_str())
        };
        (0..columns.num_columns()).filter(leaf).collect()
    };
    let mask = ProjectionMask::leaves(builder.parquet_schema(), wanted);
    let reader = builder.with_projection(mask).build().map_err(|error| told(&error))?;
    for batch in reader {
        let batch = batch.map_err(|error| told(&error))?;
        let txn = pairs(&batch, "txn", "appId", "version")?;
        extras.progress.extend(txn.into_iter().filter_map(|(app_id, version)| Some((app_id, version?))));
        let removed = pairs(&batch, "remove", "path", "deletionTimestamp")?;
        let decoded = |(path, at): (String, Option<i64>)| (decode(&path), at.unwrap_or_default());
        extras.removed.extend(removed.into_iter().map(decoded));
    }
    Ok(())
}

/// Paths in the log are percent-encoded.
fn decode(path: &str) -> String {
    Path::from_url_path(path).map_or_else(|_| path.to_owned(), |decoded| decoded.to_string())
}

/// The rows of a struct column in which `key` is set, with the number beside it.
fn pairs(batch: &RecordBatch, column: &str, key: &str, number: &str) -> Result<Vec<(String, Option<i64>)>, String> {
    let Some(column) = batch.column_by_name(column) else { return Ok(Vec::new()) };
    let column: &StructArray = column.as_struct_opt().ok_or("a column is not a struct")?;
    let part = |name: &str, kind: &DataType| {
        let part = column.column_by_name(name).ok_or_else(|| format!("{name} is missing"))?;
        cast(part, kind).map_err(|error| error.to_string())
    };
    let (keys, numbers) = (part(key, &DataType::Utf8)?, part(number, &DataType::Int64)?);
    let (keys, numbers) = (keys.as_string::<i32>(), numbers.as_primitive::<Int64Type>());
    let rows = (0..column.len()).filter(|row| column.is_valid(*row) && keys.is_valid(*row));
    let pair = |row: usize| (keys.value(row).to_owned(), numbers.is_valid(row).then(|| numbers.value(row)));
    Ok(rows.map(pair).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_names_of_all_kinds_are_known() {
        assert_eq!(checkpoint_version("00000000000000000050.checkpoint.parquet"), Some(50));
        assert_eq!(checkpoint_version("00000000000000000050.checkpoint.0000000001.0000000003.parquet"), Some(50));
        assert_eq!(checkpoint_version("00000000000000000050.json"), None);
        assert_eq!(checkpoint_version("_last_checkpoint"), None);
        assert_eq!(parts_of(&Path::from("00000000000000000050.checkpoint.0000000001.0000000003.parquet")), 3);
        assert_eq!(parts_of(&Path::from("00000000000000000050.checkpoint.parquet")), 1);
    }
}
