//! What all operations share: the log, who we are, and the small state of the door.

use std::collections::BTreeSet;
use std::sync::Arc;

use base::{Clock, Millis, ShardId};
use parking_lot::RwLock;
use stream::{Log, ShardMode, Stream};
use tokio_util::sync::CancellationToken;

use super::attributes::{Attributes, AttributesBook};
use super::constraint::{Constraints, Pattern};
use super::counts::KinesisCounts;
use super::fault::Fault;
use super::limits::Limits;
use super::sequence::Origin;
use super::subscription::{Pace, Subscriptions};
use crate::collect::budget::Budget;

/// Who the door says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// Twelve digits.
    pub(crate) id: String,
    /// The region in ARNs.
    pub(crate) region: String,
}

/// What all operations share.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) account: Account,
    /// The service's limits, if they are to hold here.
    pub(crate) limits: Option<Limits>,
    /// Open shards of all streams together.
    pub(crate) shards_max: u32,
    /// Names of the streams that the file declares.
    pub(crate) declared: RwLock<BTreeSet<String>>,
    pub(crate) attributes: AttributesBook,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) pace: Pace,
    pub(crate) counts: Arc<KinesisCounts>,
    /// What all requests and answers in progress may hold together.
    pub(crate) budget: Arc<Budget>,
    pub(crate) stop: CancellationToken,
}

/// Checks how a stream is named: by its name, its ARN, or both.
pub(crate) fn check_stream(constraints: &mut Constraints, name: Option<&String>, arn: Option<&String>) {
    if name.is_none() && arn.is_none() {
        constraints.missing("streamName");
    }
    constraints.name("streamName", name);
    constraints.arn("streamARN", arn, Pattern::StreamArn);
}

/// The name of the stream in its ARN. Region and account are not judged: there is one of each
/// here, and clients are configured with whatever they have.
pub(crate) fn stream_of_arn(arn: &str) -> &str {
    arn.split_once(":stream/").map_or("", |(_, name)| name)
}

/// The number of a shard by any name that the service takes: `shardId-000000000007`, `shardId-7`, `7`, `anything-7`.
pub(crate) fn shard_number(name: &str) -> Option<ShardId> {
    let digits = match name.split('-').nth(1) {
        Some(second) if !second.is_empty() => second,
        _ => name,
    };
    let fits = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = if fits { digits.parse().ok()? } else { return None };
    (number <= i32::MAX as u32).then_some(ShardId(number))
}

/// The published name of a shard.
pub(crate) fn shard_name(shard: ShardId) -> String {
    format!("shardId-{:012}", shard.0)
}

impl Desk {
    /// The stream that a request names.
    pub(crate) fn stream(&self, name: Option<&String>, arn: Option<&String>) -> Result<Arc<Stream>, Fault> {
        let wanted = Self::wanted(name, arn)?;
        self.log.stream(wanted).ok_or_else(|| self.no_stream(wanted))
    }

    /// The name that a request means.
    pub(crate) fn wanted<'a>(name: Option<&'a String>, arn: Option<&'a String>) -> Result<&'a str, Fault> {
        match (name, arn) {
            (Some(name), Some(arn)) if name != stream_of_arn(arn) => {
                Err(Fault::invalid(format!("StreamName {name} and StreamARN {arn} do not name the same stream.")))
            }
            (Some(name), _) => Ok(name),
            (None, Some(arn)) => Ok(stream_of_arn(arn)),
            (None, None) => Ok(""),
        }
    }

    /// There is no such stream.
    pub(crate) fn no_stream(&self, name: &str) -> Fault {
        Fault::not_found(format!("Stream {name} under account {} not found.", self.account.id))
    }

    /// There is no such shard, as operations on shards say it.
    pub(crate) fn no_shard(&self, shard: &str, stream: &str) -> Fault {
        let account = &self.account.id;
        Fault::not_found(format!("Could not find shard {shard} in stream {stream} under account {account}."))
    }

