//! The console over a small real stack: a stream, a table fed by hand, the engine, no network but the router's own calls.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use axum::body::Body;
use base::SystemClock;
use edge::collect::{CollectLimits, Collector};
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use lake::{Lake, LakeSettings, Table, TableSpec, TailBatch};
use query::{Engine, QuerySettings};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::dashboards::{Chart, Dashboard, Dashboards, Tile};
use crate::pipeline::Pipeline;
use crate::settings::Token;

const TOKEN: &str = "0123456789abcdef";

struct Stack {
    router: Router,
    table: Arc<Table>,
    log: Arc<stream::Log>,
    stop: CancellationToken,
    _pipeline: watch::Sender<Arc<Pipeline>>,
    _dashboards: watch::Sender<Arc<Dashboards>>,
    _folder: tempfile::TempDir,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("word", DataType::Utf8, true)]))
}

fn dashboards() -> Dashboards {
    let tile = Tile {
        title: "Words".into(),
        chart: Chart::Table,
        sql: "select word from words".into(),
        width: Some(6),
        options: BTreeMap::from([("unit", "€".to_owned())]),
    };
    Dashboards { dashboards: vec![Dashboard { name: "d".into(), title: "D".into(), about: None, tiles: vec![tile] }] }
}

async fn stack(settings: ConsoleSettings) -> Stack {
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Arc::new(SystemClock);
    let log = stream::Log::open(folder.path(), clock.clone()).expect("an empty log");
    log.ensure("words", &stream::StreamSettings::default()).expect("a stream");
    let path: &Path = &folder.path().join("lake");
    let lake = Lake::open(path, LakeSettings::default(), clock.clone()).await.expect("an empty lake");
    let spec = TableSpec { name: "words".into(), schema: schema(), partitioned: false };
    let table = lake.ensure(spec).await.expect("a table");
    let engine = Engine::new(QuerySettings::default(), lake.clone()).expect("an engine");
    engine.add_table(table.clone());
    let collector = Collector::at("console", log.clone(), CollectLimits::default(), clock.clone());
    let (pipeline, measured_pipeline) = watch::channel(Arc::new(Pipeline { at_ms: 7, ..Pipeline::default() }));
    let (declared, followed) = watch::channel(Arc::new(dashboards()));
    let stop = CancellationToken::new();
    let rooms = Rooms {
        engine: engine.clone(),
        log: log.clone(),
        lake: lake.clone(),
        collector: collector.routes(),
        measured: vec![lake, engine],
        pipeline: measured_pipeline,
        dashboards: followed,
        clock,
        stop: stop.clone(),
    };
    let (router, _counts) = router(rooms, &settings);
    Stack { router, table, log, stop, _pipeline: pipeline, _dashboards: declared, _folder: folder }
}

async fn open_stack() -> Stack {
    stack(ConsoleSettings::default()).await
}

impl Stack {
    fn push(&self, n: i64, word: &str) {
        let columns: Vec<arrow::array::ArrayRef> =
            vec![Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec![word]))];
        let rows = RecordBatch::try_new(schema(), columns).expect("one row");
        self.table.push(TailBatch { rows, event_time: vec![], progress: vec![] }).expect("there is room");
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("a router never fails")
    }

    async fn json(&self, request: Request<Body>) -> (StatusCode, Value) {
        let response = self.ask(request).await;
        let status = response.status();
        let body = response.into_body().collect().await.expect("the whole body").to_bytes();
        (status, serde_json::from_slice(&body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into())))
    }
}

fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(header::HOST, "localhost:7070")
}

fn get(path: &str) -> Request<Body> {
    request("GET", path).body(Body::empty()).expect("a request")
}

fn sql(text: &str, accept: &str) -> Request<Body> {
    let body = json!({ "sql": text }).to_string();
    let request = request("POST", "/api/v1/sql").header(header::ACCEPT, accept);
    request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body)).expect("a request")
}

fn post(path: &str, body: &Value) -> Request<Body> {
    let request = request("POST", path).header(header::CONTENT_TYPE, "application/json");
    request.body(Body::from(body.to_string())).expect("a request")
}

