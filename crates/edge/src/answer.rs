//! An answer on its way: a body that knows its request, so that whatever becomes of it (sent, broken off, never begun)
//! is counted and logged exactly once, when it is dropped.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Instant;

use base::Clock;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::io::ReaderStream;

use crate::counts::{EdgeCounts, micros};
use crate::request_log::line::{Ended, Exchange, Failure, Outcome, head_bytes};
use crate::request_log::{RequestLog, random};
use crate::serve::{BodyError, Peer};
use crate::site::REQUEST_ID;

/// What all requests of one edge share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) counts: Arc<EdgeCounts>,
    pub(crate) log: Option<RequestLog>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A request that began and is not over. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) exchange: Box<Exchange>,
    core: Arc<Core>,
    /// Bytes of the request's body, counted while somebody reads it.
    body_in: Option<Arc<AtomicU64>>,
    complete: bool,
}

impl Track {
    /// A request begins.
    pub(crate) fn begin(core: &Arc<Core>, peer: &Arc<Peer>, parts: request::Parts) -> Self {
        core.counts.requests.inc();
        core.counts.in_progress.add(1);
        let exchange = Box::new(Exchange {
            peer: peer.clone(),
            id: random::request_id(core.clock.now().0),
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: parts.headers,
            body_in: 0,
            started: Instant::now(),
            first_byte: None,
            status: None,
            head_out: 0,
            body_out: 0,
            content_type: None,
            content_length: None,
            range: None,
            outcome: Outcome::Error,
            failure: None,
            origin_first: None,
            origin_last: None,
        });
        Self { exchange, core: core.clone(), body_in: None, complete: false }
    }

    /// The request's body, counted as it is read.
    pub(crate) fn count_body(&mut self, body: Incoming) -> CountedBody {
        let read = Arc::new(AtomicU64::new(0));
        self.body_in = Some(read.clone());
        CountedBody { body, read }
    }

    /// Bytes of the request's body read so far.
    pub(crate) fn body_read(&self) -> u64 {
        self.body_in.as_ref().map_or(0, |read| read.load(Ordering::Relaxed))
    }

    /// Says that the answer is a part of a file.
    pub(crate) fn part(mut self, first: u64, last: u64) -> Self {
        self.exchange.range = Some((first, last));
        self
    }

    /// Counts a failure of the origin.
    pub(crate) fn failed(&mut self, failure: Failure) {
        self.exchange.failure = Some(failure);
        self.core.counts.origin_failures.inc();
    }

    /// The answer with these headers, to which the request's id is added.
    pub(crate) fn answer(
        mut self,
        status: StatusCode,
        mut headers: HeaderMap,
        content: Content,
        outcome: Outcome,
    ) -> Response<EdgeBody> {
        self.put_id(&mut headers);
        self.exchange.head_out = head_bytes(status, &headers);
        self.exchange.content_type = headers.get(header::CONTENT_TYPE).cloned();
        let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        self.exchange.content_length = length;
        self.respond(status, headers, content, outcome)
    }

    /// A 200 answer whose head is known beforehand.
    pub(crate) fn answer_prepared(
        mut self,
        headers: &HeaderMap,
        head_bytes: u64,
        content_type: &HeaderValue,
        content: Content,
        outcome: Outcome,
    ) -> Response<EdgeBody> {
        let mut headers = headers.clone();
        self.put_id(&mut headers);
        self.exchange.head_out = head_bytes;
        self.exchange.content_type = Some(content_type.clone());
        self.exchange.content_length = content.known_bytes();
        self.respond(StatusCode::OK, headers, content, outcome)
    }

