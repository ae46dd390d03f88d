//! `riverrun stream`: how many shards a load needs, and the shards of a running server.

use anyhow::Context as _;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use stream::plan::{self, FORMULA, Limit, Load, Plan};

use crate::cli::{Server, Stream, StreamPlan};
use crate::client::Client;
use crate::{Outcome, say};

pub(crate) async fn stream(asked: Stream) -> anyhow::Result<Outcome> {
    match asked {
        Stream::Plan(asked) => say_plan(&asked)?,
        Stream::List { json, server } => {
            let client = Client::new(&server)?;
            let answer = client.ask(client.get(client.url("/api/v1/streams", &[]))).await?.text().await?;
            say_answer::<Listed>(&answer, json, list)?;
        }
        Stream::Describe { stream, json, server } => {
            let client = Client::new(&server)?;
            let answer = client.ask(client.get(client.url(&path(&stream, ""), &[]))).await?.text().await?;
            say_answer(&answer, json, describe)?;
        }
        Stream::Split { stream, shard, at, server } => {
            let at = at.map(|at| at.to_string());
            change(&server, &stream, "split", &json!({ "shard": shard, "at": at })).await?;
        }
        Stream::Merge { stream, shard, with, server } => {
            change(&server, &stream, "merge", &json!({ "shard": shard, "with": with })).await?;
        }
        Stream::Reshape { stream, shards, server } => {
            change(&server, &stream, "reshape", &json!({ "shards": shards })).await?;
        }
    }
    Ok(Outcome::Done)
}

fn path(stream: &str, rest: &str) -> String {
    format!("/api/v1/streams/{stream}{rest}")
}

/// Asks for a change and says what the stream is then.
async fn change(server: &Server, stream: &str, what: &str, body: &Value) -> anyhow::Result<()> {
    let client = Client::new(server)?;
    let mut body = body.clone();
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    let request = client.post(client.url(&path(stream, &format!("/{what}")), &[])).json(&body);
    let answer = client.ask(request).await?.text().await?;
    say_answer(&answer, false, describe)
}

fn say_answer<T: DeserializeOwned>(answer: &str, json: bool, show: impl Fn(&T) -> String) -> anyhow::Result<()> {
    if json {
        return say::out(answer.trim_end()).context("stdout cannot be written");
    }
    let read = serde_json::from_str(answer).context("the server sent an answer of another version")?;
    say::raw(show(&read).as_bytes()).context("stdout cannot be written")
}

/// The plan for what was asked.
fn planned(asked: &StreamPlan) -> Plan {
    plan::plan(&Load {
        record_bytes: asked.record_size,
        records_per_second: asked.records_per_second,
        consumers: asked.consumers,
        fan_out_consumers: asked.fan_out_consumers,
    })
}

fn say_plan(asked: &StreamPlan) -> anyhow::Result<()> {
    let plan = planned(asked);
    let said = if asked.json { plan_json(&plan).to_string() + "\n" } else { plan_words(&plan) };
    say::raw(said.as_bytes()).context("stdout cannot be written")
}

fn plan_json(plan: &Plan) -> Value {
    let demand = |demand: &plan::Demand| {
        json!({
            "limit": demand.limit.name(), "words": demand.limit.words(), "needed": demand.needed,
            "per_shard": demand.limit.per_shard(), "shards": demand.shards,
        })
    };
    json!({
        "shards": plan.shards, "fits": plan.fits(), "shards_max": Plan::shards_max(), "decides": plan.decides.name(),
        "demands": plan.demands.iter().map(demand).collect::<Vec<_>>(), "formula": FORMULA,
    })
}

fn plan_words(plan: &Plan) -> String {
    let rows = plan.demands.iter().map(|demand| {
        let amount = |number: u64| if demand.limit == Limit::RecordsIn { grouped(number) } else { bytes(number) };
        let decides = if demand.limit == plan.decides { "decides" } else { "" };
        let cells = [amount(demand.needed), amount(demand.limit.per_shard()), grouped(demand.shards)];
        let [needed, per_shard, shards] = cells;
        vec![demand.limit.words().to_owned(), needed, per_shard, shards, decides.to_owned()]
    });
    let table = aligned(&["limit", "needed", "per shard", "shards", ""], rows.collect(), 1..4);
    let what_next = if plan.fits() {
        format!("In the file: [stream.NAME] shards = {0}; while running: riverrun stream reshape NAME {0}", plan.shards)
    } else {
        format!("One stream has at most {} shards: cut the load into several streams", Plan::shards_max())
    };
    format!("{} shard{}\n\n{table}\n{FORMULA}\n{what_next}\n", grouped(plan.shards), plural(plan.shards))
}

