//! Streams as the pages see them: their shards, who reads them, and what lies in them.

pub(crate) mod past;
pub(crate) mod picture;
pub(crate) mod readers;

use std::sync::Arc;

use base::ErrorKind;
use stream::Stream;

use crate::error::ApiError;
use crate::rooms::Console;

/// The stream of that name.
pub(crate) fn find(console: &Console, name: &str) -> Result<Arc<Stream>, ApiError> {
    console.rooms.log.stream(name).ok_or_else(|| {
        let known: Vec<String> = console.rooms.log.streams().iter().map(|stream| stream.name().to_owned()).collect();
        let remedy = if known.is_empty() {
            "There is none yet".to_owned()
        } else {
            format!("Streams here: {}", known.join(", "))
        };
        ApiError::new(ErrorKind::NotFound, format!("there is no stream {name:?}"), remedy)
    })
}
