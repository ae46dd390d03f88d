//! Passing through to an origin: requests and answers are streamed, headers that belong to one connection only are
//! left out, and an origin that is away, silent or broken becomes a 502 or 504.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use tower_http::timeout::TimeoutBody;
use url::Url;

use crate::answer::{Content, EdgeBody, Track};
use crate::request_log::line::{Failure, Outcome};

/// Time to connect: origins stand near their edge.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Unused connections to the origin that are kept.
const IDLE_MAX: usize = 128;

/// Headers of one connection, not of the message (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The origin of one edge.
#[derive(Debug)]
pub(crate) struct Origin {
    client: reqwest::Client,
    base: String,
    /// How long the origin may be silent: before its first byte and between any two.
    silence: Duration,
}

impl Origin {
    /// An origin at `base`; what it answers is passed on as it is, redirects too.
    ///
    /// # Errors
    /// If the TLS library cannot be set up.
    pub(crate) fn new(base: &Url, silence: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .no_gzip()
            .referer(false)
            .connect_timeout(CONNECT_TIME)
            .pool_max_idle_per_host(IDLE_MAX)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self { client, base: base.as_str().trim_end_matches('/').to_owned(), silence })
    }

    /// Passes one request through.
    pub(crate) async fn pass(self: Arc<Self>, mut track: Track, body: Incoming) -> Response<EdgeBody> {
        let exchange = &track.exchange;
        let target = exchange.uri.path_and_query().map_or("/", |target| target.as_str());
        let Ok(url) = Url::parse(&format!("{}{target}", self.base)) else {
            return track.refuse(StatusCode::BAD_REQUEST, HeaderMap::new(), "this address cannot be passed on");
        };
        let peer = &exchange.peer;
        let client = peer.remote.ip().to_canonical();
        let mut headers = forwarded(&exchange.headers, &exchange.uri, client, peer.scheme());
        if let Some(length) = body.size_hint().exact().filter(|_| exchange.headers.contains_key(header::CONTENT_LENGTH))
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        let mut request = self.client.request(exchange.method.clone(), url).headers(headers);
        if !body.is_end_stream() {
            let body = TimeoutBody::new(self.silence, track.count_body(body));
            request = request.body(reqwest::Body::wrap(SyncBody::new(body)));
        }
        match self.head(request, &track).await {
            Ok(answer) => {
                track.exchange.origin_first = Some(Instant::now());
                self.answer(track, answer)
            }
            Err(refusal) => {
                track.failed(refusal.failure);
                track.refuse(refusal.status, HeaderMap::new(), refusal.text)
            }
        }
    }

    /// Waits for the head of the answer, as long as the origin or the client's body moves.
    async fn head(&self, request: reqwest::RequestBuilder, track: &Track) -> Result<reqwest::Response, Refusal> {
        let mut sent = std::pin::pin!(request.send());
        let mut read = track.body_read();
        loop {
            match tokio::time::timeout(self.silence, &mut sent).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => return Err(Refusal::of(&error)),
                Err(_) if track.body_read() != read => read = track.body_read(),
                Err(_) => return Err(Refusal::SILENT),
            }
        }
    }

    fn answer(&self, mut track: Track, answer: reqwest::Response) -> Response<EdgeBody> {
        let (parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let mut headers = parts.headers;
        remove_hop_by_hop(&mut headers);
        if let Some((first, last)) = headers.get(header::CONTENT_RANGE).and_then(content_range) {
            track = track.part(first, last);
        }
        let outcome = if parts.status.as_u16() >= 400 { Outcome::Error } else { Outcome::Miss };
        track.answer(parts.status, headers, Content::Origin(Box::pin(TimeoutBody::new(self.silence, body))), outcome)
    }
}

/// What a client hears when the origin fails.
struct Refusal {
    status: StatusCode,
    failure: Failure,
    text: &'static str,
}

impl Refusal {
    const SILENT: Self = Self {
        status: StatusCode::GATEWAY_TIMEOUT,
        failure: Failure::OriginComm,
        text: "the origin did not answer in time",
    };

    fn of(error: &reqwest::Error) -> Self {
        tracing::debug!(%error, "the origin failed");
        match (error.is_connect(), error.is_timeout()) {
            (true, timed_out) => Self {
                status: if timed_out { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::BAD_GATEWAY },
                failure: Failure::OriginConnect,
                text: "the origin cannot be reached",
            },
            (false, true) => Self::SILENT,
            (false, false) => Self {
                status: StatusCode::BAD_GATEWAY,
                failure: Failure::OriginComm,
                text: "the origin broke off or did not speak HTTP",
            },
        }
    }
}

/// The headers for the origin: those of the client without the ones of its connection, and where it comes from.
fn forwarded(headers: &HeaderMap, uri: &http::Uri, client: std::net::IpAddr, scheme: &'static str) -> HeaderMap {
    let mut passed = headers.clone();
    remove_hop_by_hop(&mut passed);
    let authority = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = passed.remove(header::HOST).or(authority) {
        passed.insert(FORWARDED_HOST, host);
    }
    // Said again only if it is true: hyper has settled what the client's body is by now.
    passed.remove(header::CONTENT_LENGTH);
    // Answered by this server already.
    passed.remove(header::EXPECT);
    let mut chain: Vec<u8> = Vec::new();
    for earlier in headers.get_all(FORWARDED_FOR) {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(client.to_string().as_bytes());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        passed.insert(FORWARDED_FOR, chain);
    }
    passed.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    passed
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// First and last byte of `bytes 0-9/100`.
fn content_range(value: &HeaderValue) -> Option<(u64, u64)> {
    let range = value.to_str().ok()?.strip_prefix("bytes ")?.split('/').next()?;
    let (first, last) = range.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// A body behind a lock that is never contended: the client library wants to share it between threads.
type SyncBody<B> = sync_body::SyncBody<B>;

mod sync_body {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Body, Frame, SizeHint};
    use parking_lot::Mutex;

    pub(super) struct SyncBody<B>(Mutex<Pin<Box<B>>>);

    impl<B> SyncBody<B> {
        pub(super) fn new(body: B) -> Self {
            Self(Mutex::new(Box::pin(body)))
        }
    }

    impl<B: Body> Body for SyncBody<B> {
        type Data = B::Data;
        type Error = B::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
            self.0.get_mut().as_mut().poll_frame(cx)
        }

        fn is_end_stream(&self) -> bool {
            self.0.lock().is_end_stream()
        }

        fn size_hint(&self) -> SizeHint {
            self.0.lock().size_hint()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_the_connection_stay_behind_and_the_client_is_named() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("host", "shop.example"),
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("accept", "*/*"),
            ("x-forwarded-for", "198.51.100.1"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let uri = http::Uri::from_static("/");
        let passed = forwarded(&headers, &uri, "192.0.2.7".parse().expect("an address"), "http");
        let mut names: Vec<&str> = passed.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"]);
        assert_eq!(passed["x-forwarded-for"], "198.51.100.1, 192.0.2.7");
        assert_eq!(passed["x-forwarded-host"], "shop.example");
    }
}
