//! The map of rooms, measured once a second: the same numbers as `/metrics`, added up per room, with their rates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Clock, Measured, Sample};
use console::{Pipeline, RoomState};
use lake::Lake;
use tokio::sync::watch;

use super::ledger::Ledger;

/// How often it is measured: rates are those of the last second.
const EVERY: Duration = Duration::from_secs(1);

/// The rooms in the direction of the data, by the word in their metrics' names.
const ROOMS: [&str; 6] = ["edge", "stream", "deliver", "lake", "query", "console"];

/// Measures until nobody looks any more or the task is ended.
pub(crate) async fn measure(
    measured: Vec<Arc<dyn Measured>>,
    lake: Arc<Lake>,
    ledger: Arc<Ledger>,
    clock: Arc<dyn Clock>,
    pipeline: watch::Sender<Arc<Pipeline>>,
) {
    let mut before = (Instant::now(), sums(&measured));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = (Instant::now(), sums(&measured));
        let seconds = (now.0 - before.0).as_secs_f64();
        let mut rooms: Vec<RoomState> = ROOMS.map(|id| room(id, &before.1, &now.1, seconds)).into();
        if let Some(state) = rooms.iter_mut().find(|state| state.id == "lake") {
            state.lag_ms = oldest_in_tails(&lake);
        }
        let next = Pipeline { at_ms: clock.now().0, rooms, ledger: ledger.rows() };
        pipeline.send_replace(Arc::new(next));
        before = now;
        if pipeline.is_closed() {
            return;
        }
    }
}

/// How long the oldest row that is in SQL has waited to be in the lake.
fn oldest_in_tails(lake: &Lake) -> Option<f64> {
    let ages = lake.tables().into_iter().filter_map(|table| table.tail_age());
    ages.max().map(|age| age.as_secs_f64() * 1000.0)
}

/// Counts by room and name.
type Sums = BTreeMap<(&'static str, &'static str), f64>;

fn sums(measured: &[Arc<dyn Measured>]) -> Sums {
    let mut samples = Vec::new();
    measured.iter().for_each(|room| room.measure(&mut samples));
    add_up(&samples)
}

/// Adds up the samples of one name over all their labels; of lags and other times the largest counts.
fn add_up(samples: &[Sample]) -> Sums {
    let mut sums = Sums::new();
    for sample in samples {
        let Some((room, name)) = sample.name.strip_prefix("riverrun_").and_then(|name| name.split_once('_')) else {
            continue;
        };
        if sample.labels.iter().any(|(label, _)| *label == "quantile") {
            continue;
        }
        let sum = sums.entry((room, name)).or_insert(0.0);
        if name.ends_with("_ms") { *sum = sum.max(sample.value) } else { *sum += sample.value }
    }
    sums
}

fn room(id: &'static str, before: &Sums, now: &Sums, seconds: f64) -> RoomState {
    let mut state = RoomState { id, ..RoomState::default() };
    for ((_, name), value) in now.iter().filter(|((room, _), _)| *room == id) {
        let Some(counted) = name.strip_suffix("_total") else {
            if *name == "lag_ms" {
                state.lag_ms = Some(*value);
            }
            state.counts.insert(name, *value);
            continue;
        };
        state.counts.insert(counted, *value);
        let earlier = before.get(&(id, *name)).copied().unwrap_or(0.0);
        let rate = if seconds > 0.0 { ((value - earlier) / seconds).max(0.0) } else { 0.0 };
        state.rates.insert(counted, rate);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_added_up_over_labels_and_rates_are_per_second() {
        let at = |requests: u64, lag: u64| {
            add_up(&[
                Sample::new("riverrun_edge_requests_total", &[("edge", "shop")], requests),
                Sample::new("riverrun_edge_requests_total", &[("edge", "blog")], 10),
                Sample::new("riverrun_edge_request_time_us", &[("quantile", "0.5")], 7),
                Sample::new("riverrun_deliver_lag_ms", &[("shard", "0")], lag),
                Sample::new("riverrun_deliver_lag_ms", &[("shard", "1")], 3),
            ])
        };
        let (before, now) = (at(100, 1), at(150, 9));
        let edge = room("edge", &before, &now, 2.0);
        assert_eq!(edge.counts, BTreeMap::from([("requests", 160.0)]));
        assert_eq!(edge.rates, BTreeMap::from([("requests", 25.0)]));
        assert_eq!(room("deliver", &before, &now, 2.0).lag_ms, Some(9.0));
    }
}
