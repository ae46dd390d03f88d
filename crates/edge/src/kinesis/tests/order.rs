//! The order in which a request is judged, as it was recorded from the service.

use super::super::auth::AccessKeys;
use super::super::settings::KeySource;
use super::*;

const CBOR: &str = "application/x-amz-cbor-1.1";
const SIGNED: (&str, &str) = ("authorization", OPEN);
const DATED: (&str, &str) = ("x-amz-date", "20200101T000000Z");
const IS_JSON: (&str, &str) = ("content-type", JSON);
const LEGACY: (&str, &str) = ("content-type", "  application/json  ;");
const LIST: (&str, &str) = ("x-amz-target", "Kinesis_20131202.ListStreams");

impl House {
    async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> reqwest::Response {
        let method = method.parse().expect("a method");
        let mut request = self.client.request(method, format!("{}{path}", self.url)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.expect("an answer")
    }

    /// Status, content type and body of an answer.
    async fn told(&self, method: &str, headers: &[(&str, &str)], body: &str) -> (u16, String, String) {
        let answer = self.raw(method, "", headers, body).await;
        assert!(answer.headers().contains_key("x-amzn-requestid") && answer.headers().contains_key("x-amz-id-2"));
        let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().expect("text")).to_owned();
        (answer.status().as_u16(), kind, String::from_utf8_lossy(&answer.bytes().await.expect("a body")).into_owned())
    }
}

#[tokio::test]
async fn nonsense_is_told_before_a_missing_signature_is() {
    let house = House::open().await;
    let unknown = || (400, CBOR.to_owned(), "\u{fffd}f__typex\u{19}UnknownOperationException".to_owned());
    let broken = || (400, CBOR.to_owned(), "\u{fffd}f__typevSerializationException".to_owned());
    // Without a body.
    assert_eq!(house.told("POST", &[], "").await, unknown());
    assert_eq!(
        house.told("POST", &[SIGNED, DATED, ("content-type", "application/x-amz-json-1.0")], "").await,
        unknown()
    );
    assert_eq!(house.told("POST", &[("x-amz-target", "Whatever.Whatever")], "").await, unknown());
    assert_eq!(house.told("POST", &[LIST], "").await, broken());
    assert_eq!(house.told("POST", &[LIST, LEGACY], "").await, broken());
    let json = |code: &str| (400, JSON.to_owned(), format!("{{\"__type\":\"{code}\"}}"));
    assert_eq!(house.told("POST", &[IS_JSON], "").await, json("UnknownOperationException"));
    assert_eq!(house.told("POST", &[IS_JSON, LIST], "").await, json("SerializationException"));
    // With one.
    for body in ["hello", "true", "null", "[]"] {
        assert_eq!(house.told("POST", &[IS_JSON, LIST], body).await, json("SerializationException"), "{body}");
        let (status, kind, told) = house.told("POST", &[LEGACY, LIST], body).await;
        assert_eq!((status, kind.as_str()), (400, "application/json"));
        assert_eq!(
            told,
            "{\"Output\":{\"__type\":\"com.amazon.coral.service#SerializationException\"},\"Version\":\"1.0\"}"
        );
    }
    assert_eq!(house.told("POST", &[IS_JSON], "{}").await, json("UnknownOperationException"));
    let (status, _, told) = house.told("POST", &[LEGACY, LIST], "{}").await;
    assert!(status == 404 && told.contains("#UnknownOperationException"), "{told}");
    let (status, _, told) = house.told("POST", &[IS_JSON, LIST], "{}").await;
    assert!(status == 400 && told.contains("MissingAuthenticationTokenException"), "{told}");
    let (status, kind, told) = house.told("POST", &[SIGNED, DATED], "{}").await;
    assert_eq!((status, kind.as_str()), (403, ""));
    assert!(told.starts_with("<AccessDeniedException>\n  <Message>Unable to determine service/operation"), "{told}");
    for method in ["GET", "PUT", "DELETE"] {
        let (status, _, told) = house.told(method, &[SIGNED, DATED], "").await;
        assert!(status == 403 && told.starts_with("<AccessDeniedException>"), "{method} {told}");
    }
    house.close().await;
}

#[tokio::test]
async fn pages_may_ask_a_door_with_keys_and_not_an_open_one() {
    let mut keys = AccessKeys::open();
    keys.insert("AKIDEXAMPLE", "a-secret-of-some-length").expect("a key");
    let closed = House::with(
        KinesisSettings { keys: KeySource::Here(keys), ..KinesisSettings::default() },
        &[],
        Pace::default(),
    )
    .await;
    let page = [
        ("origin", "https://shop.example"),
        ("access-control-request-headers", "a, b"),
        ("access-control-request-method", "POST"),
    ];
    let asked = closed.raw("OPTIONS", "", &page, "").await;
    let header = |answer: &reqwest::Response, name: &str| {
        answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned())
    };
    assert_eq!(asked.status(), 200);
    for (name, value) in [
        ("access-control-allow-origin", "*"),
        ("access-control-allow-headers", "a, b"),
        ("access-control-allow-methods", "POST"),
        ("access-control-max-age", "172800"),
        ("content-length", "0"),
    ] {
        assert_eq!(header(&asked, name).as_deref(), Some(value), "{name}");
    }
    let refused = closed.raw("POST", "", &[page[0], IS_JSON, LIST], "{}").await;
    assert_eq!(
        (refused.status().as_u16(), header(&refused, "access-control-allow-origin").as_deref()),
        (400, Some("*"))
    );
    let open = House::open().await;
    let asked = open.raw("OPTIONS", "", &page, "").await;
    assert_eq!((asked.status().as_u16(), header(&asked, "access-control-allow-origin")), (403, None));
    // As a page would that had our address given to its own name.
    let rebound = open.raw("POST", "", &[page[0], SIGNED, DATED, IS_JSON, LIST], "{}").await;
    assert_eq!((rebound.status().as_u16(), header(&rebound, "access-control-allow-origin")), (403, None));
    closed.close().await;
    open.close().await;
}
