//! `ua_browser`, `ua_os`, `ua_device`: what a user agent says it is, by the patterns of uap-core (data/agents.json).

use std::sync::{Arc, LazyLock, OnceLock};

use arrow::array::{ArrayRef, StringBuilder};
use serde::Deserialize;
use ua_parser::{device, os, user_agent};

use super::Described;
use super::recent::Recent;
use super::text::Texts;

pub(crate) const BROWSER: Described = Described {
    name: "ua_browser",
    signature: "ua_browser(user_agent text) -> text",
    about: "The family of the browser or program in a user agent, without its version; Other if no pattern knows it.",
    example: "ua_browser('Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0') = 'Firefox'",
};

pub(crate) const OS: Described = Described {
    name: "ua_os",
    signature: "ua_os(user_agent text) -> text",
    about: "The family of the operating system in a user agent, without its version; Other if no pattern knows it.",
    example: "ua_os('Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0') = 'Linux'",
};

pub(crate) const DEVICE: Described = Described {
    name: "ua_device",
    signature: "ua_device(user_agent text) -> text",
    about: "The family of the device in a user agent, such as iPhone, Mac or Spider; Other if it does not say.",
    example: "ua_device('Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15') = 'iPhone'",
};

/// Distinct user agents remembered, twice this at most. A busy site sees some thousands a day; each takes about
/// 300 bytes.
const REMEMBERED: usize = 8192;

/// Bytes of a user agent that are looked at. Browsers send 100 to 300; the patterns' time grows with the length.
pub(crate) const AGENT_BYTES_MAX: usize = 1024;

/// What no pattern knows.
const OTHER: &str = "Other";

/// The three answers about one user agent, each worked out when it is first asked for: the patterns for devices are
/// the largest, and many tables never ask.
#[derive(Default)]
struct Agent {
    browser: OnceLock<Box<str>>,
    os: OnceLock<Box<str>>,
    device: OnceLock<Box<str>>,
}

static AGENTS: LazyLock<Recent<Arc<Agent>>> = LazyLock::new(|| Recent::new(REMEMBERED));

pub(crate) fn browser(arguments: &[Texts<'_>]) -> ArrayRef {
    each(arguments, |agent, text| agent.browser.get_or_init(|| browser_of(text)))
}

pub(crate) fn os(arguments: &[Texts<'_>]) -> ArrayRef {
    each(arguments, |agent, text| agent.os.get_or_init(|| os_of(text)))
}

pub(crate) fn device(arguments: &[Texts<'_>]) -> ArrayRef {
    each(arguments, |agent, text| agent.device.get_or_init(|| device_of(text)))
}

fn each(arguments: &[Texts<'_>], answer: impl for<'a> Fn(&'a Agent, &str) -> &'a str) -> ArrayRef {
    let Some(texts) = arguments.first() else { return Arc::new(StringBuilder::new().finish()) };
    let mut answers = StringBuilder::with_capacity(texts.len(), texts.len() * 8);
    let mut last: Option<(&str, Arc<Agent>)> = None;
    for text in texts.iter() {
        let Some(text) = text.map(cut) else {
            answers.append_null();
            continue;
        };
        if last.as_ref().is_none_or(|(seen, _)| *seen != text) {
            last = Some((text, AGENTS.get(text, |_| Arc::default())));
        }
        answers.append_option(last.as_ref().map(|(_, agent)| answer(agent, text)));
    }
    Arc::new(answers.finish())
}

/// The first bytes of a user agent, never cutting a character in two.
pub(crate) fn cut(text: &str) -> &str {
    if text.len() <= AGENT_BYTES_MAX {
        return text;
    }
    let end = (0..=AGENT_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    &text[..end]
}

fn browser_of(text: &str) -> Box<str> {
    #[derive(Deserialize)]
    struct Patterns<'a> {
        user_agent_parsers: Vec<user_agent::Parser<'a>>,
    }
    static MATCHER: LazyLock<Option<user_agent::Extractor<'static>>> = LazyLock::new(|| {
        let patterns: Patterns<'static> = read()?;
        user_agent::Builder::new().push_all(patterns.user_agent_parsers).ok()?.build().ok()
    });
    let found = MATCHER.as_ref().and_then(|matcher| matcher.extract(text).map(|found| found.family.into()));
    named(found)
}

fn os_of(text: &str) -> Box<str> {
    #[derive(Deserialize)]
    struct Patterns<'a> {
        os_parsers: Vec<os::Parser<'a>>,
    }
    static MATCHER: LazyLock<Option<os::Extractor<'static>>> = LazyLock::new(|| {
        let patterns: Patterns<'static> = read()?;
        os::Builder::new().push_all(patterns.os_parsers).ok()?.build().ok()
    });
    named(MATCHER.as_ref().and_then(|matcher| matcher.extract(text).map(|found| found.os.into())))
}

fn device_of(text: &str) -> Box<str> {
    #[derive(Deserialize)]
    struct Patterns<'a> {
        device_parsers: Vec<device::Parser<'a>>,
    }
    static MATCHER: LazyLock<Option<device::Extractor<'static>>> = LazyLock::new(|| {
        let patterns: Patterns<'static> = read()?;
        device::Builder::new().push_all(patterns.device_parsers).ok()?.build().ok()
    });
    let found = MATCHER.as_ref().and_then(|matcher| matcher.extract(text).map(|found| found.device));
    // Chrome writes K instead of the model since it says less about its device; every Android phone would be a "K".
    named(found.map(|device| if device == "K" { "Generic Smartphone".into() } else { device.into() }))
}

fn named(found: Option<Box<str>>) -> Box<str> {
    found.filter(|name| !name.is_empty()).unwrap_or_else(|| OTHER.into())
}

/// Reads one of the three lists; the tests prove that the file holds all three and that they build.
fn read<P: Deserialize<'static>>() -> Option<P> {
    serde_json::from_str(include_str!("../../data/agents.json")).ok()
}
