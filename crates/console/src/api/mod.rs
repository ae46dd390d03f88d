//! The HTTP API: one file per route.

pub(crate) mod catalog;
pub(crate) mod dashboards;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod pipeline;
pub(crate) mod rows;
pub(crate) mod sql;
