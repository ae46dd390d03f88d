//! Who may call the console: pages of this console and clients on this machine, or whoever shows the token.
//!
//! Three checks, all before any handler runs or any body is read:
//! - **Host**: while the console listens on loopback, the `Host` must name this machine or stand in `[console] hosts`.
//!   A foreign page whose name was pointed at 127.0.0.1 (DNS rebinding) sends its own name and is refused.
//! - **Origin**: a request that could change something must not come from another site's page (CSRF).
//! - **Token**: if one is configured, everything but the health check asks for it, as `Authorization: Bearer …` or as the
//!   session cookie that `POST /login` gives in exchange.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base::{Counter, ErrorKind};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, request::Parts};

use crate::error::ApiError;
use crate::settings::{ConsoleSettings, Token};

/// The cookie that stands for the token in a browser, whose event streams cannot send headers.
const SESSION_COOKIE: &str = "riverrun_session";
/// A login form is a word and a token; whatever is larger is no login.
const LOGIN_BYTES_MAX: usize = 1024;

/// The checks of one console.
#[derive(Debug)]
pub(crate) struct Guard {
    loopback: bool,
    hosts: Vec<String>,
    token: Option<Token>,
    /// What the cookie holds: random per start, so that the token itself never lies in a browser.
    session: String,
    pub(crate) refused: Counter,
}

impl Guard {
    pub(crate) fn new(settings: &ConsoleSettings) -> Self {
        Self {
            loopback: settings.listen.ip().is_loopback(),
            hosts: settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            token: settings.token.clone(),
            session: format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()),
            refused: Counter::default(),
        }
    }

    /// Whether the request comes from where it may.
    fn place(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), ApiError> {
        let authority = authority(uri, headers);
        if self.loopback {
            let host = authority.as_deref().map(host_of).unwrap_or_default();
            if !(names_this_machine(host) || self.hosts.iter().any(|known| known == host)) {
                return Err(ApiError::new(
                    ErrorKind::Denied,
                    format!("this console answers only on this machine, and was asked as {host:?}"),
                    format!("Ask as localhost, or add hosts = [{host:?}] to [console]"),
                ));
            }
        }
        let safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        let origin = headers.get(header::ORIGIN).filter(|_| !safe);
        let foreign_origin = origin.is_some_and(|origin| !same_origin(origin, authority.as_deref()));
        if foreign_origin || (from_another_site(headers) && !(safe && navigates(headers))) {
            return Err(ApiError::new(
                ErrorKind::Denied,
                "the request comes from a page of another site",
                "Call the API from the console's own pages or from a program; sites send events to an edge's /collect",
            ));
        }
        Ok(())
    }

    /// Whether the request shows the token, where one is asked for. Takes the same time whatever is wrong.
    pub(crate) fn knows(&self, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        let bearer = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .is_some_and(|(_, shown)| same(shown, token.bytes()));
        bearer || session_of(headers).is_some_and(|shown| same(shown.as_bytes(), self.session.as_bytes()))
    }
}

/// Refuses requests from where none may come. The outermost layer.
pub(crate) async fn check_place(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    match guard.place(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(error) => {
            guard.refused.inc();
            error.into_response()
        }
    }
}

/// Refuses requests without the token, if there is one.
pub(crate) async fn check_token(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.knows(request.headers()) {
        return next.run(request).await;
    }
    guard.refused.inc();
    unauthorised().into_response()
}

fn unauthorised() -> impl IntoResponse {
    let error = ApiError::new(
        ErrorKind::Denied,
        "this console asks for its token",
        "Send the header Authorization: Bearer TOKEN, with the token of [console] in the server's file",
    );
    let mut response = error.into_response();
    *response.status_mut() = StatusCode::UNAUTHORIZED;
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"riverrun\""));
    response
}

/// `POST /login` with the form `token=…`: gives the session cookie and sends the browser to the pages.
pub(crate) async fn login(State(guard): State<Arc<Guard>>, parts: Parts, body: axum::body::Body) -> Response {
    let shown = axum::body::to_bytes(body, LOGIN_BYTES_MAX).await.unwrap_or_default();
    let shown = shown.strip_prefix(b"token=").unwrap_or_default();
    let right = guard.token.as_ref().is_none_or(|token| same(shown, token.bytes()));
    if !right {
        guard.refused.inc();
        return (StatusCode::UNAUTHORIZED, axum::response::Html(login_page("That is not the token."))).into_response();
    }
    let secure =
        if parts.headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https") { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={}; Path=/; HttpOnly; SameSite=Strict{secure}", guard.session);
    let to_pages = [(header::SET_COOKIE, cookie), (header::LOCATION, "/".to_owned())];
    (StatusCode::SEE_OTHER, to_pages).into_response()
}

