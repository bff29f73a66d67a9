//! Whether a stream keeps what it acknowledges.
//!
//! An interest stream acknowledges a message that no consumer waits for, and throws it away. So an
//! acknowledgement counts once it is known that its stream keeps everything, or that somebody waits for
//! the topic. Both are asked once and remembered for a while; streams that keep everything, as most do,
//! cost one question each.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidespan_bridge::{Error, Topic};
use tokio::time::Instant;

use crate::settings::Retention;
use crate::streams::Streams;

/// What is known about streams.
pub(super) struct Kept {
    streams: std::sync::Arc<Streams>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    streams: HashMap<String, (Retention, Instant)>,
    /// Topics of interest streams that somebody waited for.
    awaited: HashMap<Topic, Instant>,
}

impl Kept {
    pub(super) fn new(streams: std::sync::Arc<Streams>) -> Self {
        Self { streams, known: Mutex::new(Known::default()) }
    }

    /// Tells whether it is known that a stream keeps what is published to a topic.
    pub(super) fn surely(&self, stream: &str, topic: &Topic) -> bool {
        let known = self.lock();
        let fresh = |since: &Instant, time| since.elapsed() < time;
        match known.streams.get(stream) {
            Some((Retention::Limits | Retention::WorkQueue, since)) => fresh(since, RETENTION),
            Some((Retention::Interest, _)) => {
                known.awaited.get(topic).is_some_and(|since| fresh(since, INTEREST))
            }
            None => false,
        }
    }

    /// Asks.
    pub(super) async fn ask(&self, stream: &str, topic: &Topic) -> Result<bool, Error> {
        let deadline = Instant::now() + PATIENCE;
        if self.surely(stream, topic) {
            return Ok(true);
        }
        let retention = self.streams.info(stream, deadline).await?.config.retention;
        self.lock().streams.insert(stream.to_owned(), (retention, Instant::now()));
        if retention != Retention::Interest {
            return Ok(true);
        }
        let awaited = self.streams.is_awaited(stream, topic, deadline).await?;
        if awaited {
            let mut known = self.lock();
            if known.awaited.len() >= TOPICS {
                known.awaited.clear();
            }
            known.awaited.insert(topic.clone(), Instant::now());
        }
        Ok(awaited)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream's retention can be changed, and seldom is.
const RETENTION: Duration = Duration::from_secs(30);
/// The last consumer of a topic may go at any time.
const INTEREST: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
const TOPICS: usize = 10_000;
