//! Values of at most eight bytes, numbered in the order in which they come.

use arrow::array::{Array, ArrayData, ArrayRef, AsArray, BooleanArray, make_array};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, DataType};
use datafusion::common::{Result, internal_datafusion_err};
use std::sync::Arc;

use super::slots::{Seed, Slots};

/// Integers, moments, truths. Floating point is left out: its zeros and what is no number have rules of their own.
#[derive(Debug)]
pub(super) struct Words {
    data_type: DataType,
    seed: Seed,
    slots: Slots,
    keys: Vec<u64>,
    null: Option<u32>,
}

impl Words {
    pub(super) fn supports(data_type: &DataType) -> bool {
        let whole = data_type.is_integer() || data_type.is_temporal() && !matches!(data_type, DataType::Interval(_));
        whole || *data_type == DataType::Boolean
    }

    pub(super) fn new(data_type: DataType) -> Self {
        Self { data_type, seed: Seed::new(), slots: Slots::new(0), keys: Vec::new(), null: None }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn size(&self) -> usize {
        self.slots.size() + self.keys.capacity() * size_of::<u64>()
    }

    /// Appends the number of each row's value.
    pub(super) fn number(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()> {
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        if let Some(truths) = column.as_boolean_opt() {
            self.values(truths.values().iter().map(u64::from), nulls, numbers);
            return Ok(());
        }
        match self.data_type.primitive_width() {
            Some(1) => self.values(values::<u8>(column)?.iter().map(|value| u64::from(*value)), nulls, numbers),
            Some(2) => self.values(values::<u16>(column)?.iter().map(|value| u64::from(*value)), nulls, numbers),
            Some(4) => self.values(values::<u32>(column)?.iter().map(|value| u64::from(*value)), nulls, numbers),
            _ => self.values(values::<u64>(column)?.iter().copied(), nulls, numbers),
        }
        Ok(())
    }

    fn values(
        &mut self,
        values: impl ExactSizeIterator<Item = u64>,
        nulls: Option<&NullBuffer>,
        numbers: &mut Vec<usize>,
    ) {
        // Rows that lie together often share an hour, a day, a status.
        let mut last = None;
        numbers.extend(values.enumerate().map(|(row, value)| match last {
            _ if nulls.is_some_and(|nulls| nulls.is_null(row)) => self.null() as usize,
            Some((same, number)) if same == value => number,
            _ => {
                let number = self.one(value) as usize;
                last = Some((value, number));
                number
            }
        }));
    }

    fn null(&mut self) -> u32 {
        *self.null.get_or_insert_with(|| {
            self.keys.push(0);
            self.keys.len() as u32 - 1
        })
    }

    #[inline]
    fn one(&mut self, value: u64) -> u32 {
        let (keys, next) = (&self.keys, self.keys.len() as u32);
        let number = self.slots.number(self.seed.hash(value, 0), next, |number| keys[number as usize] == value);
        if number == next {
            self.keys.push(value);
        }
        number
    }

    /// All values in the order of their numbers; none are left.
    pub(super) fn take(&mut self) -> Result<ArrayRef> {
        let taken = std::mem::replace(self, Self::new(self.data_type.clone()));
        let count = taken.keys.len();
        let nulls = taken.null.map(|null| {
            let valid: Vec<bool> = (0..count).map(|number| number != null as usize).collect();
            NullBuffer::from(valid)
        });
        let buffer = match self.data_type.primitive_width() {
            None => {
                let truths = BooleanArray::from_iter(taken.keys.iter().map(|key| Some(*key != 0)));
                return Ok(Arc::new(BooleanArray::new(truths.values().clone(), nulls)));
            }
            Some(1) => Buffer::from_vec(taken.keys.iter().map(|key| *key as u8).collect::<Vec<_>>()),
            Some(2) => Buffer::from_vec(taken.keys.iter().map(|key| *key as u16).collect::<Vec<_>>()),
            Some(4) => Buffer::from_vec(taken.keys.iter().map(|key| *key as u32).collect::<Vec<_>>()),
            Some(_) => Buffer::from_vec(taken.keys),
        };
        let data = ArrayData::builder(self.data_type.clone()).len(count).add_buffer(buffer).nulls(nulls).build()?;
        Ok(make_array(data))
    }
}

/// The values of a column as unsigned integers of their width.
fn values<T: ArrowNativeType>(column: &ArrayRef) -> Result<ScalarBuffer<T>> {
    let data = column.to_data();
    let buffer =
        data.buffers().first().ok_or_else(|| internal_datafusion_err!("{} has no values", data.data_type()))?;
    Ok(ScalarBuffer::new(buffer.clone(), data.offset(), data.len()))
}
