//! The published table of CDN real-time log fields: 69 names, each with its number. A line always carries its fields
//! in the order of these numbers, whatever the order in the file.

use std::fmt;

use base::cdn::CDN_FIELDS;

/// One field of the published table, by its number (1..=69).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Field(u8);

/// Names in the published order: the field numbered `n` is `NAMES[n - 1]`.
const NAMES: [&str; 69] = {
    let mut names = [""; 69];
    let mut index = 0;
    while index < 69 {
        names[index] = CDN_FIELDS[index].name;
        index += 1;
    }
    names
};

macro_rules! fields {
    ($($name:ident = $number:literal),* $(,)?) => {
        impl Field {
            $(
                #[doc = concat!("The field numbered ", stringify!($number), ".")]
                pub const $name: Self = Self($number);
            )*
        }
    };
}

fields! {
    TIMESTAMP = 1, C_IP = 2, S_IP = 3, TIME_TO_FIRST_BYTE = 4, SC_STATUS = 5, SC_BYTES = 6, CS_METHOD = 7,
    CS_PROTOCOL = 8, CS_HOST = 9, CS_URI_STEM = 10, CS_BYTES = 11, X_EDGE_LOCATION = 12, X_EDGE_REQUEST_ID = 13,
    X_HOST_HEADER = 14, TIME_TAKEN = 15, CS_PROTOCOL_VERSION = 16, C_IP_VERSION = 17, CS_USER_AGENT = 18,
    CS_REFERER = 19, CS_COOKIE = 20, CS_URI_QUERY = 21, X_EDGE_RESPONSE_RESULT_TYPE = 22, X_FORWARDED_FOR = 23,
    SSL_PROTOCOL = 24, SSL_CIPHER = 25, X_EDGE_RESULT_TYPE = 26, SC_CONTENT_TYPE = 29, SC_CONTENT_LEN = 30, SC_RANGE_START = 31, SC_RANGE_END = 32,
    C_PORT = 33, X_EDGE_DETAILED_RESULT_TYPE = 34, CS_ACCEPT_ENCODING = 36, CS_ACCEPT = 37,
    CACHE_BEHAVIOR_PATH_PATTERN = 38, CS_HEADERS = 39, CS_HEADER_NAMES = 40, CS_HEADERS_COUNT = 41, ORIGIN_FBL = 44,
    ORIGIN_LBL = 45, CMCD_FIRST = 47, CMCD_LAST = 64, R_HOST = 65, CONNECTION_ID = 69,
}

impl Field {
    /// All fields, in the published order.
    pub const ALL: [Self; 69] = {
        let mut all = [Self(0); 69];
        let mut index = 0;
        while index < 69 {
            all[index] = Self(index as u8 + 1);
            index += 1;
        }
        all
    };

    /// All names, in the published order.
    pub const NAMES: [&'static str; 69] = NAMES;

    /// The published number, from 1.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// The published name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self.0 as usize - 1]
    }

    /// The field of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        NAMES.iter().position(|known| *known == name).map(|index| Self(index as u8 + 1))
    }

    /// The field of that number.
    #[must_use]
    pub const fn by_number(number: u8) -> Option<Self> {
        if number >= 1 && number <= 69 { Some(Self(number)) } else { None }
    }

    /// What a log writes when the file names no fields: what the shop's table and a glance at the traffic need.
    #[must_use]
    pub fn default_set() -> Vec<Self> {
        vec![
            Self::TIMESTAMP,
            Self::C_IP,
            Self::TIME_TO_FIRST_BYTE,
            Self::SC_STATUS,
            Self::SC_BYTES,
            Self::CS_METHOD,
            Self::CS_HOST,
            Self::CS_URI_STEM,
            Self::X_EDGE_REQUEST_ID,
            Self::TIME_TAKEN,
            Self::CS_USER_AGENT,
            Self::CS_REFERER,
            Self::CS_URI_QUERY,
            Self::X_EDGE_RESPONSE_RESULT_TYPE,
        ]
    }

    /// The numbers of `fields` as the record header carries them: `"1,2,5"`.
    #[must_use]
    pub fn header(fields: &[Self]) -> String {
        fields.iter().map(|field| field.0.to_string()).collect::<Vec<_>>().join(",")
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_published_name_at_its_number() {
        assert_eq!(Field::ALL.len(), 69);
        for (number, name) in [
            (1, "timestamp"),
            (10, "cs-uri-stem"),
            (21, "cs-uri-query"),
            (34, "x-edge-detailed-result-type"),
            (64, "cmcd-version"),
            (69, "connection-id"),
        ] {
            assert_eq!(Field::by_name(name).map(Field::number), Some(number));
            assert_eq!(Field::by_number(number).map(Field::name), Some(name));
        }
        for field in Field::ALL {
            assert_eq!(Field::by_name(field.name()), Some(field));
        }
        assert_eq!((Field::by_number(0), Field::by_number(70)), (None, None));
        assert_eq!(Field::CMCD_FIRST.name(), "cmcd-encoded-bitrate");
        assert_eq!(Field::CMCD_LAST.name(), "cmcd-version");
        assert_eq!(Field::R_HOST.name(), "r-host");
        assert_eq!(Field::ORIGIN_LBL.name(), "origin-lbl");
        assert_eq!(Field::CS_HEADERS_COUNT.name(), "cs-headers-count");
    }

    #[test]
    fn the_header_lists_numbers() {
        assert_eq!(Field::header(&[Field::TIMESTAMP, Field::C_IP, Field::SC_STATUS]), "1,2,5");
    }
}
