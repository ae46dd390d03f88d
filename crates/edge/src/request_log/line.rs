//! One finished request as one line of the published format: the chosen fields in their published order, separated by
//! tabs, `-` for what is absent or what a single server cannot know.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::cmcd::Cmcd;
use super::escape::{push_number, push_part, push_thousandths, push_value};
use super::field::Field;
use crate::serve::Peer;

/// Cookies and header lists are cut to this many bytes before escaping, as published.
const LIST_BYTES_MAX: usize = 800;

/// How a request was answered, in the published words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// From memory, or by the edge itself.
    Hit,
    /// From memory, after the file was seen to be unchanged.
    RefreshHit,
    /// From the disk or from the origin.
    Miss,
    /// An error, whoever's fault it was.
    Error,
    /// A redirect made by the edge.
    Redirect,
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Hit => "Hit",
            Self::RefreshHit => "RefreshHit",
            Self::Miss => "Miss",
            Self::Error => "Error",
            Self::Redirect => "Redirect",
        }
    }
}

/// Why an exchange failed, in the published words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The client went away before the last byte.
    ClientComm,
    /// The client went away before the answer began.
    ClientHungUp,
    /// No connection to the origin.
    OriginConnect,
    /// The origin did not answer in time, or not in HTTP.
    OriginComm,
    /// The origin's answer broke off.
    OriginRead,
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Self::ClientComm => "ClientCommError",
            Self::ClientHungUp => "ClientHungUpRequest",
            Self::OriginConnect => "OriginConnectError",
            Self::OriginComm => "OriginCommError",
            Self::OriginRead => "OriginReadError",
        }
    }
}

/// All that is known of one request once it is over.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) peer: Arc<Peer>,
    pub(crate) id: [u8; 36],
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    /// Bytes of the request's body that were read.
    pub(crate) body_in: u64,
    pub(crate) started: Instant,
    pub(crate) first_byte: Option<Instant>,
    /// `None` until an answer began.
    pub(crate) status: Option<StatusCode>,
    pub(crate) head_out: u64,
    pub(crate) body_out: u64,
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) content_length: Option<u64>,
    /// First and last byte of a partial answer.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) outcome: Outcome,
    pub(crate) failure: Option<Failure>,
    pub(crate) origin_first: Option<Instant>,
    pub(crate) origin_last: Option<Instant>,
}

impl Exchange {
    /// Whether the demo's simulated shoppers sent it.
    pub(crate) fn simulated(&self) -> bool {
        self.headers.get("x-riverrun-simulated").is_some_and(|value| value == "1")
    }

    /// The host the client asked for.
    fn host(&self) -> &[u8] {
        match self.headers.get(header::HOST) {
            Some(host) => host.as_bytes(),
            None => self.uri.authority().map_or(b"", |authority| authority.as_str().as_bytes()),
        }
    }

    /// The size of the request's head as HTTP/1.1 writes it; HTTP/2 compresses it on the way.
    fn head_in(&self) -> u64 {
        let line = self.method.as_str().len() + self.target_len() + "  HTTP/1.1\r\n\r\n".len();
        let headers: usize = self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        (line + headers) as u64
    }

    fn target_len(&self) -> usize {
        self.uri.path().len() + self.uri.query().map_or(0, |query| query.len() + 1)
    }

    fn header(&self, name: &HeaderName) -> &[u8] {
        self.headers.get(name).map_or(b"", HeaderValue::as_bytes)
    }
}

/// The size of an answer's head as HTTP/1.1 writes it, with the `date` that the server adds.
pub(crate) fn head_bytes(status: StatusCode, headers: &HeaderMap) -> u64 {
    const DATE: usize = "date: Sun, 22 Nov 2026 22:06:00 GMT\r\n".len();
    let reason = status.canonical_reason().map_or(0, str::len);
    let line = "HTTP/1.1 200 \r\n\r\n".len() + reason + DATE;
    let fields: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (line + fields) as u64
}

/// When an exchange ended, by the wall clock and by the monotonic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) at: Instant,
    pub(crate) unix_ms: i64,
}

/// Writes lines: the chosen fields, and what is the same for all requests of one edge.
#[derive(Debug)]
pub(crate) struct LineWriter {
    fields: Vec<Field>,
    edge: String,
    location: String,
    origin_host: String,
    wants_cmcd: bool,
}

