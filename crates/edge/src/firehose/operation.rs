//! The operations of the Firehose API. Followed: facts.md §2 and the published model (`firehose/2015-08-04`).

use bytes::Bytes;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use stream::Stream;

use super::store::{StoreError, store};
use super::{DeliveryStream, Firehose};
use crate::kinesis::constraint::{Constraints, Pattern};
use crate::kinesis::wire::{Blob, Protocol, ServiceError, Timestamp, decode, encode};

/// Bytes of one record, and of all records of a request, as published.
const RECORD_BYTES_MAX: usize = 1_024_000;
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Records of one request, as published.
const RECORDS_MAX: usize = 500;

const NAME_CHARS_MAX: usize = 64;

/// Records shown in the message about too many of them, and as what.
const SHOWN_MAX: usize = 1000;
const RECORD_SHOWN: &str = "com.amazonaws.firehose.v20150804.Record@c965e310";

/// What delivery streams may be fed by. Those here are of the first kind.
const TYPES: [&str; 4] = ["DirectPut", "KinesisStreamAsSource", "MSKAsSource", "DatabaseAsSource"];

/// Names of one list, at most and by default.
const NAMES_MAX: i32 = 10_000;
const NAMES_DEFAULT: i32 = 10;

/// What the file says, and no operation can.
const IN_THE_FILE: [(&str, &str); 8] = [
    ("CreateDeliveryStream", "Add [stream.NAME] and a [table.NAME] with from = \"NAME\" to the server's file"),
    ("DeleteDeliveryStream", "Remove the stream and the tables that read from it from the server's file"),
    ("UpdateDestination", "Change [table.NAME] in the server's file and start the server again"),
    ("StartDeliveryStreamEncryption", "Turn on encryption in [stream.NAME] of the server's file"),
    ("StopDeliveryStreamEncryption", "Turn off encryption in [stream.NAME] of the server's file"),
    ("TagDeliveryStream", "Tag the stream through the Kinesis API: AddTagsToStream"),
    ("UntagDeliveryStream", "Untag the stream through the Kinesis API: RemoveTagsFromStream"),
    ("ListTagsForDeliveryStream", "List the stream's tags through the Kinesis API: ListTagsForStream"),
];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Record {
    data: Option<Blob>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PutRecordInput {
    delivery_stream_name: Option<String>,
    record: Option<Record>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordOutput {
    record_id: String,
    encrypted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PutRecordBatchInput {
    delivery_stream_name: Option<String>,
    records: Option<Vec<Record>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordBatchOutput {
    failed_put_count: usize,
    encrypted: bool,
    request_responses: Vec<Outcome>,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Outcome {
    #[serde(skip_serializing_if = "Option::is_none")]
    record_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct DescribeInput {
    delivery_stream_name: Option<String>,
    limit: Option<i32>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeOutput {
    delivery_stream_description: Description,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description {
    delivery_stream_name: String,
    #[serde(rename = "DeliveryStreamARN")]
    delivery_stream_arn: String,
    delivery_stream_status: &'static str,
    delivery_stream_type: &'static str,
    version_id: &'static str,
    create_timestamp: Timestamp,
    destinations: [Destination; 1],
    has_more_destinations: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Destination {
    destination_id: &'static str,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ListInput {
    limit: Option<i32>,
    delivery_stream_type: Option<String>,
    exclusive_start_delivery_stream_name: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListOutput {
    delivery_stream_names: Vec<String>,
    has_more_delivery_streams: bool,
}

/// The name of a delivery stream, which must be there.
fn check_name(constraints: &mut Constraints, name: Option<&String>, at: &str) {
    constraints.required(at, name);
    constraints.text(at, name, Some(Pattern::Name), 1, NAME_CHARS_MAX);
}

fn check_data(constraints: &mut Constraints, record: &Record, at: &str) {
    constraints.required(at, record.data.as_ref());
    constraints.blob(at, record.data.as_ref(), 0, RECORD_BYTES_MAX);
}

fn check_limit(constraints: &mut Constraints, limit: Option<i32>) -> usize {
    constraints.number("limit", limit, 1, NAMES_MAX);
    usize::try_from(limit.unwrap_or(NAMES_DEFAULT)).unwrap_or(0)
}

impl Firehose {
    /// Carries out one operation, by its name in `X-Amz-Target`, for a request whose signature was verified.
    ///
    /// # Errors
    /// The service's exceptions.
    pub(crate) async fn perform(
        &self,
        operation: &str,
        protocol: Protocol,
        body: &[u8],
    ) -> Result<Bytes, ServiceError> {
        self.counts.requests.inc();
        let performed = self.judge_and_do(operation, protocol, body).await;
        if performed.is_err() {
            self.counts.refused_requests.inc();
        }
        performed
    }

    async fn judge_and_do(&self, operation: &str, protocol: Protocol, body: &[u8]) -> Result<Bytes, ServiceError> {
        match operation {
            "PutRecord" => self.put_record(decode(protocol, body)?).await.map(|output| encode(protocol, &output)),
            "PutRecordBatch" => {
                self.put_record_batch(decode(protocol, body)?).await.map(|output| encode(protocol, &output))
            }
            "DescribeDeliveryStream" => self.describe(decode(protocol, body)?).map(|output| encode(protocol, &output)),
            "ListDeliveryStreams" => self.list(decode(protocol, body)?).map(|output| encode(protocol, &output)),
            other => Err(match IN_THE_FILE.iter().find(|(name, _)| *name == other) {
                Some((name, remedy)) => ServiceError::new(
                    "UnsupportedOperationException",
                    format!("{name} is not done through this door. {remedy}."),
                ),
                None => ServiceError::silent("UnknownOperationException"),
            }),
        }
    }

    fn named(&self, name: &str) -> Result<std::sync::Arc<Stream>, ServiceError> {
        self.stream(name).ok_or_else(|| {
            let account = &self.settings.account;
            let text = format!("Firehose {name} under account {account} not found.");
            ServiceError::new("ResourceNotFoundException", text)
        })
    }

    async fn put_record(&self, input: PutRecordInput) -> Result<PutRecordOutput, ServiceError> {
        let mut constraints = Constraints::default();
        check_name(&mut constraints, input.delivery_stream_name.as_ref(), "deliveryStreamName");
        constraints.required("record", input.record.as_ref());
        if let Some(record) = &input.record {
            check_data(&mut constraints, record, "record.data");
        }
        constraints.kept()?;
        let (name, record) = (input.delivery_stream_name.unwrap_or_default(), input.record.unwrap_or_default());
        let stream = self.named(&name)?;
        let outcome = self.store(&stream, std::slice::from_ref(&record)).await.pop().unwrap_or_default();
        match (outcome.record_id, outcome.error_code) {
            (Some(record_id), _) => Ok(PutRecordOutput { record_id, encrypted: stream.settings().encryption }),
            (None, Some(code)) => {
                let status = match code {
                    "ServiceUnavailableException" => StatusCode::SERVICE_UNAVAILABLE,
                    "InternalFailure" => StatusCode::INTERNAL_SERVER_ERROR,
                    _ => StatusCode::BAD_REQUEST,
                };
                Err(ServiceError::new(code, outcome.error_message.unwrap_or_default()).with_status(status))
            }
            (None, None) => Err(ServiceError::internal("Internal service failure.")),
        }
    }

    async fn put_record_batch(&self, input: PutRecordBatchInput) -> Result<PutRecordBatchOutput, ServiceError> {
        let mut constraints = Constraints::default();
        check_name(&mut constraints, input.delivery_stream_name.as_ref(), "deliveryStreamName");
        constraints.required("records", input.records.as_ref());
        if let Some(records) = &input.records {
            if !(1..=RECORDS_MAX).contains(&records.len()) {
                let shown = vec![RECORD_SHOWN; records.len().min(SHOWN_MAX)].join(", ");
                constraints.length_of(&format!("[{shown}]"), records.len(), "records", 1, RECORDS_MAX);
            }
            let fits = |record: &Record| record.data.as_ref().is_some_and(|data| data.len() <= RECORD_BYTES_MAX);
            for (number, record) in (1..).zip(records).filter(|(_, record)| !fits(record)) {
                check_data(&mut constraints, record, &format!("records.{number}.member.data"));
            }
        }
        constraints.kept()?;
        let (name, records) = (input.delivery_stream_name.unwrap_or_default(), input.records.unwrap_or_default());
        let bytes: usize = records.iter().map(|record| record.data.as_ref().map_or(0, |data| data.len())).sum();
        if bytes > BATCH_BYTES_MAX {
            return Err(ServiceError::new("InvalidArgumentException", "Records size exceeds 4 MB limit"));
        }
        let stream = self.named(&name)?;
        let request_responses = self.store(&stream, &records).await;
        let failed_put_count = request_responses.iter().filter(|outcome| outcome.error_code.is_some()).count();
        let encrypted = stream.settings().encryption;
        Ok(PutRecordBatchOutput { failed_put_count, encrypted, request_responses })
    }

    /// Stores what the stream takes; a record that is too large for it fails alone.
    async fn store(&self, stream: &Stream, records: &[Record]) -> Vec<Outcome> {
        let bytes_max = stream.settings().record_bytes_max as usize;
        let data = |record: &Record| record.data.clone().unwrap_or_default();
        let fits = |record: &&Record| record.data.as_ref().is_some_and(|data| data.len() <= bytes_max);
        let taken: Vec<Blob> = records.iter().filter(fits).map(data).collect();
        let bytes: usize = taken.iter().map(|data| data.len()).sum();
        let stored = if taken.is_empty() {
            Ok(None)
        } else {
            store(stream, taken.iter().map(|data| &**data), &[], &[], self.clock.now()).await.map(Some)
        };
        let mut place = 0;
        let outcomes: Vec<Outcome> = records
            .iter()
            .map(|record| {
                if !fits(&record) {
                    return Outcome {
                        error_code: Some("InvalidArgumentException"),
                        error_message: Some(format!("The stream takes records of at most {bytes_max} bytes.")),
                        ..Outcome::default()
                    };
                }
                match &stored {
                    Ok(Some((shard, first))) => {
                        let offset = first.plus(place);
                        place += 1;
                        // Where it is, so that it can be found again.
                        Outcome { record_id: Some(format!("{:012}-{:020}", shard.0, offset.0)), ..Outcome::default() }
                    }
                    Ok(None) => Outcome::default(),
                    Err(error) => failed(error),
                }
            })
            .collect();
        let failed = outcomes.iter().filter(|outcome| outcome.error_code.is_some()).count();
        self.counts.failed_records.add(failed as u64);
        self.counts.records.add((records.len() - failed) as u64);
        if let Err(error) = &stored {
            tracing::warn!(%error, stream = stream.name(), "records of a Firehose client were not stored");
        } else {
            self.counts.bytes.add(bytes as u64);
        }
        outcomes
    }

    fn describe(&self, input: DescribeInput) -> Result<DescribeOutput, ServiceError> {
        let mut constraints = Constraints::default();
        check_name(&mut constraints, input.delivery_stream_name.as_ref(), "deliveryStreamName");
        check_limit(&mut constraints, input.limit);
        constraints.kept()?;
        let name = input.delivery_stream_name.unwrap_or_default();
        let stream = self.named(&name)?;
        Ok(DescribeOutput {
            delivery_stream_description: Description {
                delivery_stream_arn: self.arn(&name),
                delivery_stream_name: name,
                delivery_stream_status: "ACTIVE",
                delivery_stream_type: TYPES[0],
                version_id: "1",
                create_timestamp: Timestamp(stream.created()),
                destinations: [Destination { destination_id: "destinationId-000000000001" }],
                has_more_destinations: false,
            },
        })
    }

    fn list(&self, input: ListInput) -> Result<ListOutput, ServiceError> {
        let mut constraints = Constraints::default();
        let limit = check_limit(&mut constraints, input.limit);
        constraints.one_of("deliveryStreamType", input.delivery_stream_type.as_ref(), &TYPES);
        let after = input.exclusive_start_delivery_stream_name;
        if after.is_some() {
            check_name(&mut constraints, after.as_ref(), "exclusiveStartDeliveryStreamName");
        }
        constraints.kept()?;
        let after = after.unwrap_or_default();
        let other_kind = input.delivery_stream_type.is_some_and(|kind| kind != TYPES[0]);
        let streams = self.streams.read();
        let exists = |delivery: &&DeliveryStream| !other_kind && self.log.stream(&delivery.stream).is_some();
        let mut rest = streams.iter().filter(|delivery| delivery.name > after).filter(exists);
        let delivery_stream_names = rest.by_ref().take(limit).map(|delivery| delivery.name.clone()).collect();
        Ok(ListOutput { delivery_stream_names, has_more_delivery_streams: rest.next().is_some() })
    }
}

fn failed(error: &StoreError) -> Outcome {
    use base::ErrorKind;
    let (code, text) = match error.kind() {
        ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Poisoned => {
            ("ServiceUnavailableException", "Slow down.")
        }
        _ => ("InternalFailure", "Internal service failure."),
    };
    Outcome { error_code: Some(code), error_message: Some(text.to_owned()), ..Outcome::default() }
}
