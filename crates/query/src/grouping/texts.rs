//! Texts, numbered in the order in which they come.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryViewArray, DictionaryArray, Int32Array, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
use arrow::compute::{cast, take};
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::Result;

use super::slots::{Seed, Slots, UNMET};

/// The longest text that lies in its view whole.
const INLINE_BYTES: u32 = 12;
/// Bytes of longer texts that are kept in one piece of memory, unless one text alone is longer.
const BLOCK_BYTES: usize = 1 << 20;

/// Texts or bytes. A key is kept as Arrow's view of it: length and the text itself if it is short, else length, its first
/// four bytes and where the whole lies in `blocks`. Short ones are thus told apart by one comparison of 16 bytes.
#[derive(Debug)]
pub(super) struct Texts {
    data_type: DataType,
    seed: Seed,
    slots: Slots,
    keys: Vec<u128>,
    blocks: Vec<Vec<u8>>,
    null: Option<u32>,
    /// Of the rows of a batch, and which of them were not found at once.
    hashes: Vec<u32>,
    others: Vec<u32>,
    /// The dictionary that rows came in last.
    dictionary: Option<Dictionary>,
}

/// Which number each of a dictionary's texts has, as far as rows had them: it may hold some that no row has.
#[derive(Debug)]
struct Dictionary {
    texts: ArrayRef,
    numbers: Vec<u32>,
}

impl Dictionary {
    fn size(&self) -> usize {
        self.texts.get_array_memory_size() + self.numbers.capacity() * size_of::<u32>()
    }
}

impl Texts {
    pub(super) fn supports(data_type: &DataType) -> bool {
        use DataType::{Binary, BinaryView, LargeBinary, LargeUtf8, Utf8, Utf8View};
        matches!(data_type, Utf8 | LargeUtf8 | Utf8View | Binary | LargeBinary | BinaryView)
    }

    pub(super) fn new(data_type: DataType, expected: usize) -> Self {
        let (seed, slots) = (Seed::new(), Slots::new(expected));
        let (keys, blocks, hashes, others) = (Vec::with_capacity(expected), Vec::new(), Vec::new(), Vec::new());
        Self { data_type, seed, slots, keys, blocks, null: None, hashes, others, dictionary: None }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn size(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Vec::capacity).sum();
        let rows = (self.hashes.capacity() + self.others.capacity()) * size_of::<u32>();
        let dictionary = self.dictionary.as_ref().map_or(0, Dictionary::size);
        self.slots.size() + self.keys.capacity() * size_of::<u128>() + blocks + rows + dictionary
    }

    /// Appends the number of each row's text.
    pub(super) fn number(&mut self, column: &ArrayRef, numbers: &mut Vec<usize>) -> Result<()> {
        if let Some(column) = column.as_dictionary_opt::<Int32Type>() {
            return self.dictionary(column, numbers);
        }
        let column = match column.data_type() {
            DataType::Utf8 | DataType::LargeUtf8 => &cast(column, &DataType::Utf8View)?,
            DataType::Binary | DataType::LargeBinary => &cast(column, &DataType::BinaryView)?,
            _ => column,
        };
        match column.as_string_view_opt() {
            Some(column) => self.views(column.views(), column.data_buffers(), column.nulls(), numbers),
            None => {
                let column = column.as_binary_view();
                self.views(column.views(), column.data_buffers(), column.nulls(), numbers);
            }
        }
        Ok(())
    }

    /// Likewise of rows that come with a dictionary: a text is looked up when a row has it first, and once for all batches
    /// that have the dictionary in common.
    fn dictionary(&mut self, column: &DictionaryArray<Int32Type>, numbers: &mut Vec<usize>) -> Result<()> {
        let texts = column.values();
        let mut dictionary = match self.dictionary.take() {
            Some(dictionary) if same(&dictionary.texts, texts) => dictionary,
            _ => Dictionary { texts: Arc::clone(texts), numbers: vec![UNMET; texts.len()] },
        };
        let nulls = column.nulls().filter(|nulls| nulls.null_count() > 0);
        let valid = |row| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let keys = column.keys().values();
        let met = &mut dictionary.numbers;
        let mut first: Vec<i32> = Vec::new();
        for (row, key) in keys.iter().enumerate() {
            if valid(row) && met[*key as usize] == UNMET {
                met[*key as usize] = 0;
                first.push(*key);
            }
        }
        if !first.is_empty() {
            let texts = if first.iter().copied().eq(0..texts.len() as i32) {
                cast(texts, &DataType::Utf8View)?
            } else {
                cast(&take(texts, &Int32Array::from(first.clone()), None)?, &DataType::Utf8View)?
            };
            let mut found = Vec::with_capacity(first.len());
            self.number(&texts, &mut found)?;
            for (key, number) in first.iter().zip(found) {
                met[*key as usize] = number as u32;
            }
        }
        match nulls {
            None => numbers.extend(keys.iter().map(|key| met[*key as usize] as usize)),
            Some(_) => {
                numbers.extend(keys.iter().enumerate().map(|(row, key)| match valid(row) {
                    true => met[*key as usize] as usize,
                    false => self.null() as usize,
                }));
            }
        }
        self.dictionary = Some(dictionary);
        Ok(())
    }

