//! Following the file while running: dashboards apply at once, everything else at the next start.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use console::Dashboards;
use tokio::sync::watch;

use crate::file;

/// How often the file is looked at: a look costs microseconds, and an editor's save should be seen while one looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Follows the file for ever.
pub(crate) async fn follow(path: PathBuf, dashboards: watch::Sender<Arc<Dashboards>>) {
    let mut seen = changed(&path);
    let mut rest = rest_of(&path);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = changed(&path);
        if now == seen || now.is_none() {
            continue; // unchanged, or in the middle of an editor's save
        }
        seen = now;
        match file::load(&path) {
            Ok(settings) => {
                let new = Arc::new(settings.dashboards.clone());
                if dashboards.send_if_modified(|old| (**old != *new).then(|| *old = new).is_some()) {
                    tracing::info!("dashboards are as the file says now");
                }
                let now = rest_of(&path);
                if now != rest {
                    tracing::warn!(file = %path.display(), "the file changed beyond its dashboards: that counts from the next start on");
                    rest = now;
                }
            }
            Err(error) => tracing::warn!("the changed file has mistakes and is not followed: {error:#}"),
        }
    }
}

fn changed(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len()))
}

/// Everything in the file but the dashboards.
fn rest_of(path: &Path) -> Option<toml::Table> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut table: toml::Table = text.parse().ok()?;
    table.remove("dashboard");
    Some(table)
}
