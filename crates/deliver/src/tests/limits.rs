//! Memory stays bounded while the lake cannot take more, and everything goes on when it can.

use std::sync::atomic::Ordering;

use super::store::Weather;
use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_lake_takes_nothing_reading_waits_and_then_goes_on() {
    const TAIL_MAX: usize = 8 << 20;
    // What one batch may add beyond the limit: a fetch of 4 MiB, decoded.
    const BATCH: usize = 8 << 20;
    let ground = Ground::new(1);
    let weather = Weather::fair();
    let lake =
        ground.lake_with(LakeSettings { tail_bytes: TAIL_MAX, ..LakeSettings::default() }, weather.faults()).await;
    let settings = table("select shard, \"offset\", payload from record");
    let delivery = ground.deliver(&settings, &lake).await;
    weather.let_through(false);
    let payload = format!(r#"{{"filler":"{}"}}"#, "x".repeat(2000));
    for _ in 0..20 {
        ground.append(0, &vec![payload.clone(); 1000]).await;
    }
    let counts = delivery.counts();
    until("reading to wait", || counts.waits.get() > 0).await;
    let held = delivery.table().tail_bytes();
    assert!(held < TAIL_MAX + BATCH, "{held} bytes in the tail");
    let ledger = delivery.ledger();
    assert!(ledger.in_flight > 0 && ledger.unaccounted == 0, "{ledger:?}");
    weather.let_through(true);
    assert_eq!(until_read(&delivery).await.delivered, 20_000);
    delivery.stop().await;
    let lake = ground.lake().await;
    let delivery = ground.deliver(&settings, &lake).await;
    assert_eq!(places(&lake, "t").await.len(), 20_000);
    delivery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_flushes_are_seen_and_tried_until_they_succeed() {
    let ground = Ground::new(1);
    let weather = Weather::fair();
    let lake = ground.lake_with(LakeSettings::default(), weather.faults()).await;
    let delivery = ground.deliver(&table("select shard, \"offset\" from record"), &lake).await;
    weather.fail_each(1);
    ground.append(0, &vec!["{}".to_owned(); 10]).await;
    let counts = delivery.counts();
    until("a failed flush to be told", || matches!(counts.state(), DeliveryState::Retrying(_))).await;
    assert_eq!(places(&lake, "t").await.len(), 10, "rows are visible though they cannot be flushed");
    weather.fail_each(0);
    until("it to recover", || counts.state() == DeliveryState::Running).await;
    assert!(weather.failed.load(Ordering::SeqCst) > 0 && counts.retries.get() > 0);
    delivery.stop().await;
    assert_eq!(places(&ground_again(&ground).await, "t").await.len(), 10);
}

async fn ground_again(ground: &Ground) -> Arc<Lake> {
    let lake = ground.lake().await;
    ground.deliver(&table("select shard, \"offset\" from record"), &lake).await.stop().await;
    lake
}

/// Not a test of right or wrong: how fast records go from the log into the tail and the lake, printed by `--nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_events_flow_into_the_lake() {
    let ground = Ground::new(2);
    let payload = r#"{"event_id":"0193a5b2-7c1e-7d3a-9f10-2b4c6d8e0f12","timestamp":1606855678123,"action":"view","product_id":"p-117","product_name":"Red enamel mug","price":12.95,"quantity":2,"currency":"EUR","visitor":"v-8f3c2a91","session":"s-5d1e77b0","page":"/shop/mugs/red-enamel","referer":"https://search.example/?q=red+mug","country":"DE","city":"Berlin","browser":"Firefox","os":"Linux","device":"desktop","is_bot":false,"screen_width":1920,"screen_height":1080}"#;
    for round in 0..50 {
        ground.append(round % 2, &vec![payload.to_owned(); 2000]).await;
    }
    let lake = ground.lake().await;
    let mut settings = table(
        "select event_time, event_id, action, product_id, product_name, price, quantity, currency, visitor, session, page, referer,
           country, city, browser, os, device, is_bot, screen_width, screen_height from record",
    );
    use crate::ColumnType::{Boolean, Double, Integer};
    let columns = [
        ("price", Double),
        ("quantity", Integer),
        ("is_bot", Boolean),
        ("screen_width", Integer),
        ("screen_height", Integer),
    ];
    settings.columns = columns.map(|(name, kind)| (name.to_owned(), kind)).into();
    settings.flush.size = 64 << 20;
    let begun = Instant::now();
    let delivery = ground.deliver(&settings, &lake).await;
    let counts = delivery.counts();
    assert_eq!(until_read(&delivery).await.delivered, 100_000);
    let read = begun.elapsed();
    delivery.stop().await;
    let each = |us: u64| us as f64 / 100_000.0;
    #[allow(clippy::print_stderr)]
    {
        eprintln!(
            "100,000 events of {} bytes: in the tail after {read:?}, in the lake after {:?}; per event decode {:.2} us, SQL {:.2} us, push {:.2} us",
            payload.len(),
            begun.elapsed(),
            each(counts.decode_us.get()),
            each(counts.transform_us.get()),
            each(counts.push_us.get())
        );
    }
}
