//! Steers a subscription on a stream from outside.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sidespan_bridge::{Control, Error, Fault, Lag, Role};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::consumer::Wanted;
use super::engine::Close;
use super::lag;
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
        let deadline = Instant::now() + CALL;
        let counted = lag::count(&self.wanted, &self.api, &self.streams, deadline).await?;
        counted
            .ok_or_else(|| Error::new(Fault::Unavailable).detail("the consumer is gone, and is made again"))
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
