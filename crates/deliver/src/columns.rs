//! The columns of a record: their names, their types, and where their values come from.
//!
//! A table's SQL reads from the relation `record`. Which columns that relation has depends on the format: the own
//! columns of every record (arrival, offset, …), the declared ones, the published fields of a log line, and for JSON
//! any other name that the SQL reads, as text.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use base::Format;
use base::cdn::{CDN_FIELDS, FieldKind};

/// The type that a table declares for a column of a JSON record (`columns = { price = "double" }`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text: strings as they are, anything else as its JSON text.
    Text,
    /// A whole number of 64 bits.
    Integer,
    /// A number.
    Double,
    /// `true` or `false`.
    Boolean,
    /// A moment: RFC 3339, or seconds, milliseconds or microseconds since 1970.
    Timestamp,
    /// The value's JSON text, strings with their quotes.
    Json,
}

impl ColumnType {
    /// All types, in the order in which they are documented.
    pub const ALL: [Self; 6] = [Self::Text, Self::Integer, Self::Double, Self::Boolean, Self::Timestamp, Self::Json];

    /// The name used in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Boolean => "boolean",
            Self::Timestamp => "timestamp",
            Self::Json => "json",
        }
    }

    /// The type of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::Text => Kind::Text,
            Self::Integer => Kind::Long,
            Self::Double => Kind::Double,
            Self::Boolean => Kind::Boolean,
            Self::Timestamp => Kind::Timestamp,
            Self::Json => Kind::Json,
        }
    }
}

/// How a column is held in Arrow. `Json` and `Text` are the same there, and differ in how a JSON value becomes text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Json,
    Int,
    Long,
    Double,
    Boolean,
    Timestamp,
}

impl Kind {
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int => DataType::Int32,
            Self::Long => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Boolean => DataType::Boolean,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
        }
    }
}

impl From<FieldKind> for Kind {
    fn from(kind: FieldKind) -> Self {
        match kind {
            FieldKind::Text => Self::Text,
            FieldKind::Int => Self::Int,
            FieldKind::Long => Self::Long,
            FieldKind::Double => Self::Double,
            FieldKind::Timestamp => Self::Timestamp,
        }
    }
}

/// A column that every record has, whatever its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Own {
    EventTime,
    ArrivalTime,
    PartitionKey,
    Shard,
    Offset,
    SubSequence,
    Payload,
    Simulated,
    Id,
}

impl Own {
    pub(crate) const ALL: [Self; 9] = [
        Self::EventTime,
        Self::ArrivalTime,
        Self::PartitionKey,
        Self::Shard,
        Self::Offset,
        Self::SubSequence,
        Self::Payload,
        Self::Simulated,
        Self::Id,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EventTime => "event_time",
            Self::ArrivalTime => "arrival_time",
            Self::PartitionKey => "partition_key",
            Self::Shard => "shard",
            Self::Offset => "offset",
            Self::SubSequence => "sub_sequence",
            Self::Payload => "payload",
            Self::Simulated => "simulated",
            Self::Id => "id",
        }
    }

    pub(crate) const fn kind(self) -> Kind {
        match self {
            Self::EventTime | Self::ArrivalTime => Kind::Timestamp,
            Self::PartitionKey | Self::Payload | Self::Id => Kind::Text,
            Self::Shard => Kind::Int,
            Self::Offset | Self::SubSequence => Kind::Long,
            Self::Simulated => Kind::Boolean,
        }
    }

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }
}

/// One column of the relation `record`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// `Some`: filled from the record itself; `None`: from its payload.
    pub(crate) own: Option<Own>,
}

/// The columns of the relation `record`, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct RecordColumns {
    columns: Vec<Column>,
}

impl RecordColumns {
    /// All columns that a table's SQL may read. `read` are the names that the SQL mentions: for JSON, those that are
    /// neither own nor declared become text columns.
    pub(crate) fn all<'n>(
        format: Format,
        declared: &BTreeMap<String, ColumnType>,
        read: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let mut all = Self::default();
        for own in Own::ALL {
            all.add(own.name(), own.kind(), Some(own));
        }
        for (name, kind) in declared {
            all.add(name, kind.kind(), None);
        }
        match format {
            Format::Json => {
                for name in read {
                    all.add(name, Kind::Text, None);
                }
            }
            Format::Cdn | Format::Combined => {
                for field in &CDN_FIELDS {
                    all.add(&field.column(), field.kind.into(), None);
                }
                all.add(CS_USER, Kind::Text, None);
            }
        }
        all
    }

    /// Only the columns that `names` holds, in their order here. One cheap column stays if none would, so that a batch
    /// always has one to carry its number of rows.
    pub(crate) fn only(&self, names: &[String]) -> Self {
        let mut columns: Vec<Column> =
            self.columns.iter().filter(|column| names.contains(&column.name)).cloned().collect();
        if columns.is_empty() {
            columns.extend(self.columns.iter().find(|column| column.own == Some(Own::Shard)).cloned());
        }
        Self { columns }
    }

    fn add(&mut self, name: &str, kind: Kind, own: Option<Own>) {
        if self.columns.iter().all(|column| column.name != name) {
            self.columns.push(Column { name: name.to_owned(), kind, own });
        }
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Column> {
        self.columns.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// The place of the column that the payload fills under that name.
    pub(crate) fn payload_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.own.is_none() && column.name == name)
    }

    pub(crate) fn schema(&self) -> SchemaRef {
        let fields: Vec<Field> =
            self.columns.iter().map(|column| Field::new(&column.name, column.kind.data_type(), true)).collect();
        Arc::new(Schema::new(fields))
    }
}

/// The remote user of a combined log line; the CDN's lines have no such field.
pub(crate) const CS_USER: &str = "cs_user";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_columns_win_over_declared_and_read_ones_of_the_same_name() {
        let declared =
            BTreeMap::from([("id".to_owned(), ColumnType::Integer), ("price".to_owned(), ColumnType::Double)]);
        let all = RecordColumns::all(Format::Json, &declared, ["price", "shard", "color"]);
        let named = |name: &str| all.iter().find(|column| column.name == name).expect("it is there");
        assert_eq!(named("id").own, Some(Own::Id));
        assert_eq!(named("price").kind, Kind::Double);
        assert_eq!(named("color").kind, Kind::Text);
        assert_eq!(all.len(), Own::ALL.len() + 2);
    }

    #[test]
    fn a_log_line_has_every_published_field_and_no_other_column() {
        let all = RecordColumns::all(Format::Cdn, &BTreeMap::new(), ["colour"]);
        assert_eq!(all.len(), Own::ALL.len() + CDN_FIELDS.len() + 1);
        assert!(all.payload_index("cs_user_agent").is_some());
        assert!(all.payload_index("colour").is_none());
        assert_eq!(all.only(&[]).len(), 1);
    }
}
