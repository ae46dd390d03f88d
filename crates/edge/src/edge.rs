//! One edge: its start, its way from a request to an answer, its stop.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base::{Clock, ErrorKind};
use futures::future::{Either, Ready, ready};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use stream::Log;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::Service as _;

use crate::answer::{Content as Answer, Core, EdgeBody, Track};
use crate::collect::{CollectCounts, CollectLimits, Collector, Token};
use crate::counts::EdgeCounts;
use crate::origin::Origin;
use crate::request_log::line::{LineWriter, Outcome};
use crate::request_log::{RequestLog, Writing};
use crate::serve::{self, Peer, ServeLimits, Tls};
use crate::settings::{Content, EdgeSettings, TokenSource};
use crate::site::{Quick, Site};

/// How long lines may take to reach the disk when the edge stops.
const DRAIN_TIME: Duration = Duration::from_secs(20);

/// How long answers of HTTP/2 streams may take to end after their connection has.
const LAST_ANSWERS_TIME: Duration = Duration::from_secs(2);

const COLLECT_PATH: &str = "/collect/";

/// An edge did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error("edge {edge} cannot listen on {address}: {source}. Stop what listens there, or change listen")]
    Listen {
        /// The edge.
        edge: String,
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The folder cannot be served.
    #[error("edge {edge} cannot serve {}: {source}. Make the folder, or change root", root.display())]
    Root {
        /// The edge.
        edge: String,
        /// The folder.
        root: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A stream that the file names does not exist.
    #[error("edge {edge} writes to stream {stream}, which does not exist. Add [stream.{stream}]")]
    UnknownStream {
        /// The edge.
        edge: String,
        /// The stream.
        stream: String,
    },
    /// The token's file cannot be used.
    #[error("edge {edge} cannot use the token in {}: {why}", file.display())]
    Token {
        /// The edge.
        edge: String,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The client for the origin cannot be set up.
    #[error("edge {edge} cannot set up the connection to its origin: {source}")]
    Origin {
        /// The edge.
        edge: String,
        /// What the library said.
        source: reqwest::Error,
    },
}

impl StartError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => ErrorKind::Conflict,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Root { .. } | Self::UnknownStream { .. } => ErrorKind::NotFound,
            Self::Token { .. } => ErrorKind::Invalid,
            Self::Origin { .. } => ErrorKind::Internal,
        }
    }
}

/// A running edge.
#[derive(Debug)]
pub struct Edge {
    address: SocketAddr,
    core: Arc<Core>,
    collect: Option<Arc<CollectCounts>>,
    /// Stops the server, also when the edge is dropped.
    stop: DropGuard,
    server: JoinHandle<()>,
    writing: Option<Writing>,
}

impl Edge {
    /// Starts to serve. All streams that the settings name must exist.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub async fn start(settings: EdgeSettings, log: Arc<Log>, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        Self::start_within(settings, ServeLimits::default(), log, clock).await
    }

    /// Likewise, with other limits for its clients.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub async fn start_within(
        settings: EdgeSettings,
        limits: ServeLimits,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        Self::start_secured(settings, limits, None, log, clock).await
    }

    /// Likewise, with TLS if there is any.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub async fn start_secured(
        settings: EdgeSettings,
        limits: ServeLimits,
        tls: Option<Arc<Tls>>,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let counts = Arc::new(EdgeCounts::new(&settings.name));
        let source = source(&settings, &counts)?;
        let collector = collector(&settings, &log, &clock)?;
        let log_stream = match &settings.log {
            Some(wanted) => Some(stream_of(&settings, &log, &wanted.stream)?),
            None => None,
        };
        let listener = serve::listen(settings.listen)
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|source| StartError::Listen { edge: settings.name.clone(), address: settings.listen, source });
        let (address, listener) = listener?;
        let started = settings.log.as_ref().zip(log_stream).map(|(wanted, stream)| {
            let writer = line_writer(&settings, wanted.fields.clone());
            let queue_bytes = usize::try_from(wanted.queue_bytes).unwrap_or(usize::MAX / 2);
            RequestLog::start(writer, wanted.sampling_rate, queue_bytes, stream, counts.clone())
        });
        let (request_log, writing) = started.unzip();
        let core = Arc::new(Core { counts: counts.clone(), log: request_log, clock });
        let collect = collector.as_ref().map(Collector::counts);
        let way = Arc::new(Way {
            core: core.clone(),
            source,
            beacon: settings.beacon,
            collect: collector.map(|collector| collector.routes()),
        });
        let stop = CancellationToken::new();
        let make = move |peer: Arc<Peer>| Door { way: way.clone(), peer };
        let server = tokio::spawn(serve::run(listener, tls, make, limits, counts.serve.clone(), stop.clone()));
        Ok(Self { address, core, collect, stop: stop.drop_guard(), server, writing })
    }

    /// Where it listens; with port 0 in the settings, the port that was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What came in and what became of it.
    #[must_use]
    pub fn counts(&self) -> Arc<EdgeCounts> {
        self.core.counts.clone()
    }

    /// The counts of the collector of this door, if it has one.
    #[must_use]
    pub fn collect_counts(&self) -> Option<Arc<CollectCounts>> {
        self.collect.clone()
    }

    /// Stops accepting, lets requests finish, and brings the lines that wait to disk.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.server.await {
            tracing::error!(%error, edge = self.core.counts.name(), "the server of the edge ended badly");
        }
        let counts = &self.core.counts;
        let last = async {
            while counts.in_progress.get() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // Whoever is still at it after this long is counted as in progress.
        let _ = tokio::time::timeout(LAST_ANSWERS_TIME, last).await;
        if let Some(writing) = self.writing {
            writing.stop(DRAIN_TIME).await;
        }
    }
}

