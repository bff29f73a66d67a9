//! Steers a subscription on a stream from outside.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use sidespan_bridge::{Control, Error, Fault, Lag, Role};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::consumer::{Durability, Wanted};
use super::engine::Close;
use super::shared::Shared;
use crate::api::Api;
use crate::streams::Streams;

/// The handle on a subscription.
pub(super) struct StreamControl {
    pub(super) shared: Arc<Shared>,
    pub(super) api: Api,
    pub(super) streams: Arc<Streams>,
    pub(super) wanted: Wanted,
    pub(super) orders: mpsc::Sender<Close>,
}

#[async_trait]
impl Control for StreamControl {
    fn stop_intake(&self) {
        self.shared.stop_intake();
    }

    fn role(&self) -> Role {
        self.shared.lock().role
    }

    async fn lag(&self) -> Result<Lag, Error> {
        if self.wanted.durability == Durability::Cursor {
            let detail = "a cursor of its own settles nothing, so nothing is left to settle";
            return Err(Error::new(Fault::Unsupported).detail(detail));
        }
        let deadline = Instant::now() + CALL;
        // The stream may have been made anew under another name.
        let stream = self.streams.find(&self.wanted.pattern, deadline).await?;
        let info = self.wanted.info(&self.api, &stream.config.name, deadline).await?;
        let messages = info.num_pending + info.num_ack_pending;
        // What comes first behind the floor is not settled, and often not delivered either.
        let (name, floor) = (&stream.config.name, info.ack_floor.stream_seq);
        let taken = match messages {
            0 => None,
            _ => self.streams.taken_behind(name, &self.wanted.pattern, floor, deadline).await?,
        };
        let oldest = taken.map(|taken| SystemTime::now().duration_since(taken).unwrap_or_default());
        Ok(Lag { messages, oldest })
    }

    async fn close(&self, deadline: Instant) -> Result<(), Error> {
        self.shared.stop_intake();
        let (done, closed) = oneshot::channel();
        // One who closes again, or closes what has ended, has nothing to wait for.
        if self.orders.try_send(Close { deadline, done }).is_err() {
            return Ok(());
        }
        match timeout_at(deadline + GRACE, closed).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(Fault::Timeout.into()),
        }
    }
}

const CALL: Duration = Duration::from_secs(5);
/// The engine answers by the deadline; this is for its last words.
const GRACE: Duration = Duration::from_secs(2);
