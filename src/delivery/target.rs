//! Where messages go: a target is posted one message and gives one reply.

mod receiver;
mod shelf;
mod webhook;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderValue;
use sidespan_bridge::Message;

use super::letter::Letter;

pub(in crate::delivery) use receiver::Receiver;
pub use shelf::{Amount, Consumer, Draining, Lease, Shelf, Unreplied};
pub(in crate::delivery) use webhook::{Webhook, WebhookError};

/// Somewhere to deliver to. An attempt ends within a time of the target's own.
#[async_trait]
pub(super) trait Target: Send + Sync {
    /// Makes one attempt. `attempt` counts from 1; an endpoint that was unavailable does not count.
    /// `context` is the attempt's own, where there is one, for a target that is called.
    /// `None`: nobody had seen the message when its `stop` was cancelled, or the target was told to end.
    async fn post(&self, letter: &Arc<Letter>, attempt: u32, context: Option<HeaderValue>) -> Option<Reply>;

    /// Ends the attempts of a target that has no short time of its own for them.
    fn end(&self) {}
}

/// What came of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// A consumer has handled the message.
    Acked,
    /// A consumer gave the message back, and may have said for how long.
    Nacked(Option<Duration>),
    /// The target answered, and all of its answer was read.
    Answered(Answer),
    /// The message was sent, and no whole answer came: it may have been handled.
    Unanswered(String),
    /// Nothing was sent, or what is there is no such target.
    Unreachable(String),
}

/// A whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status, as HTTP counts.
    pub(super) status: u16,
    /// How long the target asks to be left alone.
    pub(super) retry_after: Option<Duration>,
    /// The beginning of the answer's body.
    pub(super) excerpt: Bytes,
    /// What goes back to who asked, where the message was a request.
    pub(super) reply: Option<Box<Message>>,
}

impl Reply {
    /// Returns the status that was answered, as HTTP counts.
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(answer) => Some(answer.status),
            Self::Acked | Self::Nacked(_) | Self::Unanswered(_) | Self::Unreachable(_) => None,
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acked => f.write_str("acknowledged"),
            Self::Nacked(_) => f.write_str("given back by its consumer"),
            Self::Answered(answer) => write!(f, "answered {}", answer.status),
            Self::Unanswered(reason) => write!(f, "no answer: {reason}"),
            Self::Unreachable(reason) => write!(f, "cannot be reached: {reason}"),
        }
    }
}
