use std::sync::Arc;

use base::{Clock, Millis};
use http::Request;
use http::request::Parts;
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// 2015-08-30T12:36:00Z, the moment of the published suite.
const SIGNED_AT: Millis = Millis(1_440_938_160_000);

#[derive(Debug)]
struct At(Millis);

impl Clock for At {
    fn now(&self) -> Millis {
        self.0
    }
}

/// A signed request: made by botocore 1.44.5 with the key of the published test suite, its clock held.
#[derive(Clone, Debug, Deserialize)]
struct Vector {
    name: String,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: String,
    service: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("vectors.json")).expect("the vectors are JSON")
    }

    fn named(name: &str) -> Self {
        Self::all().into_iter().find(|vector| vector.name == name).expect("there is one of that name")
    }

    fn head(&self) -> Parts {
        let mut request = Request::builder().method(self.method.as_str()).uri(&self.target);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request.body(()).expect("a request").into_parts().0
    }

    /// The body; its characters stand for bytes.
    fn body(&self) -> Vec<u8> {
        self.body.chars().map(|char| u8::try_from(u32::from(char)).expect("a byte")).collect()
    }

    fn replace(mut self, header: &str, from: &str, to: &str) -> Self {
        let (_, value) = self.headers.iter_mut().find(|(name, _)| name == header).expect("is sent");
        assert!(value.contains(from), "{value} has no {from}");
        *value = value.replace(from, to);
        self
    }

    fn judge(&self, now: Millis) -> Result<(), ServiceError> {
        verifier(now).admit(&self.head(), &self.service)?.verify(&self.body())
    }

    fn refused(&self) -> (&'static str, String) {
        let error = self.judge(SIGNED_AT).expect_err("is refused");
        assert_eq!(error.status, 400);
        (error.code, error.message.expect("says why"))
    }
}

fn verifier(now: Millis) -> Verifier {
    let mut keys = AccessKeys::open();
    keys.insert(ID, SECRET).expect("a key");
    Verifier::new(keys, Arc::new(At(now)))
}

#[test]
fn what_botocore_signed_is_verified() {
    for vector in Vector::all() {
        assert_eq!(vector.judge(SIGNED_AT), Ok(()), "{}", vector.name);
        let admitted = verifier(SIGNED_AT).admit(&vector.head(), &vector.service).expect("is admitted");
        assert_eq!(admitted.access_key, ID);
        assert!(admitted.verify(b"another body").is_err(), "{}", vector.name);
    }
    let admitted = verifier(SIGNED_AT).admit(&Vector::named("cbor with a token").head(), "kinesis").expect("admits");
    assert_eq!(admitted.region, "eu-west-1");
}

#[test]
fn whatever_is_signed_cannot_be_changed() {
    let vector = Vector::named("list streams");
    for (header, from, to) in [
        ("x-amz-target", "ListStreams", "DeleteStream"),
        ("host", "127", "128"),
        ("content-type", "json", "cbor"),
        ("authorization", "62612d", "62612e"),
        ("authorization", "us-east-1", "us-east-2"),
        ("authorization", ";x-amz-target", ""),
        ("authorization", "content-type;host", "host;content-type"),
    ] {
        let (code, text) = vector.clone().replace(header, from, to).refused();
        assert_eq!(code, "InvalidSignatureException", "{header}: {from} to {to}");
        assert!(text.starts_with("The request signature we calculated does not match"), "{text}");
    }
    let mut elsewhere = vector.clone();
    elsewhere.target = "/?a=b".to_owned();
    assert_eq!(elsewhere.refused().0, "InvalidSignatureException");
    let short = vector.replace("authorization", "62612d", "");
    assert_eq!(short.refused().0, "InvalidSignatureException");
    let mut query = Vector::named("query form with a token and parameters");
    query.target = query.target.replace("b=2", "b=3");
    assert_eq!(query.refused().0, "InvalidSignatureException");
}

#[test]
fn a_hash_of_the_body_in_a_header_must_be_right() {
    let mut vector = Vector::named("list streams");
    vector.headers.push(("x-amz-content-sha256".to_owned(), "UNSIGNED-PAYLOAD".to_owned()));
    assert!(vector.refused().1.contains("x-amz-content-sha256"));
    let (_, value) = vector.headers.last_mut().expect("just pushed");
    *value = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a".to_owned();
    assert_eq!(vector.judge(SIGNED_AT), Ok(()));
}

