//! The body of a stream.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use sidespan_bridge::{Delivery, Event, Subscription, Verdict};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use crate::error::Error;
use crate::publish::Route;
use crate::rest::message::Received;

/// Turns a subscription into server-sent events.
pub(super) struct Events {
    route: Route,
    subscription: Box<dyn Subscription>,
    /// By which a reader goes on; `None` where it can't.
    cursor: Option<Cursor>,
    heartbeat: Interval,
    drain: CancellationToken,
    /// Counts the stream as open while it lives.
    _permit: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(
        route: Route,
        subscription: Box<dyn Subscription>,
        cursor: Option<Cursor>,
        drain: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { route, subscription, cursor, heartbeat, drain, _permit: permit }
    }

    /// Returns the events as the bytes to be written.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let opening = self.opening();
        let opening = stream::once(async { Ok(opening) });
        let events = stream::unfold(Some(self), |state| async move {
            let mut events = state?;
            let (bytes, more) = events.next().await?;
            Some((Ok(bytes), more.then_some(events)))
        });
        stream::StreamExt::chain(opening, events)
    }

    /// Tells when to come back, and where to go on if that is before the first message. An event
    /// without data is not dispatched, but its id is kept.
    fn opening(&self) -> Bytes {
        let id = self.cursor.as_ref().map(|cursor| format!("id: {}\n", cursor.id()));
        format!("retry: {RETRY}\n{}\n", id.unwrap_or_default()).into()
    }

    /// Waits for the next event; `false` with the last one.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        loop {
            let event = tokio::select! {
                biased;
                () = self.drain.cancelled() => return None,
                event = self.subscription.next() => event?,
                _ = self.heartbeat.tick() => return Some((Bytes::from_static(b":\n\n"), true)),
            };
            match event {
                // Of a cursor of its own nothing is ever lost to another member.
                Ok(Event::Lost { .. }) => {}
                Ok(Event::Delivery(delivery)) => {
                    self.heartbeat.reset();
                    return Some((self.message(delivery), true));
                }
                Err(error) => {
                    tracing::debug!(topic = self.route.name(), %error, "a stream ended");
                    return Some((failure(&Error::from(error)), false));
                }
            }
        }
    }

    fn message(&mut self, delivery: Delivery) -> Bytes {
        let Delivery { message, topic, position, redelivered, ack, .. } = delivery;
        let name = if topic == *self.route.address() { self.route.name() } else { topic.as_str() };
        let received =
            Received::new(&message, name, position, redelivered.map(|times| times.saturating_add(1)));
        let mut event = String::with_capacity(message.weight() + 256);
        if let (Some(cursor), Some(position)) = (&mut self.cursor, position) {
            cursor.saw(&topic, position);
            event.push_str("id: ");
            event.push_str(&cursor.id());
            event.push('\n');
        }
        let mut event = event.into_bytes();
        event.extend_from_slice(b"data: ");
        // Maps with text keys only: it cannot fail, and an empty event would be ignored.
        event.extend(received.line().unwrap_or_default());
        event.extend_from_slice(b"\n\n");
        // The token settles nothing; it makes room in the window.
        drop(ack.settle(Verdict::Accept));
        event.into()
    }
}

fn failure(error: &Error) -> Bytes {
    let class = error.class();
    let told = serde_json::json!({
        "code": class.code(),
        "retryable": class.retryable,
        "detail": error.to_string(),
    });
    format!("event: error\ndata: {told}\n\n").into()
}

/// Milliseconds after which a reader whose connection breaks comes back.
const RETRY: u32 = 1000;
/// Proxies cut connections that are silent for a minute or half of one.
const HEARTBEAT: Duration = Duration::from_secs(15);
