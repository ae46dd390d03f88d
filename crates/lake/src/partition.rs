//! Hours of the event time: which folder a row belongs to.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array};
use chrono::{DateTime, Datelike, Timelike};

use crate::schema::PARTITION_COLUMNS;

const HOUR_MS: i64 = 3_600_000;
/// 0001-01-01T00 and 9999-12-31T23 in hours since 1970: rows beyond go to the first or last folder, because readers
/// differ in how they take years of other than four digits.
const HOUR_MIN: i64 = -17_259_888;
const HOUR_MAX: i64 = 70_389_527;

/// Whole hours since 1970-01-01T00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Hour(pub(crate) i32);

impl Hour {
    /// The hour of an event time in epoch milliseconds.
    pub(crate) fn of_ms(ms: i64) -> Self {
        let hour = ms.div_euclid(HOUR_MS).clamp(HOUR_MIN, HOUR_MAX);
        Self(i32::try_from(hour).expect("the clamp above fits"))
    }

    /// Year, month (1..=12), day (1..=31) and hour (0..=23), in UTC.
    pub(crate) fn parts(self) -> [i32; 4] {
        let time = DateTime::from_timestamp(i64::from(self.0) * 3600, 0).expect("years 1 to 9999 are representable");
        [time.year(), time.month().cast_signed(), time.day().cast_signed(), time.hour().cast_signed()]
    }

    /// The first millisecond after this hour.
    pub(crate) fn end_ms(parts: [i32; 4]) -> Option<i64> {
        let [year, month, day, hour] = parts;
        let date = chrono::NaiveDate::from_ymd_opt(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
        let time = date.and_hms_opt(u32::try_from(hour).ok()?, 0, 0)?;
        Some(time.and_utc().timestamp_millis() + HOUR_MS)
    }
}

/// The hours of the rows of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hours {
    /// All rows lie in one hour (or the table is not partitioned).
    One(Hour),
    /// One per row.
    Each(Vec<Hour>),
}

impl Hours {
    /// From event times in epoch milliseconds, one per row.
    pub(crate) fn of(times: &[i64]) -> Self {
        let mut rows = times.iter().map(|ms| Hour::of_ms(*ms));
        let Some(first) = rows.next() else { return Self::One(Hour(0)) };
        if rows.all(|hour| hour == first) {
            return Self::One(first);
        }
        Self::Each(times.iter().map(|ms| Hour::of_ms(*ms)).collect())
    }

    /// Puts the hours of `next` (with `next_rows` rows) after these (with `rows` rows).
    pub(crate) fn join(&self, rows: usize, next: &Self, next_rows: usize) -> Self {
        if let (Self::One(a), Self::One(b)) = (self, next)
            && a == b
        {
            return self.clone();
        }
        let mut all = Vec::with_capacity(rows + next_rows);
        for (hours, count) in [(self, rows), (next, next_rows)] {
            match hours {
                Self::One(hour) => all.extend(std::iter::repeat_n(*hour, count)),
                Self::Each(each) => all.extend_from_slice(each),
            }
        }
        Self::Each(all)
    }

    /// The partition columns year, month, day, hour for `rows` rows.
    pub(crate) fn columns(&self, rows: usize) -> [ArrayRef; 4] {
        match self {
            Self::One(hour) => hour.parts().map(|part| Arc::new(Int32Array::from_value(part, rows)) as ArrayRef),
            Self::Each(each) => {
                let mut columns: [Vec<i32>; 4] = std::array::from_fn(|_| Vec::with_capacity(rows));
                let mut last = None;
                for hour in each {
                    let parts = match last {
                        Some((known, parts)) if known == *hour => parts,
                        _ => hour.parts(),
                    };
                    last = Some((*hour, parts));
                    for (column, part) in columns.iter_mut().zip(parts) {
                        column.push(part);
                    }
                }
                columns.map(|column| Arc::new(Int32Array::from(column)) as ArrayRef)
            }
        }
    }
}

/// `year=2026/month=11/day=02/hour=07`: padded, so that a listing is in the order of time.
pub(crate) fn folder(parts: [i32; 4]) -> String {
    let [year, month, day, hour] = parts;
    format!("year={year:04}/month={month:02}/day={day:02}/hour={hour:02}")
}

/// The partition of a file from the values in the Delta log; `None` if one is missing or not a number.
pub(crate) fn from_values(get: impl Fn(&str) -> Option<i32>) -> Option<[i32; 4]> {
    let [year, month, day, hour] = PARTITION_COLUMNS.map(get);
    Some([year?, month?, day?, hour?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_is_the_folder_of_all_its_milliseconds_and_of_no_other() {
        let start = 1_795_300_000_000 / HOUR_MS * HOUR_MS;
        let hour = Hour::of_ms(start);
        assert_eq!(Hour::of_ms(start + HOUR_MS - 1), hour);
        assert_eq!(Hour::of_ms(start - 1).0, hour.0 - 1);
        assert_eq!(Hour::end_ms(hour.parts()), Some(start + HOUR_MS));
        assert_eq!(folder(Hour::of_ms(0).parts()), "year=1970/month=01/day=01/hour=00");
        assert_eq!(folder(Hour::of_ms(-1).parts()), "year=1969/month=12/day=31/hour=23");
    }

    #[test]
    fn times_beyond_four_digit_years_go_to_the_outermost_folders() {
        assert_eq!(Hour::of_ms(i64::MIN).parts(), [1, 1, 1, 0]);
        assert_eq!(Hour::of_ms(i64::MAX).parts(), [9999, 12, 31, 23]);
    }

    #[test]
    fn joined_hours_keep_the_order_of_the_rows() {
        let (a, b) = (Hours::of(&[0, 1]), Hours::of(&[HOUR_MS, 0]));
        let all = a.join(2, &b, 2);
        assert_eq!(all, Hours::Each(vec![Hour(0), Hour(0), Hour(1), Hour(0)]));
        assert_eq!(a.join(2, &Hours::of(&[5]), 1), Hours::One(Hour(0)));
        let hours = all.columns(4);
        assert_eq!(hours[3].as_ref(), &Int32Array::from(vec![0, 0, 1, 0]));
    }
}
