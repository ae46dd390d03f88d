//! `is_bot` and `bot_reason`: whether a request came from a program rather than a person, and by which rule we think so.
//!
//! The rules look at the user agent alone: what it says openly. They are tried in order, the first that holds gives the
//! reason, so that every number on a dashboard can be traced to a rule and argued with.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, BooleanBuilder, StringBuilder};
use memchr::memmem;

use super::Described;
use super::agent::cut;
use super::recent::Recent;
use super::text::Texts;

pub(crate) const IS_BOT: Described = Described {
    name: "is_bot",
    signature: "is_bot(user_agent text) -> boolean",
    about: "Whether a user agent belongs to a program that acts by itself: crawler, monitor, HTTP library, headless \
            browser, or none given. Never null.",
    example: "is_bot('curl/8.5.0') = true",
};

pub(crate) const REASON: Described = Described {
    name: "bot_reason",
    signature: "bot_reason(user_agent text) -> text",
    about: "The rule by which is_bot says true; null for what looks like a person's browser.",
    example: "bot_reason('curl/8.5.0') = 'http tool: curl'",
};

/// A rule: what the lower-case user agent contains, and the kind of program that says so.
struct Rule {
    needle: &'static str,
    kind: &'static str,
}

const fn rule(kind: &'static str, needle: &'static str) -> Rule {
    Rule { needle, kind }
}

const SEARCH: &str = "search engine";
const AI: &str = "ai crawler";
const SEO: &str = "seo crawler";
const SOCIAL: &str = "link preview";
const MONITOR: &str = "monitor";
const ARCHIVE: &str = "archive";
const TOOL: &str = "http tool";
const LIBRARY: &str = "http library";
const HEADLESS: &str = "headless browser";
const SCANNER: &str = "scanner";
const FEED: &str = "feed reader";
const GENERIC: &str = "generic word";

