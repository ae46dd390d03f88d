//! What can go wrong in the lake.

use base::ErrorKind;

/// An operation on a table failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The name cannot be that of a table.
    #[error(
        "table name {name:?} cannot be used: {why}. Use letters, digits, _ and -, with at most one dot after a schema name"
    )]
    Name {
        /// The name as given.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A column cannot be stored as it is.
    #[error("table {table}, column {column}: {what}. {remedy}")]
    Column {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// What is wrong.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Pushed rows do not fit the table.
    #[error("rows pushed to table {table} do not fit it: {what}")]
    Rows {
        /// The table.
        table: String,
        /// What was expected and what came.
        what: String,
    },
    /// Pushed progress went backwards.
    #[error(
        "table {table}: progress of {app_id} was {last} and cannot become {next}: push each batch once and in order"
    )]
    Backwards {
        /// The table.
        table: String,
        /// Whose progress.
        app_id: String,
        /// The progress already pushed or committed.
        last: i64,
        /// What was pushed now.
        next: i64,
    },
    /// The tail has no room until a flush succeeds.
    #[error("the tail of table {table} is full with {bytes} bytes: wait for a flush; if flushes fail, see their error")]
    Full {
        /// The table.
        table: String,
        /// Bytes in the tail.
        bytes: usize,
    },
    /// Another writer has moved this table's progress.
    #[error(
        "table {table}: version {version} by another writer moved the progress of {app_id} to {found}: stop this writer and start it again"
    )]
    Fenced {
        /// The table.
        table: String,
        /// The version that moved it.
        version: u64,
        /// Whose progress.
        app_id: String,
        /// Its value there.
        found: i64,
    },
    /// Another program changed the table so that this change no longer fits.
    #[error("table {table}: version {version} by another program {what}")]
    Conflict {
        /// The table.
        table: String,
        /// The version in the way.
        version: u64,
        /// What it did.
        what: String,
    },
    /// Whether a commit happened is not known yet.
    #[error(
        "table {table}: whether version {version} was committed cannot be told yet ({why}); its rows stay visible and the next flush settles it"
    )]
    Unsettled {
        /// The table.
        table: String,
        /// The version it was written as.
        version: u64,
        /// The last error.
        why: String,
    },
    /// The table uses something of Delta Lake that this program does not write.
    #[error("table {table}: {what}. Write it with the program that made it, or point riverrun at another folder")]
    Unsupported {
        /// The table.
        table: String,
        /// What it uses.
        what: String,
    },
    /// Bytes of the table fail their check.
    #[error(
        "table {table} is damaged: {what}. Restore the file from a backup, or move the table's folder away and replay the stream"
    )]
    Corrupt {
        /// The table.
        table: String,
        /// Which bytes, and what is wrong with them.
        what: String,
    },
    /// The object store failed.
    #[error("{what}: {source}")]
    Store {
        /// What was tried.
        what: String,
        /// What the store said.
        #[source]
        source: object_store::Error,
    },
    /// The folder of the lake cannot be used.
    #[error("the lake's folder {path} cannot be used: {source}. Check that it exists and may be written")]
    Folder {
        /// The folder.
        path: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A mistake of ours.
    #[error("table {table}: {what}. This is a mistake in riverrun: please report it")]
    Internal {
        /// The table.
        table: String,
        /// What should not have happened.
        what: String,
    },
}

impl LakeError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Name { .. }
            | Self::Column { .. }
            | Self::Rows { .. }
            | Self::Backwards { .. }
            | Self::Unsupported { .. } => ErrorKind::Invalid,
            Self::Full { .. } => ErrorKind::Full,
            Self::Fenced { .. } => ErrorKind::Fenced,
            Self::Conflict { .. } => ErrorKind::Conflict,
            Self::Unsettled { .. } | Self::Store { .. } | Self::Folder { .. } => ErrorKind::Unavailable,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Internal { .. } => ErrorKind::Internal,
        }
    }

    pub(crate) fn store(what: impl Into<String>) -> impl FnOnce(object_store::Error) -> Self {
        let what = what.into();
        move |source| Self::Store { what, source }
    }

    pub(crate) fn internal(table: &str, what: impl std::fmt::Display) -> Self {
        Self::Internal { table: table.to_owned(), what: what.to_string() }
    }

    pub(crate) fn corrupt(table: &str, what: impl Into<String>) -> Self {
        Self::Corrupt { table: table.to_owned(), what: what.into() }
    }

    /// An error of the Delta library while reading: the store's own errors stay what they are, all others mean that
    /// the log cannot be understood.
    pub(crate) fn reading(table: &str, what: &str, error: deltalake::DeltaTableError) -> Self {
        let error = match error {
            deltalake::DeltaTableError::ObjectStore { source } if !is_missing(&source) => {
                return Self::Store { what: format!("table {table}: {what}"), source };
            }
            other => other,
        };
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
        while let Some(inner) = cause {
            let store = inner.downcast_ref::<object_store::Error>();
            if let Some(source) = store.filter(|source| !is_missing(source)) {
                let source = object_store::Error::Generic { store: "lake", source: source.to_string().into() };
                return Self::Store { what: format!("table {table}: {what}"), source };
            }
            cause = inner.source();
        }
        Self::corrupt(table, format!("{what}: {error}"))
    }
}

/// A missing object is a hole in the table, not a failure of the store.
fn is_missing(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. })
}
