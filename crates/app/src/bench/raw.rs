//! The raw disk as a log writes it: files side by side, each written sequentially with a sync after so many bytes.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stream::payload;

/// Bytes before each sync, at most.
pub(super) const GROUP_BYTES_MAX: u64 = FILE_BYTES_MAX / 8;
/// A raw file starts over at this size, as segments do.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// What all prepared files have together: more than is written in a round of three seconds.
const PREPARED_BYTES: u64 = 6 << 30;
/// Space reserved ahead of the raw file's end, as segments do.
const RESERVE_BYTES: u64 = 32 << 20;

/// Bytes for which the page cache has memory at hand before each part of a round: what the fastest of them takes.
const AT_HAND_BYTES: u64 = 6 << 30;

/// MB/s in each of the ways, one after the other.
pub(super) async fn disk(
    dir: &Path,
    files: usize,
    group: u64,
    time: Duration,
) -> anyhow::Result<BTreeMap<&'static str, f64>> {
    let mut found = BTreeMap::new();
    for way in [Way::Appended, Way::Prepared, Way::Ring] {
        let dir = dir.to_owned();
        let opened = tokio::task::spawn_blocking(move || RawFiles::open(&dir, way, files, group)).await??;
        have_memory_at_hand().await?;
        found.insert(way.name(), tokio::task::spawn_blocking(move || opened.written_for(time)).await??);
    }
    Ok(found)
}

/// Fills memory and lets go of it. A virtual machine gives memory that it has not used for a while back to its host and gets
/// it back page by page; then writing a megabyte takes ten times as long, for whoever comes first.
pub(super) async fn have_memory_at_hand() -> anyhow::Result<()> {
    tokio::task::spawn_blocking(|| {
        // Pages of a file, as those of the page cache are, that has no disk below it.
        let mut file = File::from(rustix::fs::memfd_create("riverrun-bench", rustix::fs::MemfdFlags::CLOEXEC)?);
        let block = vec![0; 1 << 20];
        for _ in 0..AT_HAND_BYTES >> 20 {
            file.write_all(&block)?;
        }
        anyhow::Ok(())
    })
    .await?
}

/// How the raw disk is written: each a sequential write with a sync after each group.
#[derive(Clone, Copy)]
enum Way {
    /// At the end of a file, room reserved ahead, as the log does; cut to nothing when it is full, so that its memory is used again.
    Appended,
    /// Once over blocks that were prepared, none of which is in memory: the most that the disk can do for who keeps what is written.
    Prepared,
    /// Over the same blocks again and again, all of which stay in memory: the most that it can do for who keeps nothing.
    Ring,
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::Appended => "appended",
            Self::Prepared => "prepared",
            Self::Ring => "ring",
        }
    }

    /// The size of one of so many files, written before it is measured if this way asks for it.
    const fn file_bytes(self, files: u64) -> u64 {
        match self {
            Self::Appended | Self::Ring => FILE_BYTES_MAX,
            Self::Prepared => PREPARED_BYTES / files,
        }
    }
}

/// One file for each shard, written side by side.
struct RawFiles {
    paths: Vec<PathBuf>,
    files: Vec<File>,
    way: Way,
    group: u64,
}

impl RawFiles {
    fn open(dir: &Path, way: Way, files: usize, group: u64) -> anyhow::Result<Self> {
        let paths: Vec<_> = (0..files).map(|number| dir.join(format!("raw-{number}"))).collect();
        let files = paths
            .iter()
            .map(|path| open_raw(path, way, way.file_bytes(files as u64)))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { paths, files, way, group })
    }

    /// MB/s of writing a group and syncing it, again and again.
    #[allow(clippy::cast_precision_loss)]
    fn written_for(self, time: Duration) -> anyhow::Result<f64> {
        let (way, group, size) = (self.way, self.group, self.way.file_bytes(self.files.len() as u64));
        let begun = Instant::now();
        let write = |file| std::thread::spawn(move || write_for(file, way, group, size, begun + time));
        let writers: Vec<_> = self.files.into_iter().map(write).collect();
        let mut bytes_per_s = 0.0;
        for writer in writers {
            let (bytes, seconds) = writer.join().map_err(|_| anyhow::anyhow!("a writer of the raw disk broke"))??;
            bytes_per_s += bytes as f64 / seconds;
        }
        for path in self.paths {
            std::fs::remove_file(path)?;
        }
        Ok(bytes_per_s / 1e6)
    }
}

fn open_raw(path: &Path, way: Way, size: u64) -> anyhow::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(path)?;
    if matches!(way, Way::Prepared | Way::Ring) {
        let block = payload(1 << 20, 5);
        for _ in 0..size >> 20 {
            file.write_all(&block)?;
        }
        file.sync_all()?;
        file.seek(SeekFrom::Start(0))?;
    }
    if matches!(way, Way::Prepared) {
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(file)
}

/// Bytes written until then, and the seconds it took; a full file starts over, a prepared one ends it.
fn write_for(mut file: File, way: Way, group: u64, size: u64, end: Instant) -> anyhow::Result<(u64, f64)> {
    let block = payload(usize::try_from(group)?, 7);
    let begun = Instant::now();
    let (mut at, mut reserved, mut written) = (0, 0, 0);
    while Instant::now() < end {
        if at + group > size {
            match way {
                Way::Prepared => break,
                Way::Ring => {}
                Way::Appended => {
                    file.set_len(0)?;
                    reserved = 0;
                }
            }
            at = file.seek(SeekFrom::Start(0))?;
        }
        if matches!(way, Way::Appended) && at + group > reserved {
            let more = RESERVE_BYTES.max(group);
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, reserved, more)?;
            reserved += more;
        }
        file.write_all(&block)?;
        file.sync_data()?;
        at += group;
        written += group;
    }
    Ok((written, begun.elapsed().as_secs_f64()))
}
