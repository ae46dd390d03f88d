//! The functions against plain models, in every layout a column of text can have.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, LargeStringArray, StringArray, StringViewArray,
    TimestampMicrosecondArray, TimestampMillisecondArray, TimestampNanosecondArray, TimestampSecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int32Type, IntervalMonthDayNano, TimeUnit, TimestampMillisecondType};
use datafusion::common::ScalarValue;
use datafusion::common::config::ConfigOptions;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF};
use proptest::prelude::*;

use super::recent::Recent;
use super::{agent, bots, query_param, urls};

fn function(name: &str) -> ScalarUDF {
    super::all().into_iter().find(|function| function.name() == name).expect("listed")
}

fn call(name: &str, args: Vec<ColumnarValue>, rows: usize) -> ColumnarValue {
    let function = function(name);
    let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let returns = function.return_type(&types).expect("types fit");
    let arg_fields = types.iter().map(|t| Arc::new(Field::new("a", t.clone(), true))).collect();
    let call = ScalarFunctionArgs {
        args,
        arg_fields,
        number_rows: rows,
        return_field: Arc::new(Field::new("r", returns, true)),
        config_options: Arc::new(ConfigOptions::default()),
    };
    function.invoke_with_args(call).expect("runs")
}

/// One column in each layout that text comes in.
fn layouts(texts: &[Option<&str>]) -> Vec<ArrayRef> {
    let plain: StringArray = texts.iter().copied().collect();
    let dictionary: DictionaryArray<Int32Type> = texts.iter().copied().collect();
    let plain: ArrayRef = Arc::new(plain);
    vec![
        Arc::new(texts.iter().copied().collect::<LargeStringArray>()),
        Arc::new(texts.iter().copied().collect::<StringViewArray>()),
        cast(&plain, &DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8View))).expect("casts"),
        Arc::new(dictionary),
        plain,
    ]
}

fn texts_of(array: &ArrayRef) -> Vec<Option<String>> {
    array.as_string::<i32>().iter().map(|text| text.map(ToOwned::to_owned)).collect()
}

#[test]
fn every_layout_gives_the_same_answer_nulls_included() {
    let agents = [Some("curl/8.5.0"), None, Some(FIREFOX), Some(FIREFOX), Some(""), Some("curl/8.5.0")];
    for column in layouts(&agents) {
        let rows = column.len();
        let name = format!("{}", column.data_type());
        let ColumnarValue::Array(reason) = call("bot_reason", vec![ColumnarValue::Array(column.clone())], rows) else {
            panic!("a column gives a column")
        };
        let wanted = [
            Some("http tool: curl"),
            Some("no user agent"),
            None,
            None,
            Some("no user agent"),
            Some("http tool: curl"),
        ];
        assert_eq!(texts_of(&reason), wanted.map(|text| text.map(ToOwned::to_owned)), "{name}");

        let ColumnarValue::Array(bot) = call("is_bot", vec![ColumnarValue::Array(column.clone())], rows) else {
            panic!("a column gives a column")
        };
        let bots: Vec<Option<bool>> = bot.as_boolean().iter().collect();
        assert_eq!(bots, [true, true, false, false, true, true].map(Some), "{name}");

        let ColumnarValue::Array(browser) = call("ua_browser", vec![ColumnarValue::Array(column)], rows) else {
            panic!("a column gives a column")
        };
        let wanted = [Some("curl"), None, Some("Firefox"), Some("Firefox"), Some("Other"), Some("curl")];
        assert_eq!(texts_of(&browser), wanted.map(|text| text.map(ToOwned::to_owned)), "{name}");
    }
}

#[test]
fn a_parameter_is_found_with_a_constant_name_and_with_a_name_per_row() {
    let queries = [Some("a=1&b=2"), None, Some("?b=3")];
    for column in layouts(&queries) {
        let name = ColumnarValue::Scalar(ScalarValue::Utf8(Some("b".to_owned())));
        let ColumnarValue::Array(found) = call("query_param", vec![ColumnarValue::Array(column.clone()), name], 3)
        else {
            panic!("a column gives a column")
        };
        assert_eq!(texts_of(&found), [Some("2".to_owned()), None, Some("3".to_owned())]);
        let names: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some("a"), None]));
        let args = vec![ColumnarValue::Array(column), ColumnarValue::Array(names)];
        let ColumnarValue::Array(found) = call("query_param", args, 3) else { panic!("a column gives a column") };
        assert_eq!(texts_of(&found), [Some("1".to_owned()), None, None]);
    }
}

#[test]
fn constants_give_a_constant_also_for_an_empty_batch() {
    let text = |text: &str| ColumnarValue::Scalar(ScalarValue::Utf8(Some(text.to_owned())));
    let found = call("query_param", vec![text("a=1"), text("a")], 0);
    assert!(matches!(found, ColumnarValue::Scalar(ScalarValue::Utf8(Some(one))) if one == "1"));
}

