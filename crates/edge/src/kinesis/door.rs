//! The door itself: from an HTTP request to an operation and back.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use base::{Clock, ErrorKind};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{CONTENT_TYPE, HeaderMap, ORIGIN};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::Service;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stream::Log;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::auth::{AccessKeys, KeyError, Verifier};
use super::counts::KinesisCounts;
use super::desk::{Account, Desk};
use super::fault::Fault;
use super::limits::Limits;
use super::operation::Operation as Op;
use super::settings::{KeySource, KinesisLimits, KinesisSettings};
use super::subscription::{Pace, Subscriptions};
use super::wire::{Form, Protocol, answer, decode, encode};
use super::{account, adjust, body, consumers, get, held, order, put, shards, streams, subscribe, tags};
use crate::checks::{self, Work};
use crate::collect::budget::{Budget, Share};
use crate::counts::micros;
use crate::firehose::{self, Firehose};
use crate::serve::{self, ServeLimits, Tls};

/// Open connections: ten thousand producers that keep theirs while they are idle, and room for those at work beside them.
/// Each costs about 25 KiB.
const CONNECTIONS_MAX: usize = 12_000;

/// Records of Firehose are held as they came, once more decoded, and twice more as a batch while they are appended.
const FIREHOSE_WEIGHT: usize = 4;

/// The service and version in `X-Amz-Target`.
const TARGET: &str = "Kinesis_20131202";

/// The door did not open.
#[derive(Debug, thiserror::Error)]
pub enum KinesisStartError {
    /// The address cannot be had.
    #[error("the Kinesis door cannot listen on {address}: {source}. Stop what listens there, or change listen")]
    Listen {
        /// Where it should listen.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The file of access keys cannot be used.
    #[error("the Kinesis door cannot use the access keys in {}: {source}", file.display())]
    Keys {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
}

impl KinesisStartError {
    /// What the caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Listen { source, .. } if source.kind() == io::ErrorKind::AddrInUse => ErrorKind::Conflict,
            Self::Listen { .. } => ErrorKind::Unavailable,
            Self::Keys { .. } => ErrorKind::Invalid,
        }
    }
}

/// The running door.
#[derive(Debug)]
pub struct KinesisDoor {
    address: SocketAddr,
    desk: Arc<Desk>,
    /// Stops the server, also when the door is dropped.
    stop: DropGuard,
    server: JoinHandle<()>,
}

/// What may stand beside the door.
#[derive(Clone, Debug, Default)]
pub struct KinesisBeside {
    /// Certificate and key, for a door that speaks TLS.
    pub tls: Option<Arc<Tls>>,
    /// The Firehose door, which shares address and access keys with this one.
    pub firehose: Option<Arc<Firehose>>,
}

/// What every request needs.
#[derive(Debug)]
struct Reception {
    desk: Arc<Desk>,
    firehose: Option<Arc<Firehose>>,
    verifier: Verifier,
}

impl KinesisDoor {
    /// Opens the door over all streams of `log`. `declared` are the names of the streams that the file declares: they
    /// cannot be deleted through the door.
    ///
    /// # Errors
    /// [`KinesisStartError`], with nothing left running.
    pub async fn start(
        settings: KinesisSettings,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
        declared: impl IntoIterator<Item = String>,
    ) -> Result<Self, KinesisStartError> {
        Self::start_beside(settings, log, clock, declared, KinesisBeside::default()).await
    }

    /// Likewise, with TLS and the Firehose door, if there are any.
    ///
    /// # Errors
    /// As [`KinesisDoor::start`].
    pub async fn start_beside(
        settings: KinesisSettings,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
        declared: impl IntoIterator<Item = String>,
        beside: KinesisBeside,
    ) -> Result<Self, KinesisStartError> {
        Self::start_at(settings, log, clock, declared.into_iter().collect(), beside, Pace::default()).await
    }

