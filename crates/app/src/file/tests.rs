//! Ten mistakes, ten explanations.

use std::path::Path;

use super::read::settings;

/// Every mistake of `text`, as `riverrun check` prints them.
fn mistakes(text: &str) -> String {
    match settings(text, Path::new("/etc/riverrun")) {
        Ok(_) => "none".to_owned(),
        Err(problems) => super::told("riverrun.toml", &problems),
    }
}

fn expect(text: &str, expected: &str) {
    let found = mistakes(text);
    assert_eq!(found, expected.trim(), "\n--- found:\n{found}\n---");
}

#[test]
fn an_empty_file_is_a_console_over_nothing() {
    let settings = settings("", Path::new("/etc/riverrun")).expect("nothing is wrong with nothing");
    assert_eq!(settings.data, Path::new("/etc/riverrun/riverrun-data"));
    assert_eq!(settings.console.listen.to_string(), "127.0.0.1:7070");
}

#[test]
fn names_in_the_file_go_from_where_it_lies() {
    let text = "data = \"./d\"\n[edge.shop]\nlisten = \"127.0.0.1:0\"\nroot = \"shop/\"\n";
    let settings = settings(text, Path::new("/etc/riverrun")).expect("it is right");
    assert_eq!(settings.data, Path::new("/etc/riverrun/d"));
    let edge::Content::Root(root) = &settings.edges[0].0.content else { panic!("a folder") };
    assert_eq!(root, Path::new("/etc/riverrun/shop/"));
}

#[test]
fn ten_mistakes_are_told_at_once_each_with_its_line_and_remedy() {
    let text = r#"dataa = "d"
[console]
listen = "0.0.0.0:7070"

[edge.shop]
listen = "127.0.0.1:8080"
root = "shop/"

[edge.shop.log]
stream = "click"
sampling_rate = 100
fields = ["timestamp"]

[edge.other]
listen = "127.0.0.1:8080"
root = "other/"

[stream.clicks]
shards = 0
retention = "7 weeks"

[stream."a b"]

[table.clicks]
from = "visits"

[view.interest]
sql = "select 1"

[[dashboard.shop.tile]]
title = "T"
chart = "pie"
sql = "select 1"
"#;
    let expected = r#"
riverrun.toml:1: dataa: is not a known key; Did you mean data?
riverrun.toml:2: console.listen: listens beyond this machine (0.0.0.0:7070) and asks nobody for a token; Add token_file = "console.token" (or token = "…") to [console], or listen on 127.0.0.1
riverrun.toml:6: edge.shop.listen: 127.0.0.1:8080 is already that of edge.other.listen; Give each door a port of its own
riverrun.toml:10: edge.shop.log.stream: there is no stream "click"; Did you mean "clicks"? Else add [stream.click]
riverrun.toml:19: stream.clicks.shards: expected a whole number from 1 to 1000, found the number 0; Write for example shards = 1
riverrun.toml:20: stream.clicks.retention: expected a duration from 1d to 365d, found the string "7 weeks"; Write a number with ms, s, m, h or d, for example retention = "1d"
riverrun.toml:22: stream.a b: "a b" cannot be a name: it becomes a folder and part of an address; Use up to 128 letters, digits, _ - and ., beginning with a letter or digit
riverrun.toml:25: table.clicks.from: there is no stream "visits"; Add [stream.visits]
riverrun.toml:27: view: is not available in this version; Remove it; CHANGELOG.md says what each version has
riverrun.toml:32: dashboard.shop.tile[0].chart: "pie" is no chart; Known charts: bar, bar-horizontal, line, number, table, latest
riverrun.toml: 10 mistakes
"#;
    expect(text, expected);
}

#[test]
fn what_is_no_toml_is_one_mistake_among_the_others() {
    let found = mistakes("[stream.clicks]\nshards = \nretention = \"1h\"\n");
    assert!(found.contains("riverrun.toml:2: TOML:"), "{found}");
    assert!(found.contains("riverrun.toml:3: stream.clicks.retention:"), "{found}");
}

