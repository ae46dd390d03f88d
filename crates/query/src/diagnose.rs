//! From the engine's error to one a person can act on: kind, message, remedy and the place in the SQL.

use arrow::error::ArrowError;
use base::ErrorKind;
use base::settings::nearest;
use datafusion::common::{Column, SchemaError, Span};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{Place, QueryError};
use crate::place::{Words, end_of, split_place};

/// Characters of a message that are shown: planners put whole expressions into theirs.
const MESSAGE_CHARS_MAX: usize = 600;

/// Names listed in a remedy when none is near.
const NAMES_SHOWN_MAX: usize = 20;

/// Turns an error of the engine into one with its place in `sql`. `tables` are the names that a missing table may
/// have been meant for, as they are written in SQL.
pub(crate) fn engine(error: &DataFusionError, sql: &str, tables: &[String]) -> QueryError {
    let words = Words::of(sql);
    let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).map(place_of);
    let told = match error.find_root() {
        DataFusionError::SQL(parser, _) => syntax(parser, sql),
        DataFusionError::SchemaError(schema, _) => columns(schema, &words),
        DataFusionError::Plan(message) => plan(message, &words, tables),
        DataFusionError::NotImplemented(message) => {
            QueryError::invalid(short(message), "Write it in another way: this part of SQL is not supported")
                .at(quoted_name(message, &words))
        }
        DataFusionError::ResourcesExhausted(message) => exhausted(message),
        DataFusionError::ArrowError(arrow, _) => data(arrow, &words),
        DataFusionError::Execution(message) => {
            QueryError::invalid(short(message), "Check the values this query works on").at(quoted_name(message, &words))
        }
        DataFusionError::IoError(io) => storage(io),
        DataFusionError::ObjectStore(store) => unavailable(&store.to_string()),
        DataFusionError::ParquetError(parquet) => QueryError::new(
            ErrorKind::Corrupt,
            format!("A data file could not be read: {}", short(&parquet.to_string())),
            "Try again; if it stays, the named file is damaged: restore it",
        ),
        DataFusionError::External(outer) => match outer.downcast_ref::<QueryError>() {
            Some(ours) => ours.clone(),
            None => QueryError::internal(short(&outer.to_string())),
        },
        DataFusionError::Configuration(message) => QueryError::invalid(short(message), ""),
        other => QueryError::internal(short(&other.strip_backtrace())),
    };
    // A word found in the text is exact where the planner's span may cover a whole clause.
    if told.place().is_none() { told.at(span) } else { told }
}

fn place_of(span: Span) -> Place {
    Place { line: span.start.line, column: span.start.column }
}

fn syntax(error: &ParserError, sql: &str) -> QueryError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message,
        ParserError::RecursionLimitExceeded => {
            return QueryError::invalid("The SQL nests too deep", "Use fewer levels of brackets or subqueries");
        }
    };
    let (message, place) = split_place(message);
    let message = message.trim_start_matches("sql parser error: ").to_owned();
    let place = place.unwrap_or_else(|| end_of(sql));
    QueryError::invalid(message, "Check the spelling just before this place").at(Some(place))
}

fn columns(error: &SchemaError, words: &Words) -> QueryError {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let message = format!("There is no column {}", field.flat_name());
            QueryError::invalid(message, column_remedy(field, valid_fields)).at(words.identifier(&field.flat_name()))
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("The column {} is in more than one table here", field.flat_name());
            let remedy = format!("Write the table before it, for example a.{}", field.name());
            QueryError::invalid(message, remedy).at(words.identifier(&field.flat_name()))
        }
        SchemaError::DuplicateQualifiedField { name, .. } | SchemaError::DuplicateUnqualifiedField { name } => {
            QueryError::invalid(format!("The name {name} is used twice"), "Give one of them another name with AS")
                .at(words.identifier(name))
        }
    }
}

fn column_remedy(field: &Column, valid: &[Column]) -> String {
    let mut names: Vec<&str> = valid.iter().map(Column::name).collect();
    if let Some(same) = names.iter().find(|name| name.eq_ignore_ascii_case(field.name())) {
        return format!("Did you mean \"{same}\"? Quote names with capital letters");
    }
    if let Some(near) = nearest(field.name(), &names) {
        return format!("Did you mean {near}?");
    }
    names.truncate(NAMES_SHOWN_MAX);
    match names.as_slice() {
        [] => "Add FROM with the table that has this column".to_owned(),
        names => format!("Columns here: {}", names.join(", ")),
    }
}

fn plan(message: &str, words: &Words, tables: &[String]) -> QueryError {
    let message = message.lines().next().unwrap_or(message);
    if let Some(table) = between(message, "table '", "' not found") {
        return no_table(table, words, tables);
    }
    if let Some(name) = between(message, "Invalid function '", "'") {
        return QueryError::invalid(format!("There is no function {name}"), function_remedy(name))
            .at(words.call(name).or_else(|| words.identifier(name)));
    }
    if message.contains("GROUP BY") && message.contains("must be part of") {
        let remedy = "Put the column into GROUP BY, or into an aggregate such as max(…)";
        return QueryError::invalid(short(message), remedy).at(quoted_name(message, words));
    }
    if message.contains("DDL not supported")
        || message.contains("DML not supported")
        || message.contains("Statement not supported")
    {
        let remedy = "Use SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE";
        return QueryError::invalid("Only queries are accepted here", remedy).at(words.first().map(|(_, place)| place));
    }
    QueryError::invalid(short(message), "Check the names and types at this place").at(quoted_name(message, words))
}

