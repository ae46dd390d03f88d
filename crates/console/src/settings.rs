//! What the file says about the console and its dashboards: `[console]` and `[[dashboard.NAME.tile]]`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use base::settings::{Data, Section, Value};

use crate::dashboards::{Chart, Dashboard, Dashboards, Tile};

/// Where the console listens unless the file says otherwise.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7070);

/// Shorter tokens can be guessed by trying.
const TOKEN_CHARS_MIN: usize = 16;
/// Longer ones do not fit every client's header field.
const TOKEN_CHARS_MAX: usize = 256;
/// A dashboard of more tiles is not looked at, and each tile costs a live query.
const TILES_MAX: usize = 64;

/// `[console]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSettings {
    /// Where pages and HTTP API are served.
    pub listen: SocketAddr,
    /// Who asks must show it: `Authorization: Bearer …`. Required beyond loopback.
    pub token: Option<Token>,
    /// Names under which browsers may call this console besides the loopback ones, e.g. `"stats.example.com"`.
    pub hosts: Vec<String>,
}

impl Default for ConsoleSettings {
    fn default() -> Self {
        Self { listen: LISTEN_DEFAULT, token: None, hosts: Vec::new() }
    }
}

/// The secret that opens the console. Never shown, not even in a debug print.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// The token `text`, if it is long enough and made of letters, digits and `- . _ ~` only.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn new(text: &str) -> Result<Self, (String, String)> {
        let fits = (TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
            return Ok(Self(text.to_owned()));
        }
        Err((
            format!("a token has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters, digits and - . _ ~ only"),
            "Make one with: openssl rand -hex 24".to_owned(),
        ))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl ConsoleSettings {
    /// Reads `[console]`; `folder` is that of the file, from which a relative `token_file` is named.
    pub fn read(section: &mut Section<'_>, folder: &Path) -> Self {
        let listen = section.read("listen", read_listen);
        let token_text = section.read("token", |data| match data {
            Data::Text(text) => Token::new(text),
            _ => Err(("expected a string".to_owned(), "Write token = \"…\"".to_owned())),
        });
        let token_file = section.read("token_file", |data| match data {
            Data::Text(path) => read_token_file(&folder.join(path)),
            _ => Err(("expected the name of a file".to_owned(), "Write token_file = \"console.token\"".to_owned())),
        });
        if token_text.is_some() && token_file.is_some() {
            let line = section.line();
            section.problem(line, "token_file", "stands beside token", "Keep one of the two");
        }
        let hosts = section.texts("hosts").unwrap_or_default();
        let settings = Self { listen: listen.unwrap_or(LISTEN_DEFAULT), token: token_file.or(token_text), hosts };
        if let Some((what, remedy)) = settings.refusal() {
            let line = section.line();
            section.problem(line, "listen", what, remedy);
        }
        settings
    }

    /// Why these settings must not be used: listening beyond loopback for anyone who asks.
    #[must_use]
    pub fn refusal(&self) -> Option<(String, String)> {
        if self.listen.ip().is_loopback() || self.token.is_some() {
            return None;
        }
        Some((
            format!("listens beyond this machine ({}) and asks nobody for a token", self.listen),
            "Add token_file = \"console.token\" (or token = \"…\") to [console], or listen on 127.0.0.1".to_owned(),
        ))
    }
}

fn read_listen(data: &Data) -> Result<SocketAddr, (String, String)> {
    let remedy = || "Write an address and a port, for example listen = \"127.0.0.1:7070\"".to_owned();
    match data {
        Data::Text(text) => {
            let text = text.strip_prefix("localhost:").map_or_else(|| text.clone(), |port| format!("127.0.0.1:{port}"));
            text.parse().map_err(|_| (format!("{text:?} is no address with a port"), remedy()))
        }
        _ => Err(("expected an address with a port".to_owned(), remedy())),
    }
}

fn read_token_file(path: &PathBuf) -> Result<Token, (String, String)> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let make = format!("Make it with: openssl rand -hex 24 > {} && chmod 600 {}", path.display(), path.display());
        (format!("{} cannot be read: {error}", path.display()), make)
    })?;
    Token::new(text.trim())
}

impl Dashboards {
    /// Reads `[dashboard.NAME]` of all names.
    pub fn read(section: &mut Section<'_>) -> Self {
        let mut dashboards = Vec::new();
        for (name, value) in section.take_all() {
            let path = format!("{}.{name}", section.path());
            let (dashboard, problems) = read_dashboard(&path, name, value);
            dashboards.push(dashboard);
            for problem in problems {
                let key = problem.key.strip_prefix(&format!("{}.", section.path())).unwrap_or(&problem.key).to_owned();
                section.problem(problem.line, &key, problem.what, problem.remedy);
            }
        }
        Self { dashboards }
    }
}