#[test]
fn parameters_are_read_as_browsers_write_them() {
    let cases = [
        ("action=buy&product_id=7", "product_id", Some("7")),
        ("?action=buy", "action", Some("buy")),
        ("name=Blue+mug%2C%20large", "name", Some("Blue mug, large")),
        ("na%6De=x", "name", Some("x")),
        ("a=1&a=2", "a", Some("1")),
        ("a=1=2", "a", Some("1=2")),
        ("a", "a", Some("")),
        ("a=", "a", Some("")),
        ("", "a", None),
        ("&&", "", None),
        ("ab=1", "a", None),
        ("+=1", "+", None),
        ("+=1&%2B=2", "+", Some("2")),
        ("A=1", "a", None),
        ("p=100%", "p", Some("100%")),
        ("p=%zz", "p", Some("%zz")),
        ("p=%ff", "p", Some("\u{fffd}")),
        ("p=%C3%BC", "p", Some("ü")),
    ];
    for (query, name, wanted) in cases {
        assert_eq!(query_param::find(query, name).as_deref(), wanted, "{query:?} {name:?}");
    }
}

#[test]
fn hosts_and_paths_are_cut_out() {
    let cases = [
        ("https://Shop.example.com:8080/a/b?c=1#d", Some("shop.example.com"), "/a/b"),
        ("http://user:secret@example.com", Some("example.com"), "/"),
        ("http://example.com?x=/y", Some("example.com"), "/"),
        ("//cdn.example.com/x.js", Some("cdn.example.com"), "/x.js"),
        ("http://[::1]:80/a", Some("::1"), "/a"),
        ("/action?action=buy", None, "/action"),
        ("action#x", None, "action"),
        ("", None, ""),
        ("-", None, "-"),
        ("https://", None, "/"),
        ("android-app://com.example/", Some("com.example"), "/"),
        ("/go?to=http://other.example/", None, "/go"),
    ];
    for (url, host, path) in cases {
        assert_eq!(urls::host_of(url).as_deref(), host, "{url}");
        assert_eq!(urls::path_of(url), path, "{url}");
    }
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";

#[test]
fn common_agents_are_known_by_browser_system_and_device() {
    let agents = [
        (FIREFOX, ["Firefox", "Linux", "Other"]),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
            ["Chrome", "Windows", "Other"],
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0",
            ["Edge", "Windows", "Other"],
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1",
            ["Mobile Safari", "iOS", "iPhone"],
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Safari/605.1.15",
            ["Safari", "Mac OS X", "Mac"],
        ),
        (
            "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Mobile Safari/537.36",
            ["Chrome Mobile", "Android", "Generic Smartphone"],
        ),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", ["Googlebot", "Other", "Spider"]),
        ("no browser at all", ["Other", "Other", "Other"]),
    ];
    for (text, wanted) in agents {
        let column = ColumnarValue::Scalar(ScalarValue::Utf8(Some(text.to_owned())));
        let found = ["ua_browser", "ua_os", "ua_device"].map(|name| match call(name, vec![column.clone()], 1) {
            ColumnarValue::Scalar(ScalarValue::Utf8(Some(found))) => found,
            other => panic!("{name}: {other:?}"),
        });
        assert_eq!(found, wanted, "{text}");
    }
}

#[test]
fn programs_are_told_from_people_with_the_rule_that_says_so() {
    let cases = [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", Some("search engine: googlebot")),
        ("Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2)", Some("ai crawler: gptbot")),
        ("python-requests/2.32.3", Some("http library: python-requests")),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/140.0.0.0 Safari/537.36", Some("headless browser: headless")),
        ("ELB-HealthChecker/2.0", Some("monitor: elb-healthchecker")),
        ("SomeNewCrawler/0.1", Some("generic word: crawl")),
        ("-", Some("no user agent")),
        ("", Some("no user agent")),
        (FIREFOX, None),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT X19) AppleWebKit/537.36 Chrome/120.0.0.0 Mobile Safari/537.36", None),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Safari/604.1", None),
    ];
    for (agent, reason) in cases {
        assert_eq!(bots::reason_of(agent), reason, "{agent}");
    }
}

#[test]
fn a_window_starts_at_a_multiple_of_its_width_also_before_1970() {
    let minutes = |n: i64| ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 0, n * 60_000_000_000)));
    let times: ArrayRef = Arc::new(
        TimestampMillisecondArray::from(vec![Some(0), Some(599_999), Some(600_000), Some(-1), None])
            .with_timezone("UTC"),
    );
    let args = vec![ColumnarValue::Array(times), ColumnarValue::Scalar(minutes(10))];
    let ColumnarValue::Array(starts) = call("tumble", args, 5) else { panic!("a column gives a column") };
    assert_eq!(starts.data_type(), &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())));
    let starts: Vec<Option<i64>> = starts.as_primitive::<TimestampMillisecondType>().iter().collect();
    assert_eq!(starts, [Some(0), Some(0), Some(600_000), Some(-600_000), None]);
}

