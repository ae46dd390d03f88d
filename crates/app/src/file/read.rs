//! The whole file as typed settings: every room reads its own part, and then the parts are held against each other.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::settings::{Data, Problem, Section, Value, nearest};
use console::{ConsoleSettings, Dashboards};
use deliver::TableSettings;
use edge::{Content, DeliveryAccess, EdgeSettings, KeySource, KinesisSettings, TlsSettings, TokenSource};
use lake::LakeSettings;
use query::QuerySettings;
use stream::{Keyring, StreamSettings};

use super::secrets::{self, DoorTls};
use super::together::{self, Places};
use super::{names, toml_value};

/// Where data lie unless the file says otherwise, beside the file.
const DATA_DEFAULT: &str = "riverrun-data";

/// What the file may say at its top, in the order in which it is documented.
const KNOWN: [&str; 11] =
    ["data", "console", "edge", "kinesis", "tls", "stream", "encryption", "table", "query", "lake", "dashboard"];

/// What the design names and this version does not have.
const LATER: [&str; 5] = ["view", "alert", "function", "kafka", "postgres"];

/// What the file says, as far as it makes sense together.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The data folder.
    pub(crate) data: PathBuf,
    pub(crate) console: ConsoleSettings,
    pub(crate) console_tls: DoorTls,
    pub(crate) edges: Vec<(EdgeSettings, DoorTls)>,
    /// The door of the Kinesis and Firehose APIs, if the file opens it.
    pub(crate) kinesis: Option<KinesisDoorSettings>,
    /// The certificate of all doors that have none of their own.
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) streams: BTreeMap<String, StreamSettings>,
    /// What encrypted streams are sealed and opened with.
    pub(crate) keys: Option<Keyring>,
    pub(crate) tables: Vec<TableSettings>,
    pub(crate) query: QuerySettings,
    pub(crate) lake: LakeSettings,
    pub(crate) dashboards: Dashboards,
}

/// `[kinesis]`.
#[derive(Clone, Debug)]
pub(crate) struct KinesisDoorSettings {
    pub(crate) door: KinesisSettings,
    pub(crate) tls: DoorTls,
    /// Who may deliver to the HTTP endpoint of the Firehose API.
    pub(crate) delivery: DeliveryAccess,
}

impl Settings {
    /// One line that says what the file declares.
    pub(crate) fn summary(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        [
            "no mistakes".to_owned(),
            count(self.edges.len(), "edge"),
            count(self.streams.len(), "stream"),
            count(self.tables.len(), "table"),
            count(self.dashboards.dashboards.len(), "dashboard"),
        ]
        .join(", ")
    }
}

/// Reads the text of a file that lies in `folder`.
pub(crate) fn settings(text: &str, folder: &Path) -> Result<Settings, Vec<Problem>> {
    let mut problems = Vec::new();
    let root = toml_value::parse(text, &mut problems);
    let places = Places::of(&root);
    let mut parts = match root.data {
        Data::Table(parts) => parts,
        _ => BTreeMap::new(),
    };
    let console = part(&mut parts, "console", &mut problems, |section| {
        let tls = secrets::of_door(section, folder);
        (ConsoleSettings::read(section, folder), tls)
    });
    let (console, console_tls) = console.unwrap_or_default();
    let edges = each(&mut parts, "edge", &mut problems, |section| {
        let tls = secrets::of_door(section, folder);
        let edge = from_folder(EdgeSettings::read(section), folder);
        if let Some(TokenSource::File(file)) = &edge.collect_token {
            secrets::try_collect_token(section, file);
        }
        (edge, tls)
    });
    let kinesis = part(&mut parts, "kinesis", &mut problems, |section| {
        let tls = secrets::of_door(section, folder);
        let key = secrets::delivery_key(section, folder);
        let mut door = KinesisSettings::read(section);
        if let KeySource::File(file) = &mut door.keys {
            *file = folder.join(&*file);
            secrets::try_access_keys(section, file);
        }
        let is_open = matches!(door.keys, KeySource::Open) && door.listen.ip().to_canonical().is_loopback();
        let delivery = match key {
            Some(key) => DeliveryAccess::Key(key),
            None if is_open => DeliveryAccess::Open,
            None => DeliveryAccess::Closed,
        };
        KinesisDoorSettings { door, tls, delivery }
    });
    let tls = part(&mut parts, "tls", &mut problems, |section| secrets::of_all(section, folder));
    let streams = each(&mut parts, "stream", &mut problems, StreamSettings::read);
    let encryption = part(&mut parts, "encryption", &mut problems, |section| secrets::keys(section, folder));
    let tables = each(&mut parts, "table", &mut problems, TableSettings::read);
    let settings = Settings {
        data: data(&mut parts, folder, &mut problems),
        console,
        console_tls,
        edges: edges.into_values().collect(),
        kinesis,
        tls: tls.flatten(),
        streams,
        keys: encryption.flatten(),
        tables: tables.into_values().collect(),
        query: part(&mut parts, "query", &mut problems, QuerySettings::read).unwrap_or_default(),
        lake: part(&mut parts, "lake", &mut problems, LakeSettings::read).unwrap_or_default(),
        dashboards: part(&mut parts, "dashboard", &mut problems, Dashboards::read).unwrap_or_default(),
    };
    unknown(parts, &mut problems);
    together::check(&settings, &places, &mut problems);
    if problems.is_empty() {
        return Ok(settings);
    }
    for problem in &mut problems {
        places.sharpen(problem);
    }
    problems.sort_by(|a, b| (a.line, &a.key).cmp(&(b.line, &b.key)));
    problems.dedup();
    Err(problems)
}

