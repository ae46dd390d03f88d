//! The common shape of functions from text to text or to a truth value.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, LargeStringArray, StringArray, StringViewArray, UInt32Array};
use arrow::compute::{cast, take};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// A column of text, whatever its layout. Dictionaries are taken apart before.
pub(crate) enum Texts<'a> {
    Plain(&'a StringArray),
    Large(&'a LargeStringArray),
    View(&'a StringViewArray),
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef) -> Result<Self> {
        match array.data_type() {
            DataType::Utf8 => Ok(Self::Plain(array.as_string())),
            DataType::LargeUtf8 => Ok(Self::Large(array.as_string())),
            DataType::Utf8View => Ok(Self::View(array.as_string_view())),
            other => exec_err!("expected text, found {other}"),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(array) => array.len(),
            Self::Large(array) => array.len(),
            Self::View(array) => array.len(),
        }
    }

    /// The text in `row`; `None` for null.
    pub(crate) fn get(&self, row: usize) -> Option<&'a str> {
        match self {
            Self::Plain(array) => array.is_valid(row).then(|| array.value(row)),
            Self::Large(array) => array.is_valid(row).then(|| array.value(row)),
            Self::View(array) => array.is_valid(row).then(|| array.value(row)),
        }
    }

    /// All texts in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Option<&'a str>> + '_ {
        (0..self.len()).map(|row| self.get(row))
    }
}

/// Works on columns of equal length; a column of length 1 among longer ones holds a constant.
pub(crate) type Run = fn(&[Texts<'_>]) -> ArrayRef;

/// A function whose arguments are all text.
#[derive(Debug)]
pub(crate) struct TextFunction {
    name: &'static str,
    signature: Signature,
    returns: DataType,
    run: Run,
}

impl TextFunction {
    pub(crate) fn texts(name: &'static str, arguments: usize, run: Run) -> Self {
        Self { name, signature: signature(arguments), returns: DataType::Utf8, run }
    }

    pub(crate) fn booleans(name: &'static str, arguments: usize, run: Run) -> Self {
        Self { name, signature: signature(arguments), returns: DataType::Boolean, run }
    }
}

fn signature(arguments: usize) -> Signature {
    let names = ["text", "name"].iter().take(arguments).map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let signature = Signature::user_defined(Volatility::Immutable);
    signature.clone().with_parameter_names(names).unwrap_or(signature)
}

impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TextFunction {}

impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.name == super::query_param::DESCRIBED.name { 2 } else { 1 };
        if given.len() != wanted {
            return plan_err!("{} takes {wanted} argument(s), found {}", self.name, given.len());
        }
        given.iter().map(|given| text_type(self.name, given)).collect()
    }

    fn invoke_with_args(&self, call: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if let [ColumnarValue::Array(column)] = call.args.as_slice()
            && let Some(answer) = self.by_distinct(column)?
        {
            return Ok(ColumnarValue::Array(answer));
        }
        let constant = call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_)));
        let columns = call.args.iter().map(unpacked).collect::<Result<Vec<_>>>()?;
        let texts = columns.iter().map(Texts::of).collect::<Result<Vec<_>>>()?;
        let mut answer = (self.run)(&texts);
        if constant {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?));
        }
        if answer.len() == 1 && call.number_rows != 1 {
            answer = take(&answer, &UInt32Array::from(vec![0; call.number_rows]), None)?;
        }
        Ok(ColumnarValue::Array(answer))
    }
}

impl TextFunction {
    /// A dictionary column is worked on once per distinct value. Nulls are a value of their own here, because some
    /// functions answer for a missing text too.
    fn by_distinct(&self, column: &ArrayRef) -> Result<Option<ArrayRef>> {
        let Some(dictionary) = column.as_any_dictionary_opt() else { return Ok(None) };
        let values = dictionary.values();
        if values.len() >= column.len() {
            return Ok(None); // a slice of a batch with a large dictionary: row by row is less work
        }
        let values = arrow::compute::concat(&[
            &cast(values, &DataType::Utf8View)?,
            &(Arc::new(StringViewArray::new_null(1)) as ArrayRef),
        ])?;
        let missing = u32::try_from(values.len() - 1).unwrap_or(u32::MAX);
        let keys = dictionary.normalized_keys();
        let keys = keys
            .into_iter()
            .enumerate()
            .map(|(row, key)| if column.is_null(row) { missing } else { u32::try_from(key).unwrap_or(missing) });
        let keys = UInt32Array::from_iter_values(keys);
        let answers = (self.run)(&[Texts::of(&values)?]);
        Ok(Some(take(&answers, &keys, None)?))
    }
}

fn unpacked(argument: &ColumnarValue) -> Result<ArrayRef> {
    let column = match argument {
        ColumnarValue::Array(array) => Arc::clone(array),
        ColumnarValue::Scalar(scalar) => scalar.to_array_of_size(1)?,
    };
    match column.data_type() {
        DataType::Dictionary(_, _) | DataType::Null => Ok(cast(&column, &DataType::Utf8View)?),
        _ => Ok(column),
    }
}

/// The type an argument is read as: text stays as it is, null becomes text.
fn text_type(name: &str, given: &DataType) -> Result<DataType> {
    match given {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Ok(given.clone()),
        DataType::Dictionary(_, values)
            if matches!(**values, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) =>
        {
            Ok(given.clone())
        }
        DataType::Null => Ok(DataType::Utf8),
        other => plan_err!("{name} reads text, but its argument is {other}"),
    }
}
