//! The console: what a person sees of riverrun, and the HTTP API that shows it.
//!
//! **In:** HTTP requests. **Out:** SQL results, live events, numbers, the pages.
//! **Holds:** live queries while somebody looks at them; nothing else.
//! **Never:** has a private door: the pages use the API of `docs/http-api.md` and nothing else.

mod api;
mod dashboards;
mod error;
mod guard;
mod live;
mod pages;
mod pipeline;
mod record;
mod rooms;
mod routes;
mod settings;
mod streams;

pub use dashboards::{Chart, Dashboard, Dashboards, Tile};
pub use pipeline::{Pipeline, RoomState};
pub use rooms::Rooms;
pub use routes::router;
pub use settings::{ConsoleSettings, LISTEN_DEFAULT, Token};
