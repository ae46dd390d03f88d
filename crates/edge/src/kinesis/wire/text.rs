//! Bytes as text: base64, in both directions at the speed of memory.

use std::io;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::{Simd, general_purpose};

/// Chosen once by what the processor can do.
static BASE64: LazyLock<Simd> = LazyLock::new(|| Simd::standard(general_purpose::PAD));

/// Base64 is written in pieces of this many bytes (a multiple of three, so that only the last is padded): no copy of a
/// large blob is made.
const PIECE: usize = 3 * 1024;

/// Writes bytes as base64.
pub(super) fn write_base64<W: ?Sized + io::Write>(writer: &mut W, bytes: &[u8]) -> io::Result<()> {
    let mut text = [0; PIECE / 3 * 4];
    for piece in bytes.chunks(PIECE) {
        let length = BASE64.encode_slice(piece, &mut text).map_err(io::Error::other)?;
        writer.write_all(&text[..length])?;
    }
    Ok(())
}

/// Decodes base64 onto the end of `bytes`.
///
/// # Errors
/// The service's texts for what is none.
pub(crate) fn append_base64(text: &str, bytes: &mut Vec<u8>) -> Result<(), String> {
    /// Characters of a wrong text that are told back.
    const SHOWN_CHARS_MAX: usize = 64;
    if BASE64.decode_vec(text, bytes).is_ok() {
        return Ok(());
    }
    let shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    let no_base64 = |(at, char): &(usize, char)| match char {
        '=' => text[at + 1..].chars().next().is_some_and(|next| next != '='),
        char => !(char.is_ascii_alphanumeric() || matches!(char, '+' | '/')),
    };
    let why = if !text.len().is_multiple_of(4) {
        format!("Base64 encoded length is expected a multiple of 4 bytes but found: {}", text.len())
    } else if let Some((_, char)) = text.char_indices().find(no_base64) {
        format!("Invalid Base64 character: '{char}'")
    } else {
        "Invalid last non-pad Base64 character dectected".to_owned()
    };
    Err(format!("'{shown}' can not be converted to a Blob: {why}"))
}
