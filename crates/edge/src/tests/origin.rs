use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Client, House};
use crate::serve::{ServeLimits, listen, serve};
use crate::{Content, Edge};

/// Another server for as long as the test runs.
async fn origin(app: Router) -> SocketAddr {
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(serve(listener, app, ServeLimits::default(), CancellationToken::new()));
    address
}

async fn edge_before(house: &House, origin: SocketAddr, prefix: &str) -> Edge {
    let mut settings = house.settings();
    settings.content = Content::Origin(format!("http://{origin}{prefix}").parse().expect("an address"));
    settings.origin_time = Duration::from_millis(300);
    house.start(settings).await
}

/// Says what it was asked.
async fn echo(request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut told = format!("{} {}\n", parts.method, parts.uri);
    for (name, value) in &parts.headers {
        told += &format!("{name}={}\n", value.to_str().unwrap_or("?"));
    }
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    told += &format!("body={}", body.len());
    let headers = [("x-origin", "yes"), ("connection", "x-private"), ("x-private", "1"), ("keep-alive", "timeout=5")];
    (headers, told).into_response()
}

#[tokio::test]
async fn requests_and_answers_pass_through() {
    let house = House::new();
    let server = origin(Router::new().fallback(any(echo))).await;
    let edge = edge_before(&house, server, "/base").await;
    let mut client = Client::to(edge.local_addr()).await;
    let headers = [("x-forwarded-for", "198.51.100.1"), ("te", "trailers"), ("cookie", "a=1")];
    let answer = client.ask("GET", "/path%20x?q=1", &headers).await;
    let told = answer.text();
    assert!(told.starts_with("GET /base/path%20x?q=1\n"), "{told}");
    for line in [
        "x-forwarded-for=198.51.100.1, 127.0.0.1",
        "x-forwarded-host=shop.test",
        "x-forwarded-proto=http",
        "cookie=a=1",
        "body=0",
    ] {
        assert!(told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains("te=") && told.contains(&format!("host={server}")), "{told}");
    assert_eq!((answer.header("x-origin"), answer.header("x-private"), answer.header("keep-alive")), ("yes", "", ""));
    let posted = client.post("/form", &[], vec![b'x'; 300_000]).await;
    assert!(
        posted.text().contains("content-length=300000") && posted.text().ends_with("body=300000"),
        "{}",
        posted.text()
    );
    edge.stop().await;
    let line = house.lines().into_iter().find(|line| line["cs-method"] == "POST").expect("logged");
    assert!(line["cs-bytes"].parse::<u64>().expect("a number") > 300_000);
    assert_eq!((line["r-host"].as_str(), line["x-edge-result-type"].as_str()), ("127.0.0.1", "Miss"));
    assert!(line["origin-fbl"].parse::<f64>().is_ok() && line["origin-lbl"].parse::<f64>().is_ok());
}

#[tokio::test]
async fn redirects_and_compressed_bodies_are_passed_on_as_they_are() {
    let house = House::new();
    let moved = || async {
        (http::StatusCode::FOUND, [("location", "/elsewhere"), ("content-encoding", "gzip")], vec![1u8, 2, 3])
    };
    let edge = edge_before(&house, origin(Router::new().fallback(any(moved))).await, "").await;
    let answer = Client::to(edge.local_addr()).await.get("/").await;
    assert_eq!(
        (answer.status, answer.header("location"), answer.header("content-encoding")),
        (302, "/elsewhere", "gzip")
    );
    assert_eq!(answer.body, [1, 2, 3]);
    edge.stop().await;
}

#[tokio::test]
async fn an_answer_streams_while_the_origin_still_writes() {
    let house = House::new();
    let go_on = Arc::new(Notify::new());
    let waiting = go_on.clone();
    let app = Router::new().fallback(any(move || {
        let waiting = waiting.clone();
        async move {
            let rest = futures::stream::once(async move {
                waiting.notified().await;
                Ok::<_, std::io::Error>(Bytes::from_static(b"second"))
            });
            let first = futures::stream::once(async { Ok(Bytes::from_static(b"first")) });
            Body::from_stream(first.chain(rest))
        }
    }));
    let mut settings = house.settings();
    settings.content = Content::Origin(format!("http://{}", origin(app).await).parse().expect("an address"));
    let edge = house.start(settings).await;
    let mut answer = reqwest::get(format!("http://{}/", edge.local_addr())).await.expect("begins");
    assert_eq!(answer.chunk().await.expect("a chunk").expect("is there"), "first");
    go_on.notify_one();
    assert_eq!(answer.chunk().await.expect("a chunk").expect("is there"), "second");
    assert_eq!(answer.chunk().await.expect("ends"), None);
    edge.stop().await;
}

#[tokio::test]
async fn an_origin_that_is_away_or_silent_or_breaks_off_is_told() {
    let house = House::new();
    let free = listen("127.0.0.1:0".parse().expect("an address")).expect("listens").local_addr().expect("an address");
    let edge = edge_before(&house, free, "").await;
    assert_eq!(Client::to(edge.local_addr()).await.get("/").await.status, 502);
    edge.stop().await;

    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("listens");
    let edge = edge_before(&house, silent.local_addr().expect("an address"), "").await;
    assert_eq!(Client::to(edge.local_addr()).await.get("/").await.status, 504);
    edge.stop().await;

    let stalls = || async {
        let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from_static(b"first")) });
        Body::from_stream(first.chain(futures::stream::pending()))
    };
    let edge = edge_before(&house, origin(Router::new().fallback(any(stalls))).await, "").await;
    let answer = reqwest::get(format!("http://{}/", edge.local_addr())).await.expect("begins");
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.is_err(), "an answer that breaks off must not look whole");
    let counts = edge.counts();
    edge.stop().await;
    assert_eq!(counts.origin_failures.get(), 1);
    let mut details: Vec<String> =
        house.lines().into_iter().map(|line| line["x-edge-detailed-result-type"].clone()).collect();
    details.sort();
    assert_eq!(details, ["OriginCommError", "OriginConnectError", "OriginReadError"]);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_is_logged_as_such() {
    let house = House::new();
    let asked = Arc::new(Notify::new());
    let told = asked.clone();
    let never = move || {
        told.notify_one();
        futures::future::pending::<&'static str>()
    };
    let mut settings = house.settings();
    let server = origin(Router::new().fallback(any(never))).await;
    settings.content = Content::Origin(format!("http://{server}").parse().expect("an address"));
    let edge = house.start(settings).await;
    let mut client = Client::to(edge.local_addr()).await;
    client.send("GET / HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    asked.notified().await;
    drop(client);
    let counts = edge.counts();
    super::until("the line is on disk", || counts.ledger().logged == 1).await;
    edge.stop().await;
    let line = &house.lines()[0];
    assert_eq!(
        (line["sc-status"].as_str(), line["x-edge-detailed-result-type"].as_str()),
        ("000", "ClientHungUpRequest")
    );
}
