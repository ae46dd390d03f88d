//! The token that a public door wants, compared in a time that tells nothing about it.

use std::fmt;
use std::hint::black_box;

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// The fewest characters of a token: fewer can be guessed.
pub(crate) const TOKEN_CHARS_MIN: usize = 16;

/// A secret that a client shows as `Authorization: Bearer …`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<[u8]>);

impl Token {
    /// A token of at least 16 visible ASCII characters.
    ///
    /// # Errors
    /// What is wrong with it; never the token itself.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.len() < TOKEN_CHARS_MIN {
            return Err(format!("expected a token of at least {TOKEN_CHARS_MIN} characters, found {}", text.len()));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("expected a token of letters, digits and signs without spaces".to_owned());
        }
        Ok(Self(text.as_bytes().into()))
    }

    /// Whether the request shows this token.
    pub(crate) fn matches(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let shown = match shown.split_at_checked("Bearer ".len()) {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case(b"Bearer ") => token,
            _ => b"",
        };
        self.is(shown)
    }

    /// Whether this was shown.
    pub(crate) fn is(&self, shown: &[u8]) -> bool {
        // Every byte of the token is compared, whatever was shown: the time depends on the token's length alone.
        let mut differs = u8::from(shown.len() != self.0.len());
        for (index, byte) in self.0.iter().enumerate() {
            differs |= byte ^ shown.get(index).copied().unwrap_or(0);
            differs = black_box(differs);
        }
        differs == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_the_very_token_matches() {
        let token = Token::new("0123456789abcdef").expect("long enough");
        let shown = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_static(value));
            token.matches(&headers)
        };
        assert!(shown("Bearer 0123456789abcdef") && shown("bearer 0123456789abcdef"));
        for wrong in [
            "",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdeg",
            "Bearer 0123456789abcdef0",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!shown(wrong), "{wrong}");
        }
        assert!(!token.matches(&HeaderMap::new()));
        assert!(Token::new("short").is_err());
        assert_eq!(format!("{token:?}"), "Token(…)");
    }
}
