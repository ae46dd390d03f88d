//! Moments in the ways in which producers write them, to milliseconds since 1970 in UTC.

/// Below this many, a number counts seconds: as seconds it is the year 5138.
const SECONDS_BELOW: f64 = 1e11;
/// Below this many, a number counts milliseconds; below the next, microseconds; above, nanoseconds.
const MILLIS_BELOW: f64 = 1e14;
const MICROS_BELOW: f64 = 1e17;

/// What a binary fraction may take from `1606855678.123` before it is cut to milliseconds: at most a microsecond.
const FRACTION_MS: f64 = 1e-3;

/// The moment that a number stands for, its unit told by its magnitude: seconds, milliseconds, microseconds or
/// nanoseconds since 1970. Milliseconds before March 1973 would be taken for seconds; no click is that old.
#[allow(clippy::cast_possible_truncation)]
pub(crate) fn from_number(number: f64) -> Option<i64> {
    let magnitude = number.abs();
    let ms = if magnitude < SECONDS_BELOW {
        number * 1e3 + FRACTION_MS
    } else if magnitude < MILLIS_BELOW {
        number
    } else if magnitude < MICROS_BELOW {
        number / 1e3
    } else {
        number / 1e6
    };
    (number.is_finite() && magnitude < 1e20).then(|| ms.floor() as i64)
}

/// The moment that a text stands for: a number as above, or a date and time as RFC 3339 has it. `T` may be a space,
/// the zone may be missing (then it is UTC), and so may the time of day (then it is midnight).
pub(crate) fn from_text(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() >= 10 && bytes[4] == b'-' {
        return from_calendar(bytes);
    }
    // `parse` knows `inf` and `nan`; a moment starts with a digit or a sign.
    if !bytes.first()?.is_ascii_digit() && bytes[0] != b'-' {
        return None;
    }
    from_number(text.parse().ok()?)
}

