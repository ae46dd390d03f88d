//! The names a query can use: schemas, tables of the lake, and tables that the system keeps about itself.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{CatalogProvider, SchemaProvider, Session, TableProvider};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use parking_lot::RwLock;

use crate::encode::type_name;
use crate::error::QueryError;
use crate::table::LakeTable;

/// The one catalog.
pub(crate) const CATALOG: &str = "riverrun";

/// The schema of tables named without one.
pub(crate) const PUBLIC: &str = "public";

/// A table that is computed when it is asked for, such as `system.ledger`. It must be small: all its rows are made
/// at once.
pub trait Virtual: Send + Sync {
    /// Its columns; they never change.
    fn schema(&self) -> SchemaRef;
    /// Its rows now.
    ///
    /// # Errors
    /// Why they cannot be had; the query fails with it.
    fn rows(&self) -> Result<RecordBatch, QueryError>;
}

/// A table as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedTable {
    /// The schema's name.
    pub schema: String,
    /// The table's name within it.
    pub name: String,
    /// Its columns in order.
    pub columns: Vec<ListedColumn>,
}

/// A column as the catalog lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedColumn {
    /// Its name.
    pub name: String,
    /// Its type, as in SQL.
    pub data_type: String,
}

enum Source {
    Lake(Arc<LakeTable>),
    Virtual(Arc<dyn Virtual>),
}

/// All schemas.
#[derive(Default)]
pub(crate) struct Catalog {
    schemas: RwLock<BTreeMap<String, Arc<Schema>>>,
}

/// The tables of one schema.
#[derive(Default)]
pub(crate) struct Schema {
    tables: RwLock<BTreeMap<String, Source>>,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.schemas.read().keys()).finish()
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.tables.read().keys()).finish()
    }
}

impl Catalog {
    /// With the schemas that are always there.
    pub(crate) fn new() -> Self {
        let catalog = Self::default();
        catalog.schema_mut(PUBLIC);
        catalog.schema_mut("system");
        catalog
    }

    pub(crate) fn add_lake(&self, schema: &str, name: &str, table: Arc<LakeTable>) {
        self.schema_mut(schema).tables.write().insert(name.to_owned(), Source::Lake(table));
    }

    pub(crate) fn add_virtual(&self, schema: &str, name: &str, rows: Arc<dyn Virtual>) {
        self.schema_mut(schema).tables.write().insert(name.to_owned(), Source::Virtual(rows));
    }

    fn schema_mut(&self, name: &str) -> Arc<Schema> {
        Arc::clone(self.schemas.write().entry(name.to_owned()).or_default())
    }

    /// All tables by the shortest name that finds them.
    pub(crate) fn names(&self) -> Vec<String> {
        self.listed().into_iter().map(|table| short_name(&table.schema, &table.name)).collect()
    }

    pub(crate) fn listed(&self) -> Vec<ListedTable> {
        let schemas = self.schemas.read();
        let tables = schemas.iter().flat_map(|(schema, tables)| {
            let tables = tables.tables.read();
            let listed = tables.iter().map(|(name, source)| listed(schema, name, source));
            listed.collect::<Vec<_>>()
        });
        tables.collect()
    }
}

fn listed(schema: &str, name: &str, source: &Source) -> ListedTable {
    let columns = match source {
        Source::Lake(table) => table.schema(),
        Source::Virtual(rows) => rows.schema(),
    };
    let columns = columns.fields().iter();
    let columns = columns
        .map(|field| ListedColumn { name: field.name().clone(), data_type: type_name(field.data_type()) })
        .collect();
    ListedTable { schema: schema.to_owned(), name: name.to_owned(), columns }
}

pub(crate) fn short_name(schema: &str, name: &str) -> String {
    if schema == PUBLIC { name.to_owned() } else { format!("{schema}.{name}") }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.read().keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        let schema = self.schemas.read().get(name).cloned()?;
        Some(schema)
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        self.tables.read().keys().cloned().collect()
    }

    /// The table as it is now. The planner asks once per table and statement, so all uses of a table within a
    /// statement see the same snapshot.
    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        Ok(match self.tables.read().get(name) {
            Some(Source::Lake(table)) => Some(Arc::new(table.pin())),
            Some(Source::Virtual(rows)) => Some(Arc::new(Computed { rows: Arc::clone(rows) })),
            None => None,
        })
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.read().contains_key(name)
    }
}

/// A [`Virtual`] as a table of the engine.
struct Computed {
    rows: Arc<dyn Virtual>,
}

impl fmt::Debug for Computed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Computed")
    }
}

#[async_trait]
impl TableProvider for Computed {
    fn schema(&self) -> SchemaRef {
        self.rows.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.rows.rows().map_err(|error| DataFusionError::External(Box::new(error)))?;
        Ok(MemorySourceConfig::try_new_exec(&[vec![rows]], self.rows.schema(), projection.cloned())?)
    }
}

/// Whether a provider is a table of the lake, and which.
pub(crate) fn as_lake(provider: &dyn TableProvider) -> Option<&crate::table::Pinned> {
    (provider as &dyn Any).downcast_ref()
}
