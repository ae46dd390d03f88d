//! TOML as values that know their line.

use std::collections::BTreeMap;

use base::settings::{Data, Problem, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Parses `text`; what is no TOML is noted, and the rest is read as far as it goes.
pub(crate) fn parse(text: &str, problems: &mut Vec<Problem>) -> Value {
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    problems.extend(errors.iter().map(|error| {
        let line = error.span().map_or(1, |span| lines.of_byte(span.start));
        let (key, what, remedy) = match repeated(text, error) {
            Some(key) => (key, "stands here once more".to_owned(), "Keep one of the two"),
            None => {
                let what = error.message().replace('\n', ", ");
                ("TOML".to_owned(), what, "See https://toml.io for how it is written")
            }
        };
        Problem { line, key, what, remedy: remedy.to_owned() }
    }));
    Value { line: 1, data: table_data(table.into_inner(), &lines, problems) }
}

/// The section or key that a file has twice, if that is the error: of a section its whole name, of a key its own.
fn repeated(text: &str, error: &toml::de::Error) -> Option<String> {
    let span = error.span().filter(|_| error.message() == "duplicate key")?;
    let begin = text.get(..span.start)?.rfind('\n').map_or(0, |end| end + 1);
    let header = text.get(begin..)?.lines().next()?.trim_start().strip_prefix('[');
    let name = match header {
        Some(header) => header.trim_start_matches('[').split(']').next()?,
        None => text.get(span)?,
    };
    Some(name.trim().to_owned())
}

/// Where lines begin, to find the line of a byte.
struct Lines {
    begins: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self { begins: std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect() }
    }

    /// The line, from 1.
    fn of_byte(&self, at: usize) -> usize {
        self.begins.partition_point(|begin| *begin <= at).max(1)
    }
}

fn table_data(table: DeTable<'_>, lines: &Lines, problems: &mut Vec<Problem>) -> Data {
    let mut entries = BTreeMap::new();
    for (key, value) in table {
        let key_line = lines.of_byte(key.span().start);
        let mut value = value_of(value, lines, problems);
        // A table is where its header is, an array of tables where its first header is; a value where its key is.
        value.line = key_line;
        entries.insert(key.into_inner().into_owned(), value);
    }
    Data::Table(entries)
}

fn value_of(value: Spanned<DeValue<'_>>, lines: &Lines, problems: &mut Vec<Problem>) -> Value {
    let line = lines.of_byte(value.span().start);
    let data = match value.into_inner() {
        DeValue::String(text) => Data::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Data::Integer(number),
            Err(_) => {
                problems.push(Problem {
                    line,
                    key: "TOML".to_owned(),
                    what: format!("{number} is larger than any number here can be"),
                    remedy: "Write a smaller one".to_owned(),
                });
                Data::Integer(0)
            }
        },
        DeValue::Float(number) => Data::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Data::Bool(value),
        // No setting is a date: as text it becomes the mistake it is, where it is read.
        DeValue::Datetime(date) => Data::Text(date.to_string()),
        DeValue::Array(items) => Data::Array(items.into_iter().map(|item| value_of(item, lines, problems)).collect()),
        DeValue::Table(table) => table_data(table, lines, problems),
    };
    Value { line, data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(value: &Value) -> &BTreeMap<String, Value> {
        match &value.data {
            Data::Table(table) => table,
            other => panic!("expected a table, found {other:?}"),
        }
    }

    #[test]
    fn every_value_knows_the_line_of_its_key() {
        let mut problems = Vec::new();
        let text =
            "a = 1\n\n[b]\nc = '''\nx\ny\n'''\nd = { e = 1.5, f = [true,\n 0x1F] }\n[[b.g]]\nh = 1\n[[b.g]]\nh = 2\n";
        let root = parse(text, &mut problems);
        assert!(problems.is_empty());
        let root = table(&root);
        assert_eq!(root["a"], Value { line: 1, data: Data::Integer(1) });
        let b = table(&root["b"]);
        assert_eq!(root["b"].line, 3);
        assert_eq!(b["c"], Value { line: 4, data: Data::Text("x\ny\n".into()) });
        let d = table(&b["d"]);
        assert_eq!(d["e"], Value { line: 8, data: Data::Float(1.5) });
        let Data::Array(f) = &d["f"].data else { panic!("a list") };
        assert_eq!((f[1].line, &f[1].data), (9, &Data::Integer(31)));
        let Data::Array(g) = &b["g"].data else { panic!("a list of tables") };
        assert_eq!(g.iter().map(|tile| table(tile)["h"].line).collect::<Vec<_>>(), [11, 13]);
    }

    #[test]
    fn what_is_no_toml_is_told_with_its_line_and_the_rest_is_read() {
        let mut problems = Vec::new();
        let root = parse("a = 1\nb = \nc = 3\nd 4\n", &mut problems);
        let lines: std::collections::BTreeSet<usize> = problems.iter().map(|problem| problem.line).collect();
        assert_eq!(lines, [2, 4].into(), "{problems:?}");
        assert_eq!(table(&root)["c"].data, Data::Integer(3));
    }

    #[test]
    fn what_stands_twice_is_told_by_its_name() {
        let mut problems = Vec::new();
        parse("[stream.s]\nshards = 1\nshards = 2\n[ stream.s ] # again\n", &mut problems);
        let told: Vec<_> = problems.iter().map(|problem| (problem.line, problem.key.as_str())).collect();
        assert_eq!(told, [(3, "shards"), (4, "stream.s")], "{problems:?}");
        assert!(problems.iter().all(|problem| problem.what == "stands here once more"), "{problems:?}");
    }
}
