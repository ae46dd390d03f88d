//! Groups that we form and not the engine: before a join ([`early`]), by a text, and by several columns with a text among them
//! that can be read as a dictionary, in lots that the cache holds ([`work::LOT_GROUPS`]). The rule, the operators, and the numbers
//! that groups have.
//!
//! The operators could form any groups. Where nothing is to be had, as for groups by numbers alone, the engine's own are as fast
//! or faster.

mod early;
mod groups;
mod input;
mod keys;
mod measure;
mod merging;
mod pairs;
mod plan;
mod slices;
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
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};

use merging::Merging;
use plan::Grouping;

use crate::dictionaries;

/// Forms groups before joins where that gives the same, and those by texts in lots, and has scans read dictionaries for them and
/// for filters. To be the last rule: others know only the engine's operators, and have by now told the scan which rows the join
/// wants.
#[derive(Debug)]
pub(crate) struct FormGroups {
    lot: usize,
}

impl Default for FormGroups {
    fn default() -> Self {
        Self { lot: work::LOT_GROUPS }
    }
}

impl PhysicalOptimizerRule for FormGroups {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        let grouped = plan.transform_up(|node| {
            let Some(engine) = node.downcast_ref::<AggregateExec>() else { return Ok(Transformed::no(node)) };
            let ours = match early::before_join(engine)? {
                Some(early) => Some(early),
                None if *engine.mode() == AggregateMode::FinalPartitioned => {
                    Merging::of(engine).map(|merging| Arc::new(merging) as _)
                }
                None => Grouping::in_lots(engine, self.lot)?.map(|grouping| Arc::new(grouping) as _),
            };
            Ok(ours.map_or_else(|| Transformed::no(node), Transformed::yes))
        });
        // What groups did not ask for, filters may: each scan is opened once.
        let opened = grouped?
            .data
            .transform_up(|node| Ok(dictionaries::open(&node).map_or_else(|| Transformed::no(node), Transformed::yes)));
        Ok(opened?.data)
    }

    fn name(&self) -> &str {
        "form_groups"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