fn source(settings: &EdgeSettings, counts: &Arc<EdgeCounts>) -> Result<Source, StartError> {
    let edge = || settings.name.clone();
    match &settings.content {
        Content::Root(root) => {
            let cache_bytes = usize::try_from(settings.cache_bytes).unwrap_or(usize::MAX);
            let site = Site::open(root, cache_bytes, settings.max_age, counts.clone());
            let failed = |source| StartError::Root { edge: edge(), root: root.clone(), source };
            Ok(Source::Site(Arc::new(site.map_err(failed)?)))
        }
        Content::Origin(base) => {
            let origin = Origin::new(base, settings.origin_time);
            Ok(Source::Origin(Arc::new(origin.map_err(|source| StartError::Origin { edge: edge(), source })?)))
        }
    }
}

fn collector(settings: &EdgeSettings, log: &Arc<Log>, clock: &Arc<dyn Clock>) -> Result<Option<Collector>, StartError> {
    if settings.collect.is_empty() {
        return Ok(None);
    }
    for stream in &settings.collect {
        stream_of(settings, log, stream)?;
    }
    let token = match &settings.collect_token {
        None => None,
        Some(TokenSource::Here(token)) => Some(token.clone()),
        Some(TokenSource::File(file)) => {
            let failed = |why| StartError::Token { edge: settings.name.clone(), file: file.clone(), why };
            let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
            Some(Token::new(&text).map_err(failed)?)
        }
    };
    let collector = Collector::at(&settings.name, log.clone(), CollectLimits::default(), clock.clone());
    Ok(Some(collector.only(&settings.collect, token)))
}

fn stream_of(settings: &EdgeSettings, log: &Log, name: &str) -> Result<Arc<stream::Stream>, StartError> {
    let unknown = || StartError::UnknownStream { edge: settings.name.clone(), stream: name.to_owned() };
    log.stream(name).ok_or_else(unknown)
}

fn line_writer(settings: &EdgeSettings, fields: Vec<crate::Field>) -> LineWriter {
    let origin_host = match &settings.content {
        Content::Origin(url) => url.host_str().unwrap_or_default(),
        Content::Root(_) => "",
    };
    LineWriter::new(fields, &settings.name, &settings.location, origin_host)
}

/// Where answers come from.
#[derive(Debug)]
enum Source {
    Site(Arc<Site>),
    Origin(Arc<Origin>),
}

/// The way from a request to an answer, the same for all connections.
#[derive(Debug)]
struct Way {
    core: Arc<Core>,
    source: Source,
    beacon: Vec<String>,
    collect: Option<axum::Router>,
}

/// The service of one connection.
struct Door {
    way: Arc<Way>,
    peer: Arc<Peer>,
}

type Slow = Pin<Box<dyn Future<Output = Result<Response<EdgeBody>, Infallible>> + Send>>;

impl Service<Request<Incoming>> for Door {
    type Response = Response<EdgeBody>;
    type Error = Infallible;
    type Future = Either<Ready<Result<Response<EdgeBody>, Infallible>>, Slow>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (parts, body) = request.into_parts();
        let track = Track::begin(&self.way.core, &self.peer, parts);
        let path = track.exchange.uri.path();
        if let Some(app) = &self.way.collect
            && path.starts_with(COLLECT_PATH)
        {
            return Either::Right(Box::pin(collect(app.clone(), track, body)));
        }
        if self.way.beacon.iter().any(|beacon| beacon == path) {
            return Either::Left(ready(Ok(beacon(track))));
        }
        match &self.way.source {
            Source::Site(site) => match site.quick(track) {
                Quick::Done(answer) => Either::Left(ready(Ok(answer))),
                Quick::Ask(track, stale) => {
                    let site = site.clone();
                    Either::Right(Box::pin(async move { Ok(site.slow(track, stale).await) }))
                }
            },
            Source::Origin(origin) => {
                let origin = origin.clone();
                Either::Right(Box::pin(async move { Ok(origin.pass(track, body).await) }))
            }
        }
    }
}

/// The answer to a request whose log line is all that matters.
fn beacon(track: Track) -> Response<EdgeBody> {
    if !matches!(track.exchange.method, Method::GET | Method::HEAD | Method::POST) {
        let mut headers = HeaderMap::new();
        headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
        return track.refuse(StatusCode::METHOD_NOT_ALLOWED, headers, "send GET or POST");
    }
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    track.answer(StatusCode::NO_CONTENT, headers, Answer::Empty, Outcome::Hit)
}

async fn collect(mut app: axum::Router, mut track: Track, body: Incoming) -> Result<Response<EdgeBody>, Infallible> {
    let body = axum::body::Body::new(track.count_body(body));
    let mut request = Request::new(body);
    *request.method_mut() = track.exchange.method.clone();
    *request.uri_mut() = track.exchange.uri.clone();
    *request.headers_mut() = track.exchange.headers.clone();
    let (parts, body) = app.call(request).await?.into_parts();
    let outcome = if parts.status.is_success() { Outcome::Hit } else { Outcome::Error };
    Ok(track.answer(parts.status, parts.headers, Answer::App(body), outcome))
}
