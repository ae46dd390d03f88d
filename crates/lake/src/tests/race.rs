//! Many at once: pushes, flushes, compactions, queries; several writers.

use std::sync::atomic::AtomicBool;

use object_store::local::LocalFileSystem;

use super::fault::{Script, Verdict};
use super::*;
use crate::LakeError;

/// Pushes, flushes, compacts and looks at the same time; every look must see the offsets `0..n` for an n between what
/// was pushed before and after it.
async fn all_at_once(script: Arc<Script>, to: i64) {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open_with(dir.path(), script.faults()).await;
    let table = clicks(&lake).await;
    script.switch(true);
    let pushed = Arc::new(AtomicI64::new(0));
    let done = Arc::new(AtomicBool::new(false));

    let flusher = tokio::spawn({
        let (table, done) = (Arc::clone(&table), Arc::clone(&done));
        async move {
            while !done.load(Ordering::SeqCst) {
                let _faulty = table.flush().await;
                tokio::task::yield_now().await;
            }
        }
    });
    let keeper = tokio::spawn({
        let (table, done) = (Arc::clone(&table), Arc::clone(&done));
        async move {
            while !done.load(Ordering::SeqCst) {
                table.compact().await.expect("a report");
                if table.wants_checkpoint() {
                    table.checkpoint().await.expect("a report");
                }
                tokio::task::yield_now().await;
            }
        }
    });
    let looker = tokio::spawn({
        let (table, done, pushed) = (Arc::clone(&table), Arc::clone(&done), Arc::clone(&pushed));
        let disk = LocalFileSystem::new_with_prefix(dir.path()).expect("the folder is there");
        async move {
            let mut looks = 0;
            while !done.load(Ordering::SeqCst) {
                let least = pushed.load(Ordering::SeqCst);
                let snapshot = table.snapshot();
                let rows: u64 = snapshot.files.iter().filter_map(|file| file.rows).sum();
                let tail: usize = snapshot.tail.iter().map(RecordBatch::num_rows).sum();
                let seen = i64::try_from(rows).expect("few") + i64::try_from(tail).expect("few");
                assert!(seen >= least, "{seen} rows seen, {least} were pushed before");
                if looks % 20 == 0 {
                    let found = offsets_of(&disk, &table, &snapshot).await;
                    assert_eq!(found, (0..seen).collect::<Vec<_>>());
                }
                looks += 1;
                tokio::task::yield_now().await;
            }
            looks
        }
    });
    let mut from = 0;
    while from < to {
        let next = (from + 1 + from % 7).min(to);
        table.push(batch(from, next, 2)).expect("pushed");
        pushed.store(next, Ordering::SeqCst);
        from = next;
        if from % 5 == 0 {
            tokio::task::yield_now().await;
        }
        if from % 40 < 8 {
            table.flush().await.ok();
        }
    }
    done.store(true, Ordering::SeqCst);
    flusher.await.expect("no panic");
    keeper.await.expect("no panic");
    assert!(looker.await.expect("no panic") > 0);
    script.switch(false);
    table.drain().await.expect("committed");
    assert_holds(&lake, &table, to, "at the end").await;
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    assert_eq!(table.progress(SOURCE), Some(to));
    assert_holds(&lake, &table, to, "after a restart").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_snapshot_is_a_prefix_while_flushes_and_compactions_run() {
    all_at_once(Script::new(|_, _, _| Verdict::Pass), 3000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_that_fails_every_few_operations_loses_and_doubles_nothing() {
    let mut faults = 0;
    for seed in 1..=6u64 {
        let mut random = seed;
        let script = Script::new(move |_, what, _| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match (what, (random >> 33) % (2 + 4 * seed)) {
                ("get", 0) => Verdict::Before,
                (_, 0) => Verdict::After,
                (_, 1) => Verdict::Before,
                _ => Verdict::Pass,
            }
        });
        all_at_once(Arc::clone(&script), 400).await;
        faults += script.hits();
    }
    assert!(faults > 40, "only {faults} faults");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_replaced_is_fenced_at_its_next_commit() {
    let dir = tempfile::tempdir().expect("a folder");
    let old = open(dir.path()).await;
    let zombie = clicks(&old).await;
    zombie.push(batch(0, 10, 1)).expect("pushed");
    zombie.flush().await.expect("committed");
    zombie.push(batch(10, 20, 1)).expect("pushed");

    let new = open(dir.path()).await;
    let successor = clicks(&new).await;
    assert_eq!(successor.progress(SOURCE), Some(10));
    resume(&successor, 30).await;

    let error = zombie.flush().await.expect_err("fenced");
    assert!(matches!(&error, LakeError::Fenced { found: 30, .. }), "{error}");
    assert_eq!(error.kind(), base::ErrorKind::Fenced);
    let again = zombie.push(batch(20, 25, 1)).expect_err("fenced for good");
    assert!(matches!(again, LakeError::Fenced { .. }), "{again}");
    assert_holds(&new, &successor, 30, "the successor's table").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_different_sources_commit_side_by_side() {
    let dir = tempfile::tempdir().expect("a folder");
    let lakes = [open(dir.path()).await, open(dir.path()).await];
    let tables = [clicks(&lakes[0]).await, clicks(&lakes[1]).await];
    for round in 0..20 {
        for (half, table) in tables.iter().enumerate() {
            let half = i64::try_from(half).expect("small");
            let mut rows = batch(round * 20 + half * 10, round * 20 + half * 10 + 10, 1);
            rows.progress[0].app_id = format!("stream-1/{half}");
            table.push(rows).expect("pushed");
        }
        let (a, b) = tokio::join!(tables[0].flush(), tables[1].flush());
        a.and(b).expect("both committed");
    }
    assert!(tables[0].counts().overtaken.get() + tables[1].counts().overtaken.get() > 0);
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    assert_holds(&lake, &table, 400, "both halves").await;
    assert_eq!(table.all_progress().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_compactions_of_the_same_files_do_not_double_rows() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    for part in 0..8 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    let other = open(dir.path()).await;
    let other_table = clicks(&other).await;
    assert_eq!(table.compact().await.expect("a report").files_before, 8);
    let report = other_table.compact().await.expect("a report");
    assert!(report.error.is_some_and(|error| error.contains("was to be merged")));
    assert_holds(&other, &other_table, 80, "the slower one").await;
    other_table.push(batch(80, 90, 1)).expect("pushed");
    other_table.flush().await.expect("goes on");
    assert_holds(&other, &other_table, 90, "the slower one goes on").await;
}
