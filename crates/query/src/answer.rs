//! An answer while it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use base::TableVersion;
use futures::Stream;
use tokio::sync::mpsc;

use crate::error::QueryError;

/// The rows of a query, a batch at a time. Dropping it ends the query.
#[derive(Debug)]
pub struct Answer {
    pub(crate) schema: SchemaRef,
    pub(crate) versions: Arc<[(String, TableVersion)]>,
    pub(crate) waiting: Option<RecordBatch>,
    pub(crate) rest: mpsc::Receiver<Result<Part, QueryError>>,
    pub(crate) outcome: Option<Outcome>,
}

/// What the working side hands over.
#[derive(Debug)]
pub(crate) enum Part {
    /// The query is planned.
    Planned { schema: SchemaRef, versions: Arc<[(String, TableVersion)]> },
    /// Some rows, at least one.
    Rows(RecordBatch),
    /// There are no more rows.
    End(Outcome),
}

/// How a query ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Rows given.
    pub rows: u64,
    /// Whether there were more rows than the limit let through.
    pub truncated: bool,
    /// From arrival to the last row.
    pub elapsed: Duration,
    /// Bytes written to disk because memory was short.
    pub spilled_bytes: u64,
    /// Bytes read from data files.
    pub scanned_bytes: u64,
}

impl Answer {
    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The tables of the lake that were read, each with the version of its files. The rows that were not yet in
    /// that version were read too.
    pub fn versions(&self) -> &[(String, TableVersion)] {
        &self.versions
    }

    /// How it ended; `None` until the stream has ended.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome.clone()
    }

    /// Waits for the first rows or the end, so that an error before them is the query's and not the answer's.
    pub(crate) async fn begin(mut rest: mpsc::Receiver<Result<Part, QueryError>>) -> Result<Self, QueryError> {
        let lost = || QueryError::internal("the query ended without an answer");
        let Part::Planned { schema, versions } = rest.recv().await.ok_or_else(lost)?? else { return Err(lost()) };
        let (waiting, outcome) = match rest.recv().await.ok_or_else(lost)?? {
            Part::Rows(batch) => (Some(batch), None),
            Part::End(outcome) => (None, Some(outcome)),
            Part::Planned { .. } => return Err(lost()),
        };
        Ok(Self { schema, versions, waiting, rest, outcome })
    }
}

impl Stream for Answer {
    type Item = Result<RecordBatch, QueryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(batch) = self.waiting.take() {
            return Poll::Ready(Some(Ok(batch)));
        }
        if self.outcome.is_some() {
            return Poll::Ready(None);
        }
        match self.rest.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Ok(Part::Rows(batch)))) => Poll::Ready(Some(Ok(batch))),
            Poll::Ready(Some(Ok(Part::End(outcome)))) => {
                self.outcome = Some(outcome);
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(Part::Planned { .. }))) => {
                Poll::Ready(Some(Err(QueryError::internal("the query was planned twice"))))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }
}
