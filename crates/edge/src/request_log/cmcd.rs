//! CMCD, the numbers a video player sends with each request (CTA-5004): in the query as `CMCD=…` or in four headers,
//! each a list like `br=3200,bs,sid="6e2f"`.

use std::borrow::Cow;

use http::HeaderMap;
use percent_encoding::percent_decode;

/// Keys in the order of the published fields 47 to 64.
const KEYS: [&str; 18] =
    ["br", "bl", "bs", "cid", "d", "dl", "mtp", "nor", "nrr", "ot", "pr", "rtp", "sf", "sid", "st", "su", "tb", "v"];

/// Headers that may carry a list.
const HEADERS: [&str; 4] = ["cmcd-request", "cmcd-object", "cmcd-status", "cmcd-session"];

/// All values of one request, by their place in [`KEYS`].
#[derive(Debug, Default)]
pub(crate) struct Cmcd {
    values: [Option<String>; KEYS.len()],
}

impl Cmcd {
    /// What the query and the headers say; the query wins, as its list is the newer way to send it.
    pub(crate) fn read(query: Option<&str>, headers: &HeaderMap) -> Self {
        let mut read = Self::default();
        for name in HEADERS {
            if let Some(list) = headers.get(name) {
                read.take(&String::from_utf8_lossy(list.as_bytes()));
            }
        }
        let param = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("CMCD=")));
        if let Some(list) = param {
            let decoded: Cow<'_, [u8]> = percent_decode(list.as_bytes()).into();
            read.take(&String::from_utf8_lossy(&decoded));
        }
        read
    }

    /// The value of the field with the published number `47 + index`.
    pub(crate) fn value(&self, index: usize) -> Option<&str> {
        self.values.get(index).and_then(Option::as_deref)
    }

    fn take(&mut self, list: &str) {
        for item in items(list) {
            let (key, value) = item.split_once('=').unwrap_or((item, "true"));
            if let Some(place) = KEYS.iter().position(|known| *known == key.trim()) {
                self.values[place] = Some(unquoted(value.trim()));
            }
        }
    }
}

/// The parts between commas that stand outside quotes.
fn items(list: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    let mut escaped = false;
    list.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
}

fn unquoted(value: &str) -> String {
    match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => value.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn lists_are_read_from_the_query_and_from_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("cmcd-object", HeaderValue::from_static("br=1,d=4004,ot=v"));
        let query = "x=1&CMCD=br%3D3200%2Cbs%2Csid%3D%226e%2C2f%22";
        let read = Cmcd::read(Some(query), &headers);
        assert_eq!(read.value(0), Some("3200"), "the query wins");
        assert_eq!(read.value(2), Some("true"), "a key alone is true");
        assert_eq!(read.value(4), Some("4004"));
        assert_eq!(read.value(9), Some("v"));
        assert_eq!(read.value(13), Some("6e,2f"), "a comma inside quotes belongs to the value");
        assert_eq!(read.value(17), None);
    }
}
