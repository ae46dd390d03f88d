//! Groups formed before a join: the rule ([`early`]), the operator that forms them, and the numbers that groups have.
//!
//! The operator could form any groups, but the engine's own is as fast or faster where nothing is to be decided on the way;
//! so only groups before a join, of which it must be tried whether they pay, are formed here.

mod early;
mod keys;
mod plan;
mod slots;
mod texts;
mod words;
mod work;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

/// Forms groups before joins where that gives the same. To be the last rule: others know only the engine's operators, and
/// have by now told the scan which rows the join wants.
#[derive(Debug, Default)]
pub(crate) struct GroupBeforeJoin;

impl PhysicalOptimizerRule for GroupBeforeJoin {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let done = plan.transform_up(|node| {
            let early = node.downcast_ref::<AggregateExec>().map(early::before_join).transpose()?.flatten();
            Ok(early.map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        Ok(done?.data)
    }

    fn name(&self) -> &str {
        "group_before_join"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
