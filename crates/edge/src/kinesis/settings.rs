//! The settings of the door: `[kinesis]` of the file.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use base::settings::{Data, Section};

use super::auth::AccessKeys;

/// Where the door listens when the file does not say: the port that local stand-ins for the service have always had.
pub const KINESIS_LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4567);

/// Open shards of all streams together. Each holds two files and a queue; the measured figures are in
/// docs/performance.md.
const SHARDS_DEFAULT: i64 = 6000;

/// What all requests in progress may hold together: the door's part of the process' memory.
const MEMORY_DEFAULT: u64 = 256 * 1024 * 1024;

const ACCOUNT_DEFAULT: &str = "000000000000";
const REGION_DEFAULT: &str = "us-east-1";

/// Whose limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KinesisLimits {
    /// What the machine can do.
    #[default]
    Off,
    /// Those that the service publishes, per shard and per account.
    Aws,
}

/// Where access keys stand.
#[derive(Clone, Debug, Default)]
pub enum KeySource {
    /// Anybody may come: for doors that only this machine reaches.
    #[default]
    Open,
    /// In the server's file.
    Here(AccessKeys),
    /// In a file of its own, read at start: on each line an access key id, a blank, and its secret.
    File(PathBuf),
}

/// `[kinesis]`.
#[derive(Clone, Debug)]
pub struct KinesisSettings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Who may come.
    pub keys: KeySource,
    /// Whose limits hold.
    pub limits: KinesisLimits,
    /// Twelve digits, part of every ARN.
    pub account: String,
    /// Part of every ARN.
    pub region: String,
    /// Open shards of all streams together.
    pub shards_max: u32,
    /// Bytes that all requests in progress may hold together.
    pub memory_bytes: u64,
}

impl Default for KinesisSettings {
    fn default() -> Self {
        Self {
            listen: KINESIS_LISTEN_DEFAULT,
            keys: KeySource::Open,
            limits: KinesisLimits::Off,
            account: ACCOUNT_DEFAULT.to_owned(),
            region: REGION_DEFAULT.to_owned(),
            shards_max: u32::try_from(SHARDS_DEFAULT).unwrap_or(u32::MAX),
            memory_bytes: MEMORY_DEFAULT,
        }
    }
}

