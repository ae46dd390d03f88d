//! Answers as bytes, in the four formats of the HTTP API. Each is a stream of bounded chunks, so that an answer of any
//! size passes through little memory and the first rows are on their way before the last are computed.

mod arrow_stream;
mod cell;
mod csv;
mod json;
mod names;
#[cfg(test)]
mod tests;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};

use crate::answer::{Answer, Outcome};
use crate::error::QueryError;

pub use self::json::error_object;
pub use self::names::type_name;

/// A chunk is sent once it holds this many bytes: large enough to make little of the cost per chunk, small enough to
/// wait for. One row may be longer; then its chunk is.
pub const CHUNK_BYTES: usize = 64 * 1024;

/// A format an answer can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// `{"columns": [{"name", "type"}], "rows": [[…]], "truncated", "row_count", "elapsed_ms", "versions"}`.
    Json,
    /// One JSON object per row and line.
    Ndjson,
    /// A header line, then one line per row (RFC 4180).
    Csv,
    /// The Arrow IPC stream format.
    Arrow,
}

impl Encoding {
    /// All formats, the usual one first.
    pub const ALL: [Self; 4] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow];

    /// The media type for the header `Content-Type`, and without parameters for `Accept`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// Whether the format can say at its end that rows were left out. In the others an answer that was cut off ends
    /// with an error instead, so ask for all rows there.
    pub fn tells_truncation(self) -> bool {
        matches!(self, Self::Json)
    }
}

/// Writes in one format. `begin`, then `rows` for every batch, then one of `end` and `fail`.
trait Writer: Send {
    fn begin(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError>;
    /// Writes rows of `batch` from `first` on until `out` holds [`CHUNK_BYTES`]; gives the first row not written.
    fn rows(&mut self, batch: &RecordBatch, first: usize, out: &mut Vec<u8>) -> Result<usize, QueryError>;
    fn end(&mut self, ending: &Ending<'_>, out: &mut Vec<u8>) -> Result<(), QueryError>;
    /// Says inside the format that the answer broke; `false` if the format has no way to.
    fn fail(&mut self, error: &QueryError, out: &mut Vec<u8>) -> bool;
}

/// What is known when the last row was written.
struct Ending<'a> {
    outcome: &'a Outcome,
    versions: &'a [(String, base::TableVersion)],
}

/// The answer as `application/json`.
pub fn json(answer: Answer) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    encode(answer, Encoding::Json)
}

/// The answer as `application/x-ndjson`.
pub fn ndjson(answer: Answer) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    encode(answer, Encoding::Ndjson)
}

/// The answer as `text/csv`.
pub fn csv(answer: Answer) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    encode(answer, Encoding::Csv)
}

/// The answer as `application/vnd.apache.arrow.stream`.
pub fn arrow(answer: Answer) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    encode(answer, Encoding::Arrow)
}

/// The answer in `encoding`. An error after the first chunk is told inside JSON and NDJSON (member `error`); the other
/// formats end with `Err`, which must break the transfer so that nobody takes a part for the whole.
pub fn encode(answer: Answer, encoding: Encoding) -> impl Stream<Item = Result<Bytes, QueryError>> + Send {
    let writer = writer(encoding, answer.schema());
    let state = State { writer, tells: encoding.tells_truncation(), answer, batch: None, next: 0, step: Step::Begin };
    stream::unfold(state, |mut state| async move {
        let chunk = state.chunk().await?;
        Some((chunk, state))
    })
}

fn writer(encoding: Encoding, schema: SchemaRef) -> Box<dyn Writer> {
    match encoding {
        Encoding::Json => Box::new(json::Json::new(schema)),
        Encoding::Ndjson => Box::new(json::Ndjson::new(schema)),
        Encoding::Csv => Box::new(csv::Csv::new(schema)),
        Encoding::Arrow => Box::new(arrow_stream::ArrowStream::new(schema)),
    }
}

struct State {
    writer: Box<dyn Writer>,
    tells: bool,
    answer: Answer,
    batch: Option<RecordBatch>,
    next: usize,
    step: Step,
}

enum Step {
    Begin,
    Rows,
    Done,
}

impl State {
    async fn chunk(&mut self) -> Option<Result<Bytes, QueryError>> {
        let mut out = Vec::with_capacity(CHUNK_BYTES + 4096);
        match self.fill(&mut out).await {
            Ok(()) if out.is_empty() => None,
            Ok(()) => Some(Ok(Bytes::from(out))),
            Err(error) => {
                self.step = Step::Done;
                if self.writer.fail(&error, &mut out) { Some(Ok(Bytes::from(out))) } else { Some(Err(error)) }
            }
        }
    }

    async fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        if matches!(self.step, Step::Begin) {
            self.writer.begin(out)?;
            self.step = Step::Rows;
        }
        while matches!(self.step, Step::Rows) && out.len() < CHUNK_BYTES {
            match &self.batch {
                Some(batch) if self.next < batch.num_rows() => {
                    self.next = self.writer.rows(batch, self.next, out)?;
                }
                _ => {
                    self.next = 0;
                    self.batch = self.answer.next().await.transpose()?;
                    if self.batch.is_none() {
                        self.end(out)?;
                        self.step = Step::Done;
                    }
                }
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<(), QueryError> {
        let outcome =
            self.answer.outcome().ok_or_else(|| QueryError::internal("the answer ended without an outcome"))?;
        if outcome.truncated && !self.tells {
            return Err(QueryError::new(
                base::ErrorKind::Full,
                format!("The answer was cut off after {} rows", outcome.rows),
                "Ask for more rows with rows_max, or add LIMIT to the query",
            ));
        }
        self.writer.end(&Ending { outcome: &outcome, versions: self.answer.versions() }, out)
    }
}
