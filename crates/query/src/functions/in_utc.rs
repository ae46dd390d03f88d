//! The engine's `date_trunc` and `date_part`, ten times faster for instants in UTC, which all of the lake's are.
//!
//! For a timestamp with a zone the engine looks up the zone's offset for every value. UTC has none, so the zone can be
//! taken off before and put on after: the same answer without the look-ups.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, PrimitiveArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// The functions of the engine that are replaced, under their own names.
pub(crate) fn replaced() -> Vec<ScalarUDF> {
    let inner = [datafusion::functions::datetime::date_trunc(), datafusion::functions::datetime::date_part()];
    inner.into_iter().map(|inner| ScalarUDF::from(InUtc { inner })).collect()
}

/// Plans `extract(hour from …)` with the replaced `date_part`.
#[derive(Debug)]
pub(crate) struct Extract {
    date_part: Arc<ScalarUDF>,
}

impl Extract {
    pub(crate) fn new() -> Self {
        Self { date_part: Arc::new(ScalarUDF::from(InUtc { inner: datafusion::functions::datetime::date_part() })) }
    }
}

impl ExprPlanner for Extract {
    fn plan_extract(&self, arguments: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        let call = ScalarFunction::new_udf(Arc::clone(&self.date_part), arguments);
        Ok(PlannerResult::Planned(Expr::ScalarFunction(call)))
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct InUtc {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for InUtc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, given: &[DataType]) -> Result<DataType> {
        self.inner.return_type(given)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(given)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preimage(&self, arguments: &[Expr], literal: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        self.inner.preimage(arguments, literal, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, mut call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((ColumnarValue::Array(time), field)) = call.args.get(1).zip(call.arg_fields.get(1)) else {
            return self.inner.invoke_with_args(call);
        };
        let DataType::Timestamp(unit, Some(zone)) = time.data_type() else {
            return self.inner.invoke_with_args(call);
        };
        if !is_utc(zone) {
            return self.inner.invoke_with_args(call);
        }
        let (unit, zone) = (*unit, Arc::clone(zone));
        if self.name() == "date_trunc"
            && let ColumnarValue::Scalar(of) = &call.args[0]
            && let Some(begun) =
                of.try_as_str().flatten().and_then(|of| whole(of, unit)).and_then(|length| begins(time, length))
        {
            return Ok(ColumnarValue::Array(begun));
        }
        let bare = DataType::Timestamp(unit, None);
        let returned = call.return_field.data_type().clone();
        call.arg_fields[1] = Arc::new(field.as_ref().clone().with_data_type(bare.clone()));
        call.args[1] = ColumnarValue::Array(in_zone(time, unit, None));
        let in_time = matches!(returned, DataType::Timestamp(_, _));
        if in_time {
            call.return_field = Arc::new(call.return_field.as_ref().clone().with_data_type(bare));
        }
        match self.inner.invoke_with_args(call)? {
            ColumnarValue::Array(answer) if in_time => Ok(ColumnarValue::Array(in_zone(&answer, unit, Some(zone)))),
            answer => Ok(answer),
        }
    }
}

/// How long `of` is, in units of the timestamp; `None` for what is not always of the same length or not known here.
fn whole(of: &str, unit: TimeUnit) -> Option<i64> {
    let seconds = match of.to_ascii_lowercase().as_str() {
        "second" => 1,
        "minute" => 60,
        "hour" => 3_600,
        "day" => 86_400,
        _ => return None,
    };
    Some(match unit {
        TimeUnit::Second => seconds,
        TimeUnit::Millisecond => seconds * 1_000,
        TimeUnit::Microsecond => seconds * 1_000_000,
        TimeUnit::Nanosecond => seconds * 1_000_000_000,
    })
}

/// The begin of the hour, or whatever lasts `length`, that each time lies in. Rows that lie together mostly lie in the same
/// hour, so most cost a comparison and no division. `None` if one lies before all times that can be told.
fn begins(times: &ArrayRef, length: i64) -> Option<ArrayRef> {
    fn all<T: ArrowTimestampType>(times: &ArrayRef, length: i64) -> Option<ArrayRef> {
        let times = times.as_primitive::<T>();
        if times.values().iter().any(|time| *time < i64::MIN + length) {
            return None;
        }
        let mut begin = 0;
        let begins = times.values().iter().map(|time| {
            if time.wrapping_sub(begin).cast_unsigned() >= length.cast_unsigned() {
                begin = time - time.rem_euclid(length);
            }
            begin
        });
        let begins = PrimitiveArray::<T>::new(begins.collect::<Vec<i64>>().into(), times.nulls().cloned());
        Some(Arc::new(begins.with_timezone_opt(times.timezone().map(Arc::from))))
    }
    match times.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => all::<TimestampSecondType>(times, length),
        DataType::Timestamp(TimeUnit::Millisecond, _) => all::<TimestampMillisecondType>(times, length),
        DataType::Timestamp(TimeUnit::Microsecond, _) => all::<TimestampMicrosecondType>(times, length),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => all::<TimestampNanosecondType>(times, length),
        _ => None,
    }
}

fn is_utc(zone: &str) -> bool {
    matches!(zone, "UTC" | "Z" | "+00:00" | "+00" | "Etc/UTC")
}

/// The same instants, labelled with another zone or none.
fn in_zone(times: &ArrayRef, unit: TimeUnit, zone: Option<Arc<str>>) -> ArrayRef {
    match unit {
        TimeUnit::Second => Arc::new(times.as_primitive::<TimestampSecondType>().clone().with_timezone_opt(zone)),
        TimeUnit::Millisecond => {
            Arc::new(times.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(zone))
        }
        TimeUnit::Microsecond => {
            Arc::new(times.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(zone))
        }
        TimeUnit::Nanosecond => {
            Arc::new(times.as_primitive::<TimestampNanosecondType>().clone().with_timezone_opt(zone))
        }
    }
}
