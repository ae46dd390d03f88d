//! One column of a batch, ready to write any of its values as JSON or as CSV text. The type is looked at once per
//! batch, not once per value.

use std::io::Write;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, LargeStringArray, PrimitiveArray, StringArray,
    StringViewArray,
};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::names::per_second;

/// A column of one batch.
pub(crate) struct Cells {
    nulls: Option<NullBuffer>,
    values: Values,
}

enum Values {
    Null,
    Boolean(BooleanArray),
    Int8(PrimitiveArray<Int8Type>),
    Int16(PrimitiveArray<Int16Type>),
    Int32(PrimitiveArray<Int32Type>),
    Int64(PrimitiveArray<Int64Type>),
    UInt8(PrimitiveArray<UInt8Type>),
    UInt16(PrimitiveArray<UInt16Type>),
    UInt32(PrimitiveArray<UInt32Type>),
    UInt64(PrimitiveArray<UInt64Type>),
    Float32(Float32Array),
    Float64(Float64Array),
    Text(StringArray),
    LargeText(LargeStringArray),
    ViewText(StringViewArray),
    /// Ticks since 1970 and how many of them make a second.
    Timestamp(Vec<i64>, i64),
    Date(PrimitiveArray<Date32Type>),
    /// Where each row's items begin and end, and the items.
    List(Vec<(usize, usize)>, Box<Cells>),
    Struct(Vec<(String, Cells)>),
    Other(ArrayRef),
}

impl Cells {
    pub(crate) fn of(array: &ArrayRef) -> Result<Self, ArrowError> {
        if let DataType::Dictionary(_, values) = array.data_type() {
            return Self::of(&cast(array, values)?);
        }
        Ok(Self { nulls: array.logical_nulls(), values: values_of(array)? })
    }

    /// Writes the value in `row` as JSON.
    pub(crate) fn json(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        match &self.values {
            Values::Null => out.extend_from_slice(b"null"),
            Values::Float32(array) => number(f64::from(array.value(row)), &array.value(row), out)?,
            Values::Float64(array) => number(array.value(row), &array.value(row), out)?,
            Values::Text(array) => json_text(array.value(row), out)?,
            Values::LargeText(array) => json_text(array.value(row), out)?,
            Values::ViewText(array) => json_text(array.value(row), out)?,
            Values::List(bounds, items) => {
                let (start, end) = bounds[row];
                out.push(b'[');
                for item in start..end {
                    if item > start {
                        out.push(b',');
                    }
                    items.json(item, out)?;
                }
                out.push(b']');
            }
            Values::Struct(fields) => {
                out.push(b'{');
                for (index, (name, values)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    json_text(name, out)?;
                    out.push(b':');
                    values.json(row, out)?;
                }
                out.push(b'}');
            }
            Values::Timestamp(..) | Values::Date(_) => {
                out.push(b'"');
                self.plain(row, out)?;
                out.push(b'"');
            }
            Values::Other(array) => json_text(&shown(array, row)?, out)?,
            _ => self.plain(row, out)?,
        }
        Ok(())
    }

    /// Writes the value in `row` as a CSV field: null as nothing, empty text as `""`.
    pub(crate) fn csv(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        if self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(());
        }
        match &self.values {
            Values::Null => {}
            Values::Float32(array) => csv_float(f64::from(array.value(row)), &array.value(row), out)?,
            Values::Float64(array) => csv_float(array.value(row), &array.value(row), out)?,
            Values::Text(array) => csv_text(array.value(row), out),
            Values::LargeText(array) => csv_text(array.value(row), out),
            Values::ViewText(array) => csv_text(array.value(row), out),
            Values::List(..) | Values::Struct(_) => {
                let mut json = Vec::new();
                self.json(row, &mut json)?;
                csv_text(&String::from_utf8_lossy(&json), out);
            }
            Values::Other(array) => csv_text(&shown(array, row)?, out),
            _ => self.plain(row, out)?,
        }
        Ok(())
    }

    /// What reads the same in JSON and CSV, without quotes.
    fn plain(&self, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
        match &self.values {
            Values::Boolean(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Values::Int8(array) => write!(out, "{}", array.value(row))?,
            Values::Int16(array) => write!(out, "{}", array.value(row))?,
            Values::Int32(array) => write!(out, "{}", array.value(row))?,
            Values::Int64(array) => write!(out, "{}", array.value(row))?,
            Values::UInt8(array) => write!(out, "{}", array.value(row))?,
            Values::UInt16(array) => write!(out, "{}", array.value(row))?,
            Values::UInt32(array) => write!(out, "{}", array.value(row))?,
            Values::UInt64(array) => write!(out, "{}", array.value(row))?,
            Values::Timestamp(ticks, per_second) => instant(ticks[row], *per_second, out)?,
            Values::Date(array) => date(i64::from(array.value(row)), out)?,
            _ => {}
        }
        Ok(())
    }
}

