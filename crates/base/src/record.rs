//! The record: what a producer sends and every room passes on.

use bytes::Bytes;

use crate::time::Millis;

/// One record of a stream. The log keeps it byte for byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Arrival time, given by the door.
    pub timestamp: Millis,
    /// Partition key: records of one key keep their order. `None`: any shard will do.
    pub key: Option<Bytes>,
    /// The payload.
    pub value: Bytes,
    /// Headers, in order. Doors use the names in [`Header`].
    pub headers: Vec<(Bytes, Bytes)>,
}

/// Names of the headers that riverrun's own doors write. A record without them is read as its table says.
#[derive(Clone, Copy, Debug)]
pub struct Header;

impl Header {
    /// The [`Format`] of the payload, by its name.
    pub const FORMAT: &'static str = "format";
    /// For [`Format::Cdn`]: the published numbers of the fields on the line, separated by commas (`"1,2,5,7"`).
    pub const FIELDS: &'static str = "fields";
    /// The id of the request or event, chosen by the door: the name of its receipt.
    pub const ID: &'static str = "id";
    /// On the first record of each part of a Firehose delivery: which delivery it is of, and how many of its records are
    /// on disk once this part is. Written and read by the door that takes deliveries, of no meaning to anybody else.
    pub const DELIVERY: &'static str = "delivery";
    /// Present (value `"1"`) on records that the demo's simulated shoppers caused.
    pub const SIMULATED: &'static str = "simulated";
}

/// How a payload is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// One JSON object.
    Json,
    /// One CDN real-time log line: tab-separated values, percent-encoded, `-` for none.
    Cdn,
    /// One line of an access log in Apache's combined format.
    Combined,
}

impl Format {
    /// All formats, in the order in which they are documented.
    pub const ALL: [Self; 3] = [Self::Json, Self::Cdn, Self::Combined];

    /// The name used in headers, in the file and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Cdn => "cdn",
            Self::Combined => "combined",
        }
    }

    /// The format of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}
