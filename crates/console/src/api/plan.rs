//! `GET /api/v1/plan`: how many shards a load needs, by the one formula of the stream room.

use axum::Json;
use http::Uri;
use serde::{Deserialize, Serialize};
use stream::plan::{FORMULA, Load, Plan};

use crate::api::asked;
use crate::error::ApiError;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    record_bytes: u64,
    records_per_second: u64,
    #[serde(default = "one")]
    consumers: u32,
    #[serde(default)]
    fan_out_consumers: u32,
}

fn one() -> u32 {
    1
}

#[derive(Serialize)]
pub(crate) struct Planned {
    shards: u64,
    /// Whether one stream can have so many.
    fits: bool,
    shards_max: u32,
    decides: &'static str,
    formula: &'static str,
    demands: Vec<Demand>,
}

#[derive(Serialize)]
struct Demand {
    limit: &'static str,
    words: &'static str,
    needed: u64,
    per_shard: u64,
    shards: u64,
}

/// Plans for the load that the query describes.
pub(crate) async fn plan(uri: Uri) -> Result<Json<Planned>, ApiError> {
    let Asked { record_bytes, records_per_second, consumers, fan_out_consumers } = asked::query(&uri)?;
    let plan = stream::plan::plan(&Load { record_bytes, records_per_second, consumers, fan_out_consumers });
    let demands = plan.demands.iter().map(|demand| Demand {
        limit: demand.limit.name(),
        words: demand.limit.words(),
        needed: demand.needed,
        per_shard: demand.limit.per_shard(),
        shards: demand.shards,
    });
    Ok(Json(Planned {
        shards: plan.shards,
        fits: plan.fits(),
        shards_max: Plan::shards_max(),
        decides: plan.decides.name(),
        formula: FORMULA,
        demands: demands.collect(),
    }))
}