/// Named programs first, so that the reason is as exact as can be; general words last.
static RULES: &[Rule] = &[
    rule(SEARCH, "googlebot"),
    rule(SEARCH, "google-inspectiontool"),
    rule(SEARCH, "storebot-google"),
    rule(SEARCH, "adsbot-google"),
    rule(SEARCH, "mediapartners-google"),
    rule(SEARCH, "feedfetcher-google"),
    rule(SEARCH, "googleother"),
    rule(SEARCH, "apis-google"),
    rule(SEARCH, "bingbot"),
    rule(SEARCH, "bingpreview"),
    rule(SEARCH, "adidxbot"),
    rule(SEARCH, "msnbot"),
    rule(SEARCH, "slurp"),
    rule(SEARCH, "duckduckbot"),
    rule(SEARCH, "baiduspider"),
    rule(SEARCH, "yandex.com/bots"),
    rule(SEARCH, "yandexbot"),
    rule(SEARCH, "sogou"),
    rule(SEARCH, "applebot"),
    rule(SEARCH, "petalbot"),
    rule(SEARCH, "seznambot"),
    rule(SEARCH, "qwantify"),
    rule(SEARCH, "qwantbot"),
    rule(SEARCH, "mojeekbot"),
    rule(SEARCH, "yeti/"),
    rule(SEARCH, "naverbot"),
    rule(SEARCH, "coccocbot"),
    rule(SEARCH, "exabot"),
    rule(AI, "gptbot"),
    rule(AI, "chatgpt-user"),
    rule(AI, "oai-searchbot"),
    rule(AI, "claudebot"),
    rule(AI, "claude-user"),
    rule(AI, "claude-web"),
    rule(AI, "anthropic-ai"),
    rule(AI, "perplexitybot"),
    rule(AI, "perplexity-user"),
    rule(AI, "ccbot"),
    rule(AI, "bytespider"),
    rule(AI, "amazonbot"),
    rule(AI, "meta-externalagent"),
    rule(AI, "meta-externalfetcher"),
    rule(AI, "cohere-ai"),
    rule(AI, "diffbot"),
    rule(AI, "youbot"),
    rule(AI, "mistralai-user"),
    rule(SEO, "ahrefsbot"),
    rule(SEO, "ahrefssiteaudit"),
    rule(SEO, "semrushbot"),
    rule(SEO, "mj12bot"),
    rule(SEO, "dotbot"),
    rule(SEO, "rogerbot"),
    rule(SEO, "blexbot"),
    rule(SEO, "dataforseobot"),
    rule(SEO, "serpstatbot"),
    rule(SEO, "screaming frog"),
    rule(SEO, "barkrowler"),
    rule(SEO, "siteauditbot"),
    rule(SOCIAL, "facebookexternalhit"),
    rule(SOCIAL, "facebot"),
    rule(SOCIAL, "twitterbot"),
    rule(SOCIAL, "linkedinbot"),
    rule(SOCIAL, "slackbot"),
    rule(SOCIAL, "slack-imgproxy"),
    rule(SOCIAL, "discordbot"),
    rule(SOCIAL, "telegrambot"),
    rule(SOCIAL, "whatsapp/"),
    rule(SOCIAL, "skypeuripreview"),
    rule(SOCIAL, "pinterestbot"),
    rule(SOCIAL, "redditbot"),
    rule(SOCIAL, "embedly"),
    rule(SOCIAL, "mastodon/"),
    rule(MONITOR, "pingdom"),
    rule(MONITOR, "uptimerobot"),
    rule(MONITOR, "statuscake"),
    rule(MONITOR, "site24x7"),
    rule(MONITOR, "newrelicpinger"),
    rule(MONITOR, "datadogsynthetics"),
    rule(MONITOR, "amazon-route53-health-check"),
    rule(MONITOR, "elb-healthchecker"),
    rule(MONITOR, "googlehc/"),
    rule(MONITOR, "kube-probe"),
    rule(MONITOR, "prometheus/"),
    rule(MONITOR, "blackbox"),
    rule(MONITOR, "nagios"),
    rule(MONITOR, "check_http"),
    rule(MONITOR, "zabbix"),
    rule(MONITOR, "betterstack"),
    rule(MONITOR, "chrome-lighthouse"),
    rule(MONITOR, "gtmetrix"),
    rule(MONITOR, "ptst/"),
    rule(ARCHIVE, "archive.org_bot"),
    rule(ARCHIVE, "ia_archiver"),
    rule(ARCHIVE, "heritrix"),
    rule(ARCHIVE, "httrack"),
    rule(TOOL, "curl"),
    rule(TOOL, "wget"),
    rule(TOOL, "httpie"),
    rule(TOOL, "postmanruntime"),
    rule(TOOL, "insomnia"),
    rule(TOOL, "apachebench"),
    rule(TOOL, "jmeter"),
    rule(TOOL, "k6/"),
    rule(TOOL, "hey/"),
    rule(TOOL, "vegeta"),
    rule(TOOL, "siege/"),
    rule(TOOL, "powershell/"),
    rule(LIBRARY, "python-requests"),
    rule(LIBRARY, "python-urllib"),
    rule(LIBRARY, "python-httpx"),
    rule(LIBRARY, "python/"),
    rule(LIBRARY, "aiohttp"),
    rule(LIBRARY, "scrapy"),
    rule(LIBRARY, "go-http-client"),
    rule(LIBRARY, "fasthttp"),
    rule(LIBRARY, "okhttp"),
    rule(LIBRARY, "apache-httpclient"),
    rule(LIBRARY, "apache-httpasyncclient"),
    rule(LIBRARY, "jakarta commons-httpclient"),
    rule(LIBRARY, "java/"),
    rule(LIBRARY, "jersey/"),
    rule(LIBRARY, "node-fetch"),
    rule(LIBRARY, "undici"),
    rule(LIBRARY, "axios"),
    rule(LIBRARY, "got ("),
    rule(LIBRARY, "superagent"),
    rule(LIBRARY, "libwww-perl"),
    rule(LIBRARY, "lwp::"),
    rule(LIBRARY, "lwp-trivial"),
    rule(LIBRARY, "ruby"),
    rule(LIBRARY, "faraday"),
    rule(LIBRARY, "guzzlehttp"),
    rule(LIBRARY, "symfony"),
    rule(LIBRARY, "wordpress/"),
    rule(LIBRARY, "php/"),
    rule(LIBRARY, "reqwest"),
    rule(LIBRARY, "hyper/"),
    rule(LIBRARY, "winhttp"),
    rule(LIBRARY, "dart/"),
    rule(HEADLESS, "headless"),
    rule(HEADLESS, "phantomjs"),
    rule(HEADLESS, "puppeteer"),
    rule(HEADLESS, "playwright"),
    rule(HEADLESS, "selenium"),
    rule(HEADLESS, "webdriver"),
    rule(HEADLESS, "cypress"),
    rule(HEADLESS, "splash"),
    rule(SCANNER, "nmap"),
    rule(SCANNER, "masscan"),
    rule(SCANNER, "zgrab"),
    rule(SCANNER, "nikto"),
    rule(SCANNER, "sqlmap"),
    rule(SCANNER, "nuclei"),
    rule(SCANNER, "wpscan"),
    rule(SCANNER, "censysinspect"),
    rule(SCANNER, "expanse"),
    rule(SCANNER, "internetmeasurement"),
    rule(SCANNER, "dirbuster"),
    rule(SCANNER, "gobuster"),
    rule(FEED, "feedly"),
    rule(FEED, "feedburner"),
    rule(FEED, "newsblur"),
    rule(FEED, "inoreader"),
    rule(FEED, "tiny tiny rss"),
    rule(FEED, "miniflux"),
    rule(FEED, "freshrss"),
    rule(FEED, "universalfeedparser"),
    rule(GENERIC, "bot"),
    rule(GENERIC, "crawl"),
    rule(GENERIC, "spider"),
    rule(GENERIC, "scrape"),
    rule(GENERIC, "fetcher"),
    rule(GENERIC, "archiver"),
    rule(GENERIC, "monitor"),
    rule(GENERIC, "validator"),
    rule(GENERIC, "preview"),
    rule(GENERIC, "http-client"),
    rule(GENERIC, "httpclient"),
];