type Parts = BTreeMap<String, Value>;

/// The section of that name, read by its room.
fn part<T>(
    parts: &mut Parts,
    name: &str,
    problems: &mut Vec<Problem>,
    read: impl FnOnce(&mut Section<'_>) -> T,
) -> Option<T> {
    let mut section = Section::new(name, parts.remove(name)?, problems);
    let made = read(&mut section);
    section.finish();
    Some(made)
}

/// All sections `[kind.NAME]`, each read by its room.
fn each<T>(
    parts: &mut Parts,
    kind: &str,
    problems: &mut Vec<Problem>,
    read: impl Fn(&mut Section<'_>) -> T,
) -> BTreeMap<String, T> {
    let Some(value) = parts.remove(kind) else { return BTreeMap::new() };
    let mut all = Section::new(kind, value, problems);
    let named = all.take_all();
    all.finish();
    let mut made = BTreeMap::new();
    for (name, value) in named {
        if let Some((what, remedy)) = names::problem(&name) {
            problems.push(Problem { line: value.line, key: format!("{kind}.{name}"), what, remedy });
            continue;
        }
        let mut section = Section::new(format!("{kind}.{name}"), value, problems);
        made.insert(name, read(&mut section));
        section.finish();
    }
    made
}

fn data(parts: &mut Parts, folder: &Path, problems: &mut Vec<Problem>) -> PathBuf {
    match parts.remove("data") {
        None => folder.join(DATA_DEFAULT),
        Some(Value { data: Data::Text(path), .. }) if !path.is_empty() => named_from(folder, &path),
        Some(Value { line, .. }) => {
            problems.push(Problem {
                line,
                key: "data".to_owned(),
                what: "expected the name of a folder".to_owned(),
                remedy: format!("Write data = \"./{DATA_DEFAULT}\""),
            });
            folder.join(DATA_DEFAULT)
        }
    }
}

/// What the file names, seen from the file's folder, without the `.` of `./data`.
fn named_from(folder: &Path, name: impl AsRef<Path>) -> PathBuf {
    folder.join(name).components().collect()
}

/// Files and folders named in the file are named from where it lies.
fn from_folder(mut edge: EdgeSettings, folder: &Path) -> EdgeSettings {
    if let Content::Root(root) = &mut edge.content {
        *root = named_from(folder, &*root);
    }
    if let Some(TokenSource::File(file)) = &mut edge.collect_token {
        *file = folder.join(&*file);
    }
    edge
}

fn unknown(parts: Parts, problems: &mut Vec<Problem>) {
    for (key, value) in parts {
        let (what, remedy) = if key == "firehose" {
            (
                "has no section of its own".to_owned(),
                "Remove it: the Firehose API is served where [kinesis] listens, and every table is a delivery stream"
                    .to_owned(),
            )
        } else if LATER.contains(&key.as_str()) {
            (
                "is not available in this version".to_owned(),
                "Remove it; CHANGELOG.md says what each version has".to_owned(),
            )
        } else {
            let remedy = match nearest(&key, &KNOWN) {
                Some(near) => format!("Did you mean {near}?"),
                None => format!("Known here: {}", KNOWN.join(", ")),
            };
            ("is not a known key".to_owned(), remedy)
        };
        problems.push(Problem { line: value.line, key, what, remedy });
    }
}