#[test]
fn every_function_is_described_by_its_name() {
    let mut described: Vec<&str> = super::described().iter().map(|function| function.name).collect();
    let listed = super::all();
    let mut listed: Vec<&str> = listed.iter().map(ScalarUDF::name).collect();
    described.sort_unstable();
    listed.sort_unstable();
    assert_eq!(described, listed);
}

/// What a query string means, by the crate that implements the URL standard.
fn model(query: &str, name: &str) -> Option<String> {
    let query = query.strip_prefix('?').unwrap_or(query);
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

proptest! {
    #[test]
    fn query_param_agrees_with_the_url_standard(query in "\\??([ab%+=&é20]|%C3|%2B|%20){0,24}", name in "[ab é+]{0,3}") {
        prop_assert_eq!(query_param::find(&query, &name).map(|found| found.into_owned()), model(&query, &name));
    }

    #[test]
    fn url_parts_agree_with_the_url_standard(
        host in "[a-z]{1,5}(\\.[a-z]{2,3}){0,2}", port in proptest::option::of(1024u16..), path in "(/[a-z0-9]{0,4}){0,3}",
        query in proptest::option::of("[a-z=&/?]{0,8}"), user in proptest::option::of("[a-z]{1,3}(:[a-z]{1,3})?"),
    ) {
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        let text = format!("http://{user}{host}{port}{path}{query}");
        let parsed = url::Url::parse(&text).expect("well formed");
        let host = urls::host_of(&text);
        prop_assert_eq!(host.as_deref(), parsed.host_str());
        prop_assert_eq!(urls::path_of(&text), parsed.path());
    }

    #[test]
    fn no_text_makes_a_function_panic(text in any::<String>()) {
        let _ = (query_param::find(&text, "a"), urls::host_of(&text), urls::path_of(&text), bots::reason_of(&text));
        prop_assert!(agent::cut(&text.repeat(200)).len() <= agent::AGENT_BYTES_MAX);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_wrong(asked in proptest::collection::vec(0u32..40, 0..400)) {
        let recent = Recent::new(8);
        for number in asked {
            let text = number.to_string();
            prop_assert_eq!(recent.get(&text, |text| format!("answer {text}")), format!("answer {number}"));
            prop_assert!(recent.len() <= 16);
        }
    }
}

#[test]
fn the_replaced_time_functions_give_what_the_engines_own_give() {
    use datafusion::functions::datetime::{date_part, date_trunc};
    let apart = TimestampMillisecondArray::from(vec![
        Some(1_795_342_650_123),
        Some(-1),
        Some(0),
        None,
        Some(-2_000_000_000_123),
    ]);
    // A row every 1.3 s through the begin of all times, and back to where it began.
    let steps = (-5_000..5_000i64).chain([-5_000]).map(|step| step * 1_300_007);
    let in_a_row = TimestampMicrosecondArray::from_iter_values(steps.clone());
    let of_seconds = TimestampSecondArray::from_iter_values(steps.clone());
    let of_nanoseconds = TimestampNanosecondArray::from_iter_values(steps.map(|step| step * 999));
    let ours = super::in_utc::replaced();
    let all: [ArrayRef; 4] = [
        Arc::new(apart.with_timezone("UTC")),
        Arc::new(in_a_row.with_timezone("UTC")),
        Arc::new(of_seconds.with_timezone("+00:00")),
        Arc::new(of_nanoseconds.with_timezone("UTC")),
    ];
    for times in all {
        for (function, words) in [
            (date_trunc(), ["second", "minute", "HOUR", "day", "week", "month", "quarter", "year"]),
            (date_part(), ["second", "minute", "hour", "day", "week", "month", "quarter", "year"]),
        ] {
            let replaced = ours.iter().find(|ours| ours.name() == function.name()).expect("replaced");
            for word in words {
                let word = ScalarValue::Utf8(Some(word.to_owned()));
                let fields = [DataType::Utf8, times.data_type().clone()].map(|t| Arc::new(Field::new("a", t, true)));
                let scalars = [Some(&word), None];
                let returns =
                    datafusion::logical_expr::ReturnFieldArgs { arg_fields: &fields, scalar_arguments: &scalars };
                let return_field = function.return_field_from_args(returns).expect("types fit");
                let call = || ScalarFunctionArgs {
                    args: vec![ColumnarValue::Scalar(word.clone()), ColumnarValue::Array(times.clone())],
                    arg_fields: fields.to_vec(),
                    number_rows: times.len(),
                    return_field: return_field.clone(),
                    config_options: Arc::new(ConfigOptions::default()),
                };
                let answers = [&function, &Arc::new(replaced.clone())].map(|function| {
                    function.invoke_with_args(call()).and_then(|answer| answer.into_array(times.len()))
                });
                let [theirs, ours] = answers.map(|answer| answer.expect("runs"));
                assert_eq!(&ours, &theirs, "{} {word}", function.name());
                assert_eq!(ours.data_type(), return_field.data_type());
            }
        }
    }
}
