//! What is known of each open connection, and who is to be reaped. Requests touch only relaxed atomics here: one
//! reaper per door looks at all connections a few times a second, instead of one timer per connection and request.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures::task::AtomicWaker;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::ServeLimits;

/// What a connection is told.
const RUN: u8 = 0;
const FINISH: u8 = 1;
const CLOSE: u8 = 2;

/// No such moment.
const NEVER: u64 = u64::MAX;

/// Milliseconds since the door opened, kept by the reaper, so that a request need not read the clock.
#[derive(Debug)]
pub(crate) struct Ticks {
    opened: Instant,
    now: AtomicU64,
}

impl Ticks {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct Watched {
    ticks: Arc<Ticks>,
    /// Requests whose answers are not yet finished.
    in_flight: AtomicU32,
    /// Whether any request arrived whole.
    greeted: AtomicBool,
    http2: AtomicBool,
    /// Since when no request is in flight.
    idle_since: AtomicU64,
    /// Since when bytes of a head that is not yet whole have come.
    head_since: AtomicU64,
    /// Since when the client takes no bytes although there are some.
    stuck_since: AtomicU64,
    order: AtomicU8,
    waker: AtomicWaker,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It never sent a whole request, or was too slow to send the next one.
    SlowHead,
    /// It was quiet between requests.
    Idle,
    /// It did not take the answer.
    Stuck,
}

impl Watched {
    fn new(ticks: Arc<Ticks>) -> Self {
        let now = ticks.now();
        Self {
            ticks,
            in_flight: AtomicU32::new(0),
            greeted: AtomicBool::new(false),
            http2: AtomicBool::new(false),
            idle_since: AtomicU64::new(now),
            head_since: AtomicU64::new(NEVER),
            stuck_since: AtomicU64::new(NEVER),
            order: AtomicU8::new(RUN),
            waker: AtomicWaker::new(),
        }
    }

    /// A request arrived whole.
    pub(crate) fn request_began(&self, http2: bool) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.greeted.store(true, Ordering::Relaxed);
        self.head_since.store(NEVER, Ordering::Relaxed);
        if http2 {
            self.http2.store(true, Ordering::Relaxed);
        }
    }

    /// An answer was finished or given up.
    pub(crate) fn request_ended(&self) {
        self.idle_since.store(self.ticks.now(), Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Remembers the task to wake, and says what it is to do.
    pub(crate) fn order(&self, cx: &Context<'_>) -> Order {
        self.waker.register(cx.waker());
        match self.order.load(Ordering::Acquire) {
            RUN => Order::Run,
            FINISH => Order::Finish,
            _ => Order::Close,
        }
    }

    fn give(&self, order: u8) {
        self.order.fetch_max(order, Ordering::AcqRel);
        self.waker.wake();
    }

    fn overdue(&self, limits: &ServeLimits) -> Option<Reason> {
        let state = State {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            greeted: self.greeted.load(Ordering::Relaxed),
            http2: self.http2.load(Ordering::Relaxed),
            idle_ms: self.age(&self.idle_since).unwrap_or(0),
            head_ms: self.age(&self.head_since),
            stuck_ms: self.age(&self.stuck_since),
        };
        state.overdue(limits)
    }

    fn age(&self, since: &AtomicU64) -> Option<u64> {
        match since.load(Ordering::Relaxed) {
            NEVER => None,
            since => Some(self.ticks.now().saturating_sub(since)),
        }
    }
}

/// What a connection is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Run,
    /// Finish what is in flight and close.
    Finish,
    /// Close now.
    Close,
}

/// The facts on which a connection is judged.
#[derive(Clone, Copy, Debug)]
struct State {
    in_flight: u32,
    greeted: bool,
    http2: bool,
    idle_ms: u64,
    head_ms: Option<u64>,
    stuck_ms: Option<u64>,
}

impl State {
    fn overdue(&self, limits: &ServeLimits) -> Option<Reason> {
        let over = |ms: u64, limit: Duration| u128::from(ms) > limit.as_millis();
        if self.stuck_ms.is_some_and(|ms| over(ms, limits.write_stall)) {
            return Some(Reason::Stuck);
        }
        if self.in_flight > 0 {
            return None;
        }
        // HTTP/2 has frames that are no requests, so bytes alone say nothing there.
        let slow = !self.greeted && over(self.idle_ms, limits.head_time)
            || !self.http2 && self.head_ms.is_some_and(|ms| over(ms, limits.head_time));
        if slow {
            return Some(Reason::SlowHead);
        }
        over(self.idle_ms, limits.idle_time).then_some(Reason::Idle)
    }
}

/// All open connections of one door.
#[derive(Debug)]
pub(crate) struct Registry {
    ticks: Arc<Ticks>,
    open: Mutex<HashMap<u64, Arc<Watched>>>,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let ticks = Arc::new(Ticks { opened: Instant::now(), now: AtomicU64::new(0) });
        Self { ticks, open: Mutex::default() }
    }