impl LineWriter {
    /// A writer of `fields`, which it sorts into the published order.
    pub(crate) fn new(mut fields: Vec<Field>, edge: &str, location: &str, origin_host: &str) -> Self {
        fields.sort_unstable();
        fields.dedup();
        let wants_cmcd = fields.iter().any(|field| (Field::CMCD_FIRST..=Field::CMCD_LAST).contains(field));
        Self { fields, edge: edge.into(), location: location.into(), origin_host: origin_host.into(), wants_cmcd }
    }

    /// The fields on each line, in their order there.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// Appends the line, without a newline: a record holds exactly one.
    pub(crate) fn write(&self, line: &mut Vec<u8>, exchange: &Exchange, ended: Ended) {
        let cmcd = self.wants_cmcd.then(|| Cmcd::read(exchange.uri.query(), &exchange.headers));
        for (index, field) in self.fields.iter().enumerate() {
            if index > 0 {
                line.push(b'\t');
            }
            self.write_field(line, *field, exchange, ended, cmcd.as_ref());
        }
    }

    fn write_field(&self, line: &mut Vec<u8>, field: Field, x: &Exchange, ended: Ended, cmcd: Option<&Cmcd>) {
        match field {
            Field::TIMESTAMP => push_thousandths(line, u64::try_from(ended.unix_ms).unwrap_or(0)),
            Field::C_IP => push_ip(line, x.peer.remote),
            Field::S_IP => push_ip(line, x.peer.local),
            Field::TIME_TO_FIRST_BYTE => push_span(line, x.started, x.first_byte),
            Field::SC_STATUS => match x.status {
                Some(status) => line.extend_from_slice(status.as_str().as_bytes()),
                None => line.extend_from_slice(b"000"),
            },
            Field::SC_BYTES => push_number(line, x.head_out + x.body_out),
            Field::CS_METHOD => push_value(line, x.method.as_str().as_bytes()),
            Field::CS_PROTOCOL => line.extend_from_slice(x.peer.scheme().as_bytes()),
            Field::CS_HOST => push_value(line, x.host()),
            Field::CS_URI_STEM => {
                push_value(line, x.uri.path().as_bytes());
                if let Some(query) = x.uri.query() {
                    line.push(b'?');
                    push_part(line, query.as_bytes());
                }
            }
            Field::CS_BYTES => push_number(line, x.head_in() + x.body_in),
            Field::X_EDGE_LOCATION => push_value(line, self.location.as_bytes()),
            Field::X_EDGE_REQUEST_ID => line.extend_from_slice(&x.id),
            Field::X_HOST_HEADER => push_value(line, self.edge.as_bytes()),
            Field::TIME_TAKEN => push_span(line, x.started, Some(ended.at)),
            Field::CS_PROTOCOL_VERSION => line.extend_from_slice(version_name(x.version)),
            Field::C_IP_VERSION => line.extend_from_slice(if is_v4(x.peer.remote) { b"IPv4" } else { b"IPv6" }),
            Field::CS_USER_AGENT => push_value(line, x.header(&header::USER_AGENT)),
            Field::CS_REFERER => push_value(line, x.header(&header::REFERER)),
            Field::CS_COOKIE => push_cookies(line, &x.headers),
            Field::CS_URI_QUERY => push_value(line, x.uri.query().unwrap_or_default().as_bytes()),
            Field::X_EDGE_RESPONSE_RESULT_TYPE => line.extend_from_slice(x.outcome.name().as_bytes()),
            Field::X_FORWARDED_FOR => {
                push_value(line, x.headers.get("x-forwarded-for").map_or(b"", HeaderValue::as_bytes));
            }
            Field::X_EDGE_RESULT_TYPE => {
                let outcome = if x.failure.is_some() { Outcome::Error } else { x.outcome };
                line.extend_from_slice(outcome.name().as_bytes());
            }
            Field::SC_CONTENT_TYPE => push_value(line, x.content_type.as_ref().map_or(b"", HeaderValue::as_bytes)),
            Field::SC_CONTENT_LEN => push_known(line, x.content_length),
            Field::SC_RANGE_START => push_known(line, x.range.map(|range| range.0)),
            Field::SC_RANGE_END => push_known(line, x.range.map(|range| range.1)),
            Field::C_PORT => push_number(line, u64::from(x.peer.remote.port())),
            Field::X_EDGE_DETAILED_RESULT_TYPE => {
                let name = x.failure.map_or(x.outcome.name(), Failure::name);
                line.extend_from_slice(name.as_bytes());
            }
            Field::CS_ACCEPT_ENCODING => push_value(line, x.header(&header::ACCEPT_ENCODING)),
            Field::CS_ACCEPT => push_value(line, x.header(&header::ACCEPT)),
            Field::CACHE_BEHAVIOR_PATH_PATTERN => line.push(b'*'),
            Field::CS_HEADERS => push_headers(line, &x.headers, true),
            Field::CS_HEADER_NAMES => push_headers(line, &x.headers, false),
            Field::CS_HEADERS_COUNT => push_number(line, x.headers.len() as u64),
            Field::ORIGIN_FBL => push_span(line, x.started, x.origin_first),
            Field::ORIGIN_LBL => push_span(line, x.started, x.origin_last),
            Field::R_HOST => push_value(line, self.origin_host.as_bytes()),
            Field::SSL_PROTOCOL => push_value(line, x.peer.tls.map_or("", |tls| tls.protocol).as_bytes()),
            Field::SSL_CIPHER => push_value(line, x.peer.tls.map_or("", |tls| tls.name).as_bytes()),
            Field::CONNECTION_ID => push_number(line, x.peer.connection),
            field if (Field::CMCD_FIRST..=Field::CMCD_LAST).contains(&field) => {
                let index = usize::from(field.number() - Field::CMCD_FIRST.number());
                push_value(line, cmcd.and_then(|cmcd| cmcd.value(index)).unwrap_or_default().as_bytes());
            }
            _ => line.push(b'-'),
        }
    }
}

