//! Registered consumers: who may subscribe to shards.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use stream::Stream;

use super::attributes;
use super::constraint::{Constraints, Pattern};
use super::desk::{Desk, stream_of_arn};
use super::fault::Fault;
use super::streams::{ACTIVE, TOKEN_CHARS_MAX};
use super::tags;
use super::token::{List, Token};
use super::wire::Timestamp;

/// Consumers of one stream, as published.
const CONSUMERS_MAX: usize = 20;

/// Consumers of one answer by default: more than a stream may have.
const RESULTS_DEFAULT: usize = 100;

/// `Consumer` and `ConsumerDescription`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Consumer {
    consumer_name: String,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: String,
    consumer_status: &'static str,
    consumer_creation_timestamp: Timestamp,
    #[serde(rename = "StreamARN", skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
}

impl Consumer {
    fn new(desk: &Desk, stream: &str, name: &str, consumer: &attributes::Consumer) -> Self {
        Self {
            consumer_name: name.to_owned(),
            consumer_arn: desk.consumer_arn(stream, name, consumer.created()),
            consumer_status: ACTIVE,
            consumer_creation_timestamp: Timestamp(consumer.created()),
            stream_arn: None,
        }
    }

    fn with_stream(mut self, desk: &Desk, stream: &str) -> Self {
        self.stream_arn = Some(desk.stream_arn(stream));
        self
    }
}

fn no_consumer(desk: &Desk, named: &str) -> Fault {
    Fault::not_found(format!("Consumer {named}, account {} not found.", desk.account.id))
}

/// The stream and the name of the consumer with that ARN.
pub(crate) fn by_arn(desk: &Desk, arn: &str) -> Result<(Arc<Stream>, String), Fault> {
    let missing = || no_consumer(desk, arn);
    let (stream_arn, tail) = arn.split_once("/consumer/").ok_or_else(missing)?;
    let (name, created) = tail.rsplit_once(':').ok_or_else(missing)?;
    let stream = desk.log.stream(stream_of_arn(stream_arn)).ok_or_else(missing)?;
    let attributes = desk.attributes(&stream);
    let found = attributes.consumers.get(name);
    let is_it = found.is_some_and(|consumer| consumer.created_ms.div_euclid(1000).to_string() == created);
    if is_it { Ok((stream, name.to_owned())) } else { Err(missing()) }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct RegisterStreamConsumerInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    consumer_name: Option<String>,
    tags: Option<BTreeMap<String, Option<String>>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct RegisterStreamConsumerOutput {
    consumer: Consumer,
}

pub(crate) fn register(desk: &Desk, input: RegisterStreamConsumerInput) -> Result<RegisterStreamConsumerOutput, Fault> {
    let tags = input.tags.map(tags::plain);
    let mut constraints = Constraints::default();
    constraints.required("streamARN", input.stream_arn.as_ref());
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.required("consumerName", input.consumer_name.as_ref());
    constraints.name("consumerName", input.consumer_name.as_ref());
    tags::check_map(&mut constraints, tags.as_ref());
    constraints.kept()?;
    let stream = desk.stream(None, input.stream_arn.as_ref())?;
    let name = input.consumer_name.unwrap_or_default();
    let tags = tags.unwrap_or_default();
    tags::check_words(stream.name(), desk, "add tags to", tags.keys().chain(tags.values()))?;
    tags::check_number(stream.name(), desk, tags.len())?;
    let consumer = attributes::Consumer { created_ms: desk.clock.now().0, tags };
    let account = &desk.account.id;
    desk.attributes.change(&stream, |attributes| {
        let stream = stream.name();
        if attributes.consumers.contains_key(&name) {
            return Err(Fault::in_use(format!(
                "Consumer {name} under stream {stream} already exists for account {account}."
            )));
        }
        if attributes.consumers.len() >= CONSUMERS_MAX {
            return Err(Fault::limit(format!(
                "Stream {stream} under account {account} has {CONSUMERS_MAX} registered consumers, the most it may have."
            )));
        }
        attributes.consumers.insert(name.clone(), consumer.clone());
        Ok(())
    })?;
    Ok(RegisterStreamConsumerOutput { consumer: Consumer::new(desk, stream.name(), &name, &consumer) })
}

/// An input that names a consumer: by its ARN, or by its name and the ARN of its stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ConsumerInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    consumer_name: Option<String>,
    #[serde(rename = "ConsumerARN")]
    consumer_arn: Option<String>,
}

