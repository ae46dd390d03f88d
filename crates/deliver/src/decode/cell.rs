//! One value of a row, before it goes into an Arrow column.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, StringBuilder, TimestampMillisecondBuilder,
};

use super::moment;
use crate::columns::Kind;

/// A value that fits its column. Text is borrowed from the record wherever it stands there as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Cell<'a> {
    #[default]
    Null,
    Text(Cow<'a, str>),
    Int(i32),
    Long(i64),
    Double(f64),
    Boolean(bool),
    Timestamp(i64),
}

impl<'a> Cell<'a> {
    /// The value that a text stands for in a column of that kind, or what was expected instead.
    pub(crate) fn from_text(kind: Kind, text: Cow<'a, str>) -> Result<Self, &'static str> {
        Ok(match kind {
            Kind::Text | Kind::Json => Self::Text(text),
            Kind::Int => Self::Int(text.parse().map_err(|_| WHOLE_NUMBER_32)?),
            Kind::Long => Self::Long(text.parse().map_err(|_| WHOLE_NUMBER)?),
            Kind::Double => Self::Double(number(&text).ok_or(NUMBER)?),
            Kind::Boolean => Self::Boolean(match &*text {
                "true" | "1" => true,
                "false" | "0" => false,
                _ => return Err(TRUE_OR_FALSE),
            }),
            Kind::Timestamp => Self::Timestamp(moment::from_text(&text).ok_or(MOMENT)?),
        })
    }
}

pub(crate) const WHOLE_NUMBER: &str = "a whole number of 64 bits";
pub(crate) const WHOLE_NUMBER_32: &str = "a whole number of 32 bits";
pub(crate) const NUMBER: &str = "a number";
pub(crate) const TRUE_OR_FALSE: &str = "true or false";
pub(crate) const MOMENT: &str = "a time (RFC 3339, or seconds, milliseconds or microseconds since 1970)";

/// A finite number; `parse` alone would also read `inf` and `nan`, which no log and no JSON has.
fn number(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// An Arrow column being built.
#[derive(Debug)]
pub(crate) enum Builder {
    Text(StringBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Double(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampMillisecondBuilder),
}

impl Builder {
    pub(crate) fn new(kind: Kind, rows: usize) -> Self {
        /// Most text values of a click are short; the buffer grows where they are not.
        const TEXT_BYTES: usize = 24;
        match kind {
            Kind::Text | Kind::Json => Self::Text(StringBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            Kind::Int => Self::Int(Int32Builder::with_capacity(rows)),
            Kind::Long => Self::Long(Int64Builder::with_capacity(rows)),
            Kind::Double => Self::Double(Float64Builder::with_capacity(rows)),
            Kind::Boolean => Self::Boolean(BooleanBuilder::with_capacity(rows)),
            Kind::Timestamp => Self::Timestamp(
                TimestampMillisecondBuilder::with_capacity(rows).with_data_type(Kind::Timestamp.data_type()),
            ),
        }
    }

    /// Appends the value, which must be of the column's kind: a value of another kind becomes null.
    pub(crate) fn push(&mut self, cell: Cell<'_>) {
        match (self, cell) {
            (Self::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Self::Int(builder), Cell::Int(number)) => builder.append_value(number),
            (Self::Long(builder), Cell::Long(number)) => builder.append_value(number),
            (Self::Double(builder), Cell::Double(number)) => builder.append_value(number),
            (Self::Boolean(builder), Cell::Boolean(value)) => builder.append_value(value),
            (Self::Timestamp(builder), Cell::Timestamp(ms)) => builder.append_value(ms),
            (builder, other) => {
                debug_assert_eq!(other, Cell::Null, "a cell of another kind than its column");
                builder.push_null();
            }
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Text(builder) => builder.append_null(),
            Self::Int(builder) => builder.append_null(),
            Self::Long(builder) => builder.append_null(),
            Self::Double(builder) => builder.append_null(),
            Self::Boolean(builder) => builder.append_null(),
            Self::Timestamp(builder) => builder.append_null(),
        }
    }

    pub(crate) fn finish(mut self) -> ArrayRef {
        match &mut self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Long(builder) => Arc::new(builder.finish()),
            Self::Double(builder) => Arc::new(builder.finish()),
            Self::Boolean(builder) => Arc::new(builder.finish()),
            Self::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}
