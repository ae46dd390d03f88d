//! The accounts of all shards as they stand in the lake: where each goes on.

use std::sync::Arc;

use base::{Offset, ShardId};
use lake::{Table, TailBatch};
use stream::Stream;

use crate::account::{Account, Committed};
use crate::counts::{Books, ShardBook, rows_of};
use crate::delivery::StartError;
use crate::reader::{Feed, rejected_id};
use crate::settings::{StartAt, TableSettings};

/// Where a shard goes on, and what of it to read again before that.
type Resumed = (Account, Option<(Offset, Offset)>);

/// `<stream uuid>/<shard>`: whose progress it is in the table's commits.
pub(crate) fn app_id(stream: &Stream, shard: ShardId) -> String {
    format!("{}/{shard}", stream.uuid())
}

/// Reads the accounts of all shards out of the lake, of those too that the stream no longer has. Where a new table begins
/// is committed at once, so that `latest` stays what it was at the first start.
pub(crate) async fn open(
    settings: &TableSettings,
    stream: &Stream,
    table: &Arc<Table>,
    rejected: &Table,
) -> Result<Books, StartError> {
    let before_id = format!("{}#rows_before", stream.uuid());
    let known = table.progress(&before_id);
    let rows_before = known.map_or_else(|| rows_of(table), |rows| u64::try_from(rows).unwrap_or(0));
    let mut books = Books::new(rows_before);
    let mut first = Vec::new();
    for info in stream.shard_infos() {
        let shard = info.id;
        let book = match resume(settings, stream, shard, table, rejected)? {
            Some((account, again)) => ShardBook { again, ..ShardBook::new(account) },
            // The table has been here before, and this shard has come since: all its records are new.
            None if known.is_some() => begin(settings, stream, shard, Offset::ZERO, rejected),
            None => {
                let bounds = stream.bounds(shard);
                let origin = if settings.start == StartAt::Latest { bounds.end } else { bounds.start };
                let book = begin(settings, stream, shard, origin, rejected);
                first.extend(book.account.progress(&book.account.sums));
                book
            }
        };
        books.shards.insert(shard, book);
    }
    for (shard, account) in past(settings, stream, table, rejected, &books) {
        books.shards.insert(shard, ShardBook { over: true, ..ShardBook::new(account) });
    }
    if known.is_none() {
        let rows = i64::try_from(rows_before).unwrap_or(i64::MAX);
        first.push(lake::Progress { app_id: before_id, next: rows });
        let rows = arrow::array::RecordBatch::new_empty(table.data_schema());
        table.push(TailBatch { rows, event_time: Vec::new(), progress: first })?;
        table.drain().await?;
    }
    Ok(books)
}

/// The book of a shard that came while its stream is being read.
pub(crate) fn open_new(feed: &Feed, shard: ShardId) -> ShardBook {
    begin(&feed.settings, &feed.counts.stream, shard, Offset::ZERO, &feed.rejected)
}

fn begin(settings: &TableSettings, stream: &Stream, shard: ShardId, origin: Offset, rejected: &Table) -> ShardBook {
    let id = app_id(stream, shard);
    // Not none if the table's folder was removed: its rejections are there still.
    let had = rejected.progress(&rejected_id(&settings.name, &id));
    ShardBook::new(Account::begin(id, origin, had))
}

fn resume(
    settings: &TableSettings,
    stream: &Stream,
    shard: ShardId,
    table: &Table,
    rejected: &Table,
) -> Result<Option<Resumed>, StartError> {
    let id = app_id(stream, shard);
    let rejected_to = rejected.progress(&rejected_id(&settings.name, &id));
    let committed = Committed { table: &|id| table.progress(id), rejected_to };
    let Some((account, again)) = Account::resume(id, &committed) else { return Ok(None) };
    let (known, end) = (Offset(account.sums.next), stream.bounds(shard).end);
    if known > end {
        return Err(StartError::Ahead { stream: stream.name().to_owned(), shard, known, end });
    }
    Ok(Some((account, again)))
}

/// Shards that the table has read and the stream no longer has: closed, and nothing of them is kept. Their rows are in the
/// table, so the ledger needs their accounts.
fn past(
    settings: &TableSettings,
    stream: &Stream,
    table: &Table,
    rejected: &Table,
    books: &Books,
) -> Vec<(ShardId, Account)> {
    let progress = table.all_progress();
    let prefix = format!("{}/", stream.uuid());
    let ids = progress.range(prefix.clone()..).map(|(id, _)| id).take_while(|id| id.starts_with(&prefix));
    let shards = ids.filter_map(|id| id[prefix.len()..].parse().ok()).map(ShardId);
    let gone = shards.filter(|shard| !books.shards.contains_key(shard));
    let account = |shard: ShardId| {
        let id = app_id(stream, shard);
        let rejected_to = rejected.progress(&rejected_id(&settings.name, &id));
        let committed = Committed { table: &|id| progress.get(id).copied(), rejected_to };
        let (account, again) = Account::resume(id, &committed)?;
        if let Some((from, until)) = again {
            tracing::error!(
                table = settings.name, shard = shard.0, %from, %until,
                "the shard is gone: rejected records between these offsets may be missing in system.rejected"
            );
        }
        Some((shard, account))
    };
    gone.filter_map(account).collect()
}
