//! What the door knows of a stream beyond the log: tags, consumers, monitoring, how often it was scaled. A small JSON
//! file beside the stream (`Stream::set_note`), deleted with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use base::Millis;
use parking_lot::Mutex;
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
    known: Mutex<HashMap<Uuid, Arc<Mutex<Arc<Attributes>>>>>,
}

impl AttributesBook {
    /// The attributes of a stream as they are now.
    pub(crate) fn of(&self, stream: &Stream) -> Arc<Attributes> {
        self.page(stream).lock().clone()
    }

    /// Changes them, durably; what `change` answers is passed on, and an error changes nothing.
    pub(crate) fn change<T>(
        &self,
        stream: &Stream,
        change: impl FnOnce(&mut Attributes) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let page = self.page(stream);
        let mut held = page.lock();
        let mut changed = Attributes::clone(&held);
        let answer = change(&mut changed)?;
        if **held != changed {
            let bytes = serde_json::to_vec(&changed).expect("names and texts are JSON");
            stream.set_note(NOTE, &bytes).map_err(|error| {
                if error.kind() == std::io::ErrorKind::InvalidInput {
                    return Fault::limit(format!("Tags and consumers of stream {} take too much room.", stream.name()));
                }
                tracing::error!(stream = stream.name(), %error, "the note of the Kinesis door could not be written");
                Fault::internal("The change could not be written to disk; the server's log says why.")
            })?;
            *held = Arc::new(changed);
        }
        Ok(answer)
    }

    /// Forgets a stream that was deleted.
    pub(crate) fn forget(&self, stream: &Stream) {
        self.known.lock().remove(&stream.uuid());
    }

    fn page(&self, stream: &Stream) -> Arc<Mutex<Arc<Attributes>>> {
        let mut known = self.known.lock();
        if let Some(page) = known.get(&stream.uuid()) {
            return page.clone();
        }
        let read = stream.note(NOTE).and_then(|bytes| match serde_json::from_slice(&bytes) {
            Ok(read) => Some(read),
            Err(error) => {
                tracing::error!(stream = stream.name(), %error, "the note of the Kinesis door is damaged: tags and consumers of this stream are lost");
                None
            }
        });
        let page = Arc::new(Mutex::new(Arc::new(read.unwrap_or_default())));
        if !stream.is_deleted() {
            known.insert(stream.uuid(), page.clone());
        }
        page
    }
}
