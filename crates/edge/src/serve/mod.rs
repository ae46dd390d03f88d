//! The one HTTP server loop behind all doors: HTTP/1.1 and HTTP/2 (by prior knowledge), with a limit on everything a
//! client can hold: connections, time to send a head, idle time, time to take an answer, size of a head. With or
//! without TLS.

mod tls;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::ConnectInfo;
use base::{Counter, Gauge, Measured, Sample};
use bytes::Bytes;
use http::{Request, Response, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use watch::{Order, Reason, Registry, Watched, WatchedSocket};

pub use tls::{Cipher, Tls, TlsError, TlsSettings};

/// An error that ends a body.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// Connections that wait in the kernel to be accepted: enough for a burst of browsers.
const BACKLOG: u32 = 1024;

/// How often connections are looked over: a limit is exceeded by at most this much.
const REAP_EVERY: Duration = Duration::from_millis(250);

/// Pause after a failed accept (no file descriptors left): others may close meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Streams that one HTTP/2 connection may have open: browsers use fewer, and each costs memory.
const HTTP2_STREAMS_MAX: u32 = 128;

/// HTTP/2 pings: a peer that vanished is noticed after one interval and one time-out.
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
const HTTP2_PING_TIME: Duration = Duration::from_secs(10);

/// What a client of a door may hold, and for how long.
#[derive(Clone, Debug)]
pub struct ServeLimits {
    /// Open connections; one more is closed at once. Each costs about 20 KiB.
    pub connections_max: usize,
    /// From the first byte of a head (or the accept) to its last: browsers need milliseconds.
    pub head_time: Duration,
    /// Quiet time between two requests: as long as the usual proxies keep connections.
    pub idle_time: Duration,
    /// How long a client may refuse to take bytes of its answer.
    pub write_stall: Duration,
    /// Bytes of a request's head: four times what usual servers take for one header.
    pub head_bytes_max: usize,
    /// Headers of one request.
    pub headers_max: usize,
    /// How long requests may go on after a stop.
    pub stop_time: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            write_stall: Duration::from_secs(30),
            head_bytes_max: 64 * 1024,
            headers_max: 100,
            stop_time: Duration::from_secs(10),
        }
    }
}

/// What happened at one door.
#[derive(Debug, Default)]
pub struct ServeCounts {
    door: String,
    accepted: Counter,
    refused: Counter,
    failed_accepts: Counter,
    open: Gauge,
    slow_heads: Counter,
    idle: Counter,
    stuck: Counter,
    broken: Counter,
    cut: Counter,
}

impl ServeCounts {
    /// Counts of the door of that name.
    #[must_use]
    pub fn new(door: &str) -> Self {
        Self { door: door.to_owned(), ..Self::default() }
    }

    /// Connections closed because the client was too slow to send a request.
    #[must_use]
    pub fn slow_heads(&self) -> u64 {
        self.slow_heads.get()
    }

    /// Connections refused because there were too many.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> u64 {
        u64::try_from(self.open.get()).unwrap_or(0)
    }

    fn count(&self, reason: Reason) {
        match reason {
            Reason::SlowHead => self.slow_heads.inc(),
            Reason::Idle => self.idle.inc(),
            Reason::Stuck => self.stuck.inc(),
        }
    }
}

impl Measured for ServeCounts {
    fn measure(&self, samples: &mut Vec<Sample>) {
        let door = [("door", self.door.as_str())];
        samples.push(Sample::new("riverrun_edge_connections_accepted_total", &door, self.accepted.get()));
        samples.push(Sample::new("riverrun_edge_connections_open", &door, self.open()));
        samples.push(Sample::new("riverrun_edge_accept_failures_total", &door, self.failed_accepts.get()));
        for (reason, count) in [
            ("too_many", &self.refused),
            ("slow_head", &self.slow_heads),
            ("idle", &self.idle),
            ("stuck", &self.stuck),
            ("protocol", &self.broken),
            ("stop", &self.cut),
        ] {
            let labels = [("door", self.door.as_str()), ("reason", reason)];
            samples.push(Sample::new("riverrun_edge_connections_closed_total", &labels, count.get()));
        }
    }
}

