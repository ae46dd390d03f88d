//! Texts read as the dictionaries they are stored as.
//!
//! Parquet stores a column of texts that come back as the list of the different ones and, for each row, which of them it is. The
//! engine's reader looks every row's text up in the list, and whoever groups by it or compares it finds out again which rows have the
//! same. Where a rule says so, the rows keep their numbers and the list: a scan gives the column as [`AsDictionary`] of it, files
//! that hold it in no other form are opened as holding dictionaries ([`readers`]), and there the expression is nothing but the
//! column ([`adapter`]). Other files, and rows that are in no file yet, give each batch a dictionary of its own.

mod adapter;
mod compare;
mod expr;
mod readers;
mod scan;

#[cfg(test)]
mod tests;

use arrow::datatypes::DataType;

pub(crate) use compare::compared;
pub(crate) use expr::AsDictionary;
pub(crate) use scan::{open, push};

/// Of numbers and the texts they stand for.
fn data_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}
