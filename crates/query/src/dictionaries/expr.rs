//! A column of texts as a dictionary.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, DictionaryArray, Int32Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Schema};
use datafusion::common::{Result, internal_err, resources_datafusion_err};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

use super::data_type;

/// The texts of `text` as a dictionary of their own, in which each row has its own text: made in one pass and without looking for
/// those that are the same. What a scan makes of it is in [`super::adapter`].
#[derive(Debug, Eq)]
pub(crate) struct AsDictionary {
    pub(crate) text: Arc<dyn PhysicalExpr>,
}

impl PartialEq for AsDictionary {
    fn eq(&self, other: &Self) -> bool {
        self.text.eq(&other.text)
    }
}

impl Hash for AsDictionary {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

impl fmt::Display for AsDictionary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsDictionary({})", self.text)
    }
}

impl PhysicalExpr for AsDictionary {
    fn data_type(&self, _input: &Schema) -> Result<DataType> {
        Ok(data_type())
    }

    fn nullable(&self, input: &Schema) -> Result<bool> {
        self.text.nullable(input)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let texts = self.text.evaluate(batch)?.into_array(batch.num_rows())?;
        Ok(ColumnarValue::Array(of(&texts)?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.text]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        let Ok([text]) = <[_; 1]>::try_from(children) else { return internal_err!("AsDictionary has one child") };
        Ok(Arc::new(Self { text }))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as_dictionary(")?;
        self.text.fmt_sql(f)?;
        write!(f, ")")
    }
}

fn of(texts: &ArrayRef) -> Result<ArrayRef> {
    if *texts.data_type() == data_type() {
        return Ok(Arc::clone(texts));
    }
    let texts = cast(texts, &DataType::Utf8)?;
    let rows =
        i32::try_from(texts.len()).map_err(|_| resources_datafusion_err!("More than {} rows at once", i32::MAX))?;
    let keys = Int32Array::new((0..rows).collect(), texts.nulls().cloned());
    Ok(Arc::new(DictionaryArray::try_new(keys, texts)?))
}
