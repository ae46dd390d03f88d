//! The Kinesis door alone over a data folder, for running clients and suites against it without the engine:
//! `cargo run --release -p edge --example kinesis -- FOLDER [ADDRESS] [aws]`.

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::sync::Arc;

use base::SystemClock;
use edge::{KinesisDoor, KinesisLimits, KinesisSettings};
use stream::Log;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = PathBuf::from(args.next().ok_or("expected a data folder")?);
    let mut settings = KinesisSettings::default();
    if let Some(address) = args.next() {
        settings.listen = address.parse()?;
    }
    if args.next().as_deref() == Some("aws") {
        settings.limits = KinesisLimits::Aws;
    }
    let clock = Arc::new(SystemClock);
    let log = Log::open(&folder, clock.clone())?;
    let door = KinesisDoor::start(settings, log.clone(), clock, []).await?;
    println!("http://{}/", door.local_addr());
    tokio::signal::ctrl_c().await?;
    door.stop().await;
    log.close();
    Ok(())
}
