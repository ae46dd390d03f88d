//! Taking an SQL text in: exactly one statement, and one that only reads.
//!
//! The check is a list of what may pass, not of what may not: a statement that a later parser learns is refused until
//! somebody has thought about it. The planner's own check (`SQLOptions`) stands behind it.

use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::{self, SetExpr, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::GenericDialect;

use crate::diagnose;
use crate::error::QueryError;
use crate::place::{Words, end_of, is_blank};

/// Characters of one SQL text. Text far beyond what a person or a dashboard writes costs planning time before any
/// time-out can act.
pub const SQL_CHARS_MAX: usize = 256 * 1024;

/// How deep expressions and subqueries may nest: the parser descends once per level on the stack.
const NESTING_MAX: usize = 64;

/// Parses `sql` and gives its one statement if it only reads.
pub(crate) fn read_only(sql: &str) -> Result<Statement, QueryError> {
    let statement = one(sql)?;
    let words = Words::of(sql);
    check(&statement, &words)?;
    Ok(statement)
}

/// Parses `sql`, which must hold exactly one statement.
fn one(sql: &str) -> Result<Statement, QueryError> {
    if sql.len() > SQL_CHARS_MAX {
        let message = format!("The SQL is {} bytes long; at most {SQL_CHARS_MAX} are taken", sql.len());
        return Err(QueryError::invalid(
            message,
            "Shorten it, for example by joining a table instead of listing values",
        ));
    }
    if is_blank(sql) {
        return Err(QueryError::invalid("There is no statement in the SQL", "Write a query, for example select 1"));
    }
    let mut parsed = DFParserBuilder::new(sql)
        .with_dialect(&GenericDialect {})
        .with_recursion_limit(NESTING_MAX)
        .build()
        .and_then(|mut parser| parser.parse_statements())
        .map_err(|error| diagnose::engine(&error, sql, &[]))?;
    if parsed.len() > 1 {
        let message = format!("Expected one statement, found {}", parsed.len());
        return Err(QueryError::invalid(message, "Send one statement at a time").at(Words::of(sql).second_statement()));
    }
    parsed.pop_front().ok_or_else(|| {
        QueryError::invalid("There is no statement in the SQL", "Write a query, for example select 1")
            .at(Some(end_of(sql)))
    })
}

fn check(statement: &Statement, words: &Words) -> Result<(), QueryError> {
    match statement {
        Statement::Statement(statement) => check_inner(statement, words),
        Statement::Explain(explain) => check(&explain.statement, words),
        Statement::CreateExternalTable(_) | Statement::CopyTo(_) | Statement::Reset(_) => Err(refused(words)),
    }
}

fn check_inner(statement: &ast::Statement, words: &Words) -> Result<(), QueryError> {
    use ast::Statement as S;
    match statement {
        S::Query(_) => {}
        S::ShowTables { .. }
        | S::ShowColumns { .. }
        | S::ShowFunctions { .. }
        | S::ShowVariable { .. }
        | S::ExplainTable { .. } => return Ok(()),
        S::Explain { statement, .. } => return check_inner(statement, words),
        _ => return Err(refused(words)),
    }
    let mut writes = Writes { found: None };
    let _ = statement.visit(&mut writes);
    match writes.found {
        Some(word) => Err(refused(words).at(words.keywords(&[word]))),
        None => Ok(()),
    }
}

fn refused(words: &Words) -> QueryError {
    let (word, place) = words.first().map_or(("this statement".to_owned(), None), |(word, at)| (word, Some(at)));
    let message = format!("Only queries are accepted here, and {word} is none: nothing is written through SQL");
    let remedy = "Use SELECT, WITH, VALUES, EXPLAIN, SHOW or DESCRIBE; tables are declared in the configuration file";
    QueryError::invalid(message, remedy).at(place)
}

/// Looks for statements that write inside a query: `WITH a AS (INSERT …)`, `SELECT … INTO b`, `… FOR UPDATE`.
struct Writes {
    found: Option<&'static str>,
}

impl Visitor for Writes {
    type Break = ();

    fn pre_visit_query(&mut self, query: &ast::Query) -> ControlFlow<()> {
        let locks = (!query.locks.is_empty()).then_some("for");
        self.found = self.found.or(locks).or_else(|| writes(&query.body));
        if self.found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

fn writes(body: &SetExpr) -> Option<&'static str> {
    match body {
        SetExpr::Select(select) => select.into.as_ref().map(|_| "into"),
        SetExpr::Query(_) | SetExpr::Values(_) | SetExpr::Table(_) => None,
        SetExpr::SetOperation { left, right, .. } => writes(left).or_else(|| writes(right)),
        SetExpr::Insert(_) => Some("insert"),
        SetExpr::Update(_) => Some("update"),
        SetExpr::Delete(_) => Some("delete"),
        SetExpr::Merge(_) => Some("merge"),
    }
}

#[cfg(test)]
mod tests {
    use base::ErrorKind;

    use super::*;

    #[test]
    fn statements_that_only_read_pass() {
        for sql in [
            "select 1",
            "select 1;",
            "with a as (select 1 as x) select * from a",
            "values (1, 'a')",
            "(select 1) union all (select 2) order by 1",
            "explain select * from clicks",
            "explain analyze select * from clicks",
            "explain verbose select 1",
            "show tables",
            "show all",
            "show columns from clicks",
            "show functions like 'ua_%'",
            "describe clicks",
            "-- a comment\nselect 1 /* and another */",
        ] {
            assert!(read_only(sql).is_ok(), "{sql}: {:?}", read_only(sql).err());
        }
    }

    #[test]
    fn statements_that_write_or_change_the_session_are_refused_with_their_place() {
        for (sql, line, column) in [
            ("insert into clicks values (1)", 1, 1),
            ("update clicks set a = 1", 1, 1),
            ("delete from clicks", 1, 1),
            ("truncate table clicks", 1, 1),
            ("merge into a using b on a.x = b.x when matched then delete", 1, 1),
            ("create table t (a int)", 1, 1),
            ("create table t as select 1", 1, 1),
            ("create view v as select 1", 1, 1),
            ("create schema s", 1, 1),
            ("create database d", 1, 1),
            ("create external table t stored as parquet location '/etc/passwd'", 1, 1),
            ("create function f(a int) returns int return a", 1, 1),
            ("drop table clicks", 1, 1),
            ("\n  drop view v", 2, 3),
            ("alter table clicks add column a int", 1, 1),
            ("copy clicks to '/tmp/x.parquet'", 1, 1),
            ("copy (select 1) to '/tmp/x.csv'", 1, 1),
            ("set datafusion.execution.batch_size = 1", 1, 1),
            ("reset datafusion.execution.batch_size", 1, 1),
            ("begin", 1, 1),
            ("commit", 1, 1),
            ("rollback", 1, 1),
            ("prepare p as select 1", 1, 1),
            ("execute p", 1, 1),
            ("deallocate p", 1, 1),
            ("grant select on clicks to someone", 1, 1),
            ("vacuum clicks", 1, 1),
            ("use other", 1, 1),
            ("call f()", 1, 1),
            ("explain insert into clicks values (1)", 1, 1),
            ("explain analyze delete from clicks", 1, 1),
            ("with a as (insert into clicks values (1) returning 1) select * from a", 1, 12),
            ("select * into t from clicks", 1, 10),
            ("select * from clicks for update", 1, 22),
        ] {
            let error = read_only(sql).expect_err(sql);
            assert_eq!(error.kind(), ErrorKind::Invalid, "{sql}");
            let place = error.place().unwrap_or_else(|| panic!("{sql}: no place in {error:?}"));
            assert_eq!((place.line, place.column), (line, column), "{sql}: {error:?}");
        }
    }

    #[test]
    fn two_statements_are_refused_at_the_second() {
        let error = read_only("select 1; drop table clicks").expect_err("two statements");
        assert_eq!(error.place().map(|place| (place.line, place.column)), Some((1, 11)));
    }

    #[test]
    fn nothing_to_do_is_told() {
        for sql in ["", "  \n", ";", "-- only a comment"] {
            assert!(read_only(sql).expect_err(sql).message().contains("no statement"), "{sql}");
        }
    }

    #[test]
    fn a_text_that_nests_too_deep_or_is_too_long_is_refused_and_does_not_overflow_the_stack() {
        let deep = format!("select {}1{}", "(".repeat(10_000), ")".repeat(10_000));
        assert_eq!(read_only(&deep).expect_err("too deep").kind(), ErrorKind::Invalid);
        let long = format!("select '{}'", "a".repeat(SQL_CHARS_MAX));
        assert_eq!(read_only(&long).expect_err("too long").kind(), ErrorKind::Invalid);
    }

    #[test]
    fn a_mistake_of_grammar_is_placed() {
        let error = read_only("select a\nfrom clicks where\n").expect_err("incomplete");
        assert_eq!(error.place().map(|place| place.line), Some(2), "{error:?}");
        let error = read_only("selec a from clicks").expect_err("misspelt");
        assert_eq!(error.place().map(|place| (place.line, place.column)), Some((1, 1)), "{error:?}");
        let error = read_only("select 'a\nfrom clicks").expect_err("open string");
        assert!(error.place().is_some(), "{error:?}");
    }
}
