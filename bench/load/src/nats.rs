//! NATS JetStream: publishing with an inbox for the acknowledgements, and a push consumer.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::wire::{Incoming, connect};
use crate::{Asked, Mode, Tally, Times, on_time, payload, prepared, rate, records_of, stamped, write_due};

/// Records written at once while publishing.
const CHUNK: usize = 50;
const PAYLOADS: usize = 16;

type Out = BufWriter<OwnedWriteHalf>;

pub(crate) async fn run(asked: &Asked) -> Result<Value> {
    match asked.mode {
        Mode::Publish => publish(asked).await,
        Mode::Latency => latency(asked).await,
        Mode::Read => read(asked).await,
    }
}

/// What the server sends.
enum Said {
    /// A message: the subject, where an answer is wanted, its headers and its payload.
    Message(String, Option<String>, Vec<u8>, Vec<u8>),
    Ping,
    Nothing,
}

async fn hear(incoming: &mut Incoming) -> Result<Said> {
    let line = incoming.line().await?;
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    match words[..] {
        ["PING"] => Ok(Said::Ping),
        ["MSG", subject, _, ref more @ .., size] => {
            let (subject, answer, size) =
                (subject.to_owned(), more.first().map(|it| (*it).to_owned()), size.parse::<usize>()?);
            let mut payload = incoming.exactly(size + 2).await?;
            payload.truncate(size);
            Ok(Said::Message(subject, answer, Vec::new(), payload))
        }
        ["HMSG", subject, _, ref more @ .., head, size] => {
            let (subject, answer) = (subject.to_owned(), more.first().map(|it| (*it).to_owned()));
            let (head, size) = (head.parse::<usize>()?, size.parse::<usize>()?);
            let mut headers = incoming.exactly(size + 2).await?;
            let mut payload = headers.split_off(head);
            payload.truncate(size - head);
            Ok(Said::Message(subject, answer, headers, payload))
        }
        ["-ERR", ..] => bail!("the server said {line}"),
        _ => Ok(Said::Nothing),
    }
}

/// Connects and listens to what is sent to the answers (`api`), acknowledgements (`a`) and deliveries (`d`) of `inbox`: each by its whole
/// name, because a push consumer does not take a wildcard for somebody who listens.
async fn join(asked: &Asked, inbox: &str) -> Result<(Incoming, Out)> {
    let (mut incoming, mut out) = connect(&asked.address).await?;
    let greeting = format!(
        "CONNECT {{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true}}\r\nSUB {inbox}.api 1\r\nSUB {inbox}.a 2\r\nSUB {inbox}.d 3\r\nPING\r\n"
    );
    out.write_all(greeting.as_bytes()).await?;
    out.flush().await?;
    while incoming.line().await? != "PONG" {}
    Ok((incoming, out))
}

/// Asks JetStream and reads its answer.
async fn ask(incoming: &mut Incoming, out: &mut Out, inbox: &str, subject: &str, body: &Value) -> Result<Value> {
    let body = body.to_string();
    out.write_all(format!("PUB {subject} {inbox}.api {}\r\n{body}\r\n", body.len()).as_bytes()).await?;
    out.flush().await?;
    loop {
        if let Said::Message(to, _, _, payload) = hear(incoming).await?
            && to.ends_with(".api")
        {
            return serde_json::from_slice(&payload).context("an answer of JetStream");
        }
    }
}

async fn fresh(asked: &Asked) -> Result<()> {
    let (mut incoming, mut out) = join(asked, "_INBOX.fresh").await?;
    let name = &asked.stream;
    ask(&mut incoming, &mut out, "_INBOX.fresh", &format!("$JS.API.STREAM.DELETE.{name}"), &json!({})).await?;
    let config = json!({ "name": name, "subjects": [format!("{name}.*")], "storage": "file", "retention": "limits", "num_replicas": 1 });
    let said = ask(&mut incoming, &mut out, "_INBOX.fresh", &format!("$JS.API.STREAM.CREATE.{name}"), &config).await?;
    ensure!(said["error"].is_null(), "JetStream refused the stream: {said}");
    Ok(())
}