fn push_known(line: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => push_number(line, number),
        None => line.push(b'-'),
    }
}

/// Seconds between two instants; `-` if the second never came.
fn push_span(line: &mut Vec<u8>, from: Instant, to: Option<Instant>) {
    match to {
        Some(to) => {
            push_thousandths(line, u64::try_from(to.saturating_duration_since(from).as_millis()).unwrap_or(u64::MAX));
        }
        None => line.push(b'-'),
    }
}

fn push_ip(line: &mut Vec<u8>, address: SocketAddr) {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => {
            for (index, octet) in ip.octets().into_iter().enumerate() {
                if index > 0 {
                    line.push(b'.');
                }
                push_number(line, u64::from(octet));
            }
        }
        IpAddr::V6(ip) => push_value(line, ip.to_string().as_bytes()),
    }
}

fn is_v4(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_ipv4()
}

fn version_name(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_09 => b"HTTP/0.9",
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2.0",
        Version::HTTP_3 => b"HTTP/3.0",
        _ => b"HTTP/1.1",
    }
}

/// HTTP/2 clients may send each cookie in a header of its own: they are joined as HTTP/1.1 would.
fn push_cookies(line: &mut Vec<u8>, headers: &HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let Some(first) = cookies.next() else {
        line.push(b'-');
        return;
    };
    let mut left = push_cut(line, first.as_bytes(), LIST_BYTES_MAX);
    for cookie in cookies {
        left = push_cut(line, b"; ", left);
        left = push_cut(line, cookie.as_bytes(), left);
    }
}

/// Each header on a line of its own, as sent; the line ends are escaped like everything else.
fn push_headers(line: &mut Vec<u8>, headers: &HeaderMap, values: bool) {
    if headers.is_empty() {
        line.push(b'-');
        return;
    }
    let mut left = LIST_BYTES_MAX;
    for (name, value) in headers {
        left = push_cut(line, name.as_str().as_bytes(), left);
        if values {
            left = push_cut(line, b":", left);
            left = push_cut(line, value.as_bytes(), left);
        }
        left = push_cut(line, b"\n", left);
    }
}

