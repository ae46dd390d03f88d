//! Certificates of doors: `[tls]` for all of them, `[DOOR.tls]` for one, `tls = false` for none. Keys of encrypted streams:
//! `[encryption]`.

use std::path::Path;

use base::settings::{Data, Section};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge::TlsSettings;
use stream::Keyring;

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// Which certificate a door shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum DoorTls {
    /// The one of `[tls]`, if the file has that.
    #[default]
    AsAll,
    /// None, whatever `[tls]` says.
    Off,
    /// One of its own.
    Own(TlsSettings),
}

impl DoorTls {
    /// The certificate, if there is one; `all` is that of `[tls]`.
    pub(crate) fn chosen<'a>(&'a self, all: Option<&'a TlsSettings>) -> Option<&'a TlsSettings> {
        match self {
            Self::AsAll => all,
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
        Some(true) | None => DoorTls::AsAll,
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
        (Some(file), None) => {
            let file = folder.join(file);
            let read = std::fs::read_to_string(&file);
            ("key_file", read.map_err(|error| format!("{} cannot be read: {error}", file.display())))
        }
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
