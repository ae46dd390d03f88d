//! The AWS SDK for Rust against the Kinesis door: walks through the life of a stream and checks every answer, writes numbered
//! records from many keys, and reads them back by subscription. Address, region and keys come from the environment
//! (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`). The first thing that is wrong ends it with
//! one line and a status other than 0; what it did is one JSON object on standard output.

mod numbered;
mod story;

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_kinesis::types::{StreamDescriptionSummary, StreamStatus};

/// The longest a change of a stream may take.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let client = client()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["story"] => story::walk(&client).await,
        ["write", stream, keys, rounds] => numbered::write(&client, stream, keys.parse()?, rounds.parse()?).await,
        ["read", stream, keys, rounds] => numbered::read(&client, stream, keys.parse()?, rounds.parse()?).await,
        _ => bail!("expected: story | write STREAM KEYS ROUNDS | read STREAM KEYS ROUNDS"),
    }
}

/// A client that tells nothing twice: what a retry would hide is seen.
fn client() -> Result<Client> {
    let of = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let config = aws_sdk_kinesis::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(of("AWS_REGION")?))
        .endpoint_url(of("AWS_ENDPOINT_URL")?)
        .credentials_provider(Credentials::new(
            of("AWS_ACCESS_KEY_ID")?,
            of("AWS_SECRET_ACCESS_KEY")?,
            None,
            None,
            "environment",
        ))
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().operation_attempt_timeout(Duration::from_secs(60)).build())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Ok(Client::from_conf(config))
}

/// The summary of a stream, once it is `ACTIVE`.
async fn active(client: &Client, stream: &str) -> Result<StreamDescriptionSummary> {
    let deadline = tokio::time::Instant::now() + WAIT_MAX;
    loop {
        let answer = client.describe_stream_summary().stream_name(stream).send().await?;
        let summary = answer.stream_description_summary().context("a summary")?;
        if *summary.stream_status() == StreamStatus::Active {
            return Ok(summary.clone());
        }
        ensure!(tokio::time::Instant::now() < deadline, "{stream} is still {}", summary.stream_status());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
