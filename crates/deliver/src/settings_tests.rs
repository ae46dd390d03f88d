use base::settings::Value;

use super::*;

fn text(text: &str) -> Data {
    Data::Text(text.to_owned())
}

fn list(items: &[&str]) -> Data {
    Data::Array(items.iter().map(|item| Value { line: 9, data: text(item) }).collect())
}

fn table(entries: Vec<(&str, Data)>) -> Data {
    let entries =
        entries.into_iter().enumerate().map(|(index, (key, data))| (key.to_owned(), Value { line: index + 2, data }));
    Data::Table(entries.collect())
}

fn read(path: &str, entries: Vec<(&str, Data)>) -> (TableSettings, Vec<String>) {
    let mut problems = Vec::new();
    let mut section = Section::new(path, Value { line: 1, data: table(entries) }, &mut problems);
    let settings = TableSettings::read(&mut section);
    section.finish();
    (settings, problems.iter().map(ToString::to_string).collect())
}

#[test]
fn a_table_says_little_and_gets_the_rest_by_default() {
    let (settings, problems) = read("table.clicks", vec![("from", text("clicks"))]);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(settings, TableSettings::new("clicks", "clicks"));
    assert_eq!(settings.sql(), "select \"event_time\", \"arrival_time\", \"id\", \"payload\" from record");
}

#[test]
fn everything_that_can_be_said_is_read() {
    let (settings, problems) = read(
        "table.clicks",
        vec![
            ("from", text("s")),
            ("format", text("json")),
            ("columns", table(vec![("price", text("double")), ("at", text("timestamp"))])),
            ("event_time", text("at")),
            ("flush", table(vec![("every", text("2s")), ("size", text("8MiB"))])),
            ("start", text("latest")),
            ("partition_by", list(&["year", "month", "day", "hour"])),
            ("sql", text("select price, at, color from record")),
        ],
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(settings.columns.len(), 2);
    assert_eq!(settings.flush, FlushSettings { every: Duration::from_secs(2), size: 8 << 20 });
    assert_eq!((settings.start, settings.event_time.as_deref()), (StartAt::Latest, Some("at")));
    let (settings, problems) = read(
        "table.clicks",
        vec![("from", text("s")), ("format", text("cdn")), ("fields", list(&["cs-uri-stem", "timestamp"]))],
    );
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(settings.fields, [10, 1]);
    assert_eq!(
        settings.sql(),
        "select \"event_time\", \"arrival_time\", \"id\", \"simulated\", \"timestamp\", \"cs_uri_stem\", \"cs_uri_query\" from record"
    );
}

#[test]
fn every_mistake_is_told_with_its_remedy() {
    let (_, problems) = read(
        "table.Clicks!",
        vec![
            ("format", text("xml")),
            ("columns", table(vec![("offset", text("integer")), ("price", text("duble"))])),
            ("flush", table(vec![("every", text("ten")), ("often", text("1s"))])),
            ("start", text("middle")),
            ("partition_by", list(&["day"])),
            ("sql", text("select nosuch(price) from record")),
            ("fields", list(&["c-ip"])),
        ],
    );
    for told in [
        "line 1: table.Clicks!: \"Clicks!\" cannot name a table. Use lower-case letters",
        "line 1: table.Clicks!.from: is missing. Add from = \"clicks\"",
        "line 2: table.Clicks!.format: expected one of \"json\", \"cdn\", \"combined\", found \"xml\". Write format = \"json\"",
        "line 2: table.Clicks!.columns.offset: every record has a column of this name already. Remove it",
        "line 3: table.Clicks!.columns.price: expected one of text, integer, double, boolean, timestamp, json. Did you mean \"double\"?",
        "line 2: table.Clicks!.flush.every: expected a duration from 100ms to 15m, found the string \"ten\"",
        "line 3: table.Clicks!.flush.often: is not a known key",
        "line 5: table.Clicks!.start: expected one of \"earliest\", \"latest\", found \"middle\"",
        "line 6: table.Clicks!.partition_by: expected [\"year\", \"month\", \"day\", \"hour\"], found [\"day\"]. Write partition_by = ",
        "line 7: table.Clicks!.sql: ",
        "line 8: table.Clicks!.fields: is only for format = \"cdn\"",
    ] {
        assert!(problems.iter().any(|problem| problem.starts_with(told)), "{told}\nnot in\n{}", problems.join("\n"));
    }
    assert!(
        problems.iter().any(|problem| problem.contains("nosuch") && problem.contains("(line 1, column 8 of the SQL)")),
        "{problems:?}"
    );
    let (_, problems) = read(
        "table.t",
        vec![
            ("from", text("s")),
            ("format", text("cdn")),
            ("fields", list(&["c_ip", "c-ip", "c-ip"])),
            ("event_time", text("when")),
        ],
    );
    assert!(problems.iter().any(|problem| problem.contains("Did you mean \"c-ip\"?")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("is there twice")), "{problems:?}");
    assert!(problems.iter().any(|problem| problem.contains("no column \"when\"")), "{problems:?}");
}
