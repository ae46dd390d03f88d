//! Error kinds: one exists only where a caller would act differently.

use std::fmt;

/// What a caller can do about an error. Every room maps each of its errors to one of these; the doors own the tables from
/// a kind to a protocol's own codes, except for HTTP, which all of them speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong and will stay wrong: change it.
    Invalid,
    /// What was named does not exist.
    NotFound,
    /// The caller may not do this.
    Denied,
    /// Too much at once: slow down and try again.
    Throttled,
    /// Somebody else changed it first: read again and decide.
    Conflict,
    /// Another writer has taken over: stop.
    Fenced,
    /// Not now; the same request may succeed later.
    Unavailable,
    /// It took longer than it may.
    TimedOut,
    /// A bounded thing is full: make room or raise its limit.
    Full,
    /// Stored bytes fail their check: restore or repair.
    Corrupt,
    /// A failed sync made this part untrustworthy until restart.
    Poisoned,
    /// A mistake of ours.
    Internal,
}

impl ErrorKind {
    /// The status with which HTTP says it (RFC 9110, 6585, 4918).
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Denied => 403,
            Self::NotFound => 404,
            Self::Conflict | Self::Fenced => 409,
            Self::Throttled => 429,
            Self::Corrupt | Self::Internal => 500,
            Self::Unavailable | Self::Poisoned => 503,
            Self::TimedOut => 504,
            Self::Full => 507,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Conflict => "conflict",
            Self::Fenced => "fenced",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed out",
            Self::Full => "full",
            Self::Corrupt => "corrupt",
            Self::Poisoned => "poisoned",
            Self::Internal => "internal",
        })
    }
}
