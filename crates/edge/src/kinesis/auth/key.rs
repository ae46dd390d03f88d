//! Access keys: who may ask, and with which secret they sign.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The fewest characters of a secret: fewer can be guessed from a recorded signature.
const SECRET_CHARS_MIN: usize = 16;

/// Keys of one door: more of them is a mistake in the file, not a need of one machine.
const KEYS_MAX: usize = 10_000;

/// Bytes of a file of keys.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Access keys with their secrets. None at all: an open door.
#[derive(Clone, Default)]
pub struct AccessKeys(HashMap<String, Box<str>>);

/// Why keys cannot be used. Never says a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("the access keys in {} cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A line is no key.
    #[error("line {line}: {why}. Write one key per line: its id, a blank, its secret")]
    Line {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
}

impl AccessKeys {
    /// No keys: every well-formed request is taken. Only for doors that nobody else reaches.
    #[must_use]
    pub fn open() -> Self {
        Self::default()
    }

    /// Reads keys from a text: one per line, its id, a blank, its secret; `#` begins a comment.
    ///
    /// # Errors
    /// The first line that is no key, or a secret that can be guessed.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let mut keys = Self::default();
        for (number, line) in text.lines().enumerate() {
            let wrong = |why: String| KeyError::Line { line: number + 1, why };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let mut words = line.split_whitespace();
            let (Some(id), Some(secret), None) = (words.next(), words.next(), words.next()) else {
                return Err(wrong("expected two words".to_owned()));
            };
            keys.insert(id, secret).map_err(|(why, _)| wrong(why))?;
        }
        Ok(keys)
    }

    /// Reads keys from a file, see [`AccessKeys::parse`].
    ///
    /// # Errors
    /// The file cannot be read, or a line of it is no key. A file without any key is an error, too: it would open the
    /// door.
    pub fn read(file: &Path) -> Result<Self, KeyError> {
        let failed = |source: io::Error| KeyError::Read { file: file.to_owned(), source };
        let bytes = fs::metadata(file).map_err(failed)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(failed(io::Error::other(format!("it has {bytes} bytes, more than {FILE_BYTES_MAX}"))));
        }
        let keys = Self::parse(&fs::read_to_string(file).map_err(failed)?)?;
        if keys.is_empty() { Err(failed(io::Error::other("there is no key in it"))) } else { Ok(keys) }
    }

    /// Adds one key.
    ///
    /// # Errors
    /// What is wrong with it, and what to do.
    pub fn insert(&mut self, id: &str, secret: &str) -> Result<(), (String, &'static str)> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            let what = "expected an access key id of letters, digits and - _ . only";
            return Err((what.to_owned(), "Write an id of your own choice, for example AKIDEXAMPLE"));
        }
        if secret.len() < SECRET_CHARS_MIN || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            let what = format!("expected a secret of at least {SECRET_CHARS_MIN} visible characters");
            return Err((what, "Write a long random secret, for example from: openssl rand -base64 30"));
        }
        if self.0.len() >= KEYS_MAX {
            return Err((format!("expected at most {KEYS_MAX} keys"), "Remove those that nobody uses"));
        }
        match self.0.insert(id.to_owned(), secret.into()) {
            None => Ok(()),
            Some(_) => Err((format!("the key {id} stands here twice"), "Keep one of the two")),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn secret(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(AsRef::as_ref)
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AccessKeys({})", self.0.len())
    }
}
