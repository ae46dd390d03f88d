//! The settings of one edge: `[edge.NAME]` of the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base::settings::{Data, Section, nearest};
use url::Url;

use crate::collect::Token;
use crate::request_log::field::Field;

/// The door of a site when the file names none.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

/// How long browsers may keep pictures and scripts: long enough for a visit, short enough for a correction.
const MAX_AGE_DEFAULT: Duration = Duration::from_secs(300);

/// Small files kept in memory: a shop's pages and pictures several times over.
const CACHE_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;

/// Log lines that may wait for the stream: some 60,000 of them, more than a second of what two cores can serve.
const QUEUE_BYTES_DEFAULT: u64 = 32 * 1024 * 1024;

/// How long an origin may be silent.
const ORIGIN_TIME_DEFAULT: Duration = Duration::from_secs(30);

/// What one edge serves, and how it is logged.
#[derive(Clone, Debug)]
pub struct EdgeSettings {
    /// `NAME` of `[edge.NAME]`.
    pub name: String,
    /// Where it listens.
    pub listen: SocketAddr,
    /// What it serves.
    pub content: Content,
    /// Its request log, if it keeps one.
    pub log: Option<LogSettings>,
    /// Paths that are answered with 204 and nothing else, so that their requests stand in the log.
    pub beacon: Vec<String>,
    /// Streams that may be posted to at `/collect/{stream}` of this door.
    pub collect: Vec<String>,
    /// The token that the collector of this door wants.
    pub collect_token: Option<TokenSource>,
    /// Where this edge stands, as the field `x-edge-location`; empty if nobody said.
    pub location: String,
    /// How long browsers may keep what is no page.
    pub max_age: Duration,
    /// Bytes of small files in memory.
    pub cache_bytes: u64,
    /// How long the origin may be silent.
    pub origin_time: Duration,
}

/// What an edge serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// The files of a folder.
    Root(PathBuf),
    /// Whatever another server answers.
    Origin(Url),
}

/// The request log of an edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// The stream that takes the lines.
    pub stream: String,
    /// How many of a hundred requests are logged, 1 to 100.
    pub sampling_rate: u8,
    /// The fields on each line, in the published order.
    pub fields: Vec<Field>,
    /// Bytes of lines that may wait for the stream.
    pub queue_bytes: u64,
}

impl LogSettings {
    /// All requests, with the usual fields, into `stream`.
    #[must_use]
    pub fn to(stream: &str) -> Self {
        Self {
            stream: stream.to_owned(),
            sampling_rate: 100,
            fields: Field::default_set(),
            queue_bytes: QUEUE_BYTES_DEFAULT,
        }
    }
}

/// Where the collector's token stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// In the file itself.
    Here(Token),
    /// In a file of its own, read at start.
    File(PathBuf),
}

impl EdgeSettings {
    /// An edge that serves the folder `root` and keeps no log.
    #[must_use]
    pub fn folder(name: &str, root: impl Into<PathBuf>) -> Self {
        Self {
            name: name.to_owned(),
            listen: LISTEN_DEFAULT,
            content: Content::Root(root.into()),
            log: None,
            beacon: Vec::new(),
            collect: Vec::new(),
            collect_token: None,
            location: String::new(),
            max_age: MAX_AGE_DEFAULT,
            cache_bytes: CACHE_BYTES_DEFAULT,
            origin_time: ORIGIN_TIME_DEFAULT,
        }
    }