    /// Likewise, with another pace of subscriptions.
    pub(crate) async fn start_at(
        settings: KinesisSettings,
        log: Arc<Log>,
        clock: Arc<dyn Clock>,
        declared: BTreeSet<String>,
        beside: KinesisBeside,
        pace: Pace,
    ) -> Result<Self, KinesisStartError> {
        let keys = match settings.keys {
            KeySource::Open => AccessKeys::open(),
            KeySource::Here(keys) => keys,
            KeySource::File(file) => {
                AccessKeys::read(&file).map_err(|source| KinesisStartError::Keys { file, source })?
            }
        };
        let listener = serve::listen(settings.listen)
            .and_then(|listener| Ok((listener.local_addr()?, listener)))
            .map_err(|source| KinesisStartError::Listen { address: settings.listen, source });
        let (address, listener) = listener?;
        let stop = CancellationToken::new();
        let budget = Budget::new(usize::try_from(settings.memory_bytes).unwrap_or(usize::MAX / 2));
        let counts = Arc::new(KinesisCounts::new(budget.clone()));
        let desk = Arc::new(Desk {
            log,
            clock: clock.clone(),
            account: Account { id: settings.account, region: settings.region },
            limits: (settings.limits == KinesisLimits::Aws).then(Limits::default),
            shards_max: settings.shards_max,
            declared: declared.into(),
            attributes: super::attributes::AttributesBook::default(),
            subscriptions: Subscriptions::default(),
            pace,
            counts: counts.clone(),
            budget,
            stop: stop.clone(),
        });
        let KinesisBeside { tls, firehose } = beside;
        let reception = Arc::new(Reception { desk: desk.clone(), firehose, verifier: Verifier::new(keys, clock) });
        let limits = ServeLimits { connections_max: CONNECTIONS_MAX, ..ServeLimits::default() };
        let counts = counts.serve.clone();
        let caller = move |_| Caller(reception.clone());
        let server = tokio::spawn(serve::run(listener, tls, caller, limits, counts, stop.clone()));
        Ok(Self { address, desk, stop: stop.drop_guard(), server })
    }

    /// Where it listens; with port 0 in the settings, the port that was given.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What came in and what became of it.
    #[must_use]
    pub fn counts(&self) -> Arc<KinesisCounts> {
        self.desk.counts.clone()
    }

    /// Takes over which streams the file declares, after the file was changed.
    pub fn declare(&self, names: impl IntoIterator<Item = String>) {
        *self.desk.declared.write() = names.into_iter().collect();
    }

    /// Ends subscriptions, stops accepting, and lets requests finish.
    pub async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.server.await {
            tracing::error!(%error, "the server of the Kinesis door ended badly");
        }
    }
}

/// What an operation answers.
enum Reply {
    Output(Bytes),
    Nothing,
    Whole(Response<Body>),
}

/// Who is at the other end of one connection.
struct Caller(Arc<Reception>);

impl Service<Request<Incoming>> for Caller {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answer = take(self.0.clone(), request.map(Body::new));
        Box::pin(async move { Ok(answer.await) })
    }
}

async fn take(reception: Arc<Reception>, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (parts, mut body) = request.into_parts();
    if let Some(firehose) = reception.firehose.as_ref().filter(|_| Firehose::is_delivery(parts.uri.path())) {
        return firehose.deliver(&parts, &mut body).await;
    }
    let from_a_page = parts.headers.contains_key(ORIGIN);
    if from_a_page && reception.verifier.is_open() {
        discard(&mut body).await;
        return order::no_pages().answer(Form::Plain);
    }
    if let Some(answer) = order::preflight(&parts) {
        return answer;
    }
    let call = Call::of(&parts);
    let counts = &reception.desk.counts;
    let answered = match &call {
        Ok(call) => reception.answer(call, &parts, &mut body).await,
        Err(refusal) => Err(refusal.clone()),
    };
    let operation = call.as_ref().ok().and_then(|call| call.wanted.operation());
    let mut response = match answered {
        Ok(response) => response,
        Err((fault, form)) => {
            counts.error(operation, fault.code);
            discard(&mut body).await;
            let response = fault.answer(form);
            if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
                let request_id = response.headers().get("x-amzn-requestid").and_then(|id| id.to_str().ok());
                let operation = operation.map(Op::name);
                tracing::error!(request_id, operation, %fault, "a request of the Kinesis door failed");
            }
            response
        }
    };
    if from_a_page {
        order::expose(response.headers_mut());
    }
    if let Some(operation) = operation {
        counts.request(operation, micros(started, Instant::now()));
    }
    response
}

pub(super) type Refusal = (Fault, Form);

/// What the head of a request asks for.
pub(super) struct Call {
    pub(super) form: Form,
    /// `None`: some other content type.
    pub(super) protocol: Option<Protocol>,
    pub(super) wanted: Wanted,
}

/// The operation that a request names.
pub(super) enum Wanted {
    Kinesis(Op),
    Firehose(String),
    Unknown,
}

impl Wanted {
    fn of(target: &str) -> Self {
        match target.split_once('.') {
            Some((TARGET, name)) => Op::by_name(name).map_or(Self::Unknown, Self::Kinesis),
            Some((firehose::TARGET, name)) => Self::Firehose(name.to_owned()),
            _ => Self::Unknown,
        }
    }

    fn operation(&self) -> Option<Op> {
        if let Self::Kinesis(operation) = self { Some(*operation) } else { None }
    }

    /// The service that the request must be signed for.
    fn service(&self) -> &'static str {
        if let Self::Firehose(_) = self { firehose::SERVICE } else { "kinesis" }
    }
}

