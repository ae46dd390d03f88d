//! The few words that all rooms share.
//!
//! **In:** nothing. **Out:** ids, the record, time, limits, error kinds, counters, the ledger's row, the
//! published fields of a CDN's log, the settings reader.
//! **Holds:** no state. **Never:** does I/O, knows tokio or Arrow, or grows a word that only one room uses.

pub mod cdn;
pub mod count;
pub mod error;
pub mod id;
pub mod ledger;
pub mod limits;
pub mod record;
pub mod settings;
pub mod time;

pub use cdn::CdnField;
pub use count::{Counter, Gauge, Histogram, Measured, Sample};
pub use error::ErrorKind;
pub use id::{Offset, ShardId, TableVersion};
pub use ledger::LedgerRow;
pub use record::{Format, Header, Record};
pub use time::{Clock, Millis, SystemClock};