#[test]
fn a_signature_is_good_for_five_minutes_around_its_date() {
    let vector = Vector::named("list streams");
    let minutes = |minutes: i64| SIGNED_AT.plus_ms(minutes * 60_000);
    assert_eq!((vector.judge(minutes(5)), vector.judge(minutes(-5))), (Ok(()), Ok(())));
    let late = vector.judge(minutes(6)).expect_err("too late").message.expect("says why");
    assert_eq!(
        late,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z (20150830T124200Z - 5 min.)"
    );
    let early = vector.judge(minutes(-6)).expect_err("too early").message.expect("says why");
    assert_eq!(
        early,
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123500Z (20150830T123000Z + 5 min.)"
    );
    let week = Vector::named("query form");
    let days = |days: i64| SIGNED_AT.plus_ms(days * 86_400_000);
    assert_eq!(week.judge(days(7)), Ok(()));
    assert!(week.judge(days(8)).is_err() && week.judge(minutes(-6)).is_err());
    let mut longer = week.clone();
    longer.target = longer.target.replace("604800", "604801");
    assert_eq!(longer.refused().0, "IncompleteSignatureException");
}

#[test]
fn heads_that_are_wrong_are_told_in_the_words_of_the_service() {
    let vector = Vector::named("list streams");
    let told = |from: &str, to: &str| vector.clone().replace("authorization", from, to).refused();
    let unknown = told("AKIDEXAMPLE", "AKIDOTHER");
    assert_eq!(
        unknown,
        ("UnrecognizedClientException", "The security token included in the request is invalid.".to_owned())
    );
    assert_eq!(told("/kinesis/", "/s3/").1, "Credential should be scoped to correct service: 'kinesis'.");
    assert!(told("aws4_request", "aws5").1.contains("valid terminator: 'aws4_request', not 'aws5'"));
    assert!(told("20150830/", "20150831/").1.contains("'20150831' != '20150830', from '20150830T123600Z'"));
    assert!(told("/us-east-1/kinesis", "").1.starts_with("Credential must have exactly 5 slash-delimited elements"));
    assert!(told("AWS4-HMAC-SHA256", "AWS3-HMAC").1.contains("AWS3-HMAC"));
    assert!(told("content-type;host", "content-type").1.contains("must be a 'SignedHeader'"));
    assert!(told(";x-amz-date", "").1.contains("'x-amz-date' must be a 'SignedHeader'"));
    assert_eq!(told("content-type;host", "host;host").0, "IncompleteSignatureException");
    let no_date = vector.clone().replace("x-amz-date", "20150830T123600Z", "20150231T000000Z").refused();
    assert_eq!(no_date.0, "IncompleteSignatureException");
    assert!(no_date.1.starts_with("Date must be in ISO-8601 'basic format'. Got '20150231T000000Z'."));
}

