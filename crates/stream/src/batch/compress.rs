//! Compression of the records of a batch, by the codec numbers of the format.

use std::io::{BufRead, BufReader, Write};

use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};

use super::header::Damage;
use crate::limit::INFLATED_BYTES_MAX;

/// How the records of a batch are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// LZ4 frame.
    Lz4,
    /// Zstandard.
    Zstd,
}

const ZSTD_LEVEL: i32 = 1; // a stream is written once and read soon; the lake compresses harder

impl Compression {
    pub(crate) fn codec(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// The compressed form of `records`; `None` if they are to be stored as they are, also because it would not help.
    pub(crate) fn deflate(self, records: &[u8]) -> Option<Vec<u8>> {
        let deflated = match self {
            Self::None => None,
            Self::Lz4 => {
                // Left to itself, the frame has blocks of 4 MiB, and each reader of a batch fills that much with zeros.
                let blocks = FrameInfo::new().block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(blocks, Vec::with_capacity(records.len() / 2));
                encoder.write_all(records).ok().and_then(|()| encoder.finish().ok())
            }
            Self::Zstd => zstd::bulk::compress(records, ZSTD_LEVEL).ok(),
        };
        deflated.filter(|deflated| deflated.len() < records.len())
    }
}

/// The records that `bytes` hold by `codec`; `None` if they are stored as they are.
pub(crate) fn inflate(codec: i16, bytes: &[u8]) -> Result<Option<Vec<u8>>, Damage> {
    match codec {
        0 => Ok(None),
        3 => bounded(lz4_flex::frame::FrameDecoder::new(bytes), bytes.len()),
        4 => {
            let decoder = zstd::stream::read::Decoder::with_buffer(bytes);
            let decoder = decoder.map_err(|error| Damage::Inflate(error.to_string()))?;
            bounded(BufReader::with_capacity(64 * 1024, decoder), bytes.len())
        }
        other => Err(Damage::Codec(other)),
    }
}

/// All of `source`, unless it is more than a batch may inflate to.
fn bounded(mut source: impl BufRead, deflated: usize) -> Result<Option<Vec<u8>>, Damage> {
    const LIKELY_RATIO: usize = 4;
    let mut inflated = Vec::with_capacity((deflated * LIKELY_RATIO).min(INFLATED_BYTES_MAX));
    loop {
        let part = source.fill_buf().map_err(|error| Damage::Inflate(error.to_string()))?;
        if part.is_empty() {
            return Ok(Some(inflated));
        }
        if inflated.len() + part.len() > INFLATED_BYTES_MAX {
            return Err(Damage::Inflate(format!("more than {INFLATED_BYTES_MAX} bytes")));
        }
        inflated.extend_from_slice(part);
        let taken = part.len();
        source.consume(taken);
    }
}
