//! A registry: a compacted topic of one partition, folded alike by all who read it.
//!
//! Kafka compares nothing, but it puts all records into one order. So a record says which revision its writer
//! expects, and every reader applies it only if that is what stands there at this point of the log: all agree, and
//! the writer learns its fate by reading its own record. A revision is the offset of the applied record, and one.
//!
//! Compaction keeps the last record of a name, even where that one was rejected. So behind each rejected record what
//! stands is written once more, as a *restatement*: by the loser, or, if that one is gone, by any reader, within
//! seconds and long before `min.compaction.lag.ms`. Who begins to read takes the first record of a name for applied
//! and believes restatements; by the end of the log that comes to the same ([`fold`]).

mod fold;
mod follower;
mod topic;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use sidespan_bridge::{Change, Error, Fault, MOST_RECORDS, Registry, Revision, check_record, outdated};
use tokio::sync::broadcast;
use tokio::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use fold::Entry;
use follower::Follower;
pub(crate) use topic::Parts;

/// One registry of a cluster.
pub(crate) struct KafkaRegistry {
    follower: Arc<Follower>,
    /// The follower ends with this.
    _owner: DropGuard,
}

impl KafkaRegistry {
    /// Begins to follow a registry.
    pub(crate) fn open(parts: Parts, name: &str) -> Self {
        let follower = Arc::new(Follower::new(parts, name));
        let gone = CancellationToken::new();
        let run = Arc::clone(&follower).run();
        tokio::spawn(gone.clone().run_until_cancelled_owned(run));
        Self { follower, _owner: gone.drop_guard() }
    }
}

#[async_trait]
impl Registry for KafkaRegistry {
    async fn watch(&self) -> Result<BoxStream<'static, Result<Change, Error>>, Error> {
        let deadline = Instant::now() + CALL;
        self.follower.until_live(deadline).await?;
        // What others were told to be stored by now is to be among what is told first.
        self.follower.catch_up(deadline).await?;
        let (told, news) = self.follower.look();
        let told = stream::iter(told.into_iter().chain([Change::Current]).map(Ok));
        let news = stream::unfold(Some(news), async |news| {
            let mut news = news?;
            match news.recv().await {
                Ok(change) => Some((Ok(change), Some(news))),
                Err(broadcast::error::RecvError::Closed | broadcast::error::RecvError::Lagged(_)) => {
                    let detail = "the registry cannot be followed at the moment: watch it again";
                    Some((Err(Error::new(Fault::Unavailable).detail(detail)), None))
                }
            }
        });
        Ok(told.chain(news).boxed())
    }

    async fn put(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: Revision,
        deadline: Instant,
    ) -> Result<Revision, Error> {
        check_record(key, value.as_ref())?;
        let follower = &self.follower;
        follower.until_live(deadline).await?;
        if follower.stands(key) != expected {
            // Somebody may have told of a change that has not come here yet.
            follower.catch_up(deadline).await?;
            if follower.stands(key) != expected {
                return Err(outdated(key));
            }
        }
        if expected == Revision::NONE && value.is_some() && follower.count() >= MOST_RECORDS {
            let detail = format!("a registry has at most {MOST_RECORDS} records: remove some");
            return Err(Error::new(Fault::StorageFull).detail(detail));
        }
        let offset = follower.write(key, &Entry::Write { expected, value }, deadline).await?;
        if follower.verdict(offset, deadline).await? {
            return Ok(Revision(offset + 1));
        }
        follower.restate(key, deadline).await;
        Err(outdated(key))
    }
}

/// How long a watch may take to begin.
const CALL: Duration = Duration::from_secs(10);
