//! The body of a stream.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use sidespan_bridge::{Delivery, Event, Position, Subscription, Verdict};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::publish::Route;
use crate::rest::message::Received;

/// Turns a subscription into server-sent events.
pub(super) struct Events {
    route: Route,
    subscription: Box<dyn Subscription>,
    /// The last position of each partition seen, by which a reader goes on; `None` for a pattern,
    /// whose topics have positions of their own.
    seen: Option<BTreeMap<u32, Position>>,
    heartbeat: Interval,
    drain: CancellationToken,
    /// Counts the stream as open while it lives.
    _permit: OwnedSemaphorePermit,
}

impl Events {
    pub(super) fn new(
        route: Route,
        subscription: Box<dyn Subscription>,
        resumable: bool,
        drain: CancellationToken,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let seen = resumable.then(BTreeMap::new);
        Self { route, subscription, seen, heartbeat, drain, _permit: permit }
    }

    /// Returns the events as the bytes to be written.
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        let opening = stream::once(async { Ok(Bytes::from_static(OPENING)) });
        let events = stream::unfold(Some(self), |state| async move {
            let mut events = state?;
            let (bytes, more) = events.next().await?;
            Some((Ok(bytes), more.then_some(events)))
        });
        stream::StreamExt::chain(opening, events)
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
        if let (Some(seen), Some(position)) = (&mut self.seen, position) {
            seen.insert(position.partition, position);
            event.push_str("id: ");
            for (index, position) in seen.values().enumerate() {
                // Writing to a string cannot fail.
                let _ = write!(event, "{}{position}", if index > 0 { "," } else { "" });
            }
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

/// A reader whose connection breaks comes back after a second.
const OPENING: &[u8] = b"retry: 1000\n\n";
/// Proxies cut connections that are silent for a minute or half of one.
const HEARTBEAT: Duration = Duration::from_secs(15);
