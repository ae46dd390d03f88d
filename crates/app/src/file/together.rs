//! What no room can see alone: whether names meet, whether doors stand in each other's way, whether there is a certificate
//! and a key for what asks for one.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use base::settings::{Data, Problem, Value, nearest};
use edge::{Tls, TlsError, TlsSettings};

use super::read::Settings;
use super::secrets::{self, DoorTls};

/// Holds the parts of the file against each other.
pub(super) fn check(settings: &Settings, places: &Places, problems: &mut Vec<Problem>) {
    streams(settings, places, problems);
    let doors = doors(settings);
    addresses(&doors, places, problems);
    certificates(settings, &doors, places, problems);
    uncertified(&doors, places, problems);
    unkeyed(settings, places, problems);
}

/// A door: the key of its section, where it listens, and which certificate it shows.
struct Door<'a> {
    key: Vec<&'a str>,
    listen: SocketAddr,
    tls: &'a DoorTls,
}

impl<'a> Door<'a> {
    /// The whole key of what its section says at `key`.
    fn key_of(&self, key: &'a str) -> Vec<&'a str> {
        self.key.iter().copied().chain([key]).collect()
    }
}

fn doors(settings: &Settings) -> Vec<Door<'_>> {
    let console = Door { key: vec!["console"], listen: settings.console.listen, tls: &settings.console_tls };
    let edges = settings.edges.iter().map(|(edge, tls)| {
        let key = vec!["edge", edge.name.as_str()];
        Door { key, listen: edge.listen, tls }
    });
    let kinesis = settings.kinesis.iter().map(|kinesis| {
        let key = vec!["kinesis"];
        Door { key, listen: kinesis.door.listen, tls: &kinesis.tls }
    });
    std::iter::once(console).chain(edges).chain(kinesis).collect()
}

/// Whether every stream that is named is declared.
fn streams(settings: &Settings, places: &Places, problems: &mut Vec<Problem>) {
    let streams: Vec<&str> = settings.streams.keys().map(String::as_str).collect();
    let mut named = |name: &str, key: Vec<&str>| {
        if name.is_empty() || streams.contains(&name) {
            return; // an empty name was told by the room
        }
        let near = nearest(name, &streams).map(|near| format!("Did you mean {near:?}? Else add [stream.{name}]"));
        let remedy = near.unwrap_or_else(|| format!("Add [stream.{name}]"));
        problems.push(places.problem(&key, format!("there is no stream {name:?}"), remedy));
    };
    for (edge, _) in &settings.edges {
        if let Some(log) = &edge.log {
            named(&log.stream, vec!["edge", &edge.name, "log", "stream"]);
        }
        for stream in &edge.collect {
            named(stream, vec!["edge", &edge.name, "collect"]);
        }
    }
    for table in &settings.tables {
        named(&table.from, vec!["table", &table.name, "from"]);
    }
}

/// Whether each door has an address of its own.
fn addresses(doors: &[Door<'_>], places: &Places, problems: &mut Vec<Problem>) {
    let mut taken: BTreeMap<SocketAddr, String> = BTreeMap::new();
    for door in doors {
        let (address, key) = (door.listen, door.key_of("listen"));
        if address.port() == 0 {
            continue; // the system chooses a free one
        }
        if let Some(other) = taken.insert(address, key.join(".")) {
            let what = format!("{address} is already that of {other}");
            problems.push(places.problem(&key, what, "Give each door a port of its own".to_owned()));
        }
    }
}

/// Each certificate and its key are tried, so that a wrong one is found before a door is to open with it.
fn certificates(settings: &Settings, doors: &[Door<'_>], places: &Places, problems: &mut Vec<Problem>) {
    let all = settings.tls.iter().map(|tls| (vec!["tls"], tls));
    let own = doors.iter().filter_map(|door| match door.tls {
        DoorTls::Own(own) => Some((door.key_of("tls"), own)),
        DoorTls::AsAll | DoorTls::Wanted | DoorTls::Off => None,
    });
    for (mut key, tls) in all.chain(own) {
        if let Err(error) = Tls::open(tls) {
            let (what, remedy) = secrets::parted(&error.to_string(), "See docs/configuration.md");
            key.push(file_at_fault(&error, tls));
            problems.push(places.problem(&key, what, remedy));
        }
    }
}

/// The key that names the file with which something is wrong; the private key's if the two do not fit together.
fn file_at_fault(error: &TlsError, tls: &TlsSettings) -> &'static str {
    let is_certificate = match error {
        TlsError::Read { file, .. } => *file == tls.certificate,
        TlsError::Pem { what, .. } => *what == "certificate",
        TlsError::Pair { .. } => false,
    };
    if is_certificate { "certificate" } else { "key" }
}

/// Doors that are to speak TLS and have no certificate: they would open, and speak plain HTTP.
fn uncertified(doors: &[Door<'_>], places: &Places, problems: &mut Vec<Problem>) {
    if places.has(&["tls"]) {
        return; // what is wrong with it was told there
    }
    for door in doors.iter().filter(|door| *door.tls == DoorTls::Wanted) {
        let remedy = format!("Add [tls] with certificate and key, or write [{}.tls] instead", door.key.join("."));
        problems.push(places.problem(&door.key_of("tls"), "tls = true needs a certificate".to_owned(), remedy));
    }
}

/// Streams that are to be encrypted although the file names no keys.
fn unkeyed(settings: &Settings, places: &Places, problems: &mut Vec<Problem>) {
    if places.has(&["encryption"]) {
        return; // what is wrong with it was told there
    }
    for (name, _) in settings.streams.iter().filter(|(_, stream)| stream.encryption) {
        let what = "there is no key to encrypt with".to_owned();
        let remedy = "Add [encryption] with key_file = \"encryption.keys\", made with: openssl rand -hex 32".to_owned();
        problems.push(places.problem(&["stream", name, "encryption"], what, remedy));
    }
}

/// The file once more, to find the line of a key.
pub(super) struct Places(Value);

impl Places {
    pub(super) fn of(root: &Value) -> Self {
        Self(root.clone())
    }

    /// Moves a mistake from the line of a section to that of the key in it: a room that looks at several keys together
    /// knows their section's line only.
    pub(super) fn sharpen(&self, problem: &mut Problem) {
        let key: Vec<&str> = problem.key.split('.').collect();
        let section = &key[..key.len() - 1];
        if problem.line == self.line_of(section) {
            problem.line = self.line_of(&key);
        }
    }

    fn problem(&self, key: &[&str], what: String, remedy: String) -> Problem {
        Problem { line: self.line_of(key), key: key.join("."), what, remedy }
    }

    fn has(&self, key: &[&str]) -> bool {
        self.way(key).count() == key.len()
    }

    /// The line of the key, or of the nearest section around it.
    fn line_of(&self, key: &[&str]) -> usize {
        self.way(key).last().unwrap_or(&self.0).line
    }

    /// What stands at each part of the key, as far as there is something.
    fn way(&self, key: &[&str]) -> impl Iterator<Item = &Value> {
        let mut at = Some(&self.0);
        key.iter().map_while(move |part| {
            at = match &at?.data {
                Data::Table(entries) => entries.get(*part),
                _ => None,
            };
            at
        })
    }
}