#[test]
fn the_door_of_the_kinesis_api_is_opened_by_its_section_and_locked_beyond_this_machine() {
    let open = settings("[kinesis]\n", Path::new("/etc/riverrun")).expect("it is right");
    let kinesis = open.kinesis.expect("a door");
    assert_eq!(kinesis.door.listen.to_string(), "127.0.0.1:4567");
    assert!(matches!(kinesis.delivery, edge::DeliveryAccess::Open));
    assert!(settings("", Path::new("/etc/riverrun")).expect("it is right").kinesis.is_none());
    let keys = settings("[kinesis]\nkeys_file = \"keys\"\n", Path::new("/etc/riverrun")).expect("it is right");
    let kinesis = keys.kinesis.expect("a door");
    assert!(
        matches!(kinesis.delivery, edge::DeliveryAccess::Closed),
        "keys for one API are no invitation to the other"
    );
    assert!(matches!(&kinesis.door.keys, edge::KeySource::File(file) if file == Path::new("/etc/riverrun/keys")));
    let keyed = settings("[kinesis]\ndelivery_key = \"0123456789abcdef0123\"\n", Path::new("/")).expect("it is right");
    assert!(matches!(keyed.kinesis.expect("a door").delivery, edge::DeliveryAccess::Key(_)));
    let found = mistakes("[console]\nlisten = \"127.0.0.1:4567\"\n[kinesis]\n[firehose]\nlisten = \"127.0.0.1:1\"\n");
    assert!(
        found.contains("riverrun.toml:3: kinesis.listen: 127.0.0.1:4567 is already that of console.listen"),
        "{found}"
    );
    assert!(
        found.contains("riverrun.toml:4: firehose: has no section of its own; Remove it: the Firehose API is"),
        "{found}"
    );
    let found = mistakes("[kinesis]\nlisten = \"0.0.0.0:4567\"\n");
    assert!(found.contains("kinesis"), "{found}");
    assert!(found.contains("Add "), "it says the line to add: {found}");
}

#[test]
fn a_certificate_is_tried_where_the_file_names_it() {
    let found = mistakes(
        "[tls]\ncertificate = \"no.pem\"\nkey = \"no.key\"\n\n[kinesis]\n[kinesis.tls]\ncertificate = \"c\"\n",
    );
    assert!(found.contains("riverrun.toml:1: tls: /etc/riverrun/no.pem cannot be read"), "{found}");
    assert!(found.contains("riverrun.toml:6: kinesis.tls.key: is missing"), "{found}");
    let found = mistakes("[console]\ntls = 1\n");
    assert!(found.contains("riverrun.toml:2: console.tls: expected true or false"), "{found}");
    let off = settings("[console]\ntls = false\n", Path::new("/etc/riverrun")).expect("it is right");
    assert_eq!(off.console_tls, super::DoorTls::Off);
}

#[test]
fn a_stream_is_encrypted_with_the_keys_of_a_file_that_only_check_and_start_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "[stream.s]\nencryption = true\n";
    let found = mistakes(text);
    assert!(
        found.contains("riverrun.toml:2: stream.s.encryption: there is no key to encrypt with; Add [encryption]"),
        "{found}"
    );
    let keyed = format!("{text}[encryption]\nkey_file = \"k\"\n");
    let told = |text: &str| {
        settings(text, folder.path()).expect_err("a mistake").iter().map(ToString::to_string).collect::<String>()
    };
    assert!(told(&keyed).contains("line 3: encryption.key_file: "), "{}", told(&keyed));
    std::fs::write(folder.path().join("k"), "00".repeat(32)).expect("it is written");
    assert!(settings(&keyed, folder.path()).expect("it is right").keys.is_some());
    let unset = told(&format!("{text}[encryption]\nkey_env = \"RIVERRUN_NO_SUCH_VARIABLE\"\n"));
    assert!(unset.contains("RIVERRUN_NO_SUCH_VARIABLE"), "{unset}");
    assert!(told("[encryption]\n").contains("names no keys"));
}
