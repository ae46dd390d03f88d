//! The published fields of a CDN real-time log line, by number, name and type.
//!
//! Only values that the server itself writes are typed. What a client can choose (its CMCD values, say) stays text, so
//! that no visitor can make the log line of his own request unreadable.

use crate::columns::Kind;

/// One published field.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CdnField {
    /// Its number, from 1: lines have their fields in this order.
    pub(crate) number: u8,
    /// Its published name.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
}

impl CdnField {
    /// The name as a column: `-` becomes `_`.
    pub(crate) fn column(&self) -> String {
        self.name.replace('-', "_")
    }

    pub(crate) fn by_name(name: &str) -> Option<&'static Self> {
        CDN_FIELDS.iter().find(|field| field.name == name)
    }

    pub(crate) fn by_number(number: u8) -> Option<&'static Self> {
        CDN_FIELDS.get(usize::from(number).checked_sub(1)?)
    }
}

const fn field(number: u8, name: &'static str, kind: Kind) -> CdnField {
    CdnField { number, name, kind }
}

/// The number of `cs-uri-stem`, whose value carries the query string too.
pub(crate) const CS_URI_STEM: u8 = 10;
/// The number of `cs-uri-query`.
pub(crate) const CS_URI_QUERY: u8 = 21;
/// The number of `x-edge-request-id`.
pub(crate) const X_EDGE_REQUEST_ID: u8 = 13;

/// All published fields; the field of number n stands at n − 1.
pub(crate) const CDN_FIELDS: [CdnField; 69] = [
    field(1, "timestamp", Kind::Timestamp),
    field(2, "c-ip", Kind::Text),
    field(3, "s-ip", Kind::Text),
    field(4, "time-to-first-byte", Kind::Double),
    field(5, "sc-status", Kind::Int),
    field(6, "sc-bytes", Kind::Long),
    field(7, "cs-method", Kind::Text),
    field(8, "cs-protocol", Kind::Text),
    field(9, "cs-host", Kind::Text),
    field(10, "cs-uri-stem", Kind::Text),
    field(11, "cs-bytes", Kind::Long),
    field(12, "x-edge-location", Kind::Text),
    field(13, "x-edge-request-id", Kind::Text),
    field(14, "x-host-header", Kind::Text),
    field(15, "time-taken", Kind::Double),
    field(16, "cs-protocol-version", Kind::Text),
    field(17, "c-ip-version", Kind::Text),
    field(18, "cs-user-agent", Kind::Text),
    field(19, "cs-referer", Kind::Text),
    field(20, "cs-cookie", Kind::Text),
    field(21, "cs-uri-query", Kind::Text),
    field(22, "x-edge-response-result-type", Kind::Text),
    field(23, "x-forwarded-for", Kind::Text),
    field(24, "ssl-protocol", Kind::Text),
    field(25, "ssl-cipher", Kind::Text),
    field(26, "x-edge-result-type", Kind::Text),
    field(27, "fle-encrypted-fields", Kind::Int),
    field(28, "fle-status", Kind::Text),
    field(29, "sc-content-type", Kind::Text),
    field(30, "sc-content-len", Kind::Long),
    field(31, "sc-range-start", Kind::Long),
    field(32, "sc-range-end", Kind::Long),
    field(33, "c-port", Kind::Int),
    field(34, "x-edge-detailed-result-type", Kind::Text),
    field(35, "c-country", Kind::Text),
    field(36, "cs-accept-encoding", Kind::Text),
    field(37, "cs-accept", Kind::Text),
    field(38, "cache-behavior-path-pattern", Kind::Text),
    field(39, "cs-headers", Kind::Text),
    field(40, "cs-header-names", Kind::Text),
    field(41, "cs-headers-count", Kind::Int),
    field(42, "primary-distribution-id", Kind::Text),
    field(43, "primary-distribution-dns-name", Kind::Text),
    field(44, "origin-fbl", Kind::Double),
    field(45, "origin-lbl", Kind::Double),
    field(46, "asn", Kind::Long),
    field(47, "cmcd-encoded-bitrate", Kind::Text),
    field(48, "cmcd-buffer-length", Kind::Text),
    field(49, "cmcd-buffer-starvation", Kind::Text),
    field(50, "cmcd-content-id", Kind::Text),
    field(51, "cmcd-object-duration", Kind::Text),
    field(52, "cmcd-deadline", Kind::Text),
    field(53, "cmcd-measured-throughput", Kind::Text),
    field(54, "cmcd-next-object-request", Kind::Text),
    field(55, "cmcd-next-range-request", Kind::Text),
    field(56, "cmcd-object-type", Kind::Text),
    field(57, "cmcd-playback-rate", Kind::Text),
    field(58, "cmcd-requested-maximum-throughput", Kind::Text),
    field(59, "cmcd-streaming-format", Kind::Text),
    field(60, "cmcd-session-id", Kind::Text),
    field(61, "cmcd-stream-type", Kind::Text),
    field(62, "cmcd-startup", Kind::Text),
    field(63, "cmcd-top-bitrate", Kind::Text),
    field(64, "cmcd-version", Kind::Text),
    field(65, "r-host", Kind::Text),
    field(66, "sr-reason", Kind::Text),
    field(67, "x-edge-mqcs", Kind::Text),
    field(68, "distribution-tenant-id", Kind::Text),
    field(69, "connection-id", Kind::Text),
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
