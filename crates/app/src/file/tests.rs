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

/// Every mistake of `text` in a file that lies in `folder`.
fn told(text: &str, folder: &Path) -> String {
    settings(text, folder).expect_err("a mistake").iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
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
riverrun.toml:3: console.listen: listens beyond this machine (0.0.0.0:7070) and asks nobody for a token; Add token_file = "console.token" (or token = "…") to [console], or listen on 127.0.0.1
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
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("keys"), "AKIDEXAMPLE 0123456789abcdef0123\n").expect("it is written");
    let keys = settings("[kinesis]\nkeys_file = \"keys\"\n", folder.path()).expect("it is right");
    let kinesis = keys.kinesis.expect("a door");
    assert!(
        matches!(kinesis.delivery, edge::DeliveryAccess::Closed),
        "keys for one API are no invitation to the other"
    );
    assert!(matches!(&kinesis.door.keys, edge::KeySource::File(file) if *file == folder.path().join("keys")));
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
    assert!(found.contains("riverrun.toml:2: tls.certificate: /etc/riverrun/no.pem cannot be read"), "{found}");
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
    let told = |text: &str| told(text, folder.path());
    assert!(told(&keyed).contains("line 4: encryption.key_file: "), "{}", told(&keyed));
    std::fs::write(folder.path().join("k"), "00".repeat(32)).expect("it is written");
    assert!(settings(&keyed, folder.path()).expect("it is right").keys.is_some());
    let unset = told(&format!("{text}[encryption]\nkey_env = \"RIVERRUN_NO_SUCH_VARIABLE\"\n"));
    assert!(unset.contains("RIVERRUN_NO_SUCH_VARIABLE"), "{unset}");
    assert!(told("[encryption]\n").contains("names no keys"));
}

#[test]
fn a_door_that_is_to_speak_tls_without_a_certificate_is_a_mistake_and_does_not_open_in_plain() {
    let text = "[console]\ntls = true\n[kinesis]\nlisten = \"127.0.0.1:0\"\ntls = true\n\
                [edge.shop]\nlisten = \"127.0.0.1:0\"\nroot = \"shop/\"\ntls = true\n";
    expect(
        text,
        "riverrun.toml:2: console.tls: tls = true needs a certificate; Add [tls] with certificate and key, or write [console.tls] instead
riverrun.toml:5: kinesis.tls: tls = true needs a certificate; Add [tls] with certificate and key, or write [kinesis.tls] instead
riverrun.toml:9: edge.shop.tls: tls = true needs a certificate; Add [tls] with certificate and key, or write [edge.shop.tls] instead
riverrun.toml: 3 mistakes",
    );
    let found = mistakes("[console]\ntls = true\n[tls]\ncertificate = \"no.pem\"\nkey = \"no.key\"\n");
    assert!(found.contains("riverrun.toml:4: tls.certificate: ") && found.ends_with(": 1 mistake"), "{found}");
}

#[test]
fn files_of_keys_and_tokens_are_read_by_check_and_not_first_by_the_door() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    write("empty", "# none\n");
    write("malformed", "AKIDEXAMPLE 0123456789abcdef0123\nAKIDOTHER secret\n");
    for (file, expected) in [
        ("missing", "cannot be read"),
        (".", "cannot be read"),
        ("empty", "there is no key in it"),
        ("malformed", "line 2 of "),
    ] {
        let found = told(&format!("[kinesis]\nregion = \"r\"\nkeys_file = \"{file}\"\n"), folder.path());
        assert!(found.starts_with("line 3: kinesis.keys_file: ") && found.contains(expected), "{file}: {found}");
        assert!(found.ends_with("Write one key on each line: its id, a blank, its secret"), "{file}: {found}");
    }
    let edge = "[edge.shop]\nroot = \"shop/\"\ncollect = [\"s\"]\ncollect_token_file = \"missing\"\n[stream.s]\n";
    let found = told(edge, folder.path());
    assert!(found.starts_with("line 4: edge.shop.collect_token_file: ") && found.contains("openssl"), "{found}");
}

#[test]
fn a_mistake_stands_at_the_line_of_its_key_and_not_of_its_section() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "\
[console]
hosts = []
listen = \"0.0.0.0:7070\"
[kinesis]
region = \"r\"
listen = \"0.0.0.0:4567\"
delivery_key = \"short\"
[edge.shop]
root = \"shop/\"
listen = \"0.0.0.0:8080\"
[edge.shop.tls]
key = \"no.key\"
certificate = \"no.pem\"
[encryption]

key_env = \"RIVERRUN_NO_SUCH_VARIABLE\"
";
    let found = told(text, folder.path());
    for line in [
        "line 3: console.listen: ",
        "line 6: kinesis.listen: ",
        "line 4: kinesis.keys: anybody",
        "line 7: kinesis.delivery_key: ",
        "line 10: edge.shop.listen: ",
        "line 13: edge.shop.tls.certificate: ",
        "line 16: encryption.key_env: ",
    ] {
        assert!(found.lines().any(|told| told.starts_with(line)), "{line}: {found}");
    }
    let found = told("[kinesis]\n\ndelivery_key_file = \"missing\"\n", folder.path());
    assert!(found.starts_with("line 3: kinesis.delivery_key_file: "), "{found}");
}

#[test]
fn keys_that_are_named_and_not_there_leave_no_door_open() {
    let found = mistakes("[kinesis]\n[kinesis.keys]\n");
    assert!(found.starts_with("riverrun.toml:2: kinesis.keys: there is no access key in it"), "{found}");
    let found = mistakes("[stream.s]\n[kinesis]\n[stream.s]\n");
    assert!(found.starts_with("riverrun.toml:3: stream.s: stands here once more; Keep one of the two"), "{found}");
}
