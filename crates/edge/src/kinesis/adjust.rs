//! What of a stream can be set: retention, capacity mode, record size, distribution, monitoring, encryption.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use stream::{OpenError, ShardMode};

use super::constraint::{Constraints, Pattern};
use super::desk::{Desk, check_stream};
use super::fault::Fault;
use super::shapes::{KMS, MODES, StreamModeDetails};
use super::streams::{RECORD_KIB, STRATEGIES, retention_hours};

/// Hours that a stream keeps its records, least and most, as published.
const HOURS: (i32, i32) = (24, 8760);

/// Changes of the mode within a day, with the service's limits.
const SWITCHES_MAX: usize = 2;
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Shard-level metrics by the names of the model.
const METRICS: [&str; 8] = [
    "IncomingBytes",
    "IncomingRecords",
    "OutgoingBytes",
    "OutgoingRecords",
    "WriteProvisionedThroughputExceeded",
    "ReadProvisionedThroughputExceeded",
    "IteratorAgeMilliseconds",
    ALL,
];

/// Stands for all others.
const ALL: &str = "ALL";

const METRICS_MAX: usize = 7;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RetentionInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    retention_period_hours: Option<i32>,
}

/// Which way the retention is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Longer,
    Shorter,
}

pub(crate) fn increase_retention(desk: &Desk, input: RetentionInput) -> Result<(), Fault> {
    set_retention(desk, input, Way::Longer)
}

pub(crate) fn decrease_retention(desk: &Desk, input: RetentionInput) -> Result<(), Fault> {
    set_retention(desk, input, Way::Shorter)
}

fn set_retention(desk: &Desk, input: RetentionInput, way: Way) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    constraints.required("retentionPeriodHours", input.retention_period_hours.as_ref());
    constraints.number("retentionPeriodHours", input.retention_period_hours, 1, i32::MAX);
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let hours = input.retention_period_hours.unwrap_or_default();
    let (least, most) = HOURS;
    if hours < least {
        return Err(Fault::invalid(format!(
            "Minimum allowed retention period is {least} hours. Requested retention period ({hours} hours) is too short."
        )));
    }
    if hours > most {
        return Err(Fault::invalid(format!(
            "Maximum allowed retention period is {most} hours. Requested retention period ({hours} hours) is too long."
        )));
    }
    let (held, asked) = (retention_hours(&stream), u64::from(hours.unsigned_abs()));
    let (fits, wrong, other) = match way {
        Way::Longer => (asked >= held, "shorter", "DecreaseRetentionPeriod"),
        Way::Shorter => (asked <= held, "longer", "IncreaseRetentionPeriod"),
    };
    if !fits {
        return Err(Fault::invalid(format!(
            "Requested retention period ({hours} hours) for stream {} can not be {wrong} than existing retention period \
             ({held} hours). Use {other} API.",
            stream.name()
        )));
    }
    stream.set_retention(Duration::from_secs(asked * 3600)).map_err(|error| Fault::of_open(&error))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateStreamModeInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    stream_mode_details: Option<StreamModeDetails>,
    warm_throughput_mi_bps: Option<i32>,
}

