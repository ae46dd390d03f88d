//! The ledger: what came in and where it went, as SQL and the pipeline map show it.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use base::LedgerRow;
use edge::EdgeCounts;
use query::{QueryError, Virtual};

use super::feeds::Fed;

/// `system.ledger`: one row per table. received = delivered + filtered + rejected + expired + in_flight.
#[derive(Debug)]
pub(crate) struct Ledger {
    tables: Fed,
}

impl Ledger {
    pub(crate) fn new(tables: Fed) -> Self {
        Self { tables }
    }

    /// The rows as they are now.
    pub(crate) fn rows(&self) -> Vec<LedgerRow> {
        let tables = self.tables.borrow().clone();
        tables.iter().map(|counts| counts.ledger()).collect()
    }
}

impl Virtual for Ledger {
    fn schema(&self) -> SchemaRef {
        let numbers = ["received", "delivered", "filtered", "rejected", "expired", "in_flight", "unaccounted"];
        schema(&["table", "stream"], &numbers)
    }

    fn rows(&self) -> Result<RecordBatch, QueryError> {
        let rows = Ledger::rows(self);
        let texts =
            [texts(rows.iter().map(|row| row.table.as_str())), texts(rows.iter().map(|row| row.stream.as_str()))];
        let numbers = [
            numbers(rows.iter().map(|row| row.received)),
            numbers(rows.iter().map(|row| row.delivered)),
            numbers(rows.iter().map(|row| row.filtered)),
            numbers(rows.iter().map(|row| row.rejected)),
            numbers(rows.iter().map(|row| row.expired)),
            numbers(rows.iter().map(|row| row.in_flight)),
            Arc::new(rows.iter().map(|row| Some(row.unaccounted)).collect::<Int64Array>()),
        ];
        Ok(batch(self.schema(), texts.into_iter().chain(numbers)))
    }
}

/// `system.edge_ledger`: one row per edge, since the start. requests = in_progress + unlogged + sampled_out + dropped +
/// waiting + logged + failed.
#[derive(Debug)]
pub(crate) struct EdgeLedgers {
    edges: Vec<Arc<EdgeCounts>>,
}

impl EdgeLedgers {
    pub(crate) fn new(edges: Vec<Arc<EdgeCounts>>) -> Self {
        Self { edges }
    }
}

impl Virtual for EdgeLedgers {
    fn schema(&self) -> SchemaRef {
        let numbers = [
            "requests",
            "in_progress",
            "unlogged",
            "sampled_out",
            "dropped",
            "waiting",
            "logged",
            "failed",
            "unaccounted",
        ];
        schema(&["edge"], &numbers)
    }

    fn rows(&self) -> Result<RecordBatch, QueryError> {
        let names = texts(self.edges.iter().map(|edge| edge.name()));
        let rows: Vec<_> = self.edges.iter().map(|edge| edge.ledger()).collect();
        let columns = [
            names,
            numbers(rows.iter().map(|row| row.requests)),
            numbers(rows.iter().map(|row| row.in_progress)),
            numbers(rows.iter().map(|row| row.unlogged)),
            numbers(rows.iter().map(|row| row.sampled_out)),
            numbers(rows.iter().map(|row| row.dropped)),
            numbers(rows.iter().map(|row| row.waiting)),
            numbers(rows.iter().map(|row| row.logged)),
            numbers(rows.iter().map(|row| row.failed)),
            Arc::new(rows.iter().map(|row| Some(row.unaccounted())).collect::<Int64Array>()),
        ];
        Ok(batch(self.schema(), columns))
    }
}

fn schema(texts: &[&str], numbers: &[&str]) -> SchemaRef {
    let texts = texts.iter().map(|name| Field::new(*name, DataType::Utf8, false));
    let numbers = numbers.iter().map(|name| Field::new(*name, DataType::Int64, false));
    Arc::new(Schema::new(texts.chain(numbers).collect::<Vec<_>>()))
}

fn texts<'a>(of: impl Iterator<Item = &'a str>) -> ArrayRef {
    Arc::new(of.map(Some).collect::<StringArray>())
}

fn numbers(of: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(of.map(|n| Some(i64::try_from(n).unwrap_or(i64::MAX))).collect::<Int64Array>())
}

fn batch(schema: SchemaRef, columns: impl IntoIterator<Item = ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(schema, columns.into_iter().collect())
        .expect("the columns are those of the schema, all of one length")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_over_nothing_has_its_columns_and_no_row() {
        let (_told, fed) = tokio::sync::watch::channel(Arc::default());
        let ledger = Ledger::new(fed);
        let batch = Virtual::rows(&ledger).expect("it is computed");
        assert_eq!((batch.num_rows(), batch.num_columns()), (0, 9));
        let edges = EdgeLedgers::new(Vec::new());
        assert_eq!(edges.rows().expect("it is computed").num_columns(), 10);
    }
}
