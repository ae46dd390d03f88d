//! What the door knows of a stream beyond the log: tags, consumers, monitoring, how often it was scaled. A small JSON
//! file beside the stream (`Stream::set_note`), deleted with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::Millis;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use stream::Stream;
use uuid::Uuid;

use super::fault::Fault;

/// The name of the note.
const NOTE: &str = "kinesis";

/// What the door knows of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    /// Tags, by key.
    pub(crate) tags: BTreeMap<String, String>,
    /// Registered consumers, by name.
    pub(crate) consumers: BTreeMap<String, Consumer>,
    /// Names of shard-level metrics that somebody asked for, in the order of the model.
    pub(crate) metrics: Vec<String>,
    /// The id of the key that `StartStreamEncryption` named.
    pub(crate) key_id: Option<String>,
    /// When `UpdateShardCount` was called, within the last day.
    pub(crate) scaled_ms: Vec<i64>,
    /// When the mode was changed, within the last day.
    pub(crate) switched_ms: Vec<i64>,
    /// Whether records are spread over the shards whatever their key.
    pub(crate) spread: bool,
}

/// A registered consumer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Consumer {
    /// When it was registered: part of its ARN, in seconds.
    pub(crate) created_ms: i64,
    /// Its tags.
    pub(crate) tags: BTreeMap<String, String>,
}

impl Consumer {
    /// When it was registered.
    pub(crate) fn created(&self) -> Millis {
        Millis(self.created_ms)
    }
}

/// The attributes of all streams that were asked for, read once. As many as there are streams.
#[derive(Debug, Default)]
pub(crate) struct AttributesBook {
    known: RwLock<HashMap<Uuid, Arc<Page>>>,
}

/// Those of one stream.
#[derive(Debug)]
struct Page {
    /// Held by who changes them, until that is on disk.
    changing: Mutex<()>,
    /// Never held for long: each put asks.
    now: RwLock<Arc<Attributes>>,
}

impl AttributesBook {
    /// The attributes of a stream as they are now.
    pub(crate) fn of(&self, stream: &Stream) -> Arc<Attributes> {
        self.page(stream).now.read().clone()
    }

    /// Changes them, durably; what `change` answers is passed on, and an error changes nothing.
    pub(crate) fn change<T>(
        &self,
        stream: &Stream,
        change: impl FnOnce(&mut Attributes) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let page = self.page(stream);
        let _alone = page.changing.lock();
        let now = page.now.read().clone();
        let mut changed = Attributes::clone(&now);
        let answer = change(&mut changed)?;
        if *now != changed {
            let bytes = serde_json::to_vec(&changed).expect("names and texts are JSON");
            stream.set_note(NOTE, &bytes).map_err(|error| {
                if error.kind() == std::io::ErrorKind::InvalidInput {
                    return Fault::limit(format!("Tags and consumers of stream {} take too much room.", stream.name()));
                }
                tracing::error!(stream = stream.name(), %error, "the note of the Kinesis door could not be written");
                Fault::internal("The change could not be written to disk; the server's log says why.")
            })?;
            *page.now.write() = Arc::new(changed);
        }
        Ok(answer)
    }

    /// Forgets a stream that was deleted.
    pub(crate) fn forget(&self, stream: &Stream) {
        self.known.write().remove(&stream.uuid());
    }

    fn page(&self, stream: &Stream) -> Arc<Page> {
        if let Some(page) = self.known.read().get(&stream.uuid()) {
            return page.clone();
        }
        let read = stream.note(NOTE).and_then(|bytes| match serde_json::from_slice(&bytes) {
            Ok(read) => Some(read),
            Err(error) => {
                tracing::error!(stream = stream.name(), %error, "the note of the Kinesis door is damaged: tags and consumers of this stream are lost");
                None
            }
        });
        let page = Arc::new(Page { changing: Mutex::default(), now: RwLock::new(Arc::new(read.unwrap_or_default())) });
        let mut known = self.known.write();
        if stream.is_deleted() {
            return page;
        }
        // Who was faster may have changed it since.
        known.entry(stream.uuid()).or_insert(page).clone()
    }
}