impl Call {
    fn of(parts: &Parts) -> Result<Self, Refusal> {
        if parts.method != Method::POST {
            return Err((unknown_service(), Form::Plain));
        }
        let protocol = Protocol::of(&parts.headers);
        let legacy = essence(&parts.headers) == "application/json";
        let form = match protocol {
            Some(protocol) => protocol.into(),
            None if legacy => Form::Legacy,
            None => Form::Plain,
        };
        let target = parts.headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self { form, protocol, wanted: Wanted::of(target) })
    }
}

fn essence(headers: &HeaderMap) -> &str {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim()
}

pub(super) fn unknown_service() -> Fault {
    Fault::new("AccessDeniedException", "Unable to determine service/operation name to be authorized")
}

/// Reads on what is left of a refused body, within bounds, so that its sender sees the answer.
async fn discard(body: &mut Body) {
    crate::collect::body::discard(body).await;
}

impl Reception {
    async fn answer(&self, call: &Call, parts: &Parts, body: &mut Body) -> Result<Response<Body>, Refusal> {
        let in_form = |fault: Fault| (fault, call.form);
        // A head that proves nothing is refused before anything large of its body is held.
        let admitted = self.verifier.admit(parts, call.wanted.service());
        let mut share = self.desk.budget.share();
        let body = match &admitted {
            Ok(_) => body::read(parts, body, &mut share).await.map_err(in_form)?,
            Err(fault) => order::small(parts, body).await.ok_or_else(|| in_form(fault.clone()))?,
        };
        let protocol = order::judge(call, parts, &body, admitted.is_err())?;
        let admitted = admitted.map_err(in_form)?;
        admitted.verify(&body).map_err(in_form)?;
        tracing::trace!(access_key = admitted.access_key, region = admitted.region, "a request was admitted");
        let operation = match (&call.wanted, &self.firehose) {
            (Wanted::Kinesis(operation), _) => *operation,
            (Wanted::Firehose(name), Some(firehose)) => {
                if body.len() > body::FREE_BYTES && !share.grow_to(FIREHOSE_WEIGHT * body.len()) {
                    return Err(in_form(Fault::busy()));
                }
                let output = firehose.perform(name, protocol, &body).await.map_err(in_form)?;
                return Ok(answer(protocol, Some(output)));
            }
            _ => return Err(in_form(Fault::silent("UnknownOperationException"))),
        };
        if let Some(limits) = &self.desk.limits
            && !limits.operation(Instant::now().into(), operation)
        {
            let account = &self.desk.account.id;
            return Err(in_form(Fault::limit(format!(
                "Rate exceeded for {} under account {account}.",
                operation.name()
            ))));
        }
        let asked = Asked { desk: &self.desk, protocol, body, share };
        match asked.perform(operation).await.map_err(in_form)? {
            Reply::Output(output) => Ok(answer(protocol, Some(output))),
            Reply::Nothing => Ok(answer(protocol, None)),
            Reply::Whole(response) => Ok(response),
        }
    }
}

/// One request that may be carried out.
struct Asked<'a> {
    desk: &'a Arc<Desk>,
    protocol: Protocol,
    body: Bytes,
    share: Share,
}

