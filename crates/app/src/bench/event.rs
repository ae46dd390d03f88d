//! Click events of twenty columns, made from a number: the same number gives the same event.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

/// Products, of which a few are looked at by most.
const PRODUCTS: u64 = 200;
/// Users, sessions per user.
const USERS: u64 = 200_000;

const CATEGORIES: [&str; 8] = ["kitchen", "garden", "books", "toys", "sports", "music", "office", "outdoor"];
const COUNTRIES: [&str; 12] = ["US", "DE", "GB", "FR", "JP", "BR", "IN", "CA", "IT", "ES", "NL", "SE"];
const BROWSERS: [&str; 6] = ["Chrome", "Safari", "Firefox", "Edge", "Samsung Internet", "Opera"];
const SYSTEMS: [&str; 5] = ["Windows", "iOS", "Android", "Mac OS X", "Linux"];
const DEVICES: [&str; 3] = ["desktop", "phone", "tablet"];
const REFERRERS: [&str; 6] = [
    "",
    "https://www.google.com/",
    "https://www.instagram.com/",
    "https://www.bing.com/",
    "https://t.co/",
    "https://news.example/",
];
const CAMPAIGNS: [&str; 5] = ["", "autumn", "newsletter-42", "retarget", "affiliate"];

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    event_id: u64,
    action: &'static str,
    product: u64,
    quantity: i64,
    price: f64,
    user: u64,
    session: u64,
    country: &'static str,
    browser: &'static str,
    os: &'static str,
    device: &'static str,
    referer: &'static str,
    status: i64,
    duration_ms: f64,
    is_bot: bool,
    campaign: &'static str,
}

/// Spreads the bits of a number (the finaliser of SplitMix64).
fn mix(mut n: u64) -> u64 {
    n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    n = (n ^ (n >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    n = (n ^ (n >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ (n >> 31)
}

/// One of several, the first ones more often.
fn skewed<T: Copy>(of: &[T], random: u64) -> T {
    let unit = (random >> 11) as f64 / (1u64 << 53) as f64;
    of[((unit * unit) * of.len() as f64) as usize % of.len()]
}

impl Event {
    /// The event of that number.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap
    )]
    pub(crate) fn new(number: u64) -> Self {
        let random = |salt: u64| mix(number.wrapping_mul(31).wrapping_add(salt));
        let unit = |salt: u64| (random(salt) >> 11) as f64 / (1u64 << 53) as f64;
        // Users come in sessions of about ten events that follow one another.
        let session = mix(number / 4_000) % 1_000_000 + (random(1) % 400) * 1_000_000;
        let user = mix(session) % USERS;
        let product = (unit(2).powi(3) * PRODUCTS as f64) as u64 % PRODUCTS;
        let action = match random(3) % 100 {
            0..=6 => "buy",
            7..=18 => "add",
            _ => "view",
        };
        Self {
            event_id: number,
            action,
            product,
            quantity: if action == "buy" { 1 + (random(4) % 3) as i64 } else { 1 },
            price: ((mix(product) % 20_000) as f64 + 99.0) / 100.0,
            user,
            session,
            country: skewed(&COUNTRIES, mix(user)),
            browser: skewed(&BROWSERS, mix(user + 1)),
            os: skewed(&SYSTEMS, mix(user + 2)),
            device: skewed(&DEVICES, mix(user + 3)),
            referer: skewed(&REFERRERS, random(5)),
            status: if random(6) % 200 == 0 { 500 } else { 200 },
            duration_ms: (-(1.0 - unit(7)).ln() * 80_000.0).round() / 1000.0,
            is_bot: mix(user + 4).is_multiple_of(50),
            campaign: skewed(&CAMPAIGNS, random(8)),
        }
    }

    /// The event as one JSON line; its time stands first, as thirteen digits after [`TIME_AT`] bytes.
    pub(crate) fn json(&self, at_ms: i64, out: &mut String) {
        let Self { event_id, action, product, quantity, price, user, session, country, browser, os, device, .. } = self;
        let Self { referer, status, duration_ms, is_bot, campaign, .. } = self;
        let category = CATEGORIES[(*product % 8) as usize];
        let _ = writeln!(
            out,
            "{{\"event_time\":{at_ms:013},\"event_id\":\"e{event_id:012}\",\"action\":\"{action}\",\"product_id\":\"p{product:03}\",\
             \"product_name\":\"Product number {product}\",\"category\":\"{category}\",\"price\":{price},\"quantity\":{quantity},\
             \"user_id\":\"u{user:06}\",\"session_id\":\"s{session:09}\",\"country\":\"{country}\",\"browser\":\"{browser}\",\
             \"os\":\"{os}\",\"device\":\"{device}\",\"referer\":\"{referer}\",\"path\":\"/products/p{product:03}\",\
             \"status\":{status},\"duration_ms\":{duration_ms},\"is_bot\":{is_bot},\"campaign\":\"{campaign}\"}}"
        );
    }
}

/// Where the digits of the time begin in an event's line.
pub(crate) const TIME_AT: usize = "{\"event_time\":".len();
/// How many digits they are.
pub(crate) const TIME_DIGITS: usize = 13;

/// The columns, as the table of [`FILE`] has them.
pub(crate) fn schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let integer = |name: &str| Field::new(name, DataType::Int64, true);
    let double = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        Field::new("event_time", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        text("event_id"),
        text("action"),
        text("product_id"),
        text("product_name"),
        text("category"),
        double("price"),
        integer("quantity"),
        text("user_id"),
        text("session_id"),
        text("country"),
        text("browser"),
        text("os"),
        text("device"),
        text("referer"),
        text("path"),
        integer("status"),
        double("duration_ms"),
        Field::new("is_bot", DataType::Boolean, true),
        text("campaign"),
    ]))
}