#[derive(Debug, Deserialize)]
struct Listed {
    streams: Vec<Summary>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    name: String,
    mode: String,
    open_shards: u64,
    closed_shards: u64,
    records: u64,
    bytes: u64,
    encrypted: bool,
    #[serde(rename = "in")]
    incoming: Rates,
    #[serde(rename = "out")]
    outgoing: Rates,
    consumers: u64,
    lag_records: Option<u64>,
    trouble: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Rates {
    records_per_second: f64,
    bytes_per_second: f64,
}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(flatten)]
    summary: Summary,
    shards: Vec<Shard>,
    reading: Vec<Consumer>,
}

#[derive(Debug, Deserialize)]
struct Shard {
    shard: u32,
    range: Range,
    parents: Vec<u32>,
    start: u64,
    end: u64,
    status: String,
    why: Option<String>,
    #[serde(rename = "in")]
    incoming: Rates,
    #[serde(rename = "out")]
    outgoing: Rates,
}

#[derive(Debug, Deserialize)]
struct Range {
    start: String,
    end: String,
}

#[derive(Debug, Deserialize)]
struct Consumer {
    kind: String,
    name: String,
    lag_records: Option<u64>,
    lag_ms: Option<u64>,
    state: String,
}

fn list(listed: &Listed) -> String {
    let rows = listed.streams.iter().map(|stream| {
        vec![
            stream.name.clone(),
            stream.mode.clone(),
            stream.open_shards.to_string(),
            grouped(stream.records),
            bytes(stream.bytes),
            per_second(&stream.incoming),
            per_second(&stream.outgoing),
            stream.consumers.to_string(),
            stream.lag_records.map_or_else(String::new, grouped),
            stream.trouble.clone().unwrap_or_default(),
        ]
    });
    let names = ["stream", "mode", "shards", "records", "size", "in/s", "out/s", "readers", "behind", ""];
    aligned(&names, rows.collect(), 2..9)
}

fn describe(described: &Described) -> String {
    let Described { summary, shards, reading } = described;
    let encrypted = if summary.encrypted { ", encrypted" } else { "" };
    let closed = if summary.closed_shards == 0 { String::new() } else { format!(", {} closed", summary.closed_shards) };
    let head = format!(
        "{}: {}{encrypted}, {} open shard{}{closed}, {} record{} in {}\n",
        summary.name,
        summary.mode,
        summary.open_shards,
        plural(summary.open_shards),
        grouped(summary.records),
        plural(summary.records),
        bytes(summary.bytes),
    );
    let rows = shards.iter().map(|shard| {
        let parents: Vec<String> = shard.parents.iter().map(u32::to_string).collect();
        vec![
            shard.shard.to_string(),
            shard.status.clone(),
            format!("{}-{}", shard.range.start, shard.range.end),
            parents.join("+"),
            format!("{}..{}", shard.start, shard.end),
            per_second(&shard.incoming),
            per_second(&shard.outgoing),
            shard.why.clone().unwrap_or_default(),
        ]
    });
    let names = ["shard", "status", "hashes", "from", "offsets", "in/s", "out/s", ""];
    let mut said = format!("{head}\n{}", aligned(&names, rows.collect(), 5..7));
    if !reading.is_empty() {
        let rows = reading.iter().map(|consumer| {
            vec![
                consumer.kind.clone(),
                consumer.name.clone(),
                consumer.state.clone(),
                consumer.lag_records.map_or_else(String::new, grouped),
                consumer.lag_ms.map_or_else(String::new, |ms| format!("{} ms", grouped(ms))),
            ]
        });
        said += &format!("\n{}", aligned(&["reader", "name", "state", "behind", "by"], rows.collect(), 3..5));
    }
    said
}