impl Asked<'_> {
    async fn perform(self, operation: Op) -> Result<Reply, Fault> {
        match operation {
            Op::PutRecords => self.put_records().await,
            Op::PutRecord => self.put_record().await,
            Op::GetRecords => self.get_records().await,
            Op::SubscribeToShard => self.subscribe().await,
            Op::GetShardIterator => self.told(get::iterator).await,
            Op::CreateStream => self.done(streams::create).await,
            Op::DeleteStream => self.done(streams::delete).await,
            Op::DescribeStream => self.told(streams::describe).await,
            Op::DescribeStreamSummary => self.told(streams::summary).await,
            Op::ListStreams => self.told(streams::list).await,
            Op::ListShards => self.told(shards::list).await,
            Op::SplitShard => self.done(shards::split).await,
            Op::MergeShards => self.done(shards::merge).await,
            Op::UpdateShardCount => self.told(shards::update_count).await,
            Op::UpdateStreamMode => self.done(adjust::update_mode).await,
            Op::IncreaseStreamRetentionPeriod => self.done(adjust::increase_retention).await,
            Op::DecreaseStreamRetentionPeriod => self.done(adjust::decrease_retention).await,
            Op::UpdateMaxRecordSize => self.done(adjust::update_max_record_size).await,
            Op::UpdateStreamRecordDistributionStrategy => self.done(adjust::update_distribution).await,
            Op::UpdateStreamWarmThroughput => self.done(adjust::update_warm_throughput).await,
            Op::EnableEnhancedMonitoring => self.told(adjust::enable_monitoring).await,
            Op::DisableEnhancedMonitoring => self.told(adjust::disable_monitoring).await,
            Op::StartStreamEncryption => self.done(adjust::start_encryption).await,
            Op::StopStreamEncryption => self.done(adjust::stop_encryption).await,
            Op::RegisterStreamConsumer => self.told(consumers::register).await,
            Op::DescribeStreamConsumer => self.told(consumers::describe).await,
            Op::ListStreamConsumers => self.told(consumers::list).await,
            Op::DeregisterStreamConsumer => self.done(consumers::deregister).await,
            Op::AddTagsToStream => self.done(tags::add_to_stream).await,
            Op::RemoveTagsFromStream => self.done(tags::remove_from_stream).await,
            Op::ListTagsForStream => self.told(tags::list_for_stream).await,
            Op::TagResource => self.done(tags::tag_resource).await,
            Op::UntagResource => self.done(tags::untag_resource).await,
            Op::ListTagsForResource => self.told(tags::list_for_resource).await,
            Op::DescribeLimits => self.told(account::describe_limits).await,
            Op::DescribeAccountSettings => self.told(account::describe_settings).await,
            Op::UpdateAccountSettings => self.told(account::update_settings).await,
            Op::GetResourcePolicy => self.told(account::get_policy).await,
            Op::PutResourcePolicy => self.done(account::put_policy).await,
            Op::DeleteResourcePolicy => self.done(account::delete_policy).await,
            Op::AcknowledgeDeadLetterQueueRecords
            | Op::AcknowledgeQueueRecords
            | Op::CreateChannel
            | Op::CreateQueue
            | Op::DeleteChannel
            | Op::DeleteQueue
            | Op::DescribeChannel
            | Op::DescribeQueue
            | Op::ListChannels
            | Op::ListQueues
            | Op::ReceiveDeadLetterQueueRecords
            | Op::ReceiveQueueRecords
            | Op::RestoreDeadLetterQueueRecords
            | Op::UpdateChannel
            | Op::UpdateDeadLetterQueueRecordsVisibility
            | Op::UpdateQueue
            | Op::UpdateQueueRecordsVisibility => Err(account::without_meaning(operation)),
        }
    }

    /// An operation with an output. It may block for the disk, so it runs beside the server's threads.
    async fn told<I, O>(self, run: fn(&Desk, I) -> Result<O, Fault>) -> Result<Reply, Fault>
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
    {
        let protocol = self.protocol;
        let run = move |desk: &Desk, input| {
            let output = encode(protocol, &run(desk, input)?);
            held::admit(&desk.budget, output).map(Reply::Output)
        };
        self.beside(Work::Change, run).await
    }

    /// An operation without one.
    async fn done<I>(self, run: fn(&Desk, I) -> Result<(), Fault>) -> Result<Reply, Fault>
    where
        I: DeserializeOwned + Send + 'static,
    {
        self.beside(Work::Change, move |desk, input| run(desk, input).map(|()| Reply::Nothing)).await
    }

    async fn beside<I>(
        self,
        work: Work,
        run: impl FnOnce(&Desk, I) -> Result<Reply, Fault> + Send + 'static,
    ) -> Result<Reply, Fault>
    where
        I: DeserializeOwned + Send + 'static,
    {
        let input: I = decode(self.protocol, &self.body)?;
        let desk = self.desk.clone();
        let ran = checks::run(work, move || run(&desk, input)).await;
        ran.unwrap_or_else(|error| {
            tracing::error!(%error, "an operation of the Kinesis door panicked");
            Err(Fault::internal("Internal service failure."))
        })
    }

    async fn put_records(self) -> Result<Reply, Fault> {
        let input = decode(self.protocol, &self.body)?;
        drop(self.body);
        let output = put::put_records(self.desk, input).await?;
        let output = encode(self.protocol, &output);
        Ok(Reply::Output(held::hold(&self.desk.budget, output, self.share)))
    }

    async fn put_record(self) -> Result<Reply, Fault> {
        let input = decode(self.protocol, &self.body)?;
        drop(self.body);
        let output = put::put_record(self.desk, input).await?;
        Ok(Reply::Output(encode(self.protocol, &output)))
    }

    async fn get_records(self) -> Result<Reply, Fault> {
        let (protocol, share) = (self.protocol, self.desk.budget.share());
        let run = move |desk: &Desk, input| get::records(desk, protocol, input, share).map(Reply::Output);
        self.beside(Work::Read, run).await
    }

    async fn subscribe(self) -> Result<Reply, Fault> {
        let input = decode(self.protocol, &self.body)?;
        subscribe::subscribe(self.desk, self.protocol, input).await.map(Reply::Whole)
    }
}
