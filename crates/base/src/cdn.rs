//! The published fields of a CDN real-time log line, by number, name and type: what the edge writes and delivery reads.
//!
//! Only values that the server itself writes are typed. What a client can choose (its CMCD values, say) stays text, so
//! that no visitor can make the log line of his own request unreadable.

/// What the value of a field is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// Text.
    Text,
    /// A whole number of 32 bits.
    Int,
    /// A whole number of 64 bits.
    Long,
    /// A number.
    Double,
    /// A moment: seconds since 1970, with a fraction.
    Timestamp,
}

/// One published field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CdnField {
    /// Its number, from 1: lines have their fields in this order.
    pub number: u8,
    /// Its published name.
    pub name: &'static str,
    /// What its value is.
    pub kind: FieldKind,
}

impl CdnField {
    /// The name as a column: `-` becomes `_`.
    #[must_use]
    pub fn column(&self) -> String {
        self.name.replace('-', "_")
    }

    /// The field of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        CDN_FIELDS.iter().find(|field| field.name == name)
    }

    /// The field of that number.
    #[must_use]
    pub fn by_number(number: u8) -> Option<&'static Self> {
        CDN_FIELDS.get(usize::from(number).checked_sub(1)?)
    }
}

const fn field(number: u8, name: &'static str, kind: FieldKind) -> CdnField {
    CdnField { number, name, kind }
}

/// The number of `cs-uri-stem`, whose value carries the query string too.
pub const CS_URI_STEM: u8 = 10;
/// The number of `cs-uri-query`.
pub const CS_URI_QUERY: u8 = 21;
/// The number of `x-edge-request-id`.
pub const X_EDGE_REQUEST_ID: u8 = 13;

/// All published fields; the field of number n stands at n − 1.
pub const CDN_FIELDS: [CdnField; 69] = [
    field(1, "timestamp", FieldKind::Timestamp),
    field(2, "c-ip", FieldKind::Text),
    field(3, "s-ip", FieldKind::Text),
    field(4, "time-to-first-byte", FieldKind::Double),
    field(5, "sc-status", FieldKind::Int),
    field(6, "sc-bytes", FieldKind::Long),
    field(7, "cs-method", FieldKind::Text),
    field(8, "cs-protocol", FieldKind::Text),
    field(9, "cs-host", FieldKind::Text),
    field(10, "cs-uri-stem", FieldKind::Text),
    field(11, "cs-bytes", FieldKind::Long),
    field(12, "x-edge-location", FieldKind::Text),
    field(13, "x-edge-request-id", FieldKind::Text),
    field(14, "x-host-header", FieldKind::Text),
    field(15, "time-taken", FieldKind::Double),
    field(16, "cs-protocol-version", FieldKind::Text),
    field(17, "c-ip-version", FieldKind::Text),
    field(18, "cs-user-agent", FieldKind::Text),
    field(19, "cs-referer", FieldKind::Text),
    field(20, "cs-cookie", FieldKind::Text),
    field(21, "cs-uri-query", FieldKind::Text),
    field(22, "x-edge-response-result-type", FieldKind::Text),
    field(23, "x-forwarded-for", FieldKind::Text),
    field(24, "ssl-protocol", FieldKind::Text),
    field(25, "ssl-cipher", FieldKind::Text),
    field(26, "x-edge-result-type", FieldKind::Text),
    field(27, "fle-encrypted-fields", FieldKind::Int),
    field(28, "fle-status", FieldKind::Text),
    field(29, "sc-content-type", FieldKind::Text),
    field(30, "sc-content-len", FieldKind::Long),
    field(31, "sc-range-start", FieldKind::Long),
    field(32, "sc-range-end", FieldKind::Long),
    field(33, "c-port", FieldKind::Int),
    field(34, "x-edge-detailed-result-type", FieldKind::Text),
    field(35, "c-country", FieldKind::Text),
    field(36, "cs-accept-encoding", FieldKind::Text),
    field(37, "cs-accept", FieldKind::Text),
    field(38, "cache-behavior-path-pattern", FieldKind::Text),
    field(39, "cs-headers", FieldKind::Text),
    field(40, "cs-header-names", FieldKind::Text),
    field(41, "cs-headers-count", FieldKind::Int),
    field(42, "primary-distribution-id", FieldKind::Text),
    field(43, "primary-distribution-dns-name", FieldKind::Text),
    field(44, "origin-fbl", FieldKind::Double),
    field(45, "origin-lbl", FieldKind::Double),
    field(46, "asn", FieldKind::Long),
    field(47, "cmcd-encoded-bitrate", FieldKind::Text),
    field(48, "cmcd-buffer-length", FieldKind::Text),
    field(49, "cmcd-buffer-starvation", FieldKind::Text),
    field(50, "cmcd-content-id", FieldKind::Text),
    field(51, "cmcd-object-duration", FieldKind::Text),
    field(52, "cmcd-deadline", FieldKind::Text),
    field(53, "cmcd-measured-throughput", FieldKind::Text),
    field(54, "cmcd-next-object-request", FieldKind::Text),
    field(55, "cmcd-next-range-request", FieldKind::Text),
    field(56, "cmcd-object-type", FieldKind::Text),
    field(57, "cmcd-playback-rate", FieldKind::Text),
    field(58, "cmcd-requested-maximum-throughput", FieldKind::Text),
    field(59, "cmcd-streaming-format", FieldKind::Text),
    field(60, "cmcd-session-id", FieldKind::Text),
    field(61, "cmcd-stream-type", FieldKind::Text),
    field(62, "cmcd-startup", FieldKind::Text),
    field(63, "cmcd-top-bitrate", FieldKind::Text),
    field(64, "cmcd-version", FieldKind::Text),
    field(65, "r-host", FieldKind::Text),
    field(66, "sr-reason", FieldKind::Text),
    field(67, "x-edge-mqcs", FieldKind::Text),
    field(68, "distribution-tenant-id", FieldKind::Text),
    field(69, "connection-id", FieldKind::Text),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_stands_at_its_number() {
        for (index, field) in CDN_FIELDS.iter().enumerate() {
            assert_eq!(usize::from(field.number), index + 1, "{}", field.name);
            assert_eq!(CdnField::by_number(field.number).map(|found| found.name), Some(field.name));
            assert_eq!(CdnField::by_name(field.name).map(|found| found.number), Some(field.number));
        }
        assert!(CdnField::by_number(0).is_none() && CdnField::by_number(70).is_none());
        let named = |number| CdnField::by_number(number).map(|field| field.name);
        assert_eq!(named(CS_URI_STEM), Some("cs-uri-stem"));
        assert_eq!(named(CS_URI_QUERY), Some("cs-uri-query"));
        assert_eq!(named(X_EDGE_REQUEST_ID), Some("x-edge-request-id"));
    }
}
