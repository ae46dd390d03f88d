//! `tumble`: the window of fixed width that an instant lies in.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowTimestampType, DataType, IntervalUnit, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::Described;

pub(crate) const DESCRIBED: Described = Described {
    name: "tumble",
    signature: "tumble(time timestamp, width interval) -> timestamp",
    about: "The start of the window of this width that the time lies in. Windows follow one another without gap, \
            counted from 1970-01-01T00:00:00Z. The width is a constant of milliseconds to days, not months.",
    example: "tumble(timestamp '2026-11-22T10:17:30Z', interval '10 minutes') = 2026-11-22T10:10:00Z",
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Tumble {
    signature: Signature,
}

impl Tumble {
    pub(crate) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Tumble {
    fn name(&self) -> &str {
        DESCRIBED.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        match given.first() {
            Some(time) => Ok(time.clone()),
            None => plan_err!("tumble takes a time and a width"),
        }
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let [time, width] = given else {
            return plan_err!("tumble takes a time and a width, found {} argument(s)", given.len());
        };
        let time = match time {
            DataType::Timestamp(_, _) => time.clone(),
            DataType::Date32 | DataType::Date64 | DataType::Null => DataType::Timestamp(TimeUnit::Millisecond, None),
            other => return plan_err!("tumble reads a timestamp, but its first argument is {other}"),
        };
        let width = match width {
            DataType::Interval(_) | DataType::Duration(_) => DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DataType::Interval(IntervalUnit::MonthDayNano),
            other => return plan_err!("tumble's width is an interval such as interval '10 minutes', found {other}"),
        };
        Ok(vec![time, width])
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [time, ColumnarValue::Scalar(width)] = call.args.as_slice() else {
            return exec_err!("tumble's width must be a constant such as interval '10 minutes'");
        };
        let width = nanoseconds(width)?;
        match time {
            ColumnarValue::Array(times) => Ok(ColumnarValue::Array(starts(times, width)?)),
            ColumnarValue::Scalar(time) => {
                let start = starts(&time.to_array_of_size(1)?, width)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&start, 0)?))
            }
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        // A later time never lies in an earlier window.
        Ok(inputs.first().map_or(SortProperties::Unordered, |time| time.sort_properties))
    }
}

fn nanoseconds(width: &ScalarValue) -> Result<i64> {
    let ScalarValue::IntervalMonthDayNano(Some(width)) = width else {
        return exec_err!("tumble's width is missing");
    };
    if width.months != 0 {
        return exec_err!("tumble's width must not hold months: they differ in length. Use date_trunc('month', …)");
    }
    let days = i64::from(width.days).checked_mul(86_400_000_000_000);
    match days.and_then(|days| days.checked_add(width.nanoseconds)) {
        Some(total) if total > 0 => Ok(total),
        _ => exec_err!("tumble's width must be more than nothing and less than 292 years"),
    }
}

fn starts(times: &ArrayRef, width_ns: i64) -> Result<ArrayRef> {
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => starts_in::<TimestampSecondType>(times, width_ns, 1_000_000_000),
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            starts_in::<TimestampMillisecondType>(times, width_ns, 1_000_000)
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => starts_in::<TimestampMicrosecondType>(times, width_ns, 1000),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => starts_in::<TimestampNanosecondType>(times, width_ns, 1),
        _ => starts(&cast(times, &DataType::Timestamp(TimeUnit::Millisecond, None))?, width_ns),
    }
}

fn starts_in<T: ArrowTimestampType>(times: &ArrayRef, width_ns: i64, unit_ns: i64) -> Result<ArrayRef> {
    if width_ns % unit_ns != 0 {
        return exec_err!("tumble's width is finer than the time it cuts: cast the time to a finer timestamp");
    }
    let width = width_ns / unit_ns;
    let times = times.as_primitive::<T>();
    let cut: PrimitiveArray<T> = times.unary(|time| time.saturating_sub(time.rem_euclid(width)));
    Ok(Arc::new(cut.with_data_type(times.data_type().clone())))
}
