//! HTTP/1.1 as far as a Kinesis door needs it: one request after the other on one connection, answers with a length or in chunks.

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;

use crate::signature::{Signer, hash};
use crate::wire::{Incoming, connect};

pub(crate) struct Connection {
    incoming: Incoming,
    out: BufWriter<OwnedWriteHalf>,
    signer: Signer,
}

/// A body and its hash, made before the clock starts.
#[derive(Clone)]
pub(crate) struct Body {
    bytes: Vec<u8>,
    hash: String,
}

impl Body {
    pub(crate) fn new(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let hash = hash(&bytes);
        Self { bytes, hash }
    }
}

/// How long the rest of an answer is.
enum Length {
    Known(usize),
    Chunks,
}

/// The answer, if it is a good one.
fn good(what: &str, (status, answer): (u16, Vec<u8>)) -> Result<Vec<u8>> {
    ensure!(status == 200, "{what} was answered with {status}: {}", String::from_utf8_lossy(&answer));
    Ok(answer)
}

impl Connection {
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let (incoming, out) = connect(address).await?;
        Ok(Self { incoming, out, signer: Signer::new(address) })
    }

    /// Sends a request and reads its answer, which must be a good one.
    pub(crate) async fn call(&mut self, operation: &str, body: &Body) -> Result<Vec<u8>> {
        good(operation, self.ask(operation, body).await?)
    }

    pub(crate) async fn ask(&mut self, operation: &str, body: &Body) -> Result<(u16, Vec<u8>)> {
        self.send(operation, body).await?;
        self.answer().await
    }

    /// The bytes of a request, good for some minutes on any connection to the same server.
    pub(crate) fn request(&self, operation: &str, body: &Body) -> Vec<u8> {
        let head = self.signer.head(operation, body.bytes.len(), &body.hash);
        [head.as_bytes(), &body.bytes].concat()
    }

    /// Sends a request that was made before and reads its answer, which must be a good one.
    pub(crate) async fn put(&mut self, request: &[u8]) -> Result<()> {
        self.out.write_all(request).await?;
        self.out.flush().await?;
        good("a request", self.answer().await?).map(drop)
    }

    async fn answer(&mut self) -> Result<(u16, Vec<u8>)> {
        let (status, length) = self.begun().await?;
        let answer = match length {
            Length::Known(length) => self.incoming.exactly(length).await?,
            Length::Chunks => {
                let mut answer = Vec::new();
                while let Some(chunk) = self.chunk().await? {
                    answer.extend(chunk);
                }
                answer
            }
        };
        Ok((status, answer))
    }

    /// Sends a request whose answer comes in chunks without end.
    pub(crate) async fn subscribe(&mut self, body: &Body) -> Result<()> {
        self.send("SubscribeToShard", body).await?;
        match self.begun().await? {
            (200, Length::Chunks) => Ok(()),
            (status, _) => bail!("SubscribeToShard was answered with {status}"),
        }
    }

    async fn send(&mut self, operation: &str, body: &Body) -> Result<()> {
        let head = self.signer.head(operation, body.bytes.len(), &body.hash);
        self.out.write_all(head.as_bytes()).await?;
        self.out.write_all(&body.bytes).await?;
        self.out.flush().await?;
        Ok(())
    }

    /// The head of an answer: its status, and how long the rest is.
    async fn begun(&mut self) -> Result<(u16, Length)> {
        let line = self.incoming.line().await?;
        let status =
            line.split(' ').nth(1).and_then(|code| code.parse().ok()).with_context(|| format!("no status: {line}"))?;
        let mut length = Length::Known(0);
        loop {
            let header = self.incoming.line().await?.to_ascii_lowercase();
            match header.split_once(": ") {
                None => return Ok((status, length)),
                Some(("content-length", value)) => length = Length::Known(value.parse()?),
                Some(("transfer-encoding", "chunked")) => length = Length::Chunks,
                Some(_) => (),
            }
        }
    }

    /// The next chunk of an answer; `None` after the last.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Vec<u8>>> {
        let line = self.incoming.line().await?;
        let size = usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16)
            .with_context(|| format!("no chunk: {line}"))?;
        let mut chunk = self.incoming.exactly(size + 2).await?;
        chunk.truncate(size);
        Ok((size > 0).then_some(chunk))
    }
}
