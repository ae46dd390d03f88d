//! Shoppers at work: the requests that [`super::sessions`] decides, sent at their time to the shop's own door.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::{Clock as _, SystemClock};
use reqwest::header;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::products::products;
use super::sessions::{Request, Shoppers};

/// The header by which the edge marks a request as simulated.
const SIMULATED: &str = "x-riverrun-simulated";
/// Requests on their way at once; beyond it shoppers wait, as people in front of a slow shop do.
const IN_FLIGHT_MAX: usize = 256;
/// A shopper who waits longer than this goes away.
const PATIENCE: Duration = Duration::from_secs(10);
/// Shoppers later than this are skipped: after a pause of the machine nobody comes all at once.
const LATE_MAX_MS: i64 = 2_000;

/// Shoppers at work until stopped.
pub(crate) struct Shopping {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Shopping {
    /// Sends everybody home.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// Lets shoppers into the shop at `site`, who click `rate` times a second on the average of a day.
pub(crate) fn start(site: SocketAddr, rate: f64) -> anyhow::Result<Shopping> {
    let client = reqwest::Client::builder()
        .timeout(PATIENCE)
        .pool_max_idle_per_host(IN_FLIGHT_MAX)
        .no_proxy()
        .build()
        .context("shoppers have no HTTP client")?;
    let now = SystemClock.now().0;
    let seed = u64::try_from(now).unwrap_or(0);
    let shoppers = Shoppers::new(seed, rate, products(), now);
    let stop = CancellationToken::new();
    let task = tokio::spawn(shop(client, site, shoppers, stop.clone()));
    Ok(Shopping { stop, task })
}

async fn shop(client: reqwest::Client, site: SocketAddr, mut shoppers: Shoppers, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(IN_FLIGHT_MAX));
    loop {
        let request = shoppers.next();
        let wait = request.at_ms - SystemClock.now().0;
        if wait < -LATE_MAX_MS {
            continue;
        }
        let wait = Duration::from_millis(u64::try_from(wait).unwrap_or(0));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => break,
        }
        let Ok(place) = places.clone().acquire_owned().await else { break };
        let client = client.clone();
        tokio::spawn(async move {
            send(&client, site, &request).await;
            drop(place);
        });
    }
    // Those in front of the counter finish.
    let _ = places.acquire_many(u32::try_from(IN_FLIGHT_MAX).expect("a small constant")).await;
}

async fn send(client: &reqwest::Client, site: SocketAddr, request: &Request) {
    let mut asked = client
        .get(format!("http://{site}{}", request.target))
        .header(header::USER_AGENT, request.agent)
        .header(SIMULATED, "1");
    if let Some(page) = request.referrer.strip_prefix('/') {
        asked = asked.header(header::REFERER, format!("http://{site}/{page}"));
    } else if !request.referrer.is_empty() {
        asked = asked.header(header::REFERER, request.referrer);
    }
    match asked.send().await {
        Ok(answer) => drop(answer.bytes().await),
        Err(error) => tracing::debug!(%error, "a simulated shopper got no answer"),
    }
}
