//! Dashboards: what the file declares, as the pages read it.

use std::collections::BTreeMap;

use serde::Serialize;

/// All dashboards of the file: the answer of `GET /api/v1/dashboards`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Dashboards {
    /// In the order of their names.
    pub dashboards: Vec<Dashboard>,
}

/// `[dashboard.NAME]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Dashboard {
    /// Its name in the file and in the address of the page.
    pub name: String,
    /// What a person reads; the name if the file has none.
    pub title: String,
    /// One sentence below the title.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// The tiles, in the order of the file.
    pub tiles: Vec<Tile>,
}

/// `[[dashboard.NAME.tile]]`: one query, shown as one chart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tile {
    /// What a person reads above it.
    pub title: String,
    /// How the result is drawn.
    pub chart: Chart,
    /// The query. The pages put values in the place of `$from`, `$to`, `$bucket`, `$simulated`, `$bots`.
    pub sql: String,
    /// Columns of the twelve that the tile wishes for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<i64>,
    /// `x`, `y`, `series`: names of result columns; `unit`, `about`: text.
    #[serde(flatten)]
    pub options: BTreeMap<&'static str, String>,
}

/// How a tile draws its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chart {
    /// Upright bars, stacked by series.
    Bar,
    /// Bars from the left, for names.
    BarHorizontal,
    /// Lines over time.
    Line,
    /// One large number per column.
    Number,
    /// Rows and columns.
    Table,
    /// The newest rows, as they come.
    Latest,
}

impl Chart {
    /// All charts, in the order in which they are documented.
    pub const ALL: [Self; 6] = [Self::Bar, Self::BarHorizontal, Self::Line, Self::Number, Self::Table, Self::Latest];

    /// The name in the file and in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bar => "bar",
            Self::BarHorizontal => "bar-horizontal",
            Self::Line => "line",
            Self::Number => "number",
            Self::Table => "table",
            Self::Latest => "latest",
        }
    }

    /// The chart of that name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|chart| chart.name() == name)
    }
}

impl Serialize for Chart {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