/// Events `first..` at the times given, as a batch.
pub(crate) fn batch(first: u64, times_ms: &[i64]) -> RecordBatch {
    let events: Vec<Event> = (first..).take(times_ms.len()).map(Event::new).collect();
    let text = |of: &dyn Fn(&Event) -> String| -> ArrayRef {
        Arc::new(events.iter().map(|e| Some(of(e))).collect::<StringArray>())
    };
    let word = |of: fn(&Event) -> &'static str| -> ArrayRef {
        Arc::new(events.iter().map(|e| Some(of(e))).collect::<StringArray>())
    };
    let integer =
        |of: fn(&Event) -> i64| -> ArrayRef { Arc::new(events.iter().map(|e| Some(of(e))).collect::<Int64Array>()) };
    let double =
        |of: fn(&Event) -> f64| -> ArrayRef { Arc::new(events.iter().map(|e| Some(of(e))).collect::<Float64Array>()) };
    let times = TimestampMicrosecondArray::from_iter_values(times_ms.iter().map(|ms| ms * 1000)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(times),
        text(&|e| format!("e{:012}", e.event_id)),
        word(|e| e.action),
        text(&|e| format!("p{:03}", e.product)),
        text(&|e| format!("Product number {}", e.product)),
        word(|e| CATEGORIES[(e.product % 8) as usize]),
        double(|e| e.price),
        integer(|e| e.quantity),
        text(&|e| format!("u{:06}", e.user)),
        text(&|e| format!("s{:09}", e.session)),
        word(|e| e.country),
        word(|e| e.browser),
        word(|e| e.os),
        word(|e| e.device),
        word(|e| e.referer),
        text(&|e| format!("/products/p{:03}", e.product)),
        integer(|e| e.status),
        double(|e| e.duration_ms),
        Arc::new(events.iter().map(|e| Some(e.is_bot)).collect::<BooleanArray>()),
        word(|e| e.campaign),
    ];
    RecordBatch::try_new(schema(), columns).expect("the columns are those of the schema, all of one length")
}

/// A file that serves these events: stream `events`, table `events`.
pub(crate) const FILE: &str = r#"data = "data"

[console]
listen = "127.0.0.1:0"

[stream.events]
shards = 2

[table.events]
from = "events"
flush = { every = "10s", size = "64MiB" }
sql = '''
select event_time, event_id, action, product_id, product_name, category, price, quantity, user_id, session_id, country, browser, os,
       device, referer, path, status, duration_ms, is_bot, campaign
from record
'''

[table.events.columns]
event_id = "text"
action = "text"
product_id = "text"
product_name = "text"
category = "text"
price = "double"
quantity = "integer"
user_id = "text"
session_id = "text"
country = "text"
browser = "text"
os = "text"
device = "text"
referer = "text"
path = "text"
status = "integer"
duration_ms = "double"
is_bot = "boolean"
campaign = "text"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_a_json_object_of_the_schemas_columns_with_its_time_in_its_place() {
        let mut line = String::new();
        Event::new(12_345).json(1_763_800_000_123, &mut line);
        assert_eq!(&line[TIME_AT..TIME_AT + TIME_DIGITS], "1763800000123");
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).expect("it is JSON");
        let mut names: Vec<_> = schema().fields().iter().map(|field| field.name().clone()).collect();
        names.sort();
        assert_eq!(object.keys().cloned().collect::<Vec<_>>(), names);
        assert_eq!(names.len(), 20);
    }

    #[test]
    fn a_batch_has_the_same_events() {
        let batch = batch(7, &[1_763_800_000_000, 1_763_800_000_001]);
        assert_eq!((batch.num_rows(), batch.num_columns()), (2, 20));
    }

    #[test]
    fn the_file_that_serves_them_has_no_mistakes() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("riverrun.toml");
        std::fs::write(&path, FILE).expect("it is written");
        crate::file::load(&path).expect("no mistakes");
    }
}