    /// There is no such shard, as reading operations say it.
    pub(crate) fn shard_is_gone(&self, shard: ShardId, stream: &str) -> Fault {
        let (shard, account) = (shard_name(shard), &self.account.id);
        Fault::not_found(format!("Shard {shard} in stream {stream} under account {account} does not exist"))
    }

    /// The ARN of a stream.
    pub(crate) fn stream_arn(&self, name: &str) -> String {
        format!("arn:aws:kinesis:{}:{}:stream/{name}", self.account.region, self.account.id)
    }

    /// The ARN of a consumer.
    pub(crate) fn consumer_arn(&self, stream: &str, name: &str, created: Millis) -> String {
        format!("{}/consumer/{name}:{}", self.stream_arn(stream), created.0.div_euclid(1000))
    }

    /// What sequence numbers of a shard have in common.
    pub(crate) fn origin(stream: &Stream, shard: ShardId) -> Origin {
        Origin::new(stream.created(), shard)
    }

    /// What the door knows of a stream.
    pub(crate) fn attributes(&self, stream: &Stream) -> Arc<Attributes> {
        self.attributes.of(stream)
    }

    /// Refuses what shards of on-demand streams are spared.
    pub(crate) fn provisioned(&self, stream: &Stream) -> Result<(), Fault> {
        if stream.mode() == ShardMode::Provisioned {
            return Ok(());
        }
        Err(Fault::validation(format!(
            "Request is invalid. Stream {} under account {} is in On-Demand mode.",
            stream.name(),
            self.account.id
        )))
    }

    /// Open shards of all streams.
    pub(crate) fn open_shards(&self) -> u32 {
        self.log.streams().iter().map(|stream| stream.shards()).sum()
    }

    /// Whether `more` shards may be opened.
    pub(crate) fn room_for(&self, more: u32) -> Result<(), Fault> {
        let open = self.open_shards();
        if open.saturating_add(more) <= self.shards_max {
            return Ok(());
        }
        Err(Fault::limit(format!(
            "This request would exceed the shard limit for the account {} in {}. Current shard count for the account: \
             {open}. Limit: {}. Number of additional shards that would have resulted from this request: {more}. Refer to \
             the AWS Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for \
             current limits and how to request higher limits.",
            self.account.id, self.account.region, self.shards_max
        )))
    }

    /// A shard takes or gives no more at this moment.
    pub(crate) fn rate_exceeded(&self, shard: ShardId, stream: &str) -> Fault {
        Fault::throughput(self.rate_exceeded_text(shard, stream))
    }

    /// Likewise, as the text of one record.
    pub(crate) fn rate_exceeded_text(&self, shard: ShardId, stream: &str) -> String {
        let (shard, account) = (shard_name(shard), &self.account.id);
        format!("Rate exceeded for shard {shard} in stream {stream} under account {account}.")
    }

    /// Answers a dry run that went well.
    pub(crate) fn dry(asked: Option<bool>) -> Result<(), Fault> {
        if asked == Some(true) {
            return Err(Fault::dry_run("Request would have succeeded, but DryRun flag is set."));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_known_by_every_name_the_service_takes() {
        for name in ["shardId-000000000007", "shardId-7", "7", "-7", "whatever-000000000007"] {
            assert_eq!(shard_number(name), Some(ShardId(7)), "{name}");
        }
        assert_eq!(shard_number("2147483647"), Some(ShardId(2_147_483_647)));
        for name in ["2147483648", "shardId-002147483648", "ABKLFD8", "2.14E4", "", "shardId-x"] {
            assert_eq!(shard_number(name), None, "{name}");
        }
        assert_eq!(shard_name(ShardId(7)), "shardId-000000000007");
    }

    #[test]
    fn an_arn_names_its_stream() {
        let arn = "arn:aws:kinesis:eu-west-1:000000000000:stream/clicks";
        assert_eq!(stream_of_arn(arn), "clicks");
        assert_eq!(stream_of_arn(&format!("{arn}/consumer/app:1")), "clicks/consumer/app:1", "that is no stream");
        assert_eq!(stream_of_arn("nonsense"), "");
    }
}
