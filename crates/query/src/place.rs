//! Finding the place of a word in an SQL text, so that an error can point at it even when the planner does not know.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::error::Place;

/// The words of an SQL text with their places; comments and white space are left out.
pub(crate) struct Words {
    tokens: Vec<TokenWithSpan>,
}

impl Words {
    /// Splits `sql`; a text that cannot be split has no words (the parser tells what is wrong with it).
    pub(crate) fn of(sql: &str) -> Self {
        let mut tokens = Tokenizer::new(&GenericDialect {}, sql).tokenize_with_location().unwrap_or_default();
        tokens.retain(|token| !matches!(token.token, Token::Whitespace(_)));
        Self { tokens }
    }

    /// The first word, unquoted identifiers in upper case.
    pub(crate) fn first(&self) -> Option<(String, Place)> {
        let token = self.tokens.iter().find(|token| !matches!(token.token, Token::SemiColon))?;
        Some((token.token.to_string().to_uppercase(), place_of(token)))
    }

    /// The first token after a semicolon that is no semicolon: where a second statement begins.
    pub(crate) fn second_statement(&self) -> Option<Place> {
        let end = self.tokens.iter().position(|token| matches!(token.token, Token::SemiColon))?;
        let next = self.tokens[end..].iter().find(|token| !matches!(token.token, Token::SemiColon | Token::EOF))?;
        Some(place_of(next))
    }

    /// Where the identifier `name` stands first, quoted or not. `a.b` finds `b` after `a.`; failing that, `b` alone.
    pub(crate) fn identifier(&self, name: &str) -> Option<Place> {
        let parts: Vec<&str> = name.split('.').collect();
        let whole = self.tokens.iter().enumerate().find(|(index, _)| self.path_at(*index, &parts));
        if let Some((_, token)) = whole {
            return Some(place_of(token));
        }
        let last = parts.last()?;
        self.tokens.iter().find(|token| is_word(token, last)).map(place_of)
    }

    /// Where the table `name` is read: after FROM or JOIN, or after a comma; else its first place that is no alias after
    /// AS. An alias may have the table's name: `select count(*) as clicks from clicks`.
    pub(crate) fn table(&self, name: &str) -> Option<Place> {
        let parts: Vec<&str> = name.split('.').collect();
        let places = || self.tokens.iter().enumerate().filter(|(index, _)| self.path_at(*index, &parts));
        let follows = |index: usize, words: &[&str]| {
            let before = index.checked_sub(1).and_then(|before| self.tokens.get(before));
            before.is_some_and(|token| words.iter().any(|word| is_keyword(token, word)))
        };
        let found = places().find(|(index, _)| follows(*index, &["from", "join"])).or_else(|| {
            // Of a list, as in `from a, b`: never the comma before an expression that FROM comes after.
            let from = self.tokens.iter().position(|token| is_keyword(token, "from"))?;
            places().find(|(index, _)| *index > from && follows(*index, &[","]))
        });
        let found = found.or_else(|| places().find(|(index, _)| !follows(*index, &["as"])));
        found.map(|(_, token)| place_of(token)).or_else(|| self.identifier(name))
    }

    /// Where the keyword or keywords stand first, e.g. `["group", "by"]`.
    pub(crate) fn keywords(&self, words: &[&str]) -> Option<Place> {
        let mut windows = self.tokens.windows(words.len());
        let found = windows.find(|window| window.iter().zip(words).all(|(token, word)| is_keyword(token, word)))?;
        found.first().map(place_of)
    }

    /// Where `name(` stands first: the call of a function.
    pub(crate) fn call(&self, name: &str) -> Option<Place> {
        let mut pairs = self.tokens.windows(2);
        let found = pairs.find(|pair| is_word(&pair[0], name) && matches!(pair[1].token, Token::LParen));
        found.and_then(|pair| pair.first()).map(place_of)
    }

    fn path_at(&self, index: usize, parts: &[&str]) -> bool {
        let mut tokens = self.tokens[index..].iter();
        parts.iter().enumerate().all(|(at, part)| {
            let dot = at == 0 || tokens.next().is_some_and(|token| matches!(token.token, Token::Period));
            dot && tokens.next().is_some_and(|token| is_word(token, part))
        })
    }
}

fn is_word(token: &TokenWithSpan, name: &str) -> bool {
    match &token.token {
        Token::Word(word) if word.quote_style.is_some() => word.value == name,
        Token::Word(word) => word.value.eq_ignore_ascii_case(name),
        _ => false,
    }
}

