use std::time::Duration;

use super::{Client, House};
use crate::{Edge, StartError};

async fn shop() -> (House, Edge, Client) {
    let house = House::new();
    house.put("site/index.html", "<!doctype html><title>shop</title>".repeat(20));
    house.put("site/style.css", "body { color: black }\n".repeat(50));
    house.put("site/mug.png", [137, 80, 78, 71]);
    house.put("site/help/index.html", "<p>help");
    house.put("site/.env", "SECRET=1");
    house.put("secret.txt", "not yours");
    let edge = house.start(house.settings()).await;
    let client = Client::to(edge.local_addr()).await;
    (house, edge, client)
}

#[tokio::test]
async fn pages_come_with_the_headers_that_browsers_need() {
    let (_house, edge, mut client) = shop().await;
    let page = client.get("/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!((page.header("cache-control"), page.header("accept-ranges")), ("no-cache", "bytes"));
    assert_eq!((page.header("x-content-type-options"), page.header("vary")), ("nosniff", "accept-encoding"));
    assert!(page.text().starts_with("<!doctype html>"));
    assert_eq!(page.header("x-edge-request-id").len(), 36);
    let image = client.get("/mug.png").await;
    assert_eq!((image.header("content-type"), image.header("cache-control")), ("image/png", "public, max-age=300"));
    assert_eq!(client.get("/help").await.header("location"), "/help/");
    assert_eq!(client.get("/help?a=b").await.header("location"), "/help/?a=b");
    assert_eq!(client.get("/help/").await.text(), "<p>help");
    edge.stop().await;
}

#[tokio::test]
async fn a_browser_that_has_the_page_is_told_so() {
    let (_house, edge, mut client) = shop().await;
    let page = client.get("/").await;
    let (tag, modified) = (page.header("etag").to_owned(), page.header("last-modified").to_owned());
    for header in [("if-none-match", tag.as_str()), ("if-modified-since", modified.as_str())] {
        let again = client.ask("GET", "/", &[header]).await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()), "{header:?}");
    }
    assert_eq!(client.ask("GET", "/", &[("if-none-match", "\"other\"")]).await.status, 200);
    assert_eq!(client.ask("GET", "/", &[("if-match", "\"other\"")]).await.status, 412);
    let head = client.ask("HEAD", "/", &[]).await;
    assert_eq!((head.status, head.header("content-length")), (200, page.header("content-length")));
    edge.stop().await;
}

#[tokio::test]
async fn texts_are_compressed_and_each_form_has_its_own_tag() {
    let (_house, edge, mut client) = shop().await;
    let plain = client.get("/style.css").await;
    let gzip = client.ask("GET", "/style.css", &[("accept-encoding", "gzip")]).await;
    let brotli = client.ask("GET", "/style.css", &[("accept-encoding", "gzip, br")]).await;
    assert_eq!((gzip.header("content-encoding"), brotli.header("content-encoding")), ("gzip", "br"));
    assert!(gzip.body.len() < plain.body.len() / 5 && brotli.body.len() < plain.body.len() / 5);
    let tags = [plain.header("etag"), gzip.header("etag"), brotli.header("etag")];
    assert!(tags[0] != tags[1] && tags[1] != tags[2]);
    let mut inflated = Vec::new();
    brotli::BrotliDecompress(&mut &brotli.body[..], &mut inflated).expect("inflates");
    assert_eq!(inflated, plain.body);
    assert_eq!(client.ask("GET", "/mug.png", &[("accept-encoding", "br")]).await.header("content-encoding"), "");
    edge.stop().await;
}

