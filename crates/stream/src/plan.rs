//! The capacity planner: how many shards a load needs, and which limit decides.
//!
//! Per shard the limits are those of the published Kinesis API (*Quotas and limits*, *Choose the data stream capacity
//! mode*): in, 1,000 records and 1 MiB a second; out, 2 MiB a second shared by all consumers that poll, and 2 MiB a
//! second for each consumer with enhanced fan-out. One machine carries far more per shard; whoever plans for the cloud's
//! limits can move there and back without counting again.

use crate::limit::SHARDS_MAX;

/// Records that one shard takes in a second.
pub const SHARD_RECORDS_IN: u64 = 1_000;
/// Bytes that one shard takes in a second, with keys.
pub const SHARD_BYTES_IN: u64 = 1 << 20;
/// Bytes that one shard gives in a second to all polling consumers together.
pub const SHARD_BYTES_OUT: u64 = 2 << 20;
/// Bytes that one shard gives in a second to each consumer with enhanced fan-out.
pub const SHARD_FAN_OUT_BYTES_OUT: u64 = 2 << 20;

/// The formula in words, for pages and terminals.
pub const FORMULA: &str = "shards = the largest of ⌈records per second ÷ 1,000⌉, ⌈records per second × record size ÷ 1 MiB⌉, \
                           ⌈records per second × record size × polling consumers ÷ 2 MiB⌉, \
                           ⌈records per second × record size ÷ 2 MiB⌉ if a consumer has fan-out; at least 1";

/// What a stream is to carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Average size of a record with its key, bytes.
    pub record_bytes: u64,
    /// Records per second at the busiest time.
    pub records_per_second: u64,
    /// Consumers that poll, and share what a shard gives.
    pub consumers: u32,
    /// Consumers with enhanced fan-out, each with a way out of its own.
    pub fan_out_consumers: u32,
}

/// A limit of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Records in.
    RecordsIn,
    /// Bytes in.
    BytesIn,
    /// Bytes out to all that poll.
    BytesOut,
    /// Bytes out to one consumer with fan-out.
    FanOutBytesOut,
}

impl Limit {
    /// All limits, in the order of the formula.
    pub const ALL: [Self; 4] = [Self::RecordsIn, Self::BytesIn, Self::BytesOut, Self::FanOutBytesOut];

    /// The name in the HTTP API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RecordsIn => "records_in",
            Self::BytesIn => "bytes_in",
            Self::BytesOut => "bytes_out",
            Self::FanOutBytesOut => "fan_out_bytes_out",
        }
    }

    /// What it limits, in words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::RecordsIn => "records in per second",
            Self::BytesIn => "bytes in per second",
            Self::BytesOut => "bytes out per second, shared by polling consumers",
            Self::FanOutBytesOut => "bytes out per second, each consumer with fan-out",
        }
    }

    /// What one shard carries in a second: records or bytes.
    #[must_use]
    pub const fn per_shard(self) -> u64 {
        match self {
            Self::RecordsIn => SHARD_RECORDS_IN,
            Self::BytesIn => SHARD_BYTES_IN,
            Self::BytesOut => SHARD_BYTES_OUT,
            Self::FanOutBytesOut => SHARD_FAN_OUT_BYTES_OUT,
        }
    }
}

/// What a load asks of one limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// The limit.
    pub limit: Limit,
    /// Records or bytes a second that the whole stream must carry.
    pub needed: u64,
    /// Shards that this limit alone would ask for; 0 if nothing is needed.
    pub shards: u64,
}

/// The answer of the planner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Shards to make, at least 1.
    pub shards: u64,
    /// The limit that comes nearest to full with that many shards; the first in the order of the formula if several do.
    pub decides: Limit,
    /// What each limit asks for, in the order of the formula.
    pub demands: [Demand; 4],
}

impl Plan {
    /// Whether one stream can have so many shards.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.shards <= u64::from(SHARDS_MAX)
    }

    /// Most shards of one stream.
    #[must_use]
    pub const fn shards_max() -> u32 {
        SHARDS_MAX
    }
}

/// How many shards the load needs. Sums that no number holds count as the largest number.
#[must_use]
pub fn plan(load: &Load) -> Plan {
    let bytes_in = load.records_per_second.saturating_mul(load.record_bytes);
    let demands = Limit::ALL.map(|limit| {
        let needed = match limit {
            Limit::RecordsIn => load.records_per_second,
            Limit::BytesIn => bytes_in,
            Limit::BytesOut => bytes_in.saturating_mul(u64::from(load.consumers)),
            Limit::FanOutBytesOut => bytes_in * u64::from(load.fan_out_consumers > 0),
        };
        Demand { limit, needed, shards: needed.div_ceil(limit.per_shard()) }
    });
    let fuller = |a: &Demand, b: &Demand| {
        u128::from(a.needed) * u128::from(b.limit.per_shard()) > u128::from(b.needed) * u128::from(a.limit.per_shard())
    };
    let decides = demands.iter().fold(&demands[0], |most, next| if fuller(next, most) { next } else { most });
    Plan { shards: decides.shards.max(1), decides: decides.limit, demands }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(record_bytes: u64, records_per_second: u64, consumers: u32, fan_out_consumers: u32) -> (u64, Limit) {
        let plan = plan(&Load { record_bytes, records_per_second, consumers, fan_out_consumers });
        (plan.shards, plan.decides)
    }

    #[test]
    fn the_limit_that_is_reached_first_decides() {
        assert_eq!(planned(100, 5_000, 1, 0), (5, Limit::RecordsIn), "many small records");
        assert_eq!(planned(10 << 10, 500, 1, 0), (5, Limit::BytesIn), "4.9 MiB in");
        assert_eq!(planned(1 << 10, 1_000, 8, 0), (4, Limit::BytesOut), "7.8 MiB out through 2 MiB doors");
        assert_eq!(planned(1 << 10, 1_000, 0, 8), (1, Limit::RecordsIn), "fan-out shares nothing");
        assert_eq!(planned(1 << 10, 1_024, 2, 0), (2, Limit::RecordsIn), "1.024 of the records, 1 of the bytes");
    }

    #[test]
    fn nothing_at_all_still_needs_a_shard_and_what_is_beyond_numbers_does_not_fit() {
        assert_eq!(planned(0, 0, 0, 0), (1, Limit::RecordsIn));
        let most =
            Load { record_bytes: u64::MAX, records_per_second: u64::MAX, consumers: u32::MAX, fan_out_consumers: 1 };
        let plan = plan(&most);
        assert!(!plan.fits() && plan.shards > 1 << 40, "{plan:?}");
    }

    #[test]
    fn planned_shards_carry_the_load_and_one_fewer_would_not() {
        for record_bytes in [1, 99, 1_024, 3_000, 1 << 20] {
            for records_per_second in [1, 999, 1_000, 1_001, 54_321] {
                for consumers in [0, 1, 2, 3, 20] {
                    let load = Load { record_bytes, records_per_second, consumers, fan_out_consumers: 1 };
                    let plan = plan(&load);
                    let carried = |shards: u64| {
                        plan.demands.iter().all(|demand| demand.needed <= shards * demand.limit.per_shard())
                    };
                    assert!(carried(plan.shards), "{load:?} {plan:?}");
                    assert!(plan.shards == 1 || !carried(plan.shards - 1), "{load:?} {plan:?}");
                }
            }
        }
    }
}