/// What a browser sees instead of the pages until it has shown the token.
pub(crate) fn login_page(note: &str) -> String {
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>riverrun</title>\
         <link rel=stylesheet href=/login.css><h1>riverrun</h1><form method=post action=/login><label>Token of this console\
         <input name=token type=password autocomplete=current-password required autofocus></label><button>Open</button></form><p role=alert>{note}</p>"
    )
}

/// How that page looks: a file of its own, since the content security policy allows no style within a page.
pub(crate) async fn login_style() -> impl IntoResponse {
    const STYLE: &str = "body{font:16px system-ui;margin:15vh auto;max-width:22rem;padding:0 1rem}\
        input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.3rem 0}";
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

fn authority(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    let named = uri.authority().map(ToString::to_string);
    let named = named.or_else(|| headers.get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    named.map(|authority| authority.to_ascii_lowercase())
}

/// The host of `host:port` or `[v6]:port`.
fn host_of(authority: &str) -> &str {
    match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((v6, _)) => v6,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    }
}

fn names_this_machine(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn same_origin(origin: &HeaderValue, authority: Option<&str>) -> bool {
    let Some((scheme, place)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else { return false };
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |place: &str| place.to_ascii_lowercase().trim_end_matches(default_port).to_owned();
    authority.is_some_and(|authority| bare(authority) == bare(place))
}

/// Browsers say so themselves since 2023; programs do not send this header.
fn from_another_site(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "cross-site")
}

/// Following a link from another site to a page is how pages are opened.
fn navigates(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate")
}

fn session_of(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
    let pairs = cookies.split(';').filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == SESSION_COOKIE).map(|(_, value)| value).next()
}

/// Compares without telling by its time where the difference lies.
fn same(shown: &[u8], secret: &[u8]) -> bool {
    let mut differs = u8::from(shown.len() != secret.len());
    for (index, byte) in secret.iter().enumerate() {
        differs |= byte ^ shown.get(index).copied().unwrap_or(0);
    }
    std::hint::black_box(differs) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(listen: &str, hosts: &[&str]) -> Guard {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        Guard::new(&ConsoleSettings { listen: listen.parse().expect("an address"), token: None, hosts })
    }

    fn asks(guard: &Guard, method: Method, headers: &[(&'static str, &'static str)]) -> bool {
        let headers =
            headers.iter().map(|(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value)));
        guard.place(&method, &Uri::from_static("/api/v1/sql"), &headers.collect()).is_ok()
    }

    #[test]
    fn on_loopback_only_names_of_this_machine_are_answered() {
        let guard = guard("127.0.0.1:7070", &["stats.example.com"]);
        for host in
            ["localhost:7070", "127.0.0.1:7070", "[::1]:7070", "LOCALHOST", "shop.localhost:1", "stats.example.com"]
        {
            let host: &'static str = host;
            assert!(asks(&guard, Method::GET, &[("host", host)]), "{host}");
        }
        for host in
            ["evil.example", "evil.example:7070", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", ""]
        {
            let host: &'static str = host;
            assert!(!asks(&guard, Method::GET, &[("host", host)]), "{host}");
        }
        assert!(!asks(&guard, Method::GET, &[]));
    }

    #[test]
    fn a_post_from_another_sites_page_is_refused() {
        let guard = guard("127.0.0.1:7070", &[]);
        let post = |headers: &[(&'static str, &'static str)]| asks(&guard, Method::POST, headers);
        assert!(post(&[("host", "localhost:7070")]), "programs send no Origin");
        assert!(post(&[("host", "localhost:7070"), ("origin", "http://localhost:7070")]));
        assert!(
            !post(&[("host", "localhost:7070"), ("origin", "http://localhost:8080")]),
            "another port is another site"
        );
        assert!(!post(&[("host", "localhost:7070"), ("origin", "https://evil.example")]));
        assert!(!post(&[("host", "localhost:7070"), ("origin", "null")]));
        assert!(!post(&[("host", "localhost:7070"), ("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn links_from_elsewhere_open_pages_but_foreign_scripts_get_nothing() {
        let guard = guard("127.0.0.1:7070", &[]);
        let get = |mode: &'static str| {
            asks(
                &guard,
                Method::GET,
                &[("host", "localhost"), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode)],
            )
        };
        assert!(get("navigate"));
        assert!(!get("no-cors"));
        assert!(!get("cors"));
    }

    #[test]
    fn the_token_is_compared_whole() {
        assert!(same(b"abcdefgh", b"abcdefgh"));
        assert!(!same(b"abcdefg", b"abcdefgh"));
        assert!(!same(b"abcdefghi", b"abcdefgh"));
        assert!(!same(b"", b"abcdefgh"));
    }
}
