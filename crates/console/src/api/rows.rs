//! A whole result as JSON in memory: what live queries share among those who look.

use base::ErrorKind;
use bytes::Bytes;
use futures::StreamExt as _;
use query::encode;
use serde::Deserialize;

use crate::error::ApiError;
use crate::live::hub::Rows;

/// Bytes of one live result: shared by all who look at it, and sent to each of them on every change.
const RESULT_BYTES_MAX: usize = 4 << 20;

/// What stands between the rows and the rest of the document. Within a JSON text the quotes would be escaped, and the
/// last occurrence is taken, so that no value can be mistaken for it.
const AFTER_ROWS: &[u8] = b"],\"truncated\":";

/// Reads an answer to its end and keeps `"columns":…,"rows":…` of it.
pub(crate) async fn collect(answer: query::Answer) -> Result<Rows, ApiError> {
    let mut chunks = Box::pin(encode::encode(answer, encode::Encoding::Json));
    let mut document = Vec::new();
    while let Some(chunk) = chunks.next().await {
        document.extend_from_slice(&chunk.map_err(|error| ApiError::from_query(&error))?);
        if document.len() > RESULT_BYTES_MAX {
            let what = format!("the result of a live query has more than {RESULT_BYTES_MAX} bytes");
            return Err(ApiError::new(ErrorKind::Full, what, "Select fewer rows or columns, or add LIMIT"));
        }
    }
    split(&document).ok_or_else(|| failure(&document))
}

fn split(document: &[u8]) -> Option<Rows> {
    let at = document.windows(AFTER_ROWS.len()).rposition(|window| window == AFTER_ROWS)?;
    let truncated = document[at + AFTER_ROWS.len()..].starts_with(b"true");
    Some(Rows { json: Bytes::copy_from_slice(document.get(1..=at)?), truncated })
}

/// The error that the document ends with instead.
fn failure(document: &[u8]) -> ApiError {
    #[derive(Deserialize)]
    struct Broken {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        message: String,
        #[serde(default)]
        remedy: Option<String>,
    }
    match serde_json::from_slice::<Broken>(document) {
        Ok(Broken { error }) => ApiError::new(ErrorKind::Internal, error.message, error.remedy.unwrap_or_default()),
        Err(_) => ApiError::new(ErrorKind::Internal, "the query ended without a result", "See the server's log"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_and_rows_are_cut_out_of_the_document_whatever_the_values_say() {
        let document = br#"{"columns":[{"name":"a","type":"text"}],"rows":[["],\"truncated\":true"],[{"b":[1],"truncated":true}]],"truncated":false,"row_count":2}"#;
        let rows = split(document).expect("a whole document");
        assert!(rows.json.starts_with(b"\"columns\":[{"));
        assert!(rows.json.ends_with(b"\"truncated\":true}]]"));
        assert!(!rows.truncated);
    }

    #[test]
    fn a_document_that_broke_off_is_its_error() {
        let document =
            br#"{"columns":[],"rows":[[1]],"error":{"kind":"full","message":"out of memory","remedy":"ask for less"}}"#;
        assert!(split(document).is_none());
        assert_eq!(failure(document).message, "out of memory");
    }
}
