//! Talking to a running server: what `import`, `tail`, `sql` and `bench` share.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Certificate, RequestBuilder, Response, header};
use serde::Deserialize;
use url::Url;

use crate::cli::Server;

/// A server that does not even take the connection within this time is not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// What errors say to users of the API, and what that is on the command line.
const HERE: [(&str, &str); 3] = [
    ("GET /api/v1/streams/{name}", "riverrun stream describe NAME"),
    ("GET /api/v1/streams", "riverrun stream list"),
    ("Send the header Authorization: Bearer TOKEN", "Give it with --token or in RIVERRUN_TOKEN"),
];

/// A running server, as the client commands see it.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// An error as the server tells it.
#[derive(Debug, Deserialize)]
struct Told {
    error: ToldError,
}

#[derive(Debug, Deserialize)]
struct ToldError {
    message: String,
    #[serde(default)]
    remedy: String,
    line: Option<u64>,
    column: Option<u64>,
}

impl Client {
    pub(crate) fn new(server: &Server) -> anyhow::Result<Self> {
        let mut headers = header::HeaderMap::new();
        if let Some(token) = &server.token {
            let mut value = header::HeaderValue::from_str(&format!("Bearer {token}"))
                .context("--token has characters that no token has")?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        let roots = server.ca.as_deref().map(authorities).transpose()?.unwrap_or_default();
        let http = reqwest::Client::builder()
            .tls_certs_merge(roots)
            .user_agent(concat!("riverrun/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .with_context(|| match &server.ca {
                Some(file) => format!("--ca {}: its certificates cannot be used", file.display()),
                None => "no HTTP client could be made".to_owned(),
            })?;
        Ok(Self { http, url: server.url.clone() })
    }

    /// The address of `path` on the server, with `query` behind it.
    pub(crate) fn url(&self, path: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    pub(crate) fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    pub(crate) fn post(&self, url: Url) -> RequestBuilder {
        self.http.post(url)
    }

    /// Sends the request; an answer that is no success becomes an error with what the server told.
    pub(crate) async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let response = request.send().await.map_err(|error| self.failed(error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    /// What to do when there was no answer, with the error as the cause.
    pub(crate) fn failed(&self, error: reqwest::Error) -> anyhow::Error {
        let url = &self.url;
        let what = match Failure::of(&error) {
            Failure::NoAnswer => self.unreachable(),
            Failure::Certificate => format!(
                "the certificate of {url} cannot be trusted: if an authority of your own signed it, name that one's \
                 certificate with --ca FILE"
            ),
            Failure::NoTls => {
                format!("something answers at {url}, but not with TLS: if it has no certificate, write http://")
            }
            Failure::NoHttp => {
                format!("something answers at {url}, but not with HTTP: if it has a certificate, write https://")
            }
            // A door that wants TLS may answer plain HTTP by closing the connection.
            Failure::BrokenOff if url.scheme() == "http" => format!(
                "the connection to {url} broke off before the answer: if the server has a certificate, write https://"
            ),
            Failure::BrokenOff => format!("the connection to {url} broke off before the answer"),
        };
        anyhow::Error::new(error).context(what)
    }

    /// What to do when nobody answers.
    fn unreachable(&self) -> String {
        format!(
            "no riverrun answers at {}: start one with riverrun demo or riverrun serve, or name it with --server",
            self.url
        )
    }
}

/// The certificates in a file, to be trusted beside those of the system.
fn authorities(file: &Path) -> anyhow::Result<Vec<Certificate>> {
    let named = || format!("--ca {} cannot be read", file.display());
    let pem = std::fs::read(file).with_context(named)?;
    let certificates = Certificate::from_pem_bundle(&pem).with_context(named)?;
    anyhow::ensure!(
        !certificates.is_empty(),
        "--ca {}: there is no certificate in it: write it as -----BEGIN CERTIFICATE----- blocks",
        file.display()
    );
    Ok(certificates)
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    NoAnswer,
    Certificate,
    NoTls,
    NoHttp,
    BrokenOff,
}

impl Failure {
    /// Connecting ends with the TLS handshake. What fails in it is told by the words of the TLS library, as its types are
    /// wrapped away; unlike an error of the system, it has no number.
    fn of(error: &reqwest::Error) -> Self {
        let causes = || std::iter::successors(error.source(), |&cause| cause.source());
        let says = |words: &str| causes().any(|cause| cause.to_string().contains(words));
        let of_library = |cause: &io::Error| {
            let kinds = [io::ErrorKind::Other, io::ErrorKind::InvalidData, io::ErrorKind::UnexpectedEof];
            cause.raw_os_error().is_none() && kinds.contains(&cause.kind())
        };
        if says("invalid peer certificate") {
            return Self::Certificate;
        }
        if !error.is_connect() {
            return if says("invalid HTTP") { Self::NoHttp } else { Self::BrokenOff };
        }
        if causes().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(of_library) {
            Self::NoTls
        } else {
            Self::NoAnswer
        }
    }
}

/// What the server told, as an error.
pub(crate) async fn refusal(response: Response) -> anyhow::Error {
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let message = told(&body);
    if serde_json::from_str::<Told>(&body).is_ok() {
        return anyhow::anyhow!(message);
    }
    // Whatever is at that address, riverrun tells its errors in another way.
    let colon = if message.is_empty() { "" } else { ": " };
    anyhow::anyhow!("the server answered {status}{colon}{message}")
}

/// What an error's body says, for a person: place, message, remedy.
pub(crate) fn told(body: &str) -> String {
    let Ok(Told { error }) = serde_json::from_str(body) else {
        return body.chars().take(500).collect();
    };
    let place = match (error.line, error.column) {
        (Some(line), Some(column)) => format!("line {line}, column {column}: "),
        _ => String::new(),
    };
    let remedy = HERE.iter().fold(error.remedy, |remedy, (there, here)| remedy.replace(there, here));
    let remedy = if remedy.is_empty() { remedy } else { format!("\n  {remedy}") };
    format!("{place}{}{remedy}", error.message)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    fn client(url: &str) -> Client {
        Client::new(&Server { url: url.parse().expect("a URL"), token: None, ca: None }).expect("a client")
    }

    /// What is said of a server that answers whatever comes with these bytes.
    async fn said_of(scheme: &str, answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("{scheme}://{}", listener.local_addr().expect("an address"));
        let answering = std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().expect("a client");
            let mut asked = [0; 4096];
            assert!(socket.read(&mut asked).expect("a request") > 0);
            socket.write_all(answer).expect("it is sent");
        });
        let client = client(&url);
        let error = client.ask(client.get(client.url("/", &[]))).await.expect_err("no answer");
        answering.join().expect("it answered");
        format!("{error:#}")
    }

    #[tokio::test]
    async fn who_answers_in_another_way_is_told_from_nobody() {
        let said = said_of("https", b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await;
        assert!(said.contains("but not with TLS: if it has no certificate, write http://"), "{said}");
        let alert = b"\x15\x03\x03\x00\x02\x02\x0a";
        let said = said_of("http", alert).await;
        assert!(said.contains("but not with HTTP: if it has a certificate, write https://"), "{said}");
        let said = said_of("http", b"").await;
        assert!(said.contains("broke off before the answer"), "{said}");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        let client = client(&format!("http://{free}"));
        let error = client.ask(client.get(client.url("/", &[]))).await.expect_err("nobody");
        assert!(error.to_string().starts_with("no riverrun answers at "), "{error:#}");
    }

    #[test]
    fn a_file_without_certificates_is_told_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ca.pem");
        let said = |file: &Path| format!("{:#}", authorities(file).expect_err("no certificate"));
        assert!(said(&file).contains("ca.pem cannot be read: "), "{}", said(&file));
        std::fs::write(&file, "# nothing\n").expect("it is written");
        assert!(said(&file).contains("there is no certificate in it"), "{}", said(&file));
    }

    #[test]
    fn what_an_error_says_of_the_api_is_said_of_the_command_line() {
        let remedy =
            |remedy: &str| told(&serde_json::json!({ "error": { "message": "m", "remedy": remedy } }).to_string());
        let lists = "GET /api/v1/streams/{name} lists the open shards and their ranges";
        assert_eq!(remedy(lists), "m\n  riverrun stream describe NAME lists the open shards and their ranges");
        assert_eq!(remedy("GET /api/v1/streams lists the streams"), "m\n  riverrun stream list lists the streams");
        let token = "Send the header Authorization: Bearer TOKEN, with the token of [console] in the server's file";
        assert!(remedy(token).contains("Give it with --token or in RIVERRUN_TOKEN"), "{}", remedy(token));
    }

    #[test]
    fn an_error_is_told_with_its_place_and_remedy() {
        let body = r#"{"error":{"kind":"invalid","message":"no table clicsk","remedy":"Did you mean clicks?","line":1,"column":15}}"#;
        assert_eq!(told(body), "line 1, column 15: no table clicsk\n  Did you mean clicks?");
        assert_eq!(told("<html>"), "<html>");
    }

    #[test]
    fn addresses_are_escaped() {
        let client = client("http://127.0.0.1:7070/x?y");
        let url = client.url("/api/v1/live/tail/clicks", &[("filter", "a b&c")]);
        assert_eq!(url.as_str(), "http://127.0.0.1:7070/api/v1/live/tail/clicks?filter=a+b%26c");
    }
}
