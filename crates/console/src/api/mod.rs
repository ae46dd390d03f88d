//! The HTTP API: one file per route.

pub(crate) mod asked;
pub(crate) mod catalog;
pub(crate) mod change;
pub(crate) mod dashboards;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub(crate) mod plan;
pub(crate) mod records;
pub(crate) mod rows;
pub(crate) mod sql;
pub(crate) mod streams;
