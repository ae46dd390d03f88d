//! SQL over history and now, and the functions that clicks need.
//!
//! **In:** SQL, snapshots of the lake's tables, rows of the system's own tables. **Out:** Arrow batches and their
//! encodings; functions and row-wise projections for delivery. **Holds:** the catalog, the memory and the threads that
//! queries share, per table the newest version's file list ready to plan with, recent user agents. **Never:** writes,
//! reads a file that the snapshot does not name, lets a query outgrow its limits in silence.
//!
//! A query's way: [`Engine::query`] checks the text (one statement, and one that only reads), waits for its turn, plans it over one
//! snapshot per table (files of version *V* and the tail after *V*, taken under one lock), runs it on threads of its
//! own, and hands the rows over one batch at a time. Dropping the [`Answer`] ends the work.

mod answer;
mod catalog;
mod counts;
mod diagnose;
mod dictionaries;
pub mod encode;
mod engine;
mod error;
mod files;
pub mod functions;
mod grouping;
mod place;
pub mod rowwise;
mod settings;
mod statement;
mod table;
mod turns;

#[cfg(test)]
mod tests;

pub use answer::{Answer, Outcome};
pub use catalog::{ListedColumn, ListedTable, Virtual};
pub use counts::QueryCounts;
pub use engine::{Engine, QueryOptions};
pub use error::{Place, QueryError};
pub use settings::QuerySettings;
pub use statement::SQL_CHARS_MAX;
