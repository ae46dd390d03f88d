use std::collections::HashSet;
use std::time::Duration;

use base::Measured;

use super::{Client, House, until};
use crate::{EdgeCounts, EdgeLedger, Field, LogSettings, ServeLimits};

fn with_beacon(house: &House) -> crate::EdgeSettings {
    let mut settings = house.settings();
    settings.beacon = vec!["/action".to_owned()];
    settings.location = "FRA1".to_owned();
    settings
}

fn closes(counts: &EdgeCounts) -> EdgeLedger {
    let ledger = counts.ledger();
    assert_eq!(ledger.unaccounted(), 0, "{ledger:?}");
    ledger
}

#[tokio::test]
async fn a_click_is_answered_with_nothing_and_stands_in_the_log() {
    let house = House::new();
    let edge = house.start(with_beacon(&house)).await;
    let mut client = Client::to(edge.local_addr()).await;
    let target = "/action?action=buy&product_name=red%20mug&price=12.5";
    let headers = [
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) \"quoted\""),
        ("referer", "http://shop.test/?a=%20|b"),
        ("cookie", "sid=1; uid=2"),
        ("x-forwarded-for", "198.51.100.9"),
        ("accept", "*/*"),
        ("x-riverrun-simulated", "1"),
    ];
    let answer = client.ask("GET", target, &headers).await;
    assert_eq!((answer.status, answer.header("cache-control"), answer.body.len()), (204, "no-store", 0));
    let posted = client.post("/action?action=view", &[("content-type", "text/plain")], "beacon").await;
    assert_eq!(posted.status, 204);
    let counts = edge.counts();
    edge.stop().await;

    let records = house.records("clicks");
    assert_eq!(records.len(), 2);
    let (record, line) =
        records.iter().zip(house.lines()).find(|(_, line)| line["cs-method"] == "GET").expect("logged");
    assert_eq!((record.0["format"].as_str(), record.0["simulated"].as_str()), ("cdn", "1"));
    assert_eq!(
        (record.0["id"].as_str(), line["x-edge-request-id"].as_str()),
        (answer.header("x-edge-request-id"), answer.header("x-edge-request-id"))
    );
    for (field, value) in [
        ("c-ip", "127.0.0.1"),
        ("s-ip", "127.0.0.1"),
        ("sc-status", "204"),
        ("cs-protocol", "http"),
        ("cs-host", "shop.test"),
        ("cs-uri-stem", target),
        ("cs-uri-query", "action=buy&product_name=red%20mug&price=12.5"),
        ("cs-user-agent", headers[0].1),
        ("cs-referer", headers[1].1),
        ("cs-cookie", "sid=1; uid=2"),
        ("x-forwarded-for", "198.51.100.9"),
        ("cs-accept", "*/*"),
        ("cs-protocol-version", "HTTP/1.1"),
        ("c-ip-version", "IPv4"),
        ("x-edge-location", "FRA1"),
        ("x-host-header", "shop"),
        ("x-edge-result-type", "Hit"),
        ("cs-headers-count", "7"),
        ("sc-content-type", "-"),
        ("c-country", "-"),
    ] {
        assert_eq!(line[field], value, "{field}");
    }
    assert_eq!(line["sc-bytes"].parse::<usize>().expect("a number"), answer.bytes, "every byte of the answer");
    let seconds: f64 = line["timestamp"].parse().expect("a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!((now - seconds).abs() < 60.0);
    let other = records.iter().find(|record| record.0["id"] != answer.header("x-edge-request-id")).expect("the other");
    assert!(!other.0.contains_key("simulated"));
    let ledger = closes(&counts);
    assert_eq!((ledger.requests, ledger.logged, ledger.in_progress), (2, 2, 0));
}

