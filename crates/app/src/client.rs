//! Talking to a running server: what `import`, `tail`, `sql` and `bench` share.

use std::time::Duration;

use anyhow::Context as _;
use reqwest::{RequestBuilder, Response, header};
use serde::Deserialize;
use url::Url;

use crate::cli::Server;

/// A server that does not even take the connection within this time is not there.
const CONNECT_MAX: Duration = Duration::from_secs(5);

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
        let http = reqwest::Client::builder()
            .user_agent(concat!("riverrun/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .no_proxy()
            .build()
            .context("no HTTP client could be made")?;
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
        let response = request.send().await.with_context(|| self.unreachable())?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(refusal(response).await)
    }

    /// What to do when nobody answers.
    pub(crate) fn unreachable(&self) -> String {
        format!(
            "no riverrun answers at {}: start one with riverrun demo or riverrun serve, or name it with --server",
            self.url
        )
    }
}

/// What the server told, as an error.
pub(crate) async fn refusal(response: Response) -> anyhow::Error {
    let status = response.status();
    let body = response.text().await.unwrap_or_default();
    let message = told(&body);
    if message.is_empty() { anyhow::anyhow!("the server answered {status}") } else { anyhow::anyhow!(message) }
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
    let remedy = if error.remedy.is_empty() { String::new() } else { format!("\n  {}", error.remedy) };
    format!("{place}{}{remedy}", error.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_place_and_remedy() {
        let body = r#"{"error":{"kind":"invalid","message":"no table clicsk","remedy":"Did you mean clicks?","line":1,"column":15}}"#;
        assert_eq!(told(body), "line 1, column 15: no table clicsk\n  Did you mean clicks?");
        assert_eq!(told("<html>"), "<html>");
    }

    #[test]
    fn addresses_are_escaped() {
        let server = Server { url: "http://127.0.0.1:7070/x?y".parse().expect("a URL"), token: None };
        let client = Client::new(&server).expect("a client");
        let url = client.url("/api/v1/live/tail/clicks", &[("filter", "a b&c")]);
        assert_eq!(url.as_str(), "http://127.0.0.1:7070/api/v1/live/tail/clicks?filter=a+b%26c");
    }
}