fn per_second(rates: &Rates) -> String {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let size = bytes(rates.bytes_per_second.max(0.0) as u64);
    format!("{:.1}, {size}", rates.records_per_second)
}

fn plural(number: u64) -> &'static str {
    if number == 1 { "" } else { "s" }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().map(|part| std::str::from_utf8(part).unwrap_or("")).collect();
    parts.join(",")
}

/// A number of bytes, in the unit that fits it.
fn bytes(number: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(unit, _)| number >= *unit) {
        None => format!("{number} B"),
        #[allow(clippy::cast_precision_loss)]
        Some((unit, name)) => format!("{:.1} {name}", number as f64 / unit as f64),
    }
}

/// Aligned columns; those in `right` to the right.
fn aligned(names: &[&str], rows: Vec<Vec<String>>, right: std::ops::Range<usize>) -> String {
    let mut lines: Vec<Vec<String>> = vec![names.iter().map(|name| (*name).to_owned()).collect()];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let line = |cells: &Vec<String>| {
        let cells = cells.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            let space = " ".repeat(width - cell.chars().count());
            if right.contains(&column) { format!("{space}{cell}") } else { format!("{cell}{space}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    lines.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(record_size: u64, records_per_second: u64) -> StreamPlan {
        StreamPlan { record_size, records_per_second, consumers: 2, fan_out_consumers: 1, json: false }
    }

    #[test]
    fn a_plan_says_what_each_limit_needs_and_which_one_decides() {
        let said = plan_words(&planned(&asked(2048, 12_000)));
        let expected = "24 shards

limit                                              needed  per shard  shards
records in per second                              12,000      1,000      12
bytes in per second                              23.4 MiB    1.0 MiB      24  decides
bytes out per second, shared by polling consumers  46.9 MiB    2.0 MiB      24
bytes out per second, each consumer with fan-out   23.4 MiB    2.0 MiB      12
";
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(squeeze(&said).starts_with(&squeeze(expected)), "{said}");
        assert!(said.contains("riverrun stream reshape NAME 24"), "{said}");
        let beyond = plan_words(&planned(&asked(1 << 20, 1_000_000)));
        assert!(beyond.contains("cut the load into several streams"), "{beyond}");
    }

    #[test]
    fn a_plan_as_json_has_all_that_the_page_shows() {
        let plan = plan_json(&planned(&asked(100, 5_000)));
        assert_eq!((&plan["shards"], &plan["decides"], &plan["fits"]), (&json!(5), &json!("records_in"), &json!(true)));
        assert_eq!(plan["demands"].as_array().map(Vec::len), Some(4));
        assert_eq!(plan["demands"][1]["needed"], json!(500_000));
    }

    #[test]
    fn a_stream_is_told_in_columns() {
        let rates = json!({ "records_per_second": 12.34, "bytes_per_second": 2048.0 });
        let answer = json!({
            "name": "clicks", "mode": "on-demand", "open_shards": 1, "closed_shards": 1, "records": 12_345, "bytes": 2_000_000,
            "encrypted": true, "in": rates, "out": rates, "consumers": 1, "lag_records": 3, "trouble": null, "created_ms": 1,
            "shards": [{
                "shard": 2, "name": "shardId-000000000002", "range": { "start": "0", "end": "9" }, "parents": [0, 1], "start": 5,
                "end": 7, "status": "open", "why": null, "in": rates, "out": rates, "created_ms": 1, "closed_ms": null,
            }],
            "reading": [{ "kind": "table", "name": "clicks", "state": "reading", "lag_records": 3, "lag_ms": 8, "shards": [] }],
        });
        let said = describe(&serde_json::from_value(answer).expect("it is described"));
        assert!(
            said.starts_with("clicks: on-demand, encrypted, 1 open shard, 1 closed, 12,345 records in 1.9 MiB\n"),
            "{said}"
        );
        assert!(said.contains("2      open    0-9     0+1   5..7     12.3, 2.0 KiB  12.3, 2.0 KiB\n"), "{said}");
        assert!(said.contains("table   clicks  reading       3  8 ms\n"), "{said}");
    }
}