/// Whether the token is this keyword or sign; a quoted word is none.
fn is_keyword(token: &TokenWithSpan, word: &str) -> bool {
    match &token.token {
        Token::Word(found) => found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word),
        other => other.to_string() == word,
    }
}

fn place_of(token: &TokenWithSpan) -> Place {
    Place { line: token.span.start.line, column: token.span.start.column }
}

/// Reads ` at Line: 1, Column: 5` at the end of a parser's message; gives the message without it and the place.
pub(crate) fn split_place(message: &str) -> (String, Option<Place>) {
    let Some(at) = message.rfind(" at Line: ") else { return (message.to_owned(), None) };
    let rest = &message[at + " at Line: ".len()..];
    let numbers = rest.split_once(", Column: ").and_then(|(line, column)| {
        let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
        Some(Place { line: line.parse().ok()?, column: digits.parse().ok()? })
    });
    match numbers {
        // Line 0 stands for "at the end".
        Some(place) if place.line > 0 => (message[..at].to_owned(), Some(place)),
        Some(_) => (message[..at].to_owned(), None),
        None => (message.to_owned(), None),
    }
}

/// The place just after the last character of `sql`.
pub(crate) fn end_of(sql: &str) -> Place {
    let sql = sql.trim_end();
    let line = sql.split('\n').count().max(1) as u64;
    let column = sql.rsplit('\n').next().unwrap_or("").chars().count() as u64 + 1;
    Place { line, column }
}

/// Whether white space and comments are all there is in `sql`.
pub(crate) fn is_blank(sql: &str) -> bool {
    match Tokenizer::new(&GenericDialect {}, sql).tokenize() {
        Ok(tokens) => tokens.iter().all(|token| {
            matches!(token, Token::Whitespace(Whitespace::Space | Whitespace::Newline | Whitespace::Tab))
                || matches!(token, Token::Whitespace(_) | Token::SemiColon | Token::EOF)
        }),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u64, column: u64) -> Option<Place> {
        Some(Place { line, column })
    }

    #[test]
    fn a_word_in_a_comment_or_a_string_is_not_taken_for_the_identifier() {
        let words = Words::of("select 'price', -- price\n  /* price */ price from t");
        assert_eq!(words.identifier("price"), at(2, 15));
        assert_eq!(words.identifier("PRICE"), at(2, 15));
        assert_eq!(words.identifier("cost"), None);
    }

    #[test]
    fn a_path_is_found_whole_before_its_last_part() {
        let words = Words::of("select price from a where t.price > 1");
        assert_eq!(words.identifier("t.price"), at(1, 27));
        assert_eq!(words.identifier("u.price"), at(1, 8));
    }

    #[test]
    fn a_table_is_found_where_it_is_read_and_not_where_an_alias_has_its_name() {
        let table = |sql: &str| Words::of(sql).table("clicks");
        assert_eq!(table("select count(*) as clicks from clicks"), at(1, 32));
        assert_eq!(table("select clicks.a, b clicks\nfrom orders join \"clicks\" on true"), at(2, 18));
        assert_eq!(table("select a, clicks from orders, clicks"), at(1, 31));
        assert_eq!(table("select 1 as clicks from (select * from Clicks) as clicks"), at(1, 40));
        assert_eq!(table("describe clicks"), at(1, 10));
        assert_eq!(Words::of("select 1 as ledger from system.ledger").table("system.ledger"), at(1, 25));
        assert_eq!(table("select 1 as clicks"), at(1, 13));
    }

    #[test]
    fn a_call_is_told_from_a_column_of_the_same_name() {
        assert_eq!(Words::of("select left, left(a, 1)").call("left"), at(1, 14));
    }

    #[test]
    fn the_second_statement_is_found_and_a_last_semicolon_is_none() {
        assert_eq!(Words::of("select 1;\n;drop table a").second_statement(), at(2, 2));
        assert_eq!(Words::of("select 1; -- end").second_statement(), None);
    }

    #[test]
    fn the_place_in_a_parsers_message_is_read() {
        let (message, place) = split_place("Expected: an expression, found: from at Line: 1, Column: 8");
        assert_eq!((message.as_str(), place), ("Expected: an expression, found: from", at(1, 8)));
        assert_eq!(split_place("no place").1, None);
        assert_eq!(end_of("select\n  1 + "), Place { line: 2, column: 6 });
    }
}