fn values_of(array: &ArrayRef) -> Result<Values, ArrowError> {
    Ok(match array.data_type() {
        DataType::Null => Values::Null,
        DataType::Boolean => Values::Boolean(array.as_boolean().clone()),
        DataType::Int8 => Values::Int8(array.as_primitive().clone()),
        DataType::Int16 => Values::Int16(array.as_primitive().clone()),
        DataType::Int32 => Values::Int32(array.as_primitive().clone()),
        DataType::Int64 => Values::Int64(array.as_primitive().clone()),
        DataType::UInt8 => Values::UInt8(array.as_primitive().clone()),
        DataType::UInt16 => Values::UInt16(array.as_primitive().clone()),
        DataType::UInt32 => Values::UInt32(array.as_primitive().clone()),
        DataType::UInt64 => Values::UInt64(array.as_primitive().clone()),
        DataType::Float16 => Values::Float32(cast(array, &DataType::Float32)?.as_primitive::<Float32Type>().clone()),
        DataType::Float32 => Values::Float32(array.as_primitive().clone()),
        DataType::Float64 => Values::Float64(array.as_primitive::<Float64Type>().clone()),
        DataType::Utf8 => Values::Text(array.as_string().clone()),
        DataType::LargeUtf8 => Values::LargeText(array.as_string().clone()),
        DataType::Utf8View => Values::ViewText(array.as_string_view().clone()),
        DataType::Timestamp(unit, _) => Values::Timestamp(ticks(array, *unit), per_second(*unit)),
        DataType::Date32 => Values::Date(array.as_primitive().clone()),
        DataType::Date64 => Values::Date(cast(array, &DataType::Date32)?.as_primitive().clone()),
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let bounds = list.value_offsets().windows(2).map(|pair| (pair[0] as usize, pair[1] as usize)).collect();
            Values::List(bounds, Box::new(Cells::of(list.values())?))
        }
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return values_of(&cast(array, &DataType::List(item.clone()))?);
        }
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let named =
                fields.iter().zip(columns).map(|(field, column)| Ok((field.name().clone(), Cells::of(column)?)));
            Values::Struct(named.collect::<Result<_, ArrowError>>()?)
        }
        _ => Values::Other(array.clone()),
    })
}

fn ticks(array: &ArrayRef, unit: TimeUnit) -> Vec<i64> {
    match unit {
        TimeUnit::Second => array.as_primitive::<TimestampSecondType>().values().to_vec(),
        TimeUnit::Millisecond => array.as_primitive::<TimestampMillisecondType>().values().to_vec(),
        TimeUnit::Microsecond => array.as_primitive::<TimestampMicrosecondType>().values().to_vec(),
        TimeUnit::Nanosecond => array.as_primitive::<TimestampNanosecondType>().values().to_vec(),
    }
}

fn shown(array: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let options = FormatOptions::new();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    formatter.value(row).try_to_string()
}

/// JSON has no word for what is no finite number: it is written as null.
fn number(value: f64, exact: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    if !value.is_finite() {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    serde_json::to_writer(out, exact).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}

fn csv_float(value: f64, exact: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    if value.is_finite() {
        return number(value, exact, out);
    }
    let word: &[u8] = if value.is_nan() {
        b"NaN"
    } else if value > 0.0 {
        b"Infinity"
    } else {
        b"-Infinity"
    };
    out.extend_from_slice(word);
    Ok(())
}

pub(crate) fn json_text(text: &str, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    serde_json::to_writer(out, text).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}

pub(crate) fn csv_text(text: &str, out: &mut Vec<u8>) {
    let quoted = text.is_empty() || text.bytes().any(|byte| matches!(byte, b',' | b'"' | b'\r' | b'\n'));
    if !quoted {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// An instant as RFC 3339 in UTC, with as many digits of a second as it needs: none, three, six or nine.
fn instant(ticks: i64, per_second: i64, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let seconds = ticks.div_euclid(per_second);
    let nanos = ticks.rem_euclid(per_second) * (1_000_000_000 / per_second);
    let day = seconds.div_euclid(86_400);
    let second = seconds.rem_euclid(86_400);
    date(day, out)?;
    write!(out, "T{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)?;
    match nanos {
        0 => {}
        nanos if nanos % 1_000_000 == 0 => write!(out, ".{:03}", nanos / 1_000_000)?,
        nanos if nanos % 1000 == 0 => write!(out, ".{:06}", nanos / 1000)?,
        nanos => write!(out, ".{nanos:09}")?,
    }
    out.push(b'Z');
    Ok(())
}

/// A day since 1970-01-01 as a date of the Gregorian calendar, by counting years from March.
fn date(day: i64, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let of_era = z.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    write!(out, "{year:04}-{month:02}-{day:02}")?;
    Ok(())
}