pub(crate) fn update_mode(desk: &Desk, input: UpdateStreamModeInput) -> Result<(), Fault> {
    let mode = input.stream_mode_details.as_ref().and_then(|details| details.stream_mode.clone());
    let mut constraints = Constraints::default();
    constraints.required("streamARN", input.stream_arn.as_ref());
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.required("streamModeDetails", input.stream_mode_details.as_ref());
    if input.stream_mode_details.is_some() {
        constraints.required("streamModeDetails.streamMode", mode.as_ref());
    }
    constraints.one_of("streamModeDetails.streamMode", mode.as_ref(), &MODES);
    constraints.number("warmThroughputMiBps", input.warm_throughput_mi_bps, 0, i32::MAX);
    constraints.kept()?;
    let stream = desk.stream(None, input.stream_arn.as_ref())?;
    if input.warm_throughput_mi_bps.is_some_and(|warm| warm > 0) {
        return Err(nothing_to_warm());
    }
    let wanted = if mode.as_deref() == Some(MODES[1]) { ShardMode::OnDemand } else { ShardMode::Provisioned };
    if wanted == stream.mode() {
        return Ok(());
    }
    let now = desk.clock.now().0;
    desk.attributes.change(&stream, |attributes| {
        attributes.switched_ms.retain(|at| now - at < DAY_MS);
        if attributes.switched_ms.len() >= SWITCHES_MAX {
            if desk.limits.is_some() {
                return Err(Fault::limit(format!(
                    "The mode of stream {} under account {} was changed {SWITCHES_MAX} times within 24 hours, the most it \
                     may be.",
                    stream.name(),
                    desk.account.id
                )));
            }
            attributes.switched_ms.remove(0);
        }
        attributes.switched_ms.push(now);
        Ok(())
    })?;
    stream.set_mode(wanted).map_err(|error| Fault::of_open(&error))
}

fn nothing_to_warm() -> Fault {
    Fault::unsupported(
        "There is nothing to warm on one machine: a stream takes what the disk takes, at once. Leave out \
         WarmThroughputMiBps.",
    )
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateStreamWarmThroughputInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    warm_throughput_mi_bps: Option<i32>,
}

pub(crate) fn update_warm_throughput(desk: &Desk, input: UpdateStreamWarmThroughputInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.required("warmThroughputMiBps", input.warm_throughput_mi_bps.as_ref());
    constraints.number("warmThroughputMiBps", input.warm_throughput_mi_bps, 0, i32::MAX);
    constraints.kept()?;
    desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    Err(nothing_to_warm())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateMaxRecordSizeInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(rename = "MaxRecordSizeInKiB")]
    max_record_size_in_kib: Option<i32>,
}

pub(crate) fn update_max_record_size(desk: &Desk, input: UpdateMaxRecordSizeInput) -> Result<(), Fault> {
    let mut constraints = Constraints::default();
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.required("maxRecordSizeInKiB", input.max_record_size_in_kib.as_ref());
    constraints.number("maxRecordSizeInKiB", input.max_record_size_in_kib, RECORD_KIB.0, RECORD_KIB.1);
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let kib = input.max_record_size_in_kib.unwrap_or(RECORD_KIB.0).unsigned_abs();
    stream.set_record_bytes_max(kib * 1024).map_err(|error| Fault::of_open(&error))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UpdateDistributionInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    record_distribution_strategy: Option<String>,
}

