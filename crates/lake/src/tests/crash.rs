//! Crashes and lost acknowledgements at every operation of the object store.

use std::sync::Arc;

use super::fault::{Script, Verdict};
use super::*;
use crate::LakeError;

const BOTH: [Verdict; 2] = [Verdict::Before, Verdict::After];

/// Runs `story` with a crash at each operation in turn, until one run gets by without reaching it.
async fn at_every_operation<F: Future<Output = ()>>(
    script: fn(u64, Verdict) -> Arc<Script>,
    story: impl Fn(Arc<Script>, String) -> F,
) {
    for verdict in BOTH {
        let mut at = 0;
        loop {
            let script = script(at, verdict);
            story(Arc::clone(&script), format!("{verdict:?} operation {at}")).await;
            if script.hits() == 0 {
                break;
            }
            at += 1;
        }
        assert!(at > 2, "only {at} operations were seen");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_operation_of_a_flush_loses_and_doubles_nothing() {
    at_every_operation(Script::crash_at, |script, story| async move {
        let dir = tempfile::tempdir().expect("a folder");
        {
            let lake = open_with(dir.path(), script.faults()).await;
            let table = clicks(&lake).await;
            table.push(batch(0, 50, 3)).expect("pushed");
            table.flush().await.expect("committed");
            script.switch(true);
            table.push(batch(50, 120, 3)).expect("pushed");
            let _crashed = table.flush().await;
            // Until the process is gone, queries see all rows once, however the flush ended.
            script.switch(false);
            assert_holds(&lake, &table, 120, &story).await;
        }
        let lake = open(dir.path()).await;
        let table = clicks(&lake).await;
        let from = table.progress(SOURCE).expect("committed before");
        assert!(from == 50 || from == 120, "{story}: {from}");
        assert_holds(&lake, &table, from, &story).await;
        resume(&table, 200).await;
        assert_holds(&lake, &table, 200, &story).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_at_any_operation_of_a_flush_is_made_good_by_the_next_flush() {
    at_every_operation(Script::fail_at, |script, story| async move {
        let dir = tempfile::tempdir().expect("a folder");
        let lake = open_with(dir.path(), script.faults()).await;
        let table = clicks(&lake).await;
        script.switch(true);
        table.push(batch(0, 60, 3)).expect("pushed");
        let first = table.flush().await;
        script.switch(false);
        assert_holds(&lake, &table, 60, &story).await;
        script.switch(true);
        table.push(batch(60, 90, 3)).expect("pushed");
        let second = table.flush().await;
        assert!(first.is_ok() || second.is_ok(), "{story}: {first:?} {second:?}");
        script.switch(false);
        assert_holds(&lake, &table, 90, &story).await;
        table.drain().await.expect("committed");
        assert_eq!(table.tail_rows(), 0);
        assert_holds(&lake, &table, 90, &story).await;
        let lake = open(dir.path()).await;
        assert_holds(&lake, &clicks(&lake).await.clone(), 90, &story).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_operation_of_a_compaction_changes_no_row() {
    at_every_operation(Script::crash_at, |script, story| async move {
        let dir = tempfile::tempdir().expect("a folder");
        {
            let lake = open_with(dir.path(), script.faults()).await;
            let table = clicks(&lake).await;
            for part in 0..8 {
                table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
                table.flush().await.expect("committed");
            }
            script.switch(true);
            let report = table.compact().await.expect("a report");
            assert!(report.error.is_some() || report.files_before == 8, "{story}: {report:?}");
            script.switch(false);
            assert_holds(&lake, &table, 80, &story).await;
        }
        let lake = open(dir.path()).await;
        let table = clicks(&lake).await;
        assert_eq!(table.progress(SOURCE), Some(80), "{story}");
        assert_holds(&lake, &table, 80, &story).await;
        resume(&table, 90).await;
        let report = table.compact().await.expect("a report");
        assert_eq!(report.error, None, "{story}");
        assert_holds(&lake, &table, 90, &story).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_operation_of_making_a_table_or_a_checkpoint_is_healed_by_a_restart() {
    at_every_operation(Script::crash_at, |script, story| async move {
        let dir = tempfile::tempdir().expect("a folder");
        script.switch(true);
        let lake = open_with(dir.path(), script.faults()).await;
        if let Ok(table) = lake.ensure(spec()).await
            && table.push(batch(0, 30, 3)).is_ok()
            && table.flush().await.is_ok()
        {
            let report = table.checkpoint().await.expect("a report");
            assert!(report.error.is_none() || script.hits() > 0, "{story}: {report:?}");
        }
        drop(lake);
        let lake = open(dir.path()).await;
        let table = clicks(&lake).await;
        resume(&table, 40).await;
        assert_holds(&lake, &table, 40, &story).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_acknowledgement_is_lost_is_found_by_its_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let script = Script::new(
        |_, what, path| {
            if what == "put" && path.ends_with("01.json") { Verdict::After } else { Verdict::Pass }
        },
    );
    let lake = open_with(dir.path(), script.faults()).await;
    let table = clicks(&lake).await;
    script.switch(true);
    table.push(batch(0, 10, 1)).expect("pushed");
    let flushed = table.flush().await.expect("found to have happened");
    assert_eq!(flushed.version.map(|version| version.0), Some(1));
    assert_eq!((script.hits(), table.counts().settled.get()), (1, 1));
    assert_holds(&lake, &table, 10, "after the lost acknowledgement").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_store_is_away_rows_stay_visible_and_nothing_is_written_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    // The commit arrives, but neither its acknowledgement nor any reading does.
    let script = Script::new(|_, what, path| match (what, path.contains("_delta_log")) {
        ("put", true) => Verdict::After,
        ("get" | "list", true) => Verdict::Before,
        _ => Verdict::Pass,
    });
    let lake = open_with(dir.path(), script.faults()).await;
    let table = clicks(&lake).await;
    script.switch(true);
    table.push(batch(0, 10, 1)).expect("pushed");
    let error = table.flush().await.expect_err("uncertain");
    assert!(matches!(error, LakeError::Unsettled { .. }), "{error}");
    table.push(batch(10, 20, 1)).expect("pushed");
    assert!(table.flush().await.is_err());
    assert_eq!(table.compact().await.expect("a report").error, None);
    assert_holds(&lake, &table, 20, "in the outage").await;
    script.switch(false);
    table.flush().await.expect("settled and committed");
    assert_eq!(table.tail_rows(), 0);
    assert_holds(&lake, &table, 20, "after the outage").await;
    assert_eq!(table.snapshot().version.0, 2);
    let lake = open(dir.path()).await;
    assert_holds(&lake, &clicks(&lake).await.clone(), 20, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_is_dropped_half_way_is_taken_up_by_the_next() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    for polls in 1..60 {
        let to = polls * 10;
        table.push(batch(to - 10, to, 2)).expect("pushed");
        // Polled a few times, then dropped, as a cancelled task would be.
        let mut flush = Box::pin(table.flush());
        for _ in 0..polls {
            if futures::poll!(flush.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(flush);
        assert_holds(&lake, &table, to, "after a dropped flush").await;
    }
    table.drain().await.expect("committed");
    assert_holds(&lake, &table, 590, "at the end").await;
    let lake = open(dir.path()).await;
    assert_holds(&lake, &clicks(&lake).await.clone(), 590, "after a restart").await;
}
