//! `GET /api/v1/catalog`: what a query can name.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use crate::rooms::Console;

#[derive(Serialize)]
pub(crate) struct Catalog {
    tables: Vec<Table>,
    functions: Vec<Function>,
    streams: Vec<StreamListed>,
}

#[derive(Serialize)]
struct Table {
    schema: String,
    name: String,
    columns: Vec<Column>,
}

#[derive(Serialize)]
struct Column {
    name: String,
    r#type: String,
}

#[derive(Serialize)]
struct Function {
    name: &'static str,
    signature: &'static str,
    about: &'static str,
    example: &'static str,
}

#[derive(Serialize)]
struct StreamListed {
    name: String,
    shards: u32,
}

/// Tables with their columns, our own functions (the engine has many more), and the streams that can be tailed.
pub(crate) async fn catalog(State(console): State<Arc<Console>>) -> Json<Catalog> {
    let tables = console.rooms.engine.tables().into_iter().map(|table| Table {
        schema: table.schema,
        name: table.name,
        columns: table
            .columns
            .into_iter()
            .map(|column| Column { name: column.name, r#type: column.data_type })
            .collect(),
    });
    let functions = query::functions::described().iter().map(|function| Function {
        name: function.name,
        signature: function.signature,
        about: function.about,
        example: function.example,
    });
    let streams = console.rooms.log.streams();
    let streams = streams.iter().map(|stream| StreamListed { name: stream.name().to_owned(), shards: stream.shards() });
    Json(Catalog { tables: tables.collect(), functions: functions.collect(), streams: streams.collect() })
}
