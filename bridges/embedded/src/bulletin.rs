//! Changes of registries: as they are wished, stored and told.
//!
//! The committer compares and writes them, and tells of each commit on the bulletin.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sidespan_bridge::{Change, Revision};
use tokio::sync::broadcast;

use crate::record::{read_varint, seal, unseal, write_varint};

/// A change that somebody wants.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) registry: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) value: Option<Bytes>,
    pub(crate) expected: Revision,
}

/// A change that was committed.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) registry: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) value: Option<Bytes>,
    /// The commit.
    pub(crate) revision: Revision,
}

impl Kept {
    /// Returns what watchers are told.
    pub(crate) fn into_change(self) -> Change {
        let Self { key, value, revision, .. } = self;
        match value {
            Some(value) => Change::Put { key, value, revision },
            None => Change::Removed { key },
        }
    }
}

/// A record as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) revision: Revision,
    pub(crate) value: Bytes,
}

impl Entry {
    /// Returns the row to be stored.
    pub(crate) fn to_row(&self, name: (&str, &str)) -> std::io::Result<Vec<u8>> {
        let mut body = vec![VERSION];
        write_varint(&mut body, self.revision.0)?;
        body.extend_from_slice(&self.value);
        Ok(seal(&seal_key(name), &body))
    }

    /// Reads a stored row; `None` if it is not what was written, or a later version wrote it.
    pub(crate) fn from_row(name: (&str, &str), row: &[u8]) -> Option<Self> {
        let (version, mut body) = unseal(&seal_key(name), row)?.split_first()?;
        if *version != VERSION {
            return None;
        }
        let revision = Revision(read_varint(&mut body)?);
        Some(Self { revision, value: Bytes::copy_from_slice(body) })
    }
}

/// No name of a record has a blank.
fn seal_key((registry, key): (&str, &str)) -> Vec<u8> {
    format!("{registry} {key}").into_bytes()
}

/// Tells watchers what was committed.
#[derive(Debug)]
pub(crate) struct Bulletin(Mutex<Option<broadcast::Sender<Kept>>>);

impl Bulletin {
    /// Begins without anybody who listens.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(NEWS))))
    }

    /// Tells of what was committed.
    pub(crate) fn announce(&self, kept: Vec<Kept>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = &*sender else { return };
        // Where nobody watches nobody has to know.
        kept.into_iter().for_each(|kept| drop(sender.send(kept)));
    }

    /// Ends all watches: whoever watches begins again.
    pub(crate) fn renew(&self) {
        if let Some(sender) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            *sender = broadcast::Sender::new(NEWS);
        }
    }

    /// Ends all watches for good.
    pub(crate) fn close(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Hears of what is committed from here on; `None` once it is closed.
    pub(crate) fn subscribe(&self) -> Option<broadcast::Receiver<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(broadcast::Sender::subscribe)
    }
}

/// The layout of a stored record.
const VERSION: u8 = 1;
/// Changes that a watcher may be behind.
const NEWS: usize = 256;
