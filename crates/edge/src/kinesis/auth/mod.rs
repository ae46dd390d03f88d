//! Signature version 4, as the signer's published description has it: a request proves that its sender knows the secret
//! of an access key, and that the signed headers and the body are as they were sent.
//!
//! It is judged in two steps, so that nothing large is held for who has not at least named a known key:
//!
//! ```text
//! let admitted = verifier.admit(&parts, "kinesis")?;   // the head: form, key, date, scope
//! let body = /* read under a limit */;
//! admitted.verify(&body)?;                             // the signature over head and body
//! ```
//!
//! Codes and texts are the service's. Without any key the door is open: signatures are not verified then, but who
//! sends none, or a broken one, is told as the service tells it, so that a client that works here works there.
//! A session token is not judged: it stands for a temporary key, and keys are not temporary here.

mod canonical;
mod claim;
mod derived;
mod key;
mod moment;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{constant_time, digest, hmac};
use base::{Clock, Millis};
use http::request::Parts;

use super::wire::ServiceError;
use claim::{Claim, Form};
use derived::SigningKeys;
use moment::Moment;

pub use key::{AccessKeys, KeyError};

/// How far the clocks of a client and of the service may be apart.
const SKEW: Duration = Duration::from_secs(5 * 60);

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const TERMINATOR: &str = "aws4_request";
const INVALID: &str = "InvalidSignatureException";

/// Judges who may ask.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    keys: Arc<AccessKeys>,
    derived: Arc<SigningKeys>,
    clock: Arc<dyn Clock>,
}

/// A request whose head is in order; its signature is still to be verified, once its body is there.
#[derive(Debug)]
pub(crate) struct Admitted {
    /// The access key that the request names; empty if an open door cannot tell.
    pub(crate) access_key: String,
    /// The region that the request was signed for; empty likewise.
    pub(crate) region: String,
    /// What verifying takes; `None` at an open door.
    proof: Option<Proof>,
}

struct Proof {
    signing_key: Arc<hmac::Key>,
    signature: [u8; 32],
    /// The canonical request up to the hash of the body.
    canonical: Vec<u8>,
    /// The text to sign up to the hash of the canonical request.
    to_sign: String,
    /// The hash of the body that a header names.
    body_hash: Option<String>,
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(…)")
    }
}

impl Verifier {
    /// With no keys: open.
    pub(crate) fn new(keys: AccessKeys, clock: Arc<dyn Clock>) -> Self {
        Self { keys: Arc::new(keys), derived: Arc::default(), clock }
    }

    /// Whether there are no keys.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// Judges the head of a request to `service` (`kinesis`, `firehose`), before its body is read. Costs and holds no
    /// more than a few times the head.
    ///
    /// # Errors
    /// The service's exceptions for a missing, incomplete or unknown signature, a wrong scope or a stale date.
    pub(crate) fn admit(&self, head: &Parts, service: &str) -> Result<Admitted, ServiceError> {
        let claim = Claim::of(head)?;
        if self.keys.is_empty() {
            let mut scope = claim.credential.split('/');
            let access_key = scope.next().unwrap_or_default().to_owned();
            return Ok(Admitted { access_key, region: scope.nth(1).unwrap_or_default().to_owned(), proof: None });
        }
        let scope = Scope::of(&claim.credential)?;
        let at = Moment::parse(&claim.date).ok_or_else(|| {
            let text = format!(
                "Date must be in ISO-8601 'basic format'. Got '{}'. See http://en.wikipedia.org/wiki/ISO_8601",
                claim.date
            );
            ServiceError::new("IncompleteSignatureException", text)
        })?;
        if claim.algorithm != ALGORITHM {
            return Err(ServiceError::new(
                "IncompleteSignatureException",
                format!("Unsupported AWS 'algorithm': '{}'.", claim.algorithm),
            ));
        }
        scope.check(service, &at)?;
        fresh(&claim, &at, self.clock.now())?;
        let names = canonical::signed_names(&claim.signed_headers)?;
        claim.check_signed(&names)?;
        let Some(secret) = self.keys.secret(scope.access_key) else {
            return Err(ServiceError::new(
                "UnrecognizedClientException",
                "The security token included in the request is invalid.",
            ));
        };
        let signature = claim::signature_bytes(&claim.signature).ok_or_else(mismatch)?;
        let proof = Proof {
            signing_key: self.derived.of(&claim.credential, || scope.signing_key(secret)),
            signature,
            canonical: canonical::request(head, &names, claim.form == Form::Query),
            to_sign: format!("{ALGORITHM}\n{at}\n{}\n", scope.text),
            body_hash: claim.body_hash,
        };
        Ok(Admitted { access_key: scope.access_key.to_owned(), region: scope.region.to_owned(), proof: Some(proof) })
    }
}

