use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{ServeCounts, ServeLimits, listen, serve_counted};
use crate::tests::{Client, until};

struct Door {
    address: SocketAddr,
    counts: Arc<ServeCounts>,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

fn door(limits: ServeLimits) -> Door {
    let app =
        Router::new().route("/", get(|| async { "hello" })).route("/large", get(|| async { vec![0u8; 64 << 20] }));
    let listener = listen("127.0.0.1:0".parse().expect("an address")).expect("listens");
    let address = listener.local_addr().expect("an address");
    let (counts, stop) = (Arc::new(ServeCounts::new("test")), CancellationToken::new());
    let serving = tokio::spawn(serve_counted(listener, app, limits, counts.clone(), stop.clone()));
    Door { address, counts, stop, serving }
}

fn short() -> ServeLimits {
    ServeLimits {
        head_time: Duration::from_millis(400),
        idle_time: Duration::from_millis(400),
        write_stall: Duration::from_millis(400),
        ..ServeLimits::default()
    }
}

#[tokio::test]
async fn a_connection_that_never_sends_is_reaped() {
    let door = door(short());
    let began = Instant::now();
    let mut silent = Client::to(door.address).await;
    assert!(silent.is_closed().await);
    assert!(began.elapsed() >= Duration::from_millis(400) && began.elapsed() < Duration::from_secs(5));
    assert_eq!(door.counts.slow_heads(), 1);
}

#[tokio::test]
async fn a_dripping_head_is_reaped_however_steadily_it_drips() {
    let door = door(short());
    let mut first = Client::to(door.address).await;
    // A first request is no licence to drip the second.
    assert_eq!(first.get("/").await.text(), "hello");
    let dripping = tokio::spawn(async move {
        for byte in b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ".iter().chain(std::iter::repeat_n(&b'x', 1_000_000)) {
            if first.socket_write(*byte).await.is_err() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        false
    });
    until("the dripping head is cut off", || door.counts.slow_heads() == 1).await;
    assert!(dripping.await.expect("ends"));
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let door = door(short());
    let mut idle = Client::to(door.address).await;
    let mut busy = Client::to(door.address).await;
    assert_eq!(idle.get("/").await.status, 200);
    let busy_too_long = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < busy_too_long {
        assert_eq!(busy.get("/").await.status, 200);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(idle.is_closed().await);
    assert_eq!(door.counts.idle.get(), 1);
}

#[tokio::test]
async fn a_client_that_takes_no_bytes_is_cut_off() {
    let door = door(short());
    let mut greedy = Client::to(door.address).await;
    greedy.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    until("the stuck client is cut off", || door.counts.stuck.get() == 1).await;
    until("its connection is gone", || door.counts.open() == 0).await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once_and_the_others_are_served() {
    let door = door(ServeLimits { connections_max: 2, ..ServeLimits::default() });
    let mut a = Client::to(door.address).await;
    let mut b = Client::to(door.address).await;
    assert_eq!((a.get("/").await.status, b.get("/").await.status), (200, 200));
    let mut c = Client::to(door.address).await;
    assert!(c.is_closed().await);
    assert_eq!((a.get("/").await.status, door.counts.refused()), (200, 1));
    drop(b);
    until("there is room again", || door.counts.open() == 1).await;
    assert_eq!(Client::to(door.address).await.get("/").await.status, 200);
}

#[tokio::test]
async fn too_large_a_head_is_refused() {
    let door = door(ServeLimits::default());
    let mut client = Client::to(door.address).await;
    let long = "x".repeat(100_000);
    assert_eq!(client.ask("GET", "/", &[("x-long", &long)]).await.status, 431);
    let mut client = Client::to(door.address).await;
    let many: Vec<(&str, &str)> = vec![("x-a", "1"); 200];
    assert_eq!(client.ask("GET", "/", &many).await.status, 431);
    let mut client = Client::to(door.address).await;
    client.send("nonsense\r\n\r\n").await;
    assert_eq!(client.answer(true).await.status, 400);
}

#[tokio::test]
async fn a_stop_closes_what_is_idle_at_once_and_frees_the_port() {
    let door = door(ServeLimits::default());
    let mut idle = Client::to(door.address).await;
    let mut silent = Client::to(door.address).await;
    assert_eq!(idle.get("/").await.status, 200);
    until("both are open", || door.counts.open() == 2).await;
    let began = Instant::now();
    door.stop.cancel();
    door.serving.await.expect("ends well");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(idle.is_closed().await && silent.is_closed().await);
    listen(door.address).expect("the port is free");
}

#[tokio::test]
async fn a_thousand_silent_connections_do_not_keep_out_a_client() {
    let door = door(ServeLimits { connections_max: 300, ..short() });
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(Client::to(door.address).await);
    }
    until("all are open", || door.counts.open() == 300).await;
    until("all are reaped", || door.counts.open() == 0).await;
    assert_eq!(Client::to(door.address).await.get("/").await.text(), "hello");
    assert_eq!(door.counts.slow_heads(), 300);
}
