//! Answers requests: what a target says to one goes back to who asked, before the request is settled.

use std::sync::Arc;
use std::time::Duration;

use sidespan_bridge::{Bridge, Error, Fault, Header, Message, REPLY_STATUS};
use tokio::time::Instant;

use super::letter::Letter;
use crate::telemetry::log::trace_id;
use crate::telemetry::traces::Tracer;

/// Sends the replies of one subscription.
pub(super) struct Replies {
    bridge: Arc<dyn Bridge>,
    subscription: Box<str>,
    silence: Silence,
    tracer: Option<Tracer>,
}

/// What it means that a target does not answer a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// There is no answer, and who asked is told.
    IsTold,
    /// The target may have answered by another way, or somebody else.
    Nothing,
}

/// The reply cannot be sent now.
#[derive(Debug)]
pub(super) struct Unsent(pub(super) Error);

impl Replies {
    /// Sends by the bridge that the requests come from.
    pub(super) fn new(
        bridge: Arc<dyn Bridge>,
        subscription: &str,
        silence: Silence,
        tracer: Option<Tracer>,
    ) -> Self {
        Self { bridge, subscription: subscription.into(), silence, tracer }
    }

    /// Tells whether who asked is told that there will be no answer.
    pub(super) fn tell_silence(&self) -> bool {
        self.silence == Silence::IsTold
    }

    /// Sends the reply to a letter, which is a request. Done when the broker has it, and where it never will: then
    /// trying again is useless.
    pub(super) async fn send(&self, letter: &Letter, reply: Message) -> Result<(), Unsent> {
        let Some(to) = &letter.message.reply_to else { return Ok(()) };
        let sent = match self.try_to(to, letter, reply).await {
            Err(error) if error.fault == Fault::TooLarge => {
                let instead = told(502, "the reply is larger than the broker takes");
                self.try_to(to, letter, instead).await
            }
            tried => tried,
        };
        let Err(error) = sent else { return Ok(()) };
        match error.fault {
            Fault::Unroutable => {
                tracing::debug!(subscription = %self.subscription, topic = %letter.topic, id = %letter.id, trace_id = trace_id(&letter.message), "nobody awaits the reply any more");
                Ok(())
            }
            Fault::Invalid | Fault::TooLarge | Fault::UnknownTopic | Fault::Unsupported => {
                tracing::warn!(subscription = %self.subscription, topic = %letter.topic, id = %letter.id, %error, trace_id = trace_id(&letter.message), "a reply has nowhere to go: nobody gets it");
                Ok(())
            }
            Fault::Conflict
            | Fault::Denied
            | Fault::Limited
            | Fault::Overloaded
            | Fault::Rejected
            | Fault::StorageFull
            | Fault::Timeout
            | Fault::Unavailable => Err(Unsent(error)),
        }
    }

    async fn try_to(&self, to: &str, letter: &Letter, reply: Message) -> Result<(), Error> {
        let mut reply = Message { correlation: letter.message.correlation.clone(), ..reply };
        let span = self.tracer.as_ref().and_then(|tracer| tracer.reply(&letter.message, to, &mut reply));
        let sent = self.bridge.reply(to, reply, Instant::now() + DEADLINE).await;
        if let Some(span) = span {
            span.end(&sent);
        }
        sent
    }
}

/// Makes a reply of what a target said.
pub(super) fn of(status: u16, mut message: Message) -> Message {
    message.headers.insert(0, Header::new(REPLY_STATUS, status.to_string()));
    message
}

/// Makes a reply that is ours.
pub(super) fn told(status: u16, why: &'static str) -> Message {
    let text = Message {
        payload: Some(why.into()),
        content_type: Some("text/plain; charset=utf-8".into()),
        ..Message::default()
    };
    of(status, text)
}

/// One try to send a reply.
const DEADLINE: Duration = Duration::from_secs(10);