impl Admitted {
    /// Verifies the signature over the head and this body.
    ///
    /// # Errors
    /// `InvalidSignatureException` if the signature is of another request or with another secret.
    pub(crate) fn verify(&self, body: &[u8]) -> Result<(), ServiceError> {
        let Some(proof) = &self.proof else { return Ok(()) };
        let body_hash = hex(digest::digest(&digest::SHA256, body).as_ref());
        if proof.body_hash.as_ref().is_some_and(|named| !named.eq_ignore_ascii_case(&body_hash)) {
            return Err(ServiceError::new(
                INVALID,
                "The provided 'x-amz-content-sha256' header does not match what was computed.",
            ));
        }
        let mut canonical = digest::Context::new(&digest::SHA256);
        canonical.update(&proof.canonical);
        canonical.update(body_hash.as_bytes());
        let to_sign = format!("{}{}", proof.to_sign, hex(canonical.finish().as_ref()));
        let expected = hmac::sign(&proof.signing_key, to_sign.as_bytes());
        constant_time::verify_slices_are_equal(expected.as_ref(), &proof.signature).map_err(|_| mismatch())
    }
}

fn mismatch() -> ServiceError {
    ServiceError::new(
        INVALID,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access \
         Key and signing method. Consult the service documentation for details.",
    )
}

/// `KEY/DATE/REGION/SERVICE/aws4_request`.
struct Scope<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    terminator: &'a str,
    /// Everything after the key.
    text: &'a str,
}

impl<'a> Scope<'a> {
    fn of(credential: &'a str) -> Result<Self, ServiceError> {
        let parts: Vec<&str> = credential.splitn(6, '/').collect();
        let [access_key, date, region, service, terminator] = parts[..] else {
            let text = format!(
                "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got \
                 '{credential}'"
            );
            return Err(ServiceError::new("IncompleteSignatureException", text));
        };
        Ok(Self { access_key, date, region, service, terminator, text: &credential[access_key.len() + 1..] })
    }

    fn check(&self, service: &str, at: &Moment) -> Result<(), ServiceError> {
        let mut wrong = Vec::new();
        if self.terminator != TERMINATOR {
            let found = self.terminator;
            wrong.push(format!("Credential should be scoped with a valid terminator: '{TERMINATOR}', not '{found}'."));
        }
        if self.service != service {
            wrong.push(format!("Credential should be scoped to correct service: '{service}'."));
        }
        let day = at.day();
        if self.date != day {
            wrong.push(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '{}' != \
                 '{day}', from '{at}'.",
                self.date
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(ServiceError::new(INVALID, wrong.join(" "))) }
    }

    fn signing_key(&self, secret: &str) -> hmac::Key {
        let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let mut signing = key(&[b"AWS4", secret.as_bytes()].concat());
        for part in [self.date, self.region, self.service, TERMINATOR] {
            signing = key(hmac::sign(&signing, part.as_bytes()).as_ref());
        }
        signing
    }
}

/// A signature is good for five minutes around its date; in query form, from its date for as long as it says.
fn fresh(claim: &Claim, at: &Moment, now: Millis) -> Result<(), ServiceError> {
    let skew_ms = i64::try_from(SKEW.as_millis()).expect("five minutes");
    let now_text = |shift: i64| Moment::from(now.plus_ms(shift));
    let invalid = |text: String| Err(ServiceError::new(INVALID, text));
    let age_ms = now.since(at.millis());
    if age_ms < -skew_ms {
        let (limit, now) = (now_text(skew_ms), now_text(0));
        return invalid(format!("Signature not yet current: {at} is still later than {limit} ({now} + 5 min.)"));
    }
    match claim.expires {
        Some(expires) if age_ms > i64::try_from(expires.as_millis()).unwrap_or(i64::MAX) => {
            let ended = Moment::from(at.millis().plus_ms(i64::try_from(expires.as_millis()).unwrap_or(i64::MAX)));
            invalid(format!("Signature expired: {ended} is now earlier than {}", now_text(0)))
        }
        None if age_ms > skew_ms => {
            let (limit, now) = (now_text(-skew_ms), now_text(0));
            invalid(format!("Signature expired: {at} is now earlier than {limit} ({now} - 5 min.)"))
        }
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
