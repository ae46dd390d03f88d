//! Moments as signatures have them: `YYYYMMDDTHHMMSSZ`.

use std::fmt;
use std::time::UNIX_EPOCH;

use base::Millis;

const DAY_SECONDS: i64 = 86_400;

/// A second of the years 0 to 9999, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Moment {
    seconds: i64,
}

impl Moment {
    /// Reads the basic format; or an HTTP date, which a `Date` header may have.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(time) = httpdate::parse_http_date(text) {
            let seconds = time.duration_since(UNIX_EPOCH).ok()?.as_secs();
            return Some(Self { seconds: i64::try_from(seconds).ok()? });
        }
        let bytes: &[u8; 16] = text.as_bytes().try_into().ok()?;
        if bytes[8] != b'T' || bytes[15] != b'Z' {
            return None;
        }
        let number = |from: usize, to: usize| {
            let mut value = 0_i64;
            for byte in &bytes[from..to] {
                value = value * 10 + i64::from(char::from(*byte).to_digit(10)?);
            }
            Some(value)
        };
        let (year, month, day) = (number(0, 4)?, number(4, 6)?, number(6, 8)?);
        let (hour, minute, second) = (number(9, 11)?, number(11, 13)?, number(13, 15)?);
        let within = (1..=12).contains(&month) && day >= 1 && hour < 24 && minute < 60 && second < 60;
        let moment = Self { seconds: days(year, month, day) * DAY_SECONDS + hour * 3600 + minute * 60 + second };
        // A day that its month does not have comes out as another.
        (within && moment.date() == (year, month, day)).then_some(moment)
    }

    pub(super) fn millis(self) -> Millis {
        Millis(self.seconds * 1000)
    }

    /// `YYYYMMDD`.
    pub(super) fn day(self) -> String {
        let (year, month, day) = self.date();
        format!("{year:04}{month:02}{day:02}")
    }

    /// Year, month and day (the proleptic Gregorian calendar, counted in eras of 400 years that begin in March).
    fn date(self) -> (i64, i64, i64) {
        let days = self.seconds.div_euclid(DAY_SECONDS) + 719_468;
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        (era * 400 + year_of_era + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1)
    }
}

/// Days since 1970-01-01.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

impl From<Millis> for Moment {
    fn from(at: Millis) -> Self {
        Self { seconds: at.0.div_euclid(1000) }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of_day = self.seconds.rem_euclid(DAY_SECONDS);
        write!(f, "{}T{:02}{:02}{:02}Z", self.day(), of_day / 3600, of_day / 60 % 60, of_day % 60)
    }
}