    fn views(&mut self, views: &[u128], buffers: &[Buffer], nulls: Option<&NullBuffer>, numbers: &mut Vec<usize>) {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        if nulls.is_none() && views.iter().fold(0, |longest, view| longest.max(*view as u32)) <= INLINE_BYTES {
            return self.short(views, numbers);
        }
        // Within a batch the same view is the same text. Zero is the view of the empty text.
        let mut last = None;
        numbers.extend(views.iter().enumerate().map(|(row, view)| match last {
            _ if nulls.is_some_and(|nulls| nulls.is_null(row)) => self.null() as usize,
            Some((same, number)) if same == *view => number,
            _ => {
                let number = self.one(*view, buffers) as usize;
                last = Some((*view, number));
                number
            }
        }));
    }

    /// Likewise where all are short and none is missing.
    fn short(&mut self, views: &[u128], numbers: &mut Vec<usize>) {
        let begin = numbers.len();
        numbers.resize(begin + views.len(), 0);
        let numbers = &mut numbers[begin..];
        self.hashes.clear();
        self.hashes.extend(views.iter().map(|view| self.seed.hash(*view as u64, (*view >> 64) as u64)));
        let keys = &self.keys;
        let same = |row: usize, number: u32| keys.get(number as usize).is_some_and(|key| *key == views[row]);
        self.slots.find(&self.hashes, same, numbers, &mut self.others);
        let others = std::mem::take(&mut self.others);
        for row in others.iter().map(|row| *row as usize) {
            numbers[row] = self.one(views[row], &[]) as usize;
        }
        self.others = others;
    }

    fn null(&mut self) -> u32 {
        *self.null.get_or_insert_with(|| {
            self.keys.push(0);
            self.keys.len() as u32 - 1
        })
    }

    #[inline]
    fn one(&mut self, view: u128, buffers: &[Buffer]) -> u32 {
        let next = self.keys.len() as u32;
        if view as u32 <= INLINE_BYTES {
            let keys = &self.keys;
            let hash = self.seed.hash(view as u64, (view >> 64) as u64);
            // The place that null has here looks like the empty text, but no slot leads to it.
            let number = self.slots.number(hash, next, |number| keys[number as usize] == view);
            if number == next {
                self.keys.push(view);
            }
            return number;
        }
        self.long(view, bytes_of(view, |index| buffers[index].as_slice()))
    }

    fn long(&mut self, view: u128, bytes: &[u8]) -> u32 {
        let next = self.keys.len() as u32;
        let (keys, blocks) = (&self.keys, &self.blocks);
        let number = self.slots.number(self.seed.hash_bytes(bytes), next, |number| {
            let key = keys[number as usize];
            key as u64 == view as u64 && bytes_of(key, |index| blocks[index].as_slice()) == bytes
        });
        if number == next {
            let full = self.blocks.last().is_none_or(|block| block.len() + bytes.len() > block.capacity());
            if full {
                self.blocks.push(Vec::with_capacity(BLOCK_BYTES.max(bytes.len())));
            }
            let index = self.blocks.len() - 1;
            let block = &mut self.blocks[index];
            let place = (block.len() as u64) << 32 | index as u64;
            block.extend_from_slice(bytes);
            self.keys.push(u128::from(place) << 64 | u128::from(view as u64));
        }
        number
    }

    /// All texts in the order of their numbers; none are left, but room for as many as are expected.
    pub(super) fn take(&mut self, expected: usize) -> Result<ArrayRef> {
        let taken = std::mem::replace(self, Self::new(self.data_type.clone(), expected));
        let nulls = taken.null.map(|null| {
            let valid: Vec<bool> = (0..taken.keys.len()).map(|number| number != null as usize).collect();
            NullBuffer::from(valid)
        });
        let views = ScalarBuffer::from(taken.keys);
        let buffers: Vec<Buffer> = taken.blocks.into_iter().map(Buffer::from_vec).collect();
        let text = matches!(self.data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View);
        let keys: ArrayRef = if text {
            Arc::new(StringViewArray::try_new(views, buffers, nulls)?)
        } else {
            Arc::new(BinaryViewArray::try_new(views, buffers, nulls)?)
        };
        Ok(if *keys.data_type() == self.data_type { keys } else { cast(&keys, &self.data_type)? })
    }
}

/// Whether it is one dictionary: the same place in memory. Whoever keeps one keeps its place from being used for another.
fn same(one: &ArrayRef, other: &ArrayRef) -> bool {
    match (one.as_string_opt::<i32>(), other.as_string_opt::<i32>()) {
        (Some(one), Some(other)) => {
            one.len() == other.len()
                && std::ptr::eq(one.value_offsets().as_ptr(), other.value_offsets().as_ptr())
                && std::ptr::eq(one.value_data().as_ptr(), other.value_data().as_ptr())
        }
        _ => false,
    }
}

/// The bytes of a text too long for its view.
fn bytes_of<'a>(view: u128, block: impl FnOnce(usize) -> &'a [u8]) -> &'a [u8] {
    let (length, index, start) = (view as u32 as usize, (view >> 64) as u32 as usize, (view >> 96) as usize);
    &block(index)[start..start + length]
}
