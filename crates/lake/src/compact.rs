//! Compaction: many small files of one hour become one, row for row the same.
//!
//! Flushes every few seconds write small files; queries want large ones. Which files are merged is decided by
//! [`plan`], a pure function; the merge streams one file after the other, so that memory is bounded by a row group and
//! a few parts. Files are taken in the order of their first event time, and rows stay in the order in which they came:
//! that is nearly the order of time, so that the page index lets a query for some minutes skip the rest. Sorting them
//! fully would need the whole hour in memory.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use ::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use deltalake::kernel::Action;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt};
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::actions::{self, Operation};
use crate::error::LakeError;
use crate::file::DataFile;
use crate::parquet::{self, Parts};
use crate::partition::Hour;
use crate::report::{Run, RunKind, RunReport};
use crate::schema::conform;
use crate::state::Effect;
use crate::stats::{Bound, FileStats};
use crate::table::Table;

/// So many small files of an hour are worth a merge at once.
const FILES_ENOUGH: usize = 8;

/// An hour that has ended and got no file for this long is merged however few its files are.
const QUIET_MS: i64 = 10 * 60_000;

/// Files below this are always worth merging with each other.
const TINY_BYTES: u64 = 1 << 20;

/// Files of one merge: each costs an open and a row in the commit.
const GROUP_FILES_MAX: usize = 500;

/// A part of an upload: the least that S3 takes is 5 MiB.
const PART_BYTES: usize = 8 << 20;

/// Rows decoded at once.
const BATCH_ROWS: usize = 8192;

/// The column by whose least value the files are ordered.
const ORDER_BY: &str = "event_time";

/// Which files are merged with which. A file takes part only if it is below half of `target`, and, while its hour may
/// still get files, only if it is at most twice as large as all smaller ones together: so every byte is rewritten only
/// a logarithmic number of times.
pub(crate) fn plan(files: &[Arc<DataFile>], now_ms: i64, target: u64) -> Vec<Vec<Arc<DataFile>>> {
    let mut hours: BTreeMap<Option<[i32; 4]>, Vec<&Arc<DataFile>>> = BTreeMap::new();
    for file in files.iter().filter(|file| file.bytes < target / 2) {
        hours.entry(file.partition).or_default().push(file);
    }
    let mut groups = Vec::new();
    for (partition, mut small) in hours {
        small.sort_by_key(|file| (file.bytes, file.written));
        let newest = small.iter().map(|file| file.written).max().unwrap_or(now_ms);
        let ended = partition.and_then(Hour::end_ms).is_some_and(|end| end + QUIET_MS < now_ms);
        let quiet = ended && newest + QUIET_MS < now_ms;
        if !quiet {
            let mut sum: u64 = small.iter().map(|file| file.bytes).sum();
            while let Some(largest) = small.last()
                && largest.bytes > TINY_BYTES.max(2 * (sum - largest.bytes))
            {
                sum -= largest.bytes;
                small.pop();
            }
            if small.len() < FILES_ENOUGH {
                continue;
            }
        }
        groups.extend(cut(small, target));
    }
    groups
}

/// Cuts files into groups of about `target` bytes, none of a single file.
fn cut(files: Vec<&Arc<DataFile>>, target: u64) -> Vec<Vec<Arc<DataFile>>> {
    let mut groups: Vec<Vec<Arc<DataFile>>> = Vec::new();
    let mut bytes = 0;
    for file in files {
        match groups.last_mut() {
            Some(group) if bytes + file.bytes <= target && group.len() < GROUP_FILES_MAX => {
                group.push(Arc::clone(file))
            }
            _ => {
                groups.push(vec![Arc::clone(file)]);
                bytes = 0;
            }
        }
        bytes += file.bytes;
    }
    groups.retain(|group| group.len() > 1);
    groups
}