    /// Reads `[edge.NAME]`. Every mistake is noted and read as the default.
    pub fn read(section: &mut Section<'_>) -> Self {
        let name = section.path().rsplit('.').next().unwrap_or_default().to_owned();
        let mut settings = Self::folder(&name, ".");
        let line = section.line();
        let listen = section.read("listen", |data| {
            let read = if let Data::Text(text) = data { text.parse::<SocketAddr>().ok() } else { None };
            read.ok_or_else(|| {
                (
                    "expected an address and a port".to_owned(),
                    format!("Write for example listen = \"{LISTEN_DEFAULT}\""),
                )
            })
        });
        settings.listen = listen.unwrap_or(LISTEN_DEFAULT);
        settings.content = read_content(section, line);
        settings.log = section.section("log", read_log);
        settings.beacon = read_beacon(section);
        settings.collect = section.texts("collect").unwrap_or_default();
        settings.collect_token = read_token(section);
        settings.location = section.text("location").unwrap_or_default();
        settings.max_age =
            section.duration("max_age", Duration::ZERO..=Duration::from_secs(365 * 86_400)).unwrap_or(MAX_AGE_DEFAULT);
        settings.cache_bytes = section.size("cache", 0..=64 << 30).unwrap_or(CACHE_BYTES_DEFAULT);
        let origin_times = Duration::from_secs(1)..=Duration::from_secs(3600);
        settings.origin_time = section.duration("origin_time", origin_times).unwrap_or(ORIGIN_TIME_DEFAULT);
        let public = section.boolean("public").unwrap_or(false);
        check_doors(section, &settings, public, line);
        settings
    }
}

fn read_content(section: &mut Section<'_>, line: usize) -> Content {
    let root = section.text("root");
    let origin = section.read("origin", |data| {
        let url = if let Data::Text(text) = data { Url::parse(text).ok() } else { None };
        let fits = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.has_host()
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        url.filter(fits).ok_or_else(|| {
            (
                "expected an http or https address without query or credentials".to_owned(),
                "Write for example origin = \"http://127.0.0.1:3000\"".to_owned(),
            )
        })
    });
    match (root, origin) {
        (Some(_), Some(_)) => {
            let what = "root and origin are both given, but an edge serves one of them";
            section.problem(line, "", what, "Remove root to pass through, or origin to serve the folder");
            Content::Root(".".into())
        }
        (Some(root), None) => Content::Root(root.into()),
        (None, Some(origin)) => Content::Origin(origin),
        (None, None) => {
            section.problem(
                line,
                "",
                "there is nothing to serve",
                "Add root = \"shop/\" for a folder, or origin = \"http://127.0.0.1:3000\" for another server",
            );
            Content::Root(".".into())
        }
    }
}

fn read_log(section: &mut Section<'_>) -> LogSettings {
    let stream = section.required_text("stream", "clicks").unwrap_or_default();
    let mut log = LogSettings::to(&stream);
    if let Some(rate) = section.integer("sampling_rate", 1..=100) {
        log.sampling_rate = u8::try_from(rate).unwrap_or(100);
    }
    if let Some(size) = section.size("queue", 64 * 1024..=4 << 30) {
        log.queue_bytes = size;
    }
    read_fields(section, &mut log);
    log
}

fn read_fields(section: &mut Section<'_>, log: &mut LogSettings) {
    let Some(value) = section.take("fields") else { return };
    let names = match &value.data {
        Data::Array(items) if !items.is_empty() => items,
        _ => {
            let remedy = "Write for example fields = [\"timestamp\", \"c-ip\", \"cs-uri-stem\", \"sc-status\"]";
            return section.problem(value.line, "fields", "expected a list of field names", remedy);
        }
    };
    log.fields.clear();
    for item in names {
        let name = if let Data::Text(name) = &item.data { name.as_str() } else { "" };
        match Field::by_name(name) {
            Some(field) if log.fields.contains(&field) => {
                section.problem(item.line, "fields", format!("{name:?} is named twice"), "Remove one of them");
            }
            Some(field) => log.fields.push(field),
            None => {
                let remedy = match nearest(name, &Field::NAMES) {
                    Some(near) => format!("Did you mean {near:?}?"),
                    None => "docs/edge.md lists all 69 names".to_owned(),
                };
                section.problem(item.line, "fields", format!("{name:?} is not a field"), remedy);
            }
        }
    }
    log.fields.sort_unstable();
    if log.fields.is_empty() {
        log.fields = Field::default_set();
    }
}