#[tokio::test]
async fn parts_of_small_and_large_files_are_served() {
    let house = House::new();
    let large: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    house.put("site/large.bin", &large);
    house.put("site/small.txt", "0123456789".repeat(100));
    let edge = house.start(house.settings()).await;
    let mut client = Client::to(edge.local_addr()).await;
    let whole = client.get("/large.bin").await;
    assert_eq!((whole.status, whole.body == large), (200, true));
    assert_eq!(client.ask("GET", "/large.bin", &[("if-none-match", whole.header("etag"))]).await.status, 304);
    let part = client.ask("GET", "/large.bin", &[("range", "bytes=1000000-1000999")]).await;
    assert_eq!((part.status, part.header("content-range")), (206, "bytes 1000000-1000999/3000000"));
    assert_eq!(part.body, large[1_000_000..1_001_000]);
    let tail = client.ask("GET", "/small.txt", &[("range", "bytes=-3"), ("accept-encoding", "br")]).await;
    assert_eq!((tail.status, tail.text().as_str(), tail.header("content-encoding")), (206, "789", ""));
    let beyond = client.ask("GET", "/small.txt", &[("range", "bytes=1000-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */1000"));
    assert_eq!(client.ask("HEAD", "/large.bin", &[]).await.header("content-length"), "3000000");
    edge.stop().await;
    let parts = house.lines().into_iter().filter(|line| line["sc-status"] == "206").collect::<Vec<_>>();
    assert_eq!((parts[0]["sc-range-start"].as_str(), parts[0]["sc-range-end"].as_str()), ("1000000", "1000999"));
}

#[tokio::test]
async fn nothing_outside_the_root_and_nothing_hidden_is_served() {
    let (house, edge, mut client) = shop().await;
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(house.path().join("secret.txt"), house.path().join("site/link.txt"))
            .expect("a link");
        std::os::unix::fs::symlink(house.path(), house.path().join("site/up")).expect("a link");
    }
    for target in [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/help/../../secret.txt",
        "/./.env",
        "/.env",
        "/%2eenv",
        "//etc/passwd",
        "/link.txt",
        "/up/secret.txt",
        "/help//index.html",
        "/index.html%00.png",
        "/index.html/",
        "/nothing",
    ] {
        let answer = client.get(target).await;
        assert_eq!(answer.status, 404, "{target}");
        assert!(!answer.text().contains("not yours") && !answer.text().contains("SECRET"));
    }
    let answer = client.ask("DELETE", "/", &[]).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "GET, HEAD"));
    edge.stop().await;
}

#[tokio::test]
async fn a_changed_file_is_noticed_and_a_removed_one_is_gone() {
    let (house, edge, mut client) = shop().await;
    let first = client.get("/style.css").await;
    house.put("site/style.css", "body { color: red }");
    let deadline = std::time::Instant::now() + super::PATIENCE;
    let changed = loop {
        let again = client.get("/style.css").await;
        if again.text() != first.text() || std::time::Instant::now() > deadline {
            break again;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(changed.text(), "body { color: red }");
    assert_ne!(changed.header("etag"), first.header("etag"));
    std::fs::remove_file(house.path().join("site/style.css")).expect("is removed");
    while client.get("/style.css").await.status != 404 {
        assert!(std::time::Instant::now() < deadline, "the file is still served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    edge.stop().await;
    let results: Vec<String> = house.lines().into_iter().map(|line| line["x-edge-result-type"].clone()).collect();
    assert!(results.iter().any(|result| result == "Hit") && results.iter().any(|result| result == "Miss"));
    assert_eq!(results.iter().filter(|result| *result == "Error").count(), 1);
}

#[tokio::test]
async fn memory_for_small_files_is_bounded() {
    let house = House::new();
    for number in 0..50 {
        house.put(&format!("site/{number}.bin"), vec![number; 100_000]);
    }
    let mut settings = house.settings();
    settings.cache_bytes = 1_000_000;
    let edge = house.start(settings).await;
    let mut client = Client::to(edge.local_addr()).await;
    for number in (0..50u8).chain(0..50) {
        assert_eq!(client.get(&format!("/{number}.bin")).await.body, vec![number; 100_000]);
        assert!(edge.counts().cache_bytes.get() <= 1_000_000);
    }
    edge.stop().await;
}

#[tokio::test]
async fn an_edge_that_cannot_start_says_why() {
    let house = House::new();
    let start = |settings| Edge::start(settings, house.log.clone(), std::sync::Arc::new(base::SystemClock));
    let mut settings = house.settings();
    settings.content = crate::Content::Root(house.path().join("nowhere"));
    assert!(matches!(start(settings).await, Err(StartError::Root { .. })));
    let mut settings = house.settings();
    settings.collect = vec!["unknown".to_owned()];
    assert!(matches!(start(settings).await, Err(StartError::UnknownStream { .. })));
    let edge = house.start(house.settings()).await;
    let mut settings = house.settings();
    settings.listen = edge.local_addr();
    let error = start(settings).await.expect_err("the port is taken");
    assert_eq!(error.kind(), base::ErrorKind::Conflict, "{error}");
    let address = edge.local_addr();
    edge.stop().await;
    let mut settings = house.settings();
    settings.listen = address;
    start(settings).await.expect("the port is free again at once").stop().await;
}

#[tokio::test]
async fn http_2_is_spoken_to_who_begins_with_it() {
    let (house, edge, _client) = shop().await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let answer = client.get(format!("http://{}/?q=1", edge.local_addr())).send().await.expect("answers");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, reqwest::Version::HTTP_2));
    assert!(answer.text().await.expect("a page").starts_with("<!doctype html>"));
    edge.stop().await;
    let line = &house.lines()[0];
    assert_eq!((line["cs-protocol-version"].as_str(), line["cs-uri-query"].as_str()), ("HTTP/2.0", "q=1"));
    assert!(line["cs-host"].starts_with("127.0.0.1:"));
}