impl Table {
    /// Merges small files where that is worth it. Queries go on as before: the rows are the same, and the old files
    /// stay until a vacuum.
    ///
    /// # Errors
    /// None of its own: what went wrong stands in the report; what was merged before stays merged.
    pub async fn compact(&self) -> Result<RunReport, LakeError> {
        let _one = self.maintaining.lock().await;
        let mut run = Run::begin(&self.name, RunKind::Compaction, self.clock.as_ref());
        let files = Arc::clone(&self.state.lock().files);
        for group in plan(&files, self.clock.now().0, self.settings.file_bytes) {
            let report = &mut run.report;
            match self.merge(&group).await {
                Ok(merged) => {
                    report.files_before += group.len() as u64;
                    report.files_after += 1;
                    report.bytes_before += group.iter().map(|file| file.bytes).sum::<u64>();
                    report.bytes_after += merged.bytes;
                    report.rows += merged.rows.unwrap_or_default();
                    self.counts.compactions.inc();
                    self.counts.compacted_files.add(group.len() as u64);
                    self.counts.compacted_bytes.add(merged.bytes);
                }
                Err(error) => {
                    warn!(table = self.name, %error, "a compaction failed");
                    self.counts.maintenance_failures.inc();
                    report.error = Some(error.to_string());
                    break;
                }
            }
        }
        let report = run.end();
        if report.files_before > 0 {
            let (files, bytes, took) = (report.files_before, report.bytes_after, report.duration);
            info!(table = self.name, files, bytes, ?took, "compacted");
        }
        Ok(report)
    }

    /// Merges the files of a group, all of one partition, into one, and commits that.
    async fn merge(&self, group: &[Arc<DataFile>]) -> Result<Arc<DataFile>, LakeError> {
        let mut inputs = group.to_vec();
        inputs.sort_by_key(|file| (first_time(file), file.written));
        let partition = group.first().and_then(|file| file.partition);
        let path = self.new_path(partition);
        let schema = self.data_schema();
        let merged = self.rewrite(&inputs, &path, &schema).await?;
        let known: Option<u64> = inputs.iter().map(|file| file.rows).sum();
        if known.is_some_and(|known| known != merged.rows) {
            let what = format!("merging {} files with {known:?} rows gave {} rows", inputs.len(), merged.rows);
            return Err(LakeError::corrupt(&self.name, what));
        }
        let file = Arc::new(DataFile {
            path,
            bytes: merged.bytes,
            rows: Some(merged.rows),
            partition,
            stats: FileStats::from_footer(&merged.footer, &schema),
            written: self.clock.now().0,
        });
        let now = self.clock.now().0;
        let removes = inputs.iter().map(|file| Action::Remove(file.remove(now))).collect();
        let removed = inputs.iter().map(|file| file.path.clone()).collect();
        let effect = Effect { added: vec![Arc::clone(&file)], removed, ..Effect::default() };
        let clock = self.clock.as_ref();
        let commit = actions::commit(&self.name, Operation::Optimize, Vec::new(), effect, removes, false, clock)?;
        self.commit(commit).await?;
        Ok(file)
    }

    /// Streams the rows of `inputs` into a new file at `path`.
    async fn rewrite(&self, inputs: &[Arc<DataFile>], path: &str, schema: &SchemaRef) -> Result<Merged, LakeError> {
        let (feed, fed) = mpsc::channel::<Bytes>(1);
        let (parts, mut arriving) = mpsc::channel::<Vec<u8>>(2);
        let schema = Arc::clone(schema);
        let merging = tokio::task::spawn_blocking(move || merge_rows(fed, parts, &schema));

        let reading = async move {
            for input in inputs {
                let read = async { self.store.get(&Path::from(input.path.as_str())).await?.bytes().await };
                let bytes = read.await;
                let bytes = bytes.map_err(LakeError::store(format!("table {}: reading {}", self.name, input.path)))?;
                if feed.send(bytes).await.is_err() {
                    break; // The merge has ended early, and says why.
                }
            }
            Ok::<_, LakeError>(())
        };
        let target = Path::from(path);
        let writing = async {
            let mut upload = self.store.put_multipart(&target).await.map_err(|error| (None, error))?;
            while let Some(part) = arriving.recv().await {
                if let Err(error) = upload.put_part(part.into()).await {
                    arriving.close();
                    return Err((Some(upload), error));
                }
            }
            Ok::<_, (Option<Box<dyn MultipartUpload>>, object_store::Error)>(upload)
        };
        let (read, written, merged) = tokio::join!(reading, writing, merging);
        let failed = |error| LakeError::store(format!("table {}: writing {path}", self.name))(error);
        let (mut upload, outcome) = match written {
            Ok(upload) => (Some(upload), Ok(())),
            Err((upload, error)) => (upload, Err(failed(error))),
        };
        let merged = merged.map_err(|error| LakeError::internal(&self.name, error));
        let merged = merged.and_then(|merged| {
            merged.map_err(|error| LakeError::corrupt(&self.name, format!("merging files: {error}")))
        });
        let outcome = read.and(outcome).and(merged);
        if let Some(upload) = &mut upload {
            match &outcome {
                Ok(_) => {
                    upload.complete().await.map_err(failed)?;
                }
                // What an abort leaves behind, a vacuum or the next start removes.
                Err(_) => drop(upload.abort().await),
            }
        }
        outcome
    }
}

