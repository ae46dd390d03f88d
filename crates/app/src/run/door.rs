//! The console's door: its listener and the loop that serves it.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use edge::serve::{ServeCounts, ServeLimits, Tls, listen, serve_secured};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An open door.
pub(crate) struct Door {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Door {
    /// Opens the door; `stop` also ends the answers that would never end by themselves.
    pub(crate) fn open(
        app: Router,
        address: SocketAddr,
        tls: Option<Arc<Tls>>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let listener = listen(address).with_context(|| {
            format!("the console cannot listen on {address}: end what listens there, or change [console] listen")
        })?;
        let address = listener.local_addr()?;
        let counts = Arc::new(ServeCounts::default());
        let serving = tokio::spawn(serve_secured(listener, app, ServeLimits::default(), counts, tls, stop.clone()));
        Ok(Self { address, stop, serving })
    }

    /// Where it is: the port that the system chose, if the file said 0.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Lets nobody in any more, and those inside finish.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        let _ = self.serving.await;
    }
}