fn read_beacon(section: &mut Section<'_>) -> Vec<String> {
    let fits = |path: &String| path.starts_with('/') && !path.contains(['?', '#', ' ', '%']);
    section
        .read("beacon", |data| {
            let wrong = || {
                (
                    "expected a list of paths that begin with '/', without query and escapes".to_owned(),
                    "Write for example beacon = [\"/action\"]".to_owned(),
                )
            };
            let Data::Array(items) = data else { return Err(wrong()) };
            let paths = items.iter().map(|item| match &item.data {
                Data::Text(path) if fits(path) => Ok(path.clone()),
                _ => Err(wrong()),
            });
            paths.collect()
        })
        .unwrap_or_default()
}

fn read_token(section: &mut Section<'_>) -> Option<TokenSource> {
    let line = section.line();
    let here = section.read("collect_token", |data| {
        let read = match data {
            Data::Text(text) => Token::new(text),
            _ => Err("expected a string".to_owned()),
        };
        read.map_err(|what| (what, "Write a long random token, for example from: openssl rand -hex 24".to_owned()))
    });
    let file = section.text("collect_token_file");
    if here.is_some() && file.is_some() {
        section.problem(
            line,
            "collect_token",
            "the token is given twice",
            "Remove collect_token or collect_token_file",
        );
    }
    here.map(TokenSource::Here).or(file.map(|file| TokenSource::File(file.into())))
}

