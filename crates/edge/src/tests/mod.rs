//! An edge with real sockets, seen from outside: by a small HTTP client of its own and by reading the stream back.

mod log;
mod origin;
pub(crate) mod reshaping;
mod site;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{ShardId, SystemClock};
use stream::{Log, RecordView, Stream, StreamSettings};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Edge, EdgeSettings, Field, LogSettings, ServeLimits};

/// Longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a site and a stream.
pub(crate) struct House {
    folder: TempDir,
    pub(crate) log: Arc<Log>,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("site")).expect("a folder");
        let log = Log::open(folder.path(), Arc::new(SystemClock)).expect("a log");
        log.ensure("clicks", &StreamSettings { shards: 2, ..StreamSettings::default() }).expect("a stream");
        Self { folder, log }
    }

    pub(crate) fn put(&self, name: &str, text: impl AsRef<[u8]>) {
        let place = self.folder.path().join(name);
        std::fs::create_dir_all(place.parent().expect("below the folder")).expect("a folder");
        std::fs::write(place, text).expect("a file");
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// An edge of the site, logging all fields of all requests.
    pub(crate) fn settings(&self) -> EdgeSettings {
        let mut settings = EdgeSettings::folder("shop", self.folder.path().join("site"));
        settings.listen = "127.0.0.1:0".parse().expect("an address");
        settings.log = Some(LogSettings { fields: Field::ALL.to_vec(), ..LogSettings::to("clicks") });
        settings
    }

    pub(crate) async fn start(&self, settings: EdgeSettings) -> Edge {
        self.start_within(settings, ServeLimits::default()).await
    }

    pub(crate) async fn start_within(&self, settings: EdgeSettings, limits: ServeLimits) -> Edge {
        Edge::start_within(settings, limits, self.log.clone(), Arc::new(SystemClock)).await.expect("starts")
    }

    /// All records of a stream: headers and payload.
    pub(crate) fn records(&self, stream: &str) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
        let mut all = Vec::new();
        each_record(&self.log.stream(stream).expect("a stream"), |_, record| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let headers = record.headers().map(|(name, value)| (text(name), text(value))).collect();
            all.push((headers, record.value.to_vec()));
        });
        all
    }

    /// All lines of the request log, as name and decoded value.
    pub(crate) fn lines(&self) -> Vec<BTreeMap<String, String>> {
        self.records("clicks").into_iter().map(|(headers, line)| parsed(&headers["fields"], &line)).collect()
    }
}

/// Tells every record of a stream and its shard, parents before their children: they have lower numbers.
pub(crate) fn each_record(stream: &Stream, mut tell: impl FnMut(ShardId, RecordView<'_>)) {
    for info in stream.shard_infos() {
        let mut next = stream.bounds(info.id).start;
        while next < stream.bounds(info.id).end {
            let fetched = stream.fetch(info.id, next, 1 << 20).expect("can be read");
            for record in fetched.records() {
                tell(info.id, record.expect("is whole"));
            }
            next = fetched.next();
        }
    }
}

/// Reads a line as somebody would who knows only the published table and escaping.
fn parsed(fields: &str, line: &[u8]) -> BTreeMap<String, String> {
    let line = std::str::from_utf8(line).expect("ASCII");
    assert!(!line.contains('\n'), "a record is one line");
    let numbers: Vec<usize> = fields.split(',').map(|number| number.parse().expect("a number")).collect();
    let values: Vec<&str> = line.split('\t').collect();
    assert_eq!(numbers.len(), values.len(), "as many values as fields: {line}");
    numbers.iter().zip(values).map(|(number, value)| (Field::NAMES[number - 1].to_owned(), decoded(value))).collect()
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next().expect("a digit"), rest.next().expect("a digit")];
            let digits = std::str::from_utf8(&digits).expect("ASCII");
            bytes.push(u8::from_str_radix(digits, 16).expect("two hex digits"));
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
    /// All bytes of head and body.
    pub(crate) bytes: usize,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// A connection that sends exactly what it is told.
pub(crate) struct Client {
    socket: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn to(address: SocketAddr) -> Self {
        Self { socket: TcpStream::connect(address).await.expect("connects"), read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).await.expect("is sent");
    }

    /// Sends one byte, if the other end still takes it.
    pub(crate) async fn socket_write(&mut self, byte: u8) -> std::io::Result<()> {
        self.socket.write_all(&[byte]).await
    }

    /// A request without a body, and its answer.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut head = format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        self.send(head + "\r\n").await;
        self.answer(method != "HEAD").await
    }

    /// A request with a body, and its answer.
    pub(crate) async fn post(&mut self, target: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let mut head = format!("POST {target} HTTP/1.1\r\nhost: shop.test\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        let mut request = (head + "\r\n").into_bytes();
        request.extend_from_slice(body);
        self.send(request).await;
        self.answer(true).await
    }

    pub(crate) async fn get(&mut self, target: &str) -> Answer {
        self.ask("GET", target, &[]).await
    }

    /// The next answer; with `body`, as many bytes as it promises.
    pub(crate) async fn answer(&mut self, body: bool) -> Answer {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.more().await > 0, "closed within a head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let head = String::from_utf8_lossy(&self.read[..end]).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status").parse().expect("a number");
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let length: usize = headers.get("content-length").map_or(0, |length| length.parse().expect("a number"));
        let length = if body && status != 304 { length } else { 0 };
        while self.read.len() < end + length {
            assert!(self.more().await > 0, "closed within a body");
        }
        let body = self.read[end..end + length].to_vec();
        self.read.drain(..end + length);
        Answer { status, headers, body, bytes: end + length }
    }

    /// Reads on; 0 if the other end closed.
    pub(crate) async fn more(&mut self) -> usize {
        let mut chunk = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.socket.read(&mut chunk)).await.expect("answers in time");
        let read = read.unwrap_or(0);
        self.read.extend_from_slice(&chunk[..read]);
        read
    }

    /// Whether the other end closed without saying more.
    pub(crate) async fn is_closed(&mut self) -> bool {
        self.more().await == 0
    }
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
