//! A small store at the broker, in which replicas keep what they have to agree on.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use crate::{Error, Fault};

/// Named values, changed one at a time, and seen by all who watch in the same order.
///
/// It is for hundreds of small records that change when a person or a deployment changes them, such as
/// subscriptions that were made at run time; not for messages.
#[async_trait]
pub trait Registry: Send + Sync {
    /// Tells every record that there is, then [`Change::Current`], then each change for as long as the broker can
    /// be reached.
    ///
    /// An error ends the stream: wait, and watch again. Who watches again is told everything again, and learns
    /// what was removed in between by its absence before `Current`. A record that this registry did not write is
    /// skipped and logged, never an error.
    ///
    /// # Errors
    ///
    /// The broker cannot be asked, or what has the registry's name there is something else (`Conflict`).
    async fn watch(&self) -> Result<BoxStream<'static, Result<Change, Error>>, Error>;

    /// Writes a record, or removes it with `None`, if it still has the revision `expected`. Done when the broker
    /// has stored it; of several who expect the same revision one succeeds.
    ///
    /// # Errors
    ///
    /// `Conflict` where the record has another revision by now; what [`check_record`] refuses; `StorageFull` where
    /// there are too many; `Timeout` where it may or may not have been written.
    async fn put(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, Error>;
}

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Everything that was there when the watch began has been told.
    Current,
    /// A record has a new value.
    Put {
        /// Its name: letters, digits, `-`, `_` and `.`.
        key: Arc<str>,
        /// What it says.
        value: Bytes,
        /// Which version of the record this is.
        revision: Revision,
    },
    /// A record is gone.
    Removed {
        /// Its name.
        key: Arc<str>,
    },
}

/// A version of a record. A later version is greater, also after the record was removed and made again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(pub u64);

impl Revision {
    /// The revision of a record that does not exist.
    pub const NONE: Self = Self(0);
}

/// Refuses a record that no registry takes.
///
/// # Errors
///
/// `Invalid` where the name is not 1 to 255 letters, digits, `-`, `_` and single dots between them; `TooLarge` where
/// the value has more than [`LARGEST_RECORD`] bytes.
pub fn check_record(key: &str, value: Option<&Bytes>) -> Result<(), Error> {
    let legal = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    if key.len() > LONGEST_KEY || !key.split('.').all(legal) {
        return Err(Error::new(Fault::Invalid).detail(
            "a record's name has 1 to 255 letters, digits, `-` and `_`, and dots only between them",
        ));
    }
    if value.is_some_and(|value| value.len() > LARGEST_RECORD) {
        return Err(Error::new(Fault::TooLarge)
            .detail(format!("a record of a registry has at most {LARGEST_RECORD} bytes")));
    }
    Ok(())
}

/// Says that a record is not what its writer took it for.
pub fn outdated(key: &str) -> Error {
    Error::new(Fault::Conflict).detail(format!("{key} has been changed meanwhile: read it again"))
}

/// Bytes that a record's value has at most.
pub const LARGEST_RECORD: usize = 64 << 10;
/// Records that a registry has at most, where the bridge can count them.
pub const MOST_RECORDS: usize = 10_000;
const LONGEST_KEY: usize = 255;