/// Words in the user agents of people that a rule would take for a program's: makers and models of devices.
static INNOCENT: &[&str] = &["cubot", "abbott", "talbot", "preview build"];

/// The reason for a request that names no user agent: every browser does.
const NO_AGENT: &str = "no user agent";

/// Distinct user agents remembered, twice this at most; each takes about 250 bytes.
const REMEMBERED: usize = 8192;

static VERDICTS: LazyLock<Recent<Option<u16>>> = LazyLock::new(|| Recent::new(REMEMBERED));

static FINDERS: LazyLock<Vec<memmem::Finder<'static>>> =
    LazyLock::new(|| RULES.iter().map(|rule| memmem::Finder::new(rule.needle)).collect());

/// The reasons in the order of the rules, written once.
static REASONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    RULES.iter().map(|rule| format!("{}: {}", rule.kind, rule.needle.trim_end_matches('/'))).collect()
});

pub(crate) fn is_bot(arguments: &[Texts<'_>]) -> ArrayRef {
    let mut answer = BooleanBuilder::new();
    each(arguments, |reason| answer.append_value(reason.is_some()));
    Arc::new(answer.finish())
}

pub(crate) fn reason(arguments: &[Texts<'_>]) -> ArrayRef {
    let mut answer = StringBuilder::new();
    each(arguments, |reason| answer.append_option(reason));
    Arc::new(answer.finish())
}

fn each(arguments: &[Texts<'_>], mut take: impl FnMut(Option<&'static str>)) {
    let Some(texts) = arguments.first() else { return };
    let mut last: Option<(&str, Option<&'static str>)> = None;
    for text in texts.iter() {
        let text = text.map_or("", cut);
        let reason = match last {
            Some((seen, reason)) if seen == text => reason,
            _ => reason_of(text),
        };
        last = Some((text, reason));
        take(reason);
    }
}

/// Why `agent` is taken for a program's, if it is.
pub(crate) fn reason_of(agent: &str) -> Option<&'static str> {
    if agent.is_empty() || agent == "-" {
        return Some(NO_AGENT);
    }
    let rule = VERDICTS.get(agent, first_rule)?;
    REASONS.get(usize::from(rule)).map(String::as_str)
}

fn first_rule(agent: &str) -> Option<u16> {
    let mut lower = agent.to_ascii_lowercase();
    for word in INNOCENT {
        if lower.contains(word) {
            lower = lower.replace(word, "");
        }
    }
    let found = FINDERS.iter().position(|finder| finder.find(lower.as_bytes()).is_some())?;
    u16::try_from(found).ok()
}
