//! `riverrun sql`: a question to a running server, its answer on stdout.

use std::io::Read as _;

use anyhow::Context as _;
use futures::StreamExt as _;
use reqwest::header;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::{Sql, SqlFormat};
use crate::client::Client;
use crate::{Outcome, say};

/// Characters of one cell in a printed table; CSV and JSON give all of it.
const CELL_CHARS_MAX: usize = 80;

pub(crate) async fn sql(asked: Sql) -> anyhow::Result<Outcome> {
    let mut text = asked.sql;
    if text == "-" {
        text.clear();
        std::io::stdin().read_to_string(&mut text).context("the query could not be read from standard input")?;
    }
    let client = Client::new(&asked.server)?;
    let accept = match asked.format {
        SqlFormat::Table | SqlFormat::Json => "application/json",
        SqlFormat::Csv => "text/csv",
        SqlFormat::Ndjson => "application/x-ndjson",
    };
    let request = client.post(client.url("/api/v1/sql", &[]));
    let response = client.ask(request.header(header::ACCEPT, accept).json(&json!({ "sql": text }))).await?;
    if asked.format == SqlFormat::Table {
        let answer: Answer = response.json().await.context("the answer broke off, or is none of riverrun's")?;
        say::raw(table(&answer).as_bytes())?;
        return Ok(Outcome::Done);
    }
    let mut ended_with_newline = true;
    let mut body = response.bytes_stream();
    while let Some(bytes) = body.next().await {
        let bytes = bytes.context("the answer broke off")?;
        ended_with_newline = bytes.last().is_none_or(|byte| *byte == b'\n');
        say::raw(&bytes)?;
    }
    if !ended_with_newline {
        say::raw(b"\n")?;
    }
    Ok(Outcome::Done)
}

#[derive(Debug, Deserialize)]
struct Answer {
    columns: Vec<Column>,
    rows: Vec<Vec<Value>>,
    #[serde(default)]
    truncated: bool,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

/// Aligned columns: numbers to the right, the rest to the left.
fn table(answer: &Answer) -> String {
    let names: Vec<String> = answer.columns.iter().map(|column| column.name.clone()).collect();
    let rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).chain([&names[column]]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let numeric: Vec<bool> = (0..names.len())
        .map(|column| {
            let mut values =
                answer.rows.iter().filter_map(|row| row.get(column)).filter(|value| !value.is_null()).peekable();
            values.peek().is_some() && values.all(Value::is_number)
        })
        .collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).zip(&numeric).map(|((cell, width), numeric)| {
            let space = " ".repeat(width.saturating_sub(cell.chars().count()));
            if *numeric { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let rule = widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>();
    let mut text = line(&names) + &line(&rule);
    text.extend(rows.iter().map(|row| line(row)));
    let more = if answer.truncated { ", cut off at the server's row limit" } else { "" };
    let plural = if rows.len() == 1 { "" } else { "s" };
    text + &format!("({} row{plural}{more})\n", rows.len())
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_numbers_to_the_right() {
        let answer: Answer = serde_json::from_value(json!({
            "columns": [{"name": "product", "type": "text"}, {"name": "clicks", "type": "bigint"}],
            "rows": [["mug", 7], ["umbrella\t", 120], [null, null]],
        }))
        .expect("an answer");
        let expected = "product    clicks\n---------  ------\nmug             7\numbrella      120\n\n(3 rows)\n";
        assert_eq!(table(&answer), expected);
    }

    #[test]
    fn an_answer_without_columns_or_rows_is_a_table_too() {
        let answer: Answer = serde_json::from_value(json!({"columns": [], "rows": []})).expect("an answer");
        assert_eq!(table(&answer), "\n\n(0 rows)\n");
    }
}