fn from_calendar(bytes: &[u8]) -> Option<i64> {
    let date = (digits(&bytes[0..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    if bytes[7] != b'-' {
        return None;
    }
    let midnight = days(date.0, date.1, date.2)? * DAY_MS;
    let Some((separator, time)) = bytes[10..].split_first() else { return Some(midnight) };
    if !matches!(separator, b'T' | b't' | b' ') || time.len() < 8 || time[2] != b':' || time[5] != b':' {
        return None;
    }
    let mut ms = clock(digits(&time[0..2])?, digits(&time[3..5])?, digits(&time[6..8])?)?;
    let mut rest = &time[8..];
    if let [b'.' | b',', fraction @ ..] = rest {
        let len = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        let mut scale = 100;
        for digit in &fraction[..len.min(3)] {
            ms += i64::from(digit - b'0') * scale;
            scale /= 10;
        }
        rest = &fraction[len..];
    }
    Some(midnight + ms - zone(rest)?)
}

/// The time zone at the end of a moment, as milliseconds east of UTC.
fn zone(text: &[u8]) -> Option<i64> {
    let (sign, hours, minutes) = match text {
        [] | [b'Z' | b'z'] => return Some(0),
        [sign, h1, h2, b':', m1, m2] | [sign, h1, h2, m1, m2] => (sign, digits(&[*h1, *h2])?, digits(&[*m1, *m2])?),
        [sign, h1, h2] => (sign, digits(&[*h1, *h2])?, 0),
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let ms = (hours * 60 + minutes) * 60_000;
    match sign {
        b'+' => Some(ms),
        b'-' => Some(-ms),
        _ => None,
    }
}

/// The moment of an access log: `17/May/2015:10:05:03 +0000`.
pub(crate) fn from_access_log(text: &[u8]) -> Option<i64> {
    let [d1, d2, b'/', m1, m2, m3, b'/', y1, y2, y3, y4, b':', h1, h2, b':', n1, n2, b':', s1, s2, rest @ ..] = text
    else {
        return None;
    };
    let month = 1 + MONTHS.iter().position(|name| name.eq_ignore_ascii_case(&[*m1, *m2, *m3]))? as i64;
    let date = days(digits(&[*y1, *y2, *y3, *y4])?, month, digits(&[*d1, *d2])?)?;
    let time = clock(digits(&[*h1, *h2])?, digits(&[*n1, *n2])?, digits(&[*s1, *s2])?)?;
    let zone = match rest {
        [] => 0,
        [b' ', rest @ ..] => zone(rest)?,
        _ => return None,
    };
    Some(date * DAY_MS + time - zone)
}

const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

const DAY_MS: i64 = 86_400_000;

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Milliseconds since midnight. A leap second (`:60`) is the next minute's first.
fn clock(hour: i64, minute: i64, second: i64) -> Option<i64> {
    (hour < 24 && minute < 60 && second <= 60).then_some(((hour * 60 + minute) * 60 + second) * 1000)
}

/// Days since 1970 of a date in the Gregorian calendar; years start in March so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + i64::from(leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if day < 1 || day > longest {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, SecondsFormat, TimeZone, Utc};
    use proptest::prelude::*;

    #[test]
    fn numbers_are_seconds_millis_micros_or_nanos_by_their_magnitude() {
        for text in ["1606855678.123", "1606855678123", "1606855678123456", "1606855678123456789"] {
            assert_eq!(from_text(text), Some(1_606_855_678_123), "{text}");
        }
        assert_eq!(from_text("0"), Some(0));
        assert_eq!(from_text("-1"), Some(-1000));
        for text in ["", "abc", "inf", "nan", "1e300", "12:30", "-", "+"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_the_ways_people_write_them() {
        let moment = Some(1_606_855_678_000);
        for text in [
            "2020-12-01T20:47:58Z",
            "2020-12-01 20:47:58",
            "2020-12-01T20:47:58+00:00",
            "2020-12-01t22:47:58+0200",
            "2020-12-01T15:17:58-05:30",
            "2020-12-01T22:47:58+02",
        ] {
            assert_eq!(from_text(text), moment, "{text}");
        }
        assert_eq!(from_text("2020-12-01"), Some(1_606_780_800_000));
        assert_eq!(from_text("2016-12-31T23:59:60Z"), Some(1_483_228_800_000), "a leap second");
        for text in [
            "2020-13-01",
            "2021-02-29",
            "2020-12-01T25:00:00Z",
            "2020-12-01T20:47",
            "2020-12-01T20:47:58.Z",
            "2020-12-01T20:47:58 CET",
            "2020/12/01 20:47:58",
        ] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }

    #[test]
    fn the_time_of_an_access_log_has_its_zone() {
        assert_eq!(from_access_log(b"17/May/2015:10:05:03 +0000"), Some(1_431_857_103_000));
        assert_eq!(from_access_log(b"17/May/2015:12:05:03 +0200"), Some(1_431_857_103_000));
        assert_eq!(from_access_log(b"17/May/2015:03:05:03 -0700"), Some(1_431_857_103_000));
        assert_eq!(from_access_log(b"17/Mai/2015:10:05:03 +0000"), None);
        assert_eq!(from_access_log(b"1/May/2015:10:05:03 +0000"), None);
    }

    proptest! {
        #[test]
        fn any_moment_reads_back_as_it_was_written(ms in -62_135_596_800_000i64..253_402_300_799_000, zone in -86_340i32..86_340) {
            let utc: DateTime<Utc> = Utc.timestamp_millis_opt(ms).single().expect("in range");
            prop_assert_eq!(from_text(&utc.to_rfc3339_opts(SecondsFormat::Millis, true)), Some(ms));
            let zone = chrono::FixedOffset::east_opt(zone / 60 * 60).expect("in range");
            let there = utc.with_timezone(&zone);
            if (0..=9999).contains(&chrono::Datelike::year(&there)) {
                prop_assert_eq!(from_text(&there.to_rfc3339_opts(SecondsFormat::Micros, false)), Some(ms));
                let log = there.format("%d/%b/%Y:%H:%M:%S %z").to_string();
                prop_assert_eq!(from_access_log(log.as_bytes()), Some(ms.div_euclid(1000) * 1000));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = from_text(&text);
            let _ = from_access_log(&bytes);
        }

        #[test]
        fn seconds_with_a_fraction_keep_their_milliseconds(ms in 0i64..4_102_444_800_000) {
            let text = format!("{}.{:03}", ms / 1000, ms % 1000);
            prop_assert_eq!(from_text(&text), Some(ms));
        }
    }
}
