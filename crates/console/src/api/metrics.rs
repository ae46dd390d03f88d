//! `GET /metrics`: every number of every room, as Prometheus reads it (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base::{Measured as _, Sample};
use http::header;

use crate::rooms::Console;

/// The numbers as they are now.
pub(crate) async fn metrics(State(console): State<Arc<Console>>) -> Response {
    let mut samples = Vec::new();
    for room in &console.rooms.measured {
        room.measure(&mut samples);
    }
    console.measure(&mut samples);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text(&samples)).into_response()
}

/// The samples in the text format: those of one name together, below their type.
fn text(samples: &[Sample]) -> String {
    let mut by_name: BTreeMap<&str, Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        by_name.entry(sample.name).or_default().push(sample);
    }
    let mut text = String::with_capacity(samples.len() * 80);
    for (name, samples) in by_name {
        let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
        let _ = writeln!(text, "# TYPE {name} {kind}");
        for sample in samples {
            text.push_str(name);
            for (index, (label, value)) in sample.labels.iter().enumerate() {
                let open = if index == 0 { '{' } else { ',' };
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(text, "{open}{label}=\"{value}\"");
            }
            if !sample.labels.is_empty() {
                text.push('}');
            }
            let _ = writeln!(text, " {}", sample.value);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_and_labels_are_escaped() {
        let samples = [
            Sample::new("riverrun_b_total", &[("stream", "a\"b\\c\nd")], 2),
            Sample::new("riverrun_a", &[], 1),
            Sample::new("riverrun_b_total", &[("stream", "e"), ("shard", "0")], 3),
        ];
        assert_eq!(
            text(&samples),
            "# TYPE riverrun_a gauge\nriverrun_a 1\n# TYPE riverrun_b_total counter\n\
             riverrun_b_total{stream=\"a\\\"b\\\\c\\nd\"} 2\nriverrun_b_total{stream=\"e\",shard=\"0\"} 3\n"
        );
    }
}