/// Both ends of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The client's end.
    pub remote: SocketAddr,
    /// Our end.
    pub local: SocketAddr,
    /// The number of the connection since the process began, from 1.
    pub connection: u64,
    /// How it is kept secret, if it is.
    pub tls: Option<Cipher>,
}

impl Peer {
    /// `https` or `http`.
    #[must_use]
    pub const fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

/// Binds a listening socket; a door may be opened again at once after a stop.
///
/// # Errors
/// What the system says, e.g. that the port is in use.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves `app` until `stop`, then lets requests in flight finish within [`ServeLimits::stop_time`]. Handlers find the
/// client in `ConnectInfo<SocketAddr>` and in [`Peer`].
pub async fn serve(listener: TcpListener, app: axum::Router, limits: ServeLimits, stop: CancellationToken) {
    serve_counted(listener, app, limits, Arc::default(), stop).await;
}

/// Like [`serve`], counting into `counts`.
pub async fn serve_counted(
    listener: TcpListener,
    app: axum::Router,
    limits: ServeLimits,
    counts: Arc<ServeCounts>,
    stop: CancellationToken,
) {
    serve_secured(listener, app, limits, counts, None, stop).await;
}

/// Like [`serve_counted`], with TLS if there is any.
pub async fn serve_secured(
    listener: TcpListener,
    app: axum::Router,
    limits: ServeLimits,
    counts: Arc<ServeCounts>,
    tls: Option<Arc<Tls>>,
    stop: CancellationToken,
) {
    let make = move |peer: Arc<Peer>| App { app: app.clone(), peer };
    run(listener, tls, make, limits, counts, stop).await;
}

/// An axum application as the service of one connection.
#[derive(Clone)]
struct App {
    app: axum::Router,
    peer: Arc<Peer>,
}

impl Service<Request<Incoming>> for App {
    type Response = Response<axum::body::Body>;
    type Error = Infallible;
    type Future = axum::routing::future::RouteFuture<Infallible>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(ConnectInfo(self.peer.remote));
        request.extensions_mut().insert(*self.peer);
        // A router is always ready.
        self.app.clone().call(request)
    }
}