impl KinesisSettings {
    /// Reads `[kinesis]`: `listen`, `public`, `keys`, `keys_file`, `limits`, `account`, `region`, `shards`, `memory`.
    /// Every mistake is noted and read as the default.
    pub fn read(section: &mut Section<'_>) -> Self {
        let mut settings = Self::default();
        let line = section.line();
        let listen = section.read("listen", |data| {
            let read = if let Data::Text(text) = data { text.parse::<SocketAddr>().ok() } else { None };
            read.ok_or_else(|| {
                (
                    "expected an address and a port".to_owned(),
                    format!("Write for example listen = \"{KINESIS_LISTEN_DEFAULT}\""),
                )
            })
        });
        settings.listen = listen.unwrap_or(KINESIS_LISTEN_DEFAULT);
        settings.keys = read_keys(section, line);
        settings.limits = section.read("limits", read_limits).unwrap_or_default();
        if let Some(account) = section.read("account", |data| {
            let fits = |text: &&String| text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit());
            let read = if let Data::Text(text) = data { Some(text).filter(fits) } else { None };
            read.cloned().ok_or_else(|| {
                (
                    "expected twelve digits in quotes".to_owned(),
                    format!("Write for example account = \"{ACCOUNT_DEFAULT}\""),
                )
            })
        }) {
            settings.account = account;
        }
        if let Some(region) = section.read("region", |data| {
            let fits = |text: &&String| {
                (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            let read = if let Data::Text(text) = data { Some(text).filter(fits) } else { None };
            read.cloned().ok_or_else(|| {
                ("expected the name of a region".to_owned(), format!("Write for example region = \"{REGION_DEFAULT}\""))
            })
        }) {
            settings.region = region;
        }
        let shards = section.integer("shards", 1..=100_000).unwrap_or(SHARDS_DEFAULT);
        settings.shards_max = u32::try_from(shards).unwrap_or(u32::MAX);
        settings.memory_bytes = section.size("memory", 32 << 20..=64 << 30).unwrap_or(MEMORY_DEFAULT);
        let public = section.boolean("public").unwrap_or(false);
        check_door(section, &settings, public, line);
        settings
    }
}

fn read_limits(data: &Data) -> Result<KinesisLimits, (String, String)> {
    match data {
        Data::Text(text) if text == "off" => Ok(KinesisLimits::Off),
        Data::Text(text) if text == "aws" => Ok(KinesisLimits::Aws),
        _ => Err((
            "expected \"off\" or \"aws\"".to_owned(),
            "Write limits = \"aws\" to have the service's limits per shard, or leave it out".to_owned(),
        )),
    }
}

fn read_keys(section: &mut Section<'_>, line: usize) -> KeySource {
    if matches!(section.look("keys"), Some(Data::Table(keys)) if keys.is_empty()) {
        let remedy = "Add a key, AKIDEXAMPLE = \"…\" with a secret of your own, or remove [kinesis.keys]";
        section.problem(line, "keys", "there is no access key in it, and without one the door is open", remedy);
    }
    let here = section.section("keys", |section| {
        let mut keys = AccessKeys::open();
        for (id, value) in section.take_all() {
            let secret = if let Data::Text(secret) = &value.data { secret.as_str() } else { "" };
            if let Err((what, remedy)) = keys.insert(&id, secret) {
                section.problem(value.line, &id, what, remedy);
            }
        }
        keys
    });
    let file = section.text("keys_file");
    if here.is_some() && file.is_some() {
        section.problem(line, "keys", "the access keys are given twice", "Remove [kinesis.keys] or keys_file");
    }
    match (here, file) {
        (Some(keys), _) => KeySource::Here(keys),
        (None, Some(file)) => KeySource::File(file.into()),
        (None, None) => KeySource::Open,
    }
}

/// A door that others can reach must be meant to be one, and must have a lock.
fn check_door(section: &mut Section<'_>, settings: &KinesisSettings, public: bool, line: usize) {
    if settings.listen.ip().to_canonical().is_loopback() {
        return;
    }
    if !public {
        section.problem(
            line,
            "listen",
            format!("{} can be reached from other machines", settings.listen),
            "If it should be, add public = true; else listen on 127.0.0.1",
        );
    }
    if matches!(settings.keys, KeySource::Open) {
        section.problem(
            line,
            "keys",
            "anybody could read and write every stream",
            "Add keys_file = \"kinesis-keys\" with an access key id and a secret on each line",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::settings::{Problem, Value};

    fn text(text: &str) -> Data {
        Data::Text(text.to_owned())
    }

    fn table(entries: Vec<(&str, Data)>) -> Data {
        let entries = entries.into_iter().map(|(key, data)| (key.to_owned(), Value { line: 5, data }));
        Data::Table(entries.collect())
    }

    fn read(entries: Vec<(&str, Data)>) -> (KinesisSettings, Vec<String>) {
        let mut problems: Vec<Problem> = Vec::new();
        let mut section = Section::new("kinesis", Value { line: 3, data: table(entries) }, &mut problems);
        let settings = KinesisSettings::read(&mut section);
        section.finish();
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_whole_door_is_read() {
        let keys = table(vec![("AKIDEXAMPLE", text("0123456789abcdef0123"))]);
        let (settings, problems) = read(vec![
            ("listen", text("0.0.0.0:4567")),
            ("public", Data::Bool(true)),
            ("keys", keys),
            ("limits", text("aws")),
            ("account", text("123456789012")),
            ("region", text("eu-central-1")),
            ("shards", Data::Integer(50)),
            ("memory", text("64MiB")),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        assert_eq!((settings.limits, settings.shards_max, settings.memory_bytes), (KinesisLimits::Aws, 50, 64 << 20));
        assert_eq!((settings.account.as_str(), settings.region.as_str()), ("123456789012", "eu-central-1"));
        assert!(!format!("{settings:?}").contains("0123456789abcdef"), "a secret is never shown");
        let (default, problems) = read(vec![]);
        assert_eq!((default.listen, problems), (KINESIS_LISTEN_DEFAULT, vec![]));
    }

    #[test]
    fn every_mistake_of_the_door_is_told() {
        let (_, problems) = read(vec![
            ("listen", text("0.0.0.0:4567")),
            ("limits", text("some")),
            ("account", Data::Integer(1)),
            ("region", text("a b")),
        ]);
        assert_eq!(
            problems,
            [
                "line 5: kinesis.limits: expected \"off\" or \"aws\". Write limits = \"aws\" to have the service's limits per shard, or leave it out",
                "line 5: kinesis.account: expected twelve digits in quotes. Write for example account = \"000000000000\"",
                "line 5: kinesis.region: expected the name of a region. Write for example region = \"us-east-1\"",
                "line 3: kinesis.listen: 0.0.0.0:4567 can be reached from other machines. If it should be, add public = true; else listen on 127.0.0.1",
                "line 3: kinesis.keys: anybody could read and write every stream. Add keys_file = \"kinesis-keys\" with an access key id and a secret on each line",
            ]
        );
        let short = table(vec![("AKID", text("short"))]);
        assert_eq!(read(vec![("keys", short)]).1.len(), 1);
        let blank = table(vec![("A KID", text("0123456789abcdef0123"))]);
        assert_eq!(
            read(vec![("keys", blank)]).1,
            [
                "line 5: kinesis.keys.A KID: expected an access key id of letters, digits and - _ . only. Write an id of your own choice, for example AKIDEXAMPLE"
            ]
        );
        assert_eq!(
            read(vec![("keys", table(vec![]))]).1,
            [
                "line 3: kinesis.keys: there is no access key in it, and without one the door is open. Add a key, AKIDEXAMPLE = \"…\" with a secret of your own, or remove [kinesis.keys]"
            ]
        );
    }
}
