//! The table of routes: every door of the console in one place, with who may use it.

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use base::Measured;
use http::{HeaderValue, Method, header};

use crate::rooms::{Console, Rooms};
use crate::settings::ConsoleSettings;
use crate::{api, guard, live, pages};

/// Who may use a route, beyond the checks of place that hold for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone who reaches the console.
    Open,
    /// Who shows the token, if one is configured.
    Token,
}

/// One route.
pub(crate) struct Route {
    #[cfg_attr(not(test), expect(dead_code, reason = "the access matrix of the tests reads it"))]
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) access: Access,
    handler: MethodRouter<Arc<Console>>,
}

fn route(method: Method, path: &'static str, access: Access, handler: MethodRouter<Arc<Console>>) -> Route {
    Route { method, path, access, handler }
}

/// All routes but the collector's, which the edge room makes, and the pages.
pub(crate) fn routes() -> Vec<Route> {
    use Access::{Open, Token};
    vec![
        route(Method::GET, "/api/v1/health", Open, get(api::health::health)),
        route(Method::GET, "/metrics", Token, get(api::metrics::metrics)),
        route(Method::POST, "/api/v1/sql", Token, post(api::sql::sql)),
        route(Method::GET, "/api/v1/catalog", Token, get(api::catalog::catalog)),
        route(Method::GET, "/api/v1/pipeline", Token, get(api::pipeline::pipeline)),
        route(Method::GET, "/api/v1/dashboards", Token, get(api::dashboards::dashboards)),
        route(Method::GET, "/api/v1/plan", Token, get(api::plan::plan)),
        route(Method::GET, "/api/v1/streams", Token, get(api::streams::streams)),
        route(Method::GET, "/api/v1/streams/{stream}", Token, get(api::streams::stream)),
        route(Method::GET, "/api/v1/streams/{stream}/records", Token, get(api::records::records)),
        route(Method::POST, "/api/v1/streams/{stream}/split", Token, post(api::change::split)),
        route(Method::POST, "/api/v1/streams/{stream}/merge", Token, post(api::change::merge)),
        route(Method::POST, "/api/v1/streams/{stream}/reshape", Token, post(api::change::reshape)),
        route(Method::POST, "/api/v1/streams/{stream}/retention", Token, post(api::change::retention)),
        route(Method::POST, "/api/v1/streams/{stream}/mode", Token, post(api::change::mode)),
        route(Method::GET, "/api/v1/live/sql", Token, get(live::sql::live_sql)),
        route(Method::GET, "/api/v1/live/pipeline", Token, get(live::pipeline::live_pipeline)),
        route(Method::GET, "/api/v1/live/streams", Token, get(live::streams::live_streams)),
        route(Method::GET, "/api/v1/live/streams/{stream}", Token, get(live::streams::live_stream)),
        route(Method::GET, "/api/v1/live/tail/{stream}", Token, get(live::tail::live_tail)),
    ]
}

/// What the pages may load and who may frame them: what this server has, nothing inline, nothing from elsewhere. The
/// stand-in server (`ui/mock.mjs`) sends the same, and the tests of the pages fail on anything that it refuses.
const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);

/// The whole console as one service, and what it counts.
pub fn router(rooms: Rooms, settings: &ConsoleSettings) -> (Router, Arc<dyn Measured>) {
    let console = Console::new(rooms, settings);
    let check_token = from_fn_with_state(console.guard.clone(), guard::check_token);
    let mut api = Router::new();
    for route in routes() {
        let handler = match route.access {
            Access::Open => route.handler,
            Access::Token => route.handler.layer(check_token.clone()),
        };
        api = api.route(route.path, handler);
    }
    let api = api.layer(DefaultBodyLimit::max(api::sql::SQL_BYTES_MAX)).with_state(console.clone());
    let pages = Router::new()
        .route("/login", post(guard::login))
        .route("/login.css", get(guard::login_style))
        .fallback(pages::page)
        .with_state(console.guard.clone());
    let collector = console.rooms.collector.clone().layer(check_token);
    let guarded = pages.merge(api).merge(collector);
    let guarded = guarded.layer(from_fn_with_state(console.guard.clone(), guard::check_place));
    let router = guarded.layer(from_fn(|request: axum::extract::Request, next: axum::middleware::Next| async move {
        secured(next.run(request).await)
    }));
    (router, console)
}

/// The headers that every answer carries.
fn secured(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    headers.insert("cross-origin-resource-policy", HeaderValue::from_static("same-origin"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests;