/// The loop, over any service: `make` gives each connection its own.
pub(crate) async fn run<S, B>(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    make: impl Fn(Arc<Peer>) -> S + Send + Sync + 'static,
    limits: ServeLimits,
    counts: Arc<ServeCounts>,
    stop: CancellationToken,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let registry = Arc::new(Registry::new());
    let ground = Arc::new(Ground { make, tls, builder: builder(&limits) });
    let mut reap = tokio::time::interval(REAP_EVERY);
    reap.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = reap.tick() => registry.reap(&limits).into_iter().for_each(|reason| counts.count(reason)),
            accepted = listener.accept() => match accepted {
                Ok((socket, remote)) => {
                    if registry.len() >= limits.connections_max {
                        counts.refused.inc();
                    } else if let Some(peer) = peer_of(&socket, remote) {
                        open(socket, peer, &ground, &registry, &counts);
                    }
                }
                Err(error) => {
                    counts.failed_accepts.inc();
                    tracing::warn!(%error, door = counts.door, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    finish(&registry, &limits, &counts).await;
}

/// What all connections of a door share.
struct Ground<M> {
    make: M,
    tls: Option<Arc<Tls>>,
    builder: auto::Builder<TokioExecutor>,
}

fn peer_of(socket: &TcpStream, remote: SocketAddr) -> Option<Peer> {
    static CONNECTIONS: AtomicU64 = AtomicU64::new(1);
    // Fails only for a client that is gone already.
    let local = socket.local_addr().ok()?;
    socket.set_nodelay(true).ok()?;
    Some(Peer { remote, local, connection: CONNECTIONS.fetch_add(1, Ordering::Relaxed), tls: None })
}

fn open<M, S, B>(
    socket: TcpStream,
    mut peer: Peer,
    ground: &Arc<Ground<M>>,
    registry: &Arc<Registry>,
    counts: &Arc<ServeCounts>,
) where
    M: Fn(Arc<Peer>) -> S + Send + Sync + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let watched = registry.open(peer.connection);
    let closing = Closing { connection: peer.connection, registry: registry.clone(), counts: counts.clone() };
    counts.accepted.inc();
    counts.open.add(1);
    let ground = ground.clone();
    tokio::spawn(async move {
        let socket = WatchedSocket::new(socket, watched.clone());
        match &ground.tls {
            None => drive(socket, (ground.make)(Arc::new(peer)), &ground.builder, &watched, &closing).await,
            Some(tls) => {
                let Some(stream) = unless_told(&watched, tls.accept(socket)).await.flatten() else { return };
                peer.tls = Some(Cipher::of(stream.get_ref().1));
                drive(stream, (ground.make)(Arc::new(peer)), &ground.builder, &watched, &closing).await;
            }
        }
    });
}

/// What `work` comes to; `None` if the connection is told to end before, finished or not.
async fn unless_told<T>(watched: &Watched, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| match watched.order(cx) {
        Order::Run => work.as_mut().poll(cx).map(Some),
        Order::Finish | Order::Close => Poll::Ready(None),
    })
    .await
}

/// Serves one connection until it ends.
async fn drive<T, S, B>(
    io: T,
    service: S,
    builder: &auto::Builder<TokioExecutor>,
    watched: &Arc<Watched>,
    closing: &Closing,
) where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BodyError>,
{
    let service = WatchedService { service, watched: watched.clone() };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut finishing = false;
    let ended = std::future::poll_fn(|cx| {
        match watched.order(cx) {
            Order::Close => return Poll::Ready(Ok(())),
            Order::Finish if !finishing => {
                finishing = true;
                connection.as_mut().graceful_shutdown();
            }
            Order::Finish | Order::Run => {}
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        // A client that breaks off or talks nonsense: counted, and of interest only when looked for.
        closing.counts.broken.inc();
        tracing::debug!(error, "connection ended with an error");
    }
}

/// Takes the connection off the registry, however its task ends.
struct Closing {
    connection: u64,
    registry: Arc<Registry>,
    counts: Arc<ServeCounts>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.registry.closed(self.connection);
        self.counts.open.add(-1);
    }
}

async fn finish(registry: &Registry, limits: &ServeLimits, counts: &ServeCounts) {
    /// How often to look whether the last connection has gone.
    const LOOK_EVERY: Duration = Duration::from_millis(5);
    let deadline = tokio::time::Instant::now() + limits.stop_time;
    registry.finish_all();
    while registry.len() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK_EVERY).await;
        registry.reap(limits).into_iter().for_each(|reason| counts.count(reason));
    }
    counts.cut.add(registry.len() as u64);
    registry.close_all();
    while registry.len() > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn builder(limits: &ServeLimits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // The registry's reaper does this without a timer per request.
        .header_read_timeout(None)
        .max_headers(limits.headers_max)
        .max_buf_size(limits.head_bytes_max);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_header_list_size(u32::try_from(limits.head_bytes_max).unwrap_or(u32::MAX))
        .keep_alive_interval(HTTP2_PING_EVERY)
        .keep_alive_timeout(HTTP2_PING_TIME);
    builder
}

/// A service that tells its connection when requests begin and end.
struct WatchedService<S> {
    service: S,
    watched: Arc<Watched>,
}

impl<S, B> Service<Request<Incoming>> for WatchedService<S>
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
{
    type Response = Response<WatchedBody<B>>;
    type Error = Infallible;
    type Future = WatchedFuture<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let flight = Flight::begin(&self.watched, request.version() == Version::HTTP_2);
        WatchedFuture { future: self.service.call(request), flight: Some(flight) }
    }
}

/// One request in flight, until dropped.
struct Flight(Arc<Watched>);

impl Flight {
    fn begin(watched: &Arc<Watched>, http2: bool) -> Self {
        watched.request_began(http2);
        Self(watched.clone())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.0.request_ended();
    }
}

pin_project_lite::pin_project! {
    struct WatchedFuture<F> {
        #[pin]
        future: F,
        flight: Option<Flight>,
    }
}

impl<F, B> Future for WatchedFuture<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Output = Result<Response<WatchedBody<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.future
            .poll(cx)
            .map(|answer| answer.map(|answer| answer.map(|body| WatchedBody { body, _flight: this.flight.take() })))
    }
}

pin_project_lite::pin_project! {
    /// A body whose end is the end of its request.
    pub(crate) struct WatchedBody<B> {
        #[pin]
        body: B,
        _flight: Option<Flight>,
    }
}

impl<B: Body> Body for WatchedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tls_tests;
