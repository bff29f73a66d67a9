//! What all parts of one open log share.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::watch;
use tracing::error;

use crate::bulletin::Bulletin;
use crate::index::{Index, Meta, Row};
use crate::queue::Queue;
use crate::reading::{Stretch, first, pick};
use crate::record::Stamp;
use crate::settings::{Discard, EmbeddedSettings};
use crate::store::{RECORDS, Store};
use crate::{directory, fault};

/// One open log.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) bulletin: Bulletin,
    /// True once the committer has let go of everything.
    pub(crate) stopped: watch::Sender<bool>,
    index: RwLock<Index>,
    members: AtomicU64,
    damaged: AtomicU64,
    /// Bytes that the disk had no space for, until it has; 0 if it has.
    wanting: AtomicU64,
}

/// The settings, as numbers.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) create_topics: bool,
    pub(crate) message: u64,
    pub(crate) age: Option<Duration>,
    pub(crate) bytes: u64,
    pub(crate) discard: Discard,
    pub(crate) deduplication: Duration,
}

impl Limits {
    /// Takes the numbers out of the settings.
    pub(crate) fn new(settings: &EmbeddedSettings) -> Self {
        Self {
            create_topics: settings.create_topics,
            message: settings.max_message.0,
            age: settings.retention.age.map(|age| age.0),
            bytes: settings.retention.size.0,
            discard: settings.retention.discard,
            deduplication: settings.deduplication.0,
        }
    }
}

impl Log {
    /// Collects the parts.
    pub(crate) fn new(dir: PathBuf, limits: Limits, store: Store, index: Index) -> Arc<Self> {
        Arc::new(Self {
            dir,
            limits,
            store,
            queue: Queue::new(),
            bulletin: Bulletin::new(),
            stopped: watch::Sender::new(false),
            index: RwLock::new(index),
            members: AtomicU64::new(1),
            damaged: AtomicU64::new(0),
            wanting: AtomicU64::new(0),
        })
    }

    /// Returns what is known of the log without reading it.
    pub(crate) fn index(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what a commit has changed. The committer is the only one who does.
    pub(crate) fn apply(&self, meta: Meta, changed: impl IntoIterator<Item = Row>) {
        self.index.write().unwrap_or_else(PoisonError::into_inner).apply(meta, changed);
    }

    /// Takes over what the store holds, after a commit that was in doubt has happened.
    pub(crate) fn replace(&self, index: Index) {
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
    }

    /// Returns a number for a new member.
    pub(crate) fn number(&self) -> u64 {
        self.members.fetch_add(1, Ordering::Relaxed)
    }

    /// Handles a read that failed: where the store must be opened anew, the committer does that.
    /// Returns how long to wait before the next attempt.
    pub(crate) fn read_failed(&self, failure: &redb::Error) -> Duration {
        if matches!(failure, redb::Error::DatabaseClosed) {
            return REST;
        }
        error!(error = %failure, dir = %self.dir.display(), "the embedded log cannot be read");
        if fault::is_corrupted(failure) {
            return REST_DAMAGED;
        }
        self.queue.report_broken();
        REST
    }

    /// Counts messages that are damaged.
    pub(crate) fn note_damage(&self, messages: u64) {
        self.damaged.fetch_add(messages, Ordering::Relaxed);
    }

    /// Returns how many damaged messages were met since the log was opened.
    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    /// Notes that a commit of so many bytes found no space on the disk.
    pub(crate) fn note_full(&self, bytes: u64) {
        self.wanting.store(bytes.max(1), Ordering::Relaxed);
    }

    /// Notes that there was space for so many bytes. Where less had been wanting that tells nothing: a
    /// disk without space may still take a small commit.
    pub(crate) fn note_space(&self, bytes: u64) {
        if bytes >= self.wanting.load(Ordering::Relaxed) {
            self.wanting.store(0, Ordering::Relaxed);
        }
    }

    /// Tells whether the disk has space for what it had none for last time. Blocks.
    pub(crate) fn has_space(&self) -> std::io::Result<bool> {
        let wanting = self.wanting.load(Ordering::Relaxed);
        let has_space = wanting == 0 || directory::has_space(&self.dir, wanting)?;
        if has_space {
            self.note_space(wanting);
        }
        Ok(has_space)
    }

    /// Says that there is no space left, and what to do.
    pub(crate) fn full(&self) -> String {
        let dir = self.dir.display();
        format!(
            "there is no space left for the embedded log in {dir}: free some; publishing then goes on by itself"
        )
    }

    /// Counts the messages of stretches that reach to the end of their topics, and returns the
    /// time of the oldest of them and of one that is known. Blocks.
    pub(crate) fn count(
        &self,
        stretches: &[Stretch],
        known: Option<(u64, u32)>,
    ) -> Result<(u64, Option<u64>), redb::Error> {
        self.store.read(|txn| {
            let table = txn.open_table(RECORDS)?;
            let mut messages = 0;
            let mut oldest: Option<u64> = None;
            let mut see = |stamp: Stamp| oldest = Some(oldest.map_or(stamp.time, |old| old.min(stamp.time)));
            for stretch in stretches {
                let Some((_, stamp)) = first(&table, *stretch)? else { continue };
                let ordinal = self.index().row(stretch.topic).map_or(0, |row| row.ordinal);
                messages += ordinal.saturating_sub(stamp.ordinal);
                see(stamp);
            }
            for (.., record) in pick(txn, known.as_slice(), usize::MAX)?.records {
                see(record.stamp);
            }
            Ok((messages, oldest))
        })
    }
}

/// Wait after a read that failed; readers are told when the store is back.
const REST: Duration = Duration::from_millis(200);
/// Wait after a read that met damage which it could not get past. Time does not mend that.
const REST_DAMAGED: Duration = Duration::from_secs(30);