    /// An error with a line of text.
    pub(crate) fn refuse(self, status: StatusCode, mut headers: HeaderMap, text: &str) -> Response<EdgeBody> {
        let reason = status.canonical_reason().unwrap_or_default();
        let text = Bytes::from(format!("{} {reason}: {text}\n", status.as_str()));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(text.len()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.answer(status, headers, Content::Whole(text), Outcome::Error)
    }

    fn put_id(&self, headers: &mut HeaderMap) {
        if let Ok(id) = HeaderValue::from_bytes(&self.exchange.id) {
            headers.insert(REQUEST_ID, id);
        }
    }

    fn respond(
        mut self,
        status: StatusCode,
        headers: HeaderMap,
        content: Content,
        outcome: Outcome,
    ) -> Response<EdgeBody> {
        self.exchange.status = Some(status);
        self.exchange.outcome = outcome;
        // HTTP sends no body here, whatever the headers say.
        let bare =
            self.exchange.method == Method::HEAD || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let content = if bare { Content::Empty } else { content };
        let mut response = Response::new(EdgeBody { content, track: self });
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        let exchange = &mut *self.exchange;
        let ended = Ended { at: Instant::now(), unix_ms: self.core.clock.now().0 };
        if !self.complete {
            let failure = if exchange.status.is_some() { Failure::ClientComm } else { Failure::ClientHungUp };
            exchange.failure.get_or_insert(failure);
        }
        if exchange.status.is_some() {
            exchange.first_byte.get_or_insert(ended.at);
        }
        if let Some(read) = &self.body_in {
            exchange.body_in = read.load(Ordering::Relaxed);
        }
        let counts = &self.core.counts;
        let class = exchange.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        counts.answers[class.min(5)].inc();
        counts.bytes_out.add(exchange.head_out + exchange.body_out);
        counts.request_us.record_us(micros(exchange.started, ended.at));
        match &self.core.log {
            Some(log) => log.finished(exchange, ended),
            None => counts.unlogged.inc(),
        }
        counts.in_progress.add(-1);
    }
}

/// Where the bytes of an answer come from.
pub(crate) enum Content {
    Empty,
    Whole(Bytes),
    File(Pin<Box<ReaderStream<tokio::io::Take<tokio::fs::File>>>>),
    Origin(Pin<Box<tower_http::timeout::TimeoutBody<reqwest::Body>>>),
    App(axum::body::Body),
}

impl Content {
    fn known_bytes(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::File(_) | Self::Origin(_) | Self::App(_) => None,
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::File(_) => false,
            Self::Origin(body) => body.is_end_stream(),
            Self::App(body) => body.is_end_stream(),
        }
    }
}

/// The body of an answer.
pub(crate) struct EdgeBody {
    content: Content,
    track: Track,
}

impl Body for EdgeBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match &mut this.content {
            Content::Empty => Poll::Ready(None),
            Content::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                let frame = (!bytes.is_empty()).then(|| Ok(Frame::data(bytes)));
                this.content = Content::Empty;
                Poll::Ready(frame)
            }
            Content::File(stream) => {
                let polled = futures::Stream::poll_next(stream.as_mut(), cx);
                polled.map(|next| next.map(|read| read.map(Frame::data).map_err(BodyError::from)))
            }
            Content::Origin(body) => body.as_mut().poll_frame(cx),
            Content::App(body) => {
                let polled = Pin::new(body).poll_frame(cx);
                polled.map(|next| next.map(|read| read.map_err(BodyError::from)))
            }
        };
        if let Poll::Ready(read) = &polled {
            this.saw(read.as_ref());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.content.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Empty => SizeHint::with_exact(0),
            Content::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Content::File(_) => SizeHint::default(),
            Content::Origin(body) => body.size_hint(),
            Content::App(body) => body.size_hint(),
        }
    }
}

impl EdgeBody {
    fn saw(&mut self, read: Option<&Result<Frame<Bytes>, BodyError>>) {
        let from_origin = matches!(self.content, Content::Origin(_));
        let track = &mut self.track;
        match read {
            Some(Ok(frame)) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                track.exchange.body_out += bytes;
                if track.exchange.first_byte.is_none() && !matches!(self.content, Content::Empty) {
                    track.exchange.first_byte = Some(Instant::now());
                }
            }
            Some(Err(error)) => {
                tracing::debug!(error, "the body of an answer broke off");
                if from_origin {
                    track.failed(Failure::OriginRead);
                }
            }
            None => track.complete = true,
        }
        if from_origin {
            track.exchange.origin_last = Some(Instant::now());
        }
    }
}

impl Drop for EdgeBody {
    fn drop(&mut self) {
        let sent_as_promised = match self.track.exchange.content_length {
            Some(length) => self.track.exchange.body_out >= length,
            None => false,
        };
        self.track.complete |= sent_as_promised || self.content.is_end();
    }
}

/// The body of a request, counted as it is read.
pub(crate) struct CountedBody {
    body: Incoming,
    read: Arc<AtomicU64>,
}

impl Body for CountedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.read.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