/// Appends at most `left` bytes of `value` and says how many may still follow.
fn push_cut(line: &mut Vec<u8>, value: &[u8], left: usize) -> usize {
    let taken = value.len().min(left);
    push_part(line, &value[..taken]);
    left - taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn exchange(uri: &str, headers: &[(&'static str, &str)]) -> Exchange {
        let started = Instant::now();
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).expect("a header value"));
        }
        Exchange {
            peer: Arc::new(Peer {
                remote: "192.0.2.7:51234".parse().expect("an address"),
                local: "[2001:db8::1]:80".parse().expect("an address"),
                connection: 9,
                tls: None,
            }),
            id: *b"01890000-0000-7000-8000-000000000000",
            method: Method::GET,
            uri: uri.parse().expect("a URI"),
            version: Version::HTTP_11,
            headers: map,
            body_in: 0,
            started,
            first_byte: Some(started + Duration::from_millis(2)),
            status: Some(StatusCode::OK),
            head_out: 100,
            body_out: 23,
            content_type: Some(HeaderValue::from_static("text/html; charset=utf-8")),
            content_length: Some(23),
            range: None,
            outcome: Outcome::Hit,
            failure: None,
            origin_first: None,
            origin_last: None,
        }
    }

    fn written(names: &[&str], exchange: &Exchange) -> String {
        let fields = names.iter().map(|name| Field::by_name(name).expect("a field")).collect();
        let writer = LineWriter::new(fields, "shop", "", "");
        let ended = Ended { at: exchange.started + Duration::from_millis(1234), unix_ms: 1_606_855_678_123 };
        let mut line = Vec::new();
        writer.write(&mut line, exchange, ended);
        String::from_utf8(line).expect("ASCII")
    }

    #[test]
    fn fields_come_in_the_published_order_whatever_the_file_says() {
        let request =
            exchange("/action?action=buy&product_name=red%20mug", &[("user-agent", "A B/1.0"), ("host", "shop:80")]);
        let names = [
            "cs-user-agent",
            "cs-uri-query",
            "timestamp",
            "sc-status",
            "cs-uri-stem",
            "cs-host",
            "time-taken",
            "sc-status",
        ];
        assert_eq!(
            written(&names, &request),
            "1606855678.123\t200\tshop:80\t/action?action=buy&product_name=red%2520mug\t1.234\tA%20B/1.0\taction=buy&product_name=red%2520mug"
        );
    }

    #[test]
    fn what_one_server_cannot_know_is_a_dash() {
        let request = exchange("/", &[]);
        let unknown = [
            "ssl-protocol",
            "ssl-cipher",
            "c-country",
            "asn",
            "fle-status",
            "origin-fbl",
            "cs-cookie",
            "cs-headers",
            "cs-uri-query",
            "x-edge-location",
        ];
        assert_eq!(written(&unknown, &request), ["-"; 10].join("\t"));
    }

    #[test]
    fn every_field_stands_on_a_line_of_all() {
        let request = exchange("/v.mp4?CMCD=br%3D3200%2Cv%3D1", &[("accept", "*/*")]);
        let line = written(&Field::NAMES, &request);
        let values: Vec<&str> = line.split('\t').collect();
        assert_eq!(values.len(), 69);
        let value = |name: &str| values[usize::from(Field::by_name(name).expect("a field").number()) - 1];
        assert_eq!(
            (value("c-ip"), value("s-ip"), value("c-port"), value("c-ip-version")),
            ("192.0.2.7", "2001:db8::1", "51234", "IPv4")
        );
        assert_eq!(
            (value("sc-bytes"), value("sc-content-len"), value("sc-content-type")),
            ("123", "23", "text/html;%20charset=utf-8")
        );
        assert_eq!(
            (value("cmcd-encoded-bitrate"), value("cmcd-version"), value("cmcd-session-id")),
            ("3200", "1", "-")
        );
        assert_eq!(
            (value("cs-headers"), value("cs-header-names"), value("cs-headers-count")),
            ("accept:*/*%0A", "accept%0A", "1")
        );
        assert_eq!(
            (value("time-to-first-byte"), value("connection-id"), value("x-host-header")),
            ("0.002", "9", "shop")
        );
    }

    #[test]
    fn long_cookies_are_cut_to_800_bytes() {
        let long = "x".repeat(2000);
        let request = exchange("/", &[("cookie", &long), ("cookie", "second=1")]);
        assert_eq!(written(&["cs-cookie"], &request).len(), 800);
        let two = exchange("/", &[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(written(&["cs-cookie"], &two), "a=1;%20b=2");
    }

    #[test]
    fn a_client_that_left_early_is_an_error_in_the_last_word() {
        let mut request = exchange("/", &[]);
        request.failure = Some(Failure::ClientComm);
        let names = ["x-edge-response-result-type", "x-edge-result-type", "x-edge-detailed-result-type"];
        assert_eq!(written(&names, &request), "Hit\tError\tClientCommError");
        request.status = None;
        assert_eq!(written(&["sc-status"], &request), "000");
    }
}
