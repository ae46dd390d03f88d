//! The account as a whole, and what has no meaning on one machine.

use serde::{Deserialize, Serialize};
use stream::ShardMode;

use super::constraint::Constraints;
use super::desk::Desk;
use super::fault::Fault;
use super::operation::Operation;
use super::tags::{self, ResourceInput};

/// On-demand streams that the service gives an account. Here any number may be made.
const ON_DEMAND_STREAMS: usize = 1_000_000;

/// An input without members.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct NoInput {}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeLimitsOutput {
    shard_limit: u32,
    open_shard_count: u32,
    on_demand_stream_count: usize,
    on_demand_stream_count_limit: usize,
}

pub(crate) fn describe_limits(desk: &Desk, _input: NoInput) -> Result<DescribeLimitsOutput, Fault> {
    let streams = desk.log.streams();
    Ok(DescribeLimitsOutput {
        shard_limit: desk.shards_max,
        open_shard_count: desk.open_shards(),
        on_demand_stream_count: streams.iter().filter(|stream| stream.mode() == ShardMode::OnDemand).count(),
        on_demand_stream_count_limit: ON_DEMAND_STREAMS,
    })
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Commitment {
    status: Option<String>,
}

/// The input and output of account settings.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct AccountSettings {
    minimum_throughput_billing_commitment: Option<Commitment>,
}

fn uncommitted() -> AccountSettings {
    let status = Some("DISABLED".to_owned());
    AccountSettings { minimum_throughput_billing_commitment: Some(Commitment { status }) }
}

pub(crate) fn describe_settings(_desk: &Desk, _input: NoInput) -> Result<AccountSettings, Fault> {
    Ok(uncommitted())
}

pub(crate) fn update_settings(_desk: &Desk, input: AccountSettings) -> Result<AccountSettings, Fault> {
    let commitment = input.minimum_throughput_billing_commitment;
    let status = commitment.as_ref().and_then(|commitment| commitment.status.as_ref());
    let mut constraints = Constraints::default();
    constraints.required("minimumThroughputBillingCommitment", commitment.as_ref());
    if commitment.is_some() {
        constraints.required("minimumThroughputBillingCommitment.status", status);
    }
    constraints.one_of("minimumThroughputBillingCommitment.status", status, &["ENABLED", "DISABLED"]);
    constraints.kept()?;
    if status.is_some_and(|status| status == "ENABLED") {
        return Err(Fault::unsupported("Nobody bills anything here, so there is nothing to commit to."));
    }
    Ok(uncommitted())
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct GetResourcePolicyOutput {
    policy: &'static str,
}

/// No resource has a policy: the empty one, as the service tells it.
pub(crate) fn get_policy(desk: &Desk, input: ResourceInput) -> Result<GetResourcePolicyOutput, Fault> {
    input.check()?;
    tags::find_resource(desk, input.resource_arn.as_ref())?;
    Ok(GetResourcePolicyOutput { policy: "{}" })
}

pub(crate) fn delete_policy(desk: &Desk, input: ResourceInput) -> Result<(), Fault> {
    input.check()?;
    tags::find_resource(desk, input.resource_arn.as_ref())?;
    let arn = input.resource_arn.unwrap_or_default();
    Err(Fault::not_found(format!("No resource policy found for resource ARN {arn}.")))
}

pub(crate) fn put_policy(desk: &Desk, input: ResourceInput) -> Result<(), Fault> {
    input.check()?;
    tags::find_resource(desk, input.resource_arn.as_ref())?;
    Err(Fault::unsupported(
        "Access is not shared between accounts here: whoever has an access key of the server's file may use every stream. \
         Give others a key of their own under [kinesis.keys].",
    ))
}

/// What is answered to operations that have no meaning here.
pub(crate) fn without_meaning(operation: Operation) -> Fault {
    let name = operation.name();
    let instead = if name.contains("Channel") {
        "Streams are delivered to tables by [table.NAME] of the server's file."
    } else {
        "Read streams with GetRecords or SubscribeToShard."
    };
    Fault::unsupported(format!("{name} is not offered here. {instead}"))
}