/// A door that others can reach must be meant to be one.
fn check_doors(section: &mut Section<'_>, settings: &EdgeSettings, public: bool, line: usize) {
    let beyond = !settings.listen.ip().to_canonical().is_loopback();
    if beyond && !public {
        section.problem(
            line,
            "listen",
            format!("{} can be reached from other machines", settings.listen),
            "If it should be, add public = true; else listen on 127.0.0.1",
        );
    }
    if beyond && !settings.collect.is_empty() && settings.collect_token.is_none() {
        section.problem(
            line,
            "collect",
            "anybody could write to these streams",
            "Add collect_token_file = \"token\" (clients send it as Authorization: Bearer …), or remove collect",
        );
    }
    if settings.collect_token.is_some() && settings.collect.is_empty() {
        let remedy = "Add collect = [\"…\"] with the streams that may be posted to, or remove the token";
        section.problem(line, "collect_token", "guards nothing", remedy);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::settings::{Problem, Value};
    use std::collections::BTreeMap;

    fn text(text: &str) -> Data {
        Data::Text(text.to_owned())
    }

    fn texts(items: &[&str]) -> Data {
        Data::Array(items.iter().map(|item| Value { line: 9, data: text(item) }).collect())
    }

    fn table(entries: Vec<(&str, Data)>) -> Data {
        let entries = entries.into_iter().map(|(key, data)| (key.to_owned(), Value { line: 5, data }));
        Data::Table(entries.collect::<BTreeMap<_, _>>())
    }

    fn read(entries: Vec<(&str, Data)>) -> (EdgeSettings, Vec<String>) {
        let mut problems: Vec<Problem> = Vec::new();
        let mut section = Section::new("edge.shop", Value { line: 3, data: table(entries) }, &mut problems);
        let settings = EdgeSettings::read(&mut section);
        section.finish();
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_whole_edge_is_read() {
        let log = table(vec![
            ("stream", text("clicks")),
            ("sampling_rate", Data::Integer(25)),
            ("fields", texts(&["sc-status", "timestamp"])),
        ]);
        let (edge, problems) = read(vec![
            ("listen", text("0.0.0.0:80")),
            ("public", Data::Bool(true)),
            ("root", text("shop/")),
            ("log", log),
            ("beacon", texts(&["/action"])),
            ("collect", texts(&["events"])),
            ("collect_token", text("0123456789abcdef0123")),
            ("location", text("FRA1")),
            ("max_age", text("1h")),
            ("cache", text("1MiB")),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!(
            (edge.name.as_str(), edge.listen.port(), edge.max_age.as_secs(), edge.cache_bytes),
            ("shop", 80, 3600, 1 << 20)
        );
        assert_eq!(edge.content, Content::Root("shop/".into()));
        let log = edge.log.expect("a log");
        assert_eq!((log.stream.as_str(), log.sampling_rate), ("clicks", 25));
        assert_eq!(log.fields, [Field::TIMESTAMP, Field::SC_STATUS], "in the published order");
        assert_eq!(
            (edge.beacon, edge.collect, edge.location.as_str()),
            (vec!["/action".to_owned()], vec!["events".to_owned()], "FRA1")
        );
    }

    #[test]
    fn every_mistake_of_an_edge_is_told() {
        let log = table(vec![
            ("sampling_rate", Data::Integer(0)),
            ("fields", texts(&["timestamp", "cs-uri-steam", "price", "timestamp"])),
        ]);
        let (_, problems) = read(vec![
            ("listen", text("localhost")),
            ("root", text("shop/")),
            ("origin", text("http://127.0.0.1:3000")),
            ("log", log),
            ("beacon", texts(&["action"])),
            ("collect_token", text("short")),
            ("rooot", text("x")),
        ]);
        assert_eq!(
            problems,
            [
                "line 5: edge.shop.listen: expected an address and a port. Write for example listen = \"127.0.0.1:8080\"",
                "line 3: edge.shop: root and origin are both given, but an edge serves one of them. Remove root to pass through, or origin to serve the folder",
                "line 5: edge.shop.log.stream: is missing. Add stream = \"clicks\"",
                "line 5: edge.shop.log.sampling_rate: expected a whole number from 1 to 100, found the number 0. Write for example sampling_rate = 1",
                "line 9: edge.shop.log.fields: \"cs-uri-steam\" is not a field. Did you mean \"cs-uri-stem\"?",
                "line 9: edge.shop.log.fields: \"price\" is not a field. docs/edge.md lists all 69 names",
                "line 9: edge.shop.log.fields: \"timestamp\" is named twice. Remove one of them",
                "line 5: edge.shop.beacon: expected a list of paths that begin with '/', without query and escapes. Write for example beacon = [\"/action\"]",
                "line 5: edge.shop.collect_token: expected a token of at least 16 characters, found 5. Write a long random token, for example from: openssl rand -hex 24",
                "line 5: edge.shop.rooot: is not a known key. Did you mean root?",
            ]
        );
    }

    #[test]
    fn a_door_to_the_world_must_be_meant() {
        let world = || vec![("listen", text("[::]:80")), ("root", text("shop/"))];
        assert_eq!(
            read(world()).1,
            [
                "line 3: edge.shop.listen: [::]:80 can be reached from other machines. If it should be, add public = true; else listen on 127.0.0.1"
            ]
        );
        let mut open = world();
        open.extend([("public", Data::Bool(true)), ("collect", texts(&["events"]))]);
        assert_eq!(
            read(open.clone()).1,
            [
                "line 3: edge.shop.collect: anybody could write to these streams. Add collect_token_file = \"token\" (clients send it as Authorization: Bearer …), or remove collect"
            ]
        );
        open.push(("collect_token_file", text("token")));
        assert_eq!(read(open).1, Vec::<String>::new());
        let local = vec![("listen", text("[::1]:80")), ("root", text("shop/")), ("collect", texts(&["events"]))];
        assert_eq!(read(local).1, Vec::<String>::new());
        assert_eq!(read(vec![]).1.len(), 1, "an edge must serve something");
        for bad in ["ftp://x/", "http://user:pw@x/", "http://x/?q", "nonsense"] {
            let problems = read(vec![("origin", text(bad))]).1;
            assert!(problems[0].contains("expected an http or https address"), "{problems:?}");
        }
    }
}
