//! What a request says about its signature, in its header or in its query.

use std::time::Duration;

use http::header::{AUTHORIZATION, DATE, HeaderMap};
use http::request::Parts;

use crate::kinesis::wire::ServiceError;

/// How long a signature in a query may be good, seconds: seven days.
const EXPIRES_MAX: u64 = 7 * 24 * 3600;

/// Characters of a broken header that are told back.
const SHOWN_CHARS_MAX: usize = 4096;

/// Where a signature stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Header,
    Query,
}

/// The parts of a signature, as they were sent.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) form: Form,
    pub(super) algorithm: String,
    pub(super) credential: String,
    pub(super) signed_headers: String,
    pub(super) signature: String,
    pub(super) date: String,
    /// The header that the date is from.
    date_header: Option<&'static str>,
    /// In query form: how long it is good.
    pub(super) expires: Option<Duration>,
    /// The hash of the body that a header names.
    pub(super) body_hash: Option<String>,
}

impl Claim {
    /// Finds the signature of a request.
    pub(super) fn of(head: &Parts) -> Result<Self, ServiceError> {
        let header = head.headers.get(AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let header = header.filter(|value| !value.is_empty());
        let query = head.uri.query().unwrap_or_default();
        let in_query = url::form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "X-Amz-Algorithm");
        let body_hash = text(&head.headers, "x-amz-content-sha256");
        let claim = match (header, in_query) {
            (Some(_), true) => {
                return Err(ServiceError::new(
                    super::INVALID,
                    "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
                ));
            }
            (None, false) => {
                return Err(ServiceError::new("MissingAuthenticationTokenException", "Missing Authentication Token"));
            }
            (Some(header), false) => Self::of_header(&header, &head.headers)?,
            (None, true) => Self::of_query(query)?,
        };
        Ok(Self { body_hash, ..claim })
    }

    fn of_header(header: &str, headers: &HeaderMap) -> Result<Self, ServiceError> {
        let (algorithm, rest) = header.split_once(' ').unwrap_or((header, ""));
        let (mut credential, mut signature, mut signed_headers) = ("", "", "");
        for part in rest.split([',', ' ']) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match name.trim() {
                "Credential" => credential = value,
                "Signature" => signature = value,
                "SignedHeaders" => signed_headers = value,
                _ => {}
            }
        }
        let (date_header, date) = match (text(headers, "x-amz-date"), text(headers, DATE.as_str())) {
            (Some(date), _) => ("x-amz-date", date),
            (None, date) => ("date", date.unwrap_or_default()),
        };
        let mut missing = String::new();
        for (name, value) in [("Credential", credential), ("Signature", signature), ("SignedHeaders", signed_headers)] {
            if value.is_empty() {
                missing.push_str(&format!("Authorization header requires '{name}' parameter. "));
            }
        }
        if date.is_empty() {
            missing.push_str("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
        }
        if !missing.is_empty() {
            let shown: String = header.chars().take(SHOWN_CHARS_MAX).collect();
            return Err(incomplete(format!("{missing}Authorization={shown}")));
        }
        Ok(Self {
            form: Form::Header,
            algorithm: algorithm.to_owned(),
            credential: credential.to_owned(),
            signed_headers: signed_headers.to_owned(),
            signature: signature.to_owned(),
            date,
            date_header: Some(date_header),
            expires: None,
            body_hash: None,
        })
    }

    fn of_query(query: &str) -> Result<Self, ServiceError> {
        const NAMES: [&str; 5] =
            ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"];
        let mut values: [String; 5] = Default::default();
        let mut expires = None;
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if let Some(place) = NAMES.iter().position(|known| *known == name) {
                values[place] = value.into_owned();
            } else if name == "X-Amz-Expires" {
                expires = Some(value.into_owned());
            }
        }
        let mut missing = String::new();
        for (name, value) in NAMES.iter().zip(&values) {
            if value.is_empty() {
                missing.push_str(&format!("AWS query-string parameters must include '{name}'. "));
            }
        }
        if !missing.is_empty() {
            return Err(incomplete(format!("{missing}Re-examine the query-string parameters.")));
        }
        let expires = match expires.as_deref().map(str::parse::<u64>) {
            // As long as a signature in a header.
            None => None,
            Some(Ok(seconds @ 1..=EXPIRES_MAX)) => Some(Duration::from_secs(seconds)),
            Some(_) => {
                let text = format!("X-Amz-Expires must be a number of seconds from 1 to {EXPIRES_MAX}.");
                return Err(incomplete(text));
            }
        };
        let [algorithm, credential, signature, signed_headers, date] = values;
        let (date_header, body_hash) = (None, None);
        let form = Form::Query;
        Ok(Self { form, algorithm, credential, signed_headers, signature, date, date_header, expires, body_hash })
    }

    /// What must be signed: the host, and the header that the date is from.
    pub(super) fn check_signed(&self, names: &[String]) -> Result<(), ServiceError> {
        let signed = |name: &str| names.iter().any(|signed| signed == name);
        let must = |what: &str| {
            let text = format!("{what} must be a 'SignedHeader' in the AWS Authorization.");
            Err(ServiceError::new(super::INVALID, text))
        };
        if !signed("host") && !signed(":authority") {
            return must("'Host' or ':authority'");
        }
        match self.date_header {
            Some(name) if !signed(name) => must(&format!("'{name}'")),
            _ => Ok(()),
        }
    }
}

fn incomplete(text: String) -> ServiceError {
    ServiceError::new("IncompleteSignatureException", text)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
}

/// Reads a signature, 64 hexadecimal digits.
pub(super) fn signature_bytes(text: &str) -> Option<[u8; 32]> {
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}
