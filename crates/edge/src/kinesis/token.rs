//! Tokens with which a list is continued: the place, the question, and the time, with a check sum.

use base::Millis;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::fault::Fault;

/// How long a token may be used, as published.
const TOKEN_TIME_MS: i64 = 300_000;

const CHECK_BYTES: usize = 8;

/// Which list a token continues.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum List {
    Streams,
    Shards,
    Consumers,
}

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) list: List,
    /// When it was given out.
    pub(crate) made_ms: i64,
    /// The stream, unless streams themselves are listed.
    pub(crate) stream: String,
    pub(crate) uuid: Uuid,
    /// The last that was told.
    pub(crate) last: String,
    /// The question, where it narrows the list.
    pub(crate) filter: Option<(String, Option<String>, Option<i64>)>,
}

impl Token {
    /// As text.
    pub(crate) fn write(&self) -> String {
        let mut bytes = serde_json::to_vec(self).expect("texts and numbers are JSON");
        let check = xxh3_64(&bytes);
        bytes.extend_from_slice(&check.to_be_bytes());
        STANDARD.encode(bytes)
    }

    /// Reads what a client sent, unless it is for another list or too old.
    pub(crate) fn admit(text: &str, list: List, now: Millis) -> Result<Self, Fault> {
        let read = || -> Option<Self> {
            let bytes = STANDARD.decode(text).ok()?;
            let (body, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
            if xxh3_64(body) != u64::from_be_bytes(*check) {
                return None;
            }
            serde_json::from_slice(body).ok()
        };
        let token = read().filter(|token| token.list == list).ok_or_else(|| Fault::invalid("NextToken is invalid."))?;
        if now.0.saturating_sub(token.made_ms) > TOKEN_TIME_MS {
            let seconds = TOKEN_TIME_MS / 1000;
            return Err(Fault::expired_token(format!(
                "NextToken has expired: it may be used for {seconds} seconds. Start the list again without it."
            )));
        }
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_for_one_list_and_five_minutes() {
        let token = Token {
            list: List::Shards,
            made_ms: 1000,
            stream: "clicks".to_owned(),
            uuid: Uuid::nil(),
            last: "shardId-000000000003".to_owned(),
            filter: Some(("AT_LATEST".to_owned(), None, None)),
        };
        let text = token.write();
        assert_eq!(Token::admit(&text, List::Shards, Millis(301_000)), Ok(token));
        let code = |error: Result<Token, Fault>| error.expect_err("refused").code;
        assert_eq!(code(Token::admit(&text, List::Shards, Millis(301_001))), "ExpiredNextTokenException");
        assert_eq!(code(Token::admit(&text, List::Streams, Millis(1000))), "InvalidArgumentException");
        assert_eq!(code(Token::admit("nonsense", List::Shards, Millis(1000))), "InvalidArgumentException");
    }
}
