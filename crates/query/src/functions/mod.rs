//! The SQL functions that clicks need beyond the engine's own. All are immutable, take whole columns at a time, and
//! read plain, view and dictionary text alike.

mod agent;
mod bots;
mod in_utc;
mod percentile;
mod query_param;
mod recent;
mod text;
mod tumble;
mod urls;

#[cfg(test)]
mod tests;

use std::sync::{Arc, LazyLock};

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

use self::text::TextFunction;

/// A function as the catalog shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// How it is called, with types.
    pub signature: &'static str,
    /// What it gives, in one or two sentences.
    pub about: &'static str,
    /// A call with its result.
    pub example: &'static str,
}

static DESCRIBED: [Described; 9] = [
    query_param::DESCRIBED,
    urls::HOST,
    urls::PATH,
    agent::BROWSER,
    agent::OS,
    agent::DEVICE,
    bots::IS_BOT,
    bots::REASON,
    tumble::DESCRIBED,
];

/// All functions of this room, described.
pub fn described() -> &'static [Described] {
    &DESCRIBED
}

/// All functions of this room, ready for a session of the engine.
pub fn all() -> Vec<ScalarUDF> {
    let text = [
        TextFunction::texts(query_param::DESCRIBED.name, 2, query_param::run),
        TextFunction::texts(urls::HOST.name, 1, urls::host),
        TextFunction::texts(urls::PATH.name, 1, urls::path),
        TextFunction::texts(agent::BROWSER.name, 1, agent::browser),
        TextFunction::texts(agent::OS.name, 1, agent::os),
        TextFunction::texts(agent::DEVICE.name, 1, agent::device),
        TextFunction::booleans(bots::IS_BOT.name, 1, bots::is_bot),
        TextFunction::texts(bots::REASON.name, 1, bots::reason),
    ];
    text.into_iter().map(ScalarUDF::from).chain([ScalarUDF::from(tumble::Tumble::new())]).collect()
}

/// A session with all functions: the engine's, those of them that are replaced by faster ones, and ours.
pub(crate) fn session(builder: SessionStateBuilder) -> SessionContext {
    // The first planner that knows what to do is asked; the engine's own come after.
    let builder = builder.with_expr_planners(vec![Arc::new(in_utc::Extract::new())]).with_default_features();
    let state = builder.with_optimizer_rule(Arc::new(percentile::SharePercentiles)).build();
    let context = SessionContext::new_with_state(state);
    all().into_iter().chain(in_utc::replaced()).for_each(|function| context.register_udf(function));
    context
}

/// The names of all functions a query may call, ours and the engine's.
pub(crate) fn names() -> Vec<&'static str> {
    static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
        use datafusion::execution::SessionStateDefaults as Defaults;
        let scalar = Defaults::default_scalar_functions().into_iter().chain(all().into_iter().map(Arc::new));
        let scalar = scalar.flat_map(|function| with_aliases(function.name(), function.aliases()));
        let aggregate = Defaults::default_aggregate_functions().into_iter();
        let aggregate = aggregate.flat_map(|function| with_aliases(function.name(), function.aliases()));
        let window = Defaults::default_window_functions().into_iter();
        let window = window.flat_map(|function| with_aliases(function.name(), function.aliases()));
        scalar.chain(aggregate).chain(window).collect()
    });
    NAMES.iter().map(String::as_str).collect()
}

fn with_aliases(name: &str, aliases: &[String]) -> Vec<String> {
    std::iter::once(name.to_owned()).chain(aliases.iter().cloned()).collect()
}
