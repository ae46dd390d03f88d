//! Vacuum and maintenance: what goes, and what must stay.

use super::*;
use crate::RunKind;
use object_store::path::Path;

const HOUR: Duration = Duration::from_secs(3600);

async fn files_on_disk(lake: &Lake) -> usize {
    use futures::TryStreamExt;
    let all: Vec<_> = lake.store().list(Some(&Path::from("clicks"))).try_collect().await.expect("listed");
    all.iter()
        .filter(|object| {
            object.location.as_ref().ends_with(".parquet") && !object.location.as_ref().contains("_delta_log")
        })
        .count()
}

async fn open_at(dir: &FsPath, clock: &Arc<StillClock>) -> Arc<Lake> {
    Lake::open(dir, settings(), Arc::clone(clock) as Arc<dyn Clock>).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merged_files_stay_for_the_retention_and_then_go_and_orphans_with_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = StillClock::at_now();
    let lake = open_at(dir.path(), &clock).await;
    let table = clicks(&lake).await;
    for part in 0..8 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    let old = table.snapshot();
    assert_eq!(table.compact().await.expect("a report").files_before, 8);
    lake.store().put(&Path::from("clicks/year=2026/orphan.zstd.parquet"), "half".into()).await.expect("put");
    assert_eq!(files_on_disk(&lake).await, 10);

    // The wall clock jumps: queries that run now still need the old files.
    clock.forward(HOUR * 30);
    let report = table.vacuum().await.expect("a report");
    assert_eq!((report.error, report.files_before - report.files_after), (None, 1), "the orphan only");
    assert_eq!(offsets_of(&*lake.store(), &table, &old).await.len(), 80);

    // A new process knows of no running query; the files left long ago by the log's own word.
    let lake = open_at(dir.path(), &clock).await;
    let table = clicks(&lake).await;
    let report = table.vacuum().await.expect("a report");
    assert_eq!((report.kind, report.files_before, report.files_after), (RunKind::Vacuum, 9, 1));
    assert!(report.bytes_after < report.bytes_before);
    assert_holds(&lake, &table, 80, "after the vacuum").await;
    assert_eq!(files_on_disk(&lake).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vacuum_spares_files_that_another_process_committed_unseen() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = StillClock::at_now();
    let lake = open_at(dir.path(), &clock).await;
    let table = clicks(&lake).await;
    let other = open_at(dir.path(), &clock).await;
    resume(&clicks(&other).await.clone(), 50).await;
    clock.forward(HOUR * 30);
    let report = table.vacuum().await.expect("a report");
    assert_eq!((report.error, report.files_before - report.files_after), (None, 0));
    let lake = open_at(dir.path(), &clock).await;
    assert_holds(&lake, &clicks(&lake).await.clone(), 50, "all there").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_log_entries_go_once_a_checkpoint_covers_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = StillClock::at_now();
    let lake = open_at(dir.path(), &clock).await;
    let table = clicks(&lake).await;
    for part in 0..60 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    assert_eq!(table.checkpoint().await.expect("a report").error, None);
    table.push(batch(600, 610, 1)).expect("pushed");
    table.flush().await.expect("committed");
    clock.forward(HOUR * 2);
    assert_eq!(table.vacuum().await.expect("a report").error, None);
    let entries = std::fs::read_dir(dir.path().join("clicks/_delta_log")).expect("the log").count();
    assert!(entries < 10, "{entries} entries");
    let lake = open_at(dir.path(), &clock).await;
    let table = clicks(&lake).await;
    assert_eq!(table.progress(SOURCE), Some(610));
    assert_holds(&lake, &table, 610, "after the clean-up").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maintenance_runs_by_itself_tells_what_it_did_and_stops() {
    let dir = tempfile::tempdir().expect("a folder");
    let quick = LakeSettings { maintain_every: Duration::from_millis(5), ..settings() };
    let lake = Lake::open(dir.path(), quick, Arc::new(SystemClock)).await.expect("opens");
    let table = clicks(&lake).await;
    for part in 0..60 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let keeper = tokio::spawn({
        let lake = Arc::clone(&lake);
        async move {
            let stopped = async { stopped.await.unwrap_or_default() };
            lake.maintain(stopped, move |report| told.send(report).expect("heard")).await;
        }
    });
    let report = heard.recv().await.expect("told");
    assert_eq!((report.kind, report.files_before, report.files_after, report.rows), (RunKind::Compaction, 60, 1, 600));
    stop.send(()).expect("runs");
    keeper.await.expect("no panic");
    assert_holds(&lake, &table, 600, "after maintenance").await;
}
