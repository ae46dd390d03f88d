//! Which compressed form a client takes, and making it.

use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

/// A form in which a file is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Brotli,
}

/// Brotli: most of what the best level gains, at a speed at which a first visitor need not wait (about 50 MB/s).
const BROTLI_QUALITY: i32 = 6;
const BROTLI_WINDOW: i32 = 22;

/// Files below this gain nothing over their headers.
const BYTES_MIN: usize = 256;

/// The best encoding that the header allows: Brotli, then gzip, then none. What is there at `q=0` is refused.
pub(crate) fn accepted(header: Option<&[u8]>) -> Encoding {
    let Some(header) = header.and_then(|header| std::str::from_utf8(header).ok()) else { return Encoding::Identity };
    let (mut gzip, mut brotli) = (false, false);
    for part in header.split(',') {
        let (name, weight) = part.split_once(';').unwrap_or((part, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|q| q.trim().parse::<f32>().ok()).unwrap_or(1.0);
        match name.trim() {
            "br" => brotli = weight > 0.0,
            "gzip" | "x-gzip" => gzip = weight > 0.0,
            _ => {}
        }
    }
    match (brotli, gzip) {
        (true, _) => Encoding::Brotli,
        (false, true) => Encoding::Gzip,
        (false, false) => Encoding::Identity,
    }
}

/// Whether files of this type usually shrink.
pub(crate) fn compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.starts_with("text/")
        || essence.ends_with("+json")
        || essence.ends_with("+xml")
        || matches!(
            essence,
            "application/javascript"
                | "application/json"
                | "application/xml"
                | "application/wasm"
                | "application/x-ndjson"
                | "application/manifest+json"
                | "font/ttf"
                | "font/otf"
                | "image/bmp"
        )
}

/// The compressed form, if it saves at least a twentieth.
pub(crate) fn compress(plain: &[u8], encoding: Encoding) -> Option<Bytes> {
    if plain.len() < BYTES_MIN {
        return None;
    }
    let packed = match encoding {
        Encoding::Identity => return None,
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            encoder.write_all(plain).ok()?;
            encoder.finish().ok()?
        }
        Encoding::Brotli => {
            let mut packed = Vec::new();
            let params = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: plain.len(),
                ..Default::default()
            };
            brotli::BrotliCompress(&mut &plain[..], &mut packed, &params).ok()?;
            packed
        }
    };
    (packed.len() < plain.len() / 20 * 19).then(|| packed.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_best_allowed_encoding_is_chosen() {
        let chosen = |header: &str| accepted(Some(header.as_bytes()));
        assert_eq!(chosen("gzip, deflate, br"), Encoding::Brotli);
        assert_eq!(chosen("gzip;q=1.0, br;q=0"), Encoding::Gzip);
        assert_eq!(chosen("deflate, identity"), Encoding::Identity);
        assert_eq!(chosen("gzip;q=0"), Encoding::Identity);
        assert_eq!(chosen(""), Encoding::Identity);
        assert_eq!(accepted(None), Encoding::Identity);
        assert_eq!(accepted(Some(b"\xff")), Encoding::Identity);
    }

    #[test]
    fn compressed_forms_give_back_the_file() {
        let plain = "a shop with mugs and more mugs\n".repeat(100);
        let gzip = compress(plain.as_bytes(), Encoding::Gzip).expect("shrinks");
        let mut back = String::new();
        flate2::read::GzDecoder::new(&gzip[..]).read_to_string(&mut back).expect("inflates");
        assert_eq!(back, plain);
        let packed = compress(plain.as_bytes(), Encoding::Brotli).expect("shrinks");
        let mut back = Vec::new();
        brotli::BrotliDecompress(&mut &packed[..], &mut back).expect("inflates");
        assert_eq!(back, plain.as_bytes());
        assert_eq!(compress(b"short", Encoding::Gzip), None);
    }
}
