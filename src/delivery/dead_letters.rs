//! Stores what nobody accepts, and why it died.
//!
//! A dead letter is the original message with `sidespan-dead-*` headers. What no longer fits with
//! them loses the excerpt first, then all but reason and origin; if even that is too large, only a
//! reference to the original is stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use sidespan_bridge::{Bridge, Error, Fault, Guarantee, Header, Message, Publisher, Topic};
use tokio::time::Instant;

use super::letter::Letter;
use super::retry::Reason;
use super::target::Reply;
use crate::config::Subscription;
use crate::security::fingerprint::fingerprint;
use crate::telemetry::log::trace_id;

/// Where dead letters go.
#[derive(Clone)]
pub struct DeadLetterPlace {
    /// The bridge that has the place.
    pub bridge: Arc<dyn Bridge>,
    /// Its address there.
    pub topic: Topic,
}

/// What was tried with one message.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) attempts: u32,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    pub(super) reply: Option<Reply>,
}

/// The place of one subscription.
pub(super) struct DeadLetters {
    place: DeadLetterPlace,
    publisher: Arc<dyn Publisher>,
    subscription: Box<str>,
    group: Box<str>,
    bridge: Box<str>,
}

impl DeadLetters {
    pub(super) fn new(place: DeadLetterPlace, subscription: &Subscription) -> Self {
        Self {
            publisher: place.bridge.publisher(),
            place,
            subscription: subscription.name.as_str().into(),
            group: subscription.group.clone(),
            bridge: subscription.bridge.as_str().into(),
        }
    }

    /// Makes sure that the place exists.
    pub(super) async fn ensure(&self) -> Result<(), Error> {
        self.place.bridge.ensure_kept(&self.place.topic, Instant::now() + DEADLINE).await
    }

    /// Stores a message and why it died, with as much of that as fits.
    pub(super) async fn store(
        &self,
        letter: &Letter,
        reason: Reason,
        history: &History,
    ) -> Result<(), Error> {
        for detail in Detail::LESS_AND_LESS {
            match self.publish(self.dead(letter, reason, history, detail)).await {
                Err(error) if error.fault == Fault::TooLarge && detail != Detail::Reference => {}
                Ok(()) if detail == Detail::Reference => {
                    let origin = self.origin(letter);
                    tracing::warn!(
                        subscription = %self.subscription, origin, id = %letter.id, trace_id = trace_id(&letter.message),
                        "a dead letter was too large for its place; only a reference is stored"
                    );
                    return Ok(());
                }
                stored => return stored,
            }
        }
        Err(Fault::TooLarge.into())
    }

    async fn publish(&self, message: Message) -> Result<(), Error> {
        let deadline = Instant::now() + DEADLINE;
        let outcomes = self.publisher.publish(&self.place.topic, vec![message], deadline).await;
        let receipt = outcomes.into_iter().next().unwrap_or_else(|| Err(Fault::Timeout.into()))?;
        match receipt.guarantee {
            Guarantee::AtLeastOnce => Ok(()),
            Guarantee::AtMostOnce => Err(Error::new(Fault::Unsupported)
                .detail("the dead-letter place stores nothing: use a topic of a broker that stores")),
        }
    }

    fn dead(&self, letter: &Letter, reason: Reason, history: &History, detail: Detail) -> Message {
        let original = letter.original();
        let mut headers = vec![
            Header::new(REASON, reason.as_str()),
            Header::new(ORIGIN, self.origin(letter)),
            Header::new(SUBSCRIPTION, self.subscription.to_string()),
        ];
        if matches!(detail, Detail::All | Detail::NoExcerpt) {
            headers.push(Header::new(ATTEMPTS, history.attempts.to_string()));
            let times = [(FIRST_ATTEMPT, history.first), (LAST_ATTEMPT, history.last)];
            headers.extend(
                times.into_iter().filter_map(|(name, time)| Some(Header::new(name, time?.to_string()))),
            );
            match &history.reply {
                Some(Reply::Answered(answer)) => {
                    headers.push(Header::new(LAST_STATUS, answer.status.to_string()));
                    if detail == Detail::All && !answer.excerpt.is_empty() {
                        let excerpt = String::from_utf8_lossy(&answer.excerpt).into_owned();
                        headers.push(Header::new(BODY_EXCERPT, excerpt));
                    }
                }
                Some(reply) => headers.push(Header::new(LAST_ERROR, reply.to_string())),
                None => {}
            }
        }
        let message = Message {
            // What the receiver knows it by, so that a later delivery of it is known again.
            id: original.id.clone().or_else(|| Some(letter.id.clone())),
            deduplication: self.deduplication(letter),
            ..Message::default()
        };
        if detail == Detail::Reference {
            headers.push(Header::new(REFERENCE, "true"));
            let key = original.key.clone().filter(|key| key.len() <= LONGEST_KEY);
            return Message { payload: Some(Bytes::new()), headers, key, ..message };
        }
        // A dead letter that died again tells of its last death.
        let kept = original.headers.iter().filter(|header| !header.name.starts_with(PREFIX));
        Message {
            payload: original.payload.clone(),
            headers: kept.cloned().chain(headers).collect(),
            key: original.key.clone(),
            content_type: original.content_type.clone(),
            reply_to: original.reply_to.clone(),
            correlation: original.correlation.clone(),
            ..message
        }
    }

    fn origin(&self, letter: &Letter) -> String {
        match letter.position {
            Some(position) => format!("{}/{}/{position}", self.bridge, letter.topic),
            None => format!("{}/{}", self.bridge, letter.topic),
        }
    }

    /// The same message that dies again after a crash is the same dead letter.
    fn deduplication(&self, letter: &Letter) -> Option<Box<str>> {
        let position = letter.position?;
        Some(fingerprint([
            b"dead letter",
            // The name alone may be another service's too.
            self.group.as_bytes(),
            self.bridge.as_bytes(),
            letter.topic.as_str().as_bytes(),
            &position.partition.to_be_bytes(),
            &position.sequence.to_be_bytes(),
        ]))
    }
}

/// How much is told about a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    All,
    NoExcerpt,
    Origin,
    Reference,
}

impl Detail {
    const LESS_AND_LESS: [Self; 4] = [Self::All, Self::NoExcerpt, Self::Origin, Self::Reference];
}

/// One try to store a dead letter, or to make its place.
const DEADLINE: Duration = Duration::from_secs(10);
/// The longest key that a reference still carries, in bytes.
const LONGEST_KEY: usize = 1024;

const PREFIX: &str = "sidespan-dead-";
const ATTEMPTS: &str = "sidespan-dead-attempts";
const BODY_EXCERPT: &str = "sidespan-dead-body-excerpt";
const FIRST_ATTEMPT: &str = "sidespan-dead-first-attempt";
const LAST_ATTEMPT: &str = "sidespan-dead-last-attempt";
const LAST_ERROR: &str = "sidespan-dead-last-error";
const LAST_STATUS: &str = "sidespan-dead-last-status";
const ORIGIN: &str = "sidespan-dead-origin";
const REASON: &str = "sidespan-dead-reason";
const REFERENCE: &str = "sidespan-dead-reference";
const SUBSCRIPTION: &str = "sidespan-dead-subscription";
