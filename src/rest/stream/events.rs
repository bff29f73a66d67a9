//! The body of a stream of server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::reader::Reader;
use crate::error::Error;
use crate::rest::OpenStream;
use crate::security::caller::Caller;

/// Turns what is read into server-sent events.
pub(super) struct Events {
    reader: Reader,
    heartbeat: Interval,
    drain: CancellationToken,
    caller: Caller,
    /// Counts the stream as open while it lives.
    _permit: OpenStream,
}

impl Events {
    pub(super) fn new(reader: Reader, drain: CancellationToken, caller: Caller, permit: OpenStream) -> Self {
        let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { reader, heartbeat, drain, caller, _permit: permit }
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
        let id = self.reader.id().map(|id| format!("id: {id}\n"));
        format!("retry: {RETRY}\n{}\n", id.unwrap_or_default()).into()
    }

    /// Waits for the next event; `false` with the last one.
    async fn next(&mut self) -> Option<(Bytes, bool)> {
        tokio::select! {
            biased;
            () = self.drain.cancelled() => None,
            error = self.caller.revoked() => Some((told(&error), false)),
            shown = self.reader.next() => match shown? {
                Ok(shown) => {
                    self.heartbeat.reset();
                    Some((shown.event(), true))
                }
                Err(failure) => {
                    tracing::debug!(topic = self.reader.topic(), error = %failure.0, "a stream ended");
                    Some((told(&failure.0), false))
                }
            },
            _ = self.heartbeat.tick() => {
                self.reader.settle_down();
                Some((Bytes::from_static(b":\n\n"), true))
            }
        }
    }
}

fn told(error: &Error) -> Bytes {
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
