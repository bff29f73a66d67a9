//! The task that reads what streams answer, whether or not the callers still wait.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subscriber};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use sidespan_bridge::{Error, Fault, Guarantee, Position, Receipt, Ticket, Topic};
use tokio::time::{Instant, sleep_until};

use super::absent::Absent;
use super::kept::Kept;
use super::outbox::{Awaiting, Of, Outbox};
use crate::fault::ApiError;

/// A stream's acknowledgement.
#[derive(Deserialize)]
struct Ack<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<ApiError>,
}

/// What was learned about streams.
pub(super) struct Known {
    pub(super) kept: Arc<Kept>,
    pub(super) absent: Arc<Absent>,
}

/// A question that comes before the outcome of one message.
type Doubt = BoxFuture<'static, ()>;

/// Reads answers until the connection is closed for good.
pub(super) async fn collect(outbox: Arc<Outbox>, known: Known, mut answers: Subscriber, patience: Duration) {
    // Bounded by what may be on its way. One at a time: what one has learned answers the next.
    let mut doubts: VecDeque<Doubt> = VecDeque::new();
    let mut next = Instant::now() + patience;
    loop {
        tokio::select! {
            answer = answers.next() => match answer {
                None => return,
                Some(answer) => {
                    if let Some(awaiting) = outbox.answered(&answer.subject) {
                        doubts.extend(conclude(awaiting, &answer, &known));
                    }
                }
            },
            () = first(&mut doubts), if !doubts.is_empty() => drop(doubts.pop_front()),
            () = sleep_until(next) => {
                let now = Instant::now();
                // What is handed over from now on is not given up before that.
                let oldest = now.checked_sub(patience).and_then(|before| outbox.expire(before));
                next = oldest.unwrap_or(now) + patience;
            }
        }
    }
}

async fn first(doubts: &mut VecDeque<Doubt>) {
    if let Some(doubt) = doubts.front_mut() {
        doubt.await;
    }
}

/// Says what became of a message; returns what still has to be asked before that.
fn conclude(awaiting: Awaiting, answer: &Message, known: &Known) -> Option<Doubt> {
    match awaiting.of {
        Of::Seen(tickets) => {
            for ticket in tickets {
                ticket.conclude(Ok(receipt(None, Guarantee::AtMostOnce, false, false)));
            }
            None
        }
        Of::Stored { ticket, deduplicated } => stored(awaiting.topic, ticket, deduplicated, answer, known),
    }
}

fn stored(
    topic: Topic,
    ticket: Ticket,
    deduplicated: bool,
    answer: &Message,
    known: &Known,
) -> Option<Doubt> {
    if answer.status == Some(StatusCode::NO_RESPONDERS) {
        if let Some(error) = known.absent.known(&topic) {
            ticket.conclude(Err(error));
            return None;
        }
        let absent = Arc::clone(&known.absent);
        return Some(Box::pin(async move { ticket.conclude(Err(absent.ask(&topic).await)) }));
    }
    let ack: Ack<'_> = match serde_json::from_slice(&answer.payload) {
        Ok(ack) => ack,
        Err(error) => {
            // Somebody else answers on this subject; a stream may have stored the message too.
            let detail = "what answered is no stream: is this a subject of a service?";
            ticket.conclude(Err(Error::new(Fault::Timeout).detail(detail).because(error)));
            return None;
        }
    };
    if let Some(error) = ack.error {
        ticket.conclude(Err(error.into()));
        return None;
    }
    if ack.stream.is_empty() {
        let detail = "what answered is no stream: is this a subject of a service?";
        ticket.conclude(Err(Error::new(Fault::Timeout).detail(detail)));
        return None;
    }
    if ack.duplicate && !deduplicated {
        let detail = "the stream took the message for a duplicate, which it is not, and did not store it";
        ticket.conclude(Err(Error::new(Fault::Rejected).detail(detail)));
        return None;
    }
    let position = Position { partition: 0, sequence: ack.seq };
    let receipt = receipt(Some(position), Guarantee::AtLeastOnce, ack.duplicate, deduplicated);
    if known.kept.surely(&ack.stream, &topic) {
        ticket.conclude(Ok(receipt));
        return None;
    }
    let (kept, stream) = (Arc::clone(&known.kept), ack.stream.into_owned());
    Some(Box::pin(async move {
        match kept.ask(&stream, &topic).await {
            Ok(true) => ticket.conclude(Ok(receipt)),
            Ok(false) => {
                let detail =
                    format!("the stream {stream} keeps nothing of {topic}: no consumer waits for it");
                ticket.conclude(Err(Error::new(Fault::Unroutable).detail(detail)));
            }
            // It was acknowledged, and is not known to be kept.
            Err(error) => ticket.conclude(Err(Error::new(Fault::Timeout).because(error))),
        }
    }))
}

fn receipt(position: Option<Position>, guarantee: Guarantee, duplicate: bool, deduplicated: bool) -> Receipt {
    Receipt { position, guarantee, duplicate, deduplicated, local: false }
}
