//! The groups that rows belong to.

use arrow::array::{Array, ArrayRef, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use datafusion::common::{Result, resources_datafusion_err};

use super::pairs::Pairs;
use super::texts::Texts;
use super::words::Words;

/// Numbers groups in the order in which they come. Each column has numbers of its own; those of the first and the second
/// are a pair that is numbered again, and so on.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<Column>,
    /// One less than there are columns.
    pairs: Vec<Pairs>,
    numbers: Vec<usize>,
}

#[derive(Debug)]
enum Column {
    Texts(Texts),
    Words(Words),
}

impl Keys {
    /// Whether columns of this type can be numbered.
    pub(super) fn supports(data_type: &DataType) -> bool {
        Texts::supports(data_type) || Words::supports(data_type)
    }

    /// For columns of supported types, one at least. Where the column is the only one, with room for so many groups.
    pub(super) fn new(types: Vec<DataType>, expected: usize) -> Self {
        let expected = if types.len() == 1 { expected } else { 0 };
        let columns = types.into_iter().map(|data_type| {
            if Texts::supports(&data_type) {
                Column::Texts(Texts::new(data_type, expected))
            } else {
                Column::Words(Words::new(data_type))
            }
        });
        let columns: Vec<Column> = columns.collect();
        let pairs = columns.iter().skip(1).map(|_| Pairs::new()).collect();
        Self { columns, pairs, numbers: Vec::new() }
    }

    /// Writes the group of each row.
    ///
    /// # Errors
    /// There are more groups than 32 bits can number.
    pub(super) fn number(&mut self, columns: &[ArrayRef], groups: &mut Vec<usize>) -> Result<()> {
        let rows = columns.first().map_or(0, |column| column.len());
        if self.columns.iter().any(|column| u32::try_from(column.len() + rows).is_err())
            || u32::try_from(self.len() + rows).is_err()
        {
            return Err(resources_datafusion_err!("More than {} groups", u32::MAX));
        }
        groups.clear();
        let mut each = self.columns.iter_mut().zip(columns);
        if let Some((numbered, column)) = each.next() {
            numbered.number(column, groups)?;
        }
        for ((numbered, column), pairs) in each.zip(&mut self.pairs) {
            self.numbers.clear();
            numbered.number(column, &mut self.numbers)?;
            pairs.number(groups, &self.numbers);
        }
        Ok(())
    }

    /// How many groups there are.
    pub(super) fn len(&self) -> usize {
        match self.pairs.last() {
            Some(pairs) => pairs.len(),
            None => self.columns.first().map_or(0, Column::len),
        }
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        let columns: usize = self.columns.iter().map(Column::size).sum();
        let pairs: usize = self.pairs.iter().map(Pairs::size).sum();
        columns + pairs + self.numbers.capacity() * size_of::<usize>()
    }

    /// The columns of all groups in the order of their numbers; none are left, but room for as many as are expected.
    pub(super) fn take(&mut self, expected: usize) -> Result<Vec<ArrayRef>> {
        let expected = if self.columns.len() == 1 { expected } else { 0 };
        let mut taken = self.columns.iter_mut().map(|column| column.take(expected)).collect::<Result<Vec<_>>>()?;
        // The number that the columns so far have for each group, from the last column back to the first.
        let mut before: Option<Vec<u32>> = None;
        for (index, pairs) in self.pairs.iter_mut().enumerate().rev() {
            let keys = pairs.take();
            let pair = |group: u32| keys[group as usize];
            let all: Vec<u64> = match before {
                None => keys,
                Some(groups) => groups.into_iter().map(pair).collect(),
            };
            let of_column: UInt32Array = all.iter().map(|pair| *pair as u32).collect::<Vec<_>>().into();
            taken[index + 1] = take(&taken[index + 1], &of_column, None)?;
            before = Some(all.iter().map(|pair| (pair >> 32) as u32).collect());
        }
        if let Some(before) = before {
            taken[0] = take(&taken[0], &UInt32Array::from(before), None)?;
        }
        Ok(taken)
    }
}

impl Column {
    fn number(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()> {
        match self {
            Self::Texts(texts) => texts.number(column, numbers),
            Self::Words(words) => words.number(column, numbers),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.len(),
            Self::Words(words) => words.len(),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Texts(texts) => texts.size(),
            Self::Words(words) => words.size(),
        }
    }

    fn take(&mut self, expected: usize) -> Result<ArrayRef> {
        match self {
            Self::Texts(texts) => texts.take(expected),
            Self::Words(words) => words.take(),
        }
    }
}