fn no_table(full: &str, words: &Words, tables: &[String]) -> QueryError {
    let mut parts: Vec<&str> = full.split('.').collect();
    // What the user did not write: the catalog, and the schema if it is the default one.
    if parts.len() == 3 {
        parts.remove(0);
    }
    if parts.first() == Some(&"public") && parts.len() == 2 {
        parts.remove(0);
    }
    let name = parts.join(".");
    let mut known: Vec<&str> = tables.iter().map(String::as_str).collect();
    let remedy = match nearest(&name, &known) {
        Some(near) => format!("Did you mean {near}?"),
        None if known.is_empty() => "No table is declared yet: add [table.NAME] to the configuration file".to_owned(),
        None => {
            known.truncate(NAMES_SHOWN_MAX);
            format!("Tables here: {}", known.join(", "))
        }
    };
    QueryError::new(ErrorKind::Invalid, format!("There is no table {name}"), remedy).at(words.table(&name))
}

fn function_remedy(name: &str) -> String {
    let names = crate::functions::names();
    match nearest(&name.to_lowercase(), &names) {
        Some(near) => format!("Did you mean {near}?"),
        None => "SHOW FUNCTIONS lists all functions".to_owned(),
    }
}

fn exhausted(message: &str) -> QueryError {
    let remedy = "Select fewer columns or a shorter time, aggregate earlier, or raise [query] memory";
    QueryError::new(ErrorKind::Full, format!("The query needs more memory than it may use: {}", short(message)), remedy)
}

fn data(error: &ArrowError, words: &Words) -> QueryError {
    match error {
        ArrowError::DivideByZero => {
            QueryError::invalid("A number is divided by zero", "Guard the divisor: nullif(divisor, 0)")
                .at(words.keywords(&["/"]).or_else(|| words.keywords(&["%"])))
        }
        ArrowError::ArithmeticOverflow(message) => {
            QueryError::invalid(format!("A number is too large: {}", short(message)), "Cast to double before computing")
        }
        ArrowError::CastError(message) | ArrowError::ParseError(message) => {
            QueryError::invalid(short(message), "Use try_cast, which gives null for what cannot be read")
                .at(words.call("cast").or_else(|| words.identifier("cast")))
        }
        ArrowError::ExternalError(inner) => match inner.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::ResourcesExhausted(message)) => exhausted(message),
            _ => QueryError::internal(short(&inner.to_string())),
        },
        ArrowError::IoError(_, io) => storage(io),
        other => QueryError::invalid(short(&other.to_string()), "Check the values this query works on"),
    }
}

fn storage(error: &std::io::Error) -> QueryError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => QueryError::new(
            ErrorKind::Full,
            "The disk is full: the query had to write intermediate rows to it",
            "Make room, or query a shorter time",
        ),
        _ => unavailable(&error.to_string()),
    }
}

fn unavailable(message: &str) -> QueryError {
    let message = format!("The lake could not be read: {}", short(message));
    QueryError::new(ErrorKind::Unavailable, message, "Try again; if it stays, look at the storage")
}

/// The place of the first name that the message puts in quotes or before a dot, if it stands in the SQL.
fn quoted_name(message: &str, words: &Words) -> Option<Place> {
    let quoted = message.split(['\'', '"', '`']).skip(1).step_by(2);
    let bare = message.split([' ', ',', '(', ')', ':', ';']).filter(|word| word.contains('.') || word.contains('_'));
    let named = quoted.chain(bare).filter(|name| !name.is_empty()).find_map(|name| {
        let name = name.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
        words.call(name).or_else(|| words.identifier(name))
    });
    named.or_else(|| operator(message, words))
}

/// The place of the first operator of the kind that a message about two types names: `Utf8View + Int64`.
fn operator(message: &str, words: &Words) -> Option<Place> {
    const OPERATORS: [&str; 13] = ["+", "-", "*", "/", "%", "=", "!=", "<>", "<", "<=", ">", ">=", "||"];
    message.split(' ').find(|word| OPERATORS.contains(word)).and_then(|operator| words.keywords(&[operator]))
}

fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    let start = message.find(before)? + before.len();
    let end = message[start..].find(after)? + start;
    Some(&message[start..end])
}

/// A message with the types called as in SQL, without what only the engine's makers can use, cut to a bearable length.
fn short(message: &str) -> String {
    const TYPES: [(&str, &str); 9] = [
        ("Utf8View", "text"),
        ("LargeUtf8", "text"),
        ("Utf8", "text"),
        ("Int64", "bigint"),
        ("Int32", "integer"),
        ("Float64", "double"),
        ("Boolean", "boolean"),
        ("Timestamp(µs, \"UTC\")", "timestamp"),
        ("Timestamp(ns)", "timestamp"),
    ];
    let message = message.split("\n\nbacktrace:").next().unwrap_or(message).trim();
    // An unsigned type holds the name of a signed one; it is left as it is.
    let spared = message.replace("UInt", "\u{0}");
    let message =
        TYPES.iter().fold(spared, |message, (engine, sql)| message.replace(engine, sql)).replace('\u{0}', "UInt");
    match message.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &message[..end]),
        None => message,
    }
}