    pub(crate) fn open(&self, connection: u64) -> Arc<Watched> {
        let watched = Arc::new(Watched::new(self.ticks.clone()));
        self.open.lock().insert(connection, watched.clone());
        watched
    }

    pub(crate) fn closed(&self, connection: u64) {
        self.open.lock().remove(&connection);
    }

    pub(crate) fn len(&self) -> usize {
        self.open.lock().len()
    }

    /// Moves the time on and closes every connection that is overdue; says why, once for each.
    pub(crate) fn reap(&self, limits: &ServeLimits) -> Vec<Reason> {
        let now = u64::try_from(self.ticks.opened.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.ticks.now.store(now, Ordering::Relaxed);
        let overdue: Vec<(Reason, Arc<Watched>)> = {
            let open = self.open.lock();
            let running = open.values().filter(|watched| watched.order.load(Ordering::Relaxed) < CLOSE);
            running.filter_map(|watched| Some((watched.overdue(limits)?, watched.clone()))).collect()
        };
        overdue.iter().for_each(|(_, watched)| watched.give(CLOSE));
        overdue.into_iter().map(|(reason, _)| reason).collect()
    }

    /// Tells all connections to finish.
    pub(crate) fn finish_all(&self) {
        self.open.lock().values().for_each(|watched| watched.give(FINISH));
    }

    /// Tells all connections to close now.
    pub(crate) fn close_all(&self) {
        self.open.lock().values().for_each(|watched| watched.give(CLOSE));
    }
}

/// A socket that tells its [`Watched`] what moves. Under TLS it stands below it, so that what moves is what the client
/// sends and takes, handshake included.
pub(crate) struct WatchedSocket {
    socket: TcpStream,
    watched: Arc<Watched>,
}

impl WatchedSocket {
    pub(crate) fn new(socket: TcpStream, watched: Arc<Watched>) -> Self {
        Self { socket, watched }
    }

    fn wrote<T>(&self, result: &Poll<T>) {
        let stuck = &self.watched.stuck_since;
        match result {
            Poll::Pending => {
                let now = self.watched.ticks.now();
                // Only the first refusal counts: polling again changes nothing for the client.
                let _ = stuck.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
            }
            Poll::Ready(_) if stuck.load(Ordering::Relaxed) != NEVER => stuck.store(NEVER, Ordering::Relaxed),
            Poll::Ready(_) => {}
        }
    }
}

impl AsyncRead for WatchedSocket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
        let watched = &self.watched;
        if polled.is_ready() && watched.in_flight.load(Ordering::Relaxed) == 0 {
            let now = watched.ticks.now();
            let _ = watched.head_since.compare_exchange(NEVER, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for WatchedSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.wrote(&polled);
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.wrote(&polled);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: State = State { in_flight: 0, greeted: true, http2: false, idle_ms: 0, head_ms: None, stuck_ms: None };

    fn limits() -> ServeLimits {
        ServeLimits {
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(60),
            write_stall: Duration::from_secs(30),
            ..ServeLimits::default()
        }
    }

    #[test]
    fn each_kind_of_slowness_has_its_limit() {
        let limits = limits();
        let judged = |state: State| state.overdue(&limits);
        assert_eq!(judged(State { idle_ms: 60_000, ..QUIET }), None);
        assert_eq!(judged(State { idle_ms: 60_001, ..QUIET }), Some(Reason::Idle));
        assert_eq!(judged(State { greeted: false, idle_ms: 10_001, ..QUIET }), Some(Reason::SlowHead));
        assert_eq!(judged(State { head_ms: Some(10_001), idle_ms: 10_001, ..QUIET }), Some(Reason::SlowHead));
        assert_eq!(judged(State { http2: true, head_ms: Some(10_001), idle_ms: 10_001, ..QUIET }), None);
        assert_eq!(judged(State { in_flight: 1, idle_ms: 900_000, ..QUIET }), None, "a long answer is no idleness");
        assert_eq!(judged(State { in_flight: 1, stuck_ms: Some(30_001), ..QUIET }), Some(Reason::Stuck));
    }
}
