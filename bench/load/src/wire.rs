//! Bytes as they come: a connection with a buffer from which whole messages are taken.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// The most that one message may be.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

pub(crate) struct Incoming<R = OwnedReadHalf> {
    from: R,
    bytes: Vec<u8>,
    at: usize,
}

pub(crate) async fn connect(address: &str) -> Result<(Incoming, BufWriter<OwnedWriteHalf>)> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    let (from, to) = stream.into_split();
    Ok((Incoming { from, bytes: Vec::new(), at: 0 }, BufWriter::with_capacity(256 << 10, to)))
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// Takes what `take` finds: it gets all that is there and gives its finding and how many bytes that was, or `None` for more.
    pub(crate) async fn take<T>(&mut self, mut take: impl FnMut(&[u8]) -> Result<Option<(T, usize)>>) -> Result<T> {
        loop {
            if let Some((found, used)) = take(&self.bytes[self.at..])? {
                self.at += used;
                return Ok(found);
            }
            if self.at > 0 {
                self.bytes.drain(..self.at);
                self.at = 0;
            }
            ensure!(self.bytes.len() < MESSAGE_BYTES_MAX, "a message without end");
            self.bytes.reserve(256 << 10);
            ensure!(self.from.read_buf(&mut self.bytes).await? > 0, "the server closed the connection");
        }
    }

    /// One line, without its end.
    pub(crate) async fn line(&mut self) -> Result<String> {
        self.take(|bytes| {
            let Some(end) = find(bytes, b"\r\n") else { return Ok(None) };
            Ok(Some((String::from_utf8_lossy(&bytes[..end]).into_owned(), end + 2)))
        })
        .await
    }

    /// So many bytes.
    pub(crate) async fn exactly(&mut self, count: usize) -> Result<Vec<u8>> {
        self.take(|bytes| Ok((bytes.len() >= count).then(|| (bytes[..count].to_vec(), count)))).await
    }
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let first = *wanted.first()?;
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == first) {
        if bytes[from + at..].starts_with(wanted) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}
