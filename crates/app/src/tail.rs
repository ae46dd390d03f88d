//! `riverrun tail`: the records of a stream as they arrive.

use anyhow::Context as _;
use futures::StreamExt as _;
use serde::Deserialize;

use crate::cli::Tail;
use crate::client::Client;
use crate::{Outcome, say};

/// One event of a server-sent event stream; more than the largest payload with room for its escaping.
const EVENT_BYTES_MAX: usize = 4 << 20;

pub(crate) async fn tail(asked: Tail) -> anyhow::Result<Outcome> {
    let client = Client::new(&asked.server)?;
    let last = asked.last.to_string();
    let mut query = vec![("last", last.as_str())];
    query.extend(asked.filter.as_deref().map(|filter| ("filter", filter)));
    let url = client.url(&format!("/api/v1/live/tail/{}", asked.stream), &query);
    let mut body = client.ask(client.get(url)).await?.bytes_stream();
    let mut events = Events::default();
    loop {
        let bytes = tokio::select! {
            bytes = body.next() => bytes,
            _ = tokio::signal::ctrl_c() => return Ok(Outcome::Done),
        };
        let Some(bytes) = bytes else { anyhow::bail!("the server closed the stream") };
        events.add(&bytes.context("the connection broke off")?)?;
        while let Some((name, data)) = events.next() {
            if !show(&name, &data, asked.json)? {
                return Ok(Outcome::Done);
            }
        }
    }
}

#[derive(Deserialize)]
struct Record {
    shard: u32,
    offset: u64,
    arrival_ms: i64,
    payload: String,
}

#[derive(Deserialize)]
struct Skipped {
    shown: u64,
    of: u64,
}

/// Prints one event; false when nobody reads any more.
fn show(name: &str, data: &str, json: bool) -> anyhow::Result<bool> {
    let printed = match name {
        "record" if json => say::out(data),
        "record" => {
            let record: Record = serde_json::from_str(data).context("the server sent a record that is none")?;
            let at = chrono::DateTime::from_timestamp_millis(record.arrival_ms).unwrap_or_default();
            let Record { shard, offset, payload, .. } = record;
            say::out(&format!("{} {shard}/{offset} {}", at.format("%H:%M:%S%.3f"), payload.trim_end()))
        }
        "skipped" => {
            let skipped: Skipped = serde_json::from_str(data).context("the server sent an event that is none")?;
            say::note(&format!("… showing {} of {}", skipped.shown, skipped.of));
            Ok(())
        }
        "error" => anyhow::bail!("the server cannot go on: {data}"),
        _ => Ok(()),
    };
    match printed {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        printed => printed.map(|()| true).context("stdout cannot be written"),
    }
}

/// Puts the lines of a server-sent event stream together to events.
#[derive(Debug, Default)]
pub(crate) struct Events {
    buffer: Vec<u8>,
}

impl Events {
    /// Takes in bytes as they come.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.buffer.extend_from_slice(bytes);
        anyhow::ensure!(
            self.buffer.len() <= EVENT_BYTES_MAX,
            "the server sent an event of more than {EVENT_BYTES_MAX} bytes"
        );
        Ok(())
    }

    /// The next whole event: its name and data. Heartbeats are left out.
    pub(crate) fn next(&mut self) -> Option<(String, String)> {
        loop {
            let end = self.buffer.windows(2).position(|pair| pair == b"\n\n")?;
            let event: Vec<u8> = self.buffer.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&event);
            let field = |name: &str| {
                let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                lines.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
            };
            let data = field("data");
            if !data.is_empty() {
                return Some((field("event"), data));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_found_however_the_bytes_are_cut() {
        let sent = b": here\n\nevent: record\ndata: {\"a\":1}\n\nevent:skipped\ndata:{}\n\n";
        for cut in 1..sent.len() {
            let mut events = Events::default();
            let mut seen = Vec::new();
            for part in sent.chunks(cut) {
                events.add(part).expect("small");
                seen.extend(std::iter::from_fn(|| events.next()));
            }
            let expected = [("record", "{\"a\":1}"), ("skipped", "{}")];
            assert_eq!(seen, expected.map(|(name, data)| (name.to_owned(), data.to_owned())), "cut at {cut}");
        }
    }
}
