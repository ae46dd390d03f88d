//! The pages, embedded in the binary: `ui/dist` as Vite built it.
//!
//! Files below `assets/` carry a hash of their content in their name and may be kept for ever; everything else is asked
//! for again with its ETag. The build puts a `.br` and a `.gz` beside every file that gains from it; they are sent as they
//! lie there to who accepts them.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use base::ErrorKind;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rust_embed::{EmbeddedFile, RustEmbed};

use crate::error::ApiError;
use crate::guard::{Guard, login_page};

#[derive(RustEmbed)]
#[folder = "ui/dist"]
struct Dist;

/// Where Vite puts files whose name carries the hash of their content.
const HASHED: &str = "assets/";
const KEEP_FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");

/// Answers every path that no route of the API has: a file, or the page that finds its own way (`/sql`, `/tail/clicks`).
pub(crate) async fn page(State(guard): State<Arc<Guard>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    if ["api/", "collect/", "metrics"].iter().any(|door| path.starts_with(door)) {
        let remedy = "docs/http-api.md lists the routes";
        return ApiError::new(ErrorKind::NotFound, format!("there is no /{path}"), remedy).into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    match find(path) {
        Some(_) if !guard.knows(request.headers()) => (StatusCode::UNAUTHORIZED, Html(login_page(""))).into_response(),
        Some((name, file)) => answer(&name, &file, request.headers()),
        None => (StatusCode::NOT_FOUND, "there is no such file").into_response(),
    }
}

/// The file at `path`, or the page itself for a path that looks like a place in the page.
fn find(path: &str) -> Option<(String, EmbeddedFile)> {
    if let Some(file) = Dist::get(path).filter(|_| !path.is_empty()) {
        return Some((path.to_owned(), file));
    }
    let looks_like_a_file = path.starts_with(HASHED) || path.rsplit('/').next().is_some_and(|last| last.contains('.'));
    if looks_like_a_file {
        return None;
    }
    Dist::get("index.html").map(|file| ("index.html".to_owned(), file))
}

fn answer(name: &str, file: &EmbeddedFile, asked: &HeaderMap) -> Response {
    let (encoding, data, hash) = match smaller(name, asked) {
        Some((encoding, small)) => (Some(encoding), small.data, small.metadata.sha256_hash()),
        None => (None, file.data.clone(), file.metadata.sha256_hash()),
    };
    let etag = etag(&hash);
    let mut response = if asked.get(header::IF_NONE_MATCH).is_some_and(|known| matches(known, &etag)) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        match data {
            std::borrow::Cow::Borrowed(data) => Body::from(data).into_response(),
            std::borrow::Cow::Owned(data) => Body::from(data).into_response(),
        }
    };
    let headers = response.headers_mut();
    if let Ok(mime) = HeaderValue::from_str(&with_charset(file.metadata.mimetype())) {
        headers.insert(header::CONTENT_TYPE, mime);
    }
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
    }
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        headers.insert(header::ETAG, etag);
    }
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CACHE_CONTROL, if name.starts_with(HASHED) { KEEP_FOR_EVER } else { ASK_AGAIN });
    response
}

/// The compressed twin of a file, if there is one and the client takes it.
fn smaller(name: &str, asked: &HeaderMap) -> Option<(&'static str, EmbeddedFile)> {
    let accepts = asked.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    let takes = |encoding: &str| {
        accepts.split(',').any(|part| {
            let mut part = part.split(';').map(str::trim);
            part.next() == Some(encoding) && !part.any(|weight| matches!(weight, "q=0" | "q=0.0"))
        })
    };
    [("br", ".br"), ("gzip", ".gz")]
        .into_iter()
        .filter(|(encoding, _)| takes(encoding))
        .find_map(|(encoding, ending)| Dist::get(&format!("{name}{ending}")).map(|file| (encoding, file)))
}

fn etag(hash: &[u8; 32]) -> String {
    let hex: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("\"{hex}\"")
}

/// Whether `If-None-Match` names the ETag; a proxy that compressed it may have made it weak.
fn matches(known: &HeaderValue, etag: &str) -> bool {
    let known = known.to_str().unwrap_or_default();
    known.split(',').map(str::trim).any(|known| known == "*" || known.trim_start_matches("W/") == etag)
}

fn with_charset(mime: &str) -> String {
    match mime {
        "text/html" | "text/css" | "text/javascript" | "application/javascript" => format!("{mime}; charset=utf-8"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_the_page_get_the_page_and_missing_files_get_nothing() {
        assert_eq!(find("").map(|(name, _)| name).as_deref(), Some("index.html"));
        assert_eq!(find("tail/clicks").map(|(name, _)| name).as_deref(), Some("index.html"));
        assert!(find("assets/gone.js").is_none());
        assert!(find("favicon-that-is-not.ico").is_none());
    }

    #[test]
    fn a_page_that_did_not_change_is_not_sent_again() {
        let (name, file) = find("").expect("there is always a page");
        let first = answer(&name, &file, &HeaderMap::new());
        assert_eq!(first.headers()[header::CACHE_CONTROL], ASK_AGAIN);
        let mut asked = HeaderMap::new();
        asked.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        assert_eq!(answer(&name, &file, &asked).status(), StatusCode::NOT_MODIFIED);
    }
}
