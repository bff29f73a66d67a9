//! Why nobody took a message.
//!
//! The server says at once that nobody listens at a subject. Mostly no stream captures it. But while the
//! servers of a cluster agree on the leader of a stream nobody listens for it either, and that passes by
//! itself. So JetStream is asked which it is, and its answer is remembered for a moment.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sidespan_bridge::{Error, Fault, Topic};
use tokio::time::Instant;

use crate::streams::Streams;

/// What is known about topics for which nobody took messages.
pub(super) struct Absent {
    streams: Arc<Streams>,
    known: Mutex<HashMap<Topic, (Reason, Instant)>>,
}

#[derive(Clone, Copy)]
enum Reason {
    /// There is a stream, and nobody leads it.
    Leaderless,
    /// No stream captures the topic.
    Nowhere,
    /// Nobody says.
    Unknown,
}

impl Absent {
    pub(super) fn new(streams: Arc<Streams>) -> Self {
        Self { streams, known: Mutex::new(HashMap::new()) }
    }

    /// Returns the reason, if it was found a moment ago.
    pub(super) fn known(&self, topic: &Topic) -> Option<Error> {
        let known = self.lock();
        let (reason, _) = known.get(topic).filter(|(_, since)| since.elapsed() < FRESH)?;
        Some(reason.error(topic))
    }

    /// Asks for the reason.
    pub(super) async fn ask(&self, topic: &Topic) -> Error {
        if let Some(error) = self.known(topic) {
            return error;
        }
        let reason = match self.streams.are_there(topic, Instant::now() + PATIENCE).await {
            Ok(true) => Reason::Leaderless,
            Ok(false) => Reason::Nowhere,
            // Who may not ask is told what is most likely.
            Err(error) if error.fault == Fault::Denied => Reason::Nowhere,
            Err(_) => Reason::Unknown,
        };
        let mut known = self.lock();
        if known.len() >= TOPICS {
            known.clear();
        }
        known.insert(topic.clone(), (reason, Instant::now()));
        reason.error(topic)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Topic, (Reason, Instant)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reason {
    fn error(self, topic: &Topic) -> Error {
        match self {
            Self::Leaderless => Error::new(Fault::Unavailable)
                .detail(format!("the stream of {topic} has no leader now: nothing was stored, try again")),
            Self::Nowhere => Error::new(Fault::UnknownTopic)
                .detail(format!("no stream captures {topic}: create one, or set `create_streams`")),
            Self::Unknown => Error::new(Fault::Unavailable).detail(format!(
                "no stream takes messages for {topic}, and JetStream does not say whether there is one: \
                 nothing was stored, try again"
            )),
        }
    }
}

const FRESH: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_millis(500);
const TOPICS: usize = 1_000;
