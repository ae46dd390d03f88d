//! A running `riverrun serve` (or `demo`), found through the line it prints when it is ready, and ended with the test.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

/// The longest a start may take on a loaded machine before the test calls it hung.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// The longest a clean end may take, its last flush included.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);

/// The binary under test: the one built with the tests, unless `RIVERRUN_BINARY` names another (a packaged one, an older one).
pub(crate) fn binary() -> PathBuf {
    std::env::var_os("RIVERRUN_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_riverrun").into(), PathBuf::from)
}

/// What the server says of itself on standard output once every door is open.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Ready {
    pub(crate) console: SocketAddr,
    #[serde(default)]
    pub(crate) edge: BTreeMap<String, SocketAddr>,
    pub(crate) kinesis: Option<SocketAddr>,
}

#[derive(Deserialize)]
struct ReadyLine {
    ready: Ready,
}

/// A started process whose doors may not be open yet.
pub(crate) struct Starting {
    child: Child,
    lines: Receiver<Ready>,
    log: PathBuf,
}

/// A server whose doors are open.
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    ready: Ready,
    http: reqwest::Client,
}

/// Rows as `POST /api/v1/sql` gives them.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Vec<Value>>,
}

impl Starting {
    /// Runs the binary with `args`; its standard error goes to `riverrun.log` in `folder`.
    pub(crate) fn run(folder: &Path, args: &[&str]) -> Result<Self> {
        let log = folder.join("riverrun.log");
        let stderr = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut child = Command::new(binary())
            .args(args)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("starting {}", binary().display()))?;
        let stdout = child.stdout.take().context("the standard output is piped")?;
        let (found, lines) = channel();
        std::thread::spawn(move || {
            // Reads on to the end, so that the server never blocks on a full pipe.
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Ok(line) = serde_json::from_str::<ReadyLine>(&line) {
                    let _ = found.send(line.ready);
                }
            }
        });
        Ok(Self { child, lines, log })
    }

    /// Waits until the doors are open.
    pub(crate) fn ready(mut self) -> Result<Server> {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Ok(ready) = self.lines.recv_timeout(Duration::from_millis(50)) {
                let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
                let Self { child, log, .. } = self;
                return Ok(Server { child, log, ready, http });
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready:\n{}", end_of(&self.log));
            }
            if Instant::now() > deadline {
                let _ = self.child.kill();
                bail!("the server was not ready within {READY_WITHIN:?}:\n{}", end_of(&self.log));
            }
        }
    }

    /// Ends the process at once, in the middle of whatever it does.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Server {
    /// Serves `file`, which lies in `folder`.
    pub(crate) fn serve(folder: &Path, file: &str, more: &[&str]) -> Result<Self> {
        let mut args = vec!["serve", file];
        args.extend(more);
        Starting::run(folder, &args)?.ready()
    }

    /// The console's address.
    pub(crate) fn console(&self) -> SocketAddr {
        self.ready.console
    }

    /// The address of the edge `name`.
    pub(crate) fn edge(&self, name: &str) -> Result<SocketAddr> {
        self.ready
            .edge
            .get(name)
            .copied()
            .with_context(|| format!("the ready line names no edge {name}: {:?}", self.ready))
    }

    /// The address of the Kinesis and Firehose APIs.
    pub(crate) fn kinesis(&self) -> Result<SocketAddr> {
        self.ready.kinesis.context("the ready line names no Kinesis door")
    }

    /// The base address that the client commands want.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.ready.console)
    }

    /// The HTTP client that tests use.
    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    /// The rows of a query that must succeed.
    pub(crate) async fn sql(&self, sql: &str) -> Result<Answer> {
        let (status, body) = self.ask(sql).await?;
        ensure!(status == 200, "{sql}\nanswered {status}: {body}");
        serde_json::from_value(body).with_context(|| format!("reading the answer of {sql}"))
    }

    /// Status and JSON body of a query that may be refused.
    pub(crate) async fn ask(&self, sql: &str) -> Result<(u16, Value)> {
        let response = self
            .http
            .post(format!("{}/api/v1/sql", self.url()))
            .header("accept", "application/json")
            .json(&serde_json::json!({ "sql": sql }))
            .send()
            .await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body =
            serde_json::from_str(&text).with_context(|| format!("{sql}\nanswered {status} without JSON: {text}"))?;
        Ok((status, body))
    }

    /// The one number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> Result<i64> {
        let answer = self.sql(sql).await?;
        let cell = answer.rows.first().and_then(|row| row.first()).with_context(|| format!("{sql} gave no row"))?;
        integer(cell).with_context(|| format!("{sql} gave {cell}, no number"))
    }

    /// Asks again until the one number of `sql` is what is `wanted`, or a minute has passed.
    pub(crate) async fn until(&self, sql: &str, wanted: i64) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.number(sql).await?;
            if found == wanted {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{sql}\nstill gives {found} after a minute, not {wanted}\n{}",
                end_of(&self.log)
            );
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// Posts `body` to the collector of `stream` (with its query string, if any) and gives status and JSON answer.
    pub(crate) async fn collect(
        &self,
        stream: &str,
        kind: &str,
        body: impl Into<reqwest::Body>,
    ) -> Result<(u16, Value)> {
        let request =
            self.http.post(format!("{}/collect/{stream}", self.url())).header("content-type", kind).body(body);
        answer_of(request).await
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Bytes that the process holds in memory now.
    pub(crate) fn memory(&self) -> Result<u64> {
        self.status_of_memory("VmRSS:")
    }

    /// Bytes that it held at most.
    pub(crate) fn peak_memory(&self) -> Result<u64> {
        self.status_of_memory("VmHWM:")
    }

    fn status_of_memory(&self, what: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix(what)).context("the system counts its memory")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.unharmed()
    }

    /// Ctrl-C, and the wait for the clean end that must follow.
    pub(crate) fn stop(self) -> Result<()> {
        self.end("INT")
    }

    /// The order to end that systems give, and the wait for the clean end that must follow.
    pub(crate) fn terminate(self) -> Result<()> {
        self.end("TERM")
    }

    fn end(mut self, name: &str) -> Result<()> {
        signal(self.child.id(), name)?;
        let status = self.wait()?;
        ensure!(status.success(), "the server ended with {status} after SIG{name}:\n{}", end_of(&self.log));
        self.unharmed()
    }

    /// That nothing panicked so far.
    pub(crate) fn unharmed(&self) -> Result<()> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        ensure!(!text.contains("panicked at"), "a panic in the server's log:\n{}", end_of(&self.log));
        Ok(())
    }

    fn wait(&mut self) -> Result<ExitStatus> {
        let deadline = Instant::now() + STOPPED_WITHIN;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(
                Instant::now() < deadline,
                "the server still runs {STOPPED_WITHIN:?} after Ctrl-C:\n{}",
                end_of(&self.log)
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a request and reads its JSON answer, whatever its status.
pub(crate) async fn answer_of(request: reqwest::RequestBuilder) -> Result<(u16, Value)> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    let text = response.text().await?;
    let body = serde_json::from_str(&text).with_context(|| format!("answered {status} without JSON: {text}"))?;
    Ok((status, body))
}

/// A whole number of an answer, written as a number or, beyond 2^53, as text.
pub(crate) fn integer(cell: &Value) -> Option<i64> {
    cell.as_i64().or_else(|| cell.as_str()?.parse().ok())
}

/// Writes the file `riverrun.toml` into `folder`: data folder, a console on a free port, and `rooms`.
pub(crate) fn write_file(folder: &Path, rooms: &str) -> Result<()> {
    let mut file = File::create(folder.join("riverrun.toml"))?;
    writeln!(file, "data = \"data\"\n\n[console]\nlisten = \"127.0.0.1:0\"\n\n{rooms}")?;
    Ok(())
}

/// Sends a signal by name.
fn signal(id: u32, name: &str) -> Result<()> {
    let status = Command::new("sh").args(["-c", &format!("kill -{name} {id}")]).status()?;
    ensure!(status.success(), "kill -{name} {id} failed");
    Ok(())
}

/// The last lines of a log, for messages.
fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}
