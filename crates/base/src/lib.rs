//! The few words that all rooms share.
//!
//! **In:** nothing. **Out:** ids, the record, time, limits, error kinds, counters, the settings reader.
//! **Holds:** no state. **Never:** does I/O, knows tokio or Arrow, or grows a word that only one room uses.

pub mod count;
pub mod error;
pub mod id;
pub mod limits;
pub mod record;
pub mod settings;
pub mod time;

pub use count::{Counter, Gauge, Histogram, Measured, Sample};
pub use error::ErrorKind;
pub use id::{Offset, ShardId, TableVersion};
pub use record::{Format, Header, Record};
pub use time::{Clock, Millis, SystemClock};
