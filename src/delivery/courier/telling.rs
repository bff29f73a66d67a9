//! What a courier says in the log: each failure once, and by the names of [`crate::telemetry::log`].

use std::error::Error as _;
use std::time::Duration;

use super::{Courier, Desk};
use crate::delivery::breaker::Change;
use crate::delivery::dead_letters::History;
use crate::delivery::retry::{Meaning, Reason};
use crate::delivery::status::Trouble;
use crate::delivery::target::Reply;
use crate::telemetry::log::trace_id;

impl Courier<'_> {
    /// A target accepted the message.
    pub(super) fn tell_delivered(&self, attempt: u32, reply: &Reply) {
        tracing::debug!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id, attempt,
            status = reply.status(), trace_id = trace_id(&self.letter.message), "delivered"
        );
    }

    /// It did not, and is asked again.
    pub(super) fn tell_retry(&self, attempt: u32, after: Duration, meaning: Meaning, reply: &Reply) {
        let subscription = &self.desk.subscription.name;
        match meaning {
            // That the endpoint is away is said once, and not for each message that waits for it.
            Meaning::Unavailable => tracing::debug!(
                %subscription, topic = self.topic(), id = %self.letter.id, attempt, status = reply.status(),
                error = %reply, retry_in = ?after, trace_id = trace_id(&self.letter.message),
                "the endpoint is unavailable; the message waits for it"
            ),
            Meaning::Accepted | Meaning::Failed | Meaning::Gone | Meaning::Refused => tracing::warn!(
                %subscription, topic = self.topic(), id = %self.letter.id, attempt, status = reply.status(),
                error = %reply, retry_in = ?after, trace_id = trace_id(&self.letter.message),
                "an attempt failed; it is made again"
            ),
        }
    }

    /// It did not, and there was only the one attempt.
    pub(super) fn tell_dropped(&self, reply: &Reply) {
        tracing::debug!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id, attempt = 1,
            status = reply.status(), error = %reply, trace_id = trace_id(&self.letter.message),
            "given up, as at-most-once asks"
        );
    }

    /// The answer to a request is lost.
    pub(super) fn tell_unsent(&self, error: &sidespan_bridge::Error) {
        tracing::warn!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id, %error,
            source = error.source(), trace_id = trace_id(&self.letter.message),
            "a reply could not be sent: the attempt has failed"
        );
    }

    /// The dead letter waits for its place.
    pub(super) fn tell_unstored(&self, error: &sidespan_bridge::Error) {
        tracing::error!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id, %error,
            source = error.source(), trace_id = trace_id(&self.letter.message),
            "a dead letter cannot be stored: it is kept, and tried again until its topic takes it"
        );
    }

    /// The dead letter has its place.
    pub(super) fn tell_buried(&self, reason: Reason, history: &History) {
        let reply = history.reply.as_ref();
        tracing::warn!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id,
            reason = reason.as_str(), attempt = history.attempts, status = reply.and_then(Reply::status),
            error = reply.map(display), trace_id = trace_id(&self.letter.message), "stored a dead letter"
        );
    }

    /// The message should be a dead letter and has no place to go.
    pub(super) fn alert(&self, reason: Reason, history: &History) {
        let reply = history.reply.as_ref();
        tracing::error!(
            subscription = %self.desk.subscription.name, topic = self.topic(), id = %self.letter.id,
            reason = reason.as_str(), attempt = history.attempts, status = reply.and_then(Reply::status),
            error = reply.map(display), trace_id = trace_id(&self.letter.message),
            "nobody accepts a message and there is no dead-letter place: it is held and tried again"
        );
    }

    /// Says what a reply changed about the endpoint.
    pub(super) fn learn(&self, change: Option<Change>, reply: &Reply) {
        let Desk { subscription, board, .. } = self.desk;
        match change {
            None => {}
            Some(Change::Closed) => {
                board.endpoint(Some(Trouble::new(reply)));
                tracing::warn!(
                    subscription = %subscription.name, status = reply.status(), error = %reply,
                    "the endpoint is unavailable: nothing is lost, and it is tried until it is back"
                );
            }
            Some(Change::Gone) => {
                board.pause(reply);
                tracing::error!(
                    subscription = %subscription.name, status = reply.status(), error = %reply,
                    "the receiver is gone for good: the subscription is paused until it is resumed or removed"
                );
            }
            Some(Change::Opened) => {
                board.endpoint(None);
                tracing::info!(subscription = %subscription.name, "the endpoint is available again");
            }
        }
    }

    /// The topic as its receiver knows it.
    fn topic(&self) -> &str {
        let subscription = &self.desk.subscription;
        if subscription.pattern.is_wildcard() { self.letter.topic.as_str() } else { &subscription.topic }
    }
}
