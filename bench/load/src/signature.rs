//! Signature version 4 in the header, of a body whose hash is known.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;

/// Keys from the environment, as SDKs take them.
#[derive(Clone)]
pub(crate) struct Signer {
    id: String,
    secret: String,
    host: String,
}

pub(crate) fn hash(body: &[u8]) -> String {
    hex(&Sha256::digest(body))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

impl Signer {
    pub(crate) fn new(host: &str) -> Self {
        let of = |name: &str| std::env::var(name).unwrap_or_else(|_| "test".to_owned());
        Self { id: of("AWS_ACCESS_KEY_ID"), secret: of("AWS_SECRET_ACCESS_KEY"), host: host.to_owned() }
    }

    /// The whole head of a request.
    pub(crate) fn head(&self, operation: &str, length: usize, hash: &str) -> String {
        let now = OffsetDateTime::now_utc();
        let stamp = now
            .format(format_description!("[year][month][day]T[hour][minute][second]Z"))
            .expect("a moment has these parts");
        let day = &stamp[..8];
        let host = &self.host;
        let target = format!("Kinesis_20131202.{operation}");
        let signed = "content-type;host;x-amz-date;x-amz-target";
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:{host}\nx-amz-date:{stamp}\nx-amz-target:{target}\n\n{signed}\n{hash}"
        );
        let scope = format!("{day}/us-east-1/kinesis/aws4_request");
        let text = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", self::hash(canonical.as_bytes()));
        let key = ["us-east-1", "kinesis", "aws4_request"]
            .iter()
            .fold(mac(format!("AWS4{}", self.secret).as_bytes(), day), |key, part| mac(&key, part));
        let signature = hex(&mac(&key, &text));
        format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-1.1\r\nx-amz-date: {stamp}\r\nx-amz-target: {target}\r\nauthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\ncontent-length: {length}\r\n\r\n",
            self.id
        )
    }
}
