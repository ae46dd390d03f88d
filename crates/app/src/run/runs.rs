//! `system.runs`: every run of the lake's maintenance as a row.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use lake::{Lake, LakeError, RunReport, Table, TableSpec, TailBatch};
use tokio::sync::mpsc;

/// The table's name.
pub(crate) const NAME: &str = "system.runs";
/// Reports that wait to be written; more come only if the lake cannot be written, and then the log has them.
pub(crate) const WAITING_MAX: usize = 1024;

fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8, true);
    let number = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("table"),
        text("kind"),
        Field::new("started", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        number("duration_ms"),
        number("files_before"),
        number("files_after"),
        number("bytes_before"),
        number("bytes_after"),
        number("rows"),
        text("error"),
    ]))
}

/// Opens the table, making it at the first start.
pub(crate) async fn open(lake: &Lake) -> Result<Arc<Table>, LakeError> {
    lake.ensure(TableSpec { name: NAME.to_owned(), schema: schema(), partitioned: false }).await
}

/// Writes reports as they come, until nobody sends any more.
pub(crate) async fn keep(table: Arc<Table>, mut reports: mpsc::Receiver<RunReport>) {
    let mut some = Vec::new();
    while reports.recv_many(&mut some, WAITING_MAX).await > 0 {
        let batch = TailBatch { rows: rows(&some), event_time: Vec::new(), progress: Vec::new() };
        let written = match table.push(batch) {
            Ok(()) => table.flush().await.map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::warn!(%error, "maintenance runs could not be written to {NAME}");
        }
        some.clear();
    }
}

fn rows(reports: &[RunReport]) -> RecordBatch {
    let numbers = |of: fn(&RunReport) -> u64| -> Arc<Int64Array> {
        Arc::new(reports.iter().map(|report| i64::try_from(of(report)).ok()).collect())
    };
    let started = reports.iter().map(|report| report.started.0.saturating_mul(1000));
    let started = TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC");
    let table: StringArray = reports.iter().map(|report| Some(report.table.as_str())).collect();
    let kind: StringArray = reports.iter().map(|report| Some(report.kind.to_string())).collect();
    let error: StringArray = reports.iter().map(|report| report.error.as_deref()).collect();
    let columns: Vec<arrow::array::ArrayRef> = vec![
        Arc::new(table),
        Arc::new(kind),
        Arc::new(started),
        numbers(|report| u64::try_from(report.duration.as_millis()).unwrap_or(u64::MAX)),
        numbers(|report| report.files_before),
        numbers(|report| report.files_after),
        numbers(|report| report.bytes_before),
        numbers(|report| report.bytes_after),
        numbers(|report| report.rows),
        Arc::new(error),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema, all of one length")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::Millis;
    use lake::RunKind;

    use super::*;

    #[test]
    fn a_run_is_a_row_with_what_it_did() {
        let report = RunReport {
            table: "clicks".into(),
            kind: RunKind::Compaction,
            started: Millis(1_763_800_000_000),
            duration: Duration::from_millis(1500),
            files_before: 12,
            files_after: 1,
            bytes_before: 1000,
            bytes_after: 700,
            rows: 42,
            error: None,
        };
        let batch = rows(&[report.clone(), RunReport { error: Some("disk full".into()), ..report }]);
        assert_eq!(batch.num_rows(), 2);
        let shown = format!("{:?}", batch.column_by_name("duration_ms").expect("it is there"));
        assert!(shown.contains("1500"), "{shown}");
        assert_eq!(batch.column_by_name("error").expect("it is there").null_count(), 1);
    }
}
