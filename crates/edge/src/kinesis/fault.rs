//! The service's exceptions by their names, for the operations of the door.

use std::time::Duration;

use http::StatusCode;
use stream::OpenError;

use super::wire::ServiceError;

/// When a client that found no room may come back.
const ROOM_TIME: Duration = Duration::from_secs(1);

/// What an operation answers when it does not do what was asked.
pub(crate) type Fault = ServiceError;

/// Constructors, one for each exception in use.
macro_rules! faults {
    ($($(#[$doc:meta])* $make:ident $name:literal)*) => {
        impl ServiceError {
            $($(#[$doc])*
            pub(crate) fn $make(message: impl Into<String>) -> Self {
                Self::new($name, message)
            })*
        }
    };
}

faults! {
    /// What was named does not exist.
    not_found "ResourceNotFoundException"
    /// What was named is in a state that does not allow it.
    in_use "ResourceInUseException"
    /// An argument is wrong.
    invalid "InvalidArgumentException"
    /// An argument breaks a constraint of the model.
    validation "ValidationException"
    /// More than there may be.
    limit "LimitExceededException"
    /// More than a shard takes or gives.
    throughput "ProvisionedThroughputExceededException"
    /// The iterator is too old.
    expired_iterator "ExpiredIteratorException"
    /// The token of a list is too old.
    expired_token "ExpiredNextTokenException"
    /// Only asked whether it would do.
    dry_run "DryRunOperationException"
    /// There is no key to encrypt with.
    no_key "KMSNotFoundException"
    /// An operation without a meaning on one machine.
    unsupported "UnsupportedOperationException"
}

impl ServiceError {
    /// There is no room in memory for another request or answer at this moment.
    pub(crate) fn busy() -> Self {
        let text = "Too many requests are in progress. Slow down and try again.";
        Self::new("ThrottlingException", text).with_status(StatusCode::SERVICE_UNAVAILABLE).retry_after(ROOM_TIME)
    }

    /// What the disk or the log said to an operation on the control plane.
    pub(crate) fn of_open(error: &OpenError) -> Self {
        use base::ErrorKind;
        match error.kind() {
            ErrorKind::Invalid => Self::invalid(error.to_string()),
            ErrorKind::Conflict => Self::in_use(error.to_string()),
            ErrorKind::NotFound => Self::not_found(error.to_string()),
            _ => {
                tracing::error!(%error, "an operation of the Kinesis door failed");
                Self::internal("The stream's files could not be changed; the server's log says why.")
            }
        }
    }
}