fn message(stream: &str, inbox: &str, value: &[u8]) -> Vec<u8> {
    let mut bytes = format!("PUB {stream}.0 {inbox}.a {}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Whether this acknowledges a record.
fn acknowledges(said: &Said) -> Result<bool> {
    let Said::Message(to, _, headers, payload) = said else { return Ok(false) };
    if !to.ends_with(".a") {
        return Ok(false);
    }
    ensure!(
        headers.is_empty() && !payload.windows(7).any(|part| part == b"\"error\""),
        "refused: {}",
        String::from_utf8_lossy(payload)
    );
    Ok(true)
}

async fn publish(asked: &Asked) -> Result<Value> {
    fresh(asked).await?;
    let tally = Tally::new(asked.seconds);
    let mut connections = JoinSet::new();
    for number in 0..asked.connections {
        let inbox = format!("_INBOX.p{number}");
        let values: Vec<_> = (0..PAYLOADS).map(|seed| payload(asked.size, seed as u64)).collect();
        let chunk: Vec<u8> =
            values.iter().cycle().take(CHUNK).flat_map(|value| message(&asked.stream, &inbox, value)).collect();
        let (asked, tally) = (asked.clone(), tally.clone());
        connections.spawn(async move {
            let (mut incoming, mut out) = join(&asked, &inbox).await?;
            let room = Arc::new(Semaphore::new(asked.window));
            let (free, count) = (room.clone(), tally.clone());
            let answers = tokio::spawn(async move {
                loop {
                    if acknowledges(&hear(&mut incoming).await?)? {
                        free.add_permits(1);
                        count.add(1);
                    }
                }
                #[allow(unreachable_code, reason = "names the type of the error")]
                anyhow::Ok(())
            });
            while !tally.over() {
                room.acquire_many(CHUNK as u32).await?.forget();
                out.write_all(&chunk).await?;
                out.flush().await?;
                ensure!(!answers.is_finished(), "{:?}", answers.await);
            }
            // Those on their way count, too, once they are acknowledged.
            let _all = room.acquire_many(asked.window as u32).await?;
            answers.abort();
            anyhow::Ok(())
        });
    }
    while let Some(ended) = connections.join_next().await {
        ended??;
    }
    Ok(tally.report(asked))
}

/// Reads `count` records from the beginning through a push consumer with flow control.
async fn follow(asked: &Asked, count: u64, mut value: impl FnMut(&[u8])) -> Result<()> {
    const INBOX: &str = "_INBOX.reader";
    let (mut incoming, mut out) = join(asked, INBOX).await?;
    let stream = &asked.stream;
    let config = json!({ "deliver_subject": format!("{INBOX}.d"), "deliver_policy": "all", "ack_policy": "none", "replay_policy": "instant",
        "flow_control": true, "idle_heartbeat": 5_000_000_000u64 });
    let wish = json!({ "stream_name": stream, "config": config });
    let mut seen = 0;
    let body = wish.to_string();
    out.write_all(format!("PUB $JS.API.CONSUMER.CREATE.{stream} {INBOX}.api {}\r\n{body}\r\n", body.len()).as_bytes())
        .await?;
    out.flush().await?;
    while seen < count {
        match hear(&mut incoming).await? {
            Said::Message(to, _, _, payload) if to.ends_with(".api") => {
                let said: Value = serde_json::from_slice(&payload)?;
                ensure!(said["error"].is_null(), "JetStream refused the consumer: {said}");
            }
            Said::Message(_, _, headers, payload) if headers.is_empty() => {
                value(&payload);
                seen += 1;
            }
            // A question of flow control, or a heartbeat, which may name one that is open.
            Said::Message(_, answer, headers, _) => {
                let stalled = String::from_utf8_lossy(&headers)
                    .lines()
                    .find_map(|line| line.strip_prefix("Nats-Consumer-Stalled: ").map(str::to_owned));
                if let Some(to) = answer.or(stalled) {
                    out.write_all(format!("PUB {to} 0\r\n\r\n").as_bytes()).await?;
                    out.flush().await?;
                }
            }
            Said::Ping => {
                out.write_all(b"PONG\r\n").await?;
                out.flush().await?;
            }
            Said::Nothing => (),
        }
    }
    Ok(())
}

async fn latency(asked: &Asked) -> Result<Value> {
    fresh(asked).await?;
    let filler = payload(asked.size, 3);
    let messages = prepared(asked, |due| message(&asked.stream, "_INBOX.l", &stamped(&filler, due)));
    let times = Times::new(asked)?;
    let count = records_of(asked);
    let (reads, got) = (asked.clone(), times.clone());
    let reader = tokio::spawn(async move { follow(&reads, count, |value| got.got(value)).await });
    let (mut incoming, out) = join(asked, "_INBOX.l").await?;
    let (send, due) = mpsc::unbounded_channel();
    let (sent, mut waiting) = mpsc::unbounded_channel();
    let writer = tokio::spawn(write_due(out, due, sent));
    let acknowledged = times.clone();
    let answers = tokio::spawn(async move {
        while let Some(at) = waiting.recv().await {
            while !acknowledges(&hear(&mut incoming).await?)? {}
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

async fn read(asked: &Asked) -> Result<Value> {
    let (mut incoming, mut out) = join(asked, "_INBOX.info").await?;
    let said =
        ask(&mut incoming, &mut out, "_INBOX.info", &format!("$JS.API.STREAM.INFO.{}", asked.stream), &json!({}))
            .await?;
    let count = said["state"]["messages"].as_u64().with_context(|| format!("no number of messages: {said}"))?;
    let begun = Instant::now();
    follow(asked, count, |_| ()).await?;
    Ok(rate(asked, count, begun.elapsed()))
}
