//! `url_host` and `url_path`: parts of an address as browsers send it.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, StringBuilder};

use super::Described;
use super::text::Texts;

pub(crate) const HOST: Described = Described {
    name: "url_host",
    signature: "url_host(url text) -> text",
    about: "The host of an absolute address, in lower case, without user and port; null if the address has none.",
    example: "url_host('https://Shop.example.com:8080/a?b=1') = 'shop.example.com'",
};

pub(crate) const PATH: Described = Described {
    name: "url_path",
    signature: "url_path(url text) -> text",
    about: "The path of an address, absolute or not, without query and fragment, not decoded; / if an absolute \
            address has none.",
    example: "url_path('/action?action=buy') = '/action'",
};

pub(crate) fn host(arguments: &[Texts<'_>]) -> ArrayRef {
    each(arguments, host_of)
}

pub(crate) fn path(arguments: &[Texts<'_>]) -> ArrayRef {
    each(arguments, |url| Some(Cow::Borrowed(path_of(url))))
}

fn each(arguments: &[Texts<'_>], part: impl for<'u> Fn(&'u str) -> Option<Cow<'u, str>>) -> ArrayRef {
    let mut answer = StringBuilder::new();
    if let Some(urls) = arguments.first() {
        urls.iter().for_each(|url| answer.append_option(url.and_then(&part)));
    }
    Arc::new(answer.finish())
}

/// What stands after `scheme://` or a leading `//`; `None` for an address without a host.
fn after_scheme(url: &str) -> Option<&str> {
    if let Some(rest) = url.strip_prefix("//") {
        return Some(rest);
    }
    let (scheme, rest) = url.split_once("://")?;
    let letters = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    let valid = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    (letters && valid).then_some(rest)
}

pub(crate) fn host_of(url: &str) -> Option<Cow<'_, str>> {
    let rest = after_scheme(url.trim())?;
    let authority = &rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())];
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = match host.strip_prefix('[') {
        Some(six) => six.split(']').next().unwrap_or(six),
        None => host.split(':').next().unwrap_or(host),
    };
    if host.is_empty() {
        return None;
    }
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Some(Cow::Owned(host.to_ascii_lowercase()));
    }
    Some(Cow::Borrowed(host))
}

pub(crate) fn path_of(url: &str) -> &str {
    let url = url.trim();
    let rest = match after_scheme(url) {
        Some(rest) => match rest.find(['/', '?', '#']) {
            Some(start) if rest[start..].starts_with('/') => &rest[start..],
            _ => return "/",
        },
        None => url,
    };
    &rest[..rest.find(['?', '#']).unwrap_or(rest.len())]
}
