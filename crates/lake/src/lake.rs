//! The lake: its folder and its tables.

use std::collections::BTreeMap;
use std::path::Path as FsPath;
use std::sync::Arc;

use base::{Clock, Measured, Sample};
use deltalake::kernel::Snapshot as DeltaSnapshot;
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use object_store::ObjectStore;
use object_store::prefix::PrefixStore;
use parking_lot::RwLock;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tracing::info;
use url::Url;

use crate::error::LakeError;
use crate::measure::TableCounts;
use crate::schema::{Shape, TableSpec, check_name, evolved, storable};
use crate::settings::LakeSettings;
use crate::state::State;
use crate::store::SyncedLocal;
use crate::table::Table;
use crate::{actions, log};

type Wrap = Arc<dyn Fn(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> + Send + Sync>;

/// Deliberate faults, for the tests that must notice them. All off in the product.
#[derive(Clone, Default)]
pub struct Faults {
    /// Commits leave out the progress they stand for: after a restart rows are delivered twice.
    pub forget_offsets_in_commit: bool,
    /// Puts a failing object store around the real one.
    pub wrap: Option<Wrap>,
}

impl std::fmt::Debug for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Faults")
            .field("forget_offsets_in_commit", &self.forget_offsets_in_commit)
            .field("wrap", &self.wrap.is_some())
            .finish()
    }
}

/// All tables below one folder.
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    settings: LakeSettings,
    clock: Arc<dyn Clock>,
    faults: Faults,
    tables: RwLock<BTreeMap<String, Arc<Table>>>,
    /// Held while a table is opened, made or given columns.
    ensuring: AsyncMutex<()>,
}

impl std::fmt::Debug for Lake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lake").field("tables", &self.tables.read().keys()).finish_non_exhaustive()
    }
}

impl Lake {
    /// Opens the lake below `dir`, which is made if missing. Tables are opened by [`Lake::ensure`].
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub async fn open(dir: &FsPath, settings: LakeSettings, clock: Arc<dyn Clock>) -> Result<Arc<Self>, LakeError> {
        Self::open_with(dir, settings, clock, Faults::default()).await
    }

    /// [`Lake::open`] with deliberate faults, for tests.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub async fn open_with(
        dir: &FsPath,
        settings: LakeSettings,
        clock: Arc<dyn Clock>,
        faults: Faults,
    ) -> Result<Arc<Self>, LakeError> {
        let local =
            SyncedLocal::open(dir).map_err(|source| LakeError::Folder { path: dir.display().to_string(), source })?;
        let mut store: Arc<dyn ObjectStore> = Arc::new(local);
        if let Some(wrap) = &faults.wrap {
            store = wrap(store);
        }
        let tables = RwLock::default();
        Ok(Arc::new(Self { store, settings, clock, faults, tables, ensuring: AsyncMutex::default() }))
    }

    /// The object store at the lake's folder: where [`Table::location`] points.
    #[must_use]
    pub fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.store)
    }

    /// The address under which to register [`Lake::store`] with a query engine: `lake://local/`.
    #[must_use]
    pub fn url(&self) -> Url {
        Url::parse("lake://local/").expect("a constant")
    }

    /// The settings it was opened with.
    #[must_use]
    pub fn settings(&self) -> &LakeSettings {
        &self.settings
    }

    /// An opened table.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<Arc<Table>> {
        self.tables.read().get(name).cloned()
    }

    /// All opened tables, by name.
    #[must_use]
    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.tables.read().values().cloned().collect()
    }

    /// Opens the table, making it if it does not exist and adding columns that it does not have.
    ///
    /// # Errors
    /// A name or column that cannot be stored, a column of another type, a damaged log, a failing store.
    pub async fn ensure(&self, spec: TableSpec) -> Result<Arc<Table>, LakeError> {
        check_name(&spec.name)?;
        let wanted = storable(&spec)?;
        let _one = self.ensuring.lock().await;
        let table = match self.table(&spec.name) {
            Some(table) => table,
            None => self.open_table(&spec.name, &wanted).await?,
        };
        if table.partitioned != spec.partitioned {
            let is = if table.partitioned { "is" } else { "is not" };
            return Err(LakeError::Unsupported {
                table: spec.name,
                what: format!("it {is} partitioned by year, month, day and hour, and that cannot be changed"),
            });
        }
        let known = table.data_schema();
        if let Some(grown) = evolved(&table.name, &known, &wanted.data)? {
            table.add_columns(Shape::new(grown, table.partitioned)).await?;
        }
        self.tables.write().insert(spec.name, Arc::clone(&table));
        Ok(table)
    }

    async fn open_table(&self, name: &str, wanted: &Shape) -> Result<Arc<Table>, LakeError> {
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(&self.store), name));
        let url = self.url().join(&format!("{name}/")).map_err(|error| LakeError::internal(name, error))?;
        let log: LogStoreRef =
            default_logstore(Arc::clone(&store), Arc::clone(&self.store), &url, &StorageConfig::default());
        let state = match load(name, &log, &store).await? {
            Some(state) => state,
            None => {
                actions::create(name, wanted, &log, &self.settings, self.clock.as_ref()).await?;
                let state = load(name, &log, &store).await?;
                state.ok_or_else(|| LakeError::internal(name, "a table just made cannot be found"))?
            }
        };
        info!(table = name, version = state.version, files = state.files.len(), "table opened");
        Ok(Arc::new(Table {
            name: name.to_owned(),
            partitioned: state.shape.partitioned,
            store,
            log,
            settings: self.settings.clone(),
            clock: Arc::clone(&self.clock),
            faults: self.faults.clone(),
            changes: watch::Sender::new(state.changed),
            state: state.into(),
            counts: Arc::new(TableCounts::default()),
            flushing: AsyncMutex::default(),
            committing: AsyncMutex::default(),
            maintaining: AsyncMutex::default(),
        }))
    }
}

/// The newest version of a table; `None` if there is no table.
pub(crate) async fn load(
    name: &str,
    log: &LogStoreRef,
    store: &Arc<dyn ObjectStore>,
) -> Result<Option<State>, LakeError> {
    use futures::TryStreamExt;

    let reading = |error| LakeError::reading(name, "reading the Delta log", error);
    let snapshot = match DeltaSnapshot::try_new(log.as_ref(), None).await {
        Ok(snapshot) => snapshot,
        Err(deltalake::DeltaTableError::NotATable(_)) => return Ok(None),
        Err(error) => return Err(reading(error)),
    };
    let shape = actions::shape_of(name, &snapshot)?;
    let mut files = Vec::new();
    let mut views = snapshot.file_views(log.as_ref(), None);
    while let Some(view) = views.try_next().await.map_err(reading)? {
        files.push(actions::file_of(name, &view, &shape)?);
    }
    drop(views);
    let version = snapshot.version();
    let extras = log::replay(name, store, version).await?;
    Ok(Some(State::new(version, extras.checkpoint, shape, files, extras.progress)))
}

impl Measured for Lake {
    fn measure(&self, samples: &mut Vec<Sample>) {
        for table in self.tables() {
            table.measure(samples);
        }
    }
}
