//! Redis Streams: pipelined XADD, and XREAD that waits.

use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::wire::{Incoming, connect, find};
use crate::{Asked, Mode, Tally, Times, on_time, payload, prepared, rate, records_of, stamped, write_due};

/// Records of one XREAD.
const READ: &str = "2000";
/// Pipelined commands are built once, of so many payloads.
const PAYLOADS: u64 = 16;

pub(crate) async fn run(asked: &Asked) -> Result<Value> {
    match asked.mode {
        Mode::Publish => publish(asked).await,
        Mode::Latency => latency(asked).await,
        Mode::Read => read(asked).await,
    }
}

fn command(parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
    for part in parts {
        bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        bytes.extend_from_slice(part);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

fn add(stream: &str, value: &[u8]) -> Vec<u8> {
    command(&[b"XADD", stream.as_bytes(), b"*", b"d", value])
}

/// Goes over one reply, telling every text in it; gives where it ends, or `None` if it is not whole yet.
fn reply(bytes: &[u8], at: usize, text: &mut impl FnMut(&[u8])) -> Result<Option<usize>> {
    let Some(length) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&bytes[at..at + length])?;
    let next = at + length + 2;
    let (kind, rest) = line.split_at_checked(1).context("an empty reply")?;
    match kind {
        "+" | ":" => Ok(Some(next)),
        "$" => {
            let Ok(size) = usize::try_from(rest.parse::<i64>()?) else { return Ok(Some(next)) };
            if bytes.len() < next + size + 2 {
                return Ok(None);
            }
            text(&bytes[next..next + size]);
            Ok(Some(next + size + 2))
        }
        "*" => {
            let mut next = next;
            for _ in 0..rest.parse::<i64>()?.max(0) {
                let Some(end) = reply(bytes, next, text)? else { return Ok(None) };
                next = end;
            }
            Ok(Some(next))
        }
        _ => bail!("the server answered {line}"),
    }
}

async fn one(incoming: &mut Incoming) -> Result<()> {
    incoming.take(|bytes| Ok(reply(bytes, 0, &mut |_| ())?.map(|end| ((), end)))).await
}

async fn forget(asked: &Asked) -> Result<()> {
    let (mut incoming, mut out) = connect(&asked.address).await?;
    out.write_all(&command(&[b"DEL", asked.stream.as_bytes()])).await?;
    out.flush().await?;
    one(&mut incoming).await
}

async fn publish(asked: &Asked) -> Result<Value> {
    forget(asked).await?;
    let values: Vec<_> = (0..PAYLOADS).map(|seed| payload(asked.size, seed)).collect();
    let pipeline: Vec<u8> =
        values.iter().cycle().take(asked.window).flat_map(|value| add(&asked.stream, value)).collect();
    let tally = Tally::new(asked.seconds);
    let mut connections = JoinSet::new();
    for _ in 0..asked.connections {
        let (tally, pipeline, address, window) = (tally.clone(), pipeline.clone(), asked.address.clone(), asked.window);
        connections.spawn(async move {
            let (mut incoming, mut out) = connect(&address).await?;
            while !tally.over() {
                out.write_all(&pipeline).await?;
                out.flush().await?;
                for _ in 0..window {
                    one(&mut incoming).await?;
                }
                tally.add(window);
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(tally.report(asked))
}

async fn latency(asked: &Asked) -> Result<Value> {
    forget(asked).await?;
    let filler = payload(asked.size, 3);
    let messages = prepared(asked, |due| add(&asked.stream, &stamped(&filler, due)));
    let times = Times::new(asked)?;
    let count = records_of(asked);
    let reader = tokio::spawn(follow(asked.clone(), times.clone(), count));
    let (mut incoming, out) = connect(&asked.address).await?;
    let (send, due) = mpsc::unbounded_channel();
    let (sent, mut waiting) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_due(out, due, sent));
    let acknowledged = times.clone();
    let answers = tokio::spawn(async move {
        while let Some(at) = waiting.recv().await {
            one(&mut incoming).await?;
            acknowledged.acknowledged(at);
        }
        anyhow::Ok(())
    });
    on_time(messages, &times, send).await?;
    let _out = writer.await??;
    answers.await??;
    reader.await??;
    Ok(times.report(asked))
}

async fn follow(asked: Asked, times: Times, count: u64) -> Result<()> {
    let (mut incoming, mut out) = connect(&asked.address).await?;
    let (mut last, mut seen) = (b"0-0".to_vec(), 0);
    while seen < count {
        let parts = [
            b"XREAD".as_slice(),
            b"COUNT",
            READ.as_bytes(),
            b"BLOCK",
            b"0",
            b"STREAMS",
            asked.stream.as_bytes(),
            &last,
        ];
        out.write_all(&command(&parts)).await?;
        out.flush().await?;
        let values = batch(&mut incoming, asked.size, &mut last, |value| times.got(value)).await?;
        seen += values;
    }
    Ok(())
}

/// One answer of XREAD: how many records it has. A text of another size with a dash is an id.
async fn batch(incoming: &mut Incoming, size: usize, last: &mut Vec<u8>, mut value: impl FnMut(&[u8])) -> Result<u64> {
    incoming
        .take(|bytes| {
            // First whether it is whole, so that no record is told twice.
            let Some(end) = reply(bytes, 0, &mut |_| ())? else { return Ok(None) };
            let mut count = 0;
            reply(&bytes[..end], 0, &mut |text| {
                if text.len() == size {
                    value(text);
                    count += 1;
                } else if text.contains(&b'-') {
                    *last = text.to_vec();
                }
            })?;
            Ok(Some((count, end)))
        })
        .await
}

async fn read(asked: &Asked) -> Result<Value> {
    let (mut incoming, mut out) = connect(&asked.address).await?;
    let (mut last, mut seen) = (b"0-0".to_vec(), 0);
    let begun = Instant::now();
    loop {
        let parts = [b"XREAD".as_slice(), b"COUNT", READ.as_bytes(), b"STREAMS", asked.stream.as_bytes(), &last];
        out.write_all(&command(&parts)).await?;
        out.flush().await?;
        match batch(&mut incoming, asked.size, &mut last, |_| ()).await? {
            0 => return Ok(rate(asked, seen, begun.elapsed())),
            count => seen += count,
        }
    }
}
