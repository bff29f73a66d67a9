//! A registry: rows of the store beside the log, and those who watch them.
//!
//! The committer compares and writes, and tells of each commit on the bulletin. A watcher reads what is there
//! and then follows the bulletin, from the first commit that its reading has not seen. One who is too slow,
//! or watches while a commit is in doubt, is told to begin again.

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use redb::{ReadTransaction, TableError};
use sidespan_bridge::{Change, Error, Fault, Registry, Revision, check_record};
use tokio::sync::{broadcast, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::error;

use crate::bulletin::{Entry, Kept, Wish};
use crate::fault;
use crate::log::Log;
use crate::queue::Job;
use crate::store::{REGISTRIES, read_meta};

/// One registry of an open log.
#[derive(Debug)]
pub(crate) struct EmbeddedRegistry {
    log: Arc<Log>,
    name: Arc<str>,
}

impl EmbeddedRegistry {
    /// Names a registry.
    pub(crate) fn new(log: Arc<Log>, name: &str) -> Self {
        Self { log, name: name.into() }
    }
}

#[async_trait]
impl Registry for EmbeddedRegistry {
    async fn watch(&self) -> Result<BoxStream<'static, Result<Change, Error>>, Error> {
        // First, so that nothing falls between what is read and what is heard.
        let news = self.log.bulletin.subscribe().ok_or_else(fault::closed)?;
        let (log, name) = (Arc::clone(&self.log), Arc::clone(&self.name));
        let read = tokio::task::spawn_blocking(move || log.store.read(|txn| read_all(txn, &name)));
        let failed =
            || Error::new(Fault::Unavailable).detail("the embedded log cannot be read at the moment");
        let (seen, told) = match read.await {
            Ok(found) => found.map_err(|error| failed().because(error))?,
            Err(error) => return Err(failed().because(error)),
        };
        let watch = Watch { name: Arc::clone(&self.name), told, seen, news, ended: false };
        Ok(stream::unfold(watch, async |mut watch| Some((watch.next().await?, watch))).boxed())
    }

    async fn put(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, Error> {
        check_record(key, value.as_ref())?;
        let (answer, outcome) = oneshot::channel();
        let wish = Wish { registry: Arc::clone(&self.name), key: key.into(), value, expected };
        self.log.queue.push(Job::Keep { wish, answer })?;
        match timeout_at(deadline, outcome).await {
            Ok(outcome) => outcome.unwrap_or_else(|_| Err(fault::closed())),
            Err(_) => {
                Err(Error::new(Fault::Timeout).detail("the embedded log did not store the record in time"))
            }
        }
    }
}

/// What a watcher has been told, and how it hears of the rest.
struct Watch {
    name: Arc<str>,
    told: VecDeque<Change>,
    /// The last commit of what was read.
    seen: u64,
    news: broadcast::Receiver<Kept>,
    ended: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Result<Change, Error>> {
        if let Some(change) = self.told.pop_front() {
            return Some(Ok(change));
        }
        while !self.ended {
            match self.news.recv().await {
                Ok(kept) if kept.registry == self.name && kept.revision.0 > self.seen => {
                    return Some(Ok(kept.into_change()));
                }
                Ok(_) => {}
                Err(_) => {
                    self.ended = true;
                    return Some(Err(Error::new(Fault::Unavailable)
                        .detail("the registry cannot be followed at the moment: watch it again")));
                }
            }
        }
        None
    }
}

/// Reads a whole registry, and which commit was the last by then.
fn read_all(txn: &ReadTransaction, name: &str) -> Result<(u64, VecDeque<Change>), redb::Error> {
    let mut told = VecDeque::new();
    match txn.open_table(REGISTRIES) {
        Ok(table) => {
            for row in table.range((name, "")..)? {
                let (key, row) = row?;
                let (registry, key) = key.value();
                if registry != name {
                    break;
                }
                match Entry::from_row((registry, key), row.value()) {
                    Some(Entry { revision, value }) => {
                        told.push_back(Change::Put { key: key.into(), value, revision });
                    }
                    None => error!(registry, key, "a record of a registry is damaged and is skipped"),
                }
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    told.push_back(Change::Current);
    Ok((read_meta(txn)?.commits, told))
}
