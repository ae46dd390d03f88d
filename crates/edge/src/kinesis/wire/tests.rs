use std::collections::BTreeMap;

use base::Millis;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};

use super::*;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Input {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    long: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    flag: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Blob>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    inner: Option<Box<Input>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Input>>,
}

fn json(text: &str) -> Result<Input, ServiceError> {
    decode(Protocol::Json, text.as_bytes())
}

fn cbor(bytes: &[u8]) -> Result<Input, ServiceError> {
    decode(Protocol::Cbor, bytes)
}

fn full() -> Input {
    Input {
        stream_name: Some("clicks \u{fc}\n".to_owned()),
        limit: Some(-5),
        long: Some(i64::MIN),
        flag: Some(true),
        data: Some(Blob(Bytes::from((0..=255).cycle().take(10_000).collect::<Vec<u8>>()))),
        at: Some(Timestamp(Millis(1_700_000_000_123))),
        names: Some(vec!["a".to_owned(), String::new()]),
        tags: Some(BTreeMap::from([("k".to_owned(), "v".to_owned())])),
        inner: Some(Box::default()),
        records: Some(vec![Input { limit: Some(70_000), ..Input::default() }; 30]),
    }
}

#[test]
fn what_one_protocol_writes_it_reads_again() {
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let written = encode(protocol, &full());
        assert_eq!(decode::<Input>(protocol, &written).expect("reads"), full(), "{protocol:?}");
    }
    let text = encode(Protocol::Json, &Input { data: full().data, at: full().at, ..Input::default() });
    assert!(text.starts_with(br#"{"Data":"AAECAwQ"#) && text.ends_with(br#"","At":1700000000.123}"#), "{text:?}");
}

#[test]
fn members_of_the_wrong_type_are_told_in_the_words_of_the_service() {
    const NUMBER: &str = "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to ";
    const LIST: &str = "Start of list found where not expected";
    const MAP: &str = "Start of structure or map found where not expected.";
    let told = |member: &str, value: &str| {
        let error = json(&format!(r#"{{"Other":[1,{{}}],"{member}":{value}}}"#)).expect_err(value);
        assert_eq!((error.code, error.status.as_u16()), ("SerializationException", 400));
        error.message.expect("says why")
    };
    for member in ["StreamName", "Limit", "Long", "Flag", "Data", "At"] {
        assert_eq!((told(member, "[]").as_str(), told(member, "{}").as_str()), (LIST, MAP), "{member}");
    }
    assert_eq!(told("StreamName", "true"), "class java.lang.Boolean can not be converted to an String");
    assert_eq!(told("StreamName", "34.56"), format!("{NUMBER}an String"));
    assert_eq!(told("Names", "[23]"), format!("{NUMBER}an String"));
    assert_eq!(told("Tags", r#"{"a":23}"#), format!("{NUMBER}an String"));
    assert_eq!(told("Limit", r#""23""#), "class java.lang.String can not be converted to an Integer");
    assert_eq!(told("Long", "true"), "class java.lang.Boolean can not be converted to an Long");
    assert_eq!(told("Flag", "-2147483648"), format!("{NUMBER}an Boolean"));
    assert_eq!(told("Flag", r#""hm""#), "'HM' can not be converted to an Boolean");
    assert_eq!(told("At", r#""23""#), "class java.lang.String can not be converted to milliseconds since epoch");
    assert_eq!(told("Data", "23"), format!("{NUMBER}a Blob"));
    for (text, why) in [
        ("23456", "Base64 encoded length is expected a multiple of 4 bytes but found: 5"),
        ("=+/=", "Invalid Base64 character: '='"),
        ("a-b=", "Invalid Base64 character: '-'"),
        ("+/+=", "Invalid last non-pad Base64 character dectected"),
    ] {
        assert_eq!(told("Data", &format!("\"{text}\"")), format!("'{text}' can not be converted to a Blob: {why}"));
    }
    for scalar in ["23", "true", "\"a\"", "34.56"] {
        assert_eq!(told("Names", scalar), "Expected list or null");
        assert_eq!(told("Tags", scalar), "Expected map or null");
        assert_eq!(told("Inner", scalar), "Expected null");
        assert_eq!(told("Records", &format!("[{scalar}]")), "Expected null");
    }
    assert_eq!((told("Names", "{}"), told("Tags", "[]"), told("Inner", "[]")), (MAP.into(), LIST.into(), LIST.into()));
}

#[test]
fn numbers_are_cut_and_null_is_absence() {
    let read = json(r#"{"Limit":99999999999,"Long":34.96,"StreamName":null,"Names":null,"Inner":{"Limit":-1e300}}"#);
    let read = read.expect("reads");
    assert_eq!((read.limit, read.long, read.stream_name, read.names), (Some(i32::MAX), Some(34), None, None));
    assert_eq!(read.inner.expect("is there").limit, Some(i32::MIN));
    assert_eq!(json(r#"{"Data":"aGk\/"}"#).expect("escapes are fine").data.expect("is there").as_ref(), b"hi?");
    for (seconds, ms) in
        [("1700000000", 1_700_000_000_000), ("1700000000.1239", 1_700_000_000_124), ("1.5E9", 1_500_000_000_000)]
    {
        assert_eq!(json(&format!(r#"{{"At":{seconds}}}"#)).expect("reads").at, Some(Timestamp(Millis(ms))));
    }
}

#[test]
fn what_is_no_map_is_refused_without_a_word() {
    for text in ["", "hello", "true", "null", "[]", "\"a\"", "{", "{\"Limit\":1", "{} {}", "{\"Limit\":1,}"] {
        assert_eq!(json(text).expect_err(text), ServiceError::silent("SerializationException"), "{text}");
    }
    for bytes in [&[][..], &[0xf5], &[0xf6], &[0x80], &[0xbf], &[0xa0, 0xa0], &[0xa1, 0x61], &[0xff], &[0x1c]] {
        assert_eq!(cbor(bytes).expect_err("no map"), ServiceError::silent("SerializationException"), "{bytes:?}");
    }
}

#[test]
fn cbor_is_read_in_all_its_forms() {
    // As the Java clients write it: maps of unknown length, tag 1 around milliseconds.
    let mut body = vec![0xbf, 0x64];
    body.extend_from_slice(b"Data");
    body.extend_from_slice(&[0x5f, 0x41, b'a', 0x42, b'b', b'c', 0xff, 0x62]);
    body.extend_from_slice(b"At");
    body.extend_from_slice(&[0xc1, 0x1b]);
    body.extend_from_slice(&1_700_000_000_123_u64.to_be_bytes());
    body.extend_from_slice(&[0x65]);
    body.extend_from_slice(b"Limit");
    body.extend_from_slice(&[0x39, 0x01, 0x00, 0x65]);
    body.extend_from_slice(b"Names");
    body.extend_from_slice(&[0x9f, 0x61, b'x', 0xff, 0x65]);
    body.extend_from_slice(b"Other");
    body.extend_from_slice(&[0x82, 0xf9, 0x3c, 0x00, 0xa1, 0x01, 0x02, 0xff]);
    let read = cbor(&body).expect("reads");
    assert_eq!(read.data.expect("is there").as_ref(), b"abc");
    assert_eq!(read.at, Some(Timestamp(Millis(1_700_000_000_123))));
    assert_eq!((read.limit, read.names), (Some(-257), Some(vec!["x".to_owned()])));
    let at = |value: &[u8]| cbor(&[b"\xa1\x62At", value].concat()).expect("reads").at.expect("is there").0.0;
    assert_eq!(at(&[0xc1, 0x1a, 0x65, 0x53, 0xf1, 0x00]), 1_700_000_000_000, "seconds, as the RFC has them");
    assert_eq!(at(&[&[0xc1, 0xfb][..], &1_700_000_000.5_f64.to_be_bytes()].concat()), 1_700_000_000_500);
    assert_eq!(at(&[0xf9, 0x3e, 0x00]), 1500, "half precision");
    let mistyped = cbor(b"\xa1\x65Limit\x61x").expect_err("text").message;
    assert_eq!(mistyped.as_deref(), Some("class java.lang.String can not be converted to an Integer"));
    // And what we write for a timestamp is what those clients read.
    let written = encode(Protocol::Cbor, &Input { at: Some(Timestamp(Millis(1_700_000_000_123))), ..Input::default() });
    assert_eq!(written[..], [&b"\xa1\x62At\xc1\x1b"[..], &1_700_000_000_123_u64.to_be_bytes()].concat());
}

#[test]
fn lengths_that_lie_cost_nothing() {
    for kind in [0x5b, 0x7b, 0x9b, 0xbb] {
        for length in [u64::MAX, 1 << 62, 1 << 40, 1 << 31] {
            let body = [&b"\xa1\x64Data"[..], &[kind], &length.to_be_bytes()].concat();
            assert!(cbor(&body).is_err());
            let body = [&b"\xa1\x67Records"[..], &[kind], &length.to_be_bytes()].concat();
            assert!(cbor(&body).is_err());
        }
    }
    for nested in [&b"\x81"[..], b"\xc1", b"\x9f", b"\xa1\x61a", b"\xa1\x65Inner"] {
        let body = [b"\xa1\x65Other".as_slice(), &nested.repeat(1_000_000), b"\x00"].concat();
        assert!(cbor(&body).is_err(), "deep {nested:?}");
    }
    for (open, close) in [("[", "]"), ("{\"Inner\":", "}")] {
        let body = format!("{{\"Inner\":{}1{}}}", open.repeat(1_000_000), close.repeat(1_000_000));
        assert!(json(&body).is_err(), "deep {open}");
    }
}

#[test]
fn lists_beyond_reason_are_refused_before_they_are_held() {
    for (open, member, close) in [("\"Records\":[", "{},", "{}]"), ("\"Names\":[", "\"\",", "\"\"]")] {
        let body = format!("{{{open}{}{close}}}", member.repeat(1_000_000));
        let error = json(&body).expect_err("too long");
        assert!(error.message.is_some_and(|text| text.contains("at most 10000")));
    }
    let many: Vec<String> = (0..20_000).map(|number| format!("\"{number}\":\"\"")).collect();
    assert!(json(&format!("{{\"Tags\":{{{}}}}}", many.join(","))).is_err());
    assert!(cbor(&[b"\xa1\x67Records\x9f".as_slice(), &[0xa0; 1_000_000], b"\xff"].concat()).is_err());
}

#[test]
fn five_hundred_records_are_read_in_about_a_millisecond() {
    let record =
        Input { stream_name: Some("k".repeat(20)), data: Some(Blob(vec![7; 1024].into())), ..Input::default() };
    let input = Input { records: Some(vec![record; 500]), ..Input::default() };
    for protocol in [Protocol::Json, Protocol::Cbor] {
        let body = encode(protocol, &input);
        let best = |work: &dyn Fn()| {
            (0..20)
                .map(|_| {
                    let began = std::time::Instant::now();
                    work();
                    began.elapsed()
                })
                .min()
                .expect("twenty")
        };
        let read = best(&|| drop(std::hint::black_box(decode::<Input>(protocol, &body).expect("reads"))));
        let written = best(&|| drop(std::hint::black_box(encode(protocol, &input))));
        // Some hundred times what it takes on an idle machine, so that a busy one fails no build.
        assert!((read + written).as_millis() < 50, "{protocol:?}: read in {read:?}, written in {written:?}");
    }
}

#[test]
fn errors_are_told_in_the_protocol_of_the_request() {
    let error = ServiceError::new("ResourceNotFoundException", "Stream x under account 000000000000 not found.");
    assert_eq!(
        error.body(Protocol::Json),
        br#"{"__type":"ResourceNotFoundException","message":"Stream x under account 000000000000 not found."}"#
    );
    assert!(
        error.body(Protocol::Cbor).starts_with(b"\xa2\x66__type\x78\x19ResourceNotFoundException\x67message\x78\x2e")
    );
    assert_eq!(
        ServiceError::silent("UnknownOperationException").body(Protocol::Json),
        br#"{"__type":"UnknownOperationException"}"#
    );
    let answer = error.retry_after(std::time::Duration::from_millis(1200)).answer(Protocol::Cbor.into());
    let header = |name: &str| answer.headers().get(name).map(|value| value.to_str().expect("text").to_owned());
    assert_eq!(answer.status(), 400);
    assert_eq!(header("content-type").as_deref(), Some("application/x-amz-cbor-1.1"));
    assert_eq!(header("x-amzn-errortype").as_deref(), Some("ResourceNotFoundException"));
    assert_eq!(
        (header("retry-after").as_deref(), header("x-amzn-requestid").map(|id| id.len())),
        (Some("2"), Some(36))
    );
    assert_eq!(header("x-amz-id-2").map(|id| id.len()), Some(96));
    let plain = ServiceError::new("MissingAuthenticationTokenException", "Missing <a> & b").answer(Form::Plain);
    assert_eq!((plain.status().as_u16(), plain.headers().get("content-type")), (403, None));
}

#[test]
fn the_content_type_names_the_protocol() {
    let of = |value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, value.parse().expect("a value"));
        Protocol::of(&headers)
    };
    assert_eq!(of("  application/x-amz-json-1.1  ; charset=utf-8"), Some(Protocol::Json));
    assert_eq!(of("application/x-amz-cbor-1.1"), Some(Protocol::Cbor));
    assert_eq!((of("application/x-amz-json-1.1asdf"), of("application/json"), of("")), (None, None, None));
}

#[test]
fn frames_are_as_published() {
    let frame = event_stream::initial_response(Protocol::Json);
    let word = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(word(0) as usize, frame.len());
    assert_eq!(word(8), crc32fast::hash(&frame[..8]));
    assert_eq!(word(frame.len() - 4), crc32fast::hash(&frame[..frame.len() - 4]));
    assert_eq!(&frame[12..34], b"\x0d:message-type\x07\x00\x05event");
    assert_eq!(&frame[frame.len() - 6..frame.len() - 4], b"{}");
    assert_eq!(12 + word(4) as usize, frame.len() - 6);
    let error = ServiceError::new("ResourceInUseException", "again");
    let text = String::from_utf8_lossy(&event_stream::exception(&error, Protocol::Json)).into_owned();
    assert!(text.contains(":exception-type\u{7}\u{0}\u{16}ResourceInUseException"), "{text}");
}
