//! Groups: which there are, and what is computed for each.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, PhysicalGroupBy, evaluate_group_by};

use super::keys::Keys;
use super::measure::{Expr, Measure};

/// The groups of an aggregate, as far as rows or states came.
pub(super) struct Groups {
    by: PhysicalGroupBy,
    measures: Vec<Measure>,
    keys: Keys,
    /// The group of each row of a batch.
    numbers: Vec<usize>,
}

impl Groups {
    /// None yet. The aggregate's expressions are made into ones over the rows at hand by `over`.
    pub(super) fn of(engine: &AggregateExec, over: impl Fn(Expr) -> Result<Expr>) -> Result<Self> {
        let by = engine.group_expr().expr().iter();
        let by = by.map(|(group, name)| Ok((over(group.clone())?, name.clone()))).collect::<Result<Vec<_>>>()?;
        let types = engine.schema().fields().iter().take(by.len()).map(|key| key.data_type().clone()).collect();
        Ok(Self {
            by: PhysicalGroupBy::new_single(by),
            measures: Measure::all(engine, over)?,
            keys: Keys::new(types, 0),
            numbers: Vec::new(),
        })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let measures: usize = self.measures.iter().map(Measure::size).sum();
        measures + self.keys.size() + self.numbers.capacity() * size_of::<usize>()
    }

    /// Adds rows.
    pub(super) fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        self.number(batch)?;
        let total = self.len();
        self.measures.iter_mut().try_for_each(|measure| measure.add(batch, &self.numbers, total))
    }

    /// Adds the states of groups.
    pub(super) fn merge(&mut self, batch: &RecordBatch) -> Result<()> {
        self.number(batch)?;
        let total = self.len();
        self.measures.iter_mut().try_for_each(|measure| measure.merge(batch, &self.numbers, total))
    }

    /// All groups with their states. None are left, but room for as many as are expected.
    pub(super) fn states(&mut self, expected: usize) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.take(expected)?;
        for measure in &mut self.measures {
            columns.extend(measure.states()?);
        }
        Ok(columns)
    }

    /// All groups with what came out. None are left.
    pub(super) fn results(&mut self) -> Result<Vec<ArrayRef>> {
        let mut columns = self.keys.take(0)?;
        for measure in &mut self.measures {
            columns.push(measure.results()?);
        }
        Ok(columns)
    }

    /// Each row as the state of a group of its own, the keys of the types in `schema`.
    pub(super) fn states_of(&self, batch: &RecordBatch, schema: &Schema) -> Result<Vec<ArrayRef>> {
        let keys = self.keys_of(batch)?.into_iter().zip(schema.fields());
        let keys = keys.map(|(key, field)| match key.data_type() {
            plain if plain == field.data_type() => Ok(key),
            _ => cast(&key, field.data_type()),
        });
        let mut columns = keys.collect::<Result<Vec<_>, _>>()?;
        for measure in &self.measures {
            columns.extend(measure.states_of(batch)?);
        }
        Ok(columns)
    }

    fn number(&mut self, batch: &RecordBatch) -> Result<()> {
        let keys = self.keys_of(batch)?;
        self.keys.number(&keys, &mut self.numbers)
    }

    fn keys_of(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
        Ok(evaluate_group_by(&self.by, batch)?.pop().unwrap_or_default())
    }
}