#[test]
fn an_open_door_still_wants_a_signature_that_looks_like_one() {
    let open = Verifier::new(AccessKeys::open(), Arc::new(At(SIGNED_AT)));
    let told = |target: &str, headers: &[(&str, &str)]| {
        let mut request = Request::builder().method("POST").uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).expect("a request").into_parts().0;
        let judged = open.admit(&head, "kinesis").and_then(|admitted| admitted.verify(b"anything"));
        judged.map_err(|error| (error.code, error.message.unwrap_or_default()))
    };
    let header = |text: &str| told("/", &[("authorization", text), ("date", "a")]).expect_err("incomplete").1;
    assert_eq!(told("/", &[]).expect_err("nothing").0, "MissingAuthenticationTokenException");
    assert_eq!(
        told("/?X-Amz-Credential=a&X-Amz-Signature=b", &[]).expect_err("no algorithm").0,
        "MissingAuthenticationTokenException"
    );
    assert_eq!(
        told("/?X-Amz-Algorith", &[("authorization", "X")]).expect_err("incomplete"),
        (
            "IncompleteSignatureException",
            "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' \
             parameter. Authorization header requires 'SignedHeaders' parameter. Authorization header requires \
             existence of either a 'X-Amz-Date' or a 'Date' header. Authorization=X"
                .to_owned()
        )
    );
    for text in ["AWS4- Signature=b Credential=a", "AWS4- Signature=b,Credential=a", "AWS4- Signature=b, Credential=a"]
    {
        let expected = format!("Authorization header requires 'SignedHeaders' parameter. Authorization={text}");
        assert_eq!(header(text), expected);
    }
    assert_eq!(told("/?X-Amz-Algorithm", &[("authorization", "X")]).expect_err("both").0, "InvalidSignatureException");
    assert_eq!(
        told("/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-Date=d", &[]).expect_err("incomplete").1,
        "AWS query-string parameters must include 'X-Amz-SignedHeaders'. Re-examine the query-string parameters."
    );
    let whole =
        "AWS4-HMAC-SHA256 Credential=any/20150830/eu-west-1/kinesis/aws4_request, SignedHeaders=host, Signature=b";
    assert_eq!(told("/", &[("authorization", whole), ("x-amz-date", "20150830T123600Z")]), Ok(()));
}

#[test]
fn keys_are_read_from_lines_and_weak_ones_refused() {
    let keys = AccessKeys::parse("# who\n\nAKID1 0123456789abcdef\n  AKID2\t0123456789abcdeg \n").expect("two keys");
    assert_eq!((keys.len(), keys.secret("AKID2"), keys.secret("AKID3")), (2, Some("0123456789abcdeg"), None));
    assert_eq!(format!("{keys:?}"), "AccessKeys(2)");
    for (text, why) in [
        ("AKID1", "line 1: expected two words"),
        ("AKID1 short", "line 1: expected a secret of at least 16"),
        ("A 0123456789abcdef\nA 0123456789abcdef", "line 2: the key A stands here twice"),
        ("A/B 0123456789abcdef", "line 1: expected an access key id"),
    ] {
        let error = AccessKeys::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(why) && !error.contains("0123"), "{error}");
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(AccessKeys::read(file.path()).is_err(), "an empty file would open the door");
    std::fs::write(file.path(), "A 0123456789abcdef").expect("writes");
    assert_eq!(AccessKeys::read(file.path()).expect("reads").len(), 1);
}

#[test]
fn a_head_that_repeats_itself_costs_no_more_than_itself() {
    let list = vec!["host"; 10_000].join(";");
    let vector = Vector::named("list streams").replace("authorization", "content-type;host", &list);
    assert_eq!(vector.refused().0, "IncompleteSignatureException");
    let many: Vec<String> = (0..1000).map(|number| format!("x-{number}")).collect();
    let vector = Vector::named("list streams").replace("authorization", "content-type;host", &many.join(";"));
    assert_eq!(vector.refused().0, "IncompleteSignatureException");
}

proptest! {
    #[test]
    fn moments_are_read_as_they_are_written(seconds in 0_i64..253_402_300_800) {
        let moment = Moment::from(Millis(seconds * 1000));
        prop_assert_eq!(Moment::parse(&moment.to_string()), Some(moment));
    }

    #[test]
    fn no_header_and_no_query_brings_it_down(header in "(AWS4-HMAC-SHA256 )?(Credential=|Signature=|SignedHeaders=|[a-z0-9/;,= ]|\\PC){0,40}", query in "(X-Amz-(Algorithm|Date|Credential|Signature|SignedHeaders|Expires)=?|%|[a-f0-9/&=+]){0,30}", date in ".{0,20}") {
        let mut request = Request::builder().method("POST").uri(format!("/?{query}"));
        if let Ok(value) = http::HeaderValue::from_bytes(header.as_bytes()) { request = request.header("authorization", value); }
        if let Ok(value) = http::HeaderValue::from_bytes(date.as_bytes()) { request = request.header("x-amz-date", value); }
        if let Ok(request) = request.body(()) {
            let head = request.into_parts().0;
            prop_assert!(verifier(SIGNED_AT).admit(&head, "kinesis").and_then(|admitted| admitted.verify(b"")).is_err());
        }
    }
}
