//! `GET /api/v1/streams/{name}/records`: what lies in a stream, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base::{ErrorKind, Millis, Offset, ShardId};
use http::Uri;
use serde::Deserialize;

use crate::api::asked;
use crate::api::streams::aside;
use crate::error::ApiError;
use crate::record::Filter;
use crate::rooms::Console;
use crate::streams::find;
use crate::streams::past::{Cursor, From, PAGE_MAX, Page, Wanted, read};

/// Records of a page that does not say how many.
const PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    shard: Option<u32>,
    at_ms: Option<i64>,
    offset: Option<u64>,
    cursor: Option<String>,
    filter: Option<String>,
    limit: Option<usize>,
}

impl Asked {
    fn from(&self) -> Result<From, ApiError> {
        let invalid = |what: &str, remedy: &str| Err(ApiError::new(ErrorKind::Invalid, what, remedy));
        match (self.at_ms, self.offset, &self.cursor) {
            (None, None, None) => Ok(From::Earliest),
            (Some(at), None, None) => Ok(From::Time(Millis(at))),
            (None, Some(_), None) if self.shard.is_none() => {
                invalid("an offset is a place within one shard", "Say which, with shard=N")
            }
            (None, Some(offset), None) => Ok(From::Offset(Offset(offset))),
            (None, None, Some(_)) if self.shard.is_some() => {
                invalid("a cursor says itself which shards are read", "Leave shard out")
            }
            (None, None, Some(cursor)) => Cursor::read(cursor).map(From::Cursor),
            _ => invalid("expected at most one of at_ms, offset and cursor", "Choose one place to begin"),
        }
    }
}

/// A page of records, the oldest first.
pub(crate) async fn records(
    State(console): State<Arc<Console>>,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Json<Page>, ApiError> {
    let asked: Asked = asked::query(&uri)?;
    let from = asked.from()?;
    let limit = asked.limit.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&limit) {
        let what = format!("expected a page of 1 to {PAGE_MAX} records, found {limit}");
        return Err(ApiError::new(ErrorKind::Invalid, what, "Ask for the next page with the cursor of this one"));
    }
    let wanted = Wanted { shard: asked.shard.map(ShardId), from, filter: Filter::new(asked.filter)?, limit };
    let stream = find(&console, &name)?;
    let Ok(_turn) = console.pages.acquire().await else {
        return Err(ApiError::new(ErrorKind::Unavailable, "the console is closing", "Ask again later"));
    };
    aside(move || read(&stream, &wanted)).await?.map(Json)
}