#[tokio::test]
async fn the_log_counts_the_bytes_that_went_over_the_wire() {
    let house = House::new();
    house.put("site/page.html", "<p>page</p>\n".repeat(100));
    let edge = house.start(house.settings()).await;
    let mut client = Client::to(edge.local_addr()).await;
    let mut expected = Vec::new();
    for (method, target, headers) in [
        ("GET", "/page.html", vec![]),
        ("GET", "/page.html", vec![("accept-encoding", "br")]),
        ("HEAD", "/page.html?x", vec![]),
        ("GET", "/nothing", vec![("accept", "text/html")]),
    ] {
        let answer = client.ask(method, target, &headers).await;
        let head: usize = headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let sent = format!("{method} {target} HTTP/1.1\r\nhost: shop.test\r\n\r\n").len() + head;
        expected.push((answer.status.to_string(), answer.bytes.to_string(), sent.to_string()));
    }
    edge.stop().await;
    let mut found: Vec<_> = house
        .lines()
        .into_iter()
        .map(|line| (line["sc-status"].clone(), line["sc-bytes"].clone(), line["cs-bytes"].clone()))
        .collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_of_many_connections_is_logged_once() {
    const CONNECTIONS: usize = 16;
    const EACH: usize = 200;
    let house = House::new();
    let edge = house.start(with_beacon(&house)).await;
    let address = edge.local_addr();
    let clients = (0..CONNECTIONS).map(|connection| async move {
        let mut client = Client::to(address).await;
        for number in 0..EACH {
            let answer = client.get(&format!("/action?c={connection}&n={number}")).await;
            assert_eq!(answer.status, 204);
        }
    });
    futures::future::join_all(clients).await;
    let counts = edge.counts();
    edge.stop().await;
    let queries: HashSet<String> = house.lines().into_iter().map(|line| line["cs-uri-query"].clone()).collect();
    let ledger = closes(&counts);
    assert_eq!((queries.len(), ledger.logged), (CONNECTIONS * EACH, (CONNECTIONS * EACH) as u64));
    assert!(counts.request_time_us().is_some() && counts.log_delay_us().is_some());
}

#[tokio::test]
async fn only_the_sampled_share_is_logged_and_the_rest_is_counted() {
    const REQUESTS: u64 = 2_000;
    let house = House::new();
    let mut settings = with_beacon(&house);
    settings.log = Some(LogSettings { sampling_rate: 20, fields: vec![Field::SC_STATUS], ..LogSettings::to("clicks") });
    let edge = house.start(settings).await;
    let mut client = Client::to(edge.local_addr()).await;
    for _ in 0..REQUESTS {
        client.get("/action").await;
    }
    let counts = edge.counts();
    edge.stop().await;
    let ledger = closes(&counts);
    assert_eq!((ledger.requests, ledger.logged + ledger.sampled_out), (REQUESTS, REQUESTS));
    // 400 expected; six standard deviations are 107.
    assert!((293..=507).contains(&ledger.logged), "{ledger:?}");
    assert_eq!(house.records("clicks").len() as u64, ledger.logged);
    assert_eq!(house.records("clicks")[0].1, b"204");
}

#[tokio::test]
async fn a_full_queue_drops_lines_and_delays_nobody() {
    const REQUESTS: u64 = 500;
    let house = House::new();
    let mut settings = with_beacon(&house);
    let queue_bytes = 2_000;
    settings.log = Some(LogSettings { queue_bytes, ..LogSettings::to("clicks") });
    let edge = house.start(settings).await;
    let mut client = Client::to(edge.local_addr()).await;
    // Sent as one, so that many are answered before the writer runs.
    client.send("GET /action HTTP/1.1\r\nhost: shop.test\r\n\r\n".repeat(REQUESTS as usize)).await;
    for _ in 0..REQUESTS {
        assert_eq!(client.answer(true).await.status, 204);
    }
    let counts = edge.counts();
    edge.stop().await;
    let ledger = closes(&counts);
    assert_eq!((ledger.requests, ledger.logged + ledger.dropped), (REQUESTS, REQUESTS));
    assert!(ledger.dropped > 0 && ledger.logged > 0, "{ledger:?}");
    assert_eq!(house.records("clicks").len() as u64, ledger.logged);
}

#[tokio::test]
async fn lines_that_a_closed_log_refuses_are_counted_and_answers_go_on() {
    let house = House::new();
    let edge = house.start(with_beacon(&house)).await;
    let mut client = Client::to(edge.local_addr()).await;
    house.log.close();
    for _ in 0..10 {
        assert_eq!(client.get("/action").await.status, 204);
    }
    let counts = edge.counts();
    until("the lines are given up", || counts.ledger().failed == 10).await;
    edge.stop().await;
    assert_eq!(closes(&counts).failed, 10);
}

#[tokio::test]
async fn an_edge_without_a_log_counts_what_it_does_not_log() {
    let house = House::new();
    let mut settings = with_beacon(&house);
    settings.log = None;
    let edge = house.start(settings).await;
    Client::to(edge.local_addr()).await.get("/action").await;
    let counts = edge.counts();
    edge.stop().await;
    let ledger = closes(&counts);
    assert_eq!((ledger.requests, ledger.unlogged), (1, 1));
    let mut samples = Vec::new();
    counts.measure(&mut samples);
    assert!(samples.iter().all(|sample| sample.name.starts_with("riverrun_edge_")));
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_logged_as_such() {
    let house = House::new();
    house.put("site/large.bin", vec![0; 64 << 20]);
    let edge = house.start(house.settings()).await;
    let mut client = Client::to(edge.local_addr()).await;
    client.send("GET /large.bin HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    client.more().await;
    drop(client);
    let counts = edge.counts();
    until("the line is on disk", || counts.ledger().logged == 1).await;
    edge.stop().await;
    let line = &house.lines()[0];
    let words = ["sc-status", "x-edge-result-type", "x-edge-detailed-result-type"].map(|field| line[field].as_str());
    assert_eq!(words, ["200", "Error", "ClientCommError"]);
    assert!(line["sc-bytes"].parse::<u64>().expect("a number") < 64 << 20);
}

#[tokio::test]
async fn a_stop_under_load_loses_no_line_of_an_answered_request() {
    let house = House::new();
    let edge = house.start(with_beacon(&house)).await;
    let (address, counts) = (edge.local_addr(), edge.counts());
    let load = (0..8).map(|_| {
        tokio::spawn(async move {
            let mut client = Client::to(address).await;
            let mut answered = 0u64;
            loop {
                client.send("GET /action HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
                if client.more().await == 0 {
                    return answered;
                }
                let answer = client.answer(true).await;
                assert_eq!(answer.status, 204);
                answered += 1;
                if answer.header("connection") == "close" {
                    return answered;
                }
            }
        })
    });
    let load: Vec<_> = load.collect();
    until("there is load", || counts.ledger().requests > 500).await;
    edge.stop().await;
    let mut answered = 0;
    for client in load {
        // A client whose next request met the closing socket fails in `send`: what it had was answered before.
        answered += client.await.unwrap_or(0);
    }
    let ledger = closes(&counts);
    assert_eq!((ledger.waiting, ledger.in_progress, ledger.dropped, ledger.failed), (0, 0, 0, 0));
    assert!(ledger.logged >= answered && ledger.logged == ledger.requests, "{ledger:?}, {answered} answered");
    assert_eq!(house.records("clicks").len() as u64, ledger.logged);
}

#[tokio::test]
async fn requests_in_flight_finish_at_a_stop_and_idle_connections_are_closed() {
    let house = House::new();
    house.put("site/large.bin", vec![7; 8 << 20]);
    let limits = ServeLimits { stop_time: Duration::from_secs(15), ..ServeLimits::default() };
    let edge = house.start_within(house.settings(), limits).await;
    let mut idle = Client::to(edge.local_addr()).await;
    assert_eq!(idle.get("/nothing").await.status, 404);
    let mut busy = Client::to(edge.local_addr()).await;
    busy.send("GET /large.bin HTTP/1.1\r\nhost: shop.test\r\n\r\n").await;
    assert!(busy.more().await > 0);
    let stopping = tokio::spawn(edge.stop());
    assert!(idle.is_closed().await);
    assert_eq!(busy.answer(true).await.body.len(), 8 << 20);
    stopping.await.expect("stops");
}
