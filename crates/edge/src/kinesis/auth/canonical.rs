//! The canonical request: the one text that client and service both make of a request and sign.

use std::borrow::Cow;
use std::collections::HashSet;

use http::header::HOST;
use http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

use crate::kinesis::wire::ServiceError;

/// Signed headers of one request: as many as a request may have headers.
const NAMES_MAX: usize = 100;

/// What is encoded: everything but letters, digits and `-_.~`.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Likewise in a path, whose slashes stay.
const ENCODED_IN_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// The names of the signed headers, each once, as sent: so what is built from them is never larger than the head.
pub(super) fn signed_names(list: &str) -> Result<Vec<String>, ServiceError> {
    let names: Vec<String> = list.split(';').take(NAMES_MAX + 1).map(str::to_ascii_lowercase).collect();
    let distinct: HashSet<&str> = names.iter().map(String::as_str).collect();
    if names.len() > NAMES_MAX || distinct.len() < names.len() || distinct.contains("") {
        let text = format!("SignedHeaders must name up to {NAMES_MAX} different headers, separated by semicolons.");
        return Err(ServiceError::new("IncompleteSignatureException", text));
    }
    Ok(names)
}

/// The canonical request up to the hash of the body, which follows it.
pub(super) fn request(head: &Parts, names: &[String], query_form: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    let mut line = |bytes: &[u8]| {
        text.extend_from_slice(bytes);
        text.push(b'\n');
    };
    line(head.method.as_str().as_bytes());
    line(path(head.uri.path()).as_bytes());
    line(query(head.uri.query().unwrap_or_default(), query_form).as_bytes());
    for name in names {
        line(&[name.as_bytes(), b":", &values(head, name)].concat());
    }
    line(b"");
    line(names.join(";").as_bytes());
    text
}

/// The path without empty and dotted segments, encoded once more than it was sent.
fn path(sent: &str) -> String {
    let mut segments = Vec::new();
    for segment in sent.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    let mut whole = String::from("/");
    whole.push_str(&segments.join("/"));
    if sent.ends_with('/') && !segments.is_empty() {
        whole.push('/');
    }
    percent_encode(whole.as_bytes(), ENCODED_IN_PATH).to_string()
}

/// The parameters in their order, each encoded the one way; the signature itself is not among what it signs.
fn query(sent: &str, query_form: bool) -> String {
    let encode = |text: &str| percent_encode(&Cow::from(percent_decode_str(text)), ENCODED).to_string();
    let mut pairs: Vec<(String, String)> = sent
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .filter(|(name, _)| !(query_form && name == "X-Amz-Signature"))
        .collect();
    pairs.sort();
    let pairs: Vec<String> = pairs.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// The values of a header, trimmed, blanks within them made single, joined by commas. A header that was not sent is
/// empty; the signature then differs.
fn values(head: &Parts, name: &str) -> Vec<u8> {
    let mut sent: Vec<Vec<u8>> = head.headers.get_all(name).iter().map(|value| single(value.as_bytes())).collect();
    if sent.is_empty() && (name == HOST.as_str() || name == ":authority") {
        // Over HTTP/2 the host is a part of the address.
        let host = head.headers.get(HOST).map(|host| host.as_bytes().to_vec());
        let authority = || head.uri.authority().map(|authority| authority.as_str().as_bytes().to_vec());
        sent.extend(host.or_else(authority));
    }
    sent.join(&b',')
}

fn single(value: &[u8]) -> Vec<u8> {
    let words = value.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
    words.collect::<Vec<&[u8]>>().join(&b' ')
}
