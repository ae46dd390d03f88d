//! Damaged logs: told, never taken for truth, never a panic.

use super::*;
use crate::LakeError;

/// Opens the table in a task of its own, so that a panic is an answer too.
async fn reopened(dir: &FsPath) -> Result<(u64, usize, Option<i64>), LakeError> {
    let dir = dir.to_owned();
    let opened = tokio::spawn(async move {
        let lake = open(&dir).await;
        let table = lake.ensure(spec()).await?;
        let snapshot = table.snapshot();
        Ok((snapshot.version.0, snapshot.files.len(), table.progress(SOURCE)))
    });
    opened.await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_flipped_bit_in_a_commit_is_told_or_harmless() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    table.push(batch(0, 10, 1)).expect("pushed");
    table.flush().await.expect("committed");
    drop((table, lake));
    let truth = reopened(dir.path()).await.expect("sound");
    let mut told = 0;
    for version in ["00", "01"] {
        let path = dir.path().join(format!("clicks/_delta_log/000000000000000000{version}.json"));
        let sound = std::fs::read(&path).expect("the commit");
        for at in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).expect("written");
            match reopened(dir.path()).await {
                Ok(found) => assert_eq!(found, truth, "byte {at} of version {version} was changed unseen"),
                Err(error) => {
                    told += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        std::fs::write(&path, &sound).expect("mended");
    }
    assert!(told > 100, "{told} damages were told");
    assert_eq!(reopened(dir.path()).await.expect("sound again"), truth);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_or_empty_commit_is_told() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    for part in 0..3 {
        table.push(batch(part * 10, part * 10 + 10, 1)).expect("pushed");
        table.flush().await.expect("committed");
    }
    drop((table, lake));
    let path = dir.path().join("clicks/_delta_log/00000000000000000002.json");
    let sound = std::fs::read(&path).expect("the commit");
    std::fs::remove_file(&path).expect("removed");
    let error = reopened(dir.path()).await.expect_err("a hole in the log");
    assert_eq!(error.kind(), base::ErrorKind::Corrupt, "{error}");
    std::fs::write(&path, b"").expect("written");
    let error = reopened(dir.path()).await.expect_err("an empty commit");
    assert_eq!(error.kind(), base::ErrorKind::Corrupt, "{error}");
    std::fs::write(&path, &sound[..sound.len() / 2]).expect("written");
    assert!(reopened(dir.path()).await.is_err(), "half a commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_never_panics() {
    let dir = tempfile::tempdir().expect("a folder");
    let lake = open(dir.path()).await;
    let table = clicks(&lake).await;
    table.push(batch(0, 10, 1)).expect("pushed");
    table.flush().await.expect("committed");
    assert_eq!(table.checkpoint().await.expect("a report").error, None);
    drop((table, lake));
    let path = dir.path().join("clicks/_delta_log/00000000000000000001.checkpoint.parquet");
    let sound = std::fs::read(&path).expect("the checkpoint");
    for at in (0..sound.len()).step_by(sound.len().div_ceil(400)) {
        let mut damaged = sound.clone();
        damaged[at] ^= 1 << (at % 8);
        std::fs::write(&path, &damaged).expect("written");
        let _told_or_not = reopened(dir.path()).await;
    }
    std::fs::write(&path, &sound[..sound.len() / 2]).expect("written");
    assert!(reopened(dir.path()).await.is_err(), "half a checkpoint");
}