fn first_time(file: &DataFile) -> i64 {
    match file.bounds(ORDER_BY).and_then(|bounds| bounds.min.as_ref()) {
        Some(Bound::Timestamp(us)) => *us,
        _ => i64::MIN,
    }
}

struct Merged {
    bytes: u64,
    rows: u64,
    footer: ParquetMetaData,
}

/// Decodes files as they come, and writes their rows in that order.
fn merge_rows(
    mut fed: mpsc::Receiver<Bytes>,
    parts: mpsc::Sender<Vec<u8>>,
    schema: &SchemaRef,
) -> Result<Merged, ParquetError> {
    let hand_on = move |part| parts.blocking_send(part).map_err(|_| io::Error::other("the upload has ended"));
    let mut parts = Parts::new(PART_BYTES, hand_on);
    let mut writer = parquet::writer(&mut parts, schema)?;
    let mut rows = 0;
    while let Some(bytes) = fed.blocking_recv() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(BATCH_ROWS).build()?;
        for batch in reader {
            let batch = conform(schema, &batch?).map_err(ParquetError::General)?;
            rows += batch.num_rows() as u64;
            writer.write(&batch)?;
        }
    }
    let footer = writer.close()?;
    parts.finish()?;
    Ok(Merged { bytes: parts.written, rows, footer })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(hour: i32, bytes: u64, written: i64) -> Arc<DataFile> {
        let path = format!("{hour}/{bytes}-{written}");
        let partition = Some([2026, 11, 22, hour]);
        Arc::new(DataFile { path, bytes, rows: Some(1), partition, stats: FileStats::default(), written })
    }

    fn end_of(hour: i32) -> i64 {
        Hour::end_ms([2026, 11, 22, hour]).expect("a real hour")
    }

    const TARGET: u64 = 128 << 20;

    #[test]
    fn an_hour_under_way_waits_for_eight_files_and_a_past_one_for_quiet() {
        let now = end_of(7) + QUIET_MS + 1;
        let hot: Vec<_> = (0..7).map(|i| file(9, 1000, now - i)).collect();
        assert!(plan(&hot, now, TARGET).is_empty());
        let enough: Vec<_> = (0..8).map(|i| file(9, 1000, now - i)).collect();
        assert_eq!(plan(&enough, now, TARGET).len(), 1);
        let past: Vec<_> = (0..2).map(|i| file(7, 1000, end_of(7) - 1000 + i - QUIET_MS)).collect();
        assert_eq!(plan(&past, now, TARGET).len(), 1);
        let late: Vec<_> = (0..2).map(|i| file(7, 1000, now - i)).collect();
        assert!(plan(&late, now, TARGET).is_empty());
    }

    #[test]
    fn large_files_are_left_alone_and_groups_stay_near_the_target() {
        let now = end_of(7) + 10 * QUIET_MS;
        let old = end_of(7);
        let files: Vec<_> =
            [100 << 20, 90 << 20, 60 << 20, 50 << 20, 40 << 20, 1 << 20].map(|bytes| file(7, bytes, old)).into();
        let groups = plan(&files, now, TARGET);
        let sizes: Vec<Vec<u64>> =
            groups.iter().map(|group| group.iter().map(|file| file.bytes >> 20).collect()).collect();
        assert_eq!(sizes, [vec![1, 40, 50]]);
    }

    #[test]
    fn files_of_equal_size_are_merged_however_large_a_flush_is() {
        let now = end_of(7);
        let files: Vec<_> = (0..23).map(|i| file(7, 10 << 20, now - i)).collect();
        let sizes: Vec<usize> = plan(&files, now, TARGET).iter().map(Vec::len).collect();
        assert_eq!(sizes, [12, 11]);
    }

    #[test]
    fn a_file_is_not_rewritten_for_the_sake_of_much_smaller_ones_while_its_hour_is_hot() {
        let now = end_of(7);
        let mut files: Vec<_> = (0..8).map(|i| file(7, 10_000, now - i)).collect();
        files.push(file(7, 30 << 20, now));
        let groups = plan(&files, now, TARGET);
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].len(), 8);
    }
}