/// Reads events of an endless answer, one after the other.
struct Events {
    body: Body,
    text: String,
}

impl Events {
    async fn next(&mut self) -> (String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
                let found = (field("event:").to_owned(), serde_json::from_str(field("data:")).unwrap_or_default());
                self.text = rest.to_owned();
                return found;
            }
            let frame =
                tokio::time::timeout(Duration::from_secs(20), self.body.frame()).await.expect("an event in time");
            let data = frame.expect("the answer goes on").expect("no error").into_data().expect("data");
            self.text.push_str(&String::from_utf8_lossy(&data));
        }
    }
}

async fn events(stack: &Stack, path: &str) -> Events {
    let response = stack.ask(get(path)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    Events { body: response.into_body(), text: String::new() }
}

#[tokio::test]
async fn rows_come_in_the_format_that_was_asked_for() {
    let stack = open_stack().await;
    stack.push(1, "one");
    let (status, answer) = stack.json(sql("select n, word from words", "application/json")).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_eq!(answer["rows"], json!([[1, "one"]]));
    assert_eq!(answer["columns"], json!([{"name": "n", "type": "bigint"}, {"name": "word", "type": "text"}]));
    let (_, csv) = stack.json(sql("select n, word from words", "text/csv")).await;
    assert_eq!(csv.as_str().map(|text| text.replace("\r\n", "\n")).as_deref(), Some("n,word\n1,one\n"));
    let (_, row) = stack.json(sql("select n, word from words", "application/x-ndjson")).await;
    assert_eq!(row, json!({"n": 1, "word": "one"}));
}

#[tokio::test]
async fn an_error_names_its_place_and_a_remedy() {
    let stack = open_stack().await;
    let (status, answer) = stack.json(sql("select n,\n  wrod from words", "application/json")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let error = &answer["error"];
    assert_eq!(
        (&error["kind"], &error["line"], &error["column"]),
        (&json!("invalid"), &json!(2), &json!(3)),
        "{error}"
    );
    assert!(error["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{error}");
    let (status, answer) = stack.json(get("/api/v1/nothing")).await;
    assert_eq!((status, &answer["error"]["kind"]), (StatusCode::NOT_FOUND, &json!("not found")));
}

#[tokio::test]
async fn a_live_query_shows_each_new_result_once_it_is_there() {
    let stack = open_stack().await;
    let path = "/api/v1/live/sql?q=%5B%22select%20count(*)%20as%20n%20from%20words%22%2C%22select%20nothing%22%5D";
    let mut events = events(&stack, path).await;
    let mut first = BTreeMap::new();
    for _ in 0..2 {
        let (name, data) = events.next().await;
        first.insert(data["query"].as_u64(), (name, data));
    }
    let (name, rows) = &first[&Some(0)];
    assert_eq!((name.as_str(), &rows["rows"], &rows["version"]), ("rows", &json!([[0]]), &json!(1)), "{rows}");
    let (name, error) = &first[&Some(1)];
    assert_eq!((name.as_str(), &error["kind"]), ("error", &json!("invalid")), "{error}");
    stack.push(1, "one");
    let (name, rows) = events.next().await;
    assert_eq!((name.as_str(), &rows["rows"], &rows["version"]), ("rows", &json!([[1]]), &json!(2)), "{rows}");
}

#[tokio::test]
async fn what_is_collected_is_seen_in_the_tail() {
    let stack = open_stack().await;
    let mut all = events(&stack, "/api/v1/live/tail/words").await;
    let mut some = events(&stack, "/api/v1/live/tail/words?filter=TWO").await;
    let collect = request("POST", "/collect/words").header(header::CONTENT_TYPE, "application/x-ndjson");
    let collect = collect.body(Body::from("{\"word\":\"one\"}\n{\"word\":\"two\"}\n")).expect("a request");
    let (status, answer) = stack.json(collect).await;
    assert_eq!((status, &answer["accepted"]), (StatusCode::OK, &json!(2)), "{answer}");
    for word in ["one", "two"] {
        let (name, record) = all.next().await;
        assert_eq!(
            (name.as_str(), record["payload"].as_str()),
            ("record", Some(format!("{{\"word\":\"{word}\"}}").as_str()))
        );
    }
    assert_eq!(some.next().await.1["offset"], json!(1));
    let (status, answer) = stack.json(get("/api/v1/live/tail/wrods")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"]["remedy"].as_str().is_some_and(|remedy| remedy.contains("words")));
}

#[tokio::test]
async fn live_answers_end_when_the_console_stops() {
    let stack = open_stack().await;
    let response = stack.ask(get("/api/v1/live/tail/words")).await;
    stack.stop.cancel();
    let rest = tokio::time::timeout(Duration::from_secs(10), response.into_body().collect()).await;
    assert!(rest.is_ok_and(|body| body.is_ok()));
}

#[tokio::test]
async fn the_rest_of_the_api_says_what_there_is() {
    let stack = open_stack().await;
    let (_, catalog) = stack.json(get("/api/v1/catalog")).await;
    let tables = catalog["tables"].as_array().expect("a list");
    assert!(tables.iter().any(|table| table["name"] == "words" && table["columns"][1]["type"] == "text"), "{catalog}");
    assert!(
        catalog["functions"].as_array().is_some_and(|all| all.iter().any(|function| function["name"] == "query_param"))
    );
    assert_eq!(catalog["streams"], json!([{"name": "words", "shards": 1}]));
    let (_, dashboards) = stack.json(get("/api/v1/dashboards")).await;
    assert_eq!(dashboards[0]["tiles"][0]["chart"], "table", "{dashboards}");
    assert_eq!(dashboards[0]["tiles"][0]["unit"], "€");
    let (_, pipeline) = stack.json(get("/api/v1/pipeline")).await;
    assert_eq!(pipeline["at_ms"], 7);
    let (_, health) = stack.json(get("/api/v1/health")).await;
    assert_eq!(health["status"], "ok");
    let (_, metrics) = stack.json(get("/metrics")).await;
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("# TYPE riverrun_console_queries_total counter"), "{metrics}");
    assert!(metrics.contains("riverrun_lake_version{table=\"words\"}"), "{metrics}");
    assert!(metrics.contains("riverrun_console_live_watchers 0"), "{metrics}");
    let mut live = events(&stack, "/api/v1/live/pipeline").await;
    assert_eq!(live.next().await.0, "pipeline");
}

#[tokio::test]
async fn a_stream_shows_its_shards_and_is_changed_over_the_api() {
    let stack = open_stack().await;
    let (_, listed) = stack.json(get("/api/v1/streams")).await;
    let words = &listed["streams"][0];
    assert_eq!(
        (&words["name"], &words["open_shards"], &words["mode"]),
        (&json!("words"), &json!(1), &json!("provisioned"))
    );
    let (status, split) = stack.json(post("/api/v1/streams/words/split", &json!({"shard": 0}))).await;
    assert_eq!(status, StatusCode::OK, "{split}");
    let half = (1u128 << 127).to_string();
    assert_eq!((&split["open_shards"], &split["closed_shards"]), (&json!(2), &json!(1)));
    let shards = split["shards"].as_array().expect("a list");
    assert_eq!((&shards[0]["status"], &shards[2]["range"]["start"]), (&json!("closed"), &json!(half)), "{split}");
    assert_eq!((&shards[1]["parents"], &shards[1]["name"]), (&json!([0]), &json!("shardId-000000000001")));
    let (_, cut) = stack.json(post("/api/v1/streams/words/split", &json!({"shard": 1, "at": "4096"}))).await;
    assert_eq!(cut["shards"][3]["range"], json!({"start": "0", "end": "4095"}), "{cut}");
    let (_, merged) = stack.json(post("/api/v1/streams/words/merge", &json!({"shard": 4, "with": 2}))).await;
    assert_eq!((&merged["open_shards"], &merged["shards"][5]["parents"]), (&json!(2), &json!([4, 2])), "{merged}");
    let (_, reshaped) = stack.json(post("/api/v1/streams/words/reshape", &json!({"shards": 3}))).await;
    assert_eq!(reshaped["open_shards"], 3);
    let (_, kept) = stack.json(post("/api/v1/streams/words/retention", &json!({"retention_ms": 172_800_000}))).await;
    assert_eq!(kept["retention_ms"], 172_800_000);
    let (_, scaled) = stack.json(post("/api/v1/streams/words/mode", &json!({"mode": "on-demand"}))).await;
    assert_eq!(scaled["mode"], "on-demand");
    let (_, now) = stack.json(get("/api/v1/streams/words")).await;
    assert_eq!(
        (&now["mode"], &now["open_shards"], &now["retention_ms"]),
        (&json!("on-demand"), &json!(3), &json!(172_800_000))
    );
    assert_eq!(now["limits"]["records_in"], 1000);
}

#[tokio::test]
async fn a_change_that_cannot_be_says_why_in_the_shape_of_the_api() {
    let stack = open_stack().await;
    for (path, body, status, kind) in [
        ("wrods/split", json!({"shard": 0}), StatusCode::NOT_FOUND, "not found"),
        ("words/split", json!({"shard": 9}), StatusCode::NOT_FOUND, "not found"),
        ("words/split", json!({"shard": 0, "at": "half"}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/split", json!({"shard": 0, "at": "0"}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/split", json!({"shrad": 0}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/reshape", json!({"shards": 0}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/reshape", json!({"shards": 100_000}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/retention", json!({"retention_ms": 1}), StatusCode::BAD_REQUEST, "invalid"),
        ("words/mode", json!({"mode": "free"}), StatusCode::BAD_REQUEST, "invalid"),
    ] {
        let (found, answer) = stack.json(post(&format!("/api/v1/streams/{path}"), &body)).await;
        assert_eq!((found, &answer["error"]["kind"]), (status, &json!(kind)), "{path} {body}: {answer}");
        assert!(answer["error"]["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{answer}");
    }
    let (_, words) = stack.json(get("/api/v1/streams/words")).await;
    assert_eq!(words["shards"].as_array().map(Vec::len), Some(1), "nothing was changed");
    // What a page of another site could send without asking first.
    let simple = request("POST", "/api/v1/streams/words/split").header(header::CONTENT_TYPE, "text/plain");
    let simple = simple.body(Body::from(r#"{"shard": 0}"#)).expect("a request");
    assert_eq!(stack.json(simple).await.0, StatusCode::BAD_REQUEST);
    let mut foreign = post("/api/v1/streams/words/split", &json!({"shard": 0}));
    foreign.headers_mut().insert(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
    assert_eq!(stack.json(foreign).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn the_planner_answers_by_the_formula_of_the_stream_room() {
    let stack = open_stack().await;
    let (status, plan) = stack.json(get("/api/v1/plan?record_bytes=10240&records_per_second=500&consumers=4")).await;
    assert_eq!(status, StatusCode::OK, "{plan}");
    assert_eq!((&plan["shards"], &plan["decides"], &plan["fits"]), (&json!(10), &json!("bytes_out"), &json!(true)));
    assert_eq!(
        plan["demands"][1],
        json!({"limit": "bytes_in", "words": "bytes in per second", "needed": 5_120_000, "per_shard": 1_048_576, "shards": 5})
    );
    let (status, error) = stack.json(get("/api/v1/plan?record_bytes=10240")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        error["error"]["message"].as_str().is_some_and(|message| message.contains("records_per_second")),
        "{error}"
    );
}

#[tokio::test]
async fn what_lies_in_a_stream_is_read_page_by_page() {
    let stack = open_stack().await;
    let lines: String = (0..5).map(|n| format!("{{\"n\":{n}}}\n")).collect();
    let collect = request("POST", "/collect/words").header(header::CONTENT_TYPE, "application/x-ndjson");
    assert_eq!(stack.json(collect.body(Body::from(lines)).expect("a request")).await.0, StatusCode::OK);
    let (_, page) = stack.json(get("/api/v1/streams/words/records?limit=2")).await;
    assert_eq!((&page["cursor"], &page["left"], &page["searched"]), (&json!("0:2"), &json!(3), &json!(2)), "{page}");
    assert_eq!(page["records"][1]["payload"], "{\"n\":1}");
    let (_, next) = stack.json(get("/api/v1/streams/words/records?cursor=0:2&filter=%22N%22:4")).await;
    assert_eq!((&next["records"][0]["offset"], &next["left"]), (&json!(4), &json!(0)), "{next}");
    let (_, last) = stack.json(get("/api/v1/streams/words/records?shard=0&offset=3")).await;
    assert_eq!((last["records"].as_array().map(Vec::len), &last["cursor"]), (Some(2), &json!("=0:5")), "{last}");
    let (_, future) = stack.json(get("/api/v1/streams/words/records?at_ms=99999999999999")).await;
    assert_eq!((&future["records"], &future["left"]), (&json!([]), &json!(0)));
    for wrong in
        ["offset=3", "cursor=x", "at_ms=1&offset=1&shard=0", "limit=0", "limit=501", "shard=0&cursor=0:1", "form=1"]
    {
        let (status, error) = stack.json(get(&format!("/api/v1/streams/words/records?{wrong}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}: {error}");
    }
    assert_eq!(stack.json(get("/api/v1/streams/words/records?shard=7")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_watched_stream_shows_each_change_of_its_shards_and_its_end() {
    let stack = open_stack().await;
    let mut all = events(&stack, "/api/v1/live/streams").await;
    let (name, listed) = all.next().await;
    assert_eq!((name.as_str(), &listed["streams"][0]["name"]), ("streams", &json!("words")));
    let mut one = events(&stack, "/api/v1/live/streams/words").await;
    assert_eq!(one.next().await.1["open_shards"], 1);
    let stream = stack.log.stream("words").expect("it is there");
    stream.reshape(4).expect("it can be cut");
    while one.next().await.1["open_shards"] != 4 {}
    assert!(stack.log.delete("words").expect("it can be deleted"));
    while one.next().await.0 != "gone" {}
    assert_eq!(stack.json(get("/api/v1/live/streams/words")).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_tail_follows_shards_that_split_and_merge_with_children_after_their_parents() {
    let stack = open_stack().await;
    let mut tail = events(&stack, "/api/v1/live/tail/words").await;
    let stream = stack.log.stream("words").expect("it is there");
    let mut sent = 0;
    for shards in [1, 4, 2, 3] {
        stream.reshape(shards).expect("it can be cut");
        for _ in 0..4 {
            let line = format!("{{\"key\":\"k\",\"n\":{sent}}}");
            let collect = request("POST", "/collect/words?key=key").header(header::CONTENT_TYPE, "application/json");
            let (status, answer) = stack.json(collect.body(Body::from(line)).expect("a request")).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
            sent += 1;
        }
    }
    // One key: its records come in the order in which they were sent, through every change of shards.
    let mut seen = Vec::new();
    let mut shards = std::collections::BTreeSet::new();
    while seen.len() < sent {
        let (name, record) = tail.next().await;
        assert_eq!(name, "record", "{record}");
        shards.insert(record["shard"].as_u64());
        let payload: Value = serde_json::from_str(record["payload"].as_str().unwrap_or_default()).expect("JSON");
        seen.push(payload["n"].as_u64().expect("a number"));
    }
    assert_eq!(seen, (0..sent as u64).collect::<Vec<_>>());
    assert!(shards.len() >= 3, "{shards:?}");
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let stack = open_stack().await;
    for path in ["/", "/sql", "/login.css", "/api/v1/health", "/api/v1/nothing", "/assets/gone.js"] {
        let response = stack.ask(get(path)).await;
        let headers = response.headers();
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().expect("ASCII");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{path}");
        assert!(!policy.contains("unsafe") && !policy.contains("font-src"), "{path}");
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff", "{path}");
        assert!(headers.contains_key(header::REFERRER_POLICY), "{path}");
    }
}

#[tokio::test]
async fn pages_of_other_sites_and_foreign_names_get_nothing() {
    let stack = open_stack().await;
    let with = |mut request: Request<Body>, name: &'static str, value: &'static str| {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
        request
    };
    let foreign = with(sql("select 1", "*/*"), "origin", "https://evil.example");
    assert_eq!(stack.json(foreign).await.0, StatusCode::FORBIDDEN);
    let rebound = with(get("/api/v1/catalog"), "host", "evil.example:7070");
    assert_eq!(stack.json(rebound).await.0, StatusCode::FORBIDDEN);
    let own = with(sql("select 1", "*/*"), "origin", "http://localhost:7070");
    assert_eq!(stack.json(own).await.0, StatusCode::OK);
}

/// What every route answers to who shows no token, a wrong one, the right one. A route that is not in the table of
/// routes cannot exist; one that is and has no row here fails.
#[tokio::test]
async fn every_route_asks_for_the_token_but_the_health_check() {
    const OPEN: [(&str, &str); 1] = [("GET", "/api/v1/health")];
    const ASKS: [(&str, &str); 21] = [
        ("GET", "/metrics"),
        ("POST", "/api/v1/sql"),
        ("GET", "/api/v1/catalog"),
        ("GET", "/api/v1/pipeline"),
        ("GET", "/api/v1/dashboards"),
        ("GET", "/api/v1/plan"),
        ("GET", "/api/v1/streams"),
        ("GET", "/api/v1/streams/{stream}"),
        ("GET", "/api/v1/streams/{stream}/records"),
        ("POST", "/api/v1/streams/{stream}/split"),
        ("POST", "/api/v1/streams/{stream}/merge"),
        ("POST", "/api/v1/streams/{stream}/reshape"),
        ("POST", "/api/v1/streams/{stream}/retention"),
        ("POST", "/api/v1/streams/{stream}/mode"),
        ("GET", "/api/v1/live/streams"),
        ("GET", "/api/v1/live/streams/{stream}"),
        ("GET", "/api/v1/live/sql"),
        ("GET", "/api/v1/live/pipeline"),
        ("GET", "/api/v1/live/tail/{stream}"),
        ("POST", "/collect/{stream}"),
        ("GET", "/"),
    ];
    for route in routes() {
        let row = (route.method.as_str(), route.path);
        let expected =
            if OPEN.contains(&row) { Some(Access::Open) } else { ASKS.contains(&row).then_some(Access::Token) };
        assert_eq!(expected, Some(route.access), "{row:?} has no row in this table, or another access");
    }
    let settings = ConsoleSettings { token: Some(Token::new(TOKEN).expect("a token")), ..ConsoleSettings::default() };
    let stack = stack(settings).await;
    let wrong = format!("Bearer {}", TOKEN.replace('0', "1"));
    let right = format!("Bearer {TOKEN}");
    for (method, path) in OPEN.into_iter().chain(ASKS) {
        let asks = ASKS.contains(&(method, path));
        for (shown, knows) in
            [(None, false), (Some(wrong.as_str()), false), (Some("Bearer"), false), (Some(right.as_str()), true)]
        {
            let mut request =
                request(method, &path.replace("{stream}", "words")).body(Body::empty()).expect("a request");
            if let Some(shown) = shown {
                request.headers_mut().insert(header::AUTHORIZATION, HeaderValue::from_str(shown).expect("ASCII"));
            }
            let status = stack.ask(request).await.status();
            let refused = status == StatusCode::UNAUTHORIZED;
            assert_eq!(refused, asks && !knows, "{method} {path} with {shown:?} answered {status}");
        }
    }
}

#[tokio::test]
async fn a_browser_trades_the_token_for_a_cookie() {
    let settings = ConsoleSettings { token: Some(Token::new(TOKEN).expect("a token")), ..ConsoleSettings::default() };
    let stack = stack(settings).await;
    let login = |token: &str| request("POST", "/login").body(Body::from(format!("token={token}"))).expect("a request");
    assert_eq!(stack.ask(login("wrong")).await.status(), StatusCode::UNAUTHORIZED);
    let answer = stack.ask(login(TOKEN)).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    let cookie = answer.headers()[header::SET_COOKIE].to_str().expect("ASCII").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN), "{cookie}");
    let session = cookie.split(';').next().unwrap_or_default().to_owned();
    let with =
        request("GET", "/api/v1/catalog").header(header::COOKIE, session).body(Body::empty()).expect("a request");
    assert_eq!(stack.ask(with).await.status(), StatusCode::OK);
}
