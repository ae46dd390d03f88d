//! Certificates of doors: `[tls]` for all of them, `[DOOR.tls]` for one, `tls = false` for none. Keys of encrypted streams:
//! `[encryption]`. Keys and tokens that clients show, where they stand in files of their own.

use std::path::Path;

use base::settings::{Data, Section};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::{AccessKeys, KeyError, TlsSettings, Token};
use stream::Keyring;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Which certificate a door shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum DoorTls {
    /// The one of `[tls]`, if the file has that.
    #[default]
    AsAll,
    /// The one of `[tls]`, which the file must have then.
    Wanted,
    /// None, whatever `[tls]` says.
    Off,
    /// One of its own.
    Own(TlsSettings),
}

impl DoorTls {
    /// The certificate, if there is one; `all` is that of `[tls]`.
    pub(crate) fn chosen<'a>(&'a self, all: Option<&'a TlsSettings>) -> Option<&'a TlsSettings> {
        match self {
            Self::AsAll | Self::Wanted => all,
            Self::Off => None,
            Self::Own(own) => Some(own),
        }
    }
}

/// Reads `tls` of a door's section.
pub(crate) fn of_door(section: &mut Section<'_>, folder: &Path) -> DoorTls {
    if let Some(Data::Table(_)) = section.look("tls") {
        let read = section.section("tls", |section| of_all(section, folder)).flatten();
        return read.map_or(DoorTls::AsAll, DoorTls::Own);
    }
    match section.boolean("tls") {
        Some(false) => DoorTls::Off,
        Some(true) => DoorTls::Wanted,
        None => DoorTls::AsAll,
    }
}

/// Reads `[tls]`; names of files go from `folder`.
pub(crate) fn of_all(section: &mut Section<'_>, folder: &Path) -> Option<TlsSettings> {
    let TlsSettings { certificate, key } = TlsSettings::read(section)?;
    Some(TlsSettings { certificate: folder.join(certificate), key: folder.join(key) })
}

/// Reads `[encryption]`: the keys stand in a file or in a variable of the environment, never in the server's file.
pub(crate) fn keys(section: &mut Section<'_>, folder: &Path) -> Option<Keyring> {
    let line = section.line();
    let (file, variable) = (section.text("key_file"), section.text("key_env"));
    let (key, found) = match (file, variable) {
        (Some(file), None) => ("key_file", text_of(&folder.join(file))),
        (None, Some(name)) => {
            let read = std::env::var(&name);
            ("key_env", read.map_err(|_| format!("there is no text in the variable {name} of the environment")))
        }
        (Some(_), Some(_)) => {
            section.problem(line, "", "names both key_file and key_env", "Remove one of them");
            return None;
        }
        (None, None) => {
            section.problem(
                line,
                "",
                "names no keys",
                "Add key_file = \"encryption.keys\", made with: openssl rand -hex 32",
            );
            return None;
        }
    };
    match found.and_then(|text| parse_keys(&text)) {
        Ok(keys) => Some(keys),
        Err(what) => {
            let remedy =
                "Write one key on each line, the one in use first, older ones below it; openssl rand -hex 32 makes one";
            section.problem(line, key, what, remedy);
            None
        }
    }
}

/// Reads `delivery_key` or `delivery_key_file`: what a delivery stream elsewhere shows when it delivers here.
pub(crate) fn delivery_key(section: &mut Section<'_>, folder: &Path) -> Option<Token> {
    let line = section.line();
    let (here, file) = (section.text("delivery_key"), section.text("delivery_key_file"));
    let (key, text) = match (here, file) {
        (None, None) => return None,
        (Some(_), Some(_)) => {
            section.problem(line, "delivery_key", "the key is given twice", "Remove delivery_key or delivery_key_file");
            return None;
        }
        (Some(text), None) => ("delivery_key", Ok(text)),
        (None, Some(file)) => ("delivery_key_file", text_of(&folder.join(file))),
    };
    match text.and_then(|text| Token::new(&text)) {
        Ok(token) => Some(token),
        Err(what) => {
            section.problem(line, key, what, "Write a long random key, for example from: openssl rand -hex 32");
            None
        }
    }
}

/// Tries the file of access keys, so that a wrong one is found before the door is to open with it.
pub(crate) fn try_access_keys(section: &mut Section<'_>, file: &Path) {
    let what = match AccessKeys::read(file) {
        Ok(_) => return,
        Err(error @ KeyError::Read { .. }) => error.to_string(),
        Err(KeyError::Line { line, why }) => format!("line {line} of {}: {why}", file.display()),
    };
    section.problem(section.line(), "keys_file", what, "Write one key on each line: its id, a blank, its secret");
}

/// Tries the file with the collector's token, for the same reason.
pub(crate) fn try_collect_token(section: &mut Section<'_>, file: &Path) {
    if let Err(what) = text_of(file).and_then(|text| Token::new(&text)) {
        let remedy = format!("Make it with: openssl rand -hex 24 > {}", file.display());
        section.problem(section.line(), "collect_token_file", what, remedy);
    }
}

/// A message, and what to do: what it says behind its last full stop, or else `usual`.
pub(crate) fn parted(message: &str, usual: &str) -> (String, String) {
    let (what, remedy) = message.rsplit_once(". ").unwrap_or((message, usual));
    (what.to_owned(), remedy.to_owned())
}

fn text_of(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// Keys, one on each line, as 64 hexadecimal digits or 44 characters of base64. The first encrypts, all of them decrypt. What is
/// told of a wrong one is its line, never any of it.
fn parse_keys(text: &str) -> Result<Keyring, String> {
    let mut ring: Option<Keyring> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key = parse_key(line).ok_or_else(|| {
            format!(
                "expected a key of {KEY_BYTES} bytes in hexadecimal or base64 on line {number}, found something else"
            )
        })?;
        ring = Some(match ring {
            None => Keyring::new(&key),
            Some(ring) => ring.and_old(&key),
        });
    }
    ring.ok_or_else(|| "expected at least one key, found none".to_owned())
}

fn parse_key(text: &str) -> Option<[u8; KEY_BYTES]> {
    if text.len() != 2 * KEY_BYTES {
        return STANDARD.decode(text).ok()?.try_into().ok();
    }
    let mut key = [0; KEY_BYTES];
    for (byte, digits) in key.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_in_hexadecimal_and_base64_and_a_wrong_one_is_told_by_its_line_alone() {
        let hex: String = (0..32).map(|byte| format!("{byte:02X}")).collect();
        let key: [u8; 32] = std::array::from_fn(|byte| byte as u8);
        assert_eq!(parse_key(&hex), Some(key));
        assert_eq!(parse_key(&STANDARD.encode(key)), Some(key));
        assert!(parse_keys(&format!("# in use\n{hex}\n\n# before\n{}\n", STANDARD.encode([7; 32]))).is_ok());
        let told = parse_keys(&format!("{hex}\nsecretsecret\n")).expect_err("not a key");
        assert!(told.contains("line 2") && !told.contains("secret"), "{told}");
        assert!(parse_keys("# nothing\n").is_err());
    }
}