pub(crate) fn update_distribution(desk: &Desk, input: UpdateDistributionInput) -> Result<(), Fault> {
    let strategy = input.record_distribution_strategy;
    let mut constraints = Constraints::default();
    constraints.required("streamARN", input.stream_arn.as_ref());
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.required("recordDistributionStrategy", strategy.as_ref());
    constraints.one_of("recordDistributionStrategy", strategy.as_ref(), &STRATEGIES);
    constraints.kept()?;
    let stream = desk.stream(None, input.stream_arn.as_ref())?;
    let spread = strategy.as_deref() == Some(STRATEGIES[0]);
    if spread && stream.mode() != ShardMode::OnDemand {
        return Err(Fault::invalid("RecordDistributionStrategy AUTO is only supported for on-demand streams."));
    }
    desk.attributes.change(&stream, |attributes| {
        attributes.spread = spread;
        Ok(())
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct MonitoringInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    shard_level_metrics: Option<Vec<String>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct MonitoringOutput {
    stream_name: String,
    current_shard_level_metrics: Vec<String>,
    desired_shard_level_metrics: Vec<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: String,
}

pub(crate) fn enable_monitoring(desk: &Desk, input: MonitoringInput) -> Result<MonitoringOutput, Fault> {
    set_monitoring(desk, input, |is_on, is_named| is_on || is_named)
}

pub(crate) fn disable_monitoring(desk: &Desk, input: MonitoringInput) -> Result<MonitoringOutput, Fault> {
    set_monitoring(desk, input, |is_on, is_named| is_on && !is_named)
}

/// Those of the metrics that `wanted` holds for, in the order of the model. `ALL` names all others.
fn metrics(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    METRICS.iter().filter(|name| **name != ALL && wanted(name)).map(|name| (*name).to_owned()).collect()
}

fn names(named: &[String], metric: &str) -> bool {
    named.iter().any(|name| name == metric || name == ALL)
}

fn set_monitoring(
    desk: &Desk,
    input: MonitoringInput,
    stays: impl Fn(bool, bool) -> bool,
) -> Result<MonitoringOutput, Fault> {
    let asked = input.shard_level_metrics;
    let mut constraints = Constraints::default();
    constraints.required("shardLevelMetrics", asked.as_ref());
    if let Some(asked) = &asked {
        let shown = format!("[{}]", asked.join(", "));
        constraints.length_of(&shown, asked.len(), "shardLevelMetrics", 1, METRICS_MAX);
        if asked.iter().any(|name| !METRICS.contains(&name.as_str())) {
            let must = format!("satisfy constraint: [Member must satisfy enum value set: [{}]]", METRICS.join(", "));
            constraints.broken(&shown, "shardLevelMetrics", &must);
        }
    }
    check_stream(&mut constraints, input.stream_name.as_ref(), input.stream_arn.as_ref());
    constraints.kept()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    let (current, desired) = desk.attributes.change(&stream, |attributes| {
        let (held, asked) = (&attributes.metrics, asked.unwrap_or_default());
        let current = metrics(|metric| names(held, metric));
        let desired = metrics(|metric| stays(names(held, metric), names(&asked, metric)));
        attributes.metrics.clone_from(&desired);
        Ok((current, desired))
    })?;
    Ok(MonitoringOutput {
        stream_name: stream.name().to_owned(),
        current_shard_level_metrics: current,
        desired_shard_level_metrics: desired,
        stream_arn: desk.stream_arn(stream.name()),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct EncryptionInput {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    encryption_type: Option<String>,
    key_id: Option<String>,
}

impl EncryptionInput {
    fn check(&self) -> Result<(), Fault> {
        let mut constraints = Constraints::default();
        check_stream(&mut constraints, self.stream_name.as_ref(), self.stream_arn.as_ref());
        constraints.required("encryptionType", self.encryption_type.as_ref());
        constraints.one_of("encryptionType", self.encryption_type.as_ref(), &["NONE", KMS]);
        constraints.required("keyId", self.key_id.as_ref());
        constraints.text("keyId", self.key_id.as_ref(), None, 1, 2048);
        constraints.kept()?;
        if self.encryption_type.as_deref() != Some(KMS) {
            return Err(Fault::invalid("EncryptionType KMS is the only one that can be started or stopped."));
        }
        Ok(())
    }
}

/// Encrypts what is written from now on, with the key of the server's file: whatever key the client names, its name is
/// only remembered and told.
pub(crate) fn start_encryption(desk: &Desk, input: EncryptionInput) -> Result<(), Fault> {
    input.check()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    stream.set_encryption(true).map_err(|error| match error {
        OpenError::NoKey { name } => Fault::no_key(format!(
            "There is no key to encrypt stream {name} with. Streams are encrypted with the server's own key, whatever KeyId \
             says: add [encryption] with key_file = \"stream.key\" to the server's file and start it again."
        )),
        error => Fault::of_open(&error),
    })?;
    desk.attributes.change(&stream, |attributes| {
        attributes.key_id = input.key_id;
        Ok(())
    })
}

pub(crate) fn stop_encryption(desk: &Desk, input: EncryptionInput) -> Result<(), Fault> {
    input.check()?;
    let stream = desk.stream(input.stream_name.as_ref(), input.stream_arn.as_ref())?;
    stream.set_encryption(false).map_err(|error| Fault::of_open(&error))?;
    desk.attributes.change(&stream, |attributes| {
        attributes.key_id = None;
        Ok(())
    })
}
