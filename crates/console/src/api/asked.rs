//! Reading what a request asks for, with errors in the API's shape.

use base::ErrorKind;
use http::{HeaderMap, Uri, header};
use serde::de::DeserializeOwned;

use crate::error::ApiError;

/// The query of a request's address.
pub(crate) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, ApiError> {
    axum::extract::Query::try_from_uri(uri).map(|axum::extract::Query(asked)| asked).map_err(|error| {
        // The rejection's own text says little; what it was made of names the parameter.
        let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        ApiError::new(
            ErrorKind::Invalid,
            format!("the query cannot be read: {why}"),
            "docs/http-api.md lists what each route takes",
        )
    })
}

/// The body of a request that changes something: JSON, and said to be. A form of another site's page cannot say so.
pub(crate) fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<T, ApiError> {
    let remedy = "Send a JSON object with Content-Type: application/json; docs/http-api.md lists what each route takes";
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("application/json")) {
        let found = if media.is_empty() { "none" } else { media };
        return Err(ApiError::new(
            ErrorKind::Invalid,
            format!("expected the type application/json, found {found}"),
            remedy,
        ));
    }
    serde_json::from_slice(body).map_err(|error| {
        ApiError::new(ErrorKind::Invalid, format!("the body is not what was expected: {error}"), remedy)
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq, Eq)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        shards: u32,
    }

    #[test]
    fn a_query_is_read_and_its_mistake_named() {
        assert_eq!(query::<Asked>(&Uri::from_static("/x?shards=3")).ok(), Some(Asked { shards: 3 }));
        let error = query::<Asked>(&Uri::from_static("/x?shards=many")).expect_err("no number");
        assert_eq!(error.error_kind, ErrorKind::Invalid);
        assert!(error.message.contains("invalid digit"), "{}", error.message);
    }

    #[test]
    fn a_body_must_say_that_it_is_json() {
        let typed = |media| HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(media))]);
        let json = br#"{"shards": 3}"#;
        assert_eq!(body::<Asked>(&typed("application/json; charset=utf-8"), json).ok(), Some(Asked { shards: 3 }));
        for media in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
            assert!(body::<Asked>(&typed(media), json).is_err(), "{media}");
        }
        assert!(body::<Asked>(&HeaderMap::new(), json).is_err());
        let error = body::<Asked>(&typed("application/json"), b"{\"shard\": 3}").expect_err("another word");
        assert!(error.message.contains("shard"), "{}", error.message);
    }
}