fn read_dashboard(path: &str, name: String, value: Value) -> (Dashboard, Vec<base::settings::Problem>) {
    let mut problems = Vec::new();
    let mut section = Section::new(path, value, &mut problems);
    let title = section.text("title").unwrap_or_else(|| name.clone());
    let about = section.text("about");
    let tiles = section.take("tile");
    let line = section.line();
    let tiles = match tiles {
        Some(Value { data: Data::Array(tiles), .. }) if tiles.len() <= TILES_MAX => tiles,
        Some(Value { data: Data::Array(tiles), line }) => {
            section.problem(line, "tile", format!("{} tiles", tiles.len()), format!("Keep at most {TILES_MAX}"));
            Vec::new()
        }
        _ => {
            section.problem(line, "tile", "has no tile", format!("Add [[{path}.tile]] with title, chart and sql"));
            Vec::new()
        }
    };
    section.finish();
    let tiles = tiles
        .into_iter()
        .enumerate()
        .filter_map(|(index, tile)| {
            let mut section = Section::new(format!("{path}.tile[{index}]"), tile, &mut problems);
            let tile = read_tile(&mut section);
            section.finish();
            tile
        })
        .collect();
    (Dashboard { name, title, about, tiles }, problems)
}

fn read_tile(section: &mut Section<'_>) -> Option<Tile> {
    let title = section.required_text("title", "Clicks by hour");
    let sql = section.required_text("sql", "select count(*) from clicks");
    let chart = section.read("chart", |data| {
        let known = || format!("Known charts: {}", Chart::ALL.map(Chart::name).join(", "));
        match data {
            Data::Text(text) => Chart::by_name(text).ok_or_else(|| (format!("{text:?} is no chart"), known())),
            _ => Err(("expected the name of a chart".to_owned(), known())),
        }
    });
    let width = section.integer("width", 1..=12);
    let options: BTreeMap<&'static str, String> = ["x", "y", "series", "unit", "about"]
        .into_iter()
        .filter_map(|key| section.text(key).map(|text| (key, text)))
        .collect();
    Some(Tile { title: title?, chart: chart.unwrap_or(Chart::Table), sql: sql?, width, options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: Vec<(&str, Data)>) -> Value {
        let entries = entries.into_iter().enumerate();
        let entries = entries.map(|(at, (key, data))| (key.to_owned(), Value { line: at + 2, data }));
        Value { line: 1, data: Data::Table(entries.collect()) }
    }

    fn read(entries: Vec<(&str, Data)>) -> (ConsoleSettings, Vec<String>) {
        let mut problems = Vec::new();
        let mut section = Section::new("console", table(entries), &mut problems);
        let settings = ConsoleSettings::read(&mut section, Path::new("/nowhere"));
        section.finish();
        (settings, problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn without_a_word_the_console_listens_on_loopback_for_this_machine_alone() {
        let (settings, problems) = read(vec![]);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:7070");
        assert_eq!(problems, Vec::<String>::new());
    }

    #[test]
    fn listening_beyond_loopback_without_a_token_is_refused_with_the_line_to_add() {
        let (_, problems) = read(vec![("listen", Data::Text("0.0.0.0:7070".into()))]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("token_file = \"console.token\""), "{}", problems[0]);
        let token = ("token", Data::Text("0123456789abcdef".into()));
        let (settings, problems) = read(vec![("listen", Data::Text("0.0.0.0:7070".into())), token]);
        assert!(settings.token.is_some() && problems.is_empty());
    }

    #[test]
    fn a_short_token_is_refused_and_never_printed() {
        let (_, problems) = read(vec![("token", Data::Text("hunter2".into()))]);
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].contains("hunter2"));
        assert_eq!(format!("{:?}", Token::new("0123456789abcdef").expect("long enough")), "Token(…)");
    }

    #[test]
    fn a_tile_tells_an_unknown_chart_and_a_missing_query() {
        let mut problems = Vec::new();
        let tile = table(vec![("title", Data::Text("T".into())), ("chart", Data::Text("pizza".into()))]);
        let value = table(vec![("shop", table(vec![("tile", Data::Array(vec![tile]))]).data)]);
        let mut section = Section::new("dashboard", value, &mut problems);
        Dashboards::read(&mut section);
        section.finish();
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].contains("dashboard.shop.tile[0].sql: is missing"), "{told:?}");
        assert!(told[1].contains("\"pizza\" is no chart"), "{told:?}");
    }
}