impl ConsumerInput {
    fn find(&self, desk: &Desk) -> Result<(Arc<Stream>, String), Fault> {
        let mut constraints = Constraints::default();
        constraints.arn("streamARN", self.stream_arn.as_ref(), Pattern::StreamArn);
        constraints.name("consumerName", self.consumer_name.as_ref());
        constraints.text("consumerARN", self.consumer_arn.as_ref(), None, 1, 2048);
        constraints.kept()?;
        let found = match (&self.consumer_arn, &self.stream_arn, &self.consumer_name) {
            (Some(arn), _, _) => by_arn(desk, arn)?,
            (None, Some(stream), Some(name)) => {
                let stream = desk.stream(None, Some(stream))?;
                if !desk.attributes(&stream).consumers.contains_key(name) {
                    return Err(no_consumer(desk, name));
                }
                (stream, name.clone())
            }
            _ => {
                return Err(Fault::invalid("Either ConsumerARN, or both StreamARN and ConsumerName must be provided."));
            }
        };
        let other_stream = self.stream_arn.as_ref().is_some_and(|arn| stream_of_arn(arn) != found.0.name());
        if other_stream || self.consumer_name.as_ref().is_some_and(|name| *name != found.1) {
            return Err(Fault::invalid("StreamARN, ConsumerName and ConsumerARN do not name the same consumer."));
        }
        Ok(found)
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DescribeStreamConsumerOutput {
    consumer_description: Consumer,
}

pub(crate) fn describe(desk: &Desk, input: ConsumerInput) -> Result<DescribeStreamConsumerOutput, Fault> {
    let (stream, name) = input.find(desk)?;
    let attributes = desk.attributes(&stream);
    let consumer = attributes.consumers.get(&name).ok_or_else(|| no_consumer(desk, &name))?;
    let described = Consumer::new(desk, stream.name(), &name, consumer).with_stream(desk, stream.name());
    Ok(DescribeStreamConsumerOutput { consumer_description: described })
}

pub(crate) fn deregister(desk: &Desk, input: ConsumerInput) -> Result<(), Fault> {
    let (stream, name) = input.find(desk)?;
    desk.attributes.change(&stream, |attributes| {
        attributes.consumers.remove(&name).map(drop).ok_or_else(|| no_consumer(desk, &name))
    })?;
    desk.subscriptions.end_consumer(stream.uuid(), &name);
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListStreamConsumersInput {
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    next_token: Option<String>,
    max_results: Option<i32>,
    stream_creation_timestamp: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ListStreamConsumersOutput {
    consumers: Vec<Consumer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) fn list(desk: &Desk, input: ListStreamConsumersInput) -> Result<ListStreamConsumersOutput, Fault> {
    let mut constraints = Constraints::default();
    constraints.required("streamARN", input.stream_arn.as_ref());
    constraints.arn("streamARN", input.stream_arn.as_ref(), Pattern::StreamArn);
    constraints.number("maxResults", input.max_results, 1, 10_000);
    constraints.text("nextToken", input.next_token.as_ref(), None, 1, TOKEN_CHARS_MAX);
    constraints.kept()?;
    let stream = desk.stream(None, input.stream_arn.as_ref())?;
    let now = desk.clock.now();
    let token = input.next_token.map(|token| Token::admit(&token, List::Consumers, now)).transpose()?;
    if token.as_ref().is_some_and(|token| token.uuid != stream.uuid()) {
        return Err(Fault::invalid("NextToken is invalid."));
    }
    if let Some(created) = input.stream_creation_timestamp
        && created.0.0.div_euclid(1000) != stream.created().0.div_euclid(1000)
    {
        return Err(desk.no_stream(stream.name()));
    }
    let after = token.map(|token| token.last).unwrap_or_default();
    let limit = input.max_results.and_then(|most| usize::try_from(most).ok()).unwrap_or(RESULTS_DEFAULT);
    let attributes = desk.attributes(&stream);
    let mut left = attributes.consumers.iter().filter(|(name, _)| **name > after);
    let told: Vec<(&String, &attributes::Consumer)> = left.by_ref().take(limit).collect();
    let last = told.last().filter(|_| left.next().is_some()).map(|(name, _)| (*name).clone());
    let next_token = last.map(|last| {
        let (stream, uuid) = (stream.name().to_owned(), stream.uuid());
        Token { list: List::Consumers, made_ms: now.0, stream, uuid, last, filter: None }.write()
    });
    let consumers = told.into_iter().map(|(name, consumer)| Consumer::new(desk, stream.name(), name, consumer));
    Ok(ListStreamConsumersOutput { consumers: consumers.collect(), next_token })
}
